"""What decontamination finds of every benchmark under every disguise, and what it finds where nothing is.

    python benchmarks/decontamination.py BENCHMARKS TRAIN [--sample 200] [--also NAME=FILE ...]

BENCHMARKS is a folder with benchmarks in it as `evaluate.benchmark_folder` has them, TRAIN one with files of questions
of other sets; --also names further files of questions that are no benchmark, to be copied and looked up as well. For
each set `sample` questions are disguised and looked up among all; then every set is looked up in all the others (and
TRAIN's in halves against themselves), which lists each pair that is called a leak: some are, so read them. Prints two
tables and the pairs; the last line is JSON.
"""

import argparse
import dataclasses
import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fleming.public.benchmarks import load_benchmark
from fleming.public.readers import read_questions
from fleming.records import LETTERS, Question, Trajectory
from fleming.refine.decontamination import Index
from model.errors import InputError

NAMES = ("careqa", "medbullets", "medmcqa", "medqa", "medxpertqa", "pubmedqa", "mmlu_pro_biology")
LONG = 60  # words of a vignette of which a half is still one
CYRILLIC = str.maketrans("aceopxyijsABCEHIKMOPTX", "асеорхуіјѕАВСЕНІКМОРТХ")
GREEK = str.maketrans("ovupikABEZHIKMNOPTYX", "ονυρικΑΒΕΖΗΙΚΜΝΟΡΤΥΧ")
DIGITS = str.maketrans("oieastOIEAST", "013457013457")
WIDE = str.maketrans({chr(c): chr(c + 0xFEE0) for c in range(33, 127)} | {" ": "\u3000"})


def parts_of(text: str) -> tuple[list[str], str]:
    """Return the words (of Chinese, the characters), and what stands between two."""
    return (text.split(), " ") if len(text.split()) > len(text) / 12 else (list(text), "")


def half(text: str, last: bool, _: random.Random) -> str:
    parts, between = parts_of(text)
    middle = len(parts) // 2
    return between.join(parts[middle:] if last else parts[:middle])


def thinned(text: str, rng: random.Random) -> str:
    parts, between = parts_of(text)
    return between.join(part for part in parts if rng.random() > 0.1)


def spaced(text: str, between: str) -> str:
    return between.join(text.replace(" ", ""))


def marked(text: str, rng: random.Random) -> str:
    return "".join(char + rng.choice("\u0332\u0323\u0331\u0325") if char.isalpha() else char for char in text)


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(char):04x}" if char.isalpha() else char for char in text)


