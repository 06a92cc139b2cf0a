"""The condition ``where`` of a search in Python: SQL over the columns of the items."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import suppress

from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.search.nearest import selected_items, source_table
from datasette_embeddings.sources.table_rows import Selection, selectable_columns
from datasette_embeddings.store.collections import StoredCollection


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
    try:
        _check_expression(collection.conn, where, values)
        return selected_items(collection, Selection((f"{where}\n",), values))
    except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
        columns = ""
        if "no such column" in str(error):
            with suppress(InvalidInputError):
                source = source_table(collection)
                names = selectable_columns(collection.conn, source)
                columns = f"; the columns are {', '.join(names)}"
        raise InvalidInputError(
            "Expected where to be one SQL expression, such as 'price < :p', found "
            f"{quoted(where)}: {error}{columns}"
        ) from error


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
