"""A collection that follows the changes of its table is as after a sync of it."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.databases import connect, declared_columns
from datasette_embeddings.documents import AUTO, Chunking, Document
from datasette_embeddings.errors import ModelError, SourceError
from datasette_embeddings.ingest.changed_rows import embed_changes
from datasette_embeddings.ingest.check import problems
from datasette_embeddings.ingest.items import embed_item
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.maps.building import PCA
from datasette_embeddings.maps.building import build as build_map
from datasette_embeddings.similarities.refreshing import build as build_similarities
from datasette_embeddings.similarities.refreshing import count_stale
from datasette_embeddings.sources import reading
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.change_rows import retry_failed
from datasette_embeddings.store.changes import (
    Behind,
    count_changes,
    is_tracked,
    track,
    untrack,
)
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.diff import WRITTEN
from datasette_embeddings.store.map_facts import MapSettings
from datasette_embeddings.store.origins import ownership_of
from datasette_embeddings.store.staging import staged
from datasette_embeddings.vectors import decode
from tests import kills
from tests.models import Eyes
from tests.words_in_step import assert_collection_in_step

PRUNE = IngestOptions(prune=True)
WORDS = ["apple", "bridge", "cloud", "dance", "engine", "forest", "garden", "harbour"]
ROUNDS = 4


@pytest.fixture
def conn(tmp_path):
    path = tmp_path / "docs.db"
    path.touch()
    with closing(connect(path, "rw")) as conn:
        yield conn


def sync(conn, source, model, options=PRUNE):
    return ingest(conn, "docs", source, model, options=options)


def followed(conn, model, **options):
    """The source of the table `docs`, whose rows are embedded and tracked."""
    options = {"rules": Source(chunking=AUTO), **options}
    source = table_source(conn, "docs", **options)
    sync(conn, source, model)
    track(collection(conn, "docs"), source)
    sync(conn, source, model)
    assert is_tracked(collection(conn, "docs"), source)
    assert not count_changes(collection(conn, "docs")).needs_sync
    return source


def follow(conn, source, model, **options):
    """Embed all changes that are due; the reports."""
    reports = []
    while count_changes(collection(conn, "docs")).due:
        reports.append(
            embed_changes(collection(conn, "docs"), source, model, **options)
        )
    return reports


def contents(conn):
    """What is stored of all documents, apart from times; and their vectors."""
    tables = {
        "embeddings": "id, content, content_blob, content_hash, metadata",
        "_embedding_origins": "id, content_hash, truncated",
        "_embedding_chunks": "id, document_id, document_hash, position, start, "
        '"end", title, passage_hash, headings',
        "_embedding_failures": "id, error",
        "_embedding_words": "document_id, reversed_title, content_hash, text",
        "_embedding_vocabulary": "word, documents",
        # Null if there is none
        "_embedding_collections": "coalesce(truncated, 0)",
    }
    found = {
        table: sorted(conn.execute(f"select {names} from {table}"), key=repr)
        for table, names in tables.items()
    }
    assert_collection_in_step(conn, collection(conn, "docs"))
    # Each origin is that of its item
    assert (
        conn.execute(
            """
        select count(*)
        from embeddings as item
        join _embedding_origins as origin using (collection_id, id)
        where origin.content_hash is item.content_hash
        and origin.updated is item.updated
        """
        ).fetchone()
        == conn.execute("select count(*) from embeddings").fetchone()
    )
    rows = conn.execute("select embedding from embeddings order by id").fetchall()
    return found, [decode(vector) for (vector,) in rows]


class Mirror:
    """A copy of a database in which each run is a whole sync."""

    def __init__(self, conn, source, model, tmp_path):
        conn.commit()
        self.path = conn.execute("pragma database_list").fetchone()[2]
        self.conn = connect(Path(shutil.copy(self.path, tmp_path / "mirror.db")), "rw")
        self.source, self.model = source, model
        untrack(collection(self.conn, "docs"))
        self.conn.execute("attach ? as original", [self.path])

    def assert_same(self, conn):
        """A sync of the same rows stores what *conn* has."""
        rowid = "rowid, " if "rowid" in self.source.key_columns else ""
        names = ", ".join(each.name for each in declared_columns(self.conn, "docs"))
        self.conn.execute("delete from docs")
        self.conn.execute(
            f"insert into docs ({rowid}{names}) "
            f"select {rowid}{names} from original.docs"
        )
        self.conn.commit()
        sync(self.conn, self.source, self.model)
        (expected, vectors), (found, own) = contents(self.conn), contents(conn)
        assert found == expected
        assert len(own) == len(vectors)
        if own:
            assert np.allclose(np.stack(own), np.stack(vectors), atol=0.02)


def test_inserted_updated_and_deleted_rows(conn, model, tmp_path):
    conn.execute("create table docs (id integer primary key, title, body text)")
    rows = [(f"title {number}", f"body {number}") for number in range(5)]
    conn.executemany("insert into docs (title, body) values (?, ?)", rows)
    conn.commit()
    source = followed(conn, model)
    mirror = Mirror(conn, source, model, tmp_path)
    conn.execute("insert into docs (title, body) values ('new', 'a new row')")
    conn.execute("update docs set body = 'changed' where id = 2")
    conn.execute("delete from docs where id = 3")
    conn.commit()
    assert count_changes(collection(conn, "docs")).rows == 3
    [report] = follow(conn, source, model)
    assert (report.new, report.changed, report.gone) == (1, 1, 1)
    assert count_changes(collection(conn, "docs")).rows == 0
    mirror.assert_same(conn)


class Table:
    """A table of rows that change at random."""

    def __init__(self, sql, keys, *, slugs=False, names=("k0", "k1")):
        self.sql, self.keys, self.slugs, self.names = sql, keys, slugs, names

    def change(self, conn, choose):
        """One statement, which may fail, as any statement of a user may."""
        conflict = choose.choice(["", "", "or replace", "or ignore", "or fail"])
        key = self.keys(choose)
        names = self.names[: len(key)]
        is_same = " and ".join(f"{name} is ?" for name in names)
        values = self._values(choose)
        columns = ", ".join([*names, *values])
        marks = ", ".join("?" * (len(key) + len(values)))
        insert = f"into docs ({columns}) values ({marks})"
        every = [*key, *values.values()]
        assigned = choose.sample([*values], choose.randint(1, len(values)))
        sets = ", ".join(f"{name} = ?" for name in assigned)
        new = [values[name] for name in assigned]
        updates = ", ".join(f"{name} = excluded.{name}" for name in assigned)
        keyed = ", ".join(f"{name} = ?" for name in names)
        statement, parameters = choose.choice(
            [
                (f"insert {conflict} {insert}", every),
                (f"insert {conflict} {insert}", every),
                (f"replace {insert}", every),
                (
                    f"insert {insert} on conflict ({', '.join(names)}) "
                    f"do update set {updates}",
                    every,
                ),
                (f"update {conflict} docs set {sets} where {is_same}", [*new, *key]),
                (f"update docs set other = random() where {is_same}", key),
                (
                    f"update {conflict} docs set {keyed} where {is_same}",
                    [*self.keys(choose), *key],
                ),
                (f"delete from docs where {is_same}", key),
            ]
        )
        with suppress(sqlite3.IntegrityError):
            conn.execute(statement, parameters)
        (conn.commit if choose.random() < 0.9 else conn.rollback)()

    def _values(self, choose):
        words = " ".join(choose.choices(WORDS, k=choose.randint(1, 4)))
        body = choose.choice([words, words, words, words, "", None, b"\x00\x01"])
        found = {
            "title": choose.choice([words.title(), None, "Same"]),
            "body": body,
            "year": choose.choice([1999, "2001", None]),
        }
        if self.slugs:
            found["slug"] = choose.choice(WORDS)
        return found


REST = "title, body text, year, other"
TABLES = {
    "integers": Table(
        f"create table docs (k0 integer primary key, {REST})",
        lambda choose: [choose.randint(-3, 9)],
    ),
    "unique column": Table(
        f"""
        create table docs (
          k0 integer primary key, {REST}, slug text collate nocase unique,
          unique (title, slug)
        )
        """,
        lambda choose: [choose.randint(-3, 9)],
        slugs=True,
    ),
    "texts": Table(
        f"create table docs (k0 text primary key not null, {REST})",
        lambda choose: [choose.choice(["a", "A", "é,b", "it's", "a/b", "1", "x\0y"])],
    ),
    "compound, without rowid": Table(
        f"""
        create table docs (
          k0 text collate nocase, k1 integer, {REST}, primary key (k1, k0)
        ) without rowid
        """,
        lambda choose: [choose.choice(["a", "A", "b,c", "d~e"]), choose.randint(1, 2)],
    ),
    "no key": Table(
        f"create table docs ({REST}, slug text unique)",
        lambda choose: [choose.randint(1, 7)],
        slugs=True,
        names=["rowid"],
    ),
    "any type": Table(
        f"create table docs (k0 primary key not null, {REST})",
        lambda choose: [choose.choice([1, 2.5, "two", b"three", -7, 1e300, "é"])],
    ),
}


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(each, marks=pytest.mark.long) for each in range(1, 12))]
)
@pytest.mark.parametrize("table", TABLES)
def test_random_changes(conn, model, tmp_path, table, seed):
    choose, kind = random.Random(f"{table} {seed}"), TABLES[table]
    conn.execute(kind.sql)
    conn.commit()
    options = {"content_columns": ["body"], "title_column": "title"}
    chunking = choose.choice([AUTO, None, Chunking("fixed", 3)])
    source = followed(
        conn,
        model,
        rules=Source(metadata_columns=("year",), id_prefix="p/", chunking=chunking),
        **options,
    )
    mirror = Mirror(conn, source, model, tmp_path)
    for _round in range(ROUNDS):
        for _change in range(choose.randint(1, 12)):
            kind.change(conn, choose)
        follow(conn, source, model, limit=choose.choice([2, 256]))
        assert not count_changes(collection(conn, "docs")).needs_sync
        mirror.assert_same(conn)


FIRST = "create table docs (id integer primary key, title text, body text)"


def tracked_rows(conn, model, number=3, **options):
    """The source of a table with some rows, embedded and tracked."""
    conn.execute(FIRST)
    conn.executemany(
        "insert into docs (title, body) values (?, ?)",
        ((f"title {each}", f"{WORDS[each % 8]} {each}") for each in range(number)),
    )
    conn.commit()
    return followed(conn, model, content_columns=["body"], **options)


def change(conn, sql, *parameters):
    conn.execute(sql, parameters)
    conn.commit()


def behind(conn):
    return count_changes(collection(conn, "docs"))


def changes_of_all_kinds(conn, step):
    first = "from docs where id < 40 and id"
    conn.execute(
        f"update docs set body = body || ? where id in (select id {first} % 7 = ?)",
        [step, step % 7],
    )
    conn.execute(
        f"update docs set title = ? where id in (select id {first} % 5 = ?)",
        [f"t{step}", step % 5],
    )
    conn.execute("delete from docs where id = ?", [step * 3 + 1])
    conn.execute("update docs set id = -id where id = ?", [step * 3 + 2])
    conn.execute("update docs set body = '' where id = ?", [step * 3 + 3])
    conn.execute("update docs set body = x'00' where id = 30")
    conn.execute("insert into docs (body) values (?)", [f"new {step} " * 20])
    conn.commit()


def test_killed_at_any_statement(conn, tmp_path, request):
    """What was not written is still recorded, and the next run completes it."""
    rules = Source(chunking=Chunking("fixed", 8))
    source = tracked_rows(conn, kills.Words(), 40, rules=rules)
    changes_of_all_kinds(conn, 1)
    conn.close()
    prepared, path = tmp_path / "docs.db", tmp_path / "killed.db"
    shutil.copy(prepared, path)
    assert kills.follow(path) == 0
    with closing(connect(path, "rw")) as done:
        expected, _vectors = contents(done)
    count = kills.statements(path)
    step = count // (60 if request.config.getoption("--all") else 12)
    for last in range(1, count, step):
        shutil.copy(prepared, path)
        assert kills.follow(path, last=last) == -signal.SIGKILL
        with closing(connect(path, "rw")) as stopped:
            assert_recorded(stopped, source)
        assert kills.follow(path) == 0
        with closing(connect(path, "rw")) as done:
            assert contents(done)[0] == expected
            assert behind(done).due == 0


def assert_recorded(conn, source):
    """Each item is that of its row, unless its change is still recorded."""
    assert conn.execute("pragma integrity_check").fetchone() == ("ok",)
    assert_collection_in_step(conn, collection(conn, "docs"))
    left = {
        key[1:]
        for (key,) in conn.execute(
            "select key from _embedding_changes where changed is not null"
        )
    }
    with reading.documents(conn, source) as rows, staged(conn, rows) as staging:
        found = collection(conn, "docs")
        staging.compare(found, ownership_of(found, source))
        states = staging.states()
    assert {each for each, state, _e in states if state in WRITTEN} <= left
    documents = conn.execute("select document_id from _embedding_words").fetchall()
    assert {each for (each,) in documents} - {each for each, *_rest in states} <= left


def test_a_row_that_changes_while_it_is_embedded(conn, model, tmp_path, monkeypatch):
    source = tracked_rows(conn, model)
    change(conn, "update docs set body = 'first' where id = 1")
    change(conn, "update docs set body = 'other' where id = 2")

    embed = model.embed_passages

    def embed_slowly(texts, **options):
        with closing(sqlite3.connect(tmp_path / "docs.db")) as other:
            change(other, "update docs set body = 'second' where id = 1")
            change(other, "delete from docs where id = 3")
        return embed(texts, **options)

    with monkeypatch.context() as patch:
        patch.setattr(model, "embed_passages", embed_slowly)
        report = embed_changes(collection(conn, "docs"), source, model)
    assert report.changed == 2
    assert behind(conn).rows == 2
    mirror = Mirror(conn, source, model, tmp_path)
    follow(conn, source, model)
    mirror.assert_same(conn)


def test_a_model_that_is_down_loses_nothing(conn, model, tmp_path, monkeypatch):
    source = tracked_rows(conn, model)
    change(conn, "update docs set body = 'first' where id = 1")
    change(conn, "delete from docs where id = 2")

    def fail(texts, **options):
        raise ModelError("The model is down")

    before = behind(conn)
    with monkeypatch.context() as patch:
        patch.setattr(model, "embed_passages", fail)
        for _time in range(2):
            with pytest.raises(ModelError, match="is down"):
                embed_changes(collection(conn, "docs"), source, model)
    assert behind(conn) == before
    mirror = Mirror(conn, source, model, tmp_path)
    follow(conn, source, model)
    mirror.assert_same(conn)


def test_a_row_that_fails_waits(conn, model, tmp_path):
    source = tracked_rows(conn, model)
    change(conn, "update docs set body = x'00' where id = 1")
    change(conn, "insert into docs (body) values ('fine')")
    [report] = follow(conn, source, model)
    assert (report.new, report.failed) == (1, 1)
    found = behind(conn)
    assert (found.rows, found.due, found.failed) == (1, 0, 1)
    [failure] = found.failures
    assert failure.id == "1"
    assert "BLOB" in failure.error
    [stored] = collection(conn, "docs").failures()
    assert (stored.id, stored.error) == (failure.id, failure.error)
    # Not at once, but later and later
    pauses = []
    for _time in range(9):
        waited = 0
        while not behind(conn).due:
            waited += 15
            conn.execute("update _embedding_changes set tried = tried - 15")
        conn.commit()
        pauses.append(waited)
        embed_changes(collection(conn, "docs"), source, model)
        assert behind(conn).due == 0
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    # When the owner asks, and when it changes
    retry_failed(collection(conn, "docs"))
    assert behind(conn).due == 1
    embed_changes(collection(conn, "docs"), source, model)
    assert behind(conn).due == 0
    mirror = Mirror(conn, source, model, tmp_path)
    change(conn, "update docs set body = 'fine again' where id = 1")
    [report] = follow(conn, source, model)
    assert report.changed == 1
    assert behind(conn) == Behind()
    assert collection(conn, "docs").failures() == []
    mirror.assert_same(conn)


def test_a_failing_row_stays_recorded_after_a_sync(conn, model):
    source = tracked_rows(conn, model)
    change(conn, "update docs set body = x'00' where id = 1")
    follow(conn, source, model)
    sync(conn, source, model)
    assert behind(conn).failed == 1
    change(conn, "delete from docs where id = 1")
    [report] = follow(conn, source, model)
    assert report.gone == 1
    assert behind(conn) == Behind()
    assert collection(conn, "docs").failures() == []


def test_the_work_is_that_of_the_changed_rows(tmp_path):
    """However many others there are."""
    steps = [_steps(tmp_path / f"{number}.db", number) for number in (100, 1_500)]
    assert steps[1] < steps[0] * 1.1


def _steps(path, number):
    """Steps of SQLite's machine for some changes, in tens."""
    path.touch()
    with closing(connect(path, "rw")) as conn:
        source = tracked_rows(conn, kills.Words(), number)
        changes_of_all_kinds(conn, 1)
        counted = []
        conn.set_progress_handler(lambda: counted.append(1), 10)
        follow(conn, source, kills.Words())
        conn.set_progress_handler(None, 0)
        return len(counted)


