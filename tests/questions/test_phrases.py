"""The files of phrases: what is wrong in one is said with file and key; which phrase is said is a draw."""

import pytest

from fleming.noise import generator
from fleming.questions import phrases
from fleming.questions.phrases import read_phrases
from model.errors import InputError


@pytest.fixture
def read(tmp_path, monkeypatch):
    def reading(text):
        (tmp_path / "words.yaml").write_text(text)
        monkeypatch.setattr(phrases, "ASSETS", tmp_path)
        read_phrases.cache_clear()
        return read_phrases("words")

    yield reading
    read_phrases.cache_clear()


def test_a_phrase_is_drawn_of_the_first_key_that_there_is_and_its_fields_are_filled(read):
    words = read("phrases: {greeting: ['Hello {x}.', 'Hi {x}.'], again: ['{x} again.']}")
    said = {words.say(generator(i), "greeting", "again", x="Ada") for i in range(20)}
    assert said == {"Hello Ada.", "Hi Ada."}
    assert words.say(generator(0), "nowhere", "again", x="Ada") == "Ada again."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("phrases: {greeting: []}", "words.yaml: phrases.greeting: expected a phrase or more"),
        (
            "phrases: {greeting: ['Hello {name}.']}",
            "words.yaml: phrases.greeting: 'Hello {name}.': the fields are age, c,",
        ),
        ("phrases: {greeting: ['Hello {x.']}", "words.yaml: phrases.greeting: 'Hello {x.': "),
        ("phrases: {greeting: [7]}", "phrases.greeting[0]: expected str, found int 7"),
        ("phrases: {greeting: [a], greeting: [b]}", "key 'greeting' occurs twice"),
        ("sentences: {greeting: [a]}", "unknown key sentences"),
        ("phrases: !!python/object/apply:os.getcwd []", "bad YAML"),
    ],
)
def test_a_bad_file_is_refused_with_file_and_key(read, text, said):
    with pytest.raises(InputError) as error:
        read(text)
    assert "words.yaml" in str(error.value)
    assert said in str(error.value)


def test_a_key_that_is_missing_is_named_with_the_file(read):
    words = read("phrases: {greeting: [Hello.]}")
    with pytest.raises(InputError, match=r"words\.yaml: phrases\.farewell is missing"):
        words.say(generator(0), "parting", "farewell")
