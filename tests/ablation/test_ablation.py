"""make ablation, with scripts that train nothing: what it asks of them, what it writes, what it does not do twice."""

import dataclasses
import json
import os
import re
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest
from support.jsonl import read_records
from support.places import ROOT

from benchmarks.ablation import __main__ as command
from benchmarks.ablation import arms as arms_of
from benchmarks.ablation import table as tables_of
from benchmarks.ablation.compare import block_arms, compared, designed
from benchmarks.ablation.results import Line, counted, mask_of, right_of
from benchmarks.ablation.results import read_lines as read_results
from benchmarks.ablation.runs import ArmError, Scripts, StoppedError, plant
from fleming.config import load_config
from fleming.files import write_json, write_jsonl
from fleming.settings import Config
from model.errors import InputError

PLAN = arms_of.read_plan()


def question(name: str, length: int) -> dict:
    options = {letter: f"{letter}{name}" for letter in "ABCD"}
    return {"id": name, "options": options, "answer": "A", "provenance": {"path": [{}] * length}}


class Fake:
    """Leaves what the scripts leave; the better arm answers more."""

    def __init__(self, broken: str = ""):
        self.calls: list[tuple[str, dict[str, str], list[str]]] = []
        self.broken, self.stopped, self.guard = broken, False, threading.Lock()

    def run(self, script: str, arguments: list[str], log: Path) -> None:
        given = dict(a.split("=", 1) for a in arguments if "=" in a)
        run_dir = Path(given["run_dir"])
        with self.guard:
            self.calls.append((script, given, arguments))
        if self.stopped:
            raise StoppedError
        if self.broken and run_dir.name.startswith(self.broken) and script != "evaluate.py":
            raise ArmError("train_grpo.py ended with status 2; log ends:\n  error: no such key")
        getattr(self, script.removesuffix(".py"))(given, run_dir)

    def stop(self) -> None:
        self.stopped = True

    def synth_data(self, given, run_dir):
        for name, n in (("rl", 40), ("dev", 10), ("test", 10)):
            write_jsonl(run_dir / f"data/{name}.jsonl", [question(f"{name}{i}", i % 5 + 1) for i in range(n)])
        trajectories = [{"id": f"t{i}", "question_id": f"rl{i}"} for i in range(40)]
        write_jsonl(run_dir / "data/cold_start.jsonl", trajectories)
        (run_dir / "base/model").mkdir(parents=True)

    def train_sft(self, given, run_dir):
        self.trained(given, run_dir, "sft", "sft/model", given.get("data.trajectories"))

    def train_grpo(self, given, run_dir):
        stage = "stage2" if given["grpo.stage1.max_steps"] == "0" else "stage1"
        self.trained(given, run_dir, "grpo", f"grpo/{stage}/model", given["data.questions"])
        ledger = [{"event": "begin"}, {"event": "round", "tokens": 100}, {"event": "step", "tokens": 11}]
        if (run_dir / "planted.jsonl").exists() and given["grpo.curriculum.review_rounds"] != "0":
            wrong = [r["id"] for r in read_records(run_dir / "planted.jsonl")]
            ledger += [{"event": "review", "question": name} for name in (*wrong, "innocent")]
        write_jsonl(run_dir / "grpo/curriculum.jsonl", ledger)

    def trained(self, given, run_dir, stage, model, learned):
        assert Path(given["model"]).is_dir(), "what it begins from is not there"
        assert Path(learned).exists()
        (run_dir / model).mkdir(parents=True)
        (run_dir / stage / "checkpoints").mkdir()
        write_jsonl(run_dir / stage / "metrics.jsonl", [{"time": {"step": 1.5}}, {"time": {"step": 2.0}}])
        write_json(run_dir / "manifest.json", {stage: [{"cpu_kernels": "AVX2"}]})

    def evaluate(self, given, run_dir):
        ((name, model),) = json.loads(given["evaluate.models"]).items()
        assert Path(model).is_dir(), "what is evaluated is not there"
        folder, better = run_dir / "eval" / name, "stage" in name
        answers, benchmarks = [], {}
        for of, file in json.loads(given["evaluate.benchmarks"]).items():
            ids = [r["id"] for r in read_records(Path(file))]
            answers += [{"id": q, "correct": i % 2 == 0 or (better and i < 4)} for i, q in enumerate(ids)]
            part = {"with_certificate": 4, "shares": {"whole_path": {"value": 0.75}}}
            benchmarks[of] = {"cot": {"process": {"right": part}}}
        write_jsonl(folder / "answers.jsonl", answers)
        write_json(folder / "results.json", {"benchmarks": benchmarks})


