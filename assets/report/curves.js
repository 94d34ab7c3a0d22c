// Curves: one a quantity, with a cursor that all of them share.

const cursors = new Set(); // of all curves of RL: they move together
const niceTicks = (low, high, most = 4) => {
  const raw = (high - low) / most || 1,
    power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const first = Math.ceil(low / step - 1e-9);
  const ticks = Array.from({ length: 2 * most + 2 }, (_, i) => (first + i) * step);
  return ticks.filter((tick) => tick <= high + step * 1e-6).map((tick) => (Math.abs(tick) < step * 1e-6 ? 0 : tick));
};
const tickLabel = (tick, as) =>
  as === "percent"
    ? `${+(100 * tick).toFixed(2)} %`
    : Math.abs(tick) >= 0.001 || tick === 0
      ? (+tick.toPrecision(3)).toLocaleString("en")
      : tick.toExponential(0);
const smooth = (values, window) =>
  values.map((value, i) => {
    if (!isNumber(value)) return null;
    const near = values.slice(Math.max(0, i - window), i + window + 1).filter(isNumber);
    return near.reduce((a, b) => a + b, 0) / near.length;
  });

// One curve. row: of words.yaml; run, other: columns; open: what a click on a step does, where it does something.
const chart = (row, run, other, { open = null, stages = [], colour = "var(--ink)", switchAt = null } = {}) => {
  const figure = el("figure", { class: "card" });
  const read = el("span", { class: "read" });
  figure.append(el("figcaption", {}, el("h3", {}, defined(row.title)), read, el("span", { class: "says" }, defined(row.says))));
  const steps = list(run.step),
    values = list(run[row.key]);
  const known = steps
    .map((step, i) => [step, values[i], i])
    .filter(([step, value]) => isNumber(step) && isNumber(value));
  if (!known.length) {
    figure.append(el("p", { class: "soft small" }, "Not recorded in this run."));
    return figure;
  }
  const beside = list(other?.step)
    .map((step, i) => [step, list(other[row.key])[i]])
    .filter(([s, v]) => isNumber(s) && isNumber(v));
  const bounds = [row.low, row.high].map((key) => (key ? list(run[key]) : []));
  const all = [...known.map((p) => p[1]), ...beside.map((p) => p[1]), ...bounds.flat().filter(isNumber)];
  let low = all.reduce((a, b) => Math.min(a, b)),
    high = all.reduce((a, b) => Math.max(a, b));
  if (high - low < 1e-9) {
    low -= low ? Math.abs(low) / 2 : 0;
    high += high ? Math.abs(high) / 2 : 0.1;
  }
  const first = Math.min(known[0][0], beside[0]?.[0] ?? Infinity),
    last = Math.max(known.at(-1)[0], beside.at(-1)?.[0] ?? 0);
  const width = 360,
    height = 190,
    left = 44,
    right = 10,
    top = 20,
    bottom = 24;
  const x = (step) => left + (width - left - right) * (last === first ? 0.5 : (step - first) / (last - first));
  const y = (value) => height - bottom - (height - top - bottom) * ((value - low) / (high - low));
  const say = (value) =>
    row.as === "percent" ? percent(value, high - low < 0.02 ? 2 : high - low < 0.1 ? 1 : 0) : short(value);
  const path = (pairs) =>
    pairs.map(([step, value], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");

  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    class: "chart",
    tabindex: 0,
    role: "slider",
    "aria-label": `${row.title}, step`,
    "aria-valuemin": first,
    "aria-valuemax": last,
  });
  for (const tick of niceTicks(low, high))
    add(
      picture,
      svg("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), class: "axis" }),
      svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, tickLabel(tick, row.as)),
    );
  for (const tick of niceTicks(first, last, 5).filter(Number.isInteger))
    add(picture, svg("text", { x: x(tick), y: height - 7, "text-anchor": "middle" }, tick));
  if (isNumber(switchAt) && switchAt >= first && switchAt < last) {
    const at = x(switchAt + 0.5);
    add(
      picture,
      svg("line", { x1: at, x2: at, y1: top, y2: height - bottom, class: "switch" }),
      svg("text", { x: at - 5, y: top - 8, "text-anchor": "end" }, "stage 1"),
      svg("text", { x: at + 5, y: top - 8 }, "stage 2"),
    );
  }
  if (bounds[0].length) {
    const whole = known.filter(([, , i]) => isNumber(bounds[0][i]) && isNumber(bounds[1][i]));
    const edge = (b) => whole.map(([step, , i]) => [step, bounds[b][i]]);
    if (whole.length)
      add(
        picture,
        svg("path", { d: `${path(edge(1))}L${path(edge(0).reverse()).slice(1)}Z`, class: "band", fill: colour }),
      );
  }
  if (beside.length) {
    const means =
      beside.length > 40
        ? smooth(
            beside.map((p) => p[1]),
            Math.round(beside.length / 40) + 1,
          )
        : beside.map((p) => p[1]);
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
      const means = smooth(
        part.map((p) => p[1]),
        Math.max(2, Math.round(known.length / 40)),
      );
      add(
        picture,
        svg("path", { d: path(part), class: "raw", stroke }),
        svg("path", { d: path(part.map((p, i) => [p[0], means[i]])), class: "mean", stroke }),
      );
    } else {
      add(
        picture,
        svg("path", { d: path(part), class: "mean", stroke }),
        part.map((p) => svg("circle", { cx: x(p[0]), cy: y(p[1]), r: 2.5, fill: stroke })),
      );
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
  const nearest = (step) =>
    known.reduce((best, p, i) => (Math.abs(p[0] - step) < Math.abs(known[best][0] - step) ? i : best), 0);
  const move = (step, visible = true) =>
    open ? cursors.forEach((c) => c(step, visible)) : show(nearest(step), visible);
  if (open) cursors.add((step, visible) => show(nearest(step), visible));
  const follow = (event) => {
    const box = picture.getBoundingClientRect();
    move(first + (((event.clientX - box.left) * (width / box.width) - left) / (width - left - right)) * (last - first));
  };
  picture.addEventListener("pointermove", follow);
  picture.addEventListener("pointerleave", () => move(known.at(-1)[0], false));
  picture.addEventListener("click", (event) => {
    // a finger comes without having moved
    follow(event);
    open?.(known[at][0]);
  });
  picture.addEventListener("keydown", (event) => {
    const jump = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    const target =
      event.key === "Home"
        ? 0
        : event.key === "End"
          ? known.length - 1
          : jump
            ? Math.min(known.length - 1, Math.max(0, at + jump))
            : null;
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
if (!GRPO.flat_groups && GRPO.groups)
  GRPO.flat_groups = GRPO.groups.map((n, i) =>
    isNumber(n) && isNumber(GRPO.groups_with_variance?.[i]) ? 1 - GRPO.groups_with_variance[i] / n : null,
  );
const SWITCH = (() => {
  const told = D.mining.events.find((event) => event.event === "switch");
  if (isNumber(told?.after)) return told;
  const i = list(GRPO.stage).findIndex((stage) => stage === 2); // an older ledger does not say
  return i > 0 ? { after: GRPO.step[i - 1] } : {};
})();
