"""Importers: a source of facts in, a KnowledgeGraph out. Here the one for a YAML file of diseases and drugs.

Every edge carries as evidence the file and the line that states it. Left out: public graphs and text sources.
"""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path, PurePath

import yaml

from fleming.config import load_config
from fleming.graph.knowledge_graph import Edge, Entity, Evidence, KnowledgeGraph
from fleming.sources.facts import Declared, Origin
from fleming.sources.vocabulary import HANDWRITTEN, RELATIONS, no_name
from fleming.text import fold
from model.errors import InputError

Names = tuple[str, ...] | None


@dataclass(frozen=True)
class DiseaseEntry:
    name: str = ""
    rare: bool = False
    symptoms: Names = None
    findings: Names = None
    tests: Names = None
    drugs: Names = None
    mechanism: Names = None


@dataclass(frozen=True)
class DrugEntry:
    name: str = ""
    mechanism: Names = None
    contraindicated_in: Names = None
    adverse_effects: Names = None


@dataclass(frozen=True)
class GraphFile:
    complete: bool = False
    """The file states all that is true of the names in it: where it has no edge, there is none."""
    licence: str = ""
    """Its licence, an SPDX id where it has one."""
    address: str = ""
    """Where it is found."""
    diseases: tuple[DiseaseEntry, ...] = ()
    drugs: tuple[DrugEntry, ...] = ()


# A label of which the file states nothing may still name some: the key is missing where nobody has looked.
MAY_BE_UNSAID = ("contraindicated_in", "has_adverse_effect")


def import_yaml(path: str | os.PathLike) -> KnowledgeGraph:
    """Return the graph of a YAML file of the form of assets/medical_graph.yaml (`GraphFile`).

    A drug is rare where every disease that it treats is. A contraindication that is a disease of the file is that
    disease, not a new condition. A `complete` file's relations are declared closed.
    InputError names file and entry: what `load_config` refuses (unknown or repeated keys, wrong types), empty lists
    (but a drug's label may name no contraindication), a drug without entry, names that repeat, differ only in case or
    in their dashes, or have two types.
    """
    file = load_config(GraphFile, path, [])
    diseases = {entry.name: entry for entry in file.diseases}
    uses: dict[str, list[bool]] = {entry.name: [] for entry in file.drugs}
    for entry in file.diseases:
        for drug in entry.drugs or ():
            if drug not in uses:
                raise InputError(f"{path}: {entry.name}: drug {drug!r} has no entry under drugs")
            uses[drug].append(entry.rare)
    rare = {name for name, entry in diseases.items() if entry.rare}
    rare |= {drug for drug, of_rare in uses.items() if of_rare and all(of_rare)}

    graph = KnowledgeGraph()
    name = PurePath(path).name
    origin = Origin(name, name, "", "hand-written", file.licence, file.address)
    spelling: dict[str, str] = {}

    def add(name: str, entity_type: str, where: str) -> None:
        if not name or name != " ".join(name.split()):
            raise InputError(f"{where}: a name must be text without surplus spaces, found {name[:80]!r}")
        if code := no_name(name):
            raise InputError(f"{where}: this can be no name ({code}): {name[:80]!r}")
        if (known := spelling.setdefault(fold(name), name)) != name:
            raise InputError(f"{where}: {name!r} is spelled {known!r} elsewhere")
        graph.add_entity(Entity(name, entity_type, name in rare), where)

    sections = {"disease": file.diseases, "drug": file.drugs}
    for entity_type, entries in sections.items():
        if not entries:
            raise InputError(f"{path}: expected entries under diseases and drugs, found no {entity_type}")
        for number, entry in enumerate(entries, 1):
            where = f"{path}: {entity_type} {number}"
            if entry.name in graph.entities:
                raise InputError(f"{where}: an entry named {entry.name!r} stands before it")
            add(entry.name, entity_type, where)
    lines = _lines(path)
    for entity_type, entries in sections.items():
        for (number, entry), (key, relation) in itertools.product(
            enumerate(entries), HANDWRITTEN[entity_type].items()
        ):
            where = f"{path}: {entry.name}: {key}"
            if getattr(entry, key) == () and key != "contraindicated_in":  # a label may name none
                raise InputError(f"{where}: the list is empty; leave the key out where nothing is known")
            for place, tail in enumerate(getattr(entry, key) or ()):
                line = lines[f"{entity_type}s", number, key, place]
                evidence = (Evidence(origin, line, note=entry.name),)
                tail_type = RELATIONS[relation][1]
                add(tail, "disease" if tail_type == "condition" and tail in diseases else tail_type, where)
                graph.add_edge(Edge(entry.name, relation, tail, evidence), where)
    if file.complete:
        for relation in graph.relations:
            whole = relation not in MAY_BE_UNSAID
            graph.declared[origin.source, relation] = Declared("closed", whole=whole)
    return graph


def _lines(path: str | os.PathLike) -> dict[tuple[str, int, str, int], int]:
    """Return (section, place of the entry, key, place of the name) -> the line, from 1, on which that name stands."""
    found = {}
    loader = yaml.SafeLoader(Path(path).read_bytes())
    root = loader.get_single_node()
    loader.flatten_mapping(root)  # what << brings
    for section, entries in root.value:
        for number, entry in enumerate(entries.value if section.value in ("diseases", "drugs") else ()):
            loader.flatten_mapping(entry)
            for key, names in entry.value:
                for place, name in enumerate(names.value if isinstance(names, yaml.SequenceNode) else ()):
                    found[section.value, number, key.value, place] = name.start_mark.line + 1
    return found
