"""A crash before each rename, unlink, fsync and write, and amid a write: the same command ends with the same bytes."""

import json
import os
import sys

import pytest
from support import warm
from support.models import hf_folder
from support.places import ROOT

from fleming.files import write_jsonl

ANSWER = "<think>\n4\n</think>\n<answer>B</answer>"
SHAPE = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
SETTINGS = {
    "train_sft": ["sft.epochs=2", "sft.sequences_per_step=1", "sft.save_every=1", "sft.keep_last=1"],
    "train_grpo": [
        *("grpo.stage1={max_steps: 1, group_size: 2}", "grpo.stage2={max_steps: 1, group_size: 2}"),
        *("grpo.save_every=1", "grpo.keep_last=1", "grpo.max_new_tokens=3", "grpo.questions_per_step=1"),
        *("grpo.curriculum.mine_samples=1", "grpo.start_from=base", "grpo.show_every=0"),
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("script", SETTINGS)
def test_a_crash_at_any_point_changes_nothing_in_the_end(tmp_path, script):
    (tmp_path / "model").mkdir()
    hf_folder(tmp_path / "model", num_key_value_heads=1, head_dim=8, **{**SHAPE})
    prompt = [{"role": "user", "content": "2 + 2?"}]
    write_jsonl(tmp_path / "t.jsonl", [{"id": "t", "question_id": "q", "prompt": prompt, "response": ANSWER}])
    write_jsonl(
        tmp_path / "q.jsonl",
        [{"id": "q", "question": "2 + 2?", "options": {"A": "3", "B": "4"}, "answer": "B", "split": "train"}],
    )
    given = [f"model={tmp_path / 'model'}", f"data.trajectories={tmp_path / 't.jsonl'}"]
    given += [f"data.questions={tmp_path / 'q.jsonl'}", "chat_format=chatml", "parallel.device=cpu"]
    worker = [sys.executable, str(ROOT / "tests/support/workers/crash_points.py"), script, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}
    done = warm.run(
        [*worker, *given, *SETTINGS[script]], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["bad"] == []
    assert {"replace", "rename", "mkdir", "fsync", "write of a file", "unlink"} <= found["points"].keys()
    assert sum(found["points"].values()) > 60, found["points"]
    assert found["states"] > 40, found["states"]
    print(f"\n{script}: {found['points']}, {found['states']} states")