def test_oldest_changes_come_first_and_some_at_a_time(conn, model):
    source = tracked_rows(conn, model, 5)
    for number in (4, 2, 5):
        change(conn, "update docs set body = 'new' where id = ?", number)
        conn.execute("update _embedding_changes set changed = changed - 1")
    # The latest of them is the oldest by its time
    report = embed_changes(collection(conn, "docs"), source, model, limit=2)
    assert report.changed == 2
    rows = conn.execute("select key from _embedding_changes where key <> '*'")
    assert rows.fetchall() == [("i5",)]


def test_what_is_made_of_vectors_is_refreshed_once_all_is_done(conn, model):
    source = tracked_rows(conn, model, 12)
    build_similarities(collection(conn, "docs"), SimilaritySettings(limit=3))
    build_map(collection(conn, "docs"), MapSettings(PCA))
    change(conn, "update docs set body = 'bridge over water' where id < 5")
    change(conn, "delete from docs where id = 6")
    embed_changes(collection(conn, "docs"), source, model, limit=2)
    assert count_stale(collection(conn, "docs")) > 0
    follow(conn, source, model)
    assert list(problems(conn)) == []


def test_long_documents_and_titles(conn, model, tmp_path):
    """A title is part of what the model reads of a chunk."""
    source = tracked_rows(conn, model)
    mirror = Mirror(conn, source, model, tmp_path)
    change(conn, "update docs set body = ? where id = 1", "A long sentence. " * 400)
    follow(conn, source, model)
    mirror.assert_same(conn)
    change(conn, "update docs set title = 'Another title'")
    [report] = follow(conn, source, model)
    assert (report.changed, report.unchanged) == (1, 2)
    mirror.assert_same(conn)
    change(conn, "update docs set body = 'short' where id = 1")
    follow(conn, source, model)
    mirror.assert_same(conn)


