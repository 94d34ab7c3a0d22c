"""What a million rows are kept in: one array of numbers a field, and texts as numbers. Left out: deleting a row."""

from array import array
from collections.abc import Hashable, Iterator

import numpy as np


class Numbering(dict[Hashable, int]):
    """Gives every new key the next number.

    >>> number = Numbering()
    >>> number["gout"], number["rash"], number["gout"]
    (0, 1, 0)
    """

    def __missing__(self, key: Hashable) -> int:
        self[key] = len(self)
        return self[key]


class Columns:
    """Rows of numbers of 32 bits, whole ones but for the fields that are marked with f.

    >>> edges = Columns("head tail confidence:f")
    >>> edges.append(3, 7, 0.5)
    >>> len(edges), edges.row(0), edges["tail"]
    (1, (3, 7, 0.5), array([7], dtype=int32))
    """

    def __init__(self, fields: str) -> None:
        self.arrays: dict[str, array] = {}
        for field in fields.split():
            name, _, code = field.partition(":")
            self.arrays[name] = array(code or "i")
        self._columns = list(self.arrays.values())
        self._appends = [column.append for column in self._columns]

    def __len__(self) -> int:
        return len(self._columns[0])

    def __iter__(self) -> Iterator[tuple]:
        return zip(*self._columns, strict=True)

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a copy of the field: [rows]."""
        return np.array(self.arrays[name])

    def append(self, *row: float) -> None:
        for append, value in zip(self._appends, row, strict=True):
            append(value)

    def row(self, place: int) -> tuple:
        return tuple(column[place] for column in self._columns)
