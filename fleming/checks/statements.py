"""Statements in running text: which entity is said to stand in which relation to which, affirmed or denied.

A sentence is read where all of it is a phrase of assets/teacher.yaml or claims.yaml around two names, or that with one
"not" in it. What asks, supposes, reports, hedges or denies twice is another sentence, and so is no statement. Inside a
longer sentence a clause is read likewise, but is not `plain`. What is taken back is marked. Linear in the text.

Left out: pronouns, facts told over several sentences or in other words than the phrases (counted as unread).
"""

import functools
import itertools
import re
import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from fleming.questions.phrases import read_phrases
from fleming.sources.vocabulary import FEATURES, RELATIONS
from fleming.text import CJK, fold

Triple = tuple[str, str, str]
Mention = tuple[str, ...]
"""The entities that a name in the text may mean; words are plain strings."""
Key = tuple[str | None, ...]
"""Words as they are compared, None for a name."""
DENIALS = {"denial": tuple(RELATIONS), "open denial": tuple(RELATIONS), "feature denial": FEATURES}
TAKING_BACK, AGAINST = ("retract", "correct"), ("no fit", "not here")
SHORT, CURT, BRIEF = 9, 6, 3  # words of a doubt that is: listed; unlisted; pointing nowhere
BEFORE_NAME, AFTER_NAME = 5, 2  # words of a phrase before its first name, and behind its last
_ENDS = frozenset(".!?;¶。")
_TOKEN = re.compile(rf"[{CJK}]|\d+(?:\.\d+)+|[^\W_{CJK}]+|[^\w\s*`]|_")
_LIST = re.compile("(?:,N)*,?&N(?=,r|$)")  # what follows a list's first name, up to where a clause may end
_REWRITTEN = {
    r"\b(it|that|there|this)'s\b": r"\1 is",
    r"(?<=\w)'s\b": "",
    r"n't\b|\bcannot\b": " not",
    r"\b(?:are|was|were|be)\b": "is",
    r"(?<=\w)-(?=\w)": " ",
}


@dataclass
class Statement:
    """What one clause says of two things."""

    meanings: tuple[Triple, ...]
    """The facts that the words may mean: names and phrases have several meanings."""
    affirmed: bool
    """False: it denies each of them."""
    sentence: int
    plain: bool = True
    """It is all that its sentence says, and nothing else in the text casts doubt on it."""
    withdrawn: bool = False
    """It is taken back right afterwards."""


@dataclass(frozen=True)
class Denial:
    """A sentence that was not read, and denies or doubts something in other words."""

    names: frozenset[str] = frozenset()
    points: bool = False
    """Whether it has a word like "this", which may stand for a name."""


@dataclass
class Reading:
    """What a text says."""

    statements: list[Statement] = field(default_factory=list)
    conclusions: dict[int, list[tuple[Mention, str]]] = field(default_factory=dict)
    """What is concluded by the number of its sentence: a name and "", or () and a letter."""
    denials: dict[int, Denial] = field(default_factory=dict)
    """By the number of their sentence."""
    sentences: int = 0
    read: int = 0
    """Sentences of which all was read."""
    concluding: int = 0
    """Sentences that only name an answer."""
    uncertain: bool = False
    """Whether it says that something is not known."""
    doubted: bool = False
    """Whether a sentence casts doubt on others, nobody can say which."""


def tokens(text: str) -> list[str]:
    """Return the words of the folded text without accents and a closing s, Chinese characters and marks one by one."""
    text = fold(text.replace("\n", " ¶ "))
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    for found, instead in _REWRITTEN.items():
        text = re.sub(found, instead, text)
    words = _TOKEN.findall(text)
    return [w[:-1] if len(w) > 3 and w[-1] == "s" and w[-2] not in "sui" else w for w in words]


class Names:
    """The names to look for, as a tree of words; of several that begin at a word the longest is meant."""

    def __init__(self, named: Iterable[tuple[str, str]]) -> None:
        """named: (name, entity). Single letters and names that are words of the phrases are not looked for."""
        self.tree: dict = {}
        for name, entity in named:
            words = tokens(name)
            if words[1:] or (words and len(words[0]) > 1 and words[0] not in _grammar().words):
                node = self.tree
                for word in words:
                    node = node.setdefault(word, {})
                node.setdefault("", {}).setdefault(entity, name)

    def find(self, words: Sequence[str]) -> Iterator[tuple[int, int, dict[str, str]]]:
        """Yield where each name begins and ends, and what it may mean: entity -> the name as it was given."""
        at = 0
        while at < len(words):
            node, end, meant = self.tree, at + 1, None
            for place in range(at, len(words)):
                node = node.get(words[place])
                if node is None:
                    break
                if "" in node:
                    end, meant = place + 1, node[""]
            if meant:
                yield at, end, meant
            at = end

    def mark(self, words: list[str]) -> list[str | Mention]:
        """Return the words with a Mention in place of each name."""
        marked, at = [], 0
        for start, end, meant in self.find(words):
            marked += [*words[at:start], tuple(meant)]
            at = end
        return marked + words[at:]


