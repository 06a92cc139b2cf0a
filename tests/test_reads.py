"""Which tables a query reads, against what SQLite reports when it really runs."""

from __future__ import annotations

import itertools
import sqlite3

import pytest

from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources.definitions import QuerySource
from datasette_embeddings.sources.queries import query_source, tables_of_query

USER_TABLES = {
    "priv": "create table priv (id integer primary key, body text)",
    "notes_private": "create table notes_private (id integer primary key, body text)",
    "notes_content": "create table notes_content (id integer primary key, body text)",
    "odd name": 'create table "odd name" (id integer primary key, body text)',
    "Upper": "create table Upper (id integer primary key, body text)",
    "seen": "create view seen as select id, body from priv",
}
# How the table that a full-text table indexes may be written
CONTENTS = {
    "priv": ("priv", "PRIV", "priv\n", "'priv'", '"PRIV"', "[Priv]", "`priv`"),
    "odd name": ("'odd name'", '"ODD name"', "[odd name]"),
    "Upper": ("upper", "'UPPER'"),
    "seen": ("seen", "SEEN"),
    "notes_content": ("notes_content", "NOTES_content"),
}
QUERIES = (
    "select rowid, body from {notes}",
    "select rowid, body from {notes} where {notes} match 'dogs'",
    "with found as (select rowid, body from {notes}) select * from found",
    "select id, body from over",
    "select p.id, n.body from {notes} as n join NOTES_PRIVATE as p on p.id = n.rowid",
    "select n.rowid, (select body from notes_private limit 1) from {notes} as n",
)


def full_text():
    """SQL of virtual tables called `notes`, and the table that each indexes."""
    for module in ("fts3", "fts4", "fts5"):
        yield f"create virtual table notes using {module}(body)", None
    for module, option in (("fts4", "content"), ("fts5", "content"), ("fts5", "cont")):
        for content, spellings in CONTENTS.items():
            for spelling in spellings:
                rowid = ", content_rowid=id" if module == "fts5" else ""
                # FTS4 takes no space here
                equals = "=" if module == "fts4" else " = "
                yield (
                    f"create virtual table notes using {module}"
                    f"(body,  {option}{equals}{spelling}{rowid})",
                    content,
                )
    yield "create virtual table notes using fts5(body, content='')", None
    yield "create virtual table notes using fts4(body, content='')", None


def made(sql, *, content=None):
    """A connection that meets the schema for the first time, as a command does."""
    first = sqlite3.connect(":memory:")
    for name, table in USER_TABLES.items():
        # FTS makes that itself where it indexes no other table
        if name != "notes_content" or content is not None or "content=''" in sql:
            first.execute(table)
    first.execute(sql)
    first.execute("create view over as select rowid as id, body from notes")
    for table in ("priv", "notes_private", "odd name", "Upper"):
        first.execute(f"insert into \"{table}\" values (1, 'dogs and cats')")
    if content is not None:
        if content == "notes_content":
            first.execute("insert into notes_content values (1, 'dogs and cats')")
        first.execute("insert into notes (notes) values ('rebuild')")
    first.commit()
    fresh = sqlite3.connect(":memory:")
    fresh.deserialize(first.serialize())
    first.close()
    return fresh


def reported(conn, sql):
    """Every table that SQLite reads while the query runs."""
    names = set()

    def watch(action, name, _column, _schema, _by):
        if action == sqlite3.SQLITE_READ:
            names.add(name)
        return sqlite3.SQLITE_OK

    conn.set_authorizer(watch)
    try:
        conn.execute(sql).fetchall()
    except sqlite3.Error:
        # A contentless table has no text to give
        pass
    finally:
        conn.set_authorizer(None)
    return names


SCHEMAS = list(full_text())


@pytest.mark.skipif(
    not hasattr(sqlite3.Connection, "deserialize"), reason="needs Python 3.11"
)
@pytest.mark.parametrize(("schema", "content"), SCHEMAS, ids=range(len(SCHEMAS)))
def test_the_tables_of_a_query_are_those_that_sqlite_reports(schema, content):
    own = {"notes_content"} if content is None and "content=''" not in schema else set()
    for query, spelling in itertools.product(QUERIES, ("notes", '"NOTES"')):
        sql = query.format(notes=spelling)
        conn = made(schema, content=content)
        try:
            source = query_source(conn, sql)
        finally:
            names = {
                row[0] for row in conn.execute("select name from sqlite_master where 1")
            }
            tables = ({*USER_TABLES, "notes", "over"} & names) - own
            expected = reported(conn, sql) & tables
            conn.close()
        assert set(source.tables) & tables == expected, sql
        # Besides, the tables that hold the text of notes and its words
        assert all(each.startswith("notes_") for each in {*source.tables} - tables), sql
        assert content is None or content in expected


