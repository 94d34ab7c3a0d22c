"""ChatFormat: how a conversation becomes text, and which format a folder's chat template means.

- three formats, written by hand: qwen3, and qwen2.5 and chatml, which differ in their default system prompt
- a template is recognised by what it renders on probe conversations, not by its spelling: template.py
  interprets the few constructs of jinja that such templates use, and whatever else one holds makes it unknown
- left out: tools
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from model.errors import InputError
from model.huggingface.template import parse, render

START, END = "<|im_start|>", "<|im_end|>"
ROLES = ("system", "user", "assistant")
Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class ChatFormat:
    """Each turn is <|im_start|>role, newline, content, <|im_end|>, newline."""

    name: str  # a key of FORMATS
    default_system: str | None = None  # the system turn of a conversation that does not begin with one

    def turns(self, messages: Messages, add_generation_prompt: bool, thinking: bool) -> tuple[list[str], str]:
        """Return what stands between the control tokens: the closed turns, and the open one ("" for none).

        Raises InputError where there is no message, or one that is no {"role", "content"} of a known role.
        """
        if not messages:
            raise InputError("a conversation has no messages")
        for message in messages:
            if message.get("role") not in ROLES or not isinstance(message.get("content"), str):
                found, roles = str(message)[:80], ", ".join(ROLES)
                raise InputError(f"chat message {found}: expected a role of {roles} and a text")

        qwen3 = self.name == "qwen3"
        turns = []
        if self.default_system is not None and messages[0]["role"] != "system":
            turns.append(f"system\n{self.default_system}")
        last_question = _last_question(messages)
        for i, message in enumerate(messages):
            role, content = message["role"], message["content"]
            if qwen3 and role == "assistant":
                content = _qwen3_answer(content, current=i > last_question, last=i == len(messages) - 1)
            turns.append(f"{role}\n{content}")
        if not add_generation_prompt:
            return turns, ""
        silence = "<think>\n\n</think>\n\n" if qwen3 and not thinking else ""
        return turns, f"assistant\n{silence}"

    def render(self, messages: Messages, add_generation_prompt: bool = True, thinking: bool = True) -> str:
        """Return the conversation as the text that the model's own template gives. Raises as `turns`."""
        turns, opening = self.turns(messages, add_generation_prompt, thinking)
        closed = "".join(f"{START}{turn}{END}\n" for turn in turns)
        return closed + START + opening if opening else closed


FORMATS = {
    "qwen2.5": ChatFormat("qwen2.5", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."),
    "qwen3": ChatFormat("qwen3"),
    "chatml": ChatFormat("chatml"),
}


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


# ";" parts conversations and "|" turns; a turn is its role's first letter and its content, "~" a newline.
_PROBE_TEXT = (
    "uA;sS;aB;sS|uA;sS|aB;uA|aB;uA|uB|aC|aD;uA|sS|aB|uC;s|u|a;uA|aB|uC|aD|uE;uA|a~~B~~;uA|a~B|a~C;"
    "s ~ S ~ |u ~ A ~ |a ~ B ~ |u~~;uA|a<think>~~R~~</think>~~~B~|uC|a~<think>R</think>B;a<think>R</think>B;"
    "uA|aR</think>B;uA|a<think>R</think>B|uC;uA|a<think>R</think>~~B|a~C;uA|a<think>~~</think>~~~B|aC;"
    "uA|a<think>B;uA<think>R</think>B|aC;uA|aB<think>C</think>D<think>E</think>F|aG;sA<think>R</think>|uB;"
    "uA|aB|u<tool_response>C</tool_response>|aD;u<tool_response>C</tool_response>|a<think>R</think>B"
)
_ROLE_OF_LETTER = {role[0]: role for role in ROLES}


def _probe(text: str) -> list[dict[str, str]]:
    turns = text.replace("~", "\n").split("|")
    return [{"role": _ROLE_OF_LETTER[turn[0]], "content": turn[1:]} for turn in turns]


_PROBES = [_probe(text) for text in _PROBE_TEXT.split(";")]


def recognise(template: str, special_tokens: dict[str, str]) -> ChatFormat | None:
    """Return the format that renders every probe conversation exactly as this jinja template does, or None.

    special_tokens: what the template may use by name (eos_token, bos_token).
    """
    try:
        program = parse(template)
        return _recognise(template, partial(_rendered, program, special_tokens))
    except Exception:  # a foreign template may do anything; all it can mean here is that it is not known
        return None


def _rendered(
    program: list, special_tokens: dict, messages: Messages, prompt: bool, **variables: bool
) -> str:
    known = {"messages": messages, "add_generation_prompt": prompt, "tools": None}
    return render(program, special_tokens | known | variables)


def _recognise(template: str, rendered: Callable[..., str]) -> ChatFormat | None:
    lead = rendered(_PROBES[0], False).removesuffix(f"{START}user\nA{END}\n")
    default = None
    if lead:
        default = lead.removeprefix(f"{START}system\n").removesuffix(f"{END}\n")
        if START in default or END in default:
            return None
    # Both render alike; Qwen2.5 is told from older ChatML by its knowing tools.
    name = "qwen2.5" if default is not None and "tool_call" in template else "chatml"
    for form in (ChatFormat(name, default), ChatFormat("qwen3", default)):
        if all(_agrees(form, rendered, messages) for messages in _PROBES):
            return form
    return None


def _agrees(form: ChatFormat, rendered: Callable[..., str], messages: Messages) -> bool:
    for prompt in (False, True):
        thinking, silent = form.render(messages, prompt, True), form.render(messages, prompt, False)
        if rendered(messages, prompt) != thinking:
            return False
        if rendered(messages, prompt, enable_thinking=True) != thinking:
            return False
        if rendered(messages, prompt, enable_thinking=False) != silent:
            return False
    return True
