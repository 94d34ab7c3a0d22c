"""Format filter (paper, 3.1, refine): questions that no model should learn from, each rejected with a code.

| code | what is wrong |
|---|---|
| empty_stem, empty_option | no letter or digit in the stem, nothing visible in an option |
| too_few_options | fewer than two |
| gold_out_of_range | the answer is none of the letters |
| mojibake | UTF-8 read as another encoding, replacement, control or private-use characters |
| markup | HTML tags or entities |
| too_long | more characters than any exam has |
| truncated | the stem or an option ends with a comma or "and", or in an open bracket |
| duplicate_option | two options differ in nothing but width, blanks and a full stop (case tells genotypes apart) |
| all_or_none_of_the_above | an option speaks of other options or their letters: it is wrong once they are reshuffled |
| missing_figure | the stem speaks of a figure or a table that is not there |
| answer_leaked | the right option stands in the stem, and none of the others does |
| same_stem_other_gold | of a whole set: what is right for one question is wrong for another with the same stem |

It goes by wording and knows no medicine: a wrong label is label check's business. Left out: repair.
"""

import contextlib
import html.entities
import re
import unicodedata
from collections.abc import Sequence

from fleming.records import Question
from fleming.text import fold, marks, mentions_figure, mentions_lost_table, option_key, stem_key, words

LONGEST_TEXT, LONGEST_OPTION = 20_000, 2_000  # characters of stem and context, of an option

_ABOVE = re.compile(
    r"(?:[a-h]\) ?)?(?:can be |may be )?(?:all|none|both|neither|any|either|some|two|more than one)(?: of)?(?: the)?"
    r"(?: (?:above|following|these|those|them|options|choices|mentioned|listed))(?: \w+){0,3}|all|none|both|all true"
    r"|(?:以上|上述)\w{0,6}(?:[均都皆全无没不非]\w{0,6}|答案|情况|选项)|(?:以上|上述)[是对错]"
    r"|[均都皆]不?[是对非]|[两三]者[均都皆]\w{0,5}|both (?:options? )?(?:[a-h]{2}|[1-5] (?:and|&) [1-5])"
    r"|(?:(?:both|only|neither|either|options?|选项) ?)*[a-h](?:(?: ?[,、&+/和与及或]+ ?| ?\b(?:and|or|nor)\b ?)[a-h])+"
    r"(?: (?:only|both|are|is|correct|true|above))*(?:[均都皆]?不?[是对可]|[均都皆]?正确)?"
)
_OWN_LIST = re.compile(
    r"(?:^|[\s(,;:])[a-c1-3][).:、-]", re.IGNORECASE
)  # the stem's own statements, which stay put


def _speaks_of_options(option: str, stem: str) -> bool:
    text = option_key(option).replace("(", "").replace(")", "")
    return bool(_ABOVE.fullmatch(text)) and len(_OWN_LIST.findall(stem)) < 2


_TAG = re.compile(
    r"</?(?:a|b|i|u|p|br|hr|div|span|sub|sup|img|table|tbody|tr|t[dh]|[uo]l|li|em|strong|font|html|body|script|style)"
    r"(?:\s[^<>]{0,200})?/?>",
    re.IGNORECASE,
)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|\w{2,31});", re.IGNORECASE)


def _has_markup(text: str) -> bool:
    found = (entity[0] for entity in _ENTITY.finditer(text))
    return bool(_TAG.search(text)) or any(e[1] == "#" or e[1:] in html.entities.html5 for e in found)


_GBK = re.compile(
    "[鈥锛銆鐨鏄]|锟斤拷"
)  # what the commonest UTF-8 bytes are in GBK; nobody writes these characters
_FOREIGN = re.compile(r"[^\x00-\x7f]{2,}")


def _is_mojibake(text: str) -> bool:
    if _GBK.search(text):
        return True
    if any(unicodedata.category(char) in ("Cc", "Co", "Cn", "Cs") for char in set(text) - set("\t\n\r")):
        return True
    return "\ufffd" in text or any(_misread(run[0]) for run in _FOREIGN.finditer(text))


def _misread(run: str) -> bool:
    """Whether the bytes that a run of characters has in Latin-1, Windows-1252 or GB 18030 are UTF-8 by themselves."""
    for encoding in ("cp1252", "latin-1"):
        with contextlib.suppress(UnicodeError):
            return bool(run.encode(encoding).decode("utf-8"))
    data = run.encode("gb18030", "ignore")
    for lost in range(3 if len(run) > 3 else 0):  # the last character's bytes may be torn
        with contextlib.suppress(UnicodeError):
            text = data[: len(data) - lost].decode("utf-8")
            return text >= "\u2000" and bool(text.encode("gb2312"))
    return False


_CUT = re.compile(r"(?:[,、(\[]|(?<=[a-z] )(?:and|or|an))\s*\Z")


def _is_cut(text: str) -> bool:
    tail = fold(text, keep_case=True)[-300:]
    return bool(_CUT.search(tail)) or tail.rfind("(") > tail.rfind(")")


def _is_leaked(question: Question) -> bool:
    stem = f" {stem_key(question.question)} "
    inside = [letter for letter, text in question.options.items() if f" {stem_key(text)} " in stem]
    gold = words(question.options[question.answer])
    return (
        inside == [question.answer]
        and len(gold) >= 2
        and len("".join(gold)) >= (8 if gold[0].isascii() else 4)
    )


def format_fault(question: Question) -> str | None:
    """Return the code of the first fault in the order of the module's table, or None."""
    texts = [question.question, question.context or "", *question.options.values()]
    keys = [option_key(text, keep_case=True) for text in question.options.values()]
    faults = {
        "empty_stem": lambda: not words(question.question),
        "empty_option": lambda: not all(fold(text) for text in question.options.values()),
        "too_few_options": lambda: len(keys) < 2,
        "gold_out_of_range": lambda: question.answer not in question.options,
        "mojibake": lambda: any(map(_is_mojibake, texts)),
        "markup": lambda: any(map(_has_markup, texts)),
        "too_long": lambda: (
            len(texts[0] + texts[1]) > LONGEST_TEXT or max(map(len, texts[2:])) > LONGEST_OPTION
        ),
        "truncated": lambda: any(map(_is_cut, (texts[0], *texts[2:]))),
        "duplicate_option": lambda: len(set(keys)) < len(keys),
        "all_or_none_of_the_above": lambda: any(_speaks_of_options(text, texts[0]) for text in texts[2:]),
        "missing_figure": lambda: mentions_figure(texts[0]) or mentions_lost_table(texts[0]),
        "answer_leaked": lambda: _is_leaked(question),
    }
    return next((code for code, found in faults.items() if found()), None)


def conflicting_stems(questions: Sequence[Question]) -> dict[str, str]:
    """Return id -> same_stem_other_gold for each question whose gold is a wrong option of another, or the reverse.

    Both have the same stem and context (text.stem_key and text.marks). Other options under the same stem are another
    question, and no conflict.
    """
    groups: dict[tuple, list[Question]] = {}
    for q in questions:
        text = f"{q.context or ''}\n{q.question}"
        groups.setdefault((stem_key(text), *marks(text)), []).append(q)
    found: set[str] = set()
    for group in (group for group in groups.values() if len(group) > 1):
        right: dict[str, set[str]] = {}
        wrong: dict[str, set[str]] = {}
        for q in group:
            for letter, text in q.options.items():
                (right if letter == q.answer else wrong).setdefault(option_key(text), set()).add(q.id)
        for key in right.keys() & wrong.keys():
            found |= right[key] | wrong[key]
    return {q.id: "same_stem_other_gold" for q in questions if q.id in found}
