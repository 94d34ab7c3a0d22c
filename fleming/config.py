"""Settings: dataclasses <-> YAML, unknown keys refused, dotted overrides, --help from the fields' own docstrings.

The settings themselves are a tree of frozen dataclasses (settings/) of the types that typed.py knows; every field has
a default, so that a file names only what differs. Left out: environment variables, includes, interpolation, executing
a file.
"""

import argparse
import ast
import contextlib
import dataclasses
import difflib
import errno
import functools
import inspect
import itertools
import json
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

import yaml

from fleming.terminal import Console, complain, program
from fleming.typed import convert, field_types, type_name
from model.errors import InputError
from model.files import read_bytes

C = TypeVar("C")  # a settings dataclass
MOST_ALIASES = 30  # of a settings file: in ten levels of three they stand for 59,000 values
LARGEST = 1e38  # of a setting: single precision holds no more
_NO_MEMORY = re.compile("out of memory|(?:can't|cannot) allocate memory|not enough memory", re.IGNORECASE)
LESS_MEMORY = (
    "lower *.micro_batch_tokens or *.max_num_seqs, or set parallel.activation_checkpointing or parallel.offload; "
    "--dry-run of train_sft.py and train_grpo.py estimates what they take"
)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, but a key that stands twice in one mapping is an error, not a silent last one.

    Nor may an alias stand within itself, or many in one file: each may stand for all that those before it do.
    """

    aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            anchored = self.anchors.get(event.anchor)
            self.aliases += 1
            if self.aliases > MOST_ALIASES or (anchored and anchored.end_mark is None):
                problem = (
                    f"*{event.anchor} stands within itself, or behind {MOST_ALIASES} others: write it out"
                )
                raise yaml.composer.ComposerError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:  # !!bool x, !!int "", 2020-13-01
            problem = f"{str(node.value)[:80]!r} is no {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for i, key in enumerate(keys):
            if key.value in [before.value for before in keys[:i]]:
                problem = f"key {key.value!r} occurs twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
        return super().construct_mapping(node, deep)


def _parse_yaml(text: str | bytes, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InputError(f"{where}: bad YAML{place}: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: bad YAML: {' '.join(str(error).split())}") from error


def _lay(
    cls: type, value: dict, where: str, key: str, settings: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Lay a mapping over plain settings of `cls`, by default its defaults, in place; return them."""
    settings = to_dict(cls()) if settings is None else settings
    for name, item in value.items():
        _set(settings, cls, [str(name)], item, where, f"{key}." if key else "")
    return settings


def _set(
    settings: dict[str, Any], cls: type, names: list[str], value: Any, where: str, prefix: str = ""
) -> None:
    """Put a value of the right type at the dotted path `names` of plain settings."""
    name, rest, key = names[0], names[1:], prefix + names[0]
    kinds = field_types(cls, ranges=False)  # what another value replaces may be out of its range
    if name not in kinds:
        near = keys_called(settings, name, prefix)
        near = near or [prefix + known for known in difflib.get_close_matches(name, kinds, n=1)]
        hint = f"did you mean {' or '.join(near)}?" if near else f"known here: {', '.join(kinds)}"
        raise InputError(f"{where}: unknown key {key}; {hint}")
    kind, base = kinds[name], settings[name]
    if rest and dataclasses.is_dataclass(kind):
        return _set(base, kind, rest, value, where, f"{key}.")
    of_items = get_args(kind)[-1] if get_origin(kind) is dict else None
    if len(rest) > 1 and dataclasses.is_dataclass(of_items):
        item = base.setdefault(rest[0], to_dict(of_items()))
        return _set(item, of_items, rest[1:], value, where, f"{key}.{rest[0]}.")
    if rest and isinstance(base, dict):
        value = {**base, ".".join(rest): value}
    elif rest:
        unknown = ".".join([key, *rest])
        raise InputError(f"{where}: unknown key {unknown}: {key} is of type {type_name(kind)}")
    if value is False and get_origin(kind) is Literal and "off" in get_args(kind):
        value = "off"  # YAML 1.1 takes a bare off for false
    section = partial(_lay, settings=base) if dataclasses.is_dataclass(kind) else _lay
    settings[name] = convert(kind, value, where, key, section)