def of_halves(text: str, form: str) -> str:
    """Return the text with each word written as the form says of its halves."""
    words = text.split(" ")
    return " ".join(form.format(word[: len(word) // 2], word[len(word) // 2 :]) for word in words)


def turned(text: str) -> str:
    """Return the text as right-to-left marks show it from left to right."""
    return " ".join(f"\u202e{word[::-1]}\u202c" for word in text.split(" "))


def mathematical(text: str) -> str:
    """Return the text in Unicode's bold sans-serif letters."""
    first = {True: 0x1D5D4 - ord("A"), False: 0x1D5EE - ord("a")}
    return "".join(chr(ord(c) + first[c.isupper()]) if c.isascii() and c.isalpha() else c for c in text)


Disguise = Callable[[str, random.Random], str]
OF_ALL: dict[str, Disguise] = {  # of stem and options alike
    "as it is": lambda text, _: text,
    "capitals, full width": lambda text, _: text.upper().translate(WIDE),
    "letters apart": lambda text, _: spaced(text, " "),
    "letters by stops": lambda text, _: spaced(text, "."),
    "entities of HTML": lambda text, _: "".join(f"&#{ord(c)};" if c.isalnum() else c for c in text),
    "tags in words": lambda text, _: of_halves(text, "<b>{}</b>{}"),
    "words cut at lines' ends": lambda text, _: of_halves(text, "{}-\n{}"),
    "escapes": lambda text, _: escaped(text),
    "turned round": lambda text, _: turned(text),
    "no blanks": lambda text, _: text.replace(" ", ""),
    "Cyrillic letters": lambda text, _: text.translate(CYRILLIC),
    "Greek letters": lambda text, _: text.translate(GREEK),
    "mathematical letters": lambda text, _: mathematical(text),
    "marks under letters": marked,
    "digits for letters": lambda text, _: text.translate(DIGITS),
}
OF_STEM: dict[str, Disguise] = {
    "a tenth of the words gone": thinned,
    "first half": lambda text, rng: half(text, False, rng),
    "last half": lambda text, rng: half(text, True, rng),
}
HALVES = ("first half", "last half", "last half in a text")


def shuffled(question: Question, rng: random.Random) -> Question:
    letters = list(question.options)
    rng.shuffle(letters)
    options = {LETTERS[i]: question.options[letter] for i, letter in enumerate(letters)}
    return dataclasses.replace(question, options=options, answer=LETTERS[letters.index(question.answer)])


def disguised(question: Question, other: str, rng: random.Random) -> dict[str, Question | Trajectory | str]:
    """Return the question under each disguise that it can wear; halves are worn by long vignettes alone."""
    question = shuffled(question, rng)
    found: dict[str, Question | Trajectory | str] = {}
    for name, change in OF_ALL.items():
        options = {letter: change(text, rng) for letter, text in question.options.items()}
        stem, context = change(question.question, rng), question.context and change(question.context, rng)
        found[name] = dataclasses.replace(question, question=stem, context=context, options=options)
    for name, change in OF_STEM.items():
        context = question.context and change(question.context, rng)
        found[name] = dataclasses.replace(question, question=change(question.question, rng), context=context)
    found["a free answer"] = dataclasses.replace(
        question, options={}, answer=question.right_text, answer_kind="text"
    )
    asked = "\n".join([question.question, *question.options.values()])
    found["a trajectory"] = Trajectory("t", "x", [{"role": "user", "content": asked}], "<think>")
    between = f"{other[:200]} {question.question} {other[-200:]}"
    found["between texts"] = dataclasses.replace(question, question=between)
    found["last half in a text"] = f"{other} {half(question.question, True, rng)} {other}"
    parts, between = parts_of(question.question)
    if len(parts) < (LONG if between else 2 * LONG):
        for name in HALVES:
            del found[name]
    if question.language != "en" or not between:  # letters of another script hide nothing there
        for name in list(OF_ALL)[-5:]:
            del found[name]
    return found


def recall(sets: dict[str, list[Question]], index: Index, sample: int) -> dict[str, dict[str, list[int]]]:
    """Return disguise -> set -> [found as that very question or a copy of it, of so many]."""
    table: dict[str, dict[str, list[int]]] = {}
    others = [q.question for questions in sets.values() for q in questions]
    for name, questions in sets.items():
        rng = random.Random(name)
        drawn = rng.sample(questions, min(sample, len(questions)))
        wearing: dict[str, list] = {}
        for question in drawn:
            for disguise, record in disguised(question, rng.choice(others), rng).items():
                wearing.setdefault(disguise, []).append(record)
        for disguise, records in wearing.items():
            found = sum(match is not None for match in index.leaks(records))
            table.setdefault(disguise, {})[name] = [found, len(records)]
    return table


def wrong(sets: dict[str, list[Question]], halves: Sequence[str]) -> list[dict]:
    """Return each pair that is called a leak, of sets against all others, and of the named ones against themselves."""
    pairs = []

    def look(name: str, questions: list[Question], against: dict[str, list[Question]]) -> dict:
        by_id = {q.id: q for found in against.values() for q in found}
        matches = Index(against, questions).leaks(questions)
        hits = 0
        for question, match in zip(questions, matches, strict=True):
            if match:
                hits += 1
                other = by_id[match.benchmark_id]
                ours, theirs = ([q.question, *q.options.values(), "=", q.answer] for q in (question, other))
                pairs.append(
                    {"set": name, "rule": match.rule, "score": match.score, "ours": ours, "theirs": theirs}
                )
        return {"set": name, "looked up": len(questions), "hits": hits}

    counts = [
        look(name, questions, {other: found for other, found in sets.items() if other != name})
        for name, questions in sets.items()
    ]
    for name in halves:
        for first in (0, 1):
            counts.append(look(f"{name}, half", sets[name][first::2], {name: sets[name][1 - first :: 2]}))
    return [*counts, *pairs]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmarks", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("--sample", type=int, default=200)
    parser.add_argument("--also", nargs="*", default=[], metavar="NAME=FILE")
    options = parser.parse_args()
    sets = {}
    for name in NAMES:
        try:
            sets[name] = load_benchmark(name, options.benchmarks).questions
        except InputError as error:
            print(f"{name} is left out: {error}")
    benchmarks = dict(sets)
    for name, file in (pair.split("=", 1) for pair in options.also):
        sets[name] = read_questions(Path(file))
    for file in sorted(options.train.iterdir()):
        sets[file.name.partition(".")[0]] = read_questions(file)

    table = recall(
        {k: v for k, v in sets.items() if k in benchmarks or k.startswith("cmexam")},
        Index(sets),
        options.sample,
    )
    columns = list(table["as it is"])
    print(f"{'disguise':27}" + "".join(f"{name[:12]:>13}" for name in columns))
    for disguise, row in table.items():
        cells = [f"{found}/{count}" for found, count in (row.get(name, (0, 0)) for name in columns)]
        print(f"{disguise:27}" + "".join(f"{cell if cell != '0/0' else '':>13}" for cell in cells))
    hits = wrong(sets, [name for name in sets if name.startswith("cmexam")])
    for entry in hits:
        print(json.dumps(entry, ensure_ascii=False))
    print(json.dumps({"recall": table, "hits": [entry for entry in hits if "hits" in entry]}))


if __name__ == "__main__":
    main()
