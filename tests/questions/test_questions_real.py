"""Questions of the real graphs joined, each proved by question_checker; skipped where the graphs are not at hand."""

from collections import Counter
from dataclasses import replace

import pytest
from support.drawn_questions import drawn_from, records_of
from support.places import ROOT
from support.question_checker import faults_of_set, faults_of_splits

from fleming.config import load_config
from fleming.graph.build import build_graph, graph_files
from fleming.questions.splitting import split_questions
from fleming.settings import Config
from fleming.settings.synth import SourceConfig, WikipediaConfig

pytestmark = pytest.mark.slow
SOURCES = {
    "disease_ontology": ("obo", {"file": "disease_ontology/DO_rare_slim.obo.gz"}),
    "disease_symptoms": ("disease_symptom", {"file": "disease_ontology/disease-symptom.tsv"}),
    "hpo": ("hpo", {"ontology": "hpo/hp.obo.xz", "annotations": "hpo/phenotype.hpoa.xz",
                    "genes": "hpo/genes_to_phenotype.txt.xz"}),
    "hetionet": ("hetionet", {"nodes": "hetionet/hetionet-v1.0-nodes.tsv.gz", "edges": "hetionet/edges-5k.sif.gz"}),
    "pharmacotherapydb": ("pharmacotherapydb", {"file": "pharmacotherapydb/indications.tsv"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = ROOT.parent / "shared/data/kg"
    if not folder.is_dir():
        pytest.skip("needs the real graphs in ../shared")
    sources = {
        name: SourceConfig(kind, {key: str(folder / path) for key, path in files.items()})
        for name, (kind, files) in SOURCES.items()
    }
    synth = load_config(Config, ROOT / "configs/fleming_r1_7b.yaml", []).synth
    pages = WikipediaConfig(str(folder / "wikipedia/rare_disease_leads.json"))
    synth = replace(synth, sources=sources, wikipedia=pages)
    place = tmp_path_factory.mktemp("real")
    graph = build_graph(synth, graph_files(synth, ROOT), place, lambda *_: None).graph
    return drawn_from(graph, place, synth, 200, 0)


def test_the_independent_checker_finds_no_fault_in_questions_of_the_real_graphs(drawn):
    assert len(drawn.questions) == drawn.wanted
    assert faults_of_set(drawn.facts, drawn.records, drawn.synth.rules, drawn.wanted) == []
    asked = Counter(question.provenance["kind"] for question in drawn.questions)
    assert min(asked[kind] for kind in ("differential", "gene", "inheritance")) >= 15
    roots = Counter(question.provenance["root"] for question in drawn.questions)
    assert max(roots.values()) == 1  # of some thousands
    assert drawn.report["rare_drawn"] > drawn.report["rare_even"]


def test_real_splits_share_no_root_and_no_last_fact(drawn):
    questions = [question for question in drawn.questions if question.provenance["hops"] < 3]
    parts = split_questions(questions, 15, 20, 0, facts_in_training=False)
    assert faults_of_splits(records_of([question for part in parts for question in part]), "roots") == []
