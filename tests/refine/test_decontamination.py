"""Decontamination: disguised copies are found, generic stems are not, and the gate refuses the rest."""

import dataclasses
import json
import random
import re
import time
from urllib.parse import quote

import numpy as np
import pytest
from support.leaks import find_leak

from fleming.files import write_json, write_jsonl
from fleming.public.benchmarks import files_of
from fleming.records import LETTERS, Question, Trajectory, to_json
from fleming.refine import decontamination
from fleming.refine.decontamination import RUN, Index, decontaminate
from fleming.refine.disguises import undisguised
from fleming.refine.gate import (
    check_gate,
    learned_from,
    main,
    measured_on,
    report_path,
    write_report,
)
from fleming.settings import Config, DataConfig, EvaluateConfig
from fleming.text import words
from model.errors import InputError

VIGNETTE = (
    "A 43-year-old beekeeper from a mountain village is brought in after he collapsed beside his hives. His lips are "
    "swollen, he wheezes, and his blood pressure is 70/40 mm Hg. Which of the following is the most appropriate next "
    "step in management?"
)
OPTIONS = [
    "Intramuscular epinephrine",
    "Oral cetirizine",
    "Nebulised salbutamol",
    "Intravenous hydrocortisone",
    "Rest",
]
ZH = "流行性斑疹伤寒的传播媒介是"
ZH_OPTIONS = ["人虱", "鼠蚤", "恙螨", "蜱", "蚊"]


def ask(name: str, stem: str = VIGNETTE, options=OPTIONS, answer: str = "A", **fields) -> Question:
    return Question(name, stem, dict(zip(LETTERS, options, strict=False)), answer, **fields)


TRUE = ["Ice floats on water", "Lead floats on water", "Wood sinks in air", "Mercury is a solid metal"]
ABSTRACT = (
    "We followed 212 trawler crews through three herring seasons. Tinnitus was told by 61 deckhands and by 9 cooks. "
    "Ear protection was worn by few of them, and quieter winches were fitted on two vessels only."
)
BENCHMARK = [
    ask("anaphylaxis"),
    ask("typhus", ZH, ZH_OPTIONS),
    ask("true", "Which of the following is true?", TRUE),
    ask("trawlers", "Do trawler winches harm deckhands' hearing?", ["yes", "no", "maybe"], context=ABSTRACT),
    ask("scurvy", "Scurvy is due to lack of", ["Vitamin C", "Vitamin D", "Vitamin A", "Iron"]),
    ask(
        "again",
        "Which of the following is true?",
        ["Bats are blind birds", "Bats are flying mammals", "Bats lay eggs"],
    ),
]


COMMON = (
    "which of the following is true a man is brought in after he his her and with in on to was for most "
    "likely next"
)


