"""What visitors of a server may send to a model of images."""

from __future__ import annotations

import base64
import random
import sqlite3

import pytest
from datasette.app import Datasette
from PIL import Image

from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.from_config import source_from_config
from tests.drawings import draw, file_of
from tests.images.conftest import HELD_OUT, TINY_CLIP
from tests.images.test_image_decoding import one_bit_png, tiff

SIDE = 5_001
TOO_MANY = "Expected images of at most 25,000,000 pixels together, found 25,010,001"
SEARCH = "/shop/-/embeddings/photos"
EMBED = "/-/embeddings/embed.json"
GOOD = file_of(draw(HELD_OUT[0], random.Random(3)))


@pytest.fixture
def datasette(tmp_path, clip):
    """A server with a table of photos, one of them too large for visitors."""
    path = tmp_path / "shop.db"
    conn = sqlite3.connect(path)
    conn.execute("create table photos (id integer primary key, name text, photo blob)")
    photos = [(1, "good", GOOD), (2, "dot", file_of(Image.new("RGB", (1, 1))))]
    conn.executemany("insert into photos values (?, ?, ?)", photos)
    settings = CollectionConfig(table="photos", images=True)
    ingest(conn, "photos", source_from_config(conn, settings), clip)
    conn.execute("insert into photos values (3, 'large', ?)", [one_bit_png(SIDE)])
    conn.commit()
    conn.close()
    models = {str(TINY_CLIP): {}}
    return Datasette(
        [str(path)], config={"plugins": {"datasette-embeddings": {"models": models}}}
    )


def in_base64(content):
    return base64.b64encode(content).decode()


async def answer(datasette, path, body):
    """The status, and the error or the answer, of a POST."""
    found = (await datasette.client.post(path, json=body)).json()
    return found.get("status", 200), found.get("error", found)


@pytest.mark.asyncio
@pytest.mark.parametrize("path", [f"{SEARCH}.json", EMBED])
async def test_a_small_body_of_many_pixels_is_refused_before_it_is_decoded(
    datasette, path, monkeypatch
):
    def asked(content):
        image = in_base64(content)
        return (
            {"image": image}
            if path != EMBED
            else {"model": str(TINY_CLIP), "input": [{"image": image}]}
        )

    assert (await answer(datasette, path, asked(GOOD)))[0] == 200
    monkeypatch.setattr("datasette_embeddings.images._upright", pytest.fail)
    status, error = await answer(datasette, path, asked(one_bit_png(SIDE)))
    assert (status, error.partition(";")[0]) == (400, TOO_MANY)


@pytest.mark.asyncio
async def test_the_pixels_of_a_request_count_together(datasette, monkeypatch):
    monkeypatch.setattr("datasette_embeddings.images._upright", pytest.fail)
    images = [{"image": in_base64(one_bit_png(2_000))}] * 7
    body = {"model": str(TINY_CLIP), "input": ["a text", *images]}
    status, error = await answer(datasette, EMBED, body)
    assert status == 400
    assert "at most 25,000,000 pixels together, found 28,000,000" in error


@pytest.mark.filterwarnings(
    # Datasette has sqlite3 write the traceback of a function that fails
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.asyncio
async def test_sql_embeds_no_larger_images_than_visitors_send(datasette, monkeypatch):
    sql = f"select length(embed('{TINY_CLIP}', photo)) from photos where id = "
    path = "/shop/-/query.json?_shape=arrayfirst&sql="
    found = await datasette.client.get(f"{path}{sql}1")
    assert found.json() == [256]
    monkeypatch.setattr("datasette_embeddings.images._upright", pytest.fail)
    found = await datasette.client.get(f"{path}{sql}3")
    assert found.status_code == 400


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "content",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        GOOD[:40],
        tiff({256: 9, 257: 9, 322: 30_000, 323: 30_000, 324: 8, 325: 8}, b""),
    ],
    ids=["EPS", "SVG", "cut", "tile"],
)
async def test_what_is_no_whole_image_is_one_sentence(datasette, content):
    body = {"image": in_base64(content)}
    status, error = await answer(datasette, f"{SEARCH}.json", body)
    assert status == 400
    assert error.startswith("Expected ")
    assert len(error) <= 300
