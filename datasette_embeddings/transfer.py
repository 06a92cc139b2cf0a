"""Vectors that other tools wrote, and collections for other programs.

Older alphas of datasette-embeddings kept vectors beside a table, in a shadow table
``_embeddings_<table>``: the primary key of the table and a column ``emb_<model>`` for
each model, dashes written as underscores, with little-endian float32 BLOBs.
openai-to-sqlite writes tables with the columns id and embedding.
"""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from datasette_embeddings.databases import declared_columns, quote
from datasette_embeddings.documents import item_id_of
from datasette_embeddings.errors import (
    DimensionMismatchError,
    InvalidInputError,
    InvalidVectorError,
    MissingLibraryError,
    SourceError,
)
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.matches import matches
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.attaching import finish_sync, writing
from datasette_embeddings.store.chunks import stored_chunks
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.documents import write_vectors
from datasette_embeddings.vectors import BYTES_PER_NUMBER, decode

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector

SHADOW_PREFIX = "_embeddings_"
COLUMN_PREFIX = "emb_"
FORMATS = ("nl", "csv", "npy", "parquet")
# Those that are not text, so that they need a file
BINARY = ("npy", "parquet")
BATCH = 500


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
            f"Expected the model that made the vectors of {table!r}, because the table "
            "does not name it; use --model"
        )
    # Who may not see the table may not see its ids in the collection either
    source = TableSource(table, ("id",), ()) if other is None else None
    sql = f"select embedding, id from {quote(table)} where embedding is not null"
    rows = (other or conn).execute(sql)
    return _create(conn, name or table, model_id, source, rows)


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
    return _create(conn, name or source.table, chosen, source, conn.execute(sql))


def _create(
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
    attached = None if source is None else collection.attached(source)
    source_id = None if attached is None else attached.id
    with writing(collection):
        write_vectors(collection, vectors, source_id=source_id)
    is_first = attached is not None and attached.synced is None
    finish_sync(collection, source if is_first else None)
    return collection, len(vectors)


def export(collection: Collection, path: Path, output_format: str) -> int:
    """How many items of *collection* were written to *path*, whole or not at all.

    npy holds the vectors, one a row, and ``NAME.ids.json`` beside it their ids.

    :raises InvalidInputError: if the file cannot be written.
    :raises InvalidVectorError: for a vector of another length than most.
    """
    try:
        with _replacing(path) as temporary:
            if output_format == "npy":
                return _write_npy(collection, temporary)
            if output_format == "parquet":
                return _write_parquet(collection, temporary)
            with temporary.open("w", encoding="utf-8", newline="") as output:
                return write_text(collection, output, output_format)
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be written: {error.strerror}"
        ) from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside *path* that replaces it if the block raises nothing."""
    if path.is_dir() or not path.name:
        raise InvalidInputError(f"Expected a file to write to, found the folder {path}")
    # The file that a link leads to is replaced, and not the link
    path = path.resolve()
    if path.exists() and not path.is_file():
        # A pipe or device cannot be replaced
        yield path
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    made = {_ids_path(temporary): _ids_path(path), temporary: path}
    try:
        yield temporary
        for new, old in made.items():
            if new.exists():
                new.replace(old)
    finally:
        for left in made:
            left.unlink(missing_ok=True)


def _ids_path(path: Path) -> Path:
    """The file with the ids of the vectors in *path*."""
    return path.with_name(f"{path.name}.ids.json")


def _rows(collection: Collection) -> Iterator[dict[str, Any]]:
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


def write_text(collection: Collection, output: IO[str], output_format: str) -> int:
    """How many items were written to *output*, as NDJSON or CSV."""
    count = 0
    writer: csv.DictWriter[str] | None = None
    for row in _rows(collection):
        count += 1
        if output_format == "nl":
            output.write(json.dumps(row, ensure_ascii=False) + "\n")
            continue
        if writer is None:
            writer = csv.DictWriter(output, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(
            {
                name: json.dumps(value) if isinstance(value, list | dict) else value
                for name, value in row.items()
            }
        )
    return count


def _write_npy(collection: Collection, path: Path) -> int:
    import numpy as np

    shape = len(collection.item_ids()), collection.dimensions or 0
    ids: list[str] = []
    if not shape[0]:
        # An empty array cannot be mapped into memory
        with path.open("wb") as file:
            np.save(file, np.empty(shape, dtype=np.float32))
    else:
        vectors = np.lib.format.open_memmap(path, mode="w+", dtype="<f4", shape=shape)
        for row in _rows(collection):
            vectors[len(ids)] = row["embedding"]
            ids.append(row["id"])
    _ids_path(path).write_text(json.dumps(ids), "utf-8")
    return len(ids)


def _write_parquet(collection: Collection, path: Path) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingLibraryError("pyarrow", "writing parquet") from error
    types = {
        "id": pa.string(),
        "embedding": pa.list_(pa.float32(), collection.dimensions or -1),
        "content": pa.string(),
        "metadata": pa.string(),
    }
    if collection.has_chunks:
        types |= {"document_id": pa.string(), "start": pa.int64(), "end": pa.int64()}
    schema = pa.schema(types | {"stale": pa.bool_()})
    count, rows = 0, _rows(collection)
    with pq.ParquetWriter(path, schema) as writer:
        while some := list(islice(rows, BATCH)):
            for row in some:
                metadata = row["metadata"]
                row["metadata"] = None if metadata is None else json.dumps(metadata)
            writer.write_table(pa.Table.from_pylist(some, schema=schema))
            count += len(some)
    return count
