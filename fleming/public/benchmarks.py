"""The benchmarks: which file is which, how many questions each has as published, and what is wrong with them.

The nine of the paper, with 4 and 5 options or both sizes where two are in use, and CMExam as a tenth; what is known of
each is data, assets/benchmarks.yaml. Nothing is repaired and nothing dropped: a count that differs from the published
one is a warning, a flawed question is counted by its flaw and asked all the same. Left out: what the records look like
(sets.py).
"""

import fnmatch
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleming.assets import load_table
from fleming.files import read_json
from fleming.public.own import split_of_name
from fleming.public.readers import DEFAULT, NO_FAULT, QuestionSet, fitting, read_set
from fleming.public.sets import DECISIONS
from fleming.public.tables import table_suffix
from fleming.records import Question, Split
from fleming.settings import Config
from fleming.text import mentions_figure, reserved
from fleming.typed import from_json
from model.errors import InputError


@dataclass(frozen=True)
class Benchmark:
    """What is known of a published benchmark."""

    set: str
    """Its set's name in sets.py."""
    size: int
    """Records as published."""
    files: tuple[str, ...]
    """Patterns of its file's name, lower case, "_" for "-", without suffix; the first that matches counts."""
    document: str
    """What the log-likelihood protocol completes, a key of loglikelihood.DOCUMENTS."""
    split: Split = "test"
    """Of its questions that scores are published on."""
    never: tuple[str, ...] = ()
    """Patterns of files that are something else."""
    options: int | None = None
    """Options of each of its questions; None where they differ among them."""
    category: str | None = None
    """Of several in its file."""
    official_split: bool = False
    """Only the questions that test_ground_truth.json names."""
    distinct: bool = False
    """Repeated stems count once in the headline, as in the paper; see docs/discrepancies.md."""
    in_paper: bool = True
    """One of the nine of the paper's macro average."""


BENCHMARKS = {
    name: from_json(Benchmark, row, f"assets/benchmarks.yaml: {name}")
    for name, row in load_table("benchmarks.yaml").items()
}
PAPER_NINE = tuple(name for name, known in BENCHMARKS.items() if known.in_paper)


@dataclass(frozen=True)
class LoadedBenchmark:
    """A benchmark's questions, and what there is to say of them."""

    name: str
    questions: list[Question]
    files: list[Path]
    """What it was read from."""
    known: Benchmark | None
    """None for questions of the user's own."""
    set_aside: list[dict[str, str]]
    """Records that are no question; see QuestionSet."""
    warnings: list[str] = field(default_factory=list)
    set: str = "own"
    """Whose form its records have."""

    @property
    def document(self) -> str:
        """What the log-likelihood protocol completes: its set's document, also where it is the user's own file."""
        return next((known.document for known in BENCHMARKS.values() if known.set == self.set), "letters")

    @property
    def headline(self) -> list[Question]:
        """The questions that the score is of: all, or where the paper counts so, those with different stems."""
        return self.distinct if self.known and self.known.distinct else self.questions

    @property
    def distinct(self) -> list[Question]:
        """The questions less those whose stem (with its context) an earlier one has."""
        return [q for q, first in with_first(self.questions) if q is first]


def load_own(path: Path, name: str, cfg: Config = DEFAULT) -> LoadedBenchmark:
    """Read a file of questions of any form that is no published benchmark, or is not to be taken for one."""
    found = read_set(path, cfg=fitting(path, cfg))
    warnings = [*_flawed(found, path), *skewed(found.questions)]
    return LoadedBenchmark(name, found.questions, [path], None, found.set_aside, warnings, found.name)


def load_benchmark(name: str, path: Path, cfg: Config = DEFAULT) -> LoadedBenchmark:
    """Read a benchmark from its file, or from a folder that holds it under a usual name.

    A name that is none of BENCHMARKS is a file of the user's own. Raises InputError for a file that is missing, of
    another form or of another benchmark.
    """
    known = BENCHMARKS.get(name)
    if path.is_dir():
        path = find_file(name, path)
    if known is None:
        return load_own(path, name, cfg)

    found = read_set(path, known.set)
    questions, files = found.questions, [path]
    if known.category:
        questions = [q for q in questions if q.provenance["groups"].get("category") == known.category]
        if not questions:
            raise InputError(f"{path}: no question of category {known.category!r}")
    if known.official_split:
        questions, truth = _official_split(found, path)
        files.append(truth)

    warnings = [*_count_options(name, known, questions, path), *_flawed(found, path)]
    split = split_of_name(path)
    if split not in (None, known.split):
        warnings.append(f"{path}: by its name it is {split}, scores are published on {known.split}")
    blank = sum(record["code"] == "blank" for record in found.set_aside)  # empty lines of a table, no records
    count = len(questions) + len(found.set_aside) - blank
    if count != known.size:
        published = f"{name} as published has {known.size:,}"
        warnings.append(f"{path} has {count:,} records, {published}: not the same set")
    warnings += skewed(questions)
    return LoadedBenchmark(name, questions, files, known, found.set_aside, warnings, known.set)


