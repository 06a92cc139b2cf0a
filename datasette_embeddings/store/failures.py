"""Rows that could not be embedded, and why."""

from __future__ import annotations

import time
from dataclasses import dataclass

from datasette_embeddings.store.catalog import Collection
from datasette_embeddings.store.changes import check_exists
from datasette_embeddings.store.schema import (
    FAILURES,
    columns_of,
    transaction,
    valid_sql,
)
from datasette_embeddings.store.states import STAGED


@dataclass(frozen=True)
class StoredFailure:
    """A row that could not be embedded, in how many runs, and when last."""

    id: str
    error: str
    attempts: int
    last_tried: int


def record_failures(
    collection: Collection,
    source_id: int | None,
    *,
    is_complete: bool,
) -> None:
    """Note the staged rows of a source that failed; if *is_complete*, only these."""
    conn = collection.conn
    with transaction(conn):
        check_exists(collection)
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


def count_failures(collection: Collection) -> int:
    """How many rows of *collection* could not be embedded."""
    if not columns_of(collection.conn, FAILURES):
        return 0
    row = collection.conn.execute(
        "select count(*) from _embedding_failures where collection_id = ?",
        [collection.id],
    ).fetchone()
    return int(row[0])


def failures(collection: Collection) -> list[StoredFailure]:
    """The rows of *collection* that could not be embedded, by id."""
    if not columns_of(collection.conn, FAILURES):
        return []
    rows = collection.conn.execute(
        f"""
        select id, error, attempts, last_tried
        from _embedding_failures
        where {valid_sql(FAILURES)}
        and collection_id = ?
        order by id
        """,
        [collection.id],
    )
    return [StoredFailure(*row) for row in rows]
