"""Collections: create, update, rename, delete and rebuild them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from datasette_embeddings.config import DEFAULT_WORDS
from datasette_embeddings.databases import folder_of
from datasette_embeddings.errors import (
    InvalidInputError,
    ModelMismatchError,
    ModelSettingsMismatchError,
)
from datasette_embeddings.models.names import (
    ModelSettings,
    absolute,
    is_same_model,
    stored_id,
    stored_name,
)
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.store import schema
from datasette_embeddings.store.attaching import attach_source, move_old_sources
from datasette_embeddings.store.change_triggers import drop_stale_changes, drop_triggers
from datasette_embeddings.store.collections import (
    BUILDING,
    StoredCollection,
    all_collections,
    collection,
    current,
    find_collection,
)
from datasette_embeddings.store.metadata_index import MetadataIndex, index_metadata
from datasette_embeddings.store.tables import OUR_TABLES
from datasette_embeddings.store.words import Words, stale_tables

READY = "ready"
# The name of a collection that is being rebuilt, and how that of the old one begins
NEW_NAME, OLD_NAME = "{name} (rebuilding)", "{name} (replaced"


def check_name(name: str) -> None:
    """Check that *name* is not empty."""
    if not name.strip():
        raise InvalidInputError("A collection needs a name that is not empty")


def create_collection(
    conn: sqlite3.Connection,
    name: str,
    made_with: ModelSettings | str,
    source: Source | None,
    *,
    replace_source: bool = False,
    words: str | None = None,
    state: str = READY,
) -> StoredCollection:
    """The collection called *name*, created if it does not exist, with *source*.

    *made_with* is a model's id if nothing else is known of it.  Who may see a
    collection depends on its sources, so a source is added before its first items.
    *words* is the kind of its words index; None for the one it has, or the default.
    """
    check_name(name)
    schema.prepare(conn)
    settings = made_with
    if isinstance(settings, str):
        settings = ModelSettings(absolute(settings))
    with schema.transaction(conn):
        drop_stale_facts(conn)
        move_old_sources(conn)
        existing = next(iter(all_collections(conn, name)), None)
        if existing is None:
            model = stored_name(stored_id(settings.model_id), folder_of(conn))
            conn.execute(
                "insert into collections (name, model) values (?, ?)", [name, model]
            )
        elif existing.is_building or state == BUILDING:
            raise InvalidInputError(
                f"The name {name!r} is taken by a collection that is being rebuilt, or "
                "needed to rebuild one; choose another"
            )
        else:
            existing.check_can_add(settings)
        _store_facts(conn, name, settings, state)
        [found] = all_collections(conn, name)
        Words(found).create(words or found.words or DEFAULT_WORDS)
        if source is not None:
            attach_source(found, source, replace_source=replace_source)
        return current(found)


def _store_facts(
    conn: sqlite3.Connection, name: str, settings: ModelSettings, state: str
) -> None:
    """Store what a collection is made with; None keeps the stored value."""
    conn.execute(
        """
        insert into _embedding_collections (
          collection_id, name, model, model_revision, query_prompt,
          passage_prompt, normalized, state, created
        )
        select id, name, model, ?, ?, ?, ?, ?, ?
        from collections
        where name = ?
        on conflict (collection_id) do update
        set model_revision = coalesce(excluded.model_revision, model_revision),
            query_prompt = coalesce(excluded.query_prompt, query_prompt),
            passage_prompt = coalesce(excluded.passage_prompt, passage_prompt),
            normalized = coalesce(excluded.normalized, normalized),
            state = excluded.state
        """,
        [
            settings.revision,
            settings.query_prompt,
            settings.passage_prompt,
            settings.normalized,
            state,
            int(time.time()),
            name,
        ],
    )


def stale_facts(
    conn: sqlite3.Connection, tables: Sequence[str] = OUR_TABLES
) -> list[str]:
    """SQL for the rows of each of *tables* that belong to no collection.

    The collection was deleted, or another collection has its id now.
    """
    columns = schema.read_columns(conn)
    if not columns["_embedding_collections"]:
        return []
    return [
        f"""
        from {each}
        where collection_id not in (
          select collections.id
          from collections
          join _embedding_collections as facts
            on facts.collection_id = collections.id
            and facts.name = collections.name
            and facts.model = collections.model
        )
        """
        for each in tables
        if columns[each]
    ]


def drop_stale_facts(conn: sqlite3.Connection) -> None:
    """Delete what is stored of collections that no longer exist."""
    stale = stale_facts(conn)
    if not stale:
        # Only llm has written here
        return
    for table in stale_tables(conn):
        conn.execute(f"drop table {table}")
    for rows in stale:
        conn.execute(f"delete {rows}")
    if schema.read_columns(conn)["_embedding_changes"]:
        drop_stale_changes(conn)


def rename_collection(
    conn: sqlite3.Connection, name: str, new_name: str
) -> StoredCollection:
    """The collection called *name*, now called *new_name*."""
    found = collection(conn, name)
    check_name(new_name)
    if all_collections(conn, new_name):
        raise InvalidInputError(f"There is a collection {new_name!r} already")
    with schema.transaction(conn):
        _rename(found, new_name)
    return replace(found, name=new_name)


def _rename(collection: StoredCollection, name: str) -> None:
    for table, column in (
        ("collections", "id"),
        ("_embedding_collections", "collection_id"),
    ):
        if collection.columns[table]:
            collection.conn.execute(
                f"update {table} set name = ? where {column} = ? and name = ?",
                [name, collection.id, collection.name],
            )


def store_closeness(collection: StoredCollection, closeness: float) -> None:
    """Store from which *closeness* on an answer of *collection* is close."""
    schema.prepare(collection.conn)
    with schema.transaction(collection.conn):
        _store_closeness(current(collection), closeness)


def _store_closeness(collection: StoredCollection, closeness: float | None) -> None:
    collection.conn.execute(
        """
        update _embedding_collections
        set closeness = ?
        where collection_id = ?
        """,
        [closeness, collection.id],
    )


def delete_collection(conn: sqlite3.Connection, name: str) -> StoredCollection:
    """Delete the collection called *name* with all that belongs to it; return it."""
    found = collection(conn, name)
    for twin in (NEW_NAME, OLD_NAME):
        _remove_unfinished(conn, twin.format(name=name))
    remove_collection(found)
    return found


def remove_collection(collection: StoredCollection) -> None:
    """Delete *collection* with all that belongs to it."""
    conn = collection.conn
    with schema.transaction(conn):
        MetadataIndex(collection).drop()
        conn.execute("delete from embeddings where collection_id = ?", [collection.id])
        conn.execute("delete from collections where id = ?", [collection.id])
        drop_triggers(conn, collection.id)
        drop_stale_facts(conn)


def begin_rebuild(
    conn: sqlite3.Connection,
    name: str,
    settings: ModelSettings,
    source: Source,
    *,
    words: str | None = None,
) -> StoredCollection:
    """A hidden collection that will replace the one called *name*.

    One that an earlier run left unfinished is continued, if it is of the same model,
    settings and source.
    """
    schema.prepare(conn)
    new_name = NEW_NAME.format(name=name)
    for begun in unfinished(conn, new_name):
        with suppress(ModelMismatchError, ModelSettingsMismatchError):
            begun.check_settings(settings, ignored=())
            # The rows of a pipe may be of another pipe
            if begun.source == source and words in (None, begun.words):
                return begun
        remove_collection(begun)
    old = find_collection(conn, name)
    if words is None and old is not None:
        words = old.words
    building = create_collection(
        conn, new_name, settings, source, words=words, state=BUILDING
    )
    if old is not None:
        index_metadata(building, MetadataIndex(old).keys())
    return building


def finish_rebuild(building: StoredCollection, name: str) -> StoredCollection:
    """The collection called *name*, which is *building* from now on.

    The names change in one transaction; the old collection is deleted afterwards.
    """
    conn, unknown = building.conn, ModelSettings("")
    with schema.transaction(conn):
        building = current(building)
        old = find_collection(conn, name)
        if old is not None:
            # Hidden from now on, also if llm made it
            _store_facts(conn, name, unknown, BUILDING)
            _rename(old, f"{OLD_NAME.format(name=name)} {old.id})")
        _rename(building, name)
        _store_facts(conn, name, unknown, READY)
        if old is not None and is_same_model(old.model_id, building.model_id):
            _store_closeness(building, old.closeness)
    # Not one that another run has begun to rebuild since
    _remove_unfinished(conn, OLD_NAME.format(name=name))
    return collection(conn, name)


def _remove_unfinished(conn: sqlite3.Connection, start_of_name: str) -> None:
    for each in unfinished(conn):
        if each.name.startswith(start_of_name):
            remove_collection(each)


def unfinished(
    conn: sqlite3.Connection, name: str | None = None
) -> list[StoredCollection]:
    """Collections that an interrupted rebuild left: built in part, or replaced."""
    return [each for each in all_collections(conn, name) if each.is_building]
