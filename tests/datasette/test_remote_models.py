"""Models of the network: two of our servers, and what visitors may not spend."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from datasette.utils import StartupError

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import DEFAULT_MODEL, PLUGIN_NAME, ModelConfig
from datasette_embeddings.errors import ModelError
from datasette_embeddings.models import registry
from datasette_embeddings.models.names import Candidate
from datasette_embeddings.models.openai_api import OpenAIModel
from datasette_embeddings.web.compat import is_modern
from tests.datasette.conftest import execute, get_json, make_datasette, served
from tests.models import StandIn

TEXTS = ["Sourdough", "The rings of Saturn", "猫の世話", "word " * 400]
REFUSED = "Search by text is not available here at the moment"
ALLOW_IT = "To let visitors use it, add it under models in the configuration"
REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """The embedding API of a real Datasette, up to /v1."""
    database = tmp_path_factory.mktemp("endpoint") / "empty.db"
    execute(database, "create table empty (id)")
    # A process of its own: both sides embed in the one thread for models
    with served(database) as url:
        yield f"{url}/-/embeddings/v1"


@pytest.fixture(scope="module")
def far(endpoint):
    """The settings of a model behind the endpoint."""
    return {"url": endpoint, "model": DEFAULT_MODEL}


@pytest.fixture(scope="module")
def settings(far, tmp_path_factory):
    """A configuration file that names it."""
    return write_settings(tmp_path_factory.mktemp("settings"), {"far": far})


def write_settings(folder, models):
    path = folder / "metadata.json"
    path.write_text(json.dumps({"plugins": {PLUGIN_NAME: {"models": models}}}))
    return path


@contextmanager
def no_models():
    """No model is in memory, and the remote ones that come there are closed."""
    with pytest.MonkeyPatch.context() as patch:
        loaded = {}
        patch.setattr(registry, "_loaded", loaded)
        yield
        for each in loaded.values():
            if each.is_remote:
                each.close()


@pytest.fixture
def models():
    """Those of a server that has just started: none."""
    with no_models():
        yield


def cli(*arguments, **environment):
    """What a command does that finds no model in memory."""
    with no_models():
        given = list(map(str, arguments))
        return CliRunner().invoke(embeddings, given, env=environment)


def get(url):
    with urllib.request.urlopen(url) as response:
        return json.load(response)


def failure(url):
    """Status and message of what a real server refuses."""
    with pytest.raises(urllib.error.HTTPError) as raised:
        get(url)
    with raised.value as answer:
        return answer.code, json.load(answer)["error"]


def sql_path(sql):
    query = urllib.parse.urlencode({"sql": sql, "_shape": "array"})
    return f"/articles{'/-/query' if is_modern() else ''}.json?{query}"


@pytest.fixture(scope="module")
def remote_db(built_articles, settings, tmp_path_factory):
    """A database with a collection that was made through the endpoint."""
    path = tmp_path_factory.mktemp("remote") / "articles.db"
    path.write_bytes(built_articles)
    done = cli(
        *("embed", path, "remote", "--table", "articles"),
        *("-m", "far", "--config", settings),
    )
    assert (done.exit_code, done.stderr) == (
        0,
        "remote: 6 new, 0 changed, 0 unchanged\n",
    )
    return path


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_vectors_through_the_network_are_those_of_the_model(
    endpoint, model, batch_size
):
    given = ModelConfig(url=endpoint, model=DEFAULT_MODEL, batch_size=batch_size)
    with closing(OpenAIModel("far", given)) as remote:
        vectors = remote.embed_passages(TEXTS)
        question = remote.embed_query("pets")
    cosines = np.sum(vectors * model.embed_passages(TEXTS), axis=1)
    assert cosines.min() >= 0.99999
    assert question @ model.embed_query("pets") >= 0.99999


def test_an_endpoint_that_has_no_such_model_says_so(endpoint):
    remote = OpenAIModel("no-such", ModelConfig(url=endpoint))
    with closing(remote), pytest.raises(ModelError) as raised:
        remote.embed_query("text")
    problem = str(raised.value)
    assert f"{endpoint}/embeddings answered 422: The model 'no-such'" in problem


def test_a_collection_made_through_the_network_is_searched_through_it(
    remote_db, settings
):
    search = ("search", remote_db, "remote", "pets", "-n", "1", "--format", "nl")
    done = cli(*search, "--config", settings)
    assert json.loads(done.stdout)["id"] == "5", done.stderr
    refused = cli(*search)
    assert refused.exit_code == 1
    assert "(a command reads the file that --config names)" in refused.stderr
    similar = cli("similar", remote_db, "remote", "5", "-n", "1")
    assert similar.exit_code == 0


@pytest.mark.asyncio
async def test_a_server_that_names_it_answers_with_it(remote_db, far, models):
    datasette = make_datasette(remote_db, settings={"models": {"far": far}})
    path = "/articles/-/embeddings/remote.json?q=pets&_size=1"
    _status, found = await get_json(datasette, path)
    sql = "select embed_cosine(embed('far', 'x'), embed('x')) as score"
    _status, rows = await get_json(datasette, sql_path(sql))
    assert found["matches"][0]["title"] == "Kittens"
    assert rows[0]["score"] >= 0.99999


@pytest.mark.asyncio
async def test_a_server_that_does_not_name_it_says_what_to_do(remote_db, models):
    path = "/articles/-/embeddings/remote.json?q=pets"
    status, body = await get_json(make_datasette(remote_db), path)
    assert status == 422
    assert body["error"].startswith(REFUSED)


def test_a_key_of_the_environment_is_read_and_missed(endpoint, articles_db, tmp_path):
    key = {"$env": "KEY_OF_THE_TEST"}
    far = {"url": endpoint, "model": DEFAULT_MODEL, "api_key": key}
    settings = write_settings(tmp_path, {"far": far})
    arguments = ("embed", articles_db, "remote", "--table", "articles", "-m", "far")
    without = cli(*arguments, "--config", settings)
    assert without.exit_code == 1
    assert (
        f"{settings} asks with $env for the variable 'KEY_OF_THE_TEST', which is not "
        "set"
    ) in without.stderr
    done = cli(*arguments, "--config", settings, KEY_OF_THE_TEST="sk-1")
    assert done.exit_code == 0, done.stderr


def test_a_server_does_not_start_without_a_key_that_it_was_told_of(
    articles_db, tmp_path
):
    far = {"url": "http://127.0.0.1:1/v1", "api_key": {"$env": "KEY_OF_THE_TEST"}}
    settings = write_settings(tmp_path, {"far": far})
    done = subprocess.run(
        [
            *(sys.executable, "-m", "datasette", str(articles_db)),
            *("-m", str(settings), "--get", "/"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "api_key: expected a key" in done.stderr


# What a visitor may not spend


class Paid(StandIn):
    """A model that sends a bill."""

    model_id = "paid"
    runtime = "paid"
    is_remote = True


@pytest.fixture
def paid(monkeypatch):
    """A runtime with a paid model, which records what it was asked."""
    model = Paid()

    def find(wanted):
        found = Candidate("paid", lambda: model, is_remote=True)
        unknown = registry.Unavailable("it has only the model 'paid'")
        return found if wanted.model_id == "paid" else unknown

    monkeypatch.setattr(registry, "RUNTIMES", {**registry.RUNTIMES, "paid": find})
    monkeypatch.setattr(registry, "_loaded", {})
    return model


@pytest.fixture
def paid_db(articles_db):
    """A database whose collection says that it is of the paid model."""
    execute(
        articles_db,
        "update collections set model = 'paid'",
        "update _embedding_collections set model = 'paid'",
        "update embeddings set embedding = x'0000803f000000000000000000000000'",
    )
    return articles_db


PATHS = [
    "/articles/-/embeddings/articles.json?q=pets",
    "/-/embeddings/embed.json?model=paid&input=pets",
]
SQL = ["select embed('paid', 'x')", "select embed_search('articles', 'pets', 3)"]


@pytest.mark.asyncio
@pytest.mark.parametrize("path", PATHS, ids=["search", "embedding API"])
@pytest.mark.parametrize("is_loaded", [False, True], ids=["not loaded", "loaded"])
async def test_a_paid_model_that_is_not_named_answers_no_visitor(
    paid, paid_db, path, is_loaded
):
    if is_loaded:
        registry.load_model("paid")
    status, answer = await get_json(make_datasette(paid_db), path)
    assert status == 422
    said = answer["error"]
    assert REFUSED in said or "This server offers" in said
    assert paid.embedded == []


@pytest.mark.asyncio
async def test_the_log_says_why_a_paid_model_does_not_answer(paid, paid_db, caplog):
    page = await make_datasette(paid_db).client.get(
        "/articles/-/embeddings/articles?q=pets"
    )
    assert REFUSED in page.text
    assert ALLOW_IT in caplog.text
    assert paid.embedded == []


@pytest.mark.asyncio
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("sql", SQL)
async def test_sql_has_no_paid_model_that_is_not_named(paid, paid_db, sql, caplog):
    status, _answer = await get_json(make_datasette(paid_db), sql_path(sql))
    assert status == 400
    assert ALLOW_IT in caplog.text
    assert paid.embedded == []


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "settings",
    [{"models": {"paid": {}}}, {"default_model": "paid"}],
    ids=["models", "default_model"],
)
@pytest.mark.parametrize("path", PATHS, ids=["search", "embedding API"])
async def test_a_paid_model_that_is_named_answers(paid, paid_db, path, settings):
    status, _answer = await get_json(make_datasette(paid_db, settings=settings), path)
    assert status == 200


def test_a_server_with_llm_has_no_model_of_its_plugins_unless_it_is_named(
    articles_db, tmp_path, monkeypatch
):
    pytest.importorskip("llm")
    name = "letters-of-the-test"
    execute(
        articles_db,
        f"update collections set model = '{name}'",
        f"update _embedding_collections set model = '{name}'",
    )
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "letters.py").write_text(
        textwrap.dedent(
            f"""
            import sys
            sys.path.insert(0, {str(REPOSITORY)!r})
            from llm.plugins import pm
            from tests import llm_plugin
            pm.register(llm_plugin, "of-the-test")
            """
        )
    )
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    arguments = (articles_db, "--plugins-dir", plugins)
    path = "/-/embeddings/embed.json?model=abc&input=pets"
    with served(*arguments) as url:
        searched = failure(f"{url}/articles/-/embeddings/articles.json?q=pets")
        embedded = failure(url + path)
    assert (searched[0], embedded[0]) == (422, 422)
    assert searched[1].startswith(REFUSED)
    with served(*arguments, "-m", write_settings(tmp_path, {"abc": {}})) as url:
        assert get(url + path)["dimensions"] == 8
        # Of the right model by its id, but the vectors in there are of another length
        status, message = failure(f"{url}/articles/-/embeddings/articles.json?q=pets")
    assert (status, "384" in message) == (422, True)


@pytest.mark.asyncio
async def test_models_are_looked_for_beside_the_event_loop(articles_db, monkeypatch):
    threads = []

    def find(_spec):
        threads.append(threading.current_thread())
        return registry.Unavailable("it is not here")

    monkeypatch.setattr(registry, "RUNTIMES", {**registry.RUNTIMES, "llm": find})
    settings = {"models": {"far": {"runtime": "llm", "batch_size": 5}}}
    with pytest.raises(StartupError):
        await make_datasette(articles_db, settings=settings).invoke_startup()
    assert threads
    assert threading.current_thread() not in threads
