"""Age, sex and family of the patient of a question, so that they fit the disease and what is said.

The ranges and words are those of assets/patient.yaml. Left out: how they are worded (wording.py), how likely they are
in a rival (likelihood.py).
"""

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from numpy.random import Generator

from fleming.config import load_config
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.questions.phrases import ASSETS
from fleming.questions.query import Clue, Patient

SEXES = ("female", "male")
DAY, MONTH = 1 / 365.25, 1 / 12
NOTE = re.compile(r"(?:^|; )sex (female|male)\b")  # of an HPO annotation
LATE = 5.0  # years of age at which nothing begins that is there from birth
FIRST_SEEN = 0.5  # years of age at the earliest, but with what only an infant has
FOLLOWED = 4.0  # years after the onset within which a patient is seen


@dataclass(frozen=True)
class AgeRule:
    words: str = ""
    """A regular expression for names of findings or of the disease."""
    low: float = 0.0
    """Years."""
    high: float = 100.0


@dataclass(frozen=True)
class PatientLists:
    onsets: dict[str, tuple[float, ...]] = field(default_factory=dict)
    ages: tuple[AgeRule, ...] = ()
    words: dict[str, str] = field(default_factory=dict)
    modes: dict[str, str] = field(default_factory=dict)


@functools.cache
def _lists() -> PatientLists:
    return load_config(PatientLists, ASSETS / "patient.yaml", [])


@functools.lru_cache(200_000)
def _has(expression: str, name: str) -> bool:
    return re.search(expression, name, re.IGNORECASE) is not None


def onset_range(tail: str) -> tuple[float, float] | None:
    """Return the ages in years between which an illness of this onset begins, below 0 before birth; None for none."""
    found = _lists().onsets.get(tail.casefold().removesuffix("onset").removesuffix("起病").strip())
    return (found[0], found[1]) if found else None


def onset_name(tail: str) -> str:
    """Return the name under which the onset is worded: the first with its range, "antenatal" for all before birth."""
    ages = onset_range(tail)
    if ages and ages[1] <= 0:
        return "antenatal"
    return next((name for name, (low, high) in _lists().onsets.items() if (low, high) == ages), "other")


def is_of_a_chromosome(name: str) -> bool:
    """Whether the disease is of a piece of a chromosome, with all the genes that lie there."""
    return _has(_lists().words["of a chromosome"], name)


def pedigree(graph: KnowledgeGraph, root: str, mode: str) -> str | None:
    """Return the name of how a family shows the mode of inheritance, None where it does not: as of a piece of a
    chromosome, or of an imprinted gene, where it matters which parent it came from.

    No parent is affected where patients have no children: a dominant illness is then a new variant.
    """
    words, relations = _lists().words, ("has_symptom", "has_finding", "has_course")
    name = next((name for name, pattern in _lists().modes.items() if _has(pattern, mode)), None)
    genes = graph.follow(root, "associated_gene")
    if is_of_a_chromosome(root) or any(_has(words["imprinted"], gene) for gene in genes):
        return None
    if not name or not _has(words["affected parent"], mode):
        return name
    if not any(_has(words["childless"], tail) for kind in relations for tail in graph.follow(root, kind)):
        return name
    return f"{name} de novo" if _has(words["de novo"], mode) else None


def sexes(graph: KnowledgeGraph, root: str, clues: Sequence[Clue]) -> set[str]:
    """Return of which sexes a patient may be: by X-linkage, findings of one sex, and sources that say of which sex the
    patients with a finding were. None where these contradict each other."""
    words, modes = _lists().words, (root, *graph.follow(root, "inherited_as"))
    either = {"male"} if any(_has(words["male inheritance"], name) for name in modes) else set(SEXES)
    for clue in (clue for clue in clues if not clue.place):
        either -= {
            other for sex, other in zip(SEXES, SEXES[::-1], strict=True) if _has(words[sex], clue.tail)
        }
        if graph.states(root, clue.relation, clue.tail):
            notes = [NOTE.search(e.note) for e in graph.edge(root, clue.relation, clue.tail).evidence]
            either &= {note[1] for note in notes if note} if notes and all(notes) else either
    return either


def onsets(graph: KnowledgeGraph, root: str, told: Iterable[str]) -> list[str]:
    """Return the root's onsets of which the ages are known, and no late one where what is told begins early: sources
    note for an illness that is there from birth too when it was noticed."""
    early = any(_has(_lists().words["early"], name) for name in told)
    found = [(tail, onset_range(tail)) for tail in graph.follow(root, "has_onset")]
    return [tail for tail, ages in found if ages and not (early and ages[0] >= LATE)]


def _ages(
    graph: KnowledgeGraph, root: str, clues: Sequence[Clue], rng: Generator
) -> tuple[float, float] | None:
    """Return between which ages the patient is seen: from the onset on, and when the findings can be seen.

    None where no source notes an onset that fits: the illness may begin at birth or at sixty.
    """
    told = [clue.tail for clue in clues if clue.relation == "has_onset"]
    told = told or onsets(graph, root, [clue.tail for clue in clues if clue.role != "absent"])
    ranges = [ages for ages in map(onset_range, told) if ages]
    if not ranges:
        return None
    low, high = (max(0.0, age) for age in ranges[int(rng.integers(len(ranges)))])
    high += FOLLOWED
    names = [root, *graph.follow(root, "has_course"), *(clue.tail for clue in clues if not clue.place)]
    for rule in _lists().ages:
        if not any(_has(rule.words, name) for name in names):
            continue
        if rule.low > high:
            low, high = rule.low, min(rule.high, rule.low + FOLLOWED)
        elif rule.high >= low:
            low, high = max(low, rule.low), min(high, rule.high)
    return max(low, FIRST_SEEN) if high >= 1 else low, high


def draw_patient(graph: KnowledgeGraph, root: str, clues: Sequence[Clue], rng: Generator) -> Patient | None:
    """Return a patient who is seen after the root's onset, when the findings can be seen, of a sex that the disease
    allows; None where there is no such sex. Ages are whole days in the first month, months below 2 years, else years;
    none without an onset."""
    allowed = sorted(sexes(graph, root, clues))
    if not allowed:
        return None
    ages = _ages(graph, root, clues, rng)
    age = None
    if ages:
        low, high = ages
        exact = low + (high - low) * rng.random()
        unit = DAY if exact < MONTH else MONTH if exact < 2 else 1.0
        age = round(int(exact / unit) * unit, 4)
    if any(_has(_lists().words["mostly male"], mode) for mode in graph.follow(root, "inherited_as")):
        allowed = allowed[-1:]
    return Patient(age, allowed[int(rng.integers(len(allowed)))])
