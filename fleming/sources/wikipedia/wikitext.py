"""Wikitext as an article: sentences, links, infobox fields, sections; every piece knows its place in the source.

Markup is blanked at its own length ("\\0" for a character that is not text), so that a place in the text is a place in
the source. One pass with an explicit stack, each expression linear: no page can hang it or reach the recursion limit.
Left out: what needs the wiki itself (templates' own text, Lua, Wikidata), tables, galleries, mathematics.
"""

import html
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fleming.sources.wikipedia.rules import RULES, SAYS

MAX_DEPTH = 100  # as MediaWiki's own bound; what is nested deeper is no text
LONGEST = 2000  # characters of a sentence: what is longer is none, and no rule reads it

_NOT_TEXT = ("file:", "image:", "category:")


class Link(NamedTuple):
    """`[[target#section|label]]` from `start` to before `end`; the label is `target` where none stands there."""

    target: str
    label: str
    start: int
    end: int


class Field(NamedTuple):
    """A parameter of a template: its value lies from `start` to before `end`."""

    template: str
    name: str
    start: int
    end: int


class Sentence(NamedTuple):
    """A sentence without markup; `places[i]` is where its i-th character stands in the source."""

    text: str
    places: Sequence[int]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the place in the source of text[start:end], which is not empty."""
        return self.places[start], self.places[end - 1] + 1


class Article(NamedTuple):
    """A page's text, read."""

    text: str
    """The prose, as long as the source; "\\0" where the source has markup, infoboxes included."""
    values: str
    """The same with the values of infoboxes in it."""
    links: list[Link]
    """Those in prose and in infoboxes' values, in order."""
    fields: list[Field]
    """Of every template that has named ones, in order, names in lower case with blanks for underscores."""
    templates: list[str]
    """Names of all templates, in order, lower case."""
    headings: list[tuple[int, int, tuple[str, ...]]]
    """(start, end, the headings above): the lead first, with none; lower case."""
    categories: list[str]
    bold: list[str]
    """What is bold in the lead: the names of the subject."""

    def inside(self, start: int, end: int) -> list[Link]:
        """Return the links of which a part lies within [start, end)."""
        first = bisect_right(self.links, start, key=lambda link: link.end)
        return self.links[first : bisect_left(self.links, end, key=lambda link: link.start)]

    def sentences(self, start: int, end: int) -> Iterator[Sentence]:
        """Yield the sentences of the prose within [start, end); a line's end, so also a list's item, ends one."""
        for line in re.finditer(r"[^\n]+", self.text[start:end]):
            begin, found = start + line.start(), re.finditer(r"[^\0]+", line.group())
            runs = [(begin + run.start(), run.group()) for run in found]
            text, place = "".join(run for _, run in runs), 0
            at = [i for begin, run in runs for i in range(begin, begin + len(run))]
            stops = [(m.start() + 1, m.end()) for m in SAYS["boundary"].finditer(text)]
            for mark, stop in [*stops, (0, len(text))]:
                if SAYS["abbreviation"].search(text, max(place, mark - 8), mark):
                    continue
                if text[place:stop].strip():
                    yield Sentence(text[place:stop].rstrip(), at[place:stop])
                place = stop


def title_of(text: str) -> str:
    """Return the page's title that a link's target means: no section, single blanks, the first letter a capital."""
    text = " ".join(html.unescape(text).partition("#")[0].replace("_", " ").split()).removeprefix(":").strip()
    return text[:1].upper() + text[1:]


def _blank(match: re.Match[str]) -> str:
    return "\0" * len(match.group())


def _brackets(source: str) -> list[tuple[str, int, int, list[int]]]:
    """Return (opening, start, end, bars) of each closed pair, in order of their starts; bars are its own "|"."""
    stack, closed, too_deep = [], [], 0
    opened = {"{{": 0, "[[": 0, "{|": 0}
    for match in SAYS["bracket"].finditer(source):
        token, place = match.group().strip(" \t:"), match.start()
        if token == "|":
            if stack and not too_deep:
                stack[-1][2].append(place)
        elif token in opened:
            if len(stack) == MAX_DEPTH:
                too_deep += 1
            else:
                stack.append((token, place, []))
                opened[token] += 1
        elif too_deep:
            too_deep -= 1
        else:
            opening = {"}}": "{{", "]]": "[[", "|}": "{|"}[token]
            if not opened[opening] or (token == "]]" and stack[-1][0] != "[["):
                continue
            while True:  # what was opened inside and never closed is text
                kind, start, bars = stack.pop()
                opened[kind] -= 1
                if kind == opening:
                    closed.append((kind, start, match.end(), bars))
                    break
    return sorted(closed, key=lambda pair: pair[1])


