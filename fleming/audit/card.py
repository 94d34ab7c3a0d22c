"""RUN/card.md, a model card: what the run's own files say of data, training and scores, and what they do not say.

With --pack also the same in the forms that others ask for (pack.py). The page and its facts are assets/card.yaml. Left
out: opinions.
"""

import argparse
from collections.abc import Mapping

from fleming.audit import pack
from fleming.audit.facts import TEXTS, Fact, facts_of, not_done, read_run
from fleming.audit.markdown import shown, table, text
from fleming.html_page import fill
from model.sums import write_hashed


def run(options: argparse.Namespace) -> int:
    """Write the card. InputError for a folder that is no run's, and for a file that is damaged."""
    folder = options.run_dir
    facts = facts_of(read_run(folder))
    name = folder.resolve().name
    write_hashed(folder / "card.md", card(name, facts))
    said = [fact for fact in facts.values() if fact.rows]
    print(f"{folder}/card.md: the run says {len(said)} of {len(facts)} facts")
    if options.pack:
        print(*pack.write(folder, name, facts), sep="\n")
    return 0


def card(name: str, facts: Mapping[str, Fact]) -> str:
    """Return the page, a table for each fact; where the run says nothing, that."""
    blocks = {"name": shown(text(name))}
    blocks["not_done"] = "\n".join(f"- {shown(line)}" for line in not_done(facts)) or "Nothing of this page."
    for key, fact in facts.items():
        blocks[key] = table(fact.rows) or f"*The run does not say: {fact.absent}.*"
    return fill(TEXTS["page"], **blocks)