def _flawed(found: QuestionSet, path: Path) -> list[str]:
    """Return a warning where records are flawed."""
    flawed = any(record["code"] not in NO_FAULT for record in found.set_aside)
    return [f"{path}: {found.describe_set_aside()}"] if flawed else []


def _count_options(name: str, known: Benchmark, questions: Sequence[Question], path: Path) -> list[str]:
    """Return a warning of questions with more or fewer options; raise InputError where that is the most of them."""
    if known.options is None:
        return []
    counts = Counter(len(q.options) for q in questions)
    usual = counts.most_common(1)[0][0]
    if usual != known.options:
        sizes = {b.options: other for other, b in BENCHMARKS.items() if b.set == known.set}
        other = sizes.get(usual, "another")
        has = f"{usual} options, {name} has {known.options}"
        raise InputError(f"{path}: its questions have {has}: is it {other}?")
    odd = len(questions) - counts[usual]
    return [f"{path}: {odd:,} of {len(questions):,} questions have not {usual} options"] if odd else []


def named_benchmarks(names: Sequence[str], cfg: Config) -> list[LoadedBenchmark]:
    """Return these, each from evaluate.benchmarks' file or from evaluate.benchmark_folder; ["paper"] is the nine.

    Raises InputError for a name that is unknown, stands twice or has no place, and as `load_benchmark` does.
    """
    ev = cfg.evaluate
    names = list(PAPER_NINE) if list(names) == ["paper"] else names
    for name in names:
        if name not in ev.benchmarks and name not in BENCHMARKS:
            raise InputError(
                f"unknown benchmark {name!r}: give evaluate.benchmarks.{name or 'NAME'}=FILE, or take one of "
                f"{', '.join(BENCHMARKS)}"
            )
        if name not in ev.benchmarks and not ev.benchmark_folder:
            key = f"evaluate.benchmarks.{name}=FILE"
            raise InputError(f"where is {name}? set {key} or evaluate.benchmark_folder=DIR")
    if len(set(names)) < len(names):
        raise InputError(f"--benchmarks {','.join(names)}: a name stands twice")
    return [load_benchmark(name, Path(ev.benchmarks.get(name, ev.benchmark_folder)), cfg) for name in names]


def files_of(benchmarks: Sequence[LoadedBenchmark]) -> dict[str, Path]:
    """Return "BENCHMARK.NUMBER" -> file that it was read from: the names that their hashes have everywhere."""
    return {f"{b.name}.{i}": path for b in benchmarks for i, path in enumerate(b.files)}


def find_file(name: str, folder: Path) -> Path:
    """Return the benchmark's file in a folder, or in a folder of its set's or its own name in there.

    Raises InputError where there is none, or several that might be it.
    """
    known = BENCHMARKS.get(name)
    if known is None:
        raise InputError(f"{folder}: a folder; {name!r} is none of the benchmarks {', '.join(BENCHMARKS)}")
    inside = [path for path in sorted(folder.glob("*")) if path.is_dir()]
    of_names = [[path for path in inside if _plain_name(path) == own] for own in (name, known.set)]
    for places in (*of_names, [folder]):
        files = [file for place in places for file in sorted(place.glob("*"))]
        tables = [file for file in files if file.is_file() and table_suffix(file)]
        tables = [file for file in tables if not _matches(file, known.never)]
        for pattern in known.files:
            found = [file for file in tables if _matches(file, (pattern,))]
            if len(found) > 1:
                listed = ", ".join(str(file.relative_to(folder)) for file in found)
                raise InputError(f"{folder}: {listed} may be {name}: set evaluate.benchmarks.{name}=FILE")
            if found:
                return found[0]
    patterns = " and ".join(known.files)
    raise InputError(f"{folder}: no file of {name} in it, looked for {patterns} there or in {name}/")


def _plain_name(path: Path) -> str:
    return path.name.lower().partition(".")[0].replace("-", "_")


def _matches(path: Path, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(_plain_name(path), pattern) for pattern in patterns)


