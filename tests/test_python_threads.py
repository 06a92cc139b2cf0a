"""Many threads use one Embeddings beside a server, and nothing is lost."""

from __future__ import annotations

import random
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from datasette_embeddings import Embeddings
from datasette_embeddings.databases import open_database
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.store.collections import collection
from tests.models import StandIn

THREADS, CALLS = 16, 25


def work(notes, thread: int, calls: int) -> dict[str, str]:
    """Mixed calls on ids of this thread's own, and what must be there afterwards."""
    chance, expected = random.Random(thread), {}
    for number in range(calls):
        item_id = f"{thread}-{chance.randrange(calls // 4)}"
        verb = chance.choice(
            ["embed", "embed", "many", "delete", "search", "similar", "get", "len"]
        )
        if verb == "embed":
            expected[item_id] = f"text {number} of thread {thread}"
            notes.embed(item_id, expected[item_id])
        elif verb == "many":
            some = {f"{thread}-m{n}": f"many {number} {n}" for n in range(3)}
            report = notes.embed_many(some.items())
            assert report.failed == 0
            expected |= some
        elif verb == "delete":
            assert notes.delete_items([item_id]) == (item_id in expected)
            expected.pop(item_id, None)
        elif verb == "search":
            assert all(match.id for match in notes.search(f"text {number}", limit=3))
        elif verb == "similar" and item_id in expected:
            assert len(notes.similar(item_id, limit=2)) <= 2
        elif verb == "get":
            item = notes.get(item_id)
            assert (item and item.content) == expected.get(item_id)
            assert (item_id in notes) == (item_id in expected)
        else:
            assert len(notes) >= len(expected)
    return expected


def run_threads(notes, threads: int, calls: int) -> dict[str, str]:
    with ThreadPoolExecutor(threads) as pool:
        jobs = [pool.submit(work, notes, n, calls) for n in range(threads)]
        return {k: v for job in jobs for k, v in job.result().items()}


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_threads_lose_nothing_beside_a_reader(tmp_path, mode):
    path = tmp_path / "notes.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(f"pragma journal_mode = {mode}")
    stop = threading.Event()
    counts = []

    def read():
        """As a server does: a connection of its own, at all times."""
        with open_database(path) as conn:
            while not stop.is_set():
                counts.append(collection(conn, "notes").count_items())

    with Embeddings(path) as db:
        notes = db.collection("notes", model=StandIn(), create=True)
        reader = threading.Thread(target=read)
        reader.start()
        try:
            expected = run_threads(notes, THREADS, CALLS)
        finally:
            stop.set()
            reader.join()
        assert {each.id: each.content for each in notes} == expected
        assert len(counts) > 1
        assert notes.check() == []


def test_one_connection_serves_all_threads(tmp_path):
    conn = sqlite3.connect(tmp_path / "notes.db", check_same_thread=False)
    with closing(conn):
        notes = Embeddings(conn).collection("notes", model=StandIn(), create=True)
        expected = run_threads(notes, 4, CALLS)
        assert {each.id: each.content for each in notes} == expected
        assert notes.check() == []


def test_a_writer_waits_for_another_thread_as_long_as_it_takes(tmp_path, monkeypatch):
    """SQLite itself would give up at once here; in WAL mode it never stops readers."""
    monkeypatch.setattr("datasette_embeddings.databases.BUSY_TIMEOUT_S", 0.0)
    path = tmp_path / "notes.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute("pragma journal_mode = wal")
    with Embeddings(path) as db:
        notes = db.collection("notes", model=StandIn(), create=True)
        expected = run_threads(notes, 8, 20)
        assert {each.id: each.content for each in notes} == expected


@pytest.mark.parametrize("reader", ["get", "index"])
def test_a_reader_waits_for_the_writers_of_its_process(tmp_path, monkeypatch, reader):
    """Without WAL a commit shuts it out, and the next writer is faster than it."""
    path = tmp_path / "notes.db"
    with Embeddings(path) as db:
        notes = db.collection("notes", model=StandIn(), create=True)
        notes.embed("a", "text")
        with db._database.stored("notes") as stored:
            read = {
                "get": lambda: notes.get("a").id,
                "index": lambda: indexes.index(stored).ids[0],
            }[reader]
        waits, writers = threading.Event(), threading.RLock()

        class Writers(dict):
            def __missing__(self, _path):
                if threading.current_thread() is not threading.main_thread():
                    waits.set()
                return writers

        for module in ("databases", "store.schema", "index.cache"):
            monkeypatch.setattr(f"datasette_embeddings.{module}.WRITERS", Writers())
        for module in ("databases", "index.cache"):
            monkeypatch.setattr(f"datasette_embeddings.{module}.BUSY_TIMEOUT_S", 0.0)
        indexes.close()
        db._database.connections._idle.clear()
        with ThreadPoolExecutor(1) as pool, closing(sqlite3.connect(path)) as conn:
            with writers:
                conn.execute("begin exclusive")
                found = pool.submit(read)
                assert waits.wait(60)
                conn.rollback()
            assert found.result() == "a"


def test_a_caller_may_write_while_it_is_read_from(tmp_path):
    """The entries come from the collection itself, and each is embedded meanwhile."""
    with Embeddings(tmp_path / "notes.db") as db:
        notes = db.collection("notes", model=StandIn(), create=True)
        copy = db.collection("copy", model=StandIn(), create=True)
        notes.embed_many((n, f"text {n}") for n in range(120))

        def entries():
            for item in notes:
                notes.embed(item.id, item.content.upper())
                yield item.id, item.content

        assert copy.embed_many(entries()).new == 120
        assert notes.get(7).content == "TEXT 7"
        assert copy.get(7).content == "text 7"


def test_all_threads_make_one_collection(tmp_path):
    with Embeddings(tmp_path / "notes.db") as db:
        model, barrier = StandIn(), threading.Barrier(8)

        def make(number):
            barrier.wait()
            notes = db.collection("notes", model=model, create=True)
            notes.embed(number, f"text {number}")

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(make, range(8)))
        [notes] = db.collections()
        assert len(notes) == 8
        assert notes.check() == []
