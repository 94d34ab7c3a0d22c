"""The discovery agent (paper 3.1): walks Wikipedia from seeds, medical pages first, and yields nodes and facts.

Two passes. The walk fetches the best titles of its frontier in batches and learns what each page is; the reading goes
over the medical pages in that order and extracts facts, knowing by then what every link leads to. Both are functions
of the pages alone, and each batch of pages is kept as it comes: a crawl that was killed is walked again from what is
kept, asks only for the rest, and yields bit for bit the same. Left out: several requests at once.
"""

import heapq
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from fleming.sources.facts import Fact, Node, Skip
from fleming.sources.wikipedia.entities import Known, Reading, page_node, read_page
from fleming.sources.wikipedia.extraction import EXTRACTORS, Extractor, Linker, places
from fleming.sources.wikipedia.pages import BATCH, CachedPages, FolderPages, Pages
from fleming.sources.wikipedia.wikitext import title_of

_OTHER = (
    "wikipedia:",
    "help:",
    "portal:",
    "template:",
    "special:",
    "talk:",
    "user:",
    "draft:",
    "module:",
    "wikt:",
    "s:",
)


class Frontier:
    """Titles not yet asked for, the best first: named where medicine is, new, beside what is rare; ties by title."""

    def __init__(self, known: Known):
        self._known = known
        self._seen: dict[str, list[int] | None] = {}  # best place, links, rare, score; None once asked for
        self._heap: list[tuple[int, str]] = []

    def add(self, title: str, place: int, rare: bool = False) -> None:
        """Count a page that links to the title: from an infobox's field 3, a section 2, the lead 1, elsewhere 0."""
        if not title or len(title.encode()) > 255 or title.lower().startswith(_OTHER):
            return
        if (state := self._seen.setdefault(title, [0, 0, 0, 0])) is None:
            return
        state[:3] = max(state[0], place), state[1] + 1, state[2] | rare
        # many medical pages that link speak for a title; from 32 on each doubling says that it is everyone's: "Europe"
        links = min(state[1], 4) - max(0, state[1].bit_length() - 5)
        state[3] = 4 * state[0] + links + 2 * (self._known(title) is None) + 3 * state[2]
        heapq.heappush(self._heap, (-state[3], title))

    def take(self, count: int) -> list[str]:
        """Return the best `count` titles, or what is left, and forget them."""
        titles: list[str] = []
        while self._heap and len(titles) < count:
            score, title = heapq.heappop(self._heap)
            if (state := self._seen[title]) and state[3] == -score:  # else an older entry of the title
                titles.append(title)
                self._seen[title] = None
        return titles


def discover(
    pages: Pages,
    seeds: Sequence[str],
    budget_pages: int,
    budget_requests: int,
    folder: str,
    known: Known,
    skip: Skip,
    extractors: Sequence[Extractor] = EXTRACTORS,
    progress: bool = False,
) -> Iterator[Node | Fact]:
    """Yield the nodes and facts of at most `budget_pages` pages around the seeds; `folder` keeps what is fetched.

    budget_requests: of the whole crawl, what earlier runs took included; a batch that is begun is finished. A page that
    is missing goes to `skip`. Raises InputError where the source gives up; the same call then goes on.
    """
    saved = isinstance(pages, FolderPages)  # no copy of them: it would hide what has changed in the files since
    cached = pages if saved else CachedPages(pages, Path(folder, "pages.jsonl"))
    try:
        linker = Linker(known)
        medical = _walk(cached, seeds, budget_pages, budget_requests, linker, skip, progress)
        given: dict[str, None] = {}
        for start in tqdm(range(0, len(medical), BATCH), "reading", unit=" batches", disable=not progress):
            for page in cached.fetch(medical[start : start + BATCH]):
                reading = read_page(page, known)
                for record in (page_node(reading), *(r for extract in extractors for r in extract(reading, linker))):
                    if isinstance(record, Fact) or record.key not in given:
                        yield record
                    if isinstance(record, Node):
                        given[record.key] = None
    finally:
        cached.close()


def _walk(
    cached: CachedPages,
    seeds: Sequence[str],
    budget_pages: int,
    budget_requests: int,
    linker: Linker,
    skip: Skip,
    progress: bool,
) -> list[str]:
    """Return the titles of the medical pages in the order in which they were found; `linker` learns all pages."""
    frontier, medical, asked = Frontier(linker.known), [], 0
    for seed in seeds:
        frontier.add(title_of(seed), 4)
    bar = tqdm(total=budget_pages, desc="walking", unit=" pages", disable=not progress)
    while titles := frontier.take(min(BATCH, budget_pages - asked)):
        if cached.lacks(titles) and cached.requests >= budget_requests:
            break
        asked += len(titles)
        for page in cached.fetch(titles):
            if page.missing:
                skip(f"Wikipedia: {page.asked}", "missing", "no page has this title")
                continue
            if (known_page := linker.pages.get(page.title)) is None:
                reading = read_page(page, linker.known)
                linker.pages[page.title] = known_page = page.title, reading.type
                if reading.type:
                    medical.append(page.title)
                    linker.read(reading)
                    _expand(reading, frontier)
            linker.pages[page.asked] = known_page if not page.section else (page.asked, "")
        bar.update(len(titles))
        bar.set_postfix(medical=len(medical), requests=cached.requests, refresh=False)
    bar.close()
    return medical


def _expand(reading: Reading, frontier: Frontier) -> None:
    best: dict[str, int] = {}
    for link, worth in places(reading):
        best[link.target] = max(best.get(link.target, 0), worth)
    for title, worth in best.items():
        frontier.add(title, worth, bool(reading.rare))
