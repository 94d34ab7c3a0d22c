"""An independent checker of the demo's questions: reads the YAML itself and tries every name for every unknown.

Only the questions come from fleming.graph; what is true, unique, right and wrong is worked out here again.
"""

import pathlib
from collections import Counter

import pytest
import yaml

from fleming.questions.sampling import sample_questions
from fleming.questions.splitting import split_by_composition
from fleming.sources.handwritten import import_yaml

ASSET = pathlib.Path(__file__).resolve().parents[2] / "assets" / "medical_graph.yaml"
RELATIONS = {
    ("diseases", "symptoms"): "has_symptom",
    ("diseases", "findings"): "has_finding",
    ("diseases", "tests"): "diagnosed_by",
    ("diseases", "drugs"): "treated_by",
    ("diseases", "mechanism"): "caused_by",
    ("drugs", "mechanism"): "has_mechanism",
    ("drugs", "contraindicated_in"): "contraindicated_in",
    ("drugs", "adverse_effects"): "has_adverse_effect",
}


@pytest.fixture(scope="module")
def world():
    """(facts, names): all triples and all names of the file."""
    content = yaml.safe_load(ASSET.read_text(encoding="utf-8"))
    facts = {
        (entry["name"], relation, tail)
        for (section, key), relation in RELATIONS.items()
        for entry in content[section]
        for tail in entry.get(key, [])
    }
    return facts, sorted({name for head, _, tail in facts for name in (head, tail)})


@pytest.fixture(scope="module", params=[0, 1])
def splits(request):
    graph = import_yaml(str(ASSET))
    questions, _, _ = sample_questions(graph, {1: 1200, 2: 2600, 3: 2600}, request.param)
    return split_by_composition(questions, 400, 600, request.param)


@pytest.fixture(scope="module")
def questions(splits):
    return [question for split in splits for question in split]


def unknowns_and_query(question):
    """The names that the reader must find, in order, and the path with those names replaced by their position."""
    unknowns = [*question.provenance["hidden"], question.provenance["answer"]]
    place = {name: i for i, name in enumerate(unknowns)}
    query = [
        tuple(place.get(end, end) for end in (edge["head"], edge["relation"], edge["tail"]))
        for edge in question.provenance["path"]
    ]
    return unknowns, query


def all_solutions(world, query, count):
    """One set of names for each unknown: what it can be, given the part of the query that knows no later unknown."""
    facts, names = world
    tried = {}

    def fits(edge, values):
        """Every name that makes the edge true in place of the unknown after `values`: all names are tried."""
        head, relation, tail = (
            values[end] if isinstance(end, int) and end < len(values) else end for end in edge
        )
        if (head, relation, tail) not in tried:
            tried[head, relation, tail] = {
                name
                for name in names
                if (name if head == len(values) else head, relation, name if tail == len(values) else tail)
                in facts
            }
        return tried[head, relation, tail]

    partial, found = [()], []
    for i in range(count):
        edges = [e for e in query if i in e and all(not isinstance(end, int) or end <= i for end in e)]
        partial = [
            (*values, name)
            for values in partial
            for name in set.intersection(*(fits(e, values) for e in edges))
        ]
        found.append({values[-1] for values in partial})
    return found


def test_every_question_has_exactly_one_right_option_and_unique_bridges(world, questions):
    assert len(questions) > 4000
    for question in questions:
        provenance = question.provenance
        unknowns, query = unknowns_and_query(question)
        assert provenance["hops"] == len(unknowns)
        assert {edge[1] for edge in query} >= {provenance["metapath"].split(" > ")[-1].removeprefix("^")}
        ends = {end for edge in query for end in (edge[0], edge[2])}
        assert ends == {*provenance["visible"], *range(len(unknowns))}
        *bridges, right = all_solutions(world, query, len(unknowns))
        assert bridges == [{name} for name in provenance["hidden"]]
        assert [letter for letter, text in question.options.items() if text in right] == [question.answer]
        assert question.options[question.answer] == provenance["answer"]
        assert provenance["certificate"]["solutions"] == sorted(right)


def test_every_distractor_is_wrong_for_a_named_edge_that_the_file_lacks(world, questions):
    facts, _ = world
    for question in questions:
        provenance = question.provenance
        certificates = provenance["certificate"]["distractors"]
        assert {c["option"] for c in certificates} == {*question.options.values()} - {provenance["answer"]}
        last = provenance["path"][-1]
        for certificate in certificates:
            shares, violates = ([tuple(t) for t in certificate[k]] for k in ("shares", "violates"))
            assert facts.issuperset(shares)
            assert violates
            assert facts.isdisjoint(violates)
            needed = [last["head"], last["relation"], last["tail"]]
            needed[needed.index(provenance["answer"])] = certificate["option"]
            assert violates[-1] == tuple(needed)


