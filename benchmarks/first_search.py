"""The first search from the shell: a process that starts, searches and ends.

    python benchmarks/first_search.py

Measured: ``datasette embeddings search`` in a collection of 1,000 items, as a whole
process; the files are in the operating system's cache.  Against: ``llm similar`` with
llm-sentence-transformers, the same text in the same database.

Must hold: at most 1.2 seconds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from commands import datasette_environment, run
from hub_cache import llm_environment
from measuring import OURS, median_seconds, print_line, print_speedup
from random_items import COLLECTION, unit_vectors, write_collection

PEER = "llm similar"
TEXT = "how to make a backup"
AT_MOST_S = 1.2


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        db = folder / "items.db"
        write_collection(db, unit_vectors(1_000, 384))
        our_environment = datasette_environment(folder)
        peer_environment = llm_environment(folder)
        works = {
            OURS: lambda: search(db, our_environment),
            PEER: lambda: llm_similar(db, peer_environment),
        }
        times = median_seconds(7, works)
    print_speedup("first search", times, PEER)
    figures = [f"ours {times[OURS]:.2f} s"]
    print_line("first search", figures, times[OURS], " s", at_most=AT_MOST_S)


def search(db: Path, environment: dict[str, str]) -> None:
    command = ["embeddings", "search", db, COLLECTION, TEXT, "--format", "nl"]
    printed = run("datasette", *command, environment=environment)
    assert len(printed.splitlines()) == 10, printed


def llm_similar(db: Path, environment: dict[str, str]) -> None:
    command = ["similar", COLLECTION, "-d", db, "-c", TEXT]
    printed = run("llm", *command, environment=environment)
    assert len(printed.splitlines()) == 10, printed


if __name__ == "__main__":
    main()
