"""A collection that follows the changes of its table is as after a sync of it."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from datasette_embeddings.databases import connect, declared_columns
from datasette_embeddings.documents import AUTO, Chunking
from datasette_embeddings.ingest.changed_rows import embed_changes
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.changes import count_changes, is_tracked, track, untrack
from datasette_embeddings.store.collections import collection
from datasette_embeddings.vectors import decode
from tests.words_in_step import assert_collection_in_step

PRUNE = IngestOptions(prune=True)
WORDS = ["apple", "bridge", "cloud", "dance", "engine", "forest", "garden", "harbour"]
ROUNDS = 6


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
