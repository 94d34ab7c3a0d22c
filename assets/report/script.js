"use strict";
// The report of a run. Everything that a model or a source said comes in as JSON and goes out as text nodes:
// nothing here makes markup of a string. Sections are built once; what is opened later stands in the address.

// ---------------------------------------------------------------- elements

const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
// What would steer the page's text, or show as nothing, is shown by its number.
const plain = (value) => String(value ?? "").replace(CONTROL, (c) => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

const fillIn = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, plain(value));
  }
  for (const child of children.flat(9)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : plain(child));
  }
  return node;
};
const el = (tag, attributes, ...children) => fillIn(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fillIn(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const add = (node, ...children) => fillIn(node, {}, children);
const refill = (node, ...children) => {
  node.replaceChildren();
  return add(node, ...children);
};
const byId = (id) => document.getElementById(id);

// ---------------------------------------------------------------- data

const D = JSON.parse(byId("data").textContent);
const W = D.words;
const word = (table, key) => (Object.hasOwn(W[table] ?? {}, key) ? W[table][key] : String(key).replaceAll("_", " "));
const stageName = (name) => word("stages", name);
const stageColour = (name) => (Object.hasOwn(W.stages, name) ? `var(--${name})` : "var(--soft)");
const list = (value) => (Array.isArray(value) ? value : []);
const object = (value) => (value !== null && typeof value === "object" && !Array.isArray(value) ? value : {});
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

const count = (n) => (isNumber(n) ? n.toLocaleString("en") : "–");
const percent = (share, digits = 1) => (isNumber(share) ? `${(100 * share).toFixed(digits)} %` : "–");
const points = (share) => (isNumber(share) ? `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(1)}` : "–");
const short = (x) => {
  if (!isNumber(x)) return "–";
  const size = Math.abs(x);
  if (size >= 10000) return x.toLocaleString("en", { maximumFractionDigits: 0 });
  return size === 0 ? "0" : size >= 100 ? x.toFixed(0) : size >= 1 ? x.toFixed(2) : size >= 0.001 ? x.toFixed(3) : x.toExponential(1);
};
const pValue = (p) => (!isNumber(p) ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3));
const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const unpacked = new Map();
// The JSON of a packed block, unpacked when it is first asked for.
const unpack = (id) => {
  if (!unpacked.has(id)) unpacked.set(id, ready.then(() => {
    const block = byId(id);
    if (!block) return null;
    const stream = new Blob([bytes(block.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  }));
  return unpacked.get(id);
};
// The blocks stand behind the script: they are there when the whole page is.
const ready = new Promise((resolve) => {
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", resolve);
  else resolve();
});

// Questions: number -> what the page has of it at once, and what is unpacked.
const Q = D.questions;
const kindName = (q) => Q.kinds[q] || "without a kind";
const questionNumber = new Map(Q.ids.map((id, i) => [id, i]));
const question = async (q) => {
  const block = await unpack(`q${Math.floor(q / Q.a_block)}`);
  const record = object(list(block)[q % Q.a_block]), provenance = object(record.provenance), certificate = object(provenance.certificate);
  const edge = (e) => (Array.isArray(e) ? e : [object(e).head, object(e).relation, object(e).tail, object(e).place]);
  const edges = (of) => list(of).map(edge).filter((e) => e.slice(0, 3).every((part) => typeof part === "string"));
  const rivals = list(certificate.distractors).map(object).map((rival) => ({ ...rival, shares: edges(rival.shares), violates: edges(rival.violates) }));
  return { ...record, text: record.question, options: object(record.options), given: object(record.given), proof: { ...provenance, path: edges(provenance.path), table: object(certificate.table), rivals } };
};

// Records of metrics as columns, nested names with dots; of a step that stands twice the later counts.
const columnsOf = (records) => {
  const flat = (record, prefix = "") => Object.entries(record).flatMap(([name, value]) => (isNumber(value) ? [[prefix + name, value]] : Object.entries(object(value)).length ? flat(value, `${prefix}${name}.`) : []));
  const rows = new Map(list(records).map(object).filter((record) => isNumber(record.step)).map((record) => [record.step, new Map(flat(record))]));
  const sorted = [...rows].sort((a, b) => a[0] - b[0]).map(([, row]) => row), names = new Set(sorted.flatMap((row) => [...row.keys()]));
  return Object.fromEntries([...names].map((name) => [name, sorted.map((row) => row.get(name) ?? null)]));
};
for (const run of [D, D.other].filter(Boolean)) Object.assign(run, { sft: columnsOf(run.sft), grpo: columnsOf(run.grpo) });

// Sampled answers: columns of numbers, in which each step has its groups and each group its rows.
const R = (() => {
  const column = (name, Kind) => new Kind(bytes(D.rollouts.columns[name] ?? "").buffer);
  const r = {
    reward: column("reward", Float32Array), advantage: column("advantage", Float32Array),
    tokens: column("tokens", Uint16Array), flags: column("flags", Uint8Array), steps: [], groups: [], byStep: new Map(),
  };
  let group = 0, row = 0;
  for (const [step, stage, groups, allGroups, allRows] of D.rollouts.steps) {
    const here = { step, stage, first: group, groups, allGroups, allRows, row, rows: 0 };
    for (; group < here.first + groups; group++) {
      const [number, q, rows] = D.rollouts.groups[group];
      const g = { index: group, step, stage, number, q, row, rows, right: 0, reward: 0 };
      for (let i = row; i < row + rows; i++) { g.right += r.flags[i] & 1; g.reward += r.reward[i] / rows; }
      r.groups.push(g);
      row += rows;
    }
    here.rows = row - here.row;
    r.steps.push(here);
    r.byStep.set(step, here);
  }
  r.rows = row;
  // What became of a question of stage 2 since stage 1 last asked it: 1 from wrong to right, -1 back, 0 neither.
  const before = new Map();
  for (const g of r.groups) {
    const last = before.get(g.q);
    const good = 2 * g.right >= g.rows;
    g.before = g.stage > 1 ? last : undefined;
    g.change = g.before ? good - (2 * g.before.right >= g.before.rows) : 0;
    if (g.stage === 1) before.set(g.q, g);
  }
  return r;
})();
const RIGHT = 1, FORM = 2, CUT = 4, SILENT = 8;

// ---------------------------------------------------------------- addresses

const link = (hash, ...children) => el("a", { href: hash }, ...children);
const hashOf = (...parts) => `#${parts.map((part) => encodeURIComponent(part)).join("/")}`;
const stepLink = (step) => hashOf("step", step);
const groupLink = (g) => hashOf("group", g.step, g.number);
const questionLink = (q) => hashOf("question", Q.ids[q]);
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`); // for a shell
const traceOf = (what) => `python -m fleming.audit trace ${D.about.run} ${quoted(what)}`;

const copyButton = (text, name) => el("button", { type: "button", class: "copy", title: text, onclick: async (event) => {
  const button = event.currentTarget;
  try { await navigator.clipboard.writeText(text); } catch {
    const area = el("textarea", {}, text); // a file's page may have no clipboard of the newer kind
    (button.closest("dialog") ?? document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = name; }, 1500);
} }, name);

// ---------------------------------------------------------------- small parts

const section = (id, title, says, ...children) => {
  const node = el("section", { id, "aria-labelledby": `${id}-title` }, el("h2", { id: `${id}-title` }, title), says && el("p", {}, says), ...children);
  byId("main").append(node);
  return node;
};
const card = (...children) => el("div", { class: "card stack" }, ...children);
const table = (caption, heads, rows) => {
  if (!rows.length) return null;
  const cell = (tag, value, i, more = {}) => el(tag, { class: heads[i]?.num ? "num" : null, ...more }, value);
  return el("div", { class: "scroll" }, el("table", {},
    caption && el("caption", {}, caption),
    el("thead", {}, el("tr", {}, heads.map((head, i) => cell("th", head.name ?? head, i, { scope: "col" })))),
    el("tbody", {}, rows.map((row) => el("tr", row.attributes, (row.cells ?? row).map((value, i) => (i ? cell("td", value, i) : cell("th", value, i, { scope: "row" }))))))));
};
const num = (name) => ({ name, num: true });
const legend = (...entries) => el("ul", { class: "legend" }, entries.map(([colour, name]) => {
  const mark = el("i");
  mark.style.background = colour;
  return el("li", {}, mark, name);
}));
const select = (label, options, value, onchange) => {
  const node = el("select", { onchange: () => onchange(node.value) }, options.map(([key, name]) => el("option", { value: key }, name)));
  node.value = value;
  return el("label", {}, `${label} `, node);
};

// A share with its interval on an axis from 0 to 1, and a mark for chance.
const whisker = (low, value, high, colour, chance, other) => {
  const x = (share) => 2 + 196 * Math.min(1, Math.max(0, share));
  return svg("svg", { viewBox: "0 0 200 14", class: "bar", role: "img", "aria-label": `${percent(value)}, 95 % interval ${percent(low)} to ${percent(high)}` },
    svg("line", { x1: 2, x2: 198, y1: 7, y2: 7, class: "axis" }),
    isNumber(chance) && svg("line", { x1: x(chance), x2: x(chance), y1: 1, y2: 13, stroke: "var(--faint)", "stroke-dasharray": "2 2" }),
    isNumber(other) && svg("circle", { cx: x(other), cy: 7, r: 3, fill: "none", stroke: "var(--other)", "stroke-width": 1.5 }),
    svg("line", { x1: x(low), x2: x(high), y1: 7, y2: 7, stroke: colour, "stroke-width": 3, "stroke-linecap": "round" }),
    svg("circle", { cx: x(value), cy: 7, r: 4.5, fill: colour, stroke: "var(--card)", "stroke-width": 1.5 }));
};
// A difference with its interval around 0; scale: the largest that fits.
const around = (row, scale) => {
  const x = (share) => 100 + 96 * Math.min(1, Math.max(-1, share / scale));
  const colour = row.low > 0 ? "var(--right)" : row.high < 0 ? "var(--wrong)" : "var(--soft)";
  return svg("svg", { viewBox: "0 0 200 14", class: "bar", "aria-hidden": "true" },
    svg("line", { x1: 100, x2: 100, y1: 0, y2: 14, stroke: "var(--faint)" }),
    svg("line", { x1: x(row.low), x2: x(row.high), y1: 7, y2: 7, stroke: colour, "stroke-width": 3, "stroke-linecap": "round" }),
    svg("circle", { cx: x(row.difference), cy: 7, r: 4.5, fill: colour, stroke: "var(--card)", "stroke-width": 1.5 }));
};

// ---------------------------------------------------------------- curves

const cursors = new Set(); // of all curves of RL: they move together
const niceTicks = (low, high, most = 4) => {
  const raw = (high - low) / most || 1, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const ticks = [];
  for (let t = Math.ceil(low / step - 1e-9) * step; t <= high + step * 1e-6; t += step) ticks.push(Math.abs(t) < step * 1e-6 ? 0 : t);
  return ticks;
};
const tickLabel = (tick, as) => (as === "percent" ? `${+(100 * tick).toFixed(2)} %` : Math.abs(tick) >= 0.001 || tick === 0 ? (+tick.toPrecision(3)).toLocaleString("en") : tick.toExponential(0));
const smooth = (values, window) => values.map((value, i) => {
  if (!isNumber(value)) return null;
  const near = values.slice(Math.max(0, i - window), i + window + 1).filter(isNumber);
  return near.reduce((a, b) => a + b, 0) / near.length;
});

// One curve. row: of words.yaml; run, other: columns; open: what a click on a step does, where it does something.
const chart = (row, run, other, { open = null, stages = [], colour = "var(--ink)", switchAt = null } = {}) => {
  const figure = el("figure", { class: "card" });
  const read = el("span", { class: "read" });
  figure.append(el("figcaption", {}, el("h3", {}, row.title), read, el("span", { class: "says" }, row.says)));
  const steps = list(run.step), values = list(run[row.key]);
  const known = steps.map((step, i) => [step, values[i], i]).filter(([step, value]) => isNumber(step) && isNumber(value));
  if (!known.length) {
    figure.append(el("p", { class: "soft small" }, "Not recorded in this run."));
    return figure;
  }
  const beside = list(other?.step).map((step, i) => [step, list(other[row.key])[i]]).filter(([s, v]) => isNumber(s) && isNumber(v));
  const bounds = [row.low, row.high].map((key) => (key ? list(run[key]) : []));
  const all = [...known.map((p) => p[1]), ...beside.map((p) => p[1]), ...bounds.flat().filter(isNumber)];
  let low = all.reduce((a, b) => Math.min(a, b)), high = all.reduce((a, b) => Math.max(a, b));
  if (high - low < 1e-9) { low -= low ? Math.abs(low) / 2 : 0; high += high ? Math.abs(high) / 2 : 0.1; }
  const first = Math.min(known[0][0], beside[0]?.[0] ?? Infinity), last = Math.max(known.at(-1)[0], beside.at(-1)?.[0] ?? 0);
  const width = 360, height = 190, left = 44, right = 10, top = 20, bottom = 24;
  const x = (step) => left + (width - left - right) * (last === first ? 0.5 : (step - first) / (last - first));
  const y = (value) => height - bottom - (height - top - bottom) * ((value - low) / (high - low));
  const say = (value) => (row.as === "percent" ? percent(value, high - low < 0.02 ? 2 : high - low < 0.1 ? 1 : 0) : short(value));
  const path = (pairs) => pairs.map(([step, value], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");

  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", tabindex: 0, role: "slider", "aria-label": `${row.title}, step`,
    "aria-valuemin": first, "aria-valuemax": last });
  for (const tick of niceTicks(low, high)) add(picture, 
    svg("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: "axis" }),
    svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, tickLabel(tick, row.as)));
  for (const tick of niceTicks(first, last, 5).filter(Number.isInteger)) add(picture, 
    svg("text", { x: x(tick), y: height - 7, "text-anchor": "middle" }, tick));
  if (isNumber(switchAt) && switchAt >= first && switchAt < last) {
    const at = x(switchAt + 0.5);
    add(picture, svg("line", { x1: at, x2: at, y1: top, y2: height - bottom, class: "switch" }),
      svg("text", { x: at - 5, y: top - 8, "text-anchor": "end" }, "stage 1"), svg("text", { x: at + 5, y: top - 8 }, "stage 2"));
  }
  if (bounds[0].length) {
    const whole = known.filter(([, , i]) => isNumber(bounds[0][i]) && isNumber(bounds[1][i]));
    const edge = (b) => whole.map(([step, , i]) => [step, bounds[b][i]]);
    if (whole.length) add(picture, svg("path", { d: `${path(edge(1))}L${path(edge(0).reverse()).slice(1)}Z`, class: "band", fill: colour }));
  }
  if (beside.length) {
    const means = beside.length > 40 ? smooth(beside.map((p) => p[1]), Math.round(beside.length / 40) + 1) : beside.map((p) => p[1]);
    add(picture, svg("path", { d: path(beside.map((p, i) => [p[0], means[i]])), class: "other" }));
  }

  // The curve itself, in the colour of its stage: faint as it is, strong as a running mean where it has many points.
  const runs = [];
  for (const point of known) {
    const stage = stages[point[2]] ?? 0;
    if (runs.at(-1)?.stage !== stage) runs.push({ stage, points: [] });
    runs.at(-1).points.push(point);
  }
  const dense = known.length > 40;
  for (const { stage, points: part } of runs) {
    const stroke = stage ? `var(--rl_stage${stage})` : colour;
    if (dense) {
      const means = smooth(part.map((p) => p[1]), Math.max(2, Math.round(known.length / 40)));
      add(picture, svg("path", { d: path(part), class: "raw", stroke }), svg("path", { d: path(part.map((p, i) => [p[0], means[i]])), class: "mean", stroke }));
    } else {
      add(picture, svg("path", { d: path(part), class: "mean", stroke }), part.map((p) => svg("circle", { cx: x(p[0]), cy: y(p[1]), r: 2.5, fill: stroke })));
    }
  }
  const line = svg("line", { y1: top, y2: height - bottom, class: "cursor", visibility: "hidden" });
  const dot = svg("circle", { r: 4, fill: "var(--ink)", visibility: "hidden" });
  add(picture, line, dot);

  let at = known.length - 1;
  const show = (index, visible = true) => {
    at = index;
    const [step, value] = known[at];
    for (const node of [line, dot]) node.setAttribute("visibility", visible ? "visible" : "hidden");
    line.setAttribute("x1", x(step));
    line.setAttribute("x2", x(step));
    dot.setAttribute("cx", x(step));
    dot.setAttribute("cy", y(value));
    read.textContent = `step ${count(step)}: ${say(value)}`;
    picture.setAttribute("aria-valuenow", step);
    picture.setAttribute("aria-valuetext", `step ${step}: ${say(value)}`);
  };
  const nearest = (step) => known.reduce((best, p, i) => (Math.abs(p[0] - step) < Math.abs(known[best][0] - step) ? i : best), 0);
  const move = (step, visible = true) => (open ? cursors.forEach((c) => c(step, visible)) : show(nearest(step), visible));
  if (open) cursors.add((step, visible) => show(nearest(step), visible));
  const follow = (event) => {
    const box = picture.getBoundingClientRect();
    move(first + ((event.clientX - box.left) * (width / box.width) - left) / (width - left - right) * (last - first));
  };
  picture.addEventListener("pointermove", follow);
  picture.addEventListener("pointerleave", () => move(known.at(-1)[0], false));
  picture.addEventListener("click", (event) => { // a finger comes without having moved
    follow(event);
    open?.(known[at][0]);
  });
  picture.addEventListener("keydown", (event) => {
    const jump = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    const target = event.key === "Home" ? 0 : event.key === "End" ? known.length - 1 : jump ? Math.min(known.length - 1, Math.max(0, at + jump)) : null;
    if (event.key === "Enter" || event.key === " ") open?.(known[at][0]);
    else if (target !== null) move(known[target][0]);
    else return;
    event.preventDefault();
  });
  show(at, false);
  figure.append(picture);
  return figure;
};

const GRPO = D.grpo;
if (!GRPO.flat_groups && GRPO.groups) GRPO.flat_groups = GRPO.groups.map((n, i) => (isNumber(n) && isNumber(GRPO.groups_with_variance?.[i]) ? 1 - GRPO.groups_with_variance[i] / n : null));
const SWITCH = (() => {
  const told = D.mining.events.find((event) => event.event === "switch");
  if (isNumber(told?.after)) return told;
  const i = list(GRPO.stage).findIndex((stage) => stage === 2); // an older ledger does not say
  return i > 0 ? { after: GRPO.step[i - 1] } : {};
})();

// ---------------------------------------------------------------- what there is

const NAMES = Object.keys(D.stages);
const scoresOf = (stages) => Object.entries(stages).flatMap(([stage, results]) =>
  Object.entries(object(results.benchmarks)).flatMap(([benchmark, by]) => Object.entries(object(by)).map(([protocol, score]) => ({ stage, benchmark, protocol, score }))));
const SCORES = scoresOf(D.stages);

function glance() {
  byId("name").textContent = plain(D.about.name);
  const gaps = [];
  const run = D.about.run;
  if (!D.manifest.synth && !D.report.entities) gaps.push("No data of synth_data.py: the run has questions of its own, or none yet.");
  if (!D.sft.step) gaps.push(`No cold start: python train_sft.py --config ${run}/config.yaml makes it; a run may do without.`);
  if (!D.grpo.step) gaps.push(`No RL: python train_grpo.py --config ${run}/config.yaml`);
  else if (!D.rollouts.steps.length) gaps.push("No sampled answers: grpo/rollouts holds none that can be read.");
  else if (!list(GRPO.stage).includes(2)) gaps.push("RL has not come to stage 2.");
  if (!SCORES.length) gaps.push(`No evaluation: python evaluate.py --config ${run}/config.yaml`);
  if (D.about.voter === "") gaps.push("Labels: not checked. No voter was set (synth.voter), so nobody but the graph says that the answers are right.");
  const faults = [...D.notes, ...list(D.other?.notes).map(([file, what]) => [`${D.other.name}: ${file}`, what])];

  const main = byId("main");
  const tiles = [];
  const best = SCORES.filter((s) => s.benchmark === SCORES[0]?.benchmark && s.protocol === SCORES[0].protocol);
  const tile = (name, value, says) => el("div", { class: "card tile" }, el("span", { class: "soft small" }, name), el("strong", {}, value), el("span", { class: "soft small" }, says));
  if (best.length) {
    const { stage, benchmark, score } = best.at(-1);
    tiles.push(tile(`${stageName(stage)} on ${benchmark}`, percent(score.accuracy), `95 % interval ${percent(score.accuracy_low)} to ${percent(score.accuracy_high)}, chance ${percent(score.chance)}`));
  }
  const gain = D.differences.find((d) => d.a === "cold_start" && d.b === "rl_stage2") ?? D.differences.at(-1);
  if (gain) tiles.push(tile(`${stageName(gain.b)} over ${stageName(gain.a)}`, `${points(gain.difference)} points`, `${points(gain.low)} to ${points(gain.high)}, the same ${count(gain.n)} questions: ${verdict(gain)}`));
  if (list(GRPO.step).length) tiles.push(tile("Steps of RL", count(GRPO.step.at(-1)), isNumber(SWITCH.after) ? `stage 2 from step ${SWITCH.after + 1}` : "stage 1"));
  if (R.rows) {
    const whole = R.steps.reduce((n, s) => n + s.allRows, 0);
    tiles.push(tile("Sampled answers here", count(R.rows), R.rows < whole ? `of ${count(whole)}: whole groups, evenly over each step` : "all that training saw"));
  }
  main.append(el("div", { class: "tiles" }, tiles));
  if (gaps.length || faults.length) main.append(el("div", { class: "note", id: "missing" }, el("h3", {}, faults.length ? "What is missing or damaged" : "What to know"),
    el("ul", {}, gaps.map((text) => el("li", {}, text)), faults.map(([file, what]) => el("li", {}, el("code", {}, file), " ", el("span", { class: "text" }, what))))));
}
const verdict = (d) => (d.verdict === "b is better" ? "better" : d.verdict === "a is better" ? "worse" : "no difference shown");

function stages() {
  if (!SCORES.length) return;
  const mine = (rows) => table("", ["Stage", "Benchmark", num("Questions"), num("Accuracy"), "", num("95 % interval"), num("Well-formed"), num("No answer"), num("Tokens")], rows);
  const rows = (scores, colour) => scores.map(({ stage, benchmark, protocol, score }) => [
    el("span", {}, dotOf(colour ?? stageColour(stage)), stageName(stage)), `${benchmark}${protocol === "cot" ? "" : `, ${protocol}`}`, count(score.n), percent(score.accuracy),
    whisker(score.accuracy_low, score.accuracy, score.accuracy_high, colour ?? stageColour(stage), score.chance),
    `${percent(score.accuracy_low)} – ${percent(score.accuracy_high)}`, percent(score.format), percent(score.abstained), short(score.mean_tokens)]);
  const protocols = [...new Set(SCORES.map(({ protocol, score }) => `${protocol}: ${score.protocol}`))];
  const paired = (differences, caption, name = (d) => `${stageName(d.b)} − ${stageName(d.a)}`) => {
    const scale = differences.reduce((most, d) => Math.max(most, Math.abs(d.low), Math.abs(d.high)), 0.01);
    return table(caption, ["Difference", "Benchmark", num("Questions"), num("Points"), "", num("95 % interval"), num("Won"), num("Lost"), num("p"), num("Holm"), "Verdict"], differences.map((d) => [
      name(d), d.benchmark, count(d.n), points(d.difference), around(d, scale), `${points(d.low)} to ${points(d.high)}`, count(d.wins), count(d.losses), pValue(d.p_mcnemar), pValue(d.holm),
      el("span", { class: `tag ${verdict(d) === "better" ? "right" : verdict(d) === "worse" ? "wrong" : ""}` }, verdict(d))]));
  };
  section("stages", "Stages", "What each stage of the run reaches on held-out questions. The dotted mark is chance.",
    card(mine(rows(SCORES)), el("p", { class: "soft small" }, protocols.join(" · "))),
    D.differences.length ? el("p") : null,
    D.differences.length ? card(paired(D.differences, "Paired on the same questions: bootstrap interval of the difference, exact McNemar test. “Better” is said only where both agree.")) : null,
    D.other && Object.keys(D.other.stages).length ? [el("p"), card(el("h3", {}, `Beside it: ${D.other.name}`), mine(rows(scoresOf(D.other.stages), "var(--other)")),
      D.other.paired.length ? paired(D.other.paired, `This run less ${D.other.name}, on the questions that both were asked.`, (d) => stageName(d.b)) : el("p", { class: "soft small" }, "The two runs were not asked the same questions: their scores cannot be paired."))] : null);
}
const dotOf = (colour) => {
  const mark = el("i", { "aria-hidden": "true" });
  Object.assign(mark.style, { background: colour, borderRadius: "50%", display: "inline-block", height: ".6rem", marginRight: ".55rem", width: ".6rem" });
  return mark;
};

// ---------------------------------------------------------------- what changed

// Ribbons between columns of states. columns: [{title, states: {key: count}}]; flows: of each pair, {"from to": count}.
const STATES = { 1: ["right", "var(--right)"], 0: ["wrong", "var(--wrong)"], "-": ["no answer", "var(--faint)"], right: ["right", "var(--right)"], wrong: ["wrong", "var(--wrong)"] };
const flowPicture = (columns, flows, order, label, pick) => {
  const width = 940, height = 230, top = 34, bar = 13, gap = 5;
  const total = columns.reduce((most, c) => Math.max(most, order.reduce((n, key) => n + (c.states[key] ?? 0), 0)), 1);
  const x = (i) => 60 + (width - 175) * (columns.length > 1 ? i / (columns.length - 1) : 0);
  const scale = (height - top - 10 - gap * (order.length - 1)) / total;
  const places = columns.map((column) => {
    let y = top;
    return Object.fromEntries(order.map((key) => {
      const size = (column.states[key] ?? 0) * scale, place = { y, size, in: y, out: y };
      y += size + gap;
      return [key, place];
    }));
  });
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": label });
  flows.forEach((flow, i) => order.forEach((from) => order.forEach((to) => {
    const n = flow[`${from} ${to}`] ?? 0;
    const a = places[i][from], b = places[i + 1][to], size = n * scale;
    const [y1, y2] = [a.out, b.in];
    a.out += size;
    b.in += size;
    if (!n) return;
    const x1 = x(i) + bar, x2 = x(i + 1), middle = (x1 + x2) / 2;
    const good = STATES[to][0] === "right", was = STATES[from][0] === "right";
    const said = `${plural(n, "question")} ${STATES[from][0]} in ${columns[i].title}, ${STATES[to][0]} in ${columns[i + 1].title}`;
    add(picture, svg("path", {
      d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}V${y2 + size}C${middle} ${y2 + size} ${middle} ${y1 + size} ${x1} ${y1 + size}Z`,
      class: `ribbon ${good && !was ? "better" : was && !good ? "worse" : ""}`, tabindex: pick ? 0 : null, role: pick ? "button" : null, "aria-label": said,
      onclick: () => pick?.(i, from, to), onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick?.(i, from, to); } },
    }, svg("title", {}, said)));
  })));
  columns.forEach((column, i) => {
    add(picture, svg("text", { x: x(i) + bar / 2, y: 14, "text-anchor": "middle", class: "strong" }, column.title));
    for (const key of order) {
      const place = places[i][key];
      if (!place.size) continue;
      const last = i === columns.length - 1;
      add(picture, svg("rect", { x: x(i), y: place.y, width: bar, height: place.size, fill: STATES[key][1], rx: 1.5 }),
        svg("text", { x: last ? x(i) + bar + 7 : x(i) - 7, y: place.y + place.size / 2 + 4, "text-anchor": last ? "start" : "end" }, last ? `${count(column.states[key])} ${STATES[key][0]}` : count(column.states[key])));
    }
  });
  return el("div", { class: "scroll flow" }, picture);
};

