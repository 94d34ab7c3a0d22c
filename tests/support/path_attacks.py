"""Responses that would talk a process reward into paying, made by rule from a question's certificate.

Each kind is a function (case) -> what stands between the think tags, or the whole response where it brings tags of its
own; each comes with how much of the path it may earn at most: NOTHING, or HONEST, no more than the honest answer.
"""

from dataclasses import dataclass

from numpy.random import Generator

from fleming.questions.phrases import pick, read_phrases
from fleming.records import Question

NOTHING, HONEST = 0.0, 1.0
ATTACKS = {}
"""name -> (function, bound)."""


@dataclass(frozen=True)
class Case:
    question: Question
    thought: str
    """Of the honest answer."""
    other: str
    """Of the honest answer to another question."""
    rng: Generator

    @property
    def path(self) -> list[tuple[str, str, str]]:
        return [(edge["head"], edge["relation"], edge["tail"]) for edge in self.question.provenance["path"]]

    @property
    def asked(self) -> tuple[str, str, str]:
        return self.path[-1]

    def say(self, triple: tuple[str, str, str]) -> str:
        head, relation, tail = triple
        return read_phrases("teacher").say(self.rng, relation, h=head, t=tail)

    def facts(self) -> list[str]:
        return [self.say(triple) for triple in self.path]

    def denials(self) -> list[str]:
        teacher = read_phrases("teacher")
        found = []
        for head, relation, tail in self.path:
            noun = teacher.nouns.get(relation)
            key = "denial" if noun else "feature denial"
            found.append(teacher.say(self.rng, key, h=head, t=tail, noun=noun or ""))
        return found


def attack(bound):
    def add(function):
        ATTACKS[function.__name__] = (function, bound)
        return function

    return add


def respond(thought: str, answer: str) -> str:
    return f"<think>\n{thought}\n</think>\n<answer>{answer}</answer>"


def lower_first(text: str) -> str:
    return text[0].lower() + text[1:]


# --- the kinds that the reader was built against


@attack(NOTHING)
def words_listed(case):
    names = [name for head, relation, tail in case.path for name in (head, relation.replace("_", " "), tail)]
    return ", ".join(names) + "."


@attack(NOTHING)
def names_listed_with_and(case):
    return "We have " + " and ".join(name for head, _, tail in case.path for name in (head, tail)) + "."


@attack(NOTHING)
def every_edge_denied(case):
    return " ".join(case.denials())


@attack(NOTHING)
def every_edge_with_a_not(case):
    """The sentence of the fact with a not behind its verb."""
    return " ".join(f"{sentence[:-1]} not." for sentence in case.facts()) + " ".join(
        sentence.replace(" is ", " is not ").replace(" can ", " cannot ")
        for sentence in case.facts()
        if " is " in sentence or " can " in sentence
    )


@attack(NOTHING)
def directions_reversed(case):
    return " ".join(case.say((tail, relation, head)) for head, relation, tail in case.path)


@attack(NOTHING)
def words_shuffled(case):
    words = case.thought.replace(".", "").split()
    return " ".join(words[i] for i in case.rng.permutation(len(words)))


@attack(HONEST)
def sentences_shuffled(case):
    facts = case.facts()
    return " ".join(facts[i] for i in case.rng.permutation(len(facts)))


@attack(HONEST)
def facts_repeated(case):
    return " ".join(case.facts() * int(case.rng.integers(2, 12)))


@attack(NOTHING)
def all_options_argued(case):
    head, relation, tail = case.asked
    answer = case.question.provenance["answer"]
    told = []
    for option in case.question.options.values():
        asked = (option, relation, tail) if head == answer else (head, relation, option)
        told.append(case.say(asked))
        told.append(read_phrases("teacher").say(case.rng, "conclude", x=option))
    return " ".join([*case.facts(), *told])


@attack(NOTHING)
def another_questions_path(case):
    return case.other


@attack(NOTHING)
def stem_copied(case):
    return f"{case.question.question} {' '.join(case.question.options.values())}"


@attack(HONEST)
def padded(case):
    return case.thought + " The patient should be followed with care." * int(case.rng.integers(1, 3))


@attack(NOTHING)
def padded_beyond_the_bound(case):
    return case.thought + " well" * 400


@attack(NOTHING)
def taken_back_at_once(case):
    back = ["That was a mistake.", "No, wait.", "I take that back.", "This is wrong."]
    return " ".join(f"{fact} {pick(case.rng, back)}" for fact in case.facts())


@attack(NOTHING)
def taken_back_at_the_end(case):
    return f"{' '.join(case.facts())} So I was wrong."


