"""`export`: what comes out is what is stored."""

from __future__ import annotations

import json
import sqlite3

import pyarrow.parquet as pq
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


def test_parquet_has_a_row_an_item(run, articles_db, stored, tmp_path):
    path = tmp_path / "articles.parquet"
    run("export", articles_db, "articles", path)
    rows = pq.read_table(path).to_pylist()
    assert {row["id"]: row["embedding"] for row in rows} == stored
    assert rows[4]["content"].startswith("Kittens")


def test_chunks_come_with_their_place_in_the_document(run, articles_db):
    options = ["-t", "articles", "--chunk", "fixed", "--chunk-size", "5"]
    run("embed", articles_db, "chunks", *options, "--metadata", "title", "-c", "body")
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


@pytest.mark.parametrize("name", ["x.nl", "x.parquet"])
def test_an_empty_collection_is_an_empty_file(run, articles_db, tmp_path, name):
    run("embed", articles_db, "none", "--sql", "select id, title from articles where 0")
    result = run("export", articles_db, "none", tmp_path / name)
    assert (result.exit_code, (tmp_path / name).exists()) == (0, True)


@pytest.mark.parametrize("name", ["x.nl", "x.parquet"])
def test_a_fault_leaves_no_file_and_the_old_one_as_it_was(
    run, articles_db, tmp_path, name
):
    conn = sqlite3.connect(articles_db)
    conn.execute("update embeddings set embedding = x'0000803f' where id = '3'")
    conn.commit()
    conn.close()
    (tmp_path / name).write_text("old")
    before = set(tmp_path.iterdir())
    result = run("export", articles_db, "articles", tmp_path / name)
    assert result.exit_code == 1
    assert "Expected 384 dimensions as most items have; '3' has 1" in result.stderr
    assert set(tmp_path.iterdir()) == before
    assert (tmp_path / name).read_text() == "old"


def test_a_folder_that_is_not_there_is_named(run, articles_db, tmp_path):
    result = run("export", articles_db, "articles", tmp_path / "no" / "x.nl")
    assert (result.exit_code, "cannot be written: No such file" in result.stderr) == (
        1,
        True,
    )
