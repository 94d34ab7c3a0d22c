"""The Human Phenotype Ontology: its terms, the annotations of rare diseases, and the genes of those diseases.

- a term's type is decided by what it descends from: `type_of_terms`, roots in assets/mappings/hpo_types.yaml
- what a susceptibility ("asthma, susceptibility to") is inherited by has relations of its own: it is not Mendelian
- the note keeps what an annotation says more: frequency, onset, sex, modifier, reference
- left out: terms for frequencies and modifiers (severity, position, triggers), facts between genes and phenotypes
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from operator import itemgetter
from pathlib import PurePath

from fleming.assets import load_table
from fleming.sources.cells import Form, RecordError, Table, read_lines
from fleming.sources.commonness import is_susceptibility
from fleming.sources.facts import Fact, Node, Origin, Skip, curie
from fleming.sources.obo import Term, key_of, read_terms
from model.errors import InputError

RULES = load_table("mappings/hpo.yaml")
ANNOTATIONS = (
    "database_id disease_name qualifier hpo_id reference evidence onset frequency sex modifier aspect"
)
_FORM = Form(delimiter="\t", quote="", encoding="utf-8-sig", comment="#")
_SHARE = re.compile(r"(\d{1,6})/(\d{1,6})|(\d{1,3}(?:\.\d{1,6})?) ?%")


def type_of_terms(parents: dict[str, list[str]]) -> dict[str, str]:
    """Return term -> type for a hierarchy of term -> its parents; "" for one that is no node.

    A term is of its root's type: inheritance, onset, course or history. Of the others it is a lab below the roots of
    lab and not below those of not_lab, a symptom below those of symptom, else a finding. The tree's topmost terms and
    the roots of types are no nodes.
    """
    roots = load_table("mappings/hpo_types.yaml")
    children: dict[str, list[str]] = {}
    for term, above in parents.items():
        for parent in above:
            children.setdefault(parent, []).append(term)

    def below(*roots: str) -> set[str]:
        found, ahead = set(roots), list(roots)
        while ahead:
            new = [child for child in children.get(ahead.pop(), []) if child not in found]
            found.update(new)
            ahead += new
        return found

    types = dict.fromkeys(parents, "finding")
    types |= dict.fromkeys(below(*roots["symptom"]), "symptom")
    types |= dict.fromkeys(below(*roots["lab"]) - below(*roots["not_lab"]), "lab")
    for root, kind in reversed(RULES["roots"].items()):
        types |= dict.fromkeys(below(root), kind)
    types |= dict.fromkeys([*RULES["roots"], *children.get("HP:0000001", []), "HP:0000001"], "")
    return types


def read_hpo(paths: dict[str, str], skip: Skip) -> Iterator[Node | Fact]:
    """Yield the terms of paths["ontology"] (hp.obo), then of paths["annotations"] (phenotype.hpoa) the diseases, rare,
    and their facts, then of paths["genes"] (genes_to_phenotype.txt) their genes; the last two may be absent.

    An annotation is negated by NOT and by a frequency of 0. Skipped: blank (no disease, name or gene), unknown_term,
    aspect (modifiers; a term of another kind), qualifier, frequency, unnamed_disease (that no annotation names).
    InputError for a file that is another one's or has no usable record.
    """
    terms: dict[str, Term] = {}
    version, alternative = "", {}
    for term in read_terms(paths["ontology"], skip):
        if isinstance(term, str):
            version = term
        elif term.node.key.startswith("HP:"):
            terms[term.node.key] = term
            alternative.update((xref, term.node.key) for xref in term.node.xrefs if xref.startswith("HP:"))
    if not terms:
        raise InputError(f"{paths['ontology']}: expected the Human Phenotype Ontology, found no term HP:...")
    origin = Origin("HPO", PurePath(paths["ontology"]).name, version, "obo")
    types = type_of_terms({key: [key_of(line.value) for line in term.is_a] for key, term in terms.items()})
    for key, term in terms.items():
        if types[key] == "inheritance" and "inheritance" not in term.node.name.lower():
            types[key] = "inheritance_modifier"
        if types[key]:
            yield term.node._replace(type=types[key])
            for line in term.is_a:
                if types.get(parent := key_of(line.value)):
                    yield Fact(key, "subtype_of", parent, origin, line.number)

    diseases: dict[str, str] = {}
    if "annotations" in paths:
        yield from _annotations(paths["annotations"], terms, types, alternative, diseases, skip)
    if "genes" in paths:
        yield from _genes(paths["genes"], diseases, skip)


def _frequency(text: str, terms: dict[str, Term]) -> tuple[str, float]:
    """Return (the frequency in words, as a share of patients: -1 where none is given). RecordError for another text."""
    if text in RULES["shares"] and text in terms:
        return f"{text} {terms[text].node.name}", RULES["shares"][text]
    if text in ("", "-"):
        return "", -1.0
    if share := _SHARE.fullmatch(text):
        part, of = (int(share[1]), int(share[2])) if share[1] else (float(share[3]), 100)
        if 0 < of >= part:
            return text, part / of
    raise RecordError("frequency", f"expected N/M, N% or a frequency's term, found {text[:80]!r}")


def _mendelian(fact: Fact, disease: str) -> Fact:
    """Return the fact, under another relation where it is of a susceptibility."""
    relation = RULES["susceptible"].get(fact.relation)
    return fact._replace(relation=relation) if relation and is_susceptibility(disease) else fact


def _annotations(
    path: str,
    terms: dict[str, Term],
    types: dict[str, str],
    alternative: dict[str, str],
    diseases: dict[str, str],
    skip: Skip,
) -> Iterator[Node | Fact]:
    heads = [line for _, line in itertools.islice(read_lines(path, lambda *_: None), 20) if line[:1] == "#"]
    version = next((line.partition(":")[2] for line in heads if line.startswith(("#version:", "#date:"))), "")
    header = next((tuple(line[1:].split("\t")) for line in heads if line.count("\t") > 9), None)
    origin = Origin("HPO", PurePath(path).name, version.strip(), "hpoa")
    table = Table(path, replace(_FORM, header=header), skip)
    table.names = [RULES["columns"].get(name, name) for name in table.names]
    cells_of = itemgetter(*map(table.place, ANNOTATIONS.split()))

    def annotation(cells: list[str], number: int) -> list[Node | Fact]:
        disease, name, qualifier, term, reference, evidence, *more = cells_of(cells)
        onset, frequency, sex, modifier, aspect = more
        key, name, term = key_of(disease), " ".join(name.split()), alternative.get(term, term)
        denied = qualifier.strip().upper()
        if not key or not name:
            raise RecordError("blank", f"disease {disease[:80]!r} has no authority, or no name")
        if term not in terms:
            raise RecordError("unknown_term", f"{term[:80]!r} is no term in force of the ontology")
        if not (relation := RULES["aspects"].get(aspect, {}).get(types[term])):
            raise RecordError("aspect", f"aspect {aspect[:20]!r} with {term} {terms[term].node.name!r}")
        if denied not in ("", "NOT"):
            raise RecordError("qualifier", f"expected NOT or nothing, found {qualifier[:20]!r}")
        in_words, share = _frequency(frequency, terms)
        more = {"frequency": in_words, "sex": sex.lower(), "reference": reference}
        for label, cell in (("onset", onset), ("modifier", modifier)):
            more[label] = ", ".join(terms[id].node.name for id in cell.split(";") if id in terms)
        note = "; ".join(f"{label} {text}" for label, text in more.items() if text)
        negated, confidence = denied == "NOT" or share == 0, RULES["confidence"].get(evidence, 0.7)
        fact = Fact(key, relation, term, origin, number, -1, negated, confidence, note, share)
        new = [] if key in diseases else [Node(key, name, "disease", rare=True)]
        diseases.setdefault(key, name)
        return [*new, _mendelian(fact, diseases[key])]

    yield from table.records(annotation)


def _genes(path: str, diseases: dict[str, str], skip: Skip) -> Iterator[Node | Fact]:
    """Yield each gene and its diseases, one fact a pair."""
    origin, table = Origin("HPO", PurePath(path).name, "", "genes_to_phenotype"), Table(path, _FORM, skip)
    cells_of = itemgetter(*map(table.place, ("ncbi_gene_id", "gene_symbol", "disease_id")))
    genes, pairs = set(), set()

    def gene_of_disease(cells: list[str], number: int) -> list[Node | Fact]:
        gene, symbol, disease = cells_of(cells)
        if (gene, disease) in pairs:
            return []
        pairs.add((gene, disease))
        if not (key := key_of(disease)) or not gene.isdecimal() or symbol in ("", "-"):
            raise RecordError("blank", f"gene {gene[:20]!r} {symbol[:20]!r}, disease {disease[:80]!r}")
        if key not in diseases:
            raise RecordError("unnamed_disease", f"no annotation names {key}")
        head = curie("NCBIGENE", gene)
        new = [] if gene in genes else [Node(head, symbol, "gene")]
        genes.add(gene)
        return [*new, _mendelian(Fact(key, "associated_gene", head, origin, number), diseases[key])]

    yield from table.records(gene_of_disease)
