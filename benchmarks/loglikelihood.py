"""Our log-likelihood protocol against lm-evaluation-harness: the same weights and documents, in one process, in turns.

    python benchmarks/loglikelihood.py --model DIR --questions phrases_no_exclude_test.jsonl [--limit 40] [--threads 2]

The harness runs its own model class on transformers, with batches of 8. Prints documents a second of both, their ratio,
and how far their log-likelihoods lie apart; the last line is JSON.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from lm_eval import __version__ as harness_version
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from fleming.evaluation.items import Item
from fleming.evaluation.loglikelihood import DOCUMENTS, encode_item, fed_tokens, loglikelihood
from fleming.public.benchmarks import load_own
from model import load_model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--questions", required=True)
    parser.add_argument("--limit", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    questions = load_own(Path(options.questions), "questions").questions[: options.limit]
    transformer, tokenizer = load_model(options.model, torch.float32, "cpu", "chatml")
    theirs = HFLM(pretrained=options.model, dtype="float32", device="cpu", batch_size=8)
    items = sorted(
        (Item("questions", q) for q in questions),
        key=lambda i: -fed_tokens(encode_item(tokenizer, "question", i)),
    )

    def ours() -> list[float]:
        answers = loglikelihood(transformer, tokenizer, items, "question")
        found = {answer.id: answer.loglikelihoods.values() for answer in answers}
        return [value for q in questions for value in found[q.id]]

    def harness() -> list[float]:
        pairs = [(DOCUMENTS["question"](q), f" {letter}") for q in questions for letter in q.options]
        requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
        return [value for value, _ in theirs.loglikelihood(requests, disable_tqdm=True)]

    seconds: dict[str, list[float]] = {"harness": [], "ours": []}
    found: dict[str, list[float]] = {}
    for _ in range(options.repeats):
        for name, score in (("harness", harness), ("ours", ours)):
            began = time.perf_counter()
            found[name] = score()
            seconds[name].append(time.perf_counter() - began)
    speed = {name: len(questions) / statistics.median(values) for name, values in seconds.items()}
    apart = max(abs(a - b) for a, b in zip(found["harness"], found["ours"], strict=True))
    versions = f"torch {torch.__version__}, lm_eval {harness_version}"
    print(f"{versions}, {options.threads} threads, fp32, {len(questions)} documents")
    print(
        f"harness {speed['harness']:.2f}, ours {speed['ours']:.2f} documents/s; log-likelihoods differ by {apart:.1e}"
    )
    print(json.dumps({**speed, "ratio": speed["ours"] / speed["harness"], "difference": apart}))


if __name__ == "__main__":
    main()
