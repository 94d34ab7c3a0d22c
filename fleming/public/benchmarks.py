"""The benchmarks: which file is which, how many questions each has as published, and what is wrong with them.

The nine of the paper, with 4 and 5 options or both sizes where two are in use, and CMExam as a tenth. Nothing is
repaired and nothing dropped: a count that differs from the published one is a warning, a flawed question is counted by
its flaw and asked all the same. Left out: what the records look like (sets.py).
"""

import fnmatch
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fleming.files import read_json
from fleming.public.readers import QuestionSet, read_set
from fleming.public.sets import DECISIONS
from fleming.public.tables import table_suffix
from fleming.records import Question
from fleming.settings import EvaluateConfig
from fleming.text import mentions_figure
from model.errors import InputError


@dataclass(frozen=True)
class Benchmark:
    """What is known of a published benchmark."""

    set: str
    """Its set's name in sets.py."""
    size: int
    """Records as published."""
    files: tuple[str, ...]
    """Patterns of its file's name, lower case, without suffix; the first that matches counts. "!": never these."""
    document: str
    """What the log-likelihood protocol completes, a key of loglikelihood.DOCUMENTS."""
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


MEDBULLETS = {"set": "medbullets", "size": 308, "document": "letters"}
MMLU_PRO = {"set": "mmlu_pro", "document": "letters"}
BENCHMARKS = {
    "careqa": Benchmark(
        "careqa", 5621, ("!*_es*", "!*open*", "careqa_en*", "careqa*", "care_qa*"), "choices", 4
    ),
    "jmed": Benchmark("jmed", 1000, ("jmed*",), "letters"),
    "medbullets": Benchmark(**MEDBULLETS, files=("medbullets_op4*", "medbullets*"), options=4, distinct=True),
    "medbullets_op5": Benchmark(
        **MEDBULLETS, files=("medbullets_op5*",), options=5, distinct=True, in_paper=False
    ),
    "medmcqa": Benchmark(
        "medmcqa", 4183, ("medmcqa*dev*", "medmcqa*validation*", "dev", "validation*"), "choices", 4
    ),
    "medqa": Benchmark(
        "medqa", 1273, ("phrases_no_exclude_test*", "medqa*4*test*", "medqa*test*"), "question", 4
    ),
    "medqa_op5": Benchmark("medqa", 1273, ("medqa*5*test*", "test"), "question", 5, in_paper=False),
    "medxpertqa": Benchmark(
        "medxpertqa", 2450, ("medxpertqa*text*", "*text*test*", "medxpertqa*"), "letters", 10
    ),
    "pubmedqa": Benchmark(
        "pubmedqa", 500, ("ori_pqal", "pubmedqa*", "pqa_labeled*"), "abstract", official_split=True
    ),
    "pubmedqa_1000": Benchmark(
        "pubmedqa", 1000, ("ori_pqal", "pubmedqa*", "pqa_labeled*"), "abstract", in_paper=False
    ),
    "mmlu_pro_biology": Benchmark(
        **MMLU_PRO, size=717, files=("mmlu*pro*biology*", "mmlu*pro*"), category="biology"
    ),
    "mmlu_pro_health": Benchmark(
        **MMLU_PRO, size=818, files=("mmlu*pro*health*", "mmlu*pro*"), category="health"
    ),
    "cmexam": Benchmark("cmexam", 6811, ("cmexam*test*", "test*", "cmexam*"), "letters", in_paper=False),
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


def load_own(path: Path, name: str) -> LoadedBenchmark:
    """Read a file of questions of any form that is no published benchmark, or is not to be taken for one."""
    found = read_set(path)
    warnings = skewed(found.questions)
    return LoadedBenchmark(name, found.questions, [path], None, found.set_aside, warnings, found.name)


def load_benchmark(name: str, path: Path) -> LoadedBenchmark:
    """Read a benchmark from its file, or from a folder that holds it under a usual name.

    A name that is none of BENCHMARKS is a file of the user's own. Raises InputError for a file that is missing, of
    another form or of another benchmark.
    """
    known = BENCHMARKS.get(name)
    if path.is_dir():
        path = find_file(name, path)
    if known is None:
        return load_own(path, name)
    found = read_set(path, known.set)
    questions, files, warnings = found.questions, [path], []
    if known.category:
        questions = [q for q in questions if q.provenance["groups"].get("category") == known.category]
        if not questions:
            raise InputError(f"{path}: no question of category {known.category!r}")
    if known.official_split:
        questions, truth = _official_split(found, path)
        files.append(truth)
    if known.options:
        (usual, _), *_ = Counter(len(q.options) for q in questions).most_common(1)
        if usual != known.options:
            other = next(
                (n for n, b in BENCHMARKS.items() if b.set == known.set and b.options == usual), "another"
            )
            raise InputError(
                f"{path}: its questions have {usual} options, {name} has {known.options}: is it {other}?"
            )
        if odd := sum(len(q.options) != usual for q in questions):
            warnings.append(f"{path}: {odd:,} of {len(questions):,} questions have not {usual} options")
    count = len(questions) + len(found.set_aside)
    if count != known.size:
        warnings.append(
            f"{path} has {count:,} records, {name} as published has {known.size:,}: not the same set"
        )
    warnings += skewed(questions)
    return LoadedBenchmark(name, questions, files, known, found.set_aside, warnings, known.set)


def named_benchmarks(names: Sequence[str], ev: EvaluateConfig) -> list[LoadedBenchmark]:
    """Return these, each from evaluate.benchmarks' file or from evaluate.benchmark_folder; ["paper"] is the nine.

    Raises InputError for a name that is unknown, stands twice or has no place, and as `load_benchmark` does.
    """
    names = list(PAPER_NINE) if list(names) == ["paper"] else names
    for name in names:
        if name not in ev.benchmarks and name not in BENCHMARKS:
            raise InputError(
                f"unknown benchmark {name!r}: give evaluate.benchmarks.{name or 'NAME'}=FILE, or take one of "
                f"{', '.join(BENCHMARKS)}"
            )
        if name not in ev.benchmarks and not ev.benchmark_folder:
            raise InputError(
                f"where is {name}? set evaluate.benchmarks.{name}=FILE or evaluate.benchmark_folder=DIR"
            )
    if len(set(names)) < len(names):
        raise InputError(f"--benchmarks {','.join(names)}: a name stands twice")
    return [load_benchmark(name, Path(ev.benchmarks.get(name, ev.benchmark_folder))) for name in names]


def find_file(name: str, folder: Path) -> Path:
    """Return the benchmark's file in a folder, or in a folder of its set's or its own name in there.

    Raises InputError where there is none, or several that might be it.
    """
    known = BENCHMARKS.get(name)
    if known is None:
        raise InputError(
            f"{folder}: is a folder, and {name!r} is none of the benchmarks {', '.join(BENCHMARKS)}"
        )
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    inside = [
        [
            p
            for d in entries
            if d.is_dir() and d.name.lower().replace("-", "_") == n
            for p in sorted(d.iterdir())
        ]
        for n in dict.fromkeys((name, known.set))
    ]
    for files in (*inside, entries):
        tables = {
            p: p.name.lower().partition(".")[0].replace("-", "_")
            for p in files
            if p.is_file() and table_suffix(p)
        }
        never = [pattern[1:] for pattern in known.files if pattern.startswith("!")]
        tables = {
            p: plain for p, plain in tables.items() if not any(fnmatch.fnmatch(plain, n) for n in never)
        }
        for pattern in known.files:
            matches = [p for p, plain in tables.items() if fnmatch.fnmatch(plain, pattern)]
            if len(matches) > 1:
                listed = ", ".join(str(p.relative_to(folder)) for p in matches)
                raise InputError(
                    f"{folder}: {listed} may be {name}: name one by evaluate.benchmarks.{name}=FILE"
                )
            if matches:
                return matches[0]
    raise InputError(
        f"{folder}: no file of {name} in it, looked for {' and '.join(known.files)} there or in {name}/"
    )


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
    if not decisions or not all(isinstance(d, str) and d in DECISIONS for d in decisions):
        raise InputError(f"{truth_file}: expected an object of PMID -> yes, no or maybe")
    questions = [q for q in found.questions if q.id.rpartition("/")[2] in truth]
    if len(questions) < len(truth):
        raise InputError(
            f"{path}: {len(truth) - len(questions)} of the questions that {truth_file} names are missing"
        )
    for q in questions:
        if q.answer != DECISIONS[decision := truth[q.id.rpartition("/")[2]]]:
            raise InputError(
                f"{path}: {q.id} has answer {q.options[q.answer]!r}, {truth_file} has {decision!r}"
            )
    return questions, truth_file


def stem(question: Question) -> str:
    """Return a question's text and context as they are compared: case and white space folded."""
    return " ".join(f"{question.context or ''} {question.question}".casefold().split())


def _duplicate_options(question: Question) -> list[str]:
    """Return the texts that several options have; case, signs and Greek letters tell options apart, blanks do not."""
    counts = Counter(" ".join(text.split()) for text in question.options.values())
    return [text for text, count in counts.items() if count > 1]


def with_first(questions: Sequence[Question]) -> list[tuple[Question, Question]]:
    """Return each question with the first one that has the same stem, which may be itself."""
    first: dict[str, Question] = {}
    return [(q, first.setdefault(stem(q), q)) for q in questions]


def _texts(question: Question) -> list[str]:
    return sorted(" ".join(text.split()) for text in question.options.values())


def _gold_text(question: Question) -> str:
    return " ".join(question.options[question.answer].split())


def defects(questions: Sequence[Question]) -> dict[str, list[str]]:
    """Return flaw -> ids of the questions that have it.

    duplicate_stem: an earlier question has the same stem. other_gold: and the same options, of which another is right.
    duplicate_options: two
    options are the same. gold_among_duplicates: the right one is among them, so that its letter is arbitrary.
    mentions_figure: the stem speaks of a picture that is not here (found by its wording). relettered: the file skips
    letters.
    """
    found: dict[str, list[str]] = {}
    for q, earlier in with_first(questions):
        twice = _duplicate_options(q)
        flaws = {
            "duplicate_stem": earlier is not q,
            "other_gold": _texts(earlier) == _texts(q) and _gold_text(earlier) != _gold_text(q),
            "duplicate_options": bool(twice),
            "gold_among_duplicates": _gold_text(q) in twice,
            "mentions_figure": mentions_figure(q.question),
            "relettered": "letters" in (q.provenance or {}),
        }
        for flaw in (name for name, present in flaws.items() if present):
            found.setdefault(flaw, []).append(q.id)
    return found


def gold_letters(questions: Sequence[Question]) -> dict[str, float]:
    """Return the share of each letter among the right answers."""
    counts = Counter(q.answer for q in questions)
    return {letter: counts[letter] / len(questions) for letter in sorted(counts)}


def skewed(questions: Sequence[Question]) -> list[str]:
    """Return a warning where one letter is right far too often; a model that likes that letter is rewarded for it.

    Far: three times its chance, or over half the way from chance to always, in 50 questions or more.
    """
    shares = gold_letters(questions)
    letter, share = max(shares.items(), key=lambda item: item[1])
    chance = sum(1 / len(q.options) for q in questions if letter in q.options) / len(questions)
    if len(questions) < 50 or share <= min(3 * chance, (1 + chance) / 2):
        return []
    return [
        f"the right answer is {letter} in {100 * share:.0f} % of the questions, by chance {100 * chance:.0f} %"
    ]


def known_sizes() -> dict[str, tuple[int, ...]]:
    """Return column name -> sizes in use, published ones first, for the checker of printed tables.

    Names are as it compares them: letters and digits, lower case.
    """
    sizes = {name.replace("_", ""): (known.size,) for name, known in BENCHMARKS.items() if known.in_paper}
    return sizes | {"medbullets": (308, 298), "pubmedqa": (500, 1000), "cmexam": (6811,)}
