"""A teacher without a model: writes a chain of thought from the question's path through the graph.

Each sentence states one fact of the graph, denies one that the graph lacks, or draws a conclusion; which facts were
stated and denied goes into the trajectory's checks. Some trajectories take a wrong turn and mend it (paper, section
3.2): backtracking, path exploration, self-correction. Left out: real teachers, which need not stick to a path.
"""

import numpy as np

from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.prompt import question_messages
from fleming.questions.metapaths import METAPATHS
from fleming.questions.wording import pick, surface_forms
from fleming.records import Question, Trajectory
from fleming.sources.vocabulary import FEATURES

# Both orders of head and tail occur, so that a fact is learned from either end.
SENTENCES = surface_forms("""
has_symptom: A symptom of {h} is {t}. | The symptom {t} can come from {h}. | People with {h} can have {t}.
has_symptom: The symptom {t} fits {h}.
has_finding: A finding in {h} is {t}. | The finding {t} fits {h}. | In {h} one can see {t}.
has_finding: The sign {t} points to {h}.
diagnosed_by: A test for {h} is {t}. | The test {t} confirms {h}. | To confirm {h} one uses {t}.
diagnosed_by: The test {t} detects {h}.
treated_by: A drug for {h} is {t}. | The drug {t} treats {h}. | One treats {h} with {t}. | The drug {t} helps in {h}.
caused_by: The cause of {h} is {t}. | The process {t} leads to {h}. | What lies behind {h} is {t}.
caused_by: The mechanism {t} explains {h}.
has_mechanism: The action of {h} is {t}. | The drug {h} acts by {t}. | The action {t} belongs to {h}.
has_mechanism: The way {h} works is {t}.
contraindicated_in: A contraindication of {h} is {t}. | The drug {h} must be avoided in {t}.
contraindicated_in: With {t} one must not give {h}. | The condition {t} rules out {h}.
has_adverse_effect: An adverse effect of {h} is {t}. | The drug {h} can cause {t}. | The problem {t} can come from {h}.
has_adverse_effect: Patients on {h} can get {t}.
has_lab: A laboratory finding in {h} is {t}. | The laboratory finding {t} fits {h}. | In {h} one can measure {t}.
has_lab: People with {h} can show {t}.
located_in: The site of {h} is {t}. | The disease {h} affects {t}. | At {t} one can find {h}.
located_in: What {h} affects is {t}.
inherited_as: The inheritance of {h} is {t}. | The disease {h} follows {t}. | The pattern {t} fits {h}.
inherited_as: The disease {h} shows {t}.
has_onset: What is on record for {h} is {t}. | The disease {h} has {t}. | The start {t} fits {h}.
has_onset: For {h} one reads of {t}.
associated_gene: A gene linked to {h} is {t}. | The gene {t} goes with {h}. | Variants in {t} are linked to {h}.
associated_gene: The disease {h} is tied to the gene {t}.
targets: A target of {h} is {t}. | The drug {h} binds {t}. | The product of {t} is bound by {h}.
targets: The gene {t} encodes what {h} binds.
participates_in: A process of {h} is {t}. | The gene {h} takes part in {t}. | The process {t} involves {h}.
participates_in: The gene {h} has a part in {t}.
subtype_of: The class of {h} is {t}. | The drug {h} belongs to {t}. | The class {t} includes {h}.
subtype_of: Under {t} one finds {h}.
interacts_with: An interaction of {h} is {t}. | The drug {h} interacts with {t}. | The drug {t} interacts with {h}.
interacts_with: The drugs {h} and {t} interact.
denial: But the {noun} {h} is not {t}. | But I do not find {t} with {h}. | But I know no link from {h} to {t}.
denial: But {t} would be wrong for {h}.
feature denial: But {h} does not typically show {t}. | But {h} usually lacks {t}. | But {h} is not known for {t}.
feature denial: But in {h} one does not expect {t}.
open denial: But I know no link from {h} to {t}. | But I do not find {t} with {h}.
open denial: But nothing that I know ties {h} to {t}. | But {t} is not on record for {h}.
start clues: The clues are {x}. | We have {x}. | Take {x} together. | Look at {x}.
start name: The question is about {x}. | Start from {x}. | Recall what is known about {x}. | The key is {x}.
suspect: It could be {x}. | My first guess is {x}. | This suggests {x}. | Perhaps it is {x}.
retract: So it is something else. | I go back. | So that path is wrong. | I drop this idea.
compare: Compare {x} and {y}. | Two candidates are {x} and {y}. | It is {x} or {y}. | Weigh {x} against {y}.
recall: First I think of {x}. | I recall {x}. | My first thought is {x}. | It might be {x}.
correct: I correct this. | So I was wrong. | That was a mistake. | Let me mend this.
root found: So the disease is {x}. | Together this means {x}. | All of this fits {x}. | The disease must be {x}.
drug found: So the drug is {x}. | Together this means {x}. | All of this fits {x}. | The drug must be {x}.
conclude: So the answer is {x}. | The right option is {x}. | The answer must be {x}. | We choose {x}.
""")
NOUNS = {
    "diagnosed_by": "test for",
    "treated_by": "drug for",
    "caused_by": "cause of",
    "has_mechanism": "action of",
    "contraindicated_in": "contraindication of",
    "has_adverse_effect": "adverse effect of",
    "located_in": "site of",
    "inherited_as": "inheritance of",
    "has_onset": "onset of",
    "associated_gene": "gene of",
    "targets": "target of",
    "participates_in": "process of",
    "subtype_of": "class of",
    "interacts_with": "interaction of",
}


