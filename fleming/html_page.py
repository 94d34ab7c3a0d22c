"""A page of one file for what strangers' files say: text escaped, tables, and a policy under which nothing else runs.

- any JSON value is shown as text; what is odd or deep is shown abbreviated, never refused
- data stand in text and attributes alone, never in a script or a style, so that the template's own are named to the
  browser by their hashes and nothing else is run, fetched or sent

Left out: what a page is about, and its template (assets/).
"""

import base64
import hashlib
import html
import re
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

SHOWN = 20  # items of a list or mapping
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # HTML has no form for most


def say(value: Any) -> str:
    """Return any JSON value as a text; what is nested deeper than in a list or mapping is abbreviated.

    >>> say({"age": 7.0, "onset_known": True})
    'age 7, onset known yes'
    """
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.4g}"
        case list():
            return ", ".join(map(_flat, value[:SHOWN])) + (", ..." if len(value) > SHOWN else "")
        case dict():
            return ", ".join(f"{spaced(key)} {_flat(item)}" for key, item in list(value.items())[:SHOWN])
    return str(value)


def items(value: Any) -> list:
    """Return the value where it is a list, else one of it; none for null."""
    return value if isinstance(value, list) else [] if value is None else [value]


def mapping(value: Any) -> dict:
    """Return the value where it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def _flat(value: Any) -> str:
    return reprlib.repr(value) if isinstance(value, list | dict) else say(value)


def spaced(code: Any) -> str:
    """Return a code of ours as words: "has_symptom" as "has symptom"."""
    return say(code).replace("_", " ")


def escape(value: Any) -> str:
    """Return any JSON value as HTML text, good inside a quoted attribute too."""
    return html.escape(CONTROLS.sub("\ufffd", say(value).replace("\r\n", "\n")))


def fill(template: str, **fields: Any) -> str:
    """Return the template with each {{field}} replaced by HTML, in one pass: what is put in is not looked at again."""
    return re.sub(r"\{\{(\w+)\}\}", lambda name: str(fields[name[1]]), template)


def table(caption: str, heads: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table, or "" for no rows."""
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    parts = f"<caption>{escape(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="scroll"><table>{parts}</table></div>\n'


def described(pairs: Iterable[tuple[str, Any]]) -> str:
    """Return each value that is not empty under its name, or "" for none."""
    shown = [(spaced(name), value) for name, value in pairs if say(value)]
    rows = [f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>\n" for name, value in shown]
    return f"<dl>\n{''.join(rows)}</dl>\n" if rows else ""


def policy(template: str) -> str:
    """Return the Content-Security-Policy that allows the template's one script and one style, and nothing else."""
    sources = []
    for tag in ("script", "style"):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL)[1].encode()
        sources.append(f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(inside).digest()).decode()}'")
    return f"default-src 'none'; {'; '.join(sources)}; base-uri 'none'; form-action 'none'"
