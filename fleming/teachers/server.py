"""A teacher behind OpenAI's chat protocol: one request, and what its reply is worth.

- one answer a request: several servers heed no `n`, and an answer that is bad is asked for again alone
- the reasoning of a reply stands in <think> ... </think> in front of its text, wherever the server has put it
- what is empty, cut, malformed, refused or no JSON has a code and is never content (assets/refusals.yaml)

Left out: when to ask and how often (asking.py), streaming, tools, texts in parts.
"""

import hashlib
import json
import os
import re
from typing import Any

from fleming.assets import expressions
from fleming.http import Busy, Post, Refusal, Reply, TooLarge, is_busy, redacted
from fleming.settings.teacher import BOUNDS, TeacherConfig
from fleming.teachers.remembered import REFUSED, Answer, Messages, writable
from model.errors import InputError
from model.files import parse_object

MAX_REPLY = 8 * 2**20  # bytes
OF_THE_REQUEST = (400, 413, 422)  # the server's word that this conversation is not for it, others may be
PAGE = ("<!doctype html", "<html")
FINISHED = ("stop", "eos_token", "end_turn", "stop_sequence")
SHORT_KEY = 8  # a shorter one is none (EMPTY, none, x): its letters may well be in an answer
A_MESSAGE = 16  # tokens at most that a chat template lays round a message
REFUSAL = expressions("refusals.yaml", re.IGNORECASE | re.DOTALL)["refusal"]
LONGEST_REFUSAL = 400  # characters


class ChatServer:
    """name: the model and what else its answers depend on. Where it runs is not in it: nobody pays twice for a move."""

    def __init__(self, cfg: TeacherConfig, seed: int, offline: bool = False):
        """Ask nothing yet. Raises InputError where the environment has no key, or one that no header can hold."""
        key = os.environ.get(cfg.key_env, "").strip() if cfg.key_env else ""
        if cfg.key_env and not key and not offline:
            raise InputError(f"teacher.key_env: {cfg.key_env} is not set in the environment; export it")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise InputError(f"teacher.key_env: {cfg.key_env} holds what is no key, as blanks")
        self.cfg, self.seed = cfg, seed
        self.secret = key if len(key) >= SHORT_KEY else ""
        self.url = cfg.address.rstrip("/").removesuffix("/chat/completions") + "/chat/completions"
        headers = {"Content-Type": "application/json", "User-Agent": "FlemingR1FromScratch/1.0"}
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        self.post = Post(self.url, headers, MAX_REPLY, cfg.deadline, cfg.deadline, self.secret)
        more = {**cfg.chat_template_kwargs, **cfg.body}
        self.name = f"{cfg.model} T={cfg.temperature:g} tokens={cfg.max_new_tokens} seed={seed}"
        self.name += f" {json.dumps([cfg.chat_template_kwargs, cfg.body], sort_keys=True)}" if more else ""

    def ask(self, key: str, messages: Messages, attempt: int) -> Answer:
        """Return what one request brings, content or not. Raises Busy, and InputError where no request will do.

        key, attempt: of the call; they seed the server's noise, where it heeds a seed.
        """
        noise = hashlib.blake2b(f"{self.seed} {key} {attempt}".encode(), digest_size=4).digest()
        body = {
            "model": self.cfg.model,
            "messages": messages,
            "temperature": self.cfg.temperature,
            "max_tokens": self.cfg.max_new_tokens,
            "seed": int.from_bytes(noise) >> 1,  # 31 bits, as all servers can hold
        }
        if self.cfg.chat_template_kwargs:
            body["chat_template_kwargs"] = self.cfg.chat_template_kwargs
        body = {name: value for name, value in (body | self.cfg.body).items() if value is not None}
        try:
            reply = self.post.send(json.dumps(body).encode())
        except TooLarge as error:
            return Answer(key, code="too_large", detail=str(error), tokens=self.most_tokens(messages))
        except Refusal as error:
            if error.status not in OF_THE_REQUEST:
                raise
            return Answer(key, code=REFUSED, detail=str(error).removeprefix(f"{self.url}: "))
        return self._read(key, messages, reply)

    def most_tokens(self, messages: Messages) -> tuple[int, int]:
        """Return tokens of prompt and answer that a request takes at most: none is shorter than a byte."""
        size = sum(len(message["content"].encode("utf-8", "replace")) for message in messages)
        sent = {"max_tokens": self.cfg.max_new_tokens, **self.cfg.body}
        longest = [sent.get(name) for name in BOUNDS]
        answer = max((most for most in longest if type(most) is int), default=self.cfg.max_new_tokens)
        return size + A_MESSAGE * (1 + len(messages)), answer

    def _read(self, key: str, messages: Messages, reply: Reply) -> Answer:
        record: dict[str, Any] = {}
        begin = self._clean(reply.body.decode("utf-8", "replace"))[:200]
        try:
            record = parse_object(reply.body, "reply")
            failed = record if record.get("object") == "error" else record.get("error")
            code = failed.get("code") if isinstance(failed, dict) else None
            said = "500" if code in (None, "") else str(code).strip()
            # One in words says what does not pass by waiting (content_filter).
            status = int(said) if re.fullmatch("[1-9][0-9]{2}", said) else 0
            if failed and not record.get("choices") and is_busy(status):  # as gateways say it, under HTTP 200
                raise Busy(f"HTTP 200 with {begin}", reply.wait, status)
            text, code, detail = read_reply(record)
        except InputError as error:
            text, detail = "", f"{error}; it begins {begin!r}"
            code = "html" if reply.body.lstrip()[:1] == b"<" else "malformed"
        prompt, answer = self.most_tokens(messages)
        said = len(text.encode("utf-8", "replace"))
        tokens = _usage(record, (prompt, min(answer, A_MESSAGE + said) if said else answer))
        return Answer(key, self._clean(text), code, self._clean(detail)[:300], tokens)

    def _clean(self, text: str) -> str:
        return writable(redacted(text, self.secret))