@pytest.fixture
def go(tmp_path):
    def run(*options: str, fake: Fake | None = None, plan=PLAN) -> tuple[int, Fake]:
        fake = fake or Fake()
        places = ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path / "results.jsonl")]
        return command.main(["--scale", "small", *places, *options], plan, fake), fake

    run.lines = lambda: read_results(tmp_path / "results.jsonl")
    run.folder = tmp_path
    return run


# --- the plan


@pytest.mark.parametrize("scale", PLAN.scales)
@pytest.mark.parametrize("name", PLAN.arms)
def test_every_arm_is_a_config_that_the_scripts_accept(name, scale):
    settings = arms_of.training_settings(PLAN, name, scale)
    cfg = load_config(Config, ROOT / PLAN.config, ["run_dir=x", *settings])
    arm = PLAN.arms[name]
    if arm.trains != "sft":
        assert getattr(cfg.grpo, arm.trains).max_tokens == PLAN.scales[scale].budgets[arm.budget]
        assert sum(stage.max_steps == 0 for stage in (cfg.grpo.stage1, cfg.grpo.stage2)) == 1
        assert cfg.grpo.curriculum.switch.when == "never"
        assert cfg.rl_start == cfg.base_folder


def test_two_arms_that_are_compared_have_the_same_budget_but_for_those_of_which_one_begins_the_other():
    for c in PLAN.comparisons:
        one, other = PLAN.arms[c.arm], PLAN.arms[c.against]
        assert one.budget == other.budget or one.begins == c.against
        assert one.begins in (other.begins, c.against)
        assert one.data == other.data or one.begins == c.against


def test_what_the_issue_asks_for_is_planned():
    asked = {
        "cold_start", "stage1", "stage2", "more_stage1", "no_mix", "mix_1_1", "all_wrong", "paper", "dapo", "dr_grpo",
        "gspo", "kl", "dynamic", "planted_review", "planted_stays", "short2_answer", "short2_path", "short3_answer",
        "short3_path",
    }  # fmt: skip
    assert asked <= PLAN.arms.keys()
    compared_arms = {name for c in PLAN.comparisons for name in (c.arm, c.against)}
    assert compared_arms == PLAN.arms.keys()
    for c in PLAN.comparisons:
        first = c.family == "first"
        assert all(PLAN.arms[name].first for name in (c.arm, c.against)) or not first
        seeds = [
            len(arms_of.seeds_of(PLAN, name, scale)) for name in (c.arm, c.against) for scale in PLAN.scales
        ]
        assert min(seeds) >= (5 if first else 3)


def test_small_is_planned_for_two_hours_on_two_cores(tmp_path):
    options = command.parse(["--scale", "small", "--jobs", "2", "--runs", str(tmp_path)])
    assert command.seconds_left(PLAN, options, command.wanted(PLAN, options), []) <= 7200


def test_the_arms_of_the_first_questions_come_first():
    options = command.parse(["--scale", "small", "--arms", "gspo,stage2,kl,short3_path"])
    names = list(dict.fromkeys(name for name, _ in command.wanted(PLAN, options)))
    assert names == ["stage2", "short3_path", "gspo", "kl"]
    assert Counter(name for name, _ in command.wanted(PLAN, options))["stage2"] == 5


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("trains: stage3", "expected sft, stage1 or stage2"),
        ("begins: nowhere", "a cold start from none, RL from an arm"),
        ("budget: none", "which not every scale has"),
    ],
)
def test_an_arm_that_names_what_there_is_not_is_refused(tmp_path, wrong, says):
    key = wrong.partition(":")[0]
    text = arms_of.ARMS.read_text()
    text = re.sub(rf"(  dynamic:\n(?:    .*\n)*?    ){key}: \w+", rf"\g<1>{wrong}", text)
    (tmp_path / "arms.yaml").write_text(text)
    with pytest.raises(InputError, match=says):
        arms_of.read_plan(tmp_path / "arms.yaml")


def test_the_recipe_follows_the_arms_before_and_not_those_beside():
    changed = {**PLAN.arms, "stage1": dataclasses.replace(PLAN.arms["stage1"], settings=("grpo.draws=2",))}
    other = dataclasses.replace(PLAN, arms=changed)
    same = {
        name
        for name in PLAN.arms
        if arms_of.recipe_hash(PLAN, name, "full") == arms_of.recipe_hash(other, name, "full")
    }
    assert {"stage1", "stage2", "more_stage1", "planted_review"}.isdisjoint(same)
    assert {"cold_start", "paper", "short3_path"} <= same


