"""Words as decontamination compares them: under the disguises that keep a text readable, and its words the same.

- marks over and under letters are dropped, letters of other scripts that look like Latin ones are those
  (assets/lookalikes.yaml), and digits are the letters that they stand for
- letters that stand alone in a row ("p a t i e n t", "p.a.t.i.e.n.t") are words again, and so are those without blanks
  that are more than any word has: the likeliest split by the frequencies of known words (Viterbi)
- what files are written in is read: entities and tags of HTML, percent and backslash escapes, LaTeX's faces, a word cut
  at a line's end, letters turned by a direction mark
- a title between 《 and 》 is one word: two questions on one regulation share little more

Both sides are folded alike, so what becomes one word here ("i", "l" and "1") is only a little less telling. Left out:
words cut elsewhere than between all of their letters; synonyms; translations.
"""

import hashlib
import html
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import lru_cache
from urllib.parse import unquote

from fleming.assets import expressions, load_table
from fleming.text import fold, words

LONGEST = 24  # letters of a word that is looked for among letters that stand alone

_LETTER, _IN_WORDS, _SIGNS = (
    {char: letter for letter, chars in table.items() for char in chars}
    for table in map(load_table("lookalikes.yaml").get, ("letters", "in_words", "signs"))
)
_WRITTEN = expressions("written.yaml")
_OF_WORDS = str.maketrans(_IN_WORDS)
_ANY = f"[{re.escape(''.join(_SIGNS))}]"
_SIGN = re.compile(rf"{_ANY}(?={_ANY}{{0,3}}[A-Za-z0-9@$])|(?<=[A-Za-z0-9@$!|])[@$]")
_LATIN = re.compile(r"(?:LATIN|REGIONAL INDICATOR)\b.*\bLETTER (?:[A-Z]+ )*([A-Z])(?: WITH .*)?$")
_TITLE = re.compile("《([^《》]{1,60})》")
# Three letters that stand alone, so that "a 5" stays, or more than any word has.
_ALONE = re.compile(rf"(?<![^ ])(?:[a-z0-9](?: [a-z0-9]){{2,}}|[a-z0-9]{{{LONGEST + 1},}})(?![^ ])")


@lru_cache(1 << 16)
def _plain(char: str) -> str:
    """Return the letter that a character looks like, without marks; "" for a mark."""
    parts = unicodedata.normalize("NFD", char)
    plain = "".join(part for part in parts if unicodedata.category(part) not in ("Mn", "Me"))
    if len(plain) != 1 or plain.isascii():
        return plain
    if plain.isdecimal():
        return str(unicodedata.decimal(plain))
    named = _LATIN.search(unicodedata.name(plain, ""))
    return _LETTER.get(plain) or (named[1] if named else plain)


def _as_read(text: str) -> str:
    """Return what a reader sees of a text that is written as HTML, in escapes, cut at a line's end or turned round."""
    if "&" in text:
        text = html.unescape(html.unescape(text))
    text = _WRITTEN["bytes"].sub(lambda found: unquote(found[0], errors="ignore"), text)
    text = _WRITTEN["code"].sub(lambda found: chr(int(found[1], 16)), text)
    text = _WRITTEN["turned"].sub(lambda found: found[1][::-1], text)
    text = _WRITTEN["row"].sub(lambda found: found[0].replace("|", " "), text)
    return _WRITTEN["between"].sub(" ", _WRITTEN["within"].sub("", text))


def _hash(title: str) -> str:
    """Return one word for a title; half a surrogate pair, which an escape may be, counts as it stands."""
    return hashlib.sha256(title.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def undisguised(text: str) -> list[str]:
    """Return the words of a text as it is read, without marks, look-alike letters, and digits for letters."""
    text = _as_read(text)
    if not text.isascii():
        text = "".join(_LETTER.get(char, char) for char in text)  # before NFKC takes some for other letters
        text = "".join(map(_plain, fold(text, keep_case=True)))
        text = _TITLE.sub(lambda title: f" {_hash(title[1])} ", text)
    text = _SIGN.sub(lambda sign: _SIGNS[sign[0]], text)
    return [word.translate(_OF_WORDS) for word in words(text)]


def costs_of(counts: Mapping[str, int]) -> dict[str, float]:
    """Return what each word costs in a split of letters: minus the logarithm of its share."""
    total = sum(counts.values())
    return {word: math.log(total / count) for word, count in counts.items() if len(word) <= LONGEST}


def respaced(found: Sequence[str], costs: Mapping[str, float]) -> list[str]:
    """Return the words, those letters that stand alone in a row being the words of `costs` that they spell."""
    text = " ".join(found)
    if not _ALONE.search(text):
        return list(found)
    return _ALONE.sub(lambda run: " ".join(_split(run[0].replace(" ", ""), costs)), text).split()


def _split(letters: str, costs: Mapping[str, float]) -> list[str]:
    """Return the cheapest split; a letter that is in no known word costs more than any word."""
    unknown = max(costs.values(), default=0.0) + 1
    best, size = [0.0], [0]
    for end in range(1, len(letters) + 1):
        ways = [(best[end - 1] + costs.get(letters[end - 1], unknown), 1)]
        for length in range(2, min(LONGEST, end) + 1):
            cost = costs.get(letters[end - length : end])
            if cost is not None:
                ways.append((best[end - length] + cost, length))
        cheapest = min(ways)
        best.append(cheapest[0])
        size.append(cheapest[1])

    split, end = [], len(letters)
    while end:
        split.append(letters[end - size[end] : end])
        end -= size[end]
    return split[::-1]