class _Draft:
    """The sentences so far, with the facts that they state and deny."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.sentences: list[str] = []
        self.facts: list[tuple[str, str, str]] = []
        self.denied: list[tuple[str, str, str]] = []

    def say(self, key: str, **names: str) -> None:
        self.sentences.append(pick(self.rng, SENTENCES[key]).format(**names))

    def compare(self, one: str, other: str) -> None:
        """Name both in either order: the place must not tell which is right."""
        x, y = (one, other) if self.rng.random() < 0.5 else (other, one)
        self.say("compare", x=x, y=y)

    def tell(self, head: str, relation: str, tail: str) -> None:
        self.facts.append((head, relation, tail))
        self.say(relation, h=head, t=tail)

    def deny(self, head: str, relation: str, tail: str, known: bool = True) -> None:
        """known: there is more to say it on than that the graph lacks it."""
        self.denied.append((head, relation, tail))
        if not known:
            self.say("open denial", h=head, t=tail)
        elif relation in FEATURES:
            self.say("feature denial", h=head, t=tail)
        else:
            self.say("denial", h=head, t=tail, noun=NOUNS[relation])


def template_trajectory(
    question: Question,
    graph: KnowledgeGraph,
    answer_style: str,
    rng: np.random.Generator,
    wrong_turn_rate: float = 0.25,
    instruction: str = "",
    system: str = "",
    index: int = 0,
) -> Trajectory:
    """Return a worked answer to a question of `pose_question`; `index` tells several for one question apart.

    With probability `wrong_turn_rate` one refinement is used, drawn evenly from those that the question allows, and
    named in `refinements`. The conclusion binds the option's text to its letter ("trientine (B)") in style letter; in
    style text it is the text alone. `checks` holds the answer style and the triples stated and denied.
    """
    provenance = question.provenance
    path = [(edge["head"], edge["relation"], edge["tail"]) for edge in provenance["path"]]
    first, asked = provenance["chain"][0], provenance["chain"][-1]
    clues = [path[i] for i in rng.permutation(first)]
    rivals = [(rival, clue) for clue in clues for rival in graph.heads(*clue[1:])
              if rival != clue[0] and not graph.disputed(rival, *clue[1:])]  # fmt: skip
    kinds = ["self_correction"] + ["path_exploration"] * bool(rivals or not clues) + ["backtracking"] * bool(rivals)
    refinement = pick(rng, kinds) if rng.random() < wrong_turn_rate else None
    closed = not METAPATHS[provenance["metapath"]].scenario  # basic questions take the graph for all there is to know
    draft = _Draft(rng)
    if clues:
        _find_root(draft, graph, clues, rivals, refinement, closed)
    else:
        draft.say("start name", x=provenance["visible"][0])
    for triple in path[first:asked] + path[asked + 1 :]:
        draft.tell(*triple)
    if refinement == "self_correction" or (refinement and not clues):
        _reject_option(draft, provenance, refinement, closed)
    draft.tell(*path[asked])
    text = question.options[question.answer]
    draft.say("conclude", x=f"{text} ({question.answer})" if answer_style == "letter" else text)
    answer = question.answer if answer_style == "letter" else text
    return Trajectory(
        id=f"{question.id}/template/{index}",
        question_id=question.id,
        prompt=question_messages(question, answer_style, instruction, system),
        response=f"<think>\n{' '.join(draft.sentences)}\n</think>\n<answer>{answer}</answer>",
        teacher="template",
        gold_visible=True,
        refinements=(refinement,) if refinement else (),
        checks={
            "answer_style": answer_style,
            "facts": [list(triple) for triple in draft.facts],
            "denied": [list(triple) for triple in draft.denied],
        },
    )


def _find_root(
    draft: _Draft, graph: KnowledgeGraph, clues: list, rivals: list, refinement: str | None, closed: bool
) -> None:
    """From the clues to the hidden root, perhaps by way of a rival that shares one clue and lacks another."""
    root = clues[0][0]
    names = [tail for _, _, tail in clues]
    draft.say("start clues", x=", ".join(names[:-1]) + " and " + names[-1])
    if refinement in ("backtracking", "path_exploration"):
        rival, shared = pick(draft.rng, rivals)
        # The rival lacks at least one clue, since the root alone has them all: best one that a source denies it.
        denied = [clue for clue in clues if graph.denied(rival, *clue[1:])]
        unlike = [clue for clue in clues if not graph.possible(rival, *clue[1:])]
        lacking = [*denied, *unlike, *(clue for clue in clues if not graph.has(rival, *clue[1:]))][0]
        if refinement == "path_exploration":
            draft.compare(rival, root)
        draft.tell(rival, *shared[1:])
        if refinement == "backtracking":
            draft.say("suspect", x=rival)
        draft.deny(rival, *lacking[1:], closed or bool(denied))
        if refinement == "backtracking":
            draft.say("retract")
    for clue in clues:
        draft.tell(*clue)
    draft.say("drug found" if graph.entities[root].type == "drug" else "root found", x=root)


def _reject_option(draft: _Draft, provenance: dict, refinement: str, closed: bool) -> None:
    """Recall or weigh a wrong option and refute it by its certificate."""
    wrong = pick(draft.rng, provenance["certificate"]["distractors"])
    proof = wrong["violates"][-1]
    if refinement == "path_exploration":
        draft.compare(wrong["option"], provenance["answer"])
    else:
        draft.say("recall", x=wrong["option"])
    elsewhere = [t for t in wrong["shares"] if wrong["option"] in t and t[1] == proof[1]]
    if elsewhere and draft.rng.random() < 0.5:
        draft.tell(*elsewhere[-1])
    draft.deny(*proof, closed or wrong["ground"] != "absent")
    if refinement == "self_correction":
        draft.say("correct")
