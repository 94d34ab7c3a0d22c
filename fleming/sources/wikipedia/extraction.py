"""What a page says: facts by rules over the infobox, the sections' links and the lead's sentences.

A link's target has the type that its own page says, else that of the caller's gazetteer, else (only where the link is
all of an infobox's item) the type that the field is for. Where it does not fit the relation there is no fact, nor where
the sentence or the item denies or compares. Plain names count only where the gazetteer or a page's title has them. Text
is data: nothing in a page is obeyed. Left out: what a teacher reads (relations.py).
"""

import re
from collections.abc import Callable, Iterable, Iterator

from fleming.sources.facts import Fact, Node, Origin, curie
from fleming.sources.vocabulary import FEATURES
from fleming.sources.wikipedia.entities import Known, Reading, is_akin, page_key, plain_title, stems
from fleming.sources.wikipedia.rules import RULES, SAYS
from fleming.sources.wikipedia.wikitext import LONGEST, Article, Field, Link, Sentence
from fleming.text import name_key

SYMPTOMS = RULES.fields["disease"]["symptoms"]
NOTHING = "-"
"""The type of a page that is no entity, whatever a field is for."""
LISTED = ("drug", "disease")  # a gazetteer has these whole: what it knows as a class or a symptom is none
WARNS = {"treated_by": SAYS["against"], "risk_factor_of": SAYS["protects"], "diagnosed_by": SAYS["unneeded"]}
WARNS |= dict.fromkeys(FEATURES, SAYS["unusual"])
WARNS |= dict.fromkeys(("contraindicated_in", "interacts_with"), SAYS["safe"])
CONFIDENCE = {"infobox": 0.9, "lead": 0.8, "section": 0.6, "teacher": 0.5}

_MODE = re.compile(rf"\b(?:{'|'.join(RULES.inheritance)})\b", re.IGNORECASE)


class Linker:
    """What links and names lead to, as the pages read so far and the caller's gazetteer say."""

    def __init__(self, known: Known):
        self.known = known
        self.pages: dict[str, tuple[str, str]] = {}
        """title asked for -> (the page's title, its type or "")"""
        self.fields: dict[str, str] = {}
        """key of a page that says no type -> the type of the first field that named it"""
        self._names: dict[str, str | None] = {}  # name_key -> title, None where two pages have the name
        self._labels: dict[str, tuple[str | None, str, bool]] = {}
        """name_key -> target, a page that says so, whether others do too"""

    def read(self, reading: Reading) -> None:
        """Learn a medical page's names, and the labels under which it links to others."""
        for name in (reading.name, *reading.names):
            if self._names.setdefault(name_key(name), reading.page.title) != reading.page.title:
                self._names[name_key(name)] = None
        for link in reading.article.links:
            key, title = name_key(link.label), reading.page.title
            target, page, others = self._labels.get(key, (link.target, title, False))
            self._labels[key] = target if target == link.target else None, page, others or page != title

    def name(self, name: str, types: Iterable[str]) -> tuple[str, str] | None:
        """Return (key, type) for a plain name that the gazetteer, a page, or two pages' labels for one target have."""
        found = self._known(name, types)
        if found is None:
            target, _, others = self._labels.get(key := name_key(name), (None, "", False))
            title, kind = self.pages.get(self._names.get(key) or (target if others else "") or "", ("", ""))
            found = (page_key(title), kind) if kind in types else None
        return found

    def link(self, link: Link, types: Iterable[str], field_type: str = "") -> tuple[str, str] | None:
        """Return (key, type) of a link's target where one of the types fits it; `field_type` where nothing is known."""
        title, kind = self.pages.get(link.target, (link.target, ""))
        if self._says_another(link.label, title):
            return None
        if kind in types:
            return page_key(title), kind
        for name in (title, link.label):
            if found := self._known(name, types):
                return found
        if field_type in LISTED and (self.known(title) or self.known(link.label)):
            return None
        if not field_type or kind or not is_akin(link.label, title):
            return None
        kind = self.fields.setdefault(page_key(title), field_type)
        return (page_key(title), kind) if kind in types else None

    def _known(self, name: str, types: Iterable[str]) -> tuple[str, str] | None:
        """Return (key, type) of the gazetteer's entity of the first of the types that has one of this name."""
        found = self.known(name)
        return next(((found[kind], kind) for kind in types if kind in found), None)

    def _says_another(self, label: str, title: str) -> bool:
        """Whether a piped link's label means another thing than its target: "[[Influenza|influenza vaccine]]"."""
        ours, theirs = stems(label), stems(title)
        if ours == theirs:
            return False
        is_more = theirs and set(theirs) < set(ours) and ours[-1] not in theirs
        is_thing = SAYS["thing"].search(label) and not SAYS["thing"].search(title)
        page = self._names.get(name_key(label))
        is_other_page = page and page != title and title in self.pages
        known, other = self.known(label), self.known(title)
        is_other_entity = known and other and set(known.values()).isdisjoint(other.values())
        return bool(is_more or is_thing or is_other_page or is_other_entity)


