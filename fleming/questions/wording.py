"""The words of a question: a small grammar of openings, noun phrases and asks, in a lay and a clinical register.

The phrases are those of assets/wording.yaml. Left out: rewriting by a teacher.
"""

from collections.abc import Sequence

from numpy.random import Generator

from fleming.questions.metapaths import LISTED
from fleming.questions.phrases import Phrases, read_phrases
from fleming.questions.query import Query

REGISTERS = ("clinical", "lay")


def wording() -> Phrases:
    return read_phrases("wording")


def listed(names: Sequence[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def word_basic(query: Query, rng: Generator) -> str:
    """Return the stem of a basic question."""
    words, chain = wording(), query.kind.chain
    opening, subject = "", query.nodes[0]
    root_clues = query.clues_of(0)
    if root_clues:
        names = [root_clues[i][2] for i in rng.permutation(len(root_clues))]
        opening = words.say(rng, "opening", clues=listed(names)) + " "
        subject = words.say(rng, "hidden root")
    bridge_clue = next((tail for place, (_, _, tail) in query.clues if place), None)
    if bridge_clue:
        subject = words.say(rng, "bridge by", x=subject, clue=bridge_clue)
    elif len(chain) > 1:
        subject = words.say(rng, "bridge", x=subject)
    return opening + words.say(rng, chain[-1], x=subject)


def word_scenario(query: Query, register: str, rng: Generator) -> str:
    """Return the stem of a scenario: the clues, a sentence for each step, what is asked for."""
    words, root, chain = wording(), query.kind.root, query.kind.chain
    names, sentences = [], []
    clues = query.clues_of(0)
    for i in rng.permutation(len(clues)):
        _, relation, tail = clues[i]
        if relation in LISTED[root]:
            names.append(tail)
        else:
            sentences.append(words.say(rng, f"clue {relation} {register}", x=tail))
    sentences.insert(0, words.say(rng, f"opening {root} {register}", clues=listed(names)))

    def described(place: int) -> str:
        """What singles out the node."""
        clauses = [
            words.say(rng, f"clause {relation}", x=tail) for _, relation, tail in query.clues_of(place)
        ]
        return listed(clauses) if clauses else ""

    def key(step: str) -> str:
        """The patient's own disease is not the only one any more where a step leads back to one."""
        is_again = root == "disease" and step in ("^treated_by", "^associated_gene")
        return f"again {step}" if is_again else step

    subject = words.say(rng, "hidden root" if root == "disease" else f"hidden {root}")
    for place, step in enumerate(chain[:-1], 1):
        clause = f" {described(place)}" if query.clues_of(place) else ""
        sentences.append(words.say(rng, f"step {key(step)}", x=subject, c=clause))
        subject = words.say(rng, f"that {key(step)}", f"that {step}")
    asked = key(chain[-1])
    sentences.append(words.say(rng, f"scenario {asked}", asked, x=subject))
    if query.clues_of(len(chain)):
        which = words.draw(rng, "which")
        sentences.append(which.format(clauses=described(len(chain))))
    return " ".join(sentences)
