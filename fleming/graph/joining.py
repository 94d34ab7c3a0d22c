"""One graph out of many sources: which records mean one entity, under which name, and what each fact then says.

Records are joined by identifier first (their own, and cross-references), by normalised name second, and only within a
family of types. Caution wins: two terms of one authority are never joined, for it keeps them apart itself; an
identifier that two terms of one authority claim, or that is one of several that a term claims from one authority,
joins nothing. Every join and every refusal is recorded. Left out: joining by similarity of names or of neighbours.
"""

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fleming.graph.knowledge_graph import Entity, Evidence, KnowledgeGraph
from fleming.sources.facts import Fact, Node, Origin, Skip
from fleming.sources.vocabulary import FAMILIES, FEATURES, INVERSES, RELATIONS
from fleming.text import name_key
from model.errors import InputError

# Codes of billing group diseases; they identify none.
TOO_BROAD = ("ICD9", "ICD9CM", "ICD10", "ICD10CM", "ICD11", "ICDO")
PHENOTYPES = ("symptom", "lab", "finding", "adverse_effect")  # the first that any record says is the entity's type
FEATURE_OF = {"symptom": "has_symptom", "lab": "has_lab"}
TYPED_HEADS = ("has_symptom", "has_finding", "has_lab", "diagnosed_by", "treated_by", "associated_gene", "inherited_as",
               "has_onset", "has_mechanism", "has_adverse_effect", "targets")  # fmt: skip
EPONYMS = ("syndrome", "disease", "sign", "palsy", "anomaly", "reflex", "phenomenon", "test", "tumor")
LOWERED = (*PHENOTYPES, "drug", "drug_class", "inheritance", "onset")  # types whose names begin with no proper name
EPONYMS_TOO = 50  # a word that is small so often is none: "Facial palsy", but "Down syndrome"
NAMED_FIRST = ("disease", "drug", "gene", "drug_class", "anatomy", "test", "mechanism", "action", "symptom", "lab")
RARE_QUANTILE = 0.25  # of the degrees of a type: what is no better known counts as rare where no source says more


@dataclass
class Joined:
    """The graph, and how it came about."""

    graph: KnowledgeGraph
    joins: list[dict[str, Any]]
    """Each {"entity", "record", "by": identifier | name, "through"}, or with "refused" in place of "by"."""
    report: dict[str, Any] = field(default_factory=dict)


class _Records:
    """Every node and fact as they come; facts in columns, since there are a million."""

    def __init__(self) -> None:
        self.keys: dict[str, int] = {}  # key -> record; facts may name a key before its node comes
        self.nodes: list[Node | None] = []
        self.relations: dict[str, int] = {}
        self.origins: dict[Origin, int] = {}
        self.notes: dict[str, int] = {"": 0}
        self.facts = tuple(array(code) for code in "iiiiiiiffi")
        # head, relation, tail, negated, origin, record, end, confidence, frequency, note

    def number(self, key: str) -> int:
        place = self.keys.setdefault(key, len(self.nodes))
        if place == len(self.nodes):
            self.nodes.append(None)
        return place

    def add_node(self, node: Node) -> None:
        place = self.number(node.key)
        if (known := self.nodes[place]) is not None:  # two files of one authority: the first names it
            names = dict.fromkeys([*known.synonyms, node.name, *node.synonyms])
            names.pop(known.name, None)
            xrefs = tuple(dict.fromkeys([*known.xrefs, *node.xrefs]))
            rare = False if False in (known.rare, node.rare) else known.rare or node.rare
            node = known._replace(synonyms=tuple(names), xrefs=xrefs, rare=rare)
        self.nodes[place] = node

    def add_fact(self, fact: Fact) -> None:
        head, relation, tail = fact.head, fact.relation, fact.tail
        if relation in INVERSES:
            head, relation, tail = tail, INVERSES[relation], head
        row = (
            self.number(head),
            self.relations.setdefault(relation, len(self.relations)),
            self.number(tail),
            fact.negated,
            self.origins.setdefault(fact.origin, len(self.origins)),
            fact.record,
            fact.end,
            fact.confidence,
            fact.frequency,
            self.notes.setdefault(fact.note, len(self.notes)),
        )
        for column, value in zip(self.facts, row, strict=True):
            column.append(value)


