"""The cold start as a whole: a teacher works out a share of the questions; what fails a check is not taught."""

from collections import Counter
from collections.abc import Sequence

from tqdm import tqdm

from fleming.checks.claims import check_claims
from fleming.cold_start.checks import check_trajectory, thought
from fleming.cold_start.template import TemplateTeacher
from fleming.cold_start.trajectories import RealTeacher, Taught
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.noise import generator
from fleming.records import Question, to_json
from fleming.settings import Config
from fleming.teachers.remembered import Completer


def teach(
    questions: Sequence[Question], graph: KnowledgeGraph, cfg: Config, completer: Completer | None
) -> Taught:
    """Work out a share of the questions, `synth.cold_start_share`; templates work out those of the graph.

    Reported as `claims`: what is read of the graph's facts in what is kept (claims.py: check_claims).
    """
    drawn = generator(cfg.seed, "cold start").permutation(len(questions))
    drawn = drawn[: round(cfg.synth.cold_start_share * len(questions))]
    asked = [questions[place] for place in sorted(drawn.tolist())]
    real = RealTeacher(completer, graph, cfg) if completer else None
    taught = real.work_out(asked) if real else by_templates(asked, graph, cfg)
    claims = Counter(supported=0, unknown=0, read=0, sentences=0)
    for trajectory in taught.kept:
        claims.update(check_claims(thought(trajectory.response), graph)[0])
    taught.report["claims"] = dict(claims)
    return taught


def by_templates(questions: Sequence[Question], graph: KnowledgeGraph, cfg: Config) -> Taught:
    """Return the trajectories that pass every check, and the others as records with a code.

    Code `relabelled`: the question's path leads to the answer that a person has overruled; the other codes are those of
    `check_trajectory`.
    """
    teacher = TemplateTeacher(graph, cfg.answer_style, cfg.instruction, cfg.system)
    kept, failed = [], []
    for question in tqdm(questions, desc="teacher", unit="trajectory", dynamic_ncols=True):
        if "label_check" in question.provenance:
            failed.append({"code": "relabelled", "id": question.id})
            continue
        trajectory = teacher.trajectory(question, generator(cfg.seed, "teacher", question.id))
        code = check_trajectory(trajectory, question, graph, cfg)
        if code:
            failed.append({"code": code, "trajectory": to_json(trajectory)})
        else:
            kept.append(trajectory)
    return Taught(kept, failed)