# --- the command


def test_an_arm_is_trained_from_what_it_begins_from_and_leaves_one_line(go):
    status, fake = go("--arms", "stage2", "--seeds", "3")
    assert status == 0
    assert [script for script, *_ in fake.calls] == [
        "synth_data.py", "train_sft.py", "train_grpo.py", "train_grpo.py", "evaluate.py",
    ]  # fmt: skip
    assert {given["seed"] for _, given, _ in fake.calls} == {"3"}
    (line,) = go.lines()
    assert (line.arm, line.seed, line.scale, line.steps, line.tokens, line.seconds) == (
        "stage2",
        3,
        "small",
        2,
        111,
        3.5,
    )
    assert (
        line.sets == {"1": (4, 4), "2": (2, 4), "3": (4, 4), "4": (2, 4), "5": (2, 4)}
        or line.sets["1"][1] == 4
    )
    assert sum(right for right, _ in line.sets.values()) == 14
    assert line.whole_path == {"right": (6, 8), "wrong": (0, 0)}
    assert line.cpu_kernels == "AVX2"
    second = fake.calls[3][1]
    assert second["model"] == fake.calls[2][1]["run_dir"] + "/grpo/stage1/model"
    assert second["data.questions"].endswith("rl.jsonl")


def test_what_has_a_line_is_not_run_again_and_what_is_trained_is_not_trained_again(go):
    go("--arms", "stage1,more_stage1", "--seeds", "0,1")
    before = go.lines()
    status, fake = go("--arms", "stage1,more_stage1", "--seeds", "0,1")
    assert (status, fake.calls) == (0, [])
    status, fake = go("--arms", "stage2", "--seeds", "0")
    assert [script for script, *_ in fake.calls] == ["train_grpo.py", "evaluate.py"]
    assert go.lines()[: len(before)] == before
    assert len(go.lines()) == 5


def test_of_a_finished_arm_only_weights_that_others_begin_from_are_kept(go):
    go("--arms", "stage1,more_stage1", "--seeds", "0")
    models = sorted(p.parts[-4].partition("_")[0] for p in (go.folder / "runs").glob("seed_0/*/grpo/*/model"))
    assert models == ["stage1"]
    (kept,) = (go.folder / "runs").rglob("checkpoints")
    assert kept.parts[-3].startswith("cold_start"), "which has no line yet"


def test_a_line_whose_settings_have_changed_does_not_count_and_is_run_again_elsewhere(go, capsys):
    go("--arms", "stage1", "--seeds", "0")
    changed = dataclasses.replace(PLAN.arms["stage1"], settings=("grpo.draws=2",))
    plan = dataclasses.replace(PLAN, arms={**PLAN.arms, "stage1": changed})
    capsys.readouterr()
    _, fake = go("--arms", "stage1", "--seeds", "0", plan=plan)
    assert "stage1, seed 0: its line is of other settings and does not count" in capsys.readouterr().out
    assert [script for script, *_ in fake.calls] == ["train_grpo.py", "evaluate.py"]
    first, second = go.lines()
    assert first.recipe != second.recipe
    found, stale = counted(plan, go.lines(), "small")
    assert (found["stage1", 0], stale) == (second, [])
    assert counted(plan, [first], "small") == ({}, [first])
    assert "Not counted" in tables_of.tables(plan, [first, *few_lines(go, plan)])


def few_lines(go, plan):
    go("--arms", "more_stage1", "--seeds", "1", plan=plan)
    return [line for line in go.lines() if line.arm == "more_stage1"]


def test_an_arm_that_fails_is_told_with_its_logs_end_and_the_others_go_on(go, capsys):
    status, _ = go("--arms", "stage1,paper,stage2", "--seeds", "0", fake=Fake(broken="paper"))
    assert status == 1
    told = capsys.readouterr().out
    assert "paper (seed 0) FAILED: train_grpo.py ended with status 2; log ends:\n  error: no such key" in told
    assert [line.arm for line in sorted(go.lines(), key=lambda line: line.arm)] == ["stage1", "stage2"]
    assert go("--arms", "stage1,paper,stage2", "--seeds", "0")[0] == 0
    assert len(go.lines()) == 3


def test_what_begins_from_a_failed_arm_is_not_tried_again_for_each(go):
    status, fake = go(
        "--arms", "stage1,stage2,more_stage1", "--seeds", "0", "--jobs", "1", fake=Fake(broken="stage1")
    )
    assert status == 1
    assert [script for script, *_ in fake.calls].count("train_grpo.py") == 1
    assert go.lines() == []


