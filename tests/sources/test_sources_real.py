"""The importers on the real files, against counts by a few lines of str.split that share nothing with them."""

import gzip
import lzma
from collections import Counter
from pathlib import Path

import pytest
import yaml

from fleming.graph.completeness import published_sources
from fleming.sources.facts import Fact, Node
from fleming.sources.registry import MAPPINGS, SOURCES
from fleming.sources.vocabulary import INVERSES


def lines(path: Path) -> list[str]:
    opener = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opener(path, "rt", encoding="utf-8", newline="\n") as file:
        return file.read().split("\n")


def rows(path: Path) -> list[list[str]]:
    return [line.rstrip("\r").split("\t") for line in lines(path) if line and not line.startswith("#")][1:]


def read(source: str, paths: dict[str, Path]) -> tuple[dict[str, Node], list[Fact], Counter]:
    skips, nodes, facts = Counter(), {}, []
    for found in SOURCES[source](
        {k: str(v) for k, v in paths.items()}, lambda _where, code, _detail: skips.update([code])
    ):
        if isinstance(found, Fact):
            facts.append(found)
        else:
            assert found.key not in nodes
            nodes[found.key] = found
    return nodes, facts, skips


@pytest.fixture(scope="module")
def kg(request) -> Path:
    folder = Path(__file__).resolve().parents[3] / "shared/data/kg"
    if not folder.is_dir():
        pytest.skip("needs the real graphs in ../shared")
    return folder


@pytest.fixture(scope="module")
def hpo(kg):
    names = {
        "ontology": "hp.obo.xz",
        "annotations": "phenotype.hpoa.xz",
        "genes": "genes_to_phenotype.txt.xz",
    }
    return read("hpo", {name: kg / "hpo" / file for name, file in names.items()})


def test_hetionet_gives_every_node_and_every_edge(kg):
    paths = {"nodes": kg / "hetionet/hetionet-v1.0-nodes.tsv.gz", "edges": kg / "hetionet/edges-5k.sif.gz"}
    nodes, facts, skips = read("hetionet", paths)
    kinds = Counter(row[2] for row in rows(paths["nodes"]))
    edges = rows(paths["edges"])
    metaedges = Counter(row[1] for row in edges)
    assert skips == {}
    assert len(nodes) == 47_031 == kinds.total()
    assert Counter(node.type for node in nodes.values())["drug"] == kinds["Compound"]
    assert Counter(node.type for node in nodes.values())["process"] == sum(
        kinds[kind] for kind in ("Biological Process", "Molecular Function", "Pathway")
    )
    relations = Counter(fact.relation for fact in facts)
    assert relations.total() == 99_676 == len(edges)
    for relation, names in {
        "treated_by": ["CtD", "CpD"],
        "has_symptom": ["DpS"],
        "located_in": ["DlA"],
        "has_adverse_effect": ["CcSE"],
        "associated_gene": ["DaG"],
        "targets": ["CbG"],
        "participates_in": ["GpBP", "GpMF", "GpPW"],
        "subtype_of": ["PCiC"],
        "upregulates": ["AuG", "CuG", "DuG"],
        "resembles": ["CrC", "DrD"],
    }.items():
        assert relations[relation] == sum(metaedges[name] for name in names)
    by_line = {fact.record: fact for fact in facts}
    for number, (head, metaedge, tail) in enumerate(edges, 2):
        fact = by_line[number]
        ends = (fact.tail, fact.head) if metaedge in ("CtD", "CpD", "PCiC") else (fact.head, fact.tail)
        assert head.endswith(ends[0].split(":", 1)[1])
        assert tail.endswith(ends[1].split(":", 1)[1])
    assert {fact.head for fact in facts} | {fact.tail for fact in facts} <= nodes.keys()


def test_pharmacotherapydb_and_the_symptoms_give_every_row(kg):
    path = kg / "pharmacotherapydb/indications.tsv"
    nodes, facts, skips = read("pharmacotherapydb", {"file": path})
    found = {(f.head, f.tail): f for f in facts}
    assert skips == {}
    assert len(found) == len(facts) == len(rows(path)) == 1_388
    for disease, drug, disease_name, drug_name, category, *_ in rows(path):
        fact = found[disease, f"DRUGBANK:{drug}"]
        assert fact.relation == "treated_by"
        assert fact.negated == (category == "NOT")
        assert (fact.confidence < 1) == (category == "SYM")
        assert (nodes[fact.head].name, nodes[fact.tail].name) == (disease_name, drug_name)

    path = kg / "disease_ontology/disease-symptom.tsv"
    nodes, facts, skips = read("disease_symptom", {"file": path})
    assert skips == {}
    assert [(f.head, f.relation, f.tail) for f in facts] == [(r[0], "has_symptom", r[2]) for r in rows(path)]


