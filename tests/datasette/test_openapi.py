"""The OpenAPI document says what the code does, and schemathesis finds nothing else."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import jsonschema_rs
import pytest
import schemathesis

from datasette_embeddings.config import (
    DEFAULT_TOKENS,
    MOST_VISITOR_TOKENS,
    SimilaritySettings,
)
from datasette_embeddings.context.building import MOST_OTHERS
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models.names import BUNDLED_ALIASES
from datasette_embeddings.models.onnx import BUNDLED_FOLDER
from datasette_embeddings.similarities.refreshing import build
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import collection
from datasette_embeddings.web import (
    axis,
    axis_request,
    context,
    filters,
    map_json,
    middleware,
    pages,
    search_request,
)
from datasette_embeddings.web.embed_api import EmbedRequest
from datasette_embeddings.web.middleware import POST_PATHS
from datasette_embeddings.web.routes import ROUTES
from tests.clusters import give_named_clusters
from tests.datasette.conftest import get_json, http, make_datasette, running
from tests.maps import give_map

HERE = Path(__file__).parent
DOCUMENT = "/-/embeddings/openapi.json"
SEARCH = "/{database}/-/embeddings/{collection}.json"
EMBED = "/-/embeddings/embed.json"
EMBED_FIELDS = {each.name for each in fields(EmbedRequest)}
LIMITS = {"max_query_length": 200, "max_text_length": 300}
LIMITS |= {"max_size": 20, "max_inputs": 4}
FUNCTIONS = [
    ("zlib.compress", "zlib", "function", "Compress a string or bytes."),
    ("gzip.open", "gzip", "function", "Open a gzip-compressed file."),
    ("gzip.GzipFile.read", "gzip", "method", "Read and decompress a file."),
    ("io.BytesIO.readlines", "io", "method", "Read a file, a list of its lines."),
    ("io.BytesIO.write", "io", "method", "Write bytes to a file."),
    ("math.gcd", "math", "function", "Greatest Common Divisor."),
]


@pytest.fixture(scope="module")
def demo_db(tmp_path_factory, model):
    """A small demo.db, as `datasette embeddings demo` builds a large one."""
    path = tmp_path_factory.mktemp("openapi") / "demo.db"
    conn = sqlite3.connect(path)
    conn.execute(
        """
        create table functions (
          path text primary key, module text, kind text, summary text, doc text
        )
        """
    )
    rows = [(*function, function[-1]) for function in FUNCTIONS]
    conn.executemany("insert into functions values (?, ?, ?, ?, ?)", rows)
    conn.commit()
    source = table_source(
        conn, "functions", content_columns=("path", "doc"), title_column="path"
    )
    ingest(conn, "stdlib", source, model)
    places = {each[0]: (number, number % 2) for number, each in enumerate(FUNCTIONS)}
    give_map(conn, "stdlib", places)
    give_named_clusters(conn, "stdlib", {"files": [*places][:3], "sums": [*places][3:]})
    build(collection(conn, "stdlib"), SimilaritySettings(limit=5))
    conn.close()
    return path


@pytest.fixture
def datasette(demo_db):
    return make_datasette(demo_db)


async def document_of(datasette):
    return (await get_json(datasette, DOCUMENT))[1]


def operations(document):
    """Method, path and operation of everything that can be called."""
    return [
        (method, path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in ("get", "post")
    ]


def resolved(document, found):
    while "$ref" in found:
        target = document
        for part in found["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        found = target
    return found


def parameters(document, path, method):
    """The names in the query string of an operation, and their schemas."""
    item = document["paths"][path]
    given = [*item.get("parameters", ()), *item[method].get("parameters", ())]
    found = [resolved(document, each) for each in given]
    return {
        each["name"]: resolved(document, each["schema"])
        for each in found
        if each["in"] == "query"
    }


def body_schema(document, path):
    content = document["paths"][path]["post"]["requestBody"]["content"]
    return resolved(document, content["application/json"]["schema"])


@pytest.mark.asyncio
async def test_the_document_is_one_of_openapi(datasette):
    document = await document_of(datasette)
    schemathesis.openapi.from_dict(document).validate()
    for schema in document["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": DRAFT, **schema})


DRAFT = "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.asyncio
async def test_every_json_route_is_in_the_document_and_no_other(datasette):
    routes = {re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", route) for route, _ in ROUTES}
    paths = {route.strip("^$").replace("\\.", ".") for route in routes}
    in_json = {path for path in paths if path.endswith(".json") or "/v1/" in path}
    assert set((await document_of(datasette))["paths"]) == in_json


@pytest.mark.asyncio
async def test_every_path_takes_the_methods_of_the_document(datasette):
    document = await document_of(datasette)
    for path, item in document["paths"].items():
        methods = {method.upper() for method in item if method in ("get", "post")}
        url = path.format(database="demo", collection="stdlib", tile=1)
        response = await datasette.client.request("OPTIONS", url)
        allowed = set(response.headers["allow"].split(", "))
        assert allowed - {"HEAD", "OPTIONS"} == methods
        assert ("HEAD" in allowed) is ("GET" in methods)
        assert bool(POST_PATHS.search(url)) is ("POST" in methods)


@pytest.mark.asyncio
async def test_the_names_of_a_query_string_are_those_that_the_code_reads(datasette):
    document = await document_of(datasette)
    search = parameters(document, SEARCH, "get")
    shape = parameters(document, "/-/embeddings.json", "get")
    own = set(search) - set(shape) - {"filters"}
    assert own == set(search_request.NAMES)
    assert search["filters"]["additionalProperties"] == {"type": "string"}
    assert set(parameters(document, EMBED, "get")) == EMBED_FIELDS
    for path in (SEARCH, "/{database}/-/embeddings.json"):
        assert shape.items() <= parameters(document, path, "get").items()
    assert parameters(document, SEARCH, "post") == shape
    assert set(shape) == {middleware.SHAPE}
    pairs_names = parameters(
        document, f"{SEARCH.removesuffix('.json')}/pairs.json", "get"
    )
    assert set(pairs_names) == set(pages.PAIRS_PARAMETERS)
    on_map = parameters(
        document, f"{SEARCH.removesuffix('.json')}/map/matches.json", "get"
    )
    assert set(on_map) == set(map_json.MATCH_NAMES)
    of_context = parameters(
        document, f"{SEARCH.removesuffix('.json')}/context.json", "get"
    )
    assert set(of_context) - {"filters"} == set(context.NAMES)
    axis_names = parameters(
        document, f"{SEARCH.removesuffix('.json')}/axis.json", "get"
    )
    assert set(axis_names) == {*axis.KNOWN, *axis_request.FIELDS}
    assert shape["_shape"]["enum"] == list(middleware.SHAPES)


@pytest.mark.asyncio
async def test_the_keys_of_a_body_are_those_that_the_code_reads(datasette):
    document = await document_of(datasette)
    search = body_schema(document, SEARCH)
    assert set(search["properties"]) == set(search_request.NAMES.values()) | {
        "vector",
        "image",
        "filters",
    }
    assert [each["required"] for each in search["oneOf"]] == [
        [name] for name in search_request.QUERIES
    ]
    of_context = body_schema(document, f"{SEARCH.removesuffix('.json')}/context.json")
    assert set(of_context["properties"]) == {*context.NAMES.values(), "filters"}
    assert of_context["required"] == ["question"]
    to_embed = body_schema(document, EMBED)
    assert set(to_embed["properties"]) == EMBED_FIELDS
    schemas = document["components"]["schemas"]
    _value, values = schemas["Filters"]["additionalProperties"]["anyOf"]
    assert values["maxItems"] == filters.MOST_VALUES
    assert schemas["Vector"]["maxItems"] == search_request.MOST_DIMENSIONS
    tokens, others = schemas["Tokens"], schemas["Others"]
    assert (tokens["minimum"], tokens["maximum"]) == (50, MOST_VISITOR_TOKENS)
    assert (tokens["default"], others["maxItems"]) == (DEFAULT_TOKENS, MOST_OTHERS)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"text": "read", "mode": "words", "min_cosine": 0.1}, 400),
        ({"text": "read", "mode": "words", "min_cosine": None}, 200),
        ({"text": "read", "mode": "both", "min_cosine": 0.1}, 200),
        ({"like": "zlib.compress", "mode": "words", "min_cosine": 0.1}, 200),
    ],
    ids=str,
)
async def test_a_lowest_cosine_by_words_is_refused_as_the_document_says(
    datasette, body, status
):
    document = await document_of(datasette)
    schema = {**document, "$ref": "#/components/schemas/SearchRequest"}
    assert jsonschema_rs.is_valid(schema, body) is (status == 200)
    url = SEARCH.format(database="demo", collection="stdlib")
    assert (await datasette.client.post(url, json=body)).status_code == status


@pytest.mark.asyncio
async def test_limits_and_models_are_those_of_the_server(demo_db):
    models = {"mine": {"path": str(BUNDLED_FOLDER)}}
    settings = {"max_size": 7, "max_query_length": 11, "max_text_length": 13}
    settings |= {"max_inputs": 3, "preload": False}
    document = await document_of(make_datasette(demo_db, settings=settings))
    schemas = document["components"]["schemas"]
    assert (schemas["Size"]["maximum"], schemas["Size"]["default"]) == (7, 7)
    assert schemas["QueryText"]["maxLength"] == 11
    assert schemas["Text"]["maxLength"] == 13
    assert (schemas["Inputs"]["maxItems"], schemas["Texts"]["maxItems"]) == (3, 3)
    assert schemas["AllowedModel"]["enum"] == sorted(BUNDLED_ALIASES)
    datasette = make_datasette(demo_db, settings={"models": models, "preload": False})
    schemas = (await document_of(datasette))["components"]["schemas"]
    assert schemas["AllowedModel"]["enum"] == sorted([*BUNDLED_ALIASES, "mine"])


@pytest.mark.asyncio
async def test_a_search_without_size_has_as_many_as_may_be(demo_db):
    datasette = make_datasette(demo_db, settings={"max_size": 2})
    status, body = await get_json(datasette, "/demo/-/embeddings/stdlib.json?q=file")
    assert (status, len(body["matches"])) == (200, 2)


@pytest.mark.asyncio
@pytest.mark.parametrize("base_url", ["/", "/data/"])
async def test_the_server_is_where_the_document_says(demo_db, base_url):
    datasette = make_datasette(demo_db, base_url=base_url)
    document = await document_of(datasette)
    assert document["servers"] == [{"url": base_url.rstrip("/") or "/"}]


@pytest.mark.asyncio
async def test_the_examples_of_the_document_are_answered(datasette):
    document = await document_of(datasette)
    asked = 0
    for method, path, operation in operations(document):
        url = path.format(database="demo", collection="stdlib", tile=1)
        for line in re.findall("GET (/.*)", operation.get("description", "")):
            response = await datasette.client.get(line)
            assert (line, response.status_code) == (line, 200)
            asked += 1
        content = operation.get("requestBody", {}).get("content", {})
        for example in content.get("application/json", {}).get("examples", {}).values():
            response = await datasette.client.request(
                method.upper(), url, json=example["value"]
            )
            assert (example, response.status_code) == (example, 200)
            asked += 1
    assert asked == 23


@pytest.fixture(scope="module")
def url(demo_db):
    with running(make_datasette(demo_db, settings=LIMITS)) as url:
        yield url


# Paths that take about as long to try as all the rest, for processes that share them
PATHS = {
    "search": r"\{collection\}\.json$",
    "labels and contexts": r"/(labels|context)\.json$",
    "vectors": r"^/-/embeddings/(embed\.json|v1/)",
}
REST = "the rest"
ALL_PATHS = "|".join(PATHS.values())


def in_part(path, part):
    """Whether *path* is one of a part: each path is in exactly one."""
    found = [name for name, regex in PATHS.items() if re.search(regex, path)]
    return (found or [REST]) == [part]


def run_schemathesis(url, folder, examples, *options):
    """Its report; it must have found no failure."""
    report = folder / "report.json"
    command = [sys.executable, "-m", "schemathesis.cli"]
    command += ["--config-file", HERE / "schemathesis.toml", "run", url + DOCUMENT]
    command += ["--seed", 1, "--max-examples", examples, "--continue-on-failure"]
    command += ["--report", "json", "--report-json-path", report, *options]
    result = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(HERE.parent.parent)},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(report.read_text())
    assert (found["complete"], found["failures"], found["errors"]) == (True, [], [])
    return found


how_many = pytest.mark.parametrize(
    "examples",
    [
        pytest.param(10, marks=pytest.mark.long(datasette="0.65")),
        pytest.param(100, marks=pytest.mark.long),
    ],
)


@how_many
def test_schemathesis_finds_no_failure_where_one_request_follows_another(
    url, tmp_path, examples
):
    # What answers link to is known from the examples
    run_schemathesis(url, tmp_path, examples, "--phases", "examples,stateful")


@how_many
@pytest.mark.parametrize("part", [*PATHS, REST])
def test_schemathesis_finds_no_failure(url, tmp_path, part, examples):
    chosen = ["--include-path-regex", PATHS.get(part)]
    if part == REST:
        chosen = ["--exclude-path-regex", ALL_PATHS]
    phases = ["--phases", "examples,coverage,fuzzing"]
    found = run_schemathesis(url, tmp_path, examples, *chosen, *phases)
    # All but the document itself, which it leaves out
    document = http.get(url + DOCUMENT).json()
    called = [each for each in operations(document) if in_part(each[1], part)]
    names = {f"{method.upper()} {path}" for method, path, _ in called}
    assert set(found["valid_rates"]) == names - {f"GET {DOCUMENT}"}
    # Not only refusals: each operation has answered what was asked.  One without
    # parameters can be asked in one way only
    varied = {
        f"{method.upper()} {path}"
        for method, path, operation in called
        if "parameters" in operation or "requestBody" in operation
    }
    for name, phases in found["valid_rates"].items():
        accepted = sum(phase["accepted"] for phase in phases.values())
        assert (name, accepted > (5 if name in varied else 0)) == (name, True)
