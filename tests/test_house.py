"""The house's rules: which way arrows run, how large a piece may be, and that documents name what exists."""

import ast
import dataclasses
import graphlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest
from support.places import ROOT

from fleming.settings import Config

SCRIPTS = ("synth_data", "train_sft", "train_grpo", "evaluate")
GROUND = {
    "answer", "assets", "command_line", "config", "delimited", "files", "free_answer", "html_page", "http", "judge",
    "licences", "manifest", "noise", "prompt", "records", "settings", "terminal", "text", "typed",
}  # fmt: skip
ROOMS = {  # room of fleming/ -> the rooms that it may know; all may know the ground, which knows none
    "public": set(),
    "teachers": set(),
    "sources": {"teachers"},
    "graph": {"sources", "teachers"},
    "questions": {"sources", "graph"},
    "checks": {"sources", "graph", "questions"},
    "refine": {"public", "teachers"},
    "cold_start": {"sources", "graph", "questions", "checks", "refine", "teachers"},
    "training": {"public", "refine"},  # reads what it learns from; a run begins at the gate
    "rl": {
        "public",
        "training",
        "checks",
        "refine",
    },  # a label in doubt is voted and decided on as in refinement
    "evaluation": {"graph", "checks", "public", "training", "teachers"},  # a teacher judges rubrics
    "toy": {"rl"},  # GRPO's own loss, without a model
    "audit": {"graph"},
    "report": set(),  # reads what stands on disk, in no time
}
EXCEPTIONS = {  # an arrow between two modules that no room has, and why
    ("fleming.sources.handwritten", "fleming.graph.knowledge_graph"): "a hand-written graph needs no joining",
    ("fleming.questions.cards", "fleming.refine.decisions"): "a mark is on the text that a decision is on",
    ("fleming.questions.cards", "fleming.refine.marks"): "its command reads the marks back",
    ("fleming.refine.marks", "fleming.evaluation.statistics"): "a share has one interval",
    ("fleming.rl.dev", "fleming.evaluation.statistics"): "an accuracy has one interval",
    (
        "fleming.report.scores",
        "fleming.evaluation.statistics",
    ): "a difference has one interval, and one verdict",
    ("fleming.cold_start.trajectories", "fleming.evaluation.at_k"): "pass@k has one definition",
}
PACKAGES = {"torch", "safetensors", "tokenizers", "numpy", "tqdm", "yaml"}
WHERE_INSTALLED = {"pyarrow", "tensorboard", "jinja2"}  # and a clear error where one is needed and absent


def run_time_files() -> list[Path]:
    return [
        *ROOT.glob("*.py"),
        *sorted((ROOT / "model").rglob("*.py")),
        *sorted((ROOT / "fleming").rglob("*.py")),
    ]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


TREES = {module_of(path): ast.parse(path.read_text()) for path in run_time_files()}


def imports(module: str) -> set[str]:
    """Return what a module imports, inside functions too: ours by the module that holds it."""
    found = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in TREES else node.module for name in full}
    return found - {module}


ARROWS = {module: imports(module) for module in TREES}


def room_of(module: str) -> str:
    """Return a room of fleming/, "ground", or whatever else the module's first name is."""
    first, *rest = module.split(".")
    if first != "fleming" or not rest:
        return first
    assert rest[0] in GROUND | ROOMS.keys(), f"{module}: a new room; say in ROOMS which rooms it may know"
    return "ground" if rest[0] in GROUND else rest[0]


# --- arrows


def test_arrows_run_from_scripts_to_fleming_to_model():
    for module, known in ARROWS.items():
        assert not {k for k in known if k in SCRIPTS}, f"{module} imports a script"
        if room_of(module) == "model":
            assert not {k for k in known if room_of(k) in {*ROOMS, "ground"}}, f"{module} knows fleming"


def test_a_room_knows_no_other_than_it_may():
    wrong = []
    for module, known in ARROWS.items():
        room = room_of(module)
        if room not in {*ROOMS, "ground"}:
            continue
        allowed = {room, "ground"} | ROOMS.get(room, set())
        strange = [k for k in known if k.startswith("fleming.") and room_of(k) not in allowed]
        wrong += [f"{module} -> {k}" for k in strange if (module, k) not in EXCEPTIONS]
    assert not wrong


def test_what_is_allowed_is_used():
    for room, allowed in ROOMS.items():
        used = {room_of(k) for module, known in ARROWS.items() if room_of(module) == room for k in known}
        assert allowed <= used, room
    assert not [arrow for arrow in EXCEPTIONS if arrow[1] not in ARROWS[arrow[0]]]


