"""Stems in a teacher's words: what is lost, added, denied or renumbered keeps the old stem; what is told is kept."""

import dataclasses
import json
from collections import Counter

import pytest
from support import drawn_patients

from fleming.assets import load_table
from fleming.checks.claims import names_of
from fleming.cold_start.rewriting import names_in, rewrite_stems
from fleming.config import load_config
from fleming.graph.knowledge_graph import Entity, KnowledgeGraph
from fleming.questions.sampling import sample_questions
from fleming.records import Question
from fleming.settings import Config
from fleming.settings.synth import QuestionRules, SynthConfig
from model.errors import InputError

CASE = "A 34-year-old woman has chronic joint pain and tophi. She has no fever."
ASKS = "Which disease is it?"
NEW = "Tophi and chronic joint pain brought this woman, 34 years old, to us; there is no fever."
READ = {"present": ["tophi", "chronic joint pain"], "absent": ["fever"], "sex": "female"}


def graph() -> KnowledgeGraph:
    found = KnowledgeGraph()
    kinds = {
        "gout": "disease",
        "pain": "symptom",
        "chronic joint pain": "symptom",
        "fever": "symptom",
        "rash": "finding",
    }
    for name, kind in kinds.items():
        found.add_entity(Entity(name, kind), "test")
    found.add_entity(Entity("tophus", "finding", lay=("tophi", "lumps of crystals")), "test")
    return found


def question(case=CASE, asks=ASKS, **fields) -> Question:
    clues = [
        {"relation": "has_symptom", "tail": "chronic joint pain", "role": "core"},
        {"relation": "has_finding", "tail": "tophus", "role": "discriminating"},
        {"relation": "has_symptom", "tail": "fever", "role": "absent"},
    ]
    provenance = {"clues": clues, "patient": {"age": 34.0, "sex": "female"}, **fields}
    return Question(
        "graph/1", f"{case} {asks}", {"A": "gout", "B": "lupus"}, "A", "graph", provenance=provenance
    )


class Writer:
    name = "scripted writer"

    def __init__(self, new=NEW, read=None):
        self.new, self.read, self.talks = new, json.dumps(READ if read is None else read), []

    def complete(self, messages, n):
        self.talks.append(messages[-1]["content"])
        return [self.read if "JSON" in self.talks[-1] else self.new] * n


def rewritten(asked=None, **says):
    asked, counts, writer = asked or question(), Counter(), Writer(**says)
    (found,) = rewrite_stems([asked], graph(), writer, counts)
    ((fate, n),) = counts.items()
    assert n == 1
    if fate != "rewritten":
        assert found == asked
    return fate, found, writer


def test_a_case_told_anew_has_the_sentence_that_asks_and_remembers_its_old_stem():
    fate, found, writer = rewritten(new=f"<think>How?</think>\n{NEW.replace(' and', chr(10) + 'and')}")
    assert fate == "rewritten"
    assert found.question == f"{NEW} {ASKS}"
    assert found.provenance["rewritten"] == {"by": "scripted writer", "was": f"{CASE} {ASKS}"}
    assert dataclasses.replace(found, question="", provenance={}) == dataclasses.replace(
        question(), question="", provenance={}
    )
    assert {**found.provenance, "rewritten": 0} == {**question().provenance, "rewritten": 0}
    assert len(writer.talks) == 2
    assert CASE in writer.talks[0]
    assert "chronic joint pain, tophi, fever" in writer.talks[0]
    assert NEW in writer.talks[1]
    assert ASKS not in "".join(writer.talks)
    assert CASE not in writer.talks[1]  # the second reader sees the new case alone


@pytest.mark.parametrize(
    ("new", "fate"),
    [
        ("", "no_case"),
        ("<think>Tophi", "no_case"),
        (f"{NEW} What is it?", "no_case"),
        (f"{NEW} 是什么病？", "no_case"),
        (f"Here is the rewritten case: {NEW}", "no_case"),
        (f"{NEW} <|im_end|>", "no_case"),
        (NEW + " It is as it is." * 30, "no_case"),
        (NEW.replace("Tophi and c", "C"), "lost_fact"),
        (NEW.replace("chronic joint pain", "joint pain"), "lost_fact"),  # pain alone is another entity
        (NEW.replace("; there", ", with a rash; there"), "added_fact"),
        (NEW + " Gout is suspected.", "added_fact"),
        (NEW + " The pain is dull.", "added_fact"),
        (NEW.replace("34", "43"), "other_number"),
        (NEW.replace("34 years", "34 months"), "other_number"),
        (NEW.replace(", 34 years old,", ""), "other_number"),
        (NEW + " It lasted 2 weeks.", "other_number"),
    ],
)
def test_what_is_lost_added_or_renumbered_keeps_the_old_stem_and_is_not_read_again(new, fate):
    found, _, writer = rewritten(new=new)
    assert found == fate
    assert len(writer.talks) == 1


