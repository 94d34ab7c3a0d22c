"""How a question is put to the model and its answer is read back, the same in every stage (section 4)."""

import re
from collections.abc import Sequence

from fleming.free_answer import RULES
from fleming.judge import style_of
from fleming.records import LETTERS, Message, Question
from fleming.settings import Config
from model.huggingface.tokenizer import Tokenizer
from model.sampler import Sample

INSTRUCTIONS = {style: f"{RULES['think']} {asked}" for style, asked in RULES["instructions"].items()}


def question_messages(
    question: Question, answer_style: str, instruction: str = "", system: str = ""
) -> list[dict[str, str]]:
    """Return the messages that ask `question`: an optional system message and one user message.

    The user message is context, stem, one "A. text" line an option, and the instruction (that of INSTRUCTIONS for the
    style where `instruction` is empty).
    """
    lines = [question.context, ""] if question.context else []
    lines += [question.question, ""]
    lines += [f"{letter}. {text}" for letter, text in question.options.items()]
    lines += [""] * bool(question.options)
    lines += [instruction or INSTRUCTIONS[answer_style]]
    messages = [{"role": "system", "content": system}] if system else []
    return [*messages, {"role": "user", "content": "\n".join(lines)}]


def asked_messages(question: Question, cfg: Config) -> list[dict[str, str]]:
    """Return the messages that ask the question as the settings say."""
    return question_messages(question, style_of(question, cfg), cfg.instruction, cfg.system)


def with_options(text: str) -> Question | None:
    """Return the question that a text is whose last lines are options, "A. ...", "B. ..." and so on, else None."""
    lines = text.strip().splitlines()
    if lines and re.fullmatch(r"\s*(?:answer|答案)\s?[:：]", lines[-1].rstrip(), re.IGNORECASE):
        lines.pop()
    options: dict[str, str] = {}
    while lines and "A" not in options:  # a line above may look like one: "E. coli was grown."
        line = lines.pop()
        found = re.fullmatch(r"\s*[(（]?([A-Z])[.):、．：）]\s*(\S.*)", line)
        if found and found[1] not in options:
            options = {found[1]: found[2], **options}
        elif line.strip():
            return None
    if len(options) < 2 or list(options) != list(LETTERS[: len(options)]) or not "".join(lines).strip():
        return None
    return Question(id="question", question="\n".join(lines).strip(), options=options, answer="A")


def prompt_ids(question: Question, tokenizer: Tokenizer, cfg: Config) -> list[int]:
    """Return the token ids that ask the question, up to where the model is to answer."""
    return encode_messages(asked_messages(question, cfg), tokenizer, cfg)


def encode_messages(messages: Sequence[Message], tokenizer: Tokenizer, cfg: Config) -> list[int]:
    """Return the token ids of a conversation, in which instructions and the system message are our own."""
    return tokenizer.encode_chat(messages, trusted=[cfg.instruction, cfg.system, *INSTRUCTIONS.values()])


def response_text(sample: Sample, tokenizer: Tokenizer) -> str:
    """Return the decoded response without its final stop id, other special tokens kept.

    A think block that the prompt has opened counts as the response's: it stands at its beginning.
    """
    ids = sample.token_ids[:-1] if sample.finish_reason == "stop" else sample.token_ids
    return tokenizer.opened + tokenizer.decode(ids)
