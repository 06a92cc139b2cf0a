"""The values of a column, or what its lists contain, counted for a facet."""

from __future__ import annotations

import sqlite3
from typing import TypeAlias

from datasette_embeddings.databases import quote
from datasette_embeddings.search.selecting import Rows, Selection, explained

Value: TypeAlias = str | int | float


def counted_values(
    conn: sqlite3.Connection,
    rows: Rows,
    column: str,
    *,
    selection: Selection,
    limit: int,
) -> list[tuple[Value, int]]:
    """The *limit* most frequent values of *column* in *selection*, each with its count.

    NULL and BLOBs are left out.
    """
    sql = f"""
        select {quote(column)}, count(*)
        from {rows.sql}
        where {selection.where}
        and typeof({quote(column)}) not in ('null', 'blob')
        group by 1
        order by 2 desc, 1
        limit :embeddings_limit
    """
    with explained():
        found = conn.execute(sql, {**selection.values, "embeddings_limit": limit})
        return list(map(tuple, found))


def counted_elements(
    conn: sqlite3.Connection,
    rows: Rows,
    column: str,
    *,
    selection: Selection,
    limit: int,
) -> list[tuple[Value, int]] | None:
    """As :func:`counted_values`, of the texts that the lists of *column* contain.

    None if a row of *selection* has something else there, or no list has a text.
    """
    name = quote(column)
    present = f"from {rows.sql} where {selection.where} and {name} is not null"
    is_list = f"case when json_valid({name}) then json_type({name}) = 'array' end"
    # Of other columns the first row is enough to know it
    other = f"select 1 {present} and not coalesce({is_list}, 0) limit 1"
    counts = f"""
        with lists as (
          select row_number() over () as number, {name} as list
          {present}
        )
        select value, count(distinct number)
        from lists join json_each(list)
        where typeof(value) = 'text'
        group by 1
        order by 2 desc, 1
        limit :embeddings_limit
    """
    values = {**selection.values, "embeddings_limit": limit}
    with explained():
        if conn.execute(other, dict(selection.values)).fetchone() is not None:
            return None
        return list(map(tuple, conn.execute(counts, values))) or None
