"""What every source of facts yields: nodes, facts, and where each fact was found. joining.py makes the graph of them.

A source is a generator of Node and Fact in any order, one file a pass, nothing held but what it must. A record that it
cannot use it hands to `skip` and goes on; a file that is not what it should be at all is an InputError.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

from fleming.sources.vocabulary import AUTHORITIES

Skip = Callable[[str, str, str], None]
"""skip(where, code, detail): the record at `where` ("FILE:LINE" or "FILE: record N") is left out, and why."""


class Origin(NamedTuple):
    """One file or page that facts were taken from. Facts of one file share one Origin."""

    source: str
    """The data set: "HPO", "Hetionet", "Wikipedia"."""
    file: str
    """The file's name, or the page's title."""
    version: str = ""
    """The release that the file states, or the page's revision."""
    extractor: str = ""
    """What read it: "hpoa", "infobox", "lead sentence"."""
    licence: str = ""
    """Under which licence the source stands; "" in files of earlier versions."""
    address: str = ""
    """Where the source is found."""

    def place(self) -> dict[str, str]:
        """Return where a fact is to be looked up: all but what is the same for the whole source."""
        return {name: text for name, text in self._asdict().items() if name not in ("licence", "address")}


RETRACTED = "retracted"
"""The source of a fact that was withdrawn and stands as disputed (graph/retracted.py)."""


class Node(NamedTuple):
    """A mention of an entity under its source's identifier."""

    key: str
    """CURIE of its authority, as `curie` writes it: "HP:0001250", "DRUGBANK:DB00945"; unique in its authority."""
    name: str
    """The source's preferred name, blanks single."""
    type: str
    """One of vocabulary.FAMILIES' types, or a type of the source's own."""
    synonyms: tuple[str, ...] = ()
    """Names that mean exactly the same; broader, narrower and related ones are left out."""
    xrefs: tuple[str, ...] = ()
    """CURIEs under which other authorities have the same entity."""
    rare: bool | None = None
    """Whether the source says that it is rare; None where it says nothing."""
    lay: tuple[str, ...] = ()
    """Those of the names that the source marks as a layperson's."""


class Fact(NamedTuple):
    """An edge `head -relation-> tail` between two nodes' keys, as one record of a source states it."""

    head: str
    relation: str
    """One of vocabulary.RELATIONS, or a relation of the source's own, which then no question uses."""
    tail: str
    origin: Origin
    record: int
    """Line or record in the file, from 1; in a page the character at which the span begins, from 0."""
    end: int = -1
    """In a page, the character before which the span ends; -1 in a file."""
    negated: bool = False
    """The source says that this does not hold."""
    confidence: float = 1.0
    """0 to 1, by the kind of evidence."""
    note: str = ""
    """The sentence, or what the record says more: "frequency 3/7; onset Infantile onset"."""
    frequency: float = -1.0
    """Of a finding: in which share of patients the source says it occurs, 0 to 1; -1 where it says nothing."""


Level = Literal["open", "nearly_closed", "closed"]
LEVELS: tuple[Level, ...] = get_args(Level)
"""Each says all that the one before it says."""


class Declared(NamedTuple):
    """How complete a source says, or is known, to be in one relation. What nobody declares is open."""

    level: Level = "open"
    """closed: of a head of which the source states one fact of the relation, it states all."""
    published: int | None = None
    """How many edges of the relation the whole source has; None where nobody has counted."""
    whole: bool = False
    """Where the source states none of a head that it describes, there is none: a hand-written, complete file."""


GROUPED = "_GROUPED"
"""Ends the authority of records that are several of another's in one: "MONDO_GROUPED:1_2" is MONDO:1 and MONDO:2."""


def curie(authority: str, identifier: str) -> str:
    """Return "AUTHORITY:identifier" with one spelling an authority: MIM and omim are OMIM, ORDO and Orphanet ORPHA."""
    return f"{AUTHORITIES.get(authority.strip().lower(), authority.strip().upper())}:{identifier.strip()}"


def authority_of(key: str) -> str:
    """Return the part of a CURIE that says whose it is."""
    return key.partition(":")[0]
