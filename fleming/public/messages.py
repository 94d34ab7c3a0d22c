"""Messages of a conversation under the names that people give to their parts: role or from, content or value."""

from pathlib import Path
from typing import Any

import yaml

from fleming.public.forms import SetAsideError
from fleming.records import Message

TABLE = Path(__file__).parents[2] / "assets/forms.yaml"
FORMS = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
_ROLES = {name: role for role, names in FORMS["roles"].items() for name in names}


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