def _official_split(found: QuestionSet, path: Path) -> tuple[list[Question], Path]:
    """Return PubMedQA's 500 test questions and the file that names them, which lies beside the questions."""
    truth_file = path.with_name("test_ground_truth.json")
    if not truth_file.exists():
        raise InputError(
            f"{truth_file}: missing; it names the 500 questions of PubMedQA's official test split. Put it beside "
            f"{path.name}, or evaluate all of them as pubmedqa_1000"
        )
    truth = read_json(truth_file)
    decisions = list(truth.values()) if isinstance(truth, dict) else []
    known = [isinstance(decision, str) and decision in DECISIONS for decision in decisions]
    if not known or not all(known):
        raise InputError(f"{truth_file}: expected an object of PMID -> yes, no or maybe")

    by_pmid = {q.id.rpartition("/")[2]: q for q in found.questions}
    missing = truth.keys() - by_pmid.keys()
    if missing:
        raise InputError(f"{path}: {len(missing)} of the questions that {truth_file} names are missing")
    for pmid, q in by_pmid.items():
        if pmid in truth and q.answer != DECISIONS[truth[pmid]]:
            said = f"{q.options[q.answer]!r}, {truth_file} has {truth[pmid]!r}"
            raise InputError(f"{path}: {q.id} has answer {said}")
    return [q for pmid, q in by_pmid.items() if pmid in truth], truth_file


# What is wrong with questions


def stem(question: Question) -> str:
    """Return a question's text and context as they are compared: case and white space folded."""
    return " ".join(f"{question.context or ''} {question.question}".casefold().split())


def with_first(questions: Sequence[Question]) -> list[tuple[Question, Question]]:
    """Return each question with the first one that has the same stem, which may be itself."""
    first: dict[str, Question] = {}
    return [(q, first.setdefault(stem(q), q)) for q in questions]


def _options(question: Question) -> dict[str, str]:
    """Return the options, blanks single: case, signs and Greek letters tell options apart, blanks do not."""
    return {letter: " ".join(text.split()) for letter, text in question.options.items()}


def defects(questions: Sequence[Question]) -> dict[str, list[str]]:
    """Return flaw -> ids of the questions that have it.

    duplicate_stem: an earlier question has the same stem. other_gold: and the same options, of which another is right.
    duplicate_options: two options are the same. gold_among_duplicates: the right one is among them, so that its letter
    is arbitrary. nan_option: a table's missing value was printed. reserved_text: an option holds a control character,
    a chat marker or a tag of ours. mentions_figure: the stem speaks of a picture that is not here (found by its
    wording). relettered: the file skips letters.
    """
    found: dict[str, list[str]] = {}
    for q, earlier in with_first(questions):
        options, before = _options(q), _options(earlier)
        gold = options.get(q.answer, q.answer)
        counts = Counter(options.values())
        flaws = {
            "duplicate_stem": earlier is not q,
            "other_gold": counts == Counter(before.values())
            and gold != before.get(earlier.answer, earlier.answer),
            "duplicate_options": len(counts) < len(options),
            "gold_among_duplicates": counts[gold] > 1,
            "mentions_figure": mentions_figure(q.question),
            "nan_option": "nan" in map(str.casefold, options.values()),
            "reserved_text": any(map(reserved, q.options.values())),
            "relettered": "letters" in (q.provenance or {}),
        }
        for flaw, present in flaws.items():
            if present:
                found.setdefault(flaw, []).append(q.id)
    return found


def gold_letters(questions: Sequence[Question]) -> dict[str, float]:
    """Return the share of each letter among the right answers of the questions that have options."""
    counts = Counter(q.answer for q in questions if q.options)
    return {letter: counts[letter] / counts.total() for letter in sorted(counts)}


def skewed(questions: Sequence[Question]) -> list[str]:
    """Return a warning where one letter is right far too often; a model that likes that letter is rewarded for it.

    Far: three times its chance, or over half the way from chance to always, in 50 questions or more.
    """
    shares = gold_letters(questions)
    if len(questions) < 50 or not shares:
        return []
    letter, share = max(shares.items(), key=lambda item: item[1])
    chance = sum(1 / len(q.options) for q in questions if letter in q.options) / len(questions)
    if share <= min(3 * chance, (1 + chance) / 2):
        return []
    shares = f"{100 * share:.0f} % of the questions, by chance {100 * chance:.0f} %"
    return [f"the right answer is {letter} in {shares}"]


def known_sizes() -> dict[str, tuple[int, ...]]:
    """Return column name -> sizes in use, published ones first, for the checker of printed tables.

    Names are as it compares them: letters and digits, lower case.
    """
    sizes = {name.replace("_", ""): (known.size,) for name, known in BENCHMARKS.items() if known.in_paper}
    return sizes | {"medbullets": (308, 298), "pubmedqa": (500, 1000), "cmexam": (6811,)}