def _made(cls: type[C], settings: dict[str, Any], where: str, key: str = "") -> C:
    """Return the dataclass of plain settings. Raises InputError for what is out of its range or makes no sense."""
    prefix = f"{key}." if key else ""
    kinds = field_types(cls).items()
    made = cls(**{name: convert(kind, settings[name], where, prefix + name, _made) for name, kind in kinds})
    if hasattr(made, "check"):
        made.check(f"{where}: {prefix}")
    return made


def load_config(cls: type[C], path: str | os.PathLike | None, overrides: list[str]) -> C:
    """Return `cls()` with the YAML file laid over it, then each "dotted.key=YAML value".

    A dataclass with a method `check(where)` is then asked to check itself; `where` is the start of its messages
    ("demo.yaml: sft."). Raises InputError for a file that cannot be read, bad YAML, a key that is unknown or stands
    twice, and a wrong type: true is no int, an int will do for a float, null only where `| None` says so.
    """
    content = None
    if path is not None:
        content = _parse_yaml(read_bytes(path), str(path))
    settings = convert(cls, {} if content is None else content, str(path), "", _lay)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            expected = "expected key.path=value, no blanks around the =; a file of settings is --config FILE"
            raise InputError(f"command line: {override!r}: {expected}")
        if not text.strip():
            raise InputError(
                f"command line: {key}= has no value: no blank may stand behind the =; for an empty text write "
                f"\"{key}=''\", for none {key}=null"
            )
        value = _parse_yaml(text, f"command line: {key}")
        _set(settings, cls, key.split("."), value, "command line")
    said = [str(path)] * (path is not None) + ["command line"] * bool(overrides)
    where = " + ".join(said) or "defaults"
    made = _made(cls, settings, where)
    for key, value in flat(settings).items():
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, float) and abs(item) > LARGEST:
                expected = f"expected from {-LARGEST} to {LARGEST}"
                raise InputError(f"{where}: {key} is out of its range: found {item}, {expected}")
    return made


def to_dict(value: Any) -> Any:
    """Return settings, or a value of them, as nested dicts and lists, as JSON and YAML give them back."""
    if dataclasses.is_dataclass(value):
        return {name: to_dict(getattr(value, name)) for name in field_types(type(value))}
    if isinstance(value, dict):
        return {name: to_dict(item) for name, item in value.items()}
    return [to_dict(item) for item in value] if isinstance(value, list | tuple) else value


