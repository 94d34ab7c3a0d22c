"""A graph.jsonl as plain sets and dicts: what is stated, implied, denied, closed, and how likely a clue is where.

Written from docs/data.md, sharing no code with fleming/graph or fleming/questions. Left out: what a question must
satisfy (question_checker.py).
"""

import json
import lzma
import math
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import yaml

ASSETS = Path(__file__).parents[2] / "assets"
FEATURES = ("has_symptom", "has_finding", "has_lab")
NOT_IMPLIED = ("subtype_of", "contraindicated_in")
ONSETS = yaml.safe_load((ASSETS / "patient.yaml").read_text(encoding="utf-8"))["onsets"]
LIKE = 30  # diseases that are most like one
TOLD_UNKNOWN_OTHER = {"inherited_as": (0.9, 0.3, 0.05), "has_onset": (0.6, 0.3, 0.05)}


def onset_years(value):
    name = value.casefold()
    for ending in ("onset", "起病"):
        name = name.removesuffix(ending)
    return ONSETS.get(name.strip())


def smoothed(seen, of):
    return (seen + 0.8) / (of + 2)


class Facts:
    """The file's content."""

    def __init__(self, path):
        self.entities, self.yes, self.no, self.evidence = {}, set(), set(), {}
        self.tails, self.heads = defaultdict(list), defaultdict(list)
        self.degree = Counter()
        origins, declared = [], {}
        parents, children = defaultdict(set), defaultdict(set)
        with (lzma.open if str(path).endswith(".xz") else open)(path, "rt", encoding="utf-8") as file:
            for record in map(json.loads, file):
                kind = record.pop("kind")
                if kind == "origin":
                    origins.append({key: record[key] for key in ("source", "file", "version", "extractor")})
                elif kind == "declared":
                    declared[record["source"], record["relation"]] = record
                elif kind == "entity":
                    self.entities[record["name"]] = record
                for relation, tail, negated, rows in record.get("facts", ()):
                    head = record["head"]
                    (self.no if negated else self.yes).add((head, relation, tail))
                    fields = ("record", "end", "confidence", "frequency", "note")
                    self.evidence[(head, relation, tail), negated] = [
                        origins[place] | dict(zip(fields, rest, strict=True)) for place, *rest in rows
                    ]
                    if not negated:
                        self.tails[head, relation].append(tail)
                        self.heads[relation, tail].append(head)
                        self.degree.update({head, tail})
                        if relation == "subtype_of":
                            parents[head].add(tail)
                            children[tail].add(head)
        self._parents, self._children, self._reached, self._columns = parents, children, {}, {}
        self._near_to = None
        self.diseases = [name for name, entity in self.entities.items() if entity["type"] == "disease"]
        self._read_completeness(declared)
        self._read_shares()

    # what follows

    def _reach(self, step, name):
        key = id(step), name
        if key not in self._reached:
            found, new = set(), {name}
            while new:
                new = {other for one in new for other in step.get(one, ())} - found - {name}
                found |= new
            self._reached[key] = found
        return self._reached[key]

    def broader(self, name):
        return self._reach(self._parents, name)

    def narrower(self, name):
        return self._reach(self._children, name)

    def forms(self, name):
        return self.broader(name) | self.narrower(name)

    def _stated(self, head, relation, tails):
        relations = FEATURES if relation in FEATURES else (relation,)
        return any((head, r, t) in self.yes for r in relations for t in tails)

    def holds(self, head, relation, tail):
        """Stated, or implied by a narrower tail."""
        implied = relation not in NOT_IMPLIED and self._stated(head, relation, self.narrower(tail))
        return implied or (head, relation, tail) in self.yes

    def denied(self, head, relation, tail):
        tails = {tail} if relation in NOT_IMPLIED else {tail} | self.broader(tail)
        return any((head, relation, t) in self.no for t in tails) and not self.holds(head, relation, tail)

    def may_hold(self, head, relation, tail):
        """Is not denied, and holds or is open of the head, or of a form of it."""
        wide = relation not in NOT_IMPLIED
        open_ = any(
            self.holds(h, relation, tail) or (wide and self._stated(h, relation, self.broader(tail)))
            for h in {head} | self.forms(head)
        )
        return open_ and not self.denied(head, relation, tail)

    # completeness

    def _read_completeness(self, declared):
        records, heads, any_heads = defaultdict(set), defaultdict(set), defaultdict(set)
        for triple, negated in self.evidence:
            for row in () if negated else self.evidence[triple, negated]:
                file = row["source"], row["file"], row["version"], row["extractor"]
                records[row["source"], triple[1]].add((triple, file, row["record"]))
                heads[row["source"], triple[1]].add(triple[0])
                any_heads[row["source"]].add(triple[0])
        self._closed = defaultdict(set)
        for (source, relation), found in records.items():
            about = declared.get((source, relation))
            if not about or about["level"] == "open":
                continue
            published, count = about["published"], len(found)
            if count >= 0.95 * published if published else about["whole"] or count % 1000:
                of = any_heads[source] if about["whole"] else heads[source, relation]
                self._closed[relation, about["level"]] |= of

    def closed(self, head, relation, nearly=False):
        """Whether what is not stated of the head's facts of this relation does not hold."""
        return head in self._closed[relation, "closed"] or (
            nearly and head in self._closed[relation, "nearly_closed"]
        )

    # shares of patients

    def _read_shares(self):
        """(disease, finding) -> patients seen with it, patients looked at; both of stated and negated edges."""
        pairs, self.stated_pairs = defaultdict(lambda: [0.0, 0.0]), set()
        diseases = set(self.diseases)
        for (head, relation, tail), negated in self.evidence:
            if relation not in FEATURES or head not in diseases:
                continue
            pair = pairs[head, tail]
            if not negated:
                self.stated_pairs.add((head, tail))
            for row in self.evidence[(head, relation, tail), negated]:
                count = re.search(r"\bfrequency (\d+)/(\d+)", row["note"])
                frequency = 0.0 if negated and row["frequency"] < 0 else row["frequency"]
                if count and int(count[2]):
                    pair[0] += int(count[1])
                    pair[1] += int(count[2])
                elif frequency >= 0:
                    pair[0] += 10 * frequency
                    pair[1] += 10
        self.counts, self.findings_of = dict(pairs), defaultdict(list)
        for disease, finding in pairs:
            self.findings_of[disease].append(finding)
        self.implied, self.implied_counted = defaultdict(dict), set()
        self._noted_of = defaultdict(set)
        for disease, finding in self.counts:
            self._noted_of[finding].add(disease)
            if (disease, finding) not in self.stated_pairs:
                continue
            share, of = self.base(disease, finding), self.counts[disease, finding][1]
            for term in {finding} | self.broader(finding):
                known = self.implied[term]
                if share >= known.get(disease, 0.0):
                    known[disease] = share
                    if of:
                        self.implied_counted.add((disease, term))

    def base(self, disease, finding):
        return smoothed(*self.counts[disease, finding])

    def noted(self, disease, finding):
        """What sources say of the finding itself, else of a denied broader one: a pair, None for nothing."""
        if (disease, finding) in self.counts:
            return disease, finding
        denied = [(disease, b) for b in self.broader(finding) if (disease, b) in self.counts]
        denied = [pair for pair in denied if pair not in self.stated_pairs]
        return min(denied, key=lambda pair: (self.base(*pair), pair)) if denied else None

    def near_to(self):
        """Disease -> all those among whose nearest 30 it is, by shared findings: bits x the smaller share, summed."""
        if self._near_to is None:
            self._near_to = defaultdict(list)
            number = {name: i for i, name in enumerate(self.diseases)}
            having = {
                term: (np.array([number[d] for d in found]), np.array(list(found.values())))
                for term, found in self.implied.items()
            }
            for disease, findings in self.findings_of.items():
                score = np.zeros(len(number))
                for finding in findings:
                    if (disease, finding) not in self.stated_pairs:
                        continue
                    who, share = having[finding]
                    bits = math.log2(len(number) / len(who))
                    score[who] += bits * np.minimum(share, self.base(disease, finding))
                score[number[disease]] = 0
                score = score.round(9)
                some = np.flatnonzero(score > 0)
                if len(some) > LIKE:
                    some = some[score[some] >= np.sort(score[some])[-LIKE]]
                best = some[np.argsort(-score[some], kind="stable")][:LIKE]  # of equals the first
                for i in best:
                    self._near_to[self.diseases[i]].append(disease)
        return self._near_to

    def among_like(self, finding):
        """Disease -> chance that it has the finding that no source notes: what half of its like say of it, by Bayes."""
        had = defaultdict(float)
        for disease, share in self.implied.get(finding, {}).items():
            for other in self.near_to()[disease]:
                had[other] += share / LIKE
        return {disease: q * 0.5 / (1 - q * 0.5) for disease, q in had.items()}

    def column(self, relation, finding):
        """(share in a disease of which nothing is noted, disease -> share in all others)."""
        key = relation, finding
        if key not in self._columns:
            of_all = self.implied.get(finding, {})
            default = 0.01 + math.fsum(of_all.values()) / len(self.diseases)
            closed = self._closed[relation, "closed"].intersection(self.diseases)
            share = {}
            if len(closed) < len(self.diseases):
                share = {disease: p for disease, p in self.among_like(finding).items() if p > default}
            share |= dict.fromkeys(closed, 0.005)
            broader = self.broader(finding)
            for other in broader:
                for disease in self._noted_of[other]:
                    if (disease, other) in self.stated_pairs:
                        half = 0.5 * self.base(disease, other)
                        share[disease] = max(share.get(disease, default), half)
            denied = defaultdict(list)
            for other in {finding} | broader:
                for disease in self._noted_of[other]:
                    if (disease, other) not in self.stated_pairs:
                        denied[disease].append(self.base(disease, other))
            share |= {disease: min(found) for disease, found in denied.items()}
            self._columns[key] = default, share | of_all
        return self._columns[key]

    def may_be(self, relation, one, other):
        """Whether two values (modes of inheritance, ages of onset) may be one patient's."""
        if one == other or one in self.forms(other):
            return True
        if relation != "has_onset":
            return False
        a, b = onset_years(one), onset_years(other)
        return not a or not b or (a[0] < b[1] + 1 and b[0] < a[1] + 1)

    def likelihood(self, clue):
        """(of a disease of which nothing is known, disease -> likelihood of the clue) for all diseases."""
        relation, tail = clue["relation"], clue["tail"]
        if relation in FEATURES:
            default, share = self.column(relation, tail)
            if clue["role"] != "absent":
                return default, share
            key = "absent", relation, tail
            if key not in self._columns:
                self._columns[key] = 1 - default, {disease: 1 - p for disease, p in share.items()}
            return self._columns[key]
        key = "value", relation, tail
        if key not in self._columns:
            told, unknown, other = TOLD_UNKNOWN_OTHER[relation]
            found = {}
            for disease in self.diseases:
                values = self.tails.get((disease, relation), ())
                if values:
                    fits = any(self.may_be(relation, tail, value) for value in values)
                    found[disease] = told if fits else other
            self._columns[key] = unknown, found
        return self._columns[key]