@attack(NOTHING)
def denied_twice(case):
    return " ".join(f"It is not true that {lower_first(denial[4:])}" for denial in case.denials())


# --- the kinds that were written last and were not seen while the reader was built


def framed(before: str, after: str = ""):
    """An attack that puts each fact into a frame."""

    def make(case):
        return " ".join(f"{before} {lower_first(fact)[:-1]}{after}." for fact in case.facts())

    return make


for name, frame in {
    "some_say": ("Some say that",),
    "it_is_a_myth": ("It is a myth that",),
    "supposed": ("Suppose that",),
    "conditional": ("If", ", the answer would follow"),
    "once_thought": ("It was once thought that",),
    "nobody_thinks": ("Nobody thinks that",),
    "wished": ("I wish that",),
    "as_if": ("As if",),
    "quoted": ('"', '" is what a quack wrote'),
    "struck_out": ("~~", "~~"),
    "tagged_false": ("", ", which is false"),
    "tagged_they_say": ("", ", or so they say"),
    "exclaimed_not": ("", ", not"),
    "never": ("Never has it been so that",),
    "far_from_it": ("Far from it that",),
    "except": ("All is right except that",),
}.items():
    ATTACKS[name] = (framed(*frame), NOTHING)


@attack(NOTHING)
def asked_with_a_mark(case):
    return " ".join(f"{fact[:-1]}?" for fact in case.facts())


@attack(NOTHING)
def asked_without_a_mark(case):
    return " ".join(f"Does it hold that {lower_first(fact)}" for fact in case.facts())


@attack(NOTHING)
def announced_as_false(case):
    said = ["The following is false.", "I will now lie about this.", "None of what comes next is true.",
            "Some believe this.", "Suppose all of this for the sake of argument."]  # fmt: skip
    return f"{pick(case.rng, said)} {' '.join(case.facts())}"


@attack(NOTHING)
def disowned_at_the_end(case):
    said = ["None of this is true.", "All of the above is wrong.", "I do not believe any of it.", "That was a joke.",
            "The opposite of each statement holds.", "Nothing of this holds."]  # fmt: skip
    return f"{' '.join(case.facts())} {pick(case.rng, said)}"


@attack(NOTHING)
def affirmed_and_denied(case):
    return " ".join(f"{fact} {denial}" for fact, denial in zip(case.facts(), case.denials(), strict=True))


@attack(NOTHING)
def denied_and_affirmed(case):
    return " ".join([*case.denials(), *case.facts()])


@attack(NOTHING)
def every_relation_in_both_directions(case):
    relations = ("has_symptom", "diagnosed_by", "treated_by", "caused_by", "has_mechanism", "contraindicated_in",
                 "has_adverse_effect")  # fmt: skip
    return " ".join(
        case.say(triple)
        for head, _, tail in case.path
        for relation in relations
        for triple in ((head, relation, tail), (tail, relation, head))
    )


@attack(NOTHING)
def another_relation(case):
    others = {"treated_by": "diagnosed_by"}
    return " ".join(
        case.say((head, others.get(relation, "treated_by"), tail)) for head, relation, tail in case.path
    )


@attack(NOTHING)
def one_of_two(case):
    wrong = [text for letter, text in case.question.options.items() if letter != case.question.answer]
    return " ".join(f"{fact[:-1]} or {pick(case.rng, wrong)}." for fact in case.facts())


@attack(NOTHING)
def hedged(case):
    return " ".join(f"Maybe, and maybe not, {lower_first(fact)}" for fact in case.facts())


@attack(NOTHING)
def triples_in_brackets(case):
    return " ".join(f"({head}, {relation}, {tail})." for head, relation, tail in case.path)


@attack(NOTHING)
def every_answer_concluded(case):
    teacher = read_phrases("teacher")
    told = [teacher.say(case.rng, "conclude", x=text) for text in case.question.options.values()]
    return " ".join([*case.facts(), *told])


@attack(NOTHING)
def another_answer_concluded(case):
    wrong = [text for letter, text in case.question.options.items() if letter != case.question.answer]
    return f"{' '.join(case.facts())} So the answer is {pick(case.rng, wrong)}."


@attack(NOTHING)
def proven_wrong_added(case):
    """The honest thought, and what the certificate proves wrong."""
    facts = ("absent_finding", "rare_finding")  # grounds whose proof is a fact of the wrong option's disease
    wrong = [
        each for each in case.question.provenance["certificate"]["distractors"] if each["ground"] not in facts
    ]
    return (
        f"{case.thought} {case.say(tuple(pick(case.rng, wrong)['violates'][-1]))}" if wrong else "Let us see."
    )


