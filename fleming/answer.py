r"""The one place that reads a model's answer: `<think>` reasoning `</think>` `<answer>` B `</answer>`.

- `parse_answer` says which option was chosen, or abstains: the reward and every benchmark use it.
- `format_ok` says whether the response has exactly the form that was asked for.

A guess would be a reward for luck, so nothing is searched for in free text: "Not A, it is D" abstains. Both are total
(any string) and linear in time. Left out: open questions, several right options, other tags.
"""

import re
import unicodedata

# Without re.ASCII, IGNORECASE would take the Kelvin sign for k and the long s for s.
_TAG = re.compile(r"(</?(?:think|answer)>)", re.IGNORECASE | re.ASCII)
_BOXED = re.compile(r"\\boxed ?\{([^{}]*)\}")
_MARKDOWN = str.maketrans("", "", "*_`")
_LETTER = r"(?:option (?=[a-z(])|选项 ?)?(?:\( ?([a-z]) ?\)|([a-z])(?: ?\))?)"
_LONE_LETTER = re.compile(_LETTER + r" ?[.。]?")
# "atypical" is not option a, "typical": only Chinese text may follow its letter with nothing between.
_LETTER_AND_TEXT = re.compile(_LETTER + r"(?: ?[.。:,、] ?| [-–—] | |(?<=\))|(?=[\u4e00-\u9fff]))(.+)")


def _fold(text: str) -> str:
    r"""Return the text as it is compared: NFKC, without zero-width characters, markdown and \boxed{}, case folded."""
    text = unicodedata.normalize("NFKC", text)
    text = "".join(c for c in text if unicodedata.category(c) != "Cf").translate(_MARKDOWN)
    text = _BOXED.sub(r"\1", " ".join(text.split()))
    return " ".join(text.casefold().split())


def _read(span: str, texts: dict[str, str]) -> str | None:
    """Return the letter that the inside of one answer block names; `texts` are the folded options."""
    # Normalising a run of combining marks takes quadratic time, so what is too long to be an answer is not looked at.
    if len(span) > 200 + 4 * max(map(len, texts.values()), default=0):
        return None
    span = _fold(span)
    if lone := _LONE_LETTER.fullmatch(span):
        letter = (lone[1] or lone[2]).upper()
        if letter in texts:
            return letter  # always the letter, even where the text of an option is a letter

    named = {letter for letter, text in texts.items() if text == span != ""}
    if both := _LETTER_AND_TEXT.fullmatch(span):
        letter = (both[1] or both[2]).upper()
        if texts.get(letter) == both[3]:
            named.add(letter)
    return named.pop() if len(named) == 1 else None


def parse_answer(response: str, options: dict[str, str]) -> str | None:
    r"""Return the letter of the option that the response answers with, or None to abstain.

    Reads what follows the last `</think>` (all of it where there is no think tag at all). Each `<answer>` must be
    closed, and all must name the same option. Inside stands, after NFKC and without zero-width characters, markdown,
    \boxed{} and surplus white space, one of:

    - a letter in range, alone or as in "(B)", "B.", "Option B", "选项B";
    - a letter followed by the text of that very option: "B. Azithromycin";
    - the text of exactly one option, case folded.
    """
    pieces = _TAG.split(response)  # text, tag, text, ..., tag, text: tags[i] stands before pieces[2 * i + 2]
    tags = [tag.lower() for tag in pieces[1::2]]
    start = len(tags) - tags[::-1].index("</think>") if "</think>" in tags else 0
    if "<think>" in tags[start:]:
        return None  # opened and never closed: still thinking

    texts = {letter: _fold(text) for letter, text in options.items()}
    answer = None
    for i in range(start, len(tags)):
        if tags[i] != "<answer>":
            continue
        closed = tags[i + 1 : i + 2] == ["</answer>"]
        letter = _read(pieces[2 * i + 2], texts) if closed else None
        if letter is None or answer not in (None, letter):
            return None
        answer = letter
    return answer


def format_ok(response: str, options: dict[str, str], answer_style: str, finished: bool) -> bool:
    """Return whether the response is one think block, then one answer block, and around them only white space.

    The tags are written as asked, in lower case, and none occurs twice. The answer block holds, in style "letter",
    the bare letter of an option; in style "text", the text of an option with case and white space folded. A response
    cut off by the token limit (`finished` false) is never well formed.
    """
    pieces = _TAG.split(response)
    if not finished or pieces[1::2] != ["<think>", "</think>", "<answer>", "</answer>"]:
        return False
    before, _, between, answer, after = pieces[::2]
    if (before + between + after).strip():
        return False
    if answer_style == "letter":
        return answer.strip() in options
    words = answer.casefold().split()
    return words != [] and words in [text.casefold().split() for text in options.values()]
