"""An index of metadata: filters find by it, and it follows every program's writes."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from click.testing import CliRunner
from llm import Collection as LlmCollection
from sqlite_utils import Database

from datasette_embeddings import Embeddings
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.ingest.check import problems
from datasette_embeddings.search.selecting import Selection, rows_of, selected_items
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.metadata_index import (
    MOST_INDEXED_KEYS,
    MetadataIndex,
    index_metadata,
)

ROWS = [
    {"id": 1, "text": "Cats purr.", "topic": "animals", "year": "2020"},
    {"id": 2, "text": "Dogs bark.", "topic": "animals", "year": "2022"},
    {"id": 3, "text": "Bread rises overnight.", "topic": "food", "year": None},
    {"id": 4, "text": "Saturn has rings.", "topic": "sky's", "year": "x"},
]


def run(*arguments):
    result = CliRunner().invoke(embeddings, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def path(tmp_path):
    """A database with the collection `notes`, whose metadata are indexed."""
    rows, path = tmp_path / "rows.json", tmp_path / "notes.db"
    rows.write_text(json.dumps(ROWS))
    run(
        *("embed", path, "notes", rows, "--column", "text", "--silent"),
        *("--metadata", "topic", "--metadata", "year"),
        *("--metadata-index", "topic", "--metadata-index", "year"),
    )
    return path


@pytest.fixture
def notes(path):
    with open_database(path, writable=True) as conn:
        yield collection(conn, "notes")


def found(notes, condition, **values):
    return selected_items(notes, Selection((condition,), values))


def plan(notes, condition):
    rows = rows_of(notes, ["topic"])
    sql = f"explain query plan select id from {rows.sql} where {condition}"
    return " ".join(row[3] for row in notes.conn.execute(sql))


def test_filters_find_by_the_index_alone(notes):
    assert MetadataIndex(notes).keys() == ["topic", "year"]
    assert found(notes, "topic = 'animals'") == {"1", "2"}
    assert found(notes, "topic = :t", t="sky's") == {"4"}
    # As without an index: a text that reads as a number is one
    assert found(notes, "year > 2020") == {"2", "4"}
    assert found(notes, "year is null") == {"3"}
    plans = plan(notes, "topic = 'animals'")
    assert "USING INDEX _embedding_metadata_1_0 (topic=?)" in plans
    assert "embeddings" not in plans


def test_a_key_that_is_not_indexed_is_found_beside_it(notes):
    index_metadata(notes, ["topic"])
    assert found(notes, "topic = 'animals' and year > 2020") == {"2"}


def test_chunks_are_found_by_their_document(path, tmp_path):
    long = " ".join(f"Cats purr on day {day}." for day in range(200))
    rows = tmp_path / "long.json"
    rows.write_text(json.dumps([{"id": 9, "text": long, "topic": "animals"}, ROWS[2]]))
    run(
        *("embed", path, "long", rows, "--column", "text", "--silent"),
        *("--metadata", "topic", "--metadata-index", "topic"),
    )
    with open_database(path) as conn:
        items = found(collection(conn, "long"), "topic = 'animals'")
    assert {"9", "9#0", "9#1"} < items
    assert "3" not in items


def changes(name, sql):
    return pytest.param(sql, id=name)


@pytest.mark.parametrize(
    "sql",
    [
        changes("update", 'update embeddings set metadata = \'{"topic": "food"}\''),
        changes("no JSON", "update embeddings set metadata = 'nothing' where id = '1'"),
        changes("delete", "delete from embeddings where id = '2'"),
        changes("other id", "update embeddings set id = '7' where id = '2'"),
        changes("moved", "update embeddings set collection_id = 5 where id = '2'"),
        changes(
            "replaced",
            "insert or replace into embeddings (collection_id, id, metadata) "
            "values (1, '1', '{\"topic\": \"sky\"}'), (1, '8', '{\"year\": 3}')",
        ),
        changes(
            "ignored",
            "insert or ignore into embeddings (collection_id, id, metadata) "
            "values (1, '1', '{\"topic\": \"sky\"}'), (1, '9', '{\"topic\": \"b\"}')",
        ),
        changes(
            "another collection",
            "insert into embeddings (collection_id, id, metadata) "
            "values (2, '1', '{\"topic\": \"sky\"}')",
        ),
        changes(
            "odd id",
            "insert into embeddings (collection_id, id, metadata) "
            "values (1, x'00', '{\"topic\": \"sky\"}')",
        ),
    ],
)
def test_it_follows_what_any_program_writes(path, notes, sql):
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("pragma foreign_keys = off")
        other.execute(sql)
    assert MetadataIndex(notes).count_wrong() == 0
    assert MetadataIndex(notes).keys() == ["topic", "year"]


def test_it_follows_the_writes_of_llm_and_of_the_verbs(path, notes):
    database = Database(path)
    llm = LlmCollection("notes", database, model=_Model())
    llm.embed("10", "Kittens sleep.", metadata={"topic": "animals"}, store=True)
    llm.embed("1", "Cats purr loudly.", metadata={"topic": "food"})
    database.close()
    assert found(notes, "topic = 'animals'") == {"2", "10"}
    with Embeddings(path) as verbs:
        verbs.collection("notes").embed("11", "Puppies.", {"topic": "animals"})
        verbs.collection("notes").delete_items(["2"])
    assert found(notes, "topic = 'animals'") == {"10", "11"}
    assert MetadataIndex(notes).count_wrong() == 0


class _Model:
    """Vectors of the right length; what they say does not matter here."""

    model_id = "sentence-transformers/all-MiniLM-L6-v2"

    def embed(self, _text, **_options):
        return [0.5] * 384


@pytest.mark.parametrize(
    "sql",
    [
        "drop trigger _embedding_metadata_1_inserted",
        "drop table _embedding_metadata_1",
        "delete from _embedding_metadata_1 where _item = '1'",
    ],
)
def test_check_repairs_what_was_damaged(path, notes, sql):
    with closing(sqlite3.connect(path)) as other, other:
        other.execute(sql)
    listed = [each.problem for each in problems(notes.conn)]
    assert "items that are wrong in the index of metadata" in listed
    run("check", path, "--fix")
    assert [*problems(notes.conn)] == []
    assert found(notes, "topic = 'animals'") == {"1", "2"}


def test_a_lost_trigger_is_noticed_at_once(path, notes):
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("drop trigger _embedding_metadata_1_updated")
        other.execute("""update embeddings set metadata = '{"topic": "new"}'""")
    assert found(notes, "topic = 'new'") == {"1", "2", "3", "4"}


def test_a_rebuild_keeps_it_and_a_deletion_takes_it_away(path, notes):
    run("embed", path, "notes", "--rebuild", "--silent")
    rebuilt = collection(notes.conn, "notes")
    assert MetadataIndex(rebuilt).keys() == ["topic", "year"]
    assert MetadataIndex(rebuilt).count_wrong() == 0
    run("collections", "delete", path, "notes", "--yes")
    left = notes.conn.execute(
        "select count(*) from sqlite_master where name like '%metadata%'"
    )
    assert left.fetchone() == (0,)


def test_none_removes_it_and_other_keys_replace_it(path, notes):
    run("embed", path, "notes", "--metadata-index", "year", "--silent")
    assert MetadataIndex(notes).keys() == ["year"]
    run("embed", path, "notes", "--metadata-index", "none", "--silent")
    assert MetadataIndex(notes).keys() == []
    assert found(notes, "topic = 'food'") == {"3"}


def test_a_collection_of_no_source_can_have_one(path):
    run("embed", path, "single", "a", "-c", "A text.", "--metadata", '{"k": "v"}')
    run("embed", path, "single", "--metadata-index", "k", "--silent")
    with open_database(path) as conn:
        single = collection(conn, "single")
        assert MetadataIndex(single).keys() == ["k"]
        assert found(single, "k = 'v'") == {"a"}


@pytest.mark.parametrize("key", ["it's", 'a "b"', "ünï", "[x]", "a.b", "$", "select"])
def test_odd_keys_are_indexed(path, key):
    with Embeddings(path) as verbs:
        odd = verbs.collection("odd", model=_Model.model_id, create=True)
        odd.embed("1", "One.", {key: 5})
    with open_database(path, writable=True) as conn:
        odd = collection(conn, "odd")
        index_metadata(odd, [key])
        assert MetadataIndex(odd).keys() == [key]
        quoted = key.replace('"', '""')
        assert found(odd, f'"{quoted}" = 5') == {"1"}
        assert MetadataIndex(odd).count_wrong() == 0


@pytest.mark.parametrize(
    "keys",
    [["id"], ["_ITEM"], [""], ["a\0b"], ["x" * 201], [str(n) for n in range(21)]],
    ids=["id", "item", "empty", "NUL", "long", "many"],
)
def test_keys_that_cannot_be_columns_are_refused(notes, keys):
    with pytest.raises(InvalidInputError, match=rf"{MOST_INDEXED_KEYS} keys|the key"):
        index_metadata(notes, keys)
    assert MetadataIndex(notes).keys() == ["topic", "year"]
