"""Shadow tables of the older datasette-embeddings alphas: vectors beside a table.

``_embeddings_<table>`` has the table's primary key and a column ``emb_<model>`` a
model, dashes written as underscores, with little-endian float32 BLOBs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from datasette_embeddings.errors import SourceError
from datasette_embeddings.item_ids import item_id_of
from datasette_embeddings.sources.definitions import TableSource, quote
from datasette_embeddings.sources.tables import columns_of

PREFIX = "_embeddings_"
COLUMN_PREFIX = "emb_"


def shadow_models(conn: sqlite3.Connection, table: str) -> dict[str, str]:
    """The model id of each vector column in *table*'s shadow, and the column.

    :raises SourceError: if there is no such shadow table, or no vectors in it.
    """
    models = {
        column.name.removeprefix(COLUMN_PREFIX).replace("_", "-"): column.name
        for column in columns_of(conn, PREFIX + table)
        if column.name.startswith(COLUMN_PREFIX)
    }
    if not models:
        raise SourceError(
            f"Expected a table {PREFIX + table!r} with a column {COLUMN_PREFIX}…, as "
            "the older datasette-embeddings wrote them; there is none"
        )
    return models


def shadow_vectors(
    conn: sqlite3.Connection, source: TableSource, column: str
) -> Iterator[tuple[str, bytes]]:
    """The item id and vector of each row in the shadow of *source* that has one."""
    keys = ", ".join(map(quote, source.key_columns))
    rows = conn.execute(
        f"""
        select {quote(column)}, {keys}
        from {quote(PREFIX + source.table)}
        where {quote(column)} is not null
        """
    )
    return ((item_id_of(row[1:]), row[0]) for row in rows)


def vector_rows_of_table(
    conn: sqlite3.Connection, table: str
) -> Iterator[tuple[str, bytes]]:
    """Id and vector of each row in a table that has the columns id and embedding.

    openai-to-sqlite and what datasette-faiss serves are of this shape.

    :raises SourceError: if there is no such table.
    """
    names = [column.name for column in columns_of(conn, table)]
    if not {"id", "embedding"} <= set(names):
        raise SourceError(
            f"Expected a table {table!r} with the columns id and embedding, or a table "
            f"{PREFIX + table!r} beside it; found {', '.join(names) or 'neither'}"
        )
    rows = conn.execute(
        f"""
        select id, embedding
        from {quote(table)}
        where embedding is not null
        """
    )
    return ((item_id_of([item_id]), vector) for item_id, vector in rows)


def has_shadow(conn: sqlite3.Connection, table: str) -> bool:
    """Whether the older datasette-embeddings wrote vectors beside *table*."""
    return bool(columns_of(conn, PREFIX + table))
