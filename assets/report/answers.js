// The sampled answers: filters, a histogram whose bars filter, groups, and a group's answers side by side.

const view = {
  step: null,
  scope: "step",
  group: null,
  sample: null,
  outcome: "all",
  form: "all",
  change: "all",
  measure: "reward",
  bin: null,
  kind: "",
  shown: 0,
};
const OUTCOMES = { all: "any answer", right: "right", wrong: "wrong", silent: "no option named" };
const FORMS = { all: "any form", well: "well-formed", ill: "ill-formed", cut: "cut off" };
const CHANGES = {
  all: "any",
  changed: "changed since stage 1",
  better: "wrong → right since stage 1",
  worse: "right → wrong since stage 1",
};
const MEASURES = {
  reward: ["Reward", R.reward],
  advantage: ["Advantage", R.advantage],
  tokens: ["Length in tokens", R.tokens],
};

const outcomeFits = (flags) =>
  view.outcome === "all" ||
  (view.outcome === "right" ? flags & RIGHT : view.outcome === "silent" ? flags & SILENT : !(flags & RIGHT));
const formFits = (flags) =>
  view.form === "all" || (view.form === "well" ? flags & FORM : view.form === "cut" ? flags & CUT : !(flags & FORM));
const changeFits = (g) =>
  view.change === "all" ||
  (view.change === "changed" ? g.change : view.change === "better" ? g.change > 0 : g.change < 0);
const inBin = (i) =>
  view.bin === null || (MEASURES[view.measure][1][i] >= view.bin[0] && MEASURES[view.measure][1][i] < view.bin[1]);
const fits = (i) => outcomeFits(R.flags[i]) && formFits(R.flags[i]);

function answers() {
  if (!R.rows) return;
  view.step = R.steps.at(-1).step;
  const whole = R.steps.reduce((n, s) => n + s.allRows, 0);
  const controls = el("div", { class: "card stack controls" }),
    picture = el("div", { class: "card" }),
    groups = el("div", { class: "card" }),
    samples = el("div", { id: "samples", "aria-live": "polite" });
  const node = section(
    "answers",
    "Sampled answers",
    `${R.rows < whole ? `${count(R.rows)} of ${count(whole)} answers: whole groups, evenly over each step.` : `All ${count(whole)} answers.`} Those to one question are a group; what is learned from is the advantage, their rewards relative to one another.`,
    el("div", { class: "stack" }, controls, el("div", { class: "two" }, picture, groups), samples),
  );
  node.draw = () => {
    drawControls(controls);
    drawHistogram(picture);
    return Promise.all([drawGroups(groups), drawSamples(samples)]);
  };
  node.draw();
}
const redrawAnswers = (changed) => {
  Object.assign(view, changed);
  return byId("answers").draw();
};

function drawControls(box) {
  const here = R.byStep.get(view.step),
    index = R.steps.indexOf(here);
  const go = (i) => {
    location.hash = stepLink(R.steps[Math.min(R.steps.length - 1, Math.max(0, i))].step);
  };
  const focus = box.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  const kinds = [...new Set(R.groups.map((g) => kindName(g.q)))].sort();
  refill(
    box,
    el(
      "div",
      { class: "row" },
      el(
        "button",
        {
          type: "button",
          "data-name": "before",
          disabled: index === 0,
          "aria-label": "Step before",
          onclick: () => go(index - 1),
        },
        "←",
      ),
      el(
        "label",
        {},
        "Step ",
        el("input", {
          type: "range",
          "data-name": "range",
          min: 0,
          max: R.steps.length - 1,
          value: index,
          "aria-valuetext": `step ${view.step}`,
          onchange: (event) => go(Number(event.target.value)),
        }),
      ),
      el(
        "button",
        {
          type: "button",
          "data-name": "after",
          disabled: index === R.steps.length - 1,
          "aria-label": "Next step",
          onclick: () => go(index + 1),
        },
        "→",
      ),
      el("b", {}, `step ${view.step}`),
      el("span", { class: "tag" }, `stage ${here.stage}`),
      el(
        "span",
        { class: "soft small" },
        `${plural(here.groups, "group")}${here.groups < here.allGroups ? ` of ${count(here.allGroups)}` : ""}, ${plural(here.rows, "answer")}`,
      ),
    ),
    el(
      "div",
      { class: "row" },
      select(
        "Of",
        [
          ["step", "this step"],
          ["all", "all steps"],
        ],
        view.scope,
        (scope) => redrawAnswers({ scope, shown: 0 }),
      ),
      select("Answer", Object.entries(OUTCOMES), view.outcome, (outcome) => redrawAnswers({ outcome, shown: 0 })),
      select("Form", Object.entries(FORMS), view.form, (form) => redrawAnswers({ form, shown: 0 })),
      select("Question", Object.entries(CHANGES), view.change, (change) =>
        redrawAnswers({ change, shown: 0, ...(change === "all" ? {} : { scope: "all" }) }),
      ),
      kinds.length > 1 &&
        select("Kind", [["", "any"], ...kinds.map((kind) => [kind, kind])], view.kind, (kind) =>
          redrawAnswers({ kind, shown: 0 }),
        ),
      el(
        "button",
        {
          type: "button",
          "data-name": "clear",
          onclick: () =>
            redrawAnswers({ outcome: "all", form: "all", change: "all", bin: null, kind: "", scope: "step", shown: 0 }),
        },
        "Clear filters",
      ),
    ),
  );
  box.querySelector(`[data-name="${focus}"]`)?.focus();
}

