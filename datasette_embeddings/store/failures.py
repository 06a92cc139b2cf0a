"""Rows that could not be embedded, and why."""

from __future__ import annotations

import time

from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.schema import (
    transaction,
)
from datasette_embeddings.store.states import STAGED


def record_failures(
    collection: Collection,
    source_id: int | None,
    *,
    is_complete: bool,
) -> None:
    """Note the staged rows of a source that failed; if *is_complete*, only these."""
    conn = collection.conn
    with transaction(conn):
        collection.check_exists()
        conn.execute(
            f"""
            insert into _embedding_failures
              (collection_id, id, error, attempts, last_tried, source_id)
            select :collection_id, id, min(error), 1, :now, :source_id
            from {STAGED}
            where state in ('failed', 'unread')
            group by id
            on conflict (collection_id, id) do update
            set error = excluded.error,
                attempts = attempts + 1,
                last_tried = excluded.last_tried,
                source_id = excluded.source_id
            """,
            {
                "collection_id": collection.id,
                "now": int(time.time()),
                "source_id": source_id,
            },
        )
        if is_complete:
            conn.execute(
                f"""
                delete from _embedding_failures
                where collection_id = ?
                and (source_id is null or source_id = ?)
                and id not in (
                  select id
                  from {STAGED}
                  where state in ('failed', 'unread')
                )
                """,
                [collection.id, source_id],
            )
