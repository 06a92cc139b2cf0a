"""Collections: create, update, rename, delete and rebuild them."""

from __future__ import annotations

import sqlite3
import time
from contextlib import suppress
from dataclasses import replace
from itertools import chain, count

from datasette_embeddings.databases import folder_of
from datasette_embeddings.errors import (
    InvalidInputError,
    ModelMismatchError,
    ModelSettingsMismatchError,
    UnknownCollectionError,
)
from datasette_embeddings.models.names import (
    ModelSettings,
    absolute,
    stored_id,
    stored_name,
)
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.store.attaching import (
    attach_source,
    move_old_sources,
)
from datasette_embeddings.store.collections import (
    BUILDING,
    Collection,
    all_collections,
    collection,
    find_collection,
)
from datasette_embeddings.store.schema import (
    OUR_COLLECTIONS,
    SIDE_TABLES,
    prepare,
    read_columns,
    transaction,
)

READY = "ready"
# Names of a collection that is being rebuilt, and of the one that it replaced
NEW_NAME, OLD_NAME = "{name} (rebuilding)", "{name} (replaced)"
#: Facts about a deleted collection, or one whose id another collection has now
STALE_FACTS = """
    from _embedding_collections
    where not exists (
      select 1
      from collections
      where collections.id = _embedding_collections.collection_id
      and collections.name = _embedding_collections.name
      and collections.model = _embedding_collections.model
    )
"""


def check_name(name: str) -> None:
    """Check that a collection may be called *name*.

    :raises InvalidInputError: if it is empty.
    """
    if not name.strip():
        raise InvalidInputError("A collection needs a name that is not empty")


def create_collection(
    conn: sqlite3.Connection,
    name: str,
    made_with: ModelSettings | str,
    source: Source | None,
    *,
    replace_source: bool = False,
) -> Collection:
    """The collection called *name*, created if it does not exist, with *source*.

    *made_with* is a model's id if nothing else is known of it.  Who may see a
    collection depends on its sources, so a source is added before its first items.

    :raises DatabaseError: if one of llm's two tables is missing.
    :raises ModelMismatchError: if it exists and holds vectors of another model.
    :raises ModelSettingsMismatchError: if a setting of the model has changed.
    :raises InvalidInputError: if another source has that prefix, unless
        *replace_source*.
    """
    check_name(name)
    prepare(conn)
    settings = made_with
    if isinstance(settings, str):
        settings = ModelSettings(absolute(settings))
    with transaction(conn):
        drop_stale_facts(conn)
        move_old_sources(conn)
        existing = find_collection(conn, name)
        if existing is not None:
            existing.check_can_add(settings)
        else:
            _insert(conn, name, settings.model_id)
        _store_facts(conn, name, settings, READY)
        if source is not None:
            found = collection(conn, name)
            attach_source(found, source, replace_source=replace_source)
    return collection(conn, name)


def _insert(conn: sqlite3.Connection, name: str, model_id: str) -> None:
    try:
        conn.execute(
            "insert into collections (name, model) values (?, ?)",
            [name, stored_name(stored_id(model_id), folder_of(conn))],
        )
    except sqlite3.IntegrityError as error:
        raise InvalidInputError(
            f"The name {name!r} is taken by a collection that is being rebuilt; "
            "choose another"
        ) from error


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


def drop_stale_facts(conn: sqlite3.Connection) -> None:
    """Delete what is stored of collections that no longer exist."""
    columns = read_columns(conn)
    if not columns[OUR_COLLECTIONS]:
        return
    conn.execute(f"delete {STALE_FACTS}")
    existing = f"(select collection_id from {OUR_COLLECTIONS})"
    for table in filter(columns.get, SIDE_TABLES):
        conn.execute(f"delete from {table} where collection_id not in {existing}")


def rename_collection(conn: sqlite3.Connection, name: str, new_name: str) -> Collection:
    """The collection called *name*, now called *new_name*.

    :raises InvalidInputError: if another collection has that name.
    """
    found = collection(conn, name)
    check_name(new_name)
    if all_collections(conn, new_name):
        message = f"There is a collection {new_name!r} already; it is kept"
        raise InvalidInputError(message)
    with transaction(conn):
        _rename(found, new_name)
    return replace(found, name=new_name)


def _rename(collection: Collection, name: str) -> None:
    for table, column in (("collections", "id"), (OUR_COLLECTIONS, "collection_id")):
        if collection.columns[table]:
            collection.conn.execute(
                f"update {table} set name = ? where {column} = ? and name = ?",
                [name, collection.id, collection.name],
            )


def delete_collection(conn: sqlite3.Connection, name: str) -> Collection:
    """Delete the collection called *name* with all that belongs to it; return it."""
    found = collection(conn, name)
    for twin in (NEW_NAME, OLD_NAME):
        for each in all_collections(conn, twin.format(name=name)):
            if each.is_building:
                remove_collection(each)
    remove_collection(found)
    return found


def remove_collection(collection: Collection) -> None:
    """Delete *collection* with all that belongs to it."""
    conn = collection.conn
    with transaction(conn):
        conn.execute("delete from embeddings where collection_id = ?", [collection.id])
        conn.execute("delete from collections where id = ?", [collection.id])
        drop_stale_facts(conn)


def begin_rebuild(
    conn: sqlite3.Connection, name: str, settings: ModelSettings, source: Source
) -> Collection:
    """A hidden collection that will replace the one called *name*.

    One that an earlier run left unfinished is continued, if it is of the same model,
    settings and source.
    """
    check_name(name)
    prepare(conn)
    new_name = NEW_NAME.format(name=name)
    for begun in all_collections(conn, new_name):
        if not begun.is_building:
            continue
        with suppress(ModelMismatchError, ModelSettingsMismatchError):
            begun.check_settings(settings)
            # The rows of a pipe may be of another pipe
            if begun.source == source:
                return begun
        remove_collection(begun)
    with transaction(conn):
        drop_stale_facts(conn)
        move_old_sources(conn)
        _insert(conn, new_name, settings.model_id)
        _store_facts(conn, new_name, settings, BUILDING)
        attach_source(all_collections(conn, new_name)[0], source)
    return all_collections(conn, new_name)[0]


def finish_rebuild(building: Collection, name: str) -> Collection:
    """The collection called *name*, which is *building* from now on.

    The names change in one transaction; the old collection is deleted afterwards.

    :raises UnknownCollectionError: if another run has swapped or removed it meanwhile.
    """
    conn, unknown = building.conn, ModelSettings("")
    old_name = OLD_NAME.format(name=name)
    with transaction(conn):
        known = {(each.id, each.name) for each in unfinished(conn)}
        if (building.id, building.name) not in known:
            raise UnknownCollectionError(building.name, [])
        old = find_collection(conn, name)
        if old is not None:
            # Hidden from now on, also if llm made it
            _store_facts(conn, name, unknown, BUILDING)
            taken = {row[0] for row in conn.execute("select name from collections")}
            numbered = (f"{old_name} {number}" for number in count(2))
            free = (each for each in chain([old_name], numbered) if each not in taken)
            _rename(old, next(free))
        _rename(building, name)
        _store_facts(conn, name, unknown, READY)
    for each in unfinished(conn):
        if each.name.startswith(old_name):
            remove_collection(each)
    return collection(conn, name)


def unfinished(conn: sqlite3.Connection) -> list[Collection]:
    """Collections that an interrupted rebuild left: built in part, or replaced."""
    return [each for each in all_collections(conn) if each.is_building]
