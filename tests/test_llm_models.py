"""Models of llm's plugins through our door, and both programs on one collection."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
from click.testing import CliRunner
from llm import Collection
from llm.cli import cli as llm
from llm.plugins import pm
from sqlite_utils import Database

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import DEFAULT_MODEL, ModelConfig
from datasette_embeddings.errors import InvalidInputError, ModelError, UnknownModelError
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models import llm_models, registry
from datasette_embeddings.models.names import ModelSpec, Unavailable
from datasette_embeddings.models.registry import find, load_model, model_spec
from datasette_embeddings.search.answers import similar_items
from datasette_embeddings.search.matches import has_images
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import collection
from datasette_embeddings.vectors import decode
from tests import llm_plugin, programs
from tests.hub import MODEL_ID
from tests.programs import go_home, write_llm_home

LETTERS = llm_plugin.Letters.model_id
TEXTS = [f"text {number}" for number in range(10)]
QUESTION = "a planet seen through a telescope"


@pytest.fixture(autouse=True)
def _plugin(monkeypatch, tmp_path):
    """llm with a plugin of ours, and nothing that the person who tests has set."""
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    monkeypatch.setattr(registry, "_loaded", {})
    llm_models._by_name.cache_clear()
    pm.register(llm_plugin, "of-the-test")
    yield
    pm.unregister(name="of-the-test")
    llm_models._by_name.cache_clear()


def loaded(model_id, **settings):
    return load_model(model_id, {model_id: ModelConfig(**settings)})


def plugged(model):
    """The model of the plugin that *model* stands for."""
    return model._model


def problem_of(model, contents=("text",)):
    with pytest.raises(ModelError) as raised:
        model.embed_passages(list(contents))
    return str(raised.value)


@pytest.mark.parametrize("name", [LETTERS, "abc"], ids=["id", "alias"])
def test_a_model_is_found_by_id_and_alias_and_called_by_its_id(name):
    model = load_model(name)
    assert (model.model_id, model.runtime, model.is_remote) == (LETTERS, "llm", True)
    assert (model.dimensions, model.max_tokens, model.supports_images) == (
        None,
        None,
        False,
    )
    vectors = model.embed_passages(TEXTS)
    expected = [llm_plugin.Letters.vector(text) for text in TEXTS]
    assert np.array_equal(vectors, np.array(expected, dtype=np.float32))
    assert model.dimensions == 8


def test_an_alias_that_a_person_gave_is_one_too(tmp_path):
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "aliases.json").write_text(json.dumps({"mine": LETTERS}))
    assert load_model("mine").model_id == LETTERS


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [({}, [4, 4, 2]), ({"batch_size": 7}, [7, 3])],
    ids=["its own", "of the settings"],
)
def test_texts_go_in_batches(settings, sizes):
    model, done = loaded(LETTERS, **settings), []
    model.embed_passages(TEXTS, progress=done.append)
    assert [len(each) for each in plugged(model).asked] == sizes == done


def test_a_batch_that_memory_does_not_hold_is_halved():
    model = load_model(llm_plugin.Crowded.model_id)
    assert model.embed_passages(TEXTS).shape == (10, 8)
    assert {len(each) for each in plugged(model).asked} == {2}


def test_prompts_of_the_settings_go_before_the_texts():
    model = loaded(LETTERS, query_prompt="q: ", passage_prompt="p: ")
    model.embed_passages(["a"])
    model.embed_query("b")
    assert plugged(model).asked == [["p: a"], ["q: b"]]


def test_no_texts_are_no_run():
    model = load_model(LETTERS)
    assert model.embed_passages([]).shape == (0, 0)
    assert plugged(model).asked == []


def test_keys_come_from_the_settings_or_from_llm(tmp_path, monkeypatch):
    name = llm_plugin.Locked.model_id
    said = problem_of(load_model(name))
    assert "No key found - add one using 'llm keys set locked'" in said
    monkeypatch.setenv("LOCKED_KEY", "from-the-environment")
    for settings in ({}, {"api_key": "from-the-settings"}):
        loaded(name, **settings).embed_query("text")
    (tmp_path / "llm" / "keys.json").write_text(json.dumps({"locked": "from-llm"}))
    model = load_model(name)
    model.embed_query("text")
    assert plugged(model).keys == [
        "from-the-environment",
        "from-the-settings",
        "from-llm",
    ]


def test_a_plugin_that_fails_is_quoted_without_the_key():
    said = problem_of(
        loaded(llm_plugin.Locked.model_id, api_key="sk-a-secret"), ["poison"]
    )
    assert said == (
        "The model 'locked-of-the-test' of llm fails: I cannot take 'poison', nor ***"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([], "gave 0 vectors for 1 contents"),
        ([[1.0], [2.0]], "gave 2 vectors for 1 contents"),
        ([[]], "no vector"),
        ([None], "no vector"),
        ([["a"]], "could not convert"),
        ([[1.0, float("nan")]], "not finite"),
        ([[1e300]], "not finite"),
    ],
)
def test_what_is_no_vector_is_told(answer, said):
    model = load_model(llm_plugin.Wrong.model_id)
    plugged(model).answer = answer
    assert said in problem_of(model)


def test_another_length_than_before_is_told():
    model = load_model(llm_plugin.Wrong.model_id)
    plugged(model).answer = [[1.0, 2.0]]
    model.embed_passages(["text"])
    plugged(model).answer = [[1.0, 2.0, 3.0]]
    assert "of 3 dimensions where 2 were expected" in problem_of(model)


def test_a_model_of_images_takes_images():
    model = load_model("eyes-of-the-test")
    assert (model.supports_text, model.supports_images) == (False, True)
    image = b"\x89PNG\r\n\x1a\n..."
    expected = np.array([llm_plugin.Images.vector(image)], dtype=np.float32)
    assert np.array_equal(model.embed_images([image]), expected)
    assert "takes images, not texts" in problem_of(model)


@pytest.mark.parametrize(
    "content", [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>", b"", b"II+\0"], ids=str
)
def test_a_plugin_is_given_nothing_but_the_formats_that_are_named(content, monkeypatch):
    model = load_model("images-of-the-test")
    monkeypatch.setattr(type(plugged(model)), "embed_batch", pytest.fail)
    with pytest.raises(
        InvalidInputError, match="Expected an image, JPEG, PNG, GIF, WebP"
    ):
        model.embed_images([content])


def test_a_model_of_bytes_is_given_files_of_any_kind(tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    for name in ("a.wav", "b.wav", "c.wav"):
        (folder / name).write_bytes(b"RIFF" + name.encode())
    (folder / "d.wav").write_bytes(b"silence")
    db = str(tmp_path / "a.db")
    arguments = ["embed", db, "sounds", str(folder), "--silent", "--binary"]
    run = CliRunner().invoke(embeddings, [*arguments, "-m", "ears-of-the-test"])
    assert (run.exit_code, run.stderr) == (
        2,
        "sounds: 3 new, 0 changed, 0 unchanged, 1 failed; the next run tries again\n"
        "  d.wav: The model 'ears-of-the-test' of llm fails: I hear nothing\n",
    )
    with closing(sqlite3.connect(db)) as conn:
        rows = conn.execute(
            """
            select id, embedding, content_blob, json_extract(metadata, '$.kind')
            from embeddings
            """
        ).fetchall()
    for item_id, vector, content, kind in rows:
        assert (content, kind) == (b"RIFF" + item_id.encode(), "audio")
        expected = np.array(llm_plugin.Ears.vector(content), dtype=np.float32)
        assert np.array_equal(decode(vector), expected)
    with closing(sqlite3.connect(db)) as conn:
        sounds = collection(conn, "sounds")
        found = similar_items(sounds, "a.wav")
        assert [match.has_image for match in found] == [False, False]
        assert not has_images(sounds)
    (folder / "d.wav").unlink()
    again = CliRunner().invoke(embeddings, ["sync", db, "--silent"])
    assert again.stderr == "sounds: 0 new, 0 changed, 3 unchanged\n"


def test_a_model_that_takes_no_bytes_is_refused_with_binary(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    arguments = ["embed", tmp_path / "a.db", "x", tmp_path, "--binary", "-m", LETTERS]
    result = CliRunner().invoke(embeddings, list(map(str, arguments)))
    assert result.exit_code == 1
    assert "does not take files of any kind; choose a model of llm" in result.output


def test_a_model_of_texts_takes_no_images():
    with pytest.raises(ModelError, match="takes texts, not images"):
        load_model(LETTERS).embed_images([b"\x89PNG"])


def test_a_model_that_no_plugin_registers_is_told_with_those_that_are_like_it():
    with pytest.raises(UnknownModelError) as raised:
        load_model("leters-of-the-test")
    said = "llm: no installed plugin registers 'leters-of-the-test'; there are letters-"
    assert said in "\n".join(raised.value.reasons)
    assert str(raised.value).endswith(
        "is not available. Did you mean 'letters-of-the-test', a model of llm?"
    )


def test_a_length_cannot_be_chosen():
    found = llm_models.find(ModelSpec(LETTERS, ModelConfig(dimensions=4)))
    assert isinstance(found, Unavailable)
    assert "leave out 'dimensions'" in found.reason


def test_a_plugin_that_cannot_be_loaded_is_told(monkeypatch):
    monkeypatch.setattr(llm_plugin, "Letters", None)
    found = llm_models.find(ModelSpec("abc"))
    assert isinstance(found, Unavailable)
    assert "a plugin cannot be loaded: TypeError" in found.reason


def test_without_llm_the_way_to_it_is_told(monkeypatch):
    monkeypatch.setattr(llm_models, "find_spec", lambda _name: None)
    found = llm_models.find(ModelSpec("abc"))
    assert isinstance(found, Unavailable)
    assert "pip install 'llm>=" in found.reason


def test_llm_is_not_imported_where_it_is_not_needed():
    code = (
        "import sys; from datasette_embeddings.models.registry import load_model;"
        f"load_model({DEFAULT_MODEL!r}); print('llm' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("configured", "settings"),
    [
        (LETTERS, {}),
        ("abc", {}),
        ("mine", {"model": "abc"}),
        ("mine", {"model": LETTERS, "runtime": "llm"}),
    ],
)
@pytest.mark.parametrize("asked", [LETTERS, "abc"])
def test_the_settings_of_a_model_are_found_by_any_of_its_names(
    configured, settings, asked
):
    models = {
        "other": ModelConfig(url="http://127.0.0.1:1/v1"),
        configured: ModelConfig(query_prompt="q: ", **settings),
    }
    found = model_spec(asked, models)
    assert found == ModelSpec(configured, models[configured])
    assert load_model(asked, models) is load_model(configured, models)


def test_the_bundled_model_stays_what_serves_its_id(tmp_path):
    models = {"mine": ModelConfig(runtime="llm", model=MODEL_ID)}
    assert model_spec(MODEL_ID, models) == ModelSpec(MODEL_ID)
    models = {MODEL_ID: ModelConfig(runtime="llm")}
    assert find(model_spec("mini-l6", models)).runtime == "llm"


def test_one_text_that_the_plugin_cannot_take_fails_alone(conn):
    conn.execute("create table notes (id integer primary key, body text)")
    rows = [[f"note {n}" if n != 7 else "poison"] for n in range(30)]
    conn.executemany("insert into notes (body) values (?)", rows)
    report = ingest(conn, "notes", table_source(conn, "notes"), load_model("abc"))
    assert (report.new, report.failed) == (29, 1)
    assert "I cannot take 'poison'" in report.failures[0].error
    assert conn.execute("select model from collections").fetchone() == (LETTERS,)


def test_an_alias_makes_the_collection_that_llm_makes_of_it(conn):
    notes = [(str(number), text) for number, text in enumerate(TEXTS)]
    Collection("notes", Database(conn), model_id="abc").embed_multi(notes)
    conn.execute("create table notes (id integer primary key, body text)")
    conn.executemany("insert into notes values (?, ?)", [*notes, (10, "a new one")])
    model = load_model("abc")
    report = ingest(conn, "notes", table_source(conn, "notes"), model)
    assert (report.new, report.unchanged) == (1, 10)
    assert plugged(model).asked[-1] == ["a new one"]
    ours = Collection("notes", Database(conn), create=False)
    assert [each.id for each in ours.similar("a new one", number=1)] == ["10"]


# The real programs, with the real model


@pytest.fixture
def run(tmp_path, monkeypatch, _plugin):
    """What a command prints that is run beside the real model."""
    write_llm_home(tmp_path)
    go_home(monkeypatch, tmp_path)
    return lambda command, *arguments: programs.run(command, *arguments).stdout


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "metadata.yml"
    models = f"x: {{runtime: llm, model: {MODEL_ID}}}"
    path.write_text(f"plugins: {{datasette-embeddings: {{models: {{{models}}}}}}}")
    return path


def test_both_programs_give_the_same_vectors_and_share_a_collection(
    run, settings, articles_db
):
    texts = [text for _id, text in articles(articles_db)]
    run(
        *(embeddings, "embed", articles_db, "by-llm", "--table", "articles"),
        *("-m", "x", "--config", settings),
    )
    found = vectors(articles_db, "by-llm")
    for item_id, text in articles(articles_db)[:2]:
        asked = ("embed", "-m", MODEL_ID, "-c", text, "--format", "json")
        [said] = run(llm, *asked).splitlines()
        expected = np.array(json.loads(said), dtype=np.float32)
        assert np.abs(found[item_id] - expected).max() <= 1e-6
    assert len(found) == len(texts)
    listed = json.loads(
        run(llm, "collections", "list", "--database", articles_db, "--json")
    )
    assert {"name": "by-llm", "model": MODEL_ID, "num_embeddings": 6} in listed
    question = ("similar", "by-llm", "-c", QUESTION, "-n", "1")
    assert json.loads(run(llm, *question, "-d", articles_db))["id"] == "2"
    run(llm, "embed", "by-llm", "7", "-c", "Jupiter and Mars", "-d", articles_db)
    search = (embeddings, "search", articles_db, "by-llm", QUESTION, "-n", "2")
    lines = run(*search, "--format", "nl", "--config", settings).splitlines()
    assert {json.loads(line)["id"] for line in lines} == {"2", "7"}


def articles(database):
    """Each article's id and the text that is embedded of it."""
    with closing(sqlite3.connect(database)) as conn:
        rows = conn.execute("select id, title || ' ' || body from articles order by id")
        return [(str(item_id), text) for item_id, text in rows]


def vectors(database, collection):
    with closing(sqlite3.connect(database)) as conn:
        rows = conn.execute(
            """
            select embeddings.id, embedding
            from embeddings
            join collections on collections.id = collection_id
            where name = ?
            """,
            [collection],
        )
        return {item_id: decode(vector) for item_id, vector in rows}
