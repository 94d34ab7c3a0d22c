"""ChatFormat: how a conversation becomes text, and which format a folder's chat template means, without jinja2.

- three formats, written by hand: qwen3, and qwen2.5 and chatml, which differ in their default system prompt alone
- a template is recognised by what it renders on probe conversations, not by its spelling: the few constructs of jinja
  that such templates use are interpreted here, within bounds, and whatever else one holds makes it unknown
- left out: tools
"""

import ast
import functools
import operator
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from model.errors import InputError

START, END = "<|im_start|>", "<|im_end|>"
ROLES = ("system", "user", "assistant")
Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class ChatFormat:
    """Each turn is <|im_start|>role, newline, content, <|im_end|>, newline."""

    name: str  # a key of FORMATS
    default_system: str | None = None  # the system turn of a conversation that does not begin with one

    def turns(self, messages: Messages, add_generation_prompt: bool, thinking: bool) -> tuple[list[str], str]:
        """Return what stands between the control tokens: the closed turns, and the open one ("" for none).

        Raises InputError where there is no message, or one is no {"role", "content"} of strings with a known role.
        """
        for message in messages:
            if message.get("role") not in ROLES or not isinstance(message.get("content"), str):
                raise InputError(f"chat message {str(message)[:80]}: expected a role of {', '.join(ROLES)} and a text")
        if not messages:
            raise InputError("a conversation has no messages")
        lead = self.default_system is not None and messages[0]["role"] != "system"
        turns = [f"system\n{self.default_system}"] if lead else []
        asked = [i for i, m in enumerate(messages) if m["role"] == "user" and not _is_tool_response(m["content"])]
        for i, message in enumerate(messages):
            content = message["content"]
            if self.name == "qwen3" and message["role"] == "assistant":
                content = _qwen3_answer(content, asked != [] and i > asked[-1], last=i == len(messages) - 1)
            turns.append(f"{message['role']}\n{content}")
        silence = "<think>\n\n</think>\n\n" if self.name == "qwen3" and not thinking else ""
        return turns, f"assistant\n{silence}" if add_generation_prompt else ""

    def render(self, messages: Messages, add_generation_prompt: bool = True, thinking: bool = True) -> str:
        """Return the conversation as the text that the model's own template gives. Raises InputError as `turns`."""
        turns, opening = self.turns(messages, add_generation_prompt, thinking)
        return "".join(f"{START}{turn}{END}\n" for turn in turns) + (START + opening if opening else "")


