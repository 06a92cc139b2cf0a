"""How searches grow with a collection, beside other ways to search.

    pip install apsw faiss-cpu lancedb duckdb-ext-vss sqlite-vec sqliteai-vector \
        turbovec usearch vectorlite-py
    python benchmarks/scale.py [--count N ...] [--way NAME ...]
    python benchmarks/scale.py --growth [--count N ...] [--picture FILE.svg]
    python benchmarks/scale.py --real DB COLLECTION

The first makes the table of all ways. Vectors of 384 dimensions are from
`scripts/random_walk.py`, seed 0; 100 questions are near some of them. Measured:
the seconds to build what a way saves, and its bytes beside the database; in a new
process, the seconds from opening that to the first answer, resident memory beyond the
process before, and the median and 99th of 100 searches for the ten nearest. The recall
is the part of them that the exact product finds. Two threads for each; files are in
the system's cache. A way that fails, or takes 20 minutes, is reported; others go on.

`--growth` measures this package alone, see `scale_growth.py`; `--real` what a compact
index finds of 300 items of a real collection.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scale_databases import DATABASES
from scale_libraries import LIBRARIES
from scale_ways import DIMENSIONS, OWN, THREADS, K, Way, items_of

SCRIPTS = Path(__file__).parent.parent / "scripts"
WAYS = OWN | LIBRARIES | DATABASES
QUESTIONS, MOST_SECONDS = 100, 20 * 60
#: The names by which libraries are told how many threads to use
THREAD_NAMES = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"),
    *("LANCE_CPU_THREADS", "LANCE_IO_THREADS", "TOKIO_WORKER_THREADS"),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, nargs="+")
    parser.add_argument("--way", choices=WAYS, nargs="+", default=[*WAYS])
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--real", nargs=2, metavar=("DB", "COLLECTION"))
    parser.add_argument("--step", choices=["build", "search"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    # The package is imported where it is measured: its memory counts for it alone
    if given.real:
        from scale_real import real

        real(*given.real)
    elif given.growth:
        from scale_growth import COUNTS, growth

        growth(given.count or COUNTS, given.picture)
    elif given.step:
        step = built if given.step == "build" else searched
        folder = given.folder
        print(json.dumps(step(WAYS[given.way[0]], folder / "walk.db", folder / "way")))
    else:
        for count in given.count or [100_000]:
            compare(count, given.way)


def compare(count: int, names: list[str]) -> None:
    """Print a line for each of *names*, and one for each that could not be measured."""
    exact = next(iter(WAYS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database = folder / "walk.db"
        script = SCRIPTS / "random_walk.py"
        command = [sys.executable, script, database, str(count), "--no-words"]
        subprocess.run(command, check=True)
        size = database.stat().st_size / 1e6
        print(f"\n{count:,} vectors, database {size:,.0f} MB, {loads()}\n")
        print("| | build | start | memory | disk | median | 99 of 100 | recall |")
        print("|---|---|---|---|---|---|---|---|", flush=True)
        right = None
        for each in [exact, *(other for other in names if other != exact)]:
            if count > WAYS[each].most:
                continue
            try:
                found = both_steps(each, folder)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                print(f"| {each} | {reason(error)} | | | | | | |", flush=True)
                continue
            right = right or found["found"]
            print_row(each, found, right)
    print(f"\n{loads()} at the end\n")
    for each in names:
        print(f"- {each}: {WAYS[each].settings}")


def print_row(name: str, found: dict, right: list[list[int]]) -> None:
    """Print what was measured of a way; *right* are the nearest of each question."""
    pairs = zip(found["found"], right, strict=True)
    recall = np.mean([len({*a} & {*b}) / K for a, b in pairs])
    cells = [
        f"{found['build']:.1f} s" if WAYS[name].build else "",
        f"{found['start']:.2f} s",
        f"{found['memory']:.0f} MB",
        f"{found['disk']:.0f} MB",
        f"{found['median']:.2f} ms",
        f"{found['late']:.2f} ms",
        f"{recall:.3f}",
    ]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


def both_steps(name: str, folder: Path) -> dict:
    """What both processes of a way measured; what it saved is deleted."""
    threads = dict.fromkeys(THREAD_NAMES, str(THREADS))
    found = {}
    with tempfile.TemporaryDirectory(dir=folder) as saved:
        (folder / "way").symlink_to(saved)
        try:
            for step in ("build", "search"):
                options = ["--step", step, "--way", name, "--folder", folder]
                done = subprocess.run(
                    [sys.executable, __file__, *options],
                    capture_output=True,
                    check=True,
                    env=os.environ | threads,
                    timeout=MOST_SECONDS,
                )
                found |= json.loads(done.stdout.splitlines()[-1])
        finally:
            (folder / "way").unlink()
    return found


def reason(error: subprocess.SubprocessError) -> str:
    """Why a way could not be measured."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"more than {MOST_SECONDS / 60:.0f} minutes"
    lines = error.stderr.decode().strip().splitlines()
    return lines[-1] if lines else f"ended with {error.returncode}"


def loads() -> str:
    return f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"


def built(way: Way, database: Path, folder: Path) -> dict[str, float]:
    before, start = bytes_of(database, folder), time.perf_counter()
    if way.build:
        way.build(database, folder)
    taken = time.perf_counter() - start
    return {"build": taken, "disk": (bytes_of(database, folder) - before) / 1e6}


def bytes_of(*paths: Path) -> int:
    """What files, and all in folders, have on disk."""
    files = [*paths, *(each for path in paths for each in path.rglob("*"))]
    return sum(each.stat().st_size for each in files if each.is_file())


def searched(way: Way, database: Path, folder: Path) -> dict[str, object]:
    questions = near_some_of(database)
    before = resident()
    for library in way.libraries:
        importlib.import_module(library)
    start = time.perf_counter()
    search = way.load(database, folder)
    search(questions[0])
    first, times, found = time.perf_counter() - start, [], []
    for question in questions:
        start = time.perf_counter()
        found.append(search(question))
        times.append(1000 * (time.perf_counter() - start))
    return {
        "start": first,
        "memory": resident() - before,
        "median": float(np.median(times)),
        "late": float(np.percentile(times, 99)),
        "found": found,
    }


def near_some_of(database: Path) -> np.ndarray:
    """Questions as near some items as a step of a walk is: (QUESTIONS, DIMENSIONS)."""
    conn, random = sqlite3.connect(database), np.random.default_rng(1)
    rows = [
        conn.execute("select embedding from embeddings where rowid = ?", [each])
        for each in random.integers(1, items_of(database) + 1, QUESTIONS).tolist()
    ]
    vectors = np.frombuffer(b"".join(row.fetchone()[0] for row in rows), np.float32)
    noise = random.standard_normal((QUESTIONS, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    found = vectors.reshape(QUESTIONS, -1) + np.float32(0.5 * noise)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def resident() -> float:
    """Megabytes of memory of this process."""
    printed = subprocess.check_output(["ps", "-o", "rss=", "-p", str(os.getpid())])
    return int(printed) * 1024 / 1e6


if __name__ == "__main__":
    main()
