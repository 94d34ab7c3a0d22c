r"""OBO 1.2 and 1.4: the terms of an ontology, and the diseases of the Disease Ontology and Mondo as nodes and facts.

- understood: escapes, comments after "!", {qualifiers}, lines continued by "\", several kinds of stanza
- a term that is named but not defined here (a slim's parents) has the name of the comment that follows it
- the Disease Ontology's definitions hold phrases for machines ("has_symptom fever"); they are facts with the sentence
- left out: broader, narrower and related synonyms, abbreviations; xrefs into classifications (many diseases share one
  ICD code) and those that Mondo does not mark as equivalent; logical definitions; property values
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import PurePath
from typing import NamedTuple

from fleming.assets import load_table
from fleming.sources.cells import read_lines
from fleming.sources.facts import Fact, Node, Origin, Skip, authority_of, curie
from fleming.text import name_key
from model.errors import InputError

RULES = load_table("mappings/obo.yaml")
NO_ENTITY = re.compile(r"ICD|KEGG|PMID|PUBMED|HTTPS?:|URL:|DOI:|ISBN|WIKI")  # xrefs to classes and to pages

_ESCAPE = re.compile(r"\\(.)")
_QUOTED = re.compile(r'\s*"((?:[^"\\]|\\.)*)"(.*)', re.DOTALL)
_COMMENT = re.compile(r"(?<!\\)!")
_QUALIFIERS = re.compile(r"(?<!\\)\{([^{}]*)\}$")
_PAGE = re.compile(
    r"^https?://(?:identifiers\.org/(\w+)[/:]|purl\.obolibrary\.org/obo/([a-z]+)_)", re.IGNORECASE
)
_RELEASE = re.compile(r"_\d{4}_\d{2}_\d{2}(?=:)")  # of SNOMEDCT_US_2025_09_01:80258006


class Line(NamedTuple):
    """A tag's value, and what follows it."""

    number: int
    value: str
    comment: str
    qualifiers: str


HOPS = 10  # of terms that replace one another
MAX_STANZA = 1 << 22  # characters, with 64 more a line: memory stays bounded
Stanza = tuple[str, int, dict[str, list[Line]]]


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: {"n": "\n", "t": "\t", "W": " "}.get(found[1], found[1]), text)


def _line(number: int, value: str) -> Line:
    quoted = _QUOTED.match(value)
    text, rest = (quoted[1], quoted[2]) if quoted else ("", value)
    before, _, comment = (_COMMENT.sub("\n", rest, count=1) + "\n").partition("\n")
    before = before.strip()
    if (qualifiers := _QUALIFIERS.search(before)) and "=" in qualifiers[1]:
        before = before[: qualifiers.start()].strip()
    # A quoted text and what follows it are kept apart by a line break, which no value holds.
    value = f"{text}\n{before}" if quoted else before
    return Line(number, value, comment.strip(), qualifiers[1] if qualifiers else "")


def read_stanzas(path: str, skip: Skip) -> Iterator[Stanza]:
    """Yield (kind, line number, tag -> its lines, escapes kept), kinds as written: "[Term]"; first the header, "".

    Skipped: tag (no TAG: VALUE), too_long (what goes beyond MAX_STANZA).
    """
    kind, start, tags, size = "", 1, {}, 0
    begun, held = 0, []
    for number, text in read_lines(path, skip):
        begun = begun if held else number
        size += len(text) + 64
        if size > MAX_STANZA and not text.startswith("["):
            skip(f"{path}:{number}", "too_long", f"a stanza of over {MAX_STANZA:,} characters")
            held = []
            continue
        held.append(text.strip())
        if (len(held[-1]) - len(held[-1].rstrip("\\"))) % 2:
            held[-1] = held[-1][:-1]
            continue
        text, held = "".join(held), []
        tag, colon, value = text.partition(":")
        if text.startswith("["):  # a header, damaged or not: what follows is no more of the stanza before
            yield kind, start, tags
            kind, start, tags, size = text.partition("!")[0].rstrip(), begun, {}, 0
        elif colon and tag and " " not in tag and tag[0] != "!":
            tags.setdefault(tag, []).append(_line(begun, value))
        elif text and text[0] != "!":
            skip(f"{path}:{begun}", "tag", f"expected TAG: VALUE, found {text[:80]!r}")
    if held:
        skip(f"{path}:{begun}", "tag", "the file ends within a line that goes on")
    yield kind, start, tags


