"""Question cards: what hostile records become, what is drawn, and marks on their way into decisions."""

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from support.places import ROOT
from support.runs import run_here

from fleming.files import read_jsonl
from fleming.questions import cards
from fleming.records import Question, to_json
from fleming.refine.decisions import apply_decisions, read_decisions, text_hash
from fleming.refine.label_check import Poll, check_labels
from fleming.refine.marks import KIND, Mark, summary

HOSTILE = (
    "</script><script>alert(1)</script> <!-- card --> {{stem}} \"'&amp; \u2028\u2029 \x00\x1b \u202e 中文"
)
RECORD = {
    "source": "HPO", "file": "phenotype.hpoa", "version": "2025-01-16", "extractor": "hpoa", "record": 147513,
    "end": -1, "confidence": 0.98, "frequency": 0.64, "note": "frequency 7/11; reference PMID:35386406",
}  # fmt: skip
FACT = {"head": "gangliosidosis", "relation": "has_finding", "tail": "cherry-red spot", "evidence": [RECORD]}
NEW = {
    "kind": "gene", "metapath": "disease > associated_gene", "hops": 2, "path": [FACT], "chain": [1],
    "visible": ["cherry-red spot"], "hidden": ["gangliosidosis"], "answer": "HEXA", "rare": True,
    "register": "clinical", "patient": {"age": 7.0, "sex": "female"},
    "clues": [
        {"relation": "has_finding", "tail": "cherry-red spot", "role": "discriminating", "counts": [7, 11],
         "needed": "without it leukodystrophy is as likely"},
        {"relation": "has_symptom", "tail": "seizure", "role": "absent", "counts": None, "needed": "rules out"},
    ],
    "certificate": {
        "solutions": ["HEXA"], "rank": 1, "posterior": 0.991, "runner_up": "another", "runner_up_odds": 31.0,
        "table": {"clues": ["red spot", "no seizure"],
                  "rows": {"gangliosidosis": [0.64, 0.9], "leukodystrophy": [0.0123, 0.5]}},
        "distractors": [{"option": "GALC", "disease": "leukodystrophy", "odds": 45.2, "ground": "rare_finding",
                         "shares": [["leukodystrophy", "has_finding", "ataxia"]], "violates": [],
                         "evidence": [FACT]}],
    },
    "depth": 2, "score": {"total": 83, "completeness": 25, "margin": 20},
}  # fmt: skip
OLD = {
    "metapath": "scenario > disease > caused_by", "hops": 2, "path": [FACT, {**FACT, "tail": "rash"}], "chain": [1],
    "visible": ["rash"], "hidden": ["anthrax"], "answer": "bacillus", "rare": False, "register": "lay",
    "certificate": {"solutions": ["bacillus"], "distractors": [
        {"option": "GALC", "shares": [["a", "caused_by", "b"]], "violates": [["a", "treated_by", "c"]],
         "ground": "absent"}]},
}  # fmt: skip


def ask(name: str, provenance=OLD, **fields) -> Question:
    options = {"A": "GALC", "B": "HEXA", "C": "GLA", "D": "GBA1"}
    return Question(name, f"Which gene of {name}?", options, "B", provenance=provenance, **fields)


def run_folder(folder, *questions, **splits):
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, part in {"rl": questions, **splits}.items():
        lines = (json.dumps(to_json(question)) + "\n" for question in part)
        (folder / "data" / f"{name}.jsonl").write_text("".join(lines))
    return folder


