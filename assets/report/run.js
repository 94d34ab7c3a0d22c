// The run that the page is of: what came in as JSON, what is unpacked when it is opened, and where things are linked.

const D = JSON.parse(byId("data").textContent);
const W = D.words;
const word = (table, key) => (Object.hasOwn(W[table] ?? {}, key) ? W[table][key] : String(key).replaceAll("_", " "));
const stageName = (name) => word("stages", name);
const stageColour = (name) => (Object.hasOwn(W.stages, name) ? `var(--${name})` : "var(--soft)");
const list = (value) => (Array.isArray(value) ? value : []);
const object = (value) => (value !== null && typeof value === "object" && !Array.isArray(value) ? value : {});
// A text of ours, each word of the glossary linked to its sentence where it first stands.
const WORDS = new Map(
  list(W.glossary).flatMap(({ word, as }, i) => [word, ...list(as)].map((form) => [form.toLowerCase(), i])),
);
const WORD = new RegExp(
  `(?<![\\w@])(${[...WORDS.keys()].sort((a, b) => b.length - a.length).join("|")})(s?)(?![\\w@])`,
  "gi",
);
const defined = (text) => {
  if (typeof text !== "string") return text;
  const parts = [],
    met = new Set();
  let end = 0;
  for (const found of text.matchAll(WORD)) {
    const number = WORDS.get(found[1].toLowerCase());
    if (met.has(number)) continue;
    met.add(number);
    const title = W.glossary[number].means;
    parts.push(text.slice(end, found.index), el("a", { class: "word", href: `#word-${number}`, title }, found[0]));
    end = found.index + found[0].length;
  }
  return [...parts, text.slice(end)];
};
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

const count = (n) => (isNumber(n) ? n.toLocaleString("en") : "–");
const percent = (share, digits = 1) => (isNumber(share) ? `${(100 * share).toFixed(digits)} %` : "–");
const points = (share) => (isNumber(share) ? `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(1)}` : "–");
const short = (x) => {
  if (!isNumber(x)) return "–";
  const size = Math.abs(x);
  if (size >= 10000) return x.toLocaleString("en", { maximumFractionDigits: 0 });
  return size === 0
    ? "0"
    : size >= 100
      ? x.toFixed(0)
      : size >= 1
        ? x.toFixed(2)
        : size >= 0.001
          ? x.toFixed(3)
          : x.toExponential(1);
};
const pValue = (p) => (!isNumber(p) ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3));
const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const unpacked = new Map();
// The JSON of a packed block, unpacked when it is first asked for.
const unpack = (id) => {
  if (!unpacked.has(id))
    unpacked.set(
      id,
      ready.then(() => {
        const block = byId(id);
        if (!block) return null;
        const stream = new Blob([bytes(block.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
        return new Response(stream).json();
      }),
    );
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
  const record = object(list(block)[q % Q.a_block]),
    provenance = object(record.provenance),
    certificate = object(provenance.certificate);
  const edge = (e) => (Array.isArray(e) ? e : [object(e).head, object(e).relation, object(e).tail, object(e).place]);
  const edges = (of) =>
    list(of)
      .map(edge)
      .filter((e) => e.slice(0, 3).every((part) => typeof part === "string"));
  const rivals = list(certificate.distractors)
    .map(object)
    .map((rival) => ({ ...rival, shares: edges(rival.shares), violates: edges(rival.violates) }));
  return {
    ...record,
    text: record.question,
    options: object(record.options),
    given: object(record.given),
    proof: { ...provenance, path: edges(provenance.path), table: object(certificate.table), rivals },
  };
};

// Records of metrics as columns, nested names with dots; of a step that stands twice the later counts.
const columnsOf = (records) => {
  const flat = (record, prefix = "") =>
    Object.entries(record).flatMap(([name, value]) =>
      isNumber(value)
        ? [[prefix + name, value]]
        : Object.entries(object(value)).length
          ? flat(value, `${prefix}${name}.`)
          : [],
    );
  const rows = new Map(
    list(records)
      .map(object)
      .filter((record) => isNumber(record.step))
      .map((record) => [record.step, new Map(flat(record))]),
  );
  const sorted = [...rows].sort((a, b) => a[0] - b[0]).map(([, row]) => row),
    names = new Set(sorted.flatMap((row) => [...row.keys()]));
  return Object.fromEntries([...names].map((name) => [name, sorted.map((row) => row.get(name) ?? null)]));
};
for (const run of [D, D.other].filter(Boolean))
  Object.assign(run, { sft: columnsOf(run.sft), grpo: columnsOf(run.grpo) });

// Sampled answers: columns of numbers, in which each step has its groups and each group its rows.
const R = (() => {
  const column = (name, Kind) => new Kind(bytes(D.rollouts.columns[name] ?? "").buffer);
  const r = {
    reward: column("reward", Float64Array),
    advantage: column("advantage", Float64Array),
    tokens: column("tokens", Uint16Array),
    flags: column("flags", Uint8Array),
    steps: [],
    groups: [],
    byStep: new Map(),
  };
  let group = 0,
    row = 0;
  for (const [step, stage, groups, allGroups, allRows] of D.rollouts.steps) {
    const here = { step, stage, first: group, groups, allGroups, allRows, row, rows: 0 };
    for (; group < here.first + groups; group++) {
      const [number, q, rows] = D.rollouts.groups[group];
      const g = { index: group, step, stage, number, q, row, rows, right: 0, reward: 0 };
      for (let i = row; i < row + rows; i++) {
        g.right += r.flags[i] & 1;
        g.reward += r.reward[i] / rows;
      }
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
const RIGHT = 1,
  FORM = 2,
  CUT = 4,
  SILENT = 8;

const link = (hash, ...children) => el("a", { href: hash }, ...children);
const hashOf = (...parts) => `#${parts.map((part) => encodeURIComponent(part)).join("/")}`;
const stepLink = (step) => hashOf("step", step);
const groupLink = (g) => hashOf("group", g.step, g.number);
const questionLink = (q) => hashOf("question", Q.ids[q]);
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`); // for a shell
const traceOf = (what) => `python -m fleming.audit trace ${D.about.run} ${quoted(what)}`;

const copyButton = (text, name) =>
  el(
    "button",
    {
      type: "button",
      class: "copy",
      title: text,
      onclick: async (event) => {
        const button = event.currentTarget;
        try {
          await navigator.clipboard.writeText(text);
        } catch {
          const area = el("textarea", {}, text); // a file's page may have no clipboard of the newer kind
          (button.closest("dialog") ?? document.body).append(area);
          area.select();
          document.execCommand("copy");
          area.remove();
        }
        button.textContent = "Copied";
        setTimeout(() => {
          button.textContent = name;
        }, 1500);
      },
    },
    name,
  );
