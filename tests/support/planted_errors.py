"""Right trajectories with one planted error each, made by rule and without the reader.

A trajectory is a list of sentences, each with the fact that it states or denies. An error is planted only where the
hand-written file (or the drawn graph) leaves no doubt that it is one: it is complete for all of a disease's relations
and for a drug's mechanism.
"""

from dataclasses import dataclass

from numpy.random import Generator

from fleming.questions.phrases import pick

COMPLETE = ("has_symptom", "has_finding", "diagnosed_by", "treated_by", "caused_by", "has_mechanism")
OTHERS = {
    "has_symptom": "treated_by", "has_finding": "diagnosed_by", "diagnosed_by": "treated_by",
    "treated_by": "diagnosed_by", "caused_by": "has_finding", "has_mechanism": "treated_by",
}  # fmt: skip
FEATURES = ("has_symptom", "has_finding")
KINDS = ("polarity", "direction", "tail", "relation", "denial affirmed", "step dropped", "conclusion")

Triple = tuple[str, str, str]


@dataclass(frozen=True)
class Said:
    text: str
    fact: Triple | None = None
    affirmed: bool = True
    is_step: bool = False
    """Whether it states a fact of the question's path."""


@dataclass(frozen=True)
class World:
    facts: frozenset[Triple]
    phrases: dict[str, list[str]]
    """Relation -> sentences with {h} and {t}."""
    denials: dict[str, list[str]]
    conclusions: list[str]
    """Sentences with {x}."""
    taking_back: frozenset[str] = frozenset()
    """Sentences that take back the one before, which then is no claim."""

    def state(self, rng: Generator, fact: Triple) -> str:
        head, relation, tail = fact
        return pick(rng, self.phrases[relation]).format(h=head, t=tail)

    def deny(self, rng: Generator, fact: Triple) -> str:
        head, relation, tail = fact
        return pick(rng, self.denials[relation]).format(h=head, t=tail)

    def tails(self, relation: str) -> list[str]:
        return sorted({tail for _, other, tail in self.facts if other == relation})

    def linked(self, one: str, other: str) -> bool:
        return any({head, tail} == {one, other} for head, _, tail in self.facts)


def plant(
    kind: str, said: list[Said], options: list[str], right: str, world: World, rng: Generator
) -> list[Said] | None:
    """Return the sentences with one error of the kind, None where they have no place for it."""
    stated = [i for i, s in enumerate(said) if s.fact and s.affirmed and s.fact[1] in COMPLETE]
    standing = [i for i in range(len(said) - 1) if said[i + 1].text not in world.taking_back]
    denied = [i for i in standing if said[i].fact and not said[i].affirmed and said[i].fact[1] in COMPLETE]
    steps = [i for i in range(len(said)) if said[i].is_step]
    places = {"denial affirmed": denied, "step dropped": steps, "conclusion": [len(said) - 1]}.get(
        kind, stated
    )
    if not places:
        return None
    at = pick(rng, places)
    if kind == "step dropped":
        return said[:at] + said[at + 1 :]
    if kind == "conclusion":
        wrong = pick(rng, sorted({*options} - {right}))
        return [*said[:-1], Said(pick(rng, world.conclusions).format(x=wrong))]
    head, relation, tail = said[at].fact
    if kind == "polarity":
        text = world.deny(rng, said[at].fact)
    elif kind == "direction":
        text = world.state(rng, (tail, relation, head))
    elif kind == "tail":
        others = [name for name in world.tails(relation) if not world.linked(head, name)]
        text = world.state(rng, (head, relation, pick(rng, others)))
    elif kind == "relation":
        text = world.state(rng, (head, OTHERS[relation], tail))
    else:
        text = world.state(rng, said[at].fact)
    return [*said[:at], Said(text), *said[at + 1 :]]
