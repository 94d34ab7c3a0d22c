"""The estimate of memory against what is allocated when the same code runs, and against the design's own numbers."""

import dataclasses
import gc
import json
import os
import sys
from dataclasses import replace

import pytest
import torch
from support import warm
from support.models import PlainTokenizer
from support.places import ROOT
from support.runs import ALONE
from support.workers import estimate_worker
from torch.profiler import ProfilerActivity, profile, record_function

from fleming.config import load_config
from fleming.rl.grpo import grpo_loss
from fleming.settings import Config, GRPOConfig, ParallelConfig, SFTConfig
from fleming.settings.training import StageConfig
from fleming.training import estimate_memory
from fleming.training.estimate_memory import (
    GB,
    Budget,
    Case,
    Longest,
    Machine,
    estimate,
    kept_by_block,
    report,
)
from fleming.training.logprobs import token_logprobs
from fleming.training.optimizer import GuardedStep, make_adamw, set_learning_rate
from fleming.training.packing import pack
from fleming.training.parallel import parallelize
from model import InputError, Sampler, SamplingParams
from model.attention import PackedCausal
from model.huggingface.config import ModelConfig
from model.transformer import Transformer, rotary


def shape(kind, vocabulary, hidden, inner, layers, heads, kv_heads, head_dim, tied):
    return ModelConfig(
        model_type=kind,
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        rope_theta=1e4,
        rms_norm_eps=1e-6,
        max_position_embeddings=40960,
        tie_word_embeddings=tied,
        initializer_range=0.02,
    )


SHAPES = {  # of about 20 million parameters, as unlike as they can be
    "qwen3": shape("qwen3", 14000, 384, 1152, 8, 6, 2, 64, tied=True),
    "qwen2": shape("qwen2", 12000, 256, 1400, 10, 8, 4, 48, tied=False),
    "llama": shape("llama", 3000, 512, 1400, 6, 8, 8, 64, tied=True),
    "shallow": shape("qwen3", 14000, 384, 1152, 1, 6, 2, 64, tied=True),
}
QWEN25_7B = shape("qwen2", 152064, 3584, 18944, 28, 28, 4, 128, tied=False)
QWEN3_32B = shape("qwen3", 151936, 5120, 25600, 64, 64, 8, 128, tied=False)
QWEN25_05B = shape("qwen2", 151936, 896, 4864, 24, 14, 2, 64, tied=True)
TEXT = Longest(1024, 4096)


def allocated(work):
    """Run work(); return the most bytes that torch's CPU allocator had handed out, and the most in each marked phase.

    The profiler sees every allocation, those inside kernels and in backward too. (A dispatch mode would see fewer, and
    keeps autograd from adding gradients up in place.)
    """
    gc.collect()  # what an earlier test left must not be freed in here
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events = profiler.profiler.kineto_results.events()
    phases = {e.name(): (e.start_ns(), e.end_ns()) for e in events if e.name().startswith("phase ")}
    now, peaks = 0, dict.fromkeys(["all", *phases], 0)
    for time, size in sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"):
        now += size
        for name in peaks:
            if name == "all" or phases[name][0] <= time <= phases[name][1]:
                peaks[name] = max(peaks[name], now)
    return {name.removeprefix("phase "): peak for name, peak in peaks.items()}


def prompts(count, length):
    return [[5 + i, *(1 + j % 50 for j in range(length - 1))] for i in range(count)]


def sft(model, cfg, sequences, packs, prompt, response):
    """Two steps of the cold start: in the second the moments are there from its beginning."""
    transformer = Transformer(model)
    parallelize(transformer, cfg.parallel, ALONE)
    optimizer, step = make_adamw(transformer, 0.1), GuardedStep()
    set_learning_rate(optimizer, 1e-4)
    for _ in range(2):
        for _ in range(packs):
            logp, _ = token_logprobs(
                transformer, pack(prompts(sequences, prompt), [[2] * response] * sequences)
            )
            (-logp.sum() / 1000).backward()
            del logp
        step(transformer, optimizer, 1.0)


