from __future__ import annotations

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasette_embeddings.documents import Chunking
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import search_vector, similar_items
from datasette_embeddings.search.nearest import Options, selected_items
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.sources.table_rows import (
    Selection,
    counted_values,
    selected_ids,
)
from datasette_embeddings.store.collections import collection
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
    source = table_source(conn, "t", rules=Source(id_prefix="t:"))
    assert selected_ids(conn, source, Selection()) == {"t:x~2Fy,1"}


def test_values_are_counted_most_frequent_first():
    conn, notes = notes_db(10)
    found = counted_values(
        conn, notes.source, "topic", selection=where('"id" > 0'), limit=2
    )
    assert found == [("python", 3), ("sql", 2)]


def test_null_and_blobs_are_not_counted():
    conn, notes = notes_db(4)
    conn.execute("update notes set topic = x'00' where id = 0")
    found = counted_values(conn, notes.source, "topic", selection=Selection(), limit=9)
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
        selected_ids(conn, notes.source, where(condition, **values))


def test_a_condition_that_takes_too_long_says_so():
    conn, notes = notes_db(3)
    conn.set_progress_handler(lambda: 1, 1)
    with pytest.raises(InvalidInputError, match="longer than this server's time limit"):
        selected_ids(conn, notes.source, Selection())


def test_a_collection_without_a_table_has_no_rows_to_choose():
    conn, _notes = notes_db(3)
    ingest(conn, "ids", query_source(conn, "select id, body from notes"), StandIn())
    with pytest.raises(InvalidInputError, match="'ids' was not made from one"):
        selected_items(collection(conn, "ids"), Selection())
