"""Format filter (paper, 3.1, refine): questions that no model should learn from, each rejected with a code.

| code | what is wrong |
|---|---|
| empty_stem, empty_option | no letter or digit in the stem, nothing visible in an option |
| too_few_options | fewer than two |
| gold_out_of_range | the answer is none of the letters |
| mojibake | UTF-8 read as another encoding, replacement, control or private-use characters |
| markup | HTML tags or entities |
| own_tag, chat_marker, control_character, direction_character | what assets/reserved.yaml lists |
| too_long | more characters than any exam has |
| truncated | the stem or an option ends with a comma or "and", or in an open bracket |
| duplicate_option | two options differ in nothing but width, blanks and a full stop (case tells genotypes apart) |
| all_or_none_of_the_above | an option speaks of other options or their letters: it is wrong once they are reshuffled |
| missing_figure | the stem speaks of a figure or a table that is not there |
| answer_leaked | the right option stands in the stem, and none of the others does |
| same_stem_other_gold | of a set: right for one, wrong for another of the same stem; or another number is right |

It goes by wording and knows no medicine: a wrong label is label check's business. Left out: repair.
"""

import contextlib
import html.entities
import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from fleming.assets import expressions
from fleming.free_answer import Number, read_number, same_number
from fleming.records import Question
from fleming.settings import FreeConfig
from fleming.text import (
    fold,
    marks,
    mentions_figure,
    mentions_lost_table,
    option_key,
    reserved,
    stem_key,
    words,
)

LONGEST_TEXT, LONGEST_OPTION = 20_000, 2_000  # characters of stem and context, of an option
_SAYS = expressions("faults.yaml")
_FREE = FreeConfig()


def _speaks_of_options(option: str, stem: str) -> bool:
    text = option_key(option).replace("(", "").replace(")", "")
    return bool(_SAYS["above"].fullmatch(text)) and len(_SAYS["own_list"].findall(stem)) < 2


def _has_markup(text: str) -> bool:
    if _SAYS["tag"].search(text):
        return True
    names = [entity[1:] for entity in _SAYS["entity"].findall(text)]
    return any(name[0] == "#" or name in html.entities.html5 for name in names)


_UNPRINTABLE = ("Cc", "Co", "Cn", "Cs")  # Unicode's categories: control, private use, unassigned, half a pair


def _is_mojibake(text: str) -> bool:
    if "\ufffd" in text or _SAYS["gbk"].search(text):
        return True
    if any(unicodedata.category(char) in _UNPRINTABLE for char in set(text) - set("\t\n\r")):
        return True
    return any(map(_misread, _SAYS["foreign"].findall(text)))


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


def _is_cut(text: str) -> bool:
    tail = fold(text, keep_case=True)[-300:]
    return bool(_SAYS["cut"].search(tail)) or tail.rfind("(") > tail.rfind(")")


def _is_leaked(question: Question) -> bool:
    stem = f" {stem_key(question.question)} "
    inside = [letter for letter, text in question.options.items() if f" {stem_key(text)} " in stem]
    gold = words(question.right_text)
    if inside != [question.answer] or len(gold) < 2:
        return False
    return len("".join(gold)) >= (8 if gold[0].isascii() else 4)


def format_fault(question: Question) -> str | None:
    """Return the code of the first fault in the order of the module's table, or None."""
    stem, context, options = question.question, question.context or "", list(question.options.values())
    keys = [option_key(text, keep_case=True) for text in options]
    faults = {
        "empty_stem": lambda: not words(stem),
        "empty_option": lambda: not all(map(fold, options)),
        "too_few_options": lambda: len(keys) < 2 and not question.answer_kind,
        "gold_out_of_range": lambda: bool(keys) and question.answer not in question.options,
        "mojibake": lambda: any(map(_is_mojibake, (stem, context, *options))),
        "markup": lambda: any(map(_has_markup, (stem, context, *options))),
        "too_long": lambda: (
            len(stem + context) > LONGEST_TEXT or max(map(len, options), default=0) > LONGEST_OPTION
        ),
        "truncated": lambda: any(map(_is_cut, (stem, *options))),
        "duplicate_option": lambda: len(set(keys)) < len(keys),
        "all_or_none_of_the_above": lambda: any(_speaks_of_options(text, stem) for text in options),
        "missing_figure": lambda: mentions_figure(stem) or mentions_lost_table(stem),
        "answer_leaked": lambda: _is_leaked(question),
    }
    code = next((code for code, found in faults.items() if found()), None)
    return code or next(filter(None, map(reserved, (stem, context, *options))), None)


def conflicting_stems(questions: Sequence[Question]) -> dict[str, str]:
    """Return id -> same_stem_other_gold for each question whose gold is a wrong option of another, or the reverse.

    Both have the same stem and context (text.stem_key and text.marks). Other options under the same stem are another
    question, and no conflict. Of free answers two numbers in one unit conflict where neither is right for the other;
    two texts may mean the same.
    """
    same_stem: dict[tuple, list[Question]] = defaultdict(list)
    for q in questions:
        text = f"{q.context or ''}\n{q.question}"
        same_stem[stem_key(text), *marks(text)].append(q)

    found: set[str] = set()
    for group in same_stem.values():
        if len(group) == 1:
            continue
        right, wrong = defaultdict(set), defaultdict(set)  # option -> ids of the questions
        for q in group:
            for letter, option in q.options.items():
                ids = right if letter == q.answer else wrong
                ids[option_key(option)].add(q.id)
        for option in right.keys() & wrong.keys():
            found |= right[option] | wrong[option]
        found |= _other_numbers(group)
    return {q.id: "same_stem_other_gold" for q in questions if q.id in found}


def _other_numbers(group: Sequence[Question]) -> set[str]:
    """Return the ids of those whose answer is a number that is too far from another one's."""
    by_unit: dict[str, list[tuple[Number, Question]]] = defaultdict(list)
    for q in group:
        number = read_number(q.right_text) if q.answer_kind == "number" else None
        if number:
            by_unit[number.unit].append((number, q))

    def apart(one: tuple[Number, Question], other: tuple[Number, Question]) -> bool:
        pairs = (one, other), (other, one)
        return not any(same_number(a, b, _FREE, q.tolerance) for (a, _), (b, q) in pairs)

    found: set[str] = set()
    for answers in by_unit.values():
        for pick in (min, max):  # no other is farther
            end = pick(answers, key=lambda answer: answer[0].value)
            found |= {q.id for answer in answers if apart(answer, end) for _, q in (answer, end)}
    return found
