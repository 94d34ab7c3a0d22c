"""Question cards: what a reviewer reads and marks, and the marks read back as decisions.

    python -m fleming.questions.cards runs/demo --random 50 --seed 1
    python -m fleming.questions.cards runs/demo --marks marks.json

The first writes RUN_DIR/cards.html, one page without network or other files: case and options, and behind a click the
key, the facts with their evidence, the likelihoods, the ground of each wrong option, the score. The second writes
RUN_DIR/decisions.jsonl, prints how many cards are sound, and exits with 1 where a mark does not hold. A provenance of
another form is shown as far as it goes. Left out: which marks decide what (refine/marks.py), the layout (assets/).
"""

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleming.config import load_config, run_script
from fleming.files import read_jsonl, run_lock, write_atomic
from fleming.html_page import SHOWN, described, escape, fill, items, mapping, policy, say, spaced, table
from fleming.noise import generator
from fleming.questions.phrases import ASSETS
from fleming.records import Question, question_from_json
from fleming.refine.decisions import text_hash
from fleming.refine.marks import summary, take_marks
from fleming.terminal import option_parser
from model.errors import InputError

EVIDENCE = ("fact", "k/n", "source", "record", "version", "confidence", "frequency", "note")
Counts = Mapping[tuple[str, str], str]  # (relation, tail) of a clue -> "k/n": k of n patients have it


@dataclass(frozen=True)
class Words:
    """What the codes of a provenance mean: assets/cards.yaml."""

    grounds: dict[str, str] = field(default_factory=dict)
    roles: dict[str, str] = field(default_factory=dict)


def synthetic_questions(folder: Path) -> dict[str, Question]:
    """Return id -> question of a run that has a certificate. Raises InputError where there is none, or a broken one."""
    found: dict[str, Question] = {}
    for file in filter(Path.exists, [folder / "data" / f"{name}.jsonl" for name in ("rl", "dev", "test")]):
        for where, record in read_jsonl(file):
            question = question_from_json(record, where)
            if (question.provenance or {}).get("certificate") is None:
                continue
            if question.id in found:
                raise InputError(f"{where}: id {question.id[:200]!r} occurs twice")
            found[question.id] = question
    if not found:
        raise InputError(f"{folder}/data: no question with a certificate in rl, dev or test.jsonl")
    return found


def draw(questions: Mapping[str, Question], count: int, seed: int) -> list[Question]:
    """Return `count` questions, or all where there are fewer: the same for a seed, whatever the file's order."""
    ids = sorted(questions)
    return [questions[ids[i]] for i in generator(seed, "question cards").permutation(len(ids))[:count]]


def triple(value: Any) -> str:
    """Return "head – relation – tail" of an edge or a triple."""
    ends = [value.get(end) for end in ("head", "relation", "tail")] if isinstance(value, dict) else value
    if isinstance(ends, list) and len(ends) == 3:
        return f"{say(ends[0])} – {spaced(ends[1])} – {say(ends[2])}"
    return say(value)


def evidence(edges: Any, counts: Counts) -> list[list[Any]]:
    """Return a row of EVIDENCE for each record that states one of the edges."""
    rows = []
    for edge in items(edges):
        known, records = mapping(edge), items(mapping(edge).get("evidence"))
        start = [triple(edge), counts.get((say(known.get("relation")), say(known.get("tail"))))]
        for record in records[:SHOWN] or [None]:
            e = mapping(record)
            to = "" if e.get("end") in (None, -1) else f" to {say(e['end'])}"
            place = f"{say(e.get('file'))}, {say(e.get('record'))}{to}" if e else say(record)
            frequency = None if e.get("frequency") == -1 else e.get("frequency")
            more = [e.get("source"), place, e.get("version"), e.get("confidence"), frequency, e.get("note")]
            rows.append([*start, *more])
            start = [None, None]
        if len(records) > SHOWN:
            rows.append([f"and {len(records) - SHOWN:,} more records", *[None] * 7])
    return rows


def likelihoods(question: Question, certificate: dict) -> str:
    """Return the table of clues x diseases, with the odds of the key against each."""
    known = mapping(certificate.get("table"))
    against = {say(mapping(rival).get("disease")): rival for rival in items(certificate.get("distractors"))}
    columns = {name: items(values) for name, values in mapping(known.get("rows")).items()}
    if not columns:
        return ""
    letters = {text: letter for letter, text in question.options.items()}
    heads, odds = ["clue"], ["odds of the key"]
    for name in columns:
        rival = mapping(against.get(name))
        letter = letters.get(say(rival.get("option")), "") if rival else f"key {question.answer}"
        heads.append(f"{letter}: {name}".lstrip(": "))
        odds.append(rival.get("odds"))
    cells = [items(known.get("clues")), *columns.values()]
    rows = [[part[i] if i < len(part) else None for part in cells] for i in range(max(map(len, cells)))]
    return table("How likely each clue is", heads, [*rows, odds])