const changes = { asked: 0, from: null, to: null, kind: null, way: "helped" };
function changesSection() {
  const usable = D.asked.filter((asked) => Object.keys(asked.stages).length > 1);
  if (!usable.length) return;
  const names = Object.keys(usable[0].stages);
  [changes.from, changes.to] = names.includes("rl_stage2") && names.includes("rl_stage1") ? ["rl_stage1", "rl_stage2"] : names.slice(-2);
  const body = el("div", { class: "stack" });
  const node = section("changes", "What changed", "Which held-out questions went from wrong to right, and which back. Choose two stages, or a ribbon.", body);
  node.draw = () => drawChanges(usable, body);
  node.draw();
}

const WAYS = { helped: ["wrong → right", (a, b) => a !== "1" && b === "1"], hurt: ["right → wrong", (a, b) => a === "1" && b !== "1"],
  still: ["still wrong", (a, b) => a !== "1" && b !== "1"], kept: ["still right", (a, b) => a === "1" && b === "1"] };

function drawChanges(usable, body) {
  const asked = usable[changes.asked], names = Object.keys(asked.stages), order = ["1", "0", "-"];
  const tally = (keys) => keys.reduce((all, key) => ({ ...all, [key]: (all[key] ?? 0) + 1 }), {});
  const columns = names.map((name) => ({ title: stageName(name), states: tally([...asked.stages[name]]) }));
  const flows = names.slice(1).map((name, i) => tally([...asked.stages[name]].map((to, j) => `${asked.stages[names[i]][j]} ${to}`)));
  const picture = flowPicture(columns, flows, order, "Questions between right and wrong, stage by stage", (i, from, to) => {
    Object.assign(changes, { from: names[i], to: names[i + 1], kind: null, way: Object.keys(WAYS).find((way) => WAYS[way][1](from, to)) });
    drawChanges(usable, body);
    body.querySelector(".picked")?.scrollIntoView({ block: "nearest" });
  });

  // Of the two stages: each question with both codes, by kind.
  const [a, b] = [asked.stages[changes.from], asked.stages[changes.to]];
  const pairs = asked.ids.map((q, i) => ({ q, a: a[i], b: b[i] })).filter((p) => p.a !== " " && p.b !== " ");
  const way = (name) => pairs.filter((p) => WAYS[name][1](p.a, p.b));
  const helped = way("helped"), hurt = way("hurt"), silent = helped.filter((p) => p.a === "-");
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
  const bars = (k) => svg("svg", { viewBox: "0 0 160 12", class: "bar", role: "img", "aria-label": `${k.hurt} lost, ${k.helped} won` },
    svg("rect", { x: 80 - 76 * (k.hurt / most), y: 1, width: 76 * (k.hurt / most), height: 10, rx: 2, fill: "var(--wrong)" }),
    svg("rect", { x: 80, y: 1, width: 76 * (k.helped / most), height: 10, rx: 2, fill: "var(--right)" }), svg("line", { x1: 80, x2: 80, y1: 0, y2: 12, stroke: "var(--faint)" }));
  const share = ([right, all]) => (all ? percent(right / all, 0) : "–");
  const rows = kinds.map((k) => {
    const t = trained.get(k.key);
    const name = el("button", { type: "button", class: "plain", "aria-pressed": String(changes.kind === k.key), onclick: () => { changes.kind = changes.kind === k.key ? null : k.key; drawChanges(usable, body); } }, k.key);
    return { attributes: { "aria-selected": String(changes.kind === k.key) }, cells: [name, count(k.n), percent(k.before / k.n, 0), percent(k.after / k.n, 0), bars(k), count(k.helped), count(k.hurt), count(k.silent),
      ...(own.length ? [count(t?.groups ?? 0), t ? `${share(t.early)} → ${share(t.late)}` : "–"] : [])] };
  });
  const chosen = way(changes.way).filter((p) => changes.kind === null || kindName(p.q) === changes.kind);

  const sum = el("p", {}, `${stageName(changes.to)} answers `, el("b", { class: "right" }, plural(helped.length, "question")), ` right that ${stageName(changes.from)} did not, and loses `, el("b", { class: "wrong" }, count(hurt.length)), ". ",
    helped.length ? `Of those won, ${count(silent.length)} had no readable answer before (their form was mended) and ${count(helped.length - silent.length)} chose another option (what was said changed). ` : "",
    hurt.length ? `Of those lost, ${count(lost.length)} have no readable answer now.` : "");
  const option = (names) => names.map((name) => [name, stageName(name)]);
  const redraw = (key) => (value) => { changes[key] = value; drawChanges(usable, body); };
  refill(body, 
    card(usable.length > 1 ? select("Benchmark", usable.map((u, i) => [i, `${u.benchmark}, ${u.protocol}`]), changes.asked, redraw("asked")) : null,
      picture, legend(["var(--right)", "became right"], ["var(--wrong)", "became wrong"], ["var(--same)", "as before"])),
    card(el("div", { class: "row controls" }, select("From", option(names), changes.from, redraw("from")), select("to", option(names), changes.to, redraw("to"))), sum,
      table("By kind of question; choose one to see its questions below.", ["Kind", num("n"), num("before"), num("after"), "lost | won", num("won"), num("lost"), num("won, silent before"), ...(own.length ? [num("groups trained on"), num("right there, early → late")] : [])], rows)),
    el("div", { class: "card stack picked" }, el("div", { class: "row controls", role: "group", "aria-label": "Which questions" }, Object.entries(WAYS).map(([key, [name]]) =>
      el("button", { type: "button", "aria-pressed": String(changes.way === key), onclick: () => redraw("way")(key) }, `${name} (${count(way(key).filter((p) => changes.kind === null || kindName(p.q) === changes.kind).length)})`)),
    changes.kind !== null && el("button", { type: "button", onclick: () => redraw("kind")(null) }, `${changes.kind} ✕`)), changedList(asked, chosen)));
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
    const rows = await Promise.all(part.map(async (p) => {
      const q = await question(p.q), given = object(object(q.given)[key]);
      const say = (stage, code) => {
        const [answer] = list(given[stage]);
        return el("span", { class: code === "1" ? "right" : "wrong" }, code === "1" ? "✓ " : "✗ ", el("span", { class: "text" }, answer === null || answer === undefined ? "no readable answer" : `${answer}. ${object(q.options)[answer] ?? ""}`));
      };
      return [link(questionLink(p.q), el("span", { class: "text" }, q.text ?? Q.ids[p.q])), kindName(p.q), say(from, p.a), say(to, p.b)];
    }));
    const made = table("", ["Question", "Kind", stageName(from), stageName(to)], rows);
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

// ---------------------------------------------------------------- training

function training() {
  if (!list(GRPO.step).length && !list(D.sft.step).length) return;
  const open = R.rows ? (step) => { location.hash = stepLink(R.byStep.has(step) ? step : nearestStep(step)); } : null;
  const options = { open, stages: list(GRPO.stage), switchAt: SWITCH.after };
  const parts = [];
  const recorded = (rows, run) => rows.filter((row) => list(run[row.key]).some(isNumber));
  parts.push(el("div", { class: "grid" }, recorded(W.curves, GRPO).map((row) => chart(row, GRPO, D.other?.grpo, options)),
    recorded(W.sft, D.sft).map((row) => chart(row, D.sft, D.other?.sft, { colour: "var(--cold_start)" }))));
  const absent = list(GRPO.step).length ? W.curves.filter((row) => !recorded([row], GRPO).length) : [];
  if (absent.length) parts.push(el("p", { class: "soft small" }, `Not recorded in this run: ${absent.map((row) => `${row.title.toLowerCase().replace("kl", "KL")} (${row.says})`).join("; ")}.`));
  const because = { slope: "the reward no longer rose", flat_groups: "too many groups taught nothing", max_steps: "its steps were used up", max_tokens: "its tokens were used up" }[SWITCH.because];
  section("training", "Training", `Thin lines are single steps, thick ones their running mean.${isNumber(SWITCH.after) ? ` Stage 2 begins after step ${SWITCH.after}${because ? `: ${because}` : ""}.` : ""}${open ? " A click on a point, or Enter, opens that step's answers." : ""}`,
    legend(["var(--rl_stage1)", "RL stage 1"], ["var(--rl_stage2)", "RL stage 2"], ...(D.other ? [["var(--other)", D.other.name]] : [])), ...parts);
}
const nearestStep = (step) => R.steps.reduce((best, s) => (Math.abs(s.step - step) < Math.abs(best.step - step) ? s : best)).step;

function mining() {
  const rounds = D.mining.rounds;
  if (!rounds.length) return;
  const columns = rounds.map((round) => {
    const states = {};
    for (const [move, n] of Object.entries(round.moves)) states[move.split(" ")[1]] = (states[move.split(" ")[1]] ?? 0) + n;
    return { title: `before step ${round.step}`, states };
  });
  const shown = el("div", {});
  const listed = async (i, from, to) => {
    const ids = list(rounds[i + 1][`${from} ${to}`]).filter((id) => questionNumber.has(id));
    const all = rounds[i + 1].moves[`${from} ${to}`] ?? 0;
    const rows = await Promise.all(ids.slice(0, 25).map(async (id) => {
      const q = questionNumber.get(id);
      return [link(questionLink(q), el("span", { class: "text" }, (await question(q)).text ?? id)), kindName(q)];
    }));
    refill(shown, table(`${plural(all, "training question")} went from ${from} to ${to} before step ${rounds[i + 1].step}${all > rows.length ? `; the first ${rows.length}` : ""}.`, ["Question", "Kind"], rows) ?? el("p", { class: "soft" }, `${plural(all, "training question")}; the report lists those that changed.`));
  };
  section("mining", "Mining rounds", "Before a round of stage 2 the model answers the training questions; those that it fails are drawn twice as often. A question that rests stays what it was.",
    card(flowPicture(columns, rounds.slice(1).map((round) => round.moves), ["right", "wrong"], "Training questions between right and wrong, round by round", listed), rounds.length > 1 ? legend(["var(--right)", "became right"], ["var(--wrong)", "became wrong"], ["var(--same)", "as before"]) : null, shown));
}

// ---------------------------------------------------------------- sampled answers

const view = { step: null, scope: "step", group: null, sample: null, outcome: "all", form: "all", change: "all", measure: "reward", bin: null, kind: "", shown: 0 };
const OUTCOMES = { all: "any answer", right: "right", wrong: "wrong", silent: "no readable answer" };
const FORMS = { all: "any form", well: "well-formed", ill: "ill-formed", cut: "cut off" };
const CHANGES = { all: "any", changed: "changed since stage 1", better: "wrong → right since stage 1", worse: "right → wrong since stage 1" };
const MEASURES = { reward: ["Reward", R.reward], advantage: ["Advantage", R.advantage], tokens: ["Length in tokens", R.tokens] };

const outcomeFits = (flags) => view.outcome === "all" || (view.outcome === "right" ? flags & RIGHT : view.outcome === "silent" ? flags & SILENT : !(flags & RIGHT));
const formFits = (flags) => view.form === "all" || (view.form === "well" ? flags & FORM : view.form === "cut" ? flags & CUT : !(flags & FORM));
const changeFits = (g) => view.change === "all" || (view.change === "changed" ? g.change : view.change === "better" ? g.change > 0 : g.change < 0);
const inBin = (i) => view.bin === null || (MEASURES[view.measure][1][i] >= view.bin[0] && MEASURES[view.measure][1][i] < view.bin[1]);
const fits = (i) => outcomeFits(R.flags[i]) && formFits(R.flags[i]);

function answers() {
  if (!R.rows) return;
  view.step = R.steps.at(-1).step;
  const whole = R.steps.reduce((n, s) => n + s.allRows, 0);
  const controls = el("div", { class: "card stack controls" }), picture = el("div", { class: "card" }), groups = el("div", { class: "card" }), samples = el("div", { id: "samples", "aria-live": "polite" });
  const node = section("answers", "Sampled answers", `${R.rows < whole ? `${count(R.rows)} of ${count(whole)} answers: whole groups, evenly over each step.` : `All ${count(whole)} answers.`} Those to one question are a group; their rewards, relative to one another, are what is learned from.`,
    el("div", { class: "stack" }, controls, el("div", { class: "two" }, picture, groups), samples));
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
  const here = R.byStep.get(view.step), index = R.steps.indexOf(here);
  const go = (i) => { location.hash = stepLink(R.steps[Math.min(R.steps.length - 1, Math.max(0, i))].step); };
  const focus = box.contains(document.activeElement) ? document.activeElement.dataset.name : null;
  const kinds = [...new Set(R.groups.map((g) => kindName(g.q)))].sort();
  refill(box, 
    el("div", { class: "row" },
      el("button", { type: "button", "data-name": "before", disabled: index === 0, "aria-label": "Step before", onclick: () => go(index - 1) }, "←"),
      el("label", {}, "Step ", el("input", { type: "range", "data-name": "range", min: 0, max: R.steps.length - 1, value: index, "aria-valuetext": `step ${view.step}`, onchange: (event) => go(Number(event.target.value)) })),
      el("button", { type: "button", "data-name": "after", disabled: index === R.steps.length - 1, "aria-label": "Next step", onclick: () => go(index + 1) }, "→"),
      el("b", {}, `step ${view.step}`), el("span", { class: "tag" }, `stage ${here.stage}`),
      el("span", { class: "soft small" }, `${plural(here.groups, "group")}${here.groups < here.allGroups ? ` of ${count(here.allGroups)}` : ""}, ${plural(here.rows, "answer")}`)),
    el("div", { class: "row" },
      select("Of", [["step", "this step"], ["all", "all steps"]], view.scope, (scope) => redrawAnswers({ scope, shown: 0 })),
      select("Answer", Object.entries(OUTCOMES), view.outcome, (outcome) => redrawAnswers({ outcome, shown: 0 })),
      select("Form", Object.entries(FORMS), view.form, (form) => redrawAnswers({ form, shown: 0 })),
      select("Question", Object.entries(CHANGES), view.change, (change) => redrawAnswers({ change, shown: 0, ...(change === "all" ? {} : { scope: "all" }) })),
      kinds.length > 1 && select("Kind", [["", "any"], ...kinds.map((kind) => [kind, kind])], view.kind, (kind) => redrawAnswers({ kind, shown: 0 })),
      el("button", { type: "button", "data-name": "clear", onclick: () => redrawAnswers({ outcome: "all", form: "all", change: "all", bin: null, kind: "", scope: "step", shown: 0 }) }, "Clear filters")));
  box.querySelector(`[data-name="${focus}"]`)?.focus();
}

const scoped = () => (view.scope === "all" ? R.groups : R.groups.slice(R.byStep.get(view.step).first, R.byStep.get(view.step).first + R.byStep.get(view.step).groups))
  .filter((g) => changeFits(g) && (!view.kind || kindName(g.q) === view.kind));

function drawHistogram(box) {
  const [title, values] = MEASURES[view.measure];
  const rows = [];
  for (const g of scoped()) for (let i = g.row; i < g.row + g.rows; i++) if (fits(i)) rows.push(i);
  let low = Infinity, high = -Infinity;
  for (const i of rows) { low = Math.min(low, values[i]); high = Math.max(high, values[i]); }
  const focused = box.contains(document.activeElement) ? document.activeElement.dataset.bin : null;
  const width = 460, height = 190, left = 44, bottom = 24, top = 10, bins = 22;
  const step = (high - low) / bins || 1;
  const right = Array(bins).fill(0), wrong = Array(bins).fill(0);
  for (const i of rows) (R.flags[i] & RIGHT ? right : wrong)[Math.min(bins - 1, Math.floor((values[i] - low) / step))]++;
  const most = Math.max(1, ...right.map((n, i) => n + wrong[i]));
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "hist", role: "group", "aria-label": `${title} of ${plural(rows.length, "answer")}; a bar filters` });
  const y = (n) => height - bottom - (height - top - bottom) * (n / most);
  for (const tick of niceTicks(0, most, 3).filter(Number.isInteger)) add(picture, svg("line", { x1: left, x2: width, y1: y(tick), y2: y(tick), class: "axis" }), svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, count(tick)));
  for (let i = 0; i < bins && rows.length; i++) {
    const n = right[i] + wrong[i], x = left + ((width - left) * i) / bins, w = (width - left) / bins - 2;
    if (!n) continue;
    const from = low + i * step, to = i === bins - 1 ? Infinity : from + step;
    const on = view.bin !== null && Math.abs(view.bin[0] - from) < step / 1e3;
    const toggle = () => redrawAnswers({ bin: on ? null : [from - step / 1e6, to], shown: 0 });
    const faint = view.bin !== null && !on ? 0.35 : 1;
    add(picture, svg("g", { tabindex: 0, role: "button", "data-bin": i, "aria-pressed": String(on), "aria-label": `${title} ${short(from)} to ${short(low + (i + 1) * step)}: ${count(right[i])} right, ${count(wrong[i])} wrong`, onclick: toggle,
      onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); toggle(); } } },
    svg("title", {}, `${short(from)} to ${short(low + (i + 1) * step)}: ${count(right[i])} right, ${count(wrong[i])} wrong`),
    svg("path", { d: `M${x} ${top}h${w}V${height - bottom}h${-w}Z`, fill: "transparent" }),
    bar(x, y(n), w, y(right[i]) - y(n), "var(--wrong)", faint), bar(x, y(right[i]), w, height - bottom - y(right[i]), "var(--right)", faint)));
  }
  for (const tick of rows.length ? niceTicks(low, low + step * bins, 5) : []) add(picture, svg("text", { x: left + ((width - left) * (tick - low)) / (step * bins), y: height - 7, "text-anchor": "middle" }, tickLabel(tick)));
  refill(box, el("div", { class: "row controls" }, select("Histogram of", Object.entries(MEASURES).map(([key, [name]]) => [key, name.toLowerCase()]), view.measure, (measure) => redrawAnswers({ measure, bin: null, shown: 0 })),
    view.bin !== null && el("button", { type: "button", onclick: () => redrawAnswers({ bin: null, shown: 0 }) }, "one bar ✕")), picture, legend(["var(--right)", "right"], ["var(--wrong)", "wrong"]));
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
  const rows = await Promise.all(page.map(async ([g, n]) => {
    const text = (await question(g.q)).text ?? Q.ids[g.q];
    const open = view.group === g.number && view.step === g.step;
    return { attributes: { "aria-selected": String(open) }, cells: [link(groupLink(g), el("span", { class: "text" }, text.length > 110 ? `${text.slice(0, 110)}…` : text)), view.scope === "all" ? g.step : null, `${g.right}/${g.rows}`, short(g.reward),
      g.before ? el("span", { class: g.change > 0 ? "right" : g.change < 0 ? "wrong" : "soft" }, `${g.change > 0 ? "▲ " : g.change < 0 ? "▼ " : ""}${g.before.right}/${g.before.rows}`) : "", filtered ? count(n) : null].filter((cell) => cell !== null) };
  }));
  if (mine !== drawing) return; // another choice was made meanwhile
  const heads = ["Question", view.scope === "all" ? num("step") : null, num("right"), num("reward"), num("in stage 1"), filtered ? num("match") : null].filter((head) => head !== null);
  refill(box, el("p", { class: "soft small", role: "status" }, `${plural(found.length, "group")}, ${plural(hits, "answer")}${filtered || view.change !== "all" ? " match" : ""}`),
    table("", heads, rows) ?? el("p", { class: "soft" }, "No answer fits."), found.length > page.length && el("button", { type: "button", class: "controls", onclick: () => redrawAnswers({ shown: view.shown + 24 }) }, "Show more"));
}

