"""Results as a reader sees them: results.json, and tables in which each score has its interval and chance level.

Left out: computing them (scoring.py, comparison.py).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from fleming.evaluation.comparison import Comparison, Difference, corrected, difference
from fleming.evaluation.reliability import row_of
from fleming.evaluation.scoring import Result
from fleming.evaluation.statistics import Interval
from fleming.evaluation.votes import Score
from fleming.files import read_json, write_json
from fleming.records import DIFFICULTIES
from fleming.typed import convert


def percent(share: float) -> str:
    """Return "57.1" for 0.571."""
    return f"{100 * share:.1f}"


def with_interval(score: Score) -> str:
    """Return "57.1 [55.0, 59.2]"."""
    return _share({"value": score.accuracy, "low": score.accuracy_low, "high": score.accuracy_high})


def results_table(rows: Sequence[tuple[str, Result]]) -> str:
    """Return a table of (model, result), in percent, in parts of at most WIDTH columns of a terminal; none is empty."""
    return in_parts([_row(model, result) for model, result in rows], COLUMNS)


def reliability_table(rows: Sequence[tuple[str, Result]]) -> str:
    """Return a table of the reliability rows of those that have one, in percent; empty where none has."""
    lines = []
    for model, result in rows:
        if found := result.details.get("reliability"):
            key = {"benchmark": result.benchmark, "model": model, "questions": f"{found['questions']:,}"}
            key["ways"] = str(len(found["ways"]))
            for head, share in row_of(found).items():
                if share:
                    of_fewer = f" of {share['n']:,}" if share["n"] < found["questions"] else ""
                    key[head] = _share(share) + of_fewer
            lines.append(key)
    heads = [head for line in lines for head in line]
    return in_parts(lines, list(dict.fromkeys(heads))) if lines else ""


def in_parts(lines: Sequence[Mapping[str, str]], heads: Sequence[str]) -> str:
    """Return lines (head -> cell) as a table, in parts of at most WIDTH columns of a terminal; empty columns are left
    out, and the first two stand in each part.
    """
    columns = {head: [line.get(head, "") for line in lines] for head in heads}
    columns = {head: cells for head, cells in columns.items() if any(cells)}
    keys = {head: columns.pop(head) for head in OF_ALL[:2] if head in columns}
    tables = [dict(keys)]
    for head, cells in columns.items():
        if len(table(tables[-1] | {head: cells}).partition("\n")[0]) > WIDTH and len(tables[-1]) > len(keys):
            tables.append(dict(keys))
        tables[-1][head] = cells
    return "\n\n".join(map(table, tables))


WIDTH = 80  # of a terminal; a wider table comes in parts
OF_COT = ("abstained", "format", "cut")  # log-likelihoods have none of them
OF_ALL = ("benchmark", "model", "questions", "accuracy [95 %]", "chance", "commonest")
COLUMNS = (*OF_ALL, *DIFFICULTIES, *OF_COT, "tokens")


def _row(model: str, result: Result) -> dict[str, str]:
    """Return column -> cell, for what there is to say."""
    score, details = result.score, result.details
    row = {
        "benchmark": result.benchmark,
        "model": model,
        "questions": f"{score.n:,}",
        "accuracy [95 %]": with_interval(score),
        "chance": percent(score.chance),
        "commonest": percent(score.commonest_letter),
    }
    grades = details.get("breakdown", {}).get("difficulty", {})
    row |= {grade: percent(found.accuracy) for grade, found in grades.items()}
    if "format" in details:
        row |= {name: percent(details[name]) for name in OF_COT}
        row["tokens"] = f"{details['mean_tokens']:.1f}"
    return row


def table(columns: Mapping[str, Sequence[str]]) -> str:
    """Return a Markdown table of head -> cells."""
    padded = []
    for head, cells in columns.items():
        width = max(map(len, (head, *cells)))
        padded.append([cell.ljust(width) for cell in (head, "-" * width, *cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*padded, strict=True))


def about_data(result: Result) -> list[str]:
    """Return what there is to say of a benchmark's data, a line each."""
    name, data = result.benchmark, result.details["data"]
    lines = [f"WARNING, {name}: {warning}" for warning in result.details["warnings"]]
    counted = [f"{flaw} {found['count']}" for flaw, found in data["defects"].items()]
    if data["set_aside"]:
        counted.append(f"set aside {len(data['set_aside'])}")
    if counted:
        lines.append(f"{name}, flaws of the data: {', '.join(counted)} (which: results.json)")
    return lines


