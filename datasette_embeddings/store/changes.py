"""Collections made, brought up to date, renamed and deleted."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace

from datasette_embeddings.databases import folder_of
from datasette_embeddings.errors import (
    DatabaseError,
    InvalidInputError,
)
from datasette_embeddings.migrations import migrate
from datasette_embeddings.models.names import (
    ModelSettings,
    absolute,
    stored_id,
    stored_name,
)
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.store.attaching import (
    attach_source,
    drop_replaced_sources,
    move_old_sources,
    note_synced,
)
from datasette_embeddings.store.collections import (
    Collection,
    all_collections,
    collection,
    find_collection,
)
from datasette_embeddings.store.schema import (
    OUR_COLLECTIONS,
    SIDE_TABLES,
    columns_of,
    has_collections,
    read_columns,
    transaction,
)

READY = "ready"
# Names of a collection that is being rebuilt, and of the one that it replaced
NEW_NAME, OLD_NAME = "{name} (rebuilding)", "{name} (replaced)"


def check_name(name: str) -> None:
    """Check that a collection may be called *name*.

    :raises InvalidInputError: if it is empty.
    """
    if not name.strip():
        raise InvalidInputError("A collection needs a name that is not empty")


def prepare(conn: sqlite3.Connection) -> None:
    """Create the tables, or bring them up to date.

    :raises SchemaError: if a table has one of the names but not the columns.
    :raises DatabaseError: if one of llm's two tables is missing.
    """
    read_columns(conn)
    migrate(conn)
    if not has_collections(conn):
        raise DatabaseError(
            "One of the tables 'collections' and 'embeddings' is there without the "
            "other; restore it from a copy, or use another database file"
        )


def create_collection(
    conn: sqlite3.Connection,
    name: str,
    made_with: ModelSettings | str,
    source: Source | None,
    *,
    replace_source: bool = False,
) -> Collection:
    """The collection called *name*, made if need be, which has *source* from now on.

    *made_with* is a model's id where nothing else is known of it.  Who may see a
    collection depends on its sources, so one is there before its first items.

    :raises DatabaseError: if one of llm's two tables is missing.
    :raises ModelMismatchError: if it is there and holds vectors of another model.
    :raises ModelSettingsMismatchError: if they are of the model as it was otherwise.
    :raises InvalidInputError: if another source has that prefix, unless
        *replace_source*.
    """
    check_name(name)
    prepare(conn)
    identity = (
        ModelSettings(absolute(made_with)) if isinstance(made_with, str) else made_with
    )
    with transaction(conn):
        drop_stale_facts(conn)
        move_old_sources(conn)
        existing = find_collection(conn, name)
        if existing is None:
            insert_collection(conn, name, identity.model_id)
        else:
            existing.check_can_add(identity)
        note_facts(conn, name, identity)
        if source is not None:
            noted = collection(conn, name)
            attach_source(noted, source, replace_source=replace_source)
    return collection(conn, name)


def insert_collection(conn: sqlite3.Connection, name: str, model_id: str) -> None:
    """A row of ``collections``.

    :raises InvalidInputError: if there is one of that name that nobody is shown.
    """
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


def note_facts(
    conn: sqlite3.Connection,
    name: str,
    identity: ModelSettings | None = None,
    *,
    state: str = READY,
) -> None:
    """What is known of the collection called *name*; None leaves what was known."""
    known = identity or ModelSettings("")
    conn.execute(
        """
        insert into _embedding_collections (
          collection_id, name, model, model_revision, query_prompt,
          passage_prompt, normalized, state, created
        )
        select
          id, name, model, :revision, :query_prompt,
          :passage_prompt, :normalized, :state, :now
        from collections
        where name = :name
        on conflict (collection_id) do update
        set model_revision = coalesce(excluded.model_revision, model_revision),
            query_prompt = coalesce(excluded.query_prompt, query_prompt),
            passage_prompt = coalesce(excluded.passage_prompt, passage_prompt),
            normalized = coalesce(excluded.normalized, normalized),
            state = excluded.state
        """,
        {
            "name": name,
            "revision": known.revision,
            "query_prompt": known.query_prompt,
            "passage_prompt": known.passage_prompt,
            "normalized": known.normalized,
            "state": state,
            "now": int(time.time()),
        },
    )


#: Facts about a collection that is gone, or whose id another one has now
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


def drop_stale_facts(conn: sqlite3.Connection) -> None:
    """Remove what is known of collections that are no longer there."""
    conn.execute(f"delete {STALE_FACTS}")
    columns = read_columns(conn)
    for table in filter(columns.get, SIDE_TABLES):
        conn.execute(
            f"""
            delete from {table}
            where collection_id not in (
              select collection_id
              from _embedding_collections
            )
            """
        )


def finish_sync(collection: Collection, source: Source | None) -> None:
    """Note that a run has read all of *source*, whose rules count from now on.

    :raises UnknownCollectionError: if another program deleted the collection meanwhile.
    """
    now = int(time.time())
    with transaction(collection.conn):
        collection.check_exists()
        collection.conn.execute(
            """
            update _embedding_collections
            set synced = :now,
                dimensions = (
                  select length(embedding) / 4
                  from embeddings
                  where collection_id = :id
                  limit 1
                )
            where collection_id = :id
            """,
            {"id": collection.id, "now": now},
        )
        if source is not None:
            note_synced(collection, source, now)
            drop_replaced_sources(collection, source)


def rename_collection(conn: sqlite3.Connection, name: str, new_name: str) -> Collection:
    """The collection called *name*, now called *new_name*.

    :raises InvalidInputError: if another one is called that already.
    """
    found = collection(conn, name)
    check_name(new_name)
    if any(each.name == new_name for each in all_collections(conn)):
        raise InvalidInputError(
            f"There is a collection {new_name!r} already; it is kept"
        )
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
    """What was deleted: the collection called *name* with all that belongs to it."""
    found = collection(conn, name)
    twins = {NEW_NAME.format(name=name), OLD_NAME.format(name=name)}
    for each in all_collections(conn):
        if each.is_building and each.name in twins:
            remove_collection(each)
    remove_collection(found)
    return found


def remove_collection(collection: Collection) -> None:
    """Delete *collection* with all that belongs to it."""
    conn = collection.conn
    with transaction(conn):
        conn.execute("delete from embeddings where collection_id = ?", [collection.id])
        conn.execute("delete from collections where id = ?", [collection.id])
        if columns_of(conn, OUR_COLLECTIONS):
            drop_stale_facts(conn)
