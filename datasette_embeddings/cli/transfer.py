"""``import`` and ``export``: vectors of other tools, and for other programs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from datasette_embeddings.cli.commands import Command
from datasette_embeddings.cli.options import collection_argument, database_argument
from datasette_embeddings.databases import declared_columns, open_database, quote
from datasette_embeddings.documents import item_id_of
from datasette_embeddings.errors import (
    DimensionMismatchError,
    InvalidVectorError,
    SourceError,
    quoted,
)
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.matches import matches
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.store import collections
from datasette_embeddings.store.attaching import finish_sync, writing
from datasette_embeddings.store.chunks import stored_chunks
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import StoredCollection, current
from datasette_embeddings.store.documents import write_vectors
from datasette_embeddings.vectors import BYTES_PER_NUMBER, Vector, decode

BATCH = 500


@click.command("import", cls=Command)
@database_argument
@click.argument("table")
@click.option(
    "other",
    "--from",
    type=click.Path(path_type=Path),
    help="The database with TABLE, if it is not DB.",
)
@click.option("--name", help="The name of the collection. Default: that of TABLE.")
@click.option(
    "-m", "--model", "model_id", required=True, help="The model that made the vectors."
)
def import_table(
    database: Path, table: str, other: Path | None, name: str | None, model_id: str
) -> None:
    """Make a collection of the vectors that another tool wrote; TABLE stays.

    TABLE has the columns id and embedding, as openai-to-sqlite writes it and
    datasette-faiss reads it.

    \b
        datasette embeddings import docs.db intros --model text-embedding-ada-002
        datasette embeddings import new.db embeddings --from old.db \\
          --name articles --model text-embedding-ada-002
    """
    with open_database(database, writable=True, create=other is not None) as conn:
        # Without --from it is the same file, and the same connection
        source = nullcontext(None) if other is None else open_database(other)
        with source as origin:
            collection, count = imported(
                conn, table, other=origin, name=name, model_id=model_id
            )
    click.echo(
        f"{collection.name}: {count:,} vectors of {collection.model_id} imported",
        err=True,
    )


def imported(
    conn: sqlite3.Connection,
    table: str,
    *,
    other: sqlite3.Connection | None = None,
    name: str | None = None,
    model_id: str,
) -> tuple[StoredCollection, int]:
    """The collection of the vectors of *table*, and how many there are.

    They are here, or in the database *other*.  The collection is called *name*, or as
    the table.  Nothing is imported if a vector is invalid.
    """
    columns = [column.name for column in declared_columns(other or conn, table)]
    if not {"id", "embedding"} <= set(columns):
        raise SourceError(
            f"Expected a table {table!r} with the columns id and embedding, found "
            f"{', '.join(columns) or 'none'}"
        )
    # Who may not see the table may not see its ids in the collection either
    source = TableSource(table, ("id",), ()) if other is None else None
    sql = f"select id, embedding from {quote(table)} where embedding is not null"
    vectors: list[tuple[str, Vector]] = []
    for key, value in (other or conn).execute(sql):
        item_id = item_id_of([key])
        if not isinstance(value, bytes):
            raise InvalidVectorError(
                f"Expected a BLOB for the vector of {item_id!r}, found {quoted(value)}"
            )
        vectors.append((item_id, decode(value)))
    lengths = {len(vector) for _id, vector in vectors}
    if len(lengths) > 1:
        raise DimensionMismatchError(max(lengths), min(lengths))
    collection = create_collection(conn, name or table, model_id, source)
    attached = None if source is None else collection.attached(source)
    source_id = None if attached is None else attached.id
    with writing(collection):
        write_vectors(collection, vectors, source_id=source_id)
    is_first = attached is not None and attached.synced is None
    finish_sync(collection, source if is_first else None)
    indexes.save(current(collection))
    return collection, len(vectors)


@click.command("export", cls=Command)
@database_argument
@collection_argument
def export(database: Path, collection: str) -> None:
    """Write COLLECTION with its vectors to standard output, a JSON object a line.

    \b
        datasette embeddings export docs.db articles | head -n 1
        datasette embeddings export docs.db articles > articles.ndjson
    """
    count = 0
    with open_database(database) as conn:
        # One read transaction, so that all of it is of one moment
        conn.execute("begin")
        for row in _rows(collections.collection(conn, collection)):
            click.echo(json.dumps(row, ensure_ascii=False))
            count += 1
    click.echo(f"{collection}: {count:,} items written", err=True)


def _rows(collection: StoredCollection) -> Iterator[dict[str, Any]]:
    """Every item of *collection*, by id."""
    ids = sorted(collection.item_ids())
    length, _count = collection.usual_vector_length()
    has_chunks = collection.has_chunks
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        chunks = stored_chunks(collection, some)
        hits = [Hit(each, 0.0, chunks.get(each)) for each in some]
        for match in matches(collection, hits):
            vector = collection.vector(match.id)
            if vector.nbytes != length:
                raise InvalidVectorError(
                    f"Expected {length // BYTES_PER_NUMBER} dimensions as most items "
                    f"have; {match.id!r} has {len(vector)}. See: datasette embeddings "
                    "check"
                )
            row = {
                "id": match.id,
                "embedding": vector.tolist(),
                "content": match.content,
                "metadata": match.metadata,
            }
            if has_chunks:
                row |= {"document_id": match.document_id}
                row |= {"start": match.start, "end": match.end}
            yield row | {"stale": match.stale}
