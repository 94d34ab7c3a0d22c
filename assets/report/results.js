// What came of the run: the first screen, the stages, which questions changed, training, mining.

const NAMES = Object.keys(D.stages);
const scoresOf = (stages) =>
  Object.entries(stages).flatMap(([stage, results]) =>
    Object.entries(object(results.benchmarks)).flatMap(([benchmark, by]) =>
      Object.entries(object(by)).map(([protocol, score]) => ({ stage, benchmark, protocol, score })),
    ),
  );
const SCORES = scoresOf(D.stages);

// Whether nobody looked at the labels; an older run says no more than that it had no voter.
const UNCHECKED = D.report.labels === undefined ? D.about.voter === "" : D.report.labels === "not checked";

function glance() {
  byId("name").textContent = plain(D.about.name);
  const gaps = [];
  const run = D.about.run;
  if (!D.manifest.synth && !D.report.entities)
    gaps.push("No data of synth_data.py: the run has questions of its own, or none yet.");
  if (!D.sft.step)
    gaps.push(`No cold start: python train_sft.py --config ${run}/config.yaml makes it; a run may do without.`);
  if (!D.grpo.step) gaps.push(`No RL: python train_grpo.py --config ${run}/config.yaml`);
  else if (!D.rollouts.steps.length) gaps.push("No sampled answers: grpo/rollouts holds none that can be read.");
  else if (!list(GRPO.stage).includes(2)) gaps.push("RL has not come to stage 2.");
  if (!SCORES.length) gaps.push(`No evaluation: python evaluate.py --config ${run}/config.yaml`);
  if (UNCHECKED)
    gaps.push(
      "Labels: not checked. There was no voter, critic or reader, so nobody but the graph says that the answers are right.",
    );
  if (list(GRPO.step).length)
    gaps.push(
      "A reward is for what its parts name, beside each answer. Where none of them is about the path, a right answer may stand behind a wrong thought.",
    );
  const faults = [...D.notes, ...list(D.other?.notes).map(([file, what]) => [`${D.other.name}: ${file}`, what])];

  const main = byId("main");
  const tiles = [];
  const best = SCORES.filter((s) => s.benchmark === SCORES[0]?.benchmark && s.protocol === SCORES[0].protocol);
  const tile = (name, value, says) =>
    el(
      "div",
      { class: "card tile" },
      el("span", { class: "soft small" }, name),
      el("strong", {}, value),
      el("span", { class: "soft small" }, defined(says)),
    );
  if (best.length) {
    const { stage, benchmark, score } = best.at(-1);
    tiles.push(
      tile(
        `${stageName(stage)} on ${benchmark}`,
        percent(score.accuracy),
        `95 % interval ${percent(score.accuracy_low)} to ${percent(score.accuracy_high)}, chance ${percent(score.chance)}`,
      ),
    );
  }
  const gain = D.differences.find((d) => d.a === "cold_start" && d.b === "rl_stage2") ?? D.differences.at(-1);
  if (gain)
    tiles.push(
      tile(
        `${stageName(gain.b)} over ${stageName(gain.a)}`,
        `${points(gain.difference)} points`,
        `${points(gain.low)} to ${points(gain.high)}, the same ${count(gain.n)} questions: ${verdict(gain)}`,
      ),
    );
  if (list(GRPO.step).length)
    tiles.push(
      tile(
        "Steps of RL",
        count(GRPO.step.at(-1)),
        isNumber(SWITCH.after) ? `stage 2 from step ${SWITCH.after + 1}` : `stage ${list(GRPO.stage).at(-1) ?? 1}`,
      ),
    );
  if (R.rows) {
    const whole = R.steps.reduce((n, s) => n + s.allRows, 0);
    tiles.push(
      tile(
        "Sampled answers here",
        count(R.rows),
        R.rows < whole ? `of ${count(whole)}: whole groups, evenly over each step` : "all that training saw",
      ),
    );
  }
  main.append(el("div", { class: "tiles" }, tiles));
  if (gaps.length || faults.length)
    main.append(
      el(
        "div",
        { class: "note", id: "missing" },
        el("h3", {}, faults.length ? "What is missing or damaged" : "What to know"),
        el(
          "ul",
          {},
          gaps.map((text) => el("li", {}, defined(text))),
          faults.map(([file, what]) => el("li", {}, el("code", {}, file), " ", el("span", { class: "text" }, what))),
        ),
      ),
    );
}
const verdict = (d) =>
  d.verdict === "b is better" ? "better" : d.verdict === "a is better" ? "worse" : "no difference shown";

