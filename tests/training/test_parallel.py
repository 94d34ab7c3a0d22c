"""Two processes against one: the same losses, gradients, weights and files (gloo, FSDP2 on CPU)."""

import functools
import json
import os
import shutil
import sys

import pytest
import safetensors.torch
import torch
from support import warm
from support.models import hf_folder, hf_model, ours
from support.places import ROOT
from support.runs import ALONE, SMALL, records, torchrun
from support.workers import sharded

from fleming.settings import Config, ParallelConfig
from fleming.training.checkpoint import Keep, checkpoints, load_tensors, save_checkpoint
from fleming.training.logprobs import token_logprobs
from fleming.training.optimizer import make_adamw
from fleming.training.packing import pack
from fleming.training.parallel import load_sharded, parallelize
from model import load_model

CASES = [f"{name}/{checkpointing}" for name in sharded.MODELS for checkpointing in (False, True)]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """(folder of models, what two processes made of them, their JSON, their tensors)."""
    folder, out = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("out")
    for name in sharded.MODELS:
        (folder / name).mkdir()
        hf_folder(folder / name, name)
        model, _ = load_sharded(folder / name, Config(), ALONE)
        _, optimizer = sharded.train(model, ALONE, steps=3)
        state = {"step": 3, "metrics_bytes": 0}
        save_checkpoint(folder / name / "from one", model, optimizer, state, ALONE, Keep(1))
    (folder / "big").mkdir()
    big = {"hidden_size": 512, "intermediate_size": 4096, "num_hidden_layers": 6, "num_attention_heads": 8}
    hf_folder(folder / "big", "qwen2-tied", torch.bfloat16, **big)
    result = torchrun(ROOT / "tests/support/workers/sharded.py", folder, out)
    assert result.returncode == 0, result.stderr[-3000:]
    return (
        folder,
        out,
        json.loads((out / "found.json").read_text()),
        safetensors.torch.load_file(out / "tensors"),
    )


def small(data):
    """Pack sequences for a model of 101 ids."""
    return pack([[t % 101 for t in p] for p, _ in data], [[t % 101 for t in r] for _, r in data])


