"""A collection made anew beside the old one, and swapped in when it is whole."""

from __future__ import annotations

import sqlite3
from itertools import chain, count

from datasette_embeddings.errors import UnknownCollectionError
from datasette_embeddings.models.names import ModelSettings
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.store.attaching import attach_source, move_old_sources
from datasette_embeddings.store.changes import (
    NEW_NAME,
    OLD_NAME,
    READY,
    check_name,
    drop_stale_facts,
    insert_collection,
    note_facts,
    prepare,
    remove_collection,
)
from datasette_embeddings.store.collections import (
    BUILDING,
    Collection,
    all_collections,
    find_collection,
)
from datasette_embeddings.store.schema import transaction


def begin_rebuild(
    conn: sqlite3.Connection,
    name: str,
    identity: ModelSettings,
    source: Source,
) -> Collection:
    """An unseen collection that is to become *name*.

    One that an earlier run left unfinished is gone on with, if it is of the same model,
    facts and source.
    """
    check_name(name)
    prepare(conn)
    new_name = NEW_NAME.format(name=name)
    begun = _found(conn, new_name)
    if begun is not None:
        is_same = begun.is_of_model(identity.model_id)
        is_same = is_same and begun.settings.difference(identity) is None
        # What a pipe brought into it may be of another pipe
        if is_same and begun.source == source:
            return begun
        remove_collection(begun)
    with transaction(conn):
        drop_stale_facts(conn)
        move_old_sources(conn)
        insert_collection(conn, new_name, identity.model_id)
        note_facts(conn, new_name, identity, state=BUILDING)
        made = _found(conn, new_name)
        assert made is not None
        attach_source(made, source)
    made = _found(conn, new_name)
    assert made is not None
    return made


def finish_rebuild(building: Collection, name: str) -> Collection:
    """The collection called *name*, which is now what *building* was.

    The names change in one transaction; what is left of the old goes afterwards.

    :raises UnknownCollectionError: if another run has swapped or removed it meanwhile.
    """
    conn = building.conn
    with transaction(conn):
        begun = _found(conn, building.name)
        if begun is None or begun.id != building.id:
            raise UnknownCollectionError(building.name, [])
        old = find_collection(conn, name)
        if old is not None:
            # Known to us or not, it is shown to nobody from now on
            note_facts(conn, name, state=BUILDING)
            _rename(conn, old.id, _free_name(conn, OLD_NAME.format(name=name)))
        _rename(conn, building.id, name)
        note_facts(conn, name, state=READY)
    for each in unfinished(conn):
        if each.name.startswith(OLD_NAME.format(name=name)):
            remove_collection(each)
    swapped = find_collection(conn, name)
    assert swapped is not None
    return swapped


def _free_name(conn: sqlite3.Connection, name: str) -> str:
    """*name*, or with a number behind it where a collection is called so."""
    taken = {row[0] for row in conn.execute("select name from collections")}
    numbered = (f"{name} {number}" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in taken)


def unfinished(conn: sqlite3.Connection) -> list[Collection]:
    """What runs that were cut short left: rebuilt in part, or replaced and not gone."""
    return [each for each in all_collections(conn) if each.is_building]


def _found(conn: sqlite3.Connection, name: str) -> Collection | None:
    return next((each for each in unfinished(conn) if each.name == name), None)


def _rename(conn: sqlite3.Connection, collection_id: int, name: str) -> None:
    for sql in (
        "update collections set name = ? where id = ?",
        "update _embedding_collections set name = ? where collection_id = ?",
    ):
        conn.execute(sql, [name, collection_id])
