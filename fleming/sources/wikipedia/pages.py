"""Saved pages of Wikipedia: the file that a crawl writes and reads, and that convert.py makes of other forms.

A batch is one line of JSON: `{"requests": 2, "pages": [{"asked", "title", "pageid", "revision", "section", "text",
"categories", "missing"}]}`. Left out: where pages come from (mediawiki.py), other content than wikitext.
"""

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from fleming.files import AppendLog, check_file, open_bytes, parse_line, read_json
from fleming.sources.wikipedia.wikitext import title_of
from fleming.typed import from_json
from model.errors import InputError

BATCH = 50  # titles a request, the API's own bound
MAX_LINE = 64 * 2**20  # bytes of a batch
MAX_REDIRECTS = 10


@dataclass(frozen=True)
class Page:
    """What one title leads to."""

    asked: str
    """The title under which it was asked for; another than `title` where that is a redirect."""
    title: str
    text: str = ""
    pageid: int = 0
    revision: int = 0
    categories: tuple[str, ...] = ()
    section: str = ""
    """The section to which the redirect leads: then `asked` is no name of the page."""
    missing: bool = False


@dataclass(frozen=True)
class Batch:
    """A line of the file."""

    pages: tuple[Page, ...]
    requests: int = 1
    """Answers that the batch took."""

    def by_title(self) -> dict[str, Page]:
        """Return the titles that lead to the pages, the first page counting."""
        found: dict[str, Page] = {}
        for page in self.pages:
            found.setdefault(page.asked, page)
            found.setdefault(page.title, replace(page, asked=page.title, section=""))
        return found


class Pages(Protocol):
    """A source of pages."""

    requests: int
    """Answers taken so far, a batch's continuations included, tries again not."""

    def fetch(self, titles: Sequence[str]) -> list[Page]:
        """Return one page a title (normalised by `title_of`), in order; a title without a page gives a missing one."""


class FolderPages:
    """Pages of a file or of the files in a folder, read as they are asked for; only titles and places are held.

    *.jsonl: batches. *.json: the leads of articles, `{title: {"summary": text}}`. `#REDIRECT [[Title]]` is followed.
    """

    def __init__(self, path: str | os.PathLike):
        """Read which titles are there. Raises InputError for what cannot be read or is none of the above."""
        self.requests = 0
        self._places: dict[str, tuple[Path, int]] = {}
        self._pages_at = functools.lru_cache(maxsize=4)(lambda *place: _batch_at(*place).by_title())

        path = Path(path)
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        other_form = [file for file in files if file.suffix in (".wikitext", ".txt")]
        files = [file for file in files if file.suffix in (".jsonl", ".json")]
        if not files or other_form:
            found = other_form[0].name if other_form else "no saved pages"
            convert = "python -m fleming.sources.wikipedia.convert makes them of other forms"
            raise InputError(f"{path}: {found}; expected .jsonl or .json; {convert}")
        for file in files:
            check_file(file)
            self.add(file)

    def add(self, path: Path, start: int = 0) -> None:
        """Index the pages of the file from byte `start` on; a title that is known keeps its first page."""
        for place in _line_starts(path, start) if path.suffix == ".jsonl" else [0]:
            batch = _batch_at(path, place)
            self.requests += batch.requests
            for title in batch.by_title():
                self._places.setdefault(title, (path, place))

    def titles(self) -> list[str]:
        """Return the titles of all pages, as the files have them."""
        return list(self._places)

    def lacks(self, titles: Sequence[str]) -> list[str]:
        """Return []: a title that is not in the files has no page, and nobody else is asked."""
        return []

    def fetch(self, titles: Sequence[str]) -> list[Page]:
        """Return one page a title. Raises InputError where a file has become unreadable."""
        return [self._one(title) for title in titles]

    def close(self) -> None:
        """Do nothing: no file is held open."""

    def _one(self, asked: str) -> Page:
        title, section = asked, ""
        for _ in range(MAX_REDIRECTS):
            if title not in self._places:
                break
            page = self._pages_at(*self._places[title])[title]
            if page.missing or not page.text.lstrip()[:9].upper().startswith("#REDIRECT"):
                return replace(page, asked=asked, section=page.section or section)
            target = page.text.partition("[[")[2].partition("]]")[0].partition("|")[0]
            section = target.partition("#")[2]
            title = title_of(target)
        return Page(asked, title, missing=True)


def _line_starts(path: Path, start: int) -> Iterator[int]:
    with open_bytes(path) as file:
        file.seek(start)
        while line := file.readline(MAX_LINE):  # what is longer fails as a broken batch
            if line.strip():
                yield start
            start += len(line)


def _batch_at(path: Path, start: int) -> Batch:
    if path.suffix == ".json":
        return _leads(path)
    where = f"{path}: byte {start}"
    with open_bytes(path) as file:
        file.seek(start)
        line = file.readline(MAX_LINE)
    return from_json(Batch, parse_line(line, where), where)


def _leads(path: Path) -> Batch:
    leads, pages = read_json(path), []
    for title, lead in leads.items() if isinstance(leads, dict) else [("", leads)]:
        text = lead.get("summary") if isinstance(lead, dict) else None
        if not isinstance(text, str):
            raise InputError(f"{path}: {title!r}: expected leads of articles, each with a text `summary`")
        pages.append(Page(title_of(title), title_of(title), text))
    return Batch(tuple(pages))


class CachedPages(FolderPages):
    """Pages of another source, each batch kept in an append-only file: the state of a crawl, whole lines only."""

    def __init__(self, source: Pages, path: str | os.PathLike):
        """Open the cache, dropping a torn last line. Raises InputError for a line that is no batch."""
        self.source, self.path = source, Path(path)
        self._log = AppendLog(path, hash_lines=True)
        super().__init__(path)

    def lacks(self, titles: Sequence[str]) -> list[str]:
        """Return those of the titles that only the source can give."""
        return [title for title in titles if title not in self._places]

    def fetch(self, titles: Sequence[str]) -> list[Page]:
        """Return one page a title, asking the source for what is not kept, and keeping it."""
        if lacking := self.lacks(titles):
            before, start = self.source.requests, self._log.offset
            pages = [asdict(page) for page in self.source.fetch(lacking)]
            self._log.append({"requests": self.source.requests - before, "pages": pages})
            self.add(self.path, start)
        return super().fetch(titles)

    def close(self) -> None:
        """Put the cache on the disk and close it."""
        self._log.sync()
        self._log.close()
