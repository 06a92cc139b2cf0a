from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from datasette_embeddings.documents import Document
from datasette_embeddings.errors import (
    InvalidInputError,
    ModelMismatchError,
    SchemaError,
    UnknownCollectionError,
    UnknownItemError,
)
from datasette_embeddings.sources.definitions import TableSource, UnreadableSource
from datasette_embeddings.store import collections
from datasette_embeddings.store.collection_writes import (
    create_collection,
    delete_collection,
    rename_collection,
)
from datasette_embeddings.store.collections import model_ids
from datasette_embeddings.store.documents import write_embeddings
from datasette_embeddings.store.schema import transaction

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
ODD_NAMES = [
    "a/b",
    "100%",
    'say "hi"',
    "it's",
    "🥕",
    "<b>bold</b>",
    "a.b c",
    "\u202efr",
]


@pytest.fixture
def empty():
    connection = sqlite3.connect(":memory:")
    yield connection
    connection.close()


def write(conn, collection, documents):
    vectors = np.eye(len(documents), 4, dtype=np.float32)
    with transaction(conn):
        write_embeddings(collection, documents, vectors, store_content=True)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_collection_may_have_any_name(empty, name):
    made = create_collection(empty, name, MODEL, None)
    write(empty, made, [Document("1", "one")])
    assert collections.collection(empty, name).dimensions == 4
    renamed = rename_collection(empty, name, name + "2")
    assert [each.name for each in collections.collections(empty)] == [renamed.name]
    delete_collection(empty, renamed.name)
    assert collections.collections(empty) == []


def test_a_database_without_our_tables_has_no_collections(conn):
    assert collections.collections(conn) == []


def test_a_collection_remembers_its_source(empty):
    source = TableSource("t", ("a", "b"), ("c",), "title")
    create_collection(empty, "x", MODEL, source)
    assert collections.collection(empty, "x").source == source


def test_what_llm_calls_the_model_is_the_same_model(empty):
    create_collection(empty, "x", "all-MiniLM-L6-v2", None)
    assert collections.collection(empty, "x").model_id == MODEL
    assert create_collection(empty, "x", "mini-l6", None).id == 1


def test_another_model_is_refused_and_the_collection_kept(empty):
    made = create_collection(empty, "x", MODEL, None)
    with pytest.raises(
        ModelMismatchError, match=r"'x' holds vectors of .*not of 'other'"
    ):
        create_collection(empty, "x", "other", None)
    assert collections.collection(empty, "x") == made


def test_an_unknown_collection_is_named_with_those_there_are(empty):
    create_collection(empty, "x", MODEL, None)
    with pytest.raises(UnknownCollectionError, match=r"No collection 'y'.*it has 'x'"):
        collections.collection(empty, "y")


def test_an_unknown_item_is_named(empty):
    made = create_collection(empty, "x", MODEL, None)
    with pytest.raises(UnknownItemError, match="No item '7' in the collection 'x'"):
        made.vector("7")


@pytest.mark.parametrize("name", ["", "  "], ids=["empty", "blank"])
def test_a_collection_needs_a_name(empty, name):
    with pytest.raises(InvalidInputError, match="needs a name"):
        create_collection(empty, name, MODEL, None)


def test_a_collection_cannot_take_the_name_of_another(empty):
    for name in ("x", "y"):
        create_collection(empty, name, MODEL, None)
    with pytest.raises(InvalidInputError, match="'y' already"):
        rename_collection(empty, "x", "y")
    assert [each.name for each in collections.collections(empty)] == ["x", "y"]


@pytest.mark.parametrize(
    ("sql", "way_out"),
    [
        (
            "create table embeddings (id text primary key, embedding blob)",
            "embeddings import NEW.db embeddings --from THIS.db",
        ),
        (
            "create table collections (id integer primary key, title text)",
            "Rename that table",
        ),
    ],
    ids=["openai-to-sqlite", "another collections table"],
)
def test_tables_of_another_shape_are_refused_and_left_alone(empty, sql, way_out):
    empty.execute(sql)
    before = list(empty.iterdump())
    with pytest.raises(SchemaError, match="has the columns id"):
        create_collection(empty, "x", MODEL, None)
    with pytest.raises(SchemaError, match=way_out):
        collections.collections(empty)
    assert list(empty.iterdump()) == before


def test_facts_of_a_deleted_collection_do_not_pass_to_the_next_of_its_id(empty):
    source = TableSource("secret", ("id",), ("body",))
    create_collection(empty, "old", MODEL, source)
    # What llm does: it knows nothing of our side table, and SQLite gives the id again
    with empty:
        empty.execute("delete from collections")
        empty.execute("insert into collections values (1, 'new', ?)", [MODEL])
    assert collections.collection(empty, "new").source is None
    create_collection(empty, "other", MODEL, None)
    names = empty.execute("select name from _embedding_collections").fetchall()
    assert names == [("other",)]


