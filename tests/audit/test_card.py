"""The model card: what the run's files say and nothing else; what is absent is said to be; hostile texts stay texts."""

import argparse
import copy
import functools
import hashlib
import json
import random
import re
import subprocess
import sys
from html import unescape
from xml.etree import ElementTree

import pytest
from support import made_run
from support.made_run import SHA
from support.made_run import made_run as made
from support.places import ROOT

import evaluate
import train_grpo
import train_sft
from fleming.assets import load_table
from fleming.audit import card, pack
from fleming.audit.__main__ import main
from fleming.audit.facts import facts_of, not_done, read_run
from fleming.files import read_json, write_json, write_jsonl
from model.errors import InputError

PAGE = load_table("card.yaml")["page"]


@pytest.fixture
def run(tmp_path):
    return made(tmp_path / "run")


def written(folder) -> str:
    assert main(["card", str(folder)]) == 0
    return (folder / "card.md").read_text(encoding="utf-8")


def cells(page: str) -> list[list[str]]:
    """The cells of all rows of tables, as a reader sees them."""
    rows = [line for line in page.splitlines() if line.startswith("|")]
    return [[unescape(cell.strip()) for cell in row.strip("|").split("|")] for row in rows]


def change(path, keys, value) -> None:
    found = whole = read_json(path)
    for key in keys[:-1]:
        found = found[key]
    found[keys[-1]] = value
    write_json(path, whole)


# --- what is there


def test_a_finished_run_is_told_from_its_files(run):
    page, told = written(run), cells(written(run))
    assert ["HPO", "graph", "40", "CC0-1.0", "https://example.org/it", "yes", "none"] in told
    assert ["parts may forbid it in Hetionet"] in told
    assert ["not checked"] in told
    assert ["format", "60", "59", "leak: 1"] in told
    assert ["medqa", "1273", "0"] in told
    assert ["grpo", "5", "1: 3, 2: 2", "5"] in told  # steps, by stage, minutes
    assert ["sft", "4", "", "2"] in told
    assert ["grpo", "2026-11-29T04:38:16+00:00", "2", "7", "c" * 40, "d" * 64] in told  # begun twice
    assert ["clip low", ""] in told
    score = {
        "questions": "600",
        "accuracy": "0.7316",
        "95 % from": "0.6948",
        "95 % to": "0.7655",
        "chance": "0.2511",
    }
    assert all([name, value] in told for name, value in score.items())
    assert ["9" * 64] in told
    for name in ("base", "sft", "stage1", "stage2", "graph", "rl", "test"):
        assert SHA[name] in page, name
    assert "Not medical advice" in page


def test_its_hash_stands_beside_it_and_it_is_the_same_twice(run):
    page = written(run)
    said = (run / "card.md.sha256").read_text().split()
    assert said == [hashlib.sha256(page.encode()).hexdigest(), "card.md"]
    assert written(run) == page


def test_another_number_in_the_results_is_another_number_in_the_card(run):
    before = written(run)
    write_json(run / "eval/rl_stage2/results.json", made_run.results(accuracy=0.4321))
    after = written(run)
    assert "0.7316" in before
    assert "0.7316" not in after
    assert "0.4321" in after


def test_nothing_stands_in_the_page_that_is_no_fact_and_every_fact_can_be_found():
    facts = load_table("card.yaml")["facts"]
    asked = set(re.findall(r"\{\{(\w+)\}\}", PAGE)) - {"name", "not_done"}
    assert asked == facts.keys() - {"groups"}  # the pack's alone
    files = {"manifest.json", "metrics.jsonl", "eval/NAME/results.json"}
    files |= {"data/report.json", "data/decontamination.json"}
    assert {fact["of"] for fact in facts.values()} == files


def test_a_run_of_today_says_every_fact_that_was_not_left_out(in_process, inputs, tmp_path):
    """The places that card.yaml names are those where the stages write."""
    data = ["data", "base"]
    for name in data:
        (tmp_path / name).symlink_to(inputs / name)
    write_json(tmp_path / "manifest.json", read_json(inputs / "manifest.json"))
    assert in_process(train_sft, tmp_path) == (0, [])
    assert in_process(train_grpo, tmp_path)[0] == 0
    models = "evaluate.models={last: grpo/stage2/model}"
    assert in_process(evaluate, tmp_path, models, "evaluate.reshuffles=1", "evaluate.limit=5")[0] == 0
    facts = facts_of(read_run(tmp_path))
    silent = {name for name, fact in facts.items() if not fact.rows}
    assert silent == {"leaks", "calibration"}  # no benchmark was named, one answer a question
    for name in ("starts", "cold_start", "rl", "data", "sources", "shortcuts", "steps", "hardware"):
        empty = {head for row in facts[name].rows for head, value in row.items() if value in (None, "")}
        may = {"clip low", "exact", "of which in stage"}
        assert empty <= may, name