def grpo(model, cfg, pack_size, prompt):
    """Two steps of RL with a reference; the sampler uses the policy's own tensors. No answer ends early."""
    rl = cfg.grpo
    policy, reference = Transformer(model), Transformer(model)
    for p in policy.parameters():  # of zeros the gradient would be zero, and no step taken
        torch.nn.init.normal_(p, std=0.02)
    parallelize(policy, cfg.parallel, ALONE)
    parallelize(reference, cfg.parallel, ALONE, trainable=False)
    sampler = Sampler(policy, PlainTokenizer(model.vocab_size), rl.max_num_seqs)
    optimizer, step = make_adamw(policy, 0.0), GuardedStep()
    set_learning_rate(optimizer, 1e-4)
    questions = prompts(rl.questions_per_step, prompt)
    for _ in range(2):
        with record_function("phase rollout"):
            params = SamplingParams(n=rl.stage1.group_size, max_new_tokens=rl.max_new_tokens)
            groups = sampler.generate(questions, params)
        answers = [
            (q, s.token_ids, s.logprobs) for q, group in zip(questions, groups, strict=True) for s in group
        ]
        batches = []
        for i in range(0, len(answers), pack_size):
            asked, given, logprobs = zip(*answers[i : i + pack_size], strict=True)
            asked = [[j, *prompt[1:]] for j, prompt in enumerate(asked)]  # the worst case: no two share one
            batches.append((pack(asked, given), torch.tensor([x for row in logprobs for x in row])))
        with record_function("phase score"), torch.no_grad():
            reference_logp = [token_logprobs(reference, batch)[0] for batch, _ in batches]
        with record_function("phase update"):
            for (batch, sampled), ref_logp in zip(batches, reference_logp, strict=True):
                logp, _ = token_logprobs(policy, batch)
                advantages = torch.ones(len(batch.cu_seqlens) - 1)
                cuts = batch.response_cu_seqlens
                grpo_loss(logp, sampled, ref_logp, advantages, cuts, rl.loss, 1000.0)[0].backward()
                del logp
            step(policy, optimizer, 1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("sequences", [1, 3])
@pytest.mark.parametrize("kind", SHAPES)
def test_what_is_kept_of_a_block_is_what_autograd_saves_to_a_hundredth(kind, sequences, dtype):
    model = replace(SHAPES[kind], num_hidden_layers=1, vocab_size=60)
    transformer = Transformer(model).to(dtype)
    batch = pack(prompts(sequences, 10), [[2] * 71] * sequences)
    attend = PackedCausal(batch.cu_seqlens, batch.max_seqlen)
    cos, sin = rotary(model, batch.positions, dtype)
    x = torch.randn(1, batch.tokens.numel(), model.hidden_size, dtype=dtype, requires_grad=True)
    shared = {
        t.untyped_storage().data_ptr()
        for t in (*transformer.parameters(), cos, sin, attend.inverse, attend.slots)
    }
    shared |= {t.untyped_storage().data_ptr() for group in attend.groups for t in group[:2]}
    saved = {}

    def keep(tensor):
        saved[tensor.untyped_storage().data_ptr()] = (
            tensor  # two saved views of one storage are one allocation
        )
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        transformer.layers[0](x, cos, sin, attend)
    found = sum(t.untyped_storage().nbytes() for at, t in saved.items() if at not in shared)
    kept = kept_by_block(model, batch.tokens.numel(), dtype.itemsize, side_by_side=sequences > 1)
    assert kept == pytest.approx(found, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "checkpointing", "sequences", "packs", "prompt", "response"),
    [
        ("qwen3", False, 3, 2, 30, 120),
        ("qwen3", True, 4, 1, 10, 270),  # more scored tokens than a chunk holds
        ("qwen2", False, 1, 1, 10, 400),
        ("qwen2", True, 2, 2, 150, 80),
        ("shallow", True, 4, 1, 10, 270),  # where nothing is as large as what is made of a chunk's logits
    ],
)
def test_the_predicted_peak_of_the_cold_start_is_the_measured_one(
    kind, checkpointing, sequences, packs, prompt, response
):
    settings = SFTConfig(
        sequences_per_step=sequences * packs, micro_batch_tokens=sequences * (prompt + response)
    )
    cfg = replace(Config(), sft=settings, parallel=ParallelConfig(activation_checkpointing=checkpointing))
    measured = allocated(lambda: sft(SHAPES[kind], cfg, sequences, packs, prompt, response))
    predicted = estimate(Case("sft", SHAPES[kind], cfg, Machine(device="cpu"), Longest(prompt, response)))
    assert predicted.peak == pytest.approx(measured["all"], rel=0.1)


