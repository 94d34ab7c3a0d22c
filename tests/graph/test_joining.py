"""Joining sources: which records become one entity, under which name, and what each fact then says."""

import pytest

from fleming.graph.joining import join_sources
from fleming.graph.open_world import denied, disputed, has
from fleming.sources.facts import Fact, Node, Origin, curie
from model.errors import InputError

ONE, TWO = Origin("one", "one.tsv"), Origin("two", "two.tsv")


def join(*items, skipped=None):
    return join_sources([items], lambda *s: skipped.append(s) if skipped is not None else None)


def disease(key, name, *xrefs, synonyms=(), rare=None):
    return Node(key, name, "disease", synonyms, xrefs, rare)


GENE = Node("NCBIGENE:1", "G1", "gene")


def entity_of(joined, key):
    return next(e for e in joined.graph.entities.values() if key in e.ids)


def linked(*keys):
    return [Fact(key, "associated_gene", GENE.key, ONE, i) for i, key in enumerate(keys, 1)]


def test_a_cross_reference_joins_and_the_first_source_names():
    joined = join(
        disease("DOID:1", "Gaucher disease", "OMIM:230800"),
        disease("OMIM:230800", "Gaucher Disease, Type I", synonyms=("glucocerebrosidase deficiency",)),
        GENE,
        *linked("DOID:1", "OMIM:230800"),
    )
    entity = entity_of(joined, "OMIM:230800")
    assert (entity.name, entity.ids) == ("Gaucher disease", ("DOID:1", "OMIM:230800"))
    assert entity.synonyms == ("Gaucher Disease, Type I", "glucocerebrosidase deficiency")
    (edge,) = joined.graph.edges()
    assert [e.record for e in edge.evidence] == [1, 2]
    assert joined.joins == [
        {"entity": "Gaucher disease", "record": "OMIM:230800", "by": "identifier", "through": "OMIM:230800"}
    ]


def test_an_identifier_that_is_not_one_to_one_joins_nothing_and_is_recorded():
    joined = join(
        disease("DOID:1", "retinitis", "OMIM:1", "OMIM:2"),
        disease("OMIM:1", "retinitis type 1"),
        disease("OMIM:2", "retinitis type 2"),
        disease("DOID:3", "x", "MONDO:9"),
        disease("DOID:4", "y", "MONDO:9"),
        disease("MONDO:9", "z"),
        GENE,
        *linked("DOID:1"),
    )
    assert len(joined.graph.entities) == 7
    assert joined.report["refused"] == {"not one to one": 4}


def test_two_terms_of_one_authority_stay_apart_whatever_joins_them():
    joined = join(
        disease("DOID:1", "fever a", "UMLS:C1"),
        disease("OMIM:5", "fever b", "UMLS:C1", "MESH:D9"),
        disease("DOID:2", "fever c", "MESH:D9"),
        GENE,
        *linked("DOID:1"),
    )
    assert entity_of(joined, "DOID:1") is not entity_of(joined, "DOID:2")
    assert joined.report["refused"] == {"an authority keeps them apart": 1}


def test_a_group_is_one_entity_with_its_members_and_keeps_their_names():
    joined = join(
        disease("MONDO:0000001", "brittle bones type 1", synonyms=("OI1",)),
        disease("MONDO:0000002", "brittle bones type 2"),
        disease("MONDO:0000003", "another"),
        disease("MONDO_GROUPED:1_2", "brittle bones", "MONDO:0000001", "MONDO:0000002", "MONDO:0000009"),
        GENE,
        *linked("MONDO:0000001", "MONDO:0000003", "MONDO_GROUPED:1_2"),
    )
    entity = entity_of(joined, "MONDO_GROUPED:1_2")
    assert entity.ids == ("MONDO:0000001", "MONDO:0000002", "MONDO_GROUPED:1_2")
    assert (entity.name, entity.synonyms) == (
        "brittle bones type 1",
        ("OI1", "brittle bones type 2", "brittle bones"),
    )
    assert entity_of(joined, "MONDO:0000003") is not entity
    assert {join["by"] for join in joined.joins} == {"group"}


