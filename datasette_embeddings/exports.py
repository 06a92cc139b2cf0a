"""Writes a collection for other programs: NDJSON, CSV, npy, parquet."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

from datasette_embeddings.errors import (
    InvalidInputError,
    InvalidVectorError,
    MissingLibraryError,
)
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.matches import matches
from datasette_embeddings.store.chunks import stored_chunks
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.vectors import BYTES_PER_NUMBER

FORMATS = ("nl", "csv", "npy", "parquet")
# Those that are not text, so that they need a file
BINARY = ("npy", "parquet")
BATCH = 500


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
            chunk = {
                name: getattr(match, name) for name in ("document_id", "start", "end")
            }
            yield {
                "id": match.id,
                "embedding": vector.tolist(),
                "content": match.content,
                "metadata": match.metadata,
                **(chunk if collection.has_chunks else {}),
                "stale": match.stale,
            }


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
