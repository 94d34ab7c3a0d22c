"""Pages of a wiki's live API (MediaWiki Action API over HTTP), slowly: one request at a time, with the server's waits.

Left out: several requests at once, other content than wikitext, editing.
"""

import time
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

from fleming.http import LONGEST_WAIT, Busy, Post
from fleming.sources.wikipedia.pages import BATCH, MAX_REDIRECTS, Page
from model.errors import InputError
from model.files import parse_object

MAX_ANSWER = 32 * 2**20  # bytes of one batch, unpacked
MAX_CONTINUED = 100  # answers to one batch
TRIES = 6
AGAIN = {
    "maxlag",
    "ratelimited",
    "readonly",
    "internal_api_error_DBQueryError",
    "internal_api_error_DBConnectionError",
}
QUERY = {
    "action": "query",
    "format": "json",
    "formatversion": "2",
    "maxlag": "5",
    "redirects": "1",
    "prop": "revisions|categories",
    "rvprop": "ids|content",
    "rvslots": "main",
    "cllimit": "max",
    "clshow": "!hidden",
}


class MediaWikiPages:
    """Pages as the API gives them, requests `interval` seconds apart."""

    def __init__(
        self,
        url: str = "https://en.wikipedia.org/w/api.php",
        contact: str = "",
        interval: float = 1.0,
        timeout: float = 30.0,
        deadline: float = 300.0,
        sleep: Callable[[float], None] = time.sleep,
    ):
        """Make no request yet. contact: how the wiki's operators reach you.

        timeout: seconds without a byte. deadline: seconds for a whole answer, its server's name and last byte included.

        Raises InputError for a URL that is not http(s) or a contact that is not one line.
        """
        if not url.startswith(("https://", "http://")) or any(ord(char) < 33 for char in url):
            raise InputError(f"{url!r}: expected the http(s) address of an api.php")
        if not contact.isprintable() or not contact.isascii():
            raise InputError(f"contact {contact!r}: expected one line of ASCII")
        whom = f"; {contact}" if contact else ""
        agent = f"FlemingR1FromScratch/1.0 (medical knowledge graph research{whom})"
        self._headers = {"User-Agent": agent, "Accept-Encoding": "gzip"}
        self.url, self.interval, self.timeout, self.deadline = url, interval, timeout, deadline
        self.requests = 0
        self._sleep, self._next = sleep, 0.0

    def fetch(self, titles: Sequence[str]) -> list[Page]:
        """Return one page a title. Raises InputError where the server keeps failing or answers with something else."""
        found: list[Page] = []
        for start in range(0, len(titles), BATCH):
            found += self._batch(titles[start : start + BATCH])
        return found

    def _batch(self, titles: Sequence[str]) -> list[Page]:
        answers = Answers(self.url)
        asked = [title for title in titles if title and not set(title) & set("|<>[]{}\n\0")]
        query = {**QUERY, "titles": "|".join(asked)}
        size, more = 0, {}
        for _ in range(MAX_CONTINUED if asked else 0):
            answer, read = self._ask(query | more)
            size += read
            if size > MAX_ANSWER:
                raise InputError(
                    f"{self.url}: over {MAX_ANSWER >> 20} MiB for {len(asked)} titles; ask for fewer"
                )
            answers.add(answer)
            more = answer.get("continue", {})
            if not isinstance(more, dict) or not all(isinstance(value, str) for value in more.values()):
                raise InputError(f"{self.url}: `continue` is {str(more)[:80]}; expected an object of strings")
            if not more:
                break
        if more:
            raise InputError(
                f"{self.url}: a batch of {len(asked)} titles still continues after {MAX_CONTINUED}"
            )
        return [answers.page(title) for title in titles]

    def _ask(self, query: dict[str, str]) -> tuple[dict[str, Any], int]:
        """Return the answer and its bytes, asking again where the server is busy."""
        data, problem = urllib.parse.urlencode(query).encode(), None
        for attempt in range(TRIES):
            self._sleep(max(0.0, self._next - time.monotonic()))
            self._next = time.monotonic() + self.interval
            try:
                return self._try(data)
            except Busy as busy:
                problem = busy
                wait = min(2.0**attempt, LONGEST_WAIT)
                self._next = time.monotonic() + max(self.interval, wait, busy.wait)
        raise InputError(
            f"{self.url}: gave up after {TRIES} tries; the last: {problem}. The same command goes on"
        )

    def _try(self, data: bytes) -> tuple[dict[str, Any], int]:
        # A POST: 50 titles burst a URL.
        body, seconds = Post(self.url, self._headers, MAX_ANSWER, self.deadline, self.timeout).send(data)
        answer = parse_object(body, self.url)
        if (error := answer.get("error")) is None:
            self.requests += 1
            return answer, len(body)
        if not isinstance(error, dict):
            raise InputError(f"{self.url}: the API refuses: {error}")
        problem = f"{error.get('code')}: {error.get('info')}"[:200]
        if error.get("code") not in AGAIN:
            raise InputError(f"{self.url}: the API refuses: {problem}")
        raise Busy(problem, seconds)


class Answers:
    """What the answers to one batch say (formatversion 2)."""

    def __init__(self, where: str):
        self.where = where
        self.moved: dict[str, tuple[str, str]] = {}
        """title -> (the next title, its section), from the tables of normalised titles and of redirects"""
        self.pages: dict[str, dict[str, Any]] = {}
        """title -> fields of its Page"""

    def add(self, answer: Any) -> None:
        """Add an answer to what earlier ones said. Raises InputError for another shape."""
        try:
            query = answer.get("query", {})
            for table in ("normalized", "converted", "redirects"):
                for row in query.get(table, []):
                    self.moved[str(row["from"])] = str(row["to"]), str(row.get("tofragment", ""))
            for page in query.get("pages", []):
                self._add_page(page)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            problem = f"{type(error).__name__} {error}"
            raise InputError(f"{self.where}: not an answer in formatversion 2: {problem}") from error

    def _add_page(self, page: dict[str, Any]) -> None:
        fields = self.pages.setdefault(str(page["title"]), {"categories": ()})
        for category in page.get("categories", []):
            name = str(category["title"]).partition(":")[2]
            fields["categories"] += (name,)
        for revision in page.get("revisions", []):
            content = revision.get("slots", {}).get("main", revision)
            if content.get("contentmodel", "wikitext") == "wikitext":
                fields["text"] = str(content.get("content", ""))  # absent where the text is hidden
                fields["pageid"] = int(page["pageid"])
                fields["revision"] = int(revision["revid"])

    def page(self, asked: str) -> Page:
        """Return the page to which `asked` leads; a loop of redirects leads to a missing page."""
        title, section = asked, ""
        for _ in range(MAX_REDIRECTS):
            if title in self.pages or title not in self.moved:
                break
            title, fragment = self.moved[title]
            section = fragment or section
        fields = self.pages.get(title, {})
        if "text" not in fields:
            return Page(asked, title, missing=True)
        return Page(asked, title, section=section, **fields)
