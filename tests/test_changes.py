"""Triggers record each change of a row, whatever writes it, and never stop a write."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from datasette_embeddings.databases import connect
from datasette_embeddings.documents import AUTO
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.ingest.changed_rows import embed_changes
from datasette_embeddings.ingest.check import delete_inconsistent_rows, problems
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.change_triggers import is_trackable, stored_triggers
from datasette_embeddings.store.changes import count_changes, is_tracked, track, untrack
from datasette_embeddings.store.collection_writes import (
    delete_collection,
    rename_collection,
)
from datasette_embeddings.store.collections import collection

PRUNE = IngestOptions(prune=True)
TABLE = "create table docs (id integer primary key, title text, body text, views)"


@pytest.fixture
def conn(tmp_path):
    path = tmp_path / "docs.db"
    path.touch()
    with closing(connect(path, "rw")) as conn:
        yield conn


def docs(conn):
    return collection(conn, "docs")


def embedded(conn, model, sql=TABLE, **options):
    """The source of a table made by *sql*, with one row, that is embedded."""
    conn.execute(sql)
    conn.execute("insert into docs (title, body) values ('First', 'an apple')")
    conn.commit()
    source = table_source(
        conn, "docs", content_columns=["body"], rules=Source(chunking=AUTO), **options
    )
    ingest(conn, "docs", source, model)
    return source


def tracked(conn, model, sql=TABLE, **options):
    """As :func:`embedded`, and tracked, with nothing left to compare."""
    source = embedded(conn, model, sql, **options)
    track(docs(conn), source)
    ingest(conn, "docs", source, model, options=PRUNE)
    return source


def keys(conn):
    return [
        key
        for (key,) in conn.execute(
            "select key from _embedding_changes where changed is not null order by key"
        )
    ]


def settle(conn, source, model):
    embed_changes(docs(conn), source, model)
    assert keys(conn) == []


def test_tracking_begins_with_one_comparison_of_all(conn, model):
    source = embedded(conn, model)
    assert not is_tracked(docs(conn), source)
    assert count_changes(docs(conn)).needs_sync is False
    track(docs(conn), source)
    assert is_tracked(docs(conn), source)
    assert count_changes(docs(conn)).needs_sync
    ingest(conn, "docs", source, model, options=PRUNE)
    assert not count_changes(docs(conn)).needs_sync
    track(docs(conn), source)
    assert not count_changes(docs(conn)).needs_sync


def test_only_columns_that_are_embedded_count(conn, model):
    tracked(conn, model)
    conn.execute("update docs set views = 9")
    assert keys(conn) == []
    conn.execute("update docs set title = 'Other'")
    assert keys(conn) == ["i1"]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("insert into docs (body) values ('new')", ["i2"]),
        ("update docs set body = 'changed'", ["i1"]),
        ("update docs set id = 7", ["i1", "i7"]),
        ("update docs set rowid = 7", ["i1", "i7"]),
        ("update docs set oid = 7", ["i1", "i7"]),
        ("delete from docs", ["i1"]),
        ("insert or replace into docs (id, body) values (1, 'x')", ["i1"]),
        (
            "insert into docs (id, body) values (1, 'x') "
            "on conflict do update set body = excluded.body",
            ["i1"],
        ),
        ("insert into docs (id, body) values (1, 'x') on conflict do nothing", []),
        ("insert or ignore into docs (id, body) values (1, 'x')", []),
    ],
)
@pytest.mark.parametrize("times", [1, 2])
def test_a_change_is_recorded_once(conn, model, statement, expected, times):
    """Also when an earlier one is not embedded yet."""
    tracked(conn, model)
    if times == 2:
        conn.execute("update docs set body = body || '!'")
        expected = sorted({"i1", *expected})
    since = conn.execute("select min(changed) from _embedding_changes").fetchone()
    conn.execute(statement)
    assert keys(conn) == expected
    if times == 2:
        now = conn.execute("select min(changed) from _embedding_changes").fetchone()
        assert now == since


@pytest.mark.parametrize("action", ["abort", "fail", "rollback", "ignore", "replace"])
def test_the_conflict_clause_of_a_statement_does_not_rule(conn, model, action):
    tracked(conn, model)
    for number in range(3):
        conn.execute(f"update or {action} docs set body = ? where id = 1", [number])
        conn.execute(f"insert or {action} into docs (id, body) values (?, 'x')", [9])
        conn.execute("delete from docs where id = 9")
    conn.commit()
    assert keys(conn) == ["i1", "i9"]
    assert conn.execute("select body from docs").fetchall() == [("2",)]


def test_a_row_that_is_replaced_by_another_is_recorded(conn, model):
    """No trigger is told of a row that "or replace" deletes for another's sake."""
    sql = "create table docs (id integer primary key, title, body, slug text unique)"
    source = tracked(conn, model, sql)
    conn.execute("update docs set slug = 'a'")
    conn.execute("insert or replace into docs (id, body, slug) values (2, 'x', 'a')")
    conn.commit()
    assert conn.execute("select id from docs").fetchall() == [(2,)]
    assert keys(conn) == ["i1", "i2"]
    settle(conn, source, model)
    conn.execute("insert into docs (id, body, slug) values (3, 'x', 'b')")
    conn.commit()
    settle(conn, source, model)
    conn.execute("update or replace docs set slug = 'b' where id = 2")
    conn.commit()
    assert "i3" in keys(conn)
    settle(conn, source, model)
    assert docs(conn).item_ids() == {"2"}