class Stopping(Fake):
    """Is sent SIGTERM in the middle of the first evaluation."""

    def evaluate(self, given, run_dir):
        os.kill(os.getpid(), signal.SIGTERM)
        while not self.stopped:
            threading.Event().wait(0.01)
        raise StoppedError


def test_a_command_that_is_stopped_ends_what_runs_and_goes_on_later(go):
    before = signal.getsignal(signal.SIGTERM)
    status, fake = go("--arms", "stage1,stage2", "--seeds", "0", "--jobs", "1", fake=Stopping())
    assert (status, fake.stopped, go.lines()) == (128 + signal.SIGTERM, True, [])
    assert signal.getsignal(signal.SIGTERM) == before
    status, fake = go("--arms", "stage1,stage2", "--seeds", "0")
    assert status == 0
    assert [script for script, *_ in fake.calls].count("train_grpo.py") == 1, "stage 1 was trained before"
    assert len(go.lines()) == 2


def test_a_script_that_is_stopped_or_fails_is_told_from_one_that_ends_well(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.ablation.runs.ROOT", tmp_path)
    (tmp_path / "well.py").write_text("print('all done')")
    (tmp_path / "badly.py").write_text("import sys; print('the reason'); sys.exit(2)")
    (tmp_path / "long.py").write_text("import time; print('begun', flush=True); time.sleep(60)")
    scripts, log = Scripts(), tmp_path / "arm/log.txt"
    scripts.run("well.py", [], log)
    with pytest.raises(ArmError, match=r"status 2(.|\n)*all done\n  the reason"):
        scripts.run("badly.py", [], log)

    def stop_once_begun():
        while "begun" not in log.read_text():
            threading.Event().wait(0.01)
        scripts.stop()

    threading.Thread(target=stop_once_begun).start()
    with pytest.raises(StoppedError):
        scripts.run("long.py", [], log)
    with pytest.raises(StoppedError):
        scripts.run("well.py", [], log)


# --- data


def test_chains_that_are_too_long_are_in_neither_questions_nor_trajectories(go):
    _, fake = go("--arms", "short2_path", "--seeds", "0")
    (sft,) = [given for script, given, _ in fake.calls if script == "train_sft.py"]
    (rl,) = [given for script, given, _ in fake.calls if script == "train_grpo.py"]
    assert {int(t["question_id"][2:]) % 5 for t in read_records(Path(sft["data.trajectories"]))} == {0, 1}
    assert {len(q["provenance"]["path"]) for q in read_records(Path(rl["data.questions"]))} == {1, 2}
    assert len(read_records(Path(rl["data.questions"]))) == 16
    assert rl["grpo.reward"] == "fleming.rl.path_reward:path_reward"


def test_planted_labels_are_other_options_in_the_share_asked_for_and_both_arms_have_the_same(go):
    questions = [question(f"q{i}", 1) for i in range(400)]
    records, planted = plant(questions, 0.05, seed=1)
    wrong = [r for r, q in zip(records, questions, strict=True) if r["answer"] != q["answer"]]
    assert len(wrong) == len(planted) == 20
    assert {(r["id"], r["answer"]) for r in wrong} == {(p["id"], p["planted"]) for p in planted}
    assert {p["planted"] for p in planted} == {"B", "C", "D"}
    assert [r["provenance"] for r in records] == [q["provenance"] for q in questions]
    assert plant(questions, 0.05, seed=1) == (records, planted) != plant(questions, 0.05, seed=2)
    assert all(q["answer"] == "A" for q in questions)

    _, fake = go("--arms", "planted_review,planted_stays", "--seeds", "0")
    learned = {
        Path(g["run_dir"]).name: g["data.questions"] for _, g, _ in fake.calls if "data.questions" in g
    }
    files = [Path(file) for name, file in learned.items() if name.startswith("planted")]
    assert len(files) == 2
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_line_of_a_planted_arm_counts_what_left_and_what_of_it_was_planted(go):
    go("--arms", "planted_review,planted_stays", "--seeds", "0")
    counts = {line.arm: line.planted for line in go.lines()}
    assert counts["planted_review"] == {"planted": 2, "left": 3, "caught": 2, "rounds": 1}
    assert counts["planted_stays"] == {"planted": 2, "left": 0, "caught": 0, "rounds": 1}
    assert "| planted_review | 1 | 1 | 2 | 3 | 2 | 100.0" in tables_of.tables(PLAN, go.lines())


# --- lines, tables, the page


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 12, 201])
def test_a_mask_says_which_were_right(n):
    right = [i % 3 == 0 for i in range(n)]
    assert right_of(mask_of(right), n) == right
    assert right_of(mask_of([False] * n), n) == [0] * n