@pytest.mark.parametrize(
    "read",
    [
        {**READ, "present": ["tophi"]},
        {**READ, "present": [*READ["present"], "fever"], "absent": []},  # no longer denied
        {**READ, "present": [*READ["present"], "smoking"]},
        {**READ, "present": [*READ["present"], "tophus"]},
        {**READ, "absent": []},
        {**READ, "sex": "male"},
        {**READ, "sex": ""},
        {**READ, "age": 34},
        {"present": READ["present"], "absent": READ["absent"]},
        {},
        [],
        "as above",
    ],
)
def test_what_the_second_reader_does_not_find_again_keeps_the_old_stem(read):
    assert rewritten(read=read)[0] == "misread"


def test_another_name_of_the_same_thing_is_no_loss():
    read = {**READ, "present": ["lumps of crystals", "chronic joint pain"]}
    assert rewritten(new=NEW.replace("Tophi", "Lumps of crystals"), read=read)[0] == "rewritten"


def test_facts_without_a_name_and_questions_without_a_case_are_not_touched():
    family = [
        *question().provenance["clues"],
        {"relation": "inherited_as", "tail": "dominant", "role": "family"},
    ]
    for asked, fate in (
        (question(clues=family), "unnamed_fact"),
        (question(case=CASE.replace("34-year-old", "newborn")), "unnamed_fact"),
        (question(clues=[]), "no_case"),
        (
            dataclasses.replace(question(), question="Chronic joint pain, tophi and no fever: which?"),
            "no_case",
        ),
        (dataclasses.replace(question(), provenance=None), "no_case"),
    ):
        found, _, writer = rewritten(asked)
        assert (found, writer.talks) == (fate, [])


def test_of_names_inside_one_another_the_longest_is_meant():
    found = names_in("Chronic joint-pain, PAIN in the back, and lumps of crystals", names_of(graph()))
    assert found == {
        ("chronic joint pain",): "chronic joint pain",
        ("pain",): "pain",
        ("tophus",): "lumps of crystals",
    }
    assert names_in("painful chronic joint", names_of(graph())) == {}


def test_drawn_patients_can_be_rewritten_and_each_fate_is_counted():
    """A writer that turns the order of the sentences round; the reader goes by the record."""
    world = drawn_patients.graph(1)
    rules = QuestionRules(
        min_family=0,
        min_bits=2,
        open_world="mark",
        min_score=0,
        max_per_root=None,
        max_per_answer=None,
        max_per_fact=None,
    )
    synth = SynthConfig(kinds={"differential": 3.0, "gene": 1.0}, registers=("clinical",), rules=rules)
    questions = sample_questions(world, 40, 0, synth)[0]
    asked = []

    def sentences(text):
        return text.rstrip(".").split(". ")

    class Turner:
        name = "turner"

        def complete(self, messages, n):
            text = messages[-1]["content"].split("\n\n")[1]
            if "JSON" not in messages[-1]["content"]:
                asked.append(text)
                return [". ".join(sentences(text)[::-1]) + "."] * n
            card = next(q for q in questions if set(sentences(text)) <= set(sentences(q.question)))
            clues = card.provenance["clues"]
            read = {
                "present": [c["tail"] for c in clues if c["role"] != "absent"],
                "absent": [c["tail"] for c in clues if c["role"] == "absent"],
                "sex": card.provenance["patient"]["sex"],
            }
            return [json.dumps(read)] * n

    counts = Counter()
    found = rewrite_stems(questions, world, Turner(), counts)
    assert sum(counts.values()) == 40
    assert set(counts) <= {"rewritten", "unnamed_fact", "no_case"}
    assert counts["rewritten"] == len(asked) > 10
    assert sum("rewritten" in q.provenance for q in found) == counts["rewritten"]
    for before, after in zip(questions, found, strict=True):
        assert sorted(before.question.replace(".", "").split()) == sorted(
            after.question.replace(".", "").split()
        )


def test_both_languages_ask_for_the_same_and_without_a_teacher_the_setting_is_refused():
    prompts = load_table("rewriting.yaml")
    assert prompts["zh"].keys() == prompts["en"].keys() == {"rewrite", "read"}
    for language in prompts.values():
        assert '{"present"' in language["read"].format(text="")
        assert language["rewrite"].count("{names}") == language["rewrite"].count("{text}") == 1
    with pytest.raises(InputError, match=r"synth\.rewrite needs a teacher"):
        load_config(Config, None, ["synth.rewrite=true"])
