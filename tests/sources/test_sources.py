"""The importers of public medical graphs, on small files with known facts, damaged files and hostile ones."""

import csv
import gzip
import io
import random
import tracemalloc
from pathlib import Path

import pytest
import yaml
from support.source_files import HETIONET_NODES, HP, OBO, Skips, hpoa, read, triples, write

from fleming.delimited import MAX_LINE
from fleming.graph.joining import join_sources
from fleming.sources.cells import read_cells
from fleming.sources.facts import Fact, Node
from fleming.sources.mapped_table import read_table
from fleming.sources.registry import MAPPINGS, SOURCES
from fleming.sources.vocabulary import FAMILIES, INVERSES, RELATIONS
from model.errors import InputError


def table(folder: Path, mapping: dict, text: str | bytes, name: str = "edges.tsv", **more: str):
    paths = {
        "mapping": write(folder, "mapping.yaml", yaml.safe_dump(mapping)),
        "file": write(folder, name, text),
    }
    return read("table", {**paths, **more})


PLAIN = {"source": "S", "head": {"id": ["h"]}, "tail": {"id": ["t"]}, "relation": ["r"]}
NAMED = {
    "source": "S",
    "head": {"id": ["h"], "name": "hn", "type": "disease"},
    "tail": {"id": ["t"], "name": "tn", "type": "symptom"},
    "rules": {"*": {"relation": "has_symptom"}},
}


# Hetionet, PharmacotherapyDB, PrimeKG


def test_hetionets_edges_get_our_relations_and_directions(tmp_path):
    edges = """source\tmetaedge\ttarget
Compound::DB00001\tCtD\tDisease::DOID:1
Compound::DB00001\tCpD\tDisease::DOID:1
Disease::DOID:1\tDpS\tSymptom::D000001
Disease::DOID:1\tDlA\tAnatomy::UBERON:0000955
Compound::DB00001\tCcSE\tSide Effect::C0000001
Disease::DOID:1\tDaG\tGene::7
Compound::DB00001\tCbG\tGene::7
Gene::7\tGpPW\tPathway::WP1_r2
Pharmacologic Class::N0000000001\tPCiC\tCompound::DB00001
Compound::DB00001\tCuG\tGene::7
Gene::8\tGiG\tGene::7
Gene::7\tnew thing\tGene::7
short\trow
"""
    paths = {
        "nodes": write(tmp_path, "nodes.tsv.gz", HETIONET_NODES),
        "edges": write(tmp_path, "edges.sif.xz", edges),
    }
    nodes, facts, skips = read("hetionet", paths)
    assert nodes["PATHWAYCOMMONS:PC7_1"] == Node("PATHWAYCOMMONS:PC7_1", "some pathway", "process")
    assert [(node.key, node.type) for node in nodes.values()] == [
        *(("DOID:1", "disease"), ("DRUGBANK:DB00001", "drug"), ("MESH:D000001", "symptom")),
        *(("UMLS:C0000001", "adverse_effect"), ("NCBIGENE:7", "gene"), ("PATHWAYCOMMONS:PC7_1", "process")),
        *(
            ("WIKIPATHWAYS:WP1_r2", "process"),
            ("NDFRT:N0000000001", "drug_class"),
            ("UBERON:0000955", "anatomy"),
        ),
    ]
    assert triples(facts) == [
        (2, "DOID:1", "treated_by", "DRUGBANK:DB00001"),
        (3, "DOID:1", "treated_by", "DRUGBANK:DB00001"),
        (4, "DOID:1", "has_symptom", "MESH:D000001"),
        (5, "DOID:1", "located_in", "UBERON:0000955"),
        (6, "DRUGBANK:DB00001", "has_adverse_effect", "UMLS:C0000001"),
        (7, "DOID:1", "associated_gene", "NCBIGENE:7"),
        (8, "DRUGBANK:DB00001", "targets", "NCBIGENE:7"),
        (9, "NCBIGENE:7", "participates_in", "WIKIPATHWAYS:WP1_r2"),
        (10, "DRUGBANK:DB00001", "subtype_of", "NDFRT:N0000000001"),
        (11, "DRUGBANK:DB00001", "upregulates", "NCBIGENE:7"),
        (13, "NCBIGENE:7", "new thing", "NCBIGENE:7"),
    ]
    assert (facts[0].confidence, facts[0].note) == (1.0, "")
    assert (facts[1].confidence, facts[1].note) == (0.5, "palliates")
    assert facts[0].origin[:3] == ("Hetionet", "edges.sif.xz", "v1.0")
    assert skips == [(12, "unknown_id"), (14, "cells")]


