"""Embeddings that somebody else made, as a collection of ours."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import TYPE_CHECKING

from datasette_embeddings.errors import (
    DimensionMismatchError,
    InvalidInputError,
    InvalidVectorError,
)
from datasette_embeddings.sources.definitions import Source, TableSource
from datasette_embeddings.sources.shadow import (
    shadow_models,
    shadow_vectors,
    vector_rows_of_table,
)
from datasette_embeddings.sources.tables import table_source
from datasette_embeddings.store.attaching import attached_source
from datasette_embeddings.store.catalog import Collection
from datasette_embeddings.store.changes import (
    check_exists,
    create_collection,
    finish_sync,
)
from datasette_embeddings.store.documents import write_vectors
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.vectors import decode

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector


def import_shadow_table(
    conn: sqlite3.Connection,
    table: str,
    *,
    name: str | None = None,
    model_id: str | None = None,
) -> tuple[Collection, int]:
    """The collection with the vectors of *table*'s shadow, and how many there are.

    It is called *name*, or as the table.  A shadow of several models needs *model_id*.

    :raises InvalidInputError: if the model is not one of those there are.
    :raises SourceError: for a table without shadow.
    :raises InvalidVectorError: for a BLOB that is none; nothing is imported then.
    """
    models = shadow_models(conn, table)
    chosen = model_id or (next(iter(models)) if len(models) == 1 else None)
    if chosen not in models:
        raise InvalidInputError(
            f"Expected one of the models {', '.join(models)}, found {chosen!r}; "
            "choose one with --model"
        )
    source = table_source(conn, table)
    rows = shadow_vectors(conn, source, models[chosen])
    return _written(conn, name or source.table, chosen, source, rows)


def import_vector_table(
    conn: sqlite3.Connection,
    table: str,
    *,
    origin: sqlite3.Connection | None = None,
    name: str | None = None,
    model_id: str | None = None,
) -> tuple[Collection, int]:
    """The collection with the vectors of *table*, whose columns are id and embedding.

    The table is in *origin*, or in the same database.  Nothing in it says which model
    made the vectors, so *model_id* must.

    :raises InvalidInputError: without a model.
    :raises SourceError: if the table has another shape.
    :raises InvalidVectorError: for a BLOB that is none; nothing is imported then.
    """
    rows = vector_rows_of_table(origin or conn, table)
    if model_id is None:
        raise InvalidInputError(
            f"Expected the model that made the vectors of {table!r}, which the table "
            "does not tell; name it with --model"
        )
    # Whoever may not see that table may not see its ids here either
    source = TableSource(table, ("id",), ()) if origin is None else None
    return _written(conn, name or table, model_id, source, rows)


def _written(
    conn: sqlite3.Connection,
    name: str,
    model_id: str,
    source: Source | None,
    rows: Iterable[tuple[str, bytes]],
) -> tuple[Collection, int]:
    vectors = [(item_id, _vector(item_id, value)) for item_id, value in rows]
    lengths = {len(vector) for _id, vector in vectors}
    if len(lengths) > 1:
        raise DimensionMismatchError(max(lengths), min(lengths))
    collection = create_collection(conn, name, model_id, source)
    attached = None if source is None else attached_source(collection, source)
    source_id = None if attached is None else attached.id
    with transaction(conn):
        check_exists(collection)
        write_vectors(collection, vectors, source_id=source_id)
    is_first = attached is not None and attached.synced is None
    finish_sync(collection, source if is_first else None)
    return collection, len(vectors)


def _vector(item_id: str, value: object) -> Vector:
    if not isinstance(value, bytes):
        raise InvalidVectorError(
            f"Expected a BLOB for the vector of {item_id!r}, found {value!r}"
        )
    return decode(value)
