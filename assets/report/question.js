// A question, with its path in the graph and its rivals drawn.

async function openQuestion(id) {
  const dialog = byId("question"),
    number = questionNumber.get(id);
  const q = number === undefined ? {} : await question(number);
  const close = () => dialog.close();
  const trained = number === undefined ? [] : R.groups.filter((g) => g.q === number);
  const proof = object(q.proof);
  const given = Object.entries(object(q.given)).map(([asked, stages]) =>
    el(
      "div",
      {},
      el("h3", {}, `What each stage answered (${asked})`),
      el(
        "div",
        { class: "samples", tabindex: 0 },
        Object.entries(object(stages)).map(([stage, [answer, response]]) =>
          el(
            "article",
            { class: `sample ${answer === q.answer ? "is-right" : ""}` },
            el(
              "div",
              { class: "row" },
              el("h4", {}, dotOf(stageColour(stage)), stageName(stage)),
              el(
                "span",
                { class: `tag ${answer === q.answer ? "right" : "wrong"}` },
                answer === q.answer ? "✓ right" : answer === null ? "✗ no option named" : "✗ wrong",
              ),
            ),
            el("div", { class: "said text" }, response),
            el(
              "p",
              { class: "text" },
              answer === null ? "None of the options is named." : `${answer}. ${object(q.options)[answer] ?? ""}`,
            ),
            el("div", { class: "row small" }, copyButton(traceOf(`answer:${stage}/${id}`), "Copy trace")),
          ),
        ),
      ),
    ),
  );
  refill(
    dialog,
    el(
      "header",
      {},
      el(
        "div",
        {},
        el("p", { class: "kicker text" }, id),
        el("h2", { id: "question-title" }, proof.kind || "Question"),
      ),
      el("button", { type: "button", autofocus: true, onclick: close }, "Close"),
    ),
    q.text === undefined
      ? el(
          "p",
          { class: "soft" },
          number === undefined
            ? "This question is not on this page."
            : "Its text is not on this page: the run's files do not have it, or there was no room.",
        )
      : null,
    q.context ? el("p", { class: "text soft" }, q.context) : null,
    el("p", { class: "stem text" }, q.text ?? ""),
    optionList(q),
    el(
      "div",
      { class: "row" },
      [
        proof.metapath,
        isNumber(proof.hops) ? plural(proof.hops, "hop") : null,
        q.difficulty,
        q.split,
        proof.rare === true ? "rare disease" : null,
      ]
        .filter(Boolean)
        .map((text) => el("span", { class: "tag" }, text)),
      copyButton(traceOf(id), "Copy trace command"),
      el("code", { class: "trace" }, traceOf(id)),
      el("span", { class: "soft small" }, "in the repository's folder"),
    ),
    pathFigure(q),
    likelihoods(q),
    ...given,
    trained.length
      ? el(
          "p",
          {},
          "Trained on in ",
          trained
            .slice(0, 20)
            .flatMap((g, i) => [
              i ? ", " : "",
              el("a", { href: groupLink(g), onclick: close }, `step ${g.step} (${g.right}/${g.rows})`),
            ]),
          ".",
        )
      : null,
  );
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
  const picture = el("div", { class: "scroll" }),
    why = el("p", { class: "small" });
  const buttons = rivals.map((rival, i) =>
    el(
      "button",
      { type: "button", onclick: () => show(i) },
      `Why not ${letters[rival.option] ?? ""} ${rival.option ?? rival.disease ?? ""}`,
    ),
  );
  const show = (i) => {
    const rival = rivals[i];
    buttons.forEach((button, j) => button.setAttribute("aria-pressed", String(i === j)));
    refill(picture, pathPicture(proof, rival, q));
    if (rival)
      refill(
        why,
        el("b", {}, "Why it is wrong: "),
        word("grounds", rival.ground ?? "not said"),
        isNumber(rival.odds) ? ` The odds of the answer against it are ${short(rival.odds)} to 1.` : "",
      );
  };
  show(0);
  return el(
    "div",
    { class: "stack" },
    el("h3", {}, "Its path in the graph"),
    buttons.length ? el("div", { class: "row controls", role: "group", "aria-label": "Wrong options" }, buttons) : null,
    picture,
    why,
    legend(
      ["var(--right)", "the path to the answer"],
      ["var(--wrong)", "a rival: what it shares, and dashed what it violates"],
      ["var(--ink)", "boxed dark: said in the stem; dashed box: hidden"],
    ),
  );
}