def test_pharmacotherapydb_tells_treating_relieving_and_not_treating(tmp_path):
    text = """doid_id\tdrugbank_id\tdisease\tdrug\tcategory\tn_curators\tn_resources
DOID:1\tDB01\tmigraine\tpill\tDM\t2\t1
DOID:1\tDB02\tmigraine\ttablet\tSYM\t1\t
DOID:1\tDB03\tmigraine\tsugar\tNOT\t1\t3
DOID:1\tDB03\tmigraine\tsugar\tXX\t1\t3
"""
    nodes, facts, skips = read("pharmacotherapydb", {"file": write(tmp_path, "indications.tsv", text)})
    assert triples(facts) == [
        (2, "DOID:1", "treated_by", "DRUGBANK:DB01"),
        (3, "DOID:1", "treated_by", "DRUGBANK:DB02"),
        (4, "DOID:1", "treated_by", "DRUGBANK:DB03", "NOT"),
    ]
    assert [(f.confidence, f.note) for f in facts[:2]] == [
        (1.0, "disease modifying; n_curators 2; n_resources 1"),
        (0.5, "symptomatic; n_curators 1"),
    ]
    assert [(n.key, n.name, n.type) for n in nodes.values()][:2] == [
        ("DOID:1", "migraine", "disease"),
        ("DRUGBANK:DB01", "pill", "drug"),
    ]
    assert skips == [(5, "relation")]


def test_primekgs_edges_in_both_directions_are_one_fact_each_with_the_right_head(tmp_path):
    ends = {
        "d": "1,5044,disease,hypertensive disorder,MONDO",
        "group": "2,13924_12592_14672,disease,osteogenesis imperfecta,MONDO_grouped",
        "drug": '3,DB00945,drug,"Acetylsalicylic acid, plain",DrugBank',
        "drug2": "4,DB00001,drug,Lepirudin,DrugBank",
        "hp": "5,1250,effect/phenotype,Seizure,HPO",
        "gene": "6,9796,gene/protein,PHYHIP,NCBI",
        "bp": "7,6355,biological_process,regulation of transcription,GO",
        "path": "8,R-HSA-1,pathway,Some pathway,REACTOME",
        "an": "9,2048,anatomy,lung,UBERON",
        "ex": "10,D001151,exposure,Arsenic,CTD",
    }
    edges = [
        ("indication", "indication", "d", "drug"),
        ("off-label use", "off-label use", "group", "drug"),
        ("contraindication", "contraindication", "d", "drug2"),
        ("drug_effect", "side effect", "drug", "hp"),
        ("disease_phenotype_positive", "phenotype present", "d", "hp"),
        ("disease_phenotype_negative", "phenotype absent", "group", "hp"),
        ("disease_protein", "associated with", "d", "gene"),
        ("exposure_disease", "linked to", "d", "ex"),
        ("drug_drug", "synergistic interaction", "drug", "drug2"),
        ("drug_protein", "target", "drug", "gene"),
        ("drug_protein", "enzyme", "drug2", "gene"),
        ("bioprocess_protein", "interacts with", "bp", "gene"),
        ("pathway_protein", "interacts with", "gene", "path"),
        ("anatomy_protein_present", "expression present", "an", "gene"),
        ("anatomy_protein_absent", "expression absent", "an", "gene"),
        ("disease_disease", "parent-child", "d", "group"),
        ("exposure_bioprocess", "interacts with", "ex", "bp"),
        ("indication", "indication", "gene", "bp"),
    ]
    head = (
        "relation,display_relation,x_index,x_id,x_type,x_name,x_source,y_index,y_id,y_type,y_name,y_source\n"
    )
    rows = [f"{r},{display},{ends[x]},{ends[y]}\n" for r, display, x, y in edges]
    rows += [f"{r},{display},{ends[y]},{ends[x]}\n" for r, display, x, y in edges]
    nodes, facts, skips = read("primekg", {"file": write(tmp_path, "kg.csv", head + "".join(rows))})
    found = {(f.head, f.relation, f.tail) + (("NOT",) if f.negated else ()) for f in facts}
    mondo, group, asa = "MONDO:0005044", "MONDO_GROUPED:13924_12592_14672", "DRUGBANK:DB00945"
    gene, lepirudin, seizure = "NCBIGENE:9796", "DRUGBANK:DB00001", "HP:0001250"
    assert len(facts) == len(found) == len(edges) - 1
    assert found >= {
        (mondo, "treated_by", asa),
        (group, "treated_by", asa),
        (lepirudin, "contraindicated_in", mondo),
        (asa, "has_adverse_effect", seizure),
        (mondo, "has_finding", seizure),
        (group, "has_finding", seizure, "NOT"),
        (mondo, "associated_gene", gene),
        ("MESH:D001151", "risk_factor_of", mondo),
        (asa, "targets", gene),
        (lepirudin, "drug_enzyme", gene),
        (gene, "participates_in", "GO:0006355"),
        (gene, "participates_in", "REACTOME:R-HSA-1"),
        ("UBERON:0002048", "expresses", gene),
        ("UBERON:0002048", "expresses", gene, "NOT"),
    }
    assert {f.relation for f in facts} >= {"disease_disease", "exposure_bioprocess", "interacts_with"}
    assert [(f.confidence, f.note) for f in facts if f.note] == [(0.5, "off-label")]
    assert nodes[group].xrefs == ("MONDO:0013924", "MONDO:0012592", "MONDO:0014672")
    assert nodes[asa].name == "Acetylsalicylic acid, plain"
    assert [code for _, code in skips] == ["types"]
    paths = {"file": write(tmp_path, "cut.csv", head + "".join(rows[: len(edges) + 3]))}
    assert read("primekg", paths)[2][-1] == (1, "mirrors")


