"""Databases that name a folder as their model, in a server."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing

import pytest
from datasette.app import Datasette

from datasette_embeddings.models.onnx import BUNDLED_FOLDER
from datasette_embeddings.web.compat import is_modern
from tests.datasette.conftest import get_json, make_datasette
from tests.hub import link_files

pytestmark = [
    pytest.mark.asyncio,
    # SQLite cannot carry why a function failed
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
    ),
]
SEARCH = "/articles/-/embeddings/articles"
REFUSED = "Search by text is not available here at the moment"


@pytest.fixture
def published(tmp_path, articles_db):
    """A database in a folder of its own, with models inside and outside of it."""
    home = tmp_path / "data"
    home.mkdir()
    link_files(BUNDLED_FOLDER, home / "models" / "mini")
    link_files(BUNDLED_FOLDER, tmp_path / "secret" / "mini")
    (home / "link").symlink_to(tmp_path / "secret" / "mini")
    (home / "models" / "empty").mkdir()
    return shutil.move(articles_db, home / "articles.db")


def set_model(path, model_id):
    with closing(sqlite3.connect(path)) as conn, conn:
        for table in ("collections", "_embedding_collections"):
            conn.execute(f"update {table} set model = ?", [model_id])


async def answers(path, model_id, settings=None):
    """What the page, the JSON and SQL answer where *model_id* is the model."""
    set_model(path, model_id)
    datasette = make_datasette(path, settings=settings, sql_time_limit_ms=60_000)
    # JSON first: it waits for the model, which a page does for a second only
    status, body = await get_json(datasette, f"{SEARCH}.json?q=pets")
    sql = "select json_array_length(embed_search('articles', 'pets', 3)) as n"
    rows = await datasette.client.get(
        "/articles.json", params={"sql": sql, "_shape": "array"}, follow_redirects=True
    )
    page = await datasette.client.get(SEARCH, params={"q": "pets"})
    return (page.status_code, status, rows.status_code), page.text, body


@pytest.mark.parametrize(
    "model_id", ["./models/mini", "models/../models/mini", "{home}/models/mini"]
)
async def test_a_folder_below_that_of_the_database_is_searched(
    published, model_id, monkeypatch, tmp_path
):
    monkeypatch.chdir(published.parent if model_id.startswith("models") else tmp_path)
    model_id = model_id.format(home=published.parent)
    statuses, _page, _body = await answers(published, model_id)
    assert statuses == (200, 200, 200)


@pytest.mark.parametrize(
    "model_id",
    [
        "{outside}/secret/mini",
        "../secret/mini",
        "./models/../../secret/mini",
        "./link",
        "secret/mini",
        # What is not there, or no model, gets the same answer
        "{outside}/nothing/mini",
        "../nothing",
        "./models/empty",
        "./nothing",
        "./models/MINI",
        "sentence-transformers/{outside}/secret/mini",
    ],
)
async def test_another_folder_is_refused_and_nothing_is_told_of_it(
    published, model_id, monkeypatch, tmp_path, caplog
):
    monkeypatch.chdir(tmp_path)
    model_id = model_id.format(outside=tmp_path)
    statuses, page, body = await answers(published, model_id)
    assert statuses == (422, 422, 400)
    assert body["error"].startswith(REFUSED)
    assert "onnx" not in page
    assert "only name a folder that exists below its own" in caplog.text or (
        model_id == "./models/empty"
    )


@pytest.mark.parametrize("name", ["models", "default model", "collection", "key"])
async def test_a_folder_that_the_configuration_names_is_searched(
    published, tmp_path, name
):
    folder = os.path.join(tmp_path, "data", "..", "secret", "mini")
    settings = {
        "models": {"models": {"mine": {"path": folder}}},
        "default model": {"default_model": folder},
        "collection": {"collections": {"x": {"table": "articles", "model": folder}}},
        "key": {"models": {folder: {"threads": 1}}},
    }[name]
    statuses, _page, _body = await answers(published, "../secret/mini", settings)
    assert statuses == (200, 200, 200)


async def test_two_databases_may_call_two_folders_alike(published, tmp_path):
    other = tmp_path / "other" / "other.db"
    other.parent.mkdir()
    shutil.copy(published, other)
    for path in (published, other):
        set_model(path, "./models/mini")
    datasette = make_datasette(published, other)
    status, _body = await get_json(datasette, f"{SEARCH}.json?q=pets")
    assert status == 200
    found = f"{SEARCH}.json?q=pets".replace("/articles/-", "/other/-", 1)
    status, body = await get_json(datasette, found)
    assert (status, REFUSED in body["error"]) == (422, True)


async def test_a_database_in_memory_names_no_folder(tmp_path, published):
    set_model(published, str(published.parent / "models" / "mini"))
    datasette = Datasette(memory=True)
    memory = datasette.add_memory_database("articles")
    await datasette.invoke_startup()

    # 1.0 opens a transaction, within which nothing can be copied
    options = {"transaction": False} if is_modern() else {}

    def copy(conn):
        with closing(sqlite3.connect(published)) as source:
            source.backup(conn)

    await memory.execute_write_fn(copy, **options)
    status, body = await get_json(datasette, f"{SEARCH}.json?q=pets")
    assert (status, REFUSED in body["error"]) == (422, True)