def about_model(name: str, result: Result) -> list[str]:
    """Return what there is to say of a model on a benchmark beside the table, a line each, beginning with `name`."""
    details, lines = result.details, []
    if "all_rows" in details:
        rows = details["all_rows"]
        said = f"repeated stems count once in the table; all {rows.n} records: {with_interval(rows)}"
        lines.append(f"{name}: {said}, chance {percent(rows.chance)}")

    if "pass_at_k" in details:
        answers, guessed = f"{details['samples']} answers", details["pass_at_k_by_chance"]
        found = details["pass_at_k"].items()
        passes = [f"{percent(share)} (chance {percent(guessed[k])}) for k = {k}" for k, share in found]
        votes = [f"{percent(share)} for k = {k}" for k, share in details["maj_at_k"].items()]
        lines.append(f"{name}: pass@k of {answers}: {', '.join(passes)}")
        lines.append(f"{name}: maj@k of {answers}: {', '.join(votes)}; chance {percent(result.score.chance)}")

    if details.get("raters"):
        lines += [f"{name}: {said}" for said in _by_raters(details["raters"])]

    if "forced" in details:
        lines.append(f"{name}: {percent(details['forced'])} % were made to end their thinking")

    for group, found in details.get("process", {}).items():
        lines += [f"{name}, {group} answers: {said}" for said in _of_process(found)]

    shares = details["answered_letters"]
    letter = max(shares, key=shares.get, default="")
    if shares.get(letter, 0) > 0.5:
        right = percent(details["data"]["gold_letters"].get(letter, 0))
        often = percent(shares[letter])
        lines.append(f"{name}: answers {letter} in {often} % of cases; it is right in {right} %")

    cut = details.get("documents_cut_left")
    if cut:
        said = f"{cut} documents are longer than the model's context and were cut on the left"
        lines.append(f"WARNING, {name}: {said}")

    found = details["calibration"]
    if found:
        silent = f", {percent(details['abstained'])} % abstained" if details["abstained"] else ""
        said = f"ECE {found['ece']:.3f}, Brier score {found['brier']:.3f}, by {found['of']}"
        lines.append(f"{name}: {said}{silent}")

    found = details["option_order"]
    if found:
        asked = f"{found['orders']} orders of the options on {found['questions']} questions"
        right = ", ".join(map(percent, found["accuracies"]))
        spread = f"spread {percent(found['spread'])}, chance {percent(found['chance'])}"
        same = f"the same option in all orders {percent(found['consistency'])} %"
        lines.append(f"{name}: {asked}, first answers: right {right} ({spread}), {same}")
    return lines


def _of_process(found: Mapping[str, Any]) -> list[str]:
    """Return what the checks say of a group of answers, where they had anything to read."""
    shares, said = found["shares"], []
    if found["with_sums"]:
        said.append(f"a wrong sum in {_share(shares['wrong_sum'])} % ({found['with_sums']} have sums)")
    if found["claims"].get("read"):
        said.append(f"a claim that the graph contradicts in {_share(shares['contradicted_claim'])} %")
    if found["with_certificate"]:
        said.append(f"the whole path in {_share(shares['whole_path'])} % of {found['with_certificate']}")
    return [", ".join(said)] if said else []


def about_mean(name: str, result: Result) -> list[str]:
    """Return what the mean of several benchmarks would be without the smallest of them."""
    found = result.details.get("without_smallest")
    if not found:
        return []
    return [f"{name}: without the smallest ({', '.join(found['left_out'])}) {with_interval(found['score'])}"]


def _by_raters(found: Mapping[str, Any]) -> list[str]:
    flaws = ", ".join(f"{flaw} {count}" for flaw, count in found["flaws"].items())
    rated = f"{found['ratings']:,} ratings of {found['rated']:,} questions"
    if found["unread_rows"] or found["unmatched_rows"]:
        other = f"{found['unmatched_rows']:,} are of no question here"
        rated += f" ({found['unread_rows']:,} rows of {found['file']} cannot be read, {other})"
    lines = [f"{rated}; most raters find {found['flawed']} flawed" + (f" ({flaws})" if flaws else "")]
    if found["without_flawed"]:
        lines[0] += f"; without these {with_interval(found['without_flawed'])}"
    if found["weighted"]:
        lines.append(f"weighted by the raters' agreement with the gold {_share(found['weighted'])}")
    if found["disagreeing"]:
        other = found["disagreeing"]
        said = f"gives their answer {_share(other['as_raters'])}, the gold {_share(other['as_gold'])}"
        lines.append(f"on the {other['n']} questions where most raters find another option right it {said}")
    return lines


def _share(found: Mapping[str, float]) -> str:
    return f"{percent(found['value'])} [{percent(found['low'])}, {percent(found['high'])}]"


# Differences


def describe_interval(found: Interval | Difference, value: float) -> str:
    """Return "+1.2 [+0.3, +2.1]", percentage points."""
    return f"{100 * value:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"


def describe_difference(found: Difference) -> str:
    """Return "+1.2 [+0.3, +2.1], 14 won, 5 lost, McNemar p = 0.06 (Holm 0.12), detectable 2.3".

    Percentage points and counts of questions.
    """
    points = describe_interval(found, found.difference)
    p_value = f"{found.test} p = {found.p_mcnemar:.2g}"
    if found.p_holm is not None:
        p_value += f" (Holm {found.p_holm:.2g})"
    counts = f"{found.wins} won, {found.losses} lost"
    return f"{points}, {counts}, {p_value}, detectable {percent(found.detectable)}"


