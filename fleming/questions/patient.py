"""Age and sex of the patient of a question, drawn so that they fit the disease and what is said.

The ranges and words are those of assets/patient.yaml. Left out: how age and sex are worded (wording.py), how likely
they are in a rival (likelihood.py).
"""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from numpy.random import Generator

from fleming.config import load_config
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.questions.phrases import ASSETS
from fleming.questions.query import Clue, Patient

SEXES = ("female", "male")
DAY, MONTH = 1 / 365.25, 1 / 12
_NOTE = re.compile(r"(?:^|; )sex (female|male)\b")


@dataclass(frozen=True)
class AgeRule:
    words: str = ""
    """A regular expression for names of findings."""
    low: float = 0.0
    """Years."""
    high: float = 100.0


@dataclass(frozen=True)
class PatientLists:
    onsets: dict[str, tuple[float, ...]] = field(default_factory=dict)
    ages: tuple[AgeRule, ...] = ()
    default: tuple[float, ...] = ()
    female: str = ""
    male: str = ""
    male_inheritance: str = ""
    affected_parent: str = ""
    childless: str = ""


@functools.cache
def _lists() -> PatientLists:
    return load_config(PatientLists, ASSETS / "patient.yaml", [])


@functools.lru_cache(100_000)
def _has(expression: str, name: str) -> bool:
    return re.search(expression, name, re.IGNORECASE) is not None


def onset_key(tail: str) -> str:
    """Return the onset's name in patient.yaml: "young adult" for "Young adult onset"."""
    return tail.casefold().removesuffix("onset").removesuffix("起病").strip()


def onset_range(tail: str) -> tuple[float, float] | None:
    """Return the years of age between which an illness of this onset begins, below 0 before birth; None for no onset."""
    found = _lists().onsets.get(onset_key(tail))
    return (found[0], found[1]) if found else None


def sexes(graph: KnowledgeGraph, root: str, clues: Sequence[Clue]) -> set[str]:
    """Return of which sexes a patient may be: by X-linkage, findings of one sex, and sources that say of which sex the
    patients with a finding were. Both where these contradict each other."""
    lists, either = _lists(), set(SEXES)
    if any(_has(lists.male_inheritance, mode) for mode in graph.follow(root, "inherited_as")):
        return {"male"}
    for clue in clues:
        if clue.place:
            continue
        either -= {"male"} if _has(lists.female, clue.tail) else set()
        either -= {"female"} if _has(lists.male, clue.tail) else set()
        if graph.states(root, clue.relation, clue.tail):
            notes = [_NOTE.search(e.note) for e in graph.edge(root, clue.relation, clue.tail).evidence]
            if notes and all(notes) and len(said := {note[1] for note in notes}) == 1:
                either &= said
    return either or set(SEXES)


def _age_range(graph: KnowledgeGraph, root: str, clues: Sequence[Clue], rng: Generator) -> tuple[float, float]:
    """Return years of age at which the patient may be seen: not before the onset, when the findings can be seen."""
    lists = _lists()
    told = [clue.tail for clue in clues if clue.relation == "has_onset"]
    known = [tail for tail in told or graph.follow(root, "has_onset") if onset_range(tail)]
    onset = onset_range(known[int(rng.integers(len(known)))]) if known else None
    low, high = (max(0.0, onset[0]), max(0.0, onset[1])) if onset else (0.0, 100.0)

    rules = [rule for rule in lists.ages for clue in clues if not clue.place and _has(rule.words, clue.tail)]
    if not onset and not rules:
        return lists.default[0], lists.default[1]
    for rule in rules:
        if rule.low > high:  # the illness has begun, but this is seen only later
            low, high = rule.low, min(rule.high, rule.low + 4)
        elif rule.high >= low:
            low, high = max(low, rule.low), min(high, rule.high)
    return (low, high) if onset or high < 100 else (max(low, lists.default[0]), lists.default[1])


def draw_patient(graph: KnowledgeGraph, root: str, clues: Sequence[Clue], rng: Generator) -> Patient:
    """Return a patient whose age lies within the root's onset, or later where a finding shows later, and whose sex the
    disease allows. Ages are whole days in the first month, months below 2, else years."""
    low, high = _age_range(graph, root, clues, rng)
    age = low + (high - low) * rng.random()
    unit = DAY if age < MONTH else MONTH if age < 2 else 1.0
    allowed = sorted(sexes(graph, root, clues))
    return Patient(round(int(age / unit) * unit, 4), allowed[int(rng.integers(len(allowed)))])


def is_tellable_pedigree(graph: KnowledgeGraph, root: str, mode: str) -> bool:
    """Whether the mode of inheritance can be told as a pedigree: not with an affected parent where patients of the
    disease have no children."""
    lists = _lists()
    if not _has(lists.affected_parent, mode):
        return True
    relations = ("has_symptom", "has_finding", "has_course")
    return not any(_has(lists.childless, tail) for relation in relations for tail in graph.follow(root, relation))
