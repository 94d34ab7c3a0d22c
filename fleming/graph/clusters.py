"""Which records of several sources mean one entity: by identifier first, by name second.

Left out: what becomes of the entities and of the facts between them (joining.py).
"""

from collections import Counter, defaultdict
from dataclasses import dataclass

from fleming.graph.columns import Columns, Numbering
from fleming.sources.facts import GROUPED, Fact, Node, authority_of
from fleming.sources.vocabulary import FAMILIES, INVERSES
from fleming.text import name_key

TOO_BROAD = ("ICD9", "ICD9CM", "ICD10", "ICD10CM", "ICD11", "ICDO")  # codes of billing group diseases

DIRECTED = {"without", "due", "secondary", "after", "following", "from"}
"""Words whose two sides are not to be exchanged."""

NOBODY = "NAME"  # the authority of names that a text says


class Records:
    """Every node and fact as they come; facts in columns, since there are a million."""

    def __init__(self) -> None:
        self.keys = Numbering()  # key -> record; facts may name a key before its node comes
        self.nodes: dict[int, Node] = {}
        self.relations, self.origins = Numbering(), Numbering()
        self.notes = Numbering({"": 0})
        self.facts = Columns("head relation tail negated origin record end confidence:f frequency:f note")

    def add_node(self, node: Node) -> None:
        number = self.keys[node.key]
        known = self.nodes.get(number)
        if known:  # two files of one authority: the first names it
            names = dict.fromkeys([*known.synonyms, node.name, *node.synonyms])
            names.pop(known.name, None)
            xrefs = tuple(dict.fromkeys([*known.xrefs, *node.xrefs]))
            is_common = False in (known.rare, node.rare)
            rare = False if is_common else known.rare or node.rare
            lay = tuple(dict.fromkeys([*known.lay, *node.lay]))
            node = known._replace(synonyms=tuple(names), xrefs=xrefs, rare=rare, lay=lay)
        self.nodes[number] = node

    def add_fact(self, fact: Fact) -> None:
        head, relation, tail = fact.head, fact.relation, fact.tail
        if relation in INVERSES:
            head, relation, tail = tail, INVERSES[relation], head
        self.facts.append(
            self.keys[head],
            self.relations[relation],
            self.keys[tail],
            fact.negated,
            self.origins[fact.origin],
            fact.record,
            fact.end,
            fact.confidence,
            fact.frequency,
            self.notes[fact.note],
        )

    def resolve_former_keys(self) -> None:
        """Let facts that use a term's former identifier, a key without a node of its own, find the term."""
        claims = defaultdict(list)  # former key -> records
        for number, node in self.in_order():
            for xref in node.xrefs:
                former = self.keys.get(xref)
                if former is not None and former not in self.nodes:
                    claims[former].append(number)
        renamed = {former: found[0] for former, found in claims.items() if len(found) == 1}
        for column in (self.facts.arrays["head"], self.facts.arrays["tail"]):
            for row, number in enumerate(column):
                if number in renamed:
                    column[row] = renamed[number]

    def in_order(self) -> list[tuple[int, Node]]:
        """Return the nodes in the order in which their keys were first named."""
        return sorted(self.nodes.items())


@dataclass(frozen=True)
class Join:
    """Two records that became one entity, or did not."""

    first: int
    second: int
    verdict: str
    """by or refused"""
    how: str
    through: str
    """The identifier or name that both have."""


