from __future__ import annotations

import html
import sqlite3

import pytest

from datasette_embeddings.store.collection_writes import rename_collection
from tests.datasette.conftest import execute, get_json, make_datasette

pytestmark = pytest.mark.asyncio

SEARCH = "/articles/-/embeddings/articles"
HOSTILE = "<script>alert(1)</script>"


async def page(datasette, path):
    response = await datasette.client.get(path)
    return response.status_code, response.text


async def test_the_lists_lead_to_the_search(datasette):
    for path in ("/-/embeddings", "/articles/-/embeddings"):
        status, text = await page(datasette, path)
        assert (status, f'<a href="{SEARCH}">' in text) == (200, True)


async def test_the_menu_leads_to_the_list(datasette):
    _status, text = await page(datasette, "/")
    assert '<a href="/-/embeddings">Search by meaning</a>' in text


async def test_an_empty_list_says_how_to_fill_it(tmp_path):
    execute(tmp_path / "empty.db", "create table t (id)")
    status, text = await page(make_datasette(tmp_path / "empty.db"), "/-/embeddings")
    assert (status, "datasette embeddings embed" in text) == (200, True)


async def test_the_page_asks_for_a_text(datasette):
    status, text = await page(datasette, SEARCH)
    assert status == 200
    assert '<label for="embeddings-q"' in text
    assert "embeddings-results" not in text
    assert "6 items, embedded with" in text


async def test_a_match_shows_title_snippet_score_and_row(datasette):
    status, text = await page(datasette, f"{SEARCH}?q=pets")
    assert (status, "6 of 6 items, best first." in text) == (200, True)
    first = text.partition('<ol class="embeddings-results"')[2].partition("</li>")[0]
    assert '<a href="/articles/articles/5"><bdi>Kittens</bdi></a>' in first
    assert "<bdi>Young cats need food four times a day" in first
    assert f'<a href="{SEARCH}?like=5" aria-label="more like this: Kittens">' in first
    assert "score 0." in first


async def test_the_page_and_its_json_agree(datasette):
    _status, text = await page(datasette, f"{SEARCH}?q=pets&_size=3")
    _status, body = await get_json(datasette, f"{SEARCH}.json?q=pets&_size=3")
    places = [text.index(f"<bdi>{match['title']}</bdi>") for match in body["matches"]]
    assert (places == sorted(places), len(places)) == (True, 3)


async def test_the_page_names_its_json(datasette):
    response = await datasette.client.get(f"{SEARCH}?q=pets")
    assert f"{SEARCH}.json?q=pets" in response.text
    assert response.headers["link"] == (
        f'<http://localhost{SEARCH}.json?q=pets>; rel="alternate"; '
        'type="application/json+datasette"'
    )


async def test_the_size_stays_in_the_form(datasette):
    _status, text = await page(datasette, f"{SEARCH}?q=pets&_size=3")
    assert '<input type="hidden" name="_size" value="3">' in text


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("?q=&_like=5", "?like=5"),
        ("?q=pets&_like=5", "?q=pets"),
        ("?_like=5&title__not=x&_min_score=", "?like=5&title__not=x"),
        ("?_like=5&like=4", "?like=4"),
        (
            "?q=&_like=a%26b&_filter_column=id&_filter_op=lt&_filter_value=4",
            "?like=a%26b&id__lt=4",
        ),
    ],
)
async def test_the_form_keeps_what_others_shall_be_like_until_there_is_a_text(
    datasette, given, expected
):
    response = await datasette.client.get(SEARCH + given)
    assert (response.status_code, response.headers["location"]) == (
        302,
        SEARCH + expected,
    )


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("?q=", 400, "found an empty one"),
        ("?q=x&_size=none", 400, "a whole number of at least 1, found 'none'"),
        ("?like=77", 404, "There is no item called 77 here"),
    ],
)
async def test_an_error_stands_on_the_page_with_its_form(
    datasette, query, status, message
):
    found, text = await page(datasette, f"{SEARCH}{query}")
    assert (found, message in html.unescape(text)) == (status, True)
    assert '<label for="embeddings-q"' in text


@pytest.mark.parametrize(
    "path", ["/nowhere/-/embeddings", "/articles/-/embeddings/nowhere"]
)
async def test_what_is_not_there_is_not_found(datasette, path):
    assert (await page(datasette, path))[0] == 404


async def test_hostile_names_and_contents_are_only_text(articles_db):
    execute(
        articles_db,
        f"update articles set title = '{HOSTILE}', body = '\"><img onerror=x>'",
        f"update embeddings set id = '{HOSTILE}' where id = '1'",
    )
    conn = sqlite3.connect(articles_db)
    rename_collection(conn, "articles", HOSTILE)
    conn.close()
    datasette = make_datasette(articles_db)
    _status, body = await get_json(datasette, "/-/embeddings.json")
    path = body["collections"][0]["url"]
    paths = ["/-/embeddings", f"{path}?q={HOSTILE}", f"{path}?like={HOSTILE}"]
    for each in paths:
        status, text = await page(datasette, each)
        assert (status, HOSTILE in text, "<img" in text) == (200, False, False)
        assert html.escape(HOSTILE) in text


async def test_a_stylesheet_of_ours_is_served(datasette):
    _status, text = await page(datasette, SEARCH)
    path = "/-/static-plugins/datasette-semantic-search/embeddings.css"
    assert path in text
    assert (await datasette.client.get(path)).status_code == 200


async def test_datasette_reports_templates_and_static_files(datasette):
    _status, plugins = await get_json(datasette, "/-/plugins.json")
    ours = next(each for each in plugins if each["name"] == "datasette-semantic-search")
    assert (ours["static"], ours["templates"]) == (True, True)


async def test_a_wrong_setting_stops_the_server_and_names_all_faults(articles_db):
    from datasette.utils import StartupError

    datasette = make_datasette(articles_db, settings={"max_size": "x", "colour": 1})
    with pytest.raises(StartupError, match=r"(?s)max_size: expected.*colour: unknown"):
        await datasette.invoke_startup()
