"""Small files of each source with known facts, and how the importers' tests write and read them."""

import gzip
import lzma
from pathlib import Path

from fleming.sources.facts import Fact, Node
from fleming.sources.registry import SOURCES


class Skips(list):
    """Collects what was skipped; `codes` are (line, code)."""

    def __call__(self, where: str, code: str, detail: str) -> None:
        assert detail
        assert "\n" not in where
        self.append((int(where.rsplit(":", 1)[1]), code))


def write(folder: Path, name: str, text: str | bytes) -> str:
    path = folder / name
    data = text if isinstance(text, bytes) else text.encode()
    path.write_bytes({".gz": gzip.compress, ".xz": lzma.compress}.get(path.suffix, bytes)(data))
    return str(path)


def read(source: str, paths: dict[str, str]) -> tuple[dict[str, Node], list[Fact], Skips]:
    skips, nodes, facts = Skips(), {}, []
    for found in SOURCES[source](paths, skips):
        if isinstance(found, Node):
            known = nodes.setdefault(found.key, found)
            assert known is found or known.name != found.name  # else another name of it, told once or more
        else:
            facts.append(found)
    return nodes, facts, skips


def triples(facts: list[Fact]) -> list[tuple]:
    return [(f.record, f.head, f.relation, f.tail) + (("NOT",) if f.negated else ()) for f in facts]


HETIONET_NODES = """id\tname\tkind
Disease::DOID:1\tmigraine\tDisease
Compound::DB00001\tpill\tCompound
Symptom::D000001\tHeadache\tSymptom
Side Effect::C0000001\tNausea\tSide Effect
Gene::7\tABC1\tGene
Pathway::PC7_1\tsome  pathway\tPathway
Pathway::WP1_r2\tother pathway\tPathway
Pharmacologic Class::N0000000001\tpills\tPharmacologic Class
Anatomy::UBERON:0000955\tbrain\tAnatomy
"""

OBO = r"""format-version: 1.2
data-version: releases/2026-01-01
! a comment

[Term]
id: DOID:1 ! the first
name: fever\, of "unknown\W origin\"\! ! not the name
alt_id: DOID:99
def: "A disease that has_symptom chest pain, has_symptom rash in the palms, has symptom nausea and \
  located_in the \"heart\". Not a has_symptom." [url:http\://x]
subset: DO_rare_slim {source="x"}
synonym: "FUO" EXACT OMO:0003012 []
synonym: "febris \"e causa\" ! ignota" EXACT [] {comment="x"} ! c
synonym: "heat" BROAD []
xref: MIM:100 {source="a ! b"}
xref: ICD10CM:A00
xref: SNOMEDCT_US_2025_09_01:123
xref: url:http\://x
xref: broken
is_a: DOID:2 {source="y"} ! disease
is_a: DOID:7 ! parent elsewhere
is_a: nothing
relationship: disease_has_location UBERON:0000955 ! brain
relationship: odd_relation DOID:2 ! disease

[Typedef]
id: part_of
name: part of

[Term]
id: DOID:2
name: dis\
  ease
unparsable

[Term]
id: DOID:3
name: gone
is_obsolete: true

[Term]
name: no id

[Term]
id: DOID:4
"""

HP = """data-version: hp/releases/2025-01-16

""" + "\n".join(
    f"[Term]\nid: HP:{number}\nname: {name}\n"
    + "".join(f"is_a: HP:{parent} ! x\n" for parent in parents.split())
    + more
    for number, name, parents, more in [
        ("0000001", "All", "", ""),
        ("0000118", "Phenotypic abnormality", "0000001", ""),
        ("0000005", "Mode of inheritance", "0000001", ""),
        ("0000007", "Autosomal recessive inheritance", "0000005", ""),
        ("0012823", "Clinical modifier", "0000001", ""),
        ("0031797", "Clinical course", "0012823", ""),
        ("0003674", "Onset", "0031797", ""),
        ("0003577", "Congenital onset", "0003674", ""),
        ("0003811", "Neonatal death", "0031797", ""),
        ("0012828", "Severe", "0012823", ""),
        ("0040279", "Frequency", "0000001", ""),
        ("0040282", "Frequent", "0040279", ""),
        ("0040285", "Excluded", "0040279", ""),
        ("0032180", "Abnormal circulating metabolite concentration", "0000118", ""),
        ("0002901", "Hypocalcemia", "0032180", ""),
        ("0012638", "Abnormal nervous system physiology", "0000118", ""),
        ("0001250", "Seizure", "0012638", "alt_id: HP:0002279\n"),
        ("0002199", "Hypocalcemic seizures", "0002901 0001250", ""),
        ("0012531", "Pain", "0000118", ""),
        ("0002027", "Abdominal pain", "0012531", ""),
        ("0001627", "Gone", "0000118", "is_obsolete: true\n"),
    ]
)
HPOA_COLUMNS = [
    "database_id",
    "disease_name",
    "qualifier",
    "hpo_id",
    "reference",
    "evidence",
    "onset",
    "frequency",
]
HPOA_COLUMNS += ["sex", "modifier", "aspect", "biocuration"]
HPOA_HEAD = "#description: x\n#version: 2025-01-16\n" + "\t".join(HPOA_COLUMNS) + "\n"


def hpoa(*rows: str) -> str:
    """Return the file of rows "hpo_id aspect column=cell ..."."""
    text = HPOA_HEAD
    for row in rows:
        term, aspect, *more = row.split()
        cells = {
            "database_id": "OMIM:1",
            "disease_name": "some disease",
            "evidence": "PCS",
            "reference": "PMID:1",
        }
        cells |= {"hpo_id": term, "aspect": aspect, **dict(part.split("=") for part in more)}
        text += "\t".join(cells.get(name, "") for name in HPOA_COLUMNS) + "\n"
    return text
