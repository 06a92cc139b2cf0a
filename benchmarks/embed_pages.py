"""Embed a corpus of Markdown pages from the shell.

    python benchmarks/embed_pages.py CORPUS.json [--limit N] [--turns N]

CORPUS.json is a list of objects with ``path``, ``title`` and ``body``.

Measured: the whole process ``datasette embeddings embed`` on a table of the pages, with
the bundled model.  Against: the whole process ``llm embed-multi`` on the same table,
with llm-sentence-transformers and the fp32 weights of the same model.

Must hold: at least 2.5 times as fast.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from commands import datasette_environment, run
from hub_cache import llm_environment
from measuring import OURS, median_seconds, print_speedup

from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.vectors import decode

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vectors

COLLECTION = "pages"
PEER = "llm embed-multi"


def main() -> None:
    arguments = parsed_arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages = folder / "pages.db"
        count = write_pages(pages, arguments.corpus, arguments.limit)
        our_environment = datasette_environment(folder)
        peer_environment = llm_environment(folder)
        our_db, peer_db = folder / "ours.db", folder / "peer.db"
        times = median_seconds(
            arguments.turns,
            {
                OURS: lambda: embed(shutil.copy(pages, our_db), our_environment),
                PEER: lambda: llm_embed(shutil.copy(pages, peer_db), peer_environment),
            },
        )
        scores = np.einsum("ij,ij->i", stored_vectors(our_db), stored_vectors(peer_db))
    print_speedup(f"embed {count} pages", times, PEER, at_least=2.5)
    print(f"cosine of both vectors of a page: least {scores.min():.4f}")


def parsed_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--limit", type=int, help="only the first N pages")
    parser.add_argument("--turns", type=int, default=3)
    return parser.parse_args()


def write_pages(path: Path, corpus: Path, limit: int | None) -> int:
    """How many pages of *corpus* the database at *path* now has."""
    pages = json.loads(corpus.read_text("utf-8"))[:limit]
    conn = sqlite3.connect(path)
    with conn:
        conn.execute("create table pages (path text primary key, title, body)")
        conn.executemany("insert into pages values (:path, :title, :body)", pages)
    conn.close()
    return len(pages)


def embed(db: Path, environment: dict[str, str]) -> None:
    # As llm does, which reads the beginning of a page
    options = [
        "--table",
        "pages",
        "--column",
        "title",
        "--column",
        "body",
        "--chunk",
        "none",
    ]
    command = ["embeddings", "embed", db, COLLECTION, *options]
    run("datasette", *command, environment=environment)


def llm_embed(db: Path, environment: dict[str, str]) -> None:
    sql = "select path, title, body from pages"
    options = ["-m", DEFAULT_MODEL, "-d", db, "--sql", sql]
    run("llm", "embed-multi", COLLECTION, *options, environment=environment)


def stored_vectors(db: Path) -> Vectors:
    """The vectors in *db* by id, (n, d)."""
    conn = sqlite3.connect(db)
    rows = conn.execute("select embedding from embeddings order by id").fetchall()
    conn.close()
    return np.stack([decode(row[0]) for row in rows])


if __name__ == "__main__":
    main()
