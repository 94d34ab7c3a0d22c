"""Stems in a teacher's words, kept only where each fact of the card maps back and none is added.

Two calls a stem: one rewrites the case, while the sentence that asks stays as it is; another, which sees the new case
alone, reads the facts out again. The graph's names say what is lost and what is new. Left out: stems with a fact that
is told without its name (a pedigree, an onset, "newborn"): nothing maps it back, so they stay as they are.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fleming.assets import load_table
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.questions.names import said
from fleming.records import Question
from fleming.teachers.remembered import Completer, Messages, answer_each, behind_thinking, read_reply
from fleming.text import name_key, reserved, single_spaced

PROMPTS = load_table("rewriting.yaml")
LONGEST = 12  # words of a name
GROWTH = 3  # so many times as long as the old case may the new one be
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)[\s-]*(year|month|week|day|岁|个月|周|天)?")
Meaning = frozenset[str]
"""The entities that one name may mean."""


@dataclass(frozen=True)
class Facts:
    """All that the second call's reply holds."""

    present: list[str]
    absent: list[str]
    sex: str


@dataclass
class Case:
    """A stem, its last sentence apart, and its card."""

    question: Question
    text: str
    asks: str
    card: dict[Meaning, bool]
    """What the text names of the clues; false: as absent."""
    new: str = ""
    fate: str = ""
    """rewritten, or why it is not."""


class Names:
    """Every name of the graph, as texts are compared."""

    def __init__(self, graph: KnowledgeGraph) -> None:
        found = defaultdict(set)
        for entity in graph.entities.values():
            for name in (entity.name, said(entity.name), *entity.synonyms, *entity.lay):
                found[name_key(name)].add(entity.name)
        self.meanings = {key: frozenset(entities) for key, entities in found.items() if key}

    def mentioned(self, text: str) -> dict[Meaning, str]:
        """Return meaning -> its words, of each name in a text; where one lies in another, of the longer alone."""
        words, found, i = name_key(text).split(), {}, 0
        while i < len(words):
            keys = (" ".join(words[i : i + n]) for n in range(LONGEST, 0, -1))
            key = next((key for key in keys if key in self.meanings), "")
            if key:
                found[self.meanings[key]] = key
            i += len(key.split()) or 1
        return found


def rewrite_stems(
    questions: Sequence[Question], graph: KnowledgeGraph, teacher: Completer, counts: Counter[str]
) -> list[Question]:
    """Return the questions, with the teacher's stem where it tells the card; provenance then has the old one.

    `counts` is told what became of each: rewritten, or why its stem is the old one.
    """
    names = Names(graph)
    cases = [_case(question, names) for question in questions]
    asked = [case for case in cases if not case.fate]
    for case, text in zip(
        asked, answer_each(teacher, [_rewrite(case, names) for case in asked]), strict=True
    ):
        case.new = single_spaced(behind_thinking(text))
        case.fate = _fault(case, names)
    read = [case for case in asked if not case.fate]
    talks = [_asked(case, "read", text=case.new) for case in read]
    for case, reply in zip(read, answer_each(teacher, talks), strict=True):
        facts = read_reply(reply, Facts)
        case.fate = "rewritten" if facts and _tells_the_card(facts, case, names) else "misread"
    counts.update(case.fate for case in cases)
    return [_rewritten(case, teacher.name) if case.fate == "rewritten" else case.question for case in cases]


def _case(question: Question, names: Names) -> Case:
    provenance = question.provenance or {}
    clues, patient = provenance.get("clues") or [], provenance.get("patient") or {}
    *_, asks = _SENTENCE_END.split(question.question.strip())
    text = question.question.strip().removesuffix(asks).strip()
    told, elsewhere = names.mentioned(text), names.mentioned(asks)
    card, unnamed = {}, patient.get("age") is not None and not _NUMBER.search(text)
    for clue in clues:
        meaning = next((meaning for meaning in told if clue["tail"] in meaning), None)
        if meaning:
            card[meaning] = clue["role"] != "absent"
        elif not any(clue["tail"] in meaning for meaning in elsewhere):
            unnamed = True
    fate = "no_case" if not card else "unnamed_fact" if unnamed else ""
    return Case(question, text, asks, card, fate=fate)


def _asked(case: Case, role: str, **said: str) -> Messages:
    prompt = PROMPTS.get(case.question.language, PROMPTS["en"])[role]
    return [{"role": "user", "content": prompt.format(**said)}]


def _rewrite(case: Case, names: Names) -> Messages:
    told = names.mentioned(case.text)
    return _asked(case, "rewrite", text=case.text, names=", ".join(told[meaning] for meaning in case.card))


def _fault(case: Case, names: Names) -> str:
    """Return why the new text is not the case, as far as names and numbers tell; "" where they do not."""
    before, after = (names.mentioned(text).keys() for text in (case.text, case.new))
    numbers = [sorted(_NUMBER.findall(text)) for text in (case.text, case.new)]
    if not case.new or "?" in case.new or len(case.new) > GROWTH * len(case.text) or reserved(case.new):
        return "no_case"
    if before - after:
        return "lost_fact"
    return "added_fact" if after - before else "other_number" if numbers[0] != numbers[1] else ""


def _tells_the_card(facts: Facts, case: Case, names: Names) -> bool:
    read = [(item, True) for item in facts.present] + [(item, False) for item in facts.absent]
    found = {names.meanings.get(name_key(item)): present for item, present in read}
    sex = (case.question.provenance.get("patient") or {}).get("sex") or ""
    return found == case.card and len(read) == len(found) and facts.sex == sex


def _rewritten(case: Case, teacher: str) -> Question:
    note = {"by": teacher, "was": case.question.question}
    provenance = {**case.question.provenance, "rewritten": note}
    return replace(case.question, question=f"{case.new} {case.asks}", provenance=provenance)
