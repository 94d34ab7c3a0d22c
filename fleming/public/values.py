"""What one value of a record says: a text, a number, options, the right one among them, messages.

Texts stay as they are, blanks included: a log-likelihood depends on each character. What says nothing sure is set aside
with a code and what is wrong with it; nothing is guessed. Left out: which column has what (forms.py).
"""

import ast
import json
import re
from typing import Any

from fleming.assets import load_table
from fleming.public.tables import Row
from fleming.records import LETTERS, Message
from fleming.text import single_spaced
from model.errors import InputError
from model.files import parse_json

FORMS = load_table("forms.yaml")
ROLES = {name: role for role, names in FORMS["roles"].items() for name in names}
Options = list[tuple[str, str | None]]
"""(letter, or what stands for it, and text) as in the file; None: missing."""
NO_LABEL = (None, "", "nan", "NaN")  # a table tool prints a missing value so
OPTION_PARTS = (("letter", "key", "label", "id"), ("content", "value", "text"))  # names of them in an object


class SetAsideError(Exception):
    """The record is no question, or no worked answer."""

    def __init__(self, code: str, detail: str = ""):
        super().__init__(code, detail)
        self.code, self.detail = code, detail


# Plain values


def value_of(row: Row, column: str | None) -> Any:
    """Return what stands in a column, in "a.b" that of b inside a; None where there is none."""
    if column is None or column in row:
        return row.get(column)
    first, dot, rest = column.partition(".")
    inside = row.get(first)
    return value_of(inside, rest) if dot and isinstance(inside, dict) else None


def text_of(row: Row, column: str) -> str:
    """Return the column's text. Raises SetAsideError where it is missing or none."""
    value = value_of(row, column)
    if value is None:
        raise SetAsideError("incomplete", f"{column} is missing")
    if not isinstance(value, str) or not value.strip():
        raise SetAsideError("no_text", f"{column} must be a text, found {str(value)[:80]!r}")
    return value