async function drawSamples(box) {
  const here = R.byStep.get(view.step);
  const g = R.groups.slice(here.first, here.first + here.groups).find((group) => group.number === view.group);
  if (!g) return refill(box, el("p", { class: "soft" }, view.group === null ? "Choose a group to see its answers side by side." : `Group ${view.group} of step ${view.step} is not on this page.`));
  const [block, q] = await Promise.all([unpack(`r${g.step}`), question(g.q)]);
  if (view.group !== g.number || view.step !== g.step) return;
  const samples = list(block)[g.index - here.first] ?? [];
  const others = R.groups.filter((other) => other.q === g.q && other !== g);
  refill(box, el("div", { class: "card stack" },
    el("div", { class: "row" }, el("h3", {}, `Step ${g.step}, group ${g.number}`), el("span", { class: "tag" }, kindName(g.q)), link(questionLink(g.q), "the question and its proof"), link(groupLink(g), "permalink")),
    el("p", { class: "text" }, q.text ?? Q.ids[g.q]), optionList(q),
    others.length ? el("p", { class: "small soft" }, "The same question elsewhere: ", others.slice(0, 12).flatMap((other, i) => [i ? ", " : "", link(groupLink(other), `step ${other.step} (${other.right}/${other.rows} right)`)])) : null,
    el("div", { class: "row small soft" }, el("span", {}, "A token's shade is its surprise, −log p:"), el("span", {}, "sure "), el("span", { class: "shade", "aria-hidden": "true" }), el("span", {}, "p below 1 %; hover for the probability")),
    el("div", { class: "samples", tabindex: 0, role: "group", "aria-label": "Answers of the group" }, samples.map((sample, i) => sampleCard(g, sample, g.row + i, q)))));
  const chosen = box.querySelector(".is-chosen");
  if (chosen) chosen.parentElement.scrollLeft = chosen.offsetLeft - chosen.parentElement.offsetLeft - 40;
}

