"""Strangers' texts in Markdown: shown as they are, in tables too; nothing in them is markup, a link or HTML."""

import re
from collections.abc import Sequence
from typing import Any

from fleming.html_page import CONTROLS, say

LONGEST = 300  # characters of a value that are shown
WIDE = 4  # columns
# A sign in a word's middle is none; "www." and "://" would begin a link.
MARKUP = re.compile(r"[&<>|\\`*\[\]~#!@]|(?<![^\W_])_|_(?![^\W_])|(?<=www)\.|:(?=//)")


def text(value: Any) -> str:
    """Return any JSON value as one line without controls, cut where it is long."""
    if isinstance(value, dict):
        value = ", ".join(f"{name}: {say(inside)}" for name, inside in value.items())
    line = re.sub("[\ufffe\uffff]", " ", CONTROLS.sub(" ", say(value)))  # nor what XML has no form for
    line = " ".join(line.split())
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def shown(line: str) -> str:
    """Return the Markdown that shows a line as it is.

    >>> shown("<b>a|b</b> [x](y) snake_case")
    '&#60;b&#62;a&#124;b&#60;/b&#62; &#91;x&#93;(y) snake_case'
    """
    return MARKUP.sub(lambda sign: f"&#{ord(sign[0])};", line)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return a table of rows of name -> value, "" for no rows; a single wide one is turned, name beside value."""
    if len(rows) == 1 and len(rows[0]) > WIDE:
        rows = [{"what": name, "value": value} for name, value in rows[0].items()]
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        return ""
    lines = [list(map(text, names)), ["---"] * len(names)]
    lines += [[text(row.get(name)) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(map(shown, line))} |" for line in lines)
