"""The settings of stage 1, RODS (paper, 3.1). Left out: those of the other stages."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from fleming.records import Difficulty
from fleming.typed import NonNegative, Positive, PositiveShare, Range, Share
from model.errors import InputError


@dataclass(frozen=True)
class SourceConfig:
    kind: str = ""
    """hetionet, primekg, pharmacotherapydb, disease_symptom, hpo, obo, or table with a mapping of one's own."""
    files: dict[str, str] = field(default_factory=dict)
    """Its files by name; see fleming/sources/registry.py."""


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

    def check(self, where: str) -> None:
        """Raise InputError for an API without a title to begin at."""
        if self.pages.startswith(("http://", "https://")) and not self.seeds:
            raise InputError(
                f"{where}seeds is out of its range: an API needs titles at which the walk begins"
            )


@dataclass(frozen=True)
class SynthConfig:
    public: dict[str, str] = field(default_factory=dict)
    """name -> file of a public question set to learn from, in any form in which it is about; no test split."""
    pubmedqa_fold: Annotated[int, Range("from 0 to 9", lambda x: 0 <= x <= 9)] = 0
    """Which of PubMedQA's ten official training folds, where its labelled file is named above."""
    graph: str = "assets/medical_graph.yaml"
    """A hand-written graph, or a graph.jsonl of an earlier run; a relative path is looked up from the working folder,
    then here. Not read where there are sources."""
    sources: dict[str, SourceConfig] = field(default_factory=dict)
    """name -> public graph to import. An entity keeps the name of the first source that has it."""
    wikipedia: WikipediaConfig = field(default_factory=WikipediaConfig)
    """The discovery agent."""
    style: Literal["basic", "scenario"] = "basic"
    """basic: short questions of 1 to 3 hops (the demo). scenario: the paper's, 2 to 4 hops, every node unique."""
    train_questions: Positive[int] = 6000
    """At most this many synthetic training questions."""
    dev_questions: NonNegative[int] = 400
    """Held-out compositions for tuning."""
    test_questions: NonNegative[int] = 600
    """Held-out compositions for the final table."""
    rare_factor: Annotated[float, Range("above 0, at most 1e6", lambda x: 0 < x <= 1e6)] = 3.0
    """How much likelier a rare disease is drawn than a common one; higher favours the rare."""
    degree_exponent: Annotated[float, Range("from 0 to 10", lambda x: 0 <= x <= 10)] = 0.5
    """An entity is drawn in proportion to (1 + degree)^-this; higher favours what few edges reach."""
    min_shared: Positive[int] = 1
    """Scenarios: visible edges that each wrong option's own path has in common with the right one."""
    min_confidence: Share = 0.0
    """Scenarios: edges of less confidence are not used."""
    min_frequency: Share = 0.3
    """Scenarios: a finding known to be rarer than this among the disease's patients is no clue."""
    max_answer_share: PositiveShare = 0.02
    """Scenarios: at most this share of the questions of a chain length have one answer, or begin at one disease."""
    open_world: Literal["mark", "exclude"] = "mark"
    """Scenarios: wrong options of which the graph only lacks that they are right are marked so, or refused."""
    voter: str = ""
    """Model folder that votes on labels, and grades where grade_by says so. Empty: labels are not checked."""
    voter_max_new_tokens: Positive[int] = 1024
    """Longest answer of the voter."""
    trials: Positive[int] = 5
    """Votes a question, each with its options in another order."""
    review_rule: Literal["none_right", "any_wrong"] = "none_right"
    """none_right: what no vote gets right goes to review. any_wrong: what any vote gets wrong."""
    decisions: str = ""
    """JSONL of a person's decisions, on review.jsonl or on question cards: accept, relabel X or drop."""
    anonymise: bool = True
    """Take names, dates, numbers and the like that identify a person out of the questions."""
    grade_by: Literal["hops", "graph", "pass_rate", "rubric"] = "hops"
    """Difficulty of synthetic questions by chain length, or by hops, rarity and near distractors; or of all questions
    by the voter's share of right answers, or by the voter's judgement on the paper's three definitions."""
    default_grade: dict[str, Difficulty] = field(default_factory=dict)
    """part -> difficulty of its questions where nothing has graded them; stage 1 draws no ungraded question."""
    mix: dict[str, float] = field(default_factory=dict)
    """part -> share of the training set, exact; the parts are the public sets' names and graph. Empty: all of each."""
    mix_total: Positive[int] | None = None
    """Questions of the mix; null: as many as there can be."""
    cold_start_share: PositiveShare = 0.5
    """Share of the synthetic training questions that get a trajectory; RL draws from all of them."""
    max_words: Positive[int] = 120
    """Longest trajectory."""

    def check(self, where: str) -> None:
        """Raise InputError for settings that need one another, and for names of parts that are none."""
        if self.grade_by in ("pass_rate", "rubric") and not self.voter:
            raise InputError(f"{where}grade_by is {self.grade_by}, which needs a model: set voter")
        if "graph" in self.public:
            raise InputError(f"{where}public is out of its range: graph is the name of the synthetic part")
        if unknown := sorted(set(self.default_grade) - set(self.public)):
            raise InputError(f"{where}default_grade.{unknown[0]}: no public set has this name")
        if self.mix_total is not None and not self.mix:
            raise InputError(f"{where}mix_total is out of its range: there is no mix")
        if self.mix and (odd := sorted(self.mix.keys() ^ {*self.public, "graph"})):
            fault = (
                "no part has this name" if odd[0] in self.mix else "this part needs a share; 0 leaves it out"
            )
            raise InputError(
                f"{where}mix.{odd[0]}: {fault} (the parts: graph, and the names in synth.public)"
            )


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
