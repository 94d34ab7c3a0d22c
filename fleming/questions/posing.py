"""From a root to a question: its path, wrong options, the clues that rule these out, the patient, the words.

Left out: which roots are asked about (sampling.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from numpy.random import Generator

from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.graph.open_world import kin, may_be_one
from fleming.questions.deciding import OPTIONS
from fleming.questions.differential import Differentials
from fleming.questions.judging import Differential, Rival
from fleming.questions.metapaths import Kind
from fleming.questions.names import language_of, long_words, shares_a_word
from fleming.questions.options import Option, decided_by_all, wrong_options
from fleming.questions.paths import draw_path
from fleming.questions.patient import draw_patient, sexes
from fleming.questions.phrases import pick
from fleming.questions.query import Patient, Query
from fleming.questions.record import make_question
from fleming.questions.wording import lay_is_possible, word_question
from fleming.records import Question
from fleming.text import name_key

Case = tuple[Query, list[Option], Differential]
Refusal = Callable[[Query], str | None]


class Poser:
    """Poses questions on a graph."""

    def __init__(self, differentials: Differentials, registers: Sequence[str]) -> None:
        self.whole = differentials
        self.graph = differentials.graph
        self.registers = registers
        self.posed: dict[str, Question] = {}
        """The questions that are kept, by id."""

    def pose(
        self,
        kind: Kind,
        root: str,
        rng: Generator,
        balance: Mapping[str, float],
        refuse: Refusal | None = None,
    ) -> Question | str:
        """Return a question of the kind about the root, or the code of what stands against it.

        `balance`: of each option how often it should still be wrong, three times for each time right. `refuse` returns
        the code of a path that is not to be asked about. Codes beside its own and those of `draw_path` and
        `Differentials.draw`: `few_distractors`; `not_decided`, see `decided_by_all`; `no_patient`, what is told is of
        both sexes; `leak`, the stem has a hidden name or the answer; `giveaway`, or a word that the right option alone
        has, or denies one that a wrong option has; `repeated`; `no_grammar`, for a script of the names; `no_register`,
        none has words for every clue; `low_score`.
        """
        query = draw_path(self.whole, kind, root, rng)
        if isinstance(query, str):
            return query
        if refuse and (code := refuse(query)):
            return code
        if not kind.hidden and query.id in self.posed:
            return "repeated"
        options = wrong_options(self.whole, query, rng, balance)
        if len(options) < OPTIONS:
            return "few_distractors"
        differential = None
        if kind.hidden:
            case = self._case(query, options, rng)
            if isinstance(case, str):
                return case
            query, options, differential = case
            patient = self._patient(query, rng)
            if not patient:
                return "no_patient"
            query = replace(query, patient=patient)
            if query.id in self.posed:
                return "repeated"
        return self._worded(query, options[:OPTIONS], differential, rng)

    def _case(self, query: Query, options: Sequence[Option], rng: Generator) -> Case | str:
        """Return the query with clues of its root, and the options of the rivals that these rule out."""
        kind, root = query.kind, query.nodes[0]
        of_rival = {option.path[0]: option for option in options} if kind.answers == "rivals" else {}
        untold = [step.strip("^") for step in kind.chain]
        rivals = {name: self._right_of(query, option) for name, option in of_rival.items()}
        rivals = rivals or {name: [name] for name in self.whole.rivals(root)}
        differential = self.whole.draw(root, rivals, untold, rng)
        if isinstance(differential, str):
            return differential
        if of_rival:
            ruled_out = [_ruled_out(of_rival[rival.name], rival) for rival in differential.rivals]
            return replace(query, clues=(*differential.clues, *query.clues)), ruled_out, differential

        told = [clue.tail for clue in differential.clues]
        left = [option for option in options if option.name not in told][:OPTIONS]
        if len(left) < OPTIONS:
            return "few_distractors"
        if kind.answers == "findings" and any(self._says(query.answer, name) for name in told):
            return "leak"
        if not decided_by_all(self.whole, query, left, differential.clues):
            return "not_decided"
        return replace(query, clues=(*differential.clues, *query.clues)), left, differential

    def _right_of(self, query: Query, option: Option) -> list[str]:
        """Return the diseases that must be outweighed with the option, the rival that it belongs to first: those of
        which it would be right, and the answer where it is a disease, or the stem would describe what it asks for."""
        found, rival = {option.name}, option.path[0]
        if not self.whole.rules.every_disease or not query.kind.chain:
            return [rival]
        for step in reversed(query.kind.chain):
            back = step[1:] if step.startswith("^") else f"^{step}"
            found = {name for end in found for name in self.graph.follow(end, back)}
        found |= {query.answer} & self.whole.findings.place.keys()
        return [rival, *sorted(found - {query.nodes[0], rival})]

    def _says(self, finding: str, told: str) -> bool:
        """Whether what was told already says the finding."""
        return told in kin(self.graph, finding) or may_be_one(self.graph, finding, told)

    def _patient(self, query: Query, rng: Generator) -> Patient | None:
        """Return who the case is of, None where what is told is of both sexes."""
        if not self.whole.rules.patients:
            return Patient()
        case = self.graph, query.nodes[0], query.clues
        patient = draw_patient(*case, rng)
        if patient and query.kind.answers == "values" and "male" in sexes(*case):
            return replace(patient, sex="male")  # or a girl would tell that it is not X-linked
        return patient

    def _worded(
        self, query: Query, options: Sequence[Option], differential: Differential | None, rng: Generator
    ) -> Question | str:
        names = [option.name for option in options]
        language = language_of([*query.visible, query.answer, *names])
        if not language:
            return "no_grammar"
        registers = [name for name in self.registers if name != "lay" or lay_is_possible(query, self.graph)]
        if not registers:
            return "no_register"
        register = pick(rng, registers)
        stem = word_question(query, self.graph, register, rng, language)
        if _leaks(self.graph, stem, [*query.hidden, query.answer]):
            return "leak"
        if _gives_away(stem, query.answer, names, self.whole.rules.any_name) or _denies_a_name(query, names):
            return "giveaway"
        said = {"register": register, "language": language}
        question = make_question(self.whole, query, options, differential, stem, said, rng)
        return (
            question if question.provenance["score"]["total"] >= self.whole.rules.min_score else "low_score"
        )


def _ruled_out(option: Option, rival: Rival) -> Option:
    """Return the option with what its disease shares; of a diagnosis with the ground on which it is ruled out."""
    shares = (*rival.shares, *option.shares)
    if not option.ground:
        return replace(option, ground=rival.ground, proof=rival.proof, shares=shares)
    return replace(option, shares=shares)


def _leaks(graph: KnowledgeGraph, stem: str, names: Sequence[str]) -> bool:
    """Whether the stem has one of the names in it, under any of its names."""
    if any(name.casefold() in stem.casefold() for name in names):
        return True
    text = f" {name_key(stem)} "
    synonyms = [synonym for name in names for synonym in graph.entities[name].synonyms]
    return any(key and f" {key} " in text for key in map(name_key, synonyms))


def _gives_away(stem: str, answer: str, others: Sequence[str], any_name: bool) -> bool:
    """Whether a longer word of the answer stands in the stem and in none of the other options, or its beginning, unless
    `any_name` will do: "desmosterol", "desmosterolosis"."""

    def stands_in(word: str, text: str) -> bool:
        if any_name:
            return word in long_words(text)
        return any(word.startswith(other) or other.startswith(word) for other in long_words(text))

    own = [word for word in long_words(answer) if not any(stands_in(word, other) for other in others)]
    return any(stands_in(word, stem) for word in own)


def _denies_a_name(query: Query, others: Sequence[str]) -> bool:
    """Whether a longer word of what is denied stands in a wrong option: it would be struck out unread."""
    denied = [clue.tail for clue in query.clues if clue.role == "absent"]
    return any(shares_a_word(tail, other) for tail in denied for other in others)