def test_rows_that_a_foreign_key_deletes_are_recorded(conn, model):
    conn.execute("create table parents (id integer primary key)")
    conn.execute("insert into parents values (5)")
    sql = (
        "create table docs (id integer primary key, title, body, "
        "parent references parents (id) on delete cascade)"
    )
    tracked(conn, model, sql)
    conn.execute("update docs set parent = 5")
    conn.commit()
    conn.execute("pragma foreign_keys = on")
    conn.execute("delete from parents")
    assert keys(conn) == ["i1"]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (7, "i7"),
        (2**62, f"i{2**62}"),
        (0.1, "r0.1"),
        (1e300, None),
        ("it's", "t69742773"),
        ("x\0y", "t780079"),
        (b"\xff\x00", "bFF00"),
        ("x" * 20_000, "*"),
        (None, "*"),
    ],
    ids=repr,
)
def test_keys_of_any_type(conn, model, key, text):
    source = tracked(conn, model, "create table docs (id primary key, title, body)")
    conn.execute("insert into docs (id, body) values (?, 'new')", [key])
    conn.commit()
    assert text is None or text in keys(conn)
    if text != "*":
        report = embed_changes(docs(conn), source, model)
        assert (report.new, report.gone) == (1, 0)
        conn.execute("delete from docs where id is ?", [key])
        assert embed_changes(docs(conn), source, model).gone == 1
    assert count_changes(docs(conn)).needs_sync == (text == "*")


def test_a_key_that_is_not_utf_8(conn, model):
    source = tracked(
        conn, model, "create table docs (id text primary key, title, body)"
    )
    conn.execute("insert into docs (id, body) values (cast(x'61ff' as text), 'new')")
    conn.commit()
    report = embed_changes(docs(conn), source, model)
    assert (report.new, report.gone) == (1, 0)


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_a_database_in_another_encoding(conn, model, encoding):
    conn.execute(f"pragma encoding = '{encoding}'")
    source = tracked(
        conn, model, "create table docs (id text primary key, title, body)"
    )
    conn.execute("insert into docs (id, body) values ('é', 'new')")
    conn.commit()
    assert embed_changes(docs(conn), source, model).new == 1
    conn.execute("delete from docs where id = 'é'")
    conn.commit()
    assert embed_changes(docs(conn), source, model).gone == 1


@pytest.mark.parametrize("sql", ["trusted_schema = off", "recursive_triggers = on"])
def test_other_settings_of_the_connection_that_writes(conn, model, sql):
    tracked(conn, model)
    conn.execute(f"pragma {sql}")
    conn.execute("replace into docs (id, body) values (1, 'x')")
    assert keys(conn) == ["i1"]


def test_a_program_that_attaches_the_database(conn, model, tmp_path):
    tracked(conn, model)
    with closing(sqlite3.connect(":memory:")) as other:
        other.execute("create table _embedding_changes (mine)")
        other.execute("attach ? as far", [str(tmp_path / "docs.db")])
        other.execute("insert into far.docs (id, body) values (8, 'x')")
        other.commit()
    assert keys(conn) == ["i8"]


def test_hostile_names(conn, model):
    name = "we\"ird {} ? : 'table'"
    quoted = '"' + name.replace('"', '""') + '"'
    conn.execute(
        f'create table {quoted} ("k{{e}}""y" text primary key, "a ""b{{" text)'
    )
    conn.execute(f'create unique index u on {quoted} ("a ""b{{")')
    source = table_source(conn, name, rules=Source(chunking=AUTO))
    ingest(conn, "docs", source, model)
    track(docs(conn), source)
    conn.execute(f"insert into {quoted} values ('1', 'x')")
    conn.commit()
    assert embed_changes(docs(conn), source, model).new == 1