@dataclass(frozen=True)
class _Form:
    """What a phrase says of its slots: a relation, or something of the text itself."""

    slots: str
    relations: tuple[str, ...]
    affirmed: bool = True
    remark: str = ""


class _Grammar:
    """The phrases, by their words."""

    def __init__(self) -> None:
        own, taught = read_phrases("claims").phrases, read_phrases("teacher").phrases
        lists = own.keys() - {*RELATIONS, *DENIALS, *taught, "rare"}
        self.lists = {key: {tuple(tokens(phrase)) for phrase in own[key]} for key in lists}
        self.sets = {key: {words[0] for words in rows} for key, rows in self.lists.items()}
        self.forms: dict[Key, list[_Form]] = {}
        for key, phrases in [*taught.items(), *own.items()]:
            relations = DENIALS.get(key, (key,) if key in RELATIONS else ())
            for phrase in variants(phrases) if key not in lists else ():
                parts = list(string.Formatter().parse(phrase))
                words = [
                    word for text, slot, *_ in parts for word in [*tokens(text), *[None] * (slot is not None)]
                ]
                slots = "".join(slot or "" for _, slot, *_ in parts)
                form = _Form(slots, relations, key not in DENIALS, "" if relations else key)
                self.forms.setdefault(self.key(w for w in words if w not in _ENDS), []).append(form)
        self.words = {word for key in self.forms for word in key}.union(*self.sets.values())
        self.around_answer: dict[Key, set[Key]] = {}
        """What stands behind an answer -> what may stand before it."""
        for key, forms in self.forms.items():
            if forms[0].remark == "conclude":
                at = key.index(None)
                self.around_answer.setdefault(key[at + 1 :], set()).add(key[:at])

    def has(self, words: Sequence[str | None], *lists: str) -> bool:
        """Whether a phrase of one of the lists stands among the words."""
        runs = {tuple(words[at : at + size]) for size in (1, 2, 3, 4) for at in range(len(words))}
        return any(not runs.isdisjoint(self.lists[key]) for key in lists)

    def doubts(self, line: Sequence[str | None], asks: bool, heading: bool) -> tuple[bool, bool]:
        """Whether a sentence that was not read, or a part of it at a colon, unsays the rest, or what stands before it.

        Only what is short, names nothing and speaks of no other thing does. A heading ends in no mark, or a colon.
        """
        if ":" in line:
            at = line.index(":")
            behind = [] if self.has(line, "elsewhere") else [word for word in line[at + 1 :] if word != ":"]
            parts = self.doubts(line[:at], asks, True), self.doubts(behind, asks, heading)
            return parts[0][0] or parts[1][0], parts[0][1] or parts[1][1]
        size = sum(0.5 if word >= "\u3400" else 1.0 for word in line if word and word.isalnum())
        if None in line or size > SHORT or self.has(line, "elsewhere"):
            return False, False
        points = self.has(line, "pointer")
        doubts = self.has(line, "doubt") or (heading and self.has(line, "frame"))
        if doubts and (points or heading or size <= BRIEF):
            return True, True
        told = self.has(line, "things")
        denies = self.has(line, "no") and not told
        ends = {tuple(end) for size in (1, 2, 3, 4) for end in (line[:size], line[-size:])}
        this = not ends.isdisjoint(self.lists["this"])
        if denies and (this or heading):
            return True, True
        curt = this and size <= CURT and not (asks or heading or told or self.has(line, "approval"))
        return curt, curt or doubts or (denies and points)

    def concluded(self, sentence: Sequence[str | Mention]) -> list[tuple[Mention, str]]:
        """Return each answer that a sentence concludes: "the answer is A, B or trientine (C)", "B is correct"."""
        line = [item if isinstance(item, str) else None for item in sentence]
        keys = [self.key(line[:at]) for at in range(min(len(line), 2 * SHORT))]
        for end in range(max(1, len(line) - CURT), len(line) + 1):
            openings = self.around_answer.get(self.key(line[end:]), ())
            for at in (at for at, key in enumerate(keys[:end]) if key in openings):
                rest = [item for item in sentence[at:end] if item not in self.sets["joining"]]
                if rest and all(isinstance(item, tuple) or item in string.ascii_lowercase for item in rest):
                    return [(item, "") if isinstance(item, tuple) else ((), item.upper()) for item in rest]
        return []

    def key(self, words: Iterable[str | None]) -> Key:
        """Return the words without fillers, and without what stands before a clause; a number is 0 (Step 2:)."""
        key = tuple("0" if word and word.isdecimal() else word for word in words)
        key, start = tuple(word for word in key if word not in self.sets["filler"]), 0
        before = self.lists["before"]
        while size := next((n for n in (4, 3, 2, 1) if key[start : start + n] in before), 0):
            start += size
        return key[start:]

    def match(self, key: Key, line: Sequence[str | None]) -> list[_Form]:
        """Return what the words of a line say; nothing where they are no phrase, or deny twice or only how often."""
        if key in self.forms:
            return self.forms[key]
        nots = self.lists["not"]
        spans = [(at, at + n) for at in range(len(key)) for n in (1, 2) if key[at : at + n] in nots]
        if len(spans) != 1 or self.has(line, "degree"):
            return []
        said = self.forms.get(key[: spans[0][0]] + key[spans[0][1] :], ())
        return [_Form(form.slots, form.relations, False) for form in said if form.relations and form.affirmed]

    def clauses(self, key: Key) -> Iterator[tuple[int, int, list[_Form]]]:
        """Yield what clauses inside the words say of two names, with their numbers; "A, B and C" may be the second."""
        places = [place for place, word in enumerate(key) if word is None]
        kinds = dict.fromkeys(self.sets["left"] | self.sets["right"], "r") | {None: "N"}
        kinds |= dict.fromkeys(self.sets["comma"], ",") | dict.fromkeys(self.sets["last"], "&")
        shape = "".join(kinds.get(word, ".") for word in key)
        for number, (one, other) in enumerate(itertools.pairwise(places)):
            for start in range(max(0, one - BEFORE_NAME), one + 1):
                which = start == one and key[start + 1 : start + 3] == (",", "which")
                opens = which or start == 0 or key[start - 1] in self.sets["left"]
                for end in range(other + AFTER_NAME, other, -1) if opens else ():
                    closes = end >= len(key) or key[end] in self.sets["right"]
                    clause = key[start : start + 1] + key[start + (3 if which else 1) : end]
                    if closes and (forms := [form for form in self.forms.get(clause, ()) if form.relations]):
                        more = None if which else _LIST.match(shape, other + 1)
                        for further in range(1 + (more[0].count("N") if more else 0)):
                            yield number, number + 1 + further, forms
                        break


