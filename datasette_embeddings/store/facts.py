"""Facts about a collection that are stored as JSON, and read by those who know them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from datasette_embeddings.databases import quote
from datasette_embeddings.store.collections import StoredCollection

# JavaScript has whole numbers up to 2**53
VERSION_BITS = 52


def new_version() -> int:
    """A random number, by which a reader sees that something was written meanwhile."""
    return secrets.randbits(VERSION_BITS)


def read_facts(collection: StoredCollection, column: str) -> dict[str, Any]:
    """The JSON object in *column* of ``_embedding_collections``.

    It is empty without one, and if another program wrote something else.
    """
    if column not in collection.columns["_embedding_collections"]:
        return {}
    row = collection.conn.execute(
        f"""
        select {quote(column)}
        from _embedding_collections
        where collection_id = ? and name = ?
        """,
        [collection.id, collection.name],
    ).fetchone()
    try:
        stored = json.loads(row[0]) if row and row[0] else None
    except (TypeError, ValueError, RecursionError):
        return {}
    return stored if isinstance(stored, dict) else {}


def store_facts(
    collection: StoredCollection, column: str, facts: Mapping[str, object]
) -> None:
    """Store *facts* in *column*, or null if there are none; part of a transaction."""
    name = quote(column)
    # A collection that llm made has no row yet
    collection.conn.execute(
        f"""
        insert into _embedding_collections (collection_id, name, model, {name})
        select id, name, model, ?
        from collections
        where id = ?
        on conflict (collection_id) do update
        set {name} = excluded.{name}
        """,
        [json.dumps(facts) if facts else None, collection.id],
    )
