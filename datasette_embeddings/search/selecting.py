"""The rows that filters, facets, ``where`` and sorting are about, and their items.

Of a collection whose only source is a table they are the rows of that table, of any
other one the metadata of its items: a column for each key, and ``id``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from datasette_embeddings.databases import declared_columns, quote
from datasette_embeddings.documents import item_id_of
from datasette_embeddings.errors import InvalidInputError, quoted, shortened
from datasette_embeddings.search.matches import Match
from datasette_embeddings.sources.definitions import ROWID, TableSource
from datasette_embeddings.sources.table_rows import number_or, values_of
from datasette_embeddings.store import chunks
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.metadata import (
    ID,
    METADATA,
    metadata_keys,
    metadata_rows,
)

# Characters of a condition; that of a person is shorter
LONGEST_WHERE = 100_000
# Conditions between two brackets
AT_ONCE = 100
# A function of SQL that is used in one statement
_IS_ONE = "_embeddings_is_one"
# The start of SQLite's message where the filter is at fault, and what it means
FILTER_ERRORS = {
    "interrupted": "takes longer than this server's time limit for SQL",
    "malformed JSON": "needs JSON, which a row of that column is not",
    "too many SQL variables": "has more values than SQLite takes",
    "LIKE or GLOB pattern too complex": "has a pattern that is too long for SQLite",
    "Expression tree is too large": "has more conditions than SQLite takes",
}


@dataclass(frozen=True)
class Selection:
    """Rows that fulfil all *conditions*, pieces of SQL that name their *values*."""

    conditions: tuple[str, ...] = ()
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The conditions as one; true if there is none."""
        each = [f"({condition})" for condition in self.conditions]
        # SQLite takes an expression of at most 1,000 levels, and each AND is one
        some = [each[n : n + AT_ONCE] for n in range(0, len(each), AT_ONCE)]
        return " and ".join(f"({' and '.join(group)})" for group in some) or "true"


@dataclass(frozen=True)
class Rows:
    """The rows that conditions select, one for each document."""

    #: SQL that stands behind FROM, and the name that it gives the rows
    sql: str
    name: str
    #: What they are, for messages
    description: str
    columns: Sequence[str]
    key_columns: Sequence[str] = (ID,)
    id_prefix: str = ""
    #: Their values have no declared type
    is_metadata: bool = False

    def check_column(self, column: str) -> None:
        """Refuse a *column* that the rows do not have."""
        if column not in self.columns:
            raise InvalidInputError(
                f"No column {quoted(column)} in {self.description}; "
                f"it has {', '.join(self.columns)}"
            )


def rows_of(collection: StoredCollection, named: Sequence[str] | None = None) -> Rows:
    """What conditions on *collection* are about.

    Of metadata, the columns are those that sources declare, the keys of some items,
    and of *named* those that any item has; all keys, if *named* is None.
    """
    source = collection.source
    if not isinstance(source, TableSource):
        with explained():
            keys = metadata_keys(collection, named)
        description = f"the metadata of {collection.name!r}"
        # SQL compares names without case
        used = {each.lower() for each in named or keys}
        needed = [each for each in keys if each.lower() in used]
        sql = metadata_rows(collection, needed)
        columns = [ID, *keys]
        return Rows(sql, METADATA, description, columns, is_metadata=True)
    names = [each.name for each in declared_columns(collection.conn, source.table)]
    return Rows(
        f"main.{quote(source.table)}",
        source.table,
        "the source table",
        names if ROWID not in source.key_columns else [ROWID, *names],
        source.key_columns,
        source.id_prefix,
    )


@contextmanager
def rows_of_documents(
    conn: sqlite3.Connection, rows: Rows, documents: Container[str]
) -> Iterator[Selection]:
    """The condition that a row of *rows* is that of one of *documents*.

    It calls a function of *conn*, which knows them while the context is open.
    """

    def is_one(*key: object) -> bool:
        # A row with NULL in its key has no item
        return None not in key and rows.id_prefix + item_id_of(key) in documents

    names = rows.key_columns
    condition = f"{_IS_ONE}({', '.join(map(quote, names))})"
    conn.create_function(_IS_ONE, len(names), is_one)
    try:
        yield Selection((condition,))
    finally:
        # SQLite keeps the name; without the documents it stands for nothing
        conn.create_function(_IS_ONE, len(names), lambda *_key: None)


def selected_ids(
    conn: sqlite3.Connection, rows: Rows, selection: Selection
) -> set[str]:
    """The item id of every row that *selection* takes."""
    sql = f"""
        select {", ".join(map(quote, rows.key_columns))}
        from {rows.sql}
        where {selection.where}
    """
    with explained():
        keys = map(tuple, conn.execute(sql, dict(selection.values)))
        # A row with NULL in its key has no item
        return {rows.id_prefix + item_id_of(key) for key in keys if None not in key}


