"""Documents between two ends, as JSON and as a page."""

from __future__ import annotations

import html
import re

import pytest

from tests.datasette.conftest import execute, get_json, make_datasette

pytestmark = pytest.mark.asyncio

AXIS = "/articles/-/embeddings/articles/axis"
ENDS = "low=cats,kittens,pets&high=stars,planets,telescopes"
TWO = f"{ENDS}&low2=food&high2=machine"


async def page(datasette, path):
    response = await datasette.client.get(path)
    return response.status_code, html.unescape(response.text)


def ids(rows):
    return [row["id"] for row in rows]


async def test_the_documents_come_from_the_low_end_to_the_high_one(datasette):
    status, body = await get_json(datasette, f"{AXIS}.json?{ENDS}")
    documents = body["documents"]
    assert (status, body["count"], len(documents)) == (200, 6, 6)
    assert (ids(documents)[0], ids(documents)[-1]) == ("5", "2")
    positions = [each["position"] for each in documents]
    assert (sorted(positions), positions[0] < 0 < positions[-1]) == (positions, True)
    assert documents[0] == {
        "id": "5",
        "position": positions[0],
        "position2": None,
        "title": "Kittens",
        "url": "/articles/articles/5",
        "image_url": None,
        "stale": False,
    }
    [axis] = body["axes"]
    assert axis["low"] == {"texts": ["cats", "kittens", "pets"], "items": []}
    assert -1 < axis["cosine"] < 1
    assert axis["lowest"] == pytest.approx(positions[0], abs=1e-5)
    assert axis["highest"] == pytest.approx(positions[-1], abs=1e-5)
    assert (body["at"], body["near"], body["points"]) == (None, [], [])


async def test_a_size_is_that_of_each_end(datasette):
    _status, body = await get_json(datasette, f"{AXIS}.json?{ENDS}&_size=1")
    assert ids(body["documents"]) == ["5", "2"]
    _status, rows = await get_json(
        datasette, f"{AXIS}.json?{ENDS}&_size=max&_shape=array"
    )
    assert len(rows) == 6


async def test_a_place_has_the_documents_around_it(datasette):
    url = f"{AXIS}.json?{ENDS}&at=9&_size=2"
    _status, body = await get_json(datasette, url)
    assert (body["at"], ids(body["near"])[-1], len(body["near"])) == ([9.0], "2", 2)


async def test_two_axes_make_a_map(datasette):
    _status, body = await get_json(datasette, f"{AXIS}.json?{TWO}&_points=4&at2=-9")
    assert (len(body["axes"]), len(body["points"]), body["at"]) == (2, 4, [0.0, -9.0])
    of_second = {each["id"]: each["position2"] for each in body["documents"]}
    assert min(of_second, key=of_second.get) in ids(body["near"])
    swapped = "low=food&high=machine&low2=cats,kittens,pets&high2=stars,planets"
    _status, other = await get_json(
        datasette, f"{AXIS}.json?{swapped},telescopes&_size=6"
    )
    assert ids(other["documents"]) == sorted(of_second, key=of_second.get)


