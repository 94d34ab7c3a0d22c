// The page as a whole: navigation, addresses, theme, a live run. Sections are built once, in order.

function navigation() {
  const names = {
    stages: "Stages",
    changes: "What changed",
    training: "Training",
    answers: "Answers",
    mining: "Mining",
    data: "Data",
    shortcuts: "Shortcuts",
    graph: "Graph",
    trust: "Calibration",
    costs: "Time",
    provenance: "Provenance",
    repeat: "Repeat",
    glossary: "Words",
  };
  const links = [...document.querySelectorAll("main > section")].map((node) =>
    link(`#${node.id}`, names[node.id] ?? node.id),
  );
  byId("nav").append(
    el(
      "ul",
      {},
      links.map((a) => el("li", {}, a)),
    ),
  );
  const watch = new IntersectionObserver(
    (entries) => {
      for (const entry of entries)
        if (entry.isIntersecting)
          for (const a of links) {
            if (a.getAttribute("href") === `#${entry.target.id}`) a.setAttribute("aria-current", "true");
            else a.removeAttribute("aria-current");
          }
    },
    { rootMargin: "-20% 0px -70% 0px" },
  );
  for (const node of document.querySelectorAll("main > section")) watch.observe(node);
}

// Opens what the address names.
async function route(scroll = true) {
  let parts;
  try {
    parts = location.hash.slice(1).split("/").map(decodeURIComponent);
  } catch {
    return;
  }
  const [what, ...rest] = parts,
    dialog = byId("question");
  if (what !== "question" && dialog.open) dialog.close();
  if (what === "question") return openQuestion(rest.join("/"));
  if (!["step", "group", "rollout"].includes(what) || !R.rows) return;
  const [step, group, sample] = rest.map(Number);
  if (!R.byStep.has(step)) {
    byId("live").textContent = `Step ${plain(rest[0])} is not on this page.`;
    return;
  }
  await redrawAnswers({
    step,
    group: what === "step" ? null : group,
    sample: what === "rollout" ? sample : null,
    shown: 0,
    ...(what === "step" ? { scope: "step" } : {}),
  });
  const target = what === "step" ? byId("answers") : byId("samples");
  if (scroll) target.scrollIntoView({ block: "start" });
}

function theme() {
  const button = byId("theme"),
    system = matchMedia("(prefers-color-scheme: dark)"),
    keys = ["auto", "light", "dark"];
  let chosen = recall("theme") ?? "auto";
  const apply = () => {
    document.documentElement.dataset.theme = chosen === "auto" ? (system.matches ? "dark" : "light") : chosen;
    button.textContent = `Theme: ${chosen}`;
  };
  button.addEventListener("click", () => {
    chosen = keys[(keys.indexOf(chosen) + 1) % 3];
    keep("theme", chosen);
    apply();
  });
  system.addEventListener("change", apply);
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.theme = "light";
  });
  addEventListener("afterprint", apply);
  apply();
}
const recall = (name) => {
  try {
    return localStorage.getItem(`fleming ${name}`);
  } catch {
    return null;
  }
};
const keep = (name, value) => {
  try {
    localStorage.setItem(`fleming ${name}`, value);
  } catch {
    /* a browser may keep nothing */
  }
};

// While the run goes on the page loads itself again, and stays where it was.
function live() {
  const { watching, holder } = D.about,
    state = byId("live"),
    pause = byId("pause");
  if (holder) state.textContent = plain(`In use by ${holder.replace(/^in use by /, "")}`);
  if (!watching) return;
  pause.hidden = false;
  let paused = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    pause.setAttribute("aria-pressed", String(paused));
  });
  setInterval(
    () => {
      if (paused || byId("question").open || ["SELECT", "INPUT"].includes(document.activeElement?.tagName)) return;
      history.replaceState({ place: scrollY }, ""); // outlives the loading
      location.reload();
    },
    Math.max(1, watching) * 1000,
  );
  state.textContent = `Live. ${state.textContent}`;
}

theme();
// A file of another form than this page knows costs its own section alone.
for (const draw of [glance, stages, changesSection, training, answers, mining, data, graph, trust, costs, provenance, repeat, glossary]) {
  try {
    draw();
  } catch (error) {
    const what = `The part “${draw.name}” cannot be drawn: what it is of has another form than this page knows (${error}).`;
    byId("main").append(el("p", { class: "note" }, what));
  }
}
navigation();
live();
byId("question").addEventListener("close", () => {
  if (location.hash.startsWith("#question/")) history.replaceState(null, "", location.pathname + location.search);
});
addEventListener("hashchange", () => route());
const place = history.state?.place;
if (place) history.scrollRestoration = "manual";
route(!place).then(() => {
  if (place) scrollTo({ top: place, behavior: "instant" });
});
document.documentElement.dataset.usable = performance.now().toFixed(0); // for whoever measures
