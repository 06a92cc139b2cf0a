"""The condition ``where`` of a search: SQL over the columns of the items."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.search.selecting import Selection, rows_of, selected_items
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
        f"{quoted(where)}: {fault}{columns}"
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
