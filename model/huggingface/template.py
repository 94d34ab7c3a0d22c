"""The few constructs of jinja that chat templates use, interpreted within bounds, without jinja2.

- texts, {{ expression }}, set, for, if, elif, else, comments; white space is trimmed as transformers has it
- an expression is parsed as Python's, from which it differs in its filters alone
- nothing is ever called but the methods and filters listed here, and whatever else a template holds raises
- left out: macros, includes, inline conditions, other filters, tests and methods
"""

import ast
import functools
import operator
import re
from collections.abc import Iterator
from typing import Any

MAX_STATEMENTS = 1000  # in one rendering; Qwen3's template runs 113 on the longest probe
MAX_TEXT = 1 << 16  # characters of a template, and of what one of its expressions may make

LITERAL = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
OPENING = re.compile(r"\{[%{#]")
TAG = re.compile(r"\{#.*?#\}|\{([%{])(-?)((?:" + LITERAL + r"|[^'\"])*?)(-?)[%}]\}", re.DOTALL)
STATEMENT = re.compile(r"\s*(\w+)\s*(.*)", re.DOTALL)

UNDEFINED = type("Undefined", (), {"__bool__": lambda self: False})()
Namespace = type("Namespace", (dict,), {})
CONSTANTS = {"true": True, "false": False, "none": None, "True": True, "False": False, "None": None}
TESTS = {
    **{name: functools.partial(operator.is_, value) for name, value in CONSTANTS.items()},
    "defined": lambda value: value is not UNDEFINED,
    "string": lambda value: isinstance(value, str),
}
FILTERS = {"length": len, "trim": str.strip}
METHODS = ("strip", "lstrip", "rstrip", "split", "startswith", "endswith")
COMPARE = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.Gt: operator.gt,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def render(program: list, variables: dict[str, Any]) -> str:
    """Return the text of a parsed template. Raises whatever goes wrong in it, and where it runs too long."""
    out: list[str] = []
    _run(program, variables, out, iter(range(MAX_STATEMENTS)))
    return "".join(out)


def parse(template: str) -> list:
    """Return the template as nested statements: a text, or (out | set | for | if, ...). Raises on others."""
    if len(template) > MAX_TEXT:
        raise ValueError
    # transformers renders with lstrip_blocks and trim_blocks: a statement alone on its line leaves no line.
    source = template.replace("\r\n", "\n").removesuffix("\n")
    source = re.sub(r"(?m)^[ \t]+(?=\{[%#])", "", source)
    source = re.sub(r"(?<=[%#]\})\n", "", source)

    blocks: list[list] = [[]]  # those that are open, the innermost last
    position, strip = 0, False
    while opening := OPENING.search(source, position):
        tag = TAG.match(source, opening.start())
        kind, strip_before, body, strip_after = tag.groups()
        text = source[position : tag.start()]
        if strip:
            text = text.lstrip()
        if strip_before:
            text = text.rstrip()
        blocks[-1].append(text)
        position, strip = tag.end(), bool(strip_after)
        if kind == "{":
            blocks[-1].append(("out", body))
        elif kind == "%":
            word, rest = STATEMENT.match(body).groups()
            _parse_statement(word, rest, blocks)
    text = source[position:]
    blocks[-1].append(text.lstrip() if strip else text)
    (program,) = blocks
    return program


def _parse_statement(word: str, rest: str, blocks: list[list]) -> None:
    """Add a statement to the innermost open block, and open or close blocks as it says."""
    block: list = []
    if word in ("elif", "else", "endif", "endfor"):
        blocks.pop()
    match word:
        case "set":
            blocks[-1].append(("set", *rest.split("=", 1)))
        case "for":
            blocks[-1].append(("for", *rest.split(" in ", 1), block))
            blocks.append(block)
        case "if":
            blocks[-1].append(("if", [(rest, block)]))
            blocks.append(block)
        case "elif" | "else":
            _, branches = blocks[-1][-1]
            branches.append((rest or "true", block))
            blocks.append(block)
        case "endif" | "endfor":
            pass
        case _:
            raise NotImplementedError(word)