function sampleCard(g, [number, answer, response, lengths, levels, parts, entropy, order], row, q) {
  const right = R.flags[row] & RIGHT, chosen = view.sample === number;
  const trace = traceOf(`rollout:${g.step}/${g.number}/${number}`);
  const shown = order ? object(q.options)[order[answer?.charCodeAt(0) - 65]] : object(q.options)[answer];
  return el("article", { class: `sample ${right ? "is-right" : ""} ${chosen ? "is-chosen" : ""} ${fits(row) && inBin(row) ? "" : "is-out"}`, "aria-label": `Sample ${number}, ${right ? "right" : "wrong"}` },
    el("div", { class: "row" }, el("h4", {}, `Sample ${number}`), el("span", { class: `tag ${right ? "right" : "wrong"}` }, right ? "✓ right" : R.flags[row] & SILENT ? "✗ no answer" : "✗ wrong")),
    el("div", { class: "said text", tabindex: 0 }, tokens(response, lengths, levels)),
    el("dl", { class: "parts" },
      el("dt", {}, "answer"), el("dd", { class: "text" }, answer === null ? "none could be read" : `${answer}${shown ? `. ${shown}` : ""}`),
      Object.entries(object(parts)).flatMap(([name, value]) => [el("dt", {}, name === "total" ? "reward" : name), el("dd", {}, short(value))]),
      el("dt", {}, "advantage"), el("dd", {}, (R.advantage[row] > 0 ? "+" : "") + short(R.advantage[row]).replace("-", "−")),
      el("dt", {}, "tokens"), el("dd", {}, `${count(R.tokens[row])}${R.flags[row] & CUT ? ", cut off" : ""}${isNumber(entropy) ? `, entropy ${short(entropy)}` : ""}`),
      order ? [el("dt", {}, "options"), el("dd", {}, `shown in the order ${order}`)] : null),
    el("div", { class: "row small" }, link(hashOf("rollout", g.step, g.number, number), "permalink"), copyButton(trace, "Copy trace")),
    chosen ? el("p", { class: "small" }, el("code", {}, trace)) : null);
}

