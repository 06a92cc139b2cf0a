"""The shadow tables of the older datasette-embeddings become collections."""

from __future__ import annotations

import struct

import pytest

from datasette_embeddings import store
from datasette_embeddings.errors import InvalidInput, InvalidVector, SourceProblem
from datasette_embeddings.imports import import_shadow_table
from datasette_embeddings.search import similar_items
from datasette_embeddings.sql_functions import register

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
    made, count = import_shadow_table(
        alpha, "articles", model_id="text-embedding-ada-002"
    )
    assert (made.name, made.model_id, count) == (
        "articles",
        "text-embedding-ada-002",
        5,
    )
    found = similar_items(alpha, store.collection(alpha, "articles"), "5")
    assert (found[0].id, found[0].title) == ("4", "Tax return")
    assert alpha.execute("select * from _embeddings_articles").fetchall() == before


def test_several_models_need_a_choice(alpha):
    with pytest.raises(
        InvalidInput, match="text-embedding-ada-002, text-embedding-3-s"
    ):
        import_shadow_table(alpha, "articles")


def test_a_table_without_shadow_is_named(conn):
    with pytest.raises(SourceProblem, match=r"'_embeddings_articles'.*there is none"):
        import_shadow_table(conn, "articles")


def test_a_blob_that_is_no_vector_imports_nothing(alpha):
    alpha.execute(f"update _embeddings_articles set {ADA} = x'00' where id = 3")
    with pytest.raises(InvalidVector):
        import_shadow_table(alpha, "articles", model_id="text-embedding-ada-002")
    assert store.collections(alpha) == []


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
