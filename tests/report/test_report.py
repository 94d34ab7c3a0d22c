"""The report's page without a browser: what is in it, what a damaged, half or hostile run becomes, what it costs."""

import base64
import hashlib
import itertools
import json
import math
import random
import shutil
import subprocess
import sys
import threading
import time

import numpy
import pytest
import yaml
from support.jsonl import read_records
from support.places import ROOT
from support.report_runs import HOSTILE, KINDS, Page, spoil, write_data, write_eval, write_grpo, write_run

from fleming.config import run_script
from fleming.evaluation.comparison import compare_runs
from fleming.files import AppendLog, run_lock, write_json, write_jsonl
from fleming.report import __main__ as report
from fleming.report import data, rollouts
from fleming.report import page as page_module
from fleming.report.page import Report
from fleming.report.reading import Reader
from model.errors import InputError
from model.sums import sha256_file, sums_of


def page_of(folder, *arguments) -> Page:
    report.main([str(folder), *arguments])
    return Page(folder / "report.html")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run and its page."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "finished")
    return folder, page_of(folder)


def column(page: Page, name: str) -> list[float]:
    kind = rollouts.COLUMNS[name]
    return numpy.frombuffer(base64.b64decode(page.data["rollouts"]["columns"][name]), kind).tolist()


# --- what is in it


def test_every_sampled_answer_is_in_the_page_with_its_numbers(finished):
    folder, page = finished
    files = sorted((folder / "grpo/rollouts").glob("*.jsonl"))
    records = [record for path in files for record in read_records(path)]
    assert column(page, "reward") == pytest.approx([r["reward"]["total"] for r in records])
    assert column(page, "advantage") == pytest.approx([r["advantage"] for r in records])
    assert column(page, "tokens") == [len(r["token_ids"]) for r in records]
    told = page.data["rollouts"]
    assert [step[:2] for step in told["steps"]] == [[1, 1], [2, 1], [3, 1], [4, 2], [5, 2], [6, 2]]
    ids = page.data["questions"]["ids"]
    assert [[g, ids[q], n] for g, q, n in told["groups"]][:4] == [
        [g, f"graph/train{g * 3 + 1}", 4] for g in range(4)
    ]
    for record, (right, _) in zip(records, ((flag & 1, flag) for flag in column(page, "flags")), strict=True):
        assert right == record["reward"]["correct"]


def test_an_answer_is_cut_at_its_tokens_and_each_has_its_probability(finished):
    folder, page = finished
    records = read_records(folder / "grpo/rollouts/step_000005.jsonl")
    samples = [sample for group in page.block("r5") for sample in group]
    for record, (number, answer, response, lengths, levels, reward, *_) in zip(records, samples, strict=True):
        assert (number, answer, response, reward) == tuple(
            record[k] for k in ("sample", "answer", "response", "reward")
        )
        sizes = [ord(letter) - 48 for letter in lengths]
        assert sizes == [1] * len(response) + [0]  # a token a byte, and the end
        for level, logp in zip(levels, record["logprobs"], strict=True):
            found = ((ord(level) - 48) / rollouts.SURPRISE) ** 2
            assert found == pytest.approx(-logp, abs=0.002 + 0.1 * max(-logp, math.sqrt(-logp)))


def test_a_character_of_several_tokens_belongs_to_the_last_and_an_unknown_token_cuts_nothing():
    tokens = {1: b"\xf0\x9f", 2: b"\x98\x80", 3: b"ok"}
    record = {"response": "😀ok", "token_ids": [1, 2, 3, 9], "logprobs": [0] * 4, "finish_reason": "stop"}
    assert rollouts._lengths(record, {**tokens, 9: b"<end>"}) == [0, 1, 2, 0]
    assert rollouts._lengths(record, tokens) == []
    cut = {**record, "token_ids": [1, 2, 3], "logprobs": [0] * 3, "finish_reason": "length"}
    assert rollouts._lengths(cut, tokens) == [0, 1, 2]
    assert rollouts._lengths({**cut, "response": "other"}, tokens) == []


