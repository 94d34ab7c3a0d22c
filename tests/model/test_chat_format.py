"""The chat formats against transformers: ours, released templates of many families, and templates that do harm."""

import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.chat import CHATML, ODD, OPENED, REAL, TOKENIZERS, conversations, family_tokens, write_tokenizer

from model.errors import InputError
from model.huggingface import template as template_room
from model.huggingface.chat_format import FORMATS, known_format, own_template
from model.huggingface.template import Template
from model.huggingface.tokenizer import Tokenizer

trl = pytest.importorskip("trl")
RELEASED = Path(trl.__file__).parent / "chat_templates"  # public copies of the hub's, Apache-2.0
# Of models that see: their contents are lists of blocks, and a plain text is left out.
SEEING = ("idefics3", "llava_next", "smolvlm")


def template_of(name):
    """The chat template of a real model."""
    path = TOKENIZERS / name / "tokenizer_config.json"
    if not path.exists():
        pytest.skip("needs the real tokenizers in ../shared")
    return json.loads(path.read_text())["chat_template"]


def folder_with(folder, template):
    """A small tokenizer that has every control token that the template writes as one token."""
    write_tokenizer(folder, None, extra=family_tokens(template), bos_token="<bos>", eos_token="<|eos|>")
    (folder / "chat_template.jinja").write_text(template)
    return folder


def asked(seed, count):
    """Conversations as a template's author expects them: a system message at most, then turns in turn."""
    rng = random.Random(seed)
    pieces = ["ask", "\n", " ", "\n\n", "é—漢", "{{ x }}", "5 mg", "/no_think "]
    for _ in range(count):
        roles = ["system"] * (rng.random() < 0.4) + ["user", "assistant"] * rng.randint(1, 3)
        messages = []
        for role in roles[: -1 if rng.random() < 0.6 else None]:
            text = "x".join(rng.choices(pieces, k=rng.randint(1, 6)))
            if role == "assistant" and rng.random() < 0.5:
                text += "<think>\nwhy\n</think>\n\nB"
            messages.append({"role": role, "content": text})
        yield messages


def compare(folder, count=12):
    """Compare texts and ids with transformers', thinking on and off; return (rendered, refused by both)."""
    from transformers import AutoTokenizer

    ours, theirs = Tokenizer.from_folder(folder), AutoTokenizer.from_pretrained(folder)
    rendered = refused = 0
    for i, messages in enumerate(asked(1, count)):
        for thinking in (True, False):
            settings = {
                "add_generation_prompt": i % 2 == 0,
                **({} if thinking else {"enable_thinking": False}),
            }
            try:
                text = theirs.apply_chat_template(messages, tokenize=False, **settings)
            except Exception:
                with pytest.raises(InputError, match="chat template cannot be rendered"):
                    ours.render(messages, i % 2 == 0, thinking)
                refused += 1
                continue
            ids = theirs.apply_chat_template(messages, tokenize=True, return_dict=False, **settings)
            assert ours.render(messages, i % 2 == 0, thinking) == text
            assert ours.encode_chat(messages, i % 2 == 0, thinking) == ids
            rendered += 1
    return rendered, refused


@pytest.mark.parametrize("path", sorted(RELEASED.glob("*.jinja")), ids=lambda path: path.stem)
def test_released_templates_render_as_in_transformers_thinking_on_and_off(path, tmp_path):
    folder = folder_with(tmp_path, path.read_text())
    if path.stem.removesuffix("_training") in SEEING:
        with pytest.raises(
            InputError, match=r"chat_template\.jinja.*alters or leaves out what the user says"
        ):
            Tokenizer.from_folder(folder)
        return
    rendered, refused = compare(folder)
    assert rendered >= 8
    assert (refused > 0) is (path.stem in ("gemma", "gemma_training"))  # which knows no system message


def test_there_are_released_templates_of_many_families():
    families = {"cohere", "deepseek", "gemma", "glm", "gptoss", "lfm", "llama3", "nemotron", "phi", "qwen"}
    found = [path.stem for path in RELEASED.glob("*.jinja")]
    assert all(any(stem.startswith(family) for stem in found) for family in families)


