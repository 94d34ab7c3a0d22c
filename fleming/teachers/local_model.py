"""A voter, grader or teacher from a local model folder, behind the one method that all of them have: `complete`.

Left out: models behind a network.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from fleming.files import input_hashes
from fleming.prompt import INSTRUCTIONS, response_text
from fleming.teachers.remembered import Messages
from model import Sampler, SamplingParams, load_model
from model.errors import InputError
from model.sampler import Sample


class LocalModel:
    """Answers of a model folder; the noise of each is fixed by the seed and the conversation, not by its neighbours.

    name: the folder's own name, a hash of its files, and what else the answers depend on.
    """

    def __init__(
        self,
        folder: str | Path,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        max_new_tokens: int = 1024,
        temperature: float = 0.8,
        seed: int = 0,
        max_num_seqs: int = 64,
        device: str | torch.device = "cpu",
    ):
        """Load the folder, in bfloat16 on CUDA and float32 elsewhere; its chat format is its own.

        Raises InputError as `load_model` does, and where an answer of `max_new_tokens` leaves the context no prompt.
        """
        device = torch.device(device)
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        transformer, self.tokenizer = load_model(
            folder, dtype=dtype, device=device, chat_template_kwargs=chat_template_kwargs
        )
        context = transformer.cfg.max_position_embeddings
        if max_new_tokens >= context:
            raise InputError(
                f"{folder}: answers of {max_new_tokens} tokens leave a context of {context} no prompt"
            )
        self.params = SamplingParams(max_new_tokens=max_new_tokens, temperature=temperature, seed=seed)
        self.sampler = Sampler(transformer, self.tokenizer, max_num_seqs)
        files = json.dumps(input_hashes({"model": Path(folder)}), sort_keys=True)
        chat = self.tokenizer.chat_format.name
        chat += f" {json.dumps(chat_template_kwargs, sort_keys=True)}" if chat_template_kwargs else ""
        self.name = (
            f"{Path(folder).resolve().name} {hashlib.sha256(files.encode()).hexdigest()[:16]} "
            f"{chat} T={temperature:g} tokens={max_new_tokens} seed={seed} {device.type}"
        )

    def complete(self, messages: Messages, n: int) -> list[str]:
        """Return n answers to the conversation, the ids that end them left off."""
        return self.complete_all([messages], n)[0]

    def complete_all(self, conversations: Sequence[Messages], n: int) -> list[list[str]]:
        """Return n answers to each conversation, those that were cut as far as they go."""
        texts = [text for text, _ in self.judged(conversations, n)]
        return [texts[i : i + n] for i in range(0, len(texts), n)]

    def judged(self, conversations: Sequence[Messages], n: int) -> list[tuple[str, str]]:
        """Return (text, code) of n answers to each conversation in turn; code "": content (remembered.py: Answer)."""
        prompts = [
            self.tokenizer.encode_chat(messages, trusted=INSTRUCTIONS.values()) for messages in conversations
        ]
        most = self.sampler.transformer.cfg.max_position_embeddings - self.params.max_new_tokens
        fits = [i for i, prompt in enumerate(prompts) if len(prompt) <= most]
        keys = [f"complete {json.dumps(conversations[i], ensure_ascii=False)}" for i in fits]
        params = dataclasses.replace(self.params, n=n)
        groups = self.sampler.generate([prompts[i] for i in fits], params, keys) if fits else []
        answers = [[("", "too_long")] * n for _ in prompts]
        for i, group in zip(fits, groups, strict=True):
            answers[i] = [self._judged(sample) for sample in group]
        return [answer for group in answers for answer in group]

    def _judged(self, sample: Sample) -> tuple[str, str]:
        text = response_text(sample, self.tokenizer)
        if sample.finish_reason != "stop":
            return text, "cut"
        return text, "" if text.rpartition("</think>")[2].strip() else "empty"