# --- what is not


def test_half_a_run_says_what_is_missing(run):
    manifest = made_run.manifest()
    write_json(run / "manifest.json", {"synth": manifest["synth"]})
    for gone in ("sft/metrics.jsonl", "grpo/metrics.jsonl", "eval/rl_stage2/results.json"):
        (run / gone).unlink()
    page = written(run)
    for name in ("cold_start", "rl", "scores", "steps"):
        absent = load_table("card.yaml")["facts"][name]["absent"]
        assert f"*The run does not say: {absent}.*" in page
        assert f"- {absent}" in page
    assert SHA["base"] in page


def test_an_evaluation_alone_has_a_card(tmp_path):
    write_json(tmp_path / "eval/mine/results.json", made_run.results())
    page = written(tmp_path)
    told = cells(page)
    assert ["accuracy", "0.7316"] in told
    assert ["mine", "model/model.safetensors", SHA["stage2"]] in told
    assert "*The run does not say: which commands made it (there is no manifest).*" in page


def test_training_on_data_of_one_s_own_names_them_by_hash_and_says_that_no_licence_is_known(tmp_path):
    entry = made_run.manifest()["grpo"][0]
    entry["inputs"]["data.questions"] = "a1" * 32
    write_json(tmp_path / "manifest.json", {"grpo": [entry]})
    page = written(tmp_path)
    assert ["grpo", "data.questions", "a1" * 32] in cells(page)
    assert "sources with their licences (the data were not made here" in page
    assert "whether anything checked the labels" in page


@pytest.mark.parametrize(
    ("labels", "said"),
    [("not checked", True), ({"voter": 50, "people": 3}, False)],
)
def test_whether_the_labels_were_checked_is_said(run, labels, said):
    change(run / "data/report.json", ["labels"], labels)
    page = written(run)
    assert (load_table("card.yaml")["unchecked"] in page) == said
    if not said:
        assert ["50", "3"] in cells(page)


def test_decontamination_that_was_off_or_failed_is_among_what_was_not_done(run):
    assert not [line for line in not_done(facts_of(read_run(run))) if "decontamination" in line]
    change(run / "manifest.json", ["sft", 0, "decontamination"], {"mode": "off"})
    fault = {"mode": "warn", "report": "r", "sha256": None, "fault": "the report is missing: run it"}
    change(run / "manifest.json", ["grpo", 1, "decontamination"], fault)
    lines = not_done(facts_of(read_run(run)))
    assert "sft: decontamination off, nothing was compared with the benchmarks" in lines
    assert "grpo: decontamination warn, the report is missing: run it" in lines


# --- what strangers write

EVIL = [
    "<img src=x onerror=alert(1)>",
    "a | b | c",
    "[click](javascript:alert(1)) ![x](http://evil.example/x.png)",
    "# not a heading\n\n## nor this",
    "`code` *bold* _em_ ~~gone~~ <!-- hidden",
    "\\| \\\\| \\",
    "see https://evil.example or www.evil.example or a@evil.example",
    "{{sources}} {{name}}",
    "&lt;b&gt; &#60;",
    "\x1b[31mred\x00\u202e\x85 \u2028 line",
    "---\nlicense: mit\n---",
    "x" * 5000,
]


@pytest.mark.parametrize("evil", EVIL)
def test_a_hostile_text_is_shown_and_is_nothing_else(run, evil):
    change(
        run / "data/report.json", ["sources"], [made_run.source(evil, licence=evil), made_run.source("HPO")]
    )
    change(run / "data/report.json", ["refinement", 0, "rejected"], {evil: 1})
    change(run / "manifest.json", ["grpo", 1, "config", "grpo", "preset"], evil)
    results = made_run.results()
    results["benchmarks"] = {evil: results["benchmarks"]["test"]}
    results["benchmarks"][evil]["cot"]["protocol"] = evil
    write_json(run / "eval/rl_stage2/results.json", results)
    page = written(run)
    body = page.split("---\n", 2)[2]
    headings = [line for line in PAGE.splitlines() if line.startswith("#")]
    found = [line for line in body.splitlines() if line.startswith("#")]
    assert found == [headings[0].replace("{{name}}", "run"), *headings[1:]]
    assert not re.search(r"<(?!\d)|\]\(|https?://|www\.|@|\x1b|\x00", body.replace("arXiv", ""))
    tables = re.findall(r"(?:^\|.*\n)+", body, re.M)
    for found in tables:
        assert len({line.count("|") for line in found.splitlines()}) == 1
    assert not re.search(r"(?<!&)#(?!#|\s)", "".join(tables))
    start = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", evil).split())[:40]
    assert any(start in cell for row in cells(body) for cell in row)  # and can be read