function stages() {
  if (!SCORES.length) return;
  const mine = (rows) =>
    table(
      "",
      [
        "Stage",
        wide("Benchmark"),
        wide(num("Questions")),
        num("Accuracy"),
        wide(""),
        num("95 % interval"),
        num("Well-formed"),
        wide(num("No option named")),
        wide(num("Tokens")),
      ],
      rows,
    );
  const rows = (scores, colour) =>
    scores.map(({ stage, benchmark, protocol, score }) => [
      el("span", {}, dotOf(colour ?? stageColour(stage)), stageName(stage)),
      `${benchmark}${protocol === "cot" ? "" : `, ${protocol}`}`,
      count(score.n),
      percent(score.accuracy),
      whisker(score.accuracy_low, score.accuracy, score.accuracy_high, colour ?? stageColour(stage), score.chance),
      `${percent(score.accuracy_low)} – ${percent(score.accuracy_high)}`,
      percent(score.format),
      percent(score.abstained),
      short(score.mean_tokens),
    ]);
  const protocols = [...new Set(SCORES.map(({ protocol, score }) => `${protocol}: ${score.protocol}`))];
  const paired = (differences, caption, name = (d) => `${stageName(d.b)} − ${stageName(d.a)}`) => {
    const scale = differences.reduce((most, d) => Math.max(most, Math.abs(d.low), Math.abs(d.high)), 0.01);
    return table(
      caption,
      [
        "Difference",
        wide("Benchmark"),
        wide(num("Questions")),
        num("Points"),
        wide(""),
        num("95 % interval"),
        wide(num("Won")),
        wide(num("Lost")),
        wide(num("p")),
        wide(num("Holm")),
        "Verdict",
      ],
      differences.map((d) => [
        name(d),
        d.benchmark,
        count(d.n),
        points(d.difference),
        around(d, scale),
        `${points(d.low)} to ${points(d.high)}`,
        count(d.wins),
        count(d.losses),
        pValue(d.p_mcnemar),
        pValue(d.holm),
        el(
          "span",
          { class: `tag ${verdict(d) === "better" ? "right" : verdict(d) === "worse" ? "wrong" : ""}` },
          verdict(d),
        ),
      ]),
    );
  };
  section(
    "stages",
    "Stages",
    "What each stage of the run reaches on held-out questions. The dotted mark is chance.",
    card(mine(rows(SCORES)), el("p", { class: "soft small" }, protocols.join(" · "))),
    D.differences.length ? el("p") : null,
    D.differences.length
      ? card(
          paired(
            D.differences,
            "Paired on the same questions: bootstrap interval of the difference, exact McNemar test. “Better” is said only where both agree.",
          ),
        )
      : null,
    D.other && Object.keys(D.other.stages).length
      ? [
          el("p"),
          card(
            el("h3", {}, `Beside it: ${D.other.name}`),
            mine(rows(scoresOf(D.other.stages), "var(--other)")),
            D.other.paired.length
              ? paired(D.other.paired, `This run less ${D.other.name}, on the questions that both were asked.`, (d) =>
                  stageName(d.b),
                )
              : el(
                  "p",
                  { class: "soft small" },
                  "The two runs were not asked the same questions: their scores cannot be paired.",
                ),
            D.other.differ.length
              ? el("p", { class: "small" }, `Not the same settings of the evaluation: ${D.other.differ.join(", ")}`)
              : null,
          ),
        ]
      : null,
  );
}
const dotOf = (colour) => {
  const mark = el("i", { "aria-hidden": "true" });
  Object.assign(mark.style, {
    background: colour,
    borderRadius: "50%",
    display: "inline-block",
    height: ".6rem",
    marginRight: ".55rem",
    width: ".6rem",
  });
  return mark;
};