def test_the_mappings_say_nothing_that_the_graph_does_not_know():
    for path in MAPPINGS.glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        for rule in content.get("rules", {}).values():
            relation = INVERSES.get(rule["relation"], rule["relation"])
            if (head := rule.get("head")) and relation in RELATIONS:
                assert head == RELATIONS[relation][0]
        kinds = set(content.get("types", {}).values()) - {"cellular_component"}
        assert kinds <= FAMILIES.keys()


# Tables never seen before


def test_a_table_without_names_gives_facts_and_leaves_nodes_to_others(tmp_path):
    mapping = PLAIN | {
        "edges": {"header": ["h", "r", "t"]},
        "prefixes": {"Gene::": "NCBIGENE:", "Compound::DB": "DRUGBANK:DB", "Gene::drugbank:": "DRUGBANK:"},
    }
    rows = ["Gene::1 binds Compound::DB1", "Gene::drugbank:BE2 treats Compound::chebi:5", "Gene:: x Gene::1"]
    text = "\n".join(row.replace(" ", "\t") for row in [*rows, "none x Gene::1", "Disease::none x Gene::1"])
    nodes, facts, skips = table(tmp_path, mapping, text)
    assert nodes == {}
    assert triples(facts) == [
        (1, "NCBIGENE:1", "binds", "DRUGBANK:DB1"),
        (2, "CHEBI:5", "treated_by", "DRUGBANK:BE2"),
    ]
    assert skips == [(3, "identifier"), (4, "identifier"), (5, "identifier")]


def test_the_same_number_in_two_columns_is_two_nodes_and_one_node_under_two_spellings_is_one(tmp_path):
    mapping = {
        "source": "D",
        "head": {"id": ["gene"], "prefix": "entrez:", "name": "symbol", "type": "gene"},
        "tail": {"id": ["other"], "prefix": "MONDO:", "name": "name", "type": "disease"},
        "rules": {"*": {"relation": "gene_of"}},
        "digits": {"MONDO": 7},
        "prefixes": {"Gene::": "NCBIGENE:"},
    }
    text = "gene\tsymbol\tother\tname\n1\tA1\t1\tflu\n2\tB\tGene::1\tA1 again\n"
    nodes, facts, skips = table(tmp_path, mapping, text)
    assert nodes == {
        "NCBIGENE:1": Node("NCBIGENE:1", "A1", "gene"),
        "MONDO:0000001": Node("MONDO:0000001", "flu", "disease"),
        "NCBIGENE:2": Node("NCBIGENE:2", "B", "gene"),
    }
    assert [(f.head, f.tail) for f in facts] == [
        ("MONDO:0000001", "NCBIGENE:1"),
        ("NCBIGENE:1", "NCBIGENE:2"),
    ]
    assert skips == []


def test_a_table_of_nodes_gives_names_types_synonyms_and_xrefs(tmp_path):
    mapping = PLAIN | {
        "nodes": {
            "id": ["id"],
            "name": "name",
            "type_column": "kind",
            "synonyms": "syn",
            "xrefs": "x",
        },
        "nodes_form": {"delimiter": ","},
        "types": {"Disorder": "disease"},
    }
    rows = "id,name,kind,syn,x\nA:1,flu,Disorder,grippe; influenza ;,MIM:7|mesh:D1\n"
    rows += "A:2,,Disorder,,\nA:1,flu,Disorder,,\n"
    nodes, facts, skips = table(
        tmp_path,
        mapping,
        "h\tr\tt\nA:1\tlike\tA:1\nA:1\tlike\tA:3\n",
        nodes=write(tmp_path, "nodes.txt", rows),
    )
    assert nodes == {"A:1": Node("A:1", "flu", "disease", ("grippe", "influenza"), ("OMIM:7", "MESH:D1"))}
    assert triples(facts) == [(2, "A:1", "like", "A:1")]
    assert skips == [(3, "blank"), (4, "twice"), (3, "unknown_id")]


def test_a_cell_may_hold_several_identifiers_and_a_type_may_have_a_default(tmp_path):
    mapping = {
        "source": "D",
        "head": {"id": ["d"], "name": "disease", "type": "disease"},
        "tail": {"id": ["t"], "name": "what", "type_column": "kind", "type": "finding", "separator": "|"},
        "rules": {"*": {"relation": "has_finding"}},
    }
    text = "d\tdisease\tt\twhat\tkind\nDOID:1\tflu\tHP:1 | HP:2\tcough|high fever\t\n"
    text += "DOID:1\tflu\tHP:3\theadache\tsymptom\nDOID:1\tflu\tHP:4|HP:5\tone name\t\n"
    many = range(10, 20_000)
    text += f"DOID:1\tflu\t{'|'.join(f'HP:{i}' for i in many)}\t{'|'.join(map(str, many))}\tsymptom\n"
    nodes, facts, skips = table(tmp_path, mapping, text)
    assert [(key, node.name, node.type) for key, node in nodes.items()][1:] == [
        ("HP:1", "cough", "finding"),
        ("HP:2", "high fever", "finding"),
        ("HP:3", "headache", "symptom"),
    ]
    assert [(f.head, f.tail, f.record) for f in facts] == [
        ("DOID:1", "HP:1", 2), ("DOID:1", "HP:2", 2), ("DOID:1", "HP:3", 3)
    ]  # fmt: skip
    assert [code for _, code in skips] == ["cells", "cells"]  # two identifiers and one name; too many pairs


