"""The tools of datasette-agent, through its own functions and its chat."""

from __future__ import annotations

import json
import shutil
import sqlite3
from html import unescape
from html.parser import HTMLParser

import llm
import pytest
import pytest_asyncio
from datasette_agent.messages import prepare_tool_output_for_model
from datasette_agent.tools import execute_agent_tool, get_agent_tools, make_llm_tools
from llm.plugins import pm

from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models import registry
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.web.agent_tools import links_html
from tests.agents.conftest import ALLOW, EDITOR, NAMES
from tests.llm_plugin import Letters
from tests.servers import actor_cookie, execute, make_datasette

pytestmark = pytest.mark.asyncio
OURS = [f"embeddings_{name}" for name in NAMES]
ACTORS = [None, EDITOR]


async def tools_of(datasette):
    """Our tools, as datasette-agent finds them."""
    await datasette.invoke_startup()
    found = {tool.name: tool for tool in await get_agent_tools(datasette)}
    assert [name for name in found if name.startswith("embeddings_")] == OURS
    assert "sql_query" in found
    return {name: found[name] for name in OURS}


async def answer(datasette, actor, name, **arguments):
    """What the tool answers, as it is stored and shown."""
    tool = (await tools_of(datasette))[f"embeddings_{name}"]
    done = await execute_agent_tool(tool, datasette, actor, arguments=arguments)
    return json.loads(done)


def read_by_model(result):
    return json.loads(prepare_tool_output_for_model(json.dumps(result)))


