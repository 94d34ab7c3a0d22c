"""Statements in running text: which entity is said to stand in which relation to which, affirmed or denied.

A clause is read where all of it is a phrase of assets/teacher.yaml or claims.yaml around two names, or that with one
"not" in it. What asks, supposes, reports or hedges is therefore no statement, nor what denies twice: it is another
sentence. What is taken back afterwards is marked so. Time is linear in the text.

Left out: pronouns, facts told over several sentences, clauses in other words than the phrases (counted as unread).
"""

import functools
import itertools
import re
import string
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fleming.questions.phrases import read_phrases
from fleming.sources.vocabulary import FEATURES, RELATIONS
from fleming.text import fold

Triple = tuple[str, str, str]
Mention = tuple[str, ...]
"""The entities that a name in the text may mean; words are plain strings."""
Group = list[Mention]
ANY = tuple(RELATIONS)
DENIALS = {"denial": ANY, "open denial": ANY, "feature denial": FEATURES}
TAKING_BACK, GUESSES = ("retract", "correct"), ("suspect", "recall", "compare")
REMARKS = (*TAKING_BACK, *GUESSES, "no fit", "not here", "rare", "conclude")
REMARKS += ("root found", "start clues", "start name")
LISTS = {"filler", "same", "before", "between", "list", "not", "asking", "no", "doubt", "pointer", "uncertain"}
ENDS = frozenset(".!?;¶。")
_TOKEN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]|\d+(?:\.\d+)+|[^\W_\u3400-\u9fff\uf900-\ufaff]+|[^\w\s*`]|_")
_REWRITTEN = [(r"(?<=\w)'s\b", ""), (r"n't\b", " not"), (r"\bcannot\b", "not"), (r"(?<=\w)-(?=\w)", " ")]


def tokens(text: str) -> list[str]:
    """Return the words of the folded text without accents and a closing s, Chinese characters and marks one by one."""
    text = fold(text.replace("\n", " ¶ "))
    if not text.isascii():
        text = "".join(c for c in unicodedata.normalize("NFD", text) if not unicodedata.combining(c))
    for found, instead in _REWRITTEN:
        text = re.sub(found, instead, text)
    return [_stem(word) for word in _TOKEN.findall(text)]


def _stem(word: str) -> str:
    return word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] not in "sui" else word


class Names:
    """The names to look for, as a tree of words; of several that begin at a word the longest is meant."""

    def __init__(self, named: Iterable[tuple[str, str]]) -> None:
        """named: (name, entity). Names that the phrases use as words, and single letters, are not looked for."""
        self.tree: dict = {}
        for name, entity in named:
            words = tokens(name)
            if not words or (len(words) == 1 and (words[0] in _grammar().words or words[0] in string.ascii_lowercase)):
                continue
            node = self.tree
            for word in words:
                node = node.setdefault(word, {})
            node.setdefault("", {})[entity] = None

    def mark(self, words: list[str]) -> list[str | Mention]:
        """Return the words with a Mention in place of each name."""
        marked: list[str | Mention] = []
        at = 0
        while at < len(words):
            node, end, meant = self.tree, at + 1, words[at]
            for place in range(at, len(words)):
                node = node.get(words[place])
                if node is None:
                    break
                if "" in node:
                    end, meant = place + 1, tuple(node[""])
            marked.append(meant)
            at = end
        return marked


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


@dataclass
class Reading:
    """What a text says."""

    statements: list[Statement] = field(default_factory=list)
    conclusions: list[tuple[Mention, str]] = field(default_factory=list)
    """What is concluded, and by which letter ("" where none is named)."""
    sentences: int = 0
    read: int = 0
    """Sentences of which every clause was read."""
    uncertain: bool = False
    """Whether it says that something is not known."""


@dataclass(frozen=True)
class _Form:
    """What a phrase says of its slots: a relation, or a remark."""

    slots: str
    relations: tuple[str, ...] = ()
    affirms: bool = True
    remark: str = ""


class _Grammar:
    """The phrases by their words, None for a name."""

    def __init__(self) -> None:
        teacher, own = read_phrases("teacher").phrases, read_phrases("claims").phrases
        self.lists = {key: [tuple(tokens(phrase)) for phrase in own[key]] for key in own.keys() & LISTS}
        self.sets = {key: frozenset(words[0] for words in rows) for key, rows in self.lists.items()}
        self.filler, self.same = self.sets["filler"], dict(self.lists["same"])
        self.forms: dict[tuple, list[_Form]] = {}
        for key, phrases in [*teacher.items(), *own.items()]:
            for phrase in phrases:
                if key in RELATIONS:
                    self._add(phrase, (key,), True, "")
                elif key in DENIALS and "{noun}" not in phrase:
                    self._add(phrase, DENIALS[key], False, "")
                elif key in REMARKS:
                    self._add(phrase, (), True, key)
        self.words = {word for key in self.forms for word in key}.union(*self.sets.values())

    def _add(self, phrase: str, relations: tuple[str, ...], affirms: bool, remark: str) -> None:
        words: list[str | None] = []
        slots = ""
        for literal, slot, _, _ in string.Formatter().parse(phrase):
            words += tokens(literal)
            if slot:
                words.append(None)
                slots += slot
        key = self.key([word for word in words if word not in ENDS])
        self.forms.setdefault(key, []).append(_Form(slots, relations, affirms, remark))

    def key(self, items: Sequence[str | Mention | None]) -> tuple[str | None, ...]:
        """Return the items as a phrase is looked up."""
        words = [self.same.get(item, item) if isinstance(item, str) else None for item in items]
        words = [word for word in words if word not in self.filler]
        start = 0
        while skipped := next((len(b) for b in self.lists["before"] if tuple(words[start : start + len(b)]) == b), 0):
            start += skipped
            start += words[start : start + 1] == [","]
        return tuple(words[start:])

    def match(self, items: Sequence[str | Mention | Group]) -> list[tuple[_Form, bool]]:
        """Return what the clause says, each with whether it is affirmed; nothing where it is in other words."""
        key = self.key(items)
        if key in self.forms:
            return [(form, form.affirms) for form in self.forms[key]]
        found = [
            (at, len(words))
            for at in range(len(key))
            for words in self.lists["not"]
            if key[at : at + len(words)] == words
        ]
        if len(found) != 1:
            return []  # twice is not said here
        at, length = found[0]
        affirmed = self.forms.get(key[:at] + key[at + length :], ())
        return [(form, False) for form in affirmed if form.relations and form.affirms]

    def grouped(self, items: Sequence[str | Mention]) -> list[str | Mention | Group]:
        """Return the items with each list of names, closed by an "and", as one."""
        found: list[str | Mention | Group] = []
        at = 0
        while at < len(items):
            end, is_list = at + 1, False
            while isinstance(items[at], tuple):
                next_name = end
                while next_name < len(items) and next_name < end + 2 and items[next_name] in self.sets["list"] | {","}:
                    next_name += 1
                if next_name == end or next_name == len(items) or not isinstance(items[next_name], tuple):
                    break
                is_list |= items[next_name - 1] != ","
                end = next_name + 1
            names = [item for item in items[at:end] if isinstance(item, tuple)]
            found += [names] if is_list else items[at:end]
            at = end
        return found


@functools.cache
def _grammar() -> _Grammar:
    return _Grammar()


def read_statements(text: str, names: Names) -> Reading:
    """Return what the text states about the names, sentence by sentence."""
    reader = _Reader(_grammar())
    sentence: list[str | Mention] = []
    for item in [*names.mark(tokens(text)), "."]:
        if isinstance(item, str) and item in ENDS:
            if sentence:
                reader.take(sentence, item)
            sentence = []
        else:
            sentence.append(item)
    return reader.done()


@dataclass
class _Reader:
    """A text, read so far."""

    grammar: _Grammar
    reading: Reading = field(default_factory=Reading)
    guessed: int = 0
    """How many statements stood before the last guess."""
    doubted: bool = False
    """Whether a sentence casts doubt on others, nobody can say which."""

    def take(self, sentence: list[str | Mention], end: str) -> None:
        """Read one more sentence."""
        reading, grammar = self.reading, self.grammar
        reading.sentences += 1
        words = {item for item in sentence if isinstance(item, str)}
        line = f" {' '.join(item if isinstance(item, str) else '-' for item in sentence)} "
        reading.uncertain |= any(f" {' '.join(phrase)} " in line for phrase in grammar.lists["uncertain"])

        sentence, letter = _without_letter(sentence)
        asks = end == "?" or sentence[:1] == [] or sentence[0] in grammar.sets["asking"]
        clauses = [] if asks else self.clauses([item for item in sentence if item not in grammar.filler])
        whole = bool(clauses) and all(found for _, found in clauses)
        reading.read += whole
        unsure = words & grammar.sets["doubt"] or len(clauses) > 1 and words & grammar.sets["no"]
        for items, found in clauses:
            if found and (whole or not unsure):
                self.add(items, found, whole, letter)
        if not whole and words & grammar.sets["pointer"]:
            names_nothing = not any(isinstance(item, tuple) for item in sentence)
            self.doubted |= bool(words & grammar.sets["doubt"] or names_nothing and words & grammar.sets["no"])

    def clauses(self, items: list[str | Mention]) -> list[tuple[list, list[tuple[_Form, bool]]]]:
        """Return the whole where it can be read, else its clauses, each with what it says."""
        for whole in (items, self.grammar.grouped(items)):
            if found := self.grammar.match(whole):
                return [(whole, found)]
        parts: list[list] = [[]]
        for item in whole:
            if isinstance(item, str) and item in self.grammar.sets["between"]:
                parts.append([])
            else:
                parts[-1].append(item)
        return [(part, self.grammar.match(part)) for part in parts if part]

    def add(self, items: list, found: list[tuple[_Form, bool]], whole: bool, letter: str) -> None:
        """Take in what a clause says."""
        reading, mentions = self.reading, [item for item in items if not isinstance(item, str)]
        affirmed, remark = found[0][1], found[0][0].remark
        if remark:
            self.remark(remark, mentions, letter)
            return
        groups = [item if isinstance(item, list) else [item] for item in mentions]
        for said in itertools.product(*groups):
            meanings = []
            for form, _ in found:
                ends = dict(zip(form.slots, said, strict=True))
                meanings += itertools.product(ends["h"], form.relations, ends["t"])
            reading.statements.append(Statement(tuple(meanings), affirmed, reading.sentences, plain=whole))

    def remark(self, remark: str, mentions: list, letter: str) -> None:
        """Take in what the text says of itself."""
        reading, statements = self.reading, self.reading.statements
        if remark in GUESSES:
            self.guessed = len(statements)
        elif remark == "conclude":
            reading.conclusions.append((mentions[0] if isinstance(mentions[0], tuple) else (), letter))
        elif remark in ("no fit", "not here"):
            for statement in _last(statements, reading.sentences - 1):
                statement.plain = False
        elif remark in TAKING_BACK:
            for statement in statements[self.guessed :]:
                statement.plain = False
            self.guessed = len(statements)
            sentence = reading.sentences
            for statement in reversed(statements):
                if statement.withdrawn or not statement.affirmed or statement.sentence < sentence - 1:
                    break
                statement.withdrawn, sentence = True, statement.sentence

    def done(self) -> Reading:
        for statement in self.reading.statements if self.doubted else ():
            statement.plain = False
        return self.reading


def _last(statements: list[Statement], sentence: int) -> Iterable[Statement]:
    return itertools.takewhile(lambda statement: statement.sentence == sentence, reversed(statements))


def _without_letter(sentence: list[str | Mention]) -> tuple[list[str | Mention], str]:
    """Return the sentence without an option's letter that closes it: "trientine (B)"; or "B", as if it were a name."""
    if len(sentence) > 2 and sentence[-3] == "(" and sentence[-1] == ")" and _is_letter(sentence[-2]):
        return sentence[:-3] or [()], sentence[-2].upper()
    if _is_letter(sentence[-1]):
        return [*sentence[:-1], ()], sentence[-1].upper()
    return sentence, ""


def _is_letter(item: str | Mention) -> bool:
    return isinstance(item, str) and len(item) == 1 and item in string.ascii_lowercase