@pytest.mark.parametrize("kind", ODD)
def test_what_released_templates_do_is_rendered_as_in_transformers(kind, tmp_path):
    rendered, refused = compare(folder_with(tmp_path, ODD[kind]))
    assert rendered > 4
    assert (refused > 0) is (kind == "alternation enforced")


@pytest.mark.parametrize("name", REAL)
def test_renderings_equal_the_real_templates_string_for_string(name):
    template = template_of(name)
    assert known_format(template) is REAL[name]
    by_jinja = Template(template, Path(name))
    for messages in conversations(seed=1, count=200):
        for prompt in (True, False):
            known = {"messages": messages, "add_generation_prompt": prompt, "tools": None}
            assert REAL[name].render(messages, prompt) == by_jinja.render(known)
            for thinking in (True, False):
                expected = by_jinja.render({**known, "enable_thinking": thinking})
                assert REAL[name].render(messages, prompt, thinking) == expected


@pytest.mark.parametrize("name", FORMATS)
def test_our_formats_and_the_templates_that_we_export_for_them_are_the_same(name):
    by_jinja = Template(own_template(name), Path(name))
    assert known_format(own_template(name)) is FORMATS[name]
    for messages in conversations(seed=2, count=200):
        for prompt in (True, False):
            for more in ({}, {"enable_thinking": True}, {"enable_thinking": False}):
                known = {"messages": messages, "add_generation_prompt": prompt, "bos_token": "<bos>"}
                expected = by_jinja.render(known | more)
                assert (
                    FORMATS[name].render(messages, prompt, variables={"bos_token": "<bos>"} | more)
                    == expected
                )


@pytest.mark.parametrize(("file", "name"), [("qwen2_5", "qwen2.5"), ("qwen3", "qwen3"), ("llama3", "llama3")])
def test_ours_are_known_by_their_hash_and_are_what_the_released_templates_render(file, name):
    template = (RELEASED / f"{file}.jinja").read_text()
    assert known_format(template) is FORMATS[name]
    assert known_format(template + " ") is None
    by_jinja = Template(template, Path(file))
    for messages in conversations(seed=3, count=100):
        known = {"messages": messages, "add_generation_prompt": True, "bos_token": "<bos>", "tools": None}
        assert FORMATS[name].render(messages, variables={"bos_token": "<bos>"}) == by_jinja.render(known)


def test_qwen3_shows_the_thinking_of_the_current_answer_alone():
    ours = FORMATS["qwen3"]
    answer = {"role": "assistant", "content": "<think>\nwhy\n</think>\n\nB"}
    messages = [{"role": "user", "content": "q1"}, answer, {"role": "user", "content": "q2"}, answer]
    text = ours.render(messages, add_generation_prompt=False)
    assert text.count("why") == 1
    assert text.endswith("q2<|im_end|>\n<|im_start|>assistant\n<think>\nwhy\n</think>\n\nB<|im_end|>\n")
    silent = ours.render(messages[:1], thinking=False)
    assert silent.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


@pytest.mark.parametrize(
    ("altered", "who"),
    [
        ("message['content'] | upper", "user"),
        ("message['content'][:5]", "user"),
        ("message['content'] | replace('e', '')", "user"),
        ("(message['content'] if message.role == 'user' else '')", "assistant"),
    ],
)
def test_a_template_that_alters_what_is_said_is_refused_by_name(altered, who, tmp_path):
    folder = write_tokenizer(tmp_path, CHATML.replace("message['content']", altered))
    with pytest.raises(InputError, match=rf"tokenizer_config\.json.*alters.*{who}"):
        Tokenizer.from_folder(folder)


def test_a_template_that_alters_only_some_texts_is_refused_when_it_does(tmp_path):
    folder = write_tokenizer(tmp_path, CHATML.replace("message['content']", "message['content'][:100]"))
    ours = Tokenizer.from_folder(folder)
    assert ours.encode_chat([{"role": "user", "content": "short"}])
    with pytest.raises(InputError, match="alters or leaves out what the user says"):
        ours.encode_chat([{"role": "user", "content": "long " * 30}])
    directive = CHATML.replace("message['content']", "message['content'].replace('/no_think', '')")
    ours = Tokenizer.from_folder(write_tokenizer(tmp_path, directive))
    with pytest.raises(InputError, match=r"leaves out what the system says: '/no_think Be brief\.'"):
        ours.encode_chat([{"role": "system", "content": "/no_think Be brief."}])


