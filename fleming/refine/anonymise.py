"""Anonymising questions (paper, section 3.1): identifiers are taken out of stem, context and options.

What stands there instead ("[DATE] 2019") holds nothing for a second pass. Left out: what an identifier is
(identifiers.py).
"""

import dataclasses
import re
from collections import Counter
from functools import partial

from fleming.records import Question
from fleming.refine.identifiers import CHECKS, RULES, Rule
from fleming.text import option_key

_DIGIT = re.compile("[0-9]")
_PASSES = 8  # one is enough for all texts known; what a pass uncovers, the next removes


def anonymise(text: str) -> tuple[str, dict[str, int]]:
    """Return the text without identifiers, and how many of each kind were taken out. Done again, nothing changes."""
    counts: Counter[str] = Counter()
    has_digit = _DIGIT.search(text)
    rules = [rule for rule in RULES if has_digit or not rule.digits]
    for _ in range(_PASSES):
        before = text
        for rule in rules:
            if rule.may_match(text):
                text = rule.regex.sub(partial(_replace, rule, counts), text)
        if text == before:
            break
    return text, dict(sorted(counts.items()))


def _replace(rule: Rule, counts: Counter[str], match: re.Match) -> str:
    if rule.valid and not CHECKS[rule.valid](match):
        return match[0]
    counts[rule.kind] += 1
    return rule.replacement(match)


def anonymise_question(question: Question) -> tuple[Question | None, dict[str, int]]:
    """Return the question with stem, context and options anonymised, and the counts.

    None in its place where two options would become alike, as where each is a date, or where a free answer holds one:
    the question asks for what must be removed, so it cannot be kept.
    """
    counts: Counter[str] = Counter()

    def clean(text: str) -> str:
        text, found = anonymise(text)
        counts.update(found)
        return text

    options = {letter: clean(text) for letter, text in question.options.items()}
    stem, context = clean(question.question), question.context and clean(question.context)
    keys = {letter: option_key(text) for letter, text in options.items()}
    changed = [letter for letter, text in question.options.items() if options[letter] != text]
    alike = any(keys[a] == keys[b] for a in changed for b in keys if a != b)
    free = [] if question.options else [question.answer, *question.aliases]
    if alike or any(clean(answer) != answer for answer in free):
        return None, dict(counts)
    return dataclasses.replace(question, question=stem, context=context, options=options), dict(counts)
