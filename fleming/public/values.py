"""What one value of a record says: a text, a number, options, the right one among them, messages.

Texts stay as they are, blanks included: a log-likelihood depends on each character. What says nothing sure is set aside
with a code and what is wrong with it; nothing is guessed. Left out: which column has what (forms.py).
"""

import ast
import io
import json
import re
import tokenize
from itertools import pairwise
from typing import Any

from fleming.answer import parse_answer
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
OPTION_PARTS = FORMS["option_parts"].values()
NO_LABEL = (None, "", "nan", "NaN")  # a table tool prints a missing value so


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
            tree = ast.parse(_with_commas(value.strip()), mode="eval").body
            found = ast.literal_eval(tree)
        json.dumps(found, ensure_ascii=False).encode()  # half a surrogate pair could not be written again
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, tokenize.TokenError) as error:
        raise SetAsideError("options_unread", f"not a Python literal: {value[:80]!r}") from error
    if isinstance(tree, ast.Dict) and len(found) < len(tree.keys):
        raise SetAsideError("options_unread", f"a key twice in {value[:80]!r}")
    return found


def _with_commas(literal: str) -> str:
    """Return the literal with commas between its texts where numpy prints none: ['iron' 'zinc']."""
    tokens = list(tokenize.generate_tokens(io.StringIO(literal.replace("\n", " ")).readline))
    beside = (one.type == other.type == tokenize.STRING for one, other in pairwise(tokens))
    return "".join(token.string + "," * comma for token, comma in zip(tokens, beside, strict=False))


def only(answer: Any) -> Any:
    """Return the answer, also where it is a list of one, or a literal of one."""
    answer = literal_of(answer)
    if isinstance(answer, list) and len(answer) != 1:
        raise SetAsideError("several_answers" if answer else "no_label")
    return answer[0] if isinstance(answer, list) else answer


# Options


_BREAK = r"(?:\r?\n|\\n|<br ?/?>)[ \u3000]*"  # some copies write a line break as the two characters \n
_POINT = r"(?:[．、：][ \u3000]*|[.:](?:[ \u3000]+|(?=[\u4e00-\u9fff])))"
_MARKED = rf"[(（\[]?(?:[A-Za-z]|\d{{1,2}}) ?[)）\]][.:：]?[ \u3000]*|(?:[A-Za-z]|\d{{1,2}}){_POINT}"
_HEADS = [  # what stands between options, and what one begins with; what follows is its text, ".5 mg" too
    (_BREAK, rf"[A-Z](?:[.．、:：][ \u3000]*|[ \u3000]+(?!\))|(?={_BREAK}|$))"),
    (_BREAK, _MARKED),
    (r"[\s;,|/]{1,9}", _MARKED),
]


def _lettered(value: str) -> dict[str, str]:
    """Return the options of a text in which each begins with its letter or number, in lines or behind one another."""
    for between, head in _HEADS:
        parts = re.split(rf"{between}(?={head})", value.strip())
        heads = [re.match(head, part) for part in parts]
        letters = [re.search("[A-Za-z0-9]+", found[0])[0].upper() if found else "" for found in heads]
        count = len(letters)
        in_order = letters in (
            [*LETTERS[:count]],
            [*map(str, range(count))],
            [*map(str, range(1, count + 1))],
        )
        skipping = between == _BREAK and "" not in letters and letters == sorted(set(letters))
        if count > 1 and (in_order or (skipping and not value.strip()[0].isdecimal())):
            ends = zip(letters, parts, heads, strict=True)
            return {letter: part[found.end() :] for letter, part, found in ends}
    raise SetAsideError("options_unread", f"must begin with rising letters, found {value[:80]!r}")


_NAMED = re.compile(
    r"^\W{0,4}(?:op|opt|option|choice|answer|选项)?[\W_]{0,4}([a-z]|\d{1,2})\W{0,4}$", re.IGNORECASE
)


def _without_heads(texts: list) -> list:
    """Return the texts of a list without their letters, where each begins with its own: ["A. iron", "B. zinc"]."""
    lettered = zip(LETTERS, texts, strict=False)
    heads = [re.match(rf"[(（]?{letter}[.)）:、．]+ *", str(text)) for letter, text in lettered]
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
        value = literal_of(value) if value.lstrip()[:1] in ("{", "[") else _lettered(value)
    pairs = [(_NAMED.sub(r"\1", plain_text(key) or "").upper(), text) for key, text in _pairs_of(value)]
    letters = {letter for letter, _ in pairs}
    each_its_own = 0 < len(letters) == len(pairs) <= len(LETTERS)
    if not each_its_own or not (letters <= {*LETTERS} or letters <= {*map(str, range(27))}):
        detail = f"options must be up to 26 texts by letter or in a list, found {str(value)[:80]!r}"
        raise SetAsideError("options_unread", detail)
    if odd := [text for _, text in pairs if text is not None and as_text(text) is None]:
        raise SetAsideError("options_unread", f"an option must be a text, found {str(odd[0])[:80]!r}")
    return [(letter, as_text(text)) for letter, text in pairs]


_HEADED = re.compile(r"[(\[]?([A-Za-z]|\d{1,2})[)\].:：、．]+ ?")


def letters_named(answer: Any, options: Options) -> set[str]:
    """Return the letters of the options that a value names: by letter, by text, by both, else as an answer is read."""
    said = single_spaced(as_text(answer) or "")
    texts = {letter: single_spaced(text or "") for letter, text in options}
    named = {letter for letter, text in texts.items() if said and (said.upper() == letter or text == said)}
    if (key := _NAMED.match(said)) and key[1].upper() in texts:
        return named or {key[1].upper()}
    head = _HEADED.match(said)
    if head and (text := texts.get(head[1].upper())) and said[head.end() :].startswith(text):
        named.add(head[1].upper())
    return named or {*filter(None, [parse_answer(f"<answer>{said}</answer>", texts)])}


# Messages


def thought(reasoning: Any, response: str) -> str:
    """Return a response with its reasoning before it, in our tags, where it has none, and that stands apart."""
    if reasoning is not None and not isinstance(reasoning, str):
        raise SetAsideError("no_text", f"the reasoning must be a text, found {str(reasoning)[:80]!r}")
    told = "" if "</think>" in response else re.sub("</?think>", "", reasoning or "").strip()
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
        text = thought(next(filter(None, map(message.get, FORMS["beside"]["reasoning"])), None), text)
    return {"role": role, "content": text}