def rivals(question: Question, certificate: dict, words: Words, counts: Counts) -> str:
    """Return, for each wrong option, why it is wrong and what that rests on."""
    letters = {text: letter for letter, text in question.options.items()}
    parts = []
    for rival in items(certificate.get("distractors")):
        known = {"option": rival, **mapping(rival)}
        option, because = say(known.pop("option")), known.pop("evidence", None)
        said = {"why it is wrong": words.grounds.get(say(known.get("ground")), ""), **known}
        for name in ("shares", "violates"):
            said[name] = "; ".join(map(triple, items(known.get(name))))
        rests_on = table("It rests on", EVIDENCE, evidence(because, counts))
        title = f"{letters.get(option, '')} {option}".strip()
        parts.append(f"<h3>{escape(title)}</h3>\n{described(said.items())}{rests_on}")
    return "".join(parts)


def facts(question: Question, words: Words) -> str:
    """Return everything that is told once the key is."""
    known = dict(question.provenance or {})
    path, clues, certificate = (known.pop(name, None) for name in ("path", "clues", "certificate"))
    about = [(name, getattr(question, name)) for name in ("id", "split", "difficulty")] + list(known.items())
    proof = certificate if isinstance(certificate, dict) else {"certificate": certificate}
    about += [(name, value) for name, value in proof.items() if name not in ("table", "distractors")]
    counts, needs = {}, []
    for clue in items(clues):
        c = {"tail": clue, **mapping(clue)}
        relation, tail, role = say(c.get("relation")), say(c["tail"]), say(c.get("role"))
        counts[relation, tail] = k_of_n = "/".join(map(say, items(c.get("counts"))))
        needs.append([spaced(relation), tail, words.roles.get(role, role), k_of_n, c.get("needed")])
    parts = [
        table("Facts", EVIDENCE, evidence(path, counts)),
        table("What each clue is for", ("relation", "clue", "role", "k/n", "needed"), needs),
        likelihoods(question, proof),
        rivals(question, proof, words, counts),
    ]
    return f"{''.join(parts)}<h3>The question</h3>\n{described(about)}"


def page(questions: Sequence[Question], seed: int) -> str:
    """Return the page of these questions, in this order."""
    template = (ASSETS / "cards.html").read_text(encoding="utf-8")
    words = load_config(Words, ASSETS / "cards.yaml", [])
    before, card, after = re.split(r"<!-- /?card -->\n", template)
    cards = [
        fill(
            card,
            n=n,
            id=html.escape(json.dumps(question.id)),  # in ASCII: no parser changes a character
            text=text_hash(question),
            lang=escape(question.language),
            context=f'<p class="context">{escape(question.context)}</p>\n' if question.context else "",
            stem=escape(question.question),
            options="\n".join(f"<li>{escape(text)}</li>" for text in question.options.values()),
            letters="".join(f"<option>{letter}</option>" for letter in question.options),
            key=escape(f"{question.answer}. {question.options[question.answer]}"),
            facts=facts(question, words),
        )
        for n, question in enumerate(questions, 1)
    ]
    head = {"policy": policy(template), "title": f"Question cards: {len(questions)}, drawn with seed {seed}"}
    return fill(before, **head) + "".join(cards) + after


def main(argv: list[str]) -> int:
    parser = option_parser(__doc__)
    parser.add_argument("run_dir", metavar="RUN_DIR", type=Path, help="a run's folder, with its data")
    parser.add_argument("--random", type=int, default=50, metavar="N", help="questions to draw (50)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the draw (0)")
    parser.add_argument("--marks", metavar="FILE", help="read back what the page saved, and write no page")
    options = parser.parse_args(argv)
    if options.random < 1:
        raise InputError(f"--random is {options.random}, expected at least 1")

    folder, questions = options.run_dir, synthetic_questions(options.run_dir)
    if options.marks is None:
        drawn = draw(questions, options.random, options.seed)
        write_atomic(folder / "cards.html", page(drawn, options.seed))
        print(f"{folder}/cards.html: {len(drawn)} of {len(questions):,} questions")
        return 0

    decisions = folder / "decisions.jsonl"
    with run_lock(folder, "cards"):
        held, faults = take_marks(options.marks, questions, decisions)
    print("\n".join([*faults, *summary(held)]))
    print(f"{decisions}: name it in synth.decisions, and the next run of synth_data.py heeds it")
    return 1 if faults else 0


if __name__ == "__main__":
    run_script(main)
