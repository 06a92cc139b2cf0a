"""search_collection: what another plugin finds for one of its visitors."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from datasette import NotFound, Response, hookimpl
from datasette.plugins import pm

from datasette_embeddings import Embeddings, EmbeddingsError, search_collection
from datasette_embeddings.errors import InvalidInputError, ServerBusyError
from datasette_embeddings.web import middleware
from tests.datasette.conftest import actor_cookie, make_datasette

pytestmark = pytest.mark.asyncio
ROOT = {"id": "root"}


async def search(datasette, actor, text="kittens", **options):
    await datasette.invoke_startup()
    return await search_collection(
        datasette, actor, "articles", "articles", text, **options
    )


async def test_a_plugin_finds_what_the_json_api_finds(articles_db):
    datasette = make_datasette(articles_db)
    found = await search(datasette, None, limit=2)
    path = "/articles/-/embeddings/articles.json?q=kittens&_size=2"
    answer = (await datasette.client.get(path)).json()
    assert json.loads(json.dumps(found)) == answer["matches"]
    assert (found[0]["id"], found[0]["url"]) == ("5", "/articles/articles/5")


async def test_it_takes_the_options_of_a_search(articles_db):
    datasette = make_datasette(articles_db)
    found = await search(
        datasette,
        None,
        "a warm place to sleep",
        mode="meaning",
        filters={"id__gt": 1},
        offset=1,
        limit=2,
        min_cosine=-1,
        as_typed=True,
        all_chunks=True,
    )
    assert len(found) == 2
    assert "5" not in [each["id"] for each in found]
    only = await search(datasette, None, prefix="5", min_score=0)
    assert [each["id"] for each in only] == ["5"]


@pytest.mark.parametrize(
    "closed",
    [{"allow": ROOT}, {"tables": {"articles": {"allow": ROOT}}}],
    ids=["database", "table"],
)
async def test_a_collection_that_the_actor_may_not_see_does_not_exist(
    articles_db, closed
):
    datasette = make_datasette(articles_db, allow={"articles": closed})
    assert await search(datasette, ROOT)
    with pytest.raises(EmbeddingsError) as hidden:
        await search(datasette, None)
    with pytest.raises(EmbeddingsError) as missing:
        await search_collection(datasette, ROOT, "articles", "no", "kittens")
    assert str(hidden.value).replace("'articles' in", "'no' in") == str(missing.value)
    for name in ("no", "_internal", "_memory"):
        with pytest.raises(NotFound):
            await search_collection(datasette, ROOT, name, "articles", "kittens")


async def test_what_is_wrong_is_told(articles_db):
    datasette = make_datasette(articles_db, settings={"max_size": 20})
    for options, message in (
        ({"text": " "}, "empty"),
        ({"limit": 21}, "limit: expected at most 20, found 21"),
        ({"limit": 0}, "limit: expected a whole number of at least 1"),
        ({"offset": -1}, "offset: "),
        ({"mode": "fuzzy"}, "mode: "),
        ({"filters": {"price": 3}}, "No column 'price'"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            await search(datasette, None, **options)


async def test_it_takes_its_turn_among_the_searches_of_visitors(
    articles_db, monkeypatch
):
    datasette = make_datasette(articles_db)
    full = middleware.Limiter(1, 0)
    await full.slots.acquire()
    monkeypatch.setitem(middleware._limiters, datasette, full)
    with pytest.raises(ServerBusyError):
        await search(datasette, None)


async def test_a_view_of_another_plugin_answers_404_by_itself(articles_db):
    async def ask(datasette, request):
        return Response.json(await search(datasette, request.actor))

    class Plugin:
        __name__ = "a-plugin"

        @hookimpl
        def register_routes(self):
            return [(r"^/ask$", ask)]

    plugin = Plugin()
    pm.register(plugin, name="a-plugin")
    try:
        datasette = make_datasette(
            articles_db, allow={"articles": {"tables": {"articles": {"allow": ROOT}}}}
        )
        cookies = actor_cookie(datasette, "root")
        seen = await datasette.client.get("/ask", cookies=cookies)
        assert seen.json()[0]["id"] == "5"
        assert (await datasette.client.get("/ask")).status_code == 404
    finally:
        pm.unregister(plugin)


async def test_items_of_no_source_need_the_table_embeddings(articles_db):
    """As everywhere: it would show them otherwise."""
    with Embeddings(articles_db) as db:
        db.collection("articles").embed("mine", "kittens of my own")
    with closing(sqlite3.connect(articles_db)) as conn:
        assert conn.execute("select count(*) from embeddings").fetchone() == (7,)
    datasette = make_datasette(
        articles_db, allow={"articles": {"tables": {"embeddings": {"allow": ROOT}}}}
    )
    assert len(await search(datasette, ROOT)) == 7
    with pytest.raises(NotFound):
        await search(datasette, None)
