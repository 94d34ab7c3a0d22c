"""The sampler against transformers' `generate`: the same weights and prompts, in one process, taking turns.

    python benchmarks/sampler.py [--case demo,static,smollm] [--repeats 5] [--threads 2]

Long-tailed lengths: weights are random and nearly uniform over the vocabulary, so a number of stop ids makes every
token the last one with the same small probability, chosen so that the mean length is a third of the longest. A token
counts until its sequence has ended. Prints the median of each, and their ratio; the last line is JSON.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from fleming.training.parallel import keep_freed_memory
from model import Sampler, SamplingParams
from model.huggingface.config import ModelConfig
from model.transformer import Transformer

CASES = {  # name -> (config, prompts, prompt tokens, samples, new tokens, long-tailed)
    "demo": ("demo", 16, 60, 8, 128, True),
    "static": ("demo", 64, 60, 1, 128, False),
    "smollm": ("smollm", 4, 300, 8, 128, True),
}
CONFIGS = {
    "demo": {
        **{"vocab_size": 1600, "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4},
        **{"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 32, "tie_word_embeddings": True},
    },
    "smollm": {
        **{"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30},
        **{"num_attention_heads": 9, "num_key_value_heads": 3, "head_dim": 64, "tie_word_embeddings": True},
    },
}


class Ids:
    """What our sampler needs of a tokenizer."""

    def __init__(self, size: int, stop_ids: list[int]):
        self.size, self.stop_ids = size, frozenset(stop_ids)


def models(name: str) -> tuple[Transformer, torch.nn.Module]:
    """Return our model and transformers', with the same random weights."""
    import transformers

    torch.manual_seed(0)
    kind = transformers.Qwen3Config if name == "demo" else transformers.LlamaConfig
    theirs = transformers.AutoModelForCausalLM.from_config(
        kind(**CONFIGS[name], max_position_embeddings=2048)
    ).eval()
    ours = Transformer(ModelConfig.from_hf(theirs.config.to_dict(), "config.json"))
    state = {key.removeprefix("model."): value for key, value in theirs.state_dict().items()}
    ours.load_state_dict(state, strict=False)
    return ours.eval().requires_grad_(False), theirs


def stop_ids_for(mean: float, longest: int, vocabulary: int) -> list[int]:
    """Return so many stop ids that sequences of at most `longest` tokens have this mean length."""
    low, high = 1e-9, 1.0
    for _ in range(100):
        h = (low + high) / 2
        low, high = (h, high) if (1 - (1 - h) ** longest) / h > mean else (low, h)
    return list(range(max(1, round(h * vocabulary))))


@torch.inference_mode()
def their_tokens(theirs, prompts: torch.Tensor, n: int, new: int, stops: list[int], seed: int) -> int:
    """Let transformers' model answer [prompts, length]; return how many tokens come up to and with a stop id."""
    torch.manual_seed(seed)
    out = theirs.generate(
        prompts,
        attention_mask=torch.ones_like(prompts),
        do_sample=True,
        top_k=0,
        max_new_tokens=new,
        num_return_sequences=n,
        eos_token_id=stops or None,
        pad_token_id=0,
    )[:, prompts.shape[1] :]
    return int(((out < len(stops)).int().cumsum(1).cumsum(1) <= 1).sum())


def run(case: str, repeats: int) -> dict[str, float]:
    """Return both medians, tokens a second, and their ratio."""
    config, count, length, n, new, long_tailed = CASES[case]
    ours, theirs = models(config)
    vocabulary = ours.cfg.vocab_size
    stops = stop_ids_for(new / 3, new, vocabulary) if long_tailed else []
    generator = torch.Generator().manual_seed(1)
    prompts = torch.randint(len(stops), vocabulary, (count, length), generator=generator)
    sampler = Sampler(ours, Ids(vocabulary, stops), max_num_seqs=count * n)

    def with_ours(seed: int) -> int:
        params = SamplingParams(n=n, max_new_tokens=new, seed=seed)
        return sum(len(s.token_ids) for group in sampler.generate(prompts.tolist(), params) for s in group)

    def with_theirs(seed: int) -> int:
        return their_tokens(theirs, prompts, n, new, stops, seed)

    speeds: dict[str, list[float]] = {"ours": [], "theirs": []}
    tokens: dict[str, int] = {"ours": 0, "theirs": 0}
    for seed in range(repeats + 1):  # the first one warms up
        for name, generate in (("theirs", with_theirs), ("ours", with_ours)):
            began = time.perf_counter()
            made = generate(seed)
            seconds = time.perf_counter() - began
            if seed:
                speeds[name].append(made / seconds)
                tokens[name] += made
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    found = {**medians, "ratio": medians["ours"] / medians["theirs"]}
    mean = {name: total / (repeats * count * n) for name, total in tokens.items()}
    print(
        f"| {case} | {count} x {n}, prompts of {length}, at most {new} new, mean {mean['ours']:.1f} (theirs "
        f"{mean['theirs']:.1f}) | {found['theirs']:,.0f} | {found['ours']:,.0f} | {found['ratio']:.2f} |"
    )
    return found


def main() -> None:
    import transformers

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", default=",".join(CASES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as our scripts do; theirs gain as much
    print(
        f"torch {torch.__version__}, transformers {transformers.__version__}, {options.threads} threads, fp32, CPU\n"
    )
    print("| case | what | transformers, tokens/s | ours, tokens/s | ratio |\n|---|---|---|---|---|")
    found = {case: run(case, options.repeats) for case in options.case.split(",")}
    print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__, **found}))


if __name__ == "__main__":
    main()
