"""Searches a second, against Datasette's own full-text search of the same table.

    python benchmarks/serving_speed.py

Measured with ``wrk``, 32 clients, against one real ``datasette`` process on 127.0.0.1
that serves 20,000 rows: the same text again and again, whose vector is cached, and a
new text each time.  Against: ``/db/table.json?_search=`` of the same server; both give
ten rows a page.  In turns, five seconds each.  While new texts are embedded, another
client asks for ``/-/versions.json``, which must not wait for a model.

Must hold: the same text at least 1.0 times as often as full-text search, new texts at
least 0.35 times; no error; 99 of 100 answers within a second; 95 of 100 of the other
client's within 50 ms; at most 256 MB of memory.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import sqlite_utils
from commands import datasette_environment
from measuring import OURS, duration, print_line
from random_items import BLOCK, unit_vectors
from server_memory import AT_MOST_MB, Server, resident_megabytes

from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.documents import Document
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.documents import write_embeddings
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.store.words import Words

ROWS, DIMENSIONS = 20_000, 384
CLIENTS, SECONDS, TURNS = 32, 5, 3
FULL_TEXT = "/notes/notes.json?_search=word17&_size=10"
SEARCH = "/notes/-/embeddings/notes.json?q="
PROBE_PAUSE_S = 0.02


def main() -> None:
    if shutil.which("wrk") is None:
        raise SystemExit("This benchmark needs wrk: apt-get install wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_notes(folder / "notes.db")
        server = Server([folder / "notes.db"], datasette_environment(folder))
        with server.running() as (process, url):
            check(url)
            loads: dict[str, list[Load]] = {"full text": [], "same": [], "new": []}
            probes: list[float] = []
            for turn in range(TURNS):
                loads["full text"].append(load(url + FULL_TEXT))
                loads["same"].append(load(f"{url}{SEARCH}how+to+keep+data+safe"))
                with probing(url, probes):
                    script = new_texts(folder, turn)
                    loads["new"].append(load(url + SEARCH, script))
            megabytes = resident_megabytes(process.pid)
    report(loads, probes, megabytes)


def write_notes(path: Path) -> None:
    """A table of random words with full-text search, and a vector for each row."""
    words = [f"word{number}" for number in range(5_000)]
    choose = random.Random(0)
    conn = sqlite3.connect(path)
    conn.execute("create table notes (id integer primary key, title text, body text)")
    conn.executemany(
        "insert into notes values (?, ?, ?)",
        [
            (number, f"Note {number}", " ".join(choose.choices(words, k=60)))
            for number in range(ROWS)
        ],
    )
    source = table_source(conn, "notes")
    collection = create_collection(conn, "notes", DEFAULT_MODEL, source)
    documents = [
        Document(str(number), f"{title} {body}", title=title)
        for number, title, body in conn.execute("select * from notes")
    ]
    vectors = unit_vectors(ROWS, DIMENSIONS)
    with transaction(conn):
        for start in range(0, ROWS, BLOCK):
            block = slice(start, start + BLOCK)
            write_embeddings(
                collection, documents[block], vectors[block], store_content=False
            )
            Words(collection).write(documents[block])
    conn.close()
    sqlite_utils.Database(path)["notes"].enable_fts(["title", "body"])


def check(url: str) -> None:
    """Both sides answer ten rows, and have their caches warm."""
    for path, key in (
        (FULL_TEXT, "rows"),
        (f"{SEARCH}how+to+keep+data+safe", "matches"),
    ):
        with urlopen(url + path) as response:
            assert len(json.load(response)[key]) == 10


@dataclass(frozen=True)
class Load:
    """What ``wrk`` saw: answers a second, the slowest of 99 in 100, and errors."""

    a_second: float
    p99_s: float
    errors: int


def load(url: str, script: Path | None = None) -> Load:
    """32 clients that ask for *url* for five seconds."""
    options = ["-t1", f"-c{CLIENTS}", f"-d{SECONDS}s", "--latency"]
    command = ["wrk", *options, *(["-s", str(script)] if script else []), url]
    printed = subprocess.check_output(command, text=True)
    failed = re.findall(r"Non-2xx or 3xx responses: (\d+)", printed)
    failed += re.findall(r"(?:connect|read|write|timeout) (\d+)", printed)
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", printed).groups()
    return Load(
        a_second=float(re.search(r"Requests/sec:\s+([\d.]+)", printed)[1]),
        p99_s=float(number) * {"us": 1e-6, "ms": 1e-3, "s": 1}[unit],
        errors=sum(map(int, failed)),
    )


def new_texts(folder: Path, turn: int) -> Path:
    """A script for ``wrk`` that asks another question each time."""
    path = folder / f"new-{turn}.lua"
    path.write_text(
        f"""
        local n = {turn * 1_000_000}
        request = function()
          n = n + 1
          return wrk.format("GET", "{SEARCH}where+is+the+note+number+" .. n)
        end
        """
    )
    return path


class probing:
    """Within, how long ``/-/versions.json`` takes is added to *times*."""

    def __init__(self, url: str, times: list[float]) -> None:
        self._url = f"{url}/-/versions.json"
        self._times = times
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._probe)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _probe(self) -> None:
        while not self._over.wait(PROBE_PAUSE_S):
            start = time.perf_counter()
            urlopen(self._url).read()
            self._times.append(time.perf_counter() - start)


def report(loads: dict[str, list[Load]], probes: list[float], megabytes: float) -> None:
    rates = {
        name: statistics.median(each.a_second for each in turns)
        for name, turns in loads.items()
    }
    for name, at_least in (("same", 1.0), ("new", 0.35)):
        slowest = max(each.p99_s for each in loads[name])
        errors = sum(each.errors for each in loads[name])
        ratio = rates[name] / rates["full text"]
        figures = [
            f"{OURS} {rates[name]:.0f} a second",
            f"full text {rates['full text']:.0f} a second",
            f"{ratio:.2f}x as often",
            f"{errors} errors",
        ]
        work = f"32 clients, {name} text{'s' if name == 'new' else ''}"
        print_line(work, figures, ratio, "x", at_least=at_least)
        print_line(f"{work}: p99", [duration(slowest)], slowest, " s", at_most=1)
    p95_ms = statistics.quantiles(probes, n=20)[-1] * 1000
    figures = [f"{p95_ms:.1f} ms", f"{len(probes)} asked"]
    print_line("versions.json meanwhile: p95", figures, p95_ms, " ms", at_most=50)
    figures = [f"{megabytes:.0f} MB"]
    print_line("memory afterwards", figures, megabytes, " MB", at_most=AT_MOST_MB)


if __name__ == "__main__":
    main()