def test_deleting_one_collection_keeps_the_others(empty):
    kept = create_collection(empty, "kept", MODEL, None)
    gone = create_collection(empty, "gone", MODEL, None)
    for each in (kept, gone):
        write(empty, each, [Document("1", "one"), Document("2", "two")])
    delete_collection(empty, "gone")
    assert kept.count_items() == 2
    assert empty.execute("select count(*) from embeddings").fetchone() == (2,)


def test_a_transaction_that_fails_leaves_nothing(empty):
    made = create_collection(empty, "x", MODEL, None)
    vectors = np.eye(1, 4, dtype=np.float32)

    def write_and_fail():
        with transaction(empty):
            write_embeddings(made, [Document("1", "one")], vectors, store_content=True)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert made.count_items() == 0


def test_content_and_metadata_come_back(empty):
    made = create_collection(empty, "x", MODEL, None)
    write(empty, made, [Document("1", "one", {"year": 2026}), Document("2", "two")])
    items = made.items(["1", "2", "3"])
    assert [(each.content, each.metadata) for each in items.values()] == [
        ("one", {"year": 2026}),
        ("two", None),
    ]


@pytest.mark.parametrize(
    ("text", "metadata"),
    [("{", {"metadata": "{"}), ("[1]", {"metadata": [1]})],
    ids=["not JSON", "not an object"],
)
def test_metadata_of_another_kind_is_shown_not_lost(empty, text, metadata):
    made = create_collection(empty, "x", MODEL, None)
    write(empty, made, [Document("1", "one")])
    empty.execute("update embeddings set metadata = ?", [text])
    assert made.items(["1"])["1"].metadata == metadata


def test_more_ids_than_sqlite_takes_at_once_are_found(empty):
    made = create_collection(empty, "x", MODEL, None)
    documents = [Document(str(number), "x") for number in range(2_000)]
    vectors = np.ones((len(documents), 4), dtype=np.float32)
    with transaction(empty):
        write_embeddings(made, documents, vectors, store_content=False)
    ids = [document.id for document in documents]
    assert set(made.items(ids)) == set(ids)


def test_the_journal_mode_of_a_file_stays(tmp_path):
    for mode in ("delete", "wal"):
        connection = sqlite3.connect(tmp_path / f"{mode}.db")
        connection.execute(f"pragma journal_mode = {mode}")
        create_collection(connection, "x", MODEL, None)
        assert connection.execute("pragma journal_mode").fetchone() == (mode,)
        connection.close()


@pytest.mark.parametrize(
    "source", ["{", "[]", '"text"', "7", '{"query": 1}', '{"table": "t"}'], ids=repr
)
def test_a_source_that_cannot_be_read_is_no_source_that_is_known(empty, source):
    create_collection(empty, "x", MODEL, None)
    empty.execute("update _embedding_collections set source = ?", [source])
    assert collections.collection(empty, "x").source == UnreadableSource()


def test_a_source_of_a_newer_release_is_read_as_far_as_it_is_known(empty):
    known = TableSource("t", ("id",), ("body",))
    create_collection(empty, "x", MODEL, known)
    empty.execute(
        "update _embedding_collections set source = json_set(source, '$.new', 1)"
    )
    assert collections.collection(empty, "x").source == known


@pytest.mark.parametrize("value", ["null", "x'ff'"], ids=["null", "blob"])
@pytest.mark.parametrize("column", ["name", "model"])
def test_a_collection_without_a_name_is_none(empty, column, value):
    create_collection(empty, "x", MODEL, None)
    create_collection(empty, "y", MODEL, None)
    empty.execute(f"update collections set {column} = {value} where name = 'x'")
    assert [each.name for each in collections.collections(empty)] == ["y"]
    assert model_ids(empty) == {MODEL}


@pytest.mark.parametrize("cell", ["null", "7", "'text'"], ids=lambda cell: cell)
def test_an_item_whose_vector_is_none_is_unknown(empty, cell):
    made = create_collection(empty, "x", MODEL, None)
    write(empty, made, [Document("1", "one")])
    empty.execute(f"update embeddings set embedding = {cell}, content = x'ff'")
    with pytest.raises(UnknownItemError):
        made.vector("1")
    assert made.items(["1"])["1"].content is None


def test_tables_that_came_without_their_record_are_brought_up_to_date(empty):
    made = create_collection(empty, "x", MODEL, None)
    write(empty, made, [Document("1", "one")])
    with empty:
        empty.execute("drop table _sqlite_migrations")
        empty.execute("drop table _embedding_collections")
    again = create_collection(empty, "x", MODEL, None)
    assert (again.id, again.count_items()) == (made.id, 1)
    steps = empty.execute(
        "select name from _sqlite_migrations where migration_set = 'llm.embeddings'"
    ).fetchall()
    assert [name for (name,) in steps] == [
        "m001_create_tables",
        "m002_foreign_key",
        "m003_add_updated",
        "m004_store_content_hash",
        "m005_add_content_blob",
    ]
