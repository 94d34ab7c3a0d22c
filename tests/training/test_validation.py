"""The cold start's validation: who is held out, what is measured (against transformers), which weights are exported."""

import dataclasses
import shutil
import signal
from collections import Counter

import pytest
import torch
import transformers
from safetensors.torch import load_file
from support.places import ROOT
from support.runs import ALONE, arguments, differences, records, result_of, run_here, torchrun

import train_sft
from fleming.config import load_config
from fleming.manifest import read_manifest
from fleming.public.readers import read_trajectories
from fleming.records import Trajectory
from fleming.settings import Config
from fleming.training.checkpoint import checkpoints, read_state
from fleming.training.examples import training_examples
from fleming.training.identity import check_same_run
from fleming.training.run import Run
from fleming.training.validation import Validation, hold_out
from model.errors import InputError
from model.huggingface.weights import load_model, open_model
from model.sampler import Sample

VALIDATED = [
    "sft.validation=12",
    "sft.validate_every=3",
    "sft.save_every=2",
    "sft.learning_rate=1e-2",
    "sft.epochs=0.7",
]


def trajectory(number, question):
    return Trajectory(str(number), question, [{"role": "user", "content": "?"}], "<answer>A</answer>")


def test_whole_questions_are_held_out_by_the_seed_and_no_more_than_it_takes():
    given = [trajectory(i, f"q{i % 40}") for i in range(100)]
    learned, held_out = hold_out(given, 11, seed=0)
    assert sorted([*learned, *held_out], key=lambda t: int(t.id)) == given
    assert not {t.question_id for t in learned} & {t.question_id for t in held_out}
    most = max(Counter(t.question_id for t in given).values())
    assert 11 <= len(held_out) < 11 + most
    assert hold_out(given, 11, seed=0) == (learned, held_out)
    assert hold_out(given, 11, seed=1) != (learned, held_out)
    assert hold_out(given, 0, seed=0) == (given, [])
    with pytest.raises(InputError, match=r"sft\.validation = 98 holds out all 100"):
        hold_out(given, 98, seed=0)