def ordinary(count: int = 400, seed: int = 0) -> list[Question]:
    """Return questions of everyday words, so that document frequencies are those of a real set."""
    rng = random.Random(seed)
    common = COMMON.split()
    nouns = [f"noun{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(600)]
    stems = [
        " ".join(rng.choice(nouns) if rng.random() < 0.4 else rng.choice(common) for _ in range(30))
        for _ in range(count)
    ]
    return [
        ask(f"o{i}", stem, [f"{rng.choice(nouns)} {i} {k}" for k in range(4)]) for i, stem in enumerate(stems)
    ]


@pytest.fixture(scope="module")
def index() -> Index:
    return Index({"exam": BENCHMARK}, ordinary())


def of(match) -> str | None:
    return match and match.benchmark_id


CYRILLIC = str.maketrans("aceopxyiABCEHKMOPTX", "асеорхуіАВСЕНКМОРТХ")
CAPITALS = str.maketrans("abcdeghijklmnoprtuvwyz", "ᴀʙᴄᴅᴇɢʜɪᴊᴋʟᴍɴᴏᴘʀᴛᴜᴠᴡʏᴢ")
DIGITS = str.maketrans("oieastOIEAST", "013457013457")
WIDE = str.maketrans({chr(c): chr(c + 0xFEE0) for c in range(33, 127)} | {" ": "\u3000"})
DISGUISES = {
    "the same": lambda q: q,
    "upper case": lambda q: ask("x", q.question.upper(), map(str.upper, q.options.values())),
    "full width": lambda q: ask("x", q.question.translate(WIDE), [o.translate(WIDE) for o in q.options.values()]),
    "blanks": lambda q: ask("x", q.question.replace(" ", " \u200b\n\t"), [f" {o}\u00a0" for o in q.options.values()]),
    "punctuation": lambda q: ask("x", q.question.replace(",", ";").replace("?", " ..."), q.options.values()),
    "shuffled": lambda q: ask("x", q.question, reversed(q.options.values()), LETTERS[len(q.options) - 1]),
    "one option less": lambda q: ask("x", q.question, list(q.options.values())[:-1]),
    "one option more": lambda q: ask("x", q.question, [*q.options.values(), "Something else"]),
    "prefix and suffix": lambda q: ask("x", f"Think hard. {q.question} Answer by a letter.", q.options.values()),
    "letters apart": lambda q: everywhere(q, " ".join),
    "letters by stops": lambda q: everywhere(q, lambda text: ".".join(text.replace(" ", ""))),
    "Cyrillic letters": lambda q: everywhere(q, lambda text: text.translate(CYRILLIC)),
    "small capitals": lambda q: everywhere(q, lambda text: text.lower().translate(CAPITALS)),
    "marks under letters": lambda q: everywhere(q, lambda text: "".join(c + "\u0323" * c.isalpha() for c in text)),
    "digits for letters": lambda q: everywhere(q, lambda text: text.translate(DIGITS)),
    "entities": lambda q: everywhere(q, lambda text: "".join(f"&#{ord(c)};" for c in text)),
    "escapes": lambda q: everywhere(q, lambda text: "".join(f"\\u{ord(c):04x}" for c in text)),
    "percent": lambda q: everywhere(q, quote),
    "tags": lambda q: everywhere(q, lambda text: f"<p>{text.replace(' ', '<br/>')}</p>".replace("e", "<b>e</b>")),
    "LaTeX": lambda q: everywhere(q, lambda text: rf"\textbf{{{text}}}"),
    "cut words": lambda q: everywhere(q, lambda text: re.sub("(?<=[a-z]{3})(?=[a-z]{3})", "-\n", text)),
    "turned round": lambda q: everywhere(q, lambda text: f"\u202e{text[::-1]}\u202c"),
    "a table": lambda q: everywhere(q, lambda text: f"|case|\n|---|\n|{text.replace(', ', '|')}|\n"),
    "lunate sigmas": lambda q: everywhere(q, lambda text: text.replace("c", "ϲ")),
    "signs at words' ends": lambda q: everywhere(q, lambda text: text.replace("s", "$")),
    "signs side by side": lambda q: everywhere(q, lambda text: text.translate(str.maketrans("aeis", "@3!$"))),
    "comments": lambda q: everywhere(q, lambda text: text.replace("e", "e<!-- x -->")),
    "options in a sentence": lambda q: ask("x", q.question, [f"It is {o}" for o in q.options.values()]),
    "a free answer": lambda q: ask("x", q.question, [], q.options[q.answer], answer_kind="text"),
    "a trajectory": lambda q: trajectory(q.question + "\n" + "\n".join(f"{k}. {v}" for k, v in q.options.items())),
}  # fmt: skip


def everywhere(question: Question, change) -> Question:
    return ask("x", change(question.question), [change(option) for option in question.options.values()])


def trajectory(prompt: str, response: str = "<think>Hm.</think><answer>A</answer>") -> Trajectory:
    return Trajectory(
        "t",
        "x",
        [{"role": "system", "content": "You are a doctor."}, {"role": "user", "content": prompt}],
        response,
    )


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("number", [0, 1, 2, 4, 5])
def test_a_disguised_copy_is_found(index, number, disguise):
    assert of(find_leak(DISGUISES[disguise](BENCHMARK[number]), index)) == BENCHMARK[number].id


def test_a_vignette_without_blanks_is_found(index):
    text = re.sub("[^a-z]", "", VIGNETTE.lower())
    assert of(find_leak(text, index)) == "anaphylaxis"
    assert undisguised("《" + "药" * 50 + "》") != undisguised("《" + "药" * 51 + "》")


def test_a_copy_in_a_long_text_or_in_a_response_is_found(index):
    text = "word " * 500 + VIGNETTE + " more" * 500
    assert of(find_leak(text, index)) == "anaphylaxis"
    assert of(find_leak(trajectory("Hello", f"<think>{VIGNETTE}</think>"), index)) == "anaphylaxis"


def test_a_rewrite_that_keeps_a_telling_part_of_the_vignette_is_found(index):
    little = (
        "A beekeeper collapsed. His lips are swollen, he wheezes, and his blood pressure is low. "
        "What should he take?"
    )
    assert find_leak(little, index) is None
    part = (
        "A 43-year-old beekeeper from a mountain village came after he collapsed beside his hives, wheezes, lips are "
        "swollen, blood pressure 70/40. Management?"
    )
    match = find_leak(part, index)
    assert (of(match), match.rule) == ("anaphylaxis", "ngrams")
    assert match.score < 0.9


@pytest.mark.parametrize("part", [slice(0, 22), slice(22, None)])
def test_half_of_a_vignette_is_found_by_its_length_or_with_its_options(index, part):
    half = " ".join(VIGNETTE.split()[part])
    assert of(find_leak(ask("x", half), index)) == "anaphylaxis"
    short = " ".join(VIGNETTE.split()[:14])
    assert find_leak(ask("x", short, ["Yes", "No", "Perhaps"]), index) is None  # it does not count by itself
    long = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("arn", "oll", "ind", "upp", "eck")]
    longer = Index({"exam": [ask("long", " ".join(long) + " what now?")]}, ordinary())
    among = " ".join([*words(ordinary(9)[8].question), *long[25:], *words(ordinary(8)[7].question)])
    assert of(find_leak(ask("x", among, ["Yes", "No", "Perhaps"]), longer)) == "long"
    assert find_leak(" ".join(long[:12]) + " and so on", longer) is None


