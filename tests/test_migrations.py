"""The first write into a file waits for other programs like every other write."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from datasette_embeddings import migrations
from datasette_embeddings.databases import BUSY_TIMEOUT_S
from datasette_embeddings.migrations import migrate
from datasette_embeddings.store.schema import read_columns


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_the_first_write_waits_for_another_writer(tmp_path, journal_mode):
    path = tmp_path / "x.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute(f"pragma journal_mode = {journal_mode}")
    other.execute("create table t (id integer primary key)")
    other.execute("begin immediate")
    other.execute("insert into t default values")
    asks_for_the_lock = threading.Event()

    def release():
        asks_for_the_lock.wait()
        other.execute("commit")

    conn = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S * 6)
    conn.set_trace_callback(
        lambda sql: asks_for_the_lock.set() if sql == "begin immediate" else None
    )
    releasing = threading.Thread(target=release)
    releasing.start()
    try:
        migrate(conn)
    finally:
        asks_for_the_lock.set()
        releasing.join()
    assert read_columns(conn)["embeddings"]
    assert not conn.in_transaction
    conn.close()
    other.close()


def test_a_step_that_fails_leaves_nothing(tmp_path, monkeypatch):
    def fail(db):
        db.execute("create table _embedding_collections (x)")
        db.execute("select no_such_function()")

    monkeypatch.setattr(migrations, "OUR_STEPS", (fail,))
    conn = sqlite3.connect(tmp_path / "x.db")
    with pytest.raises(sqlite3.OperationalError, match="no_such_function"):
        migrate(conn)
    assert conn.execute("select count(*) from sqlite_master").fetchone() == (0,)
    assert not conn.in_transaction
    conn.close()


def test_tables_that_are_up_to_date_are_only_read(tmp_path):
    path = tmp_path / "x.db"
    conn = sqlite3.connect(path)
    migrate(conn)
    conn.close()
    reading = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    migrate(reading)
    reading.close()