// Ribbons between columns of states. columns: [{title, states: {key: count}}]; flows: of each pair, {"from to": count}.
const STATES = {
  1: ["right", "var(--right)", "✓"],
  0: ["wrong", "var(--wrong)", "✗"],
  "-": ["none named", "var(--faint)", "–"],
  right: ["right", "var(--right)", "✓"],
  wrong: ["wrong", "var(--wrong)", "✗"],
};
// From left to right, and for a phone from top to bottom; the style shows the one that fits.
const flowPicture = (...given) =>
  el(
    "div",
    { class: "flow" },
    el("div", { class: "across" }, flowDrawing(false, ...given)),
    el(
      "div",
      { class: "down" },
      flowDrawing(true, ...given),
      el("p", { class: "soft small" }, given[2].map((key) => `${STATES[key][2]} ${STATES[key][0]}`).join(" · ")),
    ),
  );

// Places in their order, moved as little as keeps each `least` behind the one before and the last before `end`.
const spread = (places, least, end) => {
  const moved = [...places];
  for (let i = 1; i < moved.length; i++) moved[i] = Math.max(moved[i], moved[i - 1] + least);
  for (let i = moved.length - 1, most = end; i >= 0; i--, most -= least) moved[i] = Math.min(moved[i], most);
  return moved;
};

const flowDrawing = (down, columns, flows, order, label, pick) => {
  const bar = 13,
    gap = 5,
    every = down ? 1 : Math.ceil(columns.length / 8); // columns of which one has its title and numbers
  const row = columns.length > 8 ? 64 : 92;
  // Of the column's number, and of the space beside one another: a state's size is its count.
  const along = (i) => (down ? 36 + row * i : 60 + 765 * (columns.length > 1 ? i / (columns.length - 1) : 0));
  const [start, room] = down ? [0, 320] : [34, 186];
  const width = down ? room : 940,
    height = down ? along(columns.length - 1) + bar + 4 : 230;
  const total = columns.reduce(
    (most, c) =>
      Math.max(
        most,
        order.reduce((n, key) => n + (c.states[key] ?? 0), 0),
      ),
    1,
  );
  const scale = (room - gap * (order.length - 1)) / total;
  const places = columns.map((column) => {
    let at = start;
    return Object.fromEntries(
      order.map((key) => {
        const size = (column.states[key] ?? 0) * scale,
          place = { at, size, in: at, out: at };
        at += size + gap;
        return [key, place];
      }),
    );
  });
  const point = (far, beside) => (down ? `${beside} ${far}` : `${far} ${beside}`);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
  flows.forEach((flow, i) =>
    order.forEach((from) =>
      order.forEach((to) => {
        const n = flow[`${from} ${to}`] ?? 0;
        const a = places[i][from],
          b = places[i + 1][to],
          size = n * scale;
        const [begins, ends] = [a.out, b.in];
        a.out += size;
        b.in += size;
        if (!n) return;
        const near = along(i) + bar,
          far = along(i + 1),
          middle = (near + far) / 2;
        const good = STATES[to][0] === "right",
          was = STATES[from][0] === "right";
        const said = `${plural(n, "question")} ${STATES[from][0]} in ${columns[i].title}, ${STATES[to][0]} in ${columns[i + 1].title}`;
        const there = `C${point(middle, begins)} ${point(middle, ends)} ${point(far, ends)}`;
        const back = `C${point(middle, ends + size)} ${point(middle, begins + size)} ${point(near, begins + size)}`;
        add(
          picture,
          svg(
            "path",
            {
              d: `M${point(near, begins)}${there}L${point(far, ends + size)}${back}Z`,
              class: `ribbon ${good && !was ? "better" : was && !good ? "worse" : ""}`,
              tabindex: pick ? 0 : null,
              role: pick ? "button" : null,
              "aria-label": said,
              onclick: () => pick?.(i, from, to),
              onkeydown: (event) => {
                if (event.key === "Enter" || event.key === " ") {
                  event.preventDefault();
                  pick?.(i, from, to);
                }
              },
            },
            svg("title", {}, said),
          ),
        );
      }),
    ),
  );
  columns.forEach((column, i) => {
    const last = i === columns.length - 1,
      there = order.filter((key) => places[i][key].size);
    for (const key of there) {
      const { at, size } = places[i][key];
      const box = down ? { x: at, y: along(i), width: size, height: bar } : { x: along(i), y: at, width: bar, height: size };
      add(picture, svg("rect", { ...box, fill: STATES[key][1], rx: 1.5 }));
    }
    if ((columns.length - 1 - i) % every) return;
    const title = down ? { x: 0, y: along(i) - 22 } : { x: along(i) + bar / 2, y: 14, "text-anchor": "middle" };
    add(picture, svg("text", { ...title, class: "strong halo" }, column.title));
    const middles = there.map((key) => places[i][key].at + places[i][key].size / 2);
    const labels = spread(middles, down ? 52 : 12, down ? room - 24 : height - 8);
    there.forEach((key, k) => {
      const n = count(column.states[key]);
      const place = down
        ? { x: Math.max(24, labels[k]), y: along(i) - 6, "text-anchor": "middle" }
        : { x: along(i) + (last ? bar + 7 : -7), y: labels[k] + 4, "text-anchor": last ? "start" : "end" };
      const said = down ? `${STATES[key][2]} ${n}` : last ? `${n} ${STATES[key][0]}` : n;
      add(picture, svg("text", { ...place, class: down ? "halo" : null }, said));
    });
  });
  return picture;
};

