"""In place of datasette-llm-embed: its queries and its settings, unchanged."""

from __future__ import annotations

import base64
import json

import llm
import pytest
from click.testing import CliRunner
from datasette.app import Datasette
from datasette.plugins import pm as datasette_plugins
from llm.plugins import pm as llm_plugins

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import DEFAULT_MODEL, Config, ModelConfig
from datasette_embeddings.models import llm_models, registry
from datasette_embeddings.models.registry import with_llm_keys
from tests import llm_plugin

LETTERS, LOCKED = llm_plugin.Letters.model_id, llm_plugin.Locked.model_id
KEY = "sk-a-key-that-must-stay-secret"


@pytest.fixture(autouse=True)
def _in_place_of_it(monkeypatch, tmp_path):
    """Only our plugin is installed, and llm has a plugin of the tests."""
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setenv("A_KEY", KEY)
    replaced = datasette_plugins.get_plugin("llm_embed")
    assert datasette_plugins.unregister(replaced) is replaced
    llm_models._by_name.cache_clear()
    llm_plugins.register(llm_plugin, "of-the-test")
    yield
    llm_plugins.unregister(name="of-the-test")
    llm_models._by_name.cache_clear()
    datasette_plugins.register(replaced, name="llm_embed")


def server(keys=None, models=None, path=None):
    plugins = {"datasette-embeddings": {"models": models or {}}}
    if keys is not None:
        plugins["datasette-llm-embed"] = {"keys": keys}
    paths = [] if path is None else [str(path)]
    return Datasette(paths, memory=True, metadata={"plugins": plugins})


async def value(datasette, sql):
    await datasette.invoke_startup()
    response = await datasette.client.get(
        "/_memory.json", params={"sql": sql, "_shape": "arrayfirst"}
    )
    assert response.status_code == 200, response.text
    return response.json()[0]


@pytest.mark.asyncio
async def test_its_functions_give_what_they_gave():
    datasette = server(models={LETTERS: {}})
    expected = llm_plugin.Letters.vector("hello world")
    given = await value(datasette, f"select llm_embed('{LETTERS}', 'hello world')")
    assert llm.decode(base64.b64decode(given["encoded"])) == pytest.approx(expected)
    one, other = (f"llm_embed('{LETTERS}', '{text}')" for text in ("hello", "again"))
    cosine = await value(datasette, f"select llm_embed_cosine({one}, {other})")
    vectors = [llm_plugin.Letters.vector(text) for text in ("hello", "again")]
    assert cosine == pytest.approx(llm.cosine_similarity(*vectors))
    decoded = await value(datasette, f"select llm_embed_decode({one})")
    assert json.loads(decoded) == pytest.approx(vectors[0])


def asked_with():
    """The keys with which the locked model was asked."""
    models = registry._loaded.values()
    return next(each._model.keys for each in models if each.model_id == LOCKED)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "key", [KEY, {"$env": "A_KEY"}, f"{KEY}\n"], ids=["text", "env", "line"]
)
async def test_a_model_of_which_it_has_a_key_answers_with_that_key(key):
    # As with that plugin, one that is not there is no fault
    datasette = server({LOCKED: key, "not-there": "x", "not-set": {"$env": "NOWHERE"}})
    await value(datasette, f"select llm_embed('{LOCKED}', 'hello')")
    assert asked_with() == [KEY]


@pytest.mark.asyncio
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)
async def test_a_model_that_nothing_names_is_refused_and_no_key_is_shown(caplog):
    datasette = server({LOCKED: {"$env": "A_KEY"}})
    for text in (f"llm_embed('{LETTERS}', 'x')", f"llm_embed('{LOCKED}', 'poison')"):
        response = await datasette.client.get(
            "/_memory.json", params={"sql": f"select {text}"}
        )
        assert response.status_code == 400
        assert KEY not in response.text
    shown = await datasette.client.get("/-/metadata.json")
    assert KEY not in shown.text + caplog.text
    assert f"{LETTERS!r} is not available. This server offers" in caplog.text
    assert "I cannot take 'poison', nor ***" in caplog.text


def configured(models, keys):
    return with_llm_keys(
        Config.from_plugin_config({"models": models}, llm_embed={"keys": keys})
    ).models


def test_a_key_joins_the_settings_of_its_model():
    assert configured({}, {LOCKED: KEY}) == {
        LOCKED: ModelConfig(runtime="llm", api_key=KEY)
    }
    assert configured({"abc": {"batch_size": 2}}, {LETTERS: KEY}) == {
        "abc": ModelConfig(batch_size=2, api_key=KEY)
    }
    # Our own settings come first, and a key goes to no other address
    assert configured({LOCKED: {"api_key": "own"}}, {LOCKED: KEY}) == {
        LOCKED: ModelConfig(api_key="own")
    }
    elsewhere = {"url": "http://127.0.0.1:1/v1"}
    assert configured({LOCKED: elsewhere}, {LOCKED: KEY}) == {
        LOCKED: ModelConfig(**elsewhere)
    }
    # The bundled model stays what answers by its names
    assert configured({}, {DEFAULT_MODEL: KEY, "mini-l6": KEY}) == {}


@pytest.mark.parametrize("settings", [None, [], {"keys": None}, {"keys": {"x": 7}}])
def test_what_that_plugin_ignores_is_ignored(settings):
    config = Config.from_plugin_config({}, llm_embed=settings)
    assert (config.llm_keys, with_llm_keys(config)) == ({}, config)
    assert KEY not in repr(
        Config.from_plugin_config({}, llm_embed={"keys": {"x": KEY}})
    )


def test_the_command_line_uses_the_keys_too(articles_db, tmp_path):
    plugins = {"datasette-llm-embed": {"keys": {LOCKED: {"$env": "A_KEY"}}}}
    settings = tmp_path / "metadata.json"
    settings.write_text(json.dumps({"plugins": plugins}))
    command = ["embed", articles_db, "locked", "--table", "articles", "-m", LOCKED]
    done = CliRunner().invoke(
        embeddings, [*map(str, command), "--config", str(settings)]
    )
    assert "6 new" in done.output
    assert set(asked_with()) == {KEY}