def describe_comparison(comparison: Comparison) -> str:
    """Return two runs' comparison as lines for a terminal."""
    lines = [f"a: {comparison.a}", f"b: {comparison.b}"]
    lines += [f"NOT THE SAME SETTINGS: {what}" for what in comparison.settings_differ]
    for row in comparison.benchmarks:
        on = f"{row.benchmark}, {row.protocol}, {row.a.n} questions, chance {percent(row.a.chance)}"
        scores = f"a {percent(row.a.accuracy)}, b {percent(row.b.accuracy)}"
        said = f"{describe_difference(row.difference)}: {row.difference.verdict}"
        lines.append(f"{on}: {scores}; b minus a {said}")
        if row.only_a or row.only_b:
            lines.append(f"  left out: {row.only_a} that only a answered, {row.only_b} that only b answered")
    for mean in comparison.means:
        points = describe_interval(mean.difference, mean.difference.value)
        on = f"macro average of {mean.benchmarks}, {mean.protocol}"
        lines.append(f"{on}: b minus a {points}, detectable {percent(mean.detectable)}: {mean.verdict}")
    return "\n".join(lines)


# All of a run


def describe_results(results: Mapping[str, Sequence[Result]], protocols: Mapping[str, str], seed: int) -> str:
    """Return for each protocol the table, what else there is to say, and the models' paired differences.

    results: model -> its results, the same benchmarks in the same order for each. protocols: name -> what it does.
    """
    models = list(results)
    side_by_side = list(zip(*results.values(), strict=True))  # a result a model, on the same benchmark
    pairs = list(pairwise(range(len(models))))
    if len(models) == 4:  # base, cold start, stage 1, stage 2: what RL did as a whole
        pairs.append((1, 3))

    lines = [""]
    asked_first = next(iter(protocols))
    for first, *_ in side_by_side:
        if first.protocol == asked_first and first.questions:
            lines += about_data(first)
    for protocol, described in protocols.items():
        rows = [row for row in side_by_side if row[0].protocol == protocol]
        named = [pair for row in rows for pair in zip(models, row, strict=True)]
        lines += [f"\n{protocol}: {described}; seed {seed}\n", results_table(named) + "\n"]
        if otherwise := reliability_table(named):
            lines += ["asked otherwise (docs/evaluation.md says what each column is):\n", f"{otherwise}\n"]

        for model, result in named:
            about = about_model if result.questions else about_mean
            lines += about(f"{result.benchmark}, {model}", result)
        lines += _differences([row for row in rows if row[0].questions], models, pairs)
    return "\n".join(lines)


def _differences(
    rows: Sequence[Sequence[Result]], models: Sequence[str], pairs: Sequence[tuple[int, int]]
) -> list[str]:
    """Return a line for each pair of models on each benchmark: all of them are one family of comparisons."""
    heads, found = [], []
    for row in rows:
        for before, after in pairs:
            a, b = row[before].questions, row[after].questions
            scores = [q.score for q in a.values()], [b[name].score for name in a]
            found.append(difference(*scores, clusters=[q.case for q in a.values()]))
            heads.append(f"{row[0].benchmark}: {models[after]} minus {models[before]}, same questions")
    said = map(describe_difference, corrected(found))
    lines = [f"{head}: {difference}" for head, difference in zip(heads, said, strict=True)]
    if lines:
        lines.append(
            "detectable: a true difference that such a comparison would show (p < 0.05) in 80 % of cases"
        )
    return lines


# results.json


def read_results(folder: Path) -> dict[str, Any]:
    """Return results.json of an earlier command, or nothing. Raises InputError for a file that is none."""
    path = folder / "results.json"
    found = convert(dict[str, Any], read_json(path) if path.exists() else {}, str(path), "results")
    for key, kind in {"sha256": dict[str, str], "benchmarks": dict[str, dict[str, Any]]}.items():
        convert(kind, found.get(key, {}), str(path), key)
    return found


def write_results(
    folder: Path,
    before: Mapping[str, Any],
    about: Mapping[str, Any],
    results: Sequence[Result],
    protocols: Mapping[str, str],
) -> None:
    """Write results.json: what this command found, and what earlier ones did by other protocols or on other benchmarks.

    Each score carries its own protocol. The means are of this command's benchmarks alone.
    """
    benchmarks, means = dict(before.get("benchmarks", {})), {}
    for result in results:
        score = vars(result.score)
        if not result.questions:
            means[result.protocol] = {**result.details, **score}
            continue
        found = {"protocol": protocols[result.protocol], **score, **result.details}
        benchmarks[result.benchmark] = benchmarks.get(result.benchmark, {}) | {result.protocol: found}

    earlier = before.get("sha256", {})
    others = {name: sha256 for name, sha256 in earlier.items() if not name.startswith("model/")}
    record = {**about, "sha256": others | about["sha256"], "benchmarks": benchmarks, "macro": means}
    write_json(folder / "results.json", record)
