"""The changes of a run that need no model: metadata, origins, failures."""

from __future__ import annotations

import time

from datasette_embeddings.sources.definitions import Source, UnreadableSource
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.deletions import delete_emptied
from datasette_embeddings.store.diff import (
    ADOPTED,
    EMPTY,
    FAILED,
    METADATA,
    STAGED,
    UNCHANGED,
    UNREAD,
    Ownership,
)
from datasette_embeddings.store.origins import owner_sql
from datasette_embeddings.store.schema import (
    CHUNKS,
    FAILURES,
    ORIGINS,
    listed,
    transaction,
)
from datasette_embeddings.store.staging import Staging


def apply_small_changes(
    collection: Collection,
    staging: Staging,
    ownership: Ownership,
    *,
    store_content: bool,
) -> None:
    """Store new metadata and origins, delete emptied rows, copy content if asked to."""
    counts = staging.counts()
    if counts.get(EMPTY):
        delete_emptied(collection, ownership)
    if not (store_content or any(map(counts.get, (METADATA, ADOPTED)))):
        return
    # SQLite's own substr() ends a text at a NUL character
    collection.conn.create_function(
        "embedding_passage", 3, lambda content, start, end: content[start:end]
    )
    items = _STAGED_CHUNKS if ownership.is_chunked else _STAGED_ITEMS
    statements = [
        _METADATA_SQL.format(items=items),
        *([_CONTENT_SQL.format(items=items)] if store_content else []),
        (_FORGET_ORIGINS if ownership.source_id is None else _ORIGINS_SQL).format(
            items=items
        ),
    ]
    for low, high in staging.steps():
        parameters = {
            "collection_id": collection.id,
            "low": low,
            "high": high,
            "now": int(time.time()),
            "source_id": ownership.source_id,
        }
        with transaction(collection.conn):
            collection.check_exists()
            for sql in statements:
                collection.conn.execute(sql, parameters)


# Item and staged row side by side
_STAGED_ITEMS = f"""
    select id as item_id, state, metadata, content, null as start, null as "end"
    from {STAGED}
    where number between :low and :high
"""
_STAGED_CHUNKS = f"""
    select {CHUNKS}.id as item_id, state, metadata, content, start, "end"
    from {STAGED} as staged
    cross join {CHUNKS}
      on collection_id = :collection_id
      and document_id = staged.id
    where number between :low and :high
"""
_METADATA_SQL = f"""
    update embeddings
    set metadata = (
          select metadata
          from ({{items}})
          where item_id = embeddings.id
          and state = '{METADATA}'
        ),
        updated = :now
    where collection_id = :collection_id
    and id in (select item_id from ({{items}}) where state = '{METADATA}')
"""
# The states of rows whose vectors stay
COPIED = f"'{METADATA}', '{ADOPTED}', '{UNCHANGED}'"
_CONTENT_SQL = f"""
    update embeddings
    set (content, content_blob) = (
      select
        case when typeof(content) = 'text' then
          embedding_passage(content, start, "end") end,
        case when typeof(content) = 'blob' then content end
      from ({{items}})
      where item_id = embeddings.id
      and state in ({COPIED})
    )
    where collection_id = :collection_id
    and content is null
    and content_blob is null
    and id in (
      select item_id
      from ({{items}})
      where state in ({COPIED})
    )
"""
_ORIGINS_SQL = f"""
    insert or replace into {ORIGINS}
      (collection_id, id, source_id, content_hash, updated)
    select collection_id, embeddings.id, :source_id, content_hash, updated
    from ({{items}}) as staged
    cross join embeddings
      on embeddings.collection_id = :collection_id
      and embeddings.id = item_id
    where state in ('{METADATA}', '{ADOPTED}')
"""
_FORGET_ORIGINS = f"""
    delete from {ORIGINS}
    where collection_id = :collection_id
    and id in (select item_id from ({{items}}) where state = '{METADATA}')
"""


def forget_other_kind(collection: Collection, source: Source) -> None:
    """Clear the content hashes of items, if *source* now brings the other kind.

    Only if their content is not stored: then it is unknown whether the vector is of a
    text or of an image, and the same bytes have the same hash as both.
    """
    conn = collection.conn
    ids = [
        each.id
        for each in collection.sources
        if each.prefix == source.id_prefix
        and not isinstance(each.source, UnreadableSource)
        and each.source.images != source.images
    ]
    if not ids:
        return
    with transaction(conn):
        found = conn.execute(
            f"""
            select collection_id, id
            from embeddings
            where collection_id = ?
            and content is null
            and content_blob is null
            and {owner_sql(collection)} in ({listed(ids)})
            """,
            [collection.id],
        ).fetchall()
        for table in ("embeddings", ORIGINS):
            sql = f"update {table} set content_hash = null"
            conn.executemany(f"{sql} where collection_id = ? and id = ?", found)


def record_failures(
    collection: Collection, source_id: int | None, *, is_complete: bool
) -> None:
    """Store the staged rows of a source that failed; if *is_complete*, only these."""
    failed = f"from {STAGED} where state in ('{FAILED}', '{UNREAD}')"
    with transaction(collection.conn):
        collection.check_exists()
        collection.conn.execute(
            f"""
            insert into {FAILURES}
              (collection_id, id, error, attempts, last_tried, source_id)
            select ?, id, min(error), 1, ?, ?
            {failed}
            group by id
            on conflict (collection_id, id) do update
            set error = excluded.error,
                attempts = attempts + 1,
                last_tried = excluded.last_tried,
                source_id = excluded.source_id
            """,
            [collection.id, int(time.time()), source_id],
        )
        if is_complete:
            collection.conn.execute(
                f"""
                delete from {FAILURES}
                where collection_id = ?
                and (source_id is null or source_id = ?)
                and id not in (select id {failed})
                """,
                [collection.id, source_id],
            )
