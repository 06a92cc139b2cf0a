"""The key of a row as a text that a trigger can write and that loses nothing.

Each value of the key is a letter for its type and the value: ``i7``, ``r0.5``, ``t``
and ``b`` with the bytes in hexadecimal digits.  Commas stand between several.  No
function that makes it fails on any value, unlike ``json_array``, which takes no BLOB.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from datasette_embeddings.databases import quote
from datasette_embeddings.documents import item_id_of
from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.sources.table_rows import number_or

#: Characters, or bytes, of a value of a key that a trigger writes
LONGEST_VALUE = 10_000

#: A value of a key: bytes of a text or BLOB, or a number
Value: TypeAlias = "tuple[str, int | float | bytes]"


def key_sql(columns: Sequence[str], row: str) -> str:
    """SQL for the key of *row*, ``new`` or ``old`` in a trigger.

    It is NULL for a value that is NULL or longer than LONGEST_VALUE.
    """
    return " || ',' || ".join(_value_sql(f"{row}.{quote(each)}") for each in columns)


def _value_sql(value: str) -> str:
    is_short = f"length({value}) <= {LONGEST_VALUE}"
    return f"""case typeof({value})
        when 'integer' then 'i' || {value}
        when 'real' then 'r' || quote({value})
        when 'text' then case when {is_short} then 't' || hex({value}) end
        when 'blob' then case when {is_short} then 'b' || hex({value}) end
      end"""


@dataclass(frozen=True)
class RowKey:
    """The values of the key of a row."""

    values: tuple[Value, ...]
    #: Of the texts of the database, such as "UTF-8"
    encoding: str = "UTF-8"

    @property
    def item_id(self) -> str:
        """The id of the row's item, without a prefix."""
        return item_id_of([self._read(each) for each in self.values])

    def _read(self, value: Value) -> object:
        kind, found = value
        is_text = kind == "t" and isinstance(found, bytes)
        return found.decode(self.encoding, "replace") if is_text else found  # type: ignore[union-attr]

    def condition(self, columns: Sequence[str]) -> tuple[str, list[object]]:
        """SQL for the rows of the same item, by the names of *columns*, and values.

        A column without a type keeps 7, '7' and x'37' apart, and their id is one.
        """
        parts, values = [], list[object]()
        for column, value in zip(columns, self.values, strict=True):
            mark, own = "?", self._read(value)
            text = item_id_of([own])
            if isinstance(own, str) and "\ufffd" in own and self.encoding == "UTF-8":
                # Not every text of SQLite is UTF-8; "+", or the type of the cast rules
                mark, own = "+cast(? as text)", value[1]
            parts.append(f"{column} in ({mark}, ?, ?, ?)")
            values += [own, text, number_or(text), text.encode()]
        return " and ".join(parts), values


def row_key(text: object, count: int, encoding: str) -> RowKey | None:
    """The key of *count* values as :func:`key_sql` writes it; None for other texts."""
    parts = text.split(",") if isinstance(text, str) else []
    try:
        values = tuple((part[:1], _READERS[part[:1]](part[1:])) for part in parts)
    except (KeyError, ValueError):
        return None
    return RowKey(values, encoding) if len(values) == count else None


_READERS: dict[str, Any] = {
    "i": int,
    "r": float,
    "t": bytes.fromhex,
    "b": bytes.fromhex,
}


def text_encoding(conn: sqlite3.Connection) -> str:
    """How the main database of *conn* encodes texts."""
    return str(conn.execute("pragma encoding").fetchone()[0])


def rows_of_key(
    conn: sqlite3.Connection, source: TableSource, key: RowKey
) -> tuple[Sequence[str], list[Any]]:
    """The names of the columns of ``source.sql``, and the rows of the item of *key*.

    :raises SourceError: if the table lacks a column by now.
    """
    columns = [source.column_sql(each) for each in source.key_columns]
    condition, values = key.condition(columns)
    try:
        found = conn.execute(f"{source.sql} where {condition}", values)
    except sqlite3.OperationalError as error:
        if not str(error).startswith("no such"):
            raise
        raise SourceError(f"The rows cannot be read: {error}") from error
    return [each[0] for each in found.description], found.fetchall()