def test_images(conn, tmp_path):
    """The model is a stand-in for one of images, which takes torch."""
    conn.execute("create table docs (id integer primary key, picture blob)")
    picture = b"\x89PNG and more"
    conn.execute("insert into docs (picture) values (?)", [picture])
    conn.commit()
    eyes = Eyes()
    source = followed(conn, eyes, rules=Source(images=True))
    mirror = Mirror(conn, source, eyes, tmp_path)
    change(conn, "insert into docs (picture) values (?)", picture + b"!")
    change(conn, "insert into docs (picture) values (?)", b"no picture")
    change(conn, "update docs set picture = null where id = 1")
    [report] = follow(conn, source, eyes)
    assert (report.new, report.failed, report.empty) == (1, 1, 1)
    mirror.assert_same(conn)


def test_a_table_that_lost_a_column(conn, model):
    source = tracked_rows(conn, model)
    change(conn, "update docs set body = 'new'")
    change(conn, "alter table docs rename column body to text")
    assert not is_tracked(collection(conn, "docs"), source)
    with pytest.raises(SourceError, match="no such column"):
        embed_changes(collection(conn, "docs"), source, model)
    assert behind(conn).rows == 3


def test_rows_of_another_source_stay(conn, model, tmp_path):
    """Deleting a row deletes no item of another source, or of none."""
    source = tracked_rows(conn, model)
    embed_item(collection(conn, "docs"), model, Document("8", "an own item"))
    change(conn, "insert into docs (id, body) values (8, 'a row')")
    follow(conn, source, model)
    embed_item(collection(conn, "docs"), model, Document("8", "an own item"))
    change(conn, "delete from docs where id = 8")
    [report] = follow(conn, source, model)
    assert report.gone == 0
    assert "8" in collection(conn, "docs").item_ids()


def test_one_program_writes_while_another_embeds(conn, model, tmp_path):
    source = tracked_rows(conn, model, 20)
    mirror = Mirror(conn, source, model, tmp_path)
    writer = threading.Thread(target=_write, args=(tmp_path / "docs.db",))
    writer.start()
    while writer.is_alive():
        follow(conn, source, model)
    writer.join()
    follow(conn, source, model)
    assert behind(conn).rows == 0
    mirror.assert_same(conn)


def _write(path):
    choose = random.Random(1)
    with closing(sqlite3.connect(path, timeout=60)) as conn:
        for number in range(150):
            key = choose.randint(1, 40)
            change(conn, "replace into docs values (?, 't', ?)", key, f"text {number}")
            change(conn, "delete from docs where id = ?", choose.randint(1, 40))
