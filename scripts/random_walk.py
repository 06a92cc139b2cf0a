"""Write a database with a collection of any size, to try how it is searched.

    python scripts/random_walk.py walk.db 1000000

Its vectors are random walks of 50 steps: each is the one before it and half as much in
a random direction.  So an item has near neighbors, as items of real texts have, and
most others are not related to it.  Its words are drawn as often as words are in natural
language (Zipf), 20 a text, unless --no-words is given.
"""

from __future__ import annotations

import argparse
import sqlite3
from pathlib import Path

import numpy as np

from datasette_embeddings.config import DEFAULT_MODEL, NO_WORDS
from datasette_embeddings.documents import Document
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import current
from datasette_embeddings.store.documents import EmbeddedDocument, write_documents
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.store.words import Words
from datasette_embeddings.vectors import Vectors, normalize

COLLECTION = "walk"
STEPS, STEP = 50, 0.5
VOCABULARY, LENGTH = 50_000, 20
WINDOW = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("database", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-words", action="store_true")
    given = parser.parse_args()
    write(given.database, given.count, given.dimensions, given.seed, not given.no_words)


def write(path: Path, count: int, dimensions: int, seed: int, has_words: bool) -> None:
    random = np.random.default_rng(seed)
    conn = sqlite3.connect(path)
    collection = create_collection(conn, COLLECTION, DEFAULT_MODEL, None)
    if not has_words:
        Words(collection).create(NO_WORDS)
        collection = current(collection)
    for start in range(0, count, WINDOW):
        vectors = walks(random, dimensions)[: count - start]
        documents = [
            Document(f"{start + n}", text)
            for n, text in enumerate(texts(random, len(vectors)))
        ]
        embedded = [
            EmbeddedDocument(each, None, [each], vectors[n : n + 1])
            for n, each in enumerate(documents)
        ]
        with transaction(conn):
            write_documents(collection, embedded, store_content=True)
    conn.close()


def walks(random: np.random.Generator, dimensions: int) -> Vectors:
    """One window of vectors, (WINDOW, dimensions)."""
    vectors = np.empty((STEPS, WINDOW // STEPS, dimensions), np.float32)
    steps = random.standard_normal(vectors.shape, dtype=np.float32)
    vectors[0] = normalize(steps[0])
    for n in range(1, STEPS):
        vectors[n] = normalize(vectors[n - 1] + STEP * normalize(steps[n]))
    return vectors.reshape(-1, dimensions)


def texts(random: np.random.Generator, count: int) -> list[str]:
    """*count* texts of LENGTH words."""
    weights = np.cumsum(1 / np.arange(1, VOCABULARY + 1))
    places = random.random((count, LENGTH)) * weights[-1]
    numbers = np.searchsorted(weights, places)
    return [" ".join(f"w{each}" for each in row) for row in numbers.tolist()]


if __name__ == "__main__":
    main()
