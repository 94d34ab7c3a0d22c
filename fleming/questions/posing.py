"""From a root to a question: the path to its answer, wrong options with their grounds, the patient, the words.

Left out: which roots are asked about (sampling.py), the clues (differential.py), what makes an option wrong
(certificates.py).
"""

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.random import Generator

from fleming.graph.knowledge_graph import KnowledgeGraph, Triple
from fleming.graph.naming import is_plain
from fleming.graph.open_world import heads, kin, may_be_one
from fleming.questions.certificates import (
    ONE_VALUE,
    asked,
    ground,
    is_fair,
    is_usable,
    look_alikes,
    paths_along,
    solutions,
)
from fleming.questions.differential import OPTIONS, Differential, Differentials, Rival, is_tellable
from fleming.questions.metapaths import Kind
from fleming.questions.names import is_meaningless, language_of, lists_findings, numbered
from fleming.questions.patient import draw_patient, sexes
from fleming.questions.phrases import pick
from fleming.questions.query import Clue, Patient, Query, chain_triple, instantiate
from fleming.questions.score import depth, score
from fleming.questions.wording import lay_is_possible, word_question
from fleming.records import LETTERS, Question
from fleming.sources.vocabulary import FEATURES
from fleming.text import name_key

GIVEAWAY = 5  # letters from which on a word that stem and right option alone share gives the answer away
PATHS = 16  # of a rival, so many are looked at
NEAREST = 40  # rivals of a named root
RARE_OPTION = 0.25  # of the counted patients: an occasional finding is not to be expected
SLACK = 3  # how far an option may be from being wrong three times for each time right, before that decides


@dataclass(frozen=True)
class Option:
    """A wrong one."""

    name: str
    rival: str | None
    """The disease, or whatever the root is, that it belongs to."""
    ground: str
    proof: Triple
    """The fact that it would need and that does not hold; of a diagnosis, what the ground is about."""
    shares: tuple[Triple, ...] = ()