FORMATS = {
    "qwen2.5": ChatFormat("qwen2.5", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    "qwen3": ChatFormat("qwen3"),
    "chatml": ChatFormat("chatml"),
}


def _is_tool_response(content: str) -> bool:
    return content.startswith("<tool_response>") and content.endswith("</tool_response>")


def _qwen3_answer(content: str, current: bool, last: bool) -> str:
    """Return an assistant turn: thinking is dropped from answers to earlier questions, and shown in the current one."""
    thoughts = ""
    if "</think>" in content:
        thoughts = content.split("</think>")[0].rstrip("\n").split("<think>")[-1].strip("\n")
        content = content.split("</think>")[-1].lstrip("\n")
    if current and (last or thoughts):
        content = f"<think>\n{thoughts}\n</think>\n\n" + content.lstrip("\n")
    return content


# ";" parts conversations and "|" turns; a turn is its role's first letter and its content, with "~" for newlines.
_PROBE_TEXT = (
    "uA;sS;aB;sS|uA;sS|aB;uA|aB;uA|uB|aC|aD;uA|sS|aB|uC;s|u|a;uA|aB|uC|aD|uE;uA|a~~B~~;uA|a~B|a~C;"
    "s ~ S ~ |u ~ A ~ |a ~ B ~ |u~~;uA|a<think>~~R~~</think>~~~B~|uC|a~<think>R</think>B;a<think>R</think>B;"
    "uA|aR</think>B;uA|a<think>R</think>B|uC;uA|a<think>R</think>~~B|a~C;uA|a<think>~~</think>~~~B|aC;"
    "uA|a<think>B;uA<think>R</think>B|aC;uA|aB<think>C</think>D<think>E</think>F|aG;sA<think>R</think>|uB;"
    "uA|aB|u<tool_response>C</tool_response>|aD;u<tool_response>C</tool_response>|a<think>R</think>B"
)
_PROBES = [
    [{"role": ROLES["sua".index(turn[0])], "content": turn[1:].replace("~", "\n")} for turn in probe.split("|")]
    for probe in _PROBE_TEXT.split(";")
]
_MAX_STATEMENTS = 1000  # in one rendering; Qwen3's template runs 113 on the longest probe
_MAX_TEXT = 1 << 16  # characters of a template, and of what one of its expressions may make


def recognise(template: str, special_tokens: dict[str, str]) -> ChatFormat | None:
    """Return the format that renders every probe conversation exactly as this jinja template does, or None.

    special_tokens: what the template may use by name (eos_token, bos_token).
    """

    def rendered(messages: Messages, prompt: bool, **variables: bool) -> str:
        out, known = [], {"messages": messages, "add_generation_prompt": prompt, "tools": None}
        _run(program, special_tokens | known | variables, out, iter(range(_MAX_STATEMENTS)))
        return "".join(out)

    def agrees(form: ChatFormat, messages: Messages, prompt: bool) -> bool:
        thinking, silent = (form.render(messages, prompt, t) for t in (True, False))
        enabled = {rendered(messages, prompt), rendered(messages, prompt, enable_thinking=True)}
        return enabled == {thinking} and rendered(messages, prompt, enable_thinking=False) == silent

    try:
        program = _parse(template)
        lead = rendered(_PROBES[0], False).removesuffix(f"{START}user\nA{END}\n")
        default = lead.removeprefix(f"{START}system\n").removesuffix(f"{END}\n") if lead else None
        if default is not None and (START in default or END in default):
            return None
        # Both render alike; Qwen2.5 is told from older ChatML by its knowing tools.
        name = "chatml" if default is None or "tool_call" not in template else "qwen2.5"
        for form in (ChatFormat(name, default), ChatFormat("qwen3", default)):
            if all(agrees(form, *case) for case in product(_PROBES, (False, True))):
                return form
    except Exception:  # a foreign template may do anything; all it can mean here is that it is not known
        pass
    return None


_LITERAL = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_TAG = re.compile(r"\{#.*?#\}|\{([%{])(-?)((?:" + _LITERAL + r"|[^'\"])*?)(-?)[%}]\}", re.DOTALL)
_UNDEFINED = type("Undefined", (), {"__bool__": lambda self: False})()
_Namespace = type("Namespace", (dict,), {})
_CONSTANTS = {"true": True, "false": False, "none": None, "True": True, "False": False, "None": None}
_TESTS = {name: functools.partial(operator.is_, value) for name, value in _CONSTANTS.items()}
_TESTS |= {"defined": lambda value: value is not _UNDEFINED, "string": lambda value: isinstance(value, str)}
_FILTERS = {"length": len, "trim": str.strip}
_METHODS = ("strip", "lstrip", "rstrip", "split", "startswith", "endswith")
_COMPARE = {ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.Gt: operator.gt}
_COMPARE |= {ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b}


def _parse(template: str) -> list:
    """Return the template as nested statements: a text, or (out | set | for | if, ...). Raises on any other."""
    if len(template) > _MAX_TEXT:
        raise ValueError
    # transformers renders with lstrip_blocks and trim_blocks: a statement alone on its line leaves no line.
    source = re.sub(r"(?m)^[ \t]+(?=\{[%#])", "", template.replace("\r\n", "\n").removesuffix("\n"))
    source = re.sub(r"(?<=[%#]\})\n", "", source)
    blocks: list[list] = [[]]
    position, strip = 0, False
    while opening := re.compile(r"\{[%{#]").search(source, position):
        tag = _TAG.match(source, opening.start())
        kind, left, body, right = tag.groups()
        text = source[position : tag.start()]
        text = text.lstrip() if strip else text
        blocks[-1].append(text.rstrip() if left else text)
        position, strip = tag.end(), bool(right)
        if kind == "{":
            blocks[-1].append(("out", body))
        elif kind == "%":
            word, rest = re.match(r"\s*(\w+)\s*(.*)", body, re.DOTALL).groups()
            if word in ("elif", "else", "endif", "endfor"):
                blocks.pop()
            match word:
                case "set":
                    blocks[-1].append(("set", *rest.split("=", 1)))
                case "for":
                    blocks[-1].append(("for", *rest.split(" in ", 1), block := []))
                    blocks.append(block)
                case "if":
                    blocks[-1].append(("if", [(rest, block := [])]))
                    blocks.append(block)
                case "elif" | "else":
                    blocks[-1][-1][1].append((rest or "true", block := []))
                    blocks.append(block)
                case "endif" | "endfor":
                    pass
                case _:
                    raise NotImplementedError(word)
    blocks[-1].append(source[position:].lstrip() if strip else source[position:])
    (program,) = blocks
    return program


def _run(block: list, scope: dict[str, Any], out: list[str], budget: Iterator[int]) -> None:
    for statement in block:
        next(budget)
        match statement:
            case str(text):
                out.append(text)
            case "out", expression:
                value = _value(_tree(expression), scope)
                out.append("" if value is _UNDEFINED else value)
            case "set", target, expression:
                owner, _, name = target.strip().rpartition(".")
                home = scope[owner] if owner else scope
                if owner and not isinstance(home, _Namespace):
                    raise TypeError
                home[name] = _value(_tree(expression), scope)
            case "if", branches:
                chosen = (body for condition, body in branches if _value(_tree(condition), scope))
                _run(next(chosen, []), scope, out, budget)
            case "for", name, expression, body:
                items = _value(_tree(expression), scope)
                for i, item in enumerate(items):
                    loop = {"index": i + 1, "index0": i, "first": i == 0, "last": i == len(items) - 1}
                    _run(body, {**scope, name.strip(): item, "loop": loop}, out, budget)


@functools.lru_cache(maxsize=1024)
def _tree(expression: str) -> ast.expr:
    """Return the syntax tree of a jinja expression: Python's grammar, but that a filter binds like an attribute."""
    pieces = re.split(f"({_LITERAL})", expression)
    pieces[0::2] = [re.sub(r"\|\s*(\w+)", r".filter_\1", code.replace("\n", " ")) for code in pieces[0::2]]
    pieces[1::2] = [literal.replace("\n", "\\n") for literal in pieces[1::2]]
    return ast.parse("".join(pieces).strip(), mode="eval").body


def _value(node: ast.expr, scope: dict[str, Any]) -> Any:
    """Return what an expression evaluates to. Nothing is ever called but the methods and filters listed above."""
    match node:
        case ast.Constant(value):
            return value
        case ast.Name(name):
            return _CONSTANTS[name] if name in _CONSTANTS else scope.get(name, _UNDEFINED)
        case ast.BoolOp(op, parts):
            for part in parts:
                value = _value(part, scope)
                if bool(value) == isinstance(op, ast.Or):
                    break
            return value
        case ast.UnaryOp(op, operand) if isinstance(op, ast.Not | ast.USub):
            value = _value(operand, scope)
            return not value if isinstance(op, ast.Not) else -value
        case ast.Compare(left, [ast.Is() | ast.IsNot() as op], [ast.Name(test)]):
            return _TESTS[test](_value(left, scope)) == isinstance(op, ast.Is)
        case ast.Compare(left, [op], [right]):
            return _COMPARE[type(op)](_value(left, scope), _value(right, scope))
        case ast.BinOp(left, op, right) if isinstance(op, ast.Add | ast.Sub):
            a, b = _value(left, scope), _value(right, scope)
            if not isinstance(a, int) and len(a) + len(b) > _MAX_TEXT:
                raise MemoryError
            return a + b if isinstance(op, ast.Add) else a - b
        case ast.Subscript(owner, ast.Slice(lower, upper, step)):
            part = slice(*(None if bound is None else _value(bound, scope) for bound in (lower, upper, step)))
            return _value(owner, scope)[part]
        case ast.Subscript(owner, key):
            whole, key = _value(owner, scope), _value(key, scope)
            if isinstance(whole, dict):
                return whole.get(key, _UNDEFINED)
            return whole[key] if -len(whole) <= key < len(whole) else _UNDEFINED
        case ast.Attribute(owner, name):
            whole = _value(owner, scope)
            return _FILTERS[name[7:]](whole) if name.startswith("filter_") else whole.get(name, _UNDEFINED)
        case ast.Call(ast.Name("namespace"), [], fields):
            return _Namespace({field.arg: _value(field.value, scope) for field in fields})
        case ast.Call(ast.Attribute(owner, name), arguments, []) if name in _METHODS:
            return getattr(str, name)(_value(owner, scope), *(_value(argument, scope) for argument in arguments))
    raise NotImplementedError(ast.dump(node))
