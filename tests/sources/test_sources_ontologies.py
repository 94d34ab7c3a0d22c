"""The importers of ontologies, OBO files and the Human Phenotype Ontology, on small files and hostile ones."""

import time

import pytest
from support.source_files import HP, HPOA_HEAD, OBO, Skips, hpoa, read, triples, write

from fleming.sources.facts import Fact, Node
from fleming.sources.obo import read_obo, read_stanzas
from model.errors import InputError


def test_an_obo_file_is_read_as_its_format_says(tmp_path):
    nodes, facts, skips = read("obo", {"file": write(tmp_path, "x.obo.xz", OBO)})
    first = nodes.pop("DOID:1")
    assert first == Node(
        *("DOID:1", 'fever, of "unknown origin"!', "disease", ('febris "e causa" ! ignota',)),
        *(("DOID:99", "OMIM:100", "SNOMEDCT:123"), True),
    )
    assert nodes == {
        "DOID:2": Node("DOID:2", "disease", "disease"),
        "DOID:7": Node("DOID:7", "parent elsewhere", "disease"),
        "UBERON:0000955": Node("UBERON:0000955", "brain", "anatomy"),
        "NAME:chest pain": Node("NAME:chest pain", "chest pain", "symptom"),
        "NAME:nausea": Node("NAME:nausea", "nausea", "symptom"),
        "NAME:heart": Node("NAME:heart", "heart", "anatomy"),
    }
    assert triples(facts) == [
        (20, "DOID:1", "subtype_of", "DOID:2"),
        (21, "DOID:1", "subtype_of", "DOID:7"),
        (23, "DOID:1", "located_in", "UBERON:0000955"),
        (24, "DOID:1", "odd_relation", "DOID:2"),
        (9, "DOID:1", "has_symptom", "NAME:chest pain"),
        (9, "DOID:1", "has_symptom", "NAME:nausea"),
        (9, "DOID:1", "located_in", "NAME:heart"),
    ]
    assert facts[0].origin[:4] == ("Disease Ontology", "x.obo.xz", "releases/2026-01-01", "obo")
    assert facts[-1].origin.extractor == "definition"
    assert facts[-1].note.startswith("A disease that has_symptom chest pain")
    assert facts[-1].note.endswith('nausea and located_in the "heart".')
    assert skips == [(22, "reference"), (34, "tag"), (41, "term"), (44, "term")]


def test_an_obsolete_term_is_its_successors_cross_reference_named_or_not(tmp_path):
    text = """format-version: 1.2

[Term]
id: DOID:1
name: influenza
alt_id: DOID:9

[Term]
id: DOID:2
is_obsolete: true
replaced_by: DOID:3

[Term]
id: DOID:3
name: obsolete flu
is_obsolete: true
replaced_by: DOID:1

[Term]
id: DOID:4
is_obsolete: true
replaced_by: DOID:5

[Term]
id: DOID:5
is_obsolete: true
replaced_by: DOID:4

[Term]
id: DOID:6
is_obsolete: true
consider: DOID:1
"""
    path = tmp_path / "do.obo"
    path.write_text(text)
    skipped = []
    (node,) = read_obo(str(path), lambda *record: skipped.append(record))
    assert (node.key, node.xrefs, skipped) == ("DOID:1", ("DOID:9", "DOID:2", "DOID:3"), [])


def test_a_former_term_that_is_still_named_is_not_made_anew(tmp_path):
    text = "[Term]\nid: http://purl.obolibrary.org/obo/DOID_1\nname: gout\n\n[Term]\nid: DOID:2\nis_obsolete: True\n"
    text += "replaced_by: DOID:1\n\n[Term]\nid: DOID:3\nname: tophus\nis_a: DOID:2 ! podagra\nis_a: DOID:4 ! urate\n"
    text += "is_a: DOID:5 ! obsolete podagra\n"  # nobody says what took its place
    (tmp_path / "do.obo").write_text(text)
    found = list(read_obo(str(tmp_path / "do.obo"), lambda *_: None))
    assert [item.key for item in found if isinstance(item, Node)] == ["DOID:1", "DOID:3", "DOID:4"]