class Term(NamedTuple):
    """A term that is in force. Lines are those of its own tags."""

    line: int
    node: Node
    is_a: list[Line]
    relationships: list[Line]
    definition: Line | None


def key_of(text: str) -> str:
    """Return the CURIE of the first word, as `curie` writes it, or of its page; "" where there is none."""
    word = _unescape(text.split(maxsplit=1)[0] if text.strip() else "")
    authority, colon, number = _PAGE.sub(r"\1\2:", _RELEASE.sub("", word)).partition(":")
    return curie(authority, number) if authority and colon and number else ""


def _type_of(key: str) -> str:
    authority = authority_of(key)
    return RULES["types"].get(authority, authority.lower())


def _same(key: str, xref: Line) -> bool:
    """Whether the xref is to the same entity; Mondo says so of each."""
    unsaid = not key.startswith("MONDO:") or not xref.qualifiers
    equivalent = unsaid or "MONDO:equivalentTo" in xref.qualifiers
    return equivalent and not NO_ENTITY.match(xref.value.upper())


def _exact(synonym: Line) -> tuple[str, bool]:
    """Return the synonym's text and whether it is a layperson's.

    The text is "" where it is not exact or an abbreviation, which often has several meanings.
    """
    text, _, rest = synonym.value.partition("\n")
    scope = rest.partition("[")[0].upper().split()
    is_exact = scope[:1] == ["EXACT"] and set(RULES["abbreviations"]).isdisjoint(scope)
    return " ".join(_unescape(text).split()) if is_exact else "", "LAYPERSON" in scope


def _replaced(path: str) -> dict[str, list[str]]:
    """Return term -> the obsolete ids that it replaces, over up to HOPS others; one that two terms replace is lost."""
    by, found = {}, defaultdict(list)
    for kind, _, tags in read_stanzas(path, lambda *_: None):
        if kind == "[Term]" and len(tags.get("replaced_by", [])) == 1 and "id" in tags:
            by[key_of(tags["id"][0].value)] = key_of(tags["replaced_by"][0].value)
    for old, new in by.items():
        for _ in range(HOPS):
            new = by.get(new, new)
        found[new].append(old)
    return found


def read_terms(path: str, skip: Skip) -> Iterator[Term | str]:
    """Yield the release that the file states, then its terms. Skipped: term (no id, two, or no name), stanza.

    Obsolete terms are left out; the one that replaces a term has its id as a cross-reference. InputError for a file
    without terms.
    """
    found, former = False, _replaced(path)
    for kind, line, tags in read_stanzas(path, skip):
        if kind == "":
            yield next((line.value for name in ("data-version", "date") for line in tags.get(name, [])), "")
        if kind != "[Term]":
            if kind not in ("", "[Typedef]", "[Instance]", "[Annotation]"):
                detail = f"expected [Term], [Typedef] or [Instance], found {kind[:80]!r}"
                skip(f"{path}:{line}", "stanza", detail)
            continue
        if any(flag.value.lower() == "true" for flag in tags.get("is_obsolete", [])):
            continue
        key = key_of(tags["id"][0].value) if len(tags.get("id", ())) == 1 else ""
        name = " ".join(_unescape(tags["name"][0].value).split()) if "name" in tags else ""
        if not key or not name:
            skip(f"{path}:{line}", "term", "a term needs one id, with an authority, and a name")
            continue
        exact = [(text, is_lay) for text, is_lay in map(_exact, tags.get("synonym", [])) if text]
        same = [other for other in tags.get("xref", []) if _same(key, other)]
        xrefs = [key_of(other.value) for other in tags.get("alt_id", []) + same] + former.get(key, [])
        found = True
        subsets = {subset.value for subset in tags.get("subset", [])}
        rare = True if subsets & set(RULES["rare_subsets"]) else None
        node = Node(
            *(key, name, _type_of(key)),
            tuple(dict.fromkeys(text for text, _ in exact if text != name)),
            tuple(dict.fromkeys(other for other in xrefs if other and other != key)),
            rare,
            tuple(dict.fromkeys(text for text, is_lay in exact if is_lay)),
        )
        definition = (tags.get("def") or [None])[0]
        yield Term(line, node, tags.get("is_a", []), tags.get("relationship", []), definition)
    if not found:
        raise InputError(f"{path}: expected an OBO file, found no [Term] that is in force")


