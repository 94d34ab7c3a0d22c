"""The settings of the teacher: who is asked, how, and what it may cost. Left out: who asks it (settings/synth.py)."""

import json
import re
import urllib.parse
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fleming.typed import NonNegative, Positive, Range
from model.errors import InputError

OURS = ("model", "messages", "n", "stream")  # of a request: what the answer's form depends on
BOUNDS = ("max_tokens", "max_completion_tokens")  # of a request: its longest answer
UNBOUND = (  # more answers than one is billed for, and what servers heed in place of a bound
    "best_of", "use_beam_search", "num_beams", "beam_width", "num_return_sequences", "n_predict", "num_predict",
    "max_new_tokens", "max_output_tokens", "options",
)  # fmt: skip


@dataclass(frozen=True)
class TeacherConfig:
    kind: Literal["template", "local", "openai"] = "template"
    """template: no model, sentences of the graph. local: a model folder. openai: a server of OpenAI's chat protocol
    (vLLM, SGLang, llama.cpp, Ollama, or hosted)."""
    model: str = ""
    """A folder for local, the server's name of the model for openai."""
    address: str = ""
    """Of the server, as http://localhost:8000/v1; /chat/completions is added."""
    key_env: str = ""
    """Name of the environment variable that holds the server's key. Empty: none is sent."""
    temperature: Annotated[float, Range("0, or from 0.01 to 100", lambda x: x == 0 or 0.01 <= x <= 100)] = 0.8
    """0 is greedy."""
    max_new_tokens: Positive[int] = 4096
    """Longest answer, its reasoning included; what is longer is cut, and no answer."""
    chat_template_kwargs: dict[str, Any] = field(default_factory=dict)
    """What the model's chat template may ask for by name: {enable_thinking: false}."""
    body: dict[str, Any] = field(default_factory=dict)
    """openai: further fields of each request, laid over ours; null leaves one of ours out, as {seed: null}."""
    asks: Annotated[int, Range("from 1 to 20", lambda x: 1 <= x <= 20)] = 3
    """openai: a reply without content (empty, cut, malformed, refused) is asked for so many times in all."""
    retries: Annotated[int, Range("from 0 to 20", lambda x: 0 <= x <= 20)] = 7
    """openai: further tries after a lost connection, HTTP 429 or 5xx, each after a longer wait."""
    deadline: Annotated[float, Range("from 1 to 86400", lambda x: 1 <= x <= 86400)] = 600.0
    """openai: seconds for a whole reply, its last byte included."""
    concurrency: Annotated[int, Range("from 1 to 512", lambda x: 1 <= x <= 512)] = 8
    """openai: requests under way at once."""
    max_requests: Positive[int] | None = None
    """openai: the run ends before it makes more, those of earlier runs in this folder included; null: no bound."""
    max_tokens: Positive[int] | None = None
    """openai: the same of tokens, of prompts and answers together."""
    max_cost: Positive[float] | None = None
    """openai: the same of what they cost by the prices below, in their currency."""
    prompt_price: NonNegative[float] = 0.0
    """Of a million tokens of prompts."""
    answer_price: NonNegative[float] = 0.0
    """Of a million tokens of answers."""

    def check(self, where: str) -> None:
        """Raise InputError for settings that need or exclude one another. No message shows what may be a key."""
        needed = {"template": (), "local": ("model",), "openai": ("model", "address")}[self.kind]
        allowed = {"local": ("model", "chat_template_kwargs"), "openai": tuple(vars(self))}.get(self.kind, ())
        for name in needed:
            if not getattr(self, name):
                raise InputError(f"{where}{name} is empty, but kind is {self.kind}: set it")
        for name in ("model", "address", "key_env", "chat_template_kwargs", "body", *CAPS):
            if getattr(self, name) and name not in allowed:
                raise InputError(f"{where}{name} is set, but kind is {self.kind}: leave it out, or set kind")
        if self.key_env and not re.fullmatch("[A-Z_][A-Z0-9_]*", self.key_env):
            raise InputError(
                f"{where}key_env is no name of an environment variable (capitals, digits, _): export the key under "
                "one, as TEACHER_KEY, and give that name"
            )
        if self.address:
            _check_address(self.address, where)
        if ours := sorted(set(OURS) & set(self.body)):
            raise InputError(f"{where}body.{ours[0]} is set by us: leave it out")
        for name in ("chat_template_kwargs", "body"):
            try:
                json.dumps(getattr(self, name), sort_keys=True, allow_nan=False)
            except (TypeError, ValueError, RecursionError):
                raise InputError(
                    f"{where}{name} is no JSON (a date, a set, .nan?): put such texts in quotes"
                ) from None
        if self.max_tokens is not None or self.max_cost is not None:
            self._check_bound(where)
        if self.max_cost is not None and not (self.prompt_price or self.answer_price):
            raise InputError(f"{where}max_cost needs prices: set prompt_price and answer_price")

    def _check_bound(self, where: str) -> None:
        sent = {"max_tokens": self.max_new_tokens, **self.body}
        bounds = {name: sent[name] for name in BOUNDS if sent.get(name) is not None}
        wrong = [name for name in UNBOUND if self.body.get(name) is not None]
        wrong += [name for name, most in bounds.items() if type(most) is not int or most < 1]
        if wrong or not bounds:
            raise InputError(
                f"{where}body.{[*wrong, 'max_tokens'][0]} lets an answer grow past what max_tokens and max_cost count: "
                "leave it out, or give a whole number in max_tokens or max_completion_tokens"
            )


CAPS = ("max_requests", "max_tokens", "max_cost")


def caps(cfg: TeacherConfig) -> dict[str, float]:
    """Return the caps that are set."""
    return {name: getattr(cfg, name) for name in CAPS if getattr(cfg, name) is not None}


def _check_address(address: str, where: str) -> None:
    try:
        parts = urllib.parse.urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none, half an IPv6 address
        usable = False
    if not usable or any(ord(char) < 33 for char in address):
        raise InputError(f"{where}address is no http(s) address of a server, as http://localhost:8000/v1")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise InputError(f"{where}address may hold no user, key or query: name a variable in key_env instead")
