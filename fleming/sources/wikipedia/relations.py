"""What a teacher reads in pages, beside the rules: relations, each with the sentence that states it.

A relation becomes a fact only where the page has that sentence, whole, the sentence names the other thing and denies
nothing, and the name is that of a known entity or page whose type fits (assets/relations.yaml). Left out: the rest of a
page longer than PARTS times PART characters, and whether the sentence does say what the teacher reads in it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleming.assets import load_table
from fleming.sources.facts import Fact, Skip
from fleming.sources.wikipedia.entities import Reading
from fleming.sources.wikipedia.extraction import Linker, is_spoken_against, page_fact
from fleming.sources.wikipedia.rules import SAYS
from fleming.sources.wikipedia.wikitext import LONGEST, Sentence
from fleming.teachers.remembered import Completer, Messages, answer_each, read_reply
from fleming.text import name_key, single_spaced, stem_key
from fleming.typed import from_json
from model.errors import InputError

_TABLE = load_table("relations.yaml")
PROMPT: str = _TABLE["prompt"]
RELATIONS: dict[str, dict[str, dict[str, Any]]] = _TABLE["relations"]
PART = 4000  # characters of sentences in a prompt, at least one sentence
PARTS = 8  # prompts of one page at most
WORDS = 4  # of a sentence at least: an item of a list states nothing by itself
MOST = 100  # relations of one reply; what is behind them is not read


@dataclass(frozen=True)
class Reply:
    """All that an answer holds; its entries are `Relation`s, each read for itself."""

    relations: list[dict[str, Any]]


@dataclass(frozen=True)
class Relation:
    relation: str
    name: str
    sentence: str


def teacher_facts(
    readings: Sequence[Reading], linker: Linker, teacher: Completer, skip: Skip
) -> Iterator[Fact]:
    """Yield what the teacher reads in the pages and the pages bear out; the rest goes to `skip` with a code.

    Codes: bad_reply, bad_relation, not_in_page, not_in_sentence, denied, unknown_name.
    """
    parts = [(reading, part) for reading in readings if reading.type in RELATIONS for part in _parts(reading)]
    for (reading, part), reply in zip(parts, answer_each(teacher, [_asked(*p) for p in parts]), strict=True):
        where, found, said = f"Wikipedia: {reading.page.title}", read_reply(reply, Reply), set()
        if found is None:
            skip(where, "bad_reply", f"no list of relations: {reply[:80]!r}")
            continue
        for entry in found.relations[:MOST]:
            try:
                step, other, span, sentence = _borne_out(entry, reading, part, linker)
            except _RefusedError as refused:
                skip(where, *refused.args)
                continue
            if (step, other) not in said:
                said.add((step, other))
                yield from page_fact(reading, "teacher", step, other, span, sentence)


class _RefusedError(Exception):
    """(code, detail)"""


def _parts(reading: Reading) -> list[dict[str, Sentence]]:
    """Return the page's sentences in order, by `stem_key`, cut where PART is full."""
    parts, room = [], 0
    for start, end, _ in reading.article.headings:
        for sentence in reading.article.sentences(start, end):
            key = stem_key(sentence.text)
            if len(sentence.text) > LONGEST or len(key.split()) < WORDS:
                continue
            room -= len(sentence.text)
            if room < 0 or not parts:
                if len(parts) == PARTS:
                    return parts
                parts.append({})
                room = PART - len(sentence.text)
            parts[-1][key] = sentence
    return parts


def _asked(reading: Reading, part: Mapping[str, Sentence]) -> Messages:
    rows = [f"- {name}: {row['means']}" for name, row in RELATIONS[reading.type].items()]
    text = "\n".join(single_spaced(sentence.text) for sentence in part.values())
    said = {"page": reading.name, "kind": reading.type, "relations": "\n".join(rows), "text": text}
    return [{"role": "user", "content": PROMPT.format(**said)}]


def _borne_out(
    entry: dict[str, Any], reading: Reading, part: Mapping[str, Sentence], linker: Linker
) -> tuple[str, str, tuple[int, int], str]:
    """Return (step, key of the other thing, its name's place in the page, the sentence). Raises _RefusedError."""
    try:
        told = from_json(Relation, entry, "relation")
    except InputError as error:
        raise _RefusedError("bad_relation", str(error)) from None
    row = RELATIONS[reading.type].get(told.relation)
    if row is None:
        raise _RefusedError("bad_relation", f"no relation of a {reading.type}: {told.relation[:80]!r}")

    sentence = part.get(stem_key(told.sentence))
    if sentence is None:
        raise _RefusedError("not_in_page", f"the page does not say {told.sentence[:200]!r}")
    words = r"\s+".join(map(re.escape, told.name.split()))
    place = re.search(rf"(?<!\w){words}(?!\w)", sentence.text, re.IGNORECASE) if words else None
    if place is None:
        detail = f"{told.name[:80]!r} does not stand in {sentence.text[:200]!r}"
        raise _RefusedError("not_in_sentence", detail)
    if SAYS["no_fact"].search(sentence.text):
        raise _RefusedError("denied", sentence.text[:200])

    span, steps = sentence.span(*place.span()), row["steps"]
    links = [link for link in reading.article.inside(*span) if name_key(link.label) == name_key(told.name)]
    keys = [key for link in links if (key := linker.link(link, steps))]
    found = keys[0] if keys else linker.name(told.name, steps)
    if found is None:
        kinds = " or ".join(steps)
        raise _RefusedError("unknown_name", f"{told.relation}: no known {kinds} is called {told.name[:80]!r}")
    if is_spoken_against(step := steps[found[1]], sentence.text):
        raise _RefusedError("denied", sentence.text[:200])
    return step, found[0], span, sentence.text