class Poser:
    """Poses questions on a graph."""

    def __init__(self, graph: KnowledgeGraph, differentials: Differentials, registers: Sequence[str]) -> None:
        self.graph = graph
        self.differentials = differentials
        self.rules = differentials.rules
        self.registers = registers
        self.posed: set[tuple] = set()
        """Compositions that are questions already."""

    def pose(self, kind: Kind, root: str, rng: Generator, balance: Mapping[str, float]) -> Question | str:
        """Return a question of the kind about the root, or the code of what stands against it.

        `balance`: of each option how often it should still be wrong, three times for each time right. Codes beside
        those of `Differentials.draw`: `no_path`; `no_name`, the answer cannot be an option; `bridge_ambiguous`, a node
        between is not the only one; `few_distractors`; `leak`, the stem has a hidden name or the answer;
        `giveaway`, or a word that the right option alone has; `repeated`; `no_grammar`, for a script of the names;
        `no_register`, no register that is asked for has words for every clue.
        """
        query = self._draw_path(kind, root, rng)
        if isinstance(query, str):
            return query
        if not kind.hidden and query.composition in self.posed:
            return "repeated"
        options = self._options(query, rng, balance)
        if len(options) < OPTIONS:
            return "few_distractors"
        differential = None
        if kind.hidden:
            found = self._draw_clues(query, options, rng)
            if isinstance(found, str):
                return found
            query, options, differential = found
            if query.composition in self.posed:
                return "repeated"
        options = options[:OPTIONS]

        language = language_of([*query.visible, query.answer, *(option.name for option in options)])
        if not language:
            return "no_grammar"
        registers = [name for name in self.registers if name != "lay" or lay_is_possible(query, self.graph)]
        if not registers:
            return "no_register"
        register = pick(rng, registers)
        stem = word_question(query, self.graph, register, rng, language)
        if self._leaks(stem, [*query.hidden, query.answer]):
            return "leak"
        if _gives_away(stem, query.answer, [option.name for option in options]):
            return "giveaway"
        question = self._question(query, options, differential, stem, register, rng)
        return replace(question, language=language)

    # the path

    def _draw_path(self, kind: Kind, root: str, rng: Generator) -> Query | str:
        """Draw a path of the kind from the root, each node between the only one, of one before it no form."""
        graph, nodes = self.graph, [root]
        if not kind.chain and not self._may_be_option(root):
            return "no_name"
        for step in kind.chain:
            onward = graph.follow(nodes[-1], step)
            if step in ONE_VALUE and len(onward) != 1:
                return "no_path"
            fit = [name for name in onward if self._may_come_next(nodes, step, name)]
            if kind.answers == "findings":
                fit = self._expected(root)
            if not fit:
                return "no_path"
            nodes.append(pick(rng, fit))
        query = Query(kind, tuple(nodes))
        if kind.by:
            clue = self._bridge_clue(query, rng)
            if not clue:
                return "bridge_ambiguous"
            query = replace(query, clues=(clue,))
        for node in range(1, len(nodes) - 1):
            if solutions(graph, query, node) != [nodes[node]]:
                return "bridge_ambiguous"
        return query

    def _may_come_next(self, nodes: Sequence[str], step: str, name: str) -> bool:
        """Whether the step to `name` may be used, and a reader would not take it for a node before it."""
        graph = self.graph
        if not is_usable(graph, chain_triple(nodes[-1], step, name), self.rules.min_confidence):
            return False
        if not is_plain(graph.entities[name]) or is_meaningless(name):
            return False
        return step == "subtype_of" or not any(may_be_one(graph, name, before) for before in nodes)

    def _may_be_option(self, name: str) -> bool:
        """Whether a reader can know the disease by its name, which does not answer the question itself."""
        if not is_plain(self.graph.entities[name]) or is_meaningless(name):
            return False
        return self.rules.any_name or not (numbered(name) or lists_findings(name))

    def _expected(self, root: str) -> list[str]:
        """Return the findings that counted patients of the root nearly always have."""
        findings = self.differentials.findings
        rows = findings.rows(root)
        rows = rows[
            findings.stated[rows]
            & (findings.share[rows] >= self.rules.negative_frequency)
            & (findings.of[rows] > 0)
        ]
        names = [self.graph.names[term] for term in findings.term[rows]]
        return [name for name in names if is_tellable(name)]

    def _bridge_clue(self, query: Query, rng: Generator) -> Clue | None:
        """Return a visible tail that singles out the node before the answer, though it alone does not name it."""
        graph, relation, place = self.graph, query.kind.by, len(query.nodes) - 2
        bridge, step = query.nodes[place], query.kind.chain[place - 1]
        if len(graph.follow(query.nodes[place - 1], step)) == 1:
            return None
        shared = [tail for tail in graph.follow(bridge, relation) if len(heads(graph, relation, tail)) > 1]
        return Clue(relation, pick(rng, shared), "bridge", place) if shared else None

    # the wrong options

    def _options(self, query: Query, rng: Generator, balance: Mapping[str, float]) -> list[Option]:
        """Return the wrong options, no two of them one thing, in the order in which they are preferred."""
        graph, kind, root = self.graph, query.kind, query.nodes[0]
        if kind.answers == "findings":
            proposals = self._rare_findings(query, rng)
        elif kind.answers == "values":
            proposals = self._other_values(query, rng)
        elif kind.hidden:
            near = self.differentials.rivals(root)
            near = [near[i] for i in rng.permutation(len(near))]
            proposals = self._ends(query, near, rng)
        else:
            near = look_alikes(graph, root)[:NEAREST]
            rest = [name for name in graph.of_type(kind.root) if name != root]
            near += [rest[i] for i in rng.permutation(len(rest))[:NEAREST]]
            proposals = self._ends(query, list(dict.fromkeys(near)), rng)

        def far_from_balance(option: Option) -> float:
            owed = balance.get(option.name, 0.0)
            return min(0.0, SLACK - owed) if owed > 0 else max(0.0, -owed - SLACK)

        right = set(solutions(graph, query, len(query.nodes) - 1)) if kind.chain else {root}
        never = {*right, *query.visible, *query.nodes, *(name for fit in right for name in kin(graph, fit))}
        chosen, told = [], list(query.nodes)
        enough = OPTIONS if not kind.hidden else len(proposals)
        for option in sorted(proposals, key=far_from_balance):
            if len(chosen) == enough:
                break
            if option.name in never or (kind.answers == "rivals" and not self._is_similar(query.answer, option.name)):
                continue
            if option.ground == "absent" and self.rules.open_world == "exclude":
                continue
            if is_fair(graph, query, option.name, told):
                chosen.append(option)
                told.append(option.name)
        return chosen

    def _ends(self, query: Query, rivals: Sequence[str], rng: Generator) -> list[Option]:
        """Return where the chain leads from each rival, as an option that is wrong of the root."""
        graph, chain = self.graph, query.kind.chain
        if not chain:
            return [Option(name, name, "", ("", "", "")) for name in rivals if self._may_be_option(name)]
        found = []
        for rival in rivals:
            paths = list(itertools.islice(paths_along(graph, rival, chain), PATHS))
            for i in rng.permutation(len(paths)):
                path = paths[i]
                why = ground(graph, asked(query, path[-1]))
                if not why or is_meaningless(path[-1]):
                    continue
                steps = [chain_triple(*step) for step in zip(path, chain, path[1:], strict=False)]
                found.append(Option(path[-1], rival, why, asked(query, path[-1]), tuple(steps)))
                break
        return found

    def _rare_findings(self, query: Query, rng: Generator) -> list[Option]:
        """Return findings of which counted patients of the root hardly have any."""
        findings, root = self.differentials.findings, query.nodes[0]
        found = []
        for row in rng.permutation(findings.rows(root)):
            name = self.graph.names[findings.term[row]]
            if findings.share[row] <= RARE_OPTION and findings.of[row] > 0 and is_tellable(name):
                why = "rare_finding" if findings.stated[row] else "contradicted"
                relation = next(r for r in FEATURES if self.graph.states(root, r, name, negated=why == "contradicted"))
                found.append(Option(name, None, why, (root, relation, name)))
        return found

    def _other_values(self, query: Query, rng: Generator) -> list[Option]:
        """Return the other values of the relation asked for that a few entities have at least."""
        graph, relation = self.graph, query.kind.chain[-1]
        values = graph.of_type(graph.entities[query.answer].type)
        common = [name for name in values if len(graph.targets(name, "^" + relation)) >= OPTIONS * 5]
        options = []
        for i in rng.permutation(len(common)):
            why = ground(graph, asked(query, common[i]))
            if why:
                options.append(Option(common[i], None, why, asked(query, common[i])))
        return options

    def _is_similar(self, answer: str, option: str) -> bool:
        """Whether the two have about as many edges: the better known one is no clue."""
        most = self.rules.similar_size
        one, other = self.graph.degree(answer), self.graph.degree(option)
        return max(one, other) <= most * min(one, other) and max(map(len, (answer, option))) <= 2 * min(map(len, (answer, option)))

    # the clues

    def _draw_clues(
        self, query: Query, options: list[Option], rng: Generator
    ) -> tuple[Query, list[Option], Differential] | str:
        kind, root = query.kind, query.nodes[0]
        of_rival = {option.rival: option for option in options if option.rival}
        rivals = list(of_rival) if kind.answers == "rivals" else self.differentials.rivals(root)
        untold = [step.strip("^") for step in kind.chain]
        differential = self.differentials.draw(root, rivals, untold, rng)
        if isinstance(differential, str):
            return differential
        clues = (*differential.clues, *query.clues)
        if kind.answers == "findings" and any(
            may_be_one(self.graph, query.answer, clue.tail) or clue.tail in kin(self.graph, query.answer)
            for clue in clues
        ):
            return "leak"
        told = {clue.tail for clue in clues}
        if kind.answers == "rivals":
            options = [self._ruled_out(of_rival[rival.name], rival) for rival in differential.rivals]
        else:
            options = [option for option in options if option.name not in told]
        if len(options) < OPTIONS or query.answer in told:
            return "few_distractors"
        patient = draw_patient(self.graph, root, clues, rng) if self.rules.patients else Patient()
        if kind.answers == "values" and "male" in sexes(self.graph, root, clues):
            patient = replace(patient, sex="male")  # or a girl would tell that it is not X-linked
        return replace(query, clues=clues, patient=patient), options, differential

    def _ruled_out(self, option: Option, rival: Rival) -> Option:
        """Return the option with what its disease shares; of a diagnosis with the ground on which it is ruled out."""
        shares = (*rival.shares, *option.shares)
        if not option.ground:
            return replace(option, ground=rival.ground, proof=rival.proof, shares=shares)
        return replace(option, shares=shares)

    # the record

    def _leaks(self, stem: str, names: Sequence[str]) -> bool:
        """Whether the stem has one of the names in it, under any of its names."""
        if any(name.casefold() in stem.casefold() for name in names):
            return True
        text = f" {name_key(stem)} "
        synonyms = [synonym for name in names for synonym in self.graph.entities[name].synonyms]
        return any(key and f" {key} " in text for key in map(name_key, synonyms))

    def _question(
        self,
        query: Query,
        options: list[Option],
        differential: Differential | None,
        stem: str,
        register: str,
        rng: Generator,
    ) -> Question:
        graph, kind = self.graph, query.kind
        edges = [graph.edge(*triple) for triple in self._stated(query)]
        names = [query.nodes[0], *(name for edge in edges for name in (edge.head, edge.tail))]
        provenance: dict[str, Any] = {
            "kind": kind.name,
            "metapath": kind.metapath,
            "hops": kind.hops,
            "path": [edge.to_json() for edge in edges],
            "chain": [place for place, (is_step, _) in enumerate(query.parts) if is_step],
            "visible": query.visible,
            "hidden": query.hidden,
            "answer": query.answer,
            "rare": any(graph.entities[name].rare for name in names),
            "register": register,
            "certificate": self._certificate(query, options, differential),
        }
        if differential:
            provenance["patient"] = {"age": query.patient.age, "sex": query.patient.sex}
            provenance["clues"] = self._clues(query, differential)
        provenance["root_edges"] = graph.degree(query.nodes[0])
        provenance["depth"] = depth(provenance)
        provenance["score"] = score(provenance, stem)
        texts = [option.name for option in options]
        right = int(rng.integers(len(texts) + 1))
        texts.insert(right, query.answer)
        return Question(
            id="graph/" + hashlib.blake2b(repr(query.composition).encode(), digest_size=8).hexdigest(),
            question=stem,
            options=dict(zip(LETTERS, texts, strict=False)),
            answer=LETTERS[right],
            source="graph",
            provenance=provenance,
        )

    def _stated(self, query: Query) -> list[Triple]:
        """Return the facts of the path, a step to a finding by the relation that states it."""
        triples = instantiate(query.pattern, query.nodes)
        if query.kind.answers == "findings":
            head, _, tail = triples[-1]
            relation = next(name for name in FEATURES if self.graph.states(head, name, tail))
            triples[-1] = head, relation, tail
        return triples

    def _clues(self, query: Query, differential: Differential) -> list[dict[str, Any]]:
        """Return what each clue is, on how many patients it rests, and what is lost without it."""
        findings, found = self.differentials.findings, []
        for clue, needed in zip(differential.clues, differential.needed, strict=True):
            row = findings.noted(query.nodes[0], clue.tail) if clue.relation in FEATURES else None
            counts = None if row is None or not findings.of[row] else [findings.seen[row], findings.of[row]]
            found.append(
                {
                    "relation": clue.relation,
                    "tail": clue.tail,
                    "role": clue.role,
                    "counts": counts,
                    "needed": needed,
                }
            )
        return found

    def _certificate(
        self, query: Query, options: Sequence[Option], differential: Differential | None
    ) -> dict[str, Any]:
        graph = self.graph
        odds = {rival.name: rival.odds for rival in differential.rivals} if differential else {}
        rivals = {rival.name: rival for rival in differential.rivals} if differential else {}
        last = len(query.nodes) - 1
        certificate: dict[str, Any] = {
            "solutions": solutions(graph, query, last) if query.kind.chain else [query.answer]
        }
        if differential:
            certificate |= {
                "rank": 1,
                "posterior": round(differential.posterior, 4),
                "runner_up": differential.runner_up,
                "runner_up_odds": round(differential.runner_up_odds, 2),
                "table": {
                    "clues": [f"no {clue.tail}" if clue.role == "absent" else clue.tail for clue in differential.clues],
                    "rows": differential.likelihoods,
                },
                "rivals": [
                    {
                        "disease": rival.name,
                        "odds": round(rival.odds, 1),
                        "ground": rival.ground,
                        "proof": list(rival.proof),
                        "shares": [list(triple) for triple in rival.shares],
                    }
                    for rival in differential.rivals
                ],
            }
        distractors = []
        for option in options:
            rests_on = [option.proof, *(rivals[option.rival].proof for _ in range(option.rival in rivals))]
            distractors.append(
                {
                    "option": option.name,
                    "disease": option.rival,
                    "odds": round(odds[option.rival], 1) if option.rival in odds else None,
                    "ground": option.ground,
                    "shares": [list(triple) for triple in option.shares],
                    "violates": [list(option.proof)],
                    "evidence": [edge for triple in dict.fromkeys(rests_on) for edge in self._evidence(triple)],
                }
            )
        return {**certificate, "distractors": distractors}

    def _evidence(self, triple: Triple) -> list[dict[str, Any]]:
        """Return the edges that speak of the triple: itself or its negation, else the head's facts of the relation."""
        graph = self.graph
        head, relation, tail = triple
        found = []
        for negated in (False, True):
            if graph.states(*triple, negated):
                found.append({**graph.edge(*triple, negated).to_json(), "negated": negated})
        if not found and relation not in FEATURES:
            for other in graph.follow(head, relation)[:3]:
                found.append({**graph.edge(head, relation, other).to_json(), "negated": False})
        return found


def _gives_away(stem: str, answer: str, others: Sequence[str]) -> bool:
    """Whether a longer word of the answer stands in the stem and in none of the other options."""
    said = set(name_key(stem).split())
    elsewhere = {word for other in others for word in name_key(other).split()}
    return any(len(word) >= GIVEAWAY and word in said - elsewhere for word in name_key(answer).split())