def test_differences_are_those_of_evaluate(finished):
    folder, page = finished
    found = {(d["a"], d["b"]): d for d in page.data["differences"]}
    names = ["base", "cold_start", "rl_stage1", "rl_stage2"]
    assert list(found) == [*itertools.pairwise(names), ("cold_start", "rl_stage2")]
    for (a, b), row in found.items():
        [compared] = compare_runs(folder / "eval" / a, folder / "eval" / b).benchmarks
        theirs = vars(compared.difference)
        assert {
            k: row[k] for k in ("difference", "low", "high", "wins", "losses", "p_mcnemar", "verdict")
        } == {k: theirs[k] for k in ("difference", "low", "high", "wins", "losses", "p_mcnemar", "verdict")}
        assert row["n"] == 30
        assert row["holm"] >= row["p_mcnemar"]


def test_who_answered_what_is_a_letter_a_question(finished):
    _, page = finished
    [asked] = page.data["asked"]
    assert asked["stages"]["rl_stage2"] == "0" + "1" * 20 + "".join(
        "-" if n % 3 else "0" for n in range(21, 30)
    )
    assert [page.data["questions"]["ids"][i] for i in asked["ids"]] == [f"graph/test{n}" for n in range(30)]
    first = page.block("q0")[0]
    assert first["given"]["test/cot"]["rl_stage2"] == ["A", "<answer>A</answer>"]
    assert first["provenance"]["path"][0]["place"] == "graph.yaml:1"
    assert "note" not in json.dumps(page.block("q0"))  # evidence is long, and elsewhere
    assert page.data["questions"]["kinds"][:3] == list(KINDS)


def test_questions_move_between_right_and_wrong_over_rounds(finished):
    rounds = finished[1].data["mining"]["rounds"]
    assert [r["moves"] for r in rounds] == [
        {"new wrong": 3, "new right": 9},
        {"wrong right": 2, "wrong wrong": 1, "right wrong": 1, "right right": 8},
    ]
    assert rounds[1]["wrong right"] == ["graph/train0", "graph/train1"]
    assert rounds[1]["right wrong"] == ["graph/train3"]


def test_data_graph_and_codes_are_told(finished):
    told = finished[1].data
    assert told["graph"]["facts"] == [["disease", "has_finding", "finding", 1]]
    assert told["graph"]["origins"][0]["licence"] == "CC BY-NC 4.0"
    assert told["rejected"][0] == ["draws", "repeated", 5, ["measles"] * 3]
    assert told["report"]["shortcuts"]["longest_option"]["accuracy"] == 0.3
    assert told["about"]["voter"] == ""
    assert told["notes"] == []
    assert "config" not in json.dumps(told["manifest"]["grpo"][0]["versions"])


def test_the_settings_of_each_stages_last_start_are_in_it_to_the_last_digit(tmp_path):
    folder, seed = write_run(tmp_path / "run"), 2**62 + 1  # more than a browser's numbers hold
    starts = [{"config": {"seed": 1}}, {"config": {"seed": seed, "grpo": {"learning_rate": 1e-7}}}]
    write_json(folder / "manifest.json", {"grpo": starts, "sft": [], "synth": "none"})
    told = page_of(folder).data
    assert {stage: yaml.safe_load(text)["seed"] for stage, text in told["settings"].items()} == {"grpo": seed}


def test_the_page_is_written_with_its_hash_and_named_last(finished, capsys):
    folder, _ = finished
    report.main([str(folder)])
    assert capsys.readouterr().out.rstrip("\n").split("\n")[-1] == str(folder / "report.html")
    assert sums_of(folder / "report.html").read_text().startswith(sha256_file(folder / "report.html"))


def test_two_runs_are_laid_beside_each_other(finished, tmp_path):
    folder, _ = finished
    other = write_run(tmp_path / "other")
    path = other / "eval/rl_stage2/answers.jsonl"
    records = read_records(path)
    records[3] |= {"gold": "D", "answer": "D", "choice": "D"}  # not the same question: it is left out
    write_jsonl(path, records, hashed=True)
    write_json(other / "eval/base/settings.json", {"cot.instruction": "Guess.", "sha256 of model": "of any"})
    told = page_of(folder, "--compare", str(other)).data["other"]
    assert told["differ"] == ["cot.instruction"]
    assert told["name"] == "other"
    assert len(told["grpo"]) == 6
    assert [(d["b"], d["difference"], d["n"]) for d in told["paired"]] == [
        ("base", 0.0, 30),
        ("cold_start", 0.0, 30),
        ("rl_stage1", 0.0, 30),
        ("rl_stage2", 0.0, 29),
    ]