const scoped = () =>
  (view.scope === "all"
    ? R.groups
    : R.groups.slice(R.byStep.get(view.step).first, R.byStep.get(view.step).first + R.byStep.get(view.step).groups)
  ).filter((g) => changeFits(g) && (!view.kind || kindName(g.q) === view.kind));

function drawHistogram(box) {
  const [title, values] = MEASURES[view.measure];
  const rows = [];
  for (const g of scoped()) for (let i = g.row; i < g.row + g.rows; i++) if (fits(i)) rows.push(i);
  let low = Infinity,
    high = -Infinity;
  for (const i of rows) {
    low = Math.min(low, values[i]);
    high = Math.max(high, values[i]);
  }
  if (rows.length && high - low < 1e-9) {
    const around = Math.max(0.1, Math.abs(low) / 10); // all alike: one bar in the middle
    [low, high] = [low - around, high + around];
  }
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.bin : null;
  const width = 460,
    height = 190,
    left = 44,
    bottom = 24,
    top = 10,
    bins = 22;
  const step = (high - low) / bins || 1;
  const right = Array(bins).fill(0),
    wrong = Array(bins).fill(0);
  for (const i of rows)
    (R.flags[i] & RIGHT ? right : wrong)[Math.min(bins - 1, Math.floor((values[i] - low) / step))]++;
  const most = Math.max(1, ...right.map((n, i) => n + wrong[i]));
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    class: "hist",
    role: "group",
    "aria-label": `${title} of ${plural(rows.length, "answer")}; a bar filters`,
  });
  const y = (n) => height - bottom - (height - top - bottom) * (n / most);
  for (const tick of niceTicks(0, most, 3).filter(Number.isInteger))
    add(
      picture,
      svg("line", { x1: left, x2: width, y1: y(tick), y2: y(tick), class: "axis" }),
      svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, count(tick)),
    );
  for (let i = 0; i < bins && rows.length; i++) {
    const n = right[i] + wrong[i],
      x = left + ((width - left) * i) / bins,
      w = (width - left) / bins - 2;
    if (!n) continue;
    const from = low + i * step,
      to = i === bins - 1 ? Infinity : from + step;
    const on = view.bin !== null && Math.abs(view.bin[0] - from) < step / 1e3;
    const toggle = () => redrawAnswers({ bin: on ? null : [from - step / 1e6, to], shown: 0 });
    const faint = view.bin !== null && !on ? 0.35 : 1;
    add(
      picture,
      svg(
        "g",
        {
          tabindex: 0,
          role: "button",
          "data-bin": i,
          "aria-pressed": String(on),
          "aria-label": `${title} ${short(from)} to ${short(low + (i + 1) * step)}: ${count(right[i])} right, ${count(wrong[i])} wrong`,
          onclick: toggle,
          onkeydown: (event) => {
            if (event.key === "Enter" || event.key === " ") {
              event.preventDefault();
              toggle();
            }
          },
        },
        svg(
          "title",
          {},
          `${short(from)} to ${short(low + (i + 1) * step)}: ${count(right[i])} right, ${count(wrong[i])} wrong`,
        ),
        svg("path", { d: `M${x} ${top}h${w}V${height - bottom}h${-w}Z`, fill: "transparent" }),
        bar(x, y(n), w, y(right[i]) - y(n), "var(--wrong)", faint),
        bar(x, y(right[i]), w, height - bottom - y(right[i]), "var(--right)", faint),
      ),
    );
  }
  for (const tick of rows.length ? niceTicks(low, low + step * bins, 5) : [])
    add(
      picture,
      svg(
        "text",
        { x: left + ((width - left) * (tick - low)) / (step * bins), y: height - 7, "text-anchor": "middle" },
        tickLabel(tick),
      ),
    );
  refill(
    box,
    el(
      "div",
      { class: "row controls" },
      select(
        "Histogram of",
        Object.entries(MEASURES).map(([key, [name]]) => [key, name.toLowerCase()]),
        view.measure,
        (measure) => redrawAnswers({ measure, bin: null, shown: 0 }),
      ),
      view.bin !== null &&
        el("button", { type: "button", onclick: () => redrawAnswers({ bin: null, shown: 0 }) }, "one bar ✕"),
    ),
    picture,
    legend(["var(--right)", "right"], ["var(--wrong)", "wrong"]),
  );
  box.querySelector(`[data-bin="${focused}"]`)?.focus();
}
const bar = (x, y, width, height, fill, opacity) => {
  const rect = svg("rect", { x, y, width, height: Math.max(0, height), opacity });
  rect.style.fill = fill;
  return rect;
};

