"""Embeddings that somebody else made, as a collection of ours."""

from __future__ import annotations

import sqlite3

from datasette_embeddings import store
from datasette_embeddings.errors import InvalidInput
from datasette_embeddings.sources import shadow_models, shadow_vectors, table_source
from datasette_embeddings.vectors import decode


def import_shadow_table(
    conn: sqlite3.Connection,
    table: str,
    *,
    name: str | None = None,
    model_id: str | None = None,
) -> tuple[store.Collection, int]:
    """The collection with the vectors of *table*'s shadow, and how many there are.

    It is called *name*, or as the table.  A shadow of several models needs *model_id*.

    :raises InvalidInput: if the model is not one of those there are.
    :raises SourceProblem: for a table without shadow.
    :raises InvalidVector: for a BLOB that is none; nothing is imported then.
    """
    models = shadow_models(conn, table)
    chosen = model_id or (next(iter(models)) if len(models) == 1 else None)
    if chosen not in models:
        raise InvalidInput(
            f"Expected one of the models {', '.join(models)}, found {chosen!r}; "
            "choose one with --model"
        )
    source = table_source(conn, table)
    rows = list(shadow_vectors(conn, source, models[chosen]))
    vectors = [(item_id, decode(blob)) for item_id, blob in rows]
    collection = store.create_collection(conn, name or source.table, chosen, source)
    with store.transaction(conn):
        store.write_vectors(conn, collection, vectors)
    store.finish_sync(conn, collection, source)
    return collection, len(vectors)