def test_a_phrase_that_many_have_does_not_end_a_long_run():
    vitals = "her pulse is 70 a minute and her blood pressure is 120 over 80"
    rare = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("arn", "oll", "ind", "upp", "eck")]
    many = [ask(f"v{i}", f"case {i} of number{i} {vitals} then{i}") for i in range(60)]
    index = Index({"exam": [ask("long", " ".join([*rare[:12], vitals, *rare[12:]])), *many]}, ordinary())
    half = " ".join([*rare[:12], vitals, *rare[12:24]])
    assert of(find_leak(f"{ordinary(9)[8].question} {half} {ordinary(8)[7].question}", index)) == "long"
    apart = half.replace(vitals, "and then")  # the same words, and no long run
    assert find_leak(f"{ordinary(9)[8].question} {apart} {ordinary(8)[7].question}", index) is None


HEPATITIS = ["粪-口途径传播", "输血、注射", "母婴垂直传播", "性接触", "蚊虫叮咬"]
REGULATION = "根据《麻醉药品和精神药品管理条例》，"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (ask("b", "甲型肝炎的主要传播途径是", HEPATITIS), ask("x", "丙型肝炎的主要传播途径是", HEPATITIS, "B")),
        (
            ask("b", f"{REGULATION}印鉴卡的有效期是", ["一年", "二年", "三年", "五年"], "C"),
            ask("x", f"{REGULATION}处方应当保存多久以备查", ["半年", "二年", "四年", "十年"], "B"),
        ),
        (ask("b", "−4 + ( −3 ) =", ["7", "1", "12", "-7"], "D"), "The ratio of 7 to 1 in 12 of 4 3 was -7."),
    ],
)  # fmt: skip
def test_two_questions_that_share_a_phrase_are_two(theirs, ours):
    chinese = [
        ask(f"z{i}", stem, ["甲", "乙"])
        for i, stem in enumerate([ZH, "糖尿病的治疗首选药物", "高血压的诊断标准是"])
    ]
    assert find_leak(ours, Index({"exam": [theirs, *BENCHMARK, *chinese]}, ordinary(50))) is None


def test_a_title_is_one_word_whatever_stands_between_its_marks():
    assert undisguised("《a\\ud83db》")  # half of a surrogate pair
    one, other = (undisguised(f"根据《{title}》") for title in ("麻醉药品管理条例", "药品管理法"))
    assert (len(one), one[:2], one[2] == other[2]) == (3, ["根", "据"], False)


