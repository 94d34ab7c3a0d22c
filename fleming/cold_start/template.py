"""A teacher without a model: writes a chain of thought from the question's path through the graph.

Each sentence states one fact of the graph, denies one that the graph lacks, or draws a conclusion; which facts were
stated and denied goes into the trajectory's checks. Some trajectories take a wrong path and mend it (paper, section
3.2): backtracking, path exploration, self-correction. The sentences are those of assets/teacher.yaml. Left out: real
teachers, which need not stick to a path.
"""

from dataclasses import dataclass

from numpy.random import Generator

from fleming.graph.knowledge_graph import KnowledgeGraph, Triple
from fleming.graph.open_world import denied, disputed, has, heads, possible
from fleming.prompt import question_messages
from fleming.questions.metapaths import METAPATHS
from fleming.questions.phrases import pick, read_phrases
from fleming.questions.wording import listed
from fleming.records import Question, Trajectory
from fleming.sources.vocabulary import FEATURES

WRONG_TURN_RATE = 0.25


class _Draft:
    """The sentences so far, with the facts that they state and deny."""

    def __init__(self, rng: Generator) -> None:
        self.rng = rng
        self.phrases = read_phrases("teacher")
        self.sentences: list[str] = []
        self.facts: list[Triple] = []
        self.denied: list[Triple] = []

    def say(self, key: str, **names: str) -> None:
        self.sentences.append(self.phrases.say(self.rng, key, **names))

    def compare(self, one: str, other: str) -> None:
        """Name both in either order: the place must not tell which is right."""
        x, y = (one, other) if self.rng.random() < 0.5 else (other, one)
        self.say("compare", x=x, y=y)

    def state(self, head: str, relation: str, tail: str) -> None:
        self.facts.append((head, relation, tail))
        self.say(relation, h=head, t=tail)

    def deny(self, head: str, relation: str, tail: str, known: bool) -> None:
        """known: there is more to say it on than that the graph lacks it."""
        self.denied.append((head, relation, tail))
        if not known:
            self.say("open denial", h=head, t=tail)
        elif relation in FEATURES:
            self.say("feature denial", h=head, t=tail)
        else:
            self.say("denial", h=head, t=tail, noun=self.phrases.nouns[relation])


@dataclass(frozen=True)
class TemplateTeacher:
    graph: KnowledgeGraph
    answer_style: str = "letter"
    """letter: the conclusion binds the option's text to its letter ("trientine (B)"); text: it is the text alone."""
    instruction: str = ""
    system: str = ""
    wrong_turn_rate: float = WRONG_TURN_RATE
    """How often a refinement is used, drawn evenly from those that the question allows."""

    def trajectory(self, question: Question, rng: Generator) -> Trajectory:
        """Return a worked answer to a question of `pose_question`.

        `refinements` names the one that was used. `checks` holds the answer style and the triples stated and denied.
        """
        provenance = question.provenance
        path = [(edge["head"], edge["relation"], edge["tail"]) for edge in provenance["path"]]
        first, asked = provenance["chain"][0], provenance["chain"][-1]
        clues = [path[i] for i in rng.permutation(first)]
        rivals = self._rivals(clues)
        refinement = self._refinement(clues, rivals, rng)

        draft = _Draft(rng)
        if clues:
            self._find_root(draft, provenance, clues, rivals, refinement)
        else:
            draft.say("start name", x=provenance["visible"][0])
        for triple in path[first:asked] + path[asked + 1 :]:
            draft.state(*triple)
        if refinement == "self_correction" or (refinement and not clues):
            self._reject_option(draft, provenance, refinement)
        draft.state(*path[asked])

        answer = conclusion = question.options[question.answer]
        if self.answer_style == "letter":
            answer, conclusion = question.answer, f"{conclusion} ({question.answer})"
        draft.say("conclude", x=conclusion)
        thought = " ".join(draft.sentences)
        return Trajectory(
            id=f"{question.id}/template/0",
            question_id=question.id,
            prompt=question_messages(question, self.answer_style, self.instruction, self.system),
            response=f"<think>\n{thought}\n</think>\n<answer>{answer}</answer>",
            teacher="template",
            gold_visible=True,
            refinements=(refinement,) if refinement else (),
            checks={
                "answer_style": self.answer_style,
                "facts": [list(triple) for triple in draft.facts],
                "denied": [list(triple) for triple in draft.denied],
            },
        )

    def _rivals(self, clues: list[Triple]) -> list[tuple[str, Triple]]:
        """Return (what has one of the clues too, that clue)."""
        found = []
        for clue in clues:
            root, relation, tail = clue
            for rival in heads(self.graph, relation, tail):
                if rival != root and not disputed(self.graph, rival, relation, tail):
                    found.append((rival, clue))
        return found

    def _refinement(self, clues: list, rivals: list, rng: Generator) -> str | None:
        kinds = ["self_correction"]
        if rivals or not clues:
            kinds.append("path_exploration")
        if rivals:
            kinds.append("backtracking")
        return pick(rng, kinds) if rng.random() < self.wrong_turn_rate else None

    def _find_root(
        self, draft: _Draft, provenance: dict, clues: list, rivals: list, refinement: str | None
    ) -> None:
        """From the clues to the hidden root, perhaps by way of a rival that shares one clue and lacks another."""
        root = clues[0][0]
        draft.say("start clues", x=listed([tail for _, _, tail in clues]))
        if refinement in ("backtracking", "path_exploration"):
            rival, shared = pick(draft.rng, rivals)
            if refinement == "path_exploration":
                draft.compare(rival, root)
            draft.state(rival, *shared[1:])
            if refinement == "backtracking":
                draft.say("suspect", x=rival)
            lacking, is_denied = self._lacking(rival, clues)
            draft.deny(*lacking, known=_is_closed(provenance) or is_denied)
            if refinement == "backtracking":
                draft.say("retract")
        for clue in clues:
            draft.state(*clue)
        is_drug = self.graph.entities[root].type == "drug"
        draft.say("drug found" if is_drug else "root found", x=root)

    def _lacking(self, rival: str, clues: list[Triple]) -> tuple[Triple, bool]:
        """Return the clue that the rival lacks, and whether a source denies it.

        It lacks at least one, since the root alone has them all: best one that is denied, or is not left open.
        """
        of_rival = [(rival, relation, tail) for _, relation, tail in clues]
        no = [triple for triple in of_rival if denied(self.graph, *triple)]
        unlike = [triple for triple in of_rival if not possible(self.graph, *triple)]
        unstated = [triple for triple in of_rival if not has(self.graph, *triple)]
        return [*no, *unlike, *unstated][0], bool(no)

    def _reject_option(self, draft: _Draft, provenance: dict, refinement: str) -> None:
        """Recall or weigh a wrong option and refute it by its certificate."""
        wrong = pick(draft.rng, provenance["certificate"]["distractors"])
        option, proof = wrong["option"], wrong["violates"][-1]
        if refinement == "path_exploration":
            draft.compare(option, provenance["answer"])
        else:
            draft.say("recall", x=option)
        elsewhere = [triple for triple in wrong["shares"] if option in triple and triple[1] == proof[1]]
        if elsewhere and draft.rng.random() < 0.5:
            draft.state(*elsewhere[-1])
        draft.deny(*proof, known=_is_closed(provenance) or wrong["ground"] != "absent")
        if refinement == "self_correction":
            draft.say("correct")


def _is_closed(provenance: dict) -> bool:
    """Whether the graph is taken for all there is to know, as basic questions do."""
    return not METAPATHS[provenance["metapath"]].scenario
