from __future__ import annotations

import json
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasette_embeddings import Embeddings
from datasette_embeddings.databases import open_database, quote
from datasette_embeddings.documents import Chunking
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import search_vector, similar_items
from datasette_embeddings.search.counting import counted_elements, counted_values
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.search.selecting import (
    Selection,
    items_where,
    rows_of,
    selected_ids,
    selected_items,
)
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection
from datasette_embeddings.vectors import encode
from tests.models import StandIn

NO_RULES = Source()
TOPICS = ["sqlite", "python", None, "sql"]


def notes_db(count=40, rules=NO_RULES):
    """A connection and a collection of notes, every fourth of the same topic."""
    conn = sqlite3.connect(":memory:")
    conn.execute("create table notes (id integer primary key, topic text, body text)")
    conn.executemany(
        "insert into notes values (?, ?, ?)",
        [(n, TOPICS[n % 4], f"note {n} says this. And that.") for n in range(count)],
    )
    source = table_source(conn, "notes", content_columns=["body"], rules=rules)
    ingest(conn, "notes", source, StandIn())
    return conn, collection(conn, "notes")


def where(*conditions, **values):
    return Selection(conditions, values)


@given(st.integers(1, 45), st.integers(0, 12), st.integers(0, 45))
def test_as_many_as_are_wanted_are_found_whenever_as_many_rows_match(
    limit, offset, lowest
):
    conn, notes = notes_db()
    chosen = where('"id" >= :low', '"topic" = :topic', low=lowest, topic="sqlite")
    among = selected_items(notes, chosen)
    vector = StandIn().embed_query("anything")
    everything = search_vector(notes, vector, options=Options(limit=1000))
    expected = [
        match.id
        for match in everything
        if int(match.id) >= lowest and int(match.id) % 4 == 0
    ]
    options = Options(limit=limit, offset=offset, among=among)
    found = search_vector(notes, vector, options=options)
    assert [match.id for match in found] == expected[offset : offset + limit]
    conn.close()


@pytest.mark.parametrize("all_chunks", [False, True])
def test_conditions_on_rows_hold_for_their_chunks(all_chunks):
    rules = Source(chunking=Chunking("sentences"))
    pytest.importorskip("sentencex")
    _conn, notes = notes_db(rules=rules)
    among = selected_items(notes, where('"topic" = :t', t="python"))
    options = Options(limit=5, among=among, all_chunks=all_chunks)
    vector = StandIn().embed_query("anything")
    found = search_vector(notes, vector, options=options)
    assert len(found) == 5
    assert {int(match.document_id) % 4 for match in found} == {1}


def test_an_item_has_neighbours_among_the_rows_only():
    _conn, notes = notes_db()
    among = selected_items(notes, where('"id" < 5'))
    found = similar_items(notes, "39", options=Options(limit=50, among=among))
    assert sorted(match.id for match in found) == ["0", "1", "2", "3", "4"]


def test_a_prefix_is_kept_to_the_letter():
    _conn, notes = notes_db()
    found = search_vector(
        notes, StandIn().embed_query("x"), options=Options(limit=50, prefix="3")
    )
    assert {match.id for match in found} == {"3", *(str(n) for n in range(30, 40))}


def test_a_prefix_and_conditions_hold_together():
    _conn, notes = notes_db()
    among = selected_items(notes, where('"topic" = :t', t="sqlite"))
    options = Options(limit=50, prefix="3", among=among)
    found = search_vector(notes, StandIn().embed_query("x"), options=options)
    assert {match.id for match in found} == {"32", "36"}


def test_a_page_begins_where_the_one_before_ended():
    _conn, notes = notes_db()
    vector = StandIn().embed_query("x")

    def page(offset, limit):
        options = Options(limit=limit, offset=offset)
        return [match.id for match in search_vector(notes, vector, options=options)]

    assert page(0, 10) + page(10, 10) + page(20, 30) + page(40, 10) == page(0, 100)


def test_rows_have_the_ids_of_their_items():
    conn = sqlite3.connect(":memory:")
    conn.execute("create table t (a text, b int, body text, primary key (a, b))")
    conn.execute("insert into t values ('x/y', 1, 'one'), (null, 2, 'two')")
    rules = Source(id_prefix="t:")
    source = table_source(conn, "t", content_columns=["body"], rules=rules)
    ingest(conn, "t", source, StandIn())
    rows = rows_of(collection(conn, "t"))
    assert selected_ids(conn, rows, Selection()) == {"t:x~2Fy,1"}


def test_values_are_counted_most_frequent_first():
    conn, notes = notes_db(10)
    found = counted_values(
        conn, rows_of(notes), "topic", selection=where('"id" > 0'), limit=2
    )
    assert found == [("python", 3), ("sql", 2)]