def test_an_abstract_is_found_by_its_context(index):
    match = find_leak(
        ask(
            "x", "Was ear protection worn by many?", ["yes", "no", "maybe"], context=f"Background. {ABSTRACT}"
        ),
        index,
    )
    assert (of(match), match.rule) == ("trawlers", "context")
    assert of(find_leak(ABSTRACT, index)) == "trawlers"


@pytest.mark.parametrize(
    "record",
    [
        ask("x", "Which of the following is true?", ["Tea is hot", "Tea is cold", "Tea is dry"]),
        ask("x", "Which of the following is true of scurvy?", ["It is due to rats", "It is due to cold"]),
        ask(
            "x",
            "A man was brought in. Which of the following is the most appropriate next step in management?",
            OPTIONS[1:4],
        ),
        ask("x", "Is aspirin of use in gout?", ["yes", "no", "maybe"], context="A trial of 60 men."),
        ask("x", "Rickets is due to lack of", ["Vitamin D", "Vitamin C", "Vitamin A", "Iron"]),
        ask("x", "流行性乙型脑炎的传播媒介是", ["蚊", "蜱", "人虱", "鼠蚤"]),
        "Which of the following is true?",
        "",
        trajectory("Is scurvy rare?", f"Scurvy is due to lack of fruit. {ABSTRACT[:60]} It is rare."),
    ],
)
def test_generic_stems_and_the_same_subject_are_no_leak(index, record):
    assert find_leak(record, index) is None


def test_an_ordinary_set_has_none(index):
    questions = ordinary(300, seed=1)
    assert decontaminate(questions, index) == (questions, [])


def test_what_is_taken_out_is_said(index):
    leak = dataclasses.replace(BENCHMARK[0], id="mine")
    kept, leaked = decontaminate([*ordinary(3), leak], index)
    assert [q.id for q in kept] == ["o0", "o1", "o2"]
    assert leaked == [
        {
            "code": "contaminated",
            "benchmark": "exam",
            "benchmark_id": "anaphylaxis",
            "rule": "stem",
            "score": pytest.approx(1),
        }
        | {"question": to_json(leak)}
    ]


def test_a_thousand_copies_do_not_hide_one_another():
    data = ordinary(1000) + [
        dataclasses.replace(BENCHMARK[0], id=f"copy{i}", options=BENCHMARK[4].options) for i in range(1000)
    ]
    index = Index({"exam": BENCHMARK}, data)
    assert of(find_leak(data[-1], index)) == "anaphylaxis"


def test_batches_do_not_matter(index, monkeypatch):
    records = [*ordinary(50), *BENCHMARK, VIGNETTE, "", *ordinary(50, seed=2)]
    together = list(index.leaks(records))
    monkeypatch.setattr(decontamination, "BATCH_WORDS", 1)
    assert list(index.leaks(records)) == together == [find_leak(record, index) for record in records]
    assert sum(match is not None for match in together) == 7


def test_shared_runs_weigh_what_brute_force_says():
    rng = random.Random(5)
    vocabulary = [a + b for a in "bcdfghjk" for b in "aeouy"]
    texts = [" ".join(rng.choices(vocabulary, k=rng.randint(1, 60))) for _ in range(40)]
    index = Index({"b": [ask(str(i), text, ["x", "y"]) for i, text in enumerate(texts)]})
    distinct = list(dict.fromkeys(texts))
    for _ in range(30):
        pieces = [rng.choice(texts).split() for _ in range(4)]
        ours = [w for piece in pieces for w in piece[: rng.randint(1, len(piece))]]
        expected = {}
        for number, text in enumerate(distinct):
            theirs = text.split()
            n = min(RUN, len(theirs))
            runs = {tuple(ours[i : i + n]) for i in range(len(ours) - n + 1)}
            covered = {
                i + k
                for i in range(len(theirs) - n + 1)
                if tuple(theirs[i : i + n]) in runs
                for k in range(n)
            }
            if covered:
                documents = [sum(w in t.split() for t in distinct) for w in theirs]
                size = len(distinct) + 1
                expected[number] = sum(np.log(size / documents[i]) / np.log(size) for i in covered)
        assert {t: w for _, t, w in index.runs.shared([ours])} == pytest.approx(expected)
        for number, text in enumerate(distinct[:5]):
            theirs, here = text.split(), " ".join(["", *ours, ""])
            weights = [index.runs.weight[index.runs.vocabulary[word]] for word in theirs]
            runs = [(i, j) for i in range(len(theirs)) for j in range(i + 1, len(theirs) + 1)]
            both = [sum(weights[i:j]) for i, j in runs if f" {' '.join(theirs[i:j])} " in here]
            assert index.runs.longest(number, ours) == pytest.approx(max(both, default=0))