class _Clusters:
    """Union-find over records; a cluster's first record stands for it."""

    def __init__(self, nodes: list[Node | None]) -> None:
        self.nodes = nodes
        self.parent = list(range(len(nodes)))
        self.authorities = [{_authority(node.key)} if node else set() for node in nodes]
        self.joins: list[tuple[int, int, str, str]] = []  # first, joined, how, through

    def find(self, i: int) -> int:
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = self.parent[i]
        return i

    def join(self, i: int, j: int, how: str, through: str) -> None:
        a, b = sorted((self.find(i), self.find(j)))
        if a == b:
            return
        if self.authorities[a] & self.authorities[b] - {"NAME"}:
            self.joins.append((a, b, "refused: an authority keeps them apart", through))
            return
        self.parent[b] = a
        self.authorities[a] |= self.authorities[b]
        self.joins.append((a, b, how, through))

    def family(self, i: int) -> str:
        kind = self.nodes[i].type
        return FAMILIES.get(kind, kind)


def _authority(key: str) -> str:
    return key.partition(":")[0]


def join_sources(sources: Iterable[Iterable[Node | Fact]], skip: Skip) -> Joined:
    """Read every source in order and return one graph. Of an entity's names the first source's is the one it keeps.

    Facts that cannot be used go to `skip` with a code: `unknown_entity`, no node has the key; `self_loop`, both ends
    are one entity; `wrong_type`, the relation's head is of another family.
    """
    records = _Records()
    for source in sources:
        for item in source:
            (records.add_node if isinstance(item, Node) else records.add_fact)(item)
    clusters = _Clusters(records.nodes)
    _alternative_keys(records)
    _join_by_identifier(clusters)
    _join_by_name(clusters)
    return _assemble(records, clusters, skip)


def _alternative_keys(records: _Records) -> None:
    """Let facts that use a term's former identifier find the term."""
    claims: dict[str, list[int]] = defaultdict(list)
    for i, node in enumerate(records.nodes):
        for xref in node.xrefs if node else ():
            if xref in records.keys and records.nodes[records.keys[xref]] is None:
                claims[xref].append(i)
    renamed = {records.keys[xref]: found[0] for xref, found in claims.items() if len(found) == 1}
    for column in (records.facts[0], records.facts[2]):
        for place, key in enumerate(column):
            if key in renamed:
                column[place] = renamed[key]


def _join_by_identifier(clusters: _Clusters) -> None:
    claimers: dict[tuple[str, str], list[int]] = defaultdict(list)  # (family, identifier) -> records
    for i, node in enumerate(clusters.nodes):
        if node:
            for identifier in dict.fromkeys((node.key, *node.xrefs)):
                if _authority(identifier) not in TOO_BROAD:
                    claimers[clusters.family(i), identifier].append(i)
    several: Counter[tuple[int, str]] = Counter()  # (record, authority) -> identifiers of it that others claim too
    for (_, identifier), found in claimers.items():
        for i in found if len(found) > 1 else ():
            several[i, _authority(identifier)] += 1
    for (_, identifier), found in claimers.items():
        if len(found) < 2:
            continue
        by_authority = Counter(_authority(clusters.nodes[i].key) for i in found)
        clear = []
        for i in found:
            node = clusters.nodes[i]
            own = node.key == identifier
            if (by_authority[_authority(node.key)] == 1 or own) and (own or several[i, _authority(identifier)] == 1):
                clear.append(i)
            else:
                clusters.joins.append((i, i, "refused: not one to one", identifier))
        for i in clear[1:]:
            clusters.join(clear[0], i, "identifier", identifier)


def _join_by_name(clusters: _Clusters) -> None:
    """Join what has one preferred name, then what has as its preferred name a synonym of exactly one other.

    Diseases also where the words are the same: "primary ciliary dyskinesia type 3", "Ciliary dyskinesia, primary, 3".
    """
    preferred: dict[tuple[str, str], list[int]] = defaultdict(list)
    synonyms: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, node in enumerate(clusters.nodes):
        if node:
            family = clusters.family(i)
            preferred[family, name_key(node.name)].append(i)
            for key in dict.fromkeys(map(name_key, node.synonyms)):
                synonyms[family, key].append(i)
    for (_, key), found in preferred.items():
        for i in found[1:] if key else ():
            clusters.join(found[0], i, "name", key)
    same_words: dict[str, list[int]] = defaultdict(list)
    for (family, key), found in preferred.items():
        if family == "disease" and key:
            same_words[" ".join(sorted(word for word in key.split() if word != "type"))].append(found[0])
    for found in same_words.values():
        for i in found[1:]:
            clusters.join(found[0], i, "name", name_key(clusters.nodes[i].name))
    for (family, key), found in preferred.items():
        others = {clusters.find(i) for i in synonyms.get((family, key), ())} - {clusters.find(i) for i in found}
        if key and len(others) == 1 and len({clusters.find(i) for i in found}) == 1:
            clusters.join(found[0], others.pop(), "name", key)