let drawing = 0;
async function drawGroups(box) {
  const mine = ++drawing;
  const filtered = view.outcome !== "all" || view.form !== "all" || view.bin !== null;
  const found = [];
  let hits = 0;
  for (const g of scoped()) {
    let n = 0;
    for (let i = g.row; i < g.row + g.rows; i++) n += fits(i) && inBin(i) ? 1 : 0;
    if (n) found.push([g, n]);
    hits += n;
  }
  const page = found.slice(0, 8 + view.shown);
  const rows = await Promise.all(
    page.map(async ([g, n]) => {
      const text = (await question(g.q)).text ?? Q.ids[g.q];
      const open = view.group === g.number && view.step === g.step;
      return {
        attributes: { "aria-selected": String(open) },
        cells: [
          link(groupLink(g), el("span", { class: "text" }, text.length > 110 ? `${text.slice(0, 110)}…` : text)),
          view.scope === "all" ? g.step : null,
          `${g.right}/${g.rows}`,
          short(g.reward),
          g.before
            ? el(
                "span",
                { class: g.change > 0 ? "right" : g.change < 0 ? "wrong" : "soft" },
                `${g.change > 0 ? "▲ " : g.change < 0 ? "▼ " : ""}${g.before.right}/${g.before.rows}`,
              )
            : "",
          filtered ? count(n) : null,
        ].filter((cell) => cell !== null),
      };
    }),
  );
  if (mine !== drawing) return; // another choice was made meanwhile
  const heads = [
    "Question",
    view.scope === "all" ? num("step") : null,
    num("right"),
    num("reward"),
    num("in stage 1"),
    filtered ? num("match") : null,
  ].filter((head) => head !== null);
  refill(
    box,
    el(
      "p",
      { class: "soft small", role: "status" },
      `${plural(found.length, "group")}, ${plural(hits, "answer")}${filtered || view.change !== "all" ? " match" : ""}`,
    ),
    table("", heads, rows) ?? el("p", { class: "soft" }, "No answer fits."),
    found.length > page.length &&
      el(
        "button",
        { type: "button", class: "controls", onclick: () => redrawAnswers({ shown: view.shown + 24 }) },
        "Show more",
      ),
  );
}

async function drawSamples(box) {
  const here = R.byStep.get(view.step);
  const g = R.groups.slice(here.first, here.first + here.groups).find((group) => group.number === view.group);
  if (!g)
    return refill(
      box,
      el(
        "p",
        { class: "soft" },
        view.group === null
          ? "Choose a group to see its answers side by side."
          : `Group ${view.group} of step ${view.step} is not on this page.`,
      ),
    );
  const [block, q] = await Promise.all([unpack(`r${g.step}`), question(g.q)]);
  if (view.group !== g.number || view.step !== g.step) return;
  const samples = list(block)[g.index - here.first] ?? [];
  const others = R.groups.filter((other) => other.q === g.q && other !== g);
  refill(
    box,
    el(
      "div",
      { class: "card stack" },
      el(
        "div",
        { class: "row" },
        el("h3", {}, `Step ${g.step}, group ${g.number}`),
        el("span", { class: "tag" }, kindName(g.q)),
        link(questionLink(g.q), "the question and its proof"),
        link(groupLink(g), "permalink"),
      ),
      el("p", { class: "text" }, q.text ?? Q.ids[g.q]),
      optionList(q),
      others.length
        ? el(
            "p",
            { class: "small soft" },
            "The same question elsewhere: ",
            others
              .slice(0, 12)
              .flatMap((other, i) => [
                i ? ", " : "",
                link(groupLink(other), `step ${other.step} (${other.right}/${other.rows} right)`),
              ]),
          )
        : null,
      el(
        "div",
        { class: "row small soft" },
        el("span", {}, "A token's shade is its surprise, −log p:"),
        el("span", {}, "sure "),
        el("span", { class: "shade", "aria-hidden": "true" }),
        el("span", {}, "p below 1 %; hover for the probability"),
      ),
      el(
        "div",
        { class: "samples", tabindex: 0, role: "group", "aria-label": "Answers of the group" },
        samples.map((sample, i) => sampleCard(g, sample, g.row + i, q)),
      ),
    ),
  );
  const chosen = box.querySelector(".is-chosen");
  if (chosen) chosen.parentElement.scrollLeft = chosen.offsetLeft - chosen.parentElement.offsetLeft - 40;
}

