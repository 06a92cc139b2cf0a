"""The metadata of a collection's items as rows of SQL: a column for each key."""

from __future__ import annotations

from collections.abc import Sequence

from datasette_embeddings.databases import quote
from datasette_embeddings.sources.table_rows import cut_sql
from datasette_embeddings.store.chunks import items_with_chunks
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.metadata_index import (
    ITEM,
    LONGEST_KEY,
    MetadataIndex,
    is_json_sql,
    value_sql,
)
from datasette_embeddings.store.schema import rows_in, table_or_empty

#: The first column of the rows, and their name
ID, METADATA = "id", "metadata"
# Keys that are columns without being named, and how many of the first and of the last
# items are looked at to find them
MOST_KEYS, SAMPLED_ITEMS = 100, 250
_IS_JSON = is_json_sql("embeddings.metadata")
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
    indexed = MetadataIndex(collection).keys()
    known = [*declared, *indexed, *(key for (key,) in found)][:MOST_KEYS]
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
    index = MetadataIndex(collection)
    indexed = index.keys()
    item_id = f"indexed.{ITEM}" if indexed else "embeddings.id"
    # A cast, because a number is compared with the result of one as a text
    document = f"cast(coalesce(chunks.document_id, {item_id}) as text)"
    columns = [f"{document} as {quote(ID)}"]
    for key in keys:
        value = f"indexed.{quote(key)}" if key in indexed else value_sql(key)
        columns.append(f"{value} as {quote(key)}")
    rows = items_with_chunks(collection)
    if indexed:
        reads_items = not {*keys} <= {*indexed}
        rows = _indexed_rows(collection, index.table, reads_items=reads_items)
    return f"""(
        select {", ".join(columns)}
        {rows}
        and coalesce(chunks.position, 0) = 0
    ) as {METADATA}
    """


def values_of_key(
    collection: StoredCollection, key: str, document_ids: Sequence[str], *, length: int
) -> dict[str, object]:
    """The value of *key* in the metadata of each of *document_ids* that has some.

    Of a text *length* characters are read; a list or an object is JSON.
    """
    index = MetadataIndex(collection)
    table, item_id, value = "embeddings", "embeddings.id", value_sql(key)
    own = f"embeddings.collection_id = {int(collection.id)}"
    indexed = index.keys()
    if key in indexed:
        table, item_id, own = index.table, f"{index.table}.{ITEM}", "true"
        value = f"{index.table}.{quote(key)}"
    selected = cut_sql(value, length)
    queries = [f"select {item_id}, {selected} from {table} where {own} and {item_id}"]
    if collection.has_chunks:
        queries.append(
            f"""
            select chunks.document_id, {selected}
            from _embedding_chunks as chunks
            join {table} on {item_id} = chunks.id and {own}
            where chunks.collection_id = {int(collection.id)}
            and chunks.position = 0
            and chunks.document_id
            """
        )
    return {
        document_id: found
        for sql in queries
        for document_id, found in rows_in(
            collection.conn, f"{sql} in", [], document_ids
        )
    }


def _indexed_rows(
    collection: StoredCollection, table: str, *, reads_items: bool
) -> str:
    """SQL for the rows of the index *table*, with their chunks and perhaps items."""
    columns = collection.columns if collection.has_chunks else {"_embedding_chunks": ()}
    own = f"collection_id = {int(collection.id)}"
    items = f"""
        left join embeddings
          on embeddings.{own}
          and embeddings.id = indexed.{ITEM}
    """
    return f"""
        from {table} as indexed
        {items if reads_items else ""}
        left join {table_or_empty("_embedding_chunks", columns)} as chunks
          on chunks.{own}
          and chunks.id = indexed.{ITEM}
          and typeof(chunks.document_id) = 'text'
        where true
    """
