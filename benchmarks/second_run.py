"""Embed a table again of which nothing, or one row in 100,000, has changed.

    python benchmarks/second_run.py [--rows N] [--turns N]

Measured: a second ``ingest`` over unchanged rows, in rows a second, and one after a
single row has changed.  The bundled model is used for that row; the first run, which
is not measured, has a stand-in whose vectors cost nothing.

Against: ``llm embed-multi`` over the same unchanged rows, the whole process, whose
vectors came from the same stand-in.

Must hold: at least 20,000 rows a second; at most 1 s more for the changed row.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from pathlib import Path

from commands import run
from hub_cache import llm_environment
from measuring import duration, median_seconds, print_line
from stand_in import StandIn

from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.ingest.report import Report
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.sources.from_config import table_source

UNCHANGED, ONE_CHANGED, PEER = "unchanged", "one changed", "llm embed-multi"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    model = load_model(DEFAULT_MODEL)
    # The first run loads the tokenizer's tables
    model.embed_passages(["a"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.db"
        conn = sqlite3.connect(path)
        write_rows(conn, arguments.rows)
        source = table_source(conn, "rows")
        ingest(conn, "rows", source, StandIn(DEFAULT_MODEL))
        environment = llm_environment(Path(folder))

        def unchanged() -> None:
            check(ingest(conn, "rows", source, model), arguments.rows)

        def one_changed() -> None:
            conn.execute("update rows set body = ? where id = 7", [str(time.time())])
            conn.commit()
            check(ingest(conn, "rows", source, model), arguments.rows - 1)

        def peer() -> None:
            sql = "select id, title, body from rows"
            options = ["-m", DEFAULT_MODEL, "-d", path, "--sql", sql]
            run("llm", "embed-multi", "rows", *options, environment=environment)

        works = {UNCHANGED: unchanged, ONE_CHANGED: one_changed, PEER: peer}
        times = median_seconds(arguments.turns, works)
        conn.close()
    rate = arguments.rows / times[UNCHANGED]
    ratio = times[PEER] / times[UNCHANGED]
    print_line(
        f"{arguments.rows} unchanged rows",
        [
            f"ours {duration(times[UNCHANGED])}",
            f"{PEER} {duration(times[PEER])}",
            f"{ratio:.1f}x as fast",
            f"{rate:,.0f} rows/s",
        ],
        rate,
        " rows/s",
        at_least=20_000,
    )
    more = times[ONE_CHANGED] - times[UNCHANGED]
    print_line(
        f"one of {arguments.rows} rows changed",
        [f"ours {duration(times[ONE_CHANGED])}", f"{more:+.2f} s beyond the scan"],
        more,
        " s",
        at_most=1,
    )


def write_rows(conn: sqlite3.Connection, count: int) -> None:
    conn.execute("create table rows (id integer primary key, title text, body text)")
    conn.executemany(
        "insert into rows values (?, ?, ?)",
        ((n, f"Row {n}", f"number {n} of many, " * 20) for n in range(count)),
    )
    conn.commit()


def check(report: Report, unchanged: int) -> None:
    if report.unchanged != unchanged:
        raise SystemExit(f"Expected {unchanged} unchanged rows, found {report}")


if __name__ == "__main__":
    main()