def test_a_separator_may_end_a_cell_and_another_name_of_a_node_is_its_synonym(tmp_path):
    mapping = NAMED | {"tail": NAMED["tail"] | {"separator": "; "}}
    text = "h\thn\tt\ttn\nA:1\tgout\tB:1; B:2; \tpain; redness;\nA:1\tpodagra\tB:3;\tfever\n"
    text += "A:1\tgout\tB:4;\titch;\n"
    nodes, facts, skips = table(tmp_path, mapping, text)
    assert [f.tail for f in facts] == ["B:1", "B:2", "B:3", "B:4"]
    names = [nodes[key].name for key in ("A:1", "B:1", "B:2", "B:3", "B:4")]
    assert names == ["gout", "pain", "redness", "fever", "itch"]
    assert skips == []
    paths = {"mapping": str(tmp_path / "mapping.yaml"), "file": str(tmp_path / "edges.tsv")}
    gout = join_sources([SOURCES["table"](paths, skips)], skips).graph.entities["gout"]
    assert gout.synonyms == ("podagra",)


def test_quotes_that_are_read_as_text_and_near_misses_of_our_words_cost_their_rows_and_are_told(tmp_path):
    mapping = {
        "source": "S",
        "head": {"id": ["h"], "name": "h", "prefix": "S:", "type_column": "ht"},
        "tail": {"id": ["t"], "name": "t", "prefix": "S:", "type": "symptom"},
        "relation": ["r"],
    }
    rows = [
        'gout\tdisease\thas_symptom\t"toe pain, red"',
        "flu\tDisease\thas_symptom\tfever",
        "flu\tdisease\tHas Symptom\tfever",
        "flu\tdisease\thas_symptom\tcough",
    ]
    _, facts, skips = table(tmp_path, mapping, "\n".join(["h\tht\tr\tt", *rows]))
    assert triples(facts) == [(5, "S:flu", "has_symptom", "S:cough")]
    assert skips == [(2, "quotes"), (3, "types"), (4, "relation")]
    with pytest.raises(InputError, match=r"say types: \{Disease: disease\}"):
        table(tmp_path, mapping, f"h\tht\tr\tt\n{rows[1]}\n")


def test_a_name_with_two_types_is_two_nodes_and_the_relation_says_which(tmp_path):
    mapping = {
        "source": "S",
        "nodes": {"id": ["name"], "name": "name", "type_column": "type", "prefix": "S:"},
        "head": {"id": ["a"], "prefix": "S:"},
        "tail": {"id": ["b"], "prefix": "S:"},
        "relation": ["r"],
        "rules": {
            "presents": {"relation": "has_symptom", "head": "disease"},
            "treats": {"relation": "treats"},
            "subtype": {"relation": "subtype_of"},
        },
    }
    listed = (
        "name\ttype\nobesity\tsymptom\nobesity\tdisease\nobesity\tdisease\norlistat\tdrug\nPWS\tdisease\n"
    )
    text = "a\tr\tb\nPWS\tpresents\tobesity\norlistat\ttreats\tobesity\nobesity\tpresents\tPWS\n"
    text += "PWS\tsubtype\tobesity\n"
    nodes, facts, skips = table(tmp_path, mapping, text, nodes=write(tmp_path, "nodes.tsv", listed))
    symptom, illness = "S:obesity", "S:obesity (disease)"
    assert {key: node.type for key, node in nodes.items()} == {
        symptom: "symptom", illness: "disease", "S:orlistat": "drug", "S:PWS": "disease"
    }  # fmt: skip
    assert [(f.head, f.relation, f.tail) for f in facts] == [
        ("S:PWS", "has_symptom", symptom),
        (illness, "treated_by", "S:orlistat"),
        (illness, "has_symptom", "S:PWS"),
        ("S:PWS", "subtype_of", illness),
    ]
    assert skips == [(4, "twice")]


@pytest.mark.parametrize("order", [1, -1])
def test_a_relation_decides_between_two_types_whichever_row_comes_first(order, tmp_path):
    mapping = {
        "source": "S",
        "head": {"id": ["a"], "name": "a", "prefix": "S:", "type": "disease"},
        "tail": {"id": ["b"], "name": "b", "prefix": "S:", "type": "symptom"},
        "relation": ["r"],
    }
    rows = ["PWS\thas_symptom\tobesity\n", "obesity\thas_symptom\thunger\n"][::order]
    text = "a\tr\tb\n" + "".join(rows) + "PWS\tsubtype_of\tobesity\n"
    nodes, facts, _ = table(tmp_path, mapping, text)
    assert [nodes[key].type for key in facts[-1][0:3:2]] == ["disease", "disease"]
    assert {nodes[f.tail].type for f in facts[:2]} == {"symptom"}