class Page(HTMLParser):
    """What stands in a page: tags with their attributes, whether they close, text outside scripts."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open
        self.cards = [dict(attrs) for tag, attrs in self.tags if tag == "article"]
        self.ids = [json.loads(card["data-id"]) for card in self.cards]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))
        if tag not in ("meta", "input", "br", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


def page_of(folder, *options: str) -> Page:
    assert run_here(cards, [str(folder), *options]) == (0, [])
    return Page((folder / "cards.html").read_text(encoding="utf-8"))


# --- the page


def test_the_drawn_questions_and_no_others_are_on_the_page(tmp_path):
    train = [ask(f"q/{i}") for i in range(40)]
    dev, test = [ask("dev/1", split="dev")], [ask("test/1", NEW, split="test")]
    others = [ask("medqa/1", None), ask("medqa/2", {"groups": {}})]
    folder = run_folder(tmp_path, *others, *train, dev=dev, test=test)
    everything = {q.id: q for q in (*train, *dev, *test)}
    assert cards.synthetic_questions(folder) == everything

    drawn = page_of(folder, "--random", "10", "--seed", "3")
    assert drawn.ids == [q.id for q in cards.draw(everything, 10, 3)]
    assert len(set(drawn.ids)) == 10
    assert [card["data-text"] for card in drawn.cards] == [text_hash(everything[name]) for name in drawn.ids]
    assert set(page_of(folder, "--random", "99").ids) == everything.keys()


def test_the_same_seed_gives_the_same_bytes_whatever_the_order_of_the_file(tmp_path):
    questions = [ask(f"q/{i}", NEW) for i in range(30)]
    folders = [run_folder(tmp_path / "a", *questions), run_folder(tmp_path / "b", *reversed(questions))]
    for folder in folders:
        page_of(folder, "--random", "9", "--seed", "5")
    pages = [(folder / "cards.html").read_bytes() for folder in folders]
    assert pages[0] == pages[1]
    assert page_of(folders[0], "--random", "9", "--seed", "6").ids != Page(pages[1].decode()).ids
    assert sorted(path.name for path in folders[0].iterdir()) == ["cards.html", "data"]


def test_what_a_reviewer_needs_stands_behind_the_key(tmp_path):
    text = " ".join(" ".join(page_of(run_folder(tmp_path, ask("q", NEW))).text).split())
    before, _, behind = text.partition("Key, facts and proof")
    assert "B. HEXA" not in before
    for said in (
        "B. HEXA", "gangliosidosis – has finding – cherry-red spot", "7/11", "phenotype.hpoa, 147513", "2025-01-16",
        "frequency 7/11; reference PMID:35386406", "0.98", "0.64", "0.0123", "key B: gangliosidosis",
        "A: leukodystrophy", "45.2", "A GALC", "this rival's patients rarely or never have.",
        "stated not to be there", "without it leukodystrophy is as likely", "0.991", "total 83, completeness 25",
        "age 7, sex female", "disease > associated_gene",
    ):  # fmt: skip
        assert said in behind, said


def test_questions_of_before_are_shown_too(tmp_path):
    text = " ".join(page_of(run_folder(tmp_path, ask("q", OLD))).text)
    for said in ("a – caused by – b", "a – treated by – c", "It may be right in the clinic.", "rash", "lay"):
        assert said in text


def deep(levels: int):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


ODD = [
    None,
    7,
    "text",
    [],
    {},
    [None],
    ["x", 3.5],
    {"a": {"b": [1]}},
    deep(300),
    True,
    1e300,
    [[1, 2, 3]],
    [{}],
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: str(odd)[:12])
def test_a_provenance_of_any_form_is_shown_as_far_as_it_goes(tmp_path, odd):
    questions = [ask("whole", {"certificate": odd or "none", "path": odd})]

    def vary(value, *place):
        for key in value if isinstance(value, dict) else range(len(value)):
            changed = json.loads(json.dumps(NEW))
            inner = changed
            for name in place:
                inner = inner[name]
            inner[key] = odd
            if changed["certificate"] is not None:
                questions.append(ask(f"{place} {key}", changed))
            if isinstance(value[key], dict | list):
                vary(value[key], *place, key)

    vary(NEW)
    assert len(questions) > 80
    shown = page_of(run_folder(tmp_path, *questions), "--random", "1000")
    assert set(shown.ids) == {q.id for q in questions}


def hostile(value):
    """The value with every text and key of it made hostile."""
    if isinstance(value, dict):
        return {name if name in KNOWN else HOSTILE: hostile(item) for name, item in value.items()}
    if isinstance(value, list):
        return [hostile(item) for item in value]
    return HOSTILE + "x" * 10_000 if isinstance(value, str) else value


KNOWN = {
    *NEW,
    *NEW["certificate"],
    *NEW["clues"][0],
    *NEW["certificate"]["distractors"][0],
    *FACT,
    *RECORD,
    *"ABCD",
}
KNOWN |= {"table", "rows", "clues"}


def test_hostile_text_stays_text(tmp_path):
    plain = page_of(run_folder(tmp_path / "plain", ask("q", NEW, context="read")))
    question = ask("q", hostile(NEW))
    options = {letter: f"{HOSTILE} {letter}" for letter in question.options}
    question = replace(
        question, id=HOSTILE, question=HOSTILE * 9, options=options, language='en" onload="x', context=HOSTILE
    )
    bad = page_of(run_folder(tmp_path / "bad", question))
    assert bad.ids == [HOSTILE]
    allowed = {tag: {name for _, attrs in plain.tags for name, _ in attrs} for tag, _ in plain.tags}
    for tag, attrs in bad.tags:
        assert {name for name, _ in attrs} <= allowed.get(tag, set()), tag
    assert [tag for tag, _ in bad.tags].count("script") == 1
    text = "".join(bad.text)
    assert text.count("</script><script>alert(1)</script> <!-- card --> {{stem}}") > 20
    assert "x" * 10_000 in text
    raw = (tmp_path / "bad/cards.html").read_bytes()
    assert not set(raw) & {0, 0x1B, 0x0D}


def test_the_page_fetches_nothing_and_runs_its_own_script_alone(tmp_path):
    page_of(run_folder(tmp_path, ask("q", hostile(NEW))))
    text = (tmp_path / "cards.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    template = (ROOT / "assets/cards.html").read_text(encoding="utf-8")
    assert script in template  # no datum in it
    assert style in template
    sources = [
        f"{tag}-src 'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"
        for tag, part in (("script", script), ("style", style))
    ]
    policy = f"default-src 'none'; {'; '.join(sources)}; base-uri 'none'; form-action 'none'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{policy}">' in text
    for reach in ("innerHTML", "insertAdjacent", "document.write", "eval(", "fetch(", "XMLHttp", "import("):
        assert reach not in script, reach
    assert not re.search(r"\s(?:src|href|style|on\w+)=", template)
    assert "http" not in template.replace("http-equiv", "")


def test_a_folder_without_questions_is_one_line(tmp_path):
    for folder in (tmp_path, run_folder(tmp_path / "public", ask("q", None))):
        status, (line,) = run_here(cards, [str(folder)])
        assert status == 2
        assert f"{folder}/data: no question with a certificate" in line
        assert not (folder / "cards.html").exists()
    status, (line,) = run_here(cards, [str(tmp_path / "public"), "--random", "0"])
    assert (status, "--random is 0" in line) == (2, True)
    (tmp_path / "public/data/dev.jsonl").write_text("{}\n")
    status, (line,) = run_here(cards, [str(tmp_path / "public")])
    assert (status, "dev.jsonl:1: field 'id' is missing" in line) == (2, True)
    folder = run_folder(tmp_path / "twice", ask("q"), dev=[ask("q")])
    assert "occurs twice" in run_here(cards, [str(folder)])[1][0]


# --- the marks


def save(path, *marks: dict, by="kim"):
    """What the page's button writes."""
    empty = {
        "sound": None, "useful": None, "two_right": False, "wrong_key": False, "right": None, "badly_worded": False,
        "comment": "",
    }  # fmt: skip
    path.write_text(json.dumps({"kind": KIND, "by": by, "marks": [{**empty, **mark} for mark in marks]}))
    return str(path)


