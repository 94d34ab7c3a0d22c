"""What a page is about: the entity's type, names, identifiers elsewhere, and whether it is rare.

A type is, first of all, what a particular infobox says (drug, symptom, test, gene, anatomy), then symptoms' categories,
then the infobox of diseases, then other categories, then the noun by which the lead or the title calls it, then the
caller's gazetteer. Left out: facts about the entity (extraction.py).
"""

import re
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from fleming.sources.facts import Node, curie
from fleming.sources.wikipedia.pages import Page
from fleming.sources.wikipedia.rules import RULES, SAYS
from fleming.sources.wikipedia.wikitext import LONGEST, Article, Sentence, read_article
from fleming.text import name_key

Known = Callable[[str], dict[str, str]]
"""known(name) -> type -> key of the entities that other sources have under this name."""


class Reading(NamedTuple):
    """A page, read."""

    page: Page
    article: Article
    type: str
    """As of Node; "" for a page that is not medical."""
    names: tuple[str, ...]
    """Synonyms: bold in the lead, "also called", the infobox's."""
    rare: bool | None
    lead: list[Sentence]

    @property
    def is_disambiguation(self) -> bool:
        """Whether the page only says what its title may mean."""
        named = any(map(SAYS["disambiguation"].match, self.article.templates))
        return named or self.page.title.endswith("(disambiguation)")

    @property
    def name(self) -> str:
        """The title without what tells it from others of its name: "Thrush (infection)"."""
        return plain_title(self.page.title)


def plain_title(title: str) -> str:
    """Return the title without what tells it from others of its name, in brackets at its end."""
    return re.sub(r"\s+\([^()]*\)$", "", title)


def stems(name: str) -> list[str]:
    """Return the folded words of a title or a label in the singular, without what tells titles apart."""
    return [word.removesuffix("s") for word in name_key(plain_title(name)).split()]


def is_akin(label: str, title: str) -> bool:
    """Whether a label may be another form of the title: a word begins alike, or it is the initials."""
    ours, theirs = stems(label), stems(title)
    initials = "".join(word[0] for word in theirs)
    return any(a[:4] == b[:4] for a in ours for b in theirs) or "".join(ours) == initials


def page_key(title: str) -> str:
    """Return the node's key of the page with this title."""
    return curie("Wikipedia", title.replace(" ", "_"))


def read_page(page: Page, known: Known) -> Reading:
    """Return what the page is about."""
    article = read_article(page.text)
    lead = [s for s in islice(article.sentences(*article.headings[0][:2]), 30) if len(s.text) <= LONGEST]
    said = lead[0].text if lead else ""
    kind = re.sub(r"\s+", " ", match.group(1)) if (match := SAYS["defined"].search(said)) else ""
    categories = [c.lower() for c in (*page.categories, *article.categories)]
    categories = [c for c in categories if not SAYS["no_category"].search(c)]
    found = _type(page.title, article, categories, (kind, said), known)
    reading = Reading(page, article, found, (), None, lead)
    if not reading.type or reading.is_disambiguation:
        return reading._replace(type="")
    names = [*article.bold, *_also(said)]
    for field in article.fields:
        if field.name in ("synonyms", "synonym", "tradename") and "box" in field.template:
            listed = article.values[field.start : field.end].replace("\0", "")
            names += re.split(r"[,;\n]", re.sub(r"\([^()]*\)", "", listed))
    names = [" ".join(name.split()).strip(" .\"'“”,") for name in names]
    names = [n for n in names if 3 < len(n) <= 80 and not (n.isupper() and len(n) < 6)]
    names = [n for n in names if not SAYS["others"].fullmatch(n)]
    unique = {name_key(n): n for n in reversed(names)}
    unique.pop(name_key(reading.name), None)
    frequency = (article.values[f.start : f.end] for f in article.fields if f.name == "frequency")
    said = [*(c for c in categories if "rare disease" in c), " ".join(frequency).lower(), kind.lower()]
    rare = any(SAYS["rare"].search(text) and not SAYS["negated"].search(text) for text in said)
    return reading._replace(names=tuple(reversed(unique.values())), rare=True if rare else None)


def _also(text: str) -> list[str]:
    """Return the names in "X, also called A or B, is ..."; of a list only where all end as names."""
    text = re.sub(r":\d[\d,–-]*|[\"“”]|\([^()]{0,20}\)", "", text)
    match = SAYS["also"].search(text)
    if not match or re.search(r"\b(?:is|are|was)\b", text[: match.start()]):
        return []
    found = []
    for part in re.split(r",?\s+or\s+(?:also\s+|sometimes\s+)?", match.group(1)):
        pieces = [piece for piece in re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+", part) if piece.strip()]
        if len(pieces) == 1 or all(SAYS["name"].search(piece) for piece in pieces):
            found += pieces
    found = [re.sub(r"^(?:an?|the)\s+", "", piece.strip()) for piece in found]
    return [piece for piece in found if not re.match(r"(?:by|after|in|as|called|known|simply)\b", piece)]


def _type(title: str, article: Article, categories: list[str], defined: tuple[str, str], known: Known) -> str:
    kind, said = defined
    if SAYS["no_title"].search(title) or SAYS["of_animals"].search(said[:LONGEST]):
        return ""
    for template in article.templates:
        for pattern, found in RULES.boxes.items():
            if re.match(pattern, template):
                return found
    if SAYS["class"].search(said[:300]):
        return "drug_class"
    if any(SAYS["symptom"].search(category) for category in categories):
        return "symptom"
    if any(SAYS["condition"].match(template) for template in article.templates):
        return "disease"
    for category in categories:
        for pattern, found in RULES.categories.items():
            if re.search(pattern, category):
                return found
    for text in (kind, title):
        for pattern, found in RULES.nouns.items():
            if re.search(rf"\b{pattern}\s*(?:(?:of|in)\b.*)?$", text, re.IGNORECASE):
                return found
    types = known(title)
    return next(iter(types)) if len(types) == 1 else ""


def page_node(reading: Reading) -> Node:
    """Return the node of the page's entity. An identifier counts where its field holds just one: several are parts."""
    found = {}
    for field in reading.article.fields:
        authority, pattern = RULES.identifiers.get(field.name, ("", ""))
        ids = re.findall(rf"\b{pattern}\b", reading.page.text[field.start : field.end]) if authority else []
        if len(ids) == 1:
            found[curie(authority, ids[0])] = True
    key, names = page_key(reading.page.title), reading.names
    return Node(key, reading.name, reading.type, names, tuple(found), reading.rare)