def _run(block: list, scope: dict[str, Any], out: list[str], budget: Iterator[int]) -> None:
    for statement in block:
        next(budget)
        match statement:
            case str(text):
                out.append(text)
            case "out", expression:
                value = _evaluate(expression, scope)
                out.append("" if value is UNDEFINED else value)
            case "set", target, expression:
                owner, _, name = target.strip().rpartition(".")
                home = scope[owner] if owner else scope
                if owner and not isinstance(home, Namespace):
                    raise TypeError
                home[name] = _evaluate(expression, scope)
            case "if", branches:
                for condition, body in branches:
                    if _evaluate(condition, scope):
                        _run(body, scope, out, budget)
                        break
            case "for", name, expression, body:
                items = _evaluate(expression, scope)
                for i, item in enumerate(items):
                    loop = {"index": i + 1, "index0": i, "first": i == 0, "last": i == len(items) - 1}
                    inner = {**scope, name.strip(): item, "loop": loop}
                    _run(body, inner, out, budget)


def _evaluate(expression: str, scope: dict[str, Any]) -> Any:
    return _value(_tree(expression), scope)


@functools.lru_cache(maxsize=1024)
def _tree(expression: str) -> ast.expr:
    """Return the syntax tree of a jinja expression: Python's grammar, but that a filter binds like an attribute."""
    pieces = re.split(f"({LITERAL})", expression)  # code, literal, code, ...
    for i, piece in enumerate(pieces):
        if i % 2:
            pieces[i] = piece.replace("\n", "\\n")
        else:
            pieces[i] = re.sub(r"\|\s*(\w+)", r".filter_\1", piece.replace("\n", " "))
    return ast.parse("".join(pieces).strip(), mode="eval").body


def _value(node: ast.expr, scope: dict[str, Any]) -> Any:
    """Return what an expression evaluates to."""
    match node:
        case ast.Constant(value):
            return value
        case ast.Name(name):
            return CONSTANTS[name] if name in CONSTANTS else scope.get(name, UNDEFINED)
        case ast.BoolOp(op, parts):
            for part in parts:
                value = _value(part, scope)
                if bool(value) == isinstance(op, ast.Or):
                    break
            return value
        case ast.UnaryOp(ast.Not(), operand):
            return not _value(operand, scope)
        case ast.UnaryOp(ast.USub(), operand):
            return -_value(operand, scope)
        case ast.Compare(left, [ast.Is() | ast.IsNot() as op], [ast.Name(test)]):
            return TESTS[test](_value(left, scope)) == isinstance(op, ast.Is)
        case ast.Compare(left, [op], [right]):
            return COMPARE[type(op)](_value(left, scope), _value(right, scope))
        case ast.BinOp(left, ast.Add() | ast.Sub() as op, right):
            a, b = _value(left, scope), _value(right, scope)
            if not isinstance(a, int) and len(a) + len(b) > MAX_TEXT:
                raise MemoryError
            return a + b if isinstance(op, ast.Add) else a - b
        case ast.Subscript(owner, ast.Slice(lower, upper, step)):
            bounds = [None if bound is None else _value(bound, scope) for bound in (lower, upper, step)]
            return _value(owner, scope)[slice(*bounds)]
        case ast.Subscript(owner, key):
            whole, key = _value(owner, scope), _value(key, scope)
            if isinstance(whole, dict):
                return whole.get(key, UNDEFINED)
            return whole[key] if -len(whole) <= key < len(whole) else UNDEFINED
        case ast.Attribute(owner, name):
            whole = _value(owner, scope)
            if name.startswith("filter_"):
                return FILTERS[name.removeprefix("filter_")](whole)
            return whole.get(name, UNDEFINED)
        case ast.Call(ast.Name("namespace"), [], fields):
            return Namespace({field.arg: _value(field.value, scope) for field in fields})
        case ast.Call(ast.Attribute(owner, name), arguments, []) if name in METHODS:
            text, given = _value(owner, scope), [_value(argument, scope) for argument in arguments]
            return getattr(str, name)(text, *given)
    raise NotImplementedError(ast.dump(node))