def test_names_join_after_identifiers_accents_and_possessives_apart():
    joined = join(
        disease("DOID:1", "Sjögren's syndrome"),
        disease("ORPHA:2", "Sjogren syndrome"),
        disease("OMIM:3", "Sicca complex"),
        disease("MONDO:4", "dry eye disease", synonyms=("sicca complex",)),
        GENE,
        *linked("DOID:1"),
    )
    assert entity_of(joined, "ORPHA:2").ids == ("DOID:1", "ORPHA:2")
    assert entity_of(joined, "MONDO:4").ids == ("OMIM:3", "MONDO:4")
    assert joined.report["joins"] == {"name": 2}


def test_a_disease_is_the_same_with_its_words_in_another_order_but_a_finding_is_not():
    joined = join(
        disease("OMIM:1", "Ciliary dyskinesia, primary, 3"),
        disease("ORPHA:2", "Primary ciliary dyskinesia type 3"),
        disease("DOID:3", "primary ciliary dyskinesia 33"),
        disease("DOID:4", "primary ciliary dyskinesia type 2"),
        disease("DOID:5", "Dystonia without parkinsonism"),
        disease("ORPHA:6", "Parkinsonism without dystonia"),
        disease("OMIM:7", "Adrenal hyperplasia, congenital, due to 11-beta-hydroxylase deficiency"),
        disease("ORPHA:8", "Congenital adrenal hyperplasia due to 11-beta-hydroxylase deficiency"),
        Node("HP:1", "Left right shunt", "finding"),
        Node("UMLS:2", "right left shunt", "finding"),
        GENE,
        *linked("OMIM:1"),
    )
    assert entity_of(joined, "ORPHA:2").ids == ("OMIM:1", "ORPHA:2")
    assert entity_of(joined, "OMIM:7").ids == ("OMIM:7", "ORPHA:8")
    assert joined.report["joins"] == {"name": 2}


def test_one_name_in_two_families_is_two_entities_and_billing_codes_join_nothing():
    joined = join(
        Node("HP:1", "Hypertension", "finding", (), ("ICD10:I10",)),
        disease("DOID:1", "hypertension", "ICD10:I10"),
        disease("DOID:2", "renal hypertension", "ICD10:I10"),
        GENE,
        *linked("DOID:1"),
    )
    assert entity_of(joined, "DOID:1").name == "hypertension"
    assert entity_of(joined, "HP:1").name == "hypertension (finding)"


def test_a_finding_that_another_source_calls_a_symptom_is_one_and_its_edges_say_so():
    joined = join(
        Node("HP:1", "Headache", "finding", (), ("MESH:D006261",)),
        Node("MESH:D006261", "Headache", "symptom"),
        Node("HP:2", "High lactate", "lab"),
        disease("DOID:1", "migraine"),
        Fact("DOID:1", "has_finding", "HP:1", ONE, 1),
        Fact("DOID:1", "has_symptom", "MESH:D006261", TWO, 1),
        Fact("DOID:1", "has_finding", "HP:2", ONE, 2, confidence=0.5),
    )
    relations = {edge.tail: (edge.relation, edge.sources) for edge in joined.graph.edges()}
    assert relations == {"headache": ("has_symptom", 2), "high lactate": ("has_lab", 1)}


def test_inverse_relations_are_turned_and_negations_contradict():
    joined = join(
        disease("DOID:1", "gout"),
        Node("DRUGBANK:1", "colchicine", "drug"),
        Fact("DRUGBANK:1", "treats", "DOID:1", ONE, 1),
        Fact("DOID:1", "treated_by", "DRUGBANK:1", TWO, 1, negated=True),
    )
    graph = joined.graph
    assert has(graph, "gout", "treated_by", "colchicine")
    assert disputed(graph, "gout", "treated_by", "colchicine")
    assert not denied(graph, "gout", "treated_by", "colchicine")
    assert len(graph) == 2


