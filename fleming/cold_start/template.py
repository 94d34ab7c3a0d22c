"""A teacher without a model: writes a chain of thought from the question's path through the graph.

Each sentence states one fact of the graph, denies one that the graph lacks, or draws a conclusion; which facts were
stated and denied goes into the trajectory's checks. Some trajectories take a wrong path and mend it (paper, section
3.2): backtracking, path exploration, self-correction. The sentences are those of assets/teacher.yaml. Left out: real
teachers, which need not stick to a path.
"""

from collections.abc import Callable
from dataclasses import dataclass

from numpy.random import Generator

from fleming.graph.knowledge_graph import KnowledgeGraph, Triple
from fleming.prompt import question_messages
from fleming.questions.names import said
from fleming.questions.phrases import pick, read_phrases
from fleming.questions.wording import listed
from fleming.records import Question, Trajectory
from fleming.sources.vocabulary import FEATURES

WRONG_TURN_RATE = 0.25


class _Draft:
    """The sentences so far, with the facts that they state and deny."""

    def __init__(self, rng: Generator, named: Callable[[str], str]) -> None:
        self.rng = rng
        self.named = named
        """How a name of the graph is said, as the question says it."""
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
        self.say(relation, h=self.named(head), t=self.named(tail))

    def deny(self, head: str, relation: str, tail: str, known: bool) -> None:
        """known: there is more to say it on than that the graph lacks it."""
        self.denied.append((head, relation, tail))
        names = {"h": self.named(head), "t": self.named(tail)}
        if not known:
            self.say("open denial", **names)
        elif relation in FEATURES:
            self.say("feature denial", **names)
        else:
            self.say("denial", **names, noun=self.phrases.nouns[relation])


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
        """Return a worked answer to a question of the graph.

        `refinements` names the one that was used. `checks` holds the answer style and the triples stated and denied.
        """
        provenance = question.provenance
        path = [(edge["head"], edge["relation"], edge["tail"]) for edge in provenance["path"]]
        chain = provenance["chain"]
        first = chain[0] if chain else len(path)
        refinement = self._refinement(provenance, rng)

        draft = _Draft(rng, str if provenance["register"] == "plain" else said)
        if provenance.get("clues"):
            self._find_root(draft, provenance, path[:first], refinement)
        else:
            draft.say("start name", x=provenance["visible"][0])
        asked = path[chain[-1]] if chain else None
        for triple in path[first:]:
            if triple != asked:
                draft.state(*triple)
        if asked:
            if refinement == "self_correction" or (refinement and not provenance.get("clues")):
                self._reject_option(draft, provenance, refinement)
            draft.state(*asked)

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

    def _refinement(self, provenance: dict, rng: Generator) -> str | None:
        kinds = ["self_correction"] if provenance["chain"] else []
        if provenance.get("clues") or provenance["chain"]:
            kinds.append("path_exploration")
        if provenance.get("clues"):
            kinds.append("backtracking")
        return pick(rng, kinds) if rng.random() < self.wrong_turn_rate else None

    def _find_root(
        self, draft: _Draft, provenance: dict, facts: list[Triple], refinement: str | None
    ) -> None:
        """From the clues to the hidden root: in a refinement by way of a rival, in a case past each of them."""
        clues, rivals = provenance["clues"], provenance["certificate"]["rivals"]
        root = facts[0][0]
        shown = [clues[i] for i in draft.rng.permutation(len(clues))]
        names = ["no " * (clue["role"] == "absent") + draft.named(clue["tail"]) for clue in shown]
        draft.say("start clues", x=listed(names))
        order = [rivals[i] for i in draft.rng.permutation(len(rivals))]
        is_a_case = any(clue["role"] not in ("core", "discriminating") for clue in clues)
        if refinement in ("backtracking", "path_exploration") or is_a_case:
            for rival in order if is_a_case else order[:1]:
                turn = refinement if rival is order[0] else None
                self._rule_out(draft, root, rival, turn)
        for i in draft.rng.permutation(len(facts)):
            draft.state(*facts[i])
        draft.say("root found", x=root)

    def _rule_out(self, draft: _Draft, root: str, rival: dict, turn: str | None) -> None:
        """Say what speaks for the rival, and what speaks against it."""
        name, ground = rival["disease"], rival["ground"]
        if turn == "path_exploration":
            draft.compare(name, root)
        shared = pick(draft.rng, rival["shares"])
        draft.state(*shared)
        if turn == "backtracking":
            draft.say("suspect", x=name)
        self._against(draft, rival["proof"], ground)
        if turn == "backtracking":
            draft.say("retract")

    def _against(self, draft: _Draft, proof: list[str], ground: str) -> None:
        """Say the fact that a ground rests on."""
        head, relation, tail = proof
        if ground == "absent_finding":
            draft.state(head, relation, tail)
            draft.say("not here", x=draft.named(tail))
        elif ground == "rare_finding":
            draft.facts.append((head, relation, tail))
            draft.say("rare", h=draft.named(head), t=draft.named(tail))
        elif ground in ("other_value", "onset") and (values := self.graph.follow(head, relation)):
            draft.state(head, relation, values[0])
            draft.say("no fit")
        else:
            draft.deny(head, relation, tail, known=ground != "absent")

    def _reject_option(self, draft: _Draft, provenance: dict, refinement: str) -> None:
        """Recall or weigh a wrong option and refute it by its certificate."""
        wrong = pick(draft.rng, provenance["certificate"]["distractors"])
        option, proof, ground = wrong["option"], wrong["violates"][-1], wrong["ground"]
        if refinement == "path_exploration":
            draft.compare(option, provenance["answer"])
        else:
            draft.say("recall", x=option)
        elsewhere = [triple for triple in wrong["shares"] if option in triple and triple[1] == proof[1]]
        if elsewhere and draft.rng.random() < 0.5:
            draft.state(*elsewhere[-1])
        if ground == "rare_finding":
            self._against(draft, proof, ground)
        else:
            draft.deny(*proof, known=ground != "absent")
        if refinement == "self_correction":
            draft.say("correct")