// A response cut at its tokens, each shaded by -log p: level / steps is its root.
function tokens(response, lengths, levels) {
  const characters = Array.from(response);
  if (!lengths) return [response, el("span", { class: "soft small" }, "\n(no tokenizer of the run cuts this text at its tokens)")];
  const nodes = [];
  let at = 0;
  Array.from(lengths).forEach((length, i) => {
    const size = length.codePointAt(0) - 48, surprise = ((levels.charCodeAt(i) - 48) / D.rollouts.surprise) ** 2;
    const text = characters.slice(at, at + size).join("");
    at += size;
    const ends = !text && i === lengths.length - 1;
    const node = el("span", { class: "tok", title: `${ends ? "end of the answer, " : ""}p = ${short(Math.exp(-surprise))}` }, ends ? "⏎" : text);
    if (surprise > 0.02) node.style.backgroundColor = `rgb(var(--shade) / ${Math.min(0.65, surprise / 7).toFixed(2)})`;
    nodes.push(node);
  });
  return nodes;
}

const optionList = (q) => el("ol", { class: "options" }, Object.entries(object(q.options)).map(([letter, text]) =>
  el("li", { class: letter === q.answer ? "right" : "" }, el("b", {}, `${letter} `), el("span", { class: "text" }, text), letter === q.answer ? " ✓" : "")));