def test_a_trigger_of_another_program_with_a_number_beyond_all(conn, model):
    """Python reads no number of 5,000 digits."""
    source = tracked(conn, model)
    name = f"_embedding_changes_{'9' * 5_000}_1_x"
    conn.execute(f"create trigger {name} after insert on docs begin select 1; end")
    assert len(stored_triggers(conn)) == 3
    assert ingest(conn, "docs", source, model).unchanged == 1


def test_two_collections_of_one_table(conn, model):
    source = tracked(conn, model)
    ingest(conn, "other", source, model)
    track(collection(conn, "other"), source)
    conn.execute("update docs set body = 'new'")
    conn.commit()
    assert embed_changes(docs(conn), source, model).changed == 1
    assert count_changes(docs(conn)).rows == 0
    assert count_changes(collection(conn, "other")).rows == 1
    untrack(collection(conn, "other"))
    assert is_tracked(docs(conn), source)


@pytest.mark.parametrize(
    "sql",
    [
        "create view docs as select 1 as id, 'x' as title, 'y' as body",
        "create virtual table docs using fts5 (title, body)",
    ],
)
def test_what_cannot_be_tracked(conn, model, sql):
    conn.execute(sql)
    key = "rowid" if "fts" in sql else "id"
    source = table_source(conn, "docs", key_columns=[key], content_columns=["body"])
    ingest(conn, "docs", source, model)
    assert not is_trackable(conn, source)
    with pytest.raises(InvalidInputError, match="primary key"):
        track(docs(conn), source)
    assert not stored_triggers(conn)


def test_untracking_leaves_no_trace(conn, model):
    source = embedded(conn, model)
    before = conn.execute(
        "select name, sql from sqlite_master where name like '%docs%'"
    )
    expected = before.fetchall()
    track(docs(conn), source)
    untrack(docs(conn))
    assert not stored_triggers(conn)
    assert conn.execute("select * from _embedding_changes").fetchall() == []
    after = conn.execute("select name, sql from sqlite_master where name like '%docs%'")
    assert after.fetchall() == expected
    untrack(docs(conn))


def test_a_deleted_collection_takes_its_triggers_along(conn, model):
    tracked(conn, model)
    delete_collection(conn, "docs")
    assert not stored_triggers(conn)
    conn.execute("insert into docs (body) values ('new')")
    assert keys(conn) == []


def test_a_collection_that_llm_deleted(conn, model):
    source = tracked(conn, model)
    conn.execute("delete from embeddings")
    conn.execute("delete from collections")
    conn.commit()
    ingest(conn, "another", source, model)
    assert not stored_triggers(conn)
    assert conn.execute("select * from _embedding_changes").fetchall() == []


def test_a_renamed_collection_stays_tracked(conn, model):
    source = tracked(conn, model)
    renamed = rename_collection(conn, "docs", "notes")
    assert is_tracked(renamed, source)
    assert not count_changes(renamed).needs_sync


def test_a_rebuilt_collection_is_tracked_again(conn, model):
    source = tracked(conn, model)
    conn.execute("update docs set body = 'new'")
    conn.commit()
    ingest(conn, "docs", source, model, options=IngestOptions(rebuild=True))
    assert not stored_triggers(conn)
    assert count_changes(docs(conn)).rows == 0
    track(docs(conn), source)
    assert count_changes(docs(conn)).needs_sync


def test_a_source_in_place_of_another(conn, model):
    tracked(conn, model)
    conn.execute("create table others (id integer primary key, body text)")
    other = table_source(conn, "others", rules=Source(chunking=AUTO))
    options = IngestOptions(prune=True, replace_source=True)
    ingest(conn, "docs", other, model, options=options)
    conn.execute("update docs set body = 'new'")
    conn.commit()
    assert count_changes(docs(conn)).rows == 0
    track(docs(conn), other)
    assert len({*stored_triggers(conn).values()}) == 1
    assert keys(conn) == ["*"]


CHANGED = {
    "transformed": """
        create table new (id integer primary key, title text, body text, views);
        insert into new select * from docs;
        drop table docs;
        alter table new rename to docs;
    """,
    "without a column": "alter table docs drop column title",
    "with another index": "create unique index bodies on docs (body)",
    "without a trigger": "drop trigger {trigger}",
}


