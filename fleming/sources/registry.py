"""The sources of facts by name: which files each takes, and the function that reads them."""

from collections.abc import Callable, Iterator
from functools import partial

from fleming.assets import ASSETS
from fleming.sources.facts import Fact, Node, Skip
from fleming.sources.hpo import read_hpo
from fleming.sources.mapped_table import read_table
from fleming.sources.obo import read_obo
from model.errors import InputError

MAPPINGS = ASSETS / "mappings"
Reader = Callable[[dict[str, str], Skip], Iterator[Node | Fact]]


def _source(name: str, files: str, read: Reader) -> Reader:
    """Return the reader, which first asks for the paths named in `files` ("ontology annotations? genes?")."""
    needed = {file for file in files.split() if not file.endswith("?")}
    known = {file.rstrip("?") for file in files.split()}

    def checked(paths: dict[str, str], skip: Skip) -> Iterator[Node | Fact]:
        named = all(isinstance(path, str) and path for path in paths.values())
        if not (named and needed <= paths.keys() <= known):
            found = ", ".join(map(str, paths)) or "none"
            raise InputError(f"source {name}: expected paths {files} (? may be left out), found {found}")
        return read(paths, skip)

    return checked


def _mapped(name: str) -> Reader:
    return partial(read_table, MAPPINGS / f"{name}.yaml")


SOURCES: dict[str, Reader] = {
    name: _source(name, files, read)
    for name, files, read in [
        (
            "hetionet",
            "nodes edges",
            lambda p, skip: _mapped("hetionet")({"nodes": p["nodes"], "file": p["edges"]}, skip),
        ),
        ("primekg", "file", _mapped("primekg")),
        ("pharmacotherapydb", "file", _mapped("pharmacotherapydb")),
        ("disease_symptom", "file", _mapped("disease_symptom")),
        ("hpo", "ontology annotations? genes?", read_hpo),
        ("obo", "file", lambda p, skip: read_obo(p["file"], skip)),
        ("table", "mapping file nodes?", lambda p, skip: read_table(p["mapping"], p, skip)),
    ]
}
"""name -> read(paths by name, skip) -> nodes and facts. InputError, before anything is read, for other path names."""