function pathPicture(proof, rival, q) {
  const chainSteps = new Set(list(proof.chain)),
    root = proof.root ?? proof.path[0][0];
  const nodes = new Map(); // name -> {column, role, lane}
  const put = (name, column, role, lane) => {
    if (!nodes.has(name)) nodes.set(name, { name, column, role, lane });
  };
  const chain = proof.path.filter((edge, i) => chainSteps.has(i)),
    clues = proof.path.filter((edge, i) => !chainSteps.has(i));
  put(root, 1, "root", 0);
  let grown = true;
  while (grown) {
    // outwards from the root, along edges of either direction
    grown = false;
    for (const [head, , tail] of chain)
      for (const [known, next] of [
        [head, tail],
        [tail, head],
      ]) {
        if (nodes.has(known) && !nodes.has(next)) {
          put(next, nodes.get(known).column + 1, "step", 0);
          grown = true;
        }
      }
  }
  for (const [head, , tail] of clues) {
    put(tail, (nodes.get(head)?.column ?? 1) - 1, "clue", nodes.get(head)?.column === 1 ? 0 : 1);
  }
  const answer = proof.answer,
    visible = new Set(list(proof.visible)),
    hidden = new Set(list(proof.hidden));
  const last = Math.max(...[...nodes.values()].map((n) => n.column));
  const shared = list(rival?.shares),
    violated = list(rival?.violates);
  if (rival) {
    const own = rival.disease ?? rival.option;
    if (own) put(own, own === rival.option && last > 1 ? last : 1, "rival", 2);
    for (const name of visible)
      if ([...shared, ...violated].some((edge) => edge.includes(name))) put(name, 0, "clue", 0);
    for (const [head, , tail] of [...shared, ...violated])
      for (const name of [head, tail]) put(name, name === rival.option ? Math.max(last, 2) : 2, "rival", 2);
  }

  const width = 168,
    high = (n) => 14 + 15 * n.lines.length,
    across = 290,
    gap = 18;
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
  const picture = svg("svg", {
    viewBox: `${shift} 0 ${total} ${tallest + 16}`,
    class: "path",
    role: "img",
    "aria-label": `Path of the question: ${proof.path.map((edge) => edge.slice(0, 3).join(" ")).join("; ")}`,
  });
  const labels = [];
  const draw = (from, relation, to, kind, place) => {
    const [a, b] = [nodes.get(from), nodes.get(to)];
    if (!a || !b || a === b) return;
    const forward = a.column < b.column,
      level = a.column === b.column;
    const x1 = level ? a.x + width : forward ? a.x + width : a.x,
      x2 = level ? b.x + width : forward ? b.x : b.x + width;
    const bend = level ? 38 : 0,
      middle = (x1 + x2) / 2;
    const d = level
      ? `M${x1} ${a.middle}C${x1 + bend} ${a.middle} ${x2 + bend} ${b.middle} ${x2} ${b.middle}`
      : `M${x1} ${a.middle}C${middle} ${a.middle} ${middle} ${b.middle} ${x2} ${b.middle}`;
    add(
      picture,
      svg(
        "path",
        { d, class: `edge ${kind}` },
        svg("title", {}, `${from} – ${relation} – ${to}${place ? ` (${place})` : ""}`),
      ),
    );
    const lx = level ? x1 + bend - 6 : middle,
      ly = (a.middle + b.middle) / 2 - 5;
    const crowd = labels.filter(([x, y]) => Math.abs(x - lx) < 60 && Math.abs(y - ly) < 12).length;
    labels.push([lx, ly + 12 * crowd]);
    labels
      .at(-1)
      .push(
        svg(
          "text",
          { x: lx, y: ly + 12 * crowd, "text-anchor": "middle", class: `relation ${kind}` },
          `${kind === "violated" ? "✕ " : ""}${String(relation).replaceAll("_", " ")}`,
        ),
      );
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
    const role =
      n.name === answer
        ? "answer"
        : n.role === "rival" || n.name === rival?.option
          ? "rival"
          : visible.has(n.name)
            ? "visible"
            : hidden.has(n.name)
              ? "hidden"
              : "";
    add(
      picture,
      svg(
        "g",
        { class: `node ${role}` },
        svg("rect", { x: n.x, y: n.y, width, height: high(n), rx: 7 }),
        n.lines.map((line, i) =>
          svg("text", { x: n.x + width / 2, y: n.y + 19 + 15 * i, "text-anchor": "middle", class: "label" }, line),
        ),
        svg("title", {}, `${n.name}${role ? `: ${role}` : ""}`),
      ),
    );
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
  const known = object(object(q.proof).table),
    rows = object(known.rows),
    names = Object.keys(rows);
  if (!names.length) return null;
  const cell = (value) => percent(value, value < 0.1 ? 1 : 0);
  const made = table(
    "How likely each clue is under each disease; the answer's comes first.",
    ["Clue", ...names.map(num)],
    list(known.clues).map((clue, i) => [clue, ...names.map((name) => cell(list(rows[name])[i]))]),
  );
  made?.querySelector("table").classList.add("heat");
  made?.querySelectorAll("tbody tr").forEach((tr, i) =>
    tr.querySelectorAll("td").forEach((td, j) => {
      const value = list(rows[names[j]])[i];
      if (isNumber(value))
        td.style.backgroundColor = `color-mix(in srgb, var(--right) ${Math.round(45 * Math.min(1, Math.max(0, value)))}%, transparent)`;
    }),
  );
  return made;
}