def test_null_and_blobs_are_not_counted():
    conn, notes = notes_db(4)
    conn.execute("update notes set topic = x'00' where id = 0")
    found = counted_values(
        conn, rows_of(notes), "topic", selection=Selection(), limit=9
    )
    assert [value for value, _count in found] == ["python", "sql"]


@pytest.mark.parametrize(
    ("condition", "values", "message"),
    [
        ("'x' in (select value from json_each(notes.topic))", {}, "needs JSON"),
        ("id > :big", {"big": 2**70}, "a value SQL cannot take"),
        ("topic = :half", {"half": "\ud800"}, "a value SQL cannot take"),
        (f"topic glob '{'*a' * 30_000}'", {}, "too long for SQLite"),
    ],
    ids=["JSON", "too big", "half a character", "pattern"],
)
def test_a_condition_that_cannot_be_answered_says_why(condition, values, message):
    conn, notes = notes_db(3)
    with pytest.raises(InvalidInputError, match=message):
        selected_ids(conn, rows_of(notes), where(condition, **values))


def test_a_condition_that_takes_too_long_says_so():
    conn, notes = notes_db(3)
    rows = rows_of(notes)
    conn.set_progress_handler(lambda: 1, 1)
    with pytest.raises(InvalidInputError, match="longer than this server's time limit"):
        selected_ids(conn, rows, Selection())


def of_metadata(*metadata, collection_name="items"):
    """A collection of no source, whose items a, b, c … have these *metadata*."""
    conn = sqlite3.connect(":memory:")
    made = create_collection(conn, collection_name, StandIn().model_id, None)
    texts = [each if isinstance(each, str) else json.dumps(each) for each in metadata]
    vectors = StandIn().embed_passages([chr(97 + n) for n in range(len(texts))])
    conn.executemany(
        """
        insert into embeddings (collection_id, id, embedding, metadata, updated)
        values (?, ?, ?, ?, 0)
        """,
        [
            (made.id, chr(97 + n), encode(vector), text)
            for n, (vector, text) in enumerate(zip(vectors, texts, strict=True))
        ],
    )
    conn.commit()
    return collection(conn, collection_name)


def test_without_a_table_conditions_are_about_metadata():
    items = of_metadata({"year": 2019}, {"year": 2021}, {"topic": "sqlite"})
    assert rows_of(items).columns == ["id", "year", "topic"]
    assert selected_items(items, where("year > :y", y=2020)) == {"b"}
    assert selected_items(items, where("topic is null", "id < 'c'")) == {"a", "b"}


def test_metadata_that_are_no_object_have_no_values():
    items = of_metadata({"x": 1}, "not JSON", [1], "null", '"x"')
    assert rows_of(items).columns == ["id", "x"]
    assert selected_items(items, where("x is null")) == {"b", "c", "d", "e"}


ODD_KEYS = ["it's", 'a"b', "a.b", "größe", "back\\slash", "two\nlines", "$", "[0]", " "]


@pytest.mark.parametrize("key", ODD_KEYS)
def test_any_key_is_a_column(key):
    items = of_metadata({key: 1, "other": 2}, {key: 2}, {"other": 1})
    assert key in rows_of(items).columns
    assert selected_items(items, where(f"{quote(key)} = 2")) == {"b"}


@pytest.mark.parametrize("key", ["", "k" * 300])
def test_a_key_that_no_column_can_be_called_is_left_out(key):
    items = of_metadata({key: 1, "other": 2})
    assert rows_of(items).columns == ["id", "other"]
    assert selected_items(items, where("other = 2")) == {"a"}


def test_keys_that_differ_in_case_only_are_one_column_and_id_is_that_of_the_item():
    items = of_metadata({"id": 7, "Tag": "x"}, {"Tag": "y"}, {"tag": "z"})
    assert rows_of(items).columns == ["id", "Tag"]
    assert selected_items(items, where("id = 'a'")) == {"a"}


def test_texts_that_read_as_numbers_compare_as_such_and_lists_are_json():
    values = ["2020", 2021, "007", "1.50", "2.5", ["x", "y"], True, "n/a"]
    items = of_metadata(*({"v": each} for each in values))
    found = counted_values(
        items.conn, rows_of(items), "v", selection=Selection(), limit=9
    )
    shown = [2020, 2021, "007", "1.50", 2.5, '["x","y"]', 1, "n/a"]
    assert sorted(map(str, shown)) == sorted(str(value) for value, _count in found)
    assert selected_items(items, where("v > 2000 and typeof(v) <> 'text'")) == {
        "a",
        "b",
    }


