"""`check`: every kind of damage is found, and mended on request."""

from __future__ import annotations

import json
import sqlite3

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.ingest.check import problems
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.from_config import source_from_config, table_source
from datasette_embeddings.store import collections
from tests.models import Eyes

DAMAGES = {
    "orphans": (
        "insert into embeddings (collection_id, id) values (99, 'lost')",
        (None, "embeddings without a collection", 1),
    ),
    "left behind by llm": (
        "update collections set name = 'renamed'",
        # Facts, a source and the origins of 6 items
        (None, "facts about a collection that was deleted", 8),
    ),
    "failures left behind": (
        "insert into _embedding_failures values (99, 'a', 'error', 1, 1, null)",
        (None, "facts about a collection that was deleted", 1),
    ),
    "mixed dimensions": (
        "update embeddings set embedding = x'0000803f' where id = '2'",
        ("articles", "vectors of another length than most", 1),
    ),
    "no vector": (
        "update embeddings set embedding = null where id = '2'",
        ("articles", "vectors of another length than most", 1),
    ),
    "new row": (
        "insert into articles values (7, 'a', 'b')",
        ("articles", "rows that are not embedded yet", 1),
    ),
    "changed row": (
        "update articles set title = 'a' where id < 3",
        ("articles", "rows that have changed since they were embedded", 2),
    ),
    "row that is gone": (
        "delete from articles where id = 1",
        ("articles", "items whose row was deleted", 1),
    ),
    "lost chunk": (
        """
        insert into _embedding_chunks
          (collection_id, id, document_id, document_hash, position, start, "end")
        values (1, 'a#0', 'a', x'00', 0, 0, 1)
        """,
        (None, "chunks without an embedding", 1),
    ),
    **{
        f"{value} in {column}": (
            f"update embeddings set {column} = {value} where id = '2'",
            ("articles", "rows with values of another type", 1),
        )
        for column, value in (
            ("updated", "'2024-01-01'"),
            ("updated", "x'6161'"),
            ("updated", "null"),
            ("id", "x'6161'"),
            ("id", "null"),
            ("content", "x'ff'"),
            ("content_hash", "'no hash'"),
            ("metadata", "x'ff'"),
        )
    },
    "words of a document that is gone": (
        "delete from embeddings where id = '2'",
        ("articles", "documents with words of other content", 1),
    ),
    "words of other content": (
        "update embeddings set content_hash = x'00' where id = '2'",
        ("articles", "documents with words of other content", 1),
    ),
    "words of a row are missing": (
        "delete from _embedding_words where document_id = '2'",
        ("articles", "rows whose words are not indexed", 1),
    ),
    "words under another title": (
        "update _embedding_words set reversed_title = 'old' where document_id = '2'",
        ("articles", "rows whose words are not indexed", 1),
    ),
    "words of a stored text are missing": (
        """
        insert into embeddings (collection_id, id, embedding, content, updated)
        select collection_id, 'new', embedding, 'a text', updated
        from embeddings
        where id = '2'
        """,
        ("articles", "stored texts whose words are not indexed", 1),
    ),
    "no words index": (
        "drop table _embedding_words_1",
        ("articles", "items without a words index", 6),
    ),
    **{
        f"a damaged words index: {sql}": (
            sql,
            ("articles", "a words index that is damaged", 1),
        )
        for sql in (
            "update _embedding_words_1_data set block = x'00' where id > 10",
            "delete from _embedding_words_1_docsize where id = 2",
            "delete from _embedding_words_1_config",
            "drop table _embedding_words_1_config",
            "insert into _embedding_words_1 (rowid, body) values (99, 'a ghost')",
            """
            insert into _embedding_words_1 (_embedding_words_1, rowid, title, body)
            values ('delete', 2, 'Night sky', '')
            """,
        )
    },
    "a chunk without a place": (
        "insert into _embedding_chunks values"
        " (1, '1', null, null, 'x', 'y', 'z', null, null, null)",
        ("articles", "rows with values of another type", 1),
    ),
    "a failure without an id": (
        "insert into _embedding_failures (collection_id, attempts) values (1, 'x')",
        ("articles", "rows with values of another type", 1),
    ),
}


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(
        embeddings, [str(argument) for argument in arguments]
    )


def change(path, *statements):
    conn = sqlite3.connect(path)
    for sql in statements:
        conn.execute(sql)
    conn.commit()
    conn.close()


def found(result):
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    return [(row["collection"], row["problem"], row["count"]) for row in rows]


def test_nothing_is_wrong_with_a_fresh_collection(run, articles_db):
    before = articles_db.read_bytes()
    result = run("check", articles_db)
    assert result.exit_code == 0
    assert result.stderr == f"{articles_db}: nothing is wrong\n"
    assert articles_db.read_bytes() == before


@pytest.mark.parametrize("name", DAMAGES)
def test_each_kind_of_damage_is_found_and_mended(run, articles_db, name):
    sql, expected = DAMAGES[name]
    change(articles_db, sql)
    before = articles_db.read_bytes()
    result = run("check", articles_db, "--format", "nl")
    assert (result.exit_code, expected in found(result)) == (2, True)
    assert articles_db.read_bytes() == before
    assert run("check", articles_db, "--fix").exit_code == 0
    assert run("check", articles_db).exit_code == 0


