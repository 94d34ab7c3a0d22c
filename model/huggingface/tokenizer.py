"""Tokenizer: text to ids and back by a tokenizer.json, and conversations to ids by the folder's chat format.

- a conversation has the ids that transformers gives it, but for a text that writes control tokens: what a user
  says is text, whatever it spells
- our own text and an assistant's is encoded as the tokenizer does, tags that it holds as tokens included
- the folder's files are kept byte for byte, so that an exported model has the tokenizer it was trained with; its
  template is ours where it was trained with one of ours
- left out: padding, truncation, tools, tokenizers that are not a tokenizer.json
"""

import codecs
import contextlib
import json
import keyword
import math
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tokenizers

from model.errors import InputError
from model.files import parse_object
from model.huggingface.chat_format import FORMATS, ChatFormat, Messages, known_format, own_template
from model.huggingface.folder import read_files
from model.huggingface.template import GIVEN, Template

FILES = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "config.json",
]
THINK = ("<think>", "</think>")
MARK = "\ue000{}\ue001"  # stands in a template for a text that is encoded apart; its characters are nobody's
# A conversation that shows where turns begin and end.
QUESTION, ANSWER = MARK.format("question"), MARK.format("answer")
ASKED = [{"role": "user", "content": QUESTION}]
ANSWERED = [*ASKED, {"role": "assistant", "content": ANSWER}]


