"""Names of models: those of llm-sentence-transformers, of the hub and of folders."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from datasette_embeddings.config import DEFAULT_MODEL, ModelConfig
from datasette_embeddings.models import hub, registry
from datasette_embeddings.models.base import Wanted
from tests.conftest import write_articles
from tests.hub import llm_environment

GTE = "TaylorAI/gte-tiny"
GTE_OF_LLM = f"sentence-transformers/{GTE}"
QUESTION = "a planet seen through a telescope"


@pytest.mark.parametrize(
    ("names", "expected"),
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
def test_all_names_of_a_model_are_one(names, expected):
    for name in names:
        assert registry.wanted(name, {}) == Wanted(expected or name)
        assert registry.is_same_model(name, names[0])
        configured = {names[0]: ModelConfig(batch_size=7)}
        assert registry.wanted(name, configured).settings.batch_size == 7


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
    found = hub.stored_id(
        model_id, ModelConfig(**settings), has_passage_prompt=has_passage_prompt
    )
    assert found == expected


# The real programs, with the real library and weights


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llm-names")
    (folder / "llm").mkdir()
    registered = json.dumps([{"name": GTE}])
    (folder / "llm" / "sentence-transformers.json").write_text(registered)
    return llm_environment(folder, GTE)


@pytest.fixture
def run(environment):
    """A finished program, which must have succeeded: what it prints."""

    def finished(*arguments, **options):
        done = subprocess.run(
            [sys.executable, "-m", *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            **options,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    return finished


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
    run("llm", "embed-multi", "theirs", "-m", GTE_OF_LLM, "--sql", sql, "-d", database)
    ours = ("datasette", "embeddings")
    found = run(*ours, "search", database, "theirs", QUESTION, "-n", "1")
    assert "Night sky" in found or found.split()[1] == "2"

    # By the name of the hub it is the same collection, and the same vectors
    by_sql = ("--sql", "select id, title || ' ' || body as text from articles")
    again = run(*ours, "embed", database, "theirs", *by_sql, "-m", GTE)
    assert "0 new, 0 changed, 6 unchanged" in again

    run(*ours, "embed", database, "ours", "--table", "articles", "-m", GTE)
    assert models_in(database) == [("ours", GTE_OF_LLM), ("theirs", GTE_OF_LLM)]
    said = run("llm", "similar", "ours", "-c", QUESTION, "-n", "1", "-d", database)
    assert '{"id": "2",' in said
