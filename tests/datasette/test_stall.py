"""What a visitor sends costs the event loop no more than its length is worth."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sqlite3
import sys
from collections import Counter
from contextlib import suppress

import pytest
import pytest_asyncio

from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.validation import json_object
from datasette_embeddings.web.compat import is_modern
from datasette_embeddings.web.routes import ROUTES
from tests.datasette.conftest import make_datasette
from tests.maps import give_map

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL, LARGE = 16_000, 64_000
LONGEST = 65_536  # that a server takes in an address
# What four times as much may cost: a little more than four times the work
MOST_TIMES = 5
COLLECTION = "/articles/-/embeddings/articles"
# Every path of the plugin
GETS = (
    "/-/embeddings",
    "/-/embeddings.json",
    "/articles/-/embeddings",
    "/articles/-/embeddings.json",
    COLLECTION,
    f"{COLLECTION}.json",
    f"{COLLECTION}/image/1",
    f"{COLLECTION}/map",
    f"{COLLECTION}/map.json",
    f"{COLLECTION}/map.svg",
    f"{COLLECTION}/map.png",
    f"{COLLECTION}/map/tiles/1",
    f"{COLLECTION}/map/colors/1",
    f"{COLLECTION}/map/ids/1.json",
    f"{COLLECTION}/map/legend.json",
    f"{COLLECTION}/map/items.json",
    f"{COLLECTION}/map/matches.json",
    f"{COLLECTION}/axis",
    f"{COLLECTION}/axis.json",
    f"{COLLECTION}/clusters",
    f"{COLLECTION}/clusters.json",
    f"{COLLECTION}/context.json",
    f"{COLLECTION}/pairs",
    f"{COLLECTION}/pairs.json",
    f"{COLLECTION}/labels",
    f"{COLLECTION}/labels.json",
    f"{COLLECTION}/duplicates",
    f"{COLLECTION}/duplicates.json",
    f"{COLLECTION}/outliers",
    f"{COLLECTION}/outliers.json",
    "/-/embeddings/embed.json",
    "/-/embeddings/v1/embeddings",
    "/-/embeddings/v1/models",
    "/-/embeddings/openapi.json",
)
POSTS = (
    COLLECTION,
    f"{COLLECTION}.json",
    f"{COLLECTION}/labels",
    f"{COLLECTION}/labels.json",
    f"{COLLECTION}/context.json",
    "/-/embeddings/embed.json",
    "/-/embeddings/v1/embeddings",
)
NUMBERS = [str(number) for number in range(100_000)]


def filled(piece, size):
    """*piece* of 0, of 1 and so on, as many as *size* bytes hold."""
    pieces, length = [], 0
    for number in NUMBERS:
        pieces.append(piece(number))
        length += len(pieces[-1]) + 1
        if length > size:
            return pieces[:-1]
    raise AssertionError("the pieces are too short")


QUERIES = {
    "short pairs": lambda size: "&".join(filled(lambda n: f"a={n[-1]}", size)),
    "columns": lambda size: "&".join(filled(lambda n: f"c{n}=1", size)),
    "filters": lambda size: "&".join(filled(lambda n: f"id__gt={n}", size)),
    "comparisons": lambda size: "&".join(filled(lambda n: f"title__x{n}=1", size)),
    "documents": lambda size: "&".join(filled(lambda n: f"id={n}", size)),
    "one color": lambda size: "by=" + "x" * size,
    "one version": lambda size: "v=" + "9" * size,
    "questions": lambda size: "q=x&" + "&".join(filled(lambda n: f"q={n}", size)),
    "items": lambda size: "&".join(filled(lambda n: f"like={n}", size)),
    "facets": lambda size: "&".join(filled(lambda n: f"_facet=c{n}", size)),
    "ends": lambda size: "&".join(filled(lambda n: f"low={n}&high={n}x", size)),
    "one end": lambda size: "high=x&low=" + ",".join(filled(str, size)),
    "items of an end": lambda size: "&".join(filled(lambda n: f"low_item={n}", size)),
    "inputs": lambda size: "&".join(filled(lambda n: f"input={n}", size)),
    "unknown": lambda size: "&".join(filled(lambda n: f"_u{n}=1", size)),
    "fields": lambda size: "&".join(filled(lambda n: f"_filter_column_{n}=id", size)),
    "one field": lambda size: (
        "_filter_column=id&_filter_op=gt&_filter_value=1&"
        + "&".join(filled(lambda n: f"id__gt={n}", size))
    ),
    "nothing": lambda size: "&" * size,
    "no values": lambda size: "&".join(filled(lambda n: f"a{n}", size)),
    "one text": lambda size: "q=" + "x" * size,
    "one item": lambda size: "like=" + "x" * size,
    "one prefix": lambda size: "q=pets&_prefix=" + "x" * size,
    "one name": lambda size: "_" + "x" * size + "=1",
    "one list": lambda size: "id__in=" + ",".join(filled(str, size)),
    "others": lambda size: "q=x&" + "&".join(filled(lambda n: f"_also=c{n}", size)),
    "one other": lambda size: "q=x&_also=" + "x/" * (size // 2),
    "labels": lambda size: "q=x&labels=" + ",".join(filled(str, size)),
    "a list in JSON": lambda size: "id__in=[" + "[" * size,
    "one value": lambda size: "q=pets&title=" + "x" * size,
    "one size": lambda size: "q=pets&_size=" + "9" * size,
    "one cluster": lambda size: "_cluster=" + "9" * size,
    "clusters": lambda size: "_cluster=" + ",".join(filled(str, size)),
    "parts": lambda size: "&".join(filled(lambda n: f"_cluster={n}", size)),
    "an area": lambda size: "_area=" + ",".join(filled(str, size)),
    "escapes": lambda size: "q=" + "%20" * (size // 3),
}


def filters(size):
    return {f"c{number}": number for number in range(size // 12)}


BODIES = {
    "one text": lambda size: {"text": "x" * size},
    "one input": lambda size: {"input": "x" * size},
    "inputs": lambda size: {"input": ["x"] * (size // 5)},
    "lists as input": lambda size: {"input": [[[]] * (size // 4)]},
    "lists as filters": lambda size: {"text": "x", "filters": [[]] * (size // 4)},
    "lists as a vector": lambda size: {"vector": [[]] * (size // 4)},
    "labels": lambda size: {"text": "x", "labels": ["x"] * (size // 5)},
    "one question": lambda size: {"question": "x" * size},
    "others": lambda size: {"question": "x", "also": ["x"] * (size // 5)},
    "one other": lambda size: {"question": "x", "also": ["x" * size]},
    "objects": lambda size: {"input": [filters(size)]},
    "no inputs": lambda size: {"input": [1] * (size // 3)},
    "one item": lambda size: {"like": "x" * size},
    "a vector": lambda size: {"vector": [1.5] * (size // 5)},
    "an image": lambda size: {"image": "A" * size},
    "filters": lambda size: {"text": "pets", "filters": filters(size)},
    "one filter": lambda size: {"text": "pets", "filters": {"id": [1] * (size // 3)}},
    "one list": lambda size: {"text": "x", "filters": {"id__in": [1] * (size // 3)}},
    "keys": filters,
    "a model": lambda size: {"input": "x", "model": "x" * size},
    "a size": lambda size: {"text": "x", "size": "9" * size},
}
# Paths that come before any view: what wraps the application sees them all
PATHS = {
    "our own name": lambda size: "/-/embeddings" * (size // 13),
    "a version": lambda size: "/-/embeddings" + "/v1/" * (size // 4) + "\n\n",
    "names": lambda size: "/x" * (size // 2) + "/-/embeddings/x.json",
    "a collection": lambda size: f"/articles/-/embeddings/{'x' * size}",
    "a collection in JSON": lambda size: f"/articles/-/embeddings/{'x' * size}.json",
    "a tile": lambda size: f"{COLLECTION}/map/tiles/{'9' * size}",
    "an item": lambda size: f"{COLLECTION}/image/{'~41' * (size // 3)}",
}


class Work:
    """Counts the calls that Python and C functions get while it is on."""

    def __init__(self):
        self.calls = Counter()

    def __call__(self, frame, event, arg):
        if event == "call":
            self.calls[frame.f_code.co_name] += 1
        elif event == "c_call":
            self.calls[getattr(arg, "__qualname__", str(arg))] += 1

    def __enter__(self):
        sys.setprofile(self)
        return self

    def __exit__(self, *_error):
        sys.setprofile(None)


async def work_of(app, path, *, query="", body=None):
    """Status and calls on the event loop of one request, as a server hands it over."""
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET" if body is None else "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": headers,
        "scheme": "http",
        "client": ("127.0.0.1", 1),
    }
    arriving = [{"type": "http.request", "body": body or b"", "more_body": False}]
    statuses = []
    over = asyncio.Event()

    async def receive():
        if arriving:
            return arriving.pop()
        await over.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        statuses.append(message.get("status"))

    with Work() as work:
        await app(scope, receive, send)
    over.set()
    return statuses[0], work.calls


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(built_articles, tmp_path_factory):
    path = tmp_path_factory.mktemp("stall") / "articles.db"
    path.write_bytes(built_articles)
    conn = sqlite3.connect(path)
    give_map(conn, "articles", {str(number): (number, 1) for number in range(1, 7)})
    conn.close()
    # As many inputs as 16 KB hold would be embedded
    datasette = make_datasette(path, settings={"max_inputs": 100})
    await datasette.invoke_startup()
    yield datasette.app()
    if is_modern():
        datasette.close()


async def assert_linear(app, small, large):
    """Four times as much costs at most five times the calls, and is no fault."""
    await work_of(app, **small)
    status, few = await work_of(app, **small)
    other, many = await work_of(app, **large)
    grown = [
        (name, few[name], count)
        for name, count in many.most_common()
        if count > MOST_TIMES * few[name]
    ]
    assert (status < 500, other < 500) == (True, True)
    assert many.total() <= MOST_TIMES * few.total(), grown[:5]


def in_turn(paths, shapes, *, always):
    """Each shape on each path; in every run on *always* and on one more, in turn.

    So each path has several shapes in every run.
    """
    for number, shape in enumerate(shapes):
        short = {always, paths[number % len(paths)]}
        for path in paths:
            marks = () if path in short else pytest.mark.long
            yield pytest.param(path, shape, marks=marks)


@pytest.mark.parametrize(
    ("path", "shape"), list(in_turn(GETS, QUERIES, always=f"{COLLECTION}.json"))
)
async def test_a_query_string_costs_what_its_length_is_worth(app, path, shape):
    query = QUERIES[shape]
    small, large = query(SMALL), query(LARGE)
    assert 3 * len(small) < len(large) < LONGEST
    await assert_linear(
        app, {"path": path, "query": small}, {"path": path, "query": large}
    )


@pytest.mark.parametrize(
    ("path", "shape"), list(in_turn(POSTS, BODIES, always=f"{COLLECTION}.json"))
)
async def test_a_body_costs_what_its_length_is_worth(app, path, shape):
    small, large = (json.dumps(BODIES[shape](size)).encode() for size in (SMALL, LARGE))
    await assert_linear(
        app, {"path": path, "body": small}, {"path": path, "body": large}
    )


@pytest.fixture
def collections():
    """One entry for each run of the garbage collector."""
    begun = []

    def note(phase, _info):
        if phase == "start":
            begun.append(phase)

    gc.callbacks.append(note)
    yield begun
    gc.callbacks.remove(note)


@pytest.mark.parametrize("body", [b"[[],%b[]]", b'{"a": [%b[]]}', b'{"a": [%b'])
async def test_a_body_of_lists_is_read_without_garbage_collections(collections, body):
    with suppress(InvalidInputError):
        json_object(body % (b"[]," * 100_000))
    # One right behind, where there were hundreds
    assert (len(collections) < 10, gc.isenabled()) == (True, True)


async def test_a_message_quotes_only_the_beginning_of_a_value():
    keys = {f"key {number}": [[]] * 1_000 for number in reversed(range(1_000))}
    message = quoted(keys)
    assert (message.startswith("{'key 996': [["), len(message) < 200) == (True, True)


@pytest.mark.parametrize("shape", PATHS)
async def test_a_path_costs_what_its_length_is_worth(app, shape):
    small, large = PATHS[shape](SMALL), PATHS[shape](LARGE)
    await assert_linear(app, {"path": small}, {"path": large})


async def test_every_route_is_asked():
    for regex, _view in ROUTES:
        assert any(re.fullmatch(regex, path) for path in {*GETS, *POSTS}), regex