function sampleCard(g, [number, answer, response, lengths, levels, parts, entropy, order], row, q) {
  const right = R.flags[row] & RIGHT,
    chosen = view.sample === number;
  const trace = traceOf(`rollout:${g.step}/${g.number}/${number}`);
  const shown = order ? object(q.options)[order[answer?.charCodeAt(0) - 65]] : object(q.options)[answer];
  return el(
    "article",
    {
      class: `sample ${right ? "is-right" : ""} ${chosen ? "is-chosen" : ""} ${fits(row) && inBin(row) ? "" : "is-out"}`,
      "aria-label": `Sample ${number}, ${right ? "right" : "wrong"}`,
    },
    el(
      "div",
      { class: "row" },
      el("h4", {}, `Sample ${number}`),
      el(
        "span",
        { class: `tag ${right ? "right" : "wrong"}` },
        right ? "✓ right" : R.flags[row] & SILENT ? "✗ no option named" : "✗ wrong",
      ),
    ),
    el("div", { class: "said text", tabindex: 0 }, tokens(response, lengths, levels)),
    el(
      "dl",
      { class: "parts" },
      el("dt", {}, "answer"),
      el("dd", { class: "text" }, answer === null ? "none could be read" : `${answer}${shown ? `. ${shown}` : ""}`),
      Object.entries(object(parts)).flatMap(([name, value]) => [
        el("dt", {}, name === "total" ? "reward" : name),
        el("dd", {}, short(value)),
      ]),
      el("dt", {}, "advantage"),
      el("dd", {}, (R.advantage[row] > 0 ? "+" : "") + short(R.advantage[row]).replace("-", "−")),
      el("dt", {}, "tokens"),
      el(
        "dd",
        {},
        `${count(R.tokens[row])}${R.flags[row] & CUT ? ", cut off" : ""}${isNumber(entropy) ? `, entropy ${short(entropy)}` : ""}`,
      ),
      order ? [el("dt", {}, "options"), el("dd", {}, `shown in the order ${order}`)] : null,
    ),
    el(
      "div",
      { class: "row small" },
      link(hashOf("rollout", g.step, g.number, number), "permalink"),
      copyButton(trace, "Copy trace"),
    ),
    el("code", { class: "trace" }, trace),
  );
}

// A response cut at its tokens, each shaded by -log p: level / steps is its root.
function tokens(response, lengths, levels) {
  const characters = Array.from(response);
  if (!lengths)
    return [response, el("span", { class: "soft small" }, "\n(no tokenizer of the run cuts this text at its tokens)")];
  const nodes = [];
  let at = 0;
  Array.from(lengths).forEach((length, i) => {
    const size = length.codePointAt(0) - 48,
      surprise = ((levels.charCodeAt(i) - 48) / D.rollouts.surprise) ** 2;
    const text = characters.slice(at, at + size).join("");
    at += size;
    const ends = !text && i === lengths.length - 1;
    const node = el(
      "span",
      { class: "tok", title: `${ends ? "end of the answer, " : ""}p = ${short(Math.exp(-surprise))}` },
      ends ? "⏎" : text,
    );
    if (surprise > 0.02) node.style.backgroundColor = `rgb(var(--shade) / ${Math.min(0.65, surprise / 7).toFixed(2)})`;
    nodes.push(node);
  });
  return nodes;
}

const optionList = (q) =>
  el(
    "ol",
    { class: "options" },
    Object.entries(object(q.options)).map(([letter, text]) =>
      el(
        "li",
        { class: letter === q.answer ? "right" : "" },
        el("b", {}, `${letter} `),
        el("span", { class: "text" }, text),
        letter === q.answer ? " ✓" : "",
      ),
    ),
  );
