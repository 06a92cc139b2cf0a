from __future__ import annotations

import shutil
import sqlite3

import pytest

from datasette_embeddings.documents import tilde_encode
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.store.collection_writes import rename_collection
from tests.datasette.conftest import execute, get_json, make_datasette

pytestmark = pytest.mark.asyncio

ARTICLES = {
    "name": "articles",
    "model": "sentence-transformers/all-MiniLM-L6-v2",
    "count": 6,
    "dimensions": 384,
}
SEARCH = "/articles/-/embeddings/articles.json"


def error(message, status):
    return status, {
        "ok": False,
        "error": message,
        "errors": [message],
        "status": status,
    }


async def test_all_collections_are_listed(datasette):
    listed = {
        "database": "articles",
        **ARTICLES,
        "url": "/articles/-/embeddings/articles",
    }
    assert await get_json(datasette, "/-/embeddings.json") == (
        200,
        {"ok": True, "collections": [listed]},
    )
    assert await get_json(datasette, "/articles/-/embeddings.json") == (
        200,
        {"ok": True, "collections": [listed], "database": "articles"},
    )


async def test_a_search_answers_what_the_design_promises(datasette):
    status, body = await get_json(datasette, f"{SEARCH}?q=pets&_size=1")
    found, took_ms = body["matches"][0], body.pop("took_ms")
    score, cosine = found.pop("score"), found.pop("cosine")
    assert (status, 0 < score < cosine < 1, took_ms > 0) == (200, True, True)
    assert body == {
        "ok": True,
        "database": "articles",
        "collection": ARTICLES,
        "query": {"text": "pets"},
        "mode": "both",
        "corrected": None,
        "close": None,
        "matches": [
            {
                "id": "5",
                "matched": ["meaning"],
                "title": "Kittens",
                "headings": [],
                "content": "Kittens Young cats need food four times a day "
                "and a warm place to sleep.",
                "url": "/articles/articles/5",
                "image_url": None,
                "metadata": None,
                "document_id": "5",
                "start": None,
                "end": None,
                "stale": False,
                "rerank_score": None,
                "cluster": None,
                "cluster_name": None,
            }
        ],
        "next": "1",
        "next_url": f"http://localhost{SEARCH}?q=pets&_size=1&_next=1",
        "index": "exact",
        "recall": 1.0,
        "left_out": 0,
        "reranked": None,
        "not_reranked": None,
    }


async def test_more_like_this_leaves_the_item_out(datasette):
    _status, body = await get_json(datasette, f"{SEARCH}?like=5")
    assert body["query"] == {"like": "5"}
    assert sorted(match["id"] for match in body["matches"]) == ["1", "2", "3", "4", "6"]


async def test_no_question_is_no_match(datasette):
    status, body = await get_json(datasette, SEARCH)
    assert (status, body["query"], body["matches"]) == (200, {}, [])


@pytest.mark.parametrize(
    ("path", "message", "status"),
    [
        ("/nowhere/-/embeddings.json", "Database not found: nowhere", 404),
        ("/nowhere/-/embeddings/x.json?q=x", "Database not found: nowhere", 404),
        ("/articles/-/embeddings/x.json?q=x", "Collection not found: x", 404),
        (
            f"{SEARCH}?like=77",
            "No item '77' in the collection 'articles'; "
            "an item id is the primary key of its row, or the path of its file",
            404,
        ),
        (f"{SEARCH}?q=", "Expected a text to search for, found an empty one", 400),
        (
            f"{SEARCH}?q=x&_size=0",
            "_size: expected a whole number of at least 1, found 0",
            400,
        ),
        (f"{SEARCH}?q=x&_size=101", "_size: expected at most 100, found 101", 400),
        (f"{SEARCH}?q=x&like=1", "Expected either q or like, found both", 400),
        (
            f"{SEARCH}?q={'x' * 2001}",
            "Expected a text of at most 2,000 characters, found 2,001",
            400,
        ),
        ("/articles/-/embeddings/~ZZ.json", "Collection not found: %ZZ", 404),
    ],
)
async def test_an_error_has_datasettes_four_keys(datasette, path, message, status):
    assert await get_json(datasette, path) == error(message, status)


