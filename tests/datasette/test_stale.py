"""A row that changed after it was embedded: what pages and JSON answer."""

from __future__ import annotations

import json
import sqlite3

import pytest
from bs4 import BeautifulSoup

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.similarities.refreshing import build
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import collection
from tests.datasette.conftest import execute, get_json, make_datasette

pytestmark = pytest.mark.asyncio

SEARCH = "/articles/-/embeddings/articles"
NEW = "How to fill in the forms of the tax office."


@pytest.fixture
def articles_db(articles_db, model):
    """`articles`, and `stored` with copies; row 5 is another since, row 1 deleted."""
    conn = sqlite3.connect(articles_db)
    rules = Source(store_content=True)
    ingest(conn, "stored", table_source(conn, "articles", rules=rules), model)
    for name in ("articles", "stored"):
        build(collection(conn, name), SimilaritySettings(5))
    conn.close()
    execute(
        articles_db,
        f"update articles set title = 'Taxes', body = '{NEW}' where id = 5",
        "delete from articles where id = 1",
    )
    return articles_db


async def results(datasette, path):
    """Of each result on the page: its heading and the rest of its text."""
    response = await datasette.client.get(path)
    assert response.status_code == 200
    found = BeautifulSoup(response.text, "html.parser").select(
        ".embeddings-results > li"
    )
    return {
        each.h2.get_text(strip=True): " ".join(each.get_text(" ").split())
        for each in found
    }


def told(matches):
    return {
        each["id"]: (each["stale"], each["title"], each["content"])
        for each in matches
        if each["stale"] is not False
    }


@pytest.mark.parametrize("question", [{"text": "pets"}, {"like": "2"}], ids=str)
async def test_the_json_says_it(datasette, question):
    expected = {"1": (True, None, None), "5": (True, None, None)}
    args = {"text": "q", "like": "like"}
    ((key, value),) = question.items()
    _status, body = await get_json(datasette, f"{SEARCH}.json?{args[key]}={value}")
    assert told(body["matches"]) == expected
    response = await datasette.client.post(
        f"{SEARCH}.json",
        content=json.dumps(question),
        headers={"content-type": "application/json"},
    )
    assert told(response.json()["matches"]) == expected


async def test_a_stored_text_is_that_of_the_score(datasette):
    path = "/articles/-/embeddings/stored.json?q=pets"
    _status, body = await get_json(datasette, path)
    found = told(body["matches"])
    assert found["5"][:2] == (True, None)
    assert found["5"][2].startswith("Kittens Young cats")
    assert found["1"][2].startswith("Sourdough")


async def test_the_page_says_why_there_is_no_text(datasette):
    found = await results(datasette, f"{SEARCH}?q=pets")
    assert NEW not in str(found)
    assert (
        "The row has changed since it was embedded, so its new text is not shown with "
        "this score. The next sync embeds it again."
    ) in found["5"]
    assert "The source row was deleted; the next sync deletes this item." in found["1"]
    assert "sync" not in found["Bicycle repair"]


async def test_the_page_says_that_a_stored_text_is_older(datasette):
    found = await results(datasette, "/articles/-/embeddings/stored?q=pets")
    assert "Young cats" in found["5"]
    assert (
        "The row has changed since it was embedded; this is its old text" in found["5"]
    )
    assert "was deleted" in found["1"]


async def test_the_page_of_a_table_that_is_not_there_says_so(articles_db, datasette):
    execute(articles_db, "alter table articles rename column body to text")
    found = await results(datasette, f"{SEARCH}?q=pets")
    assert "The source row cannot be read." in found["5"]
    _status, body = await get_json(datasette, f"{SEARCH}.json?q=pets")
    assert {each["stale"] for each in body["matches"]} == {None}


async def test_pairs_say_it(datasette):
    _status, body = await get_json(datasette, f"{SEARCH}/pairs.json?_size=20")
    sides = [
        (pair[f"{side}id"], pair[f"{side}stale"], pair[f"{side}title"])
        for pair in body["pairs"]
        for side in ("", "other_")
    ]
    assert {side for side in sides if side[1]} == {("5", True, None)}
    assert {side[0] for side in sides if side[1] is False} == {"2", "3", "4", "6"}
    page = (await datasette.client.get(f"{SEARCH}/pairs")).text
    assert "its row has changed since it was embedded" in page
    assert "Taxes" not in page


async def test_related_rows_say_it(articles_db, tmp_path):
    folder = tmp_path / "templates" / "pages"
    folder.mkdir(parents=True)
    (folder / "mine.html").write_text(
        "{% for each in related_items('articles', 6) %}"
        "[{{ each.id }} {{ each.title }} {{ each.stale }}]{% endfor %}"
    )
    datasette = make_datasette(articles_db, template_dir=str(tmp_path / "templates"))
    text = (await datasette.client.get("/mine")).text
    assert "[5 5 True]" in text
    assert "[2 Night sky False]" in text
    page = (await datasette.client.get("/articles/articles/6")).text
    related = BeautifulSoup(page, "html.parser").select(".embeddings-related")
    assert "its row has changed since it was embedded" in related[0].text
    assert "Taxes" not in related[0].text
