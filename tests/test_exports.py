"""`export`: what comes out is what is stored."""

from __future__ import annotations

import json
import sqlite3

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.vectors import decode


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(
        embeddings, [str(argument) for argument in arguments]
    )


@pytest.fixture
def stored(articles_db):
    """Vector by id."""
    conn = sqlite3.connect(articles_db)
    rows = conn.execute("select id, embedding from embeddings order by id").fetchall()
    conn.close()
    return {item_id: decode(vector).tolist() for item_id, vector in rows}


def test_ndjson_has_a_line_an_item(run, articles_db, stored):
    result = run("export", articles_db, "articles")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert {row["id"]: row["embedding"] for row in rows} == stored
    assert list(rows[0]) == ["id", "embedding", "content", "metadata", "stale"]
    assert rows[1]["content"].startswith("Night sky With a small telescope")
    assert result.stderr == "articles: 6 items written\n"


def test_chunks_come_with_their_place_in_the_document(run, articles_db):
    options = ["-t", "articles", "--chunk", "fixed", "--chunk-size", "5"]
    run(
        "embed",
        articles_db,
        "chunks",
        *options,
        "--metadata",
        "title",
        "--column",
        "body",
    )
    rows = [
        json.loads(line)
        for line in run("export", articles_db, "chunks").stdout.splitlines()
    ]
    body = "With a small telescope you can see the rings of Saturn."
    mine = [row for row in rows if row["document_id"] == "2"]
    assert [body[row["start"] : row["end"]] for row in mine] == [
        row["content"] for row in mine
    ]
    assert mine[0]["metadata"] == {"title": "Night sky"}


def test_an_empty_collection_has_no_line(run, articles_db):
    run("embed", articles_db, "none", "--sql", "select id, title from articles where 0")
    result = run("export", articles_db, "none")
    assert (result.exit_code, result.stdout) == (0, "")


def test_a_vector_of_another_length_is_an_error(run, articles_db):
    conn = sqlite3.connect(articles_db)
    conn.execute("update embeddings set embedding = x'0000803f' where id = '3'")
    conn.commit()
    conn.close()
    result = run("export", articles_db, "articles")
    assert result.exit_code == 1
    assert "Expected 384 dimensions as most items have; '3' has 1" in result.stderr