def read_reply(record: dict[str, Any]) -> tuple[str, str, str]:
    """Return (text, code, detail) of a decoded reply; code "" is content. Raises InputError for another form."""
    choices = record.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise InputError("reply: expected one choice")
    message, finish = choices[0].get("message"), choices[0].get("finish_reason")
    if not isinstance(message, dict):
        raise InputError("reply: expected a message")
    text, refusal = with_reasoning(message), message.get("refusal")
    said = text.rpartition("</think>")[2].strip()
    if finish == "content_filter" or (refusal and isinstance(refusal, str)):
        return text, "refused", str(refusal or finish)
    if finish == "length":
        return text, "cut", "the answer is longer than max_new_tokens"
    if finish not in FINISHED:
        raise InputError(f"reply: finish_reason is {str(finish)[:40]!r}; expected stop")
    if not any(map(str.isalnum, said)) or ("<think>" in text and "</think>" not in text):
        return text, "empty", "nothing stands after the reasoning" if text else "nothing was said"
    if said.casefold().startswith(PAGE):
        return text, "html", "what a gateway shows its visitors"
    return (text, "refused", said) if refuses(said) else (text, "", "")


def with_reasoning(message: dict[str, Any]) -> str:
    """Return the message's text, its reasoning in <think> ... </think> in front. Raises InputError for no text."""
    content = message.get("content")
    if not isinstance(content, str | None):
        raise InputError("reply: content is no text")
    content = (content or "").strip()
    apart = [message.get(name) for name in ("reasoning_content", "reasoning")]
    reasoning = next((text for text in apart if isinstance(text, str) and text.strip()), "")
    reasoning = re.sub("</?think>", "", reasoning).strip()
    if "</think>" in content and "<think>" not in content:  # the prompt has opened it
        content = f"<think>\n{content}"
    inside = content.startswith("<think>")
    if not reasoning or (inside and reasoning in content.partition("</think>")[0]):  # said twice
        return content
    if inside:
        return f"<think>\n{reasoning}\n{content.removeprefix('<think>').lstrip()}"
    return f"<think>\n{reasoning}\n</think>\n{content}"


def refuses(said: str) -> bool:
    """Whether a text is nothing but a refusal: short, without an answer, and begun as one begins."""
    if len(said) > LONGEST_REFUSAL or "<answer>" in said:
        return False
    return REFUSAL.match(said.replace("’", "'").lstrip("#*> \n\"'")) is not None


def _usage(record: dict[str, Any], bound: tuple[int, int]) -> tuple[int, int]:
    """Return the tokens that the server counts, of what it does not say the bound."""
    usage = record.get("usage") if isinstance(record.get("usage"), dict) else {}
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    valid = [type(count) is int and 0 <= count < 10**9 for count in counts]
    return tuple(count if ok else most for count, ok, most in zip(counts, valid, bound, strict=True))
