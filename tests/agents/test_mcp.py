"""The tools of datasette-mcp, by the client of MCP's own SDK, over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from contextlib import asynccontextmanager

import httpx2
import pytest
import pytest_asyncio
from datasette.app import Datasette
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from datasette_embeddings import Embeddings
from datasette_embeddings.serving import allowed_models
from tests.agents.conftest import ALLOW, EDITOR, NAMES, SECRET
from tests.servers import actor_cookie, execute, http, make_datasette, running, served

pytestmark = pytest.mark.asyncio(loop_scope="module")
OURS = [f"embeddings_{name}" for name in NAMES]
# The protocol with a session that an `initialize` opens, and the one without
MODES = ["legacy", "auto"]
LIST_FIRST = "Call embeddings_collections to see the collections there are."


@pytest.fixture(scope="module")
def site(databases, config):
    """The address of a real server process."""
    with served(*databases, "-c", config, "--secret", SECRET) as url:
        yield url


@asynccontextmanager
async def connected(url, *, mode="auto", **headers):
    """A client of the server at *url*, which sends *headers*."""
    limits = httpx2.Limits(max_connections=None)
    async with (
        httpx2.AsyncClient(headers=headers, timeout=None, limits=limits) as sender,
        Client(
            streamable_http_client(f"{url}/-/mcp", http_client=sender), mode=mode
        ) as client,
    ):
        yield client


def signed_cookie() -> dict[str, str]:
    cookie = actor_cookie(Datasette(secret=SECRET), EDITOR["id"])
    return {"cookie": f"ds_actor={cookie['ds_actor']}"}


async def signed_token() -> dict[str, str]:
    datasette = Datasette(secret=SECRET)
    await datasette.invoke_startup()
    return {"authorization": f"Bearer {await datasette.create_token(EDITOR['id'])}"}


@pytest_asyncio.fixture(loop_scope="module", params=["cookie", "token"])
async def signed_in(request):
    """The headers of someone who may see everything."""
    return signed_cookie() if request.param == "cookie" else await signed_token()


async def answer(client, name, **arguments):
    """What the tool answers, as data."""
    result = await client.call_tool(f"embeddings_{name}", arguments)
    assert not result.is_error, result.content[0].text
    # Clients that read no structured results read the same as text
    assert json.loads(result.content[0].text) == result.structured_content
    return result.structured_content


async def refusal(client, name, **arguments):
    """Why the tool does not answer."""
    result = await client.call_tool(f"embeddings_{name}", arguments)
    assert result.is_error, result.structured_content
    assert result.structured_content is None
    start = f"Error executing tool embeddings_{name}: "
    message = result.content[0].text
    assert message.startswith(start)
    return message.removeprefix(start)


def summary(matches):
    return [(each["id"], each["url"]) for each in matches]


@pytest.mark.parametrize("mode", MODES)
async def test_the_four_tools_are_listed_and_read_only(site, mode):
    async with connected(site, mode=mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert [name for name in tools if name.startswith("embeddings_")] == OURS
    for name in OURS:
        annotations = tools[name].annotations
        assert annotations.read_only_hint
        assert not annotations.open_world_hint
        assert tools[name].output_schema["type"] == "object"
    schema = tools["embeddings_search"].input_schema
    assert schema["required"] == ["query", "collection"]
    assert schema["properties"]["limit"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "default": 10,
        "description": "How many matches at most.",
        "title": "Limit",
    }


async def test_they_are_described_without_the_names_of_collections(site, signed_in):
    """They are the same for all, so they must not say what only some may see."""
    async with connected(site) as stranger, connected(site, **signed_in) as client:
        told = await stranger.list_tools()
        assert told.model_dump() == (await client.list_tools()).model_dump()
    told = told.model_dump_json()
    assert [
        name for name in ("letters", "diaries", "vault", "library") if name in told
    ] == []
    assert told.count(LIST_FIRST) == 3


async def test_the_tools_of_datasette_mcp_work_beside_ours(site):
    async with connected(site) as client:
        listed = await client.call_tool("list_databases", {})
        assert listed.structured_content == {"databases": ["library"]}
        sql = {"database": "library", "sql": "select count(*) as n from articles"}
        counted = await client.call_tool("execute_sql", sql)
        assert counted.structured_content["rows"] == [{"n": 6}]


@pytest.mark.parametrize("mode", MODES)
async def test_each_tool_answers_what_the_api_answers(site, mode):
    path = f"{site}/library/-/embeddings/articles"
    async with connected(site, mode=mode) as client:
        assert await answer(client, "collections") == {
            "collections": [{"database": "library", "name": "articles", "count": 6}]
        }
        found = await answer(
            client, "search", query="young cats", collection="articles", limit=2
        )
        expected = http.get(f"{path}.json?q=young+cats&_size=2").json()["matches"]
        assert summary(found["matches"]) == [
            (each["id"], site + each["url"]) for each in expected
        ]
        assert found["matches"][0] == {
            "id": "5",
            "title": "Kittens",
            "url": f"{site}/library/articles/5",
            "score": round(expected[0]["score"], 3),
            "snippet": "Young cats need food four times a day and a warm place to "
            "sleep.",
        }
        like = await answer(
            client, "similar", id="5", collection="articles", database="library"
        )
        expected = http.get(f"{path}.json?like=5").json()["matches"]
        assert summary(like["matches"]) == [
            (each["id"], site + each["url"]) for each in expected
        ]
        question = "How do I mend a tyre?"
        read = await answer(
            client, "context", question=question, collection="articles", tokens=60
        )
        expected = http.get(
            f"{path}/context.json", params={"q": question, "_tokens": 60}
        ).json()
        assert read["text"] == expected["text"]
        assert read["text"].startswith(
            f"[1] Bicycle repair ({site}/library/articles/3)\nHow to mend a flat tyre"
        )
        assert read["tokens"] <= 60


ARGUMENTS = {
    "search": {"query": "4711"},
    "similar": {"id": "1"},
    "context": {"question": "How does the safe open?"},
}
HIDDEN = [
    {"collection": "letters"},
    {"collection": "letters", "database": "library"},
    {"collection": "diaries"},
    {"collection": "diaries", "database": "vault"},
]


@pytest.mark.parametrize("name", ARGUMENTS)
async def test_what_the_actor_may_not_see_does_not_exist(site, signed_in, name):
    async with connected(site) as stranger, connected(site, **signed_in) as client:
        for place in HIDDEN:
            assert await answer(client, name, **ARGUMENTS[name], **place)
            told = await refusal(stranger, name, **ARGUMENTS[name], **place)
            # The same words as for what there is nowhere
            missing = {key: f"no-{value}" for key, value in place.items()}
            if place.get("database") == "library":
                missing["database"] = "library"
            expected = await refusal(stranger, name, **ARGUMENTS[name], **missing)
            assert told == expected.replace("no-", "")
            assert told.endswith(LIST_FIRST)


async def test_only_what_the_actor_may_see_is_listed(site, signed_in):
    async with connected(site) as stranger, connected(site, **signed_in) as client:
        told = [
            (each["database"], each["name"], each["count"])
            for each in (await answer(client, "collections"))["collections"]
        ]
        assert told == [
            ("library", "articles", 6),
            ("library", "letters", 1),
            ("vault", "articles", 6),
            ("vault", "diaries", 1),
        ]
        own = (await answer(client, "collections", database="vault"))["collections"]
        assert [each["name"] for each in own] == ["articles", "diaries"]
        hidden = await refusal(stranger, "collections", database="vault")
        missing = await refusal(stranger, "collections", database="no-vault")
        assert hidden == missing.replace("no-", "")


async def test_a_name_in_two_databases_needs_the_database(site):
    """A stranger sees one of them only, and learns nothing of the other."""
    asked = {"query": "cats", "collection": "articles"}
    async with (
        connected(site) as stranger,
        connected(site, **signed_cookie()) as client,
    ):
        assert await answer(stranger, "search", **asked)
        assert await refusal(client, "search", **asked) == (
            "database: expected one of 'library', 'vault', which each have a "
            "collection 'articles'; found none"
        )
        assert await answer(client, "search", **asked, database="vault")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "search",
            {"query": "x" * 2_000_000},
            "query: expected at most 2,000 characters, found 2,000,000",
        ),
        (
            "search",
            {"query": "cats", "limit": 10**9},
            "limit: expected at most 100, found 1,000,000,000",
        ),
        (
            "context",
            {"question": "cats", "tokens": 10**9},
            "tokens: expected at most 20,000, found 1,000,000,000",
        ),
        (
            "search",
            {"query": 7, "limit": "many"},
            "query: expected a text, found 7; limit: expected a whole number of at "
            "least 1, found 'many'",
        ),
        ("search", {"query": " "}, "query: expected a text, found only spaces"),
        ("context", {"question": "cats", "tokens": 0}, "tokens: expected a whole"),
        (
            "similar",
            {"id": "99"},
            "No item '99' in the collection 'articles'; an item id is the primary key "
            "of its row, or the path of its file. Call embeddings_search: each of its "
            "matches has an id.",
        ),
        ("search", {}, "1 validation error"),
    ],
    ids=["query", "limit", "tokens", "types", "spaces", "none", "item", "missing"],
)
async def test_an_error_says_what_was_expected(site, name, arguments, message):
    async with connected(site) as client:
        told = await refusal(client, name, collection="articles", **arguments)
    assert told.startswith(message)
    assert len(told) < 1_000


async def test_half_a_character_is_sent_as_a_question_mark(tmp_path):
    """JSON may hold half of a surrogate pair, which no answer over HTTP can."""
    path = tmp_path / "notes.db"
    with Embeddings(path) as db:
        notes = db.collection("notes", create=True)
        notes.embed("1", "Cats purr", title="A title", store=True)
    title = json.dumps({"title": "Half of \ud83d"})
    execute(path, f"update embeddings set metadata = '{title}'")
    with running(make_datasette(path)) as url:
        async with connected(url) as client:
            asked = {"collection": "notes"}
            found = await answer(client, "search", query="cats", **asked)
            assert found["matches"][0]["title"] == "Half of ?"
            read = await answer(client, "context", question="cats?", **asked)
            assert read["text"].startswith("[1] Half of ?")


@pytest.mark.parametrize("mode", MODES)
async def test_a_permission_that_is_taken_back_counts_at_once(databases, mode):
    """Also in a session that began before."""
    datasette = make_datasette(*databases)
    with running(datasette) as url:
        async with connected(url, mode=mode) as client:
            place = {"collection": "letters", "database": "library"}
            assert await answer(client, "search", query="safe", **place)
            datasette.config["databases"] = ALLOW
            assert LIST_FIRST in await refusal(client, "search", query="safe", **place)
            datasette.config["databases"] = {}
            assert await answer(client, "search", query="safe", **place)


async def test_a_crowd_is_told_to_come_again_and_the_server_goes_on(databases):
    settings = {"max_searches": 2, "max_waiting": 8}
    asked = {"collection": "articles", "database": "library"}
    # Two run until the model is free, eight wait for them
    is_free = threading.Event()
    with running(make_datasette(*databases, settings=settings)) as url:
        async with connected(url) as client:
            allowed_models.model_thread.submit(is_free.wait)
            try:
                calls = [
                    asyncio.create_task(
                        client.call_tool(
                            "embeddings_search", {"query": f"cats {number}", **asked}
                        )
                    )
                    for number in range(200)
                ]
                coming = asyncio.as_completed(calls)
                for _ in range(190):
                    refused = await next(coming)
                    assert refused.is_error
                    assert "try again in a moment" in refused.content[0].text
                # The event loop is free while the others run
                assert len((await client.list_tools()).tools) >= len(OURS)
                async with httpx2.AsyncClient(timeout=None) as other:
                    assert (await other.get(f"{url}/library.json")).status_code == 200
                assert sum(each.done() for each in calls) == 190
            finally:
                is_free.set()
            answered = [await each for each in coming]
            assert [each.is_error for each in answered] == [False] * 10
            assert (await answer(client, "search", query="x", **asked))["matches"]


async def test_without_its_host_no_tool_is_registered_and_no_sdk_imported(databases):
    code = f"""
import asyncio, sys
from datasette.app import Datasette
from datasette.plugins import pm
datasette = Datasette([{str(databases[0])!r}])
asyncio.run(datasette.invoke_startup())
status = asyncio.run(datasette.client.post("/-/mcp", json={{}})).status_code
found = asyncio.run(datasette.client.get("/-/embeddings.json")).status_code
names = [each for each in sys.modules if each.startswith(("mcp", "datasette_agent"))]
print(status, found, names)
"""
    # Datasette's own way to load some of the installed plugins
    environment = os.environ | {"DATASETTE_LOAD_PLUGINS": "datasette-semantic-search"}
    command = [sys.executable, "-c", code]
    told = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert told.split("\n")[0] in ("403 200 []", "404 200 []")
