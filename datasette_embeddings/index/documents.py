"""Values of rows and of the documents that they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: More than the rounding error of the float32 score of two vectors of length 1
ROUNDING = 1e-5
# Differences of smaller numbers fit 32 bits
SMALL = 10**9

#: The numbers of documents, and values that they have
Numbers: TypeAlias = NDArray[np.signedinteger[Any]]
Values: TypeAlias = NDArray[np.floating[Any]]
#: Rows of a matrix
Rows: TypeAlias = NDArray[np.intp]


def small(numbers: Numbers) -> Numbers:
    """*numbers* in half the memory, if none is as large as a billion."""
    most = max(int(numbers.max(initial=0)), -int(numbers.min(initial=0)))
    return numbers.astype(np.int32) if most < SMALL else numbers


def places_of(some: Numbers, numbers: Numbers) -> tuple[Rows, NDArray[np.bool_]]:
    """The place of each of *some* in *numbers*, which ascend, and if it is there."""
    if not len(numbers):
        return np.zeros(len(some), np.intp), np.zeros(len(some), bool)
    # Of another type, all numbers would be converted.  One that does not fit is nowhere
    places = np.searchsorted(numbers, some.astype(numbers.dtype))
    places = places.clip(max=len(numbers) - 1)
    return places, numbers[places] == some


@dataclass(frozen=True)
class ByNumber:
    """Values of documents by their numbers in the words index, which ascend: (n,)."""

    numbers: Numbers
    values: Values

    def __len__(self) -> int:
        return len(self.numbers)

    def of(self, numbers: Numbers) -> Values:
        """The value of each of *numbers*, (m,); 0 of one that has none."""
        places, is_here = places_of(numbers, self.numbers)
        values = np.zeros(len(numbers))
        values[is_here] = self.values[places[is_here]]
        return values


@dataclass(frozen=True)
class Documents:
    """Which document each row of a matrix belongs to.

    *numbers*, which ascend, (m,), are those of the documents in the words index; that
    of a row whose document is not indexed is below 0.  *of_rows*, (n,), is the place in
    *numbers* of each row's document.
    """

    numbers: Numbers
    of_rows: NDArray[np.int32]
    #: Whether a document has several rows
    has_chunks: bool

    @classmethod
    def of(cls, numbers: Numbers) -> Documents:
        """The documents of rows, each with the number of its own, (n,).

        A row of number 0 is a document of its own.
        """
        own: Numbers = numbers
        if not numbers.all():
            below = numbers.min(initial=0) - len(numbers) + np.arange(len(numbers))
            own = np.where(numbers, numbers, below)
        steps = np.diff(own)
        if (steps > 0).all():
            # Nearly always
            return cls(own, np.arange(len(own), dtype=np.int32), False)
        order: Any = slice(None)
        if (steps < 0).any():
            order = np.argsort(own, kind="stable")
            own = own[order]
        is_first = np.diff(own, prepend=own[:1] - 1) > 0
        of_rows = np.empty(len(own), np.int32)
        of_rows[order] = np.cumsum(is_first) - 1
        return cls(own[is_first], of_rows, len(own) > is_first.sum())

    def values(self, some: ByNumber) -> Values:
        """The value of each document, (m,); 0 of one that has none."""
        values = np.zeros(len(self.numbers), np.float32)
        places, is_here = places_of(some.numbers, self.numbers)
        values[places[is_here]] = some.values[is_here]
        return values

    def means(self, values: Values, rows: Rows | None = None) -> Values:
        """The mean value of all rows of each row's document, or of all among *rows*."""
        places: NDArray[Any] = self.of_rows
        if rows is not None:
            _documents, places = np.unique(self.of_rows[rows], return_inverse=True)
        means: Values = (np.bincount(places, values) / np.bincount(places))[places]
        return means

    def best_of_each(self, rows: Rows, values: Values) -> Rows:
        """The places in *rows* of the greatest of *values* of each document."""
        order = np.argsort(-values, kind="stable")
        _documents, firsts = np.unique(self.of_rows[rows[order]], return_index=True)
        return order[firsts]

    def relatives(self, rows: Rows) -> Rows:
        """All rows of the documents that *rows* belong to, in order."""
        return np.flatnonzero(np.isin(self.of_rows, self.of_rows[rows]))


class Compared(NamedTuple):
    """Rows that were compared with a query exactly, in order."""

    rows: Rows
    ids: list[str]
    #: The cosine of each, and the mean of all cosines of its document: (m,)
    cosines: Values
    means: Values
    #: False if many of them were deleted meanwhile: a search has to start again
    is_whole: bool = True


def best_rows(
    values: Values,
    limit: int,
    documents: Documents | None = None,
    margin: float = ROUNDING,
    more: float = 0.0,
    most: int = 0,
) -> Rows:
    """Rows that include the *limit* best of *values*, (n,), without those of -inf.

    They also include what is by *margin* lower than the last of these, and up to *most*
    in all of what is by *more* lower than that.  Of each of *documents*, where they are
    given, the best row alone counts.
    """
    best = values
    if documents is not None and documents.has_chunks:
        best = np.full(len(documents.numbers), -np.inf, values.dtype)
        np.maximum.at(best, documents.of_rows, values)
    if not len(best):
        return np.empty(0, np.intp)
    places = [-min(place, len(best)) for place in (limit, max(limit, most))]
    last, least = np.partition(best, places)[places].tolist()
    least = min(last - margin, max(last - margin - more, least))
    rows = np.flatnonzero((values >= least) & np.isfinite(values))
    if documents is None:
        return rows
    return rows[documents.best_of_each(rows, values[rows])]


def best_value(values: Values, place: int) -> float:
    """The value at *place*, from 1, of *values* from the greatest."""
    return float(np.partition(values, -place)[-place])
