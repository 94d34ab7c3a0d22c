"""Our trainer against what a user would run instead: transformers with padding, and TRL's GRPOTrainer. CPU, fp32.

    python benchmarks/trainer.py [--case ragged,step_tailed,step_full,memory] [--repeats 5] [--threads 2]

- ragged: forward and backward over 128 sequences of long-tailed lengths, packed or padded in random batches of 8
- step_tailed, step_full: whole GRPO steps of 16 prompts x 8 answers with a KL term, by train_grpo.py itself and by
  GRPOTrainer.train(), both from one model folder and with one reward; answers of at most, or of exactly, 128 tokens
- memory: peak of forward and backward of one GRPO micro-batch at a real vocabulary, in a fresh process each; the
  optimiser and the reference's forward are left out on both sides

Ours and theirs take turns; medians. TRL gets the batch size that suits it best, and no activation checkpointing where
time is measured. Left out: GPUs, vLLM, several processes. The last line is JSON.
"""

import argparse
import contextlib
import io
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
import transformers  # noqa: E402
import trl  # noqa: E402
from datasets import Dataset  # noqa: E402
from datasets import disable_progress_bars as quiet_datasets  # noqa: E402

import train_grpo  # noqa: E402
from benchmarks.shapes import write_tokenizer  # noqa: E402
from fleming.config import load_config  # noqa: E402
from fleming.prompt import question_messages  # noqa: E402
from fleming.records import Question  # noqa: E402
from fleming.rl.grpo import grpo_loss  # noqa: E402
from fleming.settings import Config, ParallelConfig  # noqa: E402
from fleming.settings.training import preset  # noqa: E402
from fleming.training.logprobs import token_logprobs  # noqa: E402
from fleming.training.packing import micro_batches, pack  # noqa: E402
from fleming.training.parallel import World, join_world, keep_freed_memory, parallelize  # noqa: E402
from model.huggingface.config import ModelConfig  # noqa: E402
from model.transformer import Transformer  # noqa: E402