const changes = { asked: 0, from: null, to: null, kind: null, way: "helped" };
function changesSection() {
  const usable = D.asked.filter((asked) => Object.keys(asked.stages).length > 1);
  if (!usable.length) return;
  const names = Object.keys(usable[0].stages);
  [changes.from, changes.to] =
    names.includes("rl_stage2") && names.includes("rl_stage1") ? ["rl_stage1", "rl_stage2"] : names.slice(-2);
  const body = el("div", { class: "stack" });
  const node = section(
    "changes",
    "What changed",
    "Which held-out questions went from wrong to right, and which back. Choose two stages, or a ribbon.",
    body,
  );
  node.draw = () => drawChanges(usable, body);
  node.draw();
}

const WAYS = {
  helped: ["wrong → right", (a, b) => a !== "1" && b === "1"],
  hurt: ["right → wrong", (a, b) => a === "1" && b !== "1"],
  still: ["still wrong", (a, b) => a !== "1" && b !== "1"],
  kept: ["still right", (a, b) => a === "1" && b === "1"],
};

function drawChanges(usable, body) {
  const asked = usable[changes.asked],
    names = Object.keys(asked.stages),
    order = ["1", "0", "-"];
  const tally = (keys) => keys.reduce((all, key) => ({ ...all, [key]: (all[key] ?? 0) + 1 }), {});
  const columns = names.map((name) => ({ title: stageName(name), states: tally([...asked.stages[name]]) }));
  const flows = names
    .slice(1)
    .map((name, i) => tally([...asked.stages[name]].map((to, j) => `${asked.stages[names[i]][j]} ${to}`)));
  const picture = flowPicture(
    columns,
    flows,
    order,
    "Questions between right and wrong, stage by stage",
    (i, from, to) => {
      Object.assign(changes, {
        from: names[i],
        to: names[i + 1],
        kind: null,
        way: Object.keys(WAYS).find((way) => WAYS[way][1](from, to)),
      });
      drawChanges(usable, body);
      body.querySelector(".picked")?.scrollIntoView({ block: "nearest" });
    },
  );

  // Of the two stages: each question with both codes, by kind.
  const [a, b] = [asked.stages[changes.from], asked.stages[changes.to]];
  const pairs = asked.ids.map((q, i) => ({ q, a: a[i], b: b[i] })).filter((p) => p.a !== " " && p.b !== " ");
  const way = (name) => pairs.filter((p) => WAYS[name][1](p.a, p.b));
  const helped = way("helped"),
    hurt = way("hurt"),
    silent = helped.filter((p) => p.a === "-");
  const lost = hurt.filter((p) => p.b === "-");
  const byKind = new Map();
  for (const p of pairs) {
    const key = kindName(p.q);
    const row = byKind.get(key) ?? { key, n: 0, before: 0, after: 0, helped: 0, hurt: 0, silent: 0 };
    row.n++;
    row.before += p.a === "1";
    row.after += p.b === "1";
    row.helped += p.a !== "1" && p.b === "1";
    row.hurt += p.a === "1" && p.b !== "1";
    row.silent += p.a === "-" && p.b === "1";
    byKind.set(key, row);
  }
  // What the later stage was trained on, of each kind: the share right in its first and last third.
  const stage = { rl_stage1: 1, rl_stage2: 2 }[changes.to];
  const trained = new Map();
  const own = R.groups.filter((g) => g.stage === stage);
  own.forEach((g, i) => {
    const row = trained.get(kindName(g.q)) ?? { groups: 0, early: [0, 0], late: [0, 0] };
    row.groups++;
    const third = i < own.length / 3 ? row.early : i >= (2 * own.length) / 3 ? row.late : [0, 0];
    third[0] += g.right;
    third[1] += g.rows;
    trained.set(kindName(g.q), row);
  });
  const kinds = [...byKind.values()].sort((x, y) => y.helped - y.hurt - (x.helped - x.hurt) || y.n - x.n);
  const most = kinds.reduce((m, k) => Math.max(m, k.helped, k.hurt), 1);
  const bars = (k) =>
    svg(
      "svg",
      { viewBox: "0 0 160 12", class: "bar", role: "img", "aria-label": `${k.hurt} lost, ${k.helped} won` },
      svg("rect", {
        x: 80 - 76 * (k.hurt / most),
        y: 1,
        width: 76 * (k.hurt / most),
        height: 10,
        rx: 2,
        fill: "var(--wrong)",
      }),
      svg("rect", { x: 80, y: 1, width: 76 * (k.helped / most), height: 10, rx: 2, fill: "var(--right)" }),
      svg("line", { x1: 80, x2: 80, y1: 0, y2: 12, stroke: "var(--faint)" }),
    );
  const share = ([right, all]) => (all ? percent(right / all, 0) : "–");
  const rows = kinds.map((k) => {
    const t = trained.get(k.key);
    const name = el(
      "button",
      {
        type: "button",
        class: "plain",
        "aria-pressed": String(changes.kind === k.key),
        onclick: () => {
          changes.kind = changes.kind === k.key ? null : k.key;
          drawChanges(usable, body);
        },
      },
      k.key,
    );
    return {
      attributes: { "aria-selected": String(changes.kind === k.key) },
      cells: [
        name,
        count(k.n),
        percent(k.before / k.n, 0),
        percent(k.after / k.n, 0),
        bars(k),
        count(k.helped),
        count(k.hurt),
        count(k.silent),
        ...(own.length ? [count(t?.groups ?? 0), t ? `${share(t.early)} → ${share(t.late)}` : "–"] : []),
      ],
    };
  });
  const chosen = way(changes.way).filter((p) => changes.kind === null || kindName(p.q) === changes.kind);

  const sum = el(
    "p",
    {},
    `${stageName(changes.to)} answers `,
    el("b", { class: "right" }, plural(helped.length, "question")),
    ` right that ${stageName(changes.from)} did not, and loses `,
    el("b", { class: "wrong" }, count(hurt.length)),
    ". ",
    helped.length
      ? `Of those won, ${count(silent.length)} had named none of the options before and ${count(helped.length - silent.length)} had chosen another one. `
      : "",
    hurt.length ? `Of those lost, ${count(lost.length)} name none of the options now.` : "",
  );
  const option = (names) => names.map((name) => [name, stageName(name)]);
  const redraw = (key) => (value) => {
    changes[key] = value;
    drawChanges(usable, body);
  };
  refill(
    body,
    card(
      usable.length > 1
        ? select(
            "Benchmark",
            usable.map((u, i) => [i, `${u.benchmark}, ${u.protocol}`]),
            changes.asked,
            redraw("asked"),
          )
        : null,
      picture,
      legend(["var(--right)", "became right"], ["var(--wrong)", "became wrong"], ["var(--same)", "as before"]),
    ),
    card(
      el(
        "div",
        { class: "row controls" },
        select("From", option(names), changes.from, redraw("from")),
        select("to", option(names), changes.to, redraw("to")),
      ),
      sum,
      table(
        "By kind of question; choose one to see its questions below.",
        [
          "Kind",
          num("n"),
          num("before"),
          num("after"),
          wide("lost | won"),
          num("won"),
          num("lost"),
          wide(num("won, none named before")),
          ...(own.length ? [wide(num("groups trained on")), wide(num("right there, early → late"))] : []),
        ],
        rows,
      ),
    ),
    el(
      "div",
      { class: "card stack picked" },
      el(
        "div",
        { class: "row controls", role: "group", "aria-label": "Which questions" },
        Object.entries(WAYS).map(([key, [name]]) =>
          el(
            "button",
            { type: "button", "aria-pressed": String(changes.way === key), onclick: () => redraw("way")(key) },
            `${name} (${count(way(key).filter((p) => changes.kind === null || kindName(p.q) === changes.kind).length)})`,
          ),
        ),
        changes.kind !== null &&
          el("button", { type: "button", onclick: () => redraw("kind")(null) }, `${changes.kind} ✕`),
      ),
      changedList(asked, chosen),
    ),
  );
}

