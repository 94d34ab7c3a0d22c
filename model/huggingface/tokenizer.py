"""Tokenizer: text to ids and back by a tokenizer.json, and conversations to ids by the folder's chat format.

- only the tokens written here between turns are control tokens; the same characters inside a message are plain text
- the folder's files are kept byte for byte, so that an exported model has the tokenizer it was trained with
- left out: BOS in conversations, padding, truncation, tools, tokenizers that are not a tokenizer.json
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tokenizers

from model.errors import InputError
from model.huggingface.chat_format import END, FORMATS, START, ChatFormat, Messages, recognise
from model.huggingface.config import read_bytes, read_json

FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("merges.txt", "chat_template.jinja", "chat_template.json", "generation_config.json"),
)


class Tokenizer:
    """A tokenizer.json and the chat format that goes with it.

    size: one more than the largest id. end_of_turn: the id that ends an assistant's turn. stop_ids: the ids that end
    a response, which are end_of_turn and every eos of generation_config, config and tokenizer. chat_format: see
    ChatFormat. files: name -> content of the folder's tokenizer files.
    """

    def __init__(self, folder: Path, files: dict[str, bytes], chat_format: str | None = None):
        self.files = files
        self._folder = folder
        self._tokenizer = _parse(folder / "tokenizer.json", files.get("tokenizer.json"))
        self._config = self._json("tokenizer_config.json")
        self.size = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
        self._start, self.end_of_turn = self._id(START, "every chat format"), self._id(END, "every chat format")
        self.chat_format = self._choose_format(chat_format)
        self.stop_ids = self._find_stop_ids()
        self._check_control_tokens()

    @classmethod
    def from_folder(cls, folder: str | Path, chat_format: str | None = None) -> "Tokenizer":
        """Return the tokenizer of a model folder.

        `chat_format` (qwen2.5, qwen3 or chatml) overrides what the folder's template says. Raises InputError naming
        the file that is missing or broken, or whose chat template is not surely one of the three.
        """
        folder = Path(folder)
        return cls(folder, {n: read_bytes(folder / n) for n in FILES if (folder / n).exists()}, chat_format)

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

    def encode_chat(self, messages: Messages, add_generation_prompt: bool = True, thinking: bool = True) -> list[int]:
        """Return the ids of `render`'s text, in which no message can write a control token."""
        turns, opening = self.chat_format.turns(messages, add_generation_prompt, thinking)
        newline, ids = self.encode("\n"), []
        for turn in turns:
            ids += [self._start, *self.encode(turn), self.end_of_turn, *newline]
        return ids + ([self._start, *self.encode(opening)] if opening else [])

    def _json(self, name: str) -> dict[str, Any]:
        return read_json(self._folder / name, self.files[name]) if name in self.files else {}

    def _id(self, token: str, user: str) -> int:
        """Return a token's id. Raises InputError where the vocabulary lacks what `user` needs."""
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise InputError(f"{self._folder / 'tokenizer.json'}: no token {token!r}, which {user} needs")
        return found

    def _special_tokens(self) -> dict[str, str]:
        """Return tokenizer_config.json's special tokens, name -> text; each stands there as a string or an object."""
        named = {k: v.get("content") if isinstance(v, dict) else v for k, v in self._config.items()}
        return {k: v for k, v in named.items() if k.endswith("_token") and isinstance(v, str)}

    def _find_stop_ids(self) -> frozenset[int]:
        ids = {self.end_of_turn}
        config = self._folder / "config.json"
        for path, settings in {
            self._folder / "generation_config.json": self._json("generation_config.json"),
            config: read_json(config) if config.exists() else {},
        }.items():
            eos = settings.get("eos_token_id")
            for found in eos if isinstance(eos, list) else [] if eos is None else [eos]:
                if type(found) is not int or not 0 <= found < self.size:
                    raise InputError(f"{path}: eos_token_id {found!r} is none of the tokenizer's {self.size} ids")
                ids.add(found)
        if "eos_token" in (special := self._special_tokens()):
            ids.add(self._id(special["eos_token"], "eos_token in tokenizer_config.json"))
        return frozenset(ids)

    def _choose_format(self, asked: str | None) -> ChatFormat:
        """Return the format asked for by name, or else the one that the folder's template renders."""
        if asked is not None and asked not in FORMATS:
            raise InputError(f"chat_format {asked!r} is unknown; expected one of {', '.join(FORMATS)}")
        where, template = self._template()
        known = recognise(template, self._special_tokens()) if template is not None else None
        if asked is not None:  # the template's own default system prompt, where it is that format's
            return known if known is not None and known.name == asked else FORMATS[asked]
        if known is None:
            problem = "has no chat template" if template is None else "its chat template is not a known one"
            raise InputError(f"{where}: {problem}; if one of {', '.join(FORMATS)} is right, give it as chat_format")
        return known

    def _template(self) -> tuple[Path, str | None]:
        """Return the chat template and the file it stands in, looked for in the order of transformers."""
        if "chat_template.jinja" in self.files:
            return self._folder / "chat_template.jinja", self.files["chat_template.jinja"].decode(errors="replace")
        for name in ("tokenizer_config.json", "chat_template.json"):
            found = self._json(name).get("chat_template")
            if isinstance(found, list):  # several templates: [{"name": ..., "template": ...}]
                named = {t.get("name"): t.get("template") for t in found if isinstance(t, dict)}
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
        raise InputError(f"{path}: not a tokenizer.json ({' '.join(str(error).split())[:200]})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True  # a special token written in a text is text
    return tokenizer