@pytest.mark.parametrize(
    ("statements", "sql", "tables"),
    [
        (
            ["create virtual table places using rtree(id, low, high)"],
            "select places.id, priv.body from places join priv using (id)",
            ("places", "priv"),
        ),
        (
            [
                "create virtual table places using rtree(id, low, high)",
                "create table places_private (id, body)",
            ],
            "select id, body from places_private join places using (id)",
            ("places", "places_private"),
        ),
        (
            ["create virtual table words using fts5(body)"],
            "select words.rowid, c0 from words join WORDS_content on id = words.rowid",
            ("words", "words_content"),
        ),
        (
            [
                "create virtual table words using fts5(body, content=priv)",
                "create virtual table terms using fts5vocab(words, row)",
            ],
            "select term, doc from terms",
            ("priv", "terms", "words"),
        ),
        (
            [
                "create virtual table words using fts4(body, content=priv)",
                "create virtual table terms using fts4aux(words)",
            ],
            "select term, documents from terms",
            ("priv", "terms", "words"),
        ),
        (
            [
                "create view a as select id, body from priv",
                "create view b as select * from a",
                "create trigger t after insert on priv begin delete from other; end",
            ],
            "select * from b",
            ("a", "b", "priv"),
        ),
        (
            [],
            "select count(*), (select 1 from other limit 1) from priv",
            ("other", "priv"),
        ),
        (
            [],
            "select priv.id, priv.body from priv join other using (id)",
            ("other", "priv"),
        ),
        (
            ["create virtual table words using fts5(id, body, content=other)"],
            "select priv.id, priv.body from priv join words using (id)",
            ("other", "priv", "words"),
        ),
        ([], "with priv as (select 1 as id, 'x' as body) select * from priv", ()),
        (
            ['create virtual table "a (using fts5(b)" using fts5(body)'],
            'select rowid, body from "a (using fts5(b)"',
            ("a (using fts5(b)",),
        ),
    ],
)
def test_other_shapes(tmp_path, statements, sql, tables):
    path = tmp_path / "x.db"
    conn = sqlite3.connect(path)
    conn.execute("create table priv (id integer primary key, body text)")
    conn.execute("create table other (id)")
    for statement in statements:
        conn.execute(statement)
    conn.commit()
    conn.close()
    conn = sqlite3.connect(path)
    assert set(query_source(conn, sql).tables) >= set(tables)
    # Once more, now that SQLite has met the virtual tables
    found = set(query_source(conn, sql).tables) - shadows(conn)
    assert found - {"a", "b"} == {*tables} - shadows(conn) - {"a", "b"}
    conn.close()


def shadows(conn):
    rows = conn.execute("pragma table_list").fetchall()
    return {name for _schema, name, kind, *_ in rows if kind == "shadow"}


def test_another_database_is_not_taken_for_this_one(tmp_path):
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("create table priv (id integer primary key, body text)")
    other.close()
    conn = sqlite3.connect(tmp_path / "x.db")
    conn.execute("create table priv (id integer primary key, body text)")
    attached = (("more", str(tmp_path / "other.db")),)
    for sql, tables in (
        ("select id, body from more.priv", ()),
        ("select p.id, p.body from priv as p join more.priv using (id)", ("priv",)),
    ):
        source = query_source(conn, sql, attached=attached)
        assert source.tables == tables
        assert "embeddings" in source.permission_tables
    conn.close()


@pytest.fixture
def notes(tmp_path):
    conn = sqlite3.connect(tmp_path / "notes.db")
    conn.execute("create virtual table notes using fts5(body)")
    conn.execute("create table notes_private (id integer primary key, body text)")
    conn.execute("create view shown as select id, body from notes_private")
    conn.commit()
    yield conn
    conn.close()


JOINED = "select p.id, p.body from notes join notes_private as p on p.id = notes.rowid"


def test_an_incomplete_note_of_an_older_release_is_completed(notes):
    source = QuerySource(JOINED, ("notes",))
    assert tables_of_query(notes, source) >= {"notes", "notes_private"}


@pytest.mark.parametrize(
    "sql",
    [JOINED.replace("p.body", "unknown(p.body)"), f"{JOINED} join more.x using (id)"],
    ids=["function", "database"],
)
def test_a_query_that_cannot_be_compiled_asks_for_what_it_may_read(notes, sql):
    source = QuerySource(sql, ("notes",))
    assert tables_of_query(notes, source) >= {"notes", "notes_private"}


def test_what_was_read_when_it_was_embedded_is_asked_for_ever(notes):
    source = query_source(notes, "select id, body from shown")
    assert "notes_private" in source.tables
    notes.execute("create table public (id integer primary key, body text)")
    notes.execute("drop view shown")
    notes.execute("create view shown as select id, body from public")
    assert {"notes_private", "public"} <= set(tables_of_query(notes, source))
    notes.execute("drop table notes_private")
    assert "notes_private" in tables_of_query(notes, source)


@pytest.mark.parametrize(
    "sql",
    ["delete from notes_data", "delete from notes_private", "pragma user_version = 3"],
)
def test_nothing_but_a_query_is_taken(notes, sql):
    with pytest.raises(SourceError, match="Expected one SQL query"):
        query_source(notes, sql)
    assert notes.execute("pragma user_version").fetchone() == (0,)
