"""The path of a question against a text: which facts of its certificate the text states rightly, each following from
what is known by then, and whether the text as a whole holds together.

All that is looked for stands in the question's own provenance (docs/file-formats.md): no graph is needed. Left out:
names that the provenance does not have, such as synonyms; facts told in other words than statements.py reads.
"""

import itertools
import re
from dataclasses import dataclass

from fleming.checks.statements import Names, Reading, Statement, Triple, read_statements, tokens
from fleming.questions.names import said
from fleming.records import Question
from fleming.sources.vocabulary import like
from fleming.text import words

_ITEM = re.compile(r"(?mi)^\W*(?:(?:step|point|attempt|第) ?)?\d{1,3}(?:\b|[步点])")
LOOP = 20  # words at least that only say again what stands before them
# A proof on one of these grounds is a fact; on any other, what does not hold.
TRUE_GROUNDS = ("absent_finding", "rare_finding")


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
    reasons: bool
    """Whether it says anything but what it concludes."""


def read_certificate(question: Question) -> Certificate | None:
    """Return the certificate of a question's provenance, None where it has none, or none of this form."""
    try:
        given = question.provenance or {}
        path = tuple((edge["head"], edge["relation"], edge["tail"]) for edge in given["path"])
        options, rivals = given["certificate"]["distractors"], given["certificate"].get("rivals", [])
        wrong = [(each["ground"], each["violates"]) for each in options]
        wrong += [(each["ground"], [each["proof"]]) for each in rivals]
        true, false = {*path}, set()
        for shared in (each["shares"] for each in [*options, *rivals]):
            true.update(map(tuple, shared))
        for why, proofs in wrong:
            (true if why in TRUE_GROUNDS else false).update(map(tuple, proofs))
        known = frozenset(given["visible"])
        names = [*known, *(end for triple in true | false for end in triple)]
        if not path or not all(isinstance(name, str) for name in names):
            return None
        if any(len(triple) != 3 for triple in true | false):
            return None
        is_open = any(why == "absent" for why, _ in wrong)
        return Certificate(path, known, frozenset(true), frozenset(false - true), is_open)
    except (KeyError, TypeError, AttributeError, ValueError):
        return None  # a user's own provenance


def follow_path(thought: str, question: Question, answer: str | None) -> Path:
    """Return what a text makes of the question's path; `answer` is the letter, or text, that it gives in the end."""
    certificate = read_certificate(question)
    reading = read_statements(thought, _names(certificate, question))
    affirmed = [each.meanings for each in reading.statements if each.affirmed and not each.withdrawn]
    fault = None
    if certificate and any(_says(meanings, fact) for meanings in affirmed for fact in certificate.false):
        fault = "false_claim"
    elif not _agrees(reading, question, answer):
        fault = "other_conclusion"
    elif loops(thought):
        fault = "loop"
    return Path(
        facts=len(certificate.path) if certificate else 0,
        stated=len(_stated(certificate, reading)) if certificate else 0,
        fault=fault,
        unsure=reading.uncertain or not (certificate and certificate.open),
        reasons=reading.sentences > reading.concluding,
    )


def corrupt_last_step(thought: str, question: Question, wrong: str) -> str | None:
    """Return the text up to its last sentence that states a fact of the path about the right option, there with `wrong`
    in the option's place; None where no sentence does, or the question has no certificate.
    """
    certificate = read_certificate(question)
    if certificate is None or not question.options:
        return None
    names, right = _names(certificate, question), re.compile(re.escape(question.right_text), re.IGNORECASE)
    for sentence in reversed(list(re.finditer(r"[^.!?。\n]+[.!?。]*", thought))):
        said = read_statements(sentence[0], names).statements
        states = any(
            each.affirmed and _says(each.meanings, fact) for each in said for fact in certificate.path
        )
        if states and right.search(sentence[0]):
            return thought[: sentence.start()] + right.sub(lambda _: wrong, sentence[0])
    return None


def _names(certificate: Certificate | None, question: Question) -> Names:
    """Return the certificate's names and the options' texts, as the graph and as a sentence has them."""
    facts = certificate.true | certificate.false if certificate else ()
    names = {end for head, _, tail in facts for end in (head, tail)} | {*question.options.values()}
    names |= certificate.known if certificate else set()
    return Names((form, name) for name in sorted(names) for form in (name, said(name)))


def _pair(triple: Triple) -> frozenset[str]:
    return frozenset((triple[0], triple[2]))


def _says(meanings: tuple[Triple, ...], fact: Triple) -> bool:
    """Whether one of the meanings is the fact, in its direction; a finding may be called a symptom."""
    head, relation, tail = fact
    return any((head, other, tail) in meanings for other in like(relation))


def _stated(certificate: Certificate, reading: Reading) -> list[Triple]:
    """Return the facts of the path that are stated rightly, once each, in the order of the text.

    A fact counts where an end of it was told by the stem or by a fact before, the next sentence does not deny in other
    words, naming an end of it or nothing, and nothing else unsays it (`_unsaid`).
    """
    standing = [statement for statement in reading.statements if not statement.withdrawn]
    facts = {fact for fact in certificate.path if not _unsaid(fact, certificate, standing, reading)}
    reached, found = set(certificate.known), []
    for statement in standing:
        after = reading.denials.get(statement.sentence + 1)
        for fact in certificate.path if statement.affirmed and statement.plain else ():
            follows = fact[0] in reached or fact[2] in reached
            stands = not after or (after.names and after.names.isdisjoint(_pair(fact)))
            if fact in facts and follows and stands and _says(statement.meanings, fact):
                facts.remove(fact)
                found.append(fact)
                reached |= {fact[0], fact[2]}
    return found


def _unsaid(fact: Triple, certificate: Certificate, standing: list[Statement], reading: Reading) -> bool:
    """Whether the text anywhere denies the fact, turns it round or names another relation of the two than a
    certificate does; or has both ends, or one and a word that points, in a sentence that denies in other words."""
    pair = _pair(fact)
    for statement in standing:
        is_of_them = any(_pair(triple) == pair for triple in statement.meanings)
        is_so = statement.affirmed and any(_says(statement.meanings, other) for other in certificate.true)
        if is_of_them and not is_so:
            return True
    return any(
        pair <= denial.names or (denial.points and pair & denial.names) for denial in reading.denials.values()
    )


def _agrees(reading: Reading, question: Question, answer: str | None) -> bool:
    """Whether each conclusion names the answer, by letter or text; what names no option concludes something else."""
    options = [tokens(text) for text in question.options.values()]
    text = tokens(question.options.get(answer or "", answer or ""))
    for mention, letter in itertools.chain(*reading.conclusions.values()):
        named = [tokens(name) for name in mention]
        by_text = text not in named and any(name in options for name in named)
        if by_text or (letter in question.options and letter != answer):
            return False
    return True


def loops(text: str) -> bool:
    """Whether LOOP words or more only say again, twice or more, those before them; a line's number is no word."""
    said = words(_ITEM.sub("", text))
    seen: dict[int, int] = {}
    period = run = 0  # stretches of LOOP words in a row that also stood `period` words before
    for i in range(len(said) - LOOP + 1):
        stretch = hash(tuple(said[i : i + LOOP]))
        distance = i - seen.get(stretch, i)
        period, run = distance, run + 1 if distance == period else 1
        if period and run + LOOP - 1 >= 2 * period:
            return True
        seen[stretch] = i
    return False
