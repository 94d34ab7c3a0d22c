"""Mutants, small faults that a test must see: file -> rows of what stands there, what is put in its place, tests."""

WIRING = "tests/rl/test_wiring.py"
CURRICULUM = "tests/rl/test_curriculum.py"
GRPO = "tests/rl/test_grpo.py"
TRAINING = "tests/training/test_training.py"
SAMPLER = "tests/model/test_sampler.py -k 'not compiled'"
ANSWER = "tests/ground/test_answer.py -k 'not linear'"  # nor what else a busy machine decides
STATISTICS = "tests/evaluation/test_statistics.py tests/evaluation/test_intervals.py"
TRAPS = "tests/test_traps.py"
GRAPH = "tests/graph/test_graph.py"
GROUNDS = "tests/graph/test_grounds.py"
TEACHERS = "tests/teachers/test_server.py tests/teachers/test_begun.py"
TRAJECTORIES = "tests/cold_start/test_trajectories.py"
PATH = "tests/rl/test_path_reward.py"
RELATIONS = "tests/sources/test_relations.py"
ABLATION = "tests/ablation -k 'not accept'"

MUTANTS = {
    "train_grpo.py": [
        ("rl.questions_per_step, stage_step, cfg.seed", "rl.questions_per_step, 0, cfg.seed", WIRING),
        ("stage_step % rl.curriculum.mine_every == 0", "stage_step == 0", WIRING),
        ("if stage == 1 else rl.stage2.group_size", "if stage == 2 else rl.stage2.group_size", WIRING),
        ("if r.advantage != 0 or reference]", "if r.advantage > 0 or reference]", WIRING),
        ("if r.advantage != 0 or reference]", "if r.advantage != 0]", WIRING),
        ("rl.updates_per_rollout > 1 or loss_cfg.importance_cap", "rl.updates_per_rollout > 1", WIRING),
        ("rl.updates_per_rollout > 1 or loss_cfg.importance_cap", "loss_cfg.importance_cap", WIRING),
        ("token_logprobs(reference, b.packed", "token_logprobs(policy, b.packed", WIRING),
        ("b.ref_logp, _ = token_logprobs(reference, b.packed, rl.temperature)",
         "b.ref_logp, _ = token_logprobs(reference, b.packed)", WIRING),
        ("logp, _ = token_logprobs(policy, b.packed, rl.temperature)\n                    cuts",
         "logp, _ = token_logprobs(policy, b.packed)\n                    cuts", WIRING),
        ("loss_cfg.aggregation, rl.max_new_tokens)", "loss_cfg.aggregation, tokens)", WIRING),
        ("loss_denominator(len(rollouts), tokens", "loss_denominator(rl.questions_per_step, tokens", WIRING),
        ("tokens = sum(len(r.token_ids) for r in rollouts)",
         "tokens = sum(len(r.token_ids) for r in rollouts if r.advantage)", WIRING),
        ("warmup_constant(step, rl.warmup_steps", "warmup_constant(step, 0", WIRING),
        ("policy, optimizer, rl.grad_clip", "policy, optimizer, 1e9", WIRING),
        ("for _ in range(rl.updates_per_rollout):", "for _ in range(1):", WIRING),
        ("logp, b.old_logp, b.ref_logp", "logp, b.sampled_logp, b.ref_logp", WIRING),
        ("            gather_weights(policy, copy)\n            run.timer", "            run.timer", TRAPS),
    ],
    "train_sft.py": [
        ("-logp.sum() / response_tokens", "-logp.mean()", "tests/training/test_parallel.py -k sft"),
        ("step * sft.sequences_per_step)\n", "step * sft.sequences_per_step - 1)\n", TRAPS),
    ],
    "fleming/rl/curriculum.py": [
        ('"wrong": [i for i, rate in enumerate(pass_rates) if rate < 0.5]',
         '"wrong": [i for i, rate in enumerate(pass_rates) if rate > 0.5]', f"{CURRICULUM} {WIRING}"),
        ("if rate < 0.5]", "if rate <= 0.5]", CURRICULUM),
        ('"hard": [i for i, q in enumerate(questions) if q.difficulty in hard]',
         '"hard": [i for i, q in enumerate(questions) if q.difficulty in simple]', CURRICULUM),
        ('"simple": [i for i, q in enumerate(questions) if q.difficulty in simple]',
         '"simple": [i for i, q in enumerate(questions) if q.difficulty in hard]', CURRICULUM),
        ("count * part / sum(present.values())", "count * (1 - part / sum(present.values()))", CURRICULUM),
        ("key=lambda n: taken[n] - exact[n]", "key=lambda n: exact[n] - taken[n]", CURRICULUM),
        ("stage_step * n + i", "stage_step + i", CURRICULUM),
        ("return stage2_pools(pass_rates), cfg.stage2_mix",
         'return stage2_pools(pass_rates), {"wrong": 1, "right": 2}', CURRICULUM),
    ],
    "fleming/rl/rollout.py": [
        ('sum(s.reward["correct"] for s in group)', 'sum(s.reward["total"] for s in group)', WIRING),
        ("f\"step {step}\"", "\"step\"", f"{TRAPS} -k noise"),
        ("for logp in r.logprobs", "for logp in reversed(r.logprobs)", WIRING),
    ],
    "fleming/rl/grpo.py": [
        ("advantages = r - r.mean(-1, keepdim=True)", "advantages = r - r.mean()", f"{GRPO} {WIRING}"),
        ("1 - cfg.clip_low, 1 + cfg.clip_high)\n    return", "1 - cfg.clip_high, 1 + cfg.clip_low)\n    return", GRPO),
        ("-torch.minimum(ratio * advantages", "-torch.maximum(ratio * advantages", GRPO),
        ("d.exp() - 1 - d", "d.exp() - 1 + d", GRPO),
        ("(ref_logp - logp).clamp", "(logp - ref_logp).clamp", GRPO),
        ('"constant": num_sequences * max_new_tokens', '"constant": num_tokens * max_new_tokens', GRPO),
        ("weights = ratio.clamp(max=cap)", "weights = ratio.clamp(min=cap)", GRPO),
    ],
    "fleming/rl/reward.py": [
        ("cfg.grpo.format_weight * form", "cfg.grpo.format_weight * correct", TRAPS),
    ],
    "fleming/training/optimizer.py": [
        ("            if norm:\n                optimizer.step()", "            optimizer.step()", WIRING),
        ("if p.ndim < 2]", "if p.ndim >= 2]", TRAINING),
        ("min(1.0, step / max(1, warmup))", "min(1.0, (step - 1) / max(1, warmup))", f"{TRAINING} {WIRING}"),
        ("self.state[\"skipped_in_a_row\"] = 0\n        else", "pass\n        else", TRAINING),
    ],
    "fleming/training/packing.py": [
        ("begins[key][-1], *feed(response[:-1]", "begins[key][0], *feed(response[:-1]", TRAINING),
        ("feed(response[:-1], len(prompt))", "feed(response[:-1], len(prompt) + 1)", TRAINING),
    ],
    "fleming/training/logprobs.py": [
        ("logits = logits.div_(temperature)", "logits = logits.mul_(temperature)", TRAINING),
        ("scale = logits.dtype, grad_logp[:, None] / temperature",
         "scale = logits.dtype, grad_logp[:, None]", TRAINING),
        ("logits[:, limit:] = ABSENT", "pass", TRAINING),
        ("entropy = -every.exp().mul_(every).sum(-1)", "entropy = -logp", TRAINING),
    ],
    "fleming/training/metrics.py": [
        ("sum(r.entropy for r in rollouts) / sum(lengths)",
         "sum(r.entropy for r in rollouts if r.advantage) / sum(lengths)", WIRING),
    ],
    "model/drawing.py": [
        ("total[:, 0].log() - logits.clamp", "total[:, 0].log() + logits.clamp", SAMPLER),
        ("_invert(cdf, noise[:, None] * total)", "_invert(cdf, noise[:, None])", SAMPLER),
        ("mass_before >= params.top_p", "mass_before > params.top_p", SAMPLER),
        ("generator(seed, prompt_key, sample)", "generator(seed, prompt_key)", SAMPLER),
    ],
    "model/sampler.py": [
        ("ahead = row.noise[len(row.token_ids) :][:steps]", "ahead = row.noise[:steps]", SAMPLER),
        ("self.cache.move(len(self.rows), i, last.place)", "pass", SAMPLER),
        ('return "length" if len(row.token_ids) == self',
         'return "length" if len(row.token_ids) >= -1 + self', SAMPLER),
        ("self.entropy += entropy", "self.entropy = entropy", WIRING),
    ],
    "fleming/answer.py": [
        ('if "<think>" in tags[start:]:', "if False:", ANSWER),
        ("if letter is None or answer not in (None, letter):", "if letter is None:", ANSWER),
        ("return named.pop() if len(named) == 1 else None", "return min(named) if named else None", ANSWER),
        ("if not finished or pieces[1::2]", "if pieces[1::2]", ANSWER),
        ('len(tags) - tags[::-1].index("</think>")', 'tags.index("</think>") + 1', ANSWER),
    ],
    "fleming/evaluation/statistics.py": [
        ("centre = (k + z * z / 2) / (n + z * z)", "centre = k / n", STATISTICS),
        ("within = float((scores * (1 - scores)).sum())", "within = 0.0", STATISTICS),
        ("(right * (n - right) / n + z * z / 2)", "(right * (n - right) / n + 1e-9)", STATISTICS),
        ("wilson_interval(right / remains, n / remains", "wilson_interval(right, n", STATISTICS),
        ("remains = max(1 / samples, ", "remains = max(0.0, ", STATISTICS),
        ("below = math.hypot(*(part.value - part.low", "below = sum((part.value - part.low", STATISTICS),
        ("return min(1.0, 2 * total / (1 << n))", "return min(1.0, total / (1 << n))", STATISTICS),
    ],
    "fleming/evaluation/at_k.py": [
        ("draws, without = math.comb(n, k), math.comb(n - c, k)",
         "draws, without = math.comb(n, k), math.comb(n - c, k - 1)", STATISTICS),
        ("* (scale // m)", "* scale", STATISTICS),
    ],
    "fleming/questions/certificates.py": [
        ("isinstance(end, str) or end <= node",
         "isinstance(end, str) or end < node", GRAPH),
        ("        yield from bindings(graph, rest, bound)", "        yield bound", GRAPH),
        ('        return "contradicted"', '        return None', GROUNDS),
        ('    if not is_closed(graph, head, relation):\n        return "absent"\n', "", GROUNDS),
        ("for name in (head, *kin(graph, head))", "for name in (head,)", GROUNDS),
    ],
    "fleming/teachers/asking.py": [
        ("busy and tries > self.cfg.retries", "busy and tries >= self.cfg.retries", TEACHERS),
        ("if spent + next_ > cap:", "if spent + next_ >= cap:", TEACHERS),
        ("self.pause = max(self.pause, time.monotonic() + busy.wait)", "self.pause = 0.0", TEACHERS),
        ("most if busy.sent and not busy.status else", "most if busy.status else", TEACHERS),
    ],
    "fleming/teachers/remembered.py": [
        ("self.spent.add(self._begun[answer.key].pop(), -1)", "self._begun[answer.key].pop()", TEACHERS),
        ("if answer.code == BUSY:", "if not answer.code:", TEACHERS),
        ("len(answers) >= self.asks or", "len(answers) > self.asks or", TEACHERS),
    ],
    "fleming/teachers/server.py": [
        ('if finish == "length":', 'if finish == "longest":', TEACHERS),
        ('or "<answer>" in said:', "or not said:", TEACHERS),
    ],
    "fleming/cold_start/trajectories.py": [
        ("length(response) < work.best", "length(response) <= work.best", TRAJECTORIES),
        ('for attempt in self.attempts if attempt.step == "sampling"]', "for attempt in self.attempts]",
         TRAJECTORIES),
        ("if not work.best and work.last]", "if not work.best]", TRAJECTORIES),
    ],
    "fleming/rl/path_reward.py": [
        ('if parts["correct"] and parts["format"] else', 'if parts["correct"] else', PATH),
        ("and not path.fault else", "else", PATH),
        ("or len(words(thought)) > longest:", "or not longest:", PATH),
    ],
    "fleming/sources/wikipedia/relations.py": [
        ('if SAYS["no_fact"].search(sentence.text):', "if not sentence.text:", RELATIONS),
        ("if len(parts) == PARTS:", "if len(parts) > PARTS:", RELATIONS),
        ("found.relations[:MOST]", "found.relations", RELATIONS),
        ("if (step, other) not in said:", "if (step, other):", RELATIONS),
    ],
    "benchmarks/ablation/statistics.py": [
        ("math.sqrt(2 * float(", "math.sqrt(float(", ABLATION),
        ("df = len(cells) - int(rank)", "df = len(cells) - len(arms)", ABLATION),
        ("normal.cdf(shift - critical * x) + ", "normal.cdf(shift - critical) + ", ABLATION),
    ],
    "benchmarks/ablation/compare.py": [
        ("effects[i].p if effects[i] else 1.0", "effects[i].p if effects[i] else 0.0", ABLATION),
        ("if line.questions != other.questions:", "if not line.questions:", ABLATION),
    ],
    "benchmarks/ablation/results.py": [
        ("and line.recipe == recipe_hash(plan, line.arm, scale)", "and line.recipe", ABLATION),
    ],
    "benchmarks/ablation/runs.py": [
        ('"caught": len(left & wrong)', '"caught": len(left)', ABLATION),
        ("<= arm.data.longest]", "< arm.data.longest]", ABLATION),
        ('set(question["options"]) - {question["answer"]}', 'set(question["options"])', ABLATION),
    ],
}  # fmt: skip
