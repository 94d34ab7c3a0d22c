"""Where pages come from: the MediaWiki Action API over HTTP, a folder of saved pages, and the cache that is both.

A page batch is one line of JSON: `{"requests": 2, "pages": [{"asked", "title", "pageid", "revision", "section", "text",
"categories", "missing"}]}`. The cache writes it; the folder reads it, and saved answers of the API, one page a file and
the leads of `rare_disease_leads.json` too. Left out: dumps (XML), other content than wikitext, editing.
"""

import email.utils
import functools
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from fleming.files import AppendLog, open_bytes, parse_json, read_json
from fleming.sources.wikipedia.wikitext import title_of
from model.errors import InputError

BATCH = 50  # titles a request, the API's own bound
MAX_ANSWER = 32 * 2**20  # bytes of one batch, unpacked
MAX_CONTINUED = 100  # answers to one batch
TRIES = 6
LONGEST_WAIT = 120.0  # seconds between two tries
AGAIN = {"maxlag", "ratelimited", "readonly", "internal_api_error_DBQueryError", "internal_api_error_DBConnectionError"}


class Page(NamedTuple):
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


class Pages(Protocol):
    """A source of pages."""

    requests: int
    """Answers taken so far, a batch's continuations included, tries again not."""

    def fetch(self, titles: Sequence[str]) -> list[Page]:
        """Return one page a title (normalised by `title_of`), in order; a title without a page gives a missing one."""


class MediaWikiPages:
    """Pages of a wiki's live API, slowly: one request at a time, `interval` seconds apart, with the server's waits."""

    def __init__(
        self,
        url: str = "https://en.wikipedia.org/w/api.php",
        contact: str = "",
        interval: float = 1.0,
        timeout: float = 30.0,
        max_requests: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ):
        """Make no request yet. contact: how the wiki's operators reach you. max_requests: of all sent, tries again too.

        Raises InputError for a URL that is not http(s) or a contact that is not one line.
        """
        if not url.startswith(("https://", "http://")) or any(ord(char) < 33 for char in url):
            raise InputError(f"{url!r}: expected the http(s) address of an api.php")
        if not contact.isprintable() or not contact.isascii():
            raise InputError(f"contact {contact!r}: expected one line of ASCII")
        agent = "FlemingR1FromScratch/1.0 (medical knowledge graph research" + (f"; {contact})" if contact else ")")
        self._headers = {"User-Agent": agent, "Accept-Encoding": "gzip"}
        self.url, self.interval, self.timeout, self.max_requests = url, interval, timeout, max_requests
        self.requests = self.sent = 0
        self._sleep, self._next = sleep, 0.0

    def fetch(self, titles: Sequence[str]) -> list[Page]:
        """Return one page a title. Raises InputError where the server keeps failing or answers with something else."""
        found: dict[str, Page] = {}
        for start in range(0, len(titles), BATCH):
            found |= self._batch(titles[start : start + BATCH])
        return [found[title] for title in titles]

    def _batch(self, titles: Sequence[str]) -> dict[str, Page]:
        asked = [title for title in titles if title and not set(title) & set("|<>[]{}\n\0")]
        query = {
            **{"action": "query", "format": "json", "formatversion": "2", "maxlag": "5", "redirects": "1"},
            **{"prop": "revisions|categories", "rvprop": "ids|content", "rvslots": "main"},
            **{"cllimit": "max", "clshow": "!hidden", "titles": "|".join(asked)},
        }
        moved, pages, more, size = {}, {}, {}, 0
        for _ in range(MAX_CONTINUED if asked else 0):
            answer, read = self._ask(query | more)
            size += read
            if size > MAX_ANSWER:
                raise InputError(f"{self.url}: over {MAX_ANSWER >> 20} MiB for {len(asked)} titles; ask for fewer")
            merge_answer(answer, self.url, moved, pages)
            if not (more := answer.get("continue", {})):
                break
            if not isinstance(more, dict) or not all(isinstance(value, str) for value in more.values()):
                raise InputError(f"{self.url}: `continue` is {str(more)[:80]}; expected an object of strings")
        else:
            if asked:
                raise InputError(f"{self.url}: a batch of {len(asked)} titles still continues after {MAX_CONTINUED}")
        return {title: follow(title, moved, pages) for title in titles}

    def _ask(self, query: dict[str, str]) -> tuple[dict[str, Any], int]:
        data, problem = urllib.parse.urlencode(query).encode(), ""
        for attempt in range(TRIES):
            if self.sent == self.max_requests:
                raise InputError(f"{self.url}: {self.sent} requests sent, all that max_requests allows {problem}")
            self._sleep(max(0.0, self._next - time.monotonic()))
            self._next, self.sent = time.monotonic() + self.interval, self.sent + 1
            wait = min(2.0**attempt, LONGEST_WAIT)
            try:
                request = urllib.request.Request(self.url, data, self._headers)  # a POST: 50 titles burst a URL
                with urllib.request.urlopen(request, timeout=self.timeout) as reply:
                    body, headers = _unpacked(reply, self.url), reply.headers
                answer = parse_json(body, self.url)
                if not isinstance(answer, dict):
                    raise InputError(f"{self.url}: the answer is {type(answer).__name__}; expected an object")
                error = answer.get("error")
                if error is None:
                    self.requests += 1
                    return answer, len(body)
                problem = f"{error.get('code')}: {error.get('info')}"[:200] if isinstance(error, dict) else str(error)
                if not isinstance(error, dict) or error.get("code") not in AGAIN:
                    raise InputError(f"{self.url}: the API refuses: {problem}")
            except urllib.error.HTTPError as error:
                problem, headers = f"HTTP {error.code} {error.reason}", error.headers
                if error.code not in (408, 429) and error.code < 500:
                    raise InputError(f"{self.url}: {problem}") from error
            except (OSError, http.client.HTTPException, EOFError, zlib.error) as error:
                problem, headers = f"{type(error).__name__}: {error}"[:200], {}  # no route, time-out, cut off
            self._next = time.monotonic() + max(self.interval, wait, _seconds(headers.get("Retry-After")))
        raise InputError(f"{self.url}: gave up after {TRIES} tries; the last: {problem}. The same command goes on")