async def test_items_and_repeated_texts_are_ends(datasette):
    url = f'{AXIS}.json?low_item=5&low=["a, b"]&low=c%0Ad&high_item=2'
    status, body = await get_json(datasette, url)
    assert (status, ids(body["documents"])[0]) == (200, "5")
    assert body["axes"][0]["low"] == {"texts": ["a, b", "c", "d"], "items": ["5"]}


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ("", 400, "Expected 1 to 50 texts or items for low, found 0"),
        ("low=a", 400, "Expected 1 to 50 texts or items for high, found 0"),
        ("low=a&high=a", 400, "two that mean the same"),
        (f"{ENDS}&high2=a", 400, "texts or items for low2, found 0"),
        (f"low={'a,' * 900}&low={'b' * 900}&high=c", 400, "at most 2,000 characters"),
        (f"low={','.join(map(str, range(51)))}&high=c", 400, "found 51"),
        ("low=[1]&high=c", 400, "Expected a JSON array of texts"),
        (f"{ENDS}&at=here", 400, "at: expected a position, found 'here'"),
        (f"{ENDS}&at=nan", 400, "at: expected a position"),
        (f"{ENDS}&_size=101", 400, "_size: expected a whole number from 1 to 100"),
        (f"{ENDS}&_points=5001", 400, "_points: expected a whole number from 0"),
        (f"{ENDS}&_nothing=1", 400, "Unknown parameter '_nothing'"),
        ("low_item=99&high=c", 404, "'99'"),
    ],
)
async def test_what_is_wrong_is_said(datasette, query, status, message):
    found, body = await get_json(datasette, f"{AXIS}.json?{query}")
    assert (found, message in body["error"]) == (status, True), body
    if query:
        found, text = await page(datasette, f"{AXIS}?{query}")
        assert (found, "Name two ends" in text, "message-error" in text) == (
            status,
            True,
            True,
        )


async def test_a_model_that_is_not_there_leaves_items_as_ends(articles_db):
    execute(
        articles_db,
        "update collections set model = 'acme/unknown'",
        "update _embedding_collections set model = 'acme/unknown'",
    )
    datasette = make_datasette(articles_db)
    status, body = await get_json(datasette, f"{AXIS}.json?{ENDS}")
    assert (status, body["error"]) == (
        422,
        "Texts cannot be ends here at the moment; items can",
    )
    url = f"{AXIS}.json?low_item=5&high_item=2"
    status, body = await get_json(datasette, url)
    assert (status, ids(body["documents"])[0]) == (200, "5")


# The page


async def test_the_page_asks_for_two_ends(datasette):
    status, text = await page(datasette, AXIS)
    assert (status, "Name two ends" in text, "embeddings-axis-plot" in text) == (
        200,
        True,
        False,
    )


async def test_the_page_shows_a_strip_a_slider_and_both_ends(datasette):
    status, text = await page(datasette, f"{AXIS}?{ENDS}&at=9&_size=2")
    assert (status, text.count('type="range"')) == (200, 1)
    dots = re.search(r'embeddings-axis-dots" d="([^"]*)"', text)[1]
    assert dots.count("M") == 6
    assert 'value="cats, kittens, pets"' in text
    near = text.partition('id="embeddings-axis-near"')[2].partition("</ol>")[0]
    assert '<a href="/articles/articles/2"><bdi>Night sky</bdi></a>' in near
    low = text.partition('id="embeddings-axis-low"')[2].partition("</ol>")[0]
    assert (low.count("<li>"), "Kittens" in low) == (2, True)
    high = text.partition('id="embeddings-axis-high"')[2].partition("</ol>")[0]
    assert high.index("Night sky") < high.rindex("<li>")
    assert f"{AXIS}.json?low=cats" in text


async def test_the_page_of_two_axes_shows_a_map(datasette):
    status, text = await page(datasette, f"{AXIS}?{TWO}")
    assert (status, text.count('type="range"')) == (200, 2)
    dots = re.search(r'embeddings-axis-dots" d="([^"]*)"', text)[1]
    assert len(re.findall(r"M[\d.]+ [\d.]+h0", dots)) == 6


async def test_the_field_keeps_texts_with_commas(datasette):
    _status, text = await page(datasette, f'{AXIS}?low=["a, b","c"]&high=d%0Ae')
    assert 'value="["a, b", "c"]"' in text
    assert 'value="d, e"' in text


async def test_an_empty_collection_says_so(tmp_path, articles_db):
    execute(articles_db, "delete from embeddings")
    status, text = await page(make_datasette(articles_db), f"{AXIS}?{ENDS}")
    assert (status, "has no documents yet" in text) == (200, True)


async def test_the_search_page_leads_to_the_axis(datasette):
    _status, text = await page(datasette, AXIS.removesuffix("/axis"))
    assert f'<a href="{AXIS}">Axis</a>' in text
