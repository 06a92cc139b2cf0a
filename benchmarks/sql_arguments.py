"""Call SQL functions with arguments of 200 million bytes, as a stranger may.

    python benchmarks/sql_arguments.py

Measured: the seconds of a processor and the memory that each query takes above a
function that does nothing with the same arguments, each in a process of its own,
because SQLite alone takes 381 MB to pass ``zeroblob(200000000)``; and what all of them
write to the log.

Must hold: at most 0.1 s and 20 MB a query, and less than 10 KB of log in all.
"""

from __future__ import annotations

import json
import logging
import resource
import sqlite3
import statistics
import subprocess
import sys
import time

from measuring import OURS, print_line

from datasette_embeddings import register

CALLS = (
    "embed_scale(zeroblob(4), zeroblob(20000000))",
    "embed_search(zeroblob(20000000), 'x', 1)",
    "embed_scale(zeroblob(4), zeroblob(60000000))",
    "embed_scale(zeroblob(4), zeroblob(200000000))",
    "embed_search(zeroblob(200000000), 'x', 1)",
    "embed_similar(zeroblob(200000000), 'x', 1)",
    "embed_similar('stdlib', zeroblob(200000000), 1)",
    "embed(zeroblob(200000000), 'x')",
    "embed_similar('stdlib', 'math.gcd', zeroblob(200000000))",
    "embed_encode(zeroblob(200000000))",
    "embed_search(hex(zeroblob(100000000)), 'x', 1)",
    "embed_query(hex(zeroblob(100000000)), 'x')",
    "embed(zeroblob(200000000))",
)
NO_OP = "no_op"
TURNS = 3
MEGABYTE = 1024 * 1024


def main() -> None:
    for call in CALLS:
        _name, bracket, arguments = call.partition("(")
        calls = {OURS: call, NO_OP: NO_OP + bracket + arguments}
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in calls}
        for _ in range(TURNS):
            for name, each in calls.items():
                measured[name].append(json.loads(run("--measure", each).stdout))
        time_s, memory_mb = (
            median(measured[OURS], unit) - median(measured[NO_OP], unit)
            for unit in ("seconds", "megabytes")
        )
        print_line(call, [f"{time_s:+.3f} s"], time_s, " s", at_most=0.1)
        print_line(call, [f"{memory_mb:+.1f} MB"], memory_mb, " MB", at_most=20)
    logged = len(run("--log").stderr)
    print_line("log of all", [f"{logged:,} bytes"], logged, " bytes", at_most=10_000)


def median(measured: list[dict[str, float]], unit: str) -> float:
    return statistics.median(each[unit] for each in measured)


def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, capture_output=True)


def measure(call: str) -> None:
    """Print what *call* costs in this process."""
    conn = connection()
    start = time.process_time()
    fetched(conn, call)
    time_s = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MEGABYTE
    print(json.dumps({"seconds": time_s, "megabytes": peak}))


def log() -> None:
    """Make every call, with the log of a server on standard error."""
    logging.basicConfig()
    sqlite3.enable_callback_tracebacks(True)
    conn = connection()
    for call in CALLS:
        fetched(conn, call)


def connection() -> sqlite3.Connection:
    conn = sqlite3.connect(":memory:")
    register(conn)
    conn.create_function(NO_OP, -1, lambda *_arguments: None)
    # The first vector imports numpy, which a server has done long ago
    fetched(conn, "embed_dimensions('[1]')")
    return conn


def fetched(conn: sqlite3.Connection, call: str) -> None:
    try:
        conn.execute(f"select {call}").fetchone()
    except sqlite3.OperationalError:
        # What each of them should be
        return


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--measure", call]:
            measure(call)
        case ["--log"]:
            log()
        case _:
            main()
