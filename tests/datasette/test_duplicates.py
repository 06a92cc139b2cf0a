"""Groups of near-duplicates and outliers, over HTTP."""

from __future__ import annotations

import sqlite3

import pytest

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.similarities.refreshing import build
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import collection
from datasette_embeddings.web import groups
from tests.datasette.conftest import execute, get_json, make_datasette

pytestmark = pytest.mark.asyncio

BASE = "/articles/-/embeddings/articles"
COPIES = 3


@pytest.fixture
def copied(articles_db, model):
    """The articles, the first two of them three times more, with similarities."""
    conn = sqlite3.connect(articles_db)
    rows = conn.execute("select id, title, body from articles where id < 3").fetchall()
    for number in range(1, COPIES + 1):
        conn.executemany(
            "insert into articles values (?, ?, ?)",
            [(100 * number + key, title, body) for key, title, body in rows],
        )
    conn.execute("update articles set title = '<b>' || title where id = 101")
    conn.commit()
    ingest(conn, "articles", table_source(conn, "articles"), model)
    build(collection(conn, "articles"), SimilaritySettings(5))
    conn.close()
    return make_datasette(articles_db)


async def test_groups_are_listed_the_largest_first(copied):
    status, body = await get_json(copied, f"{BASE}/duplicates.json")
    assert (status, body["ok"], body["count"]) == (200, True, 2)
    first, second = body["groups"]
    assert (first["size"], second["size"]) == (4, 4)
    assert 0.9 < min(first["lowest"], second["lowest"]) <= 1
    ids = {item["id"] for group in body["groups"] for item in group["items"]}
    assert ids == {"1", "2", "101", "102", "201", "202", "301", "302"}
    item = second["items"][0]
    assert item["url"] == f"/articles/articles/{item['id']}"
    assert item.keys() == {"id", "score", "title", "url", "image_url", "stale"}
    assert (body["next"], body["next_url"], body["min_score"]) == (None, None, 0.95)


async def test_groups_come_in_pages(copied):
    status, body = await get_json(copied, f"{BASE}/duplicates.json?_size=1")
    assert (status, len(body["groups"]), body["next"]) == (200, 1, "1")
    _status, second = await get_json(copied, f"{BASE}/duplicates.json?_size=1&_next=1")
    assert (len(second["groups"]), second["next"]) == (1, None)
    assert second["groups"] != body["groups"]
    page = (await copied.client.get(f"{BASE}/duplicates?_size=1")).text
    assert 'rel="next"' in page
    _status, rows = await get_json(copied, f"{BASE}/duplicates.json?_shape=array")
    assert len(rows) == 2


async def test_the_page_shows_groups_and_leads_to_pairs(copied):
    response = await copied.client.get(f"{BASE}/duplicates")
    assert response.status_code == 200
    assert f'href="{BASE}/pairs"' in response.text
    assert "&lt;b&gt;" in response.text
    assert "<b>" not in response.text
    pairs = await copied.client.get(f"{BASE}/pairs")
    assert f'href="{BASE}/duplicates"' in pairs.text
    assert f'href="{BASE}/outliers"' in pairs.text


async def test_many_pairs_are_cut_and_it_is_said(copied, monkeypatch):
    monkeypatch.setattr(groups, "MOST_PAIRS", 4)
    monkeypatch.setattr(groups, "MOST_ITEMS", 2)
    _status, body = await get_json(copied, f"{BASE}/duplicates.json")
    assert body["min_score"] > 0.95
    monkeypatch.setattr(groups, "MOST_PAIRS", 20_000)
    _status, body = await get_json(copied, f"{BASE}/duplicates.json")
    assert [(each["size"], len(each["items"])) for each in body["groups"]] == [
        *((4, 2), (4, 2))
    ]
    assert "and 2 more" in (await copied.client.get(f"{BASE}/duplicates")).text


@pytest.mark.parametrize("score", ["0.5", "-1", "2", "nan", "x"])
async def test_a_score_below_the_index_is_refused(copied, score):
    status, body = await get_json(copied, f"{BASE}/duplicates.json?_min_score={score}")
    assert (status, "_min_score" in body["error"]) == (400, True)


async def test_outliers_are_listed_in_pages(copied):
    status, body = await get_json(copied, f"{BASE}/outliers.json?_size=3")
    assert (status, len(body["items"]), body["next"]) == (200, 3, "3")
    scores = [each["score"] for each in body["items"]]
    assert scores == sorted(scores)
    # What has copies is near to them
    assert not {"1", "2", "101"} & {each["id"] for each in body["items"]}
    _status, rest = await get_json(copied, f"{BASE}/outliers.json?_size=3&_next=3")
    assert scores[-1] <= rest["items"][0]["score"]
    page = await copied.client.get(f"{BASE}/outliers?_size=3")
    assert (page.status_code, 'rel="next"' in page.text) == (200, True)


async def test_a_visitor_sees_so_many_outliers(copied, monkeypatch):
    monkeypatch.setattr(groups, "MOST_OUTLIERS", 4)
    _status, body = await get_json(copied, f"{BASE}/outliers.json?_size=3&_next=3")
    assert (len(body["items"]), body["next"]) == (1, None)
    _status, body = await get_json(copied, f"{BASE}/outliers.json?_next=900000000")
    assert body["items"] == []


@pytest.mark.parametrize("name", ["duplicates", "outliers"])
async def test_without_similarities_the_command_is_named(articles_db, name):
    datasette = make_datasette(articles_db)
    status, body = await get_json(datasette, f"{BASE}/{name}.json")
    assert (status, body["ok"]) == (404, False)
    assert "datasette embeddings similarities" in body["error"]
    page = await datasette.client.get(f"{BASE}/{name}")
    assert page.status_code == 404
    assert "datasette embeddings similarities" in page.text
    assert "<h1>" in page.text


@pytest.mark.parametrize("name", ["duplicates", "outliers"])
async def test_what_another_program_wrote_breaks_nothing(copied, articles_db, name):
    execute(
        articles_db,
        "insert into similarities values (1, 'gone', '1', 0.99)",
        "insert into similarities values (1, x'00', '1', 0.99)",
        "insert into similarities values (1, '3', 'gone', 'text')",
        "insert into _embedding_similarity_marks values (1, 'gone', 's', 0.0)",
        "delete from embeddings where id = '201'",
        "delete from articles where id = 202",
    )
    status, body = await get_json(copied, f"{BASE}/{name}.json")
    assert status == 200
    found = body.get("items") or [e for g in body["groups"] for e in g["items"]]
    assert found
    assert not {"gone", "201", "202"} & {each["id"] for each in found}


@pytest.mark.parametrize("name", ["duplicates", "outliers"])
async def test_the_clock_ends_what_takes_long(copied, articles_db, name):
    """Without its index, of an earlier release, over many rows."""
    conn = sqlite3.connect(articles_db)
    conn.execute("drop index idx_similarities_near")
    conn.execute("drop index idx__embedding_similarity_marks_lowest")
    numbers = (
        "with recursive n(i) as (select 0 union all select i + 1 from n limit 200000)"
    )
    conn.execute(
        f"{numbers} insert into similarities select 1, 'n' || i, 'm' || i, 0.97 from n"
    )
    conn.execute(
        f"{numbers} insert into _embedding_similarity_marks "
        "select 1, 'n' || i, 's', 0.5 from n"
    )
    conn.commit()
    conn.close()
    datasette = make_datasette(articles_db, sql_time_limit_ms=5)
    status, body = await get_json(datasette, f"{BASE}/{name}.json")
    assert (status, body["ok"]) == (503, False)
