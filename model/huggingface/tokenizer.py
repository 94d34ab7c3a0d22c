"""Tokenizer: text to ids and back by a tokenizer.json, and conversations to ids by the folder's chat format.

- only the tokens written here between turns are control tokens; the same characters inside a message are
  plain text
- the folder's files are kept byte for byte, so that an exported model has the tokenizer it was trained with
- left out: BOS in conversations, padding, truncation, tools, tokenizers that are not a tokenizer.json
"""

import codecs
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tokenizers

from model.errors import InputError
from model.files import parse_object, read_bytes, read_object
from model.huggingface.chat_format import END, FORMATS, START, ChatFormat, Messages, recognise

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
]


class Tokenizer:
    """A tokenizer.json and the chat format that goes with it.

    size: one more than the largest id. end_of_turn: the id that ends an assistant's turn. stop_ids: the ids
    that end a response, which are end_of_turn and every eos of generation_config, config and tokenizer.
    chat_format: see ChatFormat. files: name -> content of the folder's tokenizer files.
    """

    def __init__(self, folder: Path, files: dict[str, bytes], chat_format: str | None = None):
        self.files = files
        self._folder = folder
        self._tokenizer = _parse(folder / "tokenizer.json", files.get("tokenizer.json"))
        self._config = self._json("tokenizer_config.json")
        ids = self._tokenizer.get_vocab(with_added_tokens=True).values()
        self.size = max(ids, default=-1) + 1
        self._start = self._id(START, "every chat format")
        self.end_of_turn = self._id(END, "every chat format")
        self.chat_format = self._choose_format(chat_format)
        self.stop_ids = self._find_stop_ids()
        self._check_control_tokens()

    @classmethod
    def from_folder(cls, folder: str | Path, chat_format: str | None = None) -> "Tokenizer":
        """Return the tokenizer of a model folder.

        `chat_format` (qwen2.5, qwen3 or chatml) overrides what the folder's template says. Raises InputError
        naming the file that is missing or broken, or whose chat template is not surely one of the three.
        """
        folder = Path(folder)
        files = {name: read_bytes(folder / name) for name in FILES if (folder / name).exists()}
        return cls(folder, files, chat_format)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Return the ids of a plain text, in which a written special token is ordinary characters.

        add_special_tokens: with those that the tokenizer puts around every text, which is a BOS or nothing.
        """
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids, special tokens included."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def render(self, messages: Messages, add_generation_prompt: bool = True, thinking: bool = True) -> str:
        """Return the conversation as text. See `ChatFormat.render`."""
        return self.chat_format.render(messages, add_generation_prompt, thinking)

    def encode_chat(
        self, messages: Messages, add_generation_prompt: bool = True, thinking: bool = True
    ) -> list[int]:
        """Return the ids of `render`'s text, in which no message can write a control token."""
        turns, opening = self.chat_format.turns(messages, add_generation_prompt, thinking)
        newline = self.encode("\n")
        ids = []
        for turn in turns:
            ids += [self._start, *self.encode(turn), self.end_of_turn, *newline]
        if opening:
            ids += [self._start, *self.encode(opening)]
        return ids

    def _json(self, name: str) -> dict[str, Any]:
        data = self.files.get(name, b"{}").removeprefix(codecs.BOM_UTF8)
        return parse_object(data, str(self._folder / name))

    def _id(self, token: str, user: str) -> int:
        """Return a token's id. Raises InputError where the vocabulary lacks what `user` needs."""
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise InputError(f"{self._folder / 'tokenizer.json'}: no token {token!r}, which {user} needs")
        return found

    def _special_tokens(self) -> dict[str, str]:
        """Return tokenizer_config.json's special tokens, name -> text; each stands there as a string or an object."""
        found = {}
        for name, value in self._config.items():
            text = value.get("content") if isinstance(value, dict) else value
            if name.endswith("_token") and isinstance(text, str):
                found[name] = text
        return found

    def _find_stop_ids(self) -> frozenset[int]:
        stop_ids = {self.end_of_turn}
        config = self._folder / "config.json"
        settings = {
            self._folder / "generation_config.json": self._json("generation_config.json"),
            config: read_object(config) if config.exists() else {},
        }
        for path, found in settings.items():
            eos = found.get("eos_token_id")
            if eos is None:
                continue
            for token in eos if isinstance(eos, list) else [eos]:
                if type(token) is not int or not 0 <= token < self.size:
                    raise InputError(
                        f"{path}: eos_token_id {token!r} is none of the tokenizer's {self.size} ids"
                    )
                stop_ids.add(token)
        eos_token = self._special_tokens().get("eos_token")
        if eos_token is not None:
            stop_ids.add(self._id(eos_token, "eos_token in tokenizer_config.json"))
        return frozenset(stop_ids)

    def _choose_format(self, asked: str | None) -> ChatFormat:
        """Return the format asked for by name, or else the one that the folder's template renders."""
        if asked is not None and asked not in FORMATS:
            raise InputError(f"chat_format {asked!r} is unknown; expected one of {', '.join(FORMATS)}")
        where, template = self._template()
        known = None if template is None else recognise(template, self._special_tokens())
        if asked is not None:
            own = known is not None and known.name == asked
            return known if own else FORMATS[asked]  # its own: with the default system prompt of the template
        if known is None:
            problem = "has no chat template" if template is None else "its chat template is not a known one"
            names = ", ".join(FORMATS)
            raise InputError(f"{where}: {problem}; if one of {names} is right, give it as chat_format")
        return known

    def _template(self) -> tuple[Path, str | None]:
        """Return the chat template and the file it stands in, looked for in the order of transformers."""
        name = "chat_template.jinja"
        if name in self.files:
            return self._folder / name, self.files[name].decode(errors="replace")
        for name in ("tokenizer_config.json", "chat_template.json"):
            found = self._json(name).get("chat_template")
            if isinstance(found, list):  # several templates: [{"name": ..., "template": ...}]
                named = {
                    entry.get("name"): entry.get("template") for entry in found if isinstance(entry, dict)
                }
                found = named.get("default")
            if isinstance(found, str):
                return self._folder / name, found
        return self._folder / "tokenizer_config.json", None

    def _check_control_tokens(self) -> None:
        """Refuse a tokenizer in which a text can write control tokens, or its ids depend on what stands before it."""
        probe = [{"role": "user", "content": "a b"}, {"role": "assistant", "content": "c"}]
        self._tokenizer.encode_special_tokens = False
        whole = self._tokenizer.encode(self.render(probe), add_special_tokens=False).ids
        self._tokenizer.encode_special_tokens = True
        written = {self._start, self.end_of_turn}.intersection(self.encode(START + END))
        if written or whole != self.encode_chat(probe):
            path = self._folder / "tokenizer.json"
            raise InputError(
                f"{path}: {START} and {END} must be added tokens, special, that change no text beside them"
            )


def _parse(path: Path, data: bytes | None) -> tokenizers.Tokenizer:
    if data is None:
        raise InputError(f"{path} is missing")
    try:
        tokenizer = tokenizers.Tokenizer.from_buffer(data)
    except Exception as error:  # the library raises nothing narrower
        detail = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: not a tokenizer.json ({detail})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # a special token written in a text is text
    return tokenizer