def test_rules_name_relations_by_their_first_columns_and_others_are_kept_or_skipped(tmp_path):
    rules = {
        "a / x": {"relation": "targets"},
        "a": {"relation": "treats"},
    }
    mapping = PLAIN | {"relation": ["r", "s"], "rules": rules}
    text = "h\tr\ts\tt\n" + "".join(f"A:1\t{r}\t{s}\tB:2\n" for r, s in ["ax", "ay", "cx"]) + "A:1\t\t\tB:2\n"
    _, facts, skips = table(tmp_path, mapping, text)
    assert [(f.head, f.relation, f.tail) for f in facts] == [
        ("A:1", "targets", "B:2"),
        ("B:2", "treated_by", "A:1"),  # "treats" is turned round
        ("A:1", "c", "B:2"),
    ]
    assert skips == [(5, "relation")]
    _, facts, skips = table(tmp_path, mapping | {"others": "skip"}, text)
    assert len(facts) == 2
    assert skips == [(4, "relation"), (5, "relation")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "latin-1", "utf-16", "utf-32"])
def test_any_codec_that_the_mapping_names_is_read(tmp_path, encoding):
    text = (
        "h;hn;t;tn\nA:1;Sjögren;B:2;œdème\n"
        if encoding != "latin-1"
        else "h;hn;t;tn\nA:1;Sjögren;B:2;odème\n"
    )
    mapping = NAMED | {"edges": {"delimiter": ";", "encoding": encoding}}
    nodes, _, skips = table(tmp_path, mapping, text.encode(encoding))
    assert [node.name for node in nodes.values()] == ["Sjögren", text.split(";")[-1].strip()]
    assert skips == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32"])
def test_half_a_character_costs_its_line_alone(tmp_path, encoding):
    text = "h;hn;t;tn\nA:1;gout\ud800;B:2;b\nA:3;gout;B:2;b\n".encode(encoding, "surrogatepass")
    _, facts, skips = table(tmp_path, NAMED | {"edges": {"delimiter": ";", "encoding": encoding}}, text)
    assert [fact.head for fact in facts] == ["A:3"]
    assert skips == [(2, "characters")]


def test_without_an_encoding_chinese_and_utf8_are_told_apart_and_other_bytes_refused(tmp_path):
    text = "h\thn\tt\ttn\nA:1\t偏头痛综合征的患者\tB:2\t头痛是常见的症状\n"
    for encoding in ("utf-8", "gb18030"):
        nodes, _, _ = table(tmp_path, NAMED, text.encode(encoding))
        assert nodes["A:1"].name == "偏头痛综合征的患者"
    with pytest.raises(InputError, match="neither UTF-8"):
        table(tmp_path, NAMED, "h\thn\tt\ttn\nA:1\tSjögren\tB:2\tx\n".encode("cp1252"))


def test_what_a_table_writes_for_unknown_is_no_identifier_type_or_relation_and_costs_no_row_as_an_xref(
    tmp_path,
):
    mapping = {
        "source": "S",
        "head": {"id": ["h"], "name": "hn", "prefix": "S:", "type": "disease", "xrefs": "x"},
        "tail": {"id": ["a", "t"], "name": "tn", "type_column": "tt"},
        "relation": ["r"],
    }
    rows = [
        "NA\tGout\ttreated_by\tD\t1\tA\tdrug\tOMIM:1",
        "-\tAsthma\ttreated_by\tD\t1\tA\tdrug\tOMIM:2",
        "1\tGout\ttreated_by\tD\tnan\tB\tdrug\tOMIM:1",
        "1\tGout\tNULL\tD\t1\tA\tdrug\tOMIM:1",
        "1\tGout\ttreated_by\tD\t2\tC\tN/A\tOMIM:1",
        "2\tAsthma\ttreated_by\tD\t1\tA\tdrug\tNA|OMIM:2;-",
    ]
    nodes, facts, skips = table(tmp_path, mapping, "\n".join(["h\thn\tr\ta\tt\ttn\ttt\tx", *rows]))
    assert triples(facts) == [(7, "S:2", "treated_by", "D:1")]
    assert skips == list(zip(range(2, 7), [*3 * ["identifier"], "relation", "blank"], strict=True))
    assert nodes["S:2"].xrefs == ("OMIM:2",)


@pytest.mark.parametrize("listed", [False, True])
def test_two_colons_within_a_name_begin_no_other_name(tmp_path, listed):
    end = {"prefix": "S:"} if listed else {"prefix": "S:", "name": "h", "type": "gene"}
    mapping = {"source": "S", "head": {"id": ["h"], **end}, "tail": {"id": ["t"], "prefix": "S:"}}
    mapping |= {"relation": ["r"], "nodes": {"id": ["n"], "name": "n", "type_column": "k", "prefix": "S:"}}
    nodes = write(tmp_path, "n.tsv", "n\tk\nABL1\tgene\nBCR::ABL1\tgene\nCML\tdisease\n")
    given = {"nodes": nodes} if listed else {}
    _, facts, _ = table(tmp_path, mapping, "h\tr\tt\nBCR::ABL1\tgene_of\tCML\n", **given)
    assert [(fact.head, fact.tail) for fact in facts] == [("S:CML", "S:BCR::ABL1")]


def test_a_type_before_an_identifier_goes_though_the_other_end_is_a_name(tmp_path):
    mapping = {"source": "S", "head": {"id": ["h"]}, "relation": ["r"]}
    mapping["tail"] = {"id": ["t"], "name": "t", "prefix": "S:", "type": "disease"}
    text = "h\tr\tt\nGene::HGNC:5\tgene_of\tBCR::ABL1 leukaemia\n"
    nodes, facts, _ = table(tmp_path, mapping, text)
    assert [(fact.head, fact.tail) for fact in facts] == [("S:BCR::ABL1 leukaemia", "HGNC:5")]
    assert list(nodes) == ["S:BCR::ABL1 leukaemia"]