@pytest.mark.parametrize(
    ("kind", "checkpointing", "questions", "group", "prompt", "response", "pack_size", "rows"),
    [("llama", False, 2, 4, 48, 16, 4, 8), ("qwen2", True, 2, 4, 60, 12, 4, 6)],
)
def test_the_predicted_peak_of_rl_and_of_its_phases_is_the_measured_one(
    kind, checkpointing, questions, group, prompt, response, pack_size, rows
):
    settings = GRPOConfig(
        questions_per_step=questions,
        stage1=StageConfig(group_size=group),
        stage2=StageConfig(max_steps=0),
        max_new_tokens=response,
        max_num_seqs=rows,
        micro_batch_tokens=pack_size * (prompt + response),
    )
    cfg = replace(Config(), grpo=settings, parallel=ParallelConfig(activation_checkpointing=checkpointing))
    assert settings.loss.needs_reference
    measured = allocated(lambda: grpo(SHAPES[kind], cfg, pack_size, prompt))
    predicted = estimate(Case("grpo", SHAPES[kind], cfg, Machine(device="cpu"), Longest(prompt, response)))
    assert predicted.peak == pytest.approx(measured["all"], rel=0.05)
    for phase in ("rollout", "score", "update"):
        assert predicted.peaks[phase] == pytest.approx(measured[phase], rel=0.05), phase


def test_the_predicted_peaks_of_two_sharded_processes_are_the_measured_ones():
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node",
        "2",
        estimate_worker.__file__,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = warm.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr[-3000:]
    longest = Longest(estimate_worker.PROMPT, estimate_worker.RESPONSE)
    for checkpointing, measured in zip((False, True), json.loads(result.stdout), strict=True):
        cfg = estimate_worker.config(checkpointing)
        predicted = estimate(Case("grpo", estimate_worker.MODEL, cfg, Machine(2, device="cpu"), longest))
        assert sum(predicted.standing.values()) == pytest.approx(measured["standing"], rel=0.01)
        for phase in ("score", "update", "export"):
            assert predicted.peaks[phase] == pytest.approx(measured[phase], rel=0.1), (phase, checkpointing)


def test_what_is_held_out_from_the_cold_start_takes_a_whole_copy_and_a_row_of_cache():
    """In bf16, while the model itself is sharded: the copy lives for as long as the answers take."""
    held_out = replace(Config(), sft=SFTConfig(validation=8))
    copy, row = 2 * QWEN25_7B.parameters, 2 * 28 * 4 * 128 * 2 * (1024 + 4096)
    for cfg, size in ((held_out, copy + row), (Config(), 0)):
        phases = estimate(Case("sft", QWEN25_7B, cfg, Machine(8), TEXT)).phases
        assert sum(phases.get("validation", {}).values()) == size


def test_the_states_of_7b_on_eight_gpus_are_the_designs():
    """16 bytes a parameter / 8 = 15.2 GB, reference 1.9 GB, sampling copy 15.2 GB."""
    budget = estimate(Case("grpo", QWEN25_7B, Config(), Machine(8), TEXT))
    weights, moments, reference, copy = budget.standing.values()
    assert round((weights + moments + budget.phases["update"]["gradients"]) / GB, 1) == 15.2
    assert (round(reference / GB, 1), round(copy / GB, 1)) == (1.9, 15.2)


@pytest.mark.parametrize(
    ("name", "model", "gpus", "nodes", "memory", "overrides", "fits"),
    [
        ("fleming_r1_7b", QWEN25_7B, 8, 1, 80, [], True),
        ("fleming_r1_7b", QWEN25_7B, 8, 1, 40, [], False),
        ("fleming_r1_32b", QWEN3_32B, 8, 1, 141, [], True),
        ("fleming_r1_32b", QWEN3_32B, 8, 1, 80, [], False),
        ("fleming_r1_32b", QWEN3_32B, 16, 2, 80, ["parallel.shard=all"], False),
        ("qwen2.5_0.5b_one_gpu", QWEN25_05B, 1, 1, 24, [], True),
    ],
)
def test_what_the_configs_fit_on(name, model, gpus, nodes, memory, overrides, fits):
    cfg = load_config(Config, str(ROOT / f"configs/{name}.yaml"), overrides)
    machine, longest = Machine(gpus, nodes, memory=memory * GB), Longest(1024, cfg.grpo.max_new_tokens)
    for stage in ("sft", "grpo")[cfg.grpo.start_from == "base" :]:
        text = report(Case(stage, model, cfg, machine, longest))
        assert ("\nfits: the peak, in " in text) is (fits or (stage == "sft" and memory == 40))
        assert ("does not fit" in text) is ("\nfits" not in text)