# --- nothing of it is markup


def test_what_a_model_or_a_source_says_is_text(tmp_path):
    folder = write_run(tmp_path / "hostile", HOSTILE)
    page = page_of(folder)
    assert "<" not in page.scripts["data"]
    ours = "html head meta title style body a header div p h1 span button nav main noscript dialog script"
    assert {tag for tag, _ in page.tags} == {*ours.split()}
    assert [attrs for tag, attrs in page.tags if tag == "script" and "type" not in attrs] == [{}]
    assert HOSTILE in page.data["graph"]["origins"][0]["source"]
    assert HOSTILE in page.block("q0")[0]["question"]
    assert all(HOSTILE in sample[2] for group in page.block("r6") for sample in group)
    assert [key for key in page.data["graph"]["types"] if HOSTILE in key]


def test_the_browser_runs_the_pages_own_script_and_nothing_else(finished):
    page = finished[1]
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.inside(tag).encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in page.policy()
    assert page.policy().startswith("default-src 'none';")
    assert "unsafe" not in page.policy()
    assert not [attrs for _, attrs in page.tags if {"src", "style", "onclick"} & attrs.keys()]
    assert all(attrs["href"].startswith("#") for _, attrs in page.tags if "href" in attrs)
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "http://",
        "fetch(",
    ):
        assert word not in page.inside("script").replace("http://www.w3.org/2000/svg", ""), word


def test_a_lone_surrogate_is_told_and_the_rest_is_shown(tmp_path):
    folder = write_run(tmp_path / "run")
    path = folder / "grpo/rollouts/step_000002.jsonl"
    sums_of(path).unlink()
    path.write_text(path.read_text().replace("<think>", "<think>\\ud800"))
    page = page_of(folder)
    [(file, what)] = page.data["notes"]
    assert file == "grpo/rollouts/step_000002.jsonl"
    assert "step_000002.jsonl:1" in what
    assert [step[0] for step in page.data["rollouts"]["steps"]] == [1, 3, 4, 5, 6]


# --- half, old and damaged runs


def test_a_run_of_one_stage_has_a_page(tmp_path):
    write_jsonl(tmp_path / "sft/sft/metrics.jsonl", [{"step": 1, "loss": 2.0}])
    write_eval(tmp_path / "eval")
    write_data(tmp_path / "data")
    write_grpo(tmp_path / "rl")
    for name, part in (("sft", "sft"), ("eval", "asked"), ("data", "report"), ("rl", "grpo")):
        page = page_of(tmp_path / name)
        assert page.data[part], name
        assert page.data["notes"] == [], name
        assert page.data["about"]["voter"] is None


def test_no_run_is_an_error_in_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "notes.txt").write_text("no run")
    for arguments in ([str(tmp_path)], [str(tmp_path / "absent")], [str(tmp_path), "--watch", "0"]):
        monkeypatch.setattr(sys, "argv", ["report", *arguments])
        with pytest.raises(SystemExit) as left:
            run_script(report.main)
        said = capsys.readouterr().err
        assert left.value.code == 2
        assert said.count("\n") == 1
    assert not (tmp_path / "report.html").exists()
    with pytest.raises(InputError, match="no run: it has none of manifest"):
        Report(tmp_path)


