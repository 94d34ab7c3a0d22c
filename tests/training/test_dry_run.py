"""--dry-run: says what a run would do and need, refuses what it would refuse, and writes nothing.

Model folders of real shapes cost no disk here: their files of weights are headers and a hole.
"""

import hashlib
import json
import os
import shutil
import sys
from argparse import Namespace
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path

import pytest
import torch
from support import warm
from support.places import ROOT, SHARED
from support.runs import messages

import train_grpo
import train_sft
from fleming.config import load_config
from fleming.settings import BaseModelConfig, Config, DataConfig, GRPOConfig
from fleming.training.base_model import make_base_model, train_tokenizer
from fleming.training.identity import fingerprint
from fleming.training.plan import dry_run
from model import InputError
from model.huggingface.chat_format import own_template
from model.sums import write_sums

QWEN25 = {"model_type": "qwen2", "rope_theta": 1e6, "rms_norm_eps": 1e-6, "hidden_act": "silu"}
MODELS = {  # as in the published config.json
    "qwen2.5_0.5b_one_gpu": QWEN25
    | {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14}
    | {
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
    },
    "fleming_r1_7b": QWEN25
    | {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28}
    | {
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
    },
    "fleming_r1_32b": QWEN25
    | {"model_type": "qwen3", "head_dim": 128, "hidden_size": 5120, "intermediate_size": 25600}
    | {"num_hidden_layers": 64, "num_attention_heads": 64, "num_key_value_heads": 8, "vocab_size": 151936}
    | {"max_position_embeddings": 40960, "tie_word_embeddings": False},
}
QUESTIONS = [
    {
        "id": f"q{i}",
        "question": f"Which of the drugs treats patient {i}? " + "Mind the dose. " * i,
        "answer": "B",
    }
    | {"options": {"A": "None", "B": "Penicillamine"}, "difficulty": ("easy", "moderate")[i % 2]}
    for i in range(6)
]
TRAJECTORIES = [
    {"id": f"t{i}", "question_id": f"q{i}", "prompt": [{"role": "user", "content": q["question"]}]}
    | {"response": "<think>Copper.</think>\n<answer>B</answer>"}
    for i, q in enumerate(QUESTIONS)
]


def write_jsonl(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def write_sparse_weights(folder: Path, config: dict, files: int) -> None:
    """Write bf16 safetensors files of the tensors that transformers has for this config.json."""
    import transformers

    with torch.device("meta"):
        kind = transformers.AutoConfig.for_model(**config)
        tensors = transformers.AutoModelForCausalLM.from_config(kind).state_dict()
    if config["tie_word_embeddings"]:
        del tensors["lm_head.weight"]
    names, placed = sorted(tensors), {}
    for i in range(files):
        file, header, end = f"model-{i + 1:05d}-of-{files:05d}.safetensors", {}, 0
        for name in names[i::files]:
            begin, end = end, end + 2 * prod(tensors[name].shape)
            header[name] = {"dtype": "BF16", "shape": list(tensors[name].shape), "data_offsets": [begin, end]}
            placed[name] = file
        text = json.dumps(header).encode()
        (folder / file).write_bytes(len(text).to_bytes(8, "little") + text)
        os.truncate(folder / file, 8 + len(text) + end)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))


@pytest.fixture(scope="module")
def real_folders(tmp_path_factory) -> dict[str, Path]:
    """config -> model folder of the real shape, with the real tokenizer where it is beside us, else a small one."""
    folders = {}
    for name, config in MODELS.items():
        folder = folders[name] = tmp_path_factory.mktemp(name) / "model"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        write_sparse_weights(folder, config, files=4)
        real = SHARED / "data/tokenizers" / {"qwen2": "qwen2_5", "qwen3": "qwen3"}[config["model_type"]]
        if real.is_dir():
            for file in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(real / file, folder)
        else:
            train_tokenizer([q["question"] for q in QUESTIONS], [], 400).save(str(folder / "tokenizer.json"))
            (folder / "tokenizer_config.json").write_text(
                json.dumps({"chat_template": own_template("chatml")})
            )
    return folders