// Questions with what both stages answered, as many as are asked for.
function changedList(asked, pairs, from = changes.from, to = changes.to) {
  const box = el("div", {});
  const key = `${asked.benchmark}/${asked.protocol}`;
  let shown = 0;
  const more = el("button", { type: "button", class: "controls", onclick: () => add() }, "Show more");
  const add = async () => {
    const part = pairs.slice(shown, shown + 12);
    shown += part.length;
    more.hidden = shown >= pairs.length;
    const rows = await Promise.all(
      part.map(async (p) => {
        const q = await question(p.q),
          given = object(object(q.given)[key]);
        const say = (stage, code) => {
          const [answer] = list(given[stage]);
          return el(
            "span",
            { class: code === "1" ? "right" : "wrong" },
            code === "1" ? "✓ " : "✗ ",
            el(
              "span",
              { class: "text" },
              answer === null || answer === undefined
                ? "no option named"
                : `${answer}. ${object(q.options)[answer] ?? ""}`,
            ),
          );
        };
        return [
          link(questionLink(p.q), el("span", { class: "text" }, q.text ?? Q.ids[p.q])),
          kindName(p.q),
          say(from, p.a),
          say(to, p.b),
        ];
      }),
    );
    const made = table("", ["Question", wide("Kind"), stageName(from), stageName(to)], rows);
    if (!made) return;
    const before = box.querySelector("tbody");
    if (before) before.append(...made.querySelectorAll("tbody tr"));
    else box.prepend(made);
  };
  if (!pairs.length) return el("p", { class: "soft" }, "None.");
  box.append(more);
  add();
  return box;
}