class Clusters:
    """Union-find over records; a cluster's first record stands for it."""

    def __init__(self, records: Records) -> None:
        self.nodes = dict(records.in_order())
        self.parent = list(range(len(records.keys)))
        self.authorities = {number: {_keeper(node)} for number, node in self.nodes.items()}
        self.joins: list[Join] = []

    def find(self, i: int) -> int:
        parent = self.parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def join(self, i: int, j: int, how: str, through: str) -> None:
        a, b = sorted((self.find(i), self.find(j)))
        if a == b:
            return
        if how != "group" and self.authorities[a] & self.authorities[b] - {NOBODY}:
            self.refuse(a, b, "an authority keeps them apart", through)
            return
        self.parent[b] = a
        self.authorities[a] |= self.authorities[b]
        self.joins.append(Join(a, b, "by", how, through))

    def refuse(self, i: int, j: int, why: str, through: str) -> None:
        self.joins.append(Join(i, j, "refused", why, through))

    def family(self, i: int) -> str:
        kind = self.nodes[i].type
        return FAMILIES.get(kind, kind)

    def join_groups(self) -> None:
        """Join the records that a source keeps as one (PrimeKG: MONDO_grouped), though their authority does not."""
        numbers = {node.key: i for i, node in self.nodes.items()}
        for i, node in self.nodes.items():
            authority = authority_of(node.key)
            members = [xref for xref in node.xrefs if f"{authority_of(xref)}{GROUPED}" == authority]
            for j in (numbers[key] for key in members if key in numbers):
                if self.family(i) == self.family(j):
                    self.join(i, j, "group", node.key)

    def join_by_identifier(self) -> None:
        claimers = defaultdict(list)  # (family, identifier) -> records
        for i, node in self.nodes.items():
            for identifier in dict.fromkeys((node.key, *node.xrefs)):
                is_member = authority_of(node.key) == f"{authority_of(identifier)}{GROUPED}"
                if authority_of(identifier) not in TOO_BROAD and not is_member:
                    claimers[self.family(i), identifier].append(i)
        shared = [(identifier, found) for (_, identifier), found in claimers.items() if len(found) > 1]
        claims = Counter((i, authority_of(identifier)) for identifier, found in shared for i in found)

        for identifier, found in shared:
            authorities = Counter(authority_of(self.nodes[i].key) for i in found)
            clear = []
            for i in found:
                key = self.nodes[i].key
                one_to_one = authorities[authority_of(key)] == 1 and claims[i, authority_of(identifier)] == 1
                if key == identifier or one_to_one:
                    clear.append(i)
                else:
                    self.refuse(i, i, "not one to one", identifier)
            for i in clear[1:]:
                self.join(clear[0], i, "identifier", identifier)

    def join_by_name(self) -> None:
        """Join what has one preferred name, then what has as its preferred name a synonym of exactly one other.

        Diseases also where the words are the same: "primary ciliary dyskinesia type 3", "Ciliary dyskinesia, primary,
        3".
        """
        preferred, synonyms = defaultdict(list), defaultdict(list)  # (family, name) -> records
        for i, node in self.nodes.items():
            family, key = self.family(i), name_key(node.name)
            if key:
                preferred[family, key].append(i)
            for key in dict.fromkeys(map(name_key, node.synonyms)):
                synonyms[family, key].append(i)
        for (_, key), found in preferred.items():
            for i in found[1:]:
                self.join(found[0], i, "name", key)

        same_words = defaultdict(list)
        for (family, key), found in preferred.items():
            if family == "disease":
                same_words[_sides(key)].append(found[0])
        for found in same_words.values():
            for i in found[1:]:
                self.join(found[0], i, "name", name_key(self.nodes[i].name))

        for (family, key), found in preferred.items():
            own = {self.find(i) for i in found}
            others = {self.find(i) for i in synonyms.get((family, key), ())} - own
            if len(own) == len(others) == 1:
                self.join(found[0], others.pop(), "name", key)


def _keeper(node: Node) -> str:
    """Return the authority that keeps the node's term from its others: nobody's where names are the identifiers."""
    authority, _, identifier = node.key.partition(":")
    is_name = identifier in (node.name, f"{node.name} ({node.type})")
    return NOBODY if is_name else authority


def _sides(key: str) -> tuple[tuple[str, ...], ...]:
    """Return the words of each side of what directs them, in alphabetical order."""
    sides: list[list[str]] = [[]]
    for word in key.split():
        if word in DIRECTED:
            sides.append([])
        if word != "type":
            sides[-1].append(word)
    return tuple(tuple(sorted(side)) for side in sides)
