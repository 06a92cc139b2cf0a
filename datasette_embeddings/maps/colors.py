"""The colours of a map: by the cluster of a document, or by the value of a column."""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.errors import InvalidInputError, NoClustersError
from datasette_embeddings.maps.points import COUNTED, first_points
from datasette_embeddings.search.selecting import rows_of
from datasette_embeddings.search.snippets import shortened
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.sources.table_rows import beginnings_of
from datasette_embeddings.store.clusters import Clusters
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.metadata import ID, values_of_key

#: What stands for the clusters, and in front of a column whose name says something else
CLUSTER, COLUMN = "cluster", "column:"
#: The position of a document without a value, and its colour
NO_VALUE, NO_VALUE_COLOR = 255, "#c3c7cb"
#: Of values and of clusters, the rest included; of ranges
MOST_CATEGORIES, MOST_CLUSTERS, MOST_RANGES = 12, 24, 8
OTHER = "other"
OTHER_COLOR = "#80868b"
# Twelve hues in turn light and dark, and a scale from light to dark (OKLCH)
CATEGORY_COLORS = (
    *("#4278d2", "#e77f3e", "#3a9742", "#b7445d", "#8c54b2", "#e0af3b"),
    *("#00b2bd", "#d76fad", "#9fb83c", "#5043a3", "#8d1c11", "#007759"),
)
# Twelve more, as far from those, from the greys and from white as can be (OKLab)
CLUSTER_COLORS = (
    *CATEGORY_COLORS,
    *("#600058", "#98a0f8", "#004800", "#00e8a8", "#886000", "#f8a0f8"),
    *("#104860", "#40d8f8", "#980878", "#a88800", "#101898", "#705068"),
)
RANGE_COLORS = (
    *("#e4e1ac", "#b4d291", "#78c28a", "#29ae91"),
    *("#009598", "#007896", "#1d5a84", "#2f4066"),
)
#: Between the ends of a range
BETWEEN = " \N{EN DASH} "
# Characters of a value that are read, and of a label
LONGEST_VALUE, LONGEST_LABEL = 200, 60
# Documents that are looked at, and columns, to see by what the map can be coloured
TRIED_DOCUMENTS, MOST_COLUMNS = 300, 50
# What part of the values must be numbers, or days
MOSTLY = 0.9
DAY = re.compile(r"\d{4}-\d\d-\d\d(?!\d)")

Value: TypeAlias = str | int | float


@dataclass(frozen=True)
class Entry:
    """A value of the legend, or the lowest and the highest of a range."""

    value: Value | tuple[Value, Value] | None
    label: str
    count: int
    color: str


@dataclass(frozen=True)
class Legend:
    """What the colours of a map mean."""

    by: str
    entries: tuple[Entry, ...]
    #: The entries are ranges of numbers or of days, lowest first
    is_ordered: bool
    #: Documents that were counted, and whether there are more
    documents: int
    is_sample: bool

    def positions(self, values: Sequence[Value | None]) -> NDArray[np.uint8]:
        """The entry of each of *values*, (n,); 255 for none."""
        position = self._ranges() if self.is_ordered else self._categories()
        return np.array([position(each) for each in values], dtype=np.uint8)

    def _categories(self) -> Callable[[Value | None], int]:
        known: dict[Any, int] = {
            each.value: number for number, each in enumerate(self.entries)
        }
        rest = known.pop(None, NO_VALUE)
        return lambda value: NO_VALUE if value is None else known.get(value, rest)

    def _ranges(self) -> Callable[[Value | None], int]:
        ranges: list[Any] = [each.value for each in self.entries]
        lows = [low for low, _high in ranges]
        are_days = isinstance(lows[0], str)

        def position(value: Value | None) -> int:
            key = _order(value, are_days=are_days)
            return NO_VALUE if key is None else max(bisect_right(lows, key) - 1, 0)

        return position


def color_names(collection: StoredCollection) -> list[str]:
    """By what the map of *collection* can be coloured, clusters first.

    Of the columns, those whose values repeat or have an order, in some documents.
    """
    names = [CLUSTER] if Clusters(collection).settings is not None else []
    tile = Coordinates(collection).tile(1)[:TRIED_DOCUMENTS]
    ids = [row[0] for row in tile]
    for column in _columns(collection)[:MOST_COLUMNS]:
        found = [each for each in _values(collection, column, ids) if each is not None]
        if _has_order(found) or 2 <= len(set(found)) <= len(found) / 2:
            is_taken = column == CLUSTER or column.startswith(COLUMN)
            names.append(COLUMN + column if is_taken else column)
    return names


def legend_of(collection: StoredCollection, by: str) -> Legend:
    """The colours of the map of *collection* by its clusters, or by a column.

    Values are counted in at most 20,480 documents: of a larger map, those of its first
    tile, which are a fair sample.

    :raises NoClustersError: if it has none.
    :raises InvalidInputError: if it has no such column.
    """
    if by == CLUSTER:
        return _legend_of_clusters(collection)
    column = by.removeprefix(COLUMN)
    _check_column(collection, column)
    points = first_points(collection, COUNTED)
    found = [e for e in _values(collection, column, points.ids) if e is not None]
    is_ordered = len(set(found)) > MOST_CATEGORIES and _has_order(found)
    entries = _ranges(found) if is_ordered else _categories(found)
    return Legend(by, entries, is_ordered, len(points), points.is_sample)


