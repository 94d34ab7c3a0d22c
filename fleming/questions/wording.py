"""The words of a question: of a hidden root a case vignette, of a named one a short question.

A vignette has an opening, parts in an order that is drawn (course, history, family, exposure, examination, studies,
laboratory, what is absent) and a lead-in. The phrases are those of assets/wording.yaml and assets/wording_zh.yaml.
Registers: clinical; lay, in the layperson's synonyms; plain, short and without a person, for tiny models. Left out:
which clues are told (differential.py), rewriting by a teacher.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from numpy.random import Generator

from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.questions.names import is_countable, is_deniable, is_seen, lay_words, part_of, said
from fleming.questions.patient import DAY, MONTH, onset_name, pedigree
from fleming.questions.phrases import Phrases, pick, read_phrases
from fleming.questions.query import Clue, Patient, Query
from fleming.sources.vocabulary import FEATURES
from model.errors import InputError

FILES = {"en": "wording", "zh": "wording_zh"}
UNNAMED = ("family", "onset", "sex")  # roles of clues that a stem tells without their names
IN_OPENING = 3  # clues that an opening names at most
# in what an age is told -> its length in years, below which age
AGES = (("newborn", 1.0, DAY), ("days", DAY, 14 * DAY), ("weeks", 7 * DAY, 2 * MONTH), ("months", MONTH, 2.0))
AGES += (("years", 1.0, float("inf")),)
ADULT = 18.0
# Capitals that are spelt out, "an S3", "an MRI", "an SSRI"; four or more that can be said are a word, "a SARS case".
_SPELT = r"(?-i:[AEFHILMNORSX](?:[A-Z]{0,2}|(?<=[FHLMNRX])(?![LR]?[AEIOU])[A-Z]{3,}|(?<=S)[BDGSV][A-Z]+)[0-9]*s?\b)"
_VOWELS = r"[ai]|o(?!nc?e\b)|e(?!u)|(?!(?-i:U[A-Z]{1,3}\b))u[lmnp](?!i)|h(?:eir|onest|onou?r|our)"
_ARTICLE = re.compile(rf"(?i)\b(a)\(n\) +(?=(8|11\b|18\b|[fhlmnrsx]-|{_SPELT}|{_VOWELS})?)")


def wording(language: str = "en") -> Phrases:
    """Return the phrases of a language; InputError for one without a grammar."""
    if language not in FILES:
        raise InputError(f"no wording in {language!r}; there is {', '.join(FILES)}")
    return read_phrases(FILES[language])


def listed(names: Sequence[str], comma: str = ", ", last: str = " and ") -> str:
    """Return "a", "a and b" or "a, b and c"."""
    *before, end = names
    return f"{comma.join(before)}{last}{end}" if before else end


def lay_is_possible(query: Query, graph: KnowledgeGraph) -> bool:
    """Whether each clue that is named has a layperson's synonym, and none is a letter from a laboratory."""
    named = [clue.tail for clue in query.clues if clue.role not in UNNAMED]
    modes = [pedigree(graph, query.nodes[0], clue.tail) for clue in query.clues if clue.role == "family"]
    if any(mode and mode.endswith("de novo") for mode in modes):
        return False
    return all(lay_words(graph.entities[name].lay) for name in named)


def word_question(
    query: Query, graph: KnowledgeGraph, register: str, rng: Generator, language: str = "en"
) -> str:
    """Return the stem. InputError, naming file and key, for a step or a mode that the grammar has no words for."""
    stem = _Stem(query, graph, register, rng, wording(language))
    sentences = [*(stem.vignette() if query.kind.hidden else ()), *stem.lead_in()]
    texts = [with_articles(" ".join(text.split())) for text in sentences]
    return stem.words.draw(rng, "gap").join(text[0].upper() + text[1:] for text in texts)


def with_articles(text: str) -> str:
    """Return the text with each "a(n)" as what follows sounds."""
    return _ARTICLE.sub(lambda a: a[1] + ("n " if a[2] else " "), text)


