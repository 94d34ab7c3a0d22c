"""evaluate.py --question: what is shown of an answer, and what is read from it."""

import pytest
from support.models import hf_folder

from fleming.config import load_config
from fleming.evaluation.ask import ask
from fleming.settings import Config


@pytest.mark.parametrize(("style", "read"), [("letter", "B. iron"), ("text", "A. b"), ("free", "b")])
def test_the_answer_is_read_in_the_style_of_the_settings_and_cannot_steer_a_terminal(
    style, read, tmp_path, monkeypatch, capsys
):
    class Says:
        def __init__(self, transformer, tokenizer, max_num_seqs):
            self.tokenizer = tokenizer

        def generate(self, prompts, params, on_token):
            for token in self.tokenizer.encode("<think>\x1b[2J</think>\n<answer>b</answer>"):
                on_token(token)

    hf_folder(tmp_path)
    monkeypatch.setattr("fleming.evaluation.ask.Sampler", Says)
    more = ["free.checker=math:isclose"] if style == "free" else []
    cfg = load_config(Config, None, ["parallel.device=cpu", f"answer_style={style}", *more])
    ask("Which gene?\nA. b\nB. iron", tmp_path, cfg)
    shown = capsys.readouterr().out
    assert "\\u001b[2J" in shown
    assert shown.endswith(f"answer read: {read}\n")
