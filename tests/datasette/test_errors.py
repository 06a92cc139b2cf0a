"""What goes wrong has one shape and the right status, wherever it is noticed."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import pytest

from datasette_embeddings.serving import allowed_models
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.web import embed_api, openapi, search_response
from datasette_embeddings.web.compat import is_modern
from tests.datasette.conftest import actor_cookie, http, make_datasette, running
from tests.datasette.test_embed_api import has_four_keys

SEARCH = "/articles/-/embeddings/articles.json"
EMBED = "/-/embeddings/embed.json"
OPENAI = "/-/embeddings/v1/embeddings"
LISTS = ("/-/embeddings.json", "/articles/-/embeddings.json")
DOCUMENT = "/-/embeddings/openapi.json"
MODELS = "/-/embeddings/v1/models"
READ = (*LISTS, DOCUMENT, MODELS)
POSTED = (SEARCH, EMBED, OPENAI)
ALLOWED = {
    **dict.fromkeys(READ, "GET, HEAD, OPTIONS"),
    **dict.fromkeys((SEARCH, EMBED), "GET, HEAD, POST, OPTIONS"),
    OPENAI: "POST, OPTIONS",
}
# A body that each of them answers, and a query string
BODIES = {SEARCH: {"text": "pets"}, EMBED: {"input": "x"}, OPENAI: {"input": "x"}}
ASKED = {SEARCH: f"{SEARCH}?q=pets", EMBED: f"{EMBED}?input=x"}
ROOT_ONLY = {"id": "root"}
# What a server takes on the slowest machine to notice that a client has gone
GENEROUS_S = 120

asynchronous = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def datasette(shared_articles):
    return shared_articles


def is_error(response, status):
    return (
        response.status_code == status
        and response.headers["content-type"] == "application/json; charset=utf-8"
        and has_four_keys(response.json(), status)
    )


# Methods


@asynchronous
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"])
@pytest.mark.parametrize("path", ALLOWED)
async def test_a_method_that_a_path_does_not_take_is_refused(datasette, path, method):
    if method in ALLOWED[path]:
        return
    response = await datasette.client.request(method, path)
    assert is_error(response, 405)
    assert response.headers["allow"] == ALLOWED[path]


@asynchronous
@pytest.mark.parametrize("path", ALLOWED)
async def test_options_tells_the_methods(datasette, path):
    response = await datasette.client.request("OPTIONS", path)
    assert (response.status_code, response.text) == (200, "")
    assert response.headers["allow"] == ALLOWED[path]


@asynchronous
@pytest.mark.parametrize("path", [*READ, *ASKED.values()])
async def test_head_is_get_without_its_body(articles_db, path):
    datasette = make_datasette(articles_db, cors=True)
    found = await datasette.client.get(path)
    head = await datasette.client.head(path)
    assert (head.status_code, head.headers) == (200, found.headers)


# Bodies


def broken_bodies():
    deep = "[" * 100_000
    return {
        "nothing": b"",
        "a blank": b"  ",
        "half": b'{"text": "pe',
        "no json": b"text=pets",
        "a list": b'[{"text": "pets"}]',
        "a text": b'"pets"',
        "null": b"null",
        "not a number": b'{"min_score": NaN, "text": "pets"}',
        "infinity": b'{"vector": [Infinity]}',
        "an endless number": b'{"size": ' + b"9" * 5_000 + b"}",
        "a deep list": deep.encode(),
        "a deep object": b'{"text":' * 100_000,
        "latin-1": '{"text": "Käse"}'.encode("latin-1"),
        "two objects": b"{}{}",
        "a comma too many": b'{"text": "pets",}',
    }


@asynchronous
@pytest.mark.parametrize("name", broken_bodies())
@pytest.mark.parametrize("path", POSTED)
async def test_a_body_that_is_no_json_object_is_refused(datasette, path, name):
    response = await datasette.client.post(path, content=broken_bodies()[name])
    assert is_error(response, 400)
    assert response.json()["error"].startswith("Expected a JSON object for a body")
    assert len(response.text) < 500


WRONG = {
    "no key": {},
    "an unknown key": {"text": "pets", "limit": 3},
    "two questions": {"text": "pets", "like": "1"},
    "only null": {"text": None},
    "a number for a text": {"text": 7},
    "a list for a text": {"text": ["pets"]},
    "an empty text": {"text": " "},
    "a long text": {"text": "x" * 2_001},
    "half a character": {"text": "\ud83e"},
    "a number for an id": {"like": 5},
    "no vector": {"vector": []},
    "a short vector": {"vector": [1, 2]},
    "texts for a vector": {"vector": ["1"] * 384},
    "a flag in a vector": {"vector": [True] * 384},
    "too large for float32": {"vector": [1e39] * 384},
    "too large for float64": {"vector": [10**400] * 384},
    "no base64": {"image": "no!"},
    "a text for a size": {"text": "pets", "size": "3"},
    "a flag for a size": {"text": "pets", "size": True},
    "a broken size": {"text": "pets", "size": 1.5},
    "size 0": {"text": "pets", "size": 0},
    "a large size": {"text": "pets", "size": 101},
    "an endless size": {"text": "pets", "size": 1e300},
    "a number for next": {"text": "pets", "next": 10},
    "no number in next": {"text": "pets", "next": "ten"},
    "nothing in next": {"text": "pets", "next": ""},
    "a long next": {"text": "pets", "next": "1" * 19},
    "a text for a score": {"text": "pets", "min_score": "0.5"},
    "a high score": {"text": "pets", "min_score": 1.1},
    "an endless score": {"text": "pets", "min_score": 10**400},
    "a number for a prefix": {"text": "pets", "prefix": 7},
    "other chunks": {"text": "pets", "chunks": "some"},
    "empty chunks": {"text": "pets", "chunks": ""},
    "a list of filters": {"text": "pets", "filters": []},
    "an unknown filter": {"text": "pets", "filters": {"size": 3}},
    "null in a filter": {"text": "pets", "filters": {"title": None}},
    "a flag in a filter": {"text": "pets", "filters": {"title": True}},
    "an object in a filter": {"text": "pets", "filters": {"title": {"is": "x"}}},
    "lists in a filter": {"text": "pets", "filters": {"title__in": [["x"]]}},
    "a deep list in a filter": {"like": "1", "filters": {"id__in": "[" * 9_999}},
    "half a list in a filter": {"like": "1", "filters": {"id__in": "[1"}},
    "too many values": {"like": "1", "filters": {"id__in": [*range(1_001)]}},
    "too many filters": {"like": "1", "filters": {"id": [*range(1_001)]}},
    "an empty facet": {"text": "pets", "facet": ""},
    "an unknown facet": {"text": "pets", "facet": "size"},
    "a list of facets": {"text": "pets", "facet": ["title"]},
}


@asynchronous
@pytest.mark.parametrize("name", WRONG)
async def test_a_question_that_cannot_be_answered_is_refused(datasette, name):
    response = await datasette.client.post(SEARCH, content=json.dumps(WRONG[name]))
    assert is_error(response, 400)


@asynchronous
async def test_a_filter_may_have_a_thousand_values(datasette):
    body = {"like": "1", "filters": {"id__in": [*range(1_000)]}}
    response = await datasette.client.post(SEARCH, json=body)
    assert (response.status_code, len(response.json()["matches"])) == (200, 5)


@asynchronous
@pytest.mark.parametrize("name", ["id__in", "id__notin", "id", "id__gt"])
async def test_a_body_full_of_values_costs_no_time(datasette, name):
    body = {"like": "1", "filters": {name: [*range(200_000)]}}
    response = await datasette.client.post(SEARCH, json=body)
    assert response.status_code == 400


@asynchronous
async def test_what_may_be_left_out_may_be_null(datasette):
    keys = ("like", "vector", "image", "size", "next", "min_score", "prefix")
    body = {"text": "pets", **dict.fromkeys((*keys, "chunks", "filters", "facet"))}
    found = (await datasette.client.post(SEARCH, json=body)).json()
    plain = (await datasette.client.post(SEARCH, json={"text": "pets"})).json()
    assert found["matches"] == plain["matches"]


@asynchronous
async def test_a_whole_number_may_be_written_with_a_point(datasette):
    content = b'{"text": "pets", "size": 2.0}'
    response = await datasette.client.post(SEARCH, content=content)
    assert len(response.json()["matches"]) == 2


async def pieces(size, count):
    for _ in range(count):
        yield b"x" * size


@asynchronous
@pytest.mark.parametrize("path", POSTED)
async def test_a_body_that_is_too_large_is_refused(articles_db, path):
    datasette = make_datasette(articles_db, settings={"max_body_bytes": 1_000})
    declared = await datasette.client.post(path, content=b" " * 1_001)
    undeclared = await datasette.client.post(path, content=pieces(100, 11))
    for response in (declared, undeclared):
        assert is_error(response, 413)
        assert "at most 1,000 bytes" in response.json()["error"]
    assert "content-length" not in undeclared.request.headers
    just_right = json.dumps(BODIES[path]).ljust(1_000).encode()
    response = await datasette.client.post(path, content=just_right)
    assert response.status_code == 200


# Paths that lead nowhere

UNKNOWN = [
    "/articles/-/embeddings/x/y.json",
    "/articles/-/embeddings/a.b.json",
    "/articles/-/embeddings/%7B.json",
    "/articles/-/embeddings/%7B.%7D.json",
    "/0.5/-/embeddings.json",
    "/-/embeddings/v1/models/x",
    "/-/embeddings/v1/embeddings/x",
]


class Printer:
    """Stands for rich, which Datasette uses where it is installed, and which fails."""

    @staticmethod
    def get_console():
        raise ValueError("Value for 'trace' required if not called in except: block")


@asynchronous
@pytest.mark.parametrize("rich", [None, Printer], ids=["plain", "with rich"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", UNKNOWN)
async def test_an_unknown_path_is_absent(datasette, monkeypatch, path, method, rich):
    monkeypatch.setattr("datasette.handle_exception.rich", rich)
    response = await datasette.client.request(method, path)
    assert is_error(response, 404)
    assert "location" not in response.headers


# Errors that were not expected


@pytest.fixture
def broken(monkeypatch):
    """Errors in the middle of an answer."""

    def fail(*arguments, **options):
        raise RuntimeError("something deep")

    monkeypatch.setattr(StoredCollection, "count_items", fail)
    monkeypatch.setattr(search_response, "rank", fail)
    monkeypatch.setattr(embed_api, "passage_vectors", fail)
    for module in (embed_api, openapi):
        monkeypatch.setattr(module, "allowed_model_ids", fail)


@asynchronous
@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("path", [*READ, *ASKED.values()])
async def test_a_fault_of_ours_has_the_shape_of_the_others(articles_db, path):
    response = await make_datasette(articles_db).client.get(path)
    assert is_error(response, 500)
    assert "access-control-allow-origin" not in response.headers


@asynchronous
@pytest.mark.usefixtures("broken")
@pytest.mark.parametrize("path", POSTED)
async def test_so_has_a_fault_in_a_post(articles_db, path):
    datasette = make_datasette(articles_db, cors=True)
    response = await datasette.client.post(path, json=BODIES[path])
    assert is_error(response, 500)
    assert "access-control-allow-origin" not in response.headers


# Other sites


@asynchronous
@pytest.mark.parametrize("cors", [True, False])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((path, 200) for path in (*READ, *ASKED.values())),
        (f"{SEARCH}?q=pets&_size=0", 400),
        (f"{SEARCH}?like=77", 404),
        ("/articles/-/embeddings/nothing.json", 404),
        ("/nowhere/-/embeddings.json", 404),
        ("/-/embeddings/nothing.json", 404),
        (f"{EMBED}?input=x&model=far/away", 422),
        (OPENAI, 405),
    ],
)
async def test_other_sites_may_read_a_get_where_datasette_lets_them(
    articles_db, monkeypatch, path, status, cors
):
    datasette = make_datasette(articles_db, cors=cors)
    for method in ("GET", "HEAD"):
        response = await datasette.client.request(method, path)
        assert response.status_code == status
        assert ("access-control-allow-origin" in response.headers) is cors


@asynchronous
@pytest.mark.parametrize("path", POSTED)
async def test_other_sites_may_not_read_a_post(articles_db, path):
    datasette = make_datasette(articles_db, cors=True)
    for body in (BODIES[path], {}):
        response = await datasette.client.post(path, json=body)
        assert response.status_code in (200, 400)
        assert "access-control-allow-origin" not in response.headers
    response = await datasette.client.put(path, json={})
    assert "access-control-allow-origin" not in response.headers


JSON_TYPES = ["application/json", "application/json; charset=utf-8", "Application/JSON"]
# What a form of another site can send without being asked first
FORM_TYPES = ["text/plain", "application/x-www-form-urlencoded"]


async def post_as_root(datasette, path, body, **headers):
    cookies = actor_cookie(datasette, "root")
    return await datasette.client.post(
        path, content=json.dumps(body), cookies=cookies, headers=headers
    )


@pytest.fixture
def closed(articles_db):
    """A Datasette in which only root may search, or have anything embedded."""
    return make_datasette(
        articles_db,
        settings={"allow_embed": ROOT_ONLY},
        allow={"articles": {"allow": ROOT_ONLY}},
    )


@asynchronous
@pytest.mark.parametrize("content_type", JSON_TYPES)
@pytest.mark.parametrize("path", POSTED)
async def test_a_post_with_a_cookie_is_that_actors(closed, path, content_type):
    headers = {"content-type": content_type}
    response = await post_as_root(closed, path, BODIES[path], **headers)
    assert response.status_code == 200
    response = await closed.client.post(path, json=BODIES[path])
    assert response.status_code in (403, 404)


FROM_ELSEWHERE = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "origin": "http://localhost"},
    {"origin": "https://elsewhere.example"},
    {"origin": "http://localhost.elsewhere.example"},
    {"origin": "null"},
    {"origin": "http://["},
]
JSON_TYPE = {"content-type": "application/json"}
PAGE = "/articles/-/embeddings/articles"


@asynchronous
@pytest.mark.parametrize("headers", FROM_ELSEWHERE, ids=str)
@pytest.mark.parametrize("path", [*POSTED, PAGE])
async def test_a_post_from_another_site_is_refused(closed, datasette, path, headers):
    headers = {**JSON_TYPE, **headers}
    response = await post_as_root(closed, path, BODIES.get(path), **headers)
    assert response.status_code == 403
    response = await datasette.client.post(path, json=BODIES.get(path), headers=headers)
    assert response.status_code == 403
    if path != PAGE and not is_modern():
        # 1.0 refuses it first, in its own words
        assert is_error(response, 403)
        assert "from a page of this Datasette" in response.json()["error"]


@asynchronous
@pytest.mark.parametrize("content_type", [*FORM_TYPES, None])
@pytest.mark.parametrize("path", POSTED)
async def test_a_post_with_a_cookie_that_is_no_json_is_refused(
    closed, path, content_type
):
    headers = {} if content_type is None else {"content-type": content_type}
    response = await post_as_root(closed, path, BODIES[path], **headers)
    assert response.status_code == 403
    if is_modern():
        # 0.65 refuses it first, in its own words
        assert is_error(response, 403)
        assert "with cookies it must be JSON" in response.json()["error"]


@asynchronous
@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {"origin": "http://localhost"},
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", POSTED)
async def test_a_post_from_the_same_site_is_answered(closed, path, headers):
    headers = {**JSON_TYPE, **headers}
    response = await post_as_root(closed, path, BODIES[path], **headers)
    assert response.status_code == 200


@asynchronous
async def test_a_token_of_no_cookie_needs_no_origin(datasette):
    headers = {"authorization": "Bearer x", "origin": "https://elsewhere.example"}
    response = await datasette.client.post(EMBED, json={"input": "x"}, headers=headers)
    assert response.status_code in (200, 401)


if not is_modern():

    @asynchronous
    @pytest.mark.parametrize(
        "path",
        [
            "/-/logout",
            "/-/permissions",
            "/articles",
            "/articles/articles.json",
            "/articles/-/embeddings",
            "/articles/-/embeddings/articles/image/5",
            "/articles/-/embeddings/articles/pairs",
            "/-/embeddings",
            "/-/embeddings.json",
            "/-/embeddings/openapi.json",
            "/-/embeddings/v1/embeddings/x",
        ],
    )
    async def test_no_other_path_takes_a_post_with_a_cookie(closed, path):
        headers = {"content-type": "application/json"}
        response = await post_as_root(closed, path, {}, **headers)
        assert response.status_code == 403


# Slow clients and many at a time


def request_head(path, **headers):
    lines = [f"POST {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@contextmanager
def connection(url):
    address = httpx.URL(url)
    with socket.create_connection((address.host, address.port)) as found:
        yield found


def received(client, end) -> bytes:
    """What the server sends up to *end*."""
    found = b""
    while end not in found and (piece := client.recv(65_536)):
        found += piece
    return found


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content_Length": 10**12}, b""),
        ({"Transfer_Encoding": "chunked"}, b"800\r\n" + b"x" * 2048 + b"\r\n"),
    ],
    ids=["declared", "chunked"],
)
def test_a_body_that_is_too_large_is_not_waited_for(articles_db, headers, body):
    datasette = make_datasette(articles_db, settings={"max_body_bytes": 1_000})
    with running(datasette) as url, connection(url) as client:
        client.sendall(request_head(SEARCH, **headers) + body)
        assert received(client, b'"status": 413}').startswith(b"HTTP/1.1 413 ")


def question(number) -> dict:
    return {"text": f"{number} " + "a question of many words " * 40, "size": 1}


@asynchronous
async def test_a_crowd_is_told_to_come_again(articles_db):
    settings = {"max_searches": 1, "max_waiting": 1}
    client = make_datasette(articles_db, settings=settings).client
    # One runs until the model is free, one waits for it, and the others are refused
    is_free = threading.Event()
    allowed_models.model_thread.submit(is_free.wait)
    asked = [
        asyncio.create_task(client.post(SEARCH, json=question(number)))
        for number in range(12)
    ]
    coming = asyncio.as_completed(asked)
    for _ in range(10):
        response = await next(coming)
        assert is_error(response, 429)
        assert response.headers["retry-after"] == "1"
    is_free.set()
    assert [(await each).status_code for each in coming] == [200, 200]
    assert (await client.post(SEARCH, json=question(12))).status_code == 200


def test_clients_that_vanish_hold_nothing(articles_db):
    settings = {"max_searches": 1, "max_waiting": 3}
    with running(make_datasette(articles_db, settings=settings)) as url:
        # More of each kind than have room
        for number in range(12):
            body = json.dumps(question(number)).encode()
            sent = body if number % 2 else body[:100]
            with connection(url) as client:
                head = request_head(SEARCH, Content_Length=len(body))
                client.sendall(head + sent)
        # Were their places taken for ever, it would always be told to come again
        end = time.monotonic() + GENEROUS_S
        while http.post(f"{url}{SEARCH}", json=question(12)).status_code == 429:
            assert time.monotonic() < end
            time.sleep(0.1)
