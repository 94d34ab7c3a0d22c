"""The settings of stage 1, RODS (paper, 3.1). Left out: those of the other stages."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fleming.records import Difficulty
from fleming.typed import NonNegative, Positive, PositiveShare, Range, Share
from model.errors import InputError

TEACHER = "teacher"  # as synth.voter: not a folder


@dataclass(frozen=True)
class SourceConfig:
    kind: str = ""
    """hetionet, primekg, pharmacotherapydb, disease_symptom, hpo, obo, or table with a mapping of one's own."""
    files: dict[str, str] = field(default_factory=dict)
    """Its files by name; see fleming/sources/registry.py."""
    licence: str = ""
    """Under which this copy stands, an SPDX id where it has one. Empty: as assets/licences.yaml has it."""
    address: str = ""
    """Where it was found. Empty: as assets/licences.yaml has it."""


@dataclass(frozen=True)
class WikipediaConfig:
    pages: str = ""
    """Address of a MediaWiki API, or saved pages (docs/data.md: which forms). Empty: Wikipedia is not asked."""
    seeds: tuple[str, ...] = ()
    """Titles at which the walk begins. Empty: all that are saved; an API needs some."""
    max_requests: Positive[int] = 1000
    """The crawl ends after so many requests, those of earlier runs in this folder included."""
    contact: str = ""
    """Who asks: an address for the User-Agent, which Wikipedia's rules want."""
    seconds_between_requests: NonNegative[float] = 1.0
    """Higher is kinder to the server."""
    ask_teacher: bool = False
    """Have the teacher read the pages too: one call for every 4,000 characters of a medical page, eight at most."""

    @property
    def is_live(self) -> bool:
        """Whether the pages are asked for over HTTP."""
        return self.pages.startswith(("http://", "https://"))

    def check(self, where: str) -> None:
        """Raise InputError for an API without a title to begin at."""
        if self.is_live and not self.seeds:
            raise InputError(f"{where}seeds is out of its range: with an API the walk begins at titles")


@dataclass(frozen=True)
class QuestionRules:
    """What a question must satisfy. The defaults are for the real graphs."""

    min_facts: Positive[int] = 4
    """Clues of a patient at least."""
    max_facts: Positive[int] = 7
    """And at most."""
    markers: NonNegative[int] = 3
    """Findings that mark the disease more than others do, told before what decides is looked for."""
    min_findings: Positive[int] = 8
    """Of a disease and of its rivals at least so many findings are on record: else its silence says nothing."""
    min_patients: NonNegative[int] = 3
    """A finding that was counted in fewer patients is not told; one that nobody counted may be."""
    min_shared: Positive[int] = 2
    """Core findings that each wrong option's disease has too."""
    min_frequency: Share = 0.3
    """A core finding is had by at least this share of the patients of the answer, and of a rival that shares it."""
    deciding_frequency: Share = 0.45
    """A finding that decides is had by at least this share of the answer's patients."""
    negative_frequency: Share = 0.75
    """What a patient is said not to have, at least this share of a rival's counted patients has."""
    min_family: Annotated[int, Range("from 0 to 2", lambda x: 0 <= x <= 2)] = 1
    """Wrong options at least that the family's history rules out, one being left: without it readers find a second
    good answer in a quarter of the questions (docs/benchmarks.md). Above 0 the mode of inheritance is told, not asked
    for."""
    min_found: Annotated[float, Range("above 1", lambda x: x > 1)] = 1000.0
    """Where `min_family` is above 0: of the answer against each wrong option that the family's history leaves, by the
    findings that the patient has. Readers found a second good answer in 9 of 47 questions with less, in 6 of 143 with
    more. Far above `min_odds`, since findings are not independent."""
    min_ratio: Positive[float] = 10.0
    """Likelihood ratio of one finding at least against a wrong option's disease."""
    min_confidence: Share = 0.0
    """Edges of less confidence are not used, neither on the path nor as a clue."""
    min_bits: NonNegative[float] = 3.0
    """A clue without which no wrong option would stand is so much likelier in the answer than in all diseases."""
    min_odds: Positive[float] = 20.0
    """Of the answer against each wrong option's disease, given the clues."""
    min_posterior: Share = 0.95
    """Of the answer among the options."""
    every_disease: bool = True
    """An option is ruled out with every disease of which it would be right, not with one rival alone."""
    min_lead: Positive[float] = 20.0
    """Of the answer against every other disease of the graph."""
    min_marginal: Share = 0.8
    """Of the answer among options that are no rival's (findings, modes of inheritance), over all diseases."""
    open_world: Literal["mark", "exclude"] = "exclude"
    """Wrong options of which the graph only lacks that they are right are marked so, or refused."""
    similar_size: Annotated[float, Range("at least 1", lambda x: x >= 1)] | None = 1.5
    """Options differ at most by this factor in how many edges they have; null: no bound."""
    similar_length: Annotated[float, Range("at least 1", lambda x: x >= 1)] | None = 2.0
    """And by this factor in how many letters; null: no bound."""
    max_owed: Positive[int] | None = 4
    """An option is wrong at most so many times more than three for each time right; null: no bound."""
    max_per_root: Positive[int] | None = 3
    """Questions about one root for each 3,000 that are posed, begun ones too; null: no bound."""
    max_per_answer: Positive[int] | None = 4
    """The same with one right answer, for each 3,000 that are wanted."""
    max_per_fact: Positive[int] | None = 1
    """The same whose last fact is one and the same, never scaled."""
    any_name: bool = False
    """Whether a disease may be an option of a diagnosis whose name is a number or lists its findings."""
    patients: bool = True
    """Whether a patient has an age and a sex."""
    min_score: Annotated[int, Range("from 0 to 100", lambda x: 0 <= x <= 100)] = 70
    """Questions of less are not kept."""
    tries: Positive[int] = 6
    """A root is left alone for a kind of path after so many draws in vain."""

    def check(self, where: str) -> None:
        """Raise InputError for bounds of which no number of clues holds both."""
        if self.min_facts > self.max_facts:
            raise InputError(f"{where}min_facts is too high: lower it to max_facts = {self.max_facts}")


