"""Questions of the real graphs joined, each proved by question_checker; skipped where the graphs are not at hand."""

from collections import Counter

import pytest
from support.drawn_questions import drawn_from, records_of
from support.places import ROOT
from support.question_checker import faults_of_set, faults_of_splits

from benchmarks.frozen import SHARED, real_settings
from fleming.config import load_config
from fleming.graph.build import build_graph, graph_files
from fleming.questions.splitting import split_questions
from fleming.settings import Config

pytestmark = pytest.mark.slow
# Of the usual kinds those of which these graphs give any, and of findings no more than they give with ease: that there
# are no others takes the generator most of its time to find out.
KINDS = "synth.kinds={differential: 24, gene: 15, finding: 1}"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    if not (SHARED / "kg").is_dir():
        pytest.skip("needs the real graphs in ../shared")
    settings = [*real_settings(), KINDS]
    synth = load_config(Config, ROOT / "configs/fleming_r1_7b.yaml", settings).synth
    place = tmp_path_factory.mktemp("real")
    graph = build_graph(synth, graph_files(synth, ROOT), place, lambda *_: None).graph
    return drawn_from(graph, place, synth, 40, 0)


def test_the_independent_checker_finds_no_fault_in_questions_of_the_real_graphs(drawn):
    assert len(drawn.questions) == drawn.wanted
    assert faults_of_set(drawn.facts, drawn.records, drawn.synth.rules, drawn.wanted) == []
    asked = Counter(question.provenance["kind"] for question in drawn.questions)
    assert min(asked[kind] for kind in ("differential", "gene")) >= 10
    roots = Counter(question.provenance["root"] for question in drawn.questions)
    assert max(roots.values()) == 1  # of some thousands
    assert drawn.report["rare_drawn"] > drawn.report["rare_even"]


def test_real_splits_share_no_root_and_no_last_fact(drawn):
    questions = [question for question in drawn.questions if question.provenance["hops"] < 3]
    parts = split_questions(questions, 10, 15, 0, facts_in_training=False)
    assert faults_of_splits(records_of([question for part in parts for question in part]), "roots") == []