def test_no_test_imports_another():
    for path in (ROOT / "tests").rglob("*.py"):
        assert not re.findall(r"^\s*(?:from|import) (?:conftest|test_\w+)\b", path.read_text(), re.M), (
            path.name
        )


def test_the_rooms_and_the_modules_have_no_circle():
    for graph in (ROOMS, {module: known & TREES.keys() for module, known in ARROWS.items()}):
        try:
            list(graphlib.TopologicalSorter(graph).static_order())
        except graphlib.CycleError as error:
            pytest.fail(f"a circle: {' -> '.join(error.args[1])}")


def test_a_run_needs_the_six_packages_alone():
    ours = {"fleming", "model", *SCRIPTS}
    for module, known in ARROWS.items():
        packages = {name.split(".")[0] for name in known} - ours - sys.stdlib_module_names
        assert packages <= PACKAGES | WHERE_INSTALLED, module


def test_what_a_benchmark_imports_of_ours_exists():
    """They are not run here, and would break in silence."""
    for path in sorted((ROOT / "benchmarks").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module
                and node.module.split(".")[0] in ("fleming", "model")
            ):
                module = importlib.import_module(node.module)
                for alias in node.names:
                    known = hasattr(module, alias.name) or f"{node.module}.{alias.name}" in TREES
                    assert known, f"{path.name}: {node.module} has no {alias.name}"


# --- sizes


def functions() -> list[tuple[str, ast.FunctionDef, ast.AST]]:
    """(name with its module, function, what it stands in) of each function."""
    found = []
    for module, tree in TREES.items():
        for parent in ast.walk(tree):
            inside = [node for node in ast.iter_child_nodes(parent) if isinstance(node, ast.FunctionDef)]
            found += [(f"{module}.{node.name}", node, parent) for node in inside]
    return found


def test_no_function_has_more_than_90_lines():
    lines = {name: node.end_lineno - node.lineno + 1 for name, node, _ in functions()}
    assert not {name: count for name, count in lines.items() if count > 90}


def test_no_function_has_more_than_7_parameters():
    found = {}
    for name, node, parent in functions():
        bases = [ast.unparse(base) for base in getattr(parent, "bases", [])]
        if "torch.autograd.Function" in bases and node.name == "forward":
            continue  # takes everything by place
        parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = len([p for p in parameters if p.arg not in ("self", "cls")])
        if count > 7:
            found[name] = count
    assert not found


def test_no_file_has_more_than_350_lines():
    lines = {module_of(path): path.read_text().count("\n") for path in run_time_files()}
    assert not {module: count for module, count in lines.items() if count > 350}


# --- what documents name


DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def texts_with_commands() -> dict[str, str]:
    """Everything that tells a reader what to type: documents, configs, the Makefile, docstrings of modules."""
    texts = {path.name: path.read_text() for path in (*DOCUMENTS, *CONFIGS, ROOT / "Makefile")}
    texts |= {module: ast.get_docstring(tree) or "" for module, tree in TREES.items()}
    for path in (ROOT / "benchmarks").rglob("*.py"):
        texts[f"benchmarks/{path.name}"] = ast.get_docstring(ast.parse(path.read_text())) or ""
    return texts


def test_every_command_that_a_document_names_exists():
    seen = 0
    targets = re.search(r"\.PHONY: (.*)", (ROOT / "Makefile").read_text())[1].split()
    for where, text in texts_with_commands().items():
        text = re.sub(r"\\?\n(#|\s)*", " ", text)  # a command may go on in the next line
        scripts = re.findall(r"\b(?:python|torchrun)3? (?:--?[a-z_]+ \w+ )*([\w/]+\.py)\b", text)
        modules = re.findall(r"\bpython -m ([\w.]+)", text)
        configs = re.findall(r"--config ([\w./]+\.yaml)", text)
        makes = re.findall(r"`(?:\w+=\S+ )?make (\w[\w-]*)", text)
        for name in (*scripts, *configs):
            assert (ROOT / name).is_file(), f"{where}: {name}"
        for name in modules:
            assert importlib.util.find_spec(name.rstrip(".")), f"{where}: python -m {name}"
        for name in makes:
            assert name in targets, f"{where}: make {name}"
        seen += len(scripts) + len(modules) + len(configs) + len(makes)
    assert seen > 50


