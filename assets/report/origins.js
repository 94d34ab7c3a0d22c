// What the run was made from: data, shortcuts, graph; what else was measured; provenance.

function data() {
  const report = D.report,
    sampling = object(report.sampling);
  if (!Object.keys(report).length && !D.rejected.length) return;
  const rows = [];
  const kept = (name, n, of, codes) => {
    if (isNumber(n) && n >= 0)
      rows.push({ name, n, of, codes: Object.entries(object(codes)).sort((a, b) => b[1] - a[1]) });
  };
  kept("Questions wanted", sampling.wanted);
  const posed = Object.values(object(sampling.questions))
    .filter(isNumber)
    .reduce((a, b) => a + b, 0);
  if (posed) kept("Posed on the graph", posed, undefined, sampling.rejected);
  for (const step of list(report.refinement))
    kept(`Kept by ${String(step.step).replaceAll("_", " ")}`, step.kept, step.questions, step.rejected);
  const parts = Object.entries(object(report.parts));
  for (const [name, n] of parts.length > 1 ? parts : []) kept(`Of these from ${name}`, n);
  for (const [split, hops] of Object.entries(object(report.splits)))
    kept(
      `In ${split}`,
      Object.values(object(hops))
        .filter(isNumber)
        .reduce((a, b) => a + b, 0),
    );
  kept(
    "Worked answers for the cold start",
    object(report.trajectories).kept,
    undefined,
    object(report.trajectories).rejected,
  );
  const most = rows.reduce((m, r) => Math.max(m, r.n), 1);
  const funnel = table(
    "",
    ["Step", num("Questions"), wide(""), "Left out, by code"],
    rows.map((row) => [
      row.name,
      count(row.n),
      svg(
        "svg",
        { viewBox: "0 0 200 12", class: "bar", "aria-hidden": "true" },
        svg("rect", { x: 0, y: 1, width: (200 * row.n) / most, height: 10, rx: 2, fill: "var(--rl_stage1)" }),
      ),
      row.codes.length
        ? el(
            "span",
            { class: "small" },
            row.codes
              .map(([code, n]) => `${word("codes", code)}: ${isNumber(n) ? count(n) : n}`)
              .slice(0, 3)
              .join("; "),
            row.codes.length > 3 ? `; and ${row.codes.length - 3} more codes` : "",
          )
        : el("span", { class: "soft small" }, row.of !== undefined ? "none" : ""),
    ]),
  );
  const rejected = table(
    "Everything that was left out, by its code (data/rejected.jsonl).",
    ["Code", wide("Where"), num("Records"), "For example"],
    D.rejected
      .slice(0, 60)
      .map(([step, code, n, examples]) => [
        el(
          "span",
          {},
          el("code", {}, code),
          Object.hasOwn(W.codes, code) ? el("span", { class: "soft small" }, ` ${W.codes[code]}`) : null,
        ),
        step,
        count(n),
        el("span", { class: "text small soft" }, list(examples)[0] ?? ""),
      ]),
  );
  const checked = Object.entries(object(report.labels))
    .map(([by, n]) => `${by} ${count(n)}`)
    .join(", ");
  const labels = UNCHECKED ? "Labels: not checked." : checked ? `Labels were looked at: ${checked}.` : "";
  section(
    "data",
    "Data",
    `What was made, what each step kept, and why the rest was left out. ${labels}`,
    card(funnel),
    rejected ? el("p") : null,
    rejected
      ? card(
          el("details", { open: D.rejected.length < 14 }, el("summary", {}, `Codes (${D.rejected.length})`), rejected),
        )
      : null,
  );

  const probes = Object.entries(object(report.shortcuts)).filter(([, probe]) => isNumber(object(probe).accuracy));
  if (probes.length) {
    const drawn = (of) =>
      table(
        "",
        ["Probe", num("Right"), "", num("n")],
        of.map(([name, p]) => [
          word("probes", name.replace(/_by_root$/, "")),
          percent(p.accuracy),
          whisker(p.low, p.accuracy, p.high, p.low > p.chance ? "var(--wrong)" : "var(--soft)", p.chance),
          count(p.n),
        ]),
      );
    const plainProbes = probes.filter(([name]) => !name.endsWith("_by_root")),
      byRoot = probes.filter(([name]) => name.endsWith("_by_root"));
    section(
      "shortcuts",
      "Shortcuts",
      "What shallow probes answer without reading for sense. Vermilion lies above chance (the dotted mark): so much can be had without understanding.",
      el(
        "div",
        { class: "two" },
        card(el("h3", {}, "In random folds"), drawn(plainProbes)),
        byRoot.length ? card(el("h3", {}, "On roots never seen"), drawn(byRoot)) : null,
      ),
    );
  }
}