@pytest.mark.parametrize("sql", CHANGED.values(), ids=CHANGED)
def test_lost_triggers_are_found_and_all_is_compared(conn, model, sql):
    source = tracked(conn, model)
    conn.executescript(sql.format(trigger=next(iter(stored_triggers(conn)))))
    conn.execute("insert into docs (body) values ('unseen')")
    conn.commit()
    source = table_source(
        conn, "docs", content_columns=["body"], rules=Source(chunking=AUTO)
    )
    assert not is_tracked(docs(conn), source)
    track(docs(conn), source)
    assert count_changes(docs(conn)).needs_sync
    assert ingest(conn, "docs", source, model, options=PRUNE).new == 1
    assert is_tracked(docs(conn), source)
    assert not count_changes(docs(conn)).needs_sync


DAMAGES = {
    "triggers": "drop trigger {trigger}",
    "all triggers": CHANGED["transformed"],
    "table": "drop table _embedding_changes",
    "rows": "delete from _embedding_changes",
    "key": """
        create table copied as select * from _embedding_changes;
        drop table _embedding_changes;
        alter table copied rename to _embedding_changes;
    """,
}


@pytest.mark.parametrize("sql", DAMAGES.values(), ids=DAMAGES)
def test_check_finds_and_repairs_what_is_lost(conn, model, sql):
    source = tracked(conn, model)
    assert list(problems(conn)) == []
    conn.executescript(
        "pragma legacy_alter_table = on;"
        + sql.format(trigger=next(iter(stored_triggers(conn))))
    )
    [problem] = problems(conn)
    assert problem.problem == "sources whose changes are no longer recorded"
    delete_inconsistent_rows(conn)
    assert list(problems(conn)) == []
    assert is_tracked(docs(conn), source)
    assert count_changes(docs(conn)).needs_sync
    conn.execute("insert into docs (body) values ('new')")
    conn.commit()
    assert "i2" in keys(conn)


def test_a_table_that_was_deleted(conn, model):
    source = tracked(conn, model)
    conn.execute("drop table docs")
    assert not is_tracked(docs(conn), source)
    with pytest.raises(InvalidInputError):
        track(docs(conn), source)
    delete_inconsistent_rows(conn)
    assert conn.execute("select * from _embedding_changes").fetchall() == []


@pytest.mark.parametrize("value", [None, "text", b"blob", 7, 0.5], ids=repr)
@pytest.mark.parametrize(
    "column", ["key", "changed", "version", "error", "attempts", "tried"]
)
def test_rows_of_other_programs(conn, model, column, value):
    """Any value there: nothing fails, and no row is left behind."""
    source = tracked(conn, model)
    conn.execute("update docs set body = 'new'")
    if (column, value) != ("key", None):
        conn.execute(
            f"update _embedding_changes set {column} = ? where key <> '*'", [value]
        )
    conn.commit()
    count_changes(docs(conn))
    report = embed_changes(docs(conn), source, model)
    assert report.changed or count_changes(docs(conn)).needs_sync


@pytest.mark.parametrize("value", [None, "text", b"blob", 1e12, -7], ids=repr)
@pytest.mark.parametrize("column", ["attempts", "tried"])
def test_a_failing_row_of_which_other_programs_wrote(conn, model, column, value):
    source = tracked(conn, model)
    conn.execute("update docs set body = x'00'")
    conn.commit()
    embed_changes(docs(conn), source, model)
    assert count_changes(docs(conn)).due == 0
    conn.execute(f"update _embedding_changes set {column} = ?", [value])
    conn.execute("update _embedding_changes set tried = tried - 4000")
    conn.commit()
    assert count_changes(docs(conn)).due == 1
    assert embed_changes(docs(conn), source, model).failed == 1


def test_a_sync_forgets_the_changes_that_it_has_seen(conn, model):
    source = tracked(conn, model)
    conn.execute("update docs set body = 'new'")
    conn.commit()
    ingest(conn, "docs", source, model)
    # A run that deletes nothing may have missed a deleted row
    assert keys(conn) == ["i1"]
    ingest(conn, "docs", source, model, options=PRUNE)
    assert keys(conn) == []


def test_a_sync_keeps_the_changes_of_meanwhile(conn, model, tmp_path):
    source = tracked(conn, model)
    conn.execute("update docs set body = 'new'")
    conn.commit()

    def change(_count):
        with closing(sqlite3.connect(tmp_path / "docs.db")) as other:
            other.execute("update docs set body = 'newer'")
            other.commit()

    options = IngestOptions(prune=True, progress=change)
    ingest(conn, "docs", source, model, options=options)
    assert keys(conn) == ["i1"]
    assert embed_changes(docs(conn), source, model).changed == 1