def selected_items(
    collection: StoredCollection, selection: Selection, *, rows: Rows | None = None
) -> frozenset[str]:
    """Ids of items of which *selection* takes the row, and of rows without an item.

    *rows* are those of the collection, where the caller has them already.

    :raises InvalidInputError: if a condition cannot be answered, with the columns.
    """
    documents = selected_ids(collection.conn, rows or rows_of(collection), selection)
    return frozenset(documents | chunks.chunks_of_documents(collection, documents))


def items_where(
    collection: StoredCollection, where: str, params: Mapping[str, object] | None
) -> frozenset[str]:
    """The ids of the items for which *where* holds, with *params* for its ``:names``.

    :raises InvalidInputError: if it is not one expression, or names another column.
    """
    values = {} if params is None else params
    if not isinstance(values, Mapping):
        raise InvalidInputError(
            'Expected params as a mapping, such as {"p": 10} for :p; '
            f"found {quoted(params)}"
        )
    if not isinstance(where, str) or len(where) > LONGEST_WHERE:
        raise InvalidInputError(
            f"Expected where to be a text of at most {LONGEST_WHERE:,} characters, "
            f"found {quoted(where)}"
        )
    for name, value in values.items():
        if not isinstance(value, str | int | float | bytes | None):
            raise InvalidInputError(
                f"Expected a text, number, bytes or None for :{name}, found "
                f"{quoted(value)}"
            )
    selection = Selection((f"{where}\n",), values)
    # To find the keys of all items takes longer than most conditions
    for named in ((), None):
        rows = rows_of(collection, named)
        try:
            _check_expression(collection.conn, where, values)
            return selected_items(collection, selection, rows=rows)
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            is_name, fault = "no such column" in str(error), error
        if not is_name:
            break
    columns = f"; the columns are {', '.join(rows.columns)}" if is_name else ""
    raise InvalidInputError(
        "Expected where to be one SQL expression, such as 'price < :p', found "
        f"{quoted(where)}: {shortened(str(fault))}{columns}"
    ) from fault


def _check_expression(
    conn: sqlite3.Connection, where: str, params: Mapping[str, object]
) -> None:
    """Let SQLite raise its error unless *where* is one expression.

    It reads the whole statement before it looks for tables and columns.
    """
    # With brackets and without: neither can be closed within
    sql = f"explain select case when (\n{where}\n) then 1 when {where}\n then 1 end"
    try:
        conn.execute(sql, dict(params)).close()
    except sqlite3.OperationalError as error:
        if not str(error).startswith("no such"):
            raise


def in_order(
    collection: StoredCollection,
    found: Sequence[Match],
    sort: str | None,
    sort_desc: str | None,
) -> list[Match]:
    """*found* in the order of the column *sort*, or of *sort_desc* from its end.

    NULL comes last; numbers are before texts.  Without both, *found* as it is.
    """
    column = sort or sort_desc
    if column is None:
        return [*found]
    if sort and sort_desc:
        raise InvalidInputError("Expected either sort or sort_desc, found both")
    values = _values(collection, column, found)
    if not values:
        rows_of(collection, [column]).check_column(column)
    first = [match for match in found if match.document_id in values]
    first.sort(key=lambda match: values[match.document_id], reverse=sort is None)
    return [*first, *(match for match in found if match.document_id not in values)]


def _values(
    collection: StoredCollection, column: str, found: Sequence[Match]
) -> dict[str, tuple[int, Any]]:
    """The values of *column* for the documents of *found*, to be ordered; no NULL."""
    source, values = collection.source, dict[str, object]()
    if isinstance(source, TableSource):
        rows_of(collection).check_column(column)
        ids = [match.document_id for match in found]
        values = values_of(collection.conn, source, column, ids)
    elif column == ID:
        values = {match.document_id: match.document_id for match in found}
    else:
        for match in found:
            value = (match.metadata or {}).get(column)
            if isinstance(value, list | dict):
                value = json.dumps(value, ensure_ascii=False)
            values[match.document_id] = (
                number_or(value) if isinstance(value, str) else value
            )
    # SQLite's order: numbers, texts, BLOBs
    kinds = {int: 0, float: 0, bool: 0, str: 1, bytes: 2}
    return {
        each: (kinds[type(value)], value)
        for each, value in values.items()
        if value is not None
    }


@contextmanager
def explained() -> Iterator[None]:
    """Say in errors of SQLite what is wrong with a filter."""
    try:
        yield
    except sqlite3.OperationalError as error:
        for start, meaning in FILTER_ERRORS.items():
            if str(error).startswith(start):
                raise InvalidInputError(f"The filter {meaning}") from error
        raise
    except (OverflowError, UnicodeEncodeError) as error:
        raise InvalidInputError(
            f"The filter has a value SQL cannot take: {error}"
        ) from error