@dataclass(frozen=True)
class TrajectoryConfig:
    """What a real teacher is asked for; the template teacher needs none of it."""

    samples: Positive[int] = 4
    """Answers a question, each with its options in another order; more of them solve more, and cost as much more."""
    gold_visible: bool = True
    """The teacher is told the right answer, as in the paper; false: it works blind, and pass@k tells what is hard."""
    rounds: Annotated[int, Range("from 0 to 3", lambda x: 0 <= x <= 3)] = 3
    """Refinements of an unsolved question at most: self-correction, then path exploration, then backtracking."""


@dataclass(frozen=True)
class SynthConfig:
    public: dict[str, str] = field(default_factory=dict)
    """name -> file of a public question set to learn from, in any form in which it is about; no test split."""
    pubmedqa_fold: Annotated[int, Range("from 0 to 9", lambda x: 0 <= x <= 9)] = 0
    """Which of PubMedQA's ten official training folds, where its labelled file is named above."""
    graph: str = "assets/medical_graph.yaml"
    """A hand-written graph, or a graph.jsonl of an earlier run; a relative path is looked up from the working folder,
    then here. Not read where there are sources."""
    retracted: str = ""
    """A list of `python -m fleming.audit retract`: sources and facts that are withdrawn (docs/audit.md)."""
    sources: dict[str, SourceConfig] = field(default_factory=dict)
    """name -> public graph to import. An entity keeps the name of the first source that has it."""
    wikipedia: WikipediaConfig = field(default_factory=WikipediaConfig)
    """The discovery agent."""
    kinds: dict[str, NonNegative[float]] = field(
        default_factory=lambda: {
            "differential": 30.0, "gene": 15.0, "inheritance": 10.0, "finding": 15.0,
            "cause": 10.0, "treatment": 10.0, "class": 5.0, "test": 5.0,
        }
    )  # fmt: skip
    """kind of question (assets/question_kinds.yaml) -> its share. What a kind cannot fill, the others do."""
    registers: tuple[Literal["clinical", "lay", "plain"], ...] = ("clinical", "lay")
    """How the stems speak; plain: short, for tiny models."""
    rules: QuestionRules = field(default_factory=QuestionRules)
    """What a question must satisfy."""
    train_questions: Positive[int] = 6000
    """At most this many synthetic training questions."""
    dev_questions: NonNegative[int] = 400
    """Held-out compositions for tuning."""
    test_questions: NonNegative[int] = 600
    """Held-out compositions for the final table."""
    rare_factor: Annotated[float, Range("above 0, at most 1e6", lambda x: 0 < x <= 1e6)] = 10.0
    """How much likelier a rare root is drawn than a common one; higher favours the rare."""
    hold_out: Literal["roots", "combinations"] = "roots"
    """What no split shares with another: roots and last facts; or combinations of clues, all of whose facts stay in
    training (the demo, whose graph is small)."""
    voter: str = ""
    """Model folder that votes on labels, and grades where grade_by says so; teacher: the one of the section teacher
    does. Empty: labels are not checked."""
    voter_max_new_tokens: Positive[int] = 1024
    """Longest answer of the voter."""
    voter_chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    """What the voter's chat template may ask for by name: {enable_thinking: false}."""
    trials: Positive[int] = 5
    """Votes a question, each with its options in another order."""
    review_rule: Literal["none_right", "any_wrong"] = "none_right"
    """none_right: what no vote gets right goes to review. any_wrong: what any vote gets wrong."""
    critic: NonNegative[int] = 0
    """Wrong options of each question for which the teacher is asked to argue; a question with one whose argument holds
    waits for a person. Two calls an option; 0: nobody is asked."""
    decisions: str = ""
    """JSONL of a person's decisions, on review.jsonl or on question cards: accept, relabel X or drop."""
    anonymise: bool = True
    """Take names, dates, numbers and the like that identify a person out of the questions."""
    grade_by: Literal["graph", "pass_rate", "rubric"] = "graph"
    """Difficulty of synthetic questions by depth, margin and how well known the root is; or of all questions by the
    voter's share of right answers, or by the voter's judgement on the paper's three definitions."""
    default_grade: dict[str, Difficulty] = field(default_factory=dict)
    """part -> difficulty of its questions where nothing has graded them; stage 1 draws no ungraded question."""
    mix: dict[str, NonNegative[float]] = field(default_factory=dict)
    """part -> share of the training set, exact; the parts are the public sets' names and graph. Empty: all of each."""
    mix_total: Positive[int] | None = None
    """Questions of the mix; null: as many as there can be."""
    cold_start_share: PositiveShare = 0.5
    """Share of the training questions that are worked out for the cold start: of all by a real teacher, of the
    synthetic ones by templates; RL draws from all of them."""
    rewrite: bool = False
    """Have the teacher tell the training questions about patients in its own words; kept only where all facts are."""
    trajectories: TrajectoryConfig = field(default_factory=TrajectoryConfig)
    """How a real teacher is asked."""
    max_words: Positive[int] = 120
    """Longest trajectory; of Chinese, characters. A real teacher needs several hundred."""
    state_uncertainty: bool = False
    """A trajectory is kept only if it says that something is not known where the graph does not say that some wrong
    option is wrong (open_world: mark)."""

    def check(self, where: str) -> None:
        """Raise InputError for settings that need one another, and for names of parts that are none."""
        if self.grade_by in ("pass_rate", "rubric") and not self.voter:
            raise InputError(f"{where}grade_by is {self.grade_by}, which needs a model: set voter")
        if "graph" in self.public:
            raise InputError(f"{where}public is out of its range: graph is the name of the synthetic part")
        if unknown := sorted(set(self.default_grade) - set(self.public)):
            raise InputError(f"{where}default_grade.{unknown[0]}: no public set has this name")
        for key in ("kinds", "mix"):
            if (shares := getattr(self, key)) and not any(shares.values()):
                raise InputError(f"{where}{key} is out of its range: all shares are 0, set one above 0")
        if not self.kinds or not self.registers:
            raise InputError(f"{where}{'registers' if self.kinds else 'kinds'} is empty: name one")
        if self.mix_total is not None and not self.mix:
            raise InputError(f"{where}mix_total is out of its range: there is no mix")
        if self.mix and (odd := sorted(self.mix.keys() ^ {*self.public, "graph"})):
            unknown = odd[0] in self.mix
            fault = "no part has this name" if unknown else "this part needs a share; 0 leaves it out"
            raise InputError(f"{where}mix.{odd[0]}: {fault} (parts: graph, and the names in synth.public)")