def read_values(
    collection: StoredCollection, by: str, ids: Sequence[str]
) -> list[Value | None]:
    """The value of each of *ids*, by which it has its colour; None without one."""
    if by == CLUSTER:
        numbers = Clusters(collection).numbers_of(ids)
        return [numbers[each] for each in ids]
    return _values(collection, by.removeprefix(COLUMN), ids)


def _columns(collection: StoredCollection) -> list[str]:
    rows = rows_of(collection, ())
    keys = rows.key_columns if not rows.is_metadata else (ID,)
    return [each for each in rows.columns if each not in keys]


def _check_column(collection: StoredCollection, column: str) -> None:
    rows = rows_of(collection, ())
    rows.check_column(column)
    if rows.is_metadata and column == ID:
        raise InvalidInputError("Expected a column to colour by, found the id")


def _values(
    collection: StoredCollection, column: str, ids: Sequence[str]
) -> list[Value | None]:
    source = collection.source
    if isinstance(source, TableSource):
        rows = beginnings_of(collection.conn, source, column, ids, length=LONGEST_VALUE)
    else:
        rows = values_of_key(collection, column, ids, length=LONGEST_VALUE)
    return [_value(rows.get(each)) for each in ids]


def _value(stored: object) -> Value | None:
    """*stored* as it has a colour: of a list, its first value."""
    if isinstance(stored, str) and stored.startswith("["):
        stored = _first(stored)
    if isinstance(stored, str):
        return stored.strip() or None
    if isinstance(stored, int | float) and math.isfinite(stored):
        return stored
    return None


def _first(text: str) -> object:
    """The first value of a JSON list, which may be cut; *text* if it is none."""
    try:
        found: object = json.JSONDecoder().raw_decode(text[1:].lstrip())[0]
    except (ValueError, RecursionError):
        return None if text == "[]" else text
    if isinstance(found, str):
        # JSON can have half of a character, and no page can
        return found.encode(errors="replace").decode()
    return found


def _legend_of_clusters(collection: StoredCollection) -> Legend:
    clusters = Clusters(collection)
    if (facts := clusters.facts) is None:
        raise NoClustersError(collection.name)
    counts = [(each.number, each.name, each.size) for each in clusters.all()]
    smaller = f"{len(counts) - MOST_CLUSTERS + 1:,} smaller clusters"
    entries = _entries(counts, CLUSTER_COLORS, smaller)
    return Legend(CLUSTER, entries, False, facts.documents, False)


def _categories(found: Sequence[Value]) -> tuple[Entry, ...]:
    counts = sorted(Counter(found).items(), key=lambda each: (-each[1], str(each[0])))
    return _entries([(value, _label(value), count) for value, count in counts])


def _entries(
    counts: Sequence[tuple[Value, str, int]],
    colors: Sequence[str] = CATEGORY_COLORS,
    rest: str = OTHER,
) -> tuple[Entry, ...]:
    """The first of *counts*, each a value, its label and its count; then the *rest*."""
    is_cut = len(counts) > len(colors)
    shown = counts[: len(colors) - 1 if is_cut else len(colors)]
    entries = [
        Entry(value, shortened(label, LONGEST_LABEL), count, color)
        for (value, label, count), color in zip(shown, colors, strict=False)
    ]
    if is_cut:
        left = sum(count for _value, _label, count in counts[len(shown) :])
        entries.append(Entry(None, rest, left, OTHER_COLOR))
    return tuple(entries)


def _has_order(found: Sequence[Value]) -> bool:
    """Whether most of the values are numbers, or most are days, and some differ."""
    most = max(len(_ordered(found, are_days=each)) for each in (False, True))
    return most > MOSTLY * len(found) and len(set(found)) > 1


def _ordered(found: Sequence[Value], *, are_days: bool) -> list[Any]:
    """Those of *found* that are numbers, or that are days, lowest first."""
    keys = [_order(each, are_days=are_days) for each in found]
    return sorted(each for each in keys if each is not None)


def _order(value: Value | None, *, are_days: bool) -> Any:  # noqa: ANN401 - of two types
    """*value* as a number, or as a day; None if it is none."""
    if isinstance(value, str):
        return value[:10] if are_days and DAY.match(value) else None
    return None if are_days else value


def _ranges(found: Sequence[Value]) -> tuple[Entry, ...]:
    """Ranges with about as many of the values each, lowest first."""
    kinds = (_ordered(found, are_days=each) for each in (False, True))
    values = max(kinds, key=len)
    cuts = [len(values) * number // MOST_RANGES for number in range(MOST_RANGES)]
    lows = sorted({values[cut] for cut in cuts})
    groups = [list(e) for _, e in groupby(values, lambda v: bisect_right(lows, v))]
    step = (len(RANGE_COLORS) - 1) / max(len(groups) - 1, 1)
    return tuple(
        Entry(
            (own[0], own[-1]),
            BETWEEN.join(dict.fromkeys([_label(own[0]), _label(own[-1])])),
            len(own),
            RANGE_COLORS[round(number * step)],
        )
        for number, own in enumerate(groups)
    )


def _label(value: Value) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
