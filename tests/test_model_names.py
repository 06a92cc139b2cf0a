"""Names of models: those of llm-sentence-transformers, of the hub and of folders."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from llm.cli import cli as llm

from datasette_embeddings import register
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import DEFAULT_MODEL, ModelConfig
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models import names, registry
from datasette_embeddings.models.names import ModelSpec, stored_name
from datasette_embeddings.models.onnx import BUNDLED_FOLDER
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.search.answers import search_text
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import collection
from tests import programs
from tests.conftest import write_articles
from tests.hub import link_files, write_hub_cache

GTE = "TaylorAI/gte-tiny"
GTE_OF_LLM = f"sentence-transformers/{GTE}"
QUESTION = "a planet seen through a telescope"


@pytest.mark.parametrize(
    ("aliases", "expected"),
    [
        ((GTE, GTE_OF_LLM), GTE),
        (
            ("all-MiniLM-L6-v2", f"sentence-transformers/{DEFAULT_MODEL}", "mini-l6"),
            DEFAULT_MODEL,
        ),
        (("sentence-transformers/all-mpnet-base-v2",), None),
        (("text-embedding-3-small",), None),
        (("open_clip/ViT-B-32/openai",), None),
    ],
)
def test_all_names_of_a_model_are_one(aliases, expected):
    for name in aliases:
        assert registry.model_spec(name, {}) == ModelSpec(expected or name)
        assert names.is_same_model(name, aliases[0])
        configured = {aliases[0]: ModelConfig(batch_size=7)}
        assert registry.model_spec(name, configured).config.batch_size == 7


@pytest.mark.parametrize(
    ("model_id", "settings", "has_passage_prompt", "expected"),
    [
        (GTE, {"batch_size": 7, "query_prompt": "q: "}, False, GTE_OF_LLM),
        (GTE_OF_LLM, {}, False, GTE_OF_LLM),
        (DEFAULT_MODEL, {}, False, DEFAULT_MODEL),
        # llm would make other vectors
        ("intfloat/e5-small-v2", {}, True, "intfloat/e5-small-v2"),
        (GTE, {"dimensions": 64}, False, GTE),
        (GTE, {"revision": "v1"}, False, GTE),
        # What the configuration calls so is nothing to llm
        ("mine", {"model": GTE}, False, "mine"),
        ("some/name", {"path": "/data/models/mine"}, False, "some/name"),
        ("/data/models/mine", {}, False, "/data/models/mine"),
    ],
)
def test_a_collection_carries_the_id_of_llm_where_llm_makes_the_same_vectors(
    model_id, settings, has_passage_prompt, expected
):
    found = names.llm_id(
        model_id, ModelConfig(**settings), has_passage_prompt=has_passage_prompt
    )
    assert found == expected


# Folders


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A database and a model in folders beside each other, and a place elsewhere."""
    for name in ("project/data", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    link_files(BUNDLED_FOLDER, tmp_path / "project" / "models" / "mini")
    with closing(sqlite3.connect(tmp_path / "project" / "data" / "a.db")) as conn:
        write_articles(conn)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr(registry, "_loaded", {})
    return tmp_path / "project"


def command(*arguments):
    """What a command that must succeed prints."""
    done = CliRunner().invoke(embeddings, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    return done.output


EMBED = ("embed", "data/a.db", "notes", "--table", "articles")
NOTED = [("notes", "../models/mini")]


@pytest.mark.parametrize(
    "typed",
    ["./models/mini", "models/mini", "{here}/models/mini", "data/../models/mini"],
)
def test_a_folder_is_stored_from_the_database_and_found_from_anywhere(
    project, tmp_path, monkeypatch, typed
):
    command(*EMBED, "--model", typed.format(here=project))
    assert models_in("data/a.db") == NOTED
    assert "6 unchanged" in command(*EMBED, "-m", "models/mini")

    moved = tmp_path / "moved"
    project.rename(moved)
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(registry, "_loaded", {})
    database = moved / "data" / "a.db"
    found = command("search", database, "notes", QUESTION, "-n", "1", "--format", "nl")
    assert json.loads(found)["id"] == "2"
    assert "6 unchanged" in command("sync", database)
    assert "6 new" in command("sync", database, "--rebuild")
    assert models_in(database) == NOTED
    listed = json.loads(command("models", "list", database, "--format", "json"))
    assert [each["ready"] for each in listed if each["model"] == NOTED[0][1]] == [True]
    with closing(sqlite3.connect(database)) as conn:
        register(conn)
        sql = "select json_extract(embed_search('notes', ?, 1), '$[0].id')"
        assert conn.execute(sql, [QUESTION]).fetchone() == ("2",)


def test_a_folder_that_python_loads_is_stored_from_the_database(project):
    with closing(sqlite3.connect("data/a.db")) as conn:
        model = load_model("models/mini")
        ingest(conn, "notes", table_source(conn, "articles"), model)
        found = collection(conn, "notes")
        assert search_text(found, QUESTION, model=model)[0].id == "2"
    assert models_in("data/a.db") == NOTED


def test_another_folder_is_another_model(project):
    command(*EMBED, "-m", "models/mini")
    link_files(BUNDLED_FOLDER, project / "data" / "models" / "mini")
    done = CliRunner().invoke(embeddings, [*EMBED, "-m", "data/models/mini"])
    assert "holds vectors of '../models/mini', not of" in done.output


@pytest.mark.parametrize("typed", ["./models/mini", "models/mini"])
def test_a_path_as_0_2a0_stored_it_is_read_from_where_the_program_runs(
    project, typed, monkeypatch
):
    command(*EMBED, "-m", "models/mini")
    with closing(sqlite3.connect("data/a.db")) as conn, conn:
        for table in ("collections", "_embedding_collections"):
            conn.execute(f"update {table} set model = ?", [typed])
    monkeypatch.setattr(registry, "_loaded", {})
    assert "Night sky" in command("search", "data/a.db", "notes", QUESTION, "-n", "1")
    assert "6 unchanged" in command("sync", "data/a.db")
    assert "6 unchanged" in command(*EMBED, "-m", "./models/mini")


@pytest.mark.parametrize(
    ("name", "home", "expected"),
    [
        ("/srv/site/models/mini", "/srv/site", "./models/mini"),
        ("/srv/site", "/srv/site", "."),
        ("/srv/models/mini", "/srv/site/data", "../../models/mini"),
        # They share no folder but the root
        ("/models/mini", "/srv/site", "/models/mini"),
        ("/srv/site/models/mini", None, "/srv/site/models/mini"),
        ("text-embedding-3-small", "/srv/site", "text-embedding-3-small"),
        ("./models/mini", "/srv/site", "./models/mini"),
    ],
)
def test_how_a_path_is_stored(name, home, expected):
    assert stored_name(name, None if home is None else Path(home)) == expected


@pytest.mark.parametrize(
    "settings",
    [
        "{models: {mine: {path: ./models/mini}}, default_model: mine}",
        "{models: {./models/mini: {query_prompt: 'q'}}, default_model: ./models/mini}",
        "{collections: {notes: {table: articles, model: ./models/mini}}}",
    ],
    ids=["path", "name", "collection"],
)
def test_paths_of_the_settings_start_at_their_file(
    project, tmp_path, monkeypatch, settings
):
    (project / "m.yml").write_text(f"plugins: {{datasette-embeddings: {settings}}}")
    monkeypatch.chdir(tmp_path / "elsewhere")
    database, options = project / "data" / "a.db", ("--config", project / "m.yml")
    if "collections" in settings:
        assert "6 new" in command("sync", database, *options)
    else:
        embed = ("embed", database, "notes", "--table", "articles", "--config")
        assert "6 new" in command(*embed, project / "m.yml")
    stored = "mine" if "mine" in settings else NOTED[0][1]
    assert models_in(database) == [("notes", stored)]
    search = ("search", database, "notes", QUESTION, "-n", "1", "--format", "nl")
    assert json.loads(command(*search, *options))["id"] == "2"


# The real programs, with the real library and weights


@pytest.fixture
def run(tmp_path, monkeypatch):
    """What a command prints, with the model in the hub's cache, and no network."""
    write_hub_cache(tmp_path, GTE)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "llm").mkdir()
    registered = json.dumps([{"name": GTE}])
    (tmp_path / "llm" / "sentence-transformers.json").write_text(registered)
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    monkeypatch.setattr(registry, "_loaded", {})

    def printed(command, *arguments):
        done = programs.run(command, *arguments)
        return done.stdout + done.stderr

    return printed


def models_in(database):
    with closing(sqlite3.connect(database)) as conn:
        return conn.execute(
            "select name, model from collections order by name"
        ).fetchall()


def test_each_program_finds_the_model_of_the_other(run, tmp_path):
    database = tmp_path / "shared.db"
    with closing(sqlite3.connect(database)) as conn:
        write_articles(conn)
    sql = "select id, title || ' ' || body from articles"
    run(llm, "embed-multi", "theirs", "-m", GTE_OF_LLM, "--sql", sql, "-d", database)
    found = run(embeddings, "search", database, "theirs", QUESTION, "-n", "1")
    assert "Night sky" in found or found.split()[1] == "2"

    # By the name of the hub it is the same collection, and the same vectors
    by_sql = ("--sql", "select id, title || ' ' || body as text from articles")
    again = run(embeddings, "embed", database, "theirs", *by_sql, "-m", GTE)
    assert "0 new, 0 changed, 6 unchanged" in again

    run(embeddings, "embed", database, "ours", "--table", "articles", "-m", GTE)
    assert models_in(database) == [("ours", GTE_OF_LLM), ("theirs", GTE_OF_LLM)]
    said = run(llm, "similar", "ours", "-c", QUESTION, "-n", "1", "-d", database)
    assert '{"id": "2",' in said