def _assemble(records: _Records, clusters: _Clusters, skip: Skip) -> Joined:
    nodes = records.nodes
    members: dict[int, list[int]] = defaultdict(list)
    for i, node in enumerate(nodes):
        if node:
            members[clusters.find(i)].append(i)
    types = {c: _type([nodes[i].type for i in found]) for c, found in members.items()}
    names = _names(nodes, members, types)

    relation_names = list(records.relations)
    origins, notes = list(records.origins), list(records.notes)
    facts: list[tuple[int, str, int]] = []  # what each fact says between clusters, -1 at its head where it is skipped
    keys = list(records.keys)
    for head, relation, tail, _, origin, record, *_ in zip(*records.facts, strict=True):
        h, t, name = clusters.find(head), clusters.find(tail), relation_names[relation]
        code = detail = None
        if h not in members or t not in members:
            code, detail = "unknown_entity", keys[head if h not in members else tail]
        elif h == t:
            code, detail = "self_loop", names[h]
        elif name in TYPED_HEADS and FAMILIES.get(types[h]) != FAMILIES[RELATIONS[name][0]]:
            code, detail = "wrong_type", f"{name} of a {types[h]}: {names[h]}"
        if code:
            skip(f"{origins[origin].file}: record {record}", code, detail)
            h = -1
        elif name in FEATURES and FAMILIES.get(types[t]) == "phenotype":
            name = FEATURE_OF.get(types[t], "has_finding")
        facts.append((h, name, t))
    graph = KnowledgeGraph()
    rare, how = _rare(nodes, members, types, facts, records.facts[3])
    for c, found in members.items():
        known = dict.fromkeys(name for i in found for name in (nodes[i].name, *nodes[i].synonyms))
        known.pop(names[c], None)
        ids = dict.fromkeys(nodes[i].key for i in found)
        graph.add_entity(Entity(names[c], types[c], rare[c], tuple(known), tuple(ids)), names[c])
    order = np.argsort([h for h, _, _ in facts], kind="stable").tolist()  # a head's facts lie together in the file too
    columns = records.facts
    for i in order:
        h, name, t = facts[i]
        if h >= 0:
            _, _, _, negated, origin, record, end, confidence, frequency, note = (column[i] for column in columns)
            evidence = (Evidence(origins[origin], record, end, confidence, frequency, notes[note]),)
            graph.support(names[h], name, names[t], bool(negated), evidence)
    joins = []
    for a, b, kind, through in clusters.joins:
        entry = {"entity": names[clusters.find(a)], "record": nodes[b].key}
        joins.append({**entry, ("refused" if kind.startswith("refused") else "by"): kind.removeprefix("refused: "),
                      "through": through})  # fmt: skip
    if not len(graph):
        raise InputError("the sources hold no fact between two known entities")
    report = {
        "entities": dict(sorted(Counter(types.values()).items())),
        "records": sum(map(len, members.values())),
        "joins": dict(Counter(j["by"] for j in joins if "by" in j)),
        "refused": dict(Counter(j["refused"] for j in joins if "refused" in j)),
        "rare": how,
    }
    return Joined(graph, joins, report)


def _type(types: list[str]) -> str:
    return next((kind for kind in PHENOTYPES if kind in types), types[0])