def relative(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_of_the_first_step_and_ten_losses_are_those_of_one_process(two, case):
    folder, _, found, tensors = two
    model, _ = load_model(folder / case.partition("/")[0])
    assert found[f"{case}/loss"] == pytest.approx(
        sharded.backward(model, sharded.sequences(12), ALONE), rel=1e-5
    )
    gradient = sharded.gradient(model)
    assert relative(tensors[f"{case}/gradient"], gradient) <= 1e-5
    assert found[f"{case}/norm"] == pytest.approx(gradient.norm().item(), rel=1e-5)
    model.zero_grad()
    losses, _ = sharded.train(model, ALONE)
    assert found[f"{case}/losses"] == pytest.approx(losses, rel=1e-5)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("case", CASES)
def test_a_rank_without_work_changes_nothing(two, case):
    folder, _, found, tensors = two
    model, _ = load_model(folder / case.partition("/")[0])
    loss = sharded.backward(model, sharded.sequences(1), ALONE)
    assert found[f"{case}/one sequence"] == pytest.approx(loss, rel=1e-5)
    assert relative(tensors[f"{case}/one sequence gradient"], sharded.gradient(model)) <= 1e-5


@pytest.mark.parametrize("name", sharded.MODELS)
def test_the_sampling_copy_is_bitwise_the_trainers_cast_weights(two, name):
    _, out, found, tensors = two
    assert found[f"{name}/copies"]
    trained, _ = load_model(out / name / "model")
    assert torch.equal(trained(torch.tensor([[5, 6, 7, 8]])), tensors[f"{name}/copy logits"])


@pytest.mark.parametrize("name", sharded.MODELS)
def test_an_export_of_two_ranks_is_what_one_would_write(two, name):
    import transformers

    _, out, _, tensors = two
    model = transformers.AutoModelForCausalLM.from_pretrained(out / name / "model", dtype=torch.float32)
    trained = {
        k.removeprefix(f"{name}/trained/"): v for k, v in tensors.items() if k.startswith(f"{name}/trained/")
    }
    state = model.state_dict()
    assert all(
        torch.equal(v, state[k if k.startswith("lm_head") else f"model.{k}"]) for k, v in trained.items()
    )
    assert len(trained) >= len(list(model.parameters()))


@pytest.mark.parametrize("name", sharded.MODELS)
def test_checkpoints_load_on_another_world_size(two, name):
    folder, out, _, tensors = two
    for checkpoint, weights, moments in (
        (out / name / "from two", "trained", "moment"),
        (folder / name / "from one", "loaded", "loaded moment"),
    ):
        model, _ = load_model(folder / name)
        optimizer = make_adamw(model, 0.1)
        load_tensors(checkpoints(checkpoint)[-1], model, optimizer, ALONE)
        for p_name, p in model.named_parameters():
            assert torch.equal(p, tensors[f"{name}/{weights}/{p_name}"]), p_name
            assert torch.equal(optimizer.state[p]["exp_avg_sq"], tensors[f"{name}/{moments}/{p_name}"]), (
                p_name
            )


def test_with_several_nodes_weights_are_replicated_and_gradients_the_same(two):
    folder, _, found, tensors = two
    model, _ = load_model(folder / "qwen3")
    assert all(found["hsdp/local"])
    assert found["hsdp/loss"] == pytest.approx(
        sharded.backward(model, sharded.sequences(12), ALONE), rel=1e-5
    )
    assert relative(tensors["hsdp/gradient"], sharded.gradient(model)) <= 1e-5


def test_loading_takes_no_more_memory_than_the_shard(two):
    _, _, found, _ = two
    assert found["shard bytes"] > 80e6
    assert max(found["growth of shard"]) <= 1.2


def test_one_ranks_error_is_everybodys_and_work_comes_back_in_order(two):
    _, _, found, _ = two
    assert found["errors"] == ["only here"] * 2
    assert found["divided"] == [[i, i % 2] for i in range(7)]
    assert found["any"] == [True, False]


@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_blocks_give_the_same_and_do_not_compile_again_for_each_shape(monkeypatch, checkpointing):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain, compiled = ours(hf_model("qwen3")), ours(hf_model("qwen3"))
    parallelize(compiled, ParallelConfig(compile=True, activation_checkpointing=checkpointing), ALONE)
    for count in (1, 2, 3, 5, 8):
        batch = small(sharded.sequences(count))
        for model in (plain, compiled):
            model.zero_grad()
            logp, _ = token_logprobs(model, batch)
            logp.mean().backward()
        assert relative(sharded.gradient(compiled), sharded.gradient(plain)) <= 1e-5
    # Of the block, and of what is done to a chunk's logits: for one sequence or token, and for any number of them.
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 6


def test_activation_checkpointing_keeps_a_fraction_of_the_activations():
    kept = {}
    for checkpointing in (False, True):
        model = ours(hf_model("qwen3"))
        parallelize(model, ParallelConfig(activation_checkpointing=checkpointing), ALONE)
        data = sharded.sequences(12)
        sizes = {}

        def note(tensor, sizes=sizes):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        own = {p.untyped_storage().data_ptr() for p in model.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            token_logprobs(
                model, pack([[t % 101 for t in p] for p, _ in data], [[t % 101 for t in r] for _, r in data])
            )
        kept[checkpointing] = sum(size for pointer, size in sizes.items() if pointer not in own)
    assert kept[True] < kept[False] / 5


@pytest.fixture(scope="module")
def runs(inputs, tmp_path_factory):
    """The small run of both training scripts by one process and by two, with a reward that tells answers apart."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "letters.py").write_text(
        "def many_e(response, finished, question, cfg):\n"
        "    return {'correct': float('e' in response), 'format': 0.0, 'total': response.count('e') / 10}\n"
    )
    settings = [*SMALL, "grpo.reward=letters:many_e", "grpo.preset=dapo", "grpo.updates_per_rollout=2"]
    settings += ["grpo.minibatches_per_rollout=2", "grpo.overlong=penalty", "grpo.overlong_buffer=8"]
    settings += ["grpo.importance_cap=2", "grpo.kl_estimator=k3", "grpo.micro_batch_tokens=600"]
    config = ["--config", str(ROOT / "configs/demo.yaml"), *settings]
    environment = {"PYTHONPATH": f"{ROOT}:{folder}", "OMP_NUM_THREADS": "1"}
    for name in ("one", "two"):
        for part in ("data", "base"):
            shutil.copytree(inputs / part, folder / name / part)
        for script in ("train_sft.py", "train_grpo.py"):
            arguments = [str(ROOT / script), *config, f"run_dir={folder / name}"]
            if name == "one":
                command, env = [sys.executable, *arguments], {**os.environ, **environment}
                result = warm.run(command, capture_output=True, text=True, cwd=ROOT, env=env)
            else:
                result = torchrun(*arguments, env=environment)
            assert result.returncode == 0, result.stderr[-3000:]
    return folder


def test_sft_by_two_processes_is_sft_by_one(runs):
    one, two = (records(runs / name / "sft/metrics.jsonl") for name in ("one", "two"))
    assert [r["loss"] for r in two] == pytest.approx([r["loss"] for r in one], rel=1e-4)
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=1e-5)
    assert two[0]["grad_norm"] == pytest.approx(one[0]["grad_norm"], rel=1e-5)
    assert two[0]["entropy"] == pytest.approx(one[0]["entropy"], rel=1e-5)


def test_grpo_by_two_processes_asks_the_same_and_takes_the_same_first_step(runs):
    one, two = (records(runs / name / "grpo/metrics.jsonl") for name in ("one", "two"))
    assert len(one) == len(two) == 9
    for step in range(1, 6):  # stage 2 draws by what the model got wrong, and that may differ by a rounding
        asked = [
            [r["question_id"] for r in records(runs / name / f"grpo/rollouts/step_{step:06d}.jsonl")]
            for name in ("one", "two")
        ]
        assert asked[0] == asked[1]
    # Both cold starts differ in the last bits; the same texts were drawn nevertheless, and give the same step.
    texts = [
        [r["token_ids"] for r in records(runs / n / "grpo/rollouts/step_000001.jsonl")]
        for n in ("one", "two")
    ]
    assert sum(a == b for a, b in zip(*texts, strict=True)) >= len(texts[0]) - 1
    assert one[0]["groups_with_variance"] > 0
    assert one[0]["grad_norm"] > 0
    if texts[0] == texts[1]:
        for name in ("loss", "kl", "grad_norm", "entropy", "ratio_mean", "importance_mean", "scored_tokens"):
            assert two[0][name] == pytest.approx(one[0][name], rel=1e-3, abs=1e-6), name


def test_metrics_split_a_step_into_its_parts(runs):
    for record in records(runs / "two/grpo/metrics.jsonl"):
        times = record["time"]
        parts = {"rollout", "score", "reference", "update", "gather"} | (
            {"mine"} if record["step"] in (6, 9) else set()
        )
        assert parts <= times.keys()
        assert sum(times[p] for p in parts) <= times["step"] <= 1.2 * sum(times[p] for p in parts) + 0.1
        assert 0 < times["mfu"] < 2
        assert 0 < times["decode_bandwidth"] < 5
        assert times["sampled_tokens_per_second"] == pytest.approx(
            record["response_tokens"] / times["rollout"]
        )
        assert record["sampler_scorer_max"] == 0
    assert "checkpoint" in records(runs / "two/grpo/metrics.jsonl")[2]["time"]  # after the save of step 2


def test_a_step_that_is_not_finite_is_skipped_and_recorded_and_three_in_a_row_stop_all_ranks(runs, tmp_path):
    """Rewards of 1e300 are finite, their advantages in fp32 are not; each rank rewards 8 answers a step."""
    (tmp_path / "huge.py").write_text(
        "import itertools\n"
        "calls = itertools.count()\n"
        "def now_and_then(response, finished, question, cfg):\n"
        "    n = next(calls)\n"
        "    huge = n // 8 in (1, 3, 4, 5)\n"
        "    return {'correct': 0.0, 'format': 0.0, 'total': 1e300 * (n % 2) if huge else n % 2}\n"
    )
    settings = [
        *SMALL,
        "grpo.reward=huge:now_and_then",
        "grpo.preset=paper",
        "grpo.kl_coef=0",
        "grpo.clip_high=null",
    ]
    settings += [f"data.questions={runs / 'one/data/rl.jsonl'}", f"model={runs / 'one/sft/model'}"]
    settings += ["grpo.stage1.max_steps=8", f"run_dir={tmp_path / 'run'}"]
    config = ["--config", str(ROOT / "configs/demo.yaml")]
    result = torchrun(ROOT / "train_grpo.py", *config, *settings, env={"PYTHONPATH": f"{ROOT}:{tmp_path}"})
    assert result.returncode != 0
    assert result.stderr.count("3 times in a row") == 1
    assert (
        result.stderr.count("Traceback") == result.stderr.count("ChildFailedError:") == 1
    )  # torchrun's own report
    steps = records(tmp_path / "run/grpo/metrics.jsonl")
    assert [r["skipped_updates"] for r in steps] == [0, 1, 0, 1, 1]
    assert [r["grad_norm"] is None for r in steps] == [False, True, False, True, True]


SLOW_TO_SPEAK = """
import contextlib, time
from fleming.config import run_script
from fleming.settings import ParallelConfig
from fleming.training.parallel import join_world
from model.errors import InputError

def main(argv):
    with join_world(ParallelConfig(device="cpu")) as world, contextlib.ExitStack() as stack:
        stack.callback(time.sleep, 2.0 * world.is_main)
        with world.agree():
            if not world.is_main:
                raise InputError("a page is missing")

run_script(main)
"""


def test_what_stops_all_is_said_however_slow_the_rank_that_speaks(tmp_path):
    """The launcher ends every process a moment after the first has left."""
    (tmp_path / "slow.py").write_text(SLOW_TO_SPEAK)
    result = torchrun(tmp_path / "slow.py")
    assert result.returncode != 0
    assert result.stderr.count("slow.py: error: a page is missing") == 1
    assert result.stderr.count("a page is missing") == 1
