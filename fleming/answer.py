r"""The one place that reads a model's answer: `<think>` reasoning `</think>` `<answer>` B `</answer>`.

- `parse_answer` says which option was chosen, or abstains; `parse_free` gives what stands in the answer block.
- `format_ok` says whether the response has exactly the form that was asked for.

A guess would be a reward for luck, so nothing is searched for in free text: "Not A, it is D" abstains. All are total
(any string) and linear in time. Left out: whether a free answer is right (free_answer.py), several right options,
other tags.
"""

import functools
import re
from collections.abc import Callable

from fleming.assets import expressions
from fleming.free_answer import read_number, short_text
from fleming.text import fold, single_spaced

_WRITTEN = expressions("answer_forms.yaml")
TAGS = _WRITTEN["tag"]
_OPENING, _CLOSING = "([{【〔「『《«\"'", ")]}】〕」』》»\"'"


# How texts are compared


def _without_markup(text: str) -> str:
    """Return the text without markdown and TeX around words; 5*3 stays what it is."""
    text = _WRITTEN["markdown"].sub(r"\1", single_spaced(text))
    for _ in range(3):  # \boxed{\text{B}}
        text = _WRITTEN["tex"].sub(r"\1", text)
    return text


def _fold(text: str) -> str:
    r"""Return the text as all texts are compared, 10² as 10^2, without markdown, $ $ and \boxed{}."""
    text = _without_markup(fold(text.replace("`", ""), keep_case=True))
    if math := _WRITTEN["math"].fullmatch(text):
        text = next(part for part in math.groups() if part is not None)
    return single_spaced(text.casefold())


def _bare(text: str) -> str:
    """Return the folded text without quotes and brackets around it, and without what closes a sentence."""
    return _fold(text).rstrip(f".。,; {_CLOSING}").lstrip(f" {_OPENING}")


@functools.lru_cache(maxsize=4096)  # a question's options are folded once for all of its answers
def _options_in(form: Callable[[str], str], options: tuple[tuple[str, str], ...]) -> dict[str, str]:
    return {letter: form(text) for letter, text in options}


def _named(span: str, options: dict[str, str], *forms: Callable[[str], str]) -> set[str]:
    """Return the letters of the options whose text the span is, in the first of the forms in which it is any's."""
    for form in forms:
        texts, said = _options_in(form, tuple(options.items())), form(span)
        if named := {letter for letter, text in texts.items() if text == said != ""}:
            return named
    return set()


# What an answer block names


def _read(span: str, options: dict[str, str], style: str) -> str | None:
    """Return the letter that the inside of one answer block names."""
    if len(span) > 200 + 4 * max(map(len, options.values()), default=0):
        return None  # too long to be an answer
    if style == "text" and len(exact := _named(span, options, single_spaced)) == 1:
        return exact.pop()
    folded = _fold(span)
    if lone := _WRITTEN["lone_letter"].fullmatch(folded):
        letter = _letter(lone)
        if letter in options:
            return letter  # always the letter, even where the text of an option is a letter

    named = _named(span, options, _fold, _bare)
    if both := _WRITTEN["letter_and_text"].fullmatch(folded):
        letter = _letter(both)
        own = {letter: options[letter]} if letter in options else {}
        named |= _named(both[2], own, _fold, _bare)
    return named.pop() if len(named) == 1 else None


def _letter(match: re.Match) -> str:
    return "".join(filter(str.isalnum, match[1])).upper()


def answer_blocks(response: str) -> list[str] | None:
    """Return what stands in each `<answer>` behind the last `</think>`; None where one is open, or the thinking."""
    # text, tag, text, ..., tag, text: tags[i] stands before pieces[2 * i + 2].
    pieces = TAGS.split(response)
    tags = [tag.lower() for tag in pieces[1::2]]
    start = len(tags) - tags[::-1].index("</think>") if "</think>" in tags else 0
    if "<think>" in tags[start:]:
        return None  # opened and never closed: still thinking
    opened = [i for i in range(start, len(tags)) if tags[i] == "<answer>"]
    if any(tags[i + 1 : i + 2] != ["</answer>"] for i in opened):
        return None
    return [pieces[2 * i + 2] for i in opened]


def parse_answer(response: str, options: dict[str, str], style: str = "letter") -> str | None:
    r"""Return the letter of the option that the response answers with, or None to abstain.

    Reads what follows the last `</think>` (all of it where there is no think tag at all). Each `<answer>` must be
    closed, and all must name the same option. Inside stands, after NFKC and without zero-width characters, markdown,
    \boxed{} and surplus white space, one of:

    - in style "text" before all else, an option's text exactly: a text may be a letter, genotypes differ by case;
    - a letter in range, alone or as in "(B)", "[B]", "B.", "Option B", "选项：B";
    - a letter followed by the text of that very option: "B. Azithromycin";
    - the text of exactly one option, case folded, else without quotes, brackets and a full stop that close it.
    """
    answer = None
    for block in answer_blocks(response) or ():
        letter = _read(block, options, style)
        if letter is None or answer not in (None, letter):
            return None
        answer = letter
    return answer


def parse_free(response: str) -> str | None:
    """Return the text of the response's answer block, markdown and TeX taken off; None where there is none, or two."""
    blocks = {single_spaced(block): block for block in answer_blocks(response) or ()}
    if len(blocks) != 1:
        return None
    text = _without_markup(next(iter(blocks)))
    return text.strip("$ ") or None


def format_ok(response: str, options: dict[str, str], answer_style: str, finished: bool) -> bool:
    """Return whether the response is one think block, then one answer block, and around them only white space.

    The tags are written as asked, in lower case, and none occurs twice; something is thought. The answer block holds,
    in style "letter", the bare letter of an option; in "text", the text of an option with case and white space folded;
    in "number", a number; in "short", a text that can be compared; in "free", anything. A response cut off by the token
    limit (`finished` false) is never well formed.
    """
    pieces = TAGS.split(response)
    if not finished or pieces[1::2] != ["<think>", "</think>", "<answer>", "</answer>"]:
        return False
    before, thought, between, answer, after = pieces[::2]
    if (before + between + after).strip() or not any(map(str.isalnum, thought)):
        return False
    match answer_style:
        case "letter":
            return answer.strip() in options
        case "text":
            words = answer.casefold().split()
            return words != [] and words in [text.casefold().split() for text in options.values()]
        case "number":
            return read_number(answer) is not None
        case "short":
            return short_text(answer) is not None
        case _:
            return answer.strip() != ""
