"""Datasette's own filters, ``?topic=sqlite&created__gt=2022``, as conditions."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from datasette.app import Datasette
from datasette.filters import Filters
from datasette.utils import sqlite_timelimit

from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.search.counting import Value, counted_elements, counted_values
from datasette_embeddings.search.scope import Scope
from datasette_embeddings.search.selecting import (
    Rows,
    Selection,
    explained,
    rows_of,
    rows_of_documents,
    selected_items,
)
from datasette_embeddings.sources.table_rows import number_or
from datasette_embeddings.store.chunks import chunks_of_documents
from datasette_embeddings.store.collections import StoredCollection

#: ``created__gt`` and what it is compared with
Filter: TypeAlias = tuple[str, str]
# Filters, or values in their lists.  SQLite looks for a value among all others:
# ten times as many take a hundred times as long, with 40,000 about ten seconds, which
# no time limit ends
MOST_VALUES = 1_000


@dataclass(frozen=True)
class Facet:
    """The most frequent values of a column among the rows that pass the filters."""

    column: str
    #: With how many rows have each
    values: Sequence[tuple[Value, int]]
    #: There are more values than these
    is_truncated: bool
    #: The values are those that the lists of a column of metadata contain
    of_lists: bool = False

    def to_json(self) -> dict[str, Any]:
        """As in Datasette's JSON of a table, without the links of its page."""
        results = [{"value": value, "count": count} for value, count in self.values]
        body = {
            "name": self.column,
            "type": "array" if self.of_lists else "column",
            "results": results,
            "truncated": self.is_truncated,
        }
        return {"results": {self.column: body}}


def applied(
    datasette: Datasette,
    collection: StoredCollection,
    pairs: Sequence[Filter],
    facet: str | None,
    sort: str | None = None,
    scope: Scope | None = None,
) -> tuple[Facet | None, frozenset[str] | None]:
    """The counts of the column *facet*, and the items in *scope* that *pairs* let pass.

    The column *sort* is checked only.
    """
    _check_count(len(pairs))
    conn, counts, selected = collection.conn, None, None
    named = [column for column, _lookup, _value in Filters(pairs).selections()]
    shown = [each for each in (facet, sort) if each is not None]
    with sqlite_timelimit(conn, datasette.setting("sql_time_limit_ms")), explained():
        rows = rows_of(collection, [*named, *shown])
        for column in shown:
            rows.check_column(column)
        passing = selection(rows, pairs)
        documents = None if scope is None else scope.documents(collection)
        if facet is not None:
            limit = datasette.setting("default_facet_size")
            with _within(conn, rows, passing, documents) as counted:
                counts = _facet(conn, rows, facet, counted, limit)
        if pairs:
            selected = selected_items(collection, passing, rows=rows)
        if documents is not None:
            own = documents | chunks_of_documents(collection, documents)
            selected = frozenset(own if selected is None else selected & own)
    return counts, selected


@contextmanager
def _within(
    conn: sqlite3.Connection, rows: Rows, passing: Selection, documents: set[str] | None
) -> Iterator[Selection]:
    """*passing*, as far as they are of *documents*; None for all."""
    if documents is None:
        yield passing
        return
    with rows_of_documents(conn, rows, documents) as own:
        yield replace(passing, conditions=(*passing.conditions, *own.conditions))


def _facet(
    conn: sqlite3.Connection, rows: Rows, column: str, passing: Selection, limit: int
) -> Facet:
    of_lists, most = None, limit + 1
    if rows.is_metadata:
        of_lists = counted_elements(conn, rows, column, selection=passing, limit=most)
    values = of_lists
    if values is None:
        values = counted_values(conn, rows, column, selection=passing, limit=most)
    return Facet(column, values[:limit], len(values) > limit, of_lists is not None)


def selection(rows: Rows, pairs: Sequence[Filter]) -> Selection:
    """Those of *rows* that all of *pairs* let pass.

    A column or comparison that there is not is an error, where Datasette would leave
    the filter out.
    """
    filters = Filters(sorted(pairs))
    for column, lookup, _value in filters.selections():
        rows.check_column(column)
        if lookup not in comparisons():
            raise InvalidInputError(
                f"No comparison {quoted(lookup)} for the column {quoted(column)}; "
                f"there are {', '.join(comparisons())}"
            )
    try:
        conditions, values = filters.build_where_clauses(rows.name)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInputError(
            f"A filter has a value out of place: {error}"
        ) from error
    if any(isinstance(value, list | dict) for value in values.values()):
        raise InvalidInputError(
            "Expected a filter's JSON list to hold texts and numbers"
        )
    _check_count(len(values))
    if rows.is_metadata:
        values = _typed(conditions, values)
    return Selection(tuple(conditions), values)


def _typed(
    conditions: Sequence[str], values: Mapping[str, object]
) -> dict[str, object]:
    """*values* with numbers for texts that read as such: metadata convert none.

    Those in an array stay as they are: in ``:p0 in (select ...)`` they come first.
    """
    in_arrays = {each.split()[0][1:] for each in conditions if each.startswith(":")}
    return {
        name: number_or(value)
        if isinstance(value, str) and name not in in_arrays
        else value
        for name, value in values.items()
    }


def _check_count(count: int) -> None:
    if count > MOST_VALUES:
        raise InvalidInputError(
            f"Expected at most {MOST_VALUES:,} values in filters, found {count:,}"
        )


def comparisons() -> dict[str, str]:
    """The name of each comparison, ``gt``, and its sign, ``>``."""
    return {key: sign for key, sign, _needs_none in Filters([]).lookups()}


def in_words(pair: Filter) -> str:
    """A filter as a person reads it, ``topic = "sqlite"``."""
    text = Filters([pair]).human_description_en()
    return str(text).removeprefix("where ")


def from_json(filters: object) -> tuple[Filter, ...]:
    """The filters of a JSON body, ``{"topic": "sqlite", "year__in": [2022, 2023]}``.

    A list is that of ``__in`` or ``__notin``; for others each of it is a filter.
    """
    if not isinstance(filters, dict):
        raise InvalidInputError(
            "Expected filters as an object of column and value, "
            f"found {quoted(filters)}"
        )
    _check_count(
        sum(len(each) if isinstance(each, list) else 1 for each in filters.values())
    )
    pairs: list[Filter] = []
    for name, value in filters.items():
        values = value if isinstance(value, list) else [value]
        texts = [_text(name, each) for each in values]
        if isinstance(value, list) and name.endswith(("__in", "__notin")):
            texts = [json.dumps(texts)]
        pairs += [(name, text) for text in texts]
    return tuple(pairs)


def _text(name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidInputError(
            "Expected a text, a number or a list of them for the filter "
            f"{quoted(name)}, found {quoted(value)}"
        )
    return str(value)
