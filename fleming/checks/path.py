"""The path of a question against a text: which facts of its certificate the text states rightly, each following from
what is known by then, and whether the text as a whole holds together.

All that is looked for stands in the question's own provenance (docs/file-formats.md): no graph is needed. Left out: names
that the provenance does not have, such as synonyms; facts that are told in other words than statements.py reads.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fleming.checks.statements import Names, Reading, Triple, read_statements, tokens
from fleming.questions.names import said
from fleming.records import Question
from fleming.sources.vocabulary import like

LOOP_WORDS, LOOP_TIMES = 8, 4  # so many words, so many times: a text that turns in a circle
TRUE_GROUNDS = ("absent_finding", "rare_finding")  # a proof on them is a fact; on any other, what does not hold


@dataclass(frozen=True)
class Certificate:
    """What a question's provenance says is so, and is not."""

    path: tuple[Triple, ...]
    """The facts that lead to the answer."""
    known: frozenset[str]
    """The names that the stem tells."""
    true: frozenset[Triple]
    """The path, and what wrong options share with the answer."""
    false: frozenset[Triple]
    """What a wrong option or a rival would need."""
    open: bool
    """Whether of some option the graph only lacks that it is right."""


@dataclass(frozen=True)
class Path:
    """What a text makes of a question's path."""

    facts: int
    """Of the certificate's path; 0 where the question has none."""
    stated: int
    """Of them stated rightly, in a sentence of its own, each where an end of it was known by then."""
    fault: str | None
    """false_claim: it affirms what the certificate proves wrong; other_conclusion: it concludes otherwise than it
    answers; loop: it turns in a circle."""
    unsure: bool
    """Whether it says that something is not known, or the question lacks nothing."""


def read_certificate(question: Question) -> Certificate | None:
    """Return the certificate of a question's provenance, None where it has none, or none of this form."""
    try:
        given = question.provenance or {}
        path = tuple((edge["head"], edge["relation"], edge["tail"]) for edge in given["path"])
        proof = given["certificate"]
        wrong = [(each["ground"], each["violates"]) for each in proof["distractors"]]
        wrong += [(each["ground"], [each["proof"]]) for each in proof.get("rivals", ())]
        shared = [triple for each in (*proof["distractors"], *proof.get("rivals", ())) for triple in each["shares"]]
        true = {*path, *map(tuple, shared)}
        false = {tuple(triple) for why, proofs in wrong for triple in proofs if why not in TRUE_GROUNDS}
        true |= {tuple(triple) for why, proofs in wrong for triple in proofs if why in TRUE_GROUNDS}
        if not path or any(len(triple) != 3 or not all(isinstance(e, str) for e in triple) for triple in true | false):
            return None
        is_open = any(why == "absent" for why, _ in wrong)
        return Certificate(path, frozenset(given["visible"]), frozenset(true), frozenset(false - true), is_open)
    except (KeyError, TypeError, AttributeError, ValueError):
        return None  # a user's own provenance


def follow_path(thought: str, question: Question, answer: str | None) -> Path:
    """Return what a text makes of the question's path; `answer` is the letter, or text, that it gives in the end."""
    certificate = read_certificate(question)
    reading = read_statements(thought, _names(certificate, question))
    fault = None
    if certificate and _affirms(reading, certificate.false):
        fault = "false_claim"
    elif not _agrees(reading, question, answer):
        fault = "other_conclusion"
    elif _loops(thought.split()):
        fault = "loop"
    return Path(
        facts=len(certificate.path) if certificate else 0,
        stated=len(_stated(certificate, reading)) if certificate else 0,
        fault=fault,
        unsure=reading.uncertain or not (certificate and certificate.open),
    )


def _names(certificate: Certificate | None, question: Question) -> Names:
    """Return the certificate's names and the options' texts, as the graph and as a sentence has them."""
    facts = certificate.true | certificate.false if certificate else ()
    names = {end for head, _, tail in facts for end in (head, tail)} | {*question.options.values()}
    names |= certificate.known if certificate else set()
    return Names((form, name) for name in sorted(names) for form in (name, said(name)))


def _affirms(reading: Reading, facts: frozenset[Triple]) -> bool:
    affirmed = [each.meanings for each in reading.statements if each.affirmed and not each.withdrawn]
    return any(_says(meanings, fact) for meanings in affirmed for fact in facts)


def _pair(triple: Triple) -> frozenset[str]:
    return frozenset((triple[0], triple[2]))


def _says(meanings: tuple[Triple, ...], fact: Triple) -> bool:
    """Whether one of the meanings is the fact, in its direction; a finding may be called a symptom."""
    head, relation, tail = fact
    return any((head, other, tail) in meanings for other in like(relation))


def _stated(certificate: Certificate, reading: Reading) -> list[Triple]:
    """Return the facts of the path that are stated rightly, once each, in the order of the text.

    A fact counts where an end of it was told by the stem or by a fact before. It does not where the text anywhere says
    of the same two things what the certificate does not: denies it, turns it round, or names another relation.
    """
    spoiled: set[frozenset[str]] = set()
    standing = [statement for statement in reading.statements if not statement.withdrawn]
    for statement in standing:
        if not statement.affirmed or not any(_says(statement.meanings, fact) for fact in certificate.true):
            spoiled |= {_pair(triple) for triple in statement.meanings}
    reached, found = set(certificate.known), []
    for statement in standing:
        for fact in certificate.path if statement.affirmed and statement.plain else ():
            follows = fact[0] in reached or fact[2] in reached
            if follows and fact not in found and _says(statement.meanings, fact) and _pair(fact) not in spoiled:
                found.append(fact)
                reached |= {fact[0], fact[2]}
    return found


def _agrees(reading: Reading, question: Question, answer: str | None) -> bool:
    """Whether every conclusion names the answer, by its letter or by its text."""
    text = tokens(question.options.get(answer or "", answer or ""))
    for mention, letter in reading.conclusions:
        by_text = mention and text not in [tokens(name) for name in mention]
        if by_text or (letter in question.options and letter != answer):
            return False
    return True


def _loops(words: list[str]) -> bool:
    runs: Iterator[Any] = zip(*(words[start:] for start in range(LOOP_WORDS)), strict=False)
    return max(Counter(runs).values(), default=0) >= LOOP_TIMES
