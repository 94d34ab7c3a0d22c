"""The options of one question: one right, three wrong, each for the reason that its record names; all of one kind.

Left out: the rivals that the clues rule out (question_proof.py).
"""

import math

from support.question_facts import FEATURES
from support.question_proof import POSITIVE, plain, triples


def alike(facts, one, other):
    """Whether one is a form of the other, is spelled as it, or has most of its findings."""
    a, b = (set().union(*(facts.tails.get((n, r), ()) for r in FEATURES)) for n in (one, other))
    most = 2 * len(a & b) > min(len(a), len(b))
    return most or other in facts.forms(one) or plain(one) == plain(other)


def check_options(checked):
    facts, question, answer = checked.facts, checked.question, checked.p["answer"]
    texts = list(question["options"].values())
    checked.must(list(question["options"]) == list("ABCD"), "letters")
    checked.must(question["options"].get(question["answer"]) == answer, "the key is another option")
    wrong = checked.certificate["distractors"]
    checked.must(
        sorted(w["option"] for w in wrong) == sorted(t for t in texts if t != answer),
        "a proof a wrong option",
    )
    for i, one in enumerate(texts):
        one_thing = any(alike(facts, one, other) for other in texts[:i])
        checked.must(not one_thing, f"{one}: two options are one thing")
    if checked.answers == "rivals":
        check_sizes(checked, texts)
    rivals = {rival["disease"]: rival for rival in checked.certificate.get("rivals", ())}
    for option in wrong:
        name = option["option"]
        checked.must(
            facts.entities[name]["type"] == facts.entities[answer]["type"], f"{name}: of another type"
        )
        checked.must(name not in checked.certificate["solutions"], f"{name}: right too")
        if checked.answers == "rivals":
            is_known = option["disease"] in rivals or not checked.hidden
            checked.must(is_known and option["disease"], f"{name}: of no rival")
        rival = rivals.get(option["disease"])
        checked.must(option["odds"] == (rival["odds"] if rival else None), f"{name}: odds")
        check_ground(checked, option, rival)
    if checked.answers == "values":
        check_values(checked, texts)
    if checked.answers != "rivals":
        check_marginal(checked, wrong)


def check_values(checked, texts):
    """No wrong value is a form of a value of which the answer is one too."""
    facts, answer = checked.facts, checked.p["answer"]
    for name in set(texts) - {answer}:
        for value in facts.broader(answer) & facts.broader(name):
            known = len(facts.heads.get((checked.steps[-1].strip("^"), value), ()))
            checked.must(known < 15, f"{name}: a form of {value}, as the answer is")


def check_marginal(checked, wrong):
    """Over all diseases, each as likely as the clues make it, the answer has its share of what is likely."""
    facts, step = checked.facts, checked.steps[-1]
    columns = [facts.likelihood(clue) for clue in checked.clues]
    joint = {
        name: math.fsum(math.log(known.get(name, default)) for default, known in columns)
        for name in facts.diseases
    }
    best = max(joint.values())
    weight = {name: math.exp(value - best) for name, value in joint.items()}

    def likely(name, relation):
        if checked.answers == "findings":
            default, share = facts.column(relation, name)
            return math.fsum(w * share.get(disease, default) for disease, w in weight.items())
        values = {disease: facts.tails.get((disease, step), ()) for disease in weight}
        return math.fsum(w / len(values[d]) for d, w in weight.items() if name in values[d])

    asked = checked.p["path"][checked.p["chain"][-1]]
    right = likely(checked.p["answer"], asked["relation"])
    others = [likely(option["option"], option["violates"][-1][1]) for option in wrong]
    share = right / (right + sum(others))
    checked.must(share >= checked.rules.min_marginal - 1e-6, f"only {share:.3g} of what is likely")


def check_sizes(checked, texts):
    """Any two options differ at most by the factor in how many edges they have (one more, for the small numbers)."""
    edges, letters = [checked.facts.degree[text] + 1 for text in texts], [len(text) for text in texts]
    for what, sizes, most in (
        ("edges", edges, checked.rules.similar_size),
        ("letters", letters, checked.rules.similar_length),
    ):
        fits = most is None or max(sizes) <= most * min(sizes) * (1 + 1e-9)
        checked.must(fits, f"{what} from {min(sizes)} to {max(sizes)}")


