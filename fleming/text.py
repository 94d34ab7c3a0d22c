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
from pathlib import Path

import yaml

RESERVED = Path(__file__).parents[1] / "assets/reserved.yaml"
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
_CJK = (
    "\u3005\u3007\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_CJK}]|[^\W_{_CJK}]+")
_MARK = re.compile(
    r"[<>≤≥=≠±↑↓^]|(?<=\w)\+(?!\w)|(?<![\w.])[-+]?\d+(?:[.,:/]\d+)*%?|\d+(?:[.,:/]\d+)*%?"
    r"|\b(?:not?|nor|never|none|neither|without|cannot|except|excluding|least|less|more|in(?:correct|valid)|false|untrue)\b"
    r"|n't\b|[不非无未没除错]"
)
_RESERVED = {
    code: re.compile("|".join(patterns), re.IGNORECASE)
    for code, patterns in yaml.safe_load(RESERVED.read_text(encoding="utf-8")).items()
}
_POSSESSIVE = re.compile(r"'s\b")


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
            if (
                unicodedata.category(char) == "Cf"
            ):  # zero-width and direction marks; first, as they part runs of marks
                text = text.replace(char, "")
        text = _RAISED.sub(r"^\g<0>", bounded_marks(text))
        for char in _PLAIN.keys() & set(text):
            text = text.replace(char, _PLAIN[char])
        text = unicodedata.normalize("NFKC", text)
    return " ".join((text if keep_case else text.casefold()).split())


def words(text: str) -> list[str]:
    """Return the runs of letters and digits of the folded text; each Chinese character is a word of its own."""
    return _WORD.findall(fold(text))


def stem_key(text: str) -> str:
    """Return what two stems that differ in nothing but punctuation, case, width and white space have in common."""
    return " ".join(words(text))


def marks(text: str) -> list[str]:
    """Return, sorted, what makes two stems with nearly the same words two questions.

    Numbers with their signs, comparators and arrows, the charge of an ion, negations.
    """
    return sorted(_MARK.findall(fold(text)))


def option_key(text: str, keep_case: bool = False) -> str:
    """Return the folded option, signs, comparators and Greek letters kept, without a closing full stop.

    keep_case: for options beside one another, where "Aa" and "AA" are two genotypes.
    """
    return fold(text, keep_case).rstrip(".。 ")


def name_key(name: str) -> str:
    """Return what two spellings of an entity's name share: no accents, possessives or punctuation, Greek spelled out.

    "Sjögren's syndrome" and "Sjogren syndrome", "β-thalassemia" and "Beta thalassemia" have one key each.
    """
    text = unicodedata.normalize("NFD", _POSSESSIVE.sub("", fold(name)))
    text = "".join(char for char in text if not unicodedata.combining(char)).translate(_GREEK)
    return " ".join(_WORD.findall(text))


_FIGURE = r"(?:figure|fig|image|photograph|photo|picture|diagram|graph|exhibit|illustration)s?"
_STUDY = (
    r"(?:photograph|(?:photo)?micrograph|graph|diagram|ecg|ekg|electrocardiogram|cardiotocograph|radiograph"
    r"|x[- ‑]?ray|cxr|ct|cect|scan|mri|ultrasound|smear|tracing|biopsy|specimen)s?"
)
_WHOSE = (
    r"(?: (?:of|from)(?: (?!(?:is|are|was|were|and|which)\b)[\w'’-]+){1,12})?"  # "of the patient's left hand"
)
_MENTIONS_FIGURE = re.compile(
    rf"\b(?:(?:shown|seen|depicted|given|marked|labell?ed) (?:here |below )?in (?:the |this )?(?:\w+ )?{_FIGURE}"
    rf"|{_FIGURE} (?:is |are )?(?:shown|below|above|attached|given|provided)|(?:see|refer to) (?:the |this )?{_FIGURE}"
    rf"|(?:figure|fig|image)s? (?-i:[A-J]|[1-9])|(?<!clinical )(?:figure|fig|image|picture|graph)s? (?:shows|depicts)"
    rf"|(?:(?<!of the )following|attached|accompanying|given) {_FIGURE}"
    rf"|{_STUDY}{_WHOSE} (?:is|are|was|were) (?:(?:done|performed|obtained|taken) )?(?:and |as )?(?:is )?"
    rf"(?:shown|given|attached|provided|depicted)|by (?:the |an )?(?:\w+ )?arrows?)\b"
    r"|如图|下图|附图|见图|(?<![\u4e00-\u9fff])图[中示]",  # not the "shows" of "心电图示", an ECG shows
    re.IGNORECASE,
)
_MENTIONS_TABLE = re.compile(
    r"\b(?:in|see) the (?:following |attached |given )?table\b|\b(?:following table|table (?:below|shown|given))\b"
    r"|下表|如表|附表",
    re.IGNORECASE,
)


def mentions_figure(text: str) -> bool:
    """Return whether a text speaks of a picture."""
    return bool(_MENTIONS_FIGURE.search(text))


def mentions_lost_table(text: str) -> bool:
    """Return whether a text speaks of a table, and no three numbers follow."""
    table = _MENTIONS_TABLE.search(text)
    return bool(table) and len(re.findall(r"\d+", text[table.end() :])) < 3


# Options that speak of others by place or letter: moved, they would be false. Better one too many than one too few.
_LIST = r"[(]?[a-j][)]?(?: ?(?:,|and|or|nor|&|\+|/|、|和|或|与|及) ?[(]?[a-j][)]?)+"
_REFERS = re.compile(
    r"\b(?:all|none|both|any|either|neither) (?:of )?(?:the )?(?:above|below|these|those|them|others?|options)\b"
    rf"|\b(?:above|below)\b|^\W*(?:both |either |neither |only |options? |选项 ?)*{_LIST}"
    r"(?:\W|$|均|都|皆| (?:are|is|only|both|but|not)\b)|^\W*(?:options? |选项 ?|only )+[(]?[a-j]\b"
    r"|以上|上述|都不|均不|均是|均非|都是|都对|都错|皆",
    re.IGNORECASE,
)


def can_reorder(options: Mapping[str, str]) -> bool:
    """Return whether there are options, letter -> text, and none speaks of others, as "all of the above" does."""
    return bool(options) and not any(_REFERS.search(text[:200]) for text in options.values())