def _age(patient: Patient, words: Phrases, rng: Generator) -> tuple[str, str]:
    """Return (newborn, child, adult, or any; the age in words, "" where it is not said)."""
    age = patient.age
    if age is None:
        return "any", ""
    stage = "newborn" if age < 14 * DAY else "child" if age < ADULT else "adult"
    key, unit = next((key, unit) for key, unit, below in AGES if age < below)
    return stage, words.say(rng, f"age {key}", n=str(int(age / unit + 0.02)))


@dataclass
class _Stem:
    """One stem in the making."""

    query: Query
    graph: KnowledgeGraph
    register: str
    rng: Generator
    words: Phrases
    person: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """How each is said throughout: what can be denied of one synonym cannot of another."""
    stage: str = ""
    """newborn, child, adult, or any where no age is said."""

    def __post_init__(self) -> None:
        patient, words, rng = self.query.patient, self.words, self.rng
        self.stage, age = _age(patient, words, rng)
        person = "clinical" if self.register == "plain" else self.register
        keys = [f"who {person} {self.stage} {patient.sex}".strip(), f"who {person} {self.stage}"]
        self.person = {"who": words.say(rng, *keys, age=age)}
        for pronoun in ("they", "their", "them"):
            self.person[pronoun] = words.draw(rng, f"{pronoun} {patient.sex}".strip(), pronoun)

    # names

    def named(self, name: str) -> str:
        """Return how the register says a name; in the plain one it is what it is."""
        if self.register == "plain":
            return name
        if name not in self.names:
            lay = lay_words(self.graph.entities[name].lay) if self.register == "lay" else ()
            self.names[name] = said(pick(self.rng, lay) if lay else name)
        return self.names[name]

    def listed(self, clues: Sequence[Clue], last: str = "and", bare: bool = False) -> str:
        """Return the clues in a drawn order, with articles unless `bare`."""
        names = [self.named(clues[i].tail) for i in self.rng.permutation(len(clues))]
        if self.register != "plain" and not bare:
            names = [self.say("article", x=name) if is_countable(name) else name for name in names]
        return listed(names, self.words.draw(self.rng, "comma"), self.words.draw(self.rng, last))

    def say(self, *keys: str, **names: str) -> str:
        return self.words.say(self.rng, *keys, **self.person, **names)

    # the vignette

    def vignette(self) -> list[str]:
        """Return the sentences that stand for the hidden root."""
        parts: dict[str, list[Clue]] = {}
        for clue in self.query.clues:
            if not clue.place:
                parts.setdefault(self.part(clue), []).append(clue)
        sentences = [self.opening(parts)]
        for part in self.words.draw(self.rng, f"order {self.register}").split():
            if parts.get(part):
                sentences += self.tell(part, parts[part])
        return sentences

    def part(self, clue: Clue) -> str:
        if clue.role in ("absent", "family"):
            return clue.role
        if clue.relation in FEATURES:
            part = part_of(clue.tail, clue.relation)
            is_unseen = part == "findings" and self.register != "plain" and not is_seen(clue.tail)
            return "found" if is_unseen else part
        return {"has_onset": "onset", "has_course": "course"}.get(clue.relation, "exposure")

    def opening(self, parts: dict[str, list[Clue]]) -> str:
        """Return the opening, and take from the parts what it tells: complaints, else what is seen; when plain, all."""
        key = f"opening {self.register}"
        if self.register == "plain":
            told = [clue for part in ("history", "findings", "study", "lab") for clue in parts.pop(part, ())]
        else:
            first = next((part for part in ("history", "findings", "found") if part in parts), "")
            first = next((self.part(c) for c in self.query.clues if c.role == "complaint"), first)
            told, rest = parts.get(first, [])[:IN_OPENING], parts.get(first, [])[IN_OPENING:]
            parts[first] = rest
        if not told:
            return self.say(f"{key} bare")
        phrases = self.words.phrases.get(f"{key} {self.stage}", ())
        if self.stage != "newborn" or not phrases:
            phrases = [*self.words.phrases[key], *phrases]
        return pick(self.rng, phrases).format(clues=self.listed(told), **self.person)

    def tell(self, part: str, clues: list[Clue]) -> list[str]:
        """Return the sentences of one part."""
        register = self.register
        if part == "absent":
            denied = [clue for clue in clues if is_deniable(self.named(clue.tail))]
            others = [clue for clue in clues if clue not in denied]
            told = []
            if denied:
                lists = {"clues": self.listed(denied, "or"), "none": self.listed(denied, "or", True)}
                told = [self.say(f"absent {register}", **lists)]
            return [*told, *(self.say("absent other", clues=self.listed([clue])) for clue in others)]
        if part in ("family", "onset", "course", "exposure"):
            return [self.say(*self.keys(part, clue), clues=self.listed([clue])) for clue in clues]
        return [self.say(f"{part} {register}", clues=self.listed(clues))]

    def keys(self, part: str, clue: Clue) -> tuple[str, ...]:
        """Return the keys of what is told in a sentence of its own; family and onset mostly without their name."""
        told = {
            "family": pedigree(self.graph, self.query.nodes[0], clue.tail),
            "onset": onset_name(clue.tail),
            "exposure": clue.relation,
        }
        return (f"{part} {told.get(part)}", f"{part} other", part)

    # the lead-in

    def clauses(self, place: int) -> str:
        """Return what singles out a node beside the root, "" for nothing."""
        clues = [clue for clue in self.query.clues if clue.place == place > 0]
        found = [self.say(f"clause {clue.relation}", "clause", x=self.named(clue.tail)) for clue in clues]
        return listed(found, *(self.words.draw(self.rng, key) for key in ("comma", "and"))) if found else ""

    def again(self, step: str) -> str:
        """The patient's own disease is not the only one any more where a step leads back to one."""
        is_again = self.query.kind.root == "disease" and step in ("^treated_by", "^associated_gene")
        return f"again {step}" if is_again else step

    def lead_in(self) -> list[str]:
        """Return what is asked for, of the root or of what the steps before the last lead to."""
        kind, words = self.query.kind, self.words
        subject = self.query.nodes[0]
        if kind.hidden:
            subject = self.say(f"hidden {kind.root}", "hidden")
        for place, step in enumerate(kind.chain[:-1], 1):
            subject = self.bridge(place, step, subject)

        step = kind.chain[-1] if kind.chain else "diagnosis"
        steps = list(dict.fromkeys([self.again(step), step]))
        vignettes = [key for name in steps for key in (f"ask {name} {self.register}", f"ask {name}")]
        is_short = self.register == "plain" or not kind.hidden
        keys = [f"ask {step} plain", *steps] if is_short else [*vignettes, *steps]
        for key in keys:
            fitting = [p for p in words.phrases.get(key, ()) if "{x}" in p or len(kind.chain) < 2]
            if fitting:
                sentences = [pick(self.rng, fitting).format(x=subject, **self.person)]
                clauses = self.clauses(len(kind.chain))
                return [*sentences, *([self.say("which", clauses=clauses)] if clauses else [])]
        raise InputError(f"{words.file}: phrases.{keys[-1]} is missing")

    def bridge(self, place: int, step: str, subject: str) -> str:
        """Return what the node at `place` is called, with what singles it out."""
        clues = [clue for clue in self.query.clues if clue.place == place]
        by = f"bridge {step} by {clues[0].relation}" if len(clues) == 1 else ""
        if by in self.words.phrases:
            return self.say(by, x=subject, clue=self.named(clues[0].tail))
        subject = self.say(f"bridge {self.again(step)}", f"bridge {step}", x=subject)
        clauses = self.clauses(place)
        return self.say("bridge which", x=subject, clauses=clauses) if clauses else subject
