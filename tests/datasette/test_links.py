"""Datasette's own pages lead to the search."""

from __future__ import annotations

import sqlite3
from urllib.parse import quote

import pytest
from bs4 import BeautifulSoup

from datasette_embeddings.config import CollectionConfig, SimilaritySettings
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import source_from_config, table_source
from datasette_embeddings.web.compat import is_modern
from tests.datasette.conftest import execute, get_json, make_datasette

pytestmark = pytest.mark.asyncio
SEARCH = "/articles/-/embeddings/articles"


async def links(datasette, path, **options):
    """The addresses on a page that lead to us, and what they say."""
    response = await datasette.client.get(path, **options)
    assert response.status_code == 200
    found = BeautifulSoup(response.text, "html.parser").find_all("a", href=True)
    return {
        each["href"]: each.find(string=True).strip()
        for each in found
        if "/-/embeddings" in each["href"]
    }


@pytest.fixture
def articles_db(articles_db, model):
    execute(
        articles_db,
        "create view cats as select * from articles where body like '%cats%'",
        "create table other (id integer primary key, body text)",
    )
    conn = sqlite3.connect(articles_db)
    cats = table_source(conn, "cats", key_columns=["id"])
    ingest(conn, "cats", cats, model)
    conn.close()
    return articles_db


MENU = {"/-/embeddings": "Search by meaning"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", {}),
        ("/articles", {"/articles/-/embeddings": "Search by meaning"}),
        ("/articles/articles", {SEARCH: "Search by meaning"}),
        ("/articles/cats", {"/articles/-/embeddings/cats": "Search by meaning"}),
        ("/articles/other", {}),
        (
            "/articles/articles/5",
            {f"{SEARCH}?like=5": "More like this"} if is_modern() else {},
        ),
    ],
)
async def test_a_page_of_datasette_leads_to_the_search(articles_db, path, expected):
    assert await links(make_datasette(articles_db), path) == {**MENU, **expected}


async def test_several_collections_of_a_table_are_told_apart(articles_db, model):
    conn = sqlite3.connect(articles_db)
    titles = table_source(conn, "articles", content_columns=["title"])
    ingest(conn, "titles", titles, model)
    conn.close()
    found = await links(make_datasette(articles_db), "/articles/articles")
    assert found == {
        **MENU,
        SEARCH: "Search by meaning: articles",
        "/articles/-/embeddings/titles": "Search by meaning: titles",
    }


async def test_a_hidden_collection_has_no_link(articles_db):
    closed = {"articles": {"tables": {"articles": {"allow": {"id": "root"}}}}}
    found = await links(make_datasette(articles_db, allow=closed), "/articles")
    # That of the view is not hidden, for Datasette asks about the view alone
    assert found == {**MENU, "/articles/-/embeddings": "Search by meaning"}
    closed["articles"]["tables"]["cats"] = {"allow": False}
    assert await links(make_datasette(articles_db, allow=closed), "/articles") == MENU


if is_modern():

    async def test_the_neighbours_of_any_row_are_asked_for_by_its_item(tmp_path, model):
        path = tmp_path / "articles.db"
        execute(
            path,
            "create table notes (a text, b int, body text, primary key (a, b))",
            "insert into notes values ('x/y', 1, 'a note'), ('z', 2, 'another')",
        )
        conn = sqlite3.connect(path)
        source = table_source(conn, "notes", rules=Source(id_prefix="n:"))
        ingest(conn, "notes", source, model)
        conn.close()
        datasette = make_datasette(path)
        found = await links(datasette, "/articles/notes/x~2Fy,1")
        (address,) = set(found) - set(MENU)
        assert address == "/articles/-/embeddings/notes?like=n%3Ax~2Fy%2C1"
        assert (await datasette.client.get(address)).status_code == 200


async def test_results_lead_to_the_site_of_the_owner(articles_db, model):
    conn = sqlite3.connect(articles_db)
    config = CollectionConfig(table="articles", url="https://me.dev/{{ title }}?a=<b>")
    options = IngestOptions(similarities=SimilaritySettings(3))
    source = source_from_config(conn, config)
    ingest(conn, "articles", source, model, options=options)
    titles = dict(conn.execute("select cast(id as text), title from articles"))
    conn.close()
    datasette = make_datasette(articles_db)
    _status, body = await get_json(datasette, f"{SEARCH}.json?q=cats")
    expected = {
        f"https://me.dev/{quote(titles[match['id']])}?a=<b>"
        for match in body["matches"]
    }
    assert {match["url"] for match in body["matches"]} == expected
    for path in (f"{SEARCH}?q=cats", f"{SEARCH}/pairs", "/articles/articles/1"):
        response = await datasette.client.get(path)
        page = BeautifulSoup(response.text, "html.parser")
        links = {each["href"] for each in page.select("a[href^='https://me.dev']")}
        assert links
        assert links <= expected
    _status, body = await get_json(datasette, f"{SEARCH}/pairs.json")
    assert {body["pairs"][0]["url"], body["pairs"][0]["other_url"]} <= expected
