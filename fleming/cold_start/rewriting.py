"""Stems in a teacher's words, kept only where each fact of the card maps back and none is added.

Two calls a stem: one rewrites the case, while the sentence that asks stays as it is; another, which sees the new case
alone, reads the facts out again. The graph's names say what is lost and what is new. Left out: stems with a fact that
is told without its name (a pedigree, an onset, "newborn"): nothing maps it back, so they stay as they are.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fleming.assets import load_table
from fleming.checks.claims import names_of
from fleming.checks.statements import Mention, Names, tokens
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.records import Question
from fleming.teachers.remembered import Completer, Messages, answer_each, behind_thinking, read_reply
from fleming.text import reserved, single_spaced

PROMPTS = load_table("rewriting.yaml")
GROWTH = 3  # so many times as long as the old case may the new one be
HALF_WIDTH = str.maketrans("？：", "?:")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)[\s-]*(year|month|week|day|岁|个月|周|天)?")


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
    named: list[str]
    """What the text names of the clues."""
    card: dict[Mention, bool]
    """The same by what it means; false: as absent."""
    new: str = ""
    fate: str = ""
    """rewritten, or why it is not."""


def names_in(text: str, names: Names) -> dict[Mention, str]:
    """Return the names in a text, as the graph spells them; where one lies in another, the longer alone."""
    return {tuple(meant): min(meant.values(), key=len) for *_, meant in names.find(tokens(text))}


def rewrite_stems(
    questions: Sequence[Question], graph: KnowledgeGraph, teacher: Completer, counts: Counter[str]
) -> list[Question]:
    """Return the questions, with the teacher's stem where it tells the card; provenance then has the old one.

    `counts` is told what became of each: rewritten, or why its stem is the old one.
    """
    names = names_of(graph)
    cases = [_case(question, names) for question in questions]
    asked = [case for case in cases if not case.fate]
    talks = [_asked(case, "rewrite", text=case.text, names=", ".join(case.named)) for case in asked]
    for case, text in zip(asked, answer_each(teacher, talks), strict=True):
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
    told, elsewhere = names_in(text, names), names_in(asks, names)
    card, unnamed = {}, patient.get("age") is not None and not _NUMBER.search(text)
    for clue in clues:
        mention = next((mention for mention in told if clue["tail"] in mention), None)
        if mention:
            card[mention] = clue["role"] != "absent"
        elif not any(clue["tail"] in mention for mention in elsewhere):
            unnamed = True
    fate = "no_case" if not card else "unnamed_fact" if unnamed else ""
    return Case(question, text, asks, [told[mention] for mention in card], card, fate=fate)


def _asked(case: Case, role: str, **said: str) -> Messages:
    prompt = PROMPTS.get(case.question.language, PROMPTS["en"])[role]
    return [{"role": "user", "content": prompt.format(**said)}]


def _fault(case: Case, names: Names) -> str:
    """Return why the new text is not the case, as far as names and numbers tell; "" where they do not."""
    before, after = (names_in(text, names).keys() for text in (case.text, case.new))
    numbers = [sorted(_NUMBER.findall(text)) for text in (case.text, case.new)]
    old_marks, new_marks = ({*"?:"} & {*text.translate(HALF_WIDTH)} for text in (case.text, case.new))
    # A question of the teacher's, or what introduces the case: "Here is the rewritten version:".
    is_no_case = not new_marks <= old_marks
    if not case.new or is_no_case or len(case.new) > GROWTH * len(case.text) or reserved(case.new):
        return "no_case"
    if before - after:
        return "lost_fact"
    return "added_fact" if after - before else "other_number" if numbers[0] != numbers[1] else ""


def _tells_the_card(facts: Facts, case: Case, names: Names) -> bool:
    read = [(item, True) for item in facts.present] + [(item, False) for item in facts.absent]
    found = {(*names.mark(tokens(item)),): present for item, present in read}
    sex = (case.question.provenance.get("patient") or {}).get("sex") or ""
    card = {(mention,): present for mention, present in case.card.items()}
    return found == card and len(read) == len(found) and facts.sex == sex


def _rewritten(case: Case, teacher: str) -> Question:
    note = {"by": teacher, "was": case.question.question}
    provenance = {**case.question.provenance, "rewritten": note}
    return replace(case.question, question=f"{case.new} {case.asks}", provenance=provenance)