@pytest.mark.parametrize(
    "rule", [{"relation": "treats", "head": "drug"}, {"relation": "treated_by", "head": "disease"}]
)
@pytest.mark.parametrize("row", ["C\tGout", "Gout\tC"])
def test_the_head_that_a_rule_asks_for_is_that_of_the_relation_as_the_rule_names_it(tmp_path, rule, row):
    mapping = {"source": "S", "relation": ["r"], "rules": {"x": rule}}
    mapping["nodes"] = {"id": ["n"], "name": "n", "type_column": "k", "prefix": "S:"}
    mapping |= {end: {"id": [end], "prefix": "S:"} for end in ("head", "tail")}
    nodes = write(tmp_path, "n.tsv", "n\tk\nGout\tdisease\nC\tdrug\n")
    _, facts, _ = table(tmp_path, mapping, f"head\ttail\tr\n{row}\tx\n", nodes=nodes)
    assert [(fact.head, fact.relation, fact.tail) for fact in facts] == [("S:Gout", "treated_by", "S:C")]


@pytest.mark.parametrize(
    ("mapping", "text", "message"),
    [
        (
            PLAIN | {"rules": {"a": {"relation": "treats", "head": "disease"}}},
            "",
            r"a\.head: of treats it is drug",
        ),
        (PLAIN | {"heads": 1}, "", r"unknown key heads; did you mean head\?"),
        (PLAIN | {"head": {"id": ["h"], "nam": "x"}}, "", r"unknown key head\.nam"),
        (PLAIN | {"rules": {"a": {"relation": "b", "weight": 1}}}, "", r"unknown key rules\.a\.weight"),
        (PLAIN | {"rules": {"a": {}}}, "", r"rules\.a: expected a relation"),
        (PLAIN | {"rules": {"a": {"relation": "^b"}}}, "", r"rules\.a: expected a relation, found '\^b'"),
        (PLAIN | {"rules": {"a": {"relation": "b "}}}, "", r"rules\.a: expected a relation, found 'b '"),
        (PLAIN | {"rules": {"a": {"relation": "has_symptoms"}}}, "", r"a\.relation: .* mean has_symptom\?"),
        (PLAIN | {"rules": {"a": {"relation": "b", "head": "diseas"}}}, "", r"a\.head: .* mean disease\?"),
        (PLAIN | {"types": {"a": "Drug"}}, "", r"types\.a: 'Drug' is not in .*; did you mean drug\?"),
        (PLAIN | {"rules": {1: {"relation": "b"}}}, "", "rules: expected mapping.*; quote its key 1"),
        (
            PLAIN | {"others": "skip", "completeness": {"a": "closed"}},
            "",
            "completeness, published: no rule makes a relation 'a'",
        ),
        (PLAIN, "h;r;t\n", "found 'h;r;t'; is another delimiter meant?"),
        (PLAIN | {"rules": {"a": {"relation": "b", "confidence": 2}}}, "", r"a\.confidence .* from 0 to 1"),
        (PLAIN | {"source": ""}, "", "source is missing"),
        (PLAIN | {"relation": []}, "", "relation, or a rule"),
        (PLAIN | {"edges": {"quote": "''"}}, "", "one character"),
        (PLAIN | {"edges": {"quote": ","}}, "", "one character"),
        (PLAIN | {"edges": {"quote": "\n"}}, "", "one character"),
        (PLAIN | {"edges": {"delimiter": "\n", "quote": ""}}, "", "one character"),
        (PLAIN | {"edges": {"delimiter": "||"}}, "", "one character"),
        (PLAIN | {"digits": {"A": 10**9}}, "", r"digits\.A .* expected from 1 to 32"),
        (PLAIN | {"completeness": {"x": "shut"}}, "", r"completeness\.x: .*open"),
        (PLAIN | {"published": {"x": 0}}, "", r"published\.x .*above 0"),
        (PLAIN | {"edges": {"delimiter": "", "quote": ""}}, "", "one character"),
        (PLAIN | {"edges": {"encoding": "no-such"}}, "h\tr\tt\nA:1\tx\tA:2\n", "cannot read as 'no-such'"),
        (PLAIN | {"edges": {"encoding": "base64"}}, "h\tr\tt\nA:1\tx\tA:2\n", "cannot read as 'base64'"),
        (PLAIN, "", r"edges\.tsv: expected one column 'h', found an empty file"),
        (PLAIN, "a\tr\tt\n", r"edges\.tsv: expected one column 'h', found 'a', 'r', 't'"),
        (PLAIN, "h\tr\tt\th\nA:1\tr\tA:2\tA:3\n", "expected one column 'h'"),
        (PLAIN, "h\tr\tt\n", r"edges\.tsv: no records"),
        (
            PLAIN,
            "h\tr\tt\nA:1\tx\n\n1\tx\tA:2\n",
            r"edges\.tsv: no usable record; the last one: '1' is empty or has no",
        ),
    ],
)
def test_what_is_no_mapping_or_no_such_table_is_one_clear_line(tmp_path, mapping, text, message):
    with pytest.raises(InputError, match=message) as caught:
        table(tmp_path, mapping, text)
    assert "\n" not in str(caught.value)


