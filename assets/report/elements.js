// Elements of the page. Everything that a model or a source said goes out as text nodes: nothing here makes markup
// of a string.

const CONTROL =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
// What would steer the page's text, or show as nothing, is shown by its number.
const plain = (value) =>
  String(value ?? "").replace(CONTROL, (c) => `⟨U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`);

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
const svg = (tag, attributes, ...children) =>
  fillIn(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const add = (node, ...children) => fillIn(node, {}, children);
const refill = (node, ...children) => {
  node.replaceChildren();
  return add(node, ...children);
};
const byId = (id) => document.getElementById(id);

const section = (id, title, says, ...children) => {
  const node = el(
    "section",
    { id, "aria-labelledby": `${id}-title` },
    el("h2", { id: `${id}-title` }, title),
    says && el("p", {}, defined(says)),
    ...children,
  );
  byId("main").append(node);
  return node;
};
const card = (...children) => el("div", { class: "card stack" }, ...children);
/** A column that a phone leaves out. */
const wide = (head) => ({ ...(head.name === undefined ? { name: head } : head), wide: true });
const table = (caption, heads, rows) => {
  if (!rows.length) return null;
  const kind = (head) => [head?.num && "num", head?.wide && "wide"].filter(Boolean).join(" ") || null;
  const cell = (tag, value, i, more = {}) => el(tag, { class: kind(heads[i]), ...more }, value);
  return el(
    "div",
    { class: "scroll" },
    el(
      "table",
      {},
      caption && el("caption", {}, defined(caption)),
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          heads.map((head, i) => cell("th", defined(head.name ?? head), i, { scope: "col" })),
        ),
      ),
      el(
        "tbody",
        {},
        rows.map((row) =>
          el(
            "tr",
            row.attributes,
            (row.cells ?? row).map((value, i) => (i ? cell("td", value, i) : cell("th", value, i, { scope: "row" }))),
          ),
        ),
      ),
    ),
  );
};
const num = (name) => ({ name, num: true });
const legend = (...entries) =>
  el(
    "ul",
    { class: "legend" },
    entries.map(([colour, name]) => {
      const mark = el("i");
      mark.style.background = colour;
      return el("li", {}, mark, name);
    }),
  );
const select = (label, options, value, onchange) => {
  const node = el(
    "select",
    { onchange: () => onchange(node.value) },
    options.map(([key, name]) => el("option", { value: key }, name)),
  );
  node.value = value;
  return el("label", {}, `${label} `, node);
};

// A share with its interval on an axis from 0 to 1, and a mark for chance.
const whisker = (low, value, high, colour, chance) => {
  if (![low, value, high].every(isNumber)) return null;
  const x = (share) => 2 + 196 * Math.min(1, Math.max(0, share));
  return svg(
    "svg",
    {
      viewBox: "0 0 200 14",
      class: "bar",
      role: "img",
      "aria-label": `${percent(value)}, 95 % interval ${percent(low)} to ${percent(high)}`,
    },
    svg("line", { x1: 2, x2: 198, y1: 7, y2: 7, class: "axis" }),
    isNumber(chance) &&
      svg("line", { x1: x(chance), x2: x(chance), y1: 1, y2: 13, stroke: "var(--faint)", "stroke-dasharray": "2 2" }),
    svg("line", {
      x1: x(low),
      x2: x(high),
      y1: 7,
      y2: 7,
      stroke: colour,
      "stroke-width": 3,
      "stroke-linecap": "round",
    }),
    svg("circle", { cx: x(value), cy: 7, r: 4.5, fill: colour, stroke: "var(--card)", "stroke-width": 1.5 }),
  );
};
// A difference with its interval around 0; scale: the largest that fits.
const around = (row, scale) => {
  const x = (share) => 100 + 96 * Math.min(1, Math.max(-1, share / scale));
  const colour = row.low > 0 ? "var(--right)" : row.high < 0 ? "var(--wrong)" : "var(--soft)";
  return svg(
    "svg",
    { viewBox: "0 0 200 14", class: "bar", "aria-hidden": "true" },
    svg("line", { x1: 100, x2: 100, y1: 0, y2: 14, stroke: "var(--faint)" }),
    svg("line", {
      x1: x(row.low),
      x2: x(row.high),
      y1: 7,
      y2: 7,
      stroke: colour,
      "stroke-width": 3,
      "stroke-linecap": "round",
    }),
    svg("circle", { cx: x(row.difference), cy: 7, r: 4.5, fill: colour, stroke: "var(--card)", "stroke-width": 1.5 }),
  );
};
