"""The passages that answer a question, over HTTP."""

from __future__ import annotations

import json
import sqlite3

import pytest

from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.serving.allowed_models import AllowedModel
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collection_writes import rename_collection
from tests.datasette.conftest import actor_cookie, execute, get_json, make_datasette

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/articles/-/embeddings/articles/context.json"
QUESTION = "How do I bake bread?"
QUERY = "q=How+do+I+bake+bread%3F"


@pytest.fixture(scope="module")
def datasette(shared_articles):
    return shared_articles


@pytest.fixture
def two(tmp_path, built_articles, model):
    """The articles in two databases; the second has other ones under another name."""
    for name in ("articles", "other"):
        (tmp_path / f"{name}.db").write_bytes(built_articles)
    conn = sqlite3.connect(tmp_path / "other.db")
    conn.execute("update articles set body = body || ' So it is elsewhere.'")
    conn.commit()
    ingest(conn, "articles", table_source(conn, "articles"), model)
    rename_collection(conn, "articles", "a/b")
    conn.close()
    return [tmp_path / "articles.db", tmp_path / "other.db"]


async def test_passages_have_numbers_sources_and_addresses(datasette):
    status, body = await get_json(datasette, f"{PATH}?{QUERY}")
    assert (status, body["ok"], body["question"]) == (200, True, QUESTION)
    assert body["tokens"]["budget"] == 2000
    assert body["tokens"]["counted_by"] == "tokenizer"
    assert 0 < body["tokens"]["used"] <= 2000
    first = body["passages"][0]
    assert (first["number"], first["database"], first["collection"], first["id"]) == (
        *(1, "articles", "articles", "1"),
    )
    assert first["url"] == "http://localhost/articles/articles/1"
    assert body["text"].startswith(f"[1] Sourdough ({first['url']})\n")
    assert "wild yeast" in first["text"]
    numbers = [each["number"] for each in body["passages"]]
    assert numbers == [*range(1, len(numbers) + 1)]


async def test_a_body_asks_the_same(datasette):
    response = await datasette.client.post(
        PATH, json={"question": QUESTION, "tokens": 60}
    )
    status, body = await get_json(datasette, f"{PATH}?{QUERY}&_tokens=60")
    assert (response.status_code, status) == (200, 200)
    assert {**response.json(), "took_ms": 0} == {**body, "took_ms": 0}
    assert body["tokens"]["used"] <= body["tokens"]["budget"] == 60


async def test_filters_are_those_of_a_search(datasette):
    status, body = await get_json(datasette, f"{PATH}?{QUERY}&id__gt=4")
    assert (status, {each["id"] for each in body["passages"]}) == (200, {"5", "6"})
    status, body = await get_json(datasette, f"{PATH}?{QUERY}&_prefix=2")
    assert (status, [each["id"] for each in body["passages"]]) == (200, ["2"])
    filters = {"title__startswith": "Tax"}
    response = await datasette.client.post(
        PATH, json={"question": QUESTION, "filters": filters}
    )
    assert [each["id"] for each in response.json()["passages"]] == ["4"]


async def test_filters_are_about_the_collection_of_the_path(two):
    datasette = make_datasette(*two)
    query = f"{QUERY}&id=1&_also=other/a~2Fb"
    _status, body = await get_json(datasette, f"{PATH}?{query}")
    ids = {(each["database"], each["id"]) for each in body["passages"]}
    assert ids == {("articles", "1"), *(("other", str(n)) for n in range(1, 7))}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "q: expected a value, found none"),
        ("q=", "found an empty one"),
        ("q=+", "found an empty one"),
        (f"q={'x' * 2001}", "at most 2,000 characters, found 2,001"),
        ("like=1", "Expected q, found like"),
        ("q=x&_tokens=49", "_tokens: expected a whole number from 50 to 20,000"),
        ("q=x&_tokens=20001", "_tokens: expected a whole number from 50 to 20,000"),
        ("q=x&_tokens=many", "_tokens: expected a whole number from 50 to 20,000"),
        ("q=x&_tokens=-5", "_tokens: expected a whole number from 50 to 20,000"),
        ("q=x" + "&_also=y" * 5, "at most 4 other collections, found 5"),
        (f"q=x&_also={'y' * 2001}", "_also: expected names of collections"),
        ("q=x&nocolumn=1", "nocolumn"),
        ("q=x&_cluster=1", "has no clusters"),
        ("q=x&_mode=words", "Unknown parameter '_mode'"),
    ],
)
async def test_an_invalid_request_says_why(datasette, query, message):
    status, body = await get_json(datasette, f"{PATH}?{query}")
    assert (status, body["ok"], message in body["error"]) == (400, False, True), body


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "question: expected a value, found none"),
        ({"question": 5}, "question: expected a text"),
        ({"question": "x", "tokens": "60"}, "tokens: expected a whole number"),
        ({"question": "x", "tokens": 60.5}, "tokens: expected a whole number"),
        ({"question": "x", "tokens": True}, "tokens: expected a whole number"),
        ({"question": "x", "also": [1]}, "also: expected names of collections"),
        ({"question": "x", "also": [""]}, "also: expected names of collections"),
        ({"question": "x", "also": {"a": 1}}, "also: expected names of collections"),
        ({"question": "x", "nonsense": 1}, "nonsense: unknown"),
        ({"question": "x" * 2001}, "at most 2,000 characters"),
    ],
    ids=str,
)
async def test_an_invalid_body_says_why(datasette, body, message):
    response = await datasette.client.post(PATH, content=json.dumps(body))
    found = response.json()
    assert (response.status_code, message in found["error"]) == (400, True), found