# Lines and cells


def test_cells_are_what_the_csv_module_reads_whatever_the_cells_hold(tmp_path):
    rng = random.Random(1)
    for trial in range(30):
        rows = [
            ["".join(rng.choices('ab ,"\n\u2028é', k=rng.randrange(6))) for _ in range(3)] for _ in range(20)
        ]
        text = io.StringIO()
        csv.writer(text, lineterminator=rng.choice(["\n", "\r\n"])).writerows(rows)
        path = write(tmp_path, f"{trial}.csv", text.getvalue())
        skips = Skips()
        found = list(read_cells(path, skips, ",", '"'))
        assert [cells for _, cells in found] == rows
        starts = [1]
        for row in rows[:-1]:
            starts.append(starts[-1] + 1 + sum(cell.count("\n") for cell in row))
        assert [number for number, _ in found] == starts
        assert skips == []


def test_a_damaged_line_is_skipped_and_no_other(tmp_path):
    good = [f'A:{n},"nam,e {n}",B:{n},fever {n}\n'.encode() for n in range(300)]
    bad = {
        5: (b'A:1,"open,B:1,fever\n', "quotes"),
        50: (b'A:1,"shut"x,B:1,fever\n', "quotes"),
        90: (b"A:1,nul\0,B:1,fever\n", "characters"),
        120: (b"A:1,bad \xff\xfe byte,B:1,fever\n", "characters"),
        150: (b"A:1,short\n", "cells"),
        180: (b"A:1,long,B:1,fever,more\n", "cells"),
        210: (b",no id,B:1,fever\n", "identifier"),
        240: (b"A:1,x" + b"y" * (MAX_LINE + 9) + b",B:1,fever\n", "too_long"),
        270: (b'A:1,5" nail,B:1,fever\n', None),  # a quote within a cell is a character
    }
    lines = [b"h,hn,t,tn\n", *(bad[n][0] if n in bad else line for n, line in enumerate(good))]
    mapping = NAMED | {"edges": {"encoding": "utf-8"}}
    _, facts, skips = table(tmp_path, mapping, b"".join(lines), "edges.csv")
    assert sorted(skips) == [(n + 2, code) for n, (_, code) in bad.items() if code]
    assert [f.record for f in facts] == [n + 2 for n in range(300) if n not in bad or bad[n][1] is None]


def test_an_open_quote_does_not_disturb_the_lines_after_it(tmp_path):
    text = 'A:1,"open,B:1,1\n' + "".join(f"A:{n},x,B:1,{n}\n" for n in range(2, 250))
    found = list(read_cells(write(tmp_path, "x.csv", text), Skips(), ",", '"'))
    assert found == [(n, [f"A:{n}", "x", "B:1", str(n)]) for n in range(2, 250)]


def test_lines_end_at_a_line_feed_alone_and_compressed_files_read_the_same(tmp_path):
    text = "h\thn\tt\ttn\r\nA:1\ta\u2028b\u0085c\tB:1\tfe\x0bver\r\n\r\nA:2\tx\tB:1\ty"
    for suffix in ("tsv", "tsv.gz", "tsv.xz"):
        nodes, facts, skips = table(tmp_path, NAMED, text, f"edges.{suffix}")
        assert triples(facts) == [(2, "A:1", "has_symptom", "B:1"), (4, "A:2", "has_symptom", "B:1")]
        assert nodes["A:1"].name == "a b c"
        assert skips == []
    (tmp_path / "torn.tsv.gz").write_bytes(gzip.compress(text.encode() * 99)[:-20])
    with pytest.raises(InputError, match=r"torn\.tsv\.gz: cannot read: broken compression"):
        list(read_table(tmp_path / "mapping.yaml", {"file": str(tmp_path / "torn.tsv.gz")}, Skips()))


def test_comments_are_passed_over_where_the_mapping_names_them(tmp_path):
    mapping = NAMED | {"edges": {"comment": "#"}}
    _, facts, skips = table(tmp_path, mapping, "#made by\nh\thn\tt\ttn\n# more\nA:1\tx\tB:1\ty\n")
    assert triples(facts) == [(4, "A:1", "has_symptom", "B:1")]
    assert skips == []


def test_memory_does_not_grow_with_the_edges(tmp_path):
    mapping = write(tmp_path, "m.yaml", yaml.safe_dump(PLAIN | {"edges": {"encoding": "utf-8"}}))

    def peak(rows: int) -> int:
        path = write(
            tmp_path, "e.csv", "h,r,t\n" + "".join(f"A:{n % 50},r{n % 9},B:{n % 70}\n" for n in range(rows))
        )
        tracemalloc.start()
        assert sum(1 for _ in read_table(mapping, {"file": path}, Skips())) == rows
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    assert peak(30_000) < peak(3_000) + 100_000


# All of them