@pytest.mark.parametrize(
    ("script", "name", "gpus"),
    [
        ("train_sft.py", "fleming_r1_7b", ["--gpus", "8"]),
        ("train_grpo.py", "fleming_r1_7b", ["--gpus", "8"]),
        ("train_grpo.py", "fleming_r1_32b", ["--gpus", "8", "--gpu-memory", "141"]),
        ("train_sft.py", "qwen2.5_0.5b_one_gpu", ["--gpus", "1", "--gpu-memory", "24"]),
        ("train_grpo.py", "qwen2.5_0.5b_one_gpu", ["--gpus", "1", "--gpu-memory", "24"]),
    ],
)
def test_each_config_runs_dry_with_the_shapes_it_is_for(script, name, gpus, real_folders, tmp_path):
    questions = write_jsonl(tmp_path / "questions.jsonl", QUESTIONS)
    trajectories = write_jsonl(tmp_path / "trajectories.jsonl", TRAJECTORIES)
    settings = [
        f"model={real_folders[name]}",
        f"data.questions={questions}",
        f"data.trajectories={trajectories}",
    ]
    settings.append("data.decontamination=off")  # there are no benchmarks here; test_gate.py asks for them
    if name == "fleming_r1_7b":
        settings += [
            "grpo.start_from=base",
            "sft.validation=1",
        ]  # no cold start was run here, on few trajectories
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, str(ROOT / script), "--config", str(ROOT / f"configs/{name}.yaml"), *settings]
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    result = warm.run(
        [*command, "--dry-run", *gpus],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert messages(result.stderr) == []
    lines = result.stdout.splitlines()
    assert [line for line in lines if line.startswith("fits: the peak, in ")]
    assert lines[-1] == "dry run: nothing was started or written"
    assert "<|im_start|>user\nWhich of the drugs treats patient 0?" in result.stdout
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", MODELS)
def test_each_config_loads_and_names_no_file_of_this_machine(name):
    cfg = load_config(Config, str(ROOT / f"configs/{name}.yaml"), [])
    assert not Path(cfg.model).is_absolute()
    assert not Path(cfg.run_dir).is_absolute()
    assert cfg.chat_format == {"qwen2": "qwen2.5", "qwen3": "qwen3"}[MODELS[name]["model_type"]]
    assert (cfg.answer_style, cfg.grpo.temperature, cfg.grpo.updates_per_rollout) == ("letter", 1.0, 1)
    assert (cfg.grpo.stage1.group_size, cfg.grpo.stage2.group_size) == (8, 16)
    assert cfg.grpo.curriculum.stage2_mix == {"wrong": 2, "right": 1}
    assert (cfg.grpo.start_from == "base") is (name == "fleming_r1_32b")  # the only one without a cold start


# --- the function itself, on a small model


@pytest.fixture
def small(tmp_path) -> Config:
    """A config whose model folder and data files are whole."""
    sizes = BaseModelConfig(
        vocab_size=400, hidden_size=32, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=16
    )
    make_base_model(sizes, [q["question"] for q in QUESTIONS], ["penicillamine"], 0, tmp_path / "model")
    data = DataConfig(
        questions=str(write_jsonl(tmp_path / "questions.jsonl", QUESTIONS)),
        trajectories=str(write_jsonl(tmp_path / "trajectories.jsonl", TRAJECTORIES)),
    )
    grpo = GRPOConfig(max_new_tokens=64)
    return replace(
        Config(), run_dir=str(tmp_path / "run"), model=str(tmp_path / "model"), data=data, grpo=grpo
    )


def run(stage: str, cfg: Config, gpus: int | None = 2) -> None:
    options = Namespace(gpus=gpus, gpu_memory=None)
    if stage == "sft":
        dry_run("sft", cfg, options, lambda found: train_sft.hold_out(found, cfg.sft.validation, cfg.seed))
    else:
        dry_run("grpo", cfg, options, partial(train_grpo.look_at_questions, cfg=cfg))


def test_it_says_what_the_run_would_start_from(small, capsys, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    run("grpo", small)
    printed = capsys.readouterr().out
    assert f"model: {small.model}, " in printed
    assert "6 records; looked at 6" in printed
    assert "longest answer 64; 0 exceed the model's context of 1024" in printed
    assert f"{small.run_dir}: begins at step 1" in printed
    assert "RL, " in printed
    assert "memory of each of 2 GPUs" in printed
    run("sft", small)
    printed = capsys.readouterr().out
    assert "<|im_start|>assistant\n<think>Copper.</think>\n<answer>B</answer>\n" in printed
    assert "cold start, " in printed
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_without_gpus_here_or_asked_for_it_counts_the_memory_of_this_machine(small, capsys):
    run("grpo", replace(small, parallel=replace(small.parallel, device="cpu")), gpus=None)
    printed = capsys.readouterr().out
    assert "memory of each of 1 processes" in printed
    assert "sampling copy" not in printed  # one process samples with the policy's own tensors
    assert "\nfits: " in printed


def test_the_longest_prompt_is_found_wherever_it_stands(small, capsys):
    many = [{**QUESTIONS[0], "id": f"m{i}"} for i in range(300)]
    many[250]["question"] = "The patient is tired. " * 40
    write_jsonl(Path(small.data.questions), many)
    run("grpo", small)
    printed = capsys.readouterr().out
    assert "300 records; looked at 101, the first and the longest" in printed  # the others are equally long
    longest = int(printed.split("longest prompt ")[1].split()[0])
    assert longest > 150
    assert f"x {longest + 64} tokens" in printed


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_only_the_first_process_of_a_run_speaks(stage, small, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    run(stage, small)
    assert capsys.readouterr().out == ""


def test_it_counts_the_processes_of_torchrun(small, capsys, monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    run("grpo", replace(small, parallel=replace(small.parallel, device="cpu")), gpus=None)
    printed = capsys.readouterr().out
    assert "memory of each of 4 processes on 2 nodes" in printed
    assert "weights, fp32, 1/2" in printed


def drop_a_tensor(cfg):
    path = Path(cfg.model, "model.safetensors")
    size = int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8 : 8 + size])
    last = max((k for k in header if k != "__metadata__"), key=lambda k: header[k]["data_offsets"])
    end = header.pop(last)["data_offsets"][0]
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    return cfg


def break_the_data(cfg):
    write_jsonl(Path(cfg.data.questions), [*QUESTIONS[:3], *({**QUESTIONS[3], "answer": "C"},) * 2])
    return cfg


def only_test_questions(cfg):
    write_jsonl(Path(cfg.data.questions), [{**q, "split": "test"} for q in QUESTIONS])
    return cfg


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: replace(c, model=c.model + "x"), "modelx: no such model folder"),
        (drop_a_tensor, "is missing, which the model of config.json has"),
        (break_the_data, r"questions.jsonl:4: "),
        (only_test_questions, "no question has split train"),
        (lambda c: replace(c, grpo=replace(c.grpo, reward="no.such:thing")), "grpo.reward=no.such:thing"),
        (
            lambda c: replace(c, grpo=replace(c.grpo, max_new_tokens=5000)),
            r"none of 6 records looked at fits .* prompt of \d+ tokens and grpo.max_new_tokens = 5000",
        ),
    ],
    ids=[
        "no model",
        "a tensor missing",
        "a wrong record",
        "no training question",
        "no reward",
        "answers too long",
    ],
)
def test_a_mistake_is_found_and_named(spoil, message, small):
    with pytest.raises(InputError, match=message):
        run("grpo", spoil(small))