HOSTILE = {
    "nested loops": "{% for a in range(9999) %}" * 9 + "{% endfor %}" * 9,
    "nested loops that write": "{% for a in range(9999) %}" * 9 + "x" + "{% endfor %}" * 9,
    "messages in messages": "{% for a in messages %}" * 60 + "x" + "{% endfor %}" * 60,
    "a text multiplied": "{% set n = 10 ** 9 %}{{ 'a' * n * n }}",
    "a constant of any size": "{{ 'a' * 10 ** 11 }}",
    "doubling": "{% set x = 'aaaaaaaa' %}" + "{% set x = x + x %}" * 200 + "{{ x }}",
    "a power": "{% set n = 10 ** 8 %}{{ (9 ** n) % 7 }}",
    "a filter that pads": "{{ 'a' | center(10 ** 11) }}",
    "a filter that fills": "{{ lipsum(n=1000000) }}",
    "a format": "{{ '%1000000000000d' % 1 }}",
    "a method": "{{ 'a'.ljust(10 ** 11) }}",
    "an endless macro": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "brackets": "{{ " + "(" * 30_000,
    "blocks": "{% if x %}" * 6_000,
    "the sandbox's walls": "{{ ''.join.__globals__ }}{{ cycler.__init__.__globals__ }}",
    "messages changed": "{{ messages.append(messages[0]) }}",
    "much text": "x" * 10_000_000,
    "an error": "{{ 1 / 0 }}",
    "no template": CHATML[:-3],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_template_is_refused_in_bounded_time_and_memory(kind, tmp_path):
    folder = write_tokenizer(tmp_path, HOSTILE[kind] + CHATML * (kind != "no template"))
    start = time.monotonic()
    with pytest.raises(InputError, match=r"tokenizer_config\.json: its chat template") as error:
        Tokenizer.from_folder(folder)
    assert time.monotonic() - start < 20
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["a text multiplied", "a constant of any size", "doubling", "a method"])
def test_the_memory_of_a_templates_process_is_bounded(kind):
    command = [sys.executable, "-P", str(template_room.WORKER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdin.write(json.dumps(HOSTILE[kind]).encode() + b"\n")
        process.stdin.flush()
        if json.loads(process.stdout.readline()) == {
            "text": ""
        }:  # else a constant, which is seen when it compiles
            process.stdin.write(b'{"messages": []}\n')
            process.stdin.flush()
            assert json.loads(process.stdout.readline()) == {"error": "MemoryError"}
        peak = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
        assert int(peak[1]) < 2**20


def test_a_rendering_after_a_refused_one_works():
    template = Template("{{ 1 / n }}", Path("x"))
    with pytest.raises(InputError, match="division by zero"):
        template.render({"n": 0})
    assert template.render({"n": 2}) == "0.5"


def test_the_process_of_a_template_ends_with_it():
    template = Template("x", Path("x"))
    template.render({})
    process = template.process
    del template
    assert process.wait(10) is not None


def test_without_jinja2_ours_still_work_and_another_names_it(tmp_path, monkeypatch):
    monkeypatch.setattr(template_room.importlib.util, "find_spec", lambda name: None)
    assert Tokenizer.from_folder(write_tokenizer(tmp_path / "ours")).chat_format is FORMATS["chatml"]
    folder = write_tokenizer(tmp_path / "other", OPENED)
    with pytest.raises(InputError, match=r"tokenizer_config\.json.*jinja2.*chat_format"):
        Tokenizer.from_folder(folder)
    assert Tokenizer.from_folder(folder, "qwen3").chat_format is FORMATS["qwen3"]


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "tool", "content": "a"}],
        [{"role": "user"}],
        [{"role": "user", "content": 1}],
        [{"content": "a"}],
    ],
)
def test_a_message_of_another_form_is_refused(messages, tmp_path):
    with pytest.raises(InputError, match="message"):
        FORMATS["chatml"].render(messages)
    with pytest.raises(InputError, match="message"):
        Tokenizer.from_folder(write_tokenizer(tmp_path)).encode_chat(messages)