def _names(nodes: list[Node | None], members: dict[int, list[int]], types: dict[int, str]) -> dict[int, str]:
    """Return each cluster's name: its first record's, as it would stand inside a sentence, and unique.

    Where two families have one name, the first of NAMED_FIRST has it as it is, the other with its type behind it.
    """
    ordinary, proper = Counter(), Counter()  # words small inside a name; with a capital in one that is not a title
    for node in nodes:
        for name in (node.name, *node.synonyms) if node else ():
            rest = name.split()[1:]
            small = [word for word in rest if word.islower()]
            ordinary.update(small)
            if small:
                proper.update(word for word in rest if word.istitle())
    names: dict[int, str] = {}
    taken = set()
    rank = {kind: i for i, kind in enumerate(NAMED_FIRST)}
    for c, found in sorted(members.items(), key=lambda item: rank.get(types[item[0]], len(rank))):
        name = _in_a_sentence(nodes[found[0]], [nodes[i].name for i in found], types[c], ordinary, proper)
        for unique in (name, f"{name} ({types[c].replace('_', ' ')})", f"{name} ({nodes[found[0]].key})"):
            if unique.casefold() not in taken:
                break
        taken.add(unique.casefold())
        names[c] = unique
    return names


def _in_a_sentence(node: Node, others: list[str], kind: str, ordinary: Counter[str], proper: Counter[str]) -> str:
    name = " ".join(node.name.split())
    if name.isupper() and kind != "gene":  # OMIM's old entries shout
        quiet = next((other for other in others if name_key(other) == name_key(name) and not other.isupper()), "")
        name = quiet or (_calm(node.name, ordinary, proper) if " " in name or len(name) > 8 else name)
    if node.key.startswith("MESH:"):  # which puts the noun first: "Purpura, Thrombocytopenic, Idiopathic"
        name = " ".join(reversed(name.split(", ")))
    if kind == "gene" or (kind == "mechanism" and "virus" not in name):  # a genus has a capital
        return name
    words = name.split(" ")
    as_title = len(words) > 1 and all(word.istitle() for word in words if len(word) > 3)
    for i, word in enumerate(words):
        # A letter that tells forms apart stays as it is: "type I", "1A", "D-dependent".
        plain = word[:1].isupper() and word[1:].islower()
        if not (plain or word.istitle()) or not word[1:2].isalpha() or any(map(str.isdigit, word)):
            continue
        small, often = word.lower() in ordinary, ordinary[word.lower()] - proper[word]
        if i + 1 < len(words) and words[i + 1].lower().rstrip(",") in EPONYMS:
            ours = often > EPONYMS_TOO
        else:
            unknown = kind in LOWERED and (i == 0 or as_title) and plain and "'" not in word and not proper[word]
            ours = (small and often >= 0) or unknown
        if ours:
            words[i] = word.lower()
    return " ".join(words)


def _calm(name: str, ordinary: Counter[str], proper: Counter[str]) -> str:
    def small(match: re.Match[str]) -> str:
        word = match[0].lower()
        if proper[match[0].title()] > ordinary[word]:
            return match[0].title()
        return word if len(word) > 3 or (len(word) > 1 and ordinary[word] > EPONYMS_TOO) else match[0]

    return re.sub(r"\b[^\W\d_]+\b", small, " ".join(name.split()))


def _rare(
    nodes: list[Node | None],
    members: dict[int, list[int]],
    types: dict[int, str],
    facts: list[tuple[int, str, int]],
    negated: array,
) -> tuple[dict[int, bool], dict[str, int]]:
    """Return which entities are rare, and how many by what: a source's word, what a drug treats, or its degree."""
    said = {c: [nodes[i].rare for i in found if nodes[i].rare is not None] for c, found in members.items()}
    rare = {c: bool(words) and all(words) for c, words in said.items()}  # a prevalence beats a membership
    how = Counter({"by a source": sum(rare.values())})
    degree, uses = Counter(), defaultdict(list)
    for (h, name, t), no in zip(facts, negated, strict=True):
        if h >= 0 and not no:
            degree[h] += 1
            degree[t] += 1
            if name == "treated_by" and types[t] == "drug":
                uses[t].append(h)
    for kind in ("disease", "drug"):
        open_ = [c for c in members if types[c] == kind and not said[c]]
        if kind == "drug":
            for c in [c for c in open_ if uses[c]]:
                rare[c] = all(rare[h] for h in uses[c])
                how["drugs by what they treat"] += rare[c]
            open_ = [c for c in open_ if not uses[c]]
        cut = np.quantile([degree[c] for c in open_], RARE_QUANTILE) if open_ else 0
        for c in open_:
            rare[c] = bool(degree[c] <= cut)
            how["by degree"] += rare[c]
    return rare, dict(how)
