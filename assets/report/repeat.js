// How a stranger repeats the run, or checks it without that; and the words of the field.

// The last start of each stage, of evaluations of each model.
const lastStarts = () => {
  const last = new Map();
  for (const [stage, starts] of Object.entries(object(D.manifest)))
    for (const start of starts) last.set(`${stage} ${start.name ?? ""}`, { stage, ...start });
  return [...last.values()].sort((a, b) => String(a.started).localeCompare(String(b.started)));
};
const SCRIPTS = { synth: "synth_data.py", sft: "train_sft.py", grpo: "train_grpo.py", evaluate: "evaluate.py" };
const commandBlock = (lines) =>
  el(
    "div",
    { class: "commands" },
    el("pre", { tabindex: 0 }, lines.join("\n")),
    copyButton(lines.join("\n"), "Copy"),
  );

// Stage -> the file that has its settings: one for all stages that had the same.
const settingsFiles = () => {
  const files = new Map();
  for (const [stage, text] of Object.entries(D.settings))
    if (!files.has(text)) files.set(text, files.size ? `config_${stage}.yaml` : "config.yaml");
  return files;
};

function repeatCommands(starts, files) {
  const again = `run_dir=${quoted(`runs/${D.about.name}_again`)}`;
  const commits = [...new Set(starts.map((s) => s.commit).filter(Boolean))];
  const lines = commits.length === 1 ? [`git checkout ${quoted(String(commits[0]).replace(/-dirty$/, ""))}`] : [];
  for (const s of starts) {
    if (!Object.hasOwn(SCRIPTS, s.stage)) continue;
    const run = s.processes > 1 ? `torchrun --nproc_per_node ${s.processes}` : "python";
    const more = [];
    if (s.stage === "evaluate" && !D.about.models.includes(s.name) && D.stages[s.name]?.model)
      more.push("--model", quoted(String(D.stages[s.name].model)));
    const named = Object.keys(object(D.stages[s.name]?.benchmarks)).filter((name) => D.about.benchmarks.includes(name));
    if (s.stage === "evaluate" && named.length) more.push("--benchmarks", named.join(","));
    lines.push([run, SCRIPTS[s.stage], "--config", files.get(D.settings[s.stage]) ?? "config.yaml", ...more, again].join(" "));
  }
  return [...new Set(lines)];
}

// What the stages read that none of them wrote: whoever repeats the run has to bring it.
function brought(starts) {
  const written = new Set(starts.flatMap((s) => Object.values(object(s.outputs))));
  const inputs = new Map(
    starts.flatMap((s) => Object.entries(object(s.inputs)).map(([name, sha]) => [`${s.stage}: ${name}`, sha])),
  );
  return [...inputs].filter(([, sha]) => !written.has(sha));
}

function repeat() {
  const starts = lastStarts();
  if (!starts.length) return;
  const files = settingsFiles(),
    run = D.about.run;
  const distinct = (of) => [...new Set(starts.map(of).filter(Boolean))];
  const versions = distinct((s) =>
    Object.entries(object(s.versions))
      .map(([name, v]) => `${name} ${v}`)
      .join(", "),
  );
  const machines = distinct((s) =>
    [s.device, s.cpu_kernels, isNumber(s.threads) && plural(s.threads, "thread")].filter(Boolean).join(", "),
  );
  const commits = distinct((s) => s.commit),
    devices = distinct((s) => s.device).filter((device) => device !== "cpu");
  const kept = new Set(
    starts.flatMap((s) =>
      Object.keys(object(s.outputs))
        .map((name) => /^(?:sft|grpo)\/checkpoints\/step_\d+\//.exec(name)?.[0])
        .filter(Boolean),
    ),
  ).size;
  const root = starts.findLast((s) => s.root)?.root;
  const row = (name, ...value) => [el("dt", {}, name), el("dd", {}, ...value)];
  const inputs = brought(starts);
  section(
    "repeat",
    "Repeat it, or check it",
    "All of this stands in the run's manifest: the code, the versions, the settings and what was read.",
    card(
      el("h3", {}, "Repeat the run"),
      el(
        "dl",
        { class: "parts" },
        row("code", commits.length ? commits.join(", ") : "no commit is recorded", commits.some((c) => String(c).endsWith("-dirty")) && ": files had been changed since; the hash of all code, “code” in manifest.json, says which it was"),
        row("versions", versions.join("; ") || "not recorded"),
        row("machine", machines.join("; ") || "not recorded"),
        row(
          "same result",
          devices.length
            ? `${devices.join(", ")} does not repeat its bits: scores come out within their intervals, not the same bytes`
            : "the same bytes, with these versions on a CPU of this class: compare the SHA-256 under Provenance",
        ),
      ),
      el("p", {}, "In a checkout of the code, the settings below saved beside its scripts:"),
      commandBlock(repeatCommands(starts, files)),
      [...files].map(([text, file]) =>
        el(
          "details",
          {},
          el("summary", {}, `${file}: the settings of ${Object.keys(D.settings).filter((stage) => D.settings[stage] === text).join(", ")}`),
          commandBlock([text]),
        ),
      ),
      table(
        "To be brought: what the stages read and none of them wrote, by the setting that names it.",
        ["Input", "SHA-256"],
        inputs.map(([name, sha]) => [name, el("code", { class: "text" }, sha)]),
      ),
    ),
    el("p"),
    card(
      el("h3", {}, "Check it without repeating it"),
      el("p", {}, "Every file against its hash, and all of them against one root; a changed byte is named with its file:"),
      commandBlock([`python -m fleming.audit verify ${run}`]),
      root ? el("p", { class: "small soft" }, "The root to compare with one published before: ", el("code", { class: "text" }, root)) : null,
      devices.length
        ? el("p", {}, `Parts of the training cannot be run again bit for bit: ${devices.join(", ")} does not repeat its bits.`)
        : kept
          ? [
              el(
                "p",
                {},
                `Parts of the training, drawn at random from ${plural(kept, "stretch", "stretches")} between kept checkpoints and run again to the last bit; it says with what chance a forgery would have escaped:`,
              ),
              commandBlock([`python -m fleming.audit verify ${run} --segments ${Math.min(5, kept)}`]),
            ]
          : el("p", {}, "The manifest names no kept checkpoint (sft.keep_every, grpo.keep_every): no part of the training can be run again alone."),
      D.rollouts.steps.length && !devices.length
        ? [
            el("p", {}, "Sampled answers, drawn again from the weights that gave them:"),
            commandBlock([`python -m fleming.rl.replay ${run} --random 50`]),
          ]
        : null,
    ),
  );
}

// The words of the field, where words.yaml has them: a sentence each, to which they lead wherever they stand.
function glossary() {
  section(
    "glossary",
    "Words",
    "What a word of this page means that is underlined with dots.",
    card(
      el(
        "dl",
        { class: "words" },
        W.glossary.map(({ word, means }, i) =>
          el("div", { id: `word-${i}`, tabindex: -1 }, el("dt", {}, el("dfn", {}, word)), el("dd", {}, means)),
        ),
      ),
    ),
  );
}
