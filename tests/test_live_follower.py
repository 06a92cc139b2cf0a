"""What follows live collections, without a server and with a model that is none."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing, contextmanager

import pytest

from datasette_embeddings.config import (
    CollectionConfig,
    Config,
    ModelConfig,
    SimilaritySettings,
)
from datasette_embeddings.databases import connect
from datasette_embeddings.models import registry
from datasette_embeddings.serving import live
from datasette_embeddings.serving.live import Follower
from datasette_embeddings.similarities.refreshing import build, count_stale
from datasette_embeddings.store.changes import count_changes
from datasette_embeddings.store.collections import collection
from tests.models import StandIn, runtimes_with

PATIENCE = 60
TABLE = "create table docs (id integer primary key, body text, slug text unique)"


def until(condition):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
    return found


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "docs.db"
    write(path, TABLE, "insert into docs (body) values ('an apple'), ('a bridge')")
    return path


def write(path, *statements):
    """Write as another program does; the rows that the last statement returns."""
    with closing(sqlite3.connect(path, isolation_level=None)) as conn:
        return [conn.execute(sql).fetchall() for sql in statements][-1]


def ids(path):
    return [each for (each,) in write(path, "select id from embeddings order by id")]


@contextmanager
def following(path, monkeypatch, model=None, *, tables=("docs",)):
    """The collections of *tables*, as a server follows them."""
    model = model or StandIn()
    # Models are kept by their names
    model.model_id = f"stand-in-{path.parent.name}"
    monkeypatch.setattr(registry, "RUNTIMES", runtimes_with(model))
    declared = {
        each: CollectionConfig(table=each, live=True, model=model.model_id)
        for each in tables
    }
    config = Config(collections=declared, models={model.model_id: ModelConfig()})
    follower = Follower(path, config)
    follower.start()
    try:
        yield follower
    finally:
        follower.stop()


def is_following(follower):
    return follower.states["docs"].name == "following"


def test_a_table_that_is_renamed_the_old_way_can_be_written(path, monkeypatch):
    """Then its triggers still read the old name."""
    with following(path, monkeypatch) as follower:
        until(lambda: is_following(follower))
        rename = "alter table docs rename to other"
        write(path, "pragma legacy_alter_table = on", rename)
        until(lambda: follower.states["docs"].name == "failing")
        write(path, "insert into other (body) values ('a cloud')")
        write(path, "alter table other rename to docs")
        until(lambda: ids(path) == ["1", "2", "3"])


@pytest.mark.parametrize(
    ("index", "body"),
    [
        ("create unique index i on docs (lower(body))", "An APPLE"),
        ("create unique index i on docs (body) where slug is null", "an apple"),
    ],
    ids=["expression", "part"],
)
def test_what_no_trigger_tells_is_found_at_the_start(path, monkeypatch, index, body):
    write(path, index)
    with following(path, monkeypatch) as follower:
        until(lambda: is_following(follower))
    write(path, f"insert or replace into docs (id, body) values (7, '{body}')")
    with following(path, monkeypatch) as follower:
        until(lambda: ids(path) == ["2", "7"])
        until(lambda: is_following(follower))
    with closing(connect(path, "rw")) as conn:
        assert not count_changes(collection(conn, "docs")).needs_sync


def test_rowids_that_vacuum_has_changed_are_found_at_the_start(path, monkeypatch):
    rows = "insert into docs values ('an apple'), ('a bridge')"
    write(path, "drop table docs", "create table docs (body text)", rows)
    with following(path, monkeypatch) as follower:
        until(lambda: is_following(follower))
    # It may, and fires no trigger
    sql = "select name, sql from sqlite_master where type = 'trigger'"
    names, created = zip(*write(path, sql), strict=True)
    dropped = [f"drop trigger {name}" for name in names]
    write(path, *dropped, "update docs set rowid = rowid + 7", *created)
    with following(path, monkeypatch):
        until(lambda: ids(path) == ["8", "9"])


def test_rows_that_failed_are_tried_again_at_the_start(path, monkeypatch):
    write(path, "insert into docs (id, body) values (3, 'a poison')")
    model = StandIn(poison="poison")
    with following(path, monkeypatch, model) as follower:
        until(lambda: is_following(follower))
        write(path, "insert into docs (id, body) values (4, 'more poison')")
        until(lambda: write(path, "select * from _embedding_failures where id = '4'"))
        until(lambda: is_following(follower))
        assert ids(path) == ["1", "2"]
    model.poison = None
    with following(path, monkeypatch, model):
        until(lambda: ids(path) == ["1", "2", "3", "4"])


def test_a_collection_to_which_nothing_happened_is_followed_at_the_start(
    path, monkeypatch
):
    for _ in range(2):
        with following(path, monkeypatch) as follower:
            until(lambda follower=follower: is_following(follower))


def test_similarities_that_a_kill_left_behind_are_refreshed_at_the_start(
    path, monkeypatch
):
    with following(path, monkeypatch) as follower:
        until(lambda: is_following(follower))
    with closing(connect(path, "rw")) as conn:
        build(collection(conn, "docs"), SimilaritySettings(limit=1))
        conn.execute("delete from _embedding_similarity_marks")
        conn.commit()
        assert count_stale(collection(conn, "docs")) == 2
    with following(path, monkeypatch) as follower:
        until(lambda: is_following(follower))
    with closing(connect(path, "rw")) as conn:
        assert count_stale(collection(conn, "docs")) == 0


def test_the_end_of_a_server_ends_a_sync_and_fails_no_row(path, monkeypatch):
    rows = "with recursive n (i) as (select 3 union all select i + 1 from n limit 900)"
    write(path, f"insert into docs (id, body) {rows} select i, 'word ' || i from n")
    model = Slow()
    with following(path, monkeypatch, model) as follower:
        until(lambda: model.embedded)
        started = time.monotonic()
    assert time.monotonic() - started < live.STOP_S / 2
    assert len(model.embedded) < 200
    assert not write(path, "select * from _embedding_failures")
    assert follower.states["docs"].name == "starting"


def test_an_error_of_another_kind_stops_one_collection_only(path, monkeypatch):
    write(path, "create table others (id integer primary key, body text)")
    tables = ["docs", "others"]
    with following(path, monkeypatch, Broken(), tables=tables) as follower:
        until(lambda: is_following(follower))
        write(path, "insert into docs (id, body) values (3, 'a broken one')")
        until(lambda: follower.states["docs"].name == "failing")
        write(path, "insert into others values (9, 'a cloud')")
        until(lambda: ids(path) == ["1", "2", "9"])
        write(path, "update docs set body = 'mended' where id = 3")
        until(lambda: ids(path) == ["1", "2", "3", "9"])


def test_a_model_that_hangs_keeps_no_server_from_ending(path, monkeypatch):
    monkeypatch.setattr(live, "STOP_S", 0.5)
    model = Hanging()
    with following(path, monkeypatch, model):
        until(model.is_asked.is_set)
        started = time.monotonic()
    assert time.monotonic() - started < PATIENCE
    model.is_released.set()


class Slow(StandIn):
    """A model that is slow; a sync of this file's rows would take a minute."""

    def embed_passages(self, texts, **options):
        time.sleep(0.06 * len(texts))
        return super().embed_passages(texts, **options)


class Broken(StandIn):
    """A model of a plugin that raises what it should not."""

    def embed_passages(self, texts, **options):
        if any("broken" in text for text in texts):
            raise RuntimeError("It is broken")
        return super().embed_passages(texts, **options)


class Hanging(StandIn):
    """A model that does not come back until it is released."""

    is_remote = True

    def __init__(self):
        super().__init__()
        self.is_asked, self.is_released = threading.Event(), threading.Event()

    def embed_passages(self, texts, **options):
        self.is_asked.set()
        self.is_released.wait(PATIENCE)
        return super().embed_passages(texts, **options)