def stanzas(path: Path) -> list[list[str]]:
    found = [
        block.split("\n")
        for block in "\n".join(lines(path)).split("\n\n")
        if block.strip().startswith("[Term]")
    ]
    return [block for block in found if "is_obsolete: true" not in block]


def test_the_disease_ontology_gives_every_term_and_parent(kg):
    path = kg / "disease_ontology/DO_rare_slim.obo.gz"
    nodes, facts, skips = read("obo", {"file": path})
    terms = stanzas(path)
    ids = {line[4:] for term in terms for line in term if line.startswith("id: ")}
    assert skips == {}
    assert {key for key, node in nodes.items() if node.type == "disease" and node.rare} == ids
    assert len(ids) == 3_458
    stated = [f for f in facts if f.origin.extractor == "obo"]
    assert len(stated) == sum(line.startswith("is_a: ") for term in terms for line in term)
    assert {f.relation for f in stated} == {"subtype_of"}
    mim = sum(line.startswith("xref: MIM:") for term in terms for line in term)
    assert sum(xref.startswith("OMIM:") for node in nodes.values() for xref in node.xrefs) == mim
    assert not any(
        xref.startswith(("ICD", "KEGG", "URL", "HTTP")) for node in nodes.values() for xref in node.xrefs
    )
    phrases = Counter(f.relation for f in facts if f.origin.extractor == "definition")
    assert phrases == {"has_symptom": 375, "located_in": 147, "caused_by": 86, "associated_gene": 1_368}
    for fact in facts:
        if fact.origin.extractor == "definition":
            assert nodes[fact.tail].name.lower() in fact.note.replace('"', "").lower()
    assert {f.head for f in facts} | {f.tail for f in facts} <= nodes.keys()


def test_hpos_annotations_are_the_files_rows(kg, hpo):
    nodes, facts, skips = hpo
    annotations = rows(kg / "hpo/phenotype.hpoa.xz")
    aspects = Counter(row[10] for row in annotations)
    found = [f for f in facts if f.origin.extractor == "hpoa"]
    relations = Counter(f.relation for f in found)
    assert skips == {"aspect": aspects["M"] + 8, "blank": 10}  # 8 rows name the root of all phenotypes
    assert sum(row[10] == "P" and row[3] == "HP:0000118" for row in annotations) == 8
    assert relations["has_finding"] + relations["has_history"] == aspects["P"] + aspects["H"] - 8
    mendelian, susceptible = relations["inherited_as"], relations["susceptibility_inherited_as"]
    assert mendelian + susceptible + relations["has_inheritance_modifier"] == aspects["I"] == 8_854
    names = {row[0]: row[1] for row in reversed(annotations)}
    named_so = [row for row in annotations if row[10] == "I" and "suscept" in names[row[0]].lower()]
    assert 180 < susceptible <= len(named_so) + 10
    assert relations["has_onset"] + relations["has_course"] == aspects["C"] == 8_020
    assert len(found) == len(annotations) - aspects["M"] - 8
    absent = [
        row
        for row in annotations
        if row[2] == "NOT" or row[7].startswith("0/") or row[7] in ("0%", "HP:0040285")
    ]
    assert sum(f.negated for f in found) == len(absent)
    names = {row[0]: row[1] for row in reversed(annotations)}
    diseases = {key: node for key, node in nodes.items() if node.type == "disease"}
    assert {key: node.name for key, node in diseases.items()} == {
        k: " ".join(v.split()) for k, v in names.items()
    }
    assert all(node.rare for node in diseases.values())
    assert len(diseases) == 12_687
    frequencies = sum(row[7] != "" and row[10] != "M" and row[3] != "HP:0000118" for row in annotations)
    assert sum("frequency " in f.note for f in found) == frequencies
    assert {f.head for f in facts} | {f.tail for f in facts} <= nodes.keys()