def test_what_does_not_fit_is_told_what_would():
    machine = Machine(8, memory=80 * GB)
    text = report(Case("grpo", QWEN25_7B, Config(), machine, TEXT))
    assert text.splitlines()[-1].startswith("would fit with parallel.activation_checkpointing=true")
    cfg = load_config(Config, str(ROOT / "configs/fleming_r1_32b.yaml"), [])
    last = report(Case("grpo", QWEN3_32B, cfg, machine, TEXT)).splitlines()[-1]
    assert last.startswith("would not fit with")
    assert "sampling copy, 16 bits, whole: 65.5" in last  # it cannot be sharded


def test_each_setting_that_saves_memory_saves_it():
    base = replace(
        Config(), grpo=GRPOConfig(max_num_seqs=64), parallel=ParallelConfig(activation_checkpointing=True)
    )

    def change(section, **values):
        return replace(base, **{section: replace(getattr(base, section), **values)})

    def budget(cfg, gpus=16, nodes=2) -> Budget:
        return estimate(Case("grpo", QWEN25_7B, cfg, Machine(gpus, nodes), TEXT))

    def of(cfg, phase, gpus=16, nodes=2):
        return budget(cfg, gpus, nodes).peaks[phase]

    assert of(change("parallel", activation_checkpointing=False), "update") > of(base, "update")
    assert of(change("grpo", micro_batch_tokens=8192), "update") < of(base, "update")
    assert of(change("grpo", max_num_seqs=32), "rollout") < of(base, "rollout")
    assert of(change("grpo", kl_coef=0.0), "rollout") == of(base, "rollout") - 2 * QWEN25_7B.parameters / 8
    assert (
        of(change("parallel", offload=True), "rollout") == of(base, "rollout") - 12 * QWEN25_7B.parameters / 8
    )
    assert budget(change("parallel", offload=True), 8, 1).host == 16 * QWEN25_7B.parameters / 8
    assert of(base, "export") == of(base, "export", 8, 1)  # nodes are replicas ...
    assert of(change("parallel", shard="all"), "export") < of(base, "export")  # ... unless all of them shard


def test_the_command_prints_both_stages_and_refuses_nodes_that_do_not_divide(tmp_path, capsys):
    sizes = dataclasses.asdict(replace(QWEN25_05B, yarn=None))
    (tmp_path / "config.json").write_text(
        json.dumps({k: v for k, v in sizes.items() if k not in ("yarn", "raw")})
    )
    arguments = [
        "--config",
        str(ROOT / "configs/qwen2.5_0.5b_one_gpu.yaml"),
        f"model={tmp_path}",
        "--gpus",
        "2",
    ]
    estimate_memory.main([*arguments, "--gpu-memory", "24"])
    printed = capsys.readouterr().out
    assert printed.count("\nfits: ") == 2
    assert printed.startswith("cold start, 494,032,768 parameters: memory of each of 2 GPUs, GB\n")
    with pytest.raises(InputError, match="as many GPUs on each node"):
        estimate_memory.main([*arguments, "--nodes", "3"])
    for name in ("--gpus", "--nodes", "--gpu-memory", "--prompt", "--response"):
        with pytest.raises(InputError, match=rf"^{name} 0(\.0)?: expected more than 0"):
            estimate_memory.main([*arguments, name, "0"])


PUBLISHED = {  # parameters, as their model cards or index files have them
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_543_714_304,
    "Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-Math-7B": 7_615_616_512,
    "qwen2.5-14b-instruct": 14_770_033_664,
    "Qwen/QwQ-32B": 32_763_876_352,
    "Qwen/Qwen2.5-72B": 72_706_203_648,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-4B-Thinking-2507": 4_022_468_096,
    "Qwen/Qwen3-8B-Base": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "meta-llama/Meta-Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1_777_088_000,
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": 8_030_261_248,
    "deepseek-ai/DeepSeek-R1-0528-Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen2-7B-Instruct": 7_615_616_512,
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B": 1_711_376_384,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_usual_models_have_their_published_sizes_by_name(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    estimate_memory.main([f"model={name}", "--gpus", "8"])
    assert f"cold start, {PUBLISHED[name]:,} parameters" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["Qwen/Qwen3-30B-A3B", "Qwen/Qwen2.5-7", "some/Qwen2.5-7Bx", "nowhere"])
def test_another_name_is_no_usual_models(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"{name}: no such model folder.*assets/models\.yaml"):
        estimate_memory.main([f"model={name}"])


def test_a_config_json_alone_is_enough(tmp_path, capsys):
    raw = {"model_type": "qwen2", "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944}
    raw |= {"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps(raw))
    estimate_memory.main([f"model={tmp_path}"])
    assert "7,615,616,512 parameters" in capsys.readouterr().out
