"""The cold start as a whole: a teacher works out most of the synthetic questions; what fails a check is not taught."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from fleming.cold_start.checks import check_trajectory
from fleming.cold_start.template import TemplateTeacher
from fleming.graph.knowledge_graph import KnowledgeGraph
from fleming.noise import generator
from fleming.records import Question, Trajectory, to_json
from fleming.settings import Config


def teach(
    questions: Sequence[Question], graph: KnowledgeGraph, cfg: Config
) -> tuple[list[Trajectory], list[dict[str, Any]]]:
    """Return the trajectories that pass every check, and the others as records with a code.

    A share of the questions is drawn, `synth.cold_start_share`. Code `relabelled`: the question's path leads to the
    answer that a person has overruled; the other codes are those of `check_trajectory`.
    """
    teacher = TemplateTeacher(graph, cfg.answer_style, cfg.instruction, cfg.system)
    drawn = generator(cfg.seed, "cold start").permutation(len(questions))
    drawn = drawn[: round(cfg.synth.cold_start_share * len(questions))]
    kept, failed, claims = [], [], Counter()
    for place in tqdm(sorted(drawn.tolist()), desc="teacher", unit="trajectory", dynamic_ncols=True):
        question = questions[place]
        if "label_check" in question.provenance:
            failed.append({"code": "relabelled", "id": question.id})
            continue
        trajectory = teacher.trajectory(question, generator(cfg.seed, "teacher", question.id))
        synth = cfg.synth
        code = check_trajectory(trajectory, question, graph, synth.max_words, synth.state_uncertainty, claims)
        if code:
            failed.append({"code": code, "trajectory": to_json(trajectory)})
        else:
            kept.append(trajectory)
    if claims:
        print(
            f"claims of the trajectories: {claims['supported']:,} supported, {claims['contradicted']:,} contradicted, "
            f"{claims['unknown']:,} unknown; {claims['read'] / claims['sentences']:.1%} of {claims['sentences']:,} "
            "sentences were read"
        )
    return kept, failed
