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
LEDGER = "tests/rl/test_ledger_killed.py -k 'holds or orders'"
DEV = "tests/rl/test_dev.py"
REWARD = "tests/rl/test_reward.py -k 'not rank'"
WATCH = "tests/rl/test_watch.py"
MINI = "tests/rl/test_mini_batches.py"
TRL = "tests/rl/test_grpo_against_trl.py"
PARALLEL = "tests/training/test_parallel.py -k slow_the"
FORMAT = "tests/refine/test_format_filter.py -k 'numbers or tolerance'"
RELATIONS = "tests/sources/test_relations.py"
ABLATION = "tests/ablation -k 'not accept'"
VERIFY = "tests/audit/test_verify.py"
SEGMENTS = "tests/audit/test_segments.py -k 'not processes'"
EXACT = "tests/model/test_exact.py -k 'tiles or transformers or gradients'"
TRACE = "tests/audit/test_trace.py"
RETRACT = "tests/audit/test_retract.py"
METRICS = "tests/training/test_metrics.py"
HELD_OUT = "tests/training/test_validation.py -k 'an_answer or stopped_anywhere'"
BEFORE = "tests/scripts/test_damage.py -k before_all"

MUTANTS = {
    "train_grpo.py": [
        ("token_logprobs(reference, b.packed", "token_logprobs(policy, b.packed", WIRING),
        ("b.ref_logp, _ = token_logprobs(reference, b.packed, rl.temperature)",
         "b.ref_logp, _ = token_logprobs(reference, b.packed)", WIRING),
        ("logp, _ = token_logprobs(policy, b.packed, rl.temperature)\n                    cuts",
         "logp, _ = token_logprobs(policy, b.packed)\n                    cuts", WIRING),
        ("warmup_constant(step, rl.warmup_steps", "warmup_constant(step, 0", WIRING),
        ("policy, optimizer, rl.grad_clip", "policy, optimizer, 1e9", WIRING),
        ("for mini_batch in batches * rl.updates_per_rollout:", "for mini_batch in batches:", WIRING),
        ("loss_cfg, mini_batch.denominator", "loss_cfg, batches[0].denominator", f"{WIRING} {MINI}"),
        ("logp, b.old_logp, b.ref_logp", "logp, b.sampled_logp, b.ref_logp", WIRING),
        ("            gather_weights(policy, copy)\n            run.timer", "            run.timer", TRAPS),
        ('measured.get("dev_accuracy", math.nan) if held_out else', "", LEDGER),
        ("flops = rl.updates_per_rollout * training", "flops = training", WIRING),
    ],
    "train_sft.py": [
        ('if held_out else -record["loss"]',
         'if held_out else record["loss"]', "tests/training/test_sft_against_transformers.py"),
        ("-logp.sum() / response_tokens", "-logp.mean()", "tests/training/test_parallel.py -k sft"),
        ("step * sft.sequences_per_step)\n", "step * sft.sequences_per_step - 1)\n", TRAPS),
    ],
    "fleming/rl/curriculum.py": [
        ('record["after"], record["because"], 0',
         'record["after"], record["because"], self.stage_tokens', CURRICULUM),
        ('round {self.round} draw',
         'draw', CURRICULUM),
        ('flat=mean(not teaches(group) for group in every)',
         'flat=mean(not teaches(group) for group in sampled.groups)', CURRICULUM),
        ('tokens=sum(len(r.token_ids) for group in every for r in group)',
         'tokens=sum(len(r.token_ids) for group in sampled.groups for r in group)', CURRICULUM),
        ('if self.standings[i].passed] if self.cfg.rest',
         'if self.standings[i].asked] if self.cfg.rest', CURRICULUM),
        ("if standing.asked and not standing.left", "if standing.asked", CURRICULUM),
        ("(standing.drawn + lot) / standing.weight", "(standing.drawn + lot) * standing.weight", CURRICULUM),
        ("if i not in taken)", "if True)", CURRICULUM),
        ("self.stage_step % self.cfg.mine_every == 0", "self.step % self.cfg.mine_every == 0", CURRICULUM),
        ("each.drawn, each.rests = 0, max(0, each.rests - 1)", "each.rests = max(0, each.rests - 1)", CURRICULUM),
        ("(self.rl.stage1 if self.stage == 1 else self.rl.stage2)",
         "(self.rl.stage2 if self.stage == 1 else self.rl.stage1)", WIRING),
        ("standing.settled = True", "standing.settled = False", CURRICULUM),
        ('if not (standing.left or standing.rests)]', 'if not standing.left]', CURRICULUM),
    ],
    "fleming/rl/pools.py": [
        ('before / total + 1e-9)',
         'before / total)', CURRICULUM),
        ("if q.difficulty in cfg.hard]", "if q.difficulty in cfg.simple]", CURRICULUM),
        ("for n in (step, step + 1)]", "for n in (0, 1)]", CURRICULUM),
        ("taken[name] += min(count", "taken[name] += 0 * min(count", CURRICULUM),
        ("if not any(q.difficulty for q in questions):", "if not all(q.difficulty for q in questions):", CURRICULUM),
    ],
    "fleming/rl/standing.py": [
        ('share >= cfg.review_agreement',
         'share > cfg.review_agreement', CURRICULUM),
        ('{"", question.answer}', '{question.answer}', CURRICULUM),
        ("votes[choice] > votes.get(", "votes[choice] >= votes.get(", CURRICULUM),
        ("2 * self.right < self.asked", "2 * self.right <= self.asked", CURRICULUM),
        ("cfg.repeat_weight * (self.failed - 1)", "cfg.repeat_weight * self.failed", CURRICULUM),
        ("(1 if self.right else cfg.none_right_weight)", "1", CURRICULUM),
        ("2 ** min(self.passed - 1, 30)", "1", CURRICULUM),
        ("self.none_right, self.votes = 0, Counter()", "self.none_right = 0", CURRICULUM),
        ("votes = voter or self.votes", "votes = self.votes", CURRICULUM),
    ],
    "fleming/rl/switch.py": [
        ("len(measured[\"slopes\"]) == window and max(", "max(", CURRICULUM),
        ("max(measured[\"slopes\"]) <", "min(measured[\"slopes\"]) <", CURRICULUM),
        ("tokens >= stage.max_tokens", "tokens > stage.max_tokens", CURRICULUM),
        ("if done < max(cfg.min_steps, window):", "if done < window:", CURRICULUM),
    ],
    "fleming/rl/mining.py": [
        ('f"mine {step}", vote', '"mine", vote', CURRICULUM),
        ("Counter(choices), sum(tokens)", "Counter(choices), 0", CURRICULUM),
        ("    voter_votes(cfg, questions)\n", "", BEFORE),
        ('texts.get(v.id) == v.text',
         'v.id in texts', CURRICULUM),
        ('scored.reward["correct"] > 0.5', 'scored.reward["total"] > 0.5', WIRING),
    ],
    "fleming/rl/rollout.py": [
        ('curriculum.stage, len(taken))',
         'curriculum.stage, 0)', LEDGER),
        ('order=orders[g - first]',
         'order=orders[0]', LEDGER),
        ('strict=True) if not teaches(group))',
         'strict=True))', LEDGER),
        ("groups[m :: rl.minibatches_per_rollout]", "groups[:: rl.minibatches_per_rollout]", f"{WIRING} {MINI}"),
        ("if r.advantage != 0 or reference]", "if r.advantage > 0 or reference]", WIRING),
        ("if r.advantage != 0 or reference]", "if r.advantage != 0]", WIRING),
        ("aggregation, rl.max_new_tokens)", "aggregation, tokens)", WIRING),
        ("loss_denominator(len(counted), tokens", "loss_denominator(len(rollouts) - 1, tokens", WIRING),
        ("tokens = sum(len(r.token_ids) for r in counted)",
         "tokens = sum(len(r.token_ids) for r in counted if r.advantage)", WIRING),
        ('if rl.overlong != "mask" or r.finish_reason != "length"]', 'if True]', MINI),
        ("denominator or math.inf", "denominator or 1.0", MINI),
        ("return f\"step {step}\"", "return \"step\"", f"{TRAPS} -k noise"),
        ("if failures and self.works_in != key:", "if not failures:", REWARD),
        ("self.works_in = key", "pass", REWARD),
        ("self.failures += len(failures) - failures.count", "self.failures = len(failures) - failures.count", REWARD),
        ("for logp in r.logprobs", "for logp in reversed(r.logprobs)", WIRING),
    ],
    "fleming/rl/grpo.py": [
        ("advantages = r - r.mean(-1, keepdim=True)", "advantages = r - r.mean()", f"{GRPO} {WIRING}"),
        ("1 - cfg.clip_low, 1 + cfg.clip_high)\n    if cfg", "1 - cfg.clip_high, 1 + cfg.clip_low)\n    if cfg", GRPO),
        ("-clipped.detach() * advantages * logp", "-clipped * advantages * logp", f"{GRPO} {TRL}"),
        ('log_ratio, "mean", lengths=lengths', 'log_ratio, "sum", lengths=lengths', GRPO),
        ('log_ratio, "mean", lengths=lengths', 'log_ratio.detach(), "mean", lengths=lengths', GRPO),
        ("-torch.minimum(ratio * advantages", "-torch.maximum(ratio * advantages", GRPO),
        ("d.exp() - 1 - d", "d.exp() - 1 + d", GRPO),
        ("(ref_logp - logp).clamp", "(logp - ref_logp).clamp", GRPO),
        ('"constant": num_sequences * max_new_tokens', '"constant": num_tokens * max_new_tokens', GRPO),
        ("weights = ratio.clamp(max=cap)", "weights = ratio.clamp(min=cap)", GRPO),
    ],
    "fleming/settings/training.py": [
        ("updates > 1 or self.loss.importance_cap > 0 or", "updates > 1 or", WIRING),
        ("updates > 1 or self.loss.importance_cap > 0 or", "self.loss.importance_cap > 0 or", WIRING),
        ("updates = self.updates_per_rollout * self.minibatches_per_rollout", "updates = self.updates_per_rollout",
         WIRING),
        (' or self.loss.ratio == "sequence"\n\n', "\n\n", WIRING),
    ],
    "fleming/rl/reward.py": [
        ("cfg.grpo.format_weight * form", "cfg.grpo.format_weight * correct", TRAPS),
        ('"format": float(verdict.well_formed), **parts}', '"format": float(verdict.correct), **parts}', REWARD),
    ],
    "fleming/rl/watch.py": [
        ("name not in warned", "warned", WATCH),
        ("[*state.get(name, []), new][-WINDOW:]", "[*state.get(name, []), new]", WATCH),
        ('len(state["watched"]) == FIRST', 'len(state["watched"]) >= FIRST', WATCH),
        ("distance if distance > chance else 0.0", "distance", WATCH),
        ("thinks and not thought", "not thought", WATCH),
    ],
    "fleming/training/optimizer.py": [
        ("            if norm:\n                optimizer.step()", "            optimizer.step()", WIRING),
        ("if p.ndim < 2]", "if p.ndim >= 2]", TRAINING),
        ("min(1.0, step / max(1, warmup))", "min(1.0, (step - 1) / max(1, warmup))", f"{TRAINING} {WIRING}"),
        ("self.state[\"skipped_in_a_row\"] = 0\n        else", "pass\n        else", TRAINING),
    ],
    "fleming/training/packing.py": [
        ('feed(key[alike:], alike)]',
         'feed(key[alike:], 0)]', TRAINING),
        ('lengths[i] > max_tokens)',
         'lengths[i] >= max_tokens)', TRAINING),
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
        ("flops += 3 * cfg", "flops += cfg", METRICS),
        ('"importance_mean": "importance_sum", "capped_fraction": "capped_tokens"',
         '"importance_mean": "capped_tokens", "capped_fraction": "importance_sum"', METRICS),
        ('self.sums["difference"] += difference', 'self.sums["difference"] = difference', METRICS),
        ("self.skipped += not math.isfinite(grad_norm)", "pass", METRICS),
        ("if self.updates == 0 and logp.numel():", "if logp.numel():", METRICS),
    ],
    "fleming/training/validation.py": [
        ("min(2 * self.longest, context - max(map(len, prompts)))", "2 * self.longest", HELD_OUT),
    ],
    "fleming/training/estimate_memory.py": [
        ("elif case.cfg.sft.validation:", "elif False:", "tests/training/test_estimate_memory.py -k held_out"),
    ],
    "fleming/training/run.py": [
        ("        if step:\n            self._export(step)  #", "        if False:\n            pass  #", HELD_OUT),
    ],
    "fleming/training/identity.py": [
        ('    "max_num_seqs",\n', '    "max_num_seqs",\n    "learning_rate",\n', BEFORE),
    ],
    "fleming/rl/dev.py": [
        ('actor.params(1, temperature=0.0)',
         'actor.params(1)', DEV),
    ],
    "fleming/rl/questions.py": [
        ("return usable, max(longest, length)", "return usable, longest", DEV),
        ("if length <= context]", "if length < context]", DEV),
        ('cfg.grpo.dev_limit or None]',
         'cfg.grpo.dev_limit]', DEV),
    ],
    "fleming/rl/replay.py": [
        ('event["step"] <= r.step',
         'event["step"] < r.step', "tests/rl/test_replay.py -k shown_as"),
    ],
    "fleming/rl/sampled.py": [
        ("sum(r.entropy for r in rollouts) / sum(lengths)",
         "sum(r.entropy for r in rollouts if r.advantage) / sum(lengths)", WIRING),
    ],
    "model/tiles.py": [
        ("zip(*(pad(x, whole(count, ROWS), 0)", "zip(*(x", EXACT),
        ("pad(left, PAIRS, 0), pad(right, PAIRS, 0)", "left, right", EXACT),
        ("places > last", "places >= last", EXACT),
        ("out * (top - higher).exp() + weighted", "out + weighted", EXACT),
        ("return None, grad", "return None, 0 * grad", EXACT),
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
    "fleming/manifest.py": [
        ('b"\\x01" + tree', 'b"" + tree', VERIFY),
        ("(len(leaves) - 1).bit_length() - 1", "(len(leaves) - 1).bit_length() - 2", VERIFY),
    ],
    "fleming/training/parallel.py": [
        ("rows = min(world.gather(mine.rows))", "rows = mine.rows", f"{TRAPS} -k a_cache"),
        ("            dist.barrier()  # the launcher", "            pass  # the launcher", PARALLEL),
        ('        if rank == "0":\n            complain', "        if True:\n            complain", PARALLEL),
    ],
    "fleming/files.py": [
        ("if step_of(path)}", "}", TRACE),
    ],
    "fleming/refine/format_filter.py": [
        ("for pick in (min, max)", "for pick in (min,)", FORMAT),
        ("pairs = (one, other), (other, one)", "pairs = ((one, other),)", FORMAT),
        ("by_unit[number.unit]", "by_unit[0]", FORMAT),
    ],
    "fleming/audit/verify.py": [
        ("elif not any(found in said", "elif not all(found in said", VERIFY),
        ('file not in ("", path.stem)', "False", VERIFY),
        ("if sha256 not in written and is_own", "if is_own", VERIFY),
        ("merkle_root(covers) != verdict.root", "False", VERIFY),
        ("((name, sha256) in ever or not name.endswith(WRITTEN_LAST))", "True", VERIFY),
        ("and not name.startswith(own)", "and False", VERIFY),
    ],
    "fleming/audit/segments.py": [
        ("math.comb(total - forged, count)", "math.comb(total - forged, count - 1)", SEGMENTS),
        ("a.tobytes() == b.tobytes()", "abs(a - b).max() < 1e-3", SEGMENTS),
        ("if segment.first < step <= segment.last\n", "if step == segment.last\n", SEGMENTS),
        ("metrics_of(theirs, segment) != metrics_of(ours, segment)", "False", SEGMENTS),
        ("digest(theirs / name) != digest(ours / name)", "False", SEGMENTS),
    ],
    "fleming/audit/index.py": [
        ("place // per_step + 1", "place // per_step", TRACE),
        ("if known == stamps:", "if known:", TRACE),
        ("if listed and len(value) == 3", "if len(value) == 3", TRACE),
        ("| number << OFFSET_BITS", "| 0", TRACE),
        ("if step_of(path) or not path", "if path or not path", TRACE),
    ],
    "fleming/graph/retracted.py": [
        ("for negated in (False, True):", "for negated in (False,):", RETRACT),
        (" if key[0] in still", "", RETRACT),
        ("(self.file, self.record) if", "(self.file, None) if", RETRACT),
    ],
}  # fmt: skip