def check_ground(checked, option, rival):
    facts, name, answer = checked.facts, option["option"], checked.p["answer"]
    shares, evidence = [tuple(t) for t in option["shares"]], option["evidence"]
    shown = zip(triples(evidence), evidence, strict=True)
    good = all(facts.evidence.get((triple, edge["negated"])) == edge["evidence"] for triple, edge in shown)
    checked.must(good, f"{name}: evidence")
    if not checked.steps:
        expected = rival and (rival["ground"], [rival["proof"]], name)
        checked.must(
            (option["ground"], option["violates"], option["disease"]) == expected, f"{name}: its ground"
        )
        return checked.must(
            evidence or option["ground"] == "closed", f"{name}: nothing is shown for its ground"
        )
    step, here = checked.steps[-1], checked.nodes[-2]
    asked = (name, step[1:], here) if step.startswith("^") else (here, step, name)
    told = [tuple(t) for t in option["violates"]]
    if checked.answers == "findings":
        ground = check_finding(checked, name)
        asked = (checked.root, told[0][1], name)
        checked.must(
            asked in (facts.no if ground == "contradicted" else facts.yes), f"{name}: {asked} is no fact"
        )
    elif facts.denied(*asked):
        ground = "contradicted"
    elif facts.may_hold(*asked):
        return checked.faults.append(f"{name}: may be right")
    elif not facts.closed(*asked[:2]):
        ground = "absent"
    else:
        ground = "other_value" if len(facts.tails.get(asked[:2], ())) == 1 else "closed"
    checked.must(option["ground"] == ground, f"{name}: ground {option['ground']}, expected {ground}")
    checked.must(ground in POSITIVE or checked.rules.open_world == "mark", f"{name}: no positive ground")
    checked.must(told == [asked], f"{name}: violates {told}, not {asked}")
    checked.must(evidence or asked[1] in FEATURES, f"{name}: nothing is shown for its ground")
    if step == "treated_by":
        classes = [set(facts.tails.get((drug, "subtype_of"), ())) for drug in (name, answer)]
        checked.must(classes[0].isdisjoint(classes[1]), f"{name}: of the answer's class")
    if checked.answers == "rivals":
        check_shares(checked, option, shares, rival)
        if rival and checked.rules.every_disease:
            check_every_disease(checked, name)


def check_every_disease(checked, name):
    """The clues speak against every disease of which the option would be right, and against a disease as answer."""
    found, diseases = {name}, set(checked.facts.diseases)
    for step in reversed(checked.steps):
        links = checked.facts.tails if step.startswith("^") else checked.facts.heads
        key = (lambda end, r: (end, r)) if step.startswith("^") else (lambda end, r: (r, end))
        found = {other for end in found for other in links.get(key(end, step.strip("^")), ())}
    for disease in diseases & {name, checked.p["answer"]}:
        known = sum(
            (disease, finding) in checked.facts.stated_pairs for finding in checked.facts.findings_of[disease]
        )
        checked.must(known >= checked.rules.min_findings, f"{disease}: only {known} findings are known")
    found |= diseases & {checked.p["answer"]}
    for disease in found - {checked.root}:
        odds = checked.odds(disease, checked.clues)
        good = odds >= checked.rules.min_odds * (1 - 1e-9)
        checked.must(good, f"{name}: right of {disease}, against which the odds are {odds:.3g}")


def check_finding(checked, name):
    """The answer is expected, the option is not: counted patients of the root have it nearly always, or seldom."""
    facts, pair = checked.facts, (checked.root, checked.p["answer"])
    often = pair in facts.stated_pairs and facts.base(*pair) >= checked.rules.negative_frequency
    checked.must(often and facts.counts[pair][1], "the answer is not to be expected")
    stated, counted = (
        (checked.root, name) in facts.stated_pairs,
        facts.counts.get((checked.root, name), [0, 0])[1],
    )
    share = checked.share(checked.root, {"relation": "has_finding", "tail": name})
    checked.must(counted and share <= 0.1, f"{name}: not rare in the root")
    return "rare_finding" if stated else "contradicted"


def check_shares(checked, option, shares, rival):
    """The rival's core findings, and its own way along the chain to the option."""
    own = len(rival["shares"]) if rival else 0
    checked.must(
        [list(t) for t in shares[:own]] == (rival["shares"] if rival else []), f"{option['option']}: shares"
    )
    here = option["disease"]
    for step, triple in zip(checked.steps, shares[own:], strict=False):
        before, after = (triple[2], triple[0]) if step.startswith("^") else (triple[0], triple[2])
        good = triple in checked.facts.yes and triple[1] == step.strip("^") and before == here
        checked.must(good, f"{option['option']}: {triple} is not its way")
        here = after
    checked.must(here == option["option"], f"{option['option']}: the rival's chain ends elsewhere")