@pytest.mark.parametrize("stage", ["sft", "grpo"])
@pytest.mark.parametrize("what", ["a config.json alone", "a config.json and the tokenizer", "a name"])
def test_a_model_that_is_not_here_yet_is_estimated_by_its_sizes(what, stage, small, capsys):
    run(stage, small)
    whole = capsys.readouterr().out
    assert "all there" in whole
    if what == "a name":
        small = replace(small, model="Qwen/Qwen2.5-7B-Instruct")
    else:
        Path(small.model, "model.safetensors").unlink()
        if what == "a config.json alone":
            for path in Path(small.model).glob("*token*.json"):
                path.unlink()
    run(stage, small)
    printed = capsys.readouterr().out
    assert "NOT HERE YET" in printed
    assert ("7,615,616,512 parameters" in printed) is (what == "a name")
    assert ("lengths are estimates" in printed) is (what != "a config.json and the tokenizer")
    if what == "a config.json and the tokenizer":  # then all is known but the weights
        assert printed.splitlines()[3:] == whole.splitlines()[3:]
    assert "update" in printed.split("memory of each of")[1]
    estimate, known = (int(out.split("longest prompt ")[1].split()[0]) for out in (printed, whole))
    assert 0.3 * known < estimate < 3 * known


def test_before_the_cold_start_rl_is_estimated_by_the_base_model(small, capsys):
    run("grpo", replace(small, grpo=replace(small.grpo, start_from="cold_start")))
    printed = capsys.readouterr().out
    assert f"{Path(small.run_dir, 'sft/model')} is not there yet" in printed
    assert f"model: {small.model}, " in printed