DEMO = {
    **{"vocab_size": 1600, "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4},
    **{"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": True},
}
QWEN = {  # Qwen2.5-0.5B but for its depth
    **{"vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 2},
    **{"num_attention_heads": 14, "num_key_value_heads": 2, "tie_word_embeddings": True},
}
PACK, STEP_PACK = 2048, 4096  # tokens of a micro-batch; of a GRPO step's a shared prompt is fed once
PROMPTS, ANSWERS, NEW = 16, 8, 128
KL = 1e-3
BATCHES = (8, 16, 32, 64, 128)  # sequences a forward that TRL may choose from
END = "<|im_end|>"


def same_model(theirs: transformers.PreTrainedModel) -> Transformer:
    """Return our model with the weights of transformers'."""
    ours = Transformer(ModelConfig.from_hf(theirs.config.to_dict(), "config.json"))
    state = {key.removeprefix("model."): value for key, value in theirs.state_dict().items()}
    ours.load_state_dict(state, strict=False)
    return ours


def hazard(mean: float, longest: int) -> float:
    """Return the chance to end at each token with which answers of at most `longest` tokens have this mean length."""
    low, high = 1e-9, 1.0
    for _ in range(100):
        h = (low + high) / 2
        low, high = (h, high) if (1 - (1 - h) ** longest) / h > mean else (low, h)
    return h


def ragged(repeats: int, prompt: int = 60, longest: int = 384, count: int = 128) -> dict:
    """Real tokens a second through forward and backward."""
    torch.manual_seed(0)
    theirs = transformers.AutoModelForCausalLM.from_config(transformers.Qwen3Config(**DEMO)).train()
    ours = same_model(theirs)
    h = torch.tensor(hazard(longest / 3 - prompt, longest - prompt))
    survival = (
        torch.arange(count) + 0.5
    ) / count  # quantiles of a geometric distribution, cut at the longest
    lengths = (survival.log() / torch.log1p(-h)).ceil().clamp(1, longest - prompt).int().tolist()
    random.Random(0).shuffle(lengths)
    rows = [torch.randint(DEMO["vocab_size"], (prompt + n,)).tolist() for n in lengths]
    tokens, targets, widest = sum(map(len, rows)), sum(lengths), max(map(len, rows))

    def packed() -> float:
        loss = 0.0
        for [members] in micro_batches([len(r) for r in rows], PACK):
            batch = pack([rows[i][:prompt] for i in members], [rows[i][prompt:] for i in members])
            share = -token_logprobs(ours, batch)[0].sum() / targets
            share.backward()
            loss += share.item()
        return loss

    def padded() -> float:
        loss, order = 0.0, random.sample(rows, count)
        for begin in range(0, count, 8):
            batch = order[begin : begin + 8]
            width = max(map(len, batch))
            ids = torch.tensor([r + [0] * (width - len(r)) for r in batch])
            mask = torch.tensor([[1] * len(r) + [0] * (width - len(r)) for r in batch])
            labels = ids.masked_fill(mask == 0, -100)
            labels[:, :prompt] = -100
            share = theirs(
                ids, attention_mask=mask, labels=labels, use_cache=False, num_items_in_batch=targets
            ).loss
            share.backward()
            loss += share.item()
        return loss

    check_same(packed(), padded(), ours, theirs)
    speeds: dict[str, list[float]] = {"theirs": [], "ours": []}
    for _ in range(repeats):
        for name, work, module in (("theirs", padded, theirs), ("ours", packed, ours)):
            module.zero_grad()
            began = time.perf_counter()
            work()
            speeds[name].append(tokens / (time.perf_counter() - began))
    found = {name: statistics.median(values) for name, values in speeds.items()}
    found |= {"ratio": found["ours"] / found["theirs"], "mean_to_longest": tokens / count / widest}
    what = f"{count} sequences, mean {tokens / count:.1f}, longest {widest} tokens"
    table_row("ragged", what, *(f"{found[name]:,.0f} tokens/s" for name in speeds), found["ratio"])
    return found


def check_same(
    loss: float, their_loss: float, ours: Transformer, theirs: transformers.PreTrainedModel
) -> None:
    """Both have just gone over the same data: same loss and gradients to fp32 rounding."""
    assert abs(loss - their_loss) < 1e-5 * abs(their_loss), (loss, their_loss)
    for name, p in ours.named_parameters():
        g = theirs.get_parameter(f"model.{name}").grad
        assert (p.grad - g).norm() < 1e-4 * g.norm(), name


def write_folder(folder: Path, long_tailed: bool) -> None:
    """Write the model folder that both sides start from: next tokens nearly uniform over the vocabulary.

    Long-tailed: so many stop ids that the mean length is a third of the longest. Else no answer ever stops: the one id
    that must end a turn is made impossible, by an entry of its embedding with a sign unlike all others'.
    """
    folder.mkdir()
    write_tokenizer(folder, DEMO["vocab_size"])
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"pad_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    end = transformers.AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids(END)
    torch.manual_seed(0)
    config = transformers.Qwen3Config(**DEMO, initializer_range=0.004, max_position_embeddings=2048)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = 0.1
        model.model.embed_tokens.weight[end, 0] = -0.1
        model.model.norm.weight[0] = 10.0  # a logit 2 * 0.1 * 10 * sqrt(256) = 32 below the others
    stops = round(hazard(NEW / 3, NEW) * DEMO["vocab_size"]) if long_tailed else 0
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=[end, *range(end - 1 - stops, end - 1)], pad_token_id=end - 2
    )
    model.save_pretrained(folder)


def sevens(text: str) -> float:
    """The reward of both sides."""
    return text.count("7") / 10


def our_reward(response: str, finished: bool, question: Question, cfg: Config) -> dict[str, float]:
    return {"correct": 0.0, "format": 0.0, "total": sevens(response)}


def their_reward(completions: list, **_) -> list[float]:
    return [sevens(completion[0]["content"]) for completion in completions]


def our_steps(
    model: Path, questions: list[Question], steps: int, scratch: Path
) -> tuple[list[float], dict, float]:
    """Run train_grpo.py; return its seconds a step but for the first, where they went, and the mean length."""
    (scratch / "questions.jsonl").write_text("".join(json.dumps(vars(q)) + "\n" for q in questions))
    run_dir = Path(tempfile.mkdtemp(dir=scratch))
    settings = [
        *(f"model={model}", f"data.questions={scratch / 'questions.jsonl'}", f"run_dir={run_dir}"),
        *(
            "parallel.device=cpu",
            "grpo.start_from=base",
            f"grpo.reward={__name__}:our_reward",
            "instruction=Answer.",
        ),
        *(f"grpo.questions_per_step={PROMPTS}", f"grpo.stage1={{max_steps: {steps}, group_size: {ANSWERS}}}"),
        *("grpo.stage2.max_steps=0", f"grpo.max_new_tokens={NEW}", f"grpo.micro_batch_tokens={STEP_PACK}"),
        *(f"grpo.kl_coef={KL}", "grpo.show_every=0", "grpo.save_every=1000"),
    ]
    cfg, ends = load_config(Config, None, settings), []
    note = mock.patch.object(train_grpo, "report", side_effect=lambda *_: ends.append(time.perf_counter()))
    silent = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with join_world(cfg.parallel) as world, note, silent[0], silent[1]:
        train_grpo.train(cfg, world)
    records = [json.loads(line) for line in (run_dir / "grpo/metrics.jsonl").read_text().splitlines()]
    laps = {
        k: statistics.median(r["time"][k] for r in records[1:]) for k in ("rollout", "reference", "update")
    }
    length = statistics.mean(r["response_length"] for r in records)
    return [b - a for a, b in pairwise(ends)], laps, length


class Clock(transformers.TrainerCallback):
    """Notes when each step ends."""

    def __init__(self):
        self.ends: list[float] = []

    def on_step_end(self, *_, **__) -> None:
        self.ends.append(time.perf_counter())


def their_steps(
    model: Path, questions: list[Question], steps: int, batch: int, scratch: Path, **settings
) -> tuple[list[float], dict, float]:
    """Run GRPOTrainer.train(); return what our_steps does."""
    messages = [{"prompt": question_messages(q, "letter", "Answer.")} for q in questions]
    arguments = trl.GRPOConfig(
        str(scratch / "trl"),
        **{"per_device_train_batch_size": batch, "gradient_accumulation_steps": PROMPTS * ANSWERS // batch},
        **{"num_generations": ANSWERS, "max_completion_length": NEW, "beta": KL, "loss_type": "grpo"},
        **{
            "max_steps": steps,
            "temperature": 1.0,
            "top_k": 0,
            "learning_rate": 1e-6,
            "lr_scheduler_type": "constant",
        },
        **{"gradient_checkpointing": False, "use_cpu": True, "bf16": False, "shuffle_dataset": False},
        **{
            "logging_strategy": "no",
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
            **settings,
        },
    )
    clock = Clock()
    trainer = trl.GRPOTrainer(
        str(model), their_reward, arguments, Dataset.from_list(messages), callbacks=[clock]
    )
    trainer.remove_callback(transformers.PrinterCallback)
    laps: dict[str, list[float]] = {"rollout": [], "reference": []}
    lengths: list[int] = []
    time_calls(trainer, "_generate", laps["rollout"], lambda found: lengths.extend(map(len, found[1])))
    time_calls(trainer, "_generate_and_score_completions", laps["reference"])
    trainer.train()
    seconds = [b - a for a, b in pairwise(clock.ends)]
    found = {k: statistics.median(v[1:]) for k, v in laps.items()}
    found["reference"] -= found["rollout"]
    found["update"] = statistics.median(seconds) - found["rollout"] - found["reference"]
    return seconds, found, statistics.mean(lengths)


def time_calls(owner: object, name: str, seconds: list[float], look: Callable = lambda result: None) -> None:
    """Make a method of this object note how long each of its calls took, and show its results to `look`."""
    method = getattr(owner, name)

    def timed(*arguments, **keywords):
        began = time.perf_counter()
        result = method(*arguments, **keywords)
        seconds.append(time.perf_counter() - began)
        look(result)
        return result

    setattr(owner, name, timed)


def step(case: str, repeats: int) -> dict:
    """Seconds a step; each turn runs three, the first of which is not counted."""
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        model = scratch / "model"
        write_folder(model, long_tailed=case == "step_tailed")
        questions = [
            Question(
                id=f"q{i}", question=f"Number {100 + i}?", options={"A": str(i), "B": str(i + 1)}, answer="A"
            )
            for i in range(PROMPTS)
        ]
        trials = {batch: their_steps(model, questions, 2, batch, scratch)[0][0] for batch in BATCHES}
        best = min(trials, key=trials.__getitem__)
        turns: dict[str, list[tuple]] = {"theirs": [], "ours": []}
        for _ in range(repeats):
            turns["theirs"].append(their_steps(model, questions, 3, best, scratch))
            turns["ours"].append(our_steps(model, questions, 3, scratch))
    found = {name: statistics.median(s for turn in found for s in turn[0]) for name, found in turns.items()}
    laps = {
        name: {k: round(statistics.median(turn[1][k] for turn in found), 3) for k in found[0][1]}
        for name, found in turns.items()
    }
    mean = {name: statistics.mean(turn[2] for turn in found) for name, found in turns.items()}
    found |= {"ratio": found["theirs"] / found["ours"], "their_batch": best, "their_trials": trials}
    found |= {"laps": laps, "mean_length": mean}
    what = f"{PROMPTS} x {ANSWERS}, at most {NEW} new, mean {mean['ours']:.1f} (theirs {mean['theirs']:.1f})"
    theirs = f"TRL, batches of {best}: {found['theirs']:.2f} s"
    table_row(case, what, theirs, f"{found['ours']:.2f} s", found["ratio"])
    return found


def proc_status(key: str) -> int:
    """A number of bytes of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{key}:"))


def peak_of(work) -> int:
    """Return by how many bytes the resident memory grew at most while `work` ran."""
    before = proc_status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    work()
    return proc_status("VmHWM") - before


def measure(side: str, tokens: int, checkpointing: bool, length: int = 512, prompt: int = 16) -> int:
    """Return the peak of one side in this process, sequences of 512 tokens."""
    torch.manual_seed(0)
    config = transformers.Qwen2Config(**QWEN, max_position_embeddings=2048)
    n, response = tokens // length, length - prompt
    ids = torch.randint(QWEN["vocab_size"], (n, length))
    advantages, reference = torch.randn(n), torch.full((n, response), -12.0)
    if side == "ours":
        model = Transformer(ModelConfig.from_hf(config.to_dict(), "config.json"))
        model.init_weights(torch.Generator().manual_seed(0))
        world = World(0, 1, torch.device("cpu"), None)
        parallelize(model, ParallelConfig(activation_checkpointing=checkpointing), world)
        batch = pack(ids[:, :prompt].tolist(), ids[:, prompt:].tolist())
        cfg = preset("grpo", kl_coef=KL)

        def work() -> None:
            logp, _ = token_logprobs(model, batch)
            flat, cuts = reference.flatten(), batch.response_cu_seqlens
            grpo_loss(logp, logp.detach(), flat, advantages, cuts, cfg, float(n))[0].backward()

        return peak_of(work)
    model = transformers.AutoModelForCausalLM.from_config(config).train()
    if side == "logits":
        logits = lambda: model(ids, use_cache=False).logits[:, prompt - 1 : -1].transpose(1, 2)  # noqa: E731
        loss = lambda: F.cross_entropy(logits(), ids[:, prompt:], reduction="none") * advantages[:, None]  # noqa: E731
        return peak_of(lambda: loss().mean().backward())
    with tempfile.TemporaryDirectory() as temporary:
        write_tokenizer(Path(temporary), 300)
        tokenizer = transformers.AutoTokenizer.from_pretrained(temporary, pad_token="<|endoftext|>")
        arguments = trl.GRPOConfig(
            temporary,
            **{
                "per_device_train_batch_size": n,
                "num_generations": n,
                "loss_type": "grpo",
                "report_to": "none",
            },
            **{"use_cpu": True, "bf16": False, "gradient_checkpointing": checkpointing, "temperature": 1.0},
        )
        data = Dataset.from_list([{"prompt": "x"}] * n)
        trainer = trl.GRPOTrainer(model, their_reward, arguments, data, processing_class=tokenizer)
    trainer.beta, trainer.current_gradient_accumulation_steps = KL, 1  # its reference needs no forward here
    if checkpointing:
        model.gradient_checkpointing_enable()
    inputs = {"prompt_ids": ids[:, :prompt], "prompt_mask": torch.ones(n, prompt, dtype=torch.long)}
    inputs |= {
        "completion_ids": ids[:, prompt:],
        "completion_mask": torch.ones(n, response, dtype=torch.long),
    }
    inputs |= {"advantages": advantages, "ref_per_token_logps": reference}
    return peak_of(lambda: trainer._compute_loss(model, inputs).backward())


def memory(threads: int) -> dict:
    """Peak GiB of each side."""
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576"}

    def fresh(side: str, tokens: int, checkpointing: bool) -> float:
        command = [sys.executable, __file__, "--measure", f"{side},{tokens},{int(checkpointing)}"]
        command += ["--threads", str(threads)]
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
        return int(out.split()[-1]) / 2**30

    found = {}
    for tokens, side in ((8192, "trl"), (2048, "logits")):
        for checkpointing in (False, True) if side == "trl" else (False,):
            theirs, ours = fresh(side, tokens, checkpointing), fresh("ours", tokens, checkpointing)
            name = f"{side}_{tokens}" + "_checkpointed" * checkpointing
            found[name] = {"theirs": theirs, "ours": ours, "ratio": ours / theirs}
            what = f"{tokens} tokens x 151,936 ids" + ", activation checkpointing" * checkpointing
            label = {"trl": "TRL", "logits": "all logits"}[side]
            table_row("memory", what, f"{label}: {theirs:.2f} GiB", f"{ours:.2f} GiB", ours / theirs)
    return found


def table_row(*cells: str | float) -> None:
    print("| " + " | ".join(f"{c:.2f}" if isinstance(c, float) else c for c in cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", default="ragged,step_tailed,step_full,memory")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--measure", help=argparse.SUPPRESS)  # one side of `memory`, in a process of its own
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if not options.measure:
        keep_freed_memory()  # as our scripts do; theirs gain as much
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    quiet_datasets()
    if options.measure:
        side, tokens, checkpointing = options.measure.split(",")
        print(measure(side, int(tokens), checkpointing == "1"))
        return
    versions = {"torch": torch.__version__, "transformers": transformers.__version__, "trl": trl.__version__}
    print(", ".join(f"{k} {v}" for k, v in versions.items()) + f", {options.threads} threads, fp32, CPU\n")
    print("| case | what | theirs | ours | ratio |\n|---|---|---|---|---|")
    cases = {"ragged": ragged, "memory": lambda _: memory(options.threads)}
    found = {case: cases.get(case, partial(step, case))(options.repeats) for case in options.case.split(",")}
    print(json.dumps({"benchmark": "trainer", **versions, "threads": options.threads, **found}))


if __name__ == "__main__":
    main()
