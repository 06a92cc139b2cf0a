"""Some rows of a source table: which items they are, and what values a column has."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType

from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.item_ids import item_id_of
from datasette_embeddings.sources.definitions import ROWID, TableSource, quote
from datasette_embeddings.sources.tables import columns_of

# The start of SQLite's message where the fault is the filter's, and what it means
FAULTS = {
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
    values: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def where(self) -> str:
        """The conditions as one, true where there is none."""
        return " and ".join(f"({each})" for each in self.conditions) or "true"


@dataclass(frozen=True)
class ValueCount:
    """A value of a column, and how many rows have it."""

    value: str | int | float
    count: int


def selected_ids(
    conn: sqlite3.Connection, source: TableSource, selection: Selection
) -> set[str]:
    """The item id of every row of *source* that *selection* takes.

    :raises InvalidInputError: if SQLite cannot answer it, or not in its time limit.
    """
    keys = ", ".join(map(quote, source.key_columns))
    sql = f"""
        select {keys}
        from main.{quote(source.table)}
        where {selection.where}
    """
    with _explained():
        rows = conn.execute(sql, dict(selection.values))
        return {
            source.id_prefix + item_id_of(row) for row in map(tuple, rows) if _is(row)
        }


def _is(key: tuple[object, ...]) -> bool:
    """Whether a row with that *key* can be an item: none is without."""
    return None not in key


def counted_values(
    conn: sqlite3.Connection,
    source: TableSource,
    column: str,
    *,
    selection: Selection,
    limit: int,
) -> list[ValueCount]:
    """The *limit* most frequent values of *column* among the rows of *selection*.

    NULL and BLOBs are left out.

    :raises InvalidInputError: as :func:`selected_ids`.
    """
    sql = f"""
        select {quote(column)}, count(*)
        from main.{quote(source.table)}
        where {selection.where}
        and typeof({quote(column)}) not in ('null', 'blob')
        group by 1
        order by 2 desc, 1
        limit :embeddings_limit
    """
    with _explained():
        rows = conn.execute(sql, {**selection.values, "embeddings_limit": limit})
        return [ValueCount(*row) for row in rows]


def selectable_columns(conn: sqlite3.Connection, source: TableSource) -> list[str]:
    """The columns of *source* that conditions may name."""
    names = [column.name for column in columns_of(conn, source.table)]
    return names if ROWID not in source.key_columns else [ROWID, *names]


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        for start, meaning in FAULTS.items():
            if str(error).startswith(start):
                raise InvalidInputError(f"The filter {meaning}") from error
        raise
    except (OverflowError, UnicodeEncodeError) as error:
        raise InvalidInputError(
            f"The filter has a value SQL cannot take: {error}"
        ) from error
