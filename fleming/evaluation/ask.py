"""One question to a model, from the command line, its answer streamed. Left out: conversations."""

from pathlib import Path

from fleming.judge import read_answer
from fleming.prompt import encode_messages, prompt_ids, with_options
from fleming.settings import Config
from fleming.terminal import printable
from fleming.training.parallel import compute_dtype, pick_device
from model.errors import InputError
from model.huggingface.weights import load_model
from model.sampler import Sampler, SamplingParams


def ask(text: str, model_folder: Path, cfg: Config) -> None:
    """Stream the model's reasoning and answer to one question, greedily.

    A question that ends with lettered options ("A. ...", a line each) is put as the benchmarks' are, and what the
    parser reads from the answer is said; any other is put as it stands. Raises InputError for an empty one.
    """
    if not text.strip():
        raise InputError("--question is empty: write it in quotes")
    device = pick_device(cfg.parallel)
    how = compute_dtype(device), device, cfg.chat_format, cfg.chat_template_kwargs
    transformer, tokenizer = load_model(model_folder, *how)
    question = with_options(text)
    if question:
        prompt = prompt_ids(question, tokenizer, cfg)
    else:
        system = [{"role": "system", "content": cfg.system}] if cfg.system else []
        prompt = encode_messages([*system, {"role": "user", "content": text}], tokenizer, cfg)
    room = transformer.cfg.max_position_embeddings - len(prompt)
    params = SamplingParams(temperature=0, max_new_tokens=max(1, min(cfg.evaluate.max_new_tokens, room)))

    ids: list[int] = []
    printed = ""
    print(tokenizer.opened, end="")

    def show(token: int) -> None:
        nonlocal printed
        if token in tokenizer.stop_ids:
            return
        ids.append(token)
        text = tokenizer.decode(ids).rstrip("\N{REPLACEMENT CHARACTER}")  # half a character waits for its end
        print(printable(text[len(printed) :]), end="", flush=True)
        printed = text

    Sampler(transformer, tokenizer, max_num_seqs=1).generate([prompt], params, on_token=show)
    print()
    if question:
        answer = read_answer(tokenizer.opened + tokenizer.decode(ids), question, cfg)
        parts = filter(None, (answer, question.options.get(answer)))  # a free answer is no letter
        print(f"\nanswer read: {printable('. '.join(parts))}" if answer else "\nno answer could be read")
