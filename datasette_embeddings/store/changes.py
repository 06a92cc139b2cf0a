"""Collections made, brought up to date, renamed and deleted."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import asdict, replace

from datasette_embeddings.errors import InvalidInput, ModelMismatch, UnknownCollection
from datasette_embeddings.migrations import migrate
from datasette_embeddings.models.registry import canonical_id
from datasette_embeddings.sources import Source, UnreadableSource
from datasette_embeddings.store.catalog import (
    Collection,
    collection,
    collections,
    count_items,
    find_collection,
    source_tables,
)
from datasette_embeddings.store.schema import (
    OUR_COLLECTIONS,
    check_schema,
    columns_of,
    transaction,
)


def create_collection(
    conn: sqlite3.Connection, name: str, model_id: str, source: Source | None
) -> Collection:
    """The collection called *name*, made if need be, remembering its *source*.

    Who may see a collection depends on its source.  One that has items keeps the source
    that it has until :func:`finish_sync`, or is mixed where none was known.

    :raises ModelMismatch: if it is there and holds vectors of another model.
    :raises InvalidInput: if it is there and was made from other tables.
    """
    if not name.strip():
        raise InvalidInput("A collection needs a name that is not empty")
    check_schema(conn)
    migrate(conn)
    existing = find_collection(conn, name)
    if existing is not None and existing.model_id != canonical_id(model_id):
        raise ModelMismatch(name, existing.model_id, canonical_id(model_id))
    noted: Source | None = source
    if existing is not None and count_items(conn, existing):
        _check_same_tables(conn, existing, source)
        noted = _mixed(source) if existing.source is None else None
    with transaction(conn):
        _drop_stale_facts(conn)
        if existing is None:
            conn.execute(
                "insert into collections (name, model) values (?, ?)",
                [name, canonical_id(model_id)],
            )
        conn.execute(
            """
            insert into _embedding_collections
              (collection_id, name, model, source, created)
            select id, name, model, :source, :now
            from collections
            where name = :name
            on conflict (collection_id) do update
            set source = coalesce(excluded.source, source)
            """,
            {"name": name, "source": _write_source(noted), "now": int(time.time())},
        )
    return collection(conn, name)


def _check_same_tables(
    conn: sqlite3.Connection, existing: Collection, source: Source | None
) -> None:
    """Nothing, if *existing*, which has items, may be brought up to date from *source*.

    A table that is gone may have been renamed to the new one.
    """
    old, new = source_tables(existing.source), source_tables(source)
    is_there = all(columns_of(conn, table) for table in old)
    if old and is_there and set(old) - {"embeddings"} != set(new):
        raise InvalidInput(
            f"The collection {existing.name!r} is made from {', '.join(old)}, not from "
            f"{', '.join(new) or 'there'}; choose another collection name, "
            "or delete it first"
        )


def _mixed(source: Source | None) -> Source | None:
    if source is None or isinstance(source, UnreadableSource):
        return source
    return replace(source, is_mixed=True)


def _drop_stale_facts(conn: sqlite3.Connection) -> None:
    conn.execute(
        """
        delete from _embedding_collections
        where not exists (
          select 1
          from collections
          where collections.id = _embedding_collections.collection_id
          and collections.name = _embedding_collections.name
          and collections.model = _embedding_collections.model
        )
        """
    )


def check_exists(conn: sqlite3.Connection, collection: Collection) -> None:
    """Nothing, if *collection* is still there; a transaction asks before it writes.

    :raises UnknownCollection: if somebody deleted it meanwhile.
    """
    row = conn.execute(
        "select 1 from collections where id = ? and name = ?",
        [collection.id, collection.name],
    ).fetchone()
    if row is None:
        raise UnknownCollection(
            collection.name, [each.name for each in collections(conn)]
        )


def finish_sync(
    conn: sqlite3.Connection, collection: Collection, source: Source | None
) -> None:
    """Note that *collection* is up to date now, and all of it from *source*.

    *source* is None where it also holds items of elsewhere: it keeps what it had.
    """
    with transaction(conn):
        conn.execute(
            """
            update _embedding_collections
            set synced = :now,
                source = coalesce(:source, source),
                dimensions = (
                  select length(embedding) / 4
                  from embeddings
                  where collection_id = :id
                  limit 1
                )
            where collection_id = :id
            """,
            {
                "id": collection.id,
                "now": int(time.time()),
                "source": _write_source(source),
            },
        )


def rename_collection(conn: sqlite3.Connection, name: str, new_name: str) -> Collection:
    """The collection called *name*, now called *new_name*.

    :raises InvalidInput: if another one is called that already.
    """
    found = collection(conn, name)
    if not new_name.strip():
        raise InvalidInput("A collection needs a name that is not empty")
    if find_collection(conn, new_name) is not None:
        raise InvalidInput(f"There is a collection {new_name!r} already; it is kept")
    with transaction(conn):
        conn.execute(
            "update collections set name = ? where id = ?", [new_name, found.id]
        )
        if columns_of(conn, OUR_COLLECTIONS):
            conn.execute(
                """
                update _embedding_collections
                set name = ?
                where collection_id = ? and name = ?
                """,
                [new_name, found.id, name],
            )
    return replace(found, name=new_name)


def delete_collection(conn: sqlite3.Connection, name: str) -> Collection:
    """What was deleted: the collection called *name* with all its embeddings."""
    found = collection(conn, name)
    with transaction(conn):
        conn.execute("delete from embeddings where collection_id = ?", [found.id])
        conn.execute("delete from collections where id = ?", [found.id])
        if columns_of(conn, OUR_COLLECTIONS):
            _drop_stale_facts(conn)
    return found


def _write_source(source: Source | None) -> str | None:
    return None if source is None else json.dumps(asdict(source))
