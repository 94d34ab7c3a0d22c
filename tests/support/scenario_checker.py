"""An independent checker of scenarios: reads graph.jsonl and a question's record, shares no code with the generator.

What is stated, implied, open, denied and disputed is worked out here from the lines of the file by plain sets.
"""

import itertools
import json
import lzma
import unicodedata
from collections import defaultdict

FEATURES = {"has_symptom", "has_finding", "has_lab"}
NOT_IMPLIED = {"subtype_of", "contraindicated_in"}


def plain(text):
    """Letters and digits alone, accents off: a second, cruder reading than the generator's."""
    text = unicodedata.normalize("NFKD", text.casefold().replace("’", "'").replace("'s ", " "))
    return " ".join("".join(c if c.isalnum() else " " for c in text if not unicodedata.combining(c)).split())


class Facts:
    """The file's content as sets."""

    def __init__(self, path):
        self.entities, self.yes, self.no = {}, set(), set()
        self.tails, self.heads = defaultdict(set), defaultdict(set)
        self.evidence = {}
        parents, children = defaultdict(set), defaultdict(set)
        with (lzma.open if str(path).endswith(".xz") else open)(path, "rt", encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                if record["kind"] == "entity":
                    self.entities[record["name"]] = record
                for relation, tail, negated, evidence in record.get("facts", ()):
                    triple = record["head"], relation, tail
                    (self.no if negated else self.yes).add(triple)
                    self.evidence[triple, negated] = evidence
                    if not negated:
                        self.tails[triple[:2]].add(tail)
                        self.heads[triple[1:]].add(record["head"])
                        if relation == "subtype_of":
                            parents[record["head"]].add(tail)
                            children[tail].add(record["head"])
        self.broader = lambda name: self._reach(parents, name)
        self.narrower = lambda name: self._reach(children, name)

    @staticmethod
    def _reach(step, name):
        found, new = set(), {name}
        while new:
            new = {other for one in new for other in step.get(one, ())} - found - {name}
            found |= new
        return found

    def like(self, relation):
        return FEATURES if relation in FEATURES else {relation}

    def holds(self, head, relation, tail):
        if (head, relation, tail) in self.yes:
            return True
        return relation not in NOT_IMPLIED and any(
            (head, r, t) in self.yes for r in self.like(relation) for t in self.narrower(tail)
        )

    def open(self, head, relation, tail):
        """Holds, or may hold for all that is said."""
        if self.holds(head, relation, tail):
            return True
        return relation not in NOT_IMPLIED and any(
            (head, r, t) in self.yes for r in self.like(relation) for t in self.broader(tail)
        )

    def denied(self, head, relation, tail):
        broader = set() if relation in NOT_IMPLIED else self.broader(tail)
        return any((head, relation, t) in self.no for t in {tail} | broader) and not self.holds(
            head, relation, tail
        )

    def forms(self, name):
        return self.broader(name) | self.narrower(name)

    def all_to(self, step, name):
        """Everything to which the step may lead for all that is said."""
        if step.startswith("^"):
            return self.everyone(step[1:], name)
        stated = self.tails[name, step]
        return stated if step in NOT_IMPLIED else stated.union(*map(self.forms, stated))

    def may_hold(self, head, relation, tail):
        """Is not denied, and holds or is open of the head, or of a form of it."""
        heads = {head} | self.forms(head)
        return any(self.open(h, relation, tail) for h in heads) and not self.denied(head, relation, tail)

    def everyone(self, relation, tail):
        """Every head of which the fact is open."""
        tails = {tail} if relation in NOT_IMPLIED else {tail} | self.narrower(tail) | self.broader(tail)
        relations = {relation} if relation in NOT_IMPLIED else self.like(relation)
        found = {h for t in tails for r in relations for h in self.heads.get((r, t), ())}
        return found | self.heads.get((relation, tail), set())


def faults(facts, question, min_shared):
    """Every way in which the question's record is wrong, in words; empty where it is right."""
    p = question["provenance"]
    path = [(e["head"], e["relation"], e["tail"]) for e in p["path"]]
    chain, steps = p["chain"], p["metapath"].split(" > ")[2:]
    found = []
    if len(chain) != len(steps) or p["hops"] != len(chain) + 1 or p["hops"] not in (2, 3, 4):
        found.append("hops")
    for triple, edge in zip(path, p["path"], strict=True):
        if triple not in facts.yes or triple in facts.no or not facts.evidence[triple, False]:
            found.append(f"not a sure fact: {triple}")
        if not edge["evidence"] or not all(
            e["source"] and e["file"] and e["record"] >= 0 for e in edge["evidence"]
        ):
            found.append(f"no evidence: {triple}")
    # The nodes of the path, from its edges.
    nodes = [path[0][0]]
    for place, step in zip(chain, steps, strict=True):
        head, relation, tail = path[place]
        turned = step.startswith("^")
        if relation != step.strip("^") or (tail if turned else head) != nodes[-1]:
            found.append("the chain is broken")
        nodes.append(head if turned else tail)
    if nodes != [*p["hidden"], p["answer"]]:
        found.append("roles")
    for place, node in enumerate(nodes):
        for before in nodes[:place] if steps[place - 1] != "subtype_of" else ():
            if facts.entities[before]["type"] == facts.entities[node]["type"]:
                a, b = (set().union(*(facts.tails[n, r] for r in FEATURES)) for n in (before, node))
                if node in facts.forms(before) or len(a & b) > min(len(a), len(b)) / 2:
                    found.append(f"{node} is a form of {before}, or may be")
    clues = {i: [] for i in range(len(nodes))}
    for place, triple in enumerate(path):
        if place not in chain:
            clues[sum(place > c for c in chain)].append(triple)
    every_clue = list(itertools.chain(*clues.values()))
    if [t for _, _, t in every_clue] != p["visible"] or not len(clues[0]) >= 2:
        found.append("what is visible")
    # Every node is the only one that fits, even if all that is open held.
    fit = set.intersection(*(facts.everyone(r, t) for _, r, t in clues[0]))
    if fit != {nodes[0]}:
        found.append(f"the root could be {sorted(fit)[:3]}")
    for i, step in enumerate(steps, 1):
        here = nodes[i - 1]
        kind = facts.entities[nodes[i]]["type"]
        onward = {n for n in facts.all_to(step, here) if facts.entities[n]["type"] == kind}
        fit = {n for n in onward if all(facts.open(n, r, t) for _, r, t in clues[i])}
        if fit - (facts.forms(nodes[i]) if i == len(steps) else set()) != {nodes[i]}:
            found.append(f"node {i} could be {sorted(fit)[:3]}")
    # One option is right, the others are not, each for what its certificate says.
    options = list(question["options"].values())
    if question["options"][question["answer"]] != p["answer"] or len(set(map(plain, options))) < 4:
        found.append("options")
    last = steps[-1]
    certificates = {c["option"]: c for c in p["certificate"]["distractors"]}
    if set(certificates) != set(options) - {p["answer"]}:
        found.append("a certificate for each wrong option")
    for option, c in certificates.items():
        if facts.entities[option]["type"] != facts.entities[p["answer"]]["type"]:
            found.append(f"{option}: of another type")
        asked = (option, last[1:], nodes[-2]) if last.startswith("^") else (nodes[-2], last, option)
        needed = [asked, *((option, r, t) for _, r, t in clues[len(nodes) - 1])]
        if facts.may_hold(*asked):  # whatever the clues say: it must be wrong for what is asked
            found.append(f"{option}: may be right")
        if last == "treated_by" and facts.tails.get((option, "subtype_of"), set()) & facts.tails.get(
            (p["answer"], "subtype_of"), set()
        ):
            found.append(f"{option}: of the answer's class")
        if option in facts.forms(p["answer"]):
            found.append(f"{option}: a form of the answer")
        shares, violates = ([tuple(t) for t in c[key]] for key in ("shares", "violates"))
        if not all(facts.holds(*t) and t not in facts.no for t in shares):
            found.append(f"{option}: shares what is not so")
        if any(facts.may_hold(*t) for t in violates) or violates[-1] not in needed:
            found.append(f"{option}: violates what may be so")
        seen = {(r, t) for _, r, t in every_clue}
        if sum((r, t) in seen for _, r, t in shares) < min_shared:
            found.append(f"{option}: shares too little")
        head, relation, tail = violates[-1]
        other = (
            relation in ("inherited_as", "associated_gene")
            and len(facts.tails.get((head, relation), ())) == 1
        )
        ground = (
            "contradicted" if facts.denied(head, relation, tail) else "other_value" if other else "absent"
        )
        if c["ground"] != ground:
            found.append(f"{option}: ground {c['ground']}, expected {ground}")
    # The text names what is visible and nothing that is hidden.
    text = f" {plain(question['question'])} "
    for name in p["visible"]:
        if f" {plain(name)} " not in text:
            found.append(f"{name} is not in the text")
    for name in [*p["hidden"], p["answer"]]:
        for alias in [name, *facts.entities[name]["synonyms"]]:
            if plain(alias) and f" {plain(alias)} " in text:
                found.append(f"{alias} stands in the text")
    return found
