"""Saved pages of other forms, as the file that FolderPages reads:

python -m fleming.sources.wikipedia.convert IN OUT.jsonl

- an export or dump of MediaWiki: .xml, also .gz, .xz or .bz2; articles alone
- a folder of .wikitext or .txt files, a page each, the file named by its title ("/" as %2F)

Left out: dumps of several files, pages in HTML, saved answers of the API: a crawl keeps its own.
"""

import bz2
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from fleming.config import run_script
from fleming.files import open_bytes, write_jsonl
from fleming.sources.wikipedia.pages import Page
from fleming.sources.wikipedia.wikitext import title_of
from fleming.terminal import option_parser
from model.errors import InputError


def pages_of_folder(folder: Path) -> Iterator[Page]:
    """Yield a page a file, in the order of their names."""
    for path in sorted(folder.iterdir()):
        if path.suffix in (".wikitext", ".txt"):
            title = title_of(unquote(path.stem))
            with open_bytes(path) as file:
                text = file.read().decode("utf-8", "replace")
            yield Page(title, title, text)


def pages_of_dump(path: Path) -> Iterator[Page]:
    """Yield the dump's articles, redirects as they stand; one is in memory at a time."""
    opener = bz2.open if path.suffix == ".bz2" else open_bytes
    try:
        with opener(path) as file:
            events = ElementTree.iterparse(file, ("start", "end"))
            _, root = next(events)
            for event, element in events:
                if event == "end" and element.tag.endswith("}page"):
                    if element.findtext("{*}ns") == "0":
                        yield _article(element)
                    root.clear()
    except InputError:
        raise
    except (ElementTree.ParseError, OSError, EOFError, ValueError) as error:
        raise InputError(f"{path}: no dump of MediaWiki: {error}") from error


def _article(page: ElementTree.Element) -> Page:
    """Return the page as its last revision has it."""
    title = title_of(page.findtext("{*}title", ""))
    last = (page.findall("{*}revision") or [page])[-1]
    return Page(title, title, last.findtext("{*}text", ""), _number(page), _number(last))


def _number(element: ElementTree.Element) -> int:
    """Return the element's id, 0 where it has none."""
    text = element.findtext("{*}id", "")
    return int(text) if text.isdecimal() else 0


def convert(source: Path, target: Path) -> int:
    """Write the pages of `source` to `target`, one a line; return how many there are.

    InputError: there are none, or the target is no .jsonl, which alone is read back.
    """
    if target.suffix != ".jsonl":
        raise InputError(f"{target}: expected the name of a .jsonl file")
    pages = pages_of_folder(source) if source.is_dir() else pages_of_dump(source)
    count = 0

    def lines() -> Iterator[dict]:
        nonlocal count
        for page in pages:
            count += 1
            yield {"requests": 0, "pages": [asdict(page)]}
        if not count:
            raise InputError(f"{source}: no pages; expected a dump or a folder of .wikitext files")

    write_jsonl(target, lines(), hashed=True)
    return count


def main(argv: list[str]) -> int:
    parser = option_parser(__doc__)
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT")
    options = parser.parse_args(argv)
    print(f"{options.target}: {convert(options.source, options.target):,} pages")
    return 0


if __name__ == "__main__":
    run_script(main)