def test_hpos_genes_are_the_files_pairs(kg, hpo):
    nodes, facts, _ = hpo
    genes = rows(kg / "hpo/genes_to_phenotype.txt.xz")
    pairs = {(row[5], f"NCBIGENE:{row[0]}") for row in genes if row[1] != "-"}
    found = [(f.head, f.tail) for f in facts if f.relation in ("associated_gene", "susceptibility_gene")]
    assert len(found) == len(pairs) == 12_292
    assert set(found) == pairs
    symbols = {f"NCBIGENE:{row[0]}": row[1] for row in genes}
    assert all(node.name == symbols[key] for key, node in nodes.items() if node.type == "gene")


def test_published_counts_are_those_of_the_files_that_state_them(kg, hpo):
    declared = published_sources()
    counts = {source: {} for source, _ in declared}
    for (source, relation), (_, published, _) in declared.items():
        counts[source][relation] = published

    mapping = yaml.safe_load((MAPPINGS / "hetionet.yaml").read_text())
    relations = Counter()
    for row in rows(kg / "hetionet/metaedges.tsv"):
        relation = mapping["rules"][row[1]]["relation"]
        relations[INVERSES.get(relation, relation)] += int(row[2])
    assert counts["Hetionet"] == relations

    categories = Counter(row[4] for row in rows(kg / "pharmacotherapydb/indications.tsv"))
    assert categories == {"DM": 755, "SYM": 390, "NOT": 243}
    assert counts["PharmacotherapyDB"] == {"treated_by": 755 + 390}

    stated = Counter(fact.relation for fact in hpo[1] if not fact.negated)
    assert counts["HPO"] == {relation: stated[relation] for relation in counts["HPO"]}


def test_hpos_terms_and_parents_are_the_ontologys_and_their_types_make_sense(kg, hpo):
    nodes, facts, _ = hpo
    names, parents = {}, {}
    for term in stanzas(kg / "hpo/hp.obo.xz"):
        key = next(line[4:] for line in term if line.startswith("id: "))
        names[key] = next(line[6:] for line in term if line.startswith("name: "))
        parents[key] = [line[6:].split()[0] for line in term if line.startswith("is_a: ")]
    terms = {key: node for key, node in nodes.items() if key.startswith("HP:")}
    assert {key: node.name for key, node in terms.items()} == {key: names[key] for key in terms}
    edges = {(key, parent) for key in terms for parent in parents[key] if parent in terms}
    assert {(f.head, f.tail) for f in facts if f.relation == "subtype_of"} == edges
    assert Counter(node.type for node in terms.values()) == {
        **{
            "finding": 15_556,
            "lab": 2_611,
            "symptom": 299,
            "history": 187,
            "course": 41,
            "inheritance": 19,
            "inheritance_modifier": 21,
            "onset": 22,
        }
    }

    def ancestors(key: str) -> set[str]:
        found = {key}
        for parent in parents[key]:
            found |= ancestors(parent)
        return found

    left_out = {names[key] for key in names.keys() - terms.keys()}
    assert {"All", "Mode of inheritance", "Onset", "Severe", "Frequent", "Left"} <= left_out
    assert all(
        {"HP:0012823", "HP:0040279"} & ancestors(key) or len(ancestors(key)) < 3
        for key in names.keys() - terms.keys()
    )
    types = {node.name: node.type for node in terms.values()}
    known = {
        "lab": "Hyperkalemia|Proteinuria|Thrombocytopenia|Elevated circulating creatine kinase concentration"
        + "|Leukocytosis|Antinuclear antibody positivity|Decreased circulating IgG concentration|Hypoglycemia",
        "symptom": "Fever|Fatigue|Headache|Abdominal pain|Nausea|Dyspnea|Vertigo|Diplopia|Muscle weakness|Pruritus",
        "finding": "Seizure|Splenomegaly|Hypocalcemic seizures|Hypophosphatemic rickets|Scoliosis|Hepatic steatosis",
        "onset": "Congenital onset|Adult onset",
        "inheritance": "Autosomal dominant inheritance|X-linked inheritance",
    }
    for kind, examples in known.items():
        assert {name: types[name] for name in examples.split("|")} == dict.fromkeys(examples.split("|"), kind)
    roots = yaml.safe_load((MAPPINGS / "hpo_types.yaml").read_text())
    for section in roots.values():
        assert section == {key: names[key] for key in section}
