"""Which source brought which item, and that a sync deletes nothing else."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.documents import Document
from datasette_embeddings.errors import InvalidInputError, SourceError
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.store import staging
from datasette_embeddings.store.collection_writes import (
    delete_collection,
    rename_collection,
)
from datasette_embeddings.store.collections import collection, find_collection
from datasette_embeddings.store.origins import count_items_of_sources
from datasette_embeddings.web.permissions import required_tables
from tests.models import StandIn

SECRET, OPEN = "secret", "open"


@pytest.fixture
def db(tmp_path):
    conn = sqlite3.connect(tmp_path / "x.db")
    for table in (OPEN, SECRET):
        conn.execute(f"create table {table} (id integer primary key, body text, note)")
        rows = [(number, f"{table} {number}", table) for number in (1, 2, 3)]
        conn.executemany(f"insert into {table} values (?, ?, ?)", rows)
    conn.commit()
    yield conn
    conn.close()


def source(conn, **config):
    config = {"columns": ("body",)} | config if "table" in config else config
    return source_from_config(conn, CollectionConfig(**config))


def embed(conn, *, model=None, options=None, **config):
    options = IngestOptions(**(options or {}))
    model = model or StandIn()
    return ingest(conn, "x", source(conn, **config), model, options=options)


def pipe(conn, tmp_path, *ids, **config):
    """Rows as if from standard input."""
    lines = "".join(f'{{"id": "{each}", "text": "piped {each}"}}\n' for each in ids)
    path = tmp_path / "piped.nl"
    path.write_text(lines)
    piped = source(conn, input="-", input_format="nl", **config)
    with path.open() as file, pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.stdin", file)
        return ingest(conn, "x", piped, StandIn())


def write_as_llm(conn, *ids, text="of llm", metadata=None):
    """Items as llm writes them, which knows nothing of our tables."""
    found = collection(conn, "x")
    vector = np.eye(1, 4, dtype="<f4").tobytes()
    with conn:
        for each in ids:
            document = Document(each, text)
            conn.execute(
                "insert or replace into embeddings (collection_id, id, embedding, "
                "content, content_hash, metadata, updated) "
                "values (?, ?, ?, ?, ?, ?, unixepoch() + 1)",
                [found.id, each, vector, text, document.content_hash, metadata],
            )


def ids(conn):
    return [row[0] for row in conn.execute("select id from embeddings order by id")]


def asked(conn):
    return required_tables(collection(conn, "x"))


def sources_of_items(conn):
    counts = count_items_of_sources(collection(conn, "x"))
    return {key is not None: count for key, count in counts.items()}


PRUNE, REPLACE = {"prune": True}, {"replace_source": True}


def test_another_source_is_an_error_that_says_how(db):
    embed(db, table=OPEN)
    before = list(db.iterdump())
    with pytest.raises(InvalidInputError) as error:
        embed(db, sql="select id, body from open where id = 1")
    assert str(error.value) == (
        "The items of 'x' come from the table 'open', not from the query "
        "'select id, body from open where id = 1': add --replace to put the new "
        "source in place of the old and delete what it does not have, another "
        "--prefix to keep both, or choose another collection name"
    )
    with pytest.raises(InvalidInputError):
        embed(db, table=SECRET, options={"limit": 1})
    with pytest.raises(InvalidInputError):
        embed(db, table=SECRET, options={"dry_run": True})
    assert list(db.iterdump()) == before


def test_other_rules_for_the_same_table_are_the_same_source(db):
    embed(db, table=OPEN)
    report = embed(db, table=OPEN, columns=("note",), metadata=("body",), chunk="fixed")
    assert (report.changed, collection(db, "x").source.content_columns) == (
        3,
        ("note",),
    )
    assert len(collection(db, "x").sources) == 1


def test_a_source_is_replaced_in_one_run(db):
    embed(db, table=SECRET, metadata=("note",))
    db.execute("update secret set body = 'open 1' where id = 1")
    db.execute("delete from open where id = 3")
    expected = Report(changed=2, replaced=1)
    dry = embed(db, table=OPEN, options={**REPLACE, "dry_run": True})
    assert (dry.changed, dry.replaced, ids(db)) == (2, 1, ["1", "2", "3"])
    assert embed(db, table=OPEN, options=REPLACE) == expected
    assert (ids(db), asked(db)) == (["1", "2"], {OPEN})
    metadata = db.execute("select distinct metadata from embeddings").fetchall()
    assert metadata == [(None,)]
    assert len(collection(db, "x").sources) == 1


def test_failed_rows_of_a_replaced_source_are_forgotten(db):
    db.execute("update secret set body = x'00' where id = 2")
    db.execute("delete from open where id = 2")
    assert embed(db, table=SECRET).failed == 1
    embed(db, table=OPEN, options=REPLACE)
    assert db.execute("select id from _embedding_failures").fetchall() == []


def test_what_a_replaced_source_left_is_asked_about_until_it_goes(db, tmp_path):
    embed(db, table=SECRET)
    path = tmp_path / "rows.nl"
    path.write_text('{"id": "1", "text": "one"}\n{"id": ')
    report = embed(db, input=str(path), options=REPLACE)
    assert (report.changed, report.unread, report.gone) == (1, 1, 2)
    assert (ids(db), asked(db)) == (["1", "2", "3"], {SECRET, "embeddings"})
    path.write_text('{"id": "1", "text": "one"}\n')
    report = embed(db, input=str(path))
    assert (report.replaced, ids(db), asked(db)) == (2, ["1"], {"embeddings"})


def test_a_row_that_fails_keeps_the_item_and_permission_of_the_replaced(db):
    embed(db, table=SECRET)
    db.execute("update open set body = x'00' where id = 2")
    for options in (REPLACE, PRUNE):
        embed(db, table=OPEN, options=options)
        assert (ids(db), asked(db)) == (["1", "2", "3"], {OPEN, SECRET})
    db.execute("update open set body = 'mended' where id = 2")
    embed(db, table=OPEN)
    assert (ids(db), asked(db)) == (["1", "2", "3"], {OPEN})


def test_both_are_asked_about_while_one_replaces_the_other(db, monkeypatch):
    monkeypatch.setattr(staging, "WINDOW_DOCUMENTS", 1)
    embed(db, table=SECRET)
    seen = []

    def stop(_count):
        seen.append(asked(db))
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(db, table=OPEN, options={**REPLACE, "progress": stop})
    assert asked(db) == {OPEN, SECRET}
    assert all(each == {OPEN, SECRET} for each in seen)
    # The replacement is completed without being asked for again
    embed(db, table=OPEN)
    assert asked(db) == {OPEN}
    with pytest.raises(InvalidInputError):
        embed(db, table=SECRET)


def test_rows_that_are_equal_are_taken_over_without_their_metadata(db):
    db.execute("update secret set body = 'open ' || id")
    embed(db, table=SECRET, metadata=("note",))
    report = embed(db, table=OPEN, options=REPLACE)
    assert (report.metadata, report.replaced, asked(db)) == (3, 0, {OPEN})
    metadata = db.execute("select distinct metadata from embeddings").fetchall()
    assert metadata == [(None,)]


def test_items_of_a_pipe_stay_and_the_source_too(db, tmp_path):
    embed(db, table=OPEN)
    assert asked(db) == {OPEN}
    pipe(db, tmp_path, "3", "piped")
    assert collection(db, "x").source.table == OPEN
    assert (asked(db), sources_of_items(db)) == (
        {OPEN, "embeddings"},
        {True: 2, False: 2},
    )
    db.execute("delete from open where id in (2, 3)")
    report = embed(db, table=OPEN, options=PRUNE)
    assert (report.gone, ids(db)) == (1, ["1", "3", "piped"])


def test_a_pipe_alone_is_asked_about_by_embeddings_and_pruned_by_nothing(db, tmp_path):
    assert pipe(db, tmp_path, "a", "b").new == 2
    assert pipe(db, tmp_path, "c").new == 1
    assert pipe(db, tmp_path, "c").unchanged == 1
    assert pipe(db, tmp_path, "c", chunk="fixed").changed == 1
    assert pipe(db, tmp_path, "c", chunk="fixed").unchanged == 1
    assert pipe(db, tmp_path, "c", chunk="sentences", chunk_size=9).changed == 1
    assert (asked(db), ids(db)) == ({"embeddings"}, ["a", "b", "c#0"])


def test_items_of_llm_stay_and_are_asked_about_at_once(db):
    embed(db, table=OPEN)
    assert asked(db) == {OPEN}
    write_as_llm(db, "new", "2")
    assert asked(db) == {OPEN, "embeddings"}
    db.execute("delete from open where id in (2, 3)")
    assert embed(db, table=OPEN, options=PRUNE).gone == 1
    assert ids(db) == ["1", "2", "new"]
    db.execute("delete from embeddings where id in ('2', 'new')")
    assert asked(db) == {OPEN}


def test_an_item_that_llm_replaces_is_asked_about_although_it_is_the_last(db):
    embed(db, table=OPEN)
    assert asked(db) == {OPEN}
    db.execute("delete from embeddings where id = '3'")
    write_as_llm(db, "3")
    assert asked(db) == {OPEN, "embeddings"}


def test_the_row_of_an_item_of_llm_takes_it_over_but_not_its_metadata(db):
    embed(db, table=OPEN)
    write_as_llm(db, "1", text="open 1")
    write_as_llm(db, "2", text="open 2", metadata='{"salary": 1}')
    report = embed(db, table=OPEN)
    assert report == Report(unchanged=3)
    assert (sources_of_items(db), asked(db)) == (
        {True: 2, False: 1},
        {OPEN, "embeddings"},
    )


def test_a_collection_that_llm_deletes_and_makes_again_loses_no_item(db):
    embed(db, table=OPEN)
    model_id = collection(db, "x").model_id
    with db:
        db.execute("delete from embeddings")
        db.execute("delete from collections")
        db.execute("insert into collections values (1, 'x', ?)", [model_id])
    write_as_llm(db, "1", "2", "9")
    db.execute("delete from open where id = 2")
    assert asked(db) == {OPEN, "embeddings"}
    assert embed(db, table=OPEN, options=PRUNE).gone == 0
    assert ids(db) == ["1", "2", "3", "9"]


def test_the_next_collection_of_an_id_inherits_no_source(db):
    embed(db, table=OPEN)
    with db:
        db.execute("delete from collections")
        db.execute("insert into collections values (1, 'x', 'another-model')")
    assert (collection(db, "x").sources, asked(db)) == ((), {"embeddings"})


def test_vacuum_and_rename_change_no_origin(db):
    embed(db, table=OPEN)
    db.execute("delete from embeddings where id = '1'")
    db.commit()
    db.execute("vacuum")
    assert asked(db) == {OPEN}
    rename_collection(db, "x", "y")
    assert required_tables(collection(db, "y")) == {OPEN}
    delete_collection(db, "y")
    for table in ("_embedding_sources", "_embedding_origins"):
        assert db.execute(f"select count(*) from {table}").fetchone() == (0,)


@pytest.mark.parametrize("chunk", [None, "fixed"])
def test_a_source_for_each_prefix(db, chunk):
    for _turn in range(2):
        for table in (OPEN, SECRET):
            embed(db, table=table, prefix=f"{table}/", chunk=chunk, options=PRUNE)
    assert (len(ids(db)), asked(db)) == (6, {OPEN, SECRET})
    db.execute("delete from secret where id > 1")
    report = embed(db, table=SECRET, prefix="secret/", chunk=chunk, options=PRUNE)
    assert (report.unchanged, report.gone, len(ids(db))) == (1, 2, 4)


def test_of_two_sources_only_one_brings_an_item(db):
    db.execute("create table ab (id text primary key, body text)")
    db.execute("insert into ab values ('b1', 'of a'), ('c', 'of a')")
    embed(db, table="ab", prefix="a", columns=("body",))
    report = embed(db, table=OPEN, prefix="ab", columns=("body",))
    assert (report.new, report.failed) == (2, 1)
    assert report.failures[0].error == staging.OF_ANOTHER_SOURCE
    for table, prefix in ((OPEN, "ab"), ("ab", "a")):
        embed(db, table=table, prefix=prefix, options=PRUNE)
    assert ids(db) == ["ab1", "ab2", "ab3", "ac"]
    content = collection(db, "x")
    owner = count_items_of_sources(content)
    assert sorted(owner.values()) == [2, 2]


def test_failures_of_one_source_are_kept_when_another_is_read(db):
    db.execute("update secret set body = x'00' where id = 2")
    for table in (SECRET, OPEN):
        embed(db, table=table, prefix=f"{table}/")
    failed = collection(db, "x").failures()
    assert [each.id for each in failed] == ["secret/2"]


def test_an_empty_row_deletes_only_what_its_source_brought(db):
    embed(db, table=OPEN)
    write_as_llm(db, "1")
    db.execute("update open set body = '' where id in (1, 2)")
    assert embed(db, table=OPEN, options=PRUNE).empty == 2
    assert ids(db) == ["1", "3"]


def test_a_chunk_that_llm_wrote_is_not_taken_for_ours(db):
    embed(db, table=OPEN, chunk="fixed")
    write_as_llm(db, "1#0")
    assert asked(db) == {OPEN, "embeddings"}
    assert embed(db, table=OPEN, chunk="fixed").unchanged == 2
    assert asked(db) == {OPEN}


def test_a_rebuild_that_would_lose_items_of_elsewhere_says_so(db):
    embed(db, table=OPEN)
    write_as_llm(db, "2", "other")
    for options in ({"rebuild": True}, {"rebuild": True, "dry_run": True}):
        with pytest.raises(InvalidInputError, match="would delete 1 items of 'x' that"):
            embed(db, table=OPEN, options=options)
    assert len(ids(db)) == 4
    embed(db, table=OPEN, options={"rebuild": True, **REPLACE})
    assert (ids(db), asked(db)) == (["1", "2", "3"], {OPEN})


def test_a_run_whose_source_is_replaced_meanwhile_ends(db, tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "WINDOW_DOCUMENTS", 1)
    other = sqlite3.connect(tmp_path / "x.db")

    def replace_it(_count):
        if find_collection(other, "x").source.table == SECRET:
            embed(other, table=OPEN, options=REPLACE)

    with pytest.raises(InvalidInputError, match="Another run has put another source"):
        embed(db, table=SECRET, options={"progress": replace_it})
    assert (ids(db), asked(db)) == (["1", "2", "3"], {OPEN})
    other.close()


def test_a_table_that_is_gone_deletes_nothing(db):
    embed(db, table=OPEN)
    remembered = collection(db, "x").source
    db.execute("drop table open")
    with pytest.raises(SourceError):
        ingest(db, "x", remembered, StandIn(), options=IngestOptions(**PRUNE))
    assert (len(ids(db)), asked(db)) == (3, {OPEN})