def read_obo(path: str, skip: Skip) -> Iterator[Node | Fact]:
    """Yield the terms of a disease ontology, subtype_of from is_a, its relationships and its definitions' phrases.

    Skipped: reference (is_a or a relationship without a term), and what `read_terms` skips.
    """
    file, version, defined, named, phrased = PurePath(path).name, "", set(), {}, {}
    for term in read_terms(path, skip):
        if isinstance(term, str):
            version = term
            continue
        key = term.node.key
        if not defined:
            origin = Origin(RULES["names"].get(authority_of(key), file), file, version, "obo")
        # A former term that others still name is not made anew: what replaced it has its key.
        defined |= {key, *(xref for xref in term.node.xrefs if authority_of(xref) == authority_of(key))}
        yield term.node
        stated = [("subtype_of", line, line.value) for line in term.is_a]
        for line in term.relationships:
            name, _, other = line.value.partition(" ")
            stated.append((RULES["relationships"].get(name, name), line, other))
        for relation, line, value in stated:
            if other := key_of(value):
                named.setdefault(other, " ".join(_unescape(line.comment).split()))
                yield Fact(key, relation, other, origin, line.number)
            else:
                detail = f"expected {relation} and a term, found {line.value[:80]!r}"
                skip(f"{path}:{line.number}", "reference", detail)
        if term.definition and key.startswith("DOID:"):
            for fact, node in _phrases(key, term.definition, origin._replace(extractor="definition")):
                if node.key not in phrased:
                    yield node
                if phrased.setdefault(node.key, node.type) == node.type:  # one name, one meaning: the first
                    yield fact
    for key, name in named.items():
        if name and key not in defined and not name.startswith("obsolete "):
            yield Node(key, name, _type_of(key))


_SENTENCE = re.compile(r"(?<=[.;]) (?=[A-Z])")
_MARK = re.compile(
    r"\b(has[_ ]symptom|located_in|has_material_basis_in|results_in|transmitted_by|derives_from) "
)
_GENE = re.compile(r"\bmutations? (?:in|of) (?:the )?([A-Z][A-Z0-9]{1,9}(?:orf\d{1,3})?) gene\b")


def _phrases(key: str, definition: Line, origin: Origin) -> Iterator[tuple[Fact, Node]]:
    """Yield what a definition's machine phrases state, where their object is one to four plain words or a gene.

    has_material_basis_in is a cause in infections alone; elsewhere it names mutations and cells of origin.
    """
    text = " ".join(_unescape(definition.value.partition("\n")[0]).split())
    no_name = set(RULES["no_name"])
    for sentence in _SENTENCE.split(text):
        stated = {}
        parts = _MARK.split(sentence)
        for before, mark, rest in zip(parts[:-1:2], parts[1::2], parts[2::2], strict=True):
            if before.split()[-1:] and before.split()[-1].lower() in RULES["denied"]:
                continue
            words = re.split(r"[,.;:(]", rest.replace('"', ""), maxsplit=1)[0].removeprefix("the ").split()
            while words and words[-1].lower() in RULES["last_words"]:
                words.pop()
            plain = 0 < len(words) <= 4 and no_name.isdisjoint(word.lower() for word in words)
            plain = plain and not (len(words) == 1 and words[0].endswith(tuple(RULES["adjective"])))
            if mark == "has_material_basis_in":
                stated |= dict.fromkeys(("associated_gene", "gene", gene) for gene in _GENE.findall(rest))
                if plain and "infect" in text:
                    stated["caused_by", "mechanism", " ".join(words)] = None
            elif plain and mark == "located_in" and "of" not in words:
                stated["located_in", "anatomy", " ".join(words)] = None
            elif plain and mark in ("has_symptom", "has symptom"):
                stated["has_symptom", "symptom", " ".join(words)] = None
        for relation, node_type, name in stated:
            if not (key_of_name := name_key(name)):
                continue
            node = Node(curie("NAME", key_of_name), name, node_type)
            yield Fact(key, relation, node.key, origin, definition.number, -1, False, 0.8, sentence), node
