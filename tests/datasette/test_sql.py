from __future__ import annotations

import pytest
from datasette.utils import StartupError

from datasette_embeddings.models.onnx import BUNDLED_FOLDER
from datasette_embeddings.vectors import VectorCache
from datasette_embeddings.web.compat import is_modern
from tests.datasette.conftest import execute, make_datasette

pytestmark = [
    pytest.mark.asyncio,
    # Datasette has sqlite3 print the traceback of a function that raises
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
    ),
]

QUERY_PATH = "/articles/-/query.json" if is_modern() else "/articles.json"


async def rows(datasette, sql):
    response = await datasette.client.get(
        QUERY_PATH, params={"sql": sql, "_shape": "array"}
    )
    return response.status_code, response.json()


async def test_the_functions_are_there(datasette):
    sql = "select length(embed('x')) a, round(embed_cosine('[1, 0]', '[1, 1]'), 3) b"
    assert await rows(datasette, sql) == (200, [{"a": 1536, "b": 0.707}])


async def test_a_search_joins_the_source_table(datasette):
    sql = """
        select title
        from json_each(embed_search('articles', 'pets', 2)) as found
        join articles on articles.id = json_extract(found.value, '$.id')
        order by found.key
        limit 1
    """
    assert await rows(datasette, sql) == (200, [{"title": "Kittens"}])


async def test_a_search_in_an_immutable_database(articles_db):
    datasette = make_datasette(immutables=[str(articles_db)])
    sql = "select json_array_length(embed_search('articles', 'pets', 2)) as found"
    assert await rows(datasette, sql) == (200, [{"found": 2}])


async def test_a_context_of_a_database_that_is_immutable(articles_db):
    datasette = make_datasette(immutables=[str(articles_db)])
    sql = "select embed_context('articles', 'pets', 50) ->> '$.passages[0].id' as id"
    assert await rows(datasette, sql) == (200, [{"id": "5"}])


async def test_a_model_that_is_not_offered_is_refused(datasette, tmp_path, caplog):
    (tmp_path / "modules.json").write_text("[]")
    for model_id in ("some/other-model", str(tmp_path)):
        status, body = await rows(datasette, f"select embed('{model_id}', 'x')")
        assert (status, body["error"]) == (
            400,
            "user-defined function raised exception",
        )
        # Refused before its files are looked at
        assert f"{model_id!r} is not available. This server offers" in caplog.text


async def test_the_model_of_a_collection_of_the_database_is_offered(
    articles_db, tmp_path, caplog
):
    execute(articles_db, "insert into collections values (9, 'far', 'far/from-here')")
    status, _body = await rows(
        make_datasette(articles_db), "select embed('far/from-here', 'x')"
    )
    assert (status, "there is none" in caplog.text) == (400, True)


async def test_the_default_model_comes_from_the_configuration(articles_db, tmp_path):
    (tmp_path / "model").symlink_to(BUNDLED_FOLDER)
    models = {"my/model": {"path": str(tmp_path / "model")}}
    datasette = make_datasette(
        articles_db, settings={"default_model": "my/model", "models": models}
    )
    sql = "select embed('x') = embed('my/model', 'x') as same"
    assert await rows(datasette, sql) == (200, [{"same": 1}])


@pytest.mark.parametrize(
    "settings",
    [{"default_model": "not-here"}, {"models": {"x": {"path": "/not/here"}}}],
    ids=["default model", "model"],
)
async def test_a_configured_model_that_is_not_here_stops_the_start(
    articles_db, settings
):
    datasette = make_datasette(articles_db, settings=settings)
    with pytest.raises(StartupError, match=r"The model .* is not available\. "):
        await datasette.invoke_startup()


SLOW = """
    with recursive n(i) as (select 1 union select i + 1 from n where i < 5000)
    select sum(length(embed('slow ' || i))) from n
"""


async def test_a_query_ends_within_datasettes_time_limit(
    articles_db, model, monkeypatch
):
    monkeypatch.setattr(model, "passages", VectorCache(5000))
    datasette = make_datasette(articles_db, sql_time_limit_ms=200)
    status, body = await rows(datasette, SLOW)
    assert (status, "time limit" in body["error"] or "too long" in body["error"]) == (
        400,
        True,
    )
    # A slow machine may not get to the first one
    assert len(model.passages) < 5000


async def test_content_longer_than_the_configuration_allows_is_refused(articles_db):
    datasette = make_datasette(articles_db, settings={"max_text_length": 10})
    assert (await rows(datasette, "select embed('0123456789')"))[0] == 200
    assert (await rows(datasette, "select embed('0123456789a')"))[0] == 400


async def test_a_server_tells_no_stranger_the_last_error(datasette):
    status, body = await rows(datasette, "select embed_error()")
    assert (status, body["error"]) == (400, "no such function: embed_error")


if is_modern():

    async def test_the_query_page_says_why_a_function_failed(datasette):
        sql = "select embed('<b>other</b>/model', 'x')"
        response = await datasette.client.get("/articles/-/query", params={"sql": sql})
        assert "is not available. This server offers" in response.text
        assert "&lt;b&gt;other&lt;/b&gt;" in response.text
        assert "<b>other" not in response.text

    async def test_one_visitor_does_not_see_the_reason_of_another(datasette):
        await rows(datasette, "select embed('other/model', 'x')")
        response = await datasette.client.get(
            "/articles/-/query", params={"sql": "select nonsense"}
        )
        assert "is not available" not in response.text