def _unpacked(reply: http.client.HTTPResponse, where: str) -> bytes:
    unpack = zlib.decompressobj(31) if reply.headers.get("Content-Encoding") == "gzip" else None
    body = bytearray()
    while block := reply.read(2**16):
        body += unpack.decompress(block, MAX_ANSWER + 1 - len(body)) if unpack else block
        if len(body) > MAX_ANSWER:
            raise InputError(f"{where}: an answer of over {MAX_ANSWER >> 20} MiB")
    if (unpack and not unpack.eof) or (unpack is None and reply.length):
        raise EOFError("the answer is cut off")  # http.client says so only where it reads to the end in one call
    return bytes(body)


def _seconds(retry_after: str | None) -> float:
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT)
    try:
        return min(max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time()), LONGEST_WAIT)
    except (ValueError, TypeError):
        return 0.0


def merge_answer(answer: Any, where: str, moved: dict[str, tuple[str, str]], pages: dict[str, dict]) -> None:
    """Add an API answer (formatversion 2) to what earlier ones of its batch said. Raises InputError for another shape.

    moved: title -> (the next title, its section), from the tables of normalised titles and of redirects.
    """
    try:
        query = answer.get("query", {})
        for table in ("normalized", "converted", "redirects"):
            for row in query.get(table, []):
                moved[str(row["from"])] = str(row["to"]), str(row.get("tofragment", ""))
        for page in query.get("pages", []):
            mine = pages.setdefault(str(page["title"]), {"categories": []})
            for name in page.get("categories", []):
                mine["categories"].append(str(name["title"]).partition(":")[2])
            for revision in page.get("revisions", []):
                content = revision.get("slots", {}).get("main", revision)
                if content.get("contentmodel", "wikitext") == "wikitext":
                    mine["text"] = str(content.get("content", ""))  # absent where the text is hidden
                    mine["pageid"], mine["revision"] = int(page["pageid"]), int(revision["revid"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: not an answer in formatversion 2: {type(error).__name__} {error}") from error


def follow(asked: str, moved: dict[str, tuple[str, str]], pages: dict[str, dict]) -> Page:
    """Return the page to which the tables lead from `asked`; a loop of redirects leads to a missing page."""
    title, section, steps = asked, "", 0
    while title in moved and title not in pages and steps < 10:
        (title, fragment), steps = moved[title], steps + 1
        section = fragment or section
    page = pages.get(title, {})
    if "text" not in page:
        return Page(asked, title, missing=True)
    return Page(asked, title, section=section, **{**page, "categories": tuple(page["categories"])})


class FolderPages:
    """Pages of a file or of the files in a folder, read as they are asked for; only titles and places are held.

    *.jsonl: page batches. *.json: a batch, an answer of the API, or leads `{title: {"summary": text}}`. *.wikitext and
    *.txt: a page each, the file named by its title ("/" as %2F), `#REDIRECT [[Title]]` followed.
    """

    def __init__(self, path: str | os.PathLike):
        """Read which titles are there. Raises InputError for what cannot be read or is nothing of the above."""
        self.requests = self.spent = 0  # spent: requests that the saved batches took
        self._places: dict[str, tuple[Path, int]] = {}
        self._read = functools.lru_cache(maxsize=4)(_read_place)
        path = Path(path)
        names = sorted(path.iterdir()) if path.is_dir() else [path]
        names = [name for name in names if name.suffix in (".jsonl", ".json", ".wikitext", ".txt")]
        if not names:
            raise InputError(f"{path}: no saved pages; expected .jsonl, .json, .wikitext or .txt")
        for name in names:
            self.add(name, 0)

    def add(self, path: Path, start: int) -> None:
        """Index the pages of the file from byte `start` on; a title that is known keeps its first page."""
        if path.suffix in (".wikitext", ".txt"):
            self._places.setdefault(title_of(urllib.parse.unquote(path.stem)), (path, 0))
            return
        for place in _line_starts(path, start) if path.suffix == ".jsonl" else [0]:
            pages, requests = _read_place(path, place)
            self.spent += requests
            for title in pages:
                self._places.setdefault(title, (path, place))

    def __contains__(self, title: str) -> bool:
        return title in self._places

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
        for _ in range(10):
            if title not in self._places:
                break
            page = self._read(*self._places[title])[0][title]
            if page.missing or not page.text[:9].upper().startswith("#REDIRECT"):
                return page._replace(asked=asked, section=page.section or section)
            title, _, section = page.text.partition("[[")[2].partition("]]")[0].partition("|")[0].partition("#")
            title = title_of(title)
        return Page(asked, title, missing=True)


def _line_starts(path: Path, start: int) -> Iterator[int]:
    with open_bytes(path) as file:
        file.seek(start)
        while line := file.readline(2 * MAX_ANSWER):  # what is longer fails as a broken batch
            if line.strip():
                yield start
            start += len(line)


def _read_place(path: Path, start: int) -> tuple[dict[str, Page], int]:
    """Return the pages at a place of a file by the titles that lead to them, and the requests that they took."""
    if path.suffix in (".wikitext", ".txt"):
        title = title_of(urllib.parse.unquote(path.stem))
        with open_bytes(path) as file:
            return {title: Page(title, title, file.read(MAX_ANSWER).decode("utf-8", "replace"))}, 1
    if path.suffix == ".json":
        where, record = str(path), read_json(path)
    else:
        where = f"{path}: byte {start}"
        with open_bytes(path) as file:
            file.seek(start)
            record = parse_json(file.readline(2 * MAX_ANSWER), where)
    found: dict[str, Page] = {}
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected an object of pages, found {type(record).__name__}")
    if "query" in record:
        moved, pages = {}, {}
        merge_answer(record, where, moved, pages)
        return {title: follow(title, moved, pages) for title in [*moved, *pages]}, 1
    if "pages" not in record:
        for title, lead in record.items():
            if not isinstance(lead, dict) or not isinstance(lead.get("summary"), str):
                raise InputError(f"{where}: {title!r}: expected pages, an API answer or leads with a `summary`")
            found[title_of(title)] = Page(title_of(title), title_of(title), lead["summary"])
        return found, 1
    try:
        for entry in record["pages"]:
            page = Page(**{**entry, "categories": tuple(map(str, entry.get("categories", ())))})
            kinds = [type(value) for value in page]
            if kinds != [str, str, str, int, int, tuple, str, bool]:
                raise TypeError(f"a field of {page.title!r} has the wrong type")
            found.setdefault(page.asked, page)
            found.setdefault(page.title, page._replace(asked=page.title, section=""))
        return found, int(record.get("requests", 1))
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: not a page batch: {str(error)[:120]}") from error


class CachedPages:
    """Pages of another source, each batch kept in an append-only file: the state of a crawl, whole lines only."""

    def __init__(self, source: Pages, path: str | os.PathLike):
        """Open the cache, dropping a torn last line. Raises InputError for a line that is no page batch."""
        self.source, self.path = source, Path(path)
        self._log = AppendLog(path)
        self._saved = FolderPages(path)
        self.requests = self._saved.spent

    def lacks(self, titles: Sequence[str]) -> list[str]:
        """Return those of the titles that only the source can give."""
        return [title for title in titles if title not in self._saved]

    def fetch(self, titles: Sequence[str]) -> list[Page]:
        """Return one page a title, asking the source for what is not kept, and keeping it. `requests` is the sum."""
        if lacking := self.lacks(titles):
            before, start = self.source.requests, self._log.offset
            pages = [page._asdict() for page in self.source.fetch(lacking)]
            self._log.append({"requests": self.source.requests - before, "pages": pages})
            self._saved.add(self.path, start)
            self.requests = self._saved.spent
        return self._saved.fetch(titles)

    def close(self) -> None:
        """Put the cache on the disk and close it."""
        self._log.sync()
        self._log.close()
