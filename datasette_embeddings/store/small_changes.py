"""Changes without the model: metadata, origins, stored content, deletions."""

from __future__ import annotations

import time

from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.store.staging import Staging
from datasette_embeddings.store.states import (
    ADOPTED,
    EMPTY,
    METADATA,
    STAGED,
    Ownership,
)


def apply_small_changes(
    collection: Collection,
    staging: Staging,
    ownership: Ownership,
    *,
    is_chunked: bool,
    store_content: bool,
) -> None:
    """What needs no model: metadata, origins, rows that lost their content, copies."""
    conn = collection.conn
    counts = staging.counts()
    if not (store_content or any(map(counts.get, (METADATA, ADOPTED, EMPTY)))):
        return
    # SQLite's own substr() ends a text at a NUL character
    conn.create_function("embedding_passage", 3, _passage)
    for low, high in staging.steps():
        parameters = {
            "collection_id": collection.id,
            "low": low,
            "high": high,
            "now": int(time.time()),
            "source_id": ownership.source_id,
        }
        items = _STAGED_CHUNKS if is_chunked else _STAGED_ITEMS
        with transaction(conn):
            collection.check_exists()
            conn.execute(_METADATA_SQL.format(items=items), parameters)
            if store_content:
                conn.execute(_CONTENT_SQL.format(items=items), parameters)
            origins = _ORIGINS_GONE if ownership.source_id is None else _ORIGINS_SQL
            conn.execute(origins.format(items=items), parameters)
            for sql in _EMPTY_SQL:
                conn.execute(sql.format(is_own=ownership.is_own_sql), parameters)


def _passage(content: str, start: int | None, end: int | None) -> str:
    return content[start:end]


# Item and staged row side by side
_STAGED_ITEMS = f"""
    select id as item_id, state, metadata, content, null as start, null as "end"
    from {STAGED}
    where number between :low and :high
"""
_STAGED_CHUNKS = f"""
    select _embedding_chunks.id as item_id, state, metadata, content, start, "end"
    from {STAGED} as staged
    cross join _embedding_chunks
      on collection_id = :collection_id
      and document_id = staged.id
    where number between :low and :high
"""
_METADATA_SQL = """
    update embeddings
    set metadata = (
          select metadata
          from ({items})
          where item_id = embeddings.id
          and state = 'metadata'
        ),
        updated = :now
    where collection_id = :collection_id
    and id in (select item_id from ({items}) where state = 'metadata')
"""
_CONTENT_SQL = """
    update embeddings
    set (content, content_blob) = (
      select
        case when typeof(content) = 'text' then
          embedding_passage(content, start, "end") end,
        case when typeof(content) = 'blob' then content end
      from ({items})
      where item_id = embeddings.id
      and state in ('metadata', 'adopted', 'unchanged')
    )
    where collection_id = :collection_id
    and content is null
    and content_blob is null
    and id in (
      select item_id
      from ({items})
      where state in ('metadata', 'adopted', 'unchanged')
    )
"""
_ORIGINS_SQL = """
    insert or replace into _embedding_origins
      (collection_id, id, source_id, content_hash, updated)
    select collection_id, embeddings.id, :source_id, content_hash, updated
    from ({items}) as staged
    cross join embeddings
      on embeddings.collection_id = :collection_id
      and embeddings.id = item_id
    where state in ('metadata', 'adopted')
"""
_ORIGINS_GONE = """
    delete from _embedding_origins
    where collection_id = :collection_id
    and id in (select item_id from ({items}) where state = 'metadata')
"""
_EMPTY_IDS = f"""
    select id
    from {STAGED}
    where state = 'empty'
    and number between :low and :high
"""
_EMPTY_CHUNKS = f"""
    select id
    from _embedding_chunks
    where collection_id = :collection_id
    and document_id in ({_EMPTY_IDS})
"""
_IS_GONE = """
    not exists (
      select 1
      from embeddings
      where embeddings.collection_id = :collection_id
      and embeddings.id = {table}.id
    )
"""
_EMPTY_SQL = (
    f"""
    delete from embeddings
    where collection_id = :collection_id
    and id in ({_EMPTY_IDS})
    and {{is_own}}
    and not exists (
      select 1
      from _embedding_chunks
      where collection_id = :collection_id
      and id = embeddings.id
    )
    """,
    f"""
    delete from embeddings
    where collection_id = :collection_id
    and id in ({_EMPTY_CHUNKS})
    and {{is_own}}
    """,
    f"""
    delete from _embedding_origins
    where collection_id = :collection_id
    and id in ({_EMPTY_IDS} union all {_EMPTY_CHUNKS})
    and {_IS_GONE.format(table="_embedding_origins")}
    """,
    f"""
    delete from _embedding_chunks
    where collection_id = :collection_id
    and document_id in ({_EMPTY_IDS})
    and {_IS_GONE.format(table="_embedding_chunks")}
    """,
)