def test_a_line_whose_mask_disagrees_with_its_count_is_refused(go):
    go("--arms", "cold_start", "--seeds", "0")
    path = go.folder / "results.jsonl"
    path.write_text(path.read_text().replace('"1": [2, 4]', '"1": [3, 4]'))
    with pytest.raises(InputError, match=r"results.jsonl.*set 1 has 3 right of 4"):
        go.lines()


def line_of(arm: str, seed: int, right: int) -> Line:
    """A line with so many right answers of 100, all to chains of one fact."""
    masks = {"1": mask_of([i < right for i in range(100)])}
    recipe, whole = arms_of.recipe_hash(PLAN, arm, "small"), {"right": (0, 0), "wrong": (0, 0)}
    return Line(arm, seed, "small", recipe, {"1": (right, 100)}, masks, "same", whole, 1, 1, 1.0, "", "")


def test_holm_counts_what_has_not_been_run_as_p_1():
    rights = {"stage1": (70, 71, 69), "stage2": (75, 77, 73), "paper": (66, 70, 69)}
    lines = [line_of(arm, seed, n) for arm, of_arm in rights.items() for seed, n in enumerate(of_arm)]
    every = compared(PLAN, counted(PLAN, lines, "small")[0])
    stage2, paper = (
        next(each for each in every if (each.comparison.arm, each.comparison.against) == (arm, "stage1"))
        for arm in ("stage2", "paper")
    )
    family = sum(c.family == "others" for c in PLAN.comparisons)
    assert family == 16
    assert 0 < stage2.effect.p < paper.effect.p < 1
    assert stage2.p_holm == pytest.approx(min(1, family * stage2.effect.p))
    assert paper.p_holm == pytest.approx(min(1, (family - 1) * paper.effect.p))
    assert [each.p_holm for each in every].count(None) == len(every) - 2


def test_the_question_level_difference_pairs_the_same_questions_of_the_same_seed(go):
    go("--arms", "stage1,paper", "--seeds", "0,1,2")
    found, _ = counted(PLAN, go.lines(), "small")
    (row,) = [each for each in compared(PLAN, found) if each.effect]
    assert (row.questions.wins, row.questions.losses) == (0, 3 * 2 * 2)  # two of each file, in stage1 alone
    assert row.questions.difference == pytest.approx(-12 / 60) == pytest.approx(row.effect.mean)
    other = dataclasses.replace(found["paper", 1], questions="others")
    with pytest.raises(InputError, match="answered different questions"):
        compared(PLAN, {**found, ("paper", 1): other})


def test_what_a_comparison_can_show_follows_from_the_plan_alone():
    review = next(c for c in PLAN.comparisons if c.arm == "planted_review")
    assert block_arms(PLAN, review.block) == ["planted_review", "planted_stays"]
    design = designed(PLAN, review, "small")
    assert (design.seeds, design.df) == (5, 4)
    assert design.alone < design.corrected


def test_the_page_holds_the_tables_that_the_command_prints():
    page = tables_of.PAGE.read_text()
    assert tables_of.page_with(page, tables_of.tables(PLAN, read_results())) == page, (
        "python -m benchmarks.ablation --write"
    )


def test_the_page_tells_of_every_arm_as_the_plan_does():
    page = tables_of.PAGE.read_text()
    for name, arm in PLAN.arms.items():
        assert f"| {name} | {arm.begins or 'base'} | {arm.budget or '-'} | {arm.says} |" in page


def test_tables_name_the_seeds_that_there_are(go, capsys):
    go("--arms", "stage1,cold_start", "--seeds", "0,1")
    capsys.readouterr()
    assert go("--table")[0] == 0
    told = capsys.readouterr().out
    assert re.search(r"\| stage1 \| 2 of 5 \| 70\.0 \[70\.0, 70\.0\]", told)
    assert re.search(r"\| gspo \| 0 of 3 \| - \|", told)
    assert told.count("not run yet") == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--arms", "stage9"], "--arms stage9"),
        (["--seeds", "one"], "--seeds one"),
        (["--scale", "tiny"], "--scale tiny"),
    ],
)
def test_a_mistake_names_its_option(go, options, says):
    with pytest.raises(InputError, match=says):
        go(*options)
