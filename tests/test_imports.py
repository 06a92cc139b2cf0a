"""What other tools wrote becomes collections."""

from __future__ import annotations

import sqlite3
import struct

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.cli.transfer import imported
from datasette_embeddings.errors import (
    DimensionMismatchError,
    InvalidVectorError,
    SourceError,
)
from datasette_embeddings.store import collections


@pytest.fixture
def openai(tmp_path):
    """A database as openai-to-sqlite wrote it: our table's name, another shape."""
    path = tmp_path / "openai.db"
    conn = sqlite3.connect(path)
    conn.execute("create table embeddings (id text primary key, embedding blob)")
    conn.executemany(
        "insert into embeddings values (?, ?)",
        [(f"page/{number}", struct.pack("<3f", 1, number, 0)) for number in range(4)],
    )
    conn.commit()
    conn.close()
    return path


def run(*arguments):
    return CliRunner().invoke(embeddings, [str(argument) for argument in arguments])


def test_vectors_of_openai_to_sqlite_go_into_another_file(openai, tmp_path):
    before = openai.read_bytes()
    path = tmp_path / "new.db"
    result = run(
        *("import", path, "embeddings", "--from", openai),
        *("--name", "pages", "--model", "text-embedding-ada-002"),
    )
    assert result.stderr == "pages: 4 vectors of text-embedding-ada-002 imported\n"
    found = run("similar", path, "pages", "page/3", "-n", 1, "--format", "nl")
    assert '"id": "page/2"' in found.stdout
    assert openai.read_bytes() == before


def test_the_error_about_that_shape_names_the_import(openai):
    result = run("embed", openai, "x", "--sql", "select 1, 'x'")
    assert result.exit_code == 1
    assert "datasette embeddings import NEW.db embeddings --from THIS.db" in (
        result.stderr
    )


def test_a_table_of_datasette_faiss_is_read_where_it_is(conn):
    conn.execute("create table intros (id integer primary key, embedding blob, t)")
    conn.execute("insert into intros values (7, ?, 'x')", [struct.pack("<2f", 1, 0)])
    conn.execute("insert into intros values (8, null, 'y')")
    made, count = imported(conn, "intros", model_id="mini-l6")
    assert (made.name, count) == ("intros", 1)
    # An actor that may not see that table may not see the collection
    collection = collections.collection(conn, "intros")
    assert collection.source.permission_tables == ("intros",)


def test_imported_vectors_are_not_embedded_again(openai, tmp_path):
    path = tmp_path / "new.db"
    run("import", path, "embeddings", "--from", openai, "-m", "mini-l6")
    conn = sqlite3.connect(path)
    conn.execute("create table vectors (id, embedding)")
    conn.execute("insert into vectors values (1, x'0000803f')")
    conn.commit()
    run("import", path, "vectors", "-m", "mini-l6")
    before = conn.execute("select * from embeddings").fetchall()
    result = run("sync", path)
    assert result.exit_code == 0
    assert "its vectors were imported, and no content came with them" in result.stderr
    assert conn.execute("select * from embeddings").fetchall() == before
    conn.close()


@pytest.mark.parametrize(
    ("statement", "error", "message"),
    [
        (
            "update vectors set embedding = 'text' where id = 2",
            InvalidVectorError,
            "Expected a BLOB for the vector of '2', found 'text'",
        ),
        (
            "update vectors set embedding = x'0000803f0000803f' where id = 2",
            DimensionMismatchError,
            "2 dimensions, found 1",
        ),
        (
            "alter table vectors rename column embedding to vector",
            SourceError,
            "columns id and embedding.*found id, vector",
        ),
    ],
    ids=["text", "two lengths", "another shape"],
)
def test_what_cannot_be_imported_is_refused_whole(conn, statement, error, message):
    conn.execute("create table vectors (id, embedding)")
    conn.executemany("insert into vectors values (?, x'0000803f')", [(1,), (2,), (3,)])
    conn.execute(statement)
    with pytest.raises(error, match=message):
        imported(conn, "vectors", model_id="m")
    assert collections.collections(conn) == []


def test_a_view_can_rename_the_columns_of_another_tool(conn):
    conn.execute("create table _embeddings_articles (id integer, emb_ada blob)")
    conn.execute("insert into _embeddings_articles values (5, x'0000803f')")
    conn.execute(
        "create view vectors as select id, emb_ada as embedding "
        "from _embeddings_articles"
    )
    made, count = imported(conn, "vectors", name="articles", model_id="ada")
    assert (made.name, made.item_ids(), count) == ("articles", {"5"}, 1)