// The types in columns by their distance from the one with most facts; a line's width goes with its facts.
function graph() {
  const types = new Map(Object.entries(object(D.graph.types))),
    facts = list(D.graph.facts);
  if (!types.size) return;
  const heads = new Map();
  for (const [head, , , n] of facts) heads.set(head, (heads.get(head) ?? 0) + n);
  const columns = [
    [[...types.keys()].reduce((best, type) => ((heads.get(type) ?? 0) > (heads.get(best) ?? 0) ? type : best))],
  ];
  const placed = new Set(columns[0]);
  while (placed.size < types.size) {
    const found = facts
      .filter(([head, , tail]) => placed.has(head) && types.has(tail) && !placed.has(tail))
      .map(([, , tail]) => tail);
    const next = [...new Set(found.length ? found : [...types.keys()].filter((type) => !placed.has(type)))];
    next.forEach((type) => placed.add(type));
    columns.push(next.sort((a, b) => (heads.has(a) ? 1 : 0) - (heads.has(b) ? 1 : 0)));
  }
  const width = 150,
    height = 44,
    across = 340,
    down = 66;
  const tallest = Math.max(...columns.map((of) => of.length)) * down;
  const place = new Map(
    columns.flatMap((of, i) =>
      of.map((type, j) => [
        type,
        { column: i, x: i * across + 4, y: (tallest - of.length * down) / 2 + j * down + 10 },
      ]),
    ),
  );
  const picture = svg("svg", {
    viewBox: `0 0 ${(columns.length - 1) * across + width + 30} ${tallest + 10}`,
    class: "path",
    role: "img",
    "aria-label": `Types of the graph: ${[...types].map(([type, n]) => `${type} ${n}`).join(", ")}`,
  });
  // One line for all relations that lead from a column into a later one; the others stand in a table.
  const pairs = new Map(),
    others = [];
  for (const fact of facts) {
    const [head, relation, tail, n] = fact;
    if (!(place.get(head)?.column < place.get(tail)?.column)) others.push(fact);
    else
      pairs.set(`${head}\u0001${tail}`, [
        ...(pairs.get(`${head}\u0001${tail}`) ?? []),
        { head, tail, said: `${relation.replaceAll("_", " ")} ${count(n)}`, n },
      ]);
  }
  const sum = (of) => of.reduce((all, { n }) => all + n, 0),
    most = Math.max(...[...pairs.values()].map(sum), 1),
    lines = [],
    labels = [];
  for (const of of pairs.values()) {
    const { head, tail } = of[0],
      [a, b] = [place.get(head), place.get(tail)];
    const x1 = a.x + width,
      x2 = b.x,
      y1 = a.y + height / 2,
      y2 = b.y + height / 2,
      middle = (x1 + x2) / 2;
    const line = svg(
      "path",
      { d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`, class: "edge" },
      svg("title", {}, `${head} – ${tail}: ${of.map(({ said }) => said).join(", ")}`),
    );
    Object.assign(line.style, { stroke: "var(--same)", strokeWidth: 1.2 + 6 * Math.sqrt(sum(of) / most) });
    lines.push(line);
    const taken = labels.filter(([to]) => to === tail).length;
    of.slice(0, 3 - taken).forEach(({ said }, i) =>
      labels.push([
        tail,
        svg("text", { x: x2 - 10, y: y2 - 7 - 13 * (taken + i), "text-anchor": "end", class: "relation" }, said),
      ]),
    );
  }
  add(
    picture,
    lines,
    [...place].map(([type, at]) =>
      svg(
        "g",
        { class: "node visible" },
        svg("rect", { x: at.x, y: at.y, width, height, rx: 7 }),
        svg(
          "text",
          { x: at.x + width / 2, y: at.y + 19, "text-anchor": "middle", class: "label" },
          type.replaceAll("_", " "),
        ),
        svg("text", { x: at.x + width / 2, y: at.y + 34, "text-anchor": "middle" }, count(types.get(type))),
      ),
    ),
    labels.map(([, text]) => text),
  );
  const rare = Object.entries(object(D.graph.rare))
    .filter(([, n]) => n)
    .map(([type, n]) => `${count(n)} of the ${count(types.get(type))} of type ${type.replaceAll("_", " ")} are rare`)
    .join("; ");
  section(
    "graph",
    "Graph",
    `The types of the knowledge graph with their entities, and how many facts lie between them. ${rare ? `${rare}.` : ""} A question's own path is drawn where it is opened.`,
    card(
      el("div", { class: "scroll" }, sized(picture, 1.15 * ((columns.length - 1) * across + width + 30))),
      table(
        "Facts that lead back, or to the same type.",
        ["From", "Relation", "To", num("Facts")],
        others
          .slice(0, 20)
          .map(([head, relation, tail, n]) =>
            [head, relation, tail, count(n)].map((cell) => String(cell).replaceAll("_", " ")),
          ),
      ),
    ),
  );
}

// Confidence across, share right upwards: on the dotted line a model knows what it knows.
function calibrationPicture({ stage, benchmark, protocol, score }) {
  const found = score.calibration,
    size = 240,
    at = (share) => 34 + (size - 60) * share;
  const most = Math.max(...found.bins.map(([n]) => n));
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": `Calibration, ECE ${short(found.ece)}` },
    svg("line", { x1: at(0), y1: size - at(0), x2: at(1), y2: size - at(1), class: "switch" }),
    [0, 0.5, 1].map((tick) => [
      svg("text", { x: at(tick), y: size - 12, "text-anchor": "middle" }, percent(tick, 0)),
      svg("text", { x: 24, y: size - at(tick) + 4, "text-anchor": "end" }, 100 * tick),
    ]),
    found.bins.map(([n, confidence, accuracy]) => {
      const said = `${plural(n, "question")}: confidence ${percent(confidence)}, right ${percent(accuracy)}`;
      const place = { cx: at(confidence), cy: size - at(accuracy), r: 3 + 7 * Math.sqrt(n / most) };
      return svg("circle", { ...place, fill: stageColour(stage), "fill-opacity": 0.7 }, svg("title", {}, said));
    }),
  );
  picture.style.maxWidth = "17rem";
  return card(
    el("h3", {}, `${stageName(stage)} on ${benchmark}${protocol === "cot" ? "" : `, ${protocol}`}`),
    picture,
    el("p", { class: "soft small" }, `By ${found.of}: ECE ${short(found.ece)}, Brier score ${short(found.brier)}.`),
  );
}

function trust() {
  if (!SCORES.length) return;
  const calibrated = SCORES.filter(({ score }) => list(object(score.calibration).bins).length);
  const asked = SCORES.filter(({ score }) => list(object(score.option_order).accuracies).length);
  const order = table(
    "Option order: the same questions with their options in other orders.",
    ["Stage", "Benchmark", num("Questions"), num("Right, by order"), num("Spread"), num("Same option in all")],
    asked.map(({ stage, benchmark, score: { option_order: o } }) => [
      el("span", {}, dotOf(stageColour(stage)), stageName(stage)),
      benchmark,
      count(o.questions),
      o.accuracies.map((share) => percent(share)).join(", "),
      percent(o.spread),
      percent(o.consistency),
    ]),
  );
  const says = calibrated.length
    ? "Does a model know what it knows? Confidence across, share right upwards; on the dotted line the two agree."
    : "";
  const absent = [
    calibrated.length
      ? ""
      : "Confidence was not measured: it needs several samples (evaluate.samples) or log-likelihoods.",
    asked.length ? "" : "The order of the options was not tried: that is evaluate.reshuffles.",
  ];
  section(
    "trust",
    "Calibration and order",
    says,
    calibrated.length ? el("div", { class: "grid" }, calibrated.map(calibrationPicture)) : null,
    el("p"),
    order ? card(order) : null,
    absent.some(Boolean) ? el("p", { class: "soft" }, absent.filter(Boolean).join(" ")) : null,
  );
}

function costs() {
  const phases = Object.keys(W.phases)
    .map((key) => [
      key,
      list(GRPO[`time.${key}`])
        .filter(isNumber)
        .reduce((a, b) => a + b, 0),
    ])
    .filter(([, seconds]) => seconds > 0);
  if (!phases.length && !list(D.sft["time.step"]).length) return;
  const all = phases.reduce((sum, [, s]) => sum + s, 0);
  const said = (s) =>
    s >= 5400 ? `${(s / 3600).toFixed(1)} h` : s >= 90 ? `${(s / 60).toFixed(1)} min` : `${s.toFixed(1)} s`;
  const sft = list(D.sft["time.step"]).filter(isNumber);
  section(
    "costs",
    "Time and memory",
    "By the clock of the machine that trained; everything else in this report repeats exactly, this does not.",
    el(
      "div",
      { class: "stack" },
      phases.length
        ? card(
            table(
              "Where RL's time went.",
              ["Phase", num("Time"), num("Share"), ""],
              phases
                .sort((a, b) => b[1] - a[1])
                .map(([key, seconds]) => [
                  W.phases[key],
                  said(seconds),
                  percent(seconds / all, 0),
                  svg(
                    "svg",
                    { viewBox: "0 0 200 12", class: "bar", "aria-hidden": "true" },
                    svg("rect", {
                      x: 0,
                      y: 1,
                      width: 200 * (seconds / all),
                      height: 10,
                      rx: 2,
                      fill: "var(--rl_stage2)",
                    }),
                  ),
                ]),
            ),
            sft.length
              ? el(
                  "p",
                  { class: "soft small" },
                  `A step of the cold start took ${said(sft.reduce((a, b) => a + b, 0) / sft.length)} on average.`,
                )
              : null,
          )
        : null,
      phases.length
        ? el(
            "div",
            { class: "grid" },
            W.times.map((row) =>
              chart(row, GRPO, D.other?.grpo, {
                stages: list(GRPO.stage),
                switchAt: SWITCH.after,
                open: R.rows
                  ? (step) => {
                      location.hash = stepLink(nearestStep(step));
                    }
                  : null,
              }),
            ),
          )
        : null,
    ),
  );
}

function provenance() {
  // A report of the data has each source once, with its terms; of an older run the graph's own origins are told.
  const told = list(object(D.report).sources).map(object);
  const origins = new Map(list(D.graph.origins).map((o) => [`${o.source} ${o.licence}`, o]));
  const known = (value) =>
    value ? el("span", { class: "text" }, value) : el("span", { class: "soft" }, "not recorded");
  const forbids = (o) =>
    o.commercial === "no" || (!o.commercial && /non-?commercial|\bNC\b|research (use|only)/i.test(String(o.licence)));
  const licences = table(
    `Sources and their licences. ${D.report.commercial_use ? `Use for profit: ${D.report.commercial_use}.` : ""}`,
    ["Source", wide(num("Records")), "Licence", "Use for profit", wide("Asks for"), "Address"],
    (told.length ? told : [...origins.values()]).map((o) => [
      o.source,
      count(o.records),
      known(o.licence),
      forbids(o) ? el("span", { class: "tag wrong" }, "forbids commercial use") : known(o.commercial),
      known(o.condition),
      known(o.address),
    ]),
  );
  const starts = Object.entries(object(D.manifest)).flatMap(([stage, of]) => of.map((start) => ({ stage, ...start })));
  const stageRows = table(
    "Every start of every stage (manifest.json).",
    ["Stage", "Started", wide("Commit"), wide(num("Seed")), "Device", wide("Versions")],
    starts.map((s) => [
      [s.stage, s.name].filter(Boolean).join(" "),
      s.started,
      el("code", {}, String(s.commit ?? "–").slice(0, 12)),
      s.seed,
      [s.device, s.processes > 1 ? `${s.processes} processes` : null, s.cpu_kernels].filter(Boolean).join(", "),
      Object.entries(object(s.versions))
        .map(([name, v]) => `${name} ${v}`)
        .join(", "),
    ]),
  );
  const hashes = new Map();
  for (const s of starts)
    for (const [name, sha] of Object.entries({
      ...object(s.outputs),
      ...Object.fromEntries(Object.entries(object(s.inputs)).map(([k, v]) => [`${s.stage} reads ${k}`, v])),
    }))
      hashes.set(name, sha);
  for (const s of starts) if (s.root) hashes.set(`root over all that was written up to ${s.stage}`, s.root);
  for (const [stage, results] of Object.entries(D.stages))
    for (const [name, sha] of Object.entries(object(results.sha256))) hashes.set(`eval/${stage} reads ${name}`, sha);
  section(
    "provenance",
    "Provenance",
    "What the run was made from and by, each file by its SHA-256. A report shows; the audit's verify command checks.",
    licences ? card(licences) : null,
    licences ? el("p") : null,
    stageRows ? card(stageRows) : el("p", { class: "soft" }, "No manifest: only evaluation has run here."),
    hashes.size ? el("p") : null,
    hashes.size
      ? card(
          el(
            "details",
            {},
            el("summary", {}, `SHA-256 of ${plural(hashes.size, "file")}`),
            table(
              "",
              ["File", "SHA-256"],
              [...hashes].map(([name, sha]) => [name, el("code", { class: "text" }, sha)]),
            ),
          ),
        )
      : null,
    el(
      "p",
      { class: "soft small" },
      `Written ${D.about.made} from ${plural(D.files.length, "file")} by python -m fleming.report ${D.about.run}. Not medical advice; nothing here has been evaluated for clinical use.`,
    ),
  );
}