def on(question: Question, **said) -> dict:
    return {"id": question.id, "text": text_hash(question), **said}


def decided(folder) -> list[tuple]:
    return [(r["id"], r["decision"], r.get("by")) for _, r in read_jsonl(folder / "decisions.jsonl")]


def test_the_page_and_its_reader_agree_on_the_form_of_a_mark():
    script = (ROOT / "assets/cards.html").read_text(encoding="utf-8")
    assert f'const KIND = "{KIND}";' in script
    built = re.search(r"const mark = \{(.*?)\n    \};", script, re.DOTALL)[1]
    assert re.findall(r"^ +(\w+):", built, re.M) == list(Mark.__dataclass_fields__)


def test_marks_become_decisions_that_a_run_heeds_with_and_without_a_voter(tmp_path):
    good, two, key, dull, worded, silent, unmarked = questions = [ask(f"q/{i}", NEW) for i in range(7)]
    folder = run_folder(tmp_path, *questions)
    marks = save(
        tmp_path / "marks.json",
        on(good, sound=True, useful=True),
        on(two, sound=False, two_right=True, comment="A too  "),
        on(key, sound=False, wrong_key=True, right="C"),
        on(dull, sound=True, useful=False),
        on(worded, sound=True, badly_worded=True),
        on(silent, comment="?"),
    )
    assert run_here(cards, [str(folder), "--marks", marks]) == (0, [])
    assert not (folder / "cards.html").exists()
    assert decided(folder) == [
        ("q/0", "accept", "kim"),
        ("q/1", "drop", "kim"),
        ("q/2", "relabel C", "kim"),
        ("q/3", "drop", "kim"),
        ("q/4", "accept", "kim"),
    ]
    lines = [record for _, record in read_jsonl(folder / "decisions.jsonl")]
    assert lines[1]["reason"] == "question card: not sound, two right answers; A too"
    assert lines[4]["reason"] == "question card: badly worded"

    class Mute:
        name = "mute"

        def complete(self, messages, n):
            return [""] * n

    checked = check_labels(questions, Poll(Mute(), tmp_path, 0), decisions=folder / "decisions.jsonl")
    counts = Counter()
    kept, dropped = apply_decisions(questions, read_decisions(folder / "decisions.jsonl"), counts)
    assert [(q.id, q.answer) for q in checked.kept] == [("q/0", "B"), ("q/2", "C"), ("q/4", "B")]
    assert checked.dropped == dropped
    assert [r["code"] for r in dropped] == ["dropped_in_review"] * 2
    assert kept == [*checked.kept, silent, unmarked]
    assert counts == {"accept": 2, "drop": 2, "relabel": 1}


