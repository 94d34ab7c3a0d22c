"""The chat formats against jinja2 rendering the real templates, and which templates are taken for which format."""

import functools
import json
import random
import time

import pytest
from jinja2 import TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from support.chat import CHATML, FOREIGN, REAL, TOKENIZERS, WITH_SYSTEM, conversations

from model.errors import InputError
from model.huggingface.chat_format import FORMATS, recognise

SPECIAL = {"eos_token": "<|im_end|>", "bos_token": "<|endoftext|>"}
SPELLINGS = {
    "one expression": CHATML,
    "text between the tags": "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "<|im_end|>\n{{ '' }}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{{ '' }}{% endif %}",
    "a default for the flag": "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}"
    "{% endif %}" + CHATML,
    "a line a tag": "{# ChatML, isn't it? #}\n{%- for message in messages %}\n    {{- '<|im_start|>' }}\n"
    "    {{- message.role + \"\\n\" }}\n    {{- message['content'] }}\n    {{- '<|im_end|>\\n' }}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n",
    "the system message apart": "{% if messages[0]['role'] == 'system' %}{% set rest = messages[1:] %}{{"
    " '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{% else %}{% set rest = messages %}{% endif %}"
    "{% for message in rest %}{{ '<|im_start|>' + message.role + '\\n' + message.content + eos_token + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
}


def template_of(name):
    """The chat template of a real model."""
    path = TOKENIZERS / name / "tokenizer_config.json"
    if not path.exists():
        pytest.skip("needs the real tokenizers in ../shared")
    return json.loads(path.read_text())["chat_template"]


@functools.cache
def compiled(template):
    return ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(template)


def is_jinja(template):
    try:
        return bool(compiled(template))
    except TemplateSyntaxError:
        return False


def by_jinja(template, messages, **variables):
    return compiled(template).render(messages=messages, tools=None, **SPECIAL, **variables)


@pytest.mark.parametrize("name", REAL)
def test_renderings_equal_the_real_templates_string_for_string(name):
    template = template_of(name)
    ours = recognise(template, {})
    assert ours == REAL[name]
    for messages in conversations(seed=1, count=400):
        for prompt in (True, False):
            assert ours.render(messages, prompt) == by_jinja(template, messages, add_generation_prompt=prompt)
            for thinking in (True, False):
                expected = by_jinja(
                    template, messages, add_generation_prompt=prompt, enable_thinking=thinking
                )
                assert ours.render(messages, prompt, thinking) == expected


def test_qwen3_shows_the_thinking_of_the_current_answer_alone():
    ours, template = FORMATS["qwen3"], template_of("qwen3")
    answer = {"role": "assistant", "content": "<think>\nwhy\n</think>\n\nB"}
    messages = [{"role": "user", "content": "q1"}, answer, {"role": "user", "content": "q2"}, answer]
    text = ours.render(messages, add_generation_prompt=False)
    assert text == by_jinja(template, messages)
    assert text.count("why") == 1
    assert text.endswith("q2<|im_end|>\n<|im_start|>assistant\n<think>\nwhy\n</think>\n\nB<|im_end|>\n")
    silent = ours.render(messages[:1], thinking=False)
    assert silent.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


@pytest.mark.parametrize("spelling", sorted(SPELLINGS))
def test_chatml_is_recognised_in_any_spelling(spelling):
    ours = recognise(SPELLINGS[spelling], SPECIAL)
    assert ours == FORMATS["chatml"]
    for messages in conversations(seed=3, count=30):
        expected = by_jinja(SPELLINGS[spelling], messages, add_generation_prompt=True)
        assert ours.render(messages) == expected


