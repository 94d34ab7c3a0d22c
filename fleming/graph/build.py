"""The knowledge graph of a run: a hand-written file, or public sources and Wikipedia's pages joined into one.

Left out: reading each source (sources/, wikipedia/) and what joins them (joining.py).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fleming.config import load_config
from fleming.graph.graph_files import load_graph
from fleming.graph.joining import Joined, join_sources
from fleming.settings.synth import SynthConfig
from fleming.sources.facts import Fact, Node, Skip
from fleming.sources.handwritten import import_yaml
from fleming.sources.registry import MAPPINGS, SOURCES
from fleming.sources.wikipedia.agent import discover
from fleming.sources.wikipedia.mediawiki import MediaWikiPages
from fleming.sources.wikipedia.pages import FolderPages
from fleming.text import name_key
from model.errors import InputError

COMMON = MAPPINGS / "common_diseases.yaml"


@dataclass(frozen=True)
class Common:
    diseases: dict[str, str] = field(default_factory=dict)
    """identifier -> name."""


def graph_files(synth: SynthConfig, repository: Path) -> dict[str, Path]:
    """Return every file that the graph is made of, by the key that names it.

    InputError for one that is missing, and for a source of another kind or with other files than there are.
    """
    if not synth.sources and not synth.wikipedia.pages:
        graph = Path(synth.graph) if Path(synth.graph).exists() else repository / synth.graph
        return {"synth.graph": graph}
    for name, source in synth.sources.items():
        if source.kind not in SOURCES:
            raise InputError(f"synth.sources.{name}.kind is {source.kind!r}, expected one of {', '.join(SOURCES)}")
        SOURCES[source.kind](dict(source.files), lambda *_: None)  # refuses other names of files; reads nothing yet
    files = {
        f"synth.sources.{name}.files.{file}": Path(path)
        for name, source in synth.sources.items()
        for file, path in source.files.items()
    }
    pages = synth.wikipedia.pages
    if pages and not pages.startswith(("http://", "https://")):
        found = sorted(Path(pages).iterdir()) if Path(pages).is_dir() else [Path(pages)]
        files |= {f"synth.wikipedia.pages/{path.name}": path for path in found}
    if missing := next((key for key, path in files.items() if not path.exists()), None):
        raise InputError(f"{missing}: no such file: {files[missing]}")
    return files


def build_graph(synth: SynthConfig, files: dict[str, Path], folder: Path, skip: Skip) -> Joined:
    """Return the graph and how its records were joined; `folder` keeps the pages of Wikipedia that were fetched."""
    if graph := files.get("synth.graph"):
        read = load_graph if graph.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.xz")) else import_yaml
        return Joined(read(graph), [])
    names: dict[str, tuple[str, str] | None] = {}  # what Wikipedia's text can be linked to: name -> key and type
    keys: set[str] = set()

    def noted(source: Iterator[Node | Fact]) -> Iterator[Node | Fact]:
        for item in source:
            if isinstance(item, Node):
                keys.add(item.key)
                for name in (item.name, *item.synonyms):
                    known = names.setdefault(name_key(name), (item.key, item.type))
                    if known and known[1] != item.type:
                        names[name_key(name)] = None  # of two types: the text does not say which
            yield item

    def sources() -> Iterator[Iterable[Node | Fact]]:
        for source in synth.sources.values():
            yield noted(SOURCES[source.kind](dict(source.files), skip))
        if synth.wikipedia.pages:
            yield _walk(synth, folder, lambda name: names.get(name_key(name)), skip)
        common = load_config(Common, COMMON, []).diseases
        yield (Node(key, name, "disease", rare=False) for key, name in common.items() if key in keys)

    return join_sources(sources(), skip)


def _walk(synth: SynthConfig, folder: Path, known, skip: Skip) -> Iterator[Node | Fact]:
    wiki = synth.wikipedia
    if wiki.pages.startswith(("http://", "https://")):
        pages = MediaWikiPages(wiki.pages, contact=wiki.contact, interval=wiki.seconds_between_requests)
        seeds = list(wiki.seeds)
    else:
        pages = FolderPages(wiki.pages)
        seeds = list(wiki.seeds or pages.titles())
    yield from discover(pages, seeds, wiki.max_requests, folder / "wikipedia", known, skip)