async def test_limits_come_from_the_configuration(articles_db):
    settings = {"max_query_length": 3, "max_size": 2}
    datasette = make_datasette(articles_db, settings=settings)
    assert (await get_json(datasette, f"{SEARCH}?q=pets"))[0] == 400
    assert (await get_json(datasette, f"{SEARCH}?q=pet&_size=3"))[0] == 400
    assert (await get_json(datasette, f"{SEARCH}?q=pet&_size=2"))[0] == 200


async def test_another_method_is_refused(datasette):
    response = await datasette.client.put(SEARCH, json={"text": "pets"})
    assert (response.status_code, response.json()["error"]) == (
        405,
        "Expected GET or HEAD or POST, found PUT",
    )
    assert response.headers["allow"] == "GET, HEAD, POST, OPTIONS"


@pytest.mark.parametrize("cors", [True, False])
async def test_other_sites_may_read_where_datasette_lets_them(articles_db, cors):
    datasette = make_datasette(articles_db, cors=cors)
    response = await datasette.client.get(f"{SEARCH}?q=pets")
    assert ("access-control-allow-origin" in response.headers) is cors


async def test_base_url_is_part_of_every_link(articles_db):
    datasette = make_datasette(articles_db, base_url="/data/")
    _status, body = await get_json(datasette, f"{SEARCH}?q=pets&_size=1")
    assert body["matches"][0]["url"] == "/data/articles/articles/5"
    _status, body = await get_json(datasette, "/-/embeddings.json")
    assert body["collections"][0]["url"] == "/data/articles/-/embeddings/articles"


@pytest.mark.parametrize(
    "name", ["a/b", "100%", 'say "hi"', "it's", "🥕", "<b>bold</b>", "a.json", "a b+c"]
)
async def test_a_collection_of_any_name_has_its_url(articles_db, name):
    conn = sqlite3.connect(articles_db)
    rename_collection(conn, "articles", name)
    conn.close()
    datasette = make_datasette(articles_db)
    _status, body = await get_json(datasette, "/-/embeddings.json")
    url = body["collections"][0]["url"]
    assert url == f"/articles/-/embeddings/{tilde_encode(name)}"
    status, body = await get_json(datasette, f"{url}.json?q=pets")
    assert (status, body["collection"]["name"]) == (200, name)
    assert (await datasette.client.get(f"{url}?q=pets")).status_code == 200


async def test_a_match_of_a_compound_key_leads_to_its_row(articles_db, model):
    conn = sqlite3.connect(articles_db)
    conn.execute("create table notes (a text, b text, body text, primary key (a, b))")
    conn.execute("insert into notes values ('x/y', 'z.1', 'a note')")
    ingest(conn, "notes", table_source(conn, "notes"), model)
    conn.close()
    datasette = make_datasette(articles_db)
    _status, body = await get_json(datasette, "/articles/-/embeddings/notes.json?q=a")
    url = body["matches"][0]["url"]
    assert url == "/articles/notes/x~2Fy,z~2E1"
    assert (await datasette.client.get(url)).status_code == 200


async def test_a_match_of_a_query_has_its_content_and_no_row(articles_db, model):
    conn = sqlite3.connect(articles_db)
    source = query_source(conn, "select id, title from articles")
    ingest(conn, "titles", source, model)
    conn.close()
    datasette = make_datasette(articles_db)
    _status, body = await get_json(
        datasette, "/articles/-/embeddings/titles.json?q=cat"
    )
    match = body["matches"][0]
    assert (match["content"], match["url"]) == ("Kittens", None)


async def test_an_immutable_database_answers(articles_db):
    before = articles_db.read_bytes()
    datasette = make_datasette(immutables=[str(articles_db)])
    status, body = await get_json(datasette, f"{SEARCH}?q=pets")
    assert (status, body["matches"][0]["title"]) == (200, "Kittens")
    assert articles_db.read_bytes() == before


async def test_tables_of_another_shape_hold_no_collections(tmp_path):
    path = tmp_path / "openai.db"
    execute(path, "create table embeddings (id text primary key, embedding blob)")
    execute(path, "create table collections (id integer primary key, title text)")
    datasette = make_datasette(path)
    body = {"ok": True, "collections": []}
    assert await get_json(datasette, "/-/embeddings.json") == (200, body)
    assert (await datasette.client.get("/openai/embeddings")).status_code == 200


