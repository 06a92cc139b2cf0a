"""Times filters and facets over metadata, with their index and without it.

    python benchmarks/metadata_filters.py --count 20000 200000

The peer is the same filter over the same items without an index, in one run.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from datasette_embeddings.search.counting import counted_values
from datasette_embeddings.search.selecting import Selection, rows_of, selected_items
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.metadata_index import index_metadata

RUNS = 5
TOPICS = [f"topic {number}" for number in range(50)]
KEYS = ("topic", "year")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, nargs="+", default=[20_000, 200_000])
    for count in parser.parse_args().count:
        with tempfile.TemporaryDirectory() as folder:
            conn = written(Path(folder) / "items.db", count)
            notes = collection(conn, "notes")
            without = {name: timed(work) for name, work in works(notes).items()}
            started = time.perf_counter()
            index_metadata(notes, KEYS)
            print(
                f"{count:,} items; index made in {time.perf_counter() - started:.2f} s"
            )
            for name, work in works(notes).items():
                ms = timed(work)
                print(f"{name:32} {without[name]:8.1f} ms  {ms:8.1f} ms with the index")
            conn.close()


def written(path: Path, count: int) -> sqlite3.Connection:
    """A database with a collection of *count* items without vectors of a model."""
    chance, conn = random.Random(0), sqlite3.connect(path)
    notes = create_collection(conn, "notes", "stand-in", None)
    rows = (
        (
            notes.id,
            str(number),
            b"\0" * 4 * 384,
            json.dumps(
                {
                    "title": f"Item {number}",
                    "topic": chance.choice(TOPICS),
                    "year": chance.randint(1990, 2026),
                    "tags": ["a", "b"],
                }
            ),
        )
        for number in range(count)
    )
    with conn:
        conn.executemany(
            "insert into embeddings (collection_id, id, embedding, metadata) "
            "values (?, ?, ?, ?)",
            rows,
        )
    return conn


def works(notes: object) -> dict[str, Callable[[], object]]:
    """What a page asks for, by its name."""

    def filtered(*conditions: str) -> Callable[[], object]:
        named = [key for key in KEYS if any(key in each for each in conditions)]
        return lambda: selected_items(
            notes, Selection(conditions), rows=rows_of(notes, named)
        )

    return {
        "topic = …, 2 % of the items": filtered("topic = 'topic 7'"),
        "topic = … and year > 2020": filtered("topic = 'topic 7'", "year > 2020"),
        "facet of topic": lambda: counted_values(
            notes.conn,
            rows_of(notes, ["topic"]),
            "topic",
            selection=Selection(),
            limit=30,
        ),
    }


def timed(work: Callable[[], object]) -> float:
    """The median time of *work* in milliseconds."""
    times = []
    for _ in range(RUNS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return sorted(times)[RUNS // 2] * 1000


if __name__ == "__main__":
    main()
