"""Collections of random vectors, for what depends on their number and length only."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.documents import Document
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.documents import write_embeddings
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.store.words import Words
from datasette_embeddings.vectors import normalize

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vectors

COLLECTION = "items"
# Vectors that are written at a time, as blobs: 15 MB of 384 dimensions
BLOCK = 10_000


def unit_vectors(count: int, dimensions: int) -> Vectors:
    """The same *count* random directions every time, (n, d)."""
    numbers = np.random.default_rng(0).standard_normal((count, dimensions))
    return normalize(numbers.astype(np.float32))


def write_collection(path: Path, vectors: Vectors) -> None:
    """A database at *path* whose one collection has *vectors* and a text for each."""
    conn = sqlite3.connect(path)
    collection = create_collection(conn, COLLECTION, DEFAULT_MODEL, None)
    documents = [
        Document(f"item-{number}", f"The text of item {number}")
        for number in range(len(vectors))
    ]
    with transaction(conn):
        for start in range(0, len(vectors), BLOCK):
            block = slice(start, start + BLOCK)
            write_embeddings(
                collection, documents[block], vectors[block], store_content=True
            )
            Words(collection).write(documents[block])
    conn.close()