def _cut(source: str, cuts: list[tuple[int, int, str]]) -> str:
    """Return the source with each (start, end, fill) as `fill` and "\\0" to its length; outer cuts count."""
    pieces, place = [], 0
    for start, end, fill in sorted(cuts, key=lambda cut: (cut[0], -cut[1])):
        if end > place:
            start = max(start, place)
            pieces += source[place:start], fill[: end - start].ljust(end - start, "\0")
            place = end
    return "".join(pieces) + source[place:]


def read_article(source: str) -> Article:
    """Return the article that the wikitext (or plain text) says; never fails."""
    source = SAYS["hidden"].sub(_blank, source.replace("\0", " "))
    cuts, boxes, fields, templates, links, categories = [], [], [], [], [], []
    for opening, start, end, bars in _brackets(source):
        inner = bars[0] if bars else end - 2
        name = source[start + 2 : inner].replace("\0", "").strip()
        if opening == "{|":
            cuts.append((start, end, ""))
        elif opening == "[[":
            if name.lower().startswith(_NOT_TEXT):
                cuts.append((start, end, ""))
                if name.lower().startswith("category:"):
                    categories.append(name[9:].strip())
                continue
            label = bars[-1] + 1 if bars else start + 2
            cuts += (start, label, ""), (end - 2, end, "")
            if (target := title_of(name)) and len(target) <= 255:
                links.append((target, label, start, end, SAYS["trail"].match(source, end)[0]))
        else:
            name = " ".join(name.replace("_", " ").lower().split())[:100]
            templates.append(name)
            stops = [*bars, end - 2]
            found = []
            for bar, stop in zip(bars, stops[1:], strict=True):
                key, equals, value = source[bar + 1 : min(stop, bar + 500)].partition("=")
                begin = bar + 2 + len(key) + len(value) - len(value.lstrip())
                key = " ".join(key.replace("\0", "").replace("_", " ").lower().split())
                if equals and key and not SAYS["no_key"].search(key):
                    found.append(Field(name, key, min(begin, stop), stop))
            fields += found
            if SAYS["infobox"].match(name) or name in RULES.lists:
                if name not in RULES.lists:
                    boxes.append((start, end, ""))
                values = {field.end: field.start for field in found}
                if name in RULES.lists:  # a list's own fields are its title and its looks
                    for field in found:
                        values[field.end] = field.start if field.name.isdecimal() else field.end
                cuts.append((start, inner, "\n"))
                for bar, stop in zip(bars, stops[1:], strict=True):
                    cuts.append((bar, values.get(stop, bar + 1), "\n"))
                cuts.append((end - 2, end, "\n"))
            elif (part := RULES.texts.get(name.split()[0] if name else "", 0)) and len(bars) >= part:
                cuts += (start, bars[part - 1] + 1, ""), (stops[part], end, "")
            else:
                cuts.append((start, end, ""))
    headings = []
    for match in SAYS["inline"].finditer(source):
        kind, fill = match.lastgroup, ""
        if kind == "break":
            fill = "\n"
        elif kind == "entity":
            fill = html.unescape(match.group()).replace("\xa0", " ")
            fill = "" if fill == match.group() or "\0" in fill else fill
        elif kind == "heading":
            line = match.group().replace("\0", "").strip()
            level = min(len(line) - len(line.strip("=")), 12) // 2
            headings.append((match.start(), match.end(), level, line.strip("= \t").lower()))
        cuts.append((match.start(), match.end(), fill))
    values = _cut(source, cuts) if boxes else ""
    text = _cut(source, cuts + boxes)
    values = values or text
    bold = text_bold(source, text, headings[0][0] if headings else len(source))
    shown = [
        Link(target, label.strip() + trail, start, end + len(trail))
        for target, at, start, end, trail in links
        if (label := values[at : end - 2].replace("\0", "").replace("\n", " ")).strip()
    ]
    return Article(text, values, shown, fields, templates, _sections(headings, len(source)), categories, bold)


def text_bold(source: str, text: str, end: int) -> list[str]:
    """Return the bold pieces of the lead's prose, at most 20."""
    marks = [m for m in re.finditer(r"'{3,5}", source[:end]) if text[m.start()] == "\0"]
    pairs = zip(marks[::2], marks[1::2], strict=False)
    pieces = [text[a.end() : b.start()].replace("\0", "").strip() for a, b in pairs]
    return [piece for piece in pieces if 1 < len(piece) <= 100 and "\n" not in piece][:20]


def _sections(
    headings: list[tuple[int, int, int, str]], length: int
) -> list[tuple[int, int, tuple[str, ...]]]:
    sections, above = [], []
    for start, end, level, name in [(0, 0, 0, ""), *headings]:
        above = [(upper, title) for upper, title in above if upper < level]
        above += [(level, name)] * bool(level)
        if sections:
            sections[-1] = (sections[-1][0], start, sections[-1][2])
        sections.append((end, length, tuple(title for _, title in above)))
    return sections