Extractor = Callable[[Reading, Linker], Iterable[Node | Fact]]
"""What reads facts from a page."""


def places(reading: Reading) -> Iterator[tuple[Link, int]]:
    """Yield each link with the worth of its place: 3 in a field with steps, 2 in such a section, 1 in the lead, else 0.

    A link in an infobox comes twice.
    """
    for _, field in _fields(reading):
        yield from ((link, 3) for link in reading.article.inside(field.start, field.end))
    for start, end, headings in reading.article.headings:
        worth = 1 if not headings else 2 if _section_steps(reading.type, headings) else 0
        yield from ((link, worth) for link in reading.article.inside(start, end))


def _fields(reading: Reading) -> Iterator[tuple[dict[str, str], Field]]:
    for field in reading.article.fields:
        if "box" in field.template and (steps := RULES.fields.get(reading.type, {}).get(field.name)):
            yield steps, field


def _items(article: Article, field: Field) -> Iterator[tuple[int, int]]:
    """Yield where the items of a field's list begin and end."""
    begin, links, passed = field.start, article.inside(field.start, field.end), 0
    for match in SAYS["item_end"].finditer(article.values, field.start, field.end):
        while passed < len(links) and links[passed].end <= match.start():
            passed += 1
        if passed == len(links) or match.start() < links[passed].start:  # else a comma of a link's label
            yield begin, match.start()
            begin = match.end()
    yield begin, field.end


def _section_steps(kind: str, headings: tuple[str, ...]) -> dict[str, str]:
    for heading in reversed(headings) if not any(map(SAYS["elsewhere"].search, headings)) else ():
        for pattern, found in RULES.sections.get(kind, {}).items():
            if re.search(rf"\b(?:{pattern})\b", heading):
                return found
    return {}


def is_spoken_against(step: str, text: str) -> bool:
    """Whether the text says of a treatment or a risk that it is none, or of a finding that few have it."""
    warns = WARNS.get(step.removeprefix("^"))
    return bool(warns and warns.search(text))


def page_fact(
    reading: Reading, extractor: str, step: str, other: str, span: tuple[int, int], note: str
) -> Iterator[Fact]:
    """Yield the fact that the page's entity has the step to `other`, unless that is itself, or the note warns of it."""
    page = page_key(reading.page.title)
    if page == other or is_spoken_against(step, note):
        return
    head, tail = (other, page) if step.startswith("^") else (page, other)
    origin = Origin("Wikipedia", reading.page.title, str(reading.page.revision or ""), extractor)
    note = " ".join(note.replace("\0", "").split())[:1000]
    yield Fact(head, step.removeprefix("^"), tail, origin, *span, confidence=CONFIDENCE[extractor], note=note)


def infobox_facts(reading: Reading, linker: Linker) -> Iterator[Node | Fact]:
    """Yield what the infobox's fields say, item by item."""
    article = reading.article
    for steps, field in _fields(reading):
        denied = -1
        for begin, end in _items(article, field):
            text = article.values[begin:end].replace("\0", "")
            plain = SAYS["rest"].sub("", re.sub(r"\([^()]*\)", "", text)).strip(" .,;•·\n\t")
            plain = SAYS["whose"].sub("", plain)
            if SAYS["no_fact"].search(text) or any(is_spoken_against(step, text) for step in steps.values()):
                if taken := SAYS["denied_on"].match(article.values, end, field.end):
                    denied = end if SAYS["alone"].fullmatch(text) else taken.end()
                continue
            if not plain or begin < denied:
                continue
            links = article.inside(begin, end)
            for link in links:
                whole = next(iter(steps)) if link.label == plain else ""
                if found := linker.link(link, steps, whole):
                    if found[0] in linker.fields:
                        title = found[0].partition(":")[2].replace("_", " ")
                        yield Node(found[0], plain_title(title), found[1])
                    yield from page_fact(reading, "infobox", steps[found[1]], found[0], link[2:], text)
            if links or _may_be_cut(article, field, begin, plain):
                continue
            if found := linker.name(plain, steps):
                yield from page_fact(reading, "infobox", steps[found[1]], found[0], (begin, end), text)


def _may_be_cut(article: Article, field: Field, begin: int, item: str) -> bool:
    """Whether a word after "or" may share what stands before: in "eye redness or discomfort" it is of the eye."""
    before = re.split(r"[\n,;]", article.values[field.start : begin].replace("\0", ""))[-1].split()
    return " " not in item and len(before) > 2 and before[-1] in ("or", "and")