def test_mondo_gives_only_the_xrefs_that_it_calls_equivalent(tmp_path):
    text = """[Term]
id: MONDO:0007947
name: Marfan syndrome
subset: orphanet_rare {source="Orphanet:558"}
synonym: "MFS" EXACT ABBREVIATION [OMIM:154700]
synonym: "Marfan's syndrome" EXACT []
xref: OMIM:154700 {source="MONDO:equivalentTo"}
xref: Orphanet:558 {source="x", source="MONDO:equivalentTo"}
xref: MESH:D1 {source="MONDO:relatedTo"}
xref: UMLS:C1 {source="Orphanet:558"}
is_a: MONDO:1 {source="OMIM:1"} ! disease
relationship: has_material_basis_in_germline_mutation_in http://identifiers.org/hgnc/3603 {source="OMIM:1"} ! FBN1
"""
    nodes, facts, skips = read("obo", {"file": write(tmp_path, "mondo.obo", text)})
    assert nodes["MONDO:0007947"][3:6] == (("Marfan's syndrome",), ("OMIM:154700", "ORPHA:558"), True)
    assert nodes["HGNC:3603"] == Node("HGNC:3603", "FBN1", "gene")
    assert triples(facts)[1] == (12, "MONDO:0007947", "associated_gene", "HGNC:3603")
    assert skips == []


def test_a_laypersons_synonyms_are_kept_apart_where_they_mean_exactly_the_same(tmp_path):
    text = """[Term]
id: HP:0001250
name: Seizure
synonym: "Epileptic seizure" EXACT []
synonym: "Seizures" EXACT layperson []
synonym: "Fits" RELATED layperson []
synonym: "Seizure" EXACT layperson []
"""
    nodes, _, _ = read("obo", {"file": write(tmp_path, "hp.obo", text)})
    assert nodes["HP:0001250"].synonyms == ("Epileptic seizure", "Seizures")
    assert nodes["HP:0001250"].lay == ("Seizures", "Seizure")


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (
            "An infection that has_material_basis_in Chikungunya virus (A b), transmitted_by ticks.",
            ["caused_by Chikungunya virus"],
        ),
        ("A cancer that has_material_basis_in melanocytes and is located_in the eye.", ["located_in eye"]),
        (
            "A disease that has_material_basis_in mutation in the FBN1 gene on chromosome 15.",
            ["associated_gene FBN1"],
        ),
        ("A disease with mutation in the FBN1 gene.", []),
        (
            "It has_symptom fever, has_symptom fever and has_symptom loss of appetite.",
            ["has_symptom fever", "has_symptom loss of appetite"],
        ),
        ("It has_symptom maculopapular, scaly rash. It has_symptom pain in the legs.", []),
        ("It has_symptom nausea and vomiting, located_in brain of horses.", []),
        ("It has_symptom one two three four five.", []),
        ("It has_symptom .", []),
        (
            "It comes without has_symptom fever; it has_symptom no pain, has_symptom cough.",
            ["has_symptom cough"],
        ),
        ("It has_symptom -, has_symptom", []),
    ],
)
def test_a_definitions_phrases_are_facts_where_their_object_is_plain(tmp_path, definition, expected):
    path = write(tmp_path, "x.obo", f'[Term]\nid: DOID:1\nname: x\ndef: "{definition}" []\n')
    found = list(read_obo(path, Skips()))
    names = {node.key: node.name for node in found if isinstance(node, Node)}
    assert [f"{f.relation} {names[f.tail]}" for f in found if isinstance(f, Fact)] == expected


def test_a_name_in_definitions_has_one_type(tmp_path):
    text = "".join(
        f'[Term]\nid: DOID:{n}\nname: x{n}\ndef: "{definition}" []\n'
        for n, definition in enumerate(
            ["It has_symptom heart.", "It is located_in heart.", "It has_symptom heart."]
        )
    )
    found = list(read_obo(write(tmp_path, "x.obo", text), Skips()))
    assert [node.type for node in found if isinstance(node, Node) and node.key == "NAME:heart"] == ["symptom"]
    assert [(f.head, f.relation) for f in found if isinstance(f, Fact)] == [
        ("DOID:0", "has_symptom"),
        ("DOID:2", "has_symptom"),
    ]


def test_a_damaged_header_gives_its_lines_to_no_other_term(tmp_path):
    term = "[Term]\nid: DOID:1\nname: x\nis_a: DOID:9 ! top\n"
    for damaged in (term.replace("]", ""), term.lower().replace("doid:1", "DOID:2"), term + "id: DOID:2\n"):
        skips = Skips()
        text = "[Term]\nid: DOID:3\nname: y\nis_a: DOID:8 ! up\n" + damaged
        found = list(read_obo(write(tmp_path, "x.obo", text), skips))
        assert [f.tail for f in found if isinstance(f, Fact)] == ["DOID:8"]
        assert skips in ([(5, "stanza")], [(5, "term")])


