"""Real shapes with random weights: two GRPO steps of train_grpo.py under torchrun, and the memory that they take.

    python benchmarks/shapes.py [--shapes llama-135m,qwen2.5-0.5b,qwen3-0.6b] [--processes 2] [key=value ...]

Rewards tell answers apart by their length, so that gradients are real. Settings after the options are train_grpo.py's.
The last line is JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers  # noqa: E402

from fleming.config import load_config  # noqa: E402
from fleming.settings import Config  # noqa: E402
from fleming.training.estimate_memory import Case, Longest, Machine, estimate  # noqa: E402
from fleming.training.parallel import pick_device  # noqa: E402
from model.huggingface.chat_format import own_template  # noqa: E402
from model.huggingface.config import ModelConfig  # noqa: E402
from model.huggingface.tokenizer import Tokenizer as OurTokenizer  # noqa: E402
from model.huggingface.weights import save_model  # noqa: E402
from model.transformer import Transformer  # noqa: E402

SHAPES = {  # name -> (model_type, hidden, intermediate, layers, heads, kv heads, head dim, rows, ids)
    "llama-135m": ("llama", 576, 1536, 30, 9, 3, 64, 49152, 49152),
    "qwen2.5-0.5b": ("qwen2", 896, 4864, 24, 14, 2, 64, 151936, 151665),
    "qwen3-0.6b": ("qwen3", 1024, 3072, 28, 16, 8, 128, 151936, 151669),
    "qwen2.5-1.5b": ("qwen2", 1536, 8960, 28, 12, 2, 128, 151936, 151665),
    "qwen2.5-7b": ("qwen2", 3584, 18944, 28, 28, 4, 128, 152064, 151665),  # output matrix of its own
}
REWARD = """
def length(response, finished, question, cfg):
    return {"correct": 0.0, "format": 0.0, "total": len(response) / 1000}
"""


def write_tokenizer(folder: Path, ids: int, stops: int = 1) -> None:
    """Bytes, control tokens, and words that no text contains, up to the real number of ids.

    So many `stops` end an answer: <|im_end|>, and words, so that random weights stop too.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(alphabet)}
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    for i in range(len(vocabulary), ids - len(specials)):
        vocabulary[f"filler{i}"] = i
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in specials])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "chat_template": own_template("chatml"),
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    im_end = ids - 1
    words = list(range(ids - len(specials) - (stops - 1), ids - len(specials)))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [*words, im_end]}))


def config_of(shape: tuple) -> ModelConfig:
    """Return the config of one of SHAPES."""
    kind, hidden, inner, layers, heads, kv_heads, head_dim, rows, _ = shape
    return ModelConfig(
        model_type=kind,
        vocab_size=rows,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head_dim,
        rope_theta=1e6,
        rms_norm_eps=1e-6,
        max_position_embeddings=32768,
        tie_word_embeddings=rows != 152064,
        initializer_range=0.02,
    )


def write_model(folder: Path, cfg: ModelConfig, ids: int, stops: int = 1, output_scale: float = 1.0) -> None:
    """Write a model folder with random bf16 weights; 1.5 billion of them take 20 s.

    stops: see `write_tokenizer`. output_scale: of the output matrix's weights; at 0.1 logits are nearly uniform.
    """
    with tempfile.TemporaryDirectory() as files:
        write_tokenizer(Path(files), ids, stops)
        tokenizer = OurTokenizer.from_folder(files)
    with torch.device("meta"):
        transformer = Transformer(cfg).to(torch.bfloat16)
    transformer.allocate("cpu")
    transformer.init_weights(torch.Generator().manual_seed(0))
    with torch.no_grad():
        transformer.lm_head.weight.mul_(output_scale)
    save_model(transformer, tokenizer, folder)


def torchrun(processes: int, settings: list[str], log: IO[str], modules: Path) -> subprocess.Popen:
    """Start train_grpo.py, what it prints going to `log`; `modules`: the folder of the reward."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    command += [str(ROOT / "train_grpo.py"), *settings]
    paths = [str(modules), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    environment.setdefault("OMP_NUM_THREADS", "1")
    return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def descendants(pid: int) -> list[int]:
    """The process and all that it started."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has gone
            continue
        parents[int(path.parent.name)] = int(fields[1])
    found = [pid]
    for process in found:
        found += [child for child, parent in parents.items() if parent == process]
    return found


