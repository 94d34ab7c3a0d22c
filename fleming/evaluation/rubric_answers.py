"""A model's answers to the prompts of a file of rubrics, each on the disk as soon as it is there.

Left out: several answers a prompt, several processes, a budget of thinking.
"""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from fleming.evaluation.rubric_file import Rubric
from fleming.files import AppendLog, input_hashes, read_json, write_json
from fleming.prompt import encode_messages, response_text
from fleming.settings import Config
from fleming.teachers.answer_log import read_answer_log
from fleming.training.identity import check_same_run
from fleming.training.parallel import compute_dtype, pick_device
from model.errors import InputError
from model.huggingface.weights import load_model
from model.sampler import Sample, Sampler, SamplingParams


@dataclass(frozen=True)
class FreeAnswer:
    """A line of rubric_answers.jsonl."""

    prompt_id: str
    prompt_sha256: str
    response: str
    finish_reason: Literal["stop", "length"]


def answer_prompts(
    rubrics: Sequence[Rubric], model_folder: Path, folder: Path, cfg: Config
) -> dict[str, FreeAnswer]:
    """Return prompt_id -> the model's answer; only what the folder lacks is asked for.

    Raises InputError where the folder's answers were given to other prompts, by another model or otherwise.
    """
    path, fixed = folder / "rubric_answers.jsonl", folder / "rubric_settings.json"
    settings = _settings(model_folder, cfg)
    if fixed.exists():
        check_same_run(read_json(fixed), settings, str(folder))
    elif path.exists():
        raise InputError(
            f"{fixed}: missing, so nobody knows how its answers were given; move {path.name} away"
        )
    write_json(fixed, settings)

    with contextlib.closing(AppendLog(path, hash_lines=True)) as log:
        found = {answer.prompt_id: answer for answer in read_answer_log(path, FreeAnswer)}
        for rubric in rubrics:
            if rubric.prompt_id in found and found[rubric.prompt_id].prompt_sha256 != _sha256(rubric.prompt):
                raise InputError(
                    f"{path}: {rubric.prompt_id!r} was another prompt when it was answered; choose another run_dir"
                )
        missing = [rubric for rubric in rubrics if rubric.prompt_id not in found]
        if missing:
            for answer in _ask(missing, model_folder, cfg, log):
                found[answer.prompt_id] = answer
        log.sync()
    return {rubric.prompt_id: found[rubric.prompt_id] for rubric in rubrics}


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _settings(model_folder: Path, cfg: Config) -> dict[str, Any]:
    """Return what fixes an answer to a prompt, as it is read back."""
    ev = cfg.evaluate
    settings = {"sha256 of model": _sha256(sorted(input_hashes({"model": model_folder}).items()))}
    settings["dtype"] = str(compute_dtype(pick_device(cfg.parallel)))
    own = "seed", "chat_format", "system", "chat_template_kwargs"
    settings |= {name: getattr(cfg, name) for name in own}
    settings |= {f"evaluate.{name}": getattr(ev, name) for name in ("temperature", "max_new_tokens")}
    settings |= {f"evaluate.{name}": value for name, value in ev.filters.items()}
    return json.loads(json.dumps(settings))


def _ask(missing: Sequence[Rubric], model_folder: Path, cfg: Config, log: AppendLog) -> list[FreeAnswer]:
    device, ev = pick_device(cfg.parallel), cfg.evaluate
    how = compute_dtype(device), device, cfg.chat_format, cfg.chat_template_kwargs
    transformer, tokenizer = load_model(model_folder, *how, check_hashes=False)  # they have just been
    context = transformer.cfg.max_position_embeddings
    prompts, answers = [], []
    for rubric in missing:
        own = rubric.prompt[0]["role"] == "system" or not cfg.system
        system = [] if own else [{"role": "system", "content": cfg.system}]
        try:
            ids = encode_messages([*system, *rubric.prompt], tokenizer, cfg)
        except InputError as error:  # a template may refuse what turns there are
            raise InputError(f"{rubric.prompt_id}: {error}") from error
        if len(ids) + ev.max_new_tokens > context:
            raise InputError(
                f"{rubric.prompt_id}: {len(ids)} tokens and evaluate.max_new_tokens={ev.max_new_tokens} exceed "
                f"the model's context of {context}; lower it"
            )
        prompts.append(ids)

    with tqdm(total=len(missing), desc="rubrics", unit="answer", dynamic_ncols=True) as bar:

        def keep(place: int, _: int, sample: Sample, __: float) -> None:
            response = response_text(sample, tokenizer)
            name, prompt = missing[place].prompt_id, _sha256(missing[place].prompt)
            answer = FreeAnswer(name, prompt, response, sample.finish_reason)
            log.append(vars(answer))
            answers.append(answer)
            bar.update()

        params = SamplingParams(
            max_new_tokens=ev.max_new_tokens, temperature=ev.temperature, seed=cfg.seed, **ev.filters
        )
        keys = [f"rubric {rubric.prompt_id}" for rubric in missing]
        Sampler(transformer, tokenizer, ev.max_num_seqs).generate(prompts, params, keys, on_finish=keep)
    return answers
