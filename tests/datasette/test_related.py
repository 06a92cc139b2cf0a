"""Related rows where people read: row pages, templates of one's own, pairs."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

import datasette_embeddings
from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.similarities.refreshing import build, remove
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.store import collections
from tests.datasette.conftest import actor_cookie, execute, get_json, make_datasette

pytestmark = pytest.mark.asyncio
PAIRS = "/articles/-/embeddings/articles/pairs"
CLOSED = {"articles": {"tables": {"secret": {"allow": {"id": "root"}}}}}


@pytest.fixture
def articles_db(articles_db):
    conn = sqlite3.connect(articles_db)
    collection = collections.collection(conn, "articles")
    build(collection, SimilaritySettings(3))
    conn.close()
    return articles_db


async def related(datasette, path, **options):
    """Titles and addresses of the related rows on a page."""
    response = await datasette.client.get(path, **options)
    assert response.status_code == 200, response.text
    found = BeautifulSoup(response.text, "html.parser").select(".embeddings-related li")
    return [(each.a.text, each.a["href"]) for each in found]


async def test_a_row_shows_its_related_rows(articles_db):
    datasette = make_datasette(articles_db)
    _status, body = await get_json(
        datasette, "/articles/-/embeddings/articles.json?like=5&_size=3"
    )
    expected = [(match["title"], match["url"]) for match in body["matches"]]
    assert await related(datasette, "/articles/articles/5") == expected


async def test_a_row_without_related_rows_shows_nothing(articles_db):
    execute(articles_db, "create table other (id integer primary key)")
    execute(articles_db, "insert into other values (1)")
    execute(articles_db, "insert into articles (id, title) values (99, 'New')")
    datasette = make_datasette(articles_db)
    for path in ("/articles/other/1", "/articles/articles/99"):
        assert await related(datasette, path) == []
        assert "embeddings-related" not in (await datasette.client.get(path)).text


async def test_a_row_that_is_gone_is_not_recommended(articles_db):
    before = await related(make_datasette(articles_db), "/articles/articles/5")
    execute(articles_db, "delete from articles where title = '" + before[0][0] + "'")
    after = await related(make_datasette(articles_db), "/articles/articles/5")
    assert after == before[1:]


async def test_what_may_not_be_seen_is_not_recommended(articles_db, model):
    execute(articles_db, "create table secret as select * from articles")
    conn = sqlite3.connect(articles_db)
    # A collection of rows that are public by one table and secret by another
    sql = "select articles.id, secret.body from articles join secret using (id)"
    ingest(conn, "joined", query_source(conn, sql), model)
    ingest(conn, "secret", table_source(conn, "secret", key_columns=["id"]), model)
    for name in ("joined", "secret"):
        collection = collections.collection(conn, name)
        build(collection, SimilaritySettings(3))
    conn.close()
    datasette = make_datasette(articles_db, allow=CLOSED)
    root = {"cookies": actor_cookie(datasette, "root")}
    page = "/articles/secret/5"
    assert (await datasette.client.get(page)).status_code == 403
    assert len(await related(datasette, page, **root)) == 3
    path = "/articles/-/embeddings/secret/pairs"
    for each in (path, f"{path}.json"):
        assert (await datasette.client.get(each)).status_code == 404
        assert (await datasette.client.get(each, **root)).status_code == 200


@pytest.fixture
def templates(tmp_path):
    folder = tmp_path / "templates"
    (folder / "pages").mkdir(parents=True)
    (folder / "pages" / "mine.html").write_text(
        """
        {% for each in related_items("articles", 5, limit=2) %}
        [{{ each.id }}|{{ each.title }}|{{ each.url }}|{{ each.score|round(3) }}]
        {% else %}none{% endfor %}
        """
    )
    (folder / "pages" / "secret.html").write_text(
        '{{ related_items("secret", 5, database="articles")|length }} secrets'
    )
    (folder / "row-articles-articles.html").write_text(
        """
        {% extends "default:row.html" %}
        {% block content %}{{ super() }}
        {% set mine = related_items("articles", primary_key_values[0]) %}
        mine: {{ mine|map(attribute="id")|list }}
        {% endblock %}
        """
    )
    return folder


async def test_a_page_of_ones_own_asks_for_related_items(articles_db, templates):
    datasette = make_datasette(articles_db, template_dir=str(templates))
    text = (await datasette.client.get("/mine")).text
    _status, body = await get_json(
        datasette, "/articles/-/embeddings/articles.json?like=5&_size=2"
    )
    for match in body["matches"]:
        found = f"[{match['id']}|{match['title']}|{match['url']}|"
        assert found in text
    assert text.count("[") == 2


async def test_a_template_sees_what_its_visitor_may(articles_db, templates, model):
    execute(articles_db, "create table secret as select * from articles")
    conn = sqlite3.connect(articles_db)
    ingest(conn, "secret", table_source(conn, "secret", key_columns=["id"]), model)
    collection = collections.collection(conn, "secret")
    build(collection, SimilaritySettings(3))
    conn.close()
    datasette = make_datasette(articles_db, allow=CLOSED, template_dir=str(templates))
    assert (await datasette.client.get("/secret")).text == "0 secrets"
    cookies = actor_cookie(datasette, "root")
    response = await datasette.client.get("/secret", cookies=cookies)
    assert response.text == "3 secrets"


async def test_an_owners_template_of_a_row_comes_first(articles_db, templates):
    datasette = make_datasette(articles_db, template_dir=str(templates))
    text = (await datasette.client.get("/articles/articles/5")).text
    assert "mine: [" in text


async def test_pairs_are_a_page_and_json(articles_db):
    datasette = make_datasette(articles_db)
    status, body = await get_json(datasette, f"{PAIRS}.json?_size=2")
    assert (status, len(body["pairs"]), body["next"]) == (200, 2, "2")
    scores = [pair["score"] for pair in body["pairs"]]
    assert scores == sorted(scores, reverse=True)
    assert set(body["pairs"][0]) == {
        *("id", "other_id", "score", "title", "other_title", "url", "other_url"),
        *("image_url", "other_image_url", "stale", "other_stale"),
    }
    page = (await datasette.client.get(PAIRS)).text
    for pair in body["pairs"]:
        assert f'<a href="{pair["url"]}"><bdi>{pair["title"]}</bdi></a>' in page
    seen, url = [], f"{PAIRS}.json?_size=2"
    while url:
        _status, body = await get_json(datasette, url)
        seen += [(pair["id"], pair["other_id"]) for pair in body["pairs"]]
        url = (body["next_url"] or "").removeprefix("http://localhost")
    assert len(seen) == len(set(seen)) > 6


async def test_the_sql_of_the_pairs_finds_them(articles_db):
    datasette = make_datasette(articles_db)
    _status, body = await get_json(datasette, f"{PAIRS}.json")
    page = BeautifulSoup((await datasette.client.get(PAIRS)).text, "html.parser")
    path = page.find("a", string="Run it")["href"].replace("?", ".json?", 1)
    _status, rows = await get_json(datasette, f"{path}&_shape=array")
    assert [(row["id"], row["other_id"]) for row in rows] == [
        (pair["id"], pair["other_id"]) for pair in body["pairs"]
    ]


async def test_pairs_that_were_never_worked_out_say_so(articles_db):
    conn = sqlite3.connect(articles_db)
    remove(collections.collection(conn, "articles"))
    conn.close()
    datasette = make_datasette(articles_db)
    assert (await get_json(datasette, f"{PAIRS}.json"))[1]["pairs"] == []
    page = (await datasette.client.get(PAIRS)).text
    assert "datasette embeddings similarities" in page


@pytest.mark.parametrize(
    ("query", "status"), [("?_size=0", 400), ("?_next=x", 400), ("?_next=999", 200)]
)
async def test_a_fault_in_the_address_of_pairs_is_said(articles_db, query, status):
    datasette = make_datasette(articles_db)
    for path in (PAIRS, f"{PAIRS}.json"):
        assert (await datasette.client.get(path + query)).status_code == status


WITHOUT_MODEL = """
import asyncio, importlib.abc, json, sys