async def test_a_search_sees_what_another_connection_committed(articles_db, datasette):
    assert len((await get_json(datasette, f"{SEARCH}?q=pets"))[1]["matches"]) == 6
    execute(articles_db, "delete from embeddings where id = '5'")
    matches = (await get_json(datasette, f"{SEARCH}?q=pets"))[1]["matches"]
    assert "5" not in [match["id"] for match in matches]


async def test_every_database_is_listed(articles_db, tmp_path):
    shutil.copyfile(articles_db, tmp_path / "other.db")
    datasette = make_datasette(articles_db, tmp_path / "other.db")
    _status, body = await get_json(datasette, "/-/embeddings.json")
    assert [each["database"] for each in body["collections"]] == ["articles", "other"]


async def test_a_search_whose_model_is_not_here_says_what_works(articles_db):
    execute(articles_db, "update collections set model = 'far/away'")
    status, body = await get_json(make_datasette(articles_db), f"{SEARCH}?q=pets")
    assert (status, body["error"]) == (
        422,
        'Search by text is not available here at the moment; "more like this" works',
    )
    status, body = await get_json(make_datasette(articles_db), f"{SEARCH}?like=5")
    assert (status, len(body["matches"])) == (200, 5)


async def test_an_id_that_is_no_row_path_has_no_url(articles_db, model):
    conn = sqlite3.connect(articles_db)
    conn.execute("create table notes (a text, b text, body text, primary key (a, b))")
    conn.execute("insert into notes values ('x', 'y', 'a note')")
    ingest(conn, "notes", table_source(conn, "notes"), model)
    conn.execute("update embeddings set id = '13' where id = 'x,y'")
    conn.commit()
    conn.close()
    datasette = make_datasette(articles_db)
    status, body = await get_json(datasette, "/articles/-/embeddings/notes.json?q=a")
    assert (status, body["matches"][0]["url"]) == (200, None)


async def test_items_that_cannot_be_compared_are_counted(articles_db):
    execute(articles_db, "update embeddings set embedding = x'0000803f' where id = '1'")
    datasette = make_datasette(articles_db)
    _status, body = await get_json(datasette, f"{SEARCH}?q=pets")
    assert (len(body["matches"]), body["left_out"]) == (5, 1)
    page = await datasette.client.get(f"{SEARCH.removesuffix('.json')}?q=pets")
    assert "1 items are left out" in page.text


async def test_a_collection_larger_than_the_memory_has_a_compact_index(articles_db):
    conn = sqlite3.connect(articles_db)
    conn.executemany(
        "insert into embeddings (collection_id, id, embedding) values (1, ?, ?)",
        [(f"x{number}", bytes(1536)) for number in range(800)],
    )
    conn.commit()
    conn.close()
    datasette = make_datasette(articles_db, settings={"index_memory_mb": 1})
    _status, body = await get_json(datasette, f"{SEARCH}?q=pets&_size=1")
    assert (body["index"], body["matches"][0]["id"]) == ("compact", "5")
    assert body["recall"] == 1.0
    page = await datasette.client.get(f"{SEARCH.removesuffix('.json')}?q=pets")
    assert "a compact index, which finds 100.0% of the nearest items" in page.text


@pytest.mark.parametrize("kind", ["exact", "compact"])
async def test_a_collection_has_the_index_that_the_settings_declare(articles_db, kind):
    settings = {"index": "auto", "collections": {"articles": {"index": kind}}}
    datasette = make_datasette(articles_db, settings=settings)
    _status, body = await get_json(datasette, f"{SEARCH}?q=pets&_size=1")
    assert (body["index"], body["matches"][0]["id"]) == (kind, "5")


async def test_a_database_that_cannot_be_read_now_is_unavailable(articles_db):
    # Each SQL thread has a connection of its own: with one, all wait as short
    datasette = make_datasette(articles_db, num_sql_threads=1)
    await datasette.invoke_startup()
    writer = sqlite3.connect(articles_db)
    writer.execute("begin exclusive")
    database = datasette.get_database("articles")
    await database.execute_fn(lambda conn: conn.execute("pragma busy_timeout = 50"))
    status, body = await get_json(datasette, f"{SEARCH}?q=pets")
    writer.rollback()
    writer.close()
    assert (status, list(body)) == (503, ["ok", "error", "errors", "status"])
