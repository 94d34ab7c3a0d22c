"""The discovery agent (paper 3.1): crawls Wikipedia from seeds, medical pages first, and yields nodes and facts.

Two passes. The crawl fetches the best titles of its frontier in batches and learns what each page is; the reading goes
over the medical pages in that order and extracts facts, knowing by then what every link leads to. Both are functions
of the pages alone, and each batch of pages is kept as it comes: a crawl that was killed goes again over what is kept,
asks only for the rest, and yields bit for bit the same. Left out: several requests at once.
"""

import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from fleming.sources.facts import Fact, Node, Skip
from fleming.sources.wikipedia.entities import Known, Reading, page_node, read_page
from fleming.sources.wikipedia.extraction import EXTRACTORS, NOTHING, Linker, places
from fleming.sources.wikipedia.pages import BATCH, CachedPages, FolderPages, Pages
from fleming.sources.wikipedia.relations import teacher_facts
from fleming.sources.wikipedia.wikitext import title_of
from fleming.teachers.remembered import Completer

_OTHER = r"(?:wikipedia|help|portal|template|special|talk|user|draft|module|wikt|s):"  # what is no article


@dataclass(slots=True)
class _Seen:
    """What is known of a title of the frontier."""

    place: int = 0
    links: int = 0
    rare: bool = False
    score: int = 0
    asked: bool = False


class Frontier:
    """Titles not yet asked for, the best first: named where medicine is, new, beside what is rare; ties by title."""

    def __init__(self, known: Known):
        self._known = known
        self._seen: dict[str, _Seen] = {}
        self._heap: list[tuple[int, str]] = []

    def add(self, title: str, place: int, rare: bool = False) -> None:
        """Count a page that links to the title: from an infobox's field 3, a section 2, the lead 1, elsewhere 0."""
        if not title or len(title.encode()) > 255 or re.match(_OTHER, title, re.IGNORECASE):
            return
        state = self._seen.setdefault(title, _Seen())
        if state.asked:
            return
        state.place = max(state.place, place)
        state.rare |= rare
        state.links += 1
        # many medical pages that link speak for a title; from 32 on each doubling says that it is everyone's: "Europe"
        links = min(state.links, 4) - max(0, state.links.bit_length() - 5)
        state.score = 4 * state.place + links + 2 * (not self._known(title)) + 3 * state.rare
        heapq.heappush(self._heap, (-state.score, title))

    def take(self, count: int) -> list[str]:
        """Return the best `count` titles, or what is left, and forget them."""
        titles: list[str] = []
        while self._heap and len(titles) < count:
            score, title = heapq.heappop(self._heap)
            state = self._seen[title]
            if not state.asked and state.score == -score:  # else an older entry of the title
                titles.append(title)
                state.asked = True
        return titles


def discover(
    pages: Pages,
    seeds: Sequence[str],
    max_requests: int,
    folder: str | Path,
    known: Known,
    skip: Skip,
    teacher: Completer | None = None,
) -> Iterator[Node | Fact]:
    """Yield the nodes and facts of the pages around the seeds; `folder` keeps what is fetched.

    teacher: reads the pages too, beside the rules.
    max_requests: of the whole crawl, what earlier runs took included; a batch that is begun is finished. A page that
    is missing goes to `skip`. Raises InputError where the source gives up; the same call then goes on.
    """
    # No copy of saved ones: it would hide what has changed in the files since.
    if not isinstance(pages, FolderPages):
        pages = CachedPages(pages, Path(folder, "pages.jsonl"))
    linker = Linker(known)
    named: set[str] = set()
    try:
        medical = _crawl(pages, seeds, max_requests, linker, skip)
        for start in tqdm(range(0, len(medical), BATCH), "reading", unit=" batches"):
            batch = [read_page(page, known) for page in pages.fetch(medical[start : start + BATCH])]
            for record in (record for reading in batch for record in _records(reading, linker)):
                if isinstance(record, Fact):
                    yield record
                elif record.key not in named:
                    named.add(record.key)
                    yield record
            if teacher:
                yield from teacher_facts(batch, linker, teacher, skip)
    finally:
        pages.close()


def _records(reading: Reading, linker: Linker) -> Iterator[Node | Fact]:
    yield page_node(reading)
    for extract in EXTRACTORS:
        yield from extract(reading, linker)


def _crawl(
    pages: FolderPages, seeds: Sequence[str], max_requests: int, linker: Linker, skip: Skip
) -> list[str]:
    """Return the titles of the medical pages in the order in which they were found; `linker` learns all pages."""
    frontier, medical = Frontier(linker.known), []
    for seed in seeds:
        frontier.add(title_of(seed), 4)
    bar = tqdm(desc="crawling", unit=" pages")
    while titles := frontier.take(BATCH):
        if pages.lacks(titles) and pages.requests >= max_requests:
            break
        for page in pages.fetch(titles):
            if page.missing:
                skip(f"Wikipedia: {page.asked}", "missing", "no page has this title")
                continue
            if page.title not in linker.pages:
                reading = read_page(page, linker.known)
                linker.pages[page.title] = page.title, reading.type or NOTHING * reading.is_disambiguation
                if reading.type:
                    medical.append(page.title)
                    linker.read(reading)
                    _expand(reading, frontier)
            linker.pages[page.asked] = (page.asked, "") if page.section else linker.pages[page.title]
        bar.update(len(titles))
        bar.set_postfix(medical=len(medical), requests=pages.requests, refresh=False)
    bar.close()
    return medical


def _expand(reading: Reading, frontier: Frontier) -> None:
    best: dict[str, int] = {}
    for link, worth in places(reading):
        best[link.target] = max(best.get(link.target, 0), worth)
    for title, worth in best.items():
        frontier.add(title, worth, bool(reading.rare))
