"""Which diseases are common, and which records are no disease but a susceptibility to one: by assets, as data.

Sources of rare diseases list both: OMIM has loci of asthma, and forms of Parkinson disease by number. Left out: a
prevalence that a source states (Orphanet's own files are read by nobody here yet).
"""

import functools
import re
from dataclasses import dataclass, field

from fleming.assets import ASSETS
from fleming.config import load_config
from fleming.text import name_key
from model.errors import InputError

COMMON = ASSETS / "mappings/common_diseases.yaml"
_NUMBER = re.compile(r"\d+[a-z]?\d*|[ivx]+[a-z]?|[a-z]")


@dataclass(frozen=True)
class Common:
    diseases: dict[str, str] = field(default_factory=dict)
    """Identifier -> name."""
    names: tuple[str, ...] = ()
    """Diseases whose forms are common too, whatever their number and in any order of the words."""
    forms: tuple[str, ...] = ()
    """Words that tell one form from another, beside numbers and letters."""
    susceptibilities: tuple[str, ...] = ()
    """Regular expressions; a name that has one of them is of a susceptibility."""

    def check(self, where: str) -> None:
        """Raise InputError for what is no regular expression."""
        for pattern in self.susceptibilities:
            try:
                re.compile(pattern)
            except re.error as error:
                raise InputError(f"{where}susceptibilities: {pattern!r}: {error}") from error


@functools.cache
def _common() -> tuple[frozenset[str], re.Pattern[str], frozenset[frozenset[str]]]:
    file = load_config(Common, COMMON, [])
    forms = frozenset(word for text in file.forms for word in name_key(text).split())
    susceptible = re.compile("|".join(file.susceptibilities) or r"(?!)", re.IGNORECASE)
    return forms, susceptible, frozenset(_kind(name, forms) for name in file.names)


def _kind(name: str, forms: frozenset[str]) -> frozenset[str]:
    """Return the words of a name that say which disease it is, not which form of it."""
    told = (word for word in name_key(name).split() if word not in forms)
    return frozenset(word for word in told if not _NUMBER.fullmatch(word))


def common_diseases() -> dict[str, str]:
    """Return identifier -> name of diseases that are common whatever a source says."""
    return load_config(Common, COMMON, []).diseases


def is_susceptibility(name: str) -> bool:
    """Whether a record of this name is of what makes a disease likelier, not of a disease.

    >>> is_susceptibility("Asthma, susceptibility to, 3"), is_susceptibility("Gaucher disease")
    (True, False)
    """
    return bool(_common()[1].search(name))


def is_common(name: str) -> bool:
    """Whether the name is that of a susceptibility, of a common disease, or of a form of one.

    >>> is_common("Alzheimer disease 5"), is_common("Parkinson disease, late-onset"), is_common("Wilson disease")
    (True, True, False)
    """
    forms, _, kinds = _common()
    return is_susceptibility(name) or _kind(name, forms) in kinds