function training() {
  if (!list(GRPO.step).length && !list(D.sft.step).length) return;
  const open = R.rows
    ? (step) => {
        location.hash = stepLink(R.byStep.has(step) ? step : nearestStep(step));
      }
    : null;
  const options = { open, stages: list(GRPO.stage), switchAt: SWITCH.after };
  const parts = [];
  const recorded = (rows, run) => rows.filter((row) => list(run[row.key]).some(isNumber));
  parts.push(
    el(
      "div",
      { class: "grid" },
      recorded(W.curves, GRPO).map((row) => chart(row, GRPO, D.other?.grpo, options)),
      recorded(W.sft, D.sft).map((row) => chart(row, D.sft, D.other?.sft, { colour: "var(--cold_start)" })),
    ),
  );
  const absent = list(GRPO.step).length ? W.curves.filter((row) => !recorded([row], GRPO).length) : [];
  if (absent.length)
    parts.push(
      el(
        "p",
        { class: "soft small" },
        `Not recorded in this run: ${absent.map((row) => `${row.title.toLowerCase().replace("kl", "KL")} (${row.says})`).join("; ")}.`,
      ),
    );
  const because = {
    slope: "the reward no longer rose",
    flat_groups: "too many groups taught nothing",
    max_steps: "its steps were used up",
    max_tokens: "its tokens were used up",
  }[SWITCH.because];
  section(
    "training",
    "Training",
    `Thin lines are single steps, thick ones their running mean.${isNumber(SWITCH.after) ? ` Stage 2 begins after step ${SWITCH.after}${because ? `: ${because}` : ""}.` : ""}${open ? " A click on a point, or Enter, opens that step's answers." : ""}`,
    legend(
      ["var(--rl_stage1)", "RL stage 1"],
      ["var(--rl_stage2)", "RL stage 2"],
      ...(D.other ? [["var(--other)", D.other.name]] : []),
    ),
    ...parts,
  );
}
const nearestStep = (step) =>
  R.steps.reduce((best, s) => (Math.abs(s.step - step) < Math.abs(best.step - step) ? s : best)).step;