DAMAGE = {
    "eval/rl_stage1/answers.jsonl": "asked",
    "eval/rl_stage1/results.json": "stages",
    "grpo/rollouts/step_000004.jsonl": "rollouts",
    "data/graph.jsonl": "graph",
    "data/report.json": "report",
    "data/rejected.jsonl": "rejected",
    "data/questions.jsonl": "questions",
    "manifest.json": "manifest",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_named_and_the_rest_is_shown(finished, tmp_path, name):
    folder = write_run(tmp_path / "run")
    before = bytearray((folder / name).read_bytes())
    before[len(before) // 2] ^= 1
    (folder / name).write_bytes(before)
    page = page_of(folder)
    assert [file for file, _ in page.data["notes"]] == [name]
    assert "damaged" in page.data["notes"][0][1]
    whole = finished[1].data
    same = set(whole) - {"about", "files", "notes", "differences", DAMAGE[name]}
    same -= {"settings"} if name == "manifest.json" else set()
    assert all(page.data[part] == whole[part] for part in same - {"questions", "rollouts"})


def test_records_of_another_form_are_told(tmp_path):
    folder = write_run(tmp_path / "run")
    others = {
        "grpo/rollouts/step_000001.jsonl": [{"step": 1, "group": 0, "reward": 3}],
        "eval/base/answers.jsonl": [{"id": ["no", "answer"]}],
        "data/graph.jsonl": [{"kind": "facts", "head": "nobody", "facts": [[1]]}],
        "data/rejected.jsonl": [{"why": "no code"}],
        "grpo/curriculum.jsonl": [{"event": "answers", "question": "x"}],
    }
    for name, records in others.items():
        write_jsonl(folder / name, records, hashed=(folder / f"{name}.sha256").exists())
    write_json(folder / "manifest.json", {"grpo": "later", "sft": [3], "synth": []})
    notes = dict(page_of(folder).data["notes"])
    assert notes.keys() == others.keys()
    assert all("not of the form" in what for what in notes.values())


def test_whatever_a_file_holds_a_page_is_made(tmp_path):
    whole, noted = write_run(tmp_path / "whole"), 0
    for seed in range(60):
        folder = tmp_path / str(seed)
        shutil.copytree(whole, folder)
        spoil(folder, random.Random(seed))
        page = Report(folder)
        html = b"".join(page.page()).decode()
        assert html.endswith("</html>\n")
        noted += bool(page.reader.faults)
    assert noted > 10  # of the others what was changed is not read, or as good


def test_a_killed_runs_half_line_is_told_and_the_lines_before_it_are_shown(tmp_path):
    folder = write_run(tmp_path / "run")
    with open(folder / "grpo/metrics.jsonl", "a") as file:
        file.write('{"step": 7, "rew')
    page = page_of(folder)
    assert [record["step"] for record in page.data["grpo"]] == [1, 2, 3, 4, 5, 6]
    [(file, what)] = page.data["notes"]
    assert (file, "half written" in what) == ("grpo/metrics.jsonl", True)


def test_a_run_of_an_earlier_version_has_a_page(tmp_path):
    folder = write_run(tmp_path / "run")
    for path in (folder / "grpo/rollouts").glob("*.jsonl"):
        new = ("entropy", "order")
        records = [{k: v for k, v in r.items() if k not in new} for r in read_records(path)]
        write_jsonl(path, records, hashed=True)
    records = [{"step": s, "reward": 0.1, "groups": 4, "groups_with_variance": 3} for s in (1, 2)]
    write_jsonl(folder / "grpo/metrics.jsonl", records)
    rounds = [
        {"step": s, "pass_rates": {"graph/train0": r, "graph/train1": 1.0}} for s, r in ((4, 0.0), (5, 0.5))
    ]
    write_jsonl(folder / "grpo/curriculum.jsonl", rounds)
    page = page_of(folder)
    assert page.data["notes"] == []
    assert page.data["mining"]["rounds"][1]["moves"] == {"wrong right": 1, "right right": 1}
    assert page.block("r6")[0][0][6] is None


# --- room and time


def test_where_there_is_no_room_whole_groups_are_left_out_and_counted(tmp_path, monkeypatch):
    folder = write_run(tmp_path / "run", groups=12)
    whole = Report(folder)
    whole.page()
    assert whole.said == "288 of 288 sampled answers"
    share = 1_200
    monkeypatch.setattr(rollouts, "BUDGET", 6 * share)
    monkeypatch.setattr(page_module, "BUDGET", 1_000)
    page = page_of(folder)
    assert "q0" not in page.scripts  # nor is there room for the questions
    for step, _, shown, all_groups, all_rollouts in page.data["rollouts"]["steps"]:
        assert (all_groups, all_rollouts) == (12, 48)
        assert 1 <= shown < 12
        assert len(page.scripts[f"r{step}"]) <= share
        assert all(len(group) == 4 for group in page.block(f"r{step}"))
    numbers = [group for group, _, _ in page.data["rollouts"]["groups"]]
    assert max(numbers) > 6  # evenly over the step, not its first ones


def test_long_logs_are_thinned_evenly_with_their_last_step():
    records = [{"step": step} for step in range(1, 10_001)]
    kept = [record["step"] for record in data.thinned(records)]
    assert len(kept) == data.POINTS
    assert (kept[0], kept[-1], kept[1] - kept[0]) == (5, 10_000, 5)
    assert data.thinned(records[:3]) == records[:3]
    assert data.thinned([]) == []


def test_a_log_is_read_on_from_where_it_ended(tmp_path):
    log = AppendLog(tmp_path / "grpo/metrics.jsonl")
    reader, seen = Reader(tmp_path), []

    def keep(record):
        seen.append(record["step"])
        return record["step"]

    for step in (1, 2, 3):
        log.append({"step": step})
        assert reader.log("grpo/metrics.jsonl", keep) == list(range(1, step + 1))
    assert seen == [1, 2, 3]  # each line once
    log.close()
    again = AppendLog(
        tmp_path / "grpo/metrics.jsonl", keep_bytes=len('{"step": 1}\n')
    )  # resumed from a checkpoint
    again.append({"step": 2, "other": True})
    again.append({"step": 3, "other": True})
    assert reader.log("grpo/metrics.jsonl", keep) == [1, 2, 3]
    assert seen == [1, 2, 3, 1, 2, 3]


def test_made_again_a_page_reads_only_what_is_new(tmp_path, monkeypatch):
    folder, read = write_run(tmp_path / "run"), []
    page = Report(folder)
    page.page()
    real = rollouts.read_jsonl
    monkeypatch.setattr(rollouts, "read_jsonl", lambda path: read.append(path.name) or real(path))
    path = folder / "grpo/rollouts/step_000006.jsonl"
    write_jsonl(
        folder / "grpo/rollouts/step_000007.jsonl", [r | {"step": 7} for r in read_records(path)], hashed=True
    )
    page.page()
    assert read == ["step_000007.jsonl"]
    assert page.said == "112 of 112 sampled answers"


def test_a_watched_run_is_written_anew_until_nobody_holds_it(tmp_path, monkeypatch, capsys):
    folder = write_run(tmp_path / "run")
    monkeypatch.setattr(report, "QUIET", 1)
    with run_lock(folder, "train_grpo.py"):
        watching = threading.Thread(target=report.main, args=([str(folder), "--watch", "0.1"],))
        watching.start()
        deadline = time.monotonic() + 20
        while not (folder / "report.html").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        first = Page(folder / "report.html").data["about"]
        assert first["watching"] == 0.1
        assert "train_grpo.py" in first["holder"]
        with open(folder / "grpo/metrics.jsonl", "a") as file:
            file.write(json.dumps({"step": 7, "reward": 0.9}) + "\n")
        time.sleep(1.5)  # nothing changes, but somebody holds it
        assert watching.is_alive()
    watching.join(20)
    assert not watching.is_alive()
    last = Page(folder / "report.html").data
    assert (last["about"]["watching"], last["about"]["holder"]) == (0, "")
    assert last["grpo"][-1] == {"step": 7, "reward": 0.9}
    assert capsys.readouterr().out.count("sampled answers") == 3


def test_the_report_needs_no_torch_and_nobody_needs_the_report():
    code = "import sys, fleming.report.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
    for path in (*ROOT.glob("*.py"), *(ROOT / "fleming").rglob("*.py")):
        if path.parent.name != "report":
            assert "fleming.report" not in path.read_text(), path


def test_a_file_that_is_gone_when_it_is_looked_at_ends_no_watch(tmp_path):
    folder = write_run(tmp_path / "run")
    (folder / "grpo/rollouts/.half").symlink_to("renamed")
    assert folder / "grpo/rollouts/step_000001.jsonl" in report.stamps(folder)