// ---------------------------------------------------------------- a question, and its path

async function openQuestion(id) {
  const dialog = byId("question"), number = questionNumber.get(id);
  const q = number === undefined ? {} : await question(number);
  const close = () => dialog.close();
  const trained = number === undefined ? [] : R.groups.filter((g) => g.q === number);
  const proof = object(q.proof);
  const given = Object.entries(object(q.given)).map(([asked, stages]) => el("div", {},
    el("h3", {}, `What each stage answered (${asked})`),
    el("div", { class: "samples", tabindex: 0 }, Object.entries(object(stages)).map(([stage, [answer, response]]) => el("article", { class: `sample ${answer === q.answer ? "is-right" : ""}` },
      el("div", { class: "row" }, el("h4", {}, dotOf(stageColour(stage)), stageName(stage)), el("span", { class: `tag ${answer === q.answer ? "right" : "wrong"}` }, answer === q.answer ? "✓ right" : answer === null ? "✗ no answer" : "✗ wrong")),
      el("div", { class: "said text" }, response), el("p", { class: "text" }, answer === null ? "No answer could be read." : `${answer}. ${object(q.options)[answer] ?? ""}`),
      el("div", { class: "row small" }, copyButton(traceOf(`answer:${stage}/${id}`), "Copy trace")))))));
  refill(dialog, 
    el("header", {}, el("div", {}, el("p", { class: "kicker text" }, id), el("h2", { id: "question-title" }, proof.kind || "Question")), el("button", { type: "button", autofocus: true, onclick: close }, "Close")),
    q.text === undefined ? el("p", { class: "soft" }, number === undefined ? "This question is not on this page." : "Its text is not on this page: the run's files do not have it, or there was no room.") : null,
    q.context ? el("p", { class: "text soft" }, q.context) : null, el("p", { class: "stem text" }, q.text ?? ""), optionList(q),
    el("div", { class: "row" }, [proof.metapath, isNumber(proof.hops) ? plural(proof.hops, "hop") : null, q.difficulty, q.split, proof.rare === true ? "rare disease" : null].filter(Boolean).map((text) => el("span", { class: "tag" }, text)), copyButton(traceOf(id), "Copy trace command")),
    pathFigure(q), likelihoods(q), ...given,
    trained.length ? el("p", {}, "Trained on in ", trained.slice(0, 20).flatMap((g, i) => [i ? ", " : "", el("a", { href: groupLink(g), onclick: close }, `step ${g.step} (${g.right}/${g.rows})`)]), ".") : null);
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

const wrap = (text, width) => {
  const lines = [];
  for (const part of plain(text).split(/\s+/)) {
    if (lines.length && (lines.at(-1) + part).length < width) lines[lines.length - 1] += ` ${part}`;
    else lines.push(part.length > width + 6 ? `${part.slice(0, width + 5)}…` : part);
  }
  return lines.length > 3 ? [...lines.slice(0, 2), `${lines[2].slice(0, width - 1)}…`] : lines;
};

// The path of a question with one rival beside it; the rival is chosen by a row of buttons.
function pathFigure(q) {
  const proof = object(q.proof);
  if (!list(proof.path).length) return null;
  const rivals = list(proof.rivals).map(object);
  const letters = Object.fromEntries(Object.entries(object(q.options)).map(([letter, text]) => [text, letter]));
  const picture = el("div", { class: "scroll" }), why = el("p", { class: "small" });
  const buttons = rivals.map((rival, i) => el("button", { type: "button", onclick: () => show(i) }, `Why not ${letters[rival.option] ?? ""} ${rival.option ?? rival.disease ?? ""}`));
  const show = (i) => {
    const rival = rivals[i];
    buttons.forEach((button, j) => button.setAttribute("aria-pressed", String(i === j)));
    refill(picture, pathPicture(proof, rival, q));
    if (rival) refill(why, el("b", {}, "Why it is wrong: "), word("grounds", rival.ground ?? "not said"), isNumber(rival.odds) ? ` The odds of the answer against it are ${short(rival.odds)} to 1.` : "");
  };
  show(0);
  return el("div", { class: "stack" }, el("h3", {}, "Its path in the graph"),
    buttons.length ? el("div", { class: "row controls", role: "group", "aria-label": "Wrong options" }, buttons) : null, picture, why,
    legend(["var(--right)", "the path to the answer"], ["var(--wrong)", "a rival: what it shares, and dashed what it violates"], ["var(--ink)", "boxed dark: said in the stem; dashed box: hidden"]));
}

function pathPicture(proof, rival, q) {
  const chainSteps = new Set(list(proof.chain)), root = proof.root ?? proof.path[0][0];
  const nodes = new Map(); // name -> {column, role, lane}
  const put = (name, column, role, lane) => { if (!nodes.has(name)) nodes.set(name, { name, column, role, lane }); };
  const chain = proof.path.filter((edge, i) => chainSteps.has(i)), clues = proof.path.filter((edge, i) => !chainSteps.has(i));
  put(root, 1, "root", 0);
  let grown = true;
  while (grown) { // outwards from the root, along edges of either direction
    grown = false;
    for (const [head, , tail] of chain) for (const [known, next] of [[head, tail], [tail, head]]) {
      if (nodes.has(known) && !nodes.has(next)) { put(next, nodes.get(known).column + 1, "step", 0); grown = true; }
    }
  }
  for (const [head, , tail] of clues) {
    put(tail, (nodes.get(head)?.column ?? 1) - 1, "clue", nodes.get(head)?.column === 1 ? 0 : 1);
  }
  const answer = proof.answer, visible = new Set(list(proof.visible)), hidden = new Set(list(proof.hidden));
  const last = Math.max(...[...nodes.values()].map((n) => n.column));
  const shared = list(rival?.shares), violated = list(rival?.violates);
  if (rival) {
    const own = rival.disease ?? rival.option;
    if (own) put(own, own === rival.option && last > 1 ? last : 1, "rival", 2);
    for (const name of visible) if ([...shared, ...violated].some((edge) => edge.includes(name))) put(name, 0, "clue", 0);
    for (const [head, , tail] of [...shared, ...violated]) for (const name of [head, tail]) put(name, name === rival.option ? Math.max(last, 2) : 2, "rival", 2);
  }

  const width = 168, high = (n) => 14 + 15 * n.lines.length, across = 290, gap = 18;
  const columns = new Map();
  for (const n of nodes.values()) {
    n.lines = wrap(n.name, 22);
    if (!columns.has(n.column)) columns.set(n.column, []);
    columns.get(n.column).push(n);
  }
  const heightOf = (of) => of.reduce((sum, n) => sum + high(n) + gap + (n.lane === 2 ? 26 : 0), 0);
  const tallest = Math.max(...[...columns.values()].map(heightOf), 120);
  for (const [column, of] of columns) {
    of.sort((a, b) => a.lane - b.lane);
    let y = 8 + (tallest - heightOf(of)) / 2;
    for (const n of of) {
      if (n.lane === 2) y += 26;
      Object.assign(n, { x: 8 + column * across, y, middle: y + high(n) / 2 });
      y += high(n) + gap;
    }
  }
  const shift = Math.min(...columns.keys()) * across;
  const total = (Math.max(...columns.keys()) + 1) * across - shift - (across - width) + 16;
  const picture = svg("svg", { viewBox: `${shift} 0 ${total} ${tallest + 16}`, class: "path", role: "img", "aria-label": `Path of the question: ${proof.path.map((edge) => edge.slice(0, 3).join(" ")).join("; ")}` });
  const labels = [];
  const draw = (from, relation, to, kind, place) => {
    const [a, b] = [nodes.get(from), nodes.get(to)];
    if (!a || !b || a === b) return;
    const forward = a.column < b.column, level = a.column === b.column;
    const x1 = level ? a.x + width : forward ? a.x + width : a.x, x2 = level ? b.x + width : forward ? b.x : b.x + width;
    const bend = level ? 38 : 0, middle = (x1 + x2) / 2;
    const d = level ? `M${x1} ${a.middle}C${x1 + bend} ${a.middle} ${x2 + bend} ${b.middle} ${x2} ${b.middle}` : `M${x1} ${a.middle}C${middle} ${a.middle} ${middle} ${b.middle} ${x2} ${b.middle}`;
    add(picture, svg("path", { d, class: `edge ${kind}` }, svg("title", {}, `${from} – ${relation} – ${to}${place ? ` (${place})` : ""}`)));
    const lx = level ? x1 + bend - 6 : middle, ly = (a.middle + b.middle) / 2 - 5;
    const crowd = labels.filter(([x, y]) => Math.abs(x - lx) < 60 && Math.abs(y - ly) < 12).length;
    labels.push([lx, ly + 12 * crowd]);
    labels.at(-1).push(svg("text", { x: lx, y: ly + 12 * crowd, "text-anchor": "middle", class: `relation ${kind}` }, `${kind === "violated" ? "✕ " : ""}${String(relation).replaceAll("_", " ")}`));
  };
  for (const [head, relation, tail, place] of proof.path) draw(head, relation, tail, "main", place);
  for (const [head, relation, tail] of shared) draw(head, relation, tail, "shared");
  for (const [head, relation, tail] of violated) draw(head, relation, tail, "violated");
  const seen = new Set(); // a relation between the same columns is named once
  for (const [x, , text] of labels) {
    const key = `${Math.round(x)} ${text.textContent} ${text.getAttribute("class")}`;
    if (!seen.has(key)) add(picture, text);
    seen.add(key);
  }
  for (const n of nodes.values()) {
    const role = n.name === answer ? "answer" : n.role === "rival" || n.name === rival?.option ? "rival" : visible.has(n.name) ? "visible" : hidden.has(n.name) ? "hidden" : "";
    add(picture, svg("g", { class: `node ${role}` }, svg("rect", { x: n.x, y: n.y, width, height: high(n), rx: 7 }),
      n.lines.map((line, i) => svg("text", { x: n.x + width / 2, y: n.y + 19 + 15 * i, "text-anchor": "middle", class: "label" }, line)),
      svg("title", {}, `${n.name}${role ? `: ${role}` : ""}`)));
  }
  return sized(picture, total);
}

// As wide as it is where there is room, and never so small that it cannot be read.
const sized = (picture, width) => {
  Object.assign(picture.style, { maxWidth: "100%", minWidth: `${0.75 * width}px`, width: `${width}px` });
  return picture;
};

// How likely each clue is under each disease, where the question is about a patient.
function likelihoods(q) {
  const known = object(object(q.proof).table), rows = object(known.rows), names = Object.keys(rows);
  if (!names.length) return null;
  const cell = (value) => {
    const node = el("span", {}, isNumber(value) ? percent(value, value < 0.1 ? 1 : 0) : "–");
    return node;
  };
  const made = table("How likely each clue is under each disease; the answer's comes first.", ["Clue", ...names.map(num)], list(known.clues).map((clue, i) => [clue, ...names.map((name) => cell(list(rows[name])[i]))]));
  made?.querySelector("table").classList.add("heat");
  made?.querySelectorAll("tbody tr").forEach((tr, i) => tr.querySelectorAll("td").forEach((td, j) => {
    const value = list(rows[names[j]])[i];
    if (isNumber(value)) td.style.backgroundColor = `color-mix(in srgb, var(--right) ${Math.round(45 * Math.min(1, Math.max(0, value)))}%, transparent)`;
  }));
  return made;
}

// ---------------------------------------------------------------- data

function data() {
  const report = D.report, sampling = object(report.sampling);
  if (!Object.keys(report).length && !D.rejected.length) return;
  const rows = [];
  const kept = (name, n, of, codes) => { if (isNumber(n)) rows.push({ name, n, of, codes: Object.entries(object(codes)) }); };
  kept("Questions wanted", sampling.wanted);
  const posed = Object.values(object(sampling.questions)).filter(isNumber).reduce((a, b) => a + b, 0);
  if (posed) kept("Posed on the graph", posed, undefined, sampling.rejected);
  for (const step of list(report.refinement)) kept(`Kept by ${String(step.step).replaceAll("_", " ")}`, step.kept, step.questions, step.rejected);
  const parts = Object.entries(object(report.parts));
  for (const [name, n] of parts.length > 1 ? parts : []) kept(`Of these from ${name}`, n);
  for (const [split, hops] of Object.entries(object(report.splits))) kept(`In ${split}`, Object.values(object(hops)).filter(isNumber).reduce((a, b) => a + b, 0));
  kept("Worked answers for the cold start", object(report.trajectories).kept, undefined, object(report.trajectories).rejected);
  const most = rows.reduce((m, r) => Math.max(m, r.n), 1);
  const funnel = table("", ["Step", num("Questions"), "", "Left out, by code"], rows.map((row) => [row.name, count(row.n),
    svg("svg", { viewBox: "0 0 200 12", class: "bar", "aria-hidden": "true" }, svg("rect", { x: 0, y: 1, width: (200 * row.n) / most, height: 10, rx: 2, fill: "var(--rl_stage1)" })),
    row.codes.length ? el("span", { class: "small" }, row.codes.map(([code, n]) => `${word("codes", code)}: ${isNumber(n) ? count(n) : n}`).slice(0, 3).join("; "), row.codes.length > 3 ? `; and ${row.codes.length - 3} more codes` : "") : el("span", { class: "soft small" }, row.of !== undefined ? "none" : "")]));
  const rejected = table("Everything that was left out, by its code (data/rejected.jsonl).", ["Code", "Where", num("Records"), "For example"], D.rejected.slice(0, 60).map(([step, code, n, examples]) =>
    [el("span", {}, el("code", {}, code), Object.hasOwn(W.codes, code) ? el("span", { class: "soft small" }, ` ${W.codes[code]}`) : null), step, count(n), el("span", { class: "text small soft" }, list(examples)[0] ?? "")]));
  const labels = D.about.voter === "" ? "Labels: not checked (no voter was set)." : D.about.voter ? `Labels were checked by the votes of ${D.about.voter}.` : "";
  section("data", "Data", `What was made, what each step kept, and why the rest was left out. ${labels}`, card(funnel), rejected ? el("p") : null, rejected ? card(el("details", { open: D.rejected.length < 14 }, el("summary", {}, `Codes (${D.rejected.length})`), rejected)) : null);

  const probes = Object.entries(object(report.shortcuts)).filter(([, probe]) => isNumber(object(probe).accuracy));
  if (probes.length) {
    const drawn = (of) => table("", ["Probe", num("Right"), "", num("n")], of.map(([name, p]) => [word("probes", name.replace(/_by_root$/, "")), percent(p.accuracy), whisker(p.low, p.accuracy, p.high, p.low > p.chance ? "var(--wrong)" : "var(--soft)", p.chance), count(p.n)]));
    const plainProbes = probes.filter(([name]) => !name.endsWith("_by_root")), byRoot = probes.filter(([name]) => name.endsWith("_by_root"));
    section("shortcuts", "Shortcuts", "What shallow probes answer without reading for sense. Vermilion lies above chance (the dotted mark): so much can be had without understanding.",
      el("div", { class: "two" }, card(el("h3", {}, "In random folds"), drawn(plainProbes)), byRoot.length ? card(el("h3", {}, "On roots never seen"), drawn(byRoot)) : null));
  }
}

// The types in columns by their distance from the one with most facts; a line's width goes with its facts.
function graph() {
  const types = new Map(Object.entries(object(D.graph.types))), facts = list(D.graph.facts);
  if (!types.size) return;
  const heads = new Map();
  for (const [head, , , n] of facts) heads.set(head, (heads.get(head) ?? 0) + n);
  const columns = [[[...types.keys()].reduce((best, type) => ((heads.get(type) ?? 0) > (heads.get(best) ?? 0) ? type : best))]];
  const placed = new Set(columns[0]);
  while (placed.size < types.size) {
    const found = facts.filter(([head, , tail]) => placed.has(head) && types.has(tail) && !placed.has(tail)).map(([, , tail]) => tail);
    const next = [...new Set(found.length ? found : [...types.keys()].filter((type) => !placed.has(type)))];
    next.forEach((type) => placed.add(type));
    columns.push(next.sort((a, b) => (heads.has(a) ? 1 : 0) - (heads.has(b) ? 1 : 0)));
  }
  const width = 150, height = 44, across = 340, down = 66;
  const tallest = Math.max(...columns.map((of) => of.length)) * down;
  const place = new Map(columns.flatMap((of, i) => of.map((type, j) => [type, { column: i, x: i * across + 4, y: (tallest - of.length * down) / 2 + j * down + 10 }])));
  const picture = svg("svg", { viewBox: `0 0 ${(columns.length - 1) * across + width + 30} ${tallest + 10}`, class: "path", role: "img", "aria-label": `Types of the graph: ${[...types].map(([type, n]) => `${type} ${n}`).join(", ")}` });
  // One line for all relations that lead from a column into a later one; the others stand in a table.
  const pairs = new Map(), others = [];
  for (const fact of facts) {
    const [head, relation, tail, n] = fact;
    if (!(place.get(head)?.column < place.get(tail)?.column)) others.push(fact);
    else pairs.set(`${head}\u0001${tail}`, [...(pairs.get(`${head}\u0001${tail}`) ?? []), { head, tail, said: `${relation.replaceAll("_", " ")} ${count(n)}`, n }]);
  }
  const sum = (of) => of.reduce((all, { n }) => all + n, 0), most = Math.max(...[...pairs.values()].map(sum), 1), lines = [], labels = [];
  for (const of of pairs.values()) {
    const { head, tail } = of[0], [a, b] = [place.get(head), place.get(tail)];
    const x1 = a.x + width, x2 = b.x, y1 = a.y + height / 2, y2 = b.y + height / 2, middle = (x1 + x2) / 2;
    const line = svg("path", { d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}`, class: "edge" }, svg("title", {}, `${head} – ${tail}: ${of.map(({ said }) => said).join(", ")}`));
    Object.assign(line.style, { stroke: "var(--same)", strokeWidth: 1.2 + 6 * Math.sqrt(sum(of) / most) });
    lines.push(line);
    const taken = labels.filter(([to]) => to === tail).length;
    of.slice(0, 3 - taken).forEach(({ said }, i) => labels.push([tail, svg("text", { x: x2 - 10, y: y2 - 7 - 13 * (taken + i), "text-anchor": "end", class: "relation" }, said)]));
  }
  add(picture, lines, [...place].map(([type, at]) => svg("g", { class: "node visible" }, svg("rect", { x: at.x, y: at.y, width, height, rx: 7 }),
    svg("text", { x: at.x + width / 2, y: at.y + 19, "text-anchor": "middle", class: "label" }, type.replaceAll("_", " ")), svg("text", { x: at.x + width / 2, y: at.y + 34, "text-anchor": "middle" }, count(types.get(type))))), labels.map(([, text]) => text));
  const rare = Object.entries(object(D.graph.rare)).filter(([, n]) => n).map(([type, n]) => `${count(n)} of the ${count(types.get(type))} of type ${type.replaceAll("_", " ")} are rare`).join("; ");
  section("graph", "Graph", `The types of the knowledge graph with their entities, and how many facts lie between them. ${rare ? `${rare}.` : ""} A question's own path is drawn where it is opened.`, card(el("div", { class: "scroll" }, sized(picture, 1.15 * ((columns.length - 1) * across + width + 30))),
    table("Facts that lead back, or to the same type.", ["From", "Relation", "To", num("Facts")], others.slice(0, 20).map(([head, relation, tail, n]) => [head, relation, tail, count(n)].map((cell) => String(cell).replaceAll("_", " "))))));
}

function trust() {
  const parts = [];
  for (const { stage, benchmark, protocol, score } of SCORES) {
    const c = object(score.calibration), o = object(score.option_order);
    if (list(c.bins).length) {
      const size = 220, at = (share) => 26 + (size - 36) * share;
      const most = Math.max(...c.bins.map((b) => b[0]));
      parts.push(card(el("h3", {}, `Calibration: ${stageName(stage)}, ${benchmark}, ${protocol}`), svg("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": `Confidence and accuracy, expected calibration error ${short(c.ece)}` },
        svg("line", { x1: at(0), y1: size - at(0), x2: at(1), y2: size - at(1), class: "switch" }), [0, 0.5, 1].map((t) => [svg("text", { x: at(t), y: size - 6, "text-anchor": "middle" }, percent(t, 0)), svg("text", { x: 20, y: size - at(t) + 4, "text-anchor": "end" }, 100 * t)]),
        c.bins.map(([n, confidence, accuracy]) => svg("circle", { cx: at(confidence), cy: size - at(accuracy), r: 3 + 7 * Math.sqrt(n / most), fill: stageColour(stage), "fill-opacity": 0.7 }, svg("title", {}, `${count(n)} questions: confidence ${percent(confidence)}, right ${percent(accuracy)}`)))),
      el("p", { class: "soft small" }, `Confidence across, share right upwards, by ${c.of}. ECE ${short(c.ece)}, Brier score ${short(c.brier)}.`)));
    }
    if (list(o.accuracies).length) parts.push(card(el("h3", {}, `Option order: ${stageName(stage)}, ${benchmark}, ${protocol}`), table("", ["Order", num("Right")], o.accuracies.map((share, i) => [i ? `reshuffled ${i}` : "as published", percent(share)])),
      el("p", { class: "soft small" }, `On ${count(o.questions)} questions; spread ${percent(o.spread)}; the same option in all orders: ${percent(o.consistency)}.`)));
  }
  if (SCORES.length) section("trust", "Calibration and order", parts.length ? "Does the model know what it knows, and does the order of the options matter?" : "", parts.length ? el("div", { class: "grid" }, parts)
    : el("p", { class: "soft" }, "Not measured in this run: confidence needs several samples (evaluate.samples) or log-likelihoods, order needs evaluate.reshuffles."));
}

