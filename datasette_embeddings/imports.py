"""Imports vectors that other tools wrote.

Older alphas of datasette-embeddings kept them beside a table, in a shadow table
``_embeddings_<table>``: the primary key of the table and a column ``emb_<model>`` for
each model, dashes written as underscores, with little-endian float32 BLOBs.
openai-to-sqlite writes tables with the columns id and embedding.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING

from datasette_embeddings.databases import declared_columns, quote
from datasette_embeddings.errors import (
    DimensionMismatchError,
    InvalidInputError,
    InvalidVectorError,
    SourceError,
)
from datasette_embeddings.item_ids import item_id_of
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.attaching import attached_source, finish_sync
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.documents import write_vectors
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.vectors import decode

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector

SHADOW_PREFIX = "_embeddings_"
COLUMN_PREFIX = "emb_"


def import_table(
    conn: sqlite3.Connection,
    table: str,
    *,
    other: sqlite3.Connection | None = None,
    name: str | None = None,
    model_id: str | None = None,
) -> tuple[Collection, int]:
    """The collection of the vectors of *table*, and how many there are.

    They are in its shadow table, or else in *table* itself, here or in the database
    *other*.  The collection is called *name*, or as the table.

    :raises InvalidInputError: if *model_id* is needed, or has no vectors there.
    :raises SourceError: if there are no vectors.
    :raises InvalidVectorError: for an invalid vector; nothing is imported then.
    """
    if other is None and declared_columns(conn, SHADOW_PREFIX + table):
        return _import_shadow(conn, table, name, model_id)
    columns = [column.name for column in declared_columns(other or conn, table)]
    if not {"id", "embedding"} <= set(columns):
        raise SourceError(
            f"Expected a table {table!r} with the columns id and embedding, or a table "
            f"{SHADOW_PREFIX + table!r} beside it; found "
            f"{', '.join(columns) or 'neither'}"
        )
    if model_id is None:
        raise InvalidInputError(
            f"Expected the model that made the vectors of {table!r}, which the table "
            "does not say; name it with --model"
        )
    # Who may not see the table may not see its ids in the collection either
    source = TableSource(table, ("id",), ()) if other is None else None
    sql = f"select embedding, id from {quote(table)} where embedding is not null"
    rows = (other or conn).execute(sql)
    return _write(conn, name or table, model_id, source, rows)


def _import_shadow(
    conn: sqlite3.Connection, table: str, name: str | None, model_id: str | None
) -> tuple[Collection, int]:
    shadow = SHADOW_PREFIX + table
    models = {
        column.name.removeprefix(COLUMN_PREFIX).replace("_", "-"): column.name
        for column in declared_columns(conn, shadow)
        if column.name.startswith(COLUMN_PREFIX)
    }
    if not models:
        raise SourceError(
            f"Expected a table {shadow!r} with a column {COLUMN_PREFIX}…, as "
            "the older datasette-embeddings wrote them; there is none"
        )
    chosen = model_id or (next(iter(models)) if len(models) == 1 else None)
    if chosen not in models:
        raise InvalidInputError(
            f"Expected one of the models {', '.join(models)}, found {chosen!r}; "
            "choose one with --model"
        )
    source, column = table_source(conn, table), quote(models[chosen])
    keys = ", ".join(map(quote, source.key_columns))
    sql = f"select {column}, {keys} from {quote(shadow)} where {column} is not null"
    return _write(conn, name or source.table, chosen, source, conn.execute(sql))


def _write(
    conn: sqlite3.Connection,
    name: str,
    model_id: str,
    source: TableSource | None,
    rows: Iterable[tuple[object, ...]],
) -> tuple[Collection, int]:
    """Create the collection with *rows* of a vector and the columns of the id."""
    vectors: list[tuple[str, Vector]] = []
    for value, *key in rows:
        item_id = item_id_of(key)
        if not isinstance(value, bytes):
            raise InvalidVectorError(
                f"Expected a BLOB for the vector of {item_id!r}, found {value!r}"
            )
        vectors.append((item_id, decode(value)))
    lengths = {len(vector) for _id, vector in vectors}
    if len(lengths) > 1:
        raise DimensionMismatchError(max(lengths), min(lengths))
    collection = create_collection(conn, name, model_id, source)
    attached = None if source is None else attached_source(collection, source)
    source_id = None if attached is None else attached.id
    with transaction(conn):
        collection.check_exists()
        write_vectors(collection, vectors, source_id=source_id)
    is_first = attached is not None and attached.synced is None
    finish_sync(collection, source if is_first else None)
    return collection, len(vectors)
