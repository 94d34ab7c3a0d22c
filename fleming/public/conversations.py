"""Worked answers for the cold start in the forms that people have: Alpaca, ShareGPT, messages, prompt and completion.

Of a conversation of several turns each answer is an example of its own, with all that was said before it as its prompt:
what the model will be given when it answers, and each token is learned once. Left out: encoding them
(training/examples.py), and what the forms are called (assets/forms.yaml).
"""

from itertools import pairwise
from typing import Any

from fleming.public.forms import SetAsideError, plain_text, value_of
from fleming.public.messages import FORMS, messages_of, thought
from fleming.public.tables import Row
from fleming.records import Message
from fleming.settings import Config

Form = dict[str, str]
"""Part of a worked answer -> the column that has it."""
OURS = ("teacher", "gold_visible", "attempts", "refinements", "checks")


def conversation_form(row: Row, told: dict[str, Any]) -> Form | None:
    """Return the form whose columns the row has, or that is told; None where there is none."""
    forms = [told] if told else FORMS["conversations"].values()
    for form in forms:
        if form.keys() & {"messages", "response"} and all(
            value_of(row, name) is not None for name in form.values()
        ):
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