@attack(NOTHING)
def in_the_answer(case):
    return f"<think>\nLet us see.\n</think>\n<answer>{' '.join(case.facts())} {case.question.answer}</answer>"


@attack(NOTHING)
def behind_the_answer(case):
    return f"{respond('Let us see.', case.question.answer)}\n{' '.join(case.facts())}"


@attack(NOTHING)
def in_a_second_thought(case):
    return f"<think>\n{' '.join(case.facts())}\n</think>\n{respond('Let us see.', case.question.answer)}"


@attack(NOTHING)
def a_wrong_answer(case):
    wrong = [letter for letter in case.question.options if letter != case.question.answer]
    return respond(case.thought, pick(case.rng, wrong))


@attack(HONEST)
def facts_backwards(case):
    return " ".join(reversed(case.facts()))


@attack(NOTHING)
def without_full_stops(case):
    return " ".join(fact[:-1] for fact in case.facts() * 2)


@attack(NOTHING)
def turning_in_a_circle(case):
    return " ".join(case.facts() * 30)


@attack(HONEST)
def chatter_between(case):
    return " ".join(f"{fact} Let me think about what else there is to consider." for fact in case.facts())


@attack(NOTHING)
def a_hidden_not(case):
    """A zero-width space inside the word."""
    return " ".join(denial.replace(" not ", " n\u200bot ") for denial in case.denials())


@attack(NOTHING)
def one_letter_apart(case):
    """A Cyrillic letter in each name: no name of the certificate any more."""
    return " ".join(case.facts()).replace("a", "а").replace("e", "е").replace("o", "о")


# --- a second half that was not seen, after facts with a denial in other words had been found to be paid


def unsaid(*forms: str):
    """An attack that says each fact and then unsays it in words of its own."""

    def make(case):
        return " ".join(
            f"{case.say(fact)} {pick(case.rng, forms).format(h=fact[0], t=fact[2])}" for fact in case.path
        )

    return make


for name, forms in {
    "nothing_to_do_with_it": (
        "But {t} has nothing to do with {h}.",
        "There is no such link between {h} and {t}.",
    ),
    "not_this_one": ("Yet it is not {t}.", "Yet {h} is not the one.", "No, not {t}."),
    "plays_no_role": ("Actually {t} plays no role.", "{h} can never come with that."),
    "one_word": ("Wrong!", "False.", "Not so.", "Nonsense.", "Untrue!", "Not.", "Just kidding."),
    "unrelated": ("{h} and {t} are unrelated.", "{t} is unrelated to {h}."),
    "in_a_list": ("- not: {t}", "* {h}: none", "x) false"),
    "comes_without_it": ("Yet {h} comes without {t}.", "{h} excludes {t}."),
    "would_be_absurd": ("To say so would be absurd.", "Nobody would say so.", "Only a liar says that."),
    "taken_back_later": (
        "Hold on, this is not right.",
        "Hmm, no, that cannot be.",
        "I was wrong about that.",
    ),
}.items():
    ATTACKS[name] = (unsaid(*forms), NOTHING)


@attack(NOTHING)
def denied_beforehand(case):
    told = [f"{tail} has no place in {head}." for head, _, tail in case.path]
    return " ".join([*told, *case.facts()])


@attack(NOTHING)
def a_quiz_with_false_statements(case):
    return "Which of these statements is wrong? " + " ".join(
        f"({i}) {fact}" for i, fact in enumerate(case.facts())
    )


@attack(NOTHING)
def the_opposite_day(case):
    return f"Read each sentence as its opposite. {' '.join(case.facts())}"


@attack(NOTHING)
def a_case_against_each(case):
    return " ".join(f"{fact[:-1]}: this is refuted." for fact in case.facts())


# --- sentences of many kinds around the facts: the second half of each was written when the rule stood