def test_a_run_of_fifty_questions_is_a_phrase():
    stems = [
        f"On the {i}th day of the long voyage out the captain {i} noticed that the crew {i} sang"
        for i in range(60)
    ]
    index = Index({"b": [ask(str(i), stem, [f"o{i}", f"p{i}"]) for i, stem in enumerate(stems)]})
    assert list(index.runs.shared([words("day of the long voyage out the captain")])) == []
    assert of(find_leak(stems[7], index)) == "7"


def test_hostile_texts_take_little_time(index):
    before = time.process_time()
    for text in (
        VIGNETTE * 2000,
        "which of the following is true " * 50_000,
        "伤" * 300_000,
        "\0\ud800" * 100_000,
    ):
        find_leak(text, index)
    assert time.process_time() - before < 10
    assert find_leak(VIGNETTE, Index({})) is None
    assert find_leak(ask("x", "?", ["-", "+"]), Index({"b": [ask("y", "!", ["-", "+"])]})) is None


# The gate


@pytest.fixture
def files(tmp_path):
    """A run's data, a benchmark, and the arguments of the gate."""
    write_jsonl(tmp_path / "rl.jsonl", map(to_json, ordinary(20)))
    write_jsonl(tmp_path / "cold.jsonl", [to_json(trajectory("Why is the sky blue?"))])
    write_jsonl(tmp_path / "exam.jsonl", map(to_json, BENCHMARK))
    data = {"questions": tmp_path / "rl.jsonl", "trajectories": tmp_path / "cold.jsonl"}
    return tmp_path / "run/data/decontamination.json", data, {"exam.0": tmp_path / "exam.jsonl"}


def report_of(files) -> dict:
    return write_report(*files, {"exam": BENCHMARK})


def test_a_clean_report_opens_the_gate(files):
    report = report_of(files)
    assert json.loads(files[0].read_text()) == report
    assert {n: (e["records"], e["leaks"]) for n, e in report["data"].items()} == {
        "questions": (20, 0),
        "trajectories": (1, 0),
    }
    assert report["benchmarks"] == {"exam": {"questions": 6, "leaks": 0}}
    passed = check_gate("require", *files)
    assert (passed["mode"], passed["fault"], passed["report"]) == ("require", None, str(files[0]))


def closed(files, match: str, capsys) -> None:
    with pytest.raises(InputError, match=match) as error:
        check_gate("require", *files)
    assert "python -m fleming.refine.gate" in str(error.value)
    assert "\n" not in str(error.value)
    assert check_gate("warn", *files)["fault"]
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_no_report_no_training(files, capsys):
    closed(files, "decontamination.json is missing", capsys)


def test_no_benchmark_no_training(files, capsys):
    report_of(files)
    closed((files[0], files[1], {}), "no benchmark is given", capsys)


@pytest.mark.parametrize("change", ["questions", "trajectories"])
def test_data_that_changed_after_the_report_is_refused(files, change, capsys):
    report_of(files)
    with files[1][change].open("a") as file:
        file.write("\n")
    closed(files, f"does not cover {change} as it is now", capsys)


def test_a_benchmark_that_changed_or_was_not_checked_is_refused(files, capsys):
    report_of(files)
    other = files[1]["questions"]
    closed(
        (files[0], files[1], {**files[2], "other.0": other}), "does not cover the benchmark other.0", capsys
    )
    write_jsonl(files[2]["exam.0"], map(to_json, BENCHMARK[:2]))
    closed(files, "does not cover the benchmark exam.0", capsys)


