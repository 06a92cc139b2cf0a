"""Whatever stops a run: the database is whole, and the next run completes the work.

Real processes, really killed, beside a real server that reads all the while.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest

from datasette_embeddings.errors import SourceError
from datasette_embeddings.index.verifying import count_wrong
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import collection
from datasette_embeddings.vectors import decode
from tests import kills
from tests.following import assert_current, compact_indexes
from tests.models import StandIn
from tests.words_in_step import assert_in_step

DATASETTE = [sys.executable, "-m", "datasette", "embeddings"]
# Prime, so that the last window is not a full one
ROWS = 197
KILLS = 20
OPTIONS = ["--table", "docs", "--metadata", "year"]
CHUNKS = ["--chunk", "fixed", "--chunk-size", "8"]
# Small windows, so that a run has many moments between two commits
SMALL_WINDOWS = (
    "import sys; from datasette_embeddings.store import staging;"
    "staging.WINDOW_DOCUMENTS = 16;"
    "from datasette.cli import cli; sys.argv[0] = 'datasette'; cli()"
)


def write_docs(path, journal_mode):
    conn = sqlite3.connect(path)
    conn.execute(f"pragma journal_mode = {journal_mode}")
    conn.execute("create table docs (id integer primary key, body text, year)")
    conn.executemany(
        "insert into docs values (?, ?, ?)",
        (
            (number, f"Text {number} of many. It has sentences. Three of them.", 2026)
            for number in range(ROWS)
        ),
    )
    conn.commit()
    conn.close()


def change_docs(path, step):
    """Changes of every kind, so that a run has deletions and replacements to do."""
    conn = sqlite3.connect(path)
    conn.execute(
        "update docs set body = body || ? where id % 7 = ?", [f" {step}", step]
    )
    conn.execute("update docs set year = year + 1 where id % 5 = ?", [step % 5])
    conn.execute("delete from docs where id = ?", [step * 3 + 1])
    conn.execute("insert into docs values (?, ?, 1)", [10_000 + step, f"Added {step}"])
    conn.commit()
    conn.close()


def command(path, *arguments):
    program = [sys.executable, "-c", SMALL_WINDOWS, "embeddings", "embed"]
    return [*program, str(path), "docs", *OPTIONS, *arguments, "--prune", "--silent"]


def contents(path):
    """Every row of every table of ours but the times; the vectors apart."""
    conn = sqlite3.connect(path)
    assert conn.execute("pragma integrity_check").fetchone() == ("ok",)
    rows = conn.execute(
        """
        select id, content, content_blob, content_hash, metadata
        from embeddings
        order by id
        """
    ).fetchall()
    vectors = conn.execute("select embedding from embeddings order by id").fetchall()
    chunks = conn.execute("select * from _embedding_chunks order by id").fetchall()
    failures = conn.execute("select id, error from _embedding_failures").fetchall()
    facts = conn.execute(
        "select collection_id, name, model, dimensions, passage_prompt, state "
        "from _embedding_collections"
    ).fetchall()
    facts += conn.execute(
        "select collection_id, prefix, source, state from _embedding_sources"
    ).fetchall()
    # Each item and no other has an origin, which is what the item is
    origins = conn.execute(
        """
        select item.id, source.prefix
        from embeddings as item
        left join _embedding_origins as origin
          on origin.collection_id = item.collection_id
          and origin.id = item.id
          and origin.content_hash is item.content_hash
          and origin.updated is item.updated
        left join _embedding_sources as source on source.id = origin.source_id
        order by item.id
        """
    ).fetchall()
    assert {prefix for _id, prefix in origins} == {""}
    origins = conn.execute("select id from _embedding_origins order by id").fetchall()
    assert origins == [row[:1] for row in rows]
    conn.close()
    matrix = np.stack([decode(vector) for (vector,) in vectors])
    return (rows, chunks, failures, facts), matrix


journal_modes = pytest.mark.parametrize("journal_mode", ["delete", "wal"])
in_chunks_too = pytest.mark.parametrize(
    "arguments", [[], CHUNKS], ids=["whole", "chunks"]
)


@journal_modes
@in_chunks_too
def test_killed_at_any_statement_the_next_run_completes_the_work(
    tmp_path, journal_mode, arguments
):
    killed, whole = two_databases(tmp_path, journal_mode)
    arguments = [*OPTIONS, *arguments, "--prune"]
    assert kills.embed(whole, *arguments) == 0
    count = kills.statements(whole)
    moments = random.Random(f"{journal_mode} {arguments}")
    died = 0
    for step in range(KILLS // 6):
        last = moments.randint(1, count)
        died += kills.embed(killed, *arguments, last=last) == -signal.SIGKILL
        assert_in_step(killed)
        change_docs(killed, step)
        change_docs(whole, step)
    for path in (killed, whole):
        assert kills.embed(path, *arguments) == 0
    assert died > 0
    assert_same_contents(killed, whole, journal_mode)


@journal_modes
@in_chunks_too
def test_killed_at_any_statement_the_compact_index_is_that_of_the_vectors(
    tmp_path, journal_mode, arguments
):
    killed, whole = two_databases(tmp_path, journal_mode)
    settings = tmp_path / "metadata.yml"
    settings.write_text("plugins: {datasette-embeddings: {index: compact}}")
    arguments = [*OPTIONS, *arguments, "--prune", "--config", str(settings)]
    for path in (killed, whole):
        assert kills.embed(path, *arguments) == 0
    change_docs(whole, 0)
    assert kills.embed(whole, *arguments) == 0
    count = kills.statements(whole)
    moments, searcher = random.Random(f"{journal_mode} {arguments}"), compact_indexes()
    conn, died = sqlite3.connect(killed), 0
    for step in range(KILLS // 6):
        change_docs(killed, step)
        last = moments.randint(1, count)
        died += kills.embed(killed, *arguments, last=last) == -signal.SIGKILL
        found = collection(conn, "docs")
        # That of a server, that of its next start, and the one in the file
        for index in (searcher.index(found), compact_indexes().index(found)):
            assert_current(index)
        assert found.has_compact
        assert count_wrong(found) == 0
    assert died > 0
    conn.close()


@pytest.mark.long
@journal_modes
@in_chunks_too
def test_killed_at_any_moment_the_next_run_completes_the_work(
    tmp_path, journal_mode, arguments
):
    killed, whole = two_databases(tmp_path, journal_mode)
    started = time.monotonic()
    subprocess.run(command(whole, *arguments), check=True, capture_output=True)
    longest = time.monotonic() - started
    moments = random.Random(f"{journal_mode} {arguments}")
    died = 0
    for step in range(KILLS):
        process = subprocess.Popen(
            command(killed, *arguments), stderr=subprocess.DEVNULL
        )
        try:
            process.wait(moments.uniform(0.2, 1.0) * longest)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            died += process.wait() == -signal.SIGKILL
        assert_in_step(killed)
        change_docs(killed, step)
        change_docs(whole, step)
    for path in (killed, whole):
        subprocess.run(command(path, *arguments), check=True, capture_output=True)
    assert died > 0
    assert_same_contents(killed, whole, journal_mode)


def two_databases(folder, journal_mode):
    paths = folder / "killed.db", folder / "whole.db"
    for path in paths:
        write_docs(path, journal_mode)
    return paths


def assert_same_contents(killed, whole, journal_mode):
    (rows, vectors), (expected, expected_vectors) = contents(killed), contents(whole)
    assert rows == expected
    assert np.abs(vectors - expected_vectors).max() < 1e-5
    assert_in_step(killed)
    conn = sqlite3.connect(killed)
    assert conn.execute("pragma journal_mode").fetchone() == (journal_mode,)
    conn.close()


@journal_modes
def test_readers_are_answered_while_a_run_writes(tmp_path, journal_mode):
    path = tmp_path / "docs.db"
    write_docs(path, journal_mode)
    process = subprocess.Popen(command(path), stderr=subprocess.PIPE, text=True)
    reader = sqlite3.connect(path, timeout=60)
    seen = set()
    while process.poll() is None:
        assert reader.execute("select count(*) from docs").fetchone() == (ROWS,)
        with suppress(sqlite3.OperationalError):  # no such table yet
            seen.update(reader.execute("select count(*) from embeddings").fetchone())
        # A reader without a pause takes the processor from the writer
        time.sleep(0.002)
    reader.close()
    assert (process.returncode, process.stderr.read()) == (
        0,
        f"docs: {ROWS} new, 0 changed, 0 unchanged\n",
    )
    # Between the windows, not only before the first and after the last
    assert seen - {0, ROWS}
    process.stderr.close()


def test_a_full_disk_in_the_middle_keeps_what_was_committed(tmp_path):
    path = tmp_path / "docs.db"
    write_docs(path, "delete")
    # SQLite's own limit: it answers as it does when the disk has no room
    full = SMALL_WINDOWS.replace(
        "from datasette.cli",
        "import sqlite3; connect = sqlite3.connect\n"
        "def limited(*arguments, **options):\n"
        "    conn = connect(*arguments, **options)\n"
        "    conn.execute('pragma max_page_count = 60')\n"
        "    return conn\n"
        "sqlite3.connect = limited\n"
        "from datasette.cli",
    )
    arguments = command(path)
    result = subprocess.run(
        [sys.executable, "-c", full, *arguments[3:]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, "the disk is full" in result.stderr) == (1, True)
    assert len(result.stderr.splitlines()) == 1
    conn = sqlite3.connect(path)
    kept = conn.execute("select count(*) from embeddings").fetchone()[0]
    conn.close()
    assert 0 < kept < ROWS
    finished = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert finished.stderr == (
        f"docs: {ROWS - kept} new, 0 changed, {kept} unchanged\n"
    )


def test_an_interrupt_ends_with_one_line_and_keeps_what_was_committed(tmp_path):
    path = tmp_path / "docs.db"
    write_docs(path, "delete")
    process = subprocess.Popen(command(path), stderr=subprocess.PIPE, text=True)
    conn = sqlite3.connect(path, timeout=5)
    while process.poll() is None:
        tables = conn.execute(
            "select name from sqlite_master where name = 'embeddings'"
        )
        if tables.fetchall() and conn.execute("select 1 from embeddings").fetchone():
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _output, errors = process.communicate()
    conn.close()
    assert (process.returncode, errors) == (
        1,
        "Error: Interrupted. What was committed is kept; run it again to go on\n",
    )


def test_a_source_that_cannot_be_read_says_so_and_can_be_mended(conn):
    # A connection as Python opens it, which takes no text that is not UTF-8
    conn.execute("update articles set body = cast(x'ff' as text) where id = 4")
    conn.commit()
    source = table_source(conn, "articles")
    with pytest.raises(SourceError, match="Could not decode to UTF-8"):
        ingest(conn, "articles", source, StandIn())
    conn.execute("update articles set body = 'mended' where id = 4")
    conn.commit()
    assert ingest(conn, "articles", source, StandIn()).new == 6