def test_facts_that_cannot_be_are_skipped_with_file_and_record():
    skipped = []
    join(
        disease("DOID:1", "gout", "OMIM:1"),
        disease("OMIM:1", "Gout"),
        GENE,
        Fact("DOID:1", "resembles", "OMIM:1", ONE, 7),
        Fact("DOID:1", "associated_gene", "NCBIGENE:99", ONE, 8),
        Fact("NCBIGENE:1", "treated_by", "DOID:1", TWO, 9),
        Fact("DOID:1", "has_symptom", "NCBIGENE:1", TWO, 10),  # its tail is none
        Fact("DOID:1", "^targets", "NCBIGENE:1", TWO, 11),
        *linked("DOID:1"),
        skipped=skipped,
    )
    assert [s[:2] for s in skipped] == [
        ("one.tsv: record 7", "self_loop"),
        ("one.tsv: record 8", "unknown_entity"),
        ("two.tsv: record 9", "wrong_type"),
        ("two.tsv: record 10", "wrong_type"),
        ("two.tsv: record 11", "relation"),
    ]


def test_a_former_identifier_finds_its_term():
    joined = join(
        Node("HP:1", "Ataxia", "finding", (), ("HP:9",)),
        disease("OMIM:1", "x"),
        Fact("OMIM:1", "has_finding", "HP:9", ONE, 1),
    )
    assert has(joined.graph, "x", "has_finding", "ataxia")


def test_rarity_is_a_sources_word_or_what_a_drug_treats_and_the_degree_only_where_no_source_has_a_word():
    items = [disease(f"OMIM:{i}", f"d{i}", rare=True) for i in range(2)] + [
        disease("DOID:9", "common", rare=False)
    ]
    items.append(
        disease("OMIM:600807", "Common", rare=True)
    )  # a susceptibility to it: its prevalence is known
    items += [disease(f"DOID:{i}", f"e{i}") for i in range(4)] + [GENE]
    items += [Node(f"DRUGBANK:{i}", f"drug{i}", "drug") for i in range(3)]
    items += [Fact(f"DOID:{i}", "has_finding", f"HP:{j}", ONE, 1) for i in range(4) for j in range(i + 1)]
    items += [Node(f"HP:{j}", f"f{j}", "finding") for j in range(4)]
    items += [Fact("OMIM:0", "treated_by", "DRUGBANK:0", ONE, 2), Fact("OMIM:1", "treated_by", "DRUGBANK:1", ONE, 3),
              Fact("DOID:9", "treated_by", "DRUGBANK:1", ONE, 4)]  # fmt: skip
    joined = join(*items)
    rare = {name for name, entity in joined.graph.entities.items() if entity.rare}
    assert rare == {"d0", "d1", "drug0"}  # drug2 treats nothing that is known
    assert joined.report["rare"] == {"by a source": 2, "drugs by what they treat": 1}

    joined = join(*(item._replace(rare=None) if isinstance(item, Node) else item for item in items))
    rare = {name for name, entity in joined.graph.entities.items() if entity.rare}
    assert {"e0", "drug2"} <= rare  # the fewest edges
    assert joined.report["rare"]["by a source"] == 0


def test_names_read_as_inside_a_sentence():
    joined = join(
        Node("HP:1", "Babinski sign", "finding"),
        Node("HP:2", "Increased circulating lactate", "finding", ("Positive Romberg sign with falling",)),
        Node("MESH:D1", "Purpura, Schoenlein-Henoch", "symptom"),
        Node("HP:3", "Romberg test positive", "finding"),
        disease("OMIM:1", "GOUT, FAMILIAL"),
        disease("OMIM:7", "OBESITY"),
        disease("DOID:7", "obesity"),
        disease("ORPHA:2", "Gout, familial"),
        GENE,
        *linked("OMIM:1"),
    )
    assert list(joined.graph.entities) == [
        "Babinski sign", "increased circulating lactate", "Schoenlein-Henoch purpura", "Romberg test positive",
        "Gout, familial", "obesity", "G1",
    ]  # fmt: skip


