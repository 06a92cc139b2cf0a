"""Captions that a plugin wrote: the search page, the JSON API, and llm show them."""

from __future__ import annotations

import sqlite3
from types import SimpleNamespace

import pytest
import sqlite_utils
from bs4 import BeautifulSoup
from datasette import hookimpl
from datasette.plugins import pm

from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models import registry
from datasette_embeddings.sources.from_config import source_from_config
from tests.datasette.conftest import get_json, make_datasette
from tests.datasette.image_tables import EYES, write_images
from tests.models import Eyes, runtimes_with

SEARCH = "/shop/-/embeddings/images"


@hookimpl
def captions():
    return {"ordinal": lambda image: f"Penguin of {len(image)} bytes"}


@pytest.fixture
def shop_db(tmp_path):
    """A collection of images with captions, whose plugin is no longer installed."""
    path = tmp_path / "shop.db"
    conn = sqlite3.connect(path)
    write_images(conn)
    config = CollectionConfig(table="images", images=True, caption="ordinal")
    plugin = SimpleNamespace(register_embedding_captions=captions)
    pm.register(plugin)
    ingest(conn, "images", source_from_config(conn, config), Eyes())
    pm.unregister(plugin)
    conn.close()
    return path


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["words", "both"])
async def test_an_image_is_found_and_shown_with_its_caption(shop_db, monkeypatch, mode):
    monkeypatch.setattr(registry, "RUNTIMES", runtimes_with(Eyes()))
    monkeypatch.setattr(registry, "_loaded", {})
    shop = make_datasette(shop_db, settings=EYES)
    _status, answer = await get_json(
        shop, f"{SEARCH}.json?q=penguins&_mode={mode}&_size=3"
    )
    assert answer["mode"] == mode
    for match in answer["matches"]:
        assert "words" in match["matched"]
        assert match["content"].startswith("Penguin of")
        assert match["image_url"].startswith(f"{SEARCH}/image/")
    response = await shop.client.get(f"{SEARCH}?q=penguins&_mode={mode}&_size=3")
    page = BeautifulSoup(response.text, "html.parser")
    first = page.select_one(".embeddings-results li")
    assert first.select_one(".embeddings-snippet").text.startswith("Penguin of")
    assert first.select_one(".embeddings-thumbnail img") is not None


def test_llm_reads_the_caption_of_an_image(shop_db):
    # The tests of Datasette 1.0 run without it
    llm = pytest.importorskip("llm")
    database = sqlite_utils.Database(shop_db)
    read = llm.Collection("images", database, model_id="eyes")
    contents = {each.id: each.content for each in read.similar_by_vector([1.0] * 4)}
    assert len(contents) == read.count() == 6
    assert contents["1"].startswith("Penguin of")
