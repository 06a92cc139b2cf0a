"""The metadata of a collection's items as rows of SQL: a column for each key."""

from __future__ import annotations

import re
from collections.abc import Sequence

from datasette_embeddings.databases import quote
from datasette_embeddings.store.chunks import DOCUMENT, items_with_chunks
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.schema import rows_in

#: The first column of the rows, and their name
ID, METADATA = "id", "metadata"
# Keys that are columns without being named, and how many of the first and of the last
# items are looked at to find them
MOST_KEYS, SAMPLED_ITEMS = 100, 250
LONGEST_KEY = 200
# A key that a path of SQLite's JSON functions can have in quotation marks
PLAIN_KEY = re.compile(r"[ !#-\[\]-~]+")
_IS_JSON = """
    typeof(embeddings.metadata) = 'text' and json_valid(embeddings.metadata)
"""
_KEYS = f"json_each(case when {_IS_JSON} then embeddings.metadata end)"
_ALL = "select metadata from embeddings where collection_id = :id"
_SOME = f"""
    select * from ({_ALL} order by id limit {SAMPLED_ITEMS})
    union all
    select * from ({_ALL} order by id desc limit {SAMPLED_ITEMS})
"""


def metadata_keys(
    collection: StoredCollection, named: Sequence[str] | None = None
) -> list[str]:
    """The keys that sources declare, and those of some items, the most frequent first.

    Of *named* also those that any item has; if it is None, the keys of all items.
    """
    found = collection.conn.execute(
        f"""
        select key
        from ({_ALL if named is None else _SOME}) as embeddings, {_KEYS}
        where typeof(key) = 'text'
        and length(key) <= {LONGEST_KEY}
        group by key
        order by count(*) desc, key
        limit {MOST_KEYS}
        """,
        {"id": collection.id},
    )
    sources = collection.current_sources
    declared = [name for each in sources for name in each.source.metadata_columns]
    known = [*declared, *(key for (key,) in found)][:MOST_KEYS]
    missing = {each for each in named or () if len(each) <= LONGEST_KEY}
    missing -= {ID, *known}
    if missing:
        # It may be the key of a few items only
        sql = f"""
            select distinct key
            from embeddings, {_KEYS}
            where collection_id = ?
            and key in
        """
        rows = rows_in(collection.conn, sql, [collection.id], sorted(missing))
        known += [key for (key,) in rows]
    # SQL compares names without case
    columns = {ID: ID}
    for key in known:
        if key and "\0" not in key:
            columns.setdefault(key.lower(), key)
    return [*columns.values()][1:]


def metadata_rows(collection: StoredCollection, keys: Sequence[str]) -> str:
    """SQL for a row of each document, called ``metadata``: its id and these *keys*."""
    # A cast, because a number is compared with the result of one as a text
    columns = [f"cast({DOCUMENT} as text) as {quote(ID)}"]
    columns += [f"{_value_sql(key)} as {quote(key)}" for key in keys]
    return f"""(
        select {", ".join(columns)}
        {items_with_chunks(collection)}
        and coalesce(chunks.position, 0) = 0
    ) as {METADATA}
    """


def _value_sql(key: str) -> str:
    """SQL for the value of *key*.

    A text that reads as a number is one, as in metadata from CSV; a list is JSON.
    """
    text = key.replace("'", "''")
    value = f"(select value from json_each(embeddings.metadata) where key = '{text}')"
    if PLAIN_KEY.fullmatch(key):
        value = f"json_extract(embeddings.metadata, '$.\"{text}\"')"
    return f"""
        case when {_IS_JSON} then
          case when typeof({value}) = 'text'
          and {value} glob '[-0-9]*'
          and cast(cast({value} as numeric) as text) = {value}
          then cast({value} as numeric) else {value} end
        end
    """