def plain_text(value: Any) -> str | None:
    """An id or a group as text: 2804 also where a table tool has made 2804.0 of it; None for other types."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return re.sub(r"\A(-?[0-9]+)\.0\Z", r"\1", str(value))


def as_text(value: Any) -> str | None:
    """A value as text: a text as it is, a number as `plain_text` has it, None for other types."""
    return value if isinstance(value, str) else plain_text(value)


def number_of(value: Any) -> int | None:
    """A whole number, also as the float or text that table tools make of it: 2.0, "2", "2.0"; None for all else."""
    text = plain_text(value)
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,9}", text.strip()) else None


def literal_of(value: Any) -> Any:
    """A value, read once more where it is a text that holds a list or an object of JSON or Python."""
    if not (isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and len(value) < 100_000):
        return value
    try:
        try:
            return parse_json(value.encode(), "")
        except InputError:
            tree = ast.parse(value.strip(), mode="eval").body
            found = ast.literal_eval(tree)
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair could not be written again
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise SetAsideError("options_unread", f"not a Python literal: {value[:80]!r}") from error
    if isinstance(tree, ast.Dict) and len(found) < len(tree.keys):
        raise SetAsideError("options_unread", f"a key twice in {value[:80]!r}")
    return found


def only(answer: Any) -> Any:
    """Return the answer, also where it is a list of one, or a literal of one."""
    answer = literal_of(answer)
    if isinstance(answer, list) and len(answer) != 1:
        raise SetAsideError("several_answers" if answer else "no_label")
    return answer[0] if isinstance(answer, list) else answer


# Options


_BREAK = r"(?:\r?\n|\\n)"  # some copies write a line break as the two characters \n
_HEAD = rf"[A-Z](?:[.．、:：][ \u3000]*|[ \u3000]+|(?={_BREAK}|$))"  # what follows is the option's text, ".5 mg" too


def _lines_of(value: str) -> dict[str, str]:
    """Return the options that a text has a line each of, beginning with its letter."""
    lines = re.split(rf"{_BREAK}[ \u3000]*(?={_HEAD})", value.strip())
    heads = [re.match(_HEAD, line) for line in lines]
    letters = [head[0][0] for head in heads if head]
    if len(letters) < len(lines) or letters != sorted(set(letters)):
        raise SetAsideError("options_unread", f"lines must begin with rising letters, found {letters}")
    return {head[0][0]: line[head.end() :] for head, line in zip(heads, lines, strict=True)}


def _without_heads(texts: list) -> list:
    """Return the texts of a list without their letters, where each begins with its own: ["A. iron", "B. zinc"]."""
    lettered = zip(LETTERS, texts, strict=False)
    heads = [re.match(rf"{letter}[.):、．] *", str(text)) for letter, text in lettered]
    return [text[head.end() :] for head, text in zip(heads, texts, strict=True)] if all(heads) else texts


def _pairs_of(value: Any) -> list[tuple]:
    """Return (letter, text) as they stand in {"A": ..}, [..], [{"letter": .., "content": ..}], {"label": [..], ..}."""
    match value:
        case {"label": list(letters), "text": list(texts), **others} if not others:
            return list(zip(letters, texts, strict=False))
        case dict():
            in_order = sorted if value.keys() <= set(LETTERS) else list
            return in_order(value.items())
        case list() if all(isinstance(option, dict) for option in value):
            found = [[next((o[n] for n in names if n in o), None) for names in OPTION_PARTS] for o in value]
            return [tuple(pair) for pair in found]
        case list() if len(value) <= len(LETTERS):
            return list(zip(LETTERS, _without_heads(value), strict=False))
    return []


def options_of(value: Any) -> Options:
    """Return the options of a list, an object, or a text that is one or has a line each; none of an empty value."""
    if value is None or value == [] or value == {}:
        return []
    if isinstance(value, str):
        value = literal_of(value) if value.lstrip()[:1] in ("{", "[") else _lines_of(value)
    pairs = [((plain_text(letter) or "").upper(), text) for letter, text in _pairs_of(value)]
    letters = {letter for letter, _ in pairs}
    each_its_own = 0 < len(letters) == len(pairs) <= len(LETTERS)
    if not each_its_own or not (letters <= {*LETTERS} or letters <= {*map(str, range(27))}):
        detail = f"options must be up to 26 texts by letter or in a list, found {str(value)[:80]!r}"
        raise SetAsideError("options_unread", detail)
    if odd := [text for _, text in pairs if text is not None and as_text(text) is None]:
        raise SetAsideError("options_unread", f"an option must be a text, found {str(odd[0])[:80]!r}")
    return [(letter, as_text(text)) for letter, text in pairs]


_HEADED = re.compile(r"[(\[]?([A-Za-z]|\d{1,2})[)\].:：、．]+ ?(.*)")


def letters_named(answer: Any, options: Options) -> set[str]:
    """Return the letters of the options that a value names: by letter, by text, by both, as in "B. zinc"."""
    said = single_spaced(as_text(answer) or "")
    texts = {letter: single_spaced(text or "") for letter, text in options}
    named = {letter for letter, text in texts.items() if said and (said.upper() == letter or text == said)}
    if headed := _HEADED.fullmatch(said):
        letter = headed[1].upper()
        if letter in texts and (not headed[2] or headed[2].startswith(texts[letter] or " ")):
            named.add(letter)
    return named


# Messages


def thought(reasoning: Any, response: str) -> str:
    """Return a response with its reasoning before it, in our tags, where it has none, and that stands apart."""
    if reasoning is not None and not isinstance(reasoning, str):
        raise SetAsideError("no_text", f"the reasoning must be a text, found {str(reasoning)[:80]!r}")
    told = "" if "</think>" in response else (reasoning or "").strip()
    return f"<think>\n{told}\n</think>\n\n{response}" if told else response


def messages_of(value: Any) -> list[Message]:
    """Return the messages as ours; a list of parts is one text. Raises SetAsideError for what are none."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value or not all(isinstance(message, dict) for message in value):
        raise SetAsideError("no_messages", f"expected messages, found {str(value)[:80]!r}")
    return [_message(message) for message in value]


def _message(message: dict[str, Any]) -> Message:
    name, text = message.get("role", message.get("from")), message.get("content", message.get("value"))
    if isinstance(text, list) and all(isinstance(p, dict) and p.get("type") == "text" for p in text):
        text = "".join(str(part.get("text")) for part in text)
    role = ROLES.get(str(name).casefold())
    if role is None:
        raise SetAsideError("unknown_role", f"a message is {str(name)[:40]!r}'s; known: {', '.join(ROLES)}")
    if not isinstance(text, str) or not text.strip():
        raise SetAsideError("no_text", f"a message of {name!r} must be a text, found {str(text)[:80]!r}")
    if role == "assistant":
        text = thought(message.get("reasoning_content"), text)
    return {"role": role, "content": text}
