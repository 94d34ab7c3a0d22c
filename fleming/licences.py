"""Under which licence a source stands, where it is found, and whether it may be used for profit.

What the project can read is listed in assets/licences.yaml; of anything else the user says it, or it is "not stated".
Left out: advice; who publishes what was made of several sources must read all of their terms.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fleming.assets import load_table

TABLE: dict[str, dict[str, Any]] = load_table("licences.yaml")
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Licence:
    licence: str = NOT_STATED
    """Its SPDX id where it has one, else its name."""
    address: str = ""
    """Where the source, or its licence, is found; "" where nobody says."""
    commercial: str = NOT_STATED
    """Whether it may be used for profit: yes, no, mixed or not stated."""
    condition: str = NOT_STATED
    """What it asks for."""


def licence_of(source: str, licence: str = "", address: str = "") -> Licence:
    """Return what is known of a source; `licence` and `address` are what is said of this very copy, and go first."""
    listed = TABLE["sources"].get(source, {})
    if licence not in ("", listed.get("licence")):
        listed = {}
    name = licence or listed.get("licence", NOT_STATED)
    terms = TABLE["licences"].get(name, {})
    said = {**terms, **listed, "licence": name, "address": address or listed.get("address", "")}
    return Licence(**said)


def commercial_use(sources: Iterable[Mapping[str, str]]) -> str:
    """Return in a line which of the sources ({"source", "commercial"}) forbid use for profit, or do not say."""
    names: dict[str, list[str]] = {}
    for source in sources:
        known = names.setdefault(source["commercial"], [])
        known += [source["source"]] if source["source"] not in known else []
    said = {"no": "forbidden by", "mixed": "parts may forbid it in", NOT_STATED: "not stated by"}
    found = [f"{words} {', '.join(names[answer])}" for answer, words in said.items() if answer in names]
    return "; ".join(found) or "no source forbids it"
