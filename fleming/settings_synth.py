"""The settings of stage 1, RODS (paper, 3.1). Left out: those of the other stages (settings.py)."""

from dataclasses import dataclass, field
from typing import Literal

from fleming.records import DIFFICULTIES
from model.errors import InputError


def check_ranges(where: str, **conditions: bool) -> None:
    """Raise InputError, beginning with `where`, for the first condition that does not hold."""
    for name, ok in conditions.items():
        if not ok:
            raise InputError(f"{where}{name} is out of its range")


@dataclass(frozen=True)
class SourceConfig:
    kind: str = ""
    """hetionet, primekg, pharmacotherapydb, disease_symptom, hpo, obo, or table with a mapping of one's own."""
    files: dict[str, str] = field(default_factory=dict)
    """Its files by name; see fleming/sources/registry.py."""


@dataclass(frozen=True)
class WikipediaConfig:
    pages: str = ""
    """Address of a MediaWiki API, or a file or folder of saved pages. Empty: Wikipedia is not asked."""
    seeds: tuple[str, ...] = ()
    """Titles at which the walk begins. Empty: all that are saved; an API needs some."""
    max_pages: int = 10000
    """The walk ends after so many pages."""
    max_requests: int = 1000
    """Or after so many requests, those of earlier runs in this folder included."""
    contact: str = ""
    """Who asks: an address for the User-Agent, which Wikipedia's rules want."""
    seconds_between_requests: float = 1.0
    """Higher is kinder to the server."""

    def check(self, where: str) -> None:
        """Raise InputError for a value out of range."""
        from_api = self.pages.startswith(("http://", "https://"))
        check_ranges(
            where,
            seeds=bool(self.seeds) or not from_api,
            max_pages=self.max_pages > 0,
            max_requests=self.max_requests > 0,
            seconds_between_requests=self.seconds_between_requests >= 0,
        )


@dataclass(frozen=True)
class SynthConfig:
    public: dict[str, str] = field(default_factory=dict)
    """name -> file of a public question set to learn from, in any form in which it is about; no test split."""
    pubmedqa_fold: int = 0
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
    train_questions: int = 6000
    """At most this many synthetic training questions."""
    dev_questions: int = 400
    """Held-out compositions for tuning."""
    test_questions: int = 600
    """Held-out compositions for the final table."""
    rare_factor: float = 3.0
    """How much likelier a rare disease is drawn than a common one; higher favours the rare."""
    degree_exponent: float = 0.5
    """An entity is drawn in proportion to (1 + degree)^-this; higher favours what few edges reach."""
    min_shared: int = 1
    """Scenarios: visible edges that each wrong option's own path has in common with the right one."""
    max_clues: int = 5
    """Scenarios: at most so many visible findings of the hidden disease or drug."""
    min_confidence: float = 0.0
    """Scenarios: edges of less confidence are not used."""
    min_frequency: float = 0.3
    """Scenarios: a finding known to be rarer than this among the disease's patients is no clue."""
    max_answer_share: float = 0.02
    """Scenarios: at most this share of the questions of a chain length have one answer, or begin at one disease."""
    open_world: Literal["mark", "exclude"] = "mark"
    """Scenarios: wrong options of which the graph only lacks that they are right are marked so, or refused."""
    voter: str = ""
    """Model folder that votes on labels, and grades where grade_by says so. Empty: labels are not checked."""
    voter_max_new_tokens: int = 1024
    """Longest answer of the voter."""
    trials: int = 5
    """Votes a question, each with its options in another order."""
    review_rule: Literal["none_right", "any_wrong"] = "none_right"
    """none_right: what no vote gets right goes to review. any_wrong: what any vote gets wrong."""
    decisions: str = ""
    """JSONL of a person's decisions on review.jsonl: accept, relabel X or drop."""
    anonymise: bool = True
    """Take names, dates, numbers and the like that identify a person out of the questions."""
    grade_by: Literal["hops", "graph", "pass_rate", "rubric"] = "hops"
    """Difficulty of synthetic questions by chain length, or by hops, rarity and near distractors; or of all questions
    by the voter's share of right answers, or by the voter's judgement on the paper's three definitions."""
    default_grade: dict[str, str] = field(default_factory=dict)
    """part -> difficulty of its questions where nothing has graded them; stage 1 draws no ungraded question."""
    mix: dict[str, float] = field(default_factory=dict)
    """part -> share of the training set, exact; the parts are the public sets' names and graph. Empty: all of each."""
    mix_total: int | None = None
    """Questions of the mix; null: as many as there can be."""
    cold_start_share: float = 0.5
    """Share of the synthetic training questions that get a trajectory; RL draws from all of them."""
    wrong_turn_rate: float = 0.25
    """Share of trajectories that take a wrong turn and mend it."""
    max_words: int = 120
    """Longest trajectory."""

    def check(self, where: str) -> None:
        """Raise InputError for a value out of range."""
        if self.grade_by in ("pass_rate", "rubric") and not self.voter:
            raise InputError(f"{where}grade_by is {self.grade_by}, which needs a model: set voter")
        if self.decisions and not self.voter:
            raise InputError(f"{where}decisions is set, but there is no label check without a voter")
        if odd := sorted(set(self.default_grade) - set(self.public)):
            raise InputError(f"{where}default_grade.{odd[0]}: no public set has this name")
        check_ranges(
            where,
            public="graph" not in self.public,
            pubmedqa_fold=0 <= self.pubmedqa_fold < 10,
            train_questions=self.train_questions > 0,
            dev_questions=self.dev_questions >= 0,
            test_questions=self.test_questions >= 0,
            rare_factor=0 < self.rare_factor <= 1e6,
            degree_exponent=0 <= self.degree_exponent <= 10,
            min_shared=self.min_shared >= 1,
            max_clues=self.max_clues >= 3,
            min_confidence=0 <= self.min_confidence <= 1,
            max_answer_share=0 < self.max_answer_share <= 1,
            min_frequency=0 <= self.min_frequency <= 1,
            voter_max_new_tokens=self.voter_max_new_tokens > 0,
            trials=self.trials > 0,
            default_grade=set(self.default_grade.values()) <= set(DIFFICULTIES),
            mix_total=self.mix_total is None or (self.mix_total > 0 and bool(self.mix)),
            cold_start_share=0 < self.cold_start_share <= 1,
            wrong_turn_rate=0 <= self.wrong_turn_rate <= 1,
            max_words=self.max_words > 0,
        )
        if self.mix and (odd := sorted(self.mix.keys() ^ {*self.public, "graph"})):
            fault = "no part has this name" if odd[0] in self.mix else "this part needs a share; 0 leaves it out"
            raise InputError(f"{where}mix.{odd[0]}: {fault} (the parts: graph, and the names in synth.public)")