def flat(nested: Mapping[str, Any], separator: str = ".", prefix: str = "") -> dict[str, Any]:
    """Return the values of nested mappings under their keys, joined: {"a": {"b": 1}} is {"a.b": 1}."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        inside = isinstance(value, Mapping)
        found |= flat(value, separator, f"{prefix}{key}{separator}") if inside else {prefix + key: value}
    return found


def keys_called(settings: dict[str, Any], name: str, prefix: str = "") -> list[str]:
    """Return the dotted keys of nested settings that end with `name`, or are it."""
    found = [prefix + key for key in settings if name in (key, prefix + key)]
    for key, value in settings.items():
        found += keys_called(value, name, f"{prefix}{key}.") if isinstance(value, dict) else []
    return found


def dump_yaml(config: Any) -> str:
    """Return the settings as YAML, every key in it; `load_config` gives back an equal dataclass."""
    return yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)


@functools.cache
def field_docs(cls: type) -> dict[str, str]:
    """Return field name -> the string literal that follows it in the source of the dataclass."""
    docs = {}
    for base in reversed([base for base in cls.__mro__ if dataclasses.is_dataclass(base)]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body
        for field, after in itertools.pairwise(body):
            match field, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    docs[name] = " ".join(text.split())
    return docs


def _help_lines(section: Any, prefix: str = "", only: Iterable[str] = ()) -> Iterator[str]:
    docs, kinds = field_docs(type(section)), field_types(type(section))
    # Inner sections last: what stood behind one would read as a key of it.
    for name in sorted(only or kinds, key=lambda name: dataclasses.is_dataclass(getattr(section, name))):
        kind, value = kinds[name], getattr(section, name)
        if dataclasses.is_dataclass(value):
            yield f"\n{prefix}{name}: {docs.get(name, '')}"
            yield from _help_lines(value, f"{prefix}{name}.")
        else:
            yield f"  {prefix}{name}={json.dumps(to_dict(value), ensure_ascii=False)}  ({type_name(kind)})"
            indent = " " * 6
            yield from textwrap.wrap(docs.get(name, ""), 100, initial_indent=indent, subsequent_indent=indent)


def _help_on_keys(config: Any, first: Sequence[str], every: bool) -> Iterator[str]:
    """Describe the sections `first`, then the keys outside sections; the other sections where `every` asks for them."""
    sections = [name for name in field_types(type(config)) if dataclasses.is_dataclass(getattr(config, name))]
    others = [name for name in sections if name not in first]
    yield "\nkeys, with their defaults:"
    yield from _help_lines(config, only=first) if first else ()
    yield "\nof every script:"
    yield from _help_lines(config, only=[name for name in field_types(type(config)) if name not in sections])
    if every or not first:
        yield from _help_lines(config, only=others)
    else:
        yield f"\n--help-all describes the keys of other scripts too: {', '.join(f'{name}.*' for name in others)}\n"


def parse_command_line(
    cls: type[C],
    description: str,
    argv: list[str],
    add_arguments: Callable[[argparse.ArgumentParser], Any] = lambda parser: None,
    first: Sequence[str] = (),
) -> tuple[C, argparse.Namespace]:
    """Return the settings of `--config PATH key.path=value ...` and the namespace with the script's own options.

    `add_arguments` adds those to the parser. `--help` prints the keys of the sections `first` and those outside any,
    with type, default and docstring, `--help-all` those of all; both exit with 0. Raises InputError for an unknown
    option and for what `load_config` refuses.
    """

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            option = re.search(r"--([\w.-]+)", message)
            meant = keys_called(to_dict(cls()), option[1].replace("-", "_")) if option else []
            keys = " or ".join(f"{key}=VALUE" for key in meant)
            hint = f"a setting is key=value, without dashes: {keys}" if keys else ""
            raise InputError(f"{message} ({hint or '--help lists all options and keys'})")

        def format_help(self) -> str:
            return super().format_help() + "\n".join(_help_on_keys(cls(), first, "--help-all" in argv))

    layout = argparse.RawDescriptionHelpFormatter  # descriptions hold example commands, a line each
    parser = Parser(program(), description=description, allow_abbrev=False, formatter_class=layout)
    parser.add_argument("--help-all", action="help", help="describe the keys of all scripts")
    parser.add_argument("--config", metavar="PATH", help="YAML file of settings")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="one setting; a value is YAML")
    add_arguments(parser)
    arguments = parser.parse_intermixed_args(argv)
    return load_config(cls, arguments.config, arguments.overrides), arguments


def run_script(main: Callable[[list[str]], int | None], leave: bool = True) -> None:
    """Call main(argv) and exit with its status: the end of every script. leave: also where nothing was wrong.

    Wrong input, a file that the system refuses, a full disk and full memory are one line on stderr and status 2, Ctrl-C
    is one line and 130, and a reader of our output that went away (`| head`) is no news. Any other exception is a bug
    of ours and keeps its stack trace.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # by look_first of command_line.py
        signal.signal(signal.SIGINT, signal.default_int_handler)
    message = ""
    out, err = Console(sys.stdout), Console(sys.stderr)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(sys.argv[1:]) or 0
            sys.stdout.flush()
    except SystemExit as leaving:  # --help, or stopped as asked
        status, leave = leaving.code or 0, True
    except InputError as error:
        message, status = f"error: {error}", 2
    except KeyboardInterrupt:
        message, status = "interrupted", 130
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())  # the interpreter flushes once more at its exit
        status = 141  # as the shell has it: 128 + SIGPIPE
    except OSError as error:
        if error.errno != errno.ENOSPC and error.filename is None:
            raise
        message, status = f"error: {error}", 2
    except (MemoryError, RuntimeError) as error:  # RuntimeError: torch's, on a GPU and on a CPU
        if not (isinstance(error, MemoryError) or _NO_MEMORY.search(str(error))):
            raise
        message, status = f"error: out of memory: {str(error)[:200] or 'Python'}; {LESS_MEMORY}", 2
    speaks = os.environ.get("LOCAL_RANK", "0") == "0"  # of several processes one: training/parallel.py
    if message and speaks:
        complain(message, err)
    if not (leave or status):
        return
    if "LOCAL_RANK" in os.environ:
        # Of several processes each has threads (gloo's) that may still be freeing tensors of the last collective; where
        # the interpreter is on its way out by then, they abort the process in place of its status (pytorch#179291).
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)
    sys.exit(status)
