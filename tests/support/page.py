"""docs/one_page.py as a module, as it stands or with lines changed as docs/teach.md has them changed."""

import types

from support.places import ROOT

PATH = ROOT / "docs/one_page.py"


def page(*edits: tuple[str, str]) -> types.ModuleType:
    """Return the page with each edit's first text, which must stand there once, replaced by its second."""
    source = PATH.read_text()
    for old, new in edits:
        assert source.count(old) == 1, f"{old!r} stands {source.count(old)} times in {PATH.name}"
        source = source.replace(old, new)
    module = types.ModuleType("one_page")
    exec(compile(source, str(PATH), "exec"), module.__dict__)
    return module