def test_what_is_no_obo_file_is_an_input_error(tmp_path):
    for text in ("", "a,b\n1,2\n", "[Term]\nid: X:1\n", "[Typedef]\nid: x\nname: y\n"):
        with pytest.raises(InputError, match=r"x\.obo: expected an OBO file"):
            read("obo", {"file": write(tmp_path, "x.obo", text)})


def test_hostile_obo_lines_take_linear_time_and_bounded_memory(tmp_path):
    n = 50_000
    hostile = [
        "{" * n,
        "{=" * n,
        "{}" + " " * n + "x",
        '"' + "\\" * n,
        '"' + '\\"' * n,
        "!" * n,
        "\\!" * n,
        "a:" * n,
    ]
    hostile += ["mutation in " * (n // 10), "has_symptom " * (n // 10), "has_symptom a " * (n // 10)]
    lines = "".join(
        f'[Term]\nid: DOID:{i}\nname: x{i}\ndef: "{text}"\ndef: {text}\nxref: {text}\nsynonym: {text}\n'
        for i, text in enumerate(hostile)
    )
    begin = time.process_time()
    list(read_obo(write(tmp_path, "x.obo", lines), Skips()))
    assert time.process_time() - begin < 20
    skips = Skips()
    stanzas = list(
        read_stanzas(
            write(tmp_path, "y.obo", "[Term]\n" + "a:\n" * 80_000 + "\\\n" * 80_000 + "[Term]\n"), skips
        )
    )
    assert len(stanzas[1][2]["a"]) < 70_000
    assert {code for _, code in skips} == {"too_long"}


def test_hpos_terms_are_typed_by_what_they_descend_from(tmp_path):
    nodes, facts, skips = read("hpo", {"ontology": write(tmp_path, "hp.obo", HP)})
    assert {node.name: node.type for node in nodes.values()} == {
        "Autosomal recessive inheritance": "inheritance",
        "Congenital onset": "onset",
        "Neonatal death": "course",
        "Abnormal circulating metabolite concentration": "lab",
        "Hypocalcemia": "lab",
        "Abnormal nervous system physiology": "finding",
        "Seizure": "finding",
        "Hypocalcemic seizures": "finding",
        "Pain": "symptom",
        "Abdominal pain": "symptom",
    }
    assert nodes["HP:0001250"].xrefs == ("HP:0002279",)
    assert [(f.head, f.relation, f.tail) for f in facts] == [
        (f"HP:{head}", "subtype_of", f"HP:{tail}")
        for head, tail in [
            *(("0002901", "0032180"), ("0001250", "0012638"), ("0002199", "0002901"), ("0002199", "0001250")),
            ("0002027", "0012531"),
        ]
    ]
    assert skips == []


def test_hpos_annotations_say_what_is_there_what_is_not_and_how_often(tmp_path):
    rows = hpoa(
        "HP:0002279 P frequency=3/7 sex=FEMALE modifier=HP:0012828 onset=HP:0003577",
        "HP:0002027 P frequency=45%",
        "HP:0002901 P frequency=HP:0040282 evidence=TAS",
        "HP:0002901 P qualifier=not\u00a0",  # not a statement, for a blank behind it
        "HP:0002901 P frequency=0/9",
        "HP:0002901 P frequency=HP:0040285 evidence=IEA",
        "HP:0000007 I",
        "HP:0003577 C",
        "HP:0003811 C database_id=ORPHA:5",
        "HP:0012828 M",  # 14
        "HP:0000007 P",
        "HP:0001627 P",
        "HP:9999999 P",
        "HP:0001250 P frequency=8/7",
        "HP:0001250 P frequency=0/0",
        "HP:0001250 P frequency=often",
        "HP:0001250 P frequency=HP:0001250",
        "HP:0001250 P qualifier=NEVER",
        "HP:0001250 P database_id=none",
        "HP:0001250 P disease_name=",
    )
    paths = {
        "ontology": write(tmp_path, "hp.obo", HP),
        "annotations": write(tmp_path, "phenotype.hpoa", rows + "x\ty\n"),
    }
    nodes, facts, skips = read("hpo", paths)
    facts = [f for f in facts if f.origin.extractor == "hpoa"]
    assert triples(facts) == [
        (4, "OMIM:1", "has_finding", "HP:0001250"),
        (5, "OMIM:1", "has_finding", "HP:0002027"),
        (6, "OMIM:1", "has_finding", "HP:0002901"),
        (7, "OMIM:1", "has_finding", "HP:0002901", "NOT"),
        (8, "OMIM:1", "has_finding", "HP:0002901", "NOT"),
        (9, "OMIM:1", "has_finding", "HP:0002901", "NOT"),
        (10, "OMIM:1", "inherited_as", "HP:0000007"),
        (11, "OMIM:1", "has_onset", "HP:0003577"),
        (12, "ORPHA:5", "has_course", "HP:0003811"),
    ]
    assert (
        facts[0].note
        == "frequency 3/7; sex female; reference PMID:1; onset Congenital onset; modifier Severe"
    )
    assert facts[2].note == "frequency HP:0040282 Frequent; reference PMID:1"
    assert [f.confidence for f in facts[:6]] == [1.0, 1.0, 0.9, 1.0, 1.0, 0.7]
    assert facts[0].origin[:4] == ("HPO", "phenotype.hpoa", "2025-01-16", "hpoa")
    assert nodes["OMIM:1"] == Node("OMIM:1", "some disease", "disease", rare=True)
    assert skips == [
        *((13, "aspect"), (14, "aspect"), (15, "unknown_term"), (16, "unknown_term")),
        *((17, "frequency"), (18, "frequency"), (19, "frequency"), (20, "frequency")),
        *((21, "qualifier"), (22, "blank"), (23, "blank"), (24, "cells")),
    ]


def test_annotations_of_earlier_years_have_their_columns_names_behind_a_sign(tmp_path):
    names = "DatabaseID DiseaseName Qualifier HPO_ID Reference Evidence Onset Frequency Sex Modifier Aspect Biocuration"
    head = "#date: 2021-08-02\n#" + names.replace(" ", "\t") + "\n"
    new = hpoa("HP:0001250 P frequency=1/2", "HP:0000007 I")
    paths = {"ontology": write(tmp_path, "hp.obo", HP)}
    said = []
    for text in (new, new.replace(HPOA_HEAD, head), new.replace(HPOA_HEAD, head.replace("#D", "D"))):
        _, facts, skips = read("hpo", paths | {"annotations": write(tmp_path, "phenotype.hpoa", text)})
        said.append([triple[1:] for triple in triples(facts)])
        assert skips == []
    assert said == [said[0]] * 3
    assert facts[-1].origin.version == "2021-08-02"


def test_hpos_genes_are_of_the_diseases_that_annotations_name_once_a_pair(tmp_path):
    genes = """ncbi_gene_id\tgene_symbol\thpo_id\thpo_name\tfrequency\tdisease_id
10\tNAT2\tHP:0000007\tx\t-\tOMIM:1
10\tNAT2\tHP:0001250\tx\t-\tOMIM:1
10\tNAT2\tHP:0001250\tx\t-\tOMIM:2
11\t-\tHP:0001250\tx\t-\tOMIM:1
12\tABC\tHP:0001250\tx\t-\tOMIM:1
"""
    paths = {
        "ontology": write(tmp_path, "hp.obo", HP),
        "annotations": write(tmp_path, "phenotype.hpoa", hpoa("HP:0001250 P")),
        "genes": write(tmp_path, "genes.txt", genes),
    }
    nodes, facts, skips = read("hpo", paths)
    assert triples(facts)[-2:] == [
        (2, "OMIM:1", "associated_gene", "NCBIGENE:10"),
        (6, "OMIM:1", "associated_gene", "NCBIGENE:12"),
    ]
    assert nodes["NCBIGENE:12"] == Node("NCBIGENE:12", "ABC", "gene")
    assert skips == [(4, "unnamed_disease"), (5, "blank")]


def test_hpo_refuses_files_of_another_kind(tmp_path):
    hp = write(tmp_path, "hp.obo", HP)
    with pytest.raises(InputError, match="expected the Human Phenotype Ontology"):
        read("hpo", {"ontology": write(tmp_path, "do.obo", "[Term]\nid: DOID:1\nname: x\n")})
    with pytest.raises(InputError, match="expected one column 'database_id', found 'a', 'b'"):
        read("hpo", {"ontology": hp, "annotations": write(tmp_path, "x.hpoa", "a\tb\n1\t2\n")})
    with pytest.raises(InputError, match="no records"):
        read("hpo", {"ontology": hp, "annotations": write(tmp_path, "x.hpoa", HPOA_HEAD)})