def test_no_third_clue_and_no_action_is_redundant(world, questions):
    facts, names = world
    with_three = with_action = 0
    for question in questions:
        root, *drugs = question.provenance["hidden"] or [None]
        path = [(edge["head"], edge["relation"], edge["tail"]) for edge in question.provenance["path"]]
        if not question.provenance["metapath"].startswith("features"):
            continue
        clues = [
            (r, tail) for head, r, tail in path if head == root and tail in question.provenance["visible"]
        ]
        for left_out in clues if len(clues) == 3 else []:
            rest = [clue for clue in clues if clue != left_out]
            assert sum(all((name, *clue) in facts for clue in rest) for name in names) > 1
            with_three += 1
        for _, relation, action in [
            e for e in path if e[0] in drugs and e[2] in question.provenance["visible"]
        ]:
            assert sum((name, relation, action) in facts for name in names) > 1
            with_action += 1
    assert with_three
    assert with_action


def test_most_distractors_share_an_edge_with_the_truth(questions):
    near = [bool(c["shares"]) for q in questions for c in q.provenance["certificate"]["distractors"]]
    assert sum(near) / len(near) > 0.6


def test_options_are_distinct_and_of_one_kind(world, questions):
    facts, _ = world
    kind = {tail: relation for _, relation, tail in facts}
    kind |= {head: "disease" for head, relation, _ in facts if relation in ("has_symptom", "has_finding")}
    kind |= {head: "drug" for head, relation, _ in facts if relation == "has_mechanism"}
    for question in questions:
        assert len({text.casefold() for text in question.options.values()}) == 4
        assert len({kind[text] for text in question.options.values()}) == 1


def test_the_stem_shows_the_visible_names_and_neither_answer_nor_hidden_names(questions):
    for question in questions:
        stem = question.question.casefold()
        assert all(name in question.question for name in question.provenance["visible"])
        assert not any(
            n.casefold() in stem for n in (*question.provenance["hidden"], question.provenance["answer"])
        )


def test_evidence_names_the_entry_that_states_the_fact(questions):
    for edge in (edge for question in questions for edge in question.provenance["path"]):
        assert [e["note"] for e in edge["evidence"]] == [edge["head"]]
        assert {e["file"] for e in edge["evidence"]} == {ASSET.name}


def composition(question):
    provenance = question.provenance
    return tuple(sorted(provenance["visible"])), provenance["metapath"], provenance["answer"]


def path_facts(question):
    return {(edge["head"], edge["relation"], edge["tail"]) for edge in question.provenance["path"]}


def test_no_composition_occurs_twice_in_or_across_splits(questions):
    assert len({composition(question) for question in questions}) == len(questions)
    assert len({question.id for question in questions}) == len(questions)


def test_every_held_out_answer_is_an_answer_in_training_too(splits):
    """Else an option that is never right in training would be known for that."""
    train, *held = splits
    answered = {q.provenance["answer"] for q in train}
    for questions in held:
        assert {q.provenance["answer"] for q in questions} <= answered


def test_clues_of_dev_and_test_never_occur_together_in_a_training_question(splits):
    train, dev, test = splits
    known = {
        frozenset(q.provenance["visible"]) for q in train if q.provenance["metapath"].startswith("features")
    }
    for question in [*dev, *test]:
        if question.provenance["metapath"].startswith("features"):
            root = question.provenance["hidden"][0]
            clues = {e["tail"] for e in question.provenance["path"] if e["head"] == root} & {
                *question.provenance["visible"]
            }
            assert not any(clues <= seen for seen in known)


def test_every_fact_of_dev_and_test_is_on_the_path_of_a_training_question(splits):
    train, dev, test = splits
    taught = set().union(*map(path_facts, train))
    for question in [*dev, *test]:
        assert path_facts(question) <= taught


def test_dev_and_test_hold_equal_shares_of_each_chain_length(splits):
    _, dev, test = splits
    assert Counter(q.provenance["hops"] for q in test) == {1: 200, 2: 200, 3: 200}
    assert sorted(Counter(q.provenance["hops"] for q in dev).values()) == [133, 133, 134]
    assert {q.split for q in dev} == {"dev"}
    assert {q.split for q in test} == {"test"}


def test_answer_letters_are_uniform(splits, questions):
    for part in (*splits, questions):
        expected = len(part) / 4
        counts = Counter(question.answer for question in part)
        chi_square = sum((counts[letter] - expected) ** 2 / expected for letter in "ABCD")
        assert chi_square < 16.27  # 99.9 % quantile, 3 degrees of freedom


def test_the_options_alone_do_not_tell_the_answer(splits):
    """A guesser that knows how often each option was right in training, by what was asked, stays at chance."""
    train, _, test = splits
    shown, right = Counter(), Counter()
    for question in train:
        asked = question.provenance["metapath"].split(" > ")[-1]
        shown.update((asked, text) for text in question.options.values())
        right[asked, question.provenance["answer"]] += 1
    often = [right[key] / n for key, n in shown.items() if n >= 40]
    assert len(often) > 100
    assert max(often) < 0.5
    hits = 0
    for question in test:
        asked = question.provenance["metapath"].split(" > ")[-1]
        rate = {k: (right[asked, t] + 1) / (shown[asked, t] + 4) for k, t in question.options.items()}
        hits += max(rate, key=rate.get) == question.answer
    assert hits / len(test) < 0.25 + 1.96 * (0.25 * 0.75 / len(test)) ** 0.5
