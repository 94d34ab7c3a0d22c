"""A trajectory before it is taught: its normal form, then checks of answer, form, facts, sums, length, leaks, loops.

Left out: what nobody can check without a model (is the reasoning good); where a trajectory lists no facts, those alone
that are read from its text (fleming/checks) are checked.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from fleming.answer import TAGS
from fleming.assets import expressions
from fleming.checks.calculations import check as check_sums
from fleming.checks.claims import check_claims
from fleming.checks.path import follow_path
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.graph.open_world import denied, is_sure, possible
from fleming.judge import judge, read_answer, style_of
from fleming.questions.names import said
from fleming.records import Question, Trajectory
from fleming.settings import Config
from fleming.text import CJK, fold, reserved

_LEAKS = expressions("leaks.yaml")
_CHARACTER = re.compile(f"[{CJK}]")
FORMS = [f"{thinking}<answer></answer>" for thinking in ("", "</think>", "<think></think>")]
"""What tags an answer may have; a chat template may open the thinking in the prompt."""


def normal_form(text: str, question: Question, cfg: Config) -> str | None:
    r"""Return an answer as `<think>\n...\n</think>\n<answer>X</answer>`; None where that could change what it says.

    No word of the reasoning is lost, added or moved: what stands around a think block joins it, and without one all is
    thought. X is what the one parser reads in the one answer block, behind which nothing may stand.
    """
    answer, pieces = read_answer(text, question, cfg), TAGS.split(text)
    if answer is None or "".join(pieces[1::2]).lower() not in FORMS or pieces[-1].strip():
        return None
    answer = question.options[answer] if style_of(question, cfg) == "text" else answer
    return f"<think>\n{thought(text)}\n</think>\n<answer>{answer}</answer>"


def thought(response: str) -> str:
    """Return what stands before the answer block, without tags."""
    return "\n\n".join(filter(None, map(str.strip, TAGS.split(response)[:-4:2])))


def length(text: str) -> int:
    """Return the words of a text, split at white space; of Chinese, its characters."""
    return len(_CHARACTER.sub(" x ", text).split())


@dataclass(frozen=True)
class Case:
    """What a check looks at."""

    trajectory: Trajectory
    question: Question
    """With its options as the trajectory's prompt shows them."""
    graph: KnowledgeGraph
    cfg: Config

    @cached_property
    def thought(self) -> str:
        return thought(self.trajectory.response)


def right_answer(case: Case) -> str | None:
    """`wrong_answer`: the one parser does not read the question's answer; `bad_format`: not in the form asked for; or a
    code of assets/reserved.yaml, for what would end the model's turn."""
    judged = judge(case.trajectory.response, True, case.question, case.cfg)
    if not judged.correct:
        return "wrong_answer"
    return reserved(case.thought) if judged.well_formed else "bad_format"


def listed_facts(case: Case) -> str | None:
    """`unsaid_fact`: the names of a listed one do not all stand in the response; `false_fact`: a stated one is not on
    the graph or is disputed, or a denied one may well hold."""
    response, graph = case.trajectory.response, case.graph
    facts, denials = case.trajectory.checks.get("facts", []), case.trajectory.checks.get("denied", [])
    names = [name for head, _, tail in (*facts, *denials) for name in (head, tail)]
    if not all(name in response or said(name) in response for name in names):
        return "unsaid_fact"
    if not all(is_sure(graph, *fact) for fact in facts):
        return "false_fact"
    return "false_fact" if any(possible(graph, *f) and not denied(graph, *f) for f in denials) else None


def right_sums(case: Case) -> str | None:
    """`wrong_calculation`: a sum comes to something else; `wrong_unit`: its units do not fit."""
    return check_sums(case.trajectory.response)["code"]


def short_enough(case: Case) -> str | None:
    """`too_long`: over `synth.max_words` words."""
    return "too_long" if length(case.trajectory.response) > case.cfg.synth.max_words else None


def no_leak(case: Case) -> str | None:
    """`leak`: it says that somebody gave the answer, or that there was an earlier text (assets/leaks.yaml)."""
    text = fold(case.thought)
    return "leak" if any(phrase.search(text) for phrase in _LEAKS.values()) else None


def no_contradiction(case: Case) -> str | None:
    """`contradicted_claim`: the text says what the graph has a ground to deny."""
    counts, _ = check_claims(case.thought, case.graph)
    return "contradicted_claim" if counts["contradicted"] else None


def sound_path(case: Case) -> str | None:
    """A fault of its path (checks/path.py: Path); `no_reasoning`: it only names the answer, and as the shortest would
    win; `unsure_unsaid`: it does not say that something is not known, where `synth.state_uncertainty` asks for that."""
    path = follow_path(case.thought, case.question, case.question.answer)
    if not path.reasons:
        return "no_reasoning"
    unsaid = case.cfg.synth.state_uncertainty and not path.unsure
    return path.fault or ("unsure_unsaid" if unsaid else None)


CHECKS: dict[str, Callable[[Case], str | None]] = {
    "answer": right_answer,
    "facts": listed_facts,
    "sums": right_sums,
    "length": short_enough,
    "leaks": no_leak,
    "claims": no_contradiction,
    "path": sound_path,
}
"""Name -> check, in the order in which they are made; each returns a code or None. A further check is a line here."""


def check_trajectory(
    trajectory: Trajectory, question: Question, graph: KnowledgeGraph, cfg: Config
) -> str | None:
    """Return the code of the first check that fails, None where the trajectory is to be kept."""
    case = Case(trajectory, question, graph, cfg)
    return next(filter(None, (check(case) for check in CHECKS.values())), None)
