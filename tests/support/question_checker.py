"""An independent checker of questions: recomputes from graph.jsonl alone what records claim, by plain sets and dicts.

Of one record path, clues, odds, ranks, grounds, needs (question_proof.py), options (question_options.py), words and
score; of a set its caps, repeats and splits. Shares no code with fleming/graph or fleming/questions, but how a name is
said in a stem.
"""

import math
from collections import Counter, defaultdict

from support.question_facts import Facts, onset_years
from support.question_options import check_options
from support.question_proof import POSITIVE, Checked, plain

from fleming.questions.names import said

UNNAMED = ("family", "onset", "sex")
SCALE = 3000

__all__ = ["Facts", "faults", "faults_of_set", "faults_of_splits", "root_of"]


def faults(facts, question, rules):
    """Every way in which the question's record is wrong, in words; empty where it is right."""
    checked = Checked(facts, question, rules)
    checked.check_path()
    if checked.faults:
        return checked.faults  # nothing else could be recomputed
    checked.must(
        checked.hidden == bool(checked.clues), "a hidden root without clues, or clues of a named one"
    )
    if checked.hidden:
        checked.check_clues()
        checked.check_rivals()
        checked.check_needed()
        patient = checked.p["patient"]
        onsets = map(onset_years, checked.facts.tails.get((checked.root, "has_onset"), ()))
        has_age = rules.patients and any(onsets)
        checked.must((patient["age"] is not None) == has_age and (patient["age"] or 0) >= 0, "age")
        checked.must((patient["sex"] in ("female", "male")) == rules.patients, "sex")
    check_options(checked)
    check_words(checked)
    check_score(checked)
    return checked.faults


def check_words(checked):
    facts, p, text = checked.facts, checked.p, f" {plain(checked.question['question'])} "
    bridges = [tail for place, (_, _, tail) in enumerate(checked.path)
               if place not in checked.chain and checked.chain and place > checked.chain[0]]  # fmt: skip
    visible = [
        *([] if checked.hidden else [checked.root]),
        *(clue["tail"] for clue in checked.clues),
        *bridges,
    ]
    checked.must(p["visible"] == visible, "what is visible")
    unnamed = {clue["tail"] for clue in checked.clues if clue["role"] in UNNAMED}
    for name in visible:
        lay = facts.entities[name]["lay"] if p["register"] == "lay" else []
        ways = [name, said(name), *map(said, lay)]
        is_named = any(f" {plain(way)} " in text for way in ways) or any(
            w in text for w in ways if not w.isascii()
        )
        checked.must(is_named or name in unnamed, f"{name} is not in the text")
    for name in [*p["hidden"], p["answer"]]:
        for alias in [name, *facts.entities[name]["synonyms"]]:
            stands = plain(alias) and f" {plain(alias)} " in text
            checked.must(not stands and name.casefold() not in checked.question["question"].casefold(),
                         f"{alias} stands in the text")  # fmt: skip


def check_score(checked):
    p, certificate = checked.p, checked.certificate
    clues = [clue for clue in checked.clues if clue["role"] != "complaint"]
    steps = len(checked.chain) + len({clue["role"] for clue in clues})
    checked.must(p["depth"] == steps, "depth")
    positive = [wrong["ground"] in POSITIVE for wrong in certificate["distractors"]]
    share = {
        "completeness": sum(positive) / len(positive),
        "margin": 1,
        "necessity": 1,
        "language": 1,
        "relevance": 1,
    }
    if clues:
        findings = [clue for clue in clues if clue["role"] in ("core", "discriminating")]
        counted = sum(clue["counts"] is not None for clue in findings) / len(findings)
        share["completeness"] = 0.7 * share["completeness"] + 0.3 * counted
        least = min(rival["odds"] for rival in certificate["rivals"])
        margins = [math.log10(max(1, odds)) for odds in (least, certificate["runner_up_odds"])]
        share["margin"] = 0.6 * min(1, margins[0] / 2.5) + 0.4 * min(1, margins[1])
        decide = sum(clue["needed"].startswith("without") for clue in clues) / len(clues)
        share["necessity"] = min(1, decide / 0.6)
        if not 25 <= len(checked.question["question"].split()) <= 130:
            share["language"] = 0.6
        row = certificate["table"]["rows"][checked.root]
        share["relevance"] = 0.5 * min(1, steps / 4) + 0.5 * sum(value >= 0.45 for value in row) / len(row)
    full = {"completeness": 25, "margin": 25, "necessity": 20, "language": 15, "relevance": 15}
    exact = {name: full[name] * share[name] for name in full}
    score = p["score"]
    checked.must(
        all(abs(score[name] - value) <= 0.5 + 1e-9 for name, value in exact.items()), f"score, not {exact}"
    )
    checked.must(score["total"] == sum(score[name] for name in full), "the score's total")
    checked.must(score["total"] >= checked.rules.min_score, "a low score")


# sets of questions


def root_of(question):
    return question["provenance"]["root"]


def last_fact(question):
    """The fact of the last step; of a diagnosis the root itself, once more."""
    p = question["provenance"]
    if not p["chain"]:
        return p["answer"]
    edge = p["path"][p["chain"][-1]]
    return edge["head"], edge["relation"], edge["tail"]


def composition(question):
    p = question["provenance"]
    return tuple(sorted(p["visible"])), p["metapath"], p["answer"]


def faults_of_set(facts, questions, rules, wanted):
    """What is asked too often among `questions` of a run that wanted so many, in words; those of each record too."""
    found = [f"{q['id']}: {fault}" for q in questions for fault in faults(facts, q, rules)]

    def scaled(most, count):
        return max(1, math.ceil(most * count / SCALE))

    def no_more(what, keys, most):
        for key, count in Counter(keys).items():
            if count > most:
                found.append(f"{what} {key}: {count} times, at most {most}")

    no_more("id", (q["id"] for q in questions), 1)
    no_more("composition", map(composition, questions), 1)
    if rules.max_per_root:
        no_more("root", map(root_of, questions), scaled(rules.max_per_root, len(questions)))
    if rules.max_per_fact:
        no_more("last fact", map(last_fact, questions), rules.max_per_fact)
    if rules.max_per_answer:
        answers = [(q["provenance"]["metapath"], q["provenance"]["answer"]) for q in questions]
        few = [key for key in answers if not key[0].endswith("> inherited_as")]
        no_more("answer", few, scaled(rules.max_per_answer, wanted))
    return found


def faults_of_splits(questions, hold_out):
    """What train, dev and test share, in words; hold_out as in synth.hold_out."""
    found, of_key = [], defaultdict(set)
    taught = defaultdict(set)
    for question in questions:
        p, split = question["provenance"], question["split"]
        path = {(e["head"], e["relation"], e["tail"]) for e in p["path"]}
        taught[split] |= path | {(p["metapath"].split(" by ")[0].split(" > ")[-1], p["answer"])}
        if hold_out == "roots":
            of_key["root", root_of(question)].add(split)
            if p["chain"]:
                of_key["last fact", last_fact(question)].add(split)
        else:
            clues = tuple(sorted(clue["tail"] for clue in p.get("clues", ())))
            of_key["combination", clues or composition(question)].add(split)
    found += [f"{key}: in {sorted(splits)}" for key, splits in of_key.items() if len(splits) > 1]
    if hold_out == "combinations":
        for split in ("dev", "test"):
            found += [f"{fact} of {split} is not taught" for fact in taught[split] - taught["train"]]
    return found
