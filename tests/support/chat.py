"""Chat templates, ours and foreign ones; random conversations; a small tokenizer to write into a folder."""

import json
import random
import re

import tokenizers
from support.places import SHARED
from tokenizers import decoders, models, pre_tokenizers, trainers

from model.huggingface.chat_format import FORMATS

CONTROL = ("<|im_start|>", "<|im_end|>")
TOKENIZERS = SHARED / "data/tokenizers"
REAL = {"qwen2_5": FORMATS["qwen2.5"], "qwen3": FORMATS["qwen3"]}

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' "
    "+ '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# A default system prompt, written with real newlines inside the literals.
WITH_SYSTEM = (
    "{% for m in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe \"kind\"."
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}\n"
)
OPENED = CHATML.replace("assistant\\n'", "assistant\\n<think>\\n'")  # as QwQ and Qwen3-Thinking-2507 have it
# Features of released templates that none of ours has.
ODD = {
    "trimmed content": CHATML.replace("message['content']", "message['content'] | trim"),
    "no newline after a turn": CHATML.replace(" + '\\n' }}{% endfor", " }}{% endfor"),
    "thinking opened in the prompt": OPENED,
    "thinking off for good": "{%- set enable_thinking = false %}" + CHATML,
    "generation marked": CHATML.replace("{{ '<|im_start|>'", "{% generation %}{{ '<|im_start|>'").replace(
        "{% endfor %}", "{% endgeneration %}{% endfor %}", 1
    ),
    "thinking dropped everywhere": CHATML.replace(
        "message['content']", "message['content'].split('</think>')[-1]"
    ),
    "a BOS": "{{ bos_token }}" + CHATML,
    "a macro": "{% macro turn(m) %}{{ m.content }}{% endmacro %}{{ turn(messages[0]) }}" + CHATML,
    "a loop left": "{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{% endfor %}"
    + CHATML,
    "alternation enforced": "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}" + CHATML,
}


def conversations(seed, count):
    """Random conversations, from ordinary to absurd."""
    rng = random.Random(seed)
    pieces = ["ask", "\n", " ", "\t", "\n\n", "<think>", "</think>", "é—漢", "{{ x }}"]
    pieces += ["<tool_response>", "</tool_response>"]
    for _ in range(count):
        roles = rng.choices(["system", "user", "assistant"], weights=[1, 3, 3], k=rng.randint(1, 6))
        yield [{"role": role, "content": "".join(rng.choices(pieces, k=rng.randint(0, 7)))} for role in roles]


def family_tokens(template):
    """The control tokens that a released template writes, and a BOS and an EOS, for `write_tokenizer`'s extra."""
    found = re.findall(
        r"<[|｜][^<>\s]{1,40}[|｜]>|<(?:start|end)_of_turn>|<end_of_utterance>|</?think>", template
    )
    return [*sorted({*found} - {*CONTROL, "<|endoftext|>"}), "<bos>", "<|eos|>"]


def write_tokenizer(folder, template=CHATML, special=True, extra=(), post=None, prefix=False, **config):
    """Write a small byte-level tokenizer and its settings into `folder`, and return it."""
    fast = tokenizers.Tokenizer(models.BPE())
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if prefix:  # a sentencepiece-like start: the first word of a text is not the same as a later one
        fast.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    fast.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=280, initial_alphabet=alphabet, special_tokens=["<|endoftext|>"])
    fast.train_from_iterator(["user assistant system think answer"], trainer)
    control = [
        tokenizers.AddedToken(token, special=special, normalized=False) for token in (*CONTROL, *extra)
    ]
    (fast.add_special_tokens if special else fast.add_tokens)(control)
    if post is not None:
        fast.post_processor = post(fast)
    folder.mkdir(parents=True, exist_ok=True)
    fast.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", **config}
    if template is not None:
        settings["chat_template"] = template
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder
