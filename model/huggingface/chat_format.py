"""ChatFormat: how a conversation becomes text.

- four formats, written by hand: chatml, qwen2.5 (which has a default system prompt), qwen3 and llama3
- a folder's template is one of ours where it is known by its hash, letter for letter; any other is rendered by
  jinja2 (template.py)
- left out: tools
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import InputError

START, END = "<|im_start|>", "<|im_end|>"
HEADER, HEADER_END, EOT = "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"
QWEN = {"role": "system", "content": "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."}
ROLES = ("system", "user", "assistant")
Messages = Sequence[Mapping[str, str]]
Variables = Mapping[str, Any]
"""What a template knows by name besides the messages: special tokens, and settings such as enable_thinking."""


@dataclass(frozen=True)
class ChatFormat:
    """A way to write conversations.

    name: a key of FORMATS, or "template". tokens: what the tokenizer must have as one token each, of which the
    last ends an assistant's turn; none where that is to be seen from what is written.
    """

    name: str
    write: Callable[[Messages, bool, Variables], str]
    tokens: tuple[str, ...] = ()

    def render(
        self,
        messages: Messages,
        add_generation_prompt: bool = True,
        thinking: bool = True,
        variables: Variables | None = None,
    ) -> str:
        """Return the conversation as text; with a generation prompt it ends where the assistant is to begin.

        thinking: false is short for the variable enable_thinking=False. Raises InputError where there is no
        message, or one that is no {"role", "content"} of a known role, or that a template refuses or alters.
        """
        if not messages:
            raise InputError("a conversation has no messages")
        for message in messages:
            if message.get("role") not in ROLES or not isinstance(message.get("content"), str):
                found, roles = str(message)[:80], ", ".join(ROLES)
                raise InputError(f"chat message {found}: expected a role of {roles} and a text")
        known = dict(variables or {}) | ({} if thinking else {"enable_thinking": False})
        return self.write(messages, add_generation_prompt, known)


def _chatml(messages: Messages, add_generation_prompt: bool, variables: Variables) -> str:
    turns = [f"{START}{message['role']}\n{message['content']}{END}\n" for message in messages]
    return "".join(turns) + f"{START}assistant\n" * add_generation_prompt


def _qwen25(messages: Messages, add_generation_prompt: bool, variables: Variables) -> str:
    if messages[0]["role"] != "system":
        messages = [QWEN, *messages]
    return _chatml(messages, add_generation_prompt, variables)


def _qwen3(messages: Messages, add_generation_prompt: bool, variables: Variables) -> str:
    last_question = _last_question(messages)
    shown = []
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            answer = _qwen3_answer(message["content"], current=i > last_question, last=i == len(messages) - 1)
            message = {"role": "assistant", "content": answer}
        shown.append(message)
    silent = add_generation_prompt and variables.get("enable_thinking") is False
    return _chatml(shown, add_generation_prompt, variables) + "<think>\n\n</think>\n\n" * silent


def _last_question(messages: Messages) -> int:
    """Return the place of the last question of a user's, as which a tool's response does not count."""
    for i, message in reversed(list(enumerate(messages))):
        content = message["content"]
        is_response = content.startswith("<tool_response>") and content.endswith("</tool_response>")
        if message["role"] == "user" and not is_response:
            return i
    return len(messages)  # none was asked: no answer is the current one's


def _qwen3_answer(content: str, current: bool, last: bool) -> str:
    """Return an assistant turn: thinking is dropped from answers to earlier questions."""
    thoughts = ""
    if "</think>" in content:
        before, *_, content = content.split("</think>")
        thoughts = before.rstrip("\n").split("<think>")[-1].strip("\n")
        content = content.lstrip("\n")
    if current and (last or thoughts):
        content = f"<think>\n{thoughts}\n</think>\n\n" + content.lstrip("\n")
    return content


def _llama3(messages: Messages, add_generation_prompt: bool, variables: Variables) -> str:
    turns = [f"{HEADER}{m['role']}{HEADER_END}\n\n{m['content'].strip()}{EOT}" for m in messages]
    opening = f"{HEADER}assistant{HEADER_END}\n\n" * add_generation_prompt
    return variables.get("bos_token", "") + "".join(turns) + opening


FORMATS = {
    "chatml": ChatFormat("chatml", _chatml),
    "qwen2.5": ChatFormat("qwen2.5", _qwen25, (START, END)),
    "qwen3": ChatFormat("qwen3", _qwen3, (START, END)),
    "llama3": ChatFormat("llama3", _llama3, (HEADER, HEADER_END, EOT)),
}
OWN = Path(__file__).parents[2] / "assets/chat_templates"  # FORMAT.jinja: ours as a template, for exports
RELEASED = {  # the first half of a template's sha256 -> the format that it renders
    "cd8e9439f0570856fd70470bf8889ebd": "qwen2.5",  # Qwen2.5-Instruct
    "87a2728cb8dc9fe424d624542f6060ec": "qwen3",  # Qwen3, as released
    "a55ee1b1660128b7098723e0abcd92ca": "qwen3",  # and as it stands today
    "ba03a121d097859c7b5b9cd03af99aaf": "llama3",  # Llama-3-Instruct
}


def own_template(name: str) -> str:
    """Return the jinja template that renders as our format of this name does."""
    return (OWN / f"{name}.jinja").read_text()


def known_format(template: str) -> ChatFormat | None:
    """Return the format of ours that this very template is, None for any other."""
    digest = hashlib.sha256(template.encode()).hexdigest()[:32]
    own = (name for name in FORMATS if own_template(name) == template)
    name = RELEASED.get(digest) or next(own, None)
    return FORMATS[name] if name else None