def test_every_option_that_a_document_names_exists():
    sources = "".join(path.read_text() for path in (*run_time_files(), *(ROOT / "benchmarks").rglob("*.py")))
    known = set(re.findall(r'"--([a-z][a-z-]+)"', sources))
    known |= {
        "help",
        "nproc_per_node",
        "nnodes",
        "shutdown-timeout",
        "check",
        "ignore",
        "local-dir",
        "model-path",
        "dtype",
        "continuous-batching",
    }  # of argparse, torchrun, ruff, pytest, hf, sglang, transformers
    for where, text in texts_with_commands().items():
        options = set(re.findall(r"(?<![\w-])--([a-z][\w-]+)", text))
        assert options <= known, where


def test_every_link_of_a_document_leads_somewhere():
    for path in DOCUMENTS:
        links = re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)", path.read_text())
        assert not [link for link in links if not (path.parent / link).exists()], path.name


def names_in(path: Path) -> set[str]:
    """Return the functions, classes and constants of a file, methods as Class.method."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{n.name}" for n in node.body if isinstance(n, ast.FunctionDef)}
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def test_every_path_that_a_document_or_the_code_names_exists():
    rooms = "fleming|model|configs|docs|tests|benchmarks|assets"
    code = [*run_time_files(), *(ROOT / "benchmarks").rglob("*.py")]
    for path in (*DOCUMENTS, *CONFIGS, *code):
        named = re.findall(rf"(?<![\w/.])((?:{rooms})/[\w./-]*\.(?:py|md|yaml))\b", path.read_text())
        assert not [name for name in named if not (ROOT / name).is_file()], path.name


def test_every_import_that_a_document_shows_finds_its_names():
    shown = r"(?m)^from ((?:fleming|model)[\w.]*) import ([\w, ]+)$"
    for document in DOCUMENTS:
        for module, names in re.findall(shown, document.read_text()):
            found = importlib.import_module(module)
            assert all(hasattr(found, name) for name in names.split(", ")), f"{document.name}: {module}"


@pytest.mark.parametrize("document", ["paper-map.md", "reading.md", "training.md"])
def test_every_file_and_function_that_a_map_names_exists(document):
    """`folder/file.py: name, name` or `folder/`; a file without its folder lies where the one before it does."""
    text = (ROOT / "docs" / document).read_text()
    rows_items_and_paragraphs = re.split(r"\n(?=[|\n-]|\d+\. )", text)
    file = r"(?:[\w.]+/)*(?:[\w-]+\.(?:py|md|yaml))?"
    seen = 0
    for part in rows_items_and_paragraphs:
        folder = ROOT
        for path, names in re.findall(rf"(?<!\[)`({file})(?:: ([\w.,\s]+))?`", part):
            if not path:
                continue
            place = ROOT / path if "/" in path or (ROOT / path).exists() else folder / path
            assert place.exists(), f"{path}: {part}"
            folder = place if place.is_dir() else place.parent
            wanted = set(re.split(r",\s+", names)) if names else set()
            assert not wanted or wanted <= names_in(place), f"{path}: {wanted - names_in(place)}"
            seen += 1
    assert seen > 5


def keys_of(section=None, prefix: str = "") -> dict[str, object]:
    """Return every key of the config, dotted, sections and mappings among them."""
    keys = {}
    section = Config() if section is None else section
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        keys[prefix + field.name] = value
        if dataclasses.is_dataclass(value):
            keys |= keys_of(value, f"{prefix}{field.name}.")
    return keys


def test_every_key_that_a_document_names_exists():
    keys = keys_of()
    sections = "|".join(
        name for name, value in keys.items() if dataclasses.is_dataclass(value) and "." not in name
    )
    seen = 0
    for where, text in texts_with_commands().items():
        for key in re.findall(rf"(?<![\w/.\-])((?:{sections})(?:\.[a-z_0-9]+)+)\b(?![/.*(])", text):
            if key.rpartition(".")[2] in ("py", "md", "jsonl"):
                continue
            inside = [k for k, v in keys.items() if isinstance(v, dict) and key.startswith(f"{k}.")]
            assert key in keys or inside, f"{where}: {key}"
            seen += 1
    assert seen > 50


def test_every_key_stands_in_a_shipped_config_or_in_a_document():
    text = "\n".join(path.read_text() for path in (*DOCUMENTS, *CONFIGS))
    leaves = [key for key, value in keys_of().items() if not dataclasses.is_dataclass(value)]
    assert not [key for key in leaves if not re.search(rf"\b{key.rpartition('.')[2]}\b", text)]