def section_facts(reading: Reading, linker: Linker) -> Iterator[Fact]:
    """Yield what links say by the section in which they stand, where their own page or the gazetteer types them."""
    for start, end, headings in reading.article.headings:
        if not (steps := _section_steps(reading.type, headings)):
            continue
        for sentence in reading.article.sentences(start, end):
            links = reading.article.inside(sentence.places[0], sentence.places[-1] + 1)
            if not links or len(sentence.text) > LONGEST or SAYS["no_fact"].search(sentence.text):
                continue
            for link in links:
                if found := linker.link(link, steps):
                    step, other = steps[found[1]], found[0]
                    yield from page_fact(reading, "section", step, other, link[2:], sentence.text)


def lead_facts(reading: Reading, linker: Linker) -> Iterator[Node | Fact]:
    """Yield what the lead says in one of a few exact forms, names by `Linker.name` or as a gene's symbol."""
    names = [re.escape(name) for name in (reading.name, *reading.names)]
    about = re.compile(rf"(?:{'|'.join(names)}|{SAYS['subject'].pattern})", re.IGNORECASE)
    for number, sentence in enumerate(reading.lead):
        if SAYS["no_fact"].search(sentence.text) or not (number == 0 or about.match(sentence.text)):
            continue
        said: dict[tuple[str, str], tuple[int, int]] = {}
        for step, key, span in _said(reading.type, sentence, linker, number == 0):
            said.setdefault((step, key), span)
        for (step, key), span in said.items():
            if key.startswith(("HGNC.SYMBOL:", "HP:")) and step in ("associated_gene", "inherited_as"):
                name = dict(RULES.inheritance.values()).get(key) or key.partition(":")[2]
                yield Node(key, name, "gene" if step == "associated_gene" else "inheritance")
            yield from page_fact(reading, "lead", step, key, sentence.span(*span), sentence.text)


def _said(
    kind: str, sentence: Sentence, linker: Linker, first: bool
) -> Iterator[tuple[str, str, tuple[int, int]]]:
    text = sentence.text
    if kind == "drug":
        for match in SAYS["used"].finditer(text):
            for found, span in _listed(match, linker, ("disease",)):
                yield "^treated_by", found[0], span
    if kind != "disease":
        return
    if first and (match := SAYS["defined"].search(text)):
        for mode in _MODE.finditer(text, match.start(1), match.end(1)):
            yield "inherited_as", RULES.inheritance[mode.group().lower()][0], mode.span()
        place = match.start(1)
        words = list(re.finditer(r"\S+", match.group(1)))
        for word in words[:-1] or words:
            start, end = place + word.start(), place + words[-1].end()
            if len(text[start:end].split()) > 1 and (found := linker.name(text[start:end], ("disease",))):
                yield "subtype_of", found[0], (start, end)
                break
    for match in SAYS["inherited"].finditer(text):
        for mode in _MODE.finditer(text, *match.span()):
            yield "inherited_as", RULES.inheritance[mode.group().lower()][0], mode.span()
    if SAYS["causal"].search(text):
        for match in SAYS["gene"].finditer(text):
            group = match.lastindex
            found = linker.name(match.group(group), ("gene",))
            key = found[0] if found else curie("hgnc.symbol", match.group(group))
            yield "associated_gene", key, match.span(group)
    for match in SAYS["features"].finditer(text):
        for found, span in _listed(match, linker, SYMPTOMS):
            yield SYMPTOMS[found[1]], found[0], span


def _listed(
    match: re.Match[str], linker: Linker, types: Iterable[str]
) -> Iterator[tuple[tuple[str, str], tuple[int, int]]]:
    """Yield the items of the list in group 1 that have a name of one of the types, with their places."""
    place, text = match.start(1), match.group(1)
    cuts = [(m.start(), m.end(), m.group().strip()) for m in SAYS["separator"].finditer(text)]
    pending = None
    starts, ends = [0, *(cut[1] for cut in cuts)], [*cuts, (len(text), 0, "")]
    for start, (end, _, word) in zip(starts, ends, strict=True):
        item, found = SAYS["tail"].sub("", text[start:end]), None
        while item and not SAYS["modifier"].fullmatch(item + " ") and not (found := linker.name(item, types)):
            shorter = SAYS["modifier"].sub("", item, count=1)
            if shorter == item:
                break
            start, item = start + len(item) - len(shorter), shorter
        if pending and (found or not SAYS["shared"].search(text[start:end])):
            yield pending
        pending = (found, (place + start, place + start + len(item))) if found else None
        if pending and word not in ("and", "or", "and/or"):
            yield pending
            pending = None


EXTRACTORS: tuple[Extractor, ...] = (infobox_facts, section_facts, lead_facts)
