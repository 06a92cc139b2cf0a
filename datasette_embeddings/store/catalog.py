"""Collections: llm's table of them, and what we know beyond it.

That stands in ``_embedding_collections``, whose row counts for a collection only while
its id, name and model all agree: llm deletes collections without telling us.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

from datasette_embeddings.errors import InvalidInput, ModelMismatch, UnknownCollection
from datasette_embeddings.migrations import migrate
from datasette_embeddings.models.registry import canonical_id
from datasette_embeddings.sources import QuerySource, TableSource
from datasette_embeddings.store.schema import (
    check_schema,
    columns_of,
    has_collections,
    transaction,
)
from datasette_embeddings.vectors import BYTES_PER_NUMBER

OUR_COLLECTIONS = "_embedding_collections"

Source: TypeAlias = TableSource | QuerySource


@dataclass(frozen=True)
class Collection:
    """A named set of embeddings of one model; *dimensions* is None while it is empty.

    *source* is None for a collection that llm made.
    """

    id: int
    name: str
    model_id: str
    dimensions: int | None
    source: Source | None = None
    synced: int | None = None


def collections(conn: sqlite3.Connection) -> list[Collection]:
    """Every collection in *conn*, by name."""
    if not has_collections(conn):
        return []
    rows = conn.execute(_COLLECTIONS_SQL.format(condition="")).fetchall()
    facts = _facts(conn)
    return [_collection(row, facts) for row in rows]


def collection(conn: sqlite3.Connection, name: str) -> Collection:
    """The collection called *name*.

    :raises UnknownCollection: if there is none.
    """
    found = find_collection(conn, name)
    if found is None:
        raise UnknownCollection(name, [each.name for each in collections(conn)])
    return found


def find_collection(conn: sqlite3.Connection, name: str) -> Collection | None:
    """The collection called *name*, or None."""
    if not has_collections(conn):
        return None
    sql = _COLLECTIONS_SQL.format(condition="where collections.name = ?")
    row = conn.execute(sql, [name]).fetchone()
    return None if row is None else _collection(row, _facts(conn))


# The length of any one vector stands for all: a collection has one model
_COLLECTIONS_SQL = """
    select
      collections.id,
      collections.name,
      collections.model,
      (
        select length(embedding)
        from embeddings
        where embeddings.collection_id = collections.id
        limit 1
      )
    from collections
    {condition}
    order by collections.name
"""


def _collection(
    row: tuple[int, str, str, int | None],
    facts: Mapping[tuple[int, str, str], tuple[str | None, int | None]],
) -> Collection:
    collection_id, name, model, length = row
    source, synced = facts.get((collection_id, name, model), (None, None))
    return Collection(
        id=collection_id,
        name=name,
        model_id=canonical_id(model),
        dimensions=None if length is None else length // BYTES_PER_NUMBER,
        source=_read_source(source),
        synced=synced,
    )


def _facts(
    conn: sqlite3.Connection,
) -> dict[tuple[int, str, str], tuple[str | None, int | None]]:
    """What ``_embedding_collections`` says, keyed by what must agree."""
    if not columns_of(conn, OUR_COLLECTIONS):
        return {}
    rows = conn.execute(
        """
        select collection_id, name, model, source, synced
        from _embedding_collections
        """
    )
    return {(row[0], row[1], row[2]): (row[3], row[4]) for row in rows}


def count_items(conn: sqlite3.Connection, collection: Collection) -> int:
    """How many items *collection* has."""
    row = conn.execute(
        "select count(*) from embeddings where collection_id = ?", [collection.id]
    ).fetchone()
    return int(row[0])


def model_ids(conn: sqlite3.Connection) -> set[str]:
    """The model of each collection in *conn*."""
    if not has_collections(conn):
        return set()
    return {
        canonical_id(row[0]) for row in conn.execute("select model from collections")
    }


def create_collection(
    conn: sqlite3.Connection, name: str, model_id: str, source: Source | None
) -> Collection:
    """The collection called *name*, made if need be, remembering its *source*.

    :raises ModelMismatch: if it is there and holds vectors of another model.
    """
    if not name.strip():
        raise InvalidInput("A collection needs a name that is not empty")
    check_schema(conn)
    migrate(conn)
    existing = find_collection(conn, name)
    if existing is not None and existing.model_id != canonical_id(model_id):
        raise ModelMismatch(name, existing.model_id, canonical_id(model_id))
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
            on conflict (collection_id) do update set source = excluded.source
            """,
            {"name": name, "source": _write_source(source), "now": int(time.time())},
        )
    return collection(conn, name)


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


def finish_sync(conn: sqlite3.Connection, collection: Collection) -> None:
    """Note that *collection* is up to date with its source now."""
    with transaction(conn):
        conn.execute(
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
            {"id": collection.id, "now": int(time.time())},
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


def _read_source(text: str | None) -> Source | None:
    if not text:
        return None
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads(text).items()
    }
    return TableSource(**fields) if "table" in fields else QuerySource(**fields)