def test_a_vector_of_another_length_does_not_stop_a_run(run, articles_db):
    # The first vector is the one that the dimensions of the collection are taken from
    change(
        articles_db,
        "update embeddings set embedding = x'0000803f' where id = '1'",
        "update articles set title = 'changed' where id = 2",
    )
    result = run("sync", articles_db)
    assert result.exit_code == 0
    assert "1 changed" in result.stderr
    # A sync does not see it: its content has not changed
    result = run("check", articles_db, "--format", "nl")
    [problem] = map(json.loads, result.stdout.splitlines())
    assert (problem["count"], problem["remedy"]) == (1, "check --fix")


def test_mending_embeds_what_it_deleted(run, articles_db):
    change(articles_db, "update embeddings set embedding = x'00' where id = '2'")
    run("check", articles_db, "--fix")
    conn = sqlite3.connect(articles_db)
    collection = collections.collection(conn, "articles")
    assert len(collection.vector("2")) == 384
    conn.close()


def test_rows_that_fail_are_told_of_until_they_are_mended(run, articles_db):
    change(articles_db, "insert into articles values (7, x'00', 'a blob')")
    run("sync", articles_db)
    result = run("check", articles_db, "--fix", "--format", "nl")
    assert (result.exit_code, found(result)) == (
        2,
        [("articles", "rows that failed", 1)],
    )
    assert "has a BLOB among its content" in result.stdout
    change(articles_db, "update articles set title = 'a text' where id = 7")
    assert run("check", articles_db, "--fix").exit_code == 0


def test_a_row_that_the_model_refuses_is_told_of_once(tmp_path):
    (tmp_path / "good.png").write_bytes(b"\x89PNG\r\n\x1a\n image")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    conn = sqlite3.connect(tmp_path / "photos.db")
    files = source_from_config(conn, CollectionConfig(input=str(tmp_path), images=True))
    assert ingest(conn, "photos", files, Eyes()).failed == 1
    assert [(each.problem, each.count) for each in problems(conn)] == [
        ("rows that failed", 1)
    ]
    conn.close()


def test_vectors_of_an_unknown_source_are_not_deleted(run, articles_db):
    change(
        articles_db,
        "delete from _embedding_collections",
        "update embeddings set embedding = x'0000803f' where id = '2'",
    )
    result = run("check", articles_db, "--fix", "--format", "nl")
    assert found(result) == [("articles", "vectors of another length than most", 1)]
    assert "have no source" in result.stdout
    conn = sqlite3.connect(articles_db)
    assert conn.execute("select count(*) from embeddings").fetchone() == (6,)
    conn.close()


def test_a_rebuild_that_did_not_finish_is_told_of_and_removed(run, articles_db, model):
    conn = sqlite3.connect(articles_db)
    options = IngestOptions(rebuild=True, limit=2)
    ingest(conn, "articles", table_source(conn, "articles"), model, options=options)
    result = run("check", articles_db, "--format", "nl")
    assert found(result) == [
        ("articles (rebuilding)", "a rebuild that did not finish", 2)
    ]
    assert run("check", articles_db, "--fix").exit_code == 0
    assert conn.execute("select name from collections").fetchall() == [("articles",)]
    conn.close()


def test_a_table_that_is_gone_is_told_of(run, articles_db):
    change(articles_db, "drop table articles")
    result = run("check", articles_db, "--fix", "--format", "nl")
    assert found(result) == [("articles", "a source that cannot be read", 1)]


def test_a_chunk_whose_embedding_is_lost_is_embedded_again(run, articles_db):
    arguments = ["--table", "articles", "--chunk", "fixed", "--chunk-size", "5"]
    run("embed", articles_db, "chunks", *arguments)
    change(articles_db, "delete from embeddings where id = '2#1'")
    assert run("check", articles_db, "--fix").exit_code == 0
    conn = sqlite3.connect(articles_db)
    ids = conn.execute("select id from embeddings where id like '2#%'").fetchall()
    assert ("2#1",) in ids
    conn.close()


def test_a_database_without_our_tables_has_nothing_wrong(run, tmp_path):
    change(tmp_path / "x.db", "create table t (a)")
    assert run("check", tmp_path / "x.db").exit_code == 0
    assert run("check", tmp_path / "x.db", "--fix").exit_code == 0


def test_an_odd_similarity_is_compared_again(run, articles_db):
    run("similarities", articles_db, "articles", "--limit", 3, "--silent")
    conn = sqlite3.connect(articles_db)
    before = conn.execute("select * from similarities").fetchall()
    conn.execute("update similarities set score = 'x' where id = '2'")
    conn.commit()
    result = run("check", articles_db, "--format", "nl")
    assert ("articles", "rows with values of another type", 3) in found(result)
    run("check", articles_db, "--fix")
    assert conn.execute("select * from similarities").fetchall() == before
    assert run("check", articles_db).exit_code == 0
    conn.close()


def test_what_no_source_brings_again_is_kept_and_mended_as_far_as_it_can(
    run, articles_db
):
    change(
        articles_db,
        "delete from _embedding_sources",
        "update embeddings set id = x'6161', updated = 'x' where id = '2'",
        "update embeddings set id = x'ff' where id = '3'",
    )
    assert run("check", articles_db, "--fix").exit_code == 2
    conn = sqlite3.connect(articles_db)
    rows = conn.execute("select id, typeof(updated) from embeddings order by id")
    assert rows.fetchall() == [
        *((each, "integer") for each in ("1", "4", "5", "6", b"aa", b"\xff"))
    ]
    conn.close()
    result = run("check", articles_db, "--format", "nl")
    assert found(result) == [("articles", "rows with values of another type", 2)]
