"""Which diseases are common by name, and what becomes of the records of a susceptibility."""

import doctest

import pytest
from support.source_files import HP, hpoa, read, triples, write

from fleming.graph.build import build_graph, graph_files
from fleming.graph.completeness import is_closed
from fleming.settings.synth import SourceConfig, SynthConfig
from fleming.sources import commonness
from fleming.sources.commonness import is_common, is_susceptibility
from model.errors import InputError


def test_examples_in_docstrings_are_true():
    assert doctest.testmod(commonness).failed == 0


@pytest.mark.parametrize(
    "name",
    [
        "Asthma, susceptibility to, 2",
        "autism susceptibility, X-linked 1",
        "body mass index quantitative trait locus 20",
        "cystic fibrosis, modifier of, 1",
        "1q21.1 recurrent microdeletion (susceptibility locus for neurodevelopmental disorders)",
    ],
)
def test_a_susceptibility_is_known_by_its_name_and_common(name):
    assert is_susceptibility(name)
    assert is_common(name)


@pytest.mark.parametrize(
    ("name", "common"),
    [
        ("Alzheimer disease 5", True),
        ("PARKINSON DISEASE 4, AUTOSOMAL DOMINANT", True),
        ("Parkinson's disease, late-onset", True),
        ("diabetes mellitus, noninsulin-dependent", True),
        ("glaucoma 1, open angle, G", True),
        ("inflammatory bowel disease (Crohn disease) 30", True),
        ("Asthma, nasal polyps, and aspirin intolerance", False),
        ("Young-onset Parkinson disease", False),
        ("diabetes mellitus, permanent neonatal 1", False),
        ("immunodeficiency 65, susceptibility to viral infections", False),
        ("D-lactic aciduria with susceptibility to gout", False),
        ("Wolff disease", False),
        ("", False),
    ],
)
def test_a_numbered_form_of_a_common_disease_is_common_and_a_disease_with_more_to_it_is_not(name, common):
    assert is_common(name) is common


def test_what_a_susceptibility_is_inherited_by_is_not_mendelian(tmp_path):
    annotations = hpoa("HP:0000007 I", "HP:0000007 I database_id=OMIM:2 disease_name=N", "HP:0001250 P")
    genes = """ncbi_gene_id\tgene_symbol\thpo_id\thpo_name\tfrequency\tdisease_id
10\tNAT2\tHP:0000007\tx\t-\tOMIM:1
10\tNAT2\tHP:0000007\tx\t-\tOMIM:2
"""
    files = {
        "ontology": write(tmp_path, "hp.obo", HP),
        "annotations": write(
            tmp_path, "phenotype.hpoa", annotations.replace("some disease", "Asthma, susceptibility to, 3")
        ),
        "genes": write(tmp_path, "genes.txt", genes),
    }
    _, facts, _ = read("hpo", files)
    assert [
        fact[1:] for fact in triples(facts) if fact[1].startswith("OMIM") and fact[2] != "has_finding"
    ] == [
        ("OMIM:1", "susceptibility_inherited_as", "HP:0000007"),
        ("OMIM:2", "inherited_as", "HP:0000007"),
        ("OMIM:1", "susceptibility_gene", "NCBIGENE:10"),
        ("OMIM:2", "associated_gene", "NCBIGENE:10"),
    ]

    synth = SynthConfig(sources={"hpo": SourceConfig(kind="hpo", files=files)})
    graph = build_graph(synth, graph_files(synth, tmp_path), tmp_path, lambda *_: None).graph
    asthma, disease = (next(e for e in graph.entities.values() if f"OMIM:{i}" in e.ids) for i in (1, 2))
    assert (asthma.rare, disease.rare) == (False, True)
    for relation in ("inherited_as", "associated_gene"):
        graph.declared["HPO", relation] = graph.declared["HPO", relation]._replace(published=1)
        assert not is_closed(graph, asthma.name, relation)
        assert is_closed(graph, disease.name, relation)


def test_a_pattern_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(commonness, "COMMON", write(tmp_path, "common.yaml", "susceptibilities: ['(']"))
    with pytest.raises(InputError, match=r"common\.yaml.*'\('"):
        commonness.common_diseases()