class NoRuntime(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("onnxruntime", "tokenizers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoRuntime())
from datasette.app import Datasette
import datasette_embeddings

async def main():
    datasette = Datasette([], immutables=[sys.argv[1]])
    found = {"package": datasette_embeddings.__file__}
    for path in sys.argv[2:]:
        response = await datasette.client.get(path)
        found[path] = [response.status_code, response.text]
    print(json.dumps(found))

asyncio.run(main())
"""


async def test_an_immutable_database_is_served_without_any_model(articles_db, tmp_path):
    """The package is copied without its model, and its runtime cannot be imported."""
    package = Path(datasette_embeddings.__file__).parent
    copy = tmp_path / "site" / "datasette_embeddings"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("bundled"))
    search = "/articles/-/embeddings/articles"
    paths = [
        "/articles/articles/5",
        f"{search}.json?like=5",
        f"{search}/pairs",
        search,
        f"{search}.json?q=pets",
        f"{search}?q=pets",
    ]
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_MODEL, str(articles_db), *paths],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(copy.parent), "PATH": "/usr/bin:/bin"},
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found.pop("package") == str(copy / "__init__.py")
    assert [status for status, _text in found.values()] == [
        200,
        200,
        200,
        200,
        422,
        422,
    ]
    assert "embeddings-related" in found[paths[0]][1]
    assert len(json.loads(found[paths[1]][1])["matches"]) == 5
    for path in paths[4:]:
        assert "is not available here at the moment" in found[path][1]
