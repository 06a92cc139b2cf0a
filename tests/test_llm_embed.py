"""Beside datasette-llm-embed: no crash, and its own functions of its names win."""

from __future__ import annotations

import pytest
import sqlite_utils
from datasette.app import Datasette

import datasette_embeddings

pytestmark = pytest.mark.asyncio


async def rows(path, sql):
    datasette = Datasette([str(path)])
    response = await datasette.client.get(
        "/articles.json", params={"sql": sql, "_shape": "array"}
    )
    return response.json()


async def test_its_functions_win_where_both_are_installed(articles_db):
    # Ours raises; theirs returns what went wrong as the value
    found = await rows(articles_db, "select llm_embed('no-such-model', 'x') as value")
    assert found == [{"value": "'Unknown model: no-such-model'"}]


async def test_queries_written_for_it_run_unchanged(articles_db):
    sql = """
        select id, llm_embed_cosine(embedding, (
          select embedding from embeddings where id = '5'
        )) as score
        from embeddings
        order by score desc
        limit 1
    """
    found = await rows(articles_db, sql)
    assert found == [{"id": "5", "score": pytest.approx(1)}]


async def test_ours_are_there_all_the_same(articles_db):
    sql = "select embed_cosine('[1]', llm_embed_decode(x'0000803f')) as score"
    assert await rows(articles_db, sql) == [{"score": 1.0}]


async def test_its_functions_still_win_after_another_registration(articles_db):
    database = Datasette([str(articles_db)]).get_database("articles")

    def ask(conn):
        sqlite_utils.Database(conn)
        datasette_embeddings.register(conn)
        return conn.execute("select llm_embed('no-such-model', 'x')").fetchone()[0]

    found = await database.execute_fn(ask)
    assert found == "'Unknown model: no-such-model'"
