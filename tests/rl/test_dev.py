"""How RL is measured on questions that it does not learn from while it runs."""

from dataclasses import asdict, replace

import pytest
from support.models import hf_folder
from support.runs import ALONE

from fleming.config import load_config
from fleming.files import write_jsonl
from fleming.prompt import prompt_ids
from fleming.records import Question
from fleming.rl.dev import measure
from fleming.rl.questions import dev_questions, read_dev
from fleming.rl.rollout import Actor
from fleming.settings import Config
from model.errors import InputError
from model.huggingface.weights import open_model

ASKED = [Question(f"q{i}", "?", {"A": "yes", "B": "no"}, "A", split="dev") for i in range(5)]


class Answering(Actor):
    """Answers every second question rightly, and remembers how it was asked."""

    def answer(self, numbered, params, *_):
        self.asked = params
        return [[{"correct": float(i % 2), "format": 0.5}] for i, _ in numbered]


def test_dev_is_answered_greedily_once_each_and_its_shares_are_of_all_questions():
    actor = Answering(None, None, load_config(Config, None, ["grpo.temperature=0.7"]), ALONE)
    found = measure(actor, ASKED, 3)
    assert (actor.asked.n, actor.asked.temperature) == (1, 0.0)
    assert (found["dev_accuracy"], found["dev_format"]) == (0.4, 0.5)
    assert found["dev_low"] < 0.4 < found["dev_high"]


@pytest.mark.parametrize(("limit", "count"), [(0, 5), (3, 3), (9, 5)])
def test_so_many_questions_of_dev_are_drawn_by_the_seed(tmp_path, limit, count):
    write_jsonl(tmp_path / "dev.jsonl", map(asdict, ASKED))
    given = [f"data.dev={tmp_path}/dev.jsonl", "grpo.dev_every=1", f"grpo.dev_limit={limit}"]
    drawn = [q.id for q in read_dev(load_config(Config, None, given), print)]
    assert len(set(drawn)) == len(drawn) == count
    others = [q.id for q in read_dev(load_config(Config, None, [*given, "seed=1"]), print)]
    assert drawn != others


def test_the_cache_holds_the_longest_of_what_is_learned_from_and_what_is_measured(tmp_path):
    hf_folder(tmp_path)
    described, tokenizer = open_model(tmp_path)
    write_jsonl(tmp_path / "dev.jsonl", map(asdict, ASKED))
    given = [f"data.dev={tmp_path}/dev.jsonl", "grpo.dev_every=1", "grpo.max_new_tokens=9"]
    cfg = load_config(Config, None, given)
    usable, longest = dev_questions(cfg, tokenizer, described.cfg, print, 10)
    assert longest == max(len(prompt_ids(q, tokenizer, cfg)) for q in usable) + 9 > 10
    assert dev_questions(cfg, tokenizer, described.cfg, print, 500)[1] == 500

    write_jsonl(
        tmp_path / "dev.jsonl", map(asdict, [*ASKED, replace(ASKED[0], id="long", question="? " * 9)])
    )
    said: list[str] = []
    model = replace(described.cfg, max_position_embeddings=longest)  # an answer may end where this does
    found, most = dev_questions(cfg, tokenizer, model, said.append, 0)
    assert ({q.id for q in found}, most) == ({q.id for q in ASKED}, longest)
    assert said == [f"{cfg.dev_file}: 1 questions are too long for the model's context and are left out"]
    with pytest.raises(
        InputError, match=f"dev.jsonl: none of 6 questions leaves room .* context of {longest - 1}"
    ):
        dev_questions(cfg, tokenizer, replace(model, max_position_embeddings=longest - 1), print, 0)
