from __future__ import annotations

import sqlite3

import pytest

from datasette_embeddings.documents import Document, Failure
from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources import reading
from datasette_embeddings.sources.definitions import QuerySource, TableSource
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.sources.table_rows import SourceRow, source_rows


def documents(conn, source):
    return [(each.id, each.content) for each in read(conn, source)]


def read(conn, source):
    with reading.documents(conn, source) as found:
        return list(found)


def test_a_table_offers_its_text_columns_its_key_and_its_title(conn):
    assert table_source(conn, "ARTICLES") == TableSource(
        table="articles",
        key_columns=("id",),
        content_columns=("title", "body"),
        title_column="title",
    )


def test_documents_join_the_columns_with_spaces_as_llm_does(conn):
    conn.execute("create table t (id integer primary key, a text, b, c text)")
    conn.execute("insert into t values (1, 'x', 0, null), (2, null, 2.5, 'z')")
    source = table_source(conn, "t", content_columns=["a", "b", "c"])
    assert documents(conn, source) == [("1", "x 0 "), ("2", " 2.5 z")]


@pytest.mark.parametrize(
    ("create", "row"),
    [
        ('create table "t" ("select" text primary key, "a ""b" text)', ("k/1", "text")),
        ('create table "t" ("rowid" text, "a ""b" text)', ("k/1", "text")),
    ],
    ids=["quoted names", "a column called rowid"],
)
def test_odd_column_names_are_only_names(create, row):
    conn = sqlite3.connect(":memory:")
    conn.execute(create)
    conn.execute("insert into t values (?, ?)", row)
    key = "select" if "select" in create else "rowid"
    source = table_source(conn, "t", content_columns=['a "b'], key_columns=[key])
    assert documents(conn, source) == [("k/1", "text")]
    conn.close()


def test_a_compound_key_makes_a_row_path_and_leads_back_to_its_row(conn):
    conn.execute("create table t (a text, b integer, name text, primary key (b, a))")
    conn.execute("insert into t values ('x/y', 1, 'one'), ('z', 2, 'two')")
    source = table_source(conn, "t")
    assert documents(conn, source) == [("1,x~2Fy", "one"), ("2,z", "two")]
    content_hash = Document("", "one").content_hash
    assert source_rows(conn, source, ["1,x~2Fy", "3,z"]) == {
        "1,x~2Fy": SourceRow(title="one", content="one", content_hash=content_hash)
    }


def test_a_key_without_a_type_leads_back_to_its_row(conn):
    conn.execute("create table t (id primary key, body text)")
    conn.execute("insert into t values (7, 'number'), ('7', 'text'), ('x', 'other')")
    source = table_source(conn, "t")
    assert source_rows(conn, source, ["x"])["x"].content == "other"
    assert source_rows(conn, source, ["7"])["7"].content in ("number", "text")


def test_a_table_without_primary_key_uses_rowid(conn):
    conn.execute("create table t (body text)")
    conn.execute("insert into t values ('one'), ('two')")
    source = table_source(conn, "t")
    assert source.key_columns == ("rowid",)
    assert documents(conn, source) == [("1", "one"), ("2", "two")]
    assert source_rows(conn, source, ["2"])["2"].content == "two"


def test_a_query_gives_ids_and_content_and_names_the_tables_it_reads(conn):
    conn.execute("create view titles as select id, title from articles")
    source = query_source(conn, "select id, title from titles where id < 3; ")
    assert source.tables == ("articles", "titles")
    assert documents(conn, source) == [("1", "Sourdough"), ("2", "Night sky")]


@pytest.mark.parametrize(
    "sql",
    [
        "select id, title from articles -- all",
        "with a as (select 1) select *, 2 from a",
    ],
    ids=["comment", "with"],
)
def test_a_query_may_be_written_in_many_ways(conn, sql):
    assert documents(conn, query_source(conn, sql))[0][0] == "1"


@pytest.mark.parametrize(
    "sql",
    [
        "delete from articles",
        "insert into articles values (9, '', '') returning id, title",
        "select 1, 2; drop table articles",
        "nonsense",
        "",
        "pragma user_version = 3",
        "attach 'other.db' as other",
        "select id, title from nowhere",
    ],
    ids=lambda sql: sql.partition(" ")[0] or "empty",
)
def test_anything_but_one_reading_query_is_refused_and_changes_nothing(conn, sql):
    before = list(conn.iterdump())
    with pytest.raises(SourceError):
        query_source(conn, sql)
    assert list(conn.iterdump()) == before