def status(pid: int, key: str) -> int:
    """A number of bytes of /proc/PID/status; 0 where the process has gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{key}:")), 0)


def anonymous_of_imports() -> int:
    """What a process holds that has only imported torch and us; on a CPU the rest is the run's own."""
    code = "import train_grpo; print(open('/proc/self/status').read())"
    text = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("RssAnon:"))


def run(shape: str, processes: int, overrides: list[str], scratch: Path) -> dict:
    model = config_of(SHAPES[shape])
    write_model(scratch / "model", model, ids=SHAPES[shape][-1])
    questions = [
        {"id": f"q{i}", "question": f"Which number is number {i}? " + "Think well. " * (i % 5), "answer": "A"}
        | {"options": {"A": str(i), "B": str(i + 1)}}
        for i in range(8)
    ]
    (scratch / "questions.jsonl").write_text("".join(json.dumps(q) + "\n" for q in questions))
    (scratch / "by_length.py").write_text(REWARD)
    settings = [
        f"model={scratch / 'model'}",
        f"data.questions={scratch / 'questions.jsonl'}",
        f"run_dir={scratch / 'run'}",
        "grpo.reward=by_length:length",
        "grpo.questions_per_step=2",
        "grpo.stage1={max_steps: 2, group_size: 4}",
        "grpo.stage2.max_steps=0",
        "grpo.max_new_tokens=24",
        "grpo.micro_batch_tokens=1024",
        "grpo.kl_coef=0",
        "grpo.keep_last=1",
        *overrides,
    ]
    began, together, each = time.perf_counter(), 0, {}
    with open(scratch / "log", "w+") as log:
        process = torchrun(processes, settings, log, scratch)
        while process.poll() is None:
            alive = descendants(process.pid)
            together = max(together, sum(status(pid, "VmRSS") for pid in alive))
            for pid in alive:
                each[pid] = max(each.get(pid, 0), status(pid, "RssAnon"))
            time.sleep(0.05)
        log.seek(0)
        if process.returncode:
            raise SystemExit(f"{shape}: status {process.returncode}\n{log.read()[-3000:]}")
    records = [json.loads(line) for line in (scratch / "run/grpo/metrics.jsonl").read_text().splitlines()]
    first = [
        json.loads(line)
        for line in (scratch / "run/grpo/rollouts/step_000001.jsonl").read_text().splitlines()
    ]
    cfg = load_config(Config, None, settings)
    device = pick_device(cfg.parallel).type
    prompt = max(len(r["prompt_ids"]) for r in first)
    longest = Longest(prompt, cfg.grpo.max_new_tokens)
    estimated = estimate(Case("grpo", model, cfg, Machine(processes, device=device), longest)).peak
    measured = max(each.values()) - anonymous_of_imports()
    if device == "cuda":
        measured = max(r["time"]["peak_gib"] for r in records) * 2**30
    return {
        "shape": shape,
        "parameters": model.parameters,
        "estimated_peak_gib": round(estimated / 2**30, 2),
        "measured_peak_gib": round(measured / 2**30, 2),
        "measured_to_estimated": round(measured / estimated, 3),
        "seconds": round(time.perf_counter() - began, 1),
        "peak_gib_together": round(together / 2**30, 2),
        "grad_norms": [r["grad_norm"] for r in records],
        "sampler_scorer_max": max(r["sampler_scorer_max"] for r in records),
        "mfu": records[-1]["time"]["mfu"],
        "decode_bandwidth": records[-1]["time"]["decode_bandwidth"],
        "time": {k: round(v, 2) for k, v in records[-1]["time"].items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--shapes", default="llama-135m,qwen2.5-0.5b,qwen3-0.6b", help=f"of {', '.join(SHAPES)}"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("settings", nargs="*", metavar="key=value")
    arguments = parser.parse_intermixed_args()
    found = []
    print(f"torch {torch.__version__}, {arguments.processes} processes, settings {arguments.settings}")
    for shape in arguments.shapes.split(","):
        with tempfile.TemporaryDirectory() as scratch:
            found.append(run(shape, arguments.processes, arguments.settings, Path(scratch)))
        print("  ".join(f"{key} {value}" for key, value in found[-1].items()), flush=True)
    print(json.dumps({"benchmark": "shapes", "torch": torch.__version__, "results": found}))


if __name__ == "__main__":
    main()
