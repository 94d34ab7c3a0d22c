"""The knowledge graph of a run: a hand-written file, or public sources and Wikipedia's pages joined into one.

Left out: reading each source (sources/, wikipedia/) and what joins them (joining.py).
"""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

from fleming.config import load_config
from fleming.graph.completeness import Declarations, declare, published_sources
from fleming.graph.graph_files import load_graph
from fleming.graph.joining import Joined, join_sources
from fleming.graph.retracted import without
from fleming.licences import licence_of
from fleming.settings.synth import SourceConfig, SynthConfig, WikipediaConfig
from fleming.sources.commonness import common_diseases, is_common
from fleming.sources.facts import Fact, Node, Origin, Skip
from fleming.sources.handwritten import import_yaml
from fleming.sources.mapping import Mapping
from fleming.sources.registry import SOURCES
from fleming.sources.vocabulary import no_name
from fleming.sources.wikipedia.agent import discover
from fleming.sources.wikipedia.entities import Known
from fleming.sources.wikipedia.mediawiki import MediaWikiPages
from fleming.sources.wikipedia.pages import FolderPages
from fleming.teachers.remembered import Completer
from fleming.text import name_key
from model.errors import InputError


def graph_files(synth: SynthConfig, repository: Path) -> dict[str, Path]:
    """Return every file that the graph is made of, by the key that names it.

    InputError for one that is missing, and for a source of another kind or with other files than there are.
    """
    pages = synth.wikipedia.pages
    files = {"synth.retracted": Path(synth.retracted)} if synth.retracted else {}
    if not synth.sources and not pages:
        graph = Path(synth.graph)
        files["synth.graph"] = graph if graph.exists() else repository / graph
    for name, source in synth.sources.items():
        if source.kind not in SOURCES:
            kinds = ", ".join(SOURCES)
            raise InputError(f"synth.sources.{name}.kind is {source.kind!r}, expected one of {kinds}")
        # Refuses other names of files; reads nothing yet.
        SOURCES[source.kind](dict(source.files), lambda *_: None)
        files |= {f"synth.sources.{name}.files.{file}": Path(path) for file, path in source.files.items()}
    if pages and not synth.wikipedia.is_live:
        found = sorted(Path(pages).iterdir()) if Path(pages).is_dir() else [Path(pages)]
        files |= {f"synth.wikipedia.pages/{path.name}": path for path in found}

    for key, path in files.items():
        if not path.exists():
            where = "docs/data.md says what it is, assets/licences.yaml where published ones are found"
            raise InputError(f"{key}: no such file: {path}; {where}")
    return files


def build_graph(
    synth: SynthConfig, files: dict[str, Path], folder: Path, skip: Skip, teacher: Completer | None = None
) -> Joined:
    """Return the graph and how its records were joined; `folder` keeps the pages of Wikipedia that were fetched.

    teacher: who is asked where synth.wikipedia.ask_teacher says so.
    """
    joined = _joined(synth, files, folder, skip, teacher)
    if retracted := files.get("synth.retracted"):
        joined.graph = without(joined.graph, retracted, skip)
    return joined


def _joined(
    synth: SynthConfig, files: dict[str, Path], folder: Path, skip: Skip, teacher: Completer | None
) -> Joined:
    graph = files.get("synth.graph")
    if graph:
        read = load_graph if graph.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.xz")) else import_yaml
        made = read(graph)
        if not len(made):
            raise InputError(f"{graph}: a graph without a fact")
        return Joined(made, [])
    known = _Known()

    def sources() -> Iterator[Iterable[Node | Fact]]:
        for source in synth.sources.values():
            said = SOURCES[source.kind](dict(source.files), skip)
            yield known.note(_licensed(_clean(said, skip), source))
        if synth.wikipedia.pages:
            asked = teacher if synth.wikipedia.ask_teacher else None
            said = _from_wikipedia(synth.wikipedia, folder, known.find, skip, asked)
            yield _licensed(_clean(said, skip), SourceConfig())
        common = common_diseases().items()
        yield (Node(key, name, "disease", rare=False) for key, name in common if key in known.keys)

    joined = join_sources(sources(), skip)
    declare(joined.graph, _declared(synth))
    return joined


def _clean(source: Iterable[Node | Fact], skip: Skip) -> Iterator[Node | Fact]:
    """Yield what the source says, less the nodes and synonyms whose names can be none."""
    for item in source:
        if isinstance(item, Node):
            if code := no_name(item.name):
                skip(item.key[:80], code, f"the name {item.name[:80]!r}")
                continue
            item = item._replace(synonyms=tuple(name for name in item.synonyms if not no_name(name)))
        yield item


def _licensed(source: Iterable[Node | Fact], said: SourceConfig) -> Iterator[Node | Fact]:
    """Yield what the source says, each fact's origin with the licence that is said of it, else with the known one."""

    @functools.cache
    def of(origin: Origin) -> Origin:
        known = licence_of(origin.source, said.licence, said.address)
        return origin._replace(licence=known.licence, address=known.address)

    for item in source:
        yield item._replace(origin=of(item.origin)) if isinstance(item, Fact) else item


def _declared(synth: SynthConfig) -> Declarations:
    """Return how complete the sources are: of ours by assets/published.yaml, of a user's by its mapping."""
    declared = published_sources()
    for source in synth.sources.values():
        if source.kind == "table":
            declared |= load_config(Mapping, source.files["mapping"], []).declared()
    return declared


class _Known:
    """What the sources name, and Wikipedia's text can be linked to."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.names: dict[str, dict[str, str]] = {}
        """name -> type -> key: of two types the relation in which it stands says which is meant."""

    def note(self, source: Iterable[Node | Fact]) -> Iterator[Node | Fact]:
        for item in source:
            if isinstance(item, Node):
                self.keys.add(item.key)
                if item.type == "disease" and is_common(item.name):
                    item = item._replace(rare=False)
                for name in map(name_key, (item.name, *item.synonyms)):
                    self.names.setdefault(name, {}).setdefault(item.type, item.key)
            yield item

    def find(self, name: str) -> dict[str, str]:
        return self.names.get(name_key(name), {})


def _from_wikipedia(
    wiki: WikipediaConfig, folder: Path, known: Known, skip: Skip, teacher: Completer | None
) -> Iterator[Node | Fact]:
    seeds = list(wiki.seeds)
    if wiki.is_live:
        pages = MediaWikiPages(wiki.pages, contact=wiki.contact, interval=wiki.seconds_between_requests)
    else:
        pages = FolderPages(wiki.pages)
        seeds = seeds or list(pages.titles())
    yield from discover(pages, seeds, wiki.max_requests, folder / "wikipedia", known, skip, teacher)