@pytest.mark.parametrize("also", ["other/a~2Fb", "articles", "articles/articles"])
async def test_several_collections_are_read_at_once(two, also):
    datasette = make_datasette(*two)
    status, body = await get_json(datasette, f"{PATH}?{QUERY}&_also={also}")
    assert status == 200
    read = {(each["database"], each["collection"]) for each in body["passages"]}
    others = {("other", "a/b")} if also.startswith("other") else set()
    assert read == {("articles", "articles"), *others}
    response = await datasette.client.post(
        PATH, json={"question": QUESTION, "also": [also]}
    )
    assert response.json()["passages"] == body["passages"]
    # No collection is read twice
    texts = [each["text"] for each in body["passages"]]
    assert len(set(texts)) == len(texts)


HIDDEN = {
    "a database": {"other": {"allow": {"id": "root"}}},
    "a source": {"other": {"tables": {"articles": {"allow": {"id": "root"}}}}},
}


@pytest.mark.parametrize("allow", HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("others", [["{}"], ["articles", "{}"], ["{}", "nothing"]])
async def test_a_hidden_one_is_answered_as_a_missing_one(two, allow, others):
    datasette = make_datasette(*two, allow=allow)

    async def asked(name, actor=None):
        cookies = actor_cookie(datasette, actor) if actor else {}
        also = [each.format(name) for each in others]
        query = "".join(f"&_also={each}" for each in also)
        got = await datasette.client.get(f"{PATH}?q=x{query}", cookies=cookies)
        body = {"question": "x", "also": also}
        posted = await datasette.client.post(
            PATH,
            content=json.dumps(body),
            cookies=cookies,
            headers={"content-type": "application/json"},
        )
        return got, posted

    for hidden, missing in zip(
        await asked("other/a~2Fb"), await asked("other/a~2Fc"), strict=True
    ):
        assert (hidden.status_code, missing.status_code) == (404, 404)
        assert hidden.text.replace("a~2Fb", "a~2Fc") == missing.text
    for database in ("nowhere/x", "_internal/x", "_memory/x", "/articles"):
        assert [each.status_code for each in await asked(database)] == [404, 404]
    expected = 404 if "nothing" in others else 200
    found = await asked("other/a~2Fb", actor="root")
    assert [each.status_code for each in found] == [expected, expected]


async def test_without_its_model_a_context_is_not_available(articles_db):
    execute(articles_db, "update collections set model = 'acme/unknown'")
    status, body = await get_json(make_datasette(articles_db), f"{PATH}?q=x")
    assert (status, "not available here" in body["error"]) == (422, True)


async def test_tokens_are_counted_where_the_model_runs(articles_db, monkeypatch):
    threads = []

    async def run(self, work, run=AllowedModel.run):
        threads.append(self.threads)
        return await run(self, work)

    monkeypatch.setattr(AllowedModel, "run", run)
    datasette = make_datasette(articles_db)
    assert (await get_json(datasette, f"{PATH}?q=bread"))[0] == 200
    assert threads


async def test_no_more_texts_are_read_than_by_a_search(two):
    datasette = make_datasette(*two, settings={"max_size": 2})
    _status, body = await get_json(datasette, f"{PATH}?{QUERY}&_also=other/a~2Fb")
    read = [each["database"] for each in body["passages"]]
    assert sorted(read) == ["articles", "articles", "other", "other"]


@pytest.mark.parametrize("cors", [True, False])
async def test_other_sites_may_read_where_datasette_lets_them(articles_db, cors):
    datasette = make_datasette(articles_db, cors=cors)
    for query in ("?q=bread", "?q="):
        response = await datasette.client.get(f"{PATH}{query}")
        assert ("access-control-allow-origin" in response.headers) is cors
    response = await datasette.client.post(PATH, json={"question": "bread"})
    assert "access-control-allow-origin" not in response.headers


async def test_a_post_from_another_site_is_refused(articles_db):
    datasette = make_datasette(articles_db)
    response = await datasette.client.post(
        PATH, json={"question": "bread"}, headers={"sec-fetch-site": "cross-site"}
    )
    assert response.status_code == 403
