"""Text as it is compared, and what it points at: Latin, Greek and Chinese alike.

There is one folding for stems, one for options and one for names.

Case, width, white space, quotes and dashes never make two texts differ. Punctuation is ignored in stems (`marks` has
what matters of it) but kept in options, where a sign or a comparator is the difference ("-2" and "2", "<5" and ">5",
"10²" and "102"). What a text may point at: a picture, a table, the options beside it. Left out: reading a model's
answer (answer.py).
"""

import re
import unicodedata
from collections.abc import Mapping

from fleming.assets import expressions

# NFKC alone would read 10² as 102, 2½ as 21/2 and a spacing acute as a blank with an accent.
_SAME = {
    "-": "‐‑‒–—―−﹘︱︲⁻",
    "'": "`‘’‛´ʼ｀",
    '"': "“”„‟",
    "~": "〜∼",
    "≤": "≦⩽",
    "≥": "≧⩾",
}
_PLAIN = {char: plain for plain, chars in _SAME.items() for char in chars}
_PLAIN |= {char: f" {unicodedata.normalize('NFKC', char)}" for char in "¼½¾⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_GREEK = {ord(char): f" {unicodedata.name(char).split()[-1].lower()} " for char in "αβγδεζηθικλμνξοπρστυφχψω"}
# Scripts without spaces, and Hangul: a character is a word.
CJK = (
    "\u3005\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{CJK}]|[^\W_{CJK}]+")
_MARK = re.compile(
    r"[<>≤≥=≠±↑↓^]|\+(?!\w)|-(?![\w\s])|(?<![\w.])[-+]?\d+(?:[.,:/]\d+)*%?|\d+(?:[.,:/]\d+)*%?"
    r"|\b(?:not?|nor|never|none|neither|without|cannot|except|excluding|least|less|more|in(?:correct|valid)|false|untrue)\b"
    r"|n't\b|[不非无未没除错]"
)
_SIGNED_WORD = re.compile(rf"(?<=\w)-(?=\s)|{_MARK.pattern}|{_WORD.pattern}")
_POSSESSIVE = re.compile(r"'s\b")
_RESERVED = expressions("reserved.yaml", re.IGNORECASE)
_MENTIONS = expressions("mentions.yaml", re.IGNORECASE)


def bounded_marks(text: str) -> str:
    """Return the text with at most 30 combining marks in a row: normalising a run takes the square of its length."""
    if text.isascii():
        return text
    combining, decomposed = unicodedata.combining, unicodedata.normalize
    marks = [char for char in set(text) if all(map(combining, decomposed("NFKD", char)))]
    if not marks:
        return text
    run = "[" + "".join(map(re.escape, marks)) + "]"
    return re.sub(f"({run}{{30}}){run}+", r"\1", text)


def single_spaced(text: str) -> str:
    """Return the text without blanks around it, with one for each run of white space."""
    return " ".join(text.split())


def reserved(text: str) -> str | None:
    """Return why a text may be no option and no name, a code of assets/reserved.yaml, or None."""
    forms = {text, text if text.isascii() else unicodedata.normalize("NFKC", bounded_marks(text))}
    return next((code for code, found in _RESERVED.items() if any(map(found.search, forms))), None)


def fold(text: str, keep_case: bool = False) -> str:
    """Return the text in NFKC (superscripts as ^2), one form of dashes and quotes, case folded, blanks single."""
    if text.isascii():
        text = text.replace("`", "'")
    else:
        for char in set(text):  # far faster than str.translate
            # Zero-width and direction marks; first, as they part runs of marks.
            if unicodedata.category(char) == "Cf":
                text = text.replace(char, "")
        text = _RAISED.sub(r"^\g<0>", bounded_marks(text))
        for char in _PLAIN.keys() & set(text):
            text = text.replace(char, _PLAIN[char])
        text = unicodedata.normalize("NFKC", text)
    return single_spaced(text if keep_case else text.casefold())


def words(text: str) -> list[str]:
    """Return the runs of letters and digits of the folded text; each Chinese character is a word of its own."""
    return _WORD.findall(fold(text))


def stem_key(text: str) -> str:
    """Return what two stems that differ in nothing but punctuation, case, width and white space have in common."""
    return " ".join(words(text))


def marks(text: str) -> list[str]:
    """Return, sorted, what makes two stems with nearly the same words two questions.

    Numbers with their signs, comparators and arrows, the charge of an ion and the sign of a test, negations.
    """
    return sorted(_MARK.findall(fold(text)))


def option_key(text: str, keep_case: bool = False) -> str:
    """Return the folded option, signs, comparators and Greek letters kept, without a closing full stop.

    keep_case: for options beside one another, where "Aa" and "AA" are two genotypes.
    """
    return fold(text, keep_case).rstrip(".。 ")


def name_key(name: str, signs: bool = False) -> str:
    """Return what two spellings of an entity's name share: no accents, possessives or punctuation, Greek spelled out.

    "Sjögren's syndrome" and "Sjogren syndrome", "β-thalassemia" and "Beta thalassemia" have one key each.
    signs: with its numbers, comparators and signs as they stand, since "ER+/PR-" is not "ER-/PR+".
    """
    text = unicodedata.normalize("NFD", _POSSESSIVE.sub("", fold(name)))
    text = "".join(char for char in text if not unicodedata.combining(char)).translate(_GREEK)
    return " ".join((_SIGNED_WORD if signs else _WORD).findall(text))


def mentions_figure(text: str) -> bool:
    """Return whether a text speaks of a picture, or of something shown that no three numbers follow at once."""
    return bool(_MENTIONS["figure"].search(text)) or _is_lost("shown", text, within=100)


def mentions_lost_table(text: str) -> bool:
    """Return whether a text speaks of a table, and no three numbers follow."""
    return _is_lost("table", text, within=len(text))


def _is_lost(what: str, text: str, within: int) -> bool:
    """Whether the text says anywhere that something is there, and no three numbers follow within so many characters."""
    ends = (said.end() for said in _MENTIONS[what].finditer(text))
    return any(len(re.findall(r"\d+", text[end : end + within])) < 3 for end in ends)


def can_reorder(options: Mapping[str, str]) -> bool:
    """Return whether there are options, letter -> text, and none speaks of others, as "all of the above" does."""
    others = _MENTIONS["other_options"]
    return bool(options) and not any(others.search(text[:200]) for text in options.values())


def written_in(text: str) -> str:
    """Return "zh" for a text that is Chinese but for names and abbreviations, else "en"."""
    han, latin = (len(re.findall(f"[{chars}]", text)) for chars in ("\u4e00-\u9fff", "A-Za-z"))
    return "zh" if 2 * han > latin and not re.search("[\u3041-\u309f\u30a1-\u30fa]", text) else "en"