function mining() {
  const rounds = D.mining.rounds;
  if (!rounds.length) return;
  const columns = rounds.map((round) => {
    const states = {};
    for (const [move, n] of Object.entries(round.moves))
      states[move.split(" ")[1]] = (states[move.split(" ")[1]] ?? 0) + n;
    return { title: `before step ${round.step}`, states };
  });
  const shown = el("div", {});
  const listed = async (i, from, to) => {
    const ids = list(rounds[i + 1][`${from} ${to}`]).filter((id) => questionNumber.has(id));
    const all = rounds[i + 1].moves[`${from} ${to}`] ?? 0;
    const rows = await Promise.all(
      ids.slice(0, 25).map(async (id) => {
        const q = questionNumber.get(id);
        return [link(questionLink(q), el("span", { class: "text" }, (await question(q)).text ?? id)), kindName(q)];
      }),
    );
    refill(
      shown,
      table(
        `${plural(all, "training question")} went from ${from} to ${to} before step ${rounds[i + 1].step}${all > rows.length ? `; the first ${rows.length}` : ""}.`,
        ["Question", wide("Kind")],
        rows,
      ) ?? el("p", { class: "soft" }, `${plural(all, "training question")}; the report lists those that changed.`),
    );
  };
  section(
    "mining",
    "Mining rounds",
    "In a round the model answers the training questions, and stage 2 then draws from those that it failed and those that it solved. A question that rests stays what it was.",
    card(
      flowPicture(
        columns,
        rounds.slice(1).map((round) => round.moves),
        ["right", "wrong"],
        "Training questions between right and wrong, round by round",
        listed,
      ),
      rounds.length > 1
        ? legend(["var(--right)", "became right"], ["var(--wrong)", "became wrong"], ["var(--same)", "as before"])
        : null,
      shown,
    ),
  );
}