def test_a_letter_that_tells_forms_apart_and_a_genus_keep_their_capital():
    joined = join(
        disease("DOID:1", "Cone dystrophy type 1A"),
        disease("DOID:2", "Lymphedema I"),
        disease("DOID:3", "Vitamin D-dependent rickets"),
        disease("DOID:4", "x", synonyms=("a lymphedema i of cone type 1a", "a vitamin d-dependent fanconi")),
        disease("DOID:5", "y", synonyms=("some Fanconi syndrome", "a Fanconi trait")),
        disease("DOID:6", "Fanconi anemia"),
        disease("OMIM:7", "FANCONI TRAIT OF THE KIDNEY, GROUP U2"),
        Node("NAME:m", "Mycobacterium leprae", "mechanism", ("a mycobacterium",)),
        Node("HP:1", "Late-onset weakness", "finding"),
        Node("HP:2", "Facial palsy", "finding", tuple(f"a facial sign {i}" for i in range(60))),
        Node("N:1", "Kinase Inhibitors", "drug_class"),
        GENE,
        *linked("DOID:1"),
    )
    names = {entity.ids[0]: entity.name for entity in joined.graph.entities.values()}
    assert names == {
        "DOID:1": "cone dystrophy type 1A", "DOID:2": "lymphedema I", "DOID:3": "vitamin D-dependent rickets",
        "DOID:4": "x", "DOID:5": "y", "DOID:6": "Fanconi anemia", "OMIM:7": "Fanconi trait OF THE kidney, group U2",
        "NAME:m": "Mycobacterium leprae",
        "HP:1": "late-onset weakness", "HP:2": "facial palsy", "N:1": "kinase inhibitors", "NCBIGENE:1": "G1",
    }  # fmt: skip


def test_what_a_layperson_says_stands_as_inside_a_sentence():
    joined = join(
        Node("HP:1", "Seizure", "finding", ("Seizures",), lay=("Seizures", "Fits")),
        Node(
            "HP:2",
            "Neoplasm of the uterus",
            "finding",
            ("Uterine tumor", "a uterine growth"),
            lay=("Uterine tumor",),
        ),
        Node("HP:3", "Facial palsy", "finding", ("Bell's palsy",), lay=("Bell's palsy", "COVID face")),
        Node("SYMP:1", "seizure", "symptom", lay=("fits",)),
        disease("OMIM:1", "epilepsy"),
        Fact("OMIM:1", "has_finding", "HP:1", ONE, 1),
    )
    assert {entity.ids[0]: entity.lay for entity in joined.graph.entities.values()} == {
        "HP:1": ("seizures", "fits"),
        "HP:2": ("uterine tumor",),
        "HP:3": ("Bell's palsy", "COVID face"),
        "OMIM:1": (),
    }


def test_sources_without_a_fact_are_refused():
    with pytest.raises(InputError, match="no fact"):
        join(disease("DOID:1", "gout"))


def test_authorities_have_one_spelling():
    assert [curie("MIM", " 1"), curie("Orphanet", "2"), curie("doid", "3")] == ["OMIM:1", "ORPHA:2", "DOID:3"]


def test_two_spellings_of_a_name_that_is_its_own_identifier_are_one():
    joined = join(disease("MY:gout", "gout"), disease("MY:Gout", "Gout"), GENE, *linked("MY:gout", "MY:Gout"))
    assert entity_of(joined, "MY:Gout").name == "gout"
    assert len(joined.graph) == 1