function costs() {
  const phases = Object.keys(W.phases).map((key) => [key, list(GRPO[`time.${key}`]).filter(isNumber).reduce((a, b) => a + b, 0)]).filter(([, seconds]) => seconds > 0);
  if (!phases.length && !list(D.sft["time.step"]).length) return;
  const all = phases.reduce((sum, [, s]) => sum + s, 0);
  const said = (s) => (s >= 5400 ? `${(s / 3600).toFixed(1)} h` : s >= 90 ? `${(s / 60).toFixed(1)} min` : `${s.toFixed(1)} s`);
  const sft = list(D.sft["time.step"]).filter(isNumber);
  section("costs", "Time and memory", "By the clock of the machine that trained; everything else in this report repeats exactly, this does not.",
    el("div", { class: "grid" }, phases.length ? card(table("Where RL's time went.", ["Phase", num("Time"), num("Share"), ""], phases.sort((a, b) => b[1] - a[1]).map(([key, seconds]) => [W.phases[key], said(seconds), percent(seconds / all, 0),
      svg("svg", { viewBox: "0 0 200 12", class: "bar", "aria-hidden": "true" }, svg("rect", { x: 0, y: 1, width: 200 * (seconds / all), height: 10, rx: 2, fill: "var(--rl_stage2)" }))])),
      sft.length ? el("p", { class: "soft small" }, `A step of the cold start took ${said(sft.reduce((a, b) => a + b, 0) / sft.length)} on average.`) : null) : null,
    ...(phases.length ? W.times.map((row) => chart(row, GRPO, D.other?.grpo, { stages: list(GRPO.stage), switchAt: SWITCH.after, open: R.rows ? (step) => { location.hash = stepLink(nearestStep(step)); } : null })) : [])));
}

