"""A parameter that nothing reads is refused, and the answer names the right one."""

from __future__ import annotations

import pytest
from bs4 import BeautifulSoup

from tests.datasette.conftest import execute, get_json, make_datasette

pytestmark = pytest.mark.asyncio(loop_scope="module")

COLLECTION = "/articles/-/embeddings/articles"
SEARCH = (
    "_area, _as_typed, _chunks, _cluster, _facet, _min_cosine, _min_score, _mode, "
    "_next, _prefix, _shape, _size, _sort, _sort_desc, _typing, like, q"
)
CONTEXT = "_also, _cluster, _prefix, _tokens, q"
LIST = "_shape"
PAIRS = "_next, _shape, _size"
NONE = "this address has none that begins with _"
# What each path takes, and what the answer says of _limit there
GETS = {
    "/-/embeddings": f". Known: {LIST}",
    "/-/embeddings.json": f". Known: {LIST}",
    "/articles/-/embeddings": f". Known: {LIST}",
    "/articles/-/embeddings.json": f". Known: {LIST}",
    COLLECTION: f", did you mean _size? Known: {SEARCH}",
    f"{COLLECTION}.json": f", did you mean _size? Known: {SEARCH}",
    f"{COLLECTION}/context.json": f". Known: {CONTEXT}",
    f"{COLLECTION}/image/1": f"; {NONE}",
    f"{COLLECTION}/pairs": f", did you mean _size? Known: {PAIRS}",
    f"{COLLECTION}/pairs.json": f", did you mean _size? Known: {PAIRS}",
    "/-/embeddings/openapi.json": f"; {NONE}",
    "/-/embeddings/v1/models": f"; {NONE}",
}
BODIES = {
    COLLECTION: '{"image": "aGk="}',
    f"{COLLECTION}.json": '{"text": "pets"}',
    f"{COLLECTION}/context.json": '{"question": "pets"}',
    "/-/embeddings/embed.json": '{"input": "x"}',
    "/-/embeddings/v1/embeddings": '{"input": "x"}',
}


@pytest.fixture(scope="module")
def datasette(shared_articles):
    return shared_articles


def shown(response):
    """The error that a page or a JSON answer tells."""
    if response.headers["content-type"].startswith("application/json"):
        return response.json().get("error", "")
    return " ".join(BeautifulSoup(response.text, "html.parser").text.split())


@pytest.mark.parametrize("path", GETS)
async def test_an_unknown_parameter_is_refused_by_name(datasette, path):
    response = await datasette.client.get(f"{path}?_limit=3")
    message = f"Unknown parameter '_limit'{GETS[path]}"
    assert (response.status_code, message in shown(response)) == (400, True)


@pytest.mark.parametrize("path", BODIES)
async def test_so_it_is_beside_a_body(datasette, path):
    response = await datasette.client.post(f"{path}?_limit=3", content=BODIES[path])
    assert (response.status_code, "'_limit'" in shown(response)) == (400, True)


async def test_a_column_of_such_a_name_needs_its_comparison(datasette):
    status, body = await get_json(datasette, f"{COLLECTION}.json?q=pets&_where=id>1")
    assert (status, body["error"]) == (
        400,
        f"Unknown parameter '_where'. Known: {SEARCH}. "
        "To filter by a column of this name, use _where__exact",
    )


# Of Datasette, of jQuery against caches, and of plugins that log a visitor in
HARMLESS = ["_trace", "_context", "_ttl", "_json", "_labels", "_extra", "_nocol"]
HARMLESS += ["_", "_auth_token"]


@pytest.mark.parametrize("path", [*GETS, "/-/embeddings/embed.json"])
async def test_what_datasette_reads_is_let_pass(datasette, path):
    plain = await datasette.client.get(path)
    for name in HARMLESS:
        response = await datasette.client.get(f"{path}?{name}=1")
        assert (name, "Unknown" in shown(response)) == (name, False)
        assert (name, response.status_code) == (name, plain.status_code)


@pytest.mark.parametrize("path", BODIES)
async def test_so_it_is_let_pass_beside_a_body(datasette, path):
    query = "&".join(f"{name}=1" for name in HARMLESS)
    response = await datasette.client.post(f"{path}?{query}", content=BODIES[path])
    assert "Unknown" not in shown(response)


@pytest.mark.parametrize("name", ["_where", "_search", "_through", "_page"])
async def test_what_datasette_would_choose_rows_by_is_refused(datasette, name):
    status, body = await get_json(datasette, f"{COLLECTION}.json?q=pets&{name}=1")
    assert (status, f"'{name}'" in body["error"]) == (400, True)


async def test_the_largest_size_is_called_max_as_in_datasette(articles_db):
    datasette = make_datasette(articles_db, settings={"max_size": 2})
    path = f"{COLLECTION}.json?like=1&_size=max"
    status, body = await get_json(datasette, path)
    assert (status, len(body["matches"])) == (200, 2)
    pairs = await get_json(datasette, f"{COLLECTION}/pairs.json?_size=max")
    assert pairs == await get_json(datasette, f"{COLLECTION}/pairs.json?_size=2")


@pytest.mark.parametrize("path", [path for path in GETS if "_shape" in GETS[path]])
async def test_a_page_takes_what_its_json_does(datasette, path):
    response = await datasette.client.get(f"{path}?_shape=array")
    assert response.status_code == 200


async def test_a_column_that_begins_so_is_reached_with_its_comparison(articles_db):
    execute(
        articles_db,
        "alter table articles add column _year integer",
        "update articles set _year = 2000 + id",
    )
    datasette = make_datasette(articles_db)
    status, body = await get_json(datasette, f"{COLLECTION}.json?q=pets&_year=2003")
    assert (status, "_year__exact" in body["error"]) == (400, True)
    status, body = await get_json(
        datasette, f"{COLLECTION}.json?q=pets&_year__exact=2003"
    )
    assert (status, [match["id"] for match in body["matches"]]) == (200, ["3"])
    status, body = await get_json(datasette, f"{COLLECTION}.json?_facet=_year")
    assert (status, len(body["facet_results"]["results"]["_year"]["results"])) == (
        200,
        6,
    )


async def test_the_form_is_left_as_it_was_filled_in(datasette):
    response = await datasette.client.get(f"{COLLECTION}?q=pets&id__gt=1&_limit=3")
    form = BeautifulSoup(response.text, "html.parser").select_one("#embeddings-form")
    assert form.select_one("#embeddings-q")["value"] == "pets"
    assert [
        (each["name"], each["value"]) for each in form.select("input[type=hidden]")
    ] == [("id__gt", "1")]