@dataclass(frozen=True)
class BaseModelConfig:
    """A small Qwen3-style model with fresh weights, for runs that start from nothing (the demo)."""

    make: bool = False
    """Make RUN_DIR/base/model: tokenizer from the synthetic text, fresh weights. Off: `model` names a folder."""
    vocab_size: Positive[int] = 2048
    """At most this many ids in the BPE tokenizer."""
    hidden_size: Positive[int] = 128
    """Width D."""
    intermediate_size: Positive[int] = 384
    """Width of the SwiGLU."""
    num_layers: Positive[int] = 4
    """Blocks."""
    num_heads: Positive[int] = 4
    """Query heads."""
    num_kv_heads: Positive[int] = 2
    """Key/value heads."""
    head_dim: Positive[int] = 32
    """Width of a head; its own setting, as in Qwen3."""
    rope_theta: Positive[float] = 10000.0
    """Base of the rotary wavelengths; short texts learn faster with a small one."""
    initializer_range: Positive[float] = 0.08
    """Standard deviation of fresh weights."""

    def check(self, where: str) -> None:
        """Raise InputError for heads that cannot be grouped or rotated."""
        if self.num_heads % self.num_kv_heads:
            raise InputError(f"{where}num_kv_heads is out of its range: it must divide num_heads")
        if self.head_dim % 2:
            raise InputError(f"{where}head_dim is out of its range: it must be even")