function provenance() {
  const origins = list(D.graph.origins);
  const forbids = (licence) => /non-?commercial|\bNC\b|research (use|only)|no commercial/i.test(String(licence ?? ""));
  const licences = table("Sources and their licences.", ["Source", "File", "Version", "Licence", "Address"], origins.map((o) => [o.source, o.file, o.version || "–",
    o.licence ? el("span", {}, o.licence, forbids(o.licence) ? el("span", { class: "tag wrong" }, "forbids commercial use") : null) : el("span", { class: "soft" }, "not recorded"),
    o.address ? el("span", { class: "text" }, o.address) : el("span", { class: "soft" }, "not recorded")]));
  const scripts = { synth: "synth_data.py", sft: "train_sft.py", grpo: "train_grpo.py", evaluate: "evaluate.py" };
  const starts = Object.entries(object(D.manifest)).flatMap(([stage, of]) => of.map((start) => ({ stage, ...start })));
  const stageRows = table("Every start of every stage (manifest.json).", ["Stage", "Started", "Commit", num("Seed"), "Device", "Versions", "Command"], starts.map((s) => [s.stage, s.started, el("code", {}, String(s.commit ?? "–").slice(0, 12)), s.seed,
    [s.device, s.processes > 1 ? `${s.processes} processes` : null, s.cpu_kernels].filter(Boolean).join(", "), Object.entries(object(s.versions)).map(([name, v]) => `${name} ${v}`).join(", "), el("code", {}, `python ${scripts[s.stage] ?? s.stage} --config ${D.about.run}/config.yaml`)]));
  const hashes = new Map();
  for (const s of starts) for (const [name, sha] of Object.entries({ ...object(s.outputs), ...Object.fromEntries(Object.entries(object(s.inputs)).map(([k, v]) => [`${s.stage} reads ${k}`, v])) })) hashes.set(name, sha);
  for (const s of starts) if (s.root) hashes.set(`root over all that was written up to ${s.stage}`, s.root);
  for (const [stage, results] of Object.entries(D.stages)) for (const [name, sha] of Object.entries(object(results.sha256))) hashes.set(`eval/${stage} reads ${name}`, sha);
  section("provenance", "Provenance", "What the run was made from and by, each file by its SHA-256. A report shows; the audit's verify command checks.",
    licences ? card(licences) : null, licences ? el("p") : null, stageRows ? card(stageRows) : el("p", { class: "soft" }, "No manifest: only evaluation has run here."), hashes.size ? el("p") : null,
    hashes.size ? card(el("details", {}, el("summary", {}, `SHA-256 of ${plural(hashes.size, "file")}`), table("", ["File", "SHA-256"], [...hashes].map(([name, sha]) => [name, el("code", { class: "text" }, sha)])))) : null,
    el("p", { class: "soft small" }, `Written ${D.about.made} from ${plural(D.files.length, "file")} by python -m fleming.report ${D.about.run}. Not medical advice; nothing here has been evaluated for clinical use.`));
}

// ---------------------------------------------------------------- the page

function navigation() {
  const names = { stages: "Stages", changes: "What changed", training: "Training", answers: "Answers", mining: "Mining", data: "Data", shortcuts: "Shortcuts", graph: "Graph", trust: "Calibration", costs: "Time", provenance: "Provenance" };
  const links = [...document.querySelectorAll("main > section")].map((node) => link(`#${node.id}`, names[node.id] ?? node.id));
  byId("nav").append(el("ul", {}, links.map((a) => el("li", {}, a))));
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) for (const a of links) {
      if (a.getAttribute("href") === `#${entry.target.id}`) a.setAttribute("aria-current", "true");
      else a.removeAttribute("aria-current");
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const node of document.querySelectorAll("main > section")) watch.observe(node);
}

// Opens what the address names.
async function route(scroll = true) {
  let parts;
  try { parts = location.hash.slice(1).split("/").map(decodeURIComponent); } catch { return; }
  const [what, ...rest] = parts, dialog = byId("question");
  if (what !== "question" && dialog.open) dialog.close();
  if (what === "question") return openQuestion(rest.join("/"));
  if (!["step", "group", "rollout"].includes(what) || !R.rows) return;
  const [step, group, sample] = rest.map(Number);
  if (!R.byStep.has(step)) {
    byId("live").textContent = `Step ${plain(rest[0])} is not on this page.`;
    return;
  }
  await redrawAnswers({ step, group: what === "step" ? null : group, sample: what === "rollout" ? sample : null, shown: 0, ...(what === "step" ? { scope: "step" } : {}) });
  const target = what === "step" ? byId("answers") : byId("samples");
  if (scroll) target.scrollIntoView({ block: "start" });
}

function theme() {
  const button = byId("theme"), system = matchMedia("(prefers-color-scheme: dark)"), keys = ["auto", "light", "dark"];
  let chosen = recall("theme") ?? "auto";
  const apply = () => {
    document.documentElement.dataset.theme = chosen === "auto" ? (system.matches ? "dark" : "light") : chosen;
    button.textContent = `Theme: ${chosen}`;
  };
  button.addEventListener("click", () => { chosen = keys[(keys.indexOf(chosen) + 1) % 3]; keep("theme", chosen); apply(); });
  system.addEventListener("change", apply);
  addEventListener("beforeprint", () => { document.documentElement.dataset.theme = "light"; });
  addEventListener("afterprint", apply);
  apply();
}
const recall = (name) => { try { return localStorage.getItem(`fleming ${name}`); } catch { return null; } };
const keep = (name, value) => { try { localStorage.setItem(`fleming ${name}`, value); } catch { /* a browser may keep nothing */ } };

// While the run goes on the page loads itself again, and stays where it was.
function live() {
  const { watching, holder } = D.about, state = byId("live"), pause = byId("pause");
  if (holder) state.textContent = plain(`In use by ${holder.replace(/^in use by /, "")}`);
  if (!watching) return;
  pause.hidden = false;
  let paused = false;
  pause.addEventListener("click", () => { paused = !paused; pause.textContent = paused ? "Go on" : "Pause"; pause.setAttribute("aria-pressed", String(paused)); });
  setInterval(() => {
    if (paused || byId("question").open || ["SELECT", "INPUT"].includes(document.activeElement?.tagName)) return;
    history.replaceState({ place: scrollY }, ""); // outlives the loading
    location.reload();
  }, Math.max(1, watching) * 1000);
  state.textContent = `Live. ${state.textContent}`;
}

theme();
glance();
stages();
changesSection();
training();
answers();
mining();
data();
graph();
trust();
costs();
provenance();
navigation();
live();
byId("question").addEventListener("close", () => { if (location.hash.startsWith("#question/")) history.replaceState(null, "", location.pathname + location.search); });
addEventListener("hashchange", () => route());
const place = history.state?.place;
if (place) history.scrollRestoration = "manual";
route(!place).then(() => { if (place) scrollTo({ top: place, behavior: "instant" }); });
document.documentElement.dataset.usable = performance.now().toFixed(0); // for whoever measures
