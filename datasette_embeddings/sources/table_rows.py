"""The rows of a source table that items came from."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from datasette_embeddings.databases import quote
from datasette_embeddings.documents import Document, item_id_of, key_values
from datasette_embeddings.errors import SourceError
from datasette_embeddings.images import MAX_BYTES
from datasette_embeddings.sources.content import content_of_row
from datasette_embeddings.sources.definitions import TableSource

MAX_INTEGER = 2**63
# SQLite takes at least 999 parameters in one statement
MOST_PARAMETERS = 900
# A search reads images up to this many bytes to compare them with the embedded ones
LARGEST_COMPARED_IMAGE = 1_000_000
# Characters of a value in the address of an item
LONGEST_LINKED = 2_000


@dataclass(frozen=True)
class SourceRow:
    """What a search result shows of a source row."""

    title: str | None
    #: None if it is not text
    content: str | None
    #: It holds an image, which :func:`image_of_row` reads
    has_image: bool = False
    #: The columns that the address of its item uses
    linked: Mapping[str, object] = field(default_factory=dict)
    #: The hash of the content as it is embedded, b"" where it cannot be embedded, None
    #: for an image that is too large to be read for that
    content_hash: bytes | None = None


def source_rows(
    conn: sqlite3.Connection, source: TableSource, item_ids: Sequence[str]
) -> dict[str, SourceRow]:
    """The rows of *item_ids*; an id whose row was deleted is left out."""
    rows = _rows_of(conn, source, _row_sql(source), item_ids)
    found, count = {}, len(source.content_columns)
    for item_id, (title, has_image, *selected) in rows.items():
        content, digest, values = None, None, selected[:count]
        # Imported vectors have no content, and an image that is too large was not read
        if values and not (has_image and values == [None]):
            try:
                content = content_of_row(source, source.content_columns, values)
                digest = Document(item_id, content).content_hash
            except SourceError:
                # It may have become a BLOB since it was embedded
                digest = b""
        found[item_id] = SourceRow(
            None if title is None else str(title),
            content if isinstance(content, str) else None,
            bool(has_image),
            dict(zip(source.url_columns, selected[count:], strict=True)),
            digest,
        )
    return found


# Every search of a collection selects the same
@lru_cache(maxsize=128)
def _row_sql(source: TableSource) -> tuple[str, str]:
    title, has_image = "null", "0"
    if source.title_column is not None:
        title = source.column_sql(source.title_column)
    if source.image_column is not None:
        has_image = f"typeof({source.column_sql(source.image_column)}) = 'blob'"
    largest = LARGEST_COMPARED_IMAGE if source.images else None
    values = [_value_sql(source, name, largest) for name in source.content_columns]
    values += [_value_sql(source, name, LONGEST_LINKED) for name in source.url_columns]
    return _select_sql(source, [title, has_image, *values])


def _select_sql(source: TableSource, selected: Sequence[str]) -> tuple[str, str]:
    """SQL for the key of rows and what is *selected* of them, and for one key."""
    names = [source.column_sql(column) for column in source.key_columns]
    columns = ", ".join([*names, *selected])
    # A column without a type keeps 7, '7' and x'37' apart, and the id is text
    condition = " and ".join(f"{name} in (?, ?, ?)" for name in names)
    return f"select {columns} from main.{quote(source.table)}", f"({condition})"


def image_of_row(
    conn: sqlite3.Connection, source: TableSource, item_id: str
) -> bytes | None:
    """The bytes that the row of *item_id* holds for an image, if it has one.

    A value that is larger than an image may be is not read.
    """
    if source.image_column is None:
        return None
    value = _value_sql(source, source.image_column, MAX_BYTES)
    sql = _select_sql(source, [value])
    [image] = _rows_of(conn, source, sql, [item_id]).get(item_id, [None])
    return image if isinstance(image, bytes) else None


def values_of(
    conn: sqlite3.Connection, source: TableSource, column: str, item_ids: Sequence[str]
) -> dict[str, object]:
    """What *column* holds in the row of each of *item_ids* that exists."""
    sql = _select_sql(source, [source.column_sql(column)])
    rows = _rows_of(conn, source, sql, item_ids)
    return {item_id: value for item_id, (value,) in rows.items()}


def beginnings_of(
    conn: sqlite3.Connection,
    source: TableSource,
    column: str,
    item_ids: Sequence[str],
    *,
    length: int,
) -> dict[str, object]:
    """:func:`values_of` for thousands of rows: texts are cut, and BLOBs are null."""
    cut, found = cut_sql(source.column_sql(column), length), dict[str, object]()
    prefix = source.id_prefix
    if len(source.key_columns) == 1:
        keys = [e.removeprefix(prefix) for e in item_ids if e.startswith(prefix)]
        # One statement, a third of the time, where keys are what their ids say
        sql = f"""
            select wanted.value, {cut}
            from json_each(?) as wanted
            cross join main.{quote(source.table)}
              on {source.column_sql(source.key_columns[0])} = wanted.value
        """
        rows = conn.execute(sql, [json.dumps(keys)])
        found = {prefix + key: value for key, value in rows}
    missing = [each for each in item_ids if each not in found]
    others = _rows_of(conn, source, _select_sql(source, [cut]), missing)
    return {**found, **{item_id: value for item_id, (value,) in others.items()}}


def cut_sql(value: str, longest: int) -> str:
    """SQL for *value*, of a text its first characters, of a BLOB null."""
    cut = f"when 'text' then substr({value}, 1, {longest}) when 'blob' then null"
    return f"case typeof({value}) {cut} else {value} end"


def _value_sql(source: TableSource, column: str, largest: int | None) -> str:
    value = source.column_sql(column)
    # SQLite knows the length of a BLOB without reading it
    limited = f"case when length({value}) <= {largest} then {value} end"
    return value if largest is None else limited


def _rows_of(
    conn: sqlite3.Connection,
    source: TableSource,
    sql: tuple[str, str],
    item_ids: Sequence[str],
) -> dict[str, Sequence[object]]:
    """What *sql* of :func:`_select_sql` gives of *item_ids*, as far as they exist."""
    select, condition = sql
    prefix, count = source.id_prefix, len(source.key_columns)
    keys = {
        each: key
        for each in item_ids
        if each.startswith(prefix)
        and (key := key_values(each.removeprefix(prefix), count)) is not None
    }
    found: dict[str, Sequence[object]] = {}
    portion = max(1, MOST_PARAMETERS // (3 * count))
    for start in range(0, len(keys), portion):
        some = list(keys.values())[start : start + portion]
        where = " or ".join([condition] * len(some))
        parts = [part for key in some for part in key]
        values = [v for part in parts for v in (part, number_or(part), part.encode())]
        for row in conn.execute(f"{select} where {where}", values):
            item_id = prefix + item_id_of(row[:count])
            if item_id in keys:
                found.setdefault(item_id, row[count:])
    return found


def number_or(text: str) -> int | float | str:
    """The number that is written as *text*, else *text*."""
    for kind in (int, float):
        try:
            number = kind(text)
        except (ValueError, OverflowError):
            continue
        if str(number) == text and abs(number) < MAX_INTEGER:
            return number
    return text