def test_a_trajectory_that_cannot_be_taught_is_found_with_its_line(small):
    two = {**TRAJECTORIES[3], "response": "a<|im_end|>b"}
    write_jsonl(Path(small.data.trajectories), [*TRAJECTORIES[:3], two])
    with pytest.raises(InputError, match=r"trajectories.jsonl:4: .*begins or ends a turn"):
        run("sft", small)


def test_what_the_run_would_refuse_to_hold_out_to_measure_or_to_draw_is_refused(small):
    with pytest.raises(InputError, match=r"sft.validation = 99 holds out all"):
        run("sft", replace(small, sft=replace(small.sft, validation=99)))
    with pytest.raises(InputError, match=r"dev.jsonl: no such file to measure on"):
        run("grpo", replace(small, grpo=replace(small.grpo, dev_every=5)))
    write_jsonl(Path(small.data.questions), [{**q, "difficulty": "difficult"} for q in QUESTIONS])
    with pytest.raises(InputError, match="stage 1 has nothing to draw"):
        run("grpo", small)


def test_it_refuses_no_gpus_and_no_memory(small):
    with pytest.raises(InputError, match="--gpus 0: expected at least 1"):
        run("grpo", small, gpus=0)
    with pytest.raises(InputError, match=r"--gpu-memory 0\.0: expected more than 0"):
        dry_run("grpo", small, Namespace(gpus=1, gpu_memory=0.0), print)


def test_it_says_which_checkpoint_it_would_go_on_from_and_refuses_other_settings(small, capsys):
    checkpoint = Path(small.run_dir, "grpo/checkpoints/step_000007")
    checkpoint.mkdir(parents=True)
    identity = fingerprint(small, "grpo", {"model/model.safetensors": "not the hash of this file"})
    state = json.dumps({"step": 7, "identity": identity, "metrics_bytes": 0, "metrics_sha256": ""})
    (checkpoint / "state.json").write_text(state)
    write_sums(checkpoint, {"state.json": hashlib.sha256(state.encode()).hexdigest()})
    run(
        "grpo", replace(small, grpo=replace(small.grpo, micro_batch_tokens=999))
    )  # moves memory about, no more
    assert "goes on after step 7; the settings agree" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"grpo\.learning_rate = 1e-06, now it is 0\.1"):
        run("grpo", replace(small, grpo=replace(small.grpo, learning_rate=0.1)))
