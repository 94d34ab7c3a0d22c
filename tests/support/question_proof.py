"""What one question's record claims, recomputed from the graph's lines: path, clues, odds, grounds, needs.

Shares no code with fleming/questions. Left out: what follows from the graph's lines (question_facts.py), the options
(question_options.py), the words, the score and sets of questions (question_checker.py).
"""

import math
import unicodedata
from collections import Counter

import yaml
from support.question_facts import ASSETS, FEATURES

KINDS = yaml.safe_load((ASSETS / "question_kinds.yaml").read_text(encoding="utf-8"))["kinds"]
POSITIVE = ("contradicted", "absent_finding", "rare_finding", "other_value", "onset", "closed")


def plain(text):
    """Letters and digits alone, accents off: a second, cruder reading than the generator's."""
    text = unicodedata.normalize("NFKD", text.casefold().replace("’", "'").replace("'s ", " "))
    return " ".join("".join(c if c.isalnum() else " " for c in text if not unicodedata.combining(c)).split())


def triples(edges):
    return [(edge["head"], edge["relation"], edge["tail"]) for edge in edges]


class Checked:
    """One question's record beside the graph; `faults` gathers what is wrong."""

    def __init__(self, facts, question, rules):
        self.facts, self.question, self.rules, self.faults = facts, question, rules, []
        self.p = question["provenance"]
        self.path, self.chain = triples(self.p["path"]), self.p["chain"]
        self.certificate, self.clues = self.p["certificate"], self.p.get("clues", [])
        steps, _, self.by = self.p["metapath"].partition(" by ")
        steps = steps.split(" > ")
        self.hidden = steps[0] == "findings"
        self.root_type, *self.steps = steps[self.hidden :]
        self.answers = KINDS.get(self.p["kind"], {}).get("answers", "rivals")
        self.nodes = [*([] if self.hidden else self.p["visible"][:1]), *self.p["hidden"], self.p["answer"]]
        self.root = self.nodes[0]

    def must(self, holds, fault):
        if not holds:
            self.faults.append(fault)

    def near(self, told, exact, digits, fault):
        self.must(
            abs(told - exact) <= 0.51 * 10**-digits + 1e-6 * abs(exact), f"{fault}: {told}, not {exact:.6g}"
        )

    # the path

    def check_path(self):
        facts, p = self.facts, self.p
        chains = [
            " ".join(chain.replace(">", " ").split())
            for chain in KINDS.get(p["kind"], {}).get("chains", ["?"])
        ]
        self.must(" ".join(self.steps) in chains, "the kind has no such chain")
        self.must(p["hops"] == len(self.steps) + self.hidden and len(self.chain) == len(self.steps), "hops")
        self.must(len(self.nodes) == len(self.steps) + 1 and p["root"] == self.root, "nodes")
        for triple, edge in zip(self.path, p["path"], strict=True):
            if triple not in facts.yes:
                self.faults.append(f"not a fact: {triple}")
            elif edge["evidence"] != facts.evidence[triple, False]:
                self.faults.append(f"other evidence than the graph's: {triple}")
        self.must(facts.entities[self.root]["type"] == self.root_type, "the root's type")

        self.must(self.steps or self.certificate["solutions"] == [self.root], "solutions")
        here = self.root
        for number, (place, step) in enumerate(zip(self.chain, self.steps, strict=False), 1):
            head, relation, tail = self.path[place]
            turned = step.startswith("^")
            same = relation == step.strip("^") or (self.answers == "findings" and relation in FEATURES)
            self.must(same and (tail if turned else head) == here, "the chain is broken")
            self.must((*self.path[place],) not in facts.no or self.answers == "findings", "a disputed step")
            here = head if turned else tail
            self.must(number < len(self.nodes) and here == self.nodes[number], f"node {number} is another")
            self.check_node(number, step)
        rare = {name for triple in self.path for name in (triple[0], triple[2])} | {self.root}
        self.must(p["rare"] == any(facts.entities[name]["rare"] for name in rare), "rare")
        self.must(p["root_edges"] == facts.degree[self.root], "root_edges")

    def onward(self, number, step):
        """All to which the step leads from the node before, by stated facts or implied ones."""
        here, facts = self.nodes[number - 1], self.facts
        if self.answers == "findings":
            return {tail for relation in FEATURES for tail in facts.tails.get((here, relation), ())}
        if not step.startswith("^"):
            return set(facts.tails.get((here, step), ()))
        near = {here} | (
            facts.narrower(here) if step[1:] not in ("subtype_of", "contraindicated_in") else set()
        )
        relations = FEATURES if step[1:] in FEATURES else (step[1:],)
        return {head for r in relations for tail in near for head in facts.heads.get((r, tail), ())}

    def bridges(self, number):
        """What is said of a node beside the root: the path's triples between its step and the next."""
        first = self.chain[number - 1] + 1
        last = self.chain[number] if number < len(self.chain) else len(self.path)
        return self.path[first:last]

    def check_node(self, number, step):
        fit = self.onward(number, step)
        told = self.bridges(number)
        singled = {name for name in fit if all(self.facts.holds(name, r, t) for _, r, t in told)}
        if number < len(self.steps):
            self.must(singled == {self.nodes[number]}, f"node {number} could be {sorted(singled)[:3]}")
            self.must(not told or len(fit) > 1, f"node {number} is singled out in vain")
        else:
            right = set(self.certificate["solutions"])
            self.must(self.p["answer"] in singled & right, "the answer solves nothing")
            good = right <= singled if self.answers == "findings" else right == singled
            self.must(step != "associated_gene" or len(singled) == 1, "one of several genes is asked for")
            self.must(good and sorted(right) == self.certificate["solutions"], "solutions")
        if self.by and number == len(self.steps) - 1:
            self.must([r for _, r, _ in told] == [self.by], "the bridge's clue")

    # the clues

    def p_of(self, disease, clue):
        default, known = self.facts.likelihood(clue)
        return known.get(disease, default)

    def share(self, disease, clue):
        default, known = self.facts.column(clue["relation"], clue["tail"])
        return known.get(disease, default)

    def bits(self, clue):
        default, known = self.facts.likelihood(clue)
        size = len(self.facts.diseases)
        mean = (math.fsum(known.values()) + default * (size - len(known))) / size
        return math.log2(self.p_of(self.root, clue) / mean)

    def odds(self, rival, clues):
        return math.prod(self.p_of(self.root, clue) / self.p_of(rival, clue) for clue in clues)

    def ground(self, rival, clue):
        """Why the clue speaks against the rival, None for no reason that a source states."""
        facts, rules, relation = self.facts, self.rules, clue["relation"]
        if relation in FEATURES:
            share = self.share(rival, clue)
            if clue["role"] == "absent":
                counted = (rival, clue["tail"]) in facts.implied_counted
                return "absent_finding" if counted and share >= rules.negative_frequency else None
            noted = facts.noted(rival, clue["tail"])
            if noted and share <= 0.1:
                return "rare_finding" if noted in facts.stated_pairs else "contradicted"
            is_closed = facts.closed(rival, relation) and share < rules.min_frequency / 2
            return "closed" if is_closed else None
        values = facts.tails.get((rival, relation), ())
        is_complete = facts.closed(rival, relation, nearly=clue["role"] == "onset")
        if not values or not is_complete or any(facts.may_be(relation, clue["tail"], v) for v in values):
            return None
        return "onset" if clue["role"] == "onset" else "other_value"

    def standing(self, clues):
        return [
            rival["disease"]
            for rival in self.certificate["rivals"]
            if self.odds(rival["disease"], clues) < self.rules.min_odds * (1 - 1e-9)
            or not any(self.ground(rival["disease"], clue) for clue in clues)
        ]

    def check_clues(self):
        facts, rules, root = self.facts, self.rules, self.root
        positive = [clue for clue in self.clues if clue["role"] != "absent"]
        first = self.chain[0] if self.chain else len(self.path)
        told = [(root, clue["relation"], clue["tail"]) for clue in positive]
        self.must(told == self.path[:first], "the path's clues are others")
        roles = Counter(clue["role"] for clue in self.clues)
        count = len(self.clues) - roles["complaint"]
        self.must(rules.min_facts <= count <= rules.max_facts, "number of clues")
        self.must(roles["complaint"] <= rules.patients, "too many complaints")
        self.must(roles["absent"] <= 2, "too many negatives")
        known = {"complaint", "core", "discriminating", "absent", "family", "onset"}
        self.must(roles.keys() <= known, "an unknown role")
        self.must(
            roles["discriminating"] and roles["core"] >= rules.min_shared,
            "too few core or discriminating clues",
        )
        tails = [clue["tail"] for clue in self.clues]
        for i, tail in enumerate(tails):
            self.must(
                not facts.forms(tail).intersection(tails[:i]) and tail not in tails[:i], f"{tail}: told twice"
            )
            one = self.answers == "findings" and (
                tail == self.p["answer"] or tail in facts.forms(self.p["answer"])
            )
            self.must(not one, f"{tail}: the answer is told")
        for clue in self.clues:
            self.check_clue(clue, (root, clue["relation"], clue["tail"]))

    def check_clue(self, clue, triple):
        facts, rules, role, tail = self.facts, self.rules, clue["role"], clue["tail"]
        if clue["relation"] not in FEATURES:
            self.must(role in ("family", "onset"), f"{tail}: its role")
            self.must(
                clue["relation"] not in [step.strip("^") for step in self.steps],
                f"{tail}: tells what is asked",
            )
            is_only = facts.tails[triple[:2]] == [tail] and facts.closed(*triple[:2])
            self.must(role != "family" or is_only, f"{tail}: not the one mode")
            return self.must(clue["counts"] is None, f"{tail}: counts")
        share, noted = self.share(self.root, clue), facts.noted(self.root, tail)
        if role == "absent":
            self.must(not facts.holds(*triple) and share <= 0.1, f"{tail}: absent, but the root may have it")
            next_to = {p for f in facts.findings_of[self.root] if (self.root, f) in facts.stated_pairs
                       for p in facts._parents.get(f, ())}  # fmt: skip
            beside = next_to & set(facts._parents.get(tail, ()))
            self.must(not beside, f"{tail}: absent, but the root has another form of {beside}")
        else:
            least = rules.min_frequency if role == "core" else rules.deciding_frequency
            self.must(share >= least, f"{tail}: too rare in the root")
            trust = max((row["confidence"] for row in facts.evidence.get((triple, False), ())), default=0)
            self.must(trust + 1e-6 >= rules.min_confidence and trust, f"{tail}: trusted too little")
        counts = facts.counts[noted] if noted else [0, 0]
        told = clue["counts"] or [0, 0]
        self.must(all(abs(a - b) < 1e-4 for a, b in zip(told, counts if counts[1] else [0, 0], strict=True)),
                  f"{tail}: counts {told}, not {counts}")  # fmt: skip

    def check_needed(self):
        claimed = [clue for clue in self.clues if clue["role"] != "complaint"]
        for clue in self.clues:
            if clue not in claimed:
                self.must(
                    self.bits(clue) < self.rules.min_bits, f"{clue['tail']}: tells too much for a complaint"
                )
                self.must(clue["needed"] == "", f"{clue['tail']}: nothing is claimed of a complaint")
        for clue in claimed:
            rest = [other for other in self.clues if other is not clue]
            standing, bits, told = self.standing(rest), self.bits(clue), clue["needed"]
            if standing:
                is_told = told.startswith("without it ") and all(name in told for name in standing)
            else:
                self.must(bits >= self.rules.min_bits - 1e-9, f"{clue['tail']}: idle")
                number, _, unit = told.partition(" ")
                is_told = unit == "bits" and abs(float(number) - bits) <= 0.051
            self.must(is_told, f"{clue['tail']}: needed for something else than {told!r}")
        for role in {clue["role"] for clue in claimed}:
            rest = [clue for clue in self.clues if clue["role"] != role]
            if self.standing(rest):
                continue
            of_root, others = self.joint(rest)
            near = max(others.values()) >= of_root - math.log(self.rules.min_odds) - 1e-9
            self.must(role == "core" and near, f"{role}: an idle group")

    def joint(self, clues):
        """(log-likelihood of the clues in the root, disease -> that in another); one speaks for all without any."""
        columns = [self.facts.likelihood(clue) for clue in clues]
        near = {self.root}.union(*(known for _, known in columns))
        silent = next((name for name in self.facts.diseases if name not in near), self.root)
        found = {
            name: math.fsum(math.log(known.get(name, default)) for default, known in columns)
            for name in near | {silent}
        }
        return found.pop(self.root), found

    # the differential

    def check_rivals(self):
        certificate, rules, clues = self.certificate, self.rules, self.clues
        rivals = certificate["rivals"]
        names = [rival["disease"] for rival in rivals]
        self.must(len(set(names) - {self.root}) == 3, "three rivals")
        texts = [f"no {c['tail']}" if c["role"] == "absent" else c["tail"] for c in clues]
        self.must(certificate["table"]["clues"] == texts, "the table's clues")
        self.must(list(certificate["table"]["rows"]) == [self.root, *names], "the table's rows")
        for disease, row in certificate["table"]["rows"].items():
            self.must(len(row) == len(clues), "the table's columns")
            for told, clue in zip(row, clues, strict=False):
                self.near(told, self.p_of(disease, clue), 4, f"likelihood of {clue['tail']} in {disease}")
        exact = [self.odds(name, clues) for name in names]
        self.must(min(exact) >= rules.min_odds * (1 - 1e-9), f"odds of {min(exact):.3g} only")
        posterior = 1 / (1 + sum(1 / value for value in exact))
        self.must(posterior >= rules.min_posterior - 1e-9, f"a posterior of {posterior:.3g} only")
        self.near(certificate["posterior"], posterior, 4, "posterior")
        for rival, value in zip(rivals, exact, strict=True):
            self.near(rival["odds"], value, 1, f"odds against {rival['disease']}")
            self.check_rival(rival)
        ratios = [self.odds(name, [c]) for name in names for c in clues if c["role"] == "discriminating"]
        self.must(max(ratios, default=0) >= rules.min_ratio * (1 - 1e-9), "no clue decides against a rival")
        family = [clue for clue in clues if clue["role"] == "family"]
        out = [name for name in names if any(self.ground(name, clue) for clue in family)]
        enough = not rules.min_family or rules.min_family <= len(out) < 3
        self.must(enough, f"{len(out)} rivals ruled out by the family")
        found = [clue for clue in clues if clue["role"] in ("complaint", "core", "discriminating")]
        left = [self.odds(name, found) for name in names if name not in out] if rules.min_family else []
        self.must(min(left, default=math.inf) >= rules.min_found * (1 - 1e-9), "told apart by a lack alone")

        of_root, others = self.joint(clues)
        best = max(others.values())
        self.must(certificate["rank"] == 1 and best < of_root, "the root is not the likeliest disease")
        lead = math.exp(of_root - best)
        self.must(lead >= rules.min_lead * (1 - 1e-6), f"leads by {lead:.3g} only")
        self.must(best - others.get(certificate["runner_up"], -math.inf) < 1e-9, "runner_up")
        self.near(certificate["runner_up_odds"], lead, 2, "runner_up_odds")

    def check_rival(self, rival):
        facts, name = self.facts, rival["disease"]
        core = [clue for clue in self.clues if clue["role"] == "core"]

        def has(clue):
            return facts.implied.get(clue["tail"], {}).get(name, 0) >= self.rules.min_frequency

        shares = [[name, clue["relation"], clue["tail"]] for clue in core if has(clue)]
        self.must(rival["shares"] == shares, f"{name}: shares {rival['shares']}, not {shares}")
        self.must(len(shares) >= self.rules.min_shared, f"{name}: shares too few core findings")
        for disease in (name, self.root):
            known = sum((disease, finding) in facts.stated_pairs for finding in facts.findings_of[disease])
            self.must(known >= self.rules.min_findings, f"{disease}: only {known} findings are known")
        for clue in self.clues:
            _, of = facts.counts.get((self.root, clue["tail"]), (0, 0))
            told = clue["role"] in ("complaint", "core", "discriminating")
            self.must(
                not told or not 0 < of < self.rules.min_patients, f"{clue['tail']}: seen in {of} patients"
            )
        grounds = {(self.ground(name, c), (name, c["relation"], c["tail"])) for c in self.clues}
        self.must(rival["ground"] in POSITIVE, f"{name}: no positive ground")
        self.must(
            (rival["ground"], tuple(rival["proof"])) in grounds,
            f"{name}: {rival['ground']} is not its ground",
        )
        genes = [set(facts.tails.get((d, "associated_gene"), ())) for d in (name, self.root)]
        self.must(
            name not in facts.forms(self.root) and genes[0].isdisjoint(genes[1]),
            f"{name}: a form of the root",
        )
