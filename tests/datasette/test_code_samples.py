"""The SQL and curl that a page shows find what the page shows."""

from __future__ import annotations

import json
import shlex
import shutil
import sqlite3
import subprocess
from urllib.parse import parse_qs, urlsplit

import pytest
from bs4 import BeautifulSoup

from datasette_embeddings.documents import Chunking
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from tests.datasette.conftest import execute, get_json, make_datasette, running

SEARCH = "/articles/-/embeddings/articles"
QUERIES = ["q=pets", "q=it's+%22warm+place%22", "q=pets&_size=3", "like=5"]
QUERIES += ["q=pets&_mode=meaning", "q=kittens+bread&_mode=words"]
NARROWED = [
    "q=pets&title__contains=k&_size=2",
    "q=pets&id__in=1,2,3",
    "q=pets&_prefix=5",
    "q=pets&_min_score=0.1",
    "q=pets&_min_cosine=0.1",
    "q=sourdoh&_as_typed=1",
    "q=pets&title__not=Kittens&_prefix=2&_min_score=-1",
    "q=pets&content=&content__isblank=1",
]


@pytest.fixture
def articles_db(articles_db):
    # A column that embeddings has too
    execute(articles_db, "alter table articles add column content text default ''")
    return articles_db


def samples(page):
    """Title, text and address of each sample on a page."""
    found = BeautifulSoup(page, "html.parser").select(".embeddings-samples h3")
    return {
        each.text: (each.find_next("pre").text, each.a and each.a["href"])
        for each in found
    }


async def ids_of_sql(datasette, path):
    """The first column of what the page of the SQL would show."""
    parts = urlsplit(path)
    arguments = {name: values[0] for name, values in parse_qs(parts.query).items()}
    response = await datasette.client.get(
        f"{parts.path}.json", params={**arguments, "_shape": "arrayfirst"}
    )
    assert response.status_code == 200, response.text
    return [str(each) for each in response.json()]


@pytest.mark.asyncio
@pytest.mark.parametrize("query", QUERIES)
async def test_the_sql_of_a_page_finds_what_the_page_does(articles_db, query):
    datasette = make_datasette(articles_db)
    _status, body = await get_json(datasette, f"{SEARCH}.json?{query}")
    page = (await datasette.client.get(f"{SEARCH}?{query}")).text
    _sql, path = samples(page)["SQL"]
    ids = [match["id"] for match in body["matches"]]
    assert await ids_of_sql(datasette, path) == ids
    assert ids


@pytest.mark.asyncio
@pytest.mark.parametrize("query", NARROWED)
async def test_a_search_with_conditions_has_no_sql(datasette, query):
    page = (await datasette.client.get(f"{SEARCH}?{query}")).text
    assert set(samples(page)) == {"curl"}


@pytest.mark.asyncio
async def test_the_sql_of_a_chunked_collection_gives_its_documents(articles_db, model):
    conn = sqlite3.connect(articles_db)
    rules = Source(chunking=Chunking("fixed", size=8))
    ingest(conn, "pieces", table_source(conn, "articles", rules=rules), model)
    conn.close()
    datasette = make_datasette(articles_db)
    search = "/articles/-/embeddings/pieces"
    _status, body = await get_json(datasette, f"{search}.json?q=pets")
    page = (await datasette.client.get(f"{search}?q=pets")).text
    ids = [match["document_id"] for match in body["matches"]]
    assert await ids_of_sql(datasette, samples(page)["SQL"][1]) == ids


@pytest.mark.asyncio
async def test_the_sql_of_a_collection_without_table_gives_ids(articles_db, model):
    conn = sqlite3.connect(articles_db)
    source = query_source(conn, "select id, title from articles")
    ingest(conn, "it's", source, model)
    conn.close()
    datasette = make_datasette(articles_db)
    page = (await datasette.client.get("/articles/-/embeddings/it~27s?q=cat")).text
    found = await ids_of_sql(datasette, samples(page)["SQL"][1])
    assert (found[0], len(found)) == ("5", 6)


@pytest.mark.asyncio
async def test_whoever_may_not_run_sql_is_shown_none(articles_db):
    closed = {"articles": {"allow_sql": False}}
    page = (await make_datasette(articles_db, allow=closed).client.get(SEARCH)).text
    assert samples(page) == {}
    datasette = make_datasette(articles_db, allow=closed)
    page = (await datasette.client.get(f"{SEARCH}?q=pets")).text
    assert set(samples(page)) == {"curl"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
@pytest.mark.parametrize(
    "query", [*QUERIES, *NARROWED, "q=pets&_facet=title&_next=2&_size=2"]
)
def test_the_curl_of_a_page_finds_what_the_page_does(served_articles, query):
    def fetched(*arguments):
        command = ["curl", "--silent", "--show-error", "--fail", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True)

    page = fetched(f"{served_articles}{SEARCH}?{query}").stdout
    curl, path = samples(page)["curl"]
    found = json.loads(fetched(*shlex.split(curl)[1:]).stdout)
    expected = json.loads(fetched(f"{served_articles}{SEARCH}.json?{query}").stdout)
    assert found["matches"] == expected["matches"]
    assert found.get("facet_results") == expected.get("facet_results")
    assert path in shlex.split(curl)[1]


@pytest.fixture(scope="module")
def served_articles(tmp_path_factory, built_articles):
    path = tmp_path_factory.mktemp("served") / "articles.db"
    path.write_bytes(built_articles)
    execute(path, "alter table articles add column content text default ''")
    with running(make_datasette(path)) as url:
        yield url