def test_leaks_that_are_still_there_are_refused(files, capsys):
    write_jsonl(files[1]["trajectories"], [to_json(trajectory(VIGNETTE))])
    report = report_of(files)
    assert [(m["file"], m["id"], m["benchmark_id"]) for m in report["matches"]] == [
        ("trajectories", "t", "anaphylaxis")
    ]
    closed(files, "trajectories has 1 records that leak", capsys)
    closed(files, r"lists them\): take them out, then run", capsys)


def test_a_report_that_contradicts_itself_does_not_open_the_gate(files, capsys):
    write_jsonl(files[1]["trajectories"], [to_json(trajectory(VIGNETTE))])
    report = report_of(files)
    found = report["data"]["trajectories"]
    for data in (
        {"trajectories": {**found, "leaks": 0}},
        {"trajectories": found, "x": {**found, "leaks": 0}},
    ):
        write_json(files[0], {**report, "data": {**report["data"], **data}})
        closed(files, "trajectories has 1 records that leak", capsys)


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"data": 1}', '{"data": {"x": {}}, "benchmark_files": {}, "rules": {}}'],
)
def test_what_is_no_report_does_not_open_the_gate(files, content, capsys):
    report_of(files)
    files[0].write_text(content)
    closed(files, "no report of decontamination", capsys)


@pytest.mark.parametrize(
    ("rule", "other"), [("run_share", 0.5), ("disguises.py", "0" * 64), ("written.yaml", "0" * 64)]
)
def test_other_rules_than_the_reports_are_refused(files, monkeypatch, capsys, rule, other):
    report_of(files)
    assert rule in decontamination.RULES
    monkeypatch.setitem(decontamination.RULES, rule, other)
    closed(files, "made by other rules", capsys)


def test_off_is_recorded_and_another_mode_is_refused(files):
    assert check_gate("off", *files) == {"mode": "off"}
    with pytest.raises(InputError, match="expected one of require, warn, off"):
        check_gate("on", *files)


# The command


def test_the_command_writes_the_report_that_the_gate_asks_for(files, tmp_path, capsys):
    arguments = [f"run_dir={tmp_path / 'run'}", f"data.questions={files[1]['questions']}"]
    arguments += [
        f"data.trajectories={files[1]['trajectories']}",
        f"evaluate.benchmarks.exam={files[2]['exam.0']}",
    ]
    assert main(arguments) == 0
    assert "exam" in capsys.readouterr().out
    data = DataConfig(*map(str, files[1].values()))
    evaluate = EvaluateConfig(benchmarks={"exam": str(files[2]["exam.0"])})
    cfg = Config(run_dir=str(tmp_path / "run"), data=data, evaluate=evaluate)
    assert (
        check_gate("require", report_path(cfg), learned_from(cfg), files_of(measured_on(cfg)))["fault"]
        is None
    )
    write_jsonl(files[1]["questions"], map(to_json, [*ordinary(5), BENCHMARK[1]]))
    assert main(arguments) == 1
    assert "questions typhus is typhus by stem, 1.00" in capsys.readouterr().out


def test_the_command_takes_the_runs_own_files_and_says_what_is_missing(files, tmp_path, capsys):
    run = tmp_path / "run"
    with pytest.raises(InputError, match="nothing to check"):
        main([f"run_dir={run}", f"evaluate.questions={files[2]['exam.0']}"])
    write_jsonl(run / "data/rl.jsonl", map(to_json, ordinary(5)))
    with pytest.raises(InputError, match="no benchmark to look for: none is named; set"):
        main([f"run_dir={run}"])
    with pytest.raises(InputError, match=f"none is found in {tmp_path}/none; set"):
        main([f"run_dir={run}", f"evaluate.benchmark_folder={tmp_path}/none"])
    [line] = capsys.readouterr().out.splitlines()  # and not one for each of nine
    assert line.startswith(f"evaluate.benchmark_folder: {tmp_path}/none: no such folder")
    with pytest.raises(InputError, match="where is medqa"):
        main([f"run_dir={run}", "--benchmarks", "medqa"])
    assert main([f"run_dir={run}", f"evaluate.questions={files[2]['exam.0']}"]) == 0
    assert learned_from(Config(run_dir=str(run))) == {"questions": run / "data/rl.jsonl"}