def test_documents_are_counted_and_not_their_chunks(model):
    conn, _notes = notes_db(6)
    rules = Source(metadata_columns=("topic",), chunking=Chunking("fixed", 4))
    query = query_source(conn, "select id, body, topic from notes", rules=rules)
    ingest(conn, "chunked", query, model)
    chunked = collection(conn, "chunked")
    assert chunked.count_items() > 6
    rows = rows_of(chunked)
    found = counted_values(conn, rows, "topic", selection=Selection(), limit=9)
    assert dict(found) == {"sqlite": 2, "python": 2, "sql": 1}
    among = selected_items(chunked, where("topic = 'python'"))
    vector = model.embed_query("anything")
    found = search_vector(chunked, vector, options=Options(among=among))
    assert sorted(match.document_id for match in found) == ["1", "5"]


def test_a_key_of_one_item_in_many_is_found_when_it_is_named():
    items = of_metadata(*[{"x": n} for n in range(1200)])
    sql = "update embeddings set metadata = '{\"rare\": 1}' where id = ?"
    items.conn.execute(sql, [chr(97 + 600)])
    assert rows_of(items, ()).columns == ["id", "x"]
    assert rows_of(items, ["rare", "none"]).columns == ["id", "x", "rare"]
    assert selected_items(items, where("rare = 1")) == {chr(97 + 600)}


def test_a_table_and_a_query_together_are_filtered_by_metadata():
    conn, _notes = notes_db(4)
    rules = Source(id_prefix="q/", metadata_columns=("topic",))
    query = query_source(conn, "select id, body, topic from notes", rules=rules)
    ingest(conn, "notes", query, StandIn())
    notes = collection(conn, "notes")
    assert selected_items(notes, where("topic = 'sql'")) == {"q/3"}


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("colour = 'red'", "no such column: colour; the columns are id, x"),
        ("x =", "syntax error"),
        ("x = :y", "binding"),
        ("x = 1; drop table embeddings", "syntax error"),
    ],
)
def test_a_condition_with_a_fault_is_answered_with_the_columns(condition, message):
    items = of_metadata({"x": 1})
    with pytest.raises(InvalidInputError, match=message):
        items_where(items, condition, None)


def found_by(items, **options):
    vector = StandIn().embed_query("anything")
    options = Options(limit=50, **options)
    return [match.id for match in search_vector(items, vector, options=options)]


def test_matches_are_shown_in_the_order_of_a_key_without_value_last():
    items = of_metadata({"x": 3}, {"x": "a"}, {}, {"x": "10"}, {"x": [1]})
    assert found_by(items, sort="x") == ["a", "d", "e", "b", "c"]
    assert found_by(items, sort_desc="x") == ["b", "e", "d", "a", "c"]
    assert found_by(items, sort_desc="id") == ["e", "d", "c", "b", "a"]


def test_matches_are_shown_in_the_order_of_a_column():
    _conn, notes = notes_db(12)
    best = found_by(notes)
    topics = [TOPICS[int(each) % 4] for each in found_by(notes, sort="topic")]
    assert topics == ["python"] * 3 + ["sql"] * 3 + ["sqlite"] * 3 + [None] * 3
    by_id = sorted(best, key=int, reverse=True)
    assert found_by(notes, sort_desc="id") == by_id


def test_an_order_does_not_change_which_matches_are_the_best():
    _conn, notes = notes_db(40)
    vector = StandIn().embed_query("anything")
    best = search_vector(notes, vector, options=Options(limit=5))
    ordered = search_vector(notes, vector, options=Options(limit=5, sort="id"))
    assert [match.id for match in ordered] == sorted((m.id for m in best), key=int)


@pytest.mark.parametrize("name", ["notes", "items"])
def test_an_order_by_no_column_is_an_error(name):
    items = of_metadata({"x": 1}) if name == "items" else notes_db(2)[1]
    with pytest.raises(InvalidInputError, match="No column 'colour' in the"):
        found_by(items, sort="colour")
    with pytest.raises(InvalidInputError, match="found both"):
        found_by(items, sort="id", sort_desc="id")


def test_lists_of_numbers_are_counted_whole(tmp_path):
    """A filter finds only texts in lists: ``sizes__arraycontains=5`` finds no 5."""
    with Embeddings(tmp_path / "notes.db") as db:
        notes = db.collection("notes", create=True)
        notes.embed("1", "One.", {"sizes": [5, 6], "tags": ["a", "b"]})
        notes.embed("2", "Two.", {"sizes": [5], "tags": ["a"]})
    with open_database(tmp_path / "notes.db") as conn:
        rows = rows_of(collection(conn, "notes"), ["sizes", "tags"])

        def counted(column):
            return counted_elements(conn, rows, column, selection=Selection(), limit=9)

        assert counted("tags") == [("a", 2), ("b", 1)]
        assert counted("sizes") is None
