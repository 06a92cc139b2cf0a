"""The tables of similarities, and what a collection remembers of its own."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.errors import SchemaError
from datasette_embeddings.store.changes import prepare
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.schema import (
    OUR_COLLECTIONS,
    REQUIRED_COLUMNS,
    SIMILARITIES,
    SIMILARITY_MARKS,
    columns_of,
    read_columns,
    transaction,
)

# Another program may have written the limit
LARGEST_LIMIT = 1_000_000


def prepare_similarities(conn: sqlite3.Connection) -> None:
    """Make the tables of similarities, if need be.

    :raises SchemaError: if there is a table of that name with other columns.
    """
    found = columns_of(conn, SIMILARITIES)
    if found and not read_columns(conn)[SIMILARITIES]:
        raise SchemaError(SIMILARITIES, REQUIRED_COLUMNS[SIMILARITIES], found)
    prepare(conn)
    with transaction(conn):
        conn.execute(
            f"""
            create table if not exists {SIMILARITIES} (
              collection_id integer,
              id text,
              other_id text,
              score real,
              primary key (id, collection_id, other_id)
            ) without rowid
            """
        )
        conn.execute(
            f"""
            create table if not exists {SIMILARITY_MARKS} (
              collection_id integer,
              id text,
              state text,
              lowest real,
              primary key (collection_id, id)
            ) without rowid
            """
        )


def similarity_settings(collection: Collection) -> SimilaritySettings | None:
    """What similarities *collection* is to have; None for none."""
    noted = _noted(collection)
    if not isinstance(noted, dict):
        return None
    limit, min_score = noted.get("limit"), noted.get("min_score")
    if type(limit) is not int or not 0 < limit <= LARGEST_LIMIT:
        return None
    if not isinstance(min_score, float | int | None):
        min_score = None
    return SimilaritySettings(limit, min_score)


def similarities_state(collection: Collection) -> list[float] | None:
    """The snapshot of the vectors that the similarities of *collection* are of."""
    noted = _noted(collection)
    state = noted.get("state") if isinstance(noted, dict) else None
    return state if isinstance(state, list) else None


def _noted(collection: Collection) -> object:
    if "similarities" not in columns_of(collection.conn, OUR_COLLECTIONS):
        return None
    row = collection.conn.execute(
        """
        select similarities
        from _embedding_collections
        where collection_id = ? and name = ?
        """,
        [collection.id, collection.name],
    ).fetchone()
    try:
        return json.loads(row[0]) if row and row[0] else None
    except (TypeError, ValueError):
        # Somebody else's note
        return None


def note_similarities(
    collection: Collection,
    settings: SimilaritySettings | None,
    state: Sequence[float | None] | None = None,
) -> None:
    """Remember what similarities *collection* is to have, and of which vectors."""
    noted = None
    if settings is not None:
        values = {
            "limit": settings.limit,
            "min_score": settings.min_score,
            "state": None if state is None else list(state),
        }
        noted = json.dumps(
            {name: value for name, value in values.items() if value is not None}
        )
    # llm's collections have no row of ours yet
    collection.conn.execute(
        """
        insert into _embedding_collections (collection_id, name, model, similarities)
        select id, name, model, :noted
        from collections
        where id = :id
        on conflict (collection_id) do update
        set similarities = excluded.similarities
        """,
        {"id": collection.id, "noted": noted},
    )