@pytest.fixture(scope="module")
def trained(inputs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("validated")
    assert run_here(train_sft, arguments(inputs, folder, *VALIDATED)) == (0, [])
    return folder


def held_out_of(inputs):
    cfg = load_config(Config, None, arguments(inputs, inputs, *VALIDATED)[2:])
    described, tokenizer = open_model(inputs / "base/model")
    _, held_out = hold_out(read_trajectories(cfg.trajectory_file, cfg), 12, cfg.seed)
    return training_examples(held_out, tokenizer, described.cfg, cfg, print)[1], tokenizer


def test_every_so_many_steps_and_the_last_are_measured_and_the_best_is_kept_and_exported(trained):
    steps = records(trained / "sft/metrics.jsonl")
    measured = {r["step"]: r["validation_loss"] for r in steps if "validation_loss" in r}
    assert list(measured) == [*range(3, len(steps), 3), len(steps)]
    assert all(r["time"]["validate"] > 0 for r in steps if r["step"] in measured)
    best = min(measured, key=measured.get)
    kept = {
        read_state(path)["step"]: read_state(path).get("score")
        for path in checkpoints(trained / "sft/checkpoints")
    }
    assert kept[best] == -measured[best]
    assert len(set(measured.values())) == len(measured)


def test_loss_and_answers_are_those_that_transformers_gives(inputs, trained):
    examples, tokenizer = held_out_of(inputs)
    steps = records(trained / "sft/metrics.jsonl")
    best = min((r for r in steps if "validation_loss" in r), key=lambda r: r["validation_loss"])
    hf = transformers.AutoModelForCausalLM.from_pretrained(trained / "sft/model", dtype=torch.float32)
    total, tokens = 0.0, 0
    for prompt, response in examples:
        with torch.no_grad():
            logits = hf(torch.tensor([[*prompt, *response]])).logits[0, len(prompt) - 1 : -1]
        logp = logits.double().log_softmax(-1)
        total -= logp.gather(1, torch.tensor(response)[:, None]).sum().item()
        tokens += len(response)
    assert best["validation_loss"] == pytest.approx(total / tokens, abs=1e-5)

    cfg = load_config(Config, None, arguments(inputs, inputs, *VALIDATED)[2:])
    validation = Validation(examples, tokenizer, cfg, ALONE)
    assert validation.longest == max(len(response) for _, response in examples)
    prompts = [prompt for prompt, _ in examples][:5]
    policy, _ = load_model(trained / "sft/model")
    for prompt, sample in zip(prompts, validation._sample(policy, prompts, 24, 1), strict=True):
        ids = torch.tensor([prompt])
        how = {"max_new_tokens": 24, "do_sample": False, "eos_token_id": sorted(tokenizer.stop_ids)}
        greedy = hf.generate(ids, attention_mask=torch.ones_like(ids), **how)[0, len(prompt) :]
        assert sample.token_ids == greedy.tolist()


def test_an_answer_counts_by_what_its_block_says_and_its_form_apart(inputs, monkeypatch):
    _, tokenizer = held_out_of(inputs)
    asked = {
        "<think>Hm.</think> <answer>B</answer>": "<think>It is so.</think>\n<answer>b </answer>",
        "<think>Ho.</think> <answer>A</answer>": "<answer>A</answer>",  # right, in no good form
        "<think>Ha.</think> <answer>C</answer>": "<think>Ha.</think> <answer>B</answer>",
        "<think>He.</think> <answer>D</answer>": "<think>He.</think> <answer>D",
        "no question, no answer": "<think>Hm.</think> <answer>X</answer>",  # is not asked
    }
    examples = [
        (tokenizer.encode_chat([{"role": "user", "content": text}]), tokenizer.encode_response(text)[0])
        for text in asked
    ]
    responses = [response for _, response in examples]
    cfg = load_config(Config, None, arguments(inputs, inputs, *VALIDATED)[2:])
    validation = Validation(examples, tokenizer, cfg, ALONE)

    def samples(self, policy, prompts, room, step):
        assert prompts == [prompt for prompt, _ in examples[:4]]
        assert room == rooms.pop()
        ids = [tokenizer.encode_response(said)[0] for said in list(asked.values())[:4]]
        return [Sample(i, [0.0] * len(i), "stop", 0.0) for i in ids]

    monkeypatch.setattr(Validation, "_sample", samples)
    policy, _ = load_model(inputs / "base/model")
    longest, prompt = (max(map(len, part)) for part in (responses, [prompt for prompt, _ in examples]))
    rooms = [longest + 1, 2 * longest]  # where the context has no more, and where it has
    for context in (1024, prompt + longest + 1):
        policy.cfg = dataclasses.replace(policy.cfg, max_position_embeddings=context)
        found = validation.measure(policy, 1)
        assert (found["validation_accuracy"], found["validation_format"]) == (2 / 4, 2 / 4)
    assert not rooms
    examples[:4] = []
    assert Validation(examples, tokenizer, cfg, ALONE).measure(policy, 1).keys() == {"validation_loss"}


@pytest.fixture
def best_is_6(inputs, tmp_path, monkeypatch):
    """A run whose validation says that step 6 was the best, and its last steps as good."""
    losses = {3: 3.0, 6: 1.0, 9: 2.0}
    measure = lambda self, policy, step: {"validation_loss": losses.get(step, 1.0)}  # noqa: E731
    monkeypatch.setattr(Validation, "measure", measure)
    run = arguments(inputs, tmp_path, *VALIDATED, "sft.keep_last=1")
    assert run_here(train_sft, run) == (0, [])
    return tmp_path, run


def test_the_weights_of_the_best_checkpoint_are_exported_not_the_last_ones(best_is_6):
    folder, _ = best_is_6
    folders = {read_state(path)["step"]: path for path in checkpoints(folder / "sft/checkpoints")}
    last = max(folders)
    assert last > 9
    assert folders.keys() == {6, last}  # of equals the first

    exported = load_file(folder / "sft/model/model.safetensors")
    for step, same in ((6, True), (last, False)):
        saved = {}
        for file in folders[step].glob("*.safetensors"):
            saved |= load_file(file)
        assert all(torch.equal(tensor, saved[name]) for name, tensor in exported.items()) is same


def test_stopped_anywhere_the_same_command_exports_the_same(inputs, trained, tmp_path, monkeypatch):
    """Also where it is stopped at a step that is saved but not measured, and between checkpoint and export."""
    run = arguments(inputs, tmp_path, *VALIDATED)
    log = Run.log
    for step in (2, 3, 5):  # saved, measured, neither

        def log_and_ask(self, record, score, flops, sampler=None, step=step):
            log(self, record, score, flops, sampler)
            if record["step"] == step:
                self.stop.signal = signal.SIGTERM

        monkeypatch.setattr(Run, "log", log_and_ask)
        assert run_here(train_sft, run)[0] == 143
    monkeypatch.setattr(Run, "log", log)
    monkeypatch.setattr(Run, "_export", lambda self, step: None)
    assert run_here(train_sft, run) == (0, [])
    assert not (tmp_path / "sft/model").exists()
    monkeypatch.undo()
    monkeypatch.setattr(Run, "_note_all", lambda self: None)  # killed behind the export
    assert run_here(train_sft, run) == (0, [])
    assert not differences(result_of(trained), result_of(tmp_path))
    assert "root" not in read_manifest(tmp_path)["sft"][-1]  # which says that the stage has ended


def test_damage_in_the_best_checkpoint_is_said_and_nothing_of_it_exported(best_is_6):
    folder, run = best_is_6
    shutil.rmtree(folder / "sft/model")
    file = next((folder / "sft/checkpoints/step_000006").glob("*.safetensors"))
    data = bytearray(file.read_bytes())
    data[-9] ^= 4
    file.write_bytes(data)
    status, lines = run_here(train_sft, run)
    assert status == 2
    assert str(file) in lines[-1]
    assert not (folder / "sft/model").exists()


@pytest.mark.slow
def test_two_processes_measure_the_same(inputs, trained, tmp_path):
    assert torchrun(ROOT / "train_sft.py", *arguments(inputs, tmp_path, *VALIDATED)).returncode == 0
    one, two = (records(folder / "sft/metrics.jsonl") for folder in (trained, tmp_path))
    for a, b in zip(one, two, strict=True):
        assert a.keys() == b.keys()
        if "validation_loss" in a:
            assert b["validation_loss"] == pytest.approx(a["validation_loss"], rel=1e-4)
            assert b["validation_format"] == pytest.approx(a["validation_format"], abs=0.1)


def test_a_checkpoint_that_knows_no_validation_goes_on_without_and_with_it_is_refused():
    saved = {"sft.epochs": 3}
    check_same_run(saved, {**saved, "sft.validation": 0}, "runs/x")
    check_same_run(saved, {**saved, "sha256 of data.dev": "ab"}, "runs/x")  # nor any questions to measure on
    with pytest.raises(InputError, match=r"sft\.validation"):
        check_same_run(saved, {**saved, "sft.validation": 8}, "runs/x")


def test_a_run_that_measured_on_other_dev_questions_is_refused_and_one_that_kept_no_hash_goes_on():
    dev = "sha256 of data.dev"
    check_same_run({"seed": 0}, {"seed": 0, dev: "a"}, "runs/x")
    with pytest.raises(InputError, match=r"began with sha256 of data\.dev = 'a', now it is 'b'"):
        check_same_run({"seed": 0, dev: "a"}, {"seed": 0, dev: "b"}, "runs/x")
    with pytest.raises(InputError, match=r"sha256 of model/chat_template\.jinja"):
        check_same_run({"seed": 0}, {"seed": 0, "sha256 of model/chat_template.jinja": "a"}, "runs/x")
