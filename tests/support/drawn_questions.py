"""Questions of drawn clinics and of any graph, with the facts that the checker reads beside them."""

import functools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from support.drawn_world import SOURCE, clinic
from support.question_facts import Facts

from fleming.graph.completeness import declare
from fleming.graph.graph_files import save_graph
from fleming.graph.joining import join_sources
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.questions.sampling import sample_questions
from fleming.records import Question, to_json
from fleming.settings.synth import QuestionRules, SynthConfig
from fleming.sources.facts import Declared

SHARES = {"differential": 3, "gene": 2, "inheritance": 2, "finding": 2, "cause": 1, "treatment": 1, "class": 1,
          "test": 1, "named disease": 1, "drug of a disease": 1, "drug by action": 1}  # fmt: skip
CLOSED = "inherited_as associated_gene treated_by caused_by diagnosed_by has_mechanism contraindicated_in subtype_of"
LISTS = {(SOURCE, relation): Declared("closed") for relation in CLOSED.split()}
DECLARED = [  # nothing; lists; lists, findings too, the onsets' cut
    {},
    LISTS | {(SOURCE, "has_onset"): Declared("nearly_closed")},
    LISTS | {(SOURCE, "has_finding"): Declared("closed"), (SOURCE, "has_onset"): Declared("closed", 10**6)},
]
RULES = QuestionRules(
    min_facts=3, min_family=0, min_bits=2, min_findings=5, min_lead=1.5, min_marginal=0.5, min_score=0, similar_size=4,
    any_name=True, max_per_root=None, max_per_answer=None, max_per_fact=None, tries=1,
)  # fmt: skip


class Drawn(NamedTuple):
    graph: KnowledgeGraph
    facts: Facts
    questions: list[Question]
    records: list[dict[str, Any]]
    """The questions as a file has them."""
    synth: SynthConfig
    wanted: int
    report: dict[str, Any]


def records_of(questions: list[Question]) -> list[dict[str, Any]]:
    return [json.loads(json.dumps(to_json(question))) for question in questions]


def drawn_from(graph: KnowledgeGraph, folder: Path, synth: SynthConfig, wanted: int, seed: int) -> Drawn:
    save_graph(graph, folder / "graph.jsonl")
    questions, _, report = sample_questions(graph, wanted, seed, synth)
    facts = Facts(folder / "graph.jsonl")
    return Drawn(graph, facts, questions, records_of(questions), synth, wanted, report)


@functools.cache
def clinic_of(seed: int) -> KnowledgeGraph:
    graph = join_sources([clinic(seed)], lambda *_: None).graph
    declare(graph, DECLARED[seed % 3])
    return graph


def rules_of(seed: int) -> QuestionRules:
    world = "exclude" if seed % 3 else "mark"
    return replace(RULES, open_world=world, min_confidence=0.7 * (seed % 2), markers=seed % 3)


def synth_of(seed: int, **shares: float) -> SynthConfig:
    return SynthConfig(kinds=shares or SHARES, rules=rules_of(seed), registers=("clinical", "plain"))