def test_a_relabelled_question_is_judged_by_the_answer_that_it_shows(tmp_path):
    question = ask("q", NEW)
    note = {"relabelled_from": "B", "by": "lee", "reason": None}
    shown = replace(question, answer="C", provenance={**NEW, "label_check": note})
    folder = run_folder(tmp_path, shown)
    for said, answer in (
        ({"sound": True}, "C"),
        ({"wrong_key": True, "right": "B"}, "B"),
        ({"sound": False}, None),
    ):
        assert run_here(cards, [str(folder), "--marks", save(tmp_path / "m", on(shown, **said))]) == (0, [])
        decisions = read_decisions(folder / "decisions.jsonl")
        for posed in (question, shown):  # as generated anew; after the label check has relabelled it
            kept, _ = apply_decisions([posed], decisions, Counter())
            assert [q.answer for q in kept] == ([answer] if answer else [])


def test_a_later_mark_takes_the_place_of_the_same_persons_earlier_and_of_nothing_else(tmp_path):
    one, other = ask("q/1"), ask("q/2")
    folder = run_folder(tmp_path, one, other)
    by_hand = [
        {"id": "q/2", "decision": "accept"},
        {"id": "gone", "decision": "drop", "by": "kim"},
        {"id": "q/1", "decision": "relabel D", "by": "kim", "text": "another text"},
    ]
    (folder / "decisions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in by_hand))

    def mark(by="kim", **said):
        return run_here(cards, [str(folder), "--marks", save(tmp_path / "m.json", on(one, **said), by=by)])

    assert mark(sound=True) == (0, [])
    assert mark(sound=False) == (0, [])
    after = (folder / "decisions.jsonl").read_bytes()
    assert mark(sound=False) == (0, [])
    assert (folder / "decisions.jsonl").read_bytes() == after
    assert mark(by="lee", two_right=True) == (0, [])
    kept = [(line["id"], line["decision"], line.get("by")) for line in by_hand]
    assert decided(folder) == [*kept, ("q/1", "drop", "kim"), ("q/1", "drop", "lee")]
    assert mark(comment="I no longer know") == (0, [])
    assert decided(folder) == [*kept, ("q/1", "drop", "lee")]


def test_what_two_people_decide_otherwise_is_said_and_stays(tmp_path, capsys):
    one, other = ask("q/1"), ask("q/2")
    folder = run_folder(tmp_path, one, other)
    first = save(tmp_path / "kim.json", on(one, sound=True))
    assert run_here(cards, [str(folder), "--marks", first]) == (0, [])
    second = save(tmp_path / "lee.json", on(one, sound=False), on(other, sound=True), by="lee")
    assert cards.main([str(folder), "--marks", second]) == 1
    out = capsys.readouterr().out
    assert "lee.json: marks[0]: 'q/1': drop, but" in out
    assert "decisions.jsonl:1 says accept ('kim'), which stays" in out
    assert decided(folder) == [("q/1", "accept", "kim"), ("q/2", "accept", "lee")]
    read_decisions(folder / "decisions.jsonl")


def test_marks_that_do_not_hold_have_a_line_each_and_the_others_are_taken(tmp_path, capsys):
    one, other, third = ask("q/1"), ask("q/2"), ask("q/3")
    folder = run_folder(tmp_path, one, other, third)
    marks = save(
        tmp_path / "m.json",
        {"id": "q/9\x1b[31m", "text": "t", "sound": True},
        {**on(one, sound=False), "text": "another"},
        on(other, wrong_key=True, right="E"),
        on(third, sound=True),
    )
    assert cards.main([str(folder), "--marks", marks]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "m.json: marks[0]: 'q/9\\x1b[31m': the run has no such question" in lines[0]
    assert "m.json: marks[1]: 'q/1': the question has changed" in lines[1]
    assert "m.json: marks[2]: 'q/2': the right option is to be 'E'; its options are A, B, C, D" in lines[2]
    assert decided(folder) == [("q/3", "accept", "kim")]
    assert re.search(r"^sound +1 +1 +100% +21% to 100%$", "\n".join(lines), re.M)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "m.json: not strict JSON"),
        ("[]", "m.json: expected a JSON object, found list"),
        ("{}", "m.json: field 'kind' is missing"),
        ({"kind": "marks"}, "m.json: kind: expected fleming question cards 1"),
        ({"by": " "}, "m.json: by is empty"),
        ({"marks": {}}, "m.json: marks: expected list of mapping"),
        ({"marks": [3]}, "m.json: marks[0]: expected mapping"),
        ({"marks": [{"id": "q", "text": 1}]}, "m.json: marks[0]: text: expected str"),
        (
            {"marks": [{"id": "q", "text": "", "sound": "yes"}]},
            "m.json: marks[0]: sound: expected bool | null",
        ),
        ({"marks": [{"id": "q", "text": "", "nice": True}]}, "m.json: marks[0]: unknown field 'nice'"),
        ({"marks": [{"id": "q", "text": ""}] * 2}, "m.json: marks[1]: 'q' is marked in marks[0] too"),
        (
            {"marks": [{"id": "q", "text": "", "sound": True, "two_right": True}]},
            "m.json: marks[0]: 'q' is sound, but",
        ),
        (
            {"marks": [{"id": "q", "text": "", "right": "A"}]},
            "m.json: marks[0]: 'q' has a right option beside",
        ),
        (None, "m.json: cannot read"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_broken_file_of_marks_is_one_line_and_nothing_is_written(tmp_path, content, complaint):
    folder = run_folder(tmp_path, ask("q"))
    before = '{"id": "x", "decision": "drop"}'  # without its last line end
    (folder / "decisions.jsonl").write_text(before)
    if isinstance(content, dict):
        content = json.dumps({"kind": KIND, "by": "kim", "marks": [], **content})
    if content is not None:
        (tmp_path / "m.json").write_text(content)
    status, (line,) = run_here(cards, [str(folder), "--marks", str(tmp_path / "m.json")])
    assert status == 2
    assert complaint in line
    assert (folder / "decisions.jsonl").read_text() == before


def test_a_broken_file_of_decisions_is_left_as_it_is(tmp_path):
    question = ask("q")
    folder = run_folder(tmp_path, question)
    (folder / "decisions.jsonl").write_text('{"id": "x", "decision": "perhaps"}\n')
    marks = save(tmp_path / "m.json", on(question, sound=True))
    status, (line,) = run_here(cards, [str(folder), "--marks", marks])
    assert (status, "decisions.jsonl:1: expected an id and accept" in line) == (2, True)
    assert (folder / "decisions.jsonl").read_text() == '{"id": "x", "decision": "perhaps"}\n'


def test_shares_are_of_the_cards_that_were_judged():
    mark = Mark("q", "t")
    marks = [
        replace(mark, sound=True, useful=True),
        replace(mark, sound=True, useful=False),
        replace(mark, two_right=True),
        replace(mark, comment="later", badly_worded=True),
    ]
    table = {line[:20].strip(): line[20:].split() for line in summary(marks)}
    assert table["sound"] == ["2", "3", "67%", "21%", "to", "94%"]
    assert table["useful"] == ["1", "2", "50%", "9%", "to", "91%"]
    assert table["sound and useful"][:2] == ["1", "3"]
    assert table["two right answers"][:2] == ["1", "3"]
    assert table["badly worded"][:2] == ["1", "4"]
    assert {line[20:].split()[0] for line in summary([])[1:]} == {"0"}
