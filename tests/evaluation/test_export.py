"""Stored results in other tools' forms, each read back by the tool itself: fleming/evaluation/export.py."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import warm
from support.jsonl import read_lines, read_records

from fleming.evaluation.answers import Answer, answer_to_json
from fleming.evaluation.export import chosen_results, export
from fleming.evaluation.other_tools import file_name
from fleming.evaluation.report import write_results
from fleming.evaluation.scoring import summarise_all
from fleming.evaluation.tables import Table, escape_latex, score_table, to_latex, to_markdown
from fleming.evaluation.votes import Score
from fleming.files import write_json, write_jsonl
from fleming.public.benchmarks import BENCHMARKS, LoadedBenchmark
from fleming.records import Question
from fleming.settings import Config
from model.errors import InputError

HOSTILE = "a|b_c & 50% #1 {x} \\input{y} ~^ <z> $m$ `--` [l](u) \u001b[2J 第一\n次"
PROTOCOLS = {"cot": "zero-shot & strict_parser", "loglikelihood": "likeliest"}


def question(name: str, gold: str = "A", **fields) -> Question:
    options = {letter: f"{name} {letter}" for letter in "ABCD"}
    return Question(id=name, question=f"Which {name}?", options=options, answer=gold, **fields)


def answered(
    benchmark: str, q: Question, choice: str | None, protocol: str, sample: int = 0, **fields
) -> Answer:
    own: dict = {"format": choice is not None, "finish_reason": "stop" if choice else "length"}
    own |= {"prompt": [{"role": "user", "content": q.question}], "response": f"<answer>{choice}</answer>"}
    if protocol == "loglikelihood":
        scores = {letter: -1.0 if letter == choice else -2.5 for letter in "ABCD"}
        own = {"loglikelihoods": scores, "correct_by_length": q.answer == "A", "cut_left": False}
        own |= {"prompt": f"Question: {q.question}\nAnswer:", "response": None}
    common = {
        "benchmark": benchmark,
        "protocol": protocol,
        "id": q.id,
        "order": 0,
        "sample": sample,
        "options": 4,
    }
    said = {"answer": choice, "choice": choice, "gold": q.answer, "correct": choice == q.answer}
    return Answer(
        **{**common, **said, "counts": True, "tokens": 7, "time": {"seconds": 0.5}, **own, **fields}
    )


def store(folder: Path, benchmarks: dict[str, list[Question]], answers: list[Answer], **how) -> Path:
    """Write a folder eval/NAME as evaluate.py does."""
    loaded = [
        LoadedBenchmark(n, qs, [Path("x.jsonl")], BENCHMARKS.get(n), [], **how)
        for n, qs in benchmarks.items()
    ]
    results = summarise_all(loaded, answers)
    write_jsonl(folder / "answers.jsonl", map(answer_to_json, answers), hashed=True)
    about = {"model": "DIR", "seed": 3, "sha256": {"model/config.json": "0" * 64}}
    write_results(folder, {}, about, results, PROTOCOLS)
    return folder


@pytest.fixture
def run(tmp_path) -> Path:
    """Two protocols, three samples a question by one of them, and a reshuffle that counts for nothing."""
    questions = [question(f"mine/{i}", "ABCD"[i % 4]) for i in range(6)]
    other = [question(f"o/{i}", "B") for i in range(3)]
    answers = []
    for i, q in enumerate(questions):
        choices = [q.answer, q.answer if i % 2 else "D", None]
        answers += [answered("mine", q, c, "cot", sample) for sample, c in enumerate(choices)]
        answers.append(answered("mine", q, q.answer, "cot", order=1))
        answers.append(answered("mine", q, "AB"[i % 2], "loglikelihood"))
    for q in other:
        answers += [answered("other", q, "B", "cot", sample) for sample in range(3)]
        answers.append(answered("other", q, "C", "loglikelihood"))
    return store(tmp_path / "run/eval/tiny", {"mine": questions, "other": other}, answers)


def scores_of(folder: Path) -> dict[tuple[str, str], dict]:
    found = json.loads((folder / "results.json").read_text())["benchmarks"]
    return {(b, p): details for b, by_protocol in found.items() for p, details in by_protocol.items()}


# Inspect


def test_inspect_reads_its_log_with_every_answer_score_and_metric(run):
    log = pytest.importorskip("inspect_ai.log")
    written = list(export("inspect", [run], run.parent))
    listed = log.list_eval_logs(str(run / "inspect"))
    assert {Path(info.name).name for info in listed} == {path.name for path in written}
    wanted = scores_of(run)
    stored = read_records(run / "answers.jsonl")
    for info in listed:
        found = log.read_eval_log(info)
        assert log.read_eval_log(info, header_only=True).results == found.results
        benchmark, protocol = found.eval.task.split("/")
        details = wanted.pop((benchmark, protocol))
        assert (found.status, found.eval.model, found.eval.metadata["protocol"]) == (
            "success",
            "tiny",
            PROTOCOLS[protocol],
        )
        metrics = {name: metric.value for name, metric in found.results.scores[0].metrics.items()}
        names = ("n", "accuracy", "accuracy_low", "accuracy_high", "chance", "stderr")
        assert {name: metrics[name] for name in names} == {name: details[name] for name in names}

        of = [a for a in stored if (a["benchmark"], a["protocol"], a["order"]) == (benchmark, protocol, 0)]
        said = [
            (s.id, s.epoch - 1, s.scores["correct"].value == "C", s.scores["correct"].answer)
            for s in found.samples
        ]
        assert said == [(a["id"], a["sample"], a["correct"], a["answer"]) for a in of]
        shares = [s.scores["correct"].value == "C" for s in found.samples]
        assert sum(shares) / len(shares) == pytest.approx(details["accuracy"])
        first = found.samples[0]
        assert "Which" in first.messages[0].text
        assert first.messages[-1].role == "assistant"
        if protocol == "cot":
            assert first.output.completion == of[0]["response"]
            assert found.eval.config.epochs == 3
            assert {s.output.stop_reason for s in found.samples} == {
                a["finish_reason"].replace("length", "max_tokens") for a in of
            }
    assert not wanted


# lm-evaluation-harness


def test_the_harness_reads_its_files_and_counts_the_same_accuracy(run):
    utils = pytest.importorskip("lm_eval.utils")
    written = [str(path) for path in export("lm-eval", [run], run.parent)]
    results = utils.get_results_filenames(list(map(str, (run / "lm-eval").iterdir())))
    samples = utils.get_sample_results_filenames(list(map(str, (run / "lm-eval").iterdir())))
    assert sorted(results + samples) == sorted(written)
    assert len(results) == 1
    whole = json.loads(Path(results[0]).read_text())
    for path in samples:
        task = utils.get_file_task_name(Path(path).name)
        assert utils.get_file_datetime(Path(path).name) in results[0]
        benchmark, protocol = whole["configs"][task]["metadata"]["benchmark"], task.rpartition("_")[2]
        metric = "exact_match" if protocol == "cot" else "acc"
        rows = read_records(Path(path))
        details = scores_of(run)[benchmark, protocol]
        assert [row["doc_id"] for row in rows] == list(range(details["n"]))
        assert sum(row[metric] for row in rows) / len(rows) == pytest.approx(details["accuracy"])
        assert whole["results"][task][f"{metric},none"] == details["accuracy"]
        if protocol == "loglikelihood":
            right = [
                max(range(4), key=lambda i: float(row["filtered_resps"][i][0])) == int(row["target"])
                for row in rows
            ]
            assert [float(r) for r in right] == [row["acc"] for row in rows]
            assert sum(row["acc_norm"] for row in rows) / len(rows) == pytest.approx(
                details["accuracy_by_length"]
            )
        hashes = "".join(row["doc_hash"] + row["prompt_hash"] + row["target_hash"] for row in rows)
        assert whole["task_hashes"][task] == utils.hash_string(hashes)
        for row in rows:
            told = json.dumps(row["doc"], indent=2, ensure_ascii=False)
            assert row["doc_hash"] == utils.hash_string(told)
            assert row["prompt_hash"] == utils.hash_string(row["arguments"]["gen_args_0"]["arg_0"])
            assert row["target_hash"] == utils.hash_string(row["target"])
    table = utils.make_table(whole)
    assert "mine_loglikelihood" in table
    assert "exact_match" in table


def test_a_line_is_what_the_harness_itself_writes(run, tmp_path):
    """The same answer in the harness's memory, saved by the harness's own tracker."""
    tracker_of = pytest.importorskip("lm_eval.loggers.evaluation_tracker")
    path = next(p for p in export("lm-eval", [run], run.parent) if "mine_loglikelihood" in p.name)
    ours = read_records(path)[0]
    answer = next(a for a in read_records(run / "answers.jsonl") if a["protocol"] != "cot")
    pairs = [(value, None) for value in answer["loglikelihoods"].values()]
    sample = {
        "doc_id": 0,
        "doc": ours["doc"],
        "target": "ABCD".index(answer["gold"]),
        "arguments": [(answer["prompt"], f" {letter}") for letter in answer["loglikelihoods"]],
        "resps": [[pair] for pair in pairs],
        "filtered_resps": pairs,
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        **{name: ours[name] for name in ("doc_hash", "prompt_hash", "target_hash")},
        "acc": float(answer["correct"]),
        "acc_norm": float(answer["correct_by_length"]),
    }
    tracker = tracker_of.EvaluationTracker(output_path=str(tmp_path / "theirs"))
    tracker.general_config_tracker.model_name_sanitized, tracker.date_id = "tiny", "2026"
    tracker.save_results_samples("mine", [sample])
    theirs = (tmp_path / "theirs/tiny/samples_mine_2026.jsonl").read_text()
    assert read_lines(path)[0] == theirs.rstrip("\n")


def test_pubmedqa_likelihoods_are_of_its_words(tmp_path):
    options = {"A": "yes", "B": "no", "C": "maybe"}
    q = Question(id="p/1", question="Is it?", context="It is.", options=options, answer="C")
    scores = {"loglikelihoods": {"A": -2.0, "B": -3.0, "C": -1.0}, "options": 3}
    given = [answered("pubmedqa", q, "C", "loglikelihood", **scores)]
    folder = store(tmp_path / "eval/m", {"pubmedqa": [q]}, given, set="pubmedqa")
    path = next(p for p in export("lm-eval", [folder], tmp_path) if p.suffix == ".jsonl")
    arguments = json.loads(path.read_text())["arguments"]
    assert [pair["arg_1"] for pair in arguments.values()] == [" yes", " no", " maybe"]


# Tables


def unescaped(line: str) -> str:
    return re.sub(r"\\.", "", line)


def check_latex(text: str) -> int:
    """A strict little reader: environments close, rows have the declared columns; returns how many tables."""
    open_environments, columns, tables = [], 0, 0
    for line in text.splitlines():
        if line.startswith(r"\providecommand"):  # nothing of ours to escape
            continue
        plain = unescaped(line.replace(r"\\", ""))
        assert not re.search(r"[#$^~<>|\x00-\x1f]", plain), line
        assert plain.count("{") == plain.count("}"), line
        if begun := re.match(r"\\begin\{(\w+)\}", line):
            open_environments.append(begun[1])
            if begun[1] == "tabular":
                columns = line.count("p{")
            tables += begun[1] == "table"
        elif ended := re.match(r"\\end\{(\w+)\}", line):
            assert open_environments.pop() == ended[1]
        elif open_environments[-1:] == ["tabular"] and line != r"\hline":
            assert re.search(r" \\\\( \\hline)?$", line), line
            assert plain.count("&") < columns, line
            assert not re.match(r"[\[*]", line), line  # \\ would take it for its argument
        else:
            assert not {"&", "%"} & set(plain), line
    assert not open_environments
    return tables


def test_tables_have_a_row_a_model_a_column_a_benchmark_and_their_mean(run, tmp_path):
    second = shutil.copytree(run, run.parent / "other_model")
    md, tex = export("table", [run, second], tmp_path)
    assert (md.name, tex.name) == ("table.md", "table.tex")
    text, details = md.read_text(), scores_of(run)
    head, rule, *rows = text.split("\n\n")[1].splitlines()
    assert [cell.strip() for cell in head.strip("|").split("|")] == [
        "model", "mine (n = 6)", "other (n = 3)", "mean (n = 9)"
    ]  # fmt: skip
    assert set(rule) == set("| -")
    assert [row.split("|")[1].strip() for row in rows] == [
        "tiny",
        r"other\_model",
    ]
    macro = json.loads((run / "results.json").read_text())["macro"]["cot"]
    wanted = [details["mine", "cot"], details["other", "cot"], macro]
    for cell, score in zip(rows[0].strip("|").split("|")[1:], wanted, strict=True):
        numbers = [float(x) for x in re.findall(r"[\d.]+", cell)]
        percents = [100 * score[name] for name in ("accuracy", "accuracy_low", "accuracy_high")]
        assert numbers == pytest.approx(percents, abs=0.051)
    assert "95 % interval" in text
    assert "mine 25.0 (" in text
    assert r"zero-shot & strict\_parser".replace("&", r"\&") in text
    assert check_latex(tex.read_text()) == text.count("## ")


@pytest.mark.parametrize("name", [HOSTILE, "[x]", "*", "a\\", "--", "100%"])
def test_a_name_of_any_characters_is_one_cell(name):
    score = Score(5, 0.5, 0.2, 0.8, 0.25, 0.4)
    found = score_table(name, {name: {name: score}, "b": {name: score}}, [name])
    assert check_latex(to_latex(found)) == 1
    rows = [line for line in to_markdown(found).splitlines() if line.startswith("|")]
    assert len(rows) == 4
    assert {unescaped(row).count("|") for row in rows} == {3}
    assert "\x1b" not in to_latex(found) + to_markdown(found)


def test_what_a_model_lacks_is_said_and_no_mean_of_fewer_is_given():
    score, more = Score(5, 0.5, 0.2, 0.8, 0.25, 0.4), Score(9, 0.5, 0.2, 0.8, 0.25, 0.4)
    found = score_table("t", {"a": {"x": score, "y": score}, "b": {"x": more}}, [])
    assert found.rows == [
        ["a", "50.0 [20.0, 80.0], n = 5", "50.0 [20.0, 80.0]"],
        ["b", "50.0 [20.0, 80.0], n = 9", "n/a"],
    ]
    assert any("not evaluated" in note for note in found.notes)


def test_a_table_wider_than_a_page_comes_in_parts_and_one_longer_than_a_page_in_several():
    columns = [f"slice {i}" for i in range(11)]
    rows = [[f"m{i}", *(f"{i}.{j}" for j in range(11))] for i in range(3)]
    text = to_latex(Table("Wide", ["model", *columns], rows, ["a note"]))
    parts = text.split(r"\begin{tabular}")[1:]
    cells = [[line.split(" & ") for line in part.splitlines() if " & " in line] for part in parts]
    assert [len(part[0]) for part in cells] == [5, 5, 4]
    for i, row in enumerate([["model", *columns], *rows]):
        found = [re.sub(r" \\\\.*", "", cell) for part in cells for cell in part[i][1:]]
        assert found == row[1:]
        assert {part[i][0] for part in cells} == {row[0]}
    many = to_latex(Table("Long", ["model", *columns], rows * 10, ["a note"]))
    assert check_latex(many) == many.count(r"\caption") == 3
    assert many.count("(continued)") == 2
    assert many.count("a note") == 1


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_latex_compiles_and_stands_on_the_page(tmp_path):
    names = [HOSTILE, "β ≥ 2 ąðП", "a_name/that_goes_on" * 4, "Sjögren–Δ"]
    rows = [[name, *["100.0 [93.9, 100.0], n = 5"] * 9] for name in names]
    found = to_latex(Table(HOSTILE, [HOSTILE, *(names + names), "x"], rows, [HOSTILE]))
    document = f"\\documentclass{{article}}\\begin{{document}}\n{found}\\end{{document}}\n"
    (tmp_path / "t.tex").write_text(document)
    command = ["pdflatex", "-halt-on-error", "t.tex"]
    log = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True).stdout
    assert b"Overfull" not in log


def test_escaped_latex_says_what_it_said():
    assert escape_latex("50%#&$") == r"50\%\#\&\$"
    assert escape_latex("a_b/c") == r"a\_\allowbreak{}b/\allowbreak{}c"
    assert escape_latex("\\x~^") == r"\textbackslash{}x\textasciitilde{}\textasciicircum{}"
    assert (
        escape_latex("Sjögren – 第一 β")
        == r"Sjögren – \otherscript{第一}{U+7B2C 4E00} \otherscript{β}{U+03B2}"
    )


# What is refused


@pytest.mark.parametrize("kind", ["inspect", "lm-eval"])
def test_answers_that_the_score_is_not_of_are_refused(run, kind):
    lines = read_lines(run / "answers.jsonl")
    (run / "answers.jsonl.sha256").unlink()
    for changed in (lines[5:], [*lines, lines[0]]):
        (run / "answers.jsonl").write_text("\n".join(changed) + "\n")
        with pytest.raises(
            InputError, match=r"answers\.jsonl: .*(evaluate these questions again|answered twice)"
        ):
            list(export(kind, [run], run.parent))
    assert not (run / kind).exists()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("accuracy",), 5.0, "is no score"),
        (("n",), 0, "is no score"),
        (("chance",), "high", "chance"),
        (("protocol",), None, "protocol"),
        (("warnings",), "all", "warnings"),
        (("breakdown",), {"x": {"y": 3}}, "breakdown.x.y"),
        (("breakdown",), {"x": {"y": {"n": 1}}}, "is missing"),
    ],
)
def test_results_that_are_none_are_refused_by_their_place(run, path, value, said):
    whole = json.loads((run / "results.json").read_text())
    whole["benchmarks"]["mine"]["cot"][path[0]] = value
    write_json(run / "results.json", whole)
    with pytest.raises(InputError, match=said) as error:
        list(export("table", [run], run.parent))
    assert "results.json: mine, cot" in str(error.value)
    assert not (run.parent / "table.md").exists()


def test_an_unknown_protocol_and_no_results_are_refused(run, tmp_path):
    write_json(run / "results.json", {"benchmarks": {"mine": {"../x": {}}}})
    with pytest.raises(InputError, match="no protocol"):
        list(export("table", [run], run.parent))
    with pytest.raises(InputError, match="no results of evaluate"):
        chosen_results(Config(run_dir=str(tmp_path / "none")), [])


def test_names_become_files_in_the_folder_and_no_two_the_same(tmp_path):
    names = ["../../x", "a/b", "a b", "A_b", "第一", "第二", "x" * 300, "x" * 301, "a_b"]
    files = [file_name(name, "cot") for name in names]
    assert len(set(files)) == len(names)
    assert all(re.fullmatch(r"\w{1,120}", f, re.ASCII) for f in files)
    q = question("q")
    folder = store(tmp_path / "eval" / "m", {"../../x": [q]}, [answered("../../x", q, "A", "cot")])
    for kind in ("inspect", "lm-eval"):
        assert {path.parent for path in export(kind, [folder], tmp_path)} == {folder / kind}


@pytest.mark.parametrize(
    "prompt", [{"role": 3}, [3], [{"role": "tool", "content": "x"}], [{"role": "user"}], [], None]
)
def test_a_prompt_of_another_form_is_shown_as_it_is(tmp_path, prompt):
    log = pytest.importorskip("inspect_ai.log")
    q = question("q")
    given = answered("b", q, None, "cot", prompt=prompt, response=None)
    folder = store(tmp_path / "eval/m", {"b": [q]}, [given])
    found = log.read_eval_log(str(next(export("inspect", [folder], tmp_path)))).samples[0]
    assert found.messages[0].text == json.dumps(prompt)
    assert found.output.completion == ""


def test_the_command_exports_a_runs_models_and_asks_none(run, tmp_path):
    command = [
        sys.executable,
        "evaluate.py",
        "--export",
        "table",
        "--of",
        str(run),
        f"run_dir={tmp_path / 'out'}",
    ]
    found = warm.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == [str(tmp_path / f"out/eval/table.{ending}") for ending in ("md", "tex")]
    named = chosen_results(Config(), [str(run.parent.parent), str(run)])
    assert named == [run]


def test_a_right_answer_that_is_no_option_is_refused(tmp_path):
    q = question("q")
    given = answered("b", q, "B", "loglikelihood")
    folder = store(tmp_path / "eval/m", {"b": [q]}, [given])
    write_jsonl(folder / "answers.jsonl", [answer_to_json(given) | {"gold": "Z"}], hashed=True)
    for kind in ("inspect", "lm-eval"):
        with pytest.raises(InputError, match="'Z' is right and none of its options"):
            list(export(kind, [folder], tmp_path))


def test_an_error_of_nothing_is_no_absent_one(tmp_path):
    utils = pytest.importorskip("lm_eval.utils")
    questions = [question("q"), question("r")]
    given = [answered("b", q, "A", "loglikelihood") for q in questions]
    *_, path = export("lm-eval", [store(tmp_path / "eval/m", {"b": questions}, given)], tmp_path)
    whole = json.loads(path.read_text())
    assert whole["results"]["b_loglikelihood"]["acc_stderr,none"] == 0.0
    assert "N/A" not in utils.make_table(whole)


def test_another_accuracy_of_as_many_questions_is_refused(run):
    whole = json.loads((run / "results.json").read_text())
    whole["benchmarks"]["mine"]["cot"]["accuracy"] += 0.01
    write_json(run / "results.json", whole)
    with pytest.raises(InputError, match="mine, cot: its answers have the score"):
        list(export("lm-eval", [run], run.parent))


def test_answers_given_twice_are_refused_though_the_accuracy_stays(run):
    lines = read_records(run / "answers.jsonl")
    write_jsonl(run / "answers.jsonl", [*lines, *lines], hashed=True)
    with pytest.raises(InputError, match="answered twice"):
        list(export("inspect", [run], run.parent))


def test_a_mean_of_fewer_benchmarks_is_not_given(tmp_path):
    q = question("q")
    folders = []
    for model, names in {"all": "xyz", "fewer": "xy"}.items():
        given = [answered(name, q, "A", "cot") for name in names]
        folders.append(store(tmp_path / "eval" / model, {name: [q] for name in names}, given))
    md, _ = export("table", folders, tmp_path)
    _, _, whole, fewer = [line for line in read_lines(md) if line.startswith("|")][:4]
    assert whole.count("100.0 [") == 4
    assert (fewer.count("100.0 ["), fewer.count("n/a")) == (2, 2)