@pytest.mark.parametrize(
    ("source", "paths", "message"),
    [
        ("hetionet", {"file": "x"}, "source hetionet: expected paths nodes edges .*, found file"),
        ("hpo", {}, "source hpo: expected paths ontology annotations. genes. .*, found none"),
        ("hpo", {"ontology": "x", "gene": "y"}, "found ontology, gene"),
        ("obo", {"file": ""}, "source obo: expected paths file"),
        ("obo", {"file": "/nowhere/x.obo"}, "/nowhere/x.obo: cannot read"),
        ("table", {"file": "x"}, "source table: expected paths mapping file nodes. "),
        ("table", {"mapping": "/nowhere/m.yaml", "file": "x"}, "/nowhere/m.yaml: cannot read"),
    ],
)
def test_wrong_paths_are_one_clear_line(source, paths, message):
    with pytest.raises(InputError, match=message):
        list(SOURCES[source](paths, Skips()))


def _files() -> dict[str, dict[str, bytes]]:
    edges = (
        "source\tmetaedge\ttarget\nCompound::DB00001\tCtD\tDisease::DOID:1\nDisease::DOID:1\tDaG\tGene::7\n"
    )
    genes = "ncbi_gene_id\tgene_symbol\thpo_id\thpo_name\tfrequency\tdisease_id\n10\tN\tHP:0000007\tx\t-\tOMIM:1\n"
    head = (
        "relation,display_relation,x_index,x_id,x_type,x_name,x_source,y_index,y_id,y_type,y_name,y_source\n"
    )
    disease, drug = '1,5,disease,"a, b",MONDO', "2,DB1,drug,c,DrugBank"
    prime = head + f"indication,indication,{disease},{drug}\nindication,indication,{drug},{disease}\n" * 3
    files = {
        "hetionet": {"nodes": HETIONET_NODES, "edges": edges},
        "hpo": {
            "ontology": HP,
            "annotations": hpoa(*["HP:0001250 P frequency=1/2", "HP:0000007 I"] * 9),
            "genes": genes,
        },
        "obo": {"file": OBO},
        "primekg": {"file": prime},
    }
    return {source: {name: text.encode() for name, text in texts.items()} for source, texts in files.items()}


@pytest.mark.parametrize("source", ["hetionet", "hpo", "obo", "primekg"])
def test_damaged_bytes_are_skipped_or_refused_and_never_crash(tmp_path, source):
    rng, messages = random.Random(source), []
    pieces = [
        b"\0",
        b"\xff",
        b"\t",
        b"\n",
        b'"',
        b"\\",
        b"!",
        b"{",
        b"[",
        b":",
        b"\r",
        b"",
        b",",
        "œ".encode("utf-16"),
    ]
    suffix = {"primekg": ".csv"}.get(source, ".tsv")
    for _ in range(60):
        files = _files()[source]
        damaged = rng.choice(list(files))
        data = bytearray(files[damaged])
        for _ in range(rng.choice([0, 1, 1, 3, 20])):
            place = rng.randrange(len(data))
            data[place : place + rng.choice([0, 1, 1, 9])] = rng.choice(pieces)
        files[damaged] = bytes(data[: rng.choice([len(data), rng.randrange(len(data))])])
        paths = {name: write(tmp_path, name + suffix, data) for name, data in files.items()}
        try:
            nodes, facts, _ = read(source, paths)
        except InputError as error:
            nodes, facts, messages = {}, [], [*messages, str(error)]
        assert all(node.key.partition(":")[2] and node.name and node.type for node in nodes.values())
        assert all(fact.head and fact.tail and fact.relation and fact.record > 0 for fact in facts)
    assert 5 < len(messages) < 55
    assert all(str(tmp_path) in message and "\n" not in message for message in messages)


def test_the_same_files_give_the_same_facts_in_the_same_order(tmp_path):
    for source, files in _files().items():
        paths = {
            name: write(tmp_path, f"{source}-{name}.csv" if source == "primekg" else f"{source}-{name}", data)
            for name, data in files.items()
        }
        first, second = (list(SOURCES[source](paths, Skips())) for _ in range(2))
        assert first == second
        assert any(isinstance(found, Fact) and found.record for found in first)


def test_one_bad_byte_in_a_published_graph_costs_its_line_and_not_the_file(tmp_path):
    rows = b"disease_id\tdisease_label\tsymptom_id\tsymptom_label\nDOID:1\tflu\tSYMP:1\tfever\n"
    rows += b"DOID:2\tM\xe9ni\xe8re\tSYMP:1\tfever\nDOID:3\tcold\tSYMP:2\tcough\n"
    _, facts, skips = read("disease_symptom", {"file": write(tmp_path, "pairs.tsv", rows)})
    assert [fact.head for fact in facts] == ["DOID:1", "DOID:3"]
    assert skips == [(3, "characters")]


@pytest.mark.parametrize(
    "first", [b"h\0\thn\tt\ttn\n", b"\xe9" + b"h\thn\tt\ttn\n", b"h" * (MAX_LINE + 9) + b"\n"]
)
def test_names_of_columns_that_cannot_be_read_are_not_taken_from_the_next_line(tmp_path, first):
    mapping = NAMED | {"edges": {"encoding": "ascii"}}
    with pytest.raises(InputError, match=r"edges\.tsv:1: the columns' names cannot be read: "):
        table(tmp_path, mapping, first + b"h\thn\tt\ttn\nA:1\tflu\tB:1\tfever\n")
