"""How a question is put to the model: the chat messages, the same for cold start, RL and evaluation (section 4)."""

from fleming.records import Question

INSTRUCTIONS = {
    "letter": (
        "Reason step by step between <think> and </think>. "
        "Then give only the letter of the correct option between <answer> and </answer>."
    ),
    "text": (
        "Reason step by step between <think> and </think>. "
        "Then give only the text of the correct option between <answer> and </answer>."
    ),
}


def question_messages(
    question: Question, answer_style: str, instruction: str = "", system: str = ""
) -> list[dict[str, str]]:
    """Return the messages that ask `question`: an optional system message and one user message.

    The user message is context, stem, one "A. text" line an option, and the instruction (the style's own where
    `instruction` is empty).
    """
    lines = [question.context, ""] if question.context else []
    lines += [question.question, ""]
    lines += [f"{letter}. {text}" for letter, text in question.options.items()]
    lines += ["", instruction or INSTRUCTIONS[answer_style]]
    messages = [{"role": "system", "content": system}] if system else []
    return [*messages, {"role": "user", "content": "\n".join(lines)}]