class Links(HTMLParser):
    """The elements of a widget, and the address and text of each link."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.text = [], [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "a":
            assert [name for name, _value in attrs] == ["href"]
            self.links.append(attrs[0][1])

    def handle_data(self, data):
        self.text += data


async def test_the_tools_have_plain_schemas_and_name_no_collection(datasette):
    tools = await tools_of(datasette)
    for tool in make_llm_tools(list(tools.values()), datasette, None):
        told = json.dumps([tool.description, tool.input_schema])
        assert "$ref" not in told
        assert not any(name in told for name in ("letters", "diaries", "vault"))
    context = tools["embeddings_context"].input_schema["properties"]
    assert context["tokens"]["default"] == context["tokens"]["maximum"] == 1_500


@pytest.mark.parametrize("actor", ACTORS, ids=str)
async def test_a_search_answers_the_model_and_shows_links(datasette, actor):
    result = await answer(
        datasette,
        actor,
        "search",
        query="young cats",
        collection="articles",
        database="library",
        limit=2,
    )
    shown = Links(result["_html"])
    assert shown.links == ["/library/articles/5", "/library/articles/1"]
    assert set(shown.tags) == {"ol", "li", "a", "br", "small"}
    assert "Kittens" in shown.text
    assert "Young cats need food" in shown.text
    # The model reads the matches only
    found = read_by_model(result)
    assert found.keys() == {"matches"}
    assert [each["id"] for each in found["matches"]] == ["5", "1"]
    path = "/library/-/embeddings/articles.json?q=young+cats&_size=2"
    expected = (await datasette.client.get(path)).json()["matches"]
    assert [each["url"] for each in found["matches"]] == [
        each["url"] for each in expected
    ]


async def test_each_tool_answers_as_a_tool_of_llm(datasette):
    """As the agent calls them: through llm, with the actor bound."""
    tools = list((await tools_of(datasette)).values())
    bound = {each.name: each for each in make_llm_tools(tools, datasette, None)}

    async def call(name, **arguments):
        return json.loads(await bound[f"embeddings_{name}"].implementation(**arguments))

    assert await call("collections") == {
        "collections": [{"database": "library", "name": "articles", "count": 6}]
    }
    like = await call("similar", id="5", collection="articles", limit=1)
    assert len(like["matches"]) == 1
    read = await call(
        "context", question="How do I mend a tyre?", collection="articles"
    )
    assert read["text"].startswith("[1] Bicycle repair (/library/articles/3)\n")
    assert Links(read["_html"]).links[0] == "/library/articles/3"


ARGUMENTS = {
    "search": {"query": "4711"},
    "similar": {"id": "1"},
    "context": {"question": "How does the safe open?"},
}


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize(
    ("collection", "database"), [("letters", "library"), ("diaries", "vault")]
)
async def test_what_the_actor_may_not_see_does_not_exist(
    datasette, name, collection, database
):
    place = {"collection": collection, "database": database}
    found = await answer(datasette, EDITOR, name, **ARGUMENTS[name], **place)
    assert "4711" in json.dumps(found) or name == "similar"
    hidden = await answer(datasette, None, name, **ARGUMENTS[name], **place)
    assert hidden == {
        "error": f"No collection '{collection}' in the database '{database}'. Call "
        "embeddings_collections to see the collections there are."
    }


@pytest.mark.parametrize(
    "arguments",
    [
        {"query": "x" * 2_000_000, "collection": "articles"},
        {"query": "cats", "collection": "articles", "limit": 10**9},
        {"query": "cats", "collection": "articles", "top_k": 3},
        {"query": ["cats"], "collection": None},
        {},
    ],
    ids=["query", "limit", "unknown", "types", "none"],
)
async def test_an_error_says_what_was_expected(datasette, arguments):
    result = await answer(datasette, None, "search", **arguments)
    assert result.keys() == {"error"}
    assert "expected" in result["error"]
    assert len(result["error"]) < 1_000


HOSTILE = "<img src=x onerror=alert(1)> & \"'></a>"


async def test_what_rows_hold_is_shown_as_text(tmp_path, model):
    path = tmp_path / "hostile.db"
    conn = sqlite3.connect(path)
    conn.execute("create table notes (id text primary key, title text, body text)")
    row = ['"><script>alert(1)</script>', HOSTILE, f"A note: {HOSTILE}"]
    conn.execute("insert into notes values (?, ?, ?)", row)
    ingest(conn, "notes", table_source(conn, "notes"), model)
    conn.close()
    result = await answer(
        make_datasette(path), None, "search", query="note", collection="notes"
    )
    shown = Links(result["_html"])
    assert shown.tags == ["ol", "li", "a", "br", "small"]
    assert HOSTILE in unescape(shown.text)
    [link] = shown.links
    assert link.startswith("/hostile/notes/")


@pytest.mark.parametrize(
    ("url", "is_linked"),
    [
        ("https://example.com/a?b=1&c=2#d", True),
        ("HTTP://example.com", True),
        ("/library/articles/5", True),
        ("/", True),
        ("//example.com", False),
        ("/\\example.com", False),
        ("/\t/example.com", False),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("https:/\\example.com", False),
        ("page.html", False),
        ("", False),
        (None, False),
    ],
)
async def test_only_pages_of_the_web_and_of_this_server_are_linked(url, is_linked):
    shown = Links(links_html([{"id": "1", "url": url}]))
    assert shown.links == ([url] if is_linked else [])
    assert shown.text == "1"


async def test_a_context_reaches_the_model_whole(tmp_path, model):
    """datasette-agent cuts longer results in the middle of a passage."""
    path = tmp_path / "long.db"
    conn = sqlite3.connect(path)
    conn.execute("create table notes (id integer primary key, title text, body text)")
    text = "The gardener waters the café's “roses” — every single evening. " * 8
    rows = [[number, f"Note {number}", f"{number} {text}"] for number in range(60)]
    conn.executemany("insert into notes values (?, ?, ?)", rows)
    ingest(conn, "notes", table_source(conn, "notes"), model)
    conn.close()
    result = await answer(
        make_datasette(path),
        None,
        "context",
        question="Who waters the roses?",
        collection="notes",
    )
    assert result["tokens"] > 1_300
    assert read_by_model(result) == {
        name: value for name, value in result.items() if name != "_html"
    }


# Models


@pytest.fixture
def letters():
    """A model of a plugin of llm, which may cost money."""
    model = Letters()

    class Plugin:
        @llm.hookimpl
        def register_embedding_models(self, register):
            register(model)

    plugin = Plugin()
    pm.register(plugin, "letters")
    yield model
    pm.unregister(plugin)


@pytest.mark.parametrize(
    "model_id", ["letters-of-the-test", "BAAI/bge-small-en-v1.5", "{folder}/mini"]
)
async def test_a_tool_uses_no_model_that_a_visitor_may_not_use(
    articles_db, tmp_path, letters, monkeypatch, model_id
):
    """None that may cost money, none of a hub, and none of a folder elsewhere."""
    folder = tmp_path / "elsewhere"
    (folder / "mini").mkdir(parents=True)
    site = tmp_path / "site"
    site.mkdir()
    path = shutil.copy(articles_db, site / "articles.db")
    model_id = model_id.format(folder=folder)
    for table in ("collections", "_embedding_collections"):
        execute(path, f"update {table} set model = '{model_id}'")
    loaded = {}
    monkeypatch.setattr(registry, "_loaded", loaded)
    # Whom anything wants to reach
    hosts = []
    monkeypatch.setattr(
        "socket.getaddrinfo", lambda host, *_rest, **_: hosts.append(host)
    )
    datasette = make_datasette(path, settings={"preload": False})
    found = await answer(
        datasette, None, "search", query="young cats", collection="articles"
    )
    assert [each["id"] for each in found["matches"]] == ["5"]
    assert found["note"] == (
        "Found by words alone, not by meaning: the model of this collection is not "
        "available on this server."
    )
    read = await answer(
        datasette, None, "context", question="young cats", collection="articles"
    )
    assert read["error"].startswith("The model of this collection is not available")
    assert str(folder) not in json.dumps([found, read])
    like = await answer(datasette, None, "similar", id="5", collection="articles")
    assert len(like["matches"]) == 5
    assert (loaded, letters.asked, hosts) == ({}, [], [])


# The chat


class Scripted(llm.AsyncModel):
    """A stand-in for a chat model, which would cost money: it says what the test says.

    Each script is what it answers in turn: calls of tools, or a text.
    """

    model_id = "scripted-of-the-test"
    supports_tools = True
    can_stream = True

    def __init__(self, script):
        self.script = list(script)
        self.prompts = []

    async def execute(self, prompt, stream, response, conversation=None):
        self.prompts.append(prompt)
        said = self.script.pop(0)
        if isinstance(said, str):
            yield said
            return
        for name, arguments in said:
            response.add_tool_call(llm.ToolCall(name=name, arguments=arguments))
        yield ""


@pytest_asyncio.fixture
async def chat(databases, tmp_path):
    """What asks the agent something, of which the model answers what is scripted."""
    plugins = []

    async def ask(question, *script):
        model = Scripted(script)

        class Plugin:
            @llm.hookimpl
            def register_models(self, register):
                register(model, async_model=model)

        plugins.append(Plugin())
        pm.register(plugins[-1], "scripted")
        datasette = make_datasette(
            *databases, allow=ALLOW, internal=str(tmp_path / "internal.db")
        )
        datasette.config["permissions"] = {"datasette-agent": EDITOR}
        datasette.config["plugins"] = {
            "datasette-llm": {"default_model": model.model_id}
        }
        cookies = actor_cookie(datasette, EDITOR["id"])
        client = datasette.client
        made = await client.post("/-/agent/api/conversations", cookies=cookies, json={})
        path = f"/-/agent/{made.json()['conversation_id']}/stream"
        told = await client.post(path, cookies=cookies, json={"message": question})
        return model, told.text

    yield ask
    for plugin in plugins:
        pm.unregister(plugin)


def events(text):
    """The events of a stream, each with its name."""
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data[6:])))
    return found


async def test_the_agent_finds_and_answers_in_its_chat(chat):
    question = "How does the safe open?"
    model, told = await chat(
        question,
        [("embeddings_collections", {})],
        [
            (
                "embeddings_context",
                {"question": question, "collection": "letters", "database": "library"},
            )
        ],
        "With 4711 [1].",
    )
    [listed, read] = [data for name, data in events(told) if name == "tool_result"]
    assert "vault" in listed["output"]
    shown = json.loads(read["output"])
    assert Links(shown["_html"]).links == ["/library/letters/1"]
    assert "".join(
        data["content"] for name, data in events(told) if name == "text_chunk"
    ).endswith("With 4711 [1].")
    # The model was offered the tools, and read the text without the links in HTML
    assert set(OURS) <= {tool.name for tool in model.prompts[0].tools}
    read_last = json.dumps([each.to_dict() for each in model.prompts[-1].messages])
    assert "The safe opens with 4711" in read_last
    assert "_html" not in read_last
