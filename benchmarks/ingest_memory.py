"""Memory of a run over a million rows.

    python benchmarks/ingest_memory.py [--rows N ...]

Measured: the peak memory of a process that embeds a table of synthetic rows with a
stand-in whose vectors cost nothing, runs again over the unchanged rows, and then
embeds as many entries with `embed_many`.

Against: itself with fewer rows, because it must not grow with them.

Must hold: at most 300 MB.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from measuring import duration, print_line, seconds
from stand_in import StandIn

from datasette_embeddings import Embeddings
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.vectors import Vectors

ROWS = [10_000, 100_000, 1_000_000]


class Directions(StandIn):
    """Random directions: of vectors that are all alike, the index compares all."""

    def __init__(self, model_id: str) -> None:
        super().__init__(model_id)
        self._chance = np.random.default_rng(0)

    def embed_passages(self, texts: Sequence[str], **options: Any) -> Vectors:
        super().embed_passages(texts, **options)
        shape = len(texts), self.dimensions
        vectors = self._chance.standard_normal(shape, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.alone:
        measure(arguments.rows[0])
        return
    for rows in arguments.rows:
        # A process of its own: the peak of a process never goes down
        command = [sys.executable, __file__, "--alone", "--rows", str(rows)]
        subprocess.run(command, check=True)


def measure(rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        conn = sqlite3.connect(Path(folder) / "rows.db")
        conn.execute("create table rows (id integer primary key, title text, body)")
        conn.executemany(
            "insert into rows values (?, ?, ?)",
            ((n, f"Row {n}", f"number {n} of many, " * 20) for n in range(rows)),
        )
        conn.commit()
        source = table_source(conn, "rows", content_columns=["title", "body"])
        model = Directions("stand-in")
        first = seconds(lambda: ingest(conn, "rows", source, model))
        second = seconds(lambda: ingest(conn, "rows", source, model))
        conn.close()
        entries = ((n, f"number {n} of many, " * 20) for n in range(rows))
        with Embeddings(Path(folder) / "items.db") as db:
            items = db.collection("items", model=model, create=True)
            third = seconds(lambda: items.embed_many(entries))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS
    peak_mb = peak / (1_000_000 if sys.platform == "darwin" else 1_000)
    print_line(
        f"{rows} rows",
        [
            f"first run {duration(first)}",
            f"second {duration(second)}",
            f"embed_many {duration(third)}",
        ],
        peak_mb,
        " MB",
        at_most=300,
    )
    print(f"  peak memory {peak_mb:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
