"""Collections: llm's table of them, and what we know beyond it.

That stands in ``_embedding_collections``, whose row counts for a collection only while
its id, name and model all agree: llm deletes collections without telling us.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from datasette_embeddings.errors import UnknownCollection
from datasette_embeddings.models.registry import canonical_id
from datasette_embeddings.sources import (
    QuerySource,
    Source,
    TableSource,
    UnreadableSource,
)
from datasette_embeddings.store.schema import (
    OUR_COLLECTIONS,
    columns_of,
    has_collections,
)
from datasette_embeddings.vectors import BYTES_PER_NUMBER


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
    rows = conn.execute(_COLLECTIONS_SQL).fetchall()
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
    rows = conn.execute(f"select * from ({_COLLECTIONS_SQL}) where name = ?", [name])
    row = rows.fetchone()
    return None if row is None else _collection(row, _facts(conn))


# The length of any one vector stands for all: a collection has one model.  llm writes
# TEXT; a name of another type is none that anybody could ask for
_COLLECTIONS_SQL = """
    select
      collections.id,
      collections.name,
      collections.model,
      (
        select length(embedding)
        from embeddings
        where embeddings.collection_id = collections.id
        and typeof(embedding) = 'blob'
        limit 1
      )
    from collections
    where typeof(collections.name) = 'text'
    and typeof(collections.model) = 'text'
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
    rows = conn.execute("select model from collections where typeof(model) = 'text'")
    return {canonical_id(row[0]) for row in rows}


def source_tables(source: Source | None) -> tuple[str, ...]:
    """The tables whose rows *source* gives; none where that is not known.

    ``embeddings`` is among them where other items of unknown source are there too.
    """
    if source is None or isinstance(source, UnreadableSource):
        return ()
    tables = (source.table,) if isinstance(source, TableSource) else source.tables
    return (*tables, "embeddings") if source.is_mixed else tables


def _read_source(text: str | None) -> Source | None:
    if not text:
        return None
    try:
        noted: dict[str, Any] = json.loads(text)
        kind: Any = TableSource if "table" in noted else QuerySource
        known = {field.name for field in fields(kind)}
        source: Source = kind(
            **{
                name: tuple(value) if isinstance(value, list) else value
                for name, value in noted.items()
                if name in known
            }
        )
        return source
    except (ValueError, TypeError, AttributeError):
        return UnreadableSource()