def test_the_default_system_prompt_is_the_templates_own():
    ours = recognise(WITH_SYSTEM, SPECIAL)
    assert (ours.name, ours.default_system) == ("chatml", 'Be "kind".')
    for messages in conversations(seed=4, count=30):
        assert ours.render(messages) == by_jinja(WITH_SYSTEM, messages, add_generation_prompt=True)
    template = template_of("qwen2_5")
    own = "Please reason step by step, and put your final answer within \\\\boxed{}."
    edited = template.replace(FORMATS["qwen2.5"].default_system, own)
    found = recognise(edited, {})
    assert (found.name, found.default_system) == ("qwen2.5", own.replace("\\\\", "\\"))
    messages = [{"role": "user", "content": "1 + 1?"}]
    assert found.render(messages) == by_jinja(edited, messages, add_generation_prompt=True)


@pytest.mark.parametrize("name", REAL)
def test_another_wording_of_the_tools_is_still_recognised(name):
    template = template_of(name)
    edited = template.replace("You may call one or more functions", "Call what you like")
    edited = edited.replace("message.tool_calls", "message.calls").replace(
        "| tojson", "| tojson(indent=2) | upper"
    )
    assert edited != template
    assert recognise(edited, {}) == REAL[name]


def test_the_later_template_of_qwen3_is_recognised():
    template = template_of("qwen3")
    edited = template.replace(
        'message.role == "user" and not(', 'message.role == "user" and message.content is string and not('
    )
    edited = edited.replace(
        "message.reasoning_content is defined and message.reasoning_content is not none",
        "message.reasoning_content is string",
    )
    assert edited != template
    assert recognise(edited, {}) == FORMATS["qwen3"]


@pytest.mark.parametrize("kind", sorted(FOREIGN))
def test_a_template_that_renders_anything_else_is_unknown(kind):
    assert recognise(FOREIGN[kind], SPECIAL) is None


@pytest.mark.parametrize("name", REAL)
def test_a_mutated_template_is_never_taken_for_what_it_does_not_render(name):
    template = template_of(name)
    rng, accepted = random.Random(5), 0
    probes = list(conversations(seed=6, count=40))
    lines = template.split("\n")
    for _ in range(150):
        i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        mutant = lines[:i] + (lines[i + 1 :] if rng.random() < 0.5 else [lines[j], *lines[i:]])
        if rng.random() < 0.3:
            word = rng.choice(
                ["'\\n'", "lstrip", "first", "last", "split", "user", "[-1]", "not ", "index0", "false"]
            )
            mutant = template.replace(word, rng.choice(["", "strip", "'\\n\\n'", "true", "[0]"]), 1).split(
                "\n"
            )
        found = recognise("\n".join(mutant), {})
        if found is not None and is_jinja("\n".join(mutant)):
            accepted += 1
            for messages in probes:
                assert found.render(messages) == by_jinja(
                    "\n".join(mutant), messages, add_generation_prompt=True
                )
    assert 0 < accepted < 150


@pytest.mark.parametrize(
    "hostile",
    [
        "{% for a in messages %}" * 60 + "x" + "{% endfor %}" * 60,
        "{% set x = 'aaaaaaaa' %}" + "{% set x = x + x %}" * 200 + "{{ x }}",
        "{% set messages = messages + messages %}" * 200,
        "{{ " + "(" * 30_000,
        "{{ " + "not " * 10_000 + "x }}",
        "{{ '" * 16_000,
        "{% if x %}" * 6_000,
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.join.__globals__ }}",
        "{% set messages[0].content = 'x' %}",
        "{% for m in messages %}{% set m.content = 'x' %}{% endfor %}" + CHATML,
        "{{ 1 / 0 }}",
        " " * 60_000 + "{%",
        "x" * 10_000_000,
    ],
)
def test_a_hostile_template_is_unknown_and_costs_nothing(hostile):
    start = time.monotonic()
    assert recognise(hostile, {}) is None
    assert time.monotonic() - start < 2
    assert recognise(CHATML, {}) == FORMATS["chatml"]  # and it left nothing behind


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "tool", "content": "a"}],
        [{"role": "user"}],
        [{"role": "user", "content": 1}],
        [{"content": "a"}],
    ],
)
def test_a_message_of_another_form_is_refused(messages):
    with pytest.raises(InputError, match="message"):
        FORMATS["chatml"].render(messages)