class Tokenizer:
    """A tokenizer.json and the chat format that goes with it.

    size: one more than the largest id. end_of_turn: the id that ends an assistant's turn. stop_ids: the ids
    that end a response, which are end_of_turn and every eos of generation_config, config and tokenizer.
    opened: the think block that the prompt opens, "<think>" and what follows it, which an answer goes on from;
    else "". chat_format: see ChatFormat. files: name -> content of the folder's tokenizer files.
    """

    def __init__(
        self,
        folder: Path,
        files: dict[str, bytes],
        chat_format: str | None = None,
        variables: Mapping[str, Any] | None = None,
    ):
        self.files = files
        self._folder, self._path = folder, folder / "tokenizer.json"
        self._tokenizer = _parse(self._path, files.get("tokenizer.json"))
        self._config = self._json("tokenizer_config.json")
        ids = self._tokenizer.get_vocab(with_added_tokens=True).values()
        self.size = max(ids, default=-1) + 1
        named = _texts(self._json("special_tokens_map.json") | self._config)
        special = {name: text for name, text in named.items() if name.endswith("_token")}
        self.chat_format = self._choose_format(chat_format, dict(variables or {}))
        self._variables = special | dict(variables or {})
        eos = None
        if "eos_token" in special:
            eos = self._id(special["eos_token"], "eos_token in tokenizer_config.json")
        self._find_turns(special, eos)
        self.stop_ids = self._find_stop_ids(eos)

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        chat_format: str | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
    ) -> "Tokenizer":
        """Return the tokenizer of a model folder.

        `chat_format` (a key of FORMATS) overrides the folder's template; a folder without one has chatml.
        chat_template_kwargs: what the template may ask for by name, as enable_thinking. Raises InputError naming
        the file that is missing or broken, or whose template cannot be rendered.
        """
        return cls(Path(folder), read_files(folder, FILES), chat_format, chat_template_kwargs)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Return the ids of a plain text, in which a written special token is ordinary characters.

        add_special_tokens: with those that the tokenizer puts around every text, which is a BOS or nothing.
        """
        return self._ids(text, as_text=True, add_special_tokens=add_special_tokens)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids, special tokens included."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def render(self, messages: Messages, add_generation_prompt: bool = True, thinking: bool = True) -> str:
        """Return the conversation as text. See `ChatFormat.render`."""
        return self.chat_format.render(messages, add_generation_prompt, thinking, self._variables)

    def encode_chat(
        self,
        messages: Messages,
        add_generation_prompt: bool = True,
        thinking: bool = True,
        trusted: Collection[str] = (),
    ) -> list[int]:
        """Return the ids of `render`'s text, in which no system or user message can write a control token.

        trusted: our own texts, as which the end of such a message is encoded as the tokenizer does.
        """
        shown, apart = [], []
        for message in messages:
            content, own = message.get("content"), message.get("role") == "assistant"
            if isinstance(content, str):
                ours = next((text for text in trusted if text and content.endswith(text)), "")
                theirs = content.removesuffix(ours)
                if MARK[0] in theirs or not (own or self._control.isdisjoint(self._ids(theirs))):
                    text = theirs.strip()  # white space is left where a template may take it off
                    message = {**message, "content": theirs.replace(text, MARK.format(len(apart)), 1) + ours}
                    apart.append(self._ids(text) if own else self._as_text(text))
            shown.append(message)

        text = self.render(shown, add_generation_prompt, thinking)
        if not apart:
            return self._ids(text)
        ids = []
        for i, piece in enumerate(re.split(MARK.format(r"(\d+)"), text)):
            ids += apart[int(piece)] if i % 2 else self._ids(piece)
        return ids

    def encode_response(self, response: str) -> tuple[list[int], bool]:
        """Return the ids of an answer as it is taught, end_of_turn last, and whether it had been written already.

        Of a think block that the prompt opens, the opening is left off. Raises InputError for an answer that
        holds another turn, or that does not close that think block.
        """
        closing = self.stop_ids & self._control
        endings = tuple(self._tokenizer.id_to_token(i) for i in closing)
        text = response.rstrip()
        written = text.endswith(endings)
        while text.endswith(endings):
            text = text.removesuffix(next(filter(text.endswith, endings))).rstrip()
        text = text if written else response
        if self.opened:
            if "</think>" not in text:
                raise InputError("the prompt has opened <think> and the response does not close it")
            text = text.lstrip().removeprefix("<think>").lstrip()
        # Behind a token, as in a conversation: the first word of a text may be encoded in another way.
        _, *ids = self._ids(self._tokenizer.id_to_token(self.end_of_turn) + text)
        if turns := [i for i in ids if i in self._turns | closing]:
            found = self._tokenizer.id_to_token(turns[0])
            raise InputError(f"the response holds {found!r}, which begins or ends a turn")
        return [*ids, self.end_of_turn], written

    def _ids(self, text: str, as_text: bool = False, add_special_tokens: bool = False) -> list[int]:
        """Return the ids of a text, special tokens in it parsed unless `as_text`."""
        self._tokenizer.encode_special_tokens = as_text
        with _panics(self._path):
            return self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def _as_text(self, text: str) -> list[int]:
        """Return the ids of a text without any control token, those cut in two that are no special tokens."""
        if self._plain_turns:
            text = re.sub(self._plain_turns, lambda found: f"{found[0][0]}{MARK}{found[0][1:]}", text)
        return [i for piece in text.split(MARK) for i in self.encode(piece)]

    def _json(self, name: str) -> dict[str, Any]:
        data = self.files.get(name, b"{}").removeprefix(codecs.BOM_UTF8)
        return parse_object(data, str(self._folder / name))

    def _id(self, token: str, user: str) -> int:
        """Return a token's id. Raises InputError where the vocabulary lacks what `user` needs."""
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise InputError(f"{self._path}: no token {token!r}, which {user} needs")
        return found

    def _find_stop_ids(self, eos: int | None) -> frozenset[int]:
        stop_ids = {self.end_of_turn, eos} - {None}
        for name in ("generation_config.json", "config.json"):
            named = self._json(name).get("eos_token_id")
            for token in named if isinstance(named, list) else [named] if named is not None else []:
                if type(token) is not int or not 0 <= token < self.size:
                    where = self._folder / name
                    raise InputError(f"{where}: eos_token_id {token!r} is none of the {self.size} ids")
                stop_ids.add(token)
        return frozenset(stop_ids)

    def _choose_format(self, asked: str | None, variables: dict[str, Any]) -> ChatFormat:
        """Return the format asked for by name, or else the folder's; `files` get the template that this is."""
        if asked is not None and asked not in FORMATS:
            raise InputError(f"chat_format {asked!r} is unknown; expected one of {', '.join(FORMATS)}")
        try:
            where, template = self._template()
        except InputError:
            if asked is None:
                raise
            where, template = self._folder, None  # it is replaced by what is asked for
        known = known_format(template) if template is not None else FORMATS["chatml"]
        chosen = FORMATS[asked] if asked else known
        own = template is None or (asked is not None and chosen is not known)
        source = own_template(chosen.name) if own else template
        if (export := _with_defaults(source, variables)) != template:
            config = {name: value for name, value in self._config.items() if name != "chat_template"}
            self.files = {name: data for name, data in self.files.items() if name != "chat_template.json"}
            self.files |= {"chat_template.jinja": export.encode()}
            if "tokenizer_config.json" in self.files:
                self.files["tokenizer_config.json"] = json.dumps(config, indent=2).encode()
        for token in chosen.tokens if chosen else ():
            self._id(token, f"chat format {chosen.name}")
        return chosen or ChatFormat("template", Template(template, where).write)

    def _template(self) -> tuple[Path, str | None]:
        """Return the chat template and the file it stands in, looked for in the order of transformers."""
        name, found = "chat_template.jinja", self.files.get("chat_template.jinja")
        for other in ("tokenizer_config.json", "chat_template.json"):
            if found is None:
                name, found = other, self._json(other).get("chat_template")
        if isinstance(found, list):  # several templates: [{"name": ..., "template": ...}]
            entries = (e for e in found if isinstance(e, dict) and e.get("name") == "default")
            found = next(entries, {}).get("template", found)
        with contextlib.suppress(UnicodeDecodeError):
            found = found.decode() if isinstance(found, bytes) else found
        if not isinstance(found, str | None):
            wanted = "UTF-8 text, or a list with a text named default"
            raise InputError(f"{self._folder / name}: chat_template is {str(found)[:80]}; expected {wanted}")
        return self._folder / name, found

    def _find_turns(self, special: Mapping[str, str], eos: int | None) -> None:
        """See what this format writes around an answer. Raises InputError where that cannot be told."""
        opening = self.render(ASKED)
        answered = self.render(ANSWERED, add_generation_prompt=False)
        before, found, after = answered.rpartition(ANSWER)
        if not found:
            raise InputError(f"{self._template()[0]}: its chat template alters what the assistant says")
        thinks = re.search(r"<think>\s*\Z", opening)
        self.opened = thinks[0] if thinks else ""

        added = self._tokenizer.get_added_tokens_decoder()
        tags = {self._tokenizer.token_to_id(tag) for tag in THINK}
        written = [i for piece in (opening, before, after) for i in self._ids(piece.replace(QUESTION, " "))]
        self._turns = {i for i in written if i in added} - tags
        self._control = self._turns | {i for i, token in added.items() if token.special}
        plain = [re.escape(added[i].content) for i in self._turns if not added[i].special]
        self._plain_turns = "|".join(sorted(plain, key=len, reverse=True))
        # What the folder's other files declare a token, transformers takes for one.
        declared = {*special.values(), *self._json("added_tokens.json")}
        declared |= {*_texts(self._config.get("added_tokens_decoder")).values()}
        for token in sorted(declared - {"", *(token.content for token in added.values())}):
            if token in opening + before + after:
                raise InputError(
                    f"{self._path}: lacks the added token {token!r}, which the folder's other files declare and its "
                    "chat format writes; have transformers load and save the tokenizer"
                )

        ends = [i for i in self._ids(after) if i in self._turns]
        if not ends and eos is None:
            raise InputError(f"{self._path}: no token ends a turn; tokenizer_config.json names no eos_token")
        self.end_of_turn = ends[0] if ends else eos


def _texts(found: object) -> dict[str, str]:
    """Return the texts of the tokens in an object, each of which stands there as a string or an object."""
    items = found.items() if isinstance(found, dict) else ()
    texts = {name: v.get("content") if isinstance(v, dict) else v for name, v in items}
    return {name: v for name, v in texts.items() if isinstance(v, str)}


def _with_defaults(template: str, variables: Mapping[str, Any]) -> str:
    """Return the template with these variables' values where none are given. Raises InputError for odd ones."""
    lines = []
    for name, value in variables.items():
        reserved = {name, name.capitalize()} & {*keyword.kwlist, *GIVEN}
        if reserved or not name.isidentifier():
            raise InputError(f"chat_template_kwargs: {name!r} is no name that a template may ask for")
        plain = isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
        if not plain:
            raise InputError(f"chat_template_kwargs: {name}={value!r}: expected a text, number or flag")
        literal = json.dumps(value, ensure_ascii=False)
        lines.append(f"{{%- if {name} is not defined %}}{{%- set {name} = {literal} %}}{{%- endif %}}\n")
    defaults = "".join(lines)
    return template if template.startswith(defaults) else defaults + template


@contextlib.contextmanager
def _panics(path: Path) -> Iterator[None]:
    """Turn a panic of the tokenizers library, which is no Exception, into an InputError."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != "PanicException":
            raise
        detail = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: the tokenizers library breaks on it ({detail})") from None


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Keep what the library itself writes when it panics, a stack trace, from the terminal."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _parse(path: Path, data: bytes | None) -> tokenizers.Tokenizer:
    if data is None:
        raise InputError(f"{path} is missing; transformers makes one of another tokenizer (save_pretrained)")
    with _panics(path), _no_stderr():
        try:
            tokenizer = tokenizers.Tokenizer.from_buffer(data)
            tokenizer.encode("A b\n<think>1 é漢")  # with what it puts around a text
        except Exception as error:  # the library raises nothing narrower
            detail = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: not a tokenizer.json ({detail})") from None
    if getattr(tokenizer.model, "dropout", None):
        raise InputError(f"{path}: has dropout {tokenizer.model.dropout}, so that a text has no one encoding")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