def test_columns_of_the_same_name_are_all_read(conn):
    sql = "select 1 as id, 'a' as x, 'b' as x, 'c' as X, 'd' as ID"
    assert documents(conn, QuerySource(sql)) == [("1", "a b c d")]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select id from articles", "at least two columns.*found 1"),
        ("select 1, abs(-9223372036854775808)", "integer overflow"),
    ],
    ids=["one column", "fails while it runs"],
)
def test_rows_that_cannot_be_read_are_refused_with_the_reason(conn, sql, message):
    with pytest.raises(SourceError, match=message):
        documents(conn, QuerySource(sql))


@pytest.mark.parametrize(
    ("row", "failure"),
    [
        (
            "null, 'x'",
            Failure("row 2", "A row has NULL for its id; every row needs one"),
        ),
        (
            "7, x'00ff'",
            Failure(
                "7",
                "The row has a BLOB among its content; expected text. "
                "Name the columns to embed with --column, and --images if they hold "
                "images",
            ),
        ),
        (
            "'', x'00ff'",
            Failure(
                "",
                "The row has a BLOB among its content; expected text. "
                "Name the columns to embed with --column, and --images if they hold "
                "images",
            ),
        ),
    ],
    ids=["null id", "blob", "empty id"],
)
def test_a_row_that_cannot_be_embedded_is_a_failure_beside_the_others(
    conn, row, failure
):
    sql = f"select 1, 'one' union all select {row} union all select 3, 'three'"
    assert read(conn, QuerySource(sql)) == [
        Document("1", "one"),
        failure,
        Document("3", "three"),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"table": "nowhere"}, "No table 'nowhere'.*it has 'articles', 'links', 'v'"),
        ({"table": "articles", "content_columns": ["text"]}, "No column 'text'"),
        ({"table": "articles", "key_columns": ["key"]}, "No column 'key'"),
        ({"table": "articles", "title_column": "name"}, "No column 'name'"),
        ({"table": "links"}, "no TEXT column"),
        ({"table": "v"}, "'v' is a view"),
    ],
    ids=["table", "column", "key", "title", "no text", "view"],
)
def test_a_source_that_cannot_be_is_refused_with_what_there_is(
    conn, arguments, message
):
    conn.execute("create table links (a integer, b integer)")
    conn.execute("create view v as select title from articles")
    with pytest.raises(SourceError, match=message):
        table_source(conn, **arguments)


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        (
            "select rowid, title from found where found match 'sky'",
            ("articles", "found"),
        ),
        ("select key, value from json_each('[1]')", ()),
        ("select id, title from articles; -- all of them", ("articles",)),
    ],
    ids=["full-text", "json_each", "comment"],
)
def test_virtual_tables_may_be_read_on_a_fresh_connection(tmp_path, conn, sql, tables):
    conn.execute("create virtual table found using fts5(title, content='articles')")
    conn.execute("insert into found (rowid, title) select id, title from articles")
    conn.commit()
    conn.execute("vacuum into ?", [str(tmp_path / "x.db")])
    fresh = sqlite3.connect(tmp_path / "x.db")
    source = query_source(fresh, sql)
    shadows = {f"found_{part}" for part in ("config", "content", "data", "idx")}
    assert {*source.tables} - shadows == {*tables}
    assert documents(fresh, source)
    fresh.close()


def test_a_column_that_is_gone_is_no_text(conn):
    source = table_source(conn, "articles")
    conn.execute("alter table articles rename column body to text")
    with pytest.raises(sqlite3.OperationalError, match="no such column"):
        source_rows(conn, source, ["1"])
    with pytest.raises(SourceError, match="no such column"):
        documents(conn, source)


@pytest.mark.parametrize("item_id", ["13", "1,2,3", "~ZZ,1", ""])
def test_an_id_that_is_no_row_path_has_no_row(conn, item_id):
    conn.execute("create table t (a text, b text, name text, primary key (a, b))")
    source = table_source(conn, "t")
    assert source_rows(conn, source, [item_id]) == {}


@pytest.mark.parametrize("key", [7, "7", 1.5, b"x/y", "ü", 2**62, ""], ids=repr)
def test_a_row_is_found_by_its_index_whatever_its_key(conn, key):
    conn.execute("create table t (id primary key, body text)")
    conn.execute("insert into t values (?, 'found')", [key])
    source = table_source(conn, "t")
    [(item_id, _content)] = documents(conn, source)
    plans = []
    conn.set_trace_callback(plans.append)
    assert source_rows(conn, source, [item_id])[item_id].content == "found"
    conn.set_trace_callback(None)
    plan = conn.execute(f"explain query plan {plans[-1]}").fetchall()
    assert "SEARCH main.t USING" in plan[0][3]