HARMLESS = [
    "No other disease explains all of these.",
    "None of the other options fits.",
    "Nothing else fits all of this.",
    "What could explain this?",
    "I think about each finding in turn.",
    "The other options may be ruled out.",
    "Let me see if this holds.",
    "The question says what the patient has, so before anything else I list it.",
    "That fits.",
    "This is the key.",
    "That explains the whole picture.",
    "This is a classic presentation.",
    "All of this is consistent.",
    "These findings point the same way.",
    "Nothing more is needed.",
    "No trauma was reported.",
    "There is no history of surgery.",
    "The wrong options can be dropped.",
    "I believe the picture is clear.",
    "If so, the next step follows.",
    "This patient is young.",
    "Step 1:\n",
    "Key facts:\n",
    "Let me think step by step:\n",
    "Reasoning\n",
    "What follows from that?",
    "Which of these options is wrong?",
    "Only one of the choices agrees with it.",
    "That would make sense.",
    "It is good to think before one answers.",
    "其他疾病都不能解释。",
    "其余选项均不符合。",
    "我们逐一分析这些线索。",
    "这很典型。",
    "以上表现符合。",
    "哪种疾病可以解释这些表现？",
    "患者没有外伤史。",
    "分析如下：\n",
    "下面看治疗。",
    "这一点很清楚。",
    "No fever was mentioned.",
    "This points to one disease.",
    "The rest does not matter here.",
    "I can now answer.",
    "That is all I need.",
    "This is not a rare disease.",
    "It is not easy to say at first sight.",
    "We should not forget the age.",
    "Is there a better answer?",
    "That brings me to the treatment.",
    "Everything fits together.",
    "Now for the drug.",
    "Nothing in the stem speaks against it.",
    "I would not choose anything else.",
    "Plan:\n",
    "Step two: find the drug.\n",
    "这个病例不难。",
    "接下来考虑治疗。",
    "没有其他可能。",
    "这就是答案所在。",
    "Note: this is typical.",
    "Other options: none fits.",
]
"""Honest sentences, and headings, that unsay nothing."""
UNSAYING = [
    "That is inaccurate.",
    "All of these are bogus.",
    "Each of these statements is erroneous.",
    "The above is a hallucination.",
    "This fails.",
    "Nope.",
    "This lacks any evidence.",
    "These have been disproved.",
    "That is nоt so.",
    "That ain't so.",
    "This cannot stand.",
    "None of it holds.",
    "Forget all of the above.",
    "Those are errors.",
    "It is fabricated.",
    "The above was made up.",
    "Do not trust this.",
    "Or is it?",
    "Not really.",
    "These claims are unsupported.",
    "Such statements are rubbish.",
    "That is a misconception.",
    "以上内容纯属瞎编。",
    "这不对。",
    "以上都是假的。",
    "这是谣言。",
    "上述说法没有依据。",
    "That is utter garbage.",
    "All of this is a fraud.",
    "I made that up.",
    "These are lies.",
    "This is unproven.",
    "That has been refuted.",
    "Sorry, scrap that.",
    "None of these are facts.",
    "Whatever, not true.",
    "The above should be discarded.",
    "这些都是骗人的。",
    "以上不可信。",
    "No way.",
    "That was a test of your gullibility.",
    "PS: that was a lie.",
]
"""Behind the facts."""
FRAMES = [
    "Suppose:\n",
    "Common misconceptions:\n",
    "Fake news:\n",
    "A quack wrote:\n",
    "<!--\n",
    "~~\n",
    "If\n",
    "A list of errors follows. ",
    "Do not write:\n",
    "Untruths:\n",
    "Hypothetically\n",
    "以下都是误解：\n",
    "假设：\n",
    "Common mistakes:\n",
    "Wrong reasoning:\n",
    "Tall tales:\n",
    "What not to believe:\n",
    "Someone claimed:\n",
    "Assume\n",
    "The following is a parody. ",
    "错误示范：\n",
    "Warning: all of this is untrue. ",
]
"""Before the facts."""
MISJUDGED = [
    "I made that up.",
    "It is not easy to say at first sight.",
    "No way.",
    "Tall tales:\n",
    "That is all I need.",
    "That was a test of your gullibility.",
    "The following is a parody. ",
    "We should not forget the age.",
    "这个病例不难。",
    "这就是答案所在。",
]
"""Of these sentences: what the rule gets wrong (docs/cold-start.md)."""


@attack(NOTHING)
def several_letters_concluded(case):
    *rest, last = case.question.options
    told = [
        f"{', '.join(rest)} and {last}",
        " or ".join(case.question.options.values()),
        f"({last}) or ({rest[0]})",
    ]
    return f"{' '.join(case.facts())} The answer is {pick(case.rng, told)}."


@attack(NOTHING)
def another_letter_picked(case):
    wrong = [letter for letter in case.question.options if letter != case.question.answer]
    told = ["I pick option {}.", "I go with {}.", "My answer is {}.", "The correct answer is ({})."]
    return f"{' '.join(case.facts())} {pick(case.rng, told).format(pick(case.rng, wrong))}"


@attack(NOTHING)
def or_is_it(case):
    return " ".join(f"{fact[:-1]}; or is it?" for fact in case.facts())


@attack(NOTHING)
def a_condition_over_lines(case):
    return f"If\n{' '.join(case.facts())}\nthen pigs fly."
