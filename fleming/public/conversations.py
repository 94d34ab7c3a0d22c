"""Worked answers for the cold start in the forms that people have: Alpaca, ShareGPT, messages, prompt and completion.

Of a conversation of several turns each answer is an example of its own, with all that was said before it as its prompt:
what the model will be given when it answers, and each token is learned once. Left out: encoding them
(training/examples.py), and what the forms are called (assets/forms.yaml).
"""

from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from fleming.public.forms import SetAsideError, plain_text, value_of
from fleming.public.tables import Row
from fleming.records import Message
from fleming.settings import Config
from model.errors import InputError

TABLE = Path(__file__).parents[2] / "assets/forms.yaml"
FORMS = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
_ROLES = {name: role for role, names in FORMS["roles"].items() for name in names}
Form = dict[str, str]
"""Part of a worked answer -> the column that has it."""
KNOWN = {"messages", "prompt", "response", *FORMS["beside"]}
OURS = ("teacher", "gold_visible", "attempts", "refinements", "checks")


def conversation_form(row: Row, told: dict[str, Any]) -> Form | None:
    """Return the form whose columns the row has, or that is told; None where there is none."""
    if told.keys() & {"messages", "response"} and (unknown := told.keys() - KNOWN):
        raise InputError(
            f"data.columns: unknown field {min(unknown)!r}; the fields are {', '.join(sorted(KNOWN))}"
        )
    forms = [told] if told.keys() & {"messages", "response"} else FORMS["conversations"].values()
    for form in forms:
        if all(value_of(row, name) is not None for name in form.values()):
            return FORMS["beside"] | form
    return None


def trajectories_of(row: Row, form: Form, name: str, cfg: Config) -> list[dict[str, Any]]:
    """Return the Trajectory records of a row, one for each turn that is learned from; `name`: an id for want of one."""

    def part(field: str) -> Any:
        return value_of(row, form.get(field))

    said = _conversation(part, "messages" in form)
    answers = [i for i, message in enumerate(said) if message["role"] == "assistant"]
    if not answers or said[0]["role"] == "assistant":
        raise SetAsideError("no_answer", "a conversation must begin with a question, and hold an answer")
    if any(one["role"] == other["role"] != "user" for one, other in pairwise(said)):
        raise SetAsideError("turns", "an answer, or a system message, follows another")
    if "messages" not in form or cfg.data.assistant_turns == "last":
        answers = answers[-1:]
    key = plain_text(part("id")) or name
    about = plain_text(part("question_id")) or key
    beside = {field: row[field] for field in OURS if field in row}
    return [
        {
            "id": f"{key}/{turn}" if len(answers) > 1 else key,
            "question_id": about,
            "prompt": said[:i],
            "response": said[i]["content"],
            **beside,
        }
        for turn, i in enumerate(answers, start=1)
    ]


def _conversation(part: Any, whole: bool) -> list[Message]:
    """Return all messages of a row; part(field) is what its form's column holds."""
    said = [{"role": "system", "content": part("system")}] if part("system") else []
    if whole:
        messages = messages_of(part("messages"))
        return messages if messages[0]["role"] == "system" else said + messages
    for asked, answered in part("history") or ():
        said += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    prompt, response = messages_of(part("prompt")), part("response")
    if part("input"):
        prompt[-1]["content"] += f"\n\n{part('input')}"
    if not isinstance(response, str):
        return said + prompt + messages_of(response)
    if not response.strip():
        raise SetAsideError("no_text", "the response is empty")
    return [*said, *prompt, {"role": "assistant", "content": thought(part("reasoning"), response)}]


def thought(reasoning: Any, response: str) -> str:
    """Return a response with its reasoning before it, in our tags, where that stands in a place of its own."""
    told = isinstance(reasoning, str) and reasoning.strip()
    return f"<think>\n{told}\n</think>\n\n{response}" if told else response


def messages_of(value: Any) -> list[Message]:
    """Return the messages as ours; a list of parts is one text. Raises SetAsideError for what are none."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list) or not value or not all(isinstance(message, dict) for message in value):
        raise SetAsideError("no_messages", f"expected messages, found {str(value)[:80]!r}")
    messages = []
    for message in value:
        name, text = message.get("role", message.get("from")), message.get("content", message.get("value"))
        if isinstance(text, list) and all(
            isinstance(part, dict) and part.get("type") == "text" for part in text
        ):
            text = "".join(str(part.get("text")) for part in text)
        role = _ROLES.get(str(name).casefold())
        if role is None:
            raise SetAsideError(
                "unknown_role", f"a message is {str(name)[:40]!r}'s; known: {', '.join(_ROLES)}"
            )
        if not isinstance(text, str) or not text.strip():
            raise SetAsideError("no_text", f"a message of {name!r} must be a text, found {str(text)[:80]!r}")
        if role == "assistant":
            text = thought(message.get("reasoning_content"), text)
        messages.append({"role": role, "content": text})
    return messages