def test_a_hostile_folder_s_name_is_shown_too(tmp_path):
    folder = made(tmp_path / "<b>run* [x]")
    assert "# &#60;b&#62;run&#42; &#91;x&#93;\n" in written(folder)


# --- what is damaged


@pytest.mark.parametrize(
    "name", ["manifest.json", "data/report.json", "data/decontamination.json", "eval/rl_stage2/results.json"]
)
def test_a_damaged_file_is_refused_by_name(run, name):
    path = run / name
    path.write_bytes(path.read_bytes().replace(b"e", b"f", 1))
    with pytest.raises(InputError, match=re.escape(f"{path}: damaged")):
        card.run(argparse.Namespace(run_dir=run, pack=False))
    assert not (run / "card.md").exists()
    path.with_name(f"{path.name}.sha256").unlink()
    path.write_text("[1, 2]")
    with pytest.raises(InputError, match=re.escape(str(path))):
        card.run(argparse.Namespace(run_dir=run, pack=False))


def test_a_log_s_last_line_may_be_torn_and_no_other(run):
    path = run / "grpo/metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert ["grpo", "4", "1: 3, 2: 1", "4"] in cells(written(run))
    path.write_bytes(whole.replace(b'{"step": 2', b'{"step": ', 1))
    with pytest.raises(InputError, match=re.escape(f"{path}:3")):
        read_run(run)


def test_a_folder_of_no_run_is_refused_and_left_alone(tmp_path):
    with pytest.raises(InputError, match="no run's folder"):
        main(["card", str(tmp_path)])
    assert not list(tmp_path.iterdir())
    write_json(tmp_path / "manifest.json", {"sft": 5})
    with pytest.raises(InputError, match=r"manifest\.json: .*sft"):
        main(["card", str(tmp_path)])


VALUES = [
    None,
    True,
    0,
    -1,
    1e308,
    "",
    "x|y",
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"a": {"b": [1]}},
    [1, "x", {}],
]


@pytest.mark.parametrize("seed", range(3))
def test_any_value_anywhere_gives_a_card_or_is_refused(run, seed, monkeypatch):
    monkeypatch.setattr(pack, "load_table", functools.cache(load_table))
    rng = random.Random(seed)
    names = "manifest.json", "data/report.json", "eval/rl_stage2/results.json"
    files = {name: read_json(run / name) for name in names}
    cards, refused = 0, []
    for _ in range(150):
        name = rng.choice(names)
        whole = {"whole": copy.deepcopy(files[name])}
        at, key = whole, "whole"
        for _ in range(rng.randrange(1, 7)):
            inside = at[key]
            if not (isinstance(inside, dict | list) and inside):
                break
            at, key = inside, rng.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
        at[key] = rng.choice(VALUES)
        (run / f"{name}.sha256").unlink(missing_ok=True)
        (run / name).write_text(json.dumps(whole["whole"]))
        try:
            facts = facts_of(read_run(run))
            assert card.card("run", facts).startswith("---")
            ElementTree.fromstring(pack.chai_card("run", facts, run))
            json.dumps(pack.croissant(run / "data", "run", facts), allow_nan=False)
            assert "| 2(h) |" in pack.points(load_table("eu_ai_act.yaml"), facts, run)
            cards += 1
        except InputError as error:
            refused.append(str(error))
        (run / name).write_text(json.dumps(files[name]))
    assert cards > 90
    assert all(str(run) in said for said in refused)


def test_a_log_of_other_records_is_counted_all_the_same(run):
    write_jsonl(
        run / "sft/metrics.jsonl", [{"time": 5}, {"time": {"step": "x"}}, {"time": {"step": True}}, {}]
    )
    assert ["sft", "4", "", "0"] in cells(written(run))


def test_the_command_starts_without_torch(run):
    code = "import sys; from fleming.audit.__main__ import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "card", str(run), "--pack"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_a_user_s_mistake_is_a_line_and_status_2(tmp_path):
    command = [sys.executable, "-m", "fleming.audit", "card", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "none: no run's folder" in done.stderr
