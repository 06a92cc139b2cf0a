"""What other tools wrote becomes collections."""

from __future__ import annotations

import sqlite3
import struct

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.errors import (
    DimensionMismatchError,
    InvalidInputError,
    InvalidVectorError,
    SourceError,
)
from datasette_embeddings.search.matches import similar_items
from datasette_embeddings.sql.functions import register
from datasette_embeddings.store import collections
from datasette_embeddings.transfer import import_table

ADA, SMALL = "emb_text_embedding_ada_002", "emb_text_embedding_3_small"


@pytest.fixture
def alpha(conn):
    """`articles` with the shadow table that the alphas wrote for two models."""
    conn.execute(
        f"create table _embeddings_articles (id integer primary key, {ADA} blob, "
        f"{SMALL} blob)"
    )
    conn.executemany(
        f"insert into _embeddings_articles (id, {ADA}) values (?, ?)",
        [(number, struct.pack("<3f", 1, number, 0)) for number in range(1, 6)],
    )
    conn.execute(f"insert into _embeddings_articles (id, {ADA}) values (6, null)")
    return conn


def test_a_shadow_table_becomes_a_collection_and_stays(alpha):
    before = alpha.execute("select * from _embeddings_articles").fetchall()
    made, count = import_table(alpha, "articles", model_id="text-embedding-ada-002")
    assert (made.name, made.model_id, count) == (
        "articles",
        "text-embedding-ada-002",
        5,
    )
    found = similar_items(collections.collection(alpha, "articles"), "5")
    assert (found[0].id, found[0].title) == ("4", "Tax return")
    assert alpha.execute("select * from _embeddings_articles").fetchall() == before


def test_several_models_need_a_choice(alpha):
    with pytest.raises(
        InvalidInputError, match="text-embedding-ada-002, text-embedding-3-s"
    ):
        import_table(alpha, "articles")


def test_a_table_without_shadow_is_named(conn):
    with pytest.raises(SourceError, match="'_embeddings_articles' beside it; found id"):
        import_table(conn, "articles")


def test_a_blob_that_is_no_vector_imports_nothing(alpha):
    alpha.execute(f"update _embeddings_articles set {ADA} = x'00' where id = 3")
    with pytest.raises(InvalidVectorError):
        import_table(alpha, "articles", model_id="text-embedding-ada-002")
    assert collections.collections(alpha) == []


def test_the_queries_of_the_alphas_still_run(alpha):
    register(alpha)
    rows = alpha.execute(
        f"""
        select articles.title
        from articles
        join _embeddings_articles on articles.id = _embeddings_articles.id
        where _embeddings_articles.{ADA} is not null
        order by embeddings_cosine(_embeddings_articles.{ADA}, :vector) desc
        limit 1
        """,
        {"vector": struct.pack("<3f", 1, 5, 0)},
    ).fetchall()
    assert rows == [("Kittens",)]


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
    made, count = import_table(conn, "intros", model_id="mini-l6")
    assert (made.name, count) == ("intros", 1)
    # Whoever may not see that table may not see the collection
    collection = collections.collection(conn, "intros")
    assert collection.source.permission_tables == ("intros",)


def test_imported_vectors_are_not_embedded_anew(openai, tmp_path):
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
    ("statement", "arguments", "error", "message"),
    [
        ("select 1", {}, InvalidInputError, "Expected the model that made the vectors"),
        (
            "update vectors set embedding = 'text' where id = 2",
            {"model_id": "m"},
            InvalidVectorError,
            "Expected a BLOB for the vector of '2', found 'text'",
        ),
        (
            "update vectors set embedding = x'0000803f0000803f' where id = 2",
            {"model_id": "m"},
            DimensionMismatchError,
            "2 dimensions, found 1",
        ),
        (
            "alter table vectors rename column embedding to vector",
            {"model_id": "m"},
            SourceError,
            "columns id and embedding.*found id, vector",
        ),
    ],
    ids=["no model", "text", "two lengths", "another shape"],
)
def test_what_cannot_be_imported_is_refused_whole(
    conn, statement, arguments, error, message
):
    conn.execute("create table vectors (id, embedding)")
    conn.executemany("insert into vectors values (?, x'0000803f')", [(1,), (2,), (3,)])
    conn.execute(statement)
    with pytest.raises(error, match=message):
        import_table(conn, "vectors", **arguments)
    assert collections.collections(conn) == []