def variants(phrases: Iterable[str]) -> Iterator[str]:
    """Yield each phrase with one of the words of each <a|b>, in all ways."""
    for phrase in phrases:
        parts = [part.split("|") for part in re.split(r"<([^<>]*)>", phrase)]
        yield from map("".join, itertools.product(*parts))


@functools.cache
def _grammar() -> _Grammar:
    return _Grammar()


def read_statements(text: str, names: Names) -> Reading:
    """Return what the text states about the names, sentence by sentence."""
    reading, sentence = Reading(), []
    for item in [*names.mark(tokens(text)), "."]:
        if item not in _ENDS:
            sentence.append(item)
        elif sentence:
            _read(reading, _grammar(), sentence, item)
            sentence = []
    if reading.doubted:
        for statement in reading.statements:
            statement.plain = False
    return reading


def _read(reading: Reading, grammar: _Grammar, sentence: list[str | Mention], end: str) -> None:
    """Take in a sentence without its end mark."""
    reading.sentences += 1
    mentions = [item for item in sentence if isinstance(item, tuple)]
    line = [item if isinstance(item, str) else None for item in sentence]
    reading.uncertain |= grammar.has(line, "uncertain")
    key = grammar.key(line)
    asks = end == "?" or line[0] in grammar.sets["asking"]
    forms, concluded = [] if asks else grammar.match(key, line), grammar.concluded(sentence)
    reading.conclusions |= {} if asks else {reading.sentences: concluded}
    reading.concluding += bool(concluded) or (len(mentions) == 1 and len(line) == 1)
    if forms and forms[0].relations:
        _state(reading, forms, mentions, plain=True)
    elif forms and forms[0].remark in (*AGAINST, *TAKING_BACK):
        _take_back(reading, forms[0].remark in TAKING_BACK)
    if forms or concluded:
        reading.read += 1
        return
    everything, denies = grammar.doubts(line, asks, end == "¶")
    reading.doubted |= everything
    doubts = grammar.has(line, "doubt", "frame", "hedge")
    if denies or (any(mentions) and (doubts or grammar.has(line, "no"))):
        points = grammar.has(line, "pointer")
        reading.denials[reading.sentences] = Denial(frozenset(itertools.chain(*mentions)), points)
    opening = line[: line.index(None)] if mentions else []  # "there is no evidence that ..."
    unsure = doubts or asks or grammar.has(opening, "no", "uncertain")
    for one, other, forms in grammar.clauses(key) if not unsure else ():
        _state(reading, forms, [mentions[one], mentions[other]], plain=False)


def _state(reading: Reading, forms: list[_Form], mentions: Sequence[Mention], plain: bool) -> None:
    meanings: list[Triple] = []
    for form in forms:
        ends = dict(zip(form.slots, mentions, strict=False))
        meanings += itertools.product(ends["h"], form.relations, ends["t"])
    meanings = [(head, relation, tail) for head, relation, tail in meanings if head != tail]
    reading.statements.append(Statement(tuple(meanings), forms[0].affirmed, reading.sentences, plain))


def _take_back(reading: Reading, wholly: bool) -> None:
    """Doubt what is affirmed or concluded in the sentences right before; `wholly`: it is withdrawn."""
    sentence = reading.sentences
    if wholly:
        reading.conclusions.pop(sentence - 1, None)
    for statement in reversed(reading.statements):
        if statement.withdrawn or not statement.affirmed or statement.sentence < sentence - 1:
            break
        statement.plain, sentence, statement.withdrawn = False, statement.sentence, wholly
