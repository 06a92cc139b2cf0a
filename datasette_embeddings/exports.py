"""A collection for other programs: NDJSON, CSV, npy, parquet."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from datasette_embeddings.errors import (
    InvalidInputError,
    InvalidVectorError,
    MissingLibraryError,
)
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.matches import Match, matches
from datasette_embeddings.store.chunks import stored_chunks
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.items import usual_vector_length
from datasette_embeddings.vectors import BYTES_PER_NUMBER

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector

FORMATS = ("nl", "csv", "npy", "parquet")
# Those that are not text, so that they need a file
BINARY = ("npy", "parquet")
BATCH = 500


@dataclass(frozen=True)
class ExportedItem:
    """An item with its vector and all that a search would show of it."""

    match: Match
    vector: Vector


def exported_items(collection: Collection) -> Iterator[list[ExportedItem]]:
    """Every item of *collection*, by id, some at a time.

    :raises InvalidVectorError: for a vector of another length than most.
    """
    ids = sorted(collection.item_ids())
    length, _count = usual_vector_length(collection.conn, collection.id)
    for start in range(0, len(ids), BATCH):
        some = ids[start : start + BATCH]
        chunks = stored_chunks(collection, some)
        hits = [Hit(each, 0.0, chunks.get(each)) for each in some]
        found = matches(collection, hits)
        vectors = [collection.vector(each) for each in some]
        for match, vector in zip(found, vectors, strict=True):
            if vector.nbytes != length:
                raise InvalidVectorError(
                    f"Expected {length // BYTES_PER_NUMBER} dimensions as most items "
                    f"have; {match.id!r} has {len(vector)}. See: datasette embeddings "
                    "check"
                )
        yield [ExportedItem(*pair) for pair in zip(found, vectors, strict=True)]


def export(
    collection: Collection,
    path: Path,
    output_format: str,
) -> int:
    """How many items of *collection* were written to *path*, whole or not at all.

    npy holds the vectors, one a row, and ``NAME.ids.json`` beside it their ids.

    :raises InvalidInputError: if the file cannot be written.
    """
    write = {"npy": _write_npy, "parquet": _write_parquet}.get(output_format)
    try:
        with _replacing(path) as temporary:
            if write is not None:
                return write(collection, temporary)
            with temporary.open("w", encoding="utf-8", newline="") as output:
                return write_text(collection, output, output_format)
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be written: {error.strerror}"
        ) from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A file beside *path* that takes its place when all went well."""
    if path.is_dir() or not path.name:
        raise InvalidInputError(f"Expected a file to write to, found the folder {path}")
    # What a link leads to is written, and not the link
    path = path.resolve()
    if path.exists() and not path.is_file():
        # A pipe or device cannot be replaced
        yield path
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    made = {_with_ids(temporary): _with_ids(path), temporary: path}
    try:
        yield temporary
        for new, old in made.items():
            if new.exists():
                new.replace(old)
    finally:
        for left in made:
            left.unlink(missing_ok=True)


def _with_ids(path: Path) -> Path:
    """Where the ids of the vectors in *path* stand."""
    return path.with_name(f"{path.name}.ids.json")


def write_text(
    collection: Collection,
    output: IO[str],
    output_format: str,
) -> int:
    """How many items were written to *output*, as NDJSON or CSV."""
    count = 0
    writer: csv.DictWriter[str] | None = None
    for items in exported_items(collection):
        for item in items:
            row = _row(item, is_chunked=collection.has_chunks)
            if output_format == "nl":
                output.write(json.dumps(row, ensure_ascii=False) + "\n")
                continue
            if writer is None:
                writer = csv.DictWriter(output, list(row), lineterminator="\n")
                writer.writeheader()
            writer.writerow({name: _cell(value) for name, value in row.items()})
        count += len(items)
    return count


def _row(item: ExportedItem, *, is_chunked: bool) -> dict[str, Any]:
    match = item.match
    row = {
        "id": match.id,
        "embedding": item.vector.tolist(),
        "content": match.content,
        "metadata": match.metadata,
    }
    if is_chunked:
        row |= {
            "document_id": match.document_id,
            "start": match.start,
            "end": match.end,
        }
    row["stale"] = match.stale
    return row


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, list | dict) else value


def _write_npy(collection: Collection, path: Path) -> int:
    import numpy as np

    count = len(collection.item_ids())
    shape = count, collection.dimensions or 0
    if not count:
        # Nothing cannot be mapped into memory
        with path.open("wb") as file:
            np.save(file, np.empty(shape, dtype=np.float32))
    ids: list[str] = []
    vectors = (
        np.lib.format.open_memmap(path, mode="w+", dtype="<f4", shape=shape)
        if count
        else None
    )
    for items in exported_items(collection):
        assert vectors is not None
        vectors[len(ids) : len(ids) + len(items)] = [item.vector for item in items]
        ids += [item.match.id for item in items]
    _with_ids(path).write_text(json.dumps(ids), "utf-8")
    return len(ids)


def _write_parquet(collection: Collection, path: Path) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingLibraryError("pyarrow", "writing parquet") from error
    chunk_fields = [("document_id", pa.string()), ("start", pa.int64())]
    chunk_fields += [("end", pa.int64())]
    schema = pa.schema(
        [
            ("id", pa.string()),
            ("embedding", pa.list_(pa.float32(), collection.dimensions or -1)),
            ("content", pa.string()),
            ("metadata", pa.string()),
            *(chunk_fields if collection.has_chunks else ()),
            ("stale", pa.bool_()),
        ]
    )
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for items in exported_items(collection):
            rows = [_row(item, is_chunked=collection.has_chunks) for item in items]
            for row in rows:
                row["metadata"] = _cell(row["metadata"])
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
            count += len(rows)
    return count
