"""What visitors read where something is not there, and what the log keeps of it."""

from __future__ import annotations

import pytest
from bs4 import BeautifulSoup

from datasette_embeddings.models import registry
from datasette_embeddings.serving import allowed_models
from tests.datasette.conftest import execute, get_json, make_datasette
from tests.models import Eyes, runtimes_with

pytestmark = pytest.mark.asyncio

COLLECTION = "/articles/-/embeddings/articles"
NO_TEXT = "Search by text is not available here at the moment"
OF_OWNERS = ("pip install", "--config", "onnx", "far/away' is not", "Tried", "runtime")


@pytest.fixture
def without_model(articles_db):
    execute(articles_db, "update collections set model = 'far/away'")
    allowed_models.log_once.cache_clear()
    return make_datasette(articles_db)


def parsed(response):
    return BeautifulSoup(response.text, "html.parser")


async def test_a_model_that_can_never_load_is_no_wait(without_model, caplog):
    response = await without_model.client.get(f"{COLLECTION}?q=pets")
    status = parsed(response).select_one("#embeddings-status")
    assert (response.status_code, NO_TEXT in status.text) == (422, True)
    assert [each for each in OF_OWNERS if each in status.text] == []
    assert [record.message for record in caplog.records if "onnx: " in record.message]


async def test_more_like_this_works_without_the_model(without_model):
    response = await without_model.client.get(f"{COLLECTION}?like=5")
    assert response.status_code == 200
    assert len(parsed(response).select(".embeddings-results li")) == 5


async def test_json_says_the_same_with_the_same_status(without_model):
    status, body = await get_json(without_model, f"{COLLECTION}.json?q=pets")
    assert (status, body["error"].startswith(NO_TEXT)) == (422, True)
    response = await without_model.client.post(
        f"{COLLECTION}.json", json={"image": "iVBORw0KGgo="}
    )
    assert response.status_code == 422
    assert response.json()["error"].startswith("Search by image is not available")


@pytest.mark.parametrize(
    ("model_id", "is_allowed"), [("far/away", 0), (None, 0), ("eyes", 1)], ids=str
)
async def test_an_image_is_asked_for_where_the_model_takes_one(
    articles_db, monkeypatch, model_id, is_allowed
):
    monkeypatch.setattr(registry, "RUNTIMES", runtimes_with(Eyes()))
    image = "update embeddings set content_blob = x'89504e470d0a1a0a' where id = '1'"
    execute(articles_db, image)
    if model_id is not None:
        execute(articles_db, f"update collections set model = '{model_id}'")
    response = await make_datasette(articles_db).client.get(COLLECTION)
    assert len(parsed(response).select("#embeddings-image")) == is_allowed


async def test_an_unknown_item_is_told_in_words_of_visitors(datasette):
    response = await datasette.client.get(f"{COLLECTION}?like=nothing")
    status = parsed(response).select_one("#embeddings-status").text
    assert response.status_code == 404
    assert "There is no item called nothing here" in status
    assert "primary key" not in status


async def test_the_box_takes_no_more_than_may_be_asked(articles_db):
    datasette = make_datasette(articles_db, settings={"max_query_length": 77})
    box = parsed(await datasette.client.get(COLLECTION)).select_one("#embeddings-q")
    assert box["maxlength"] == "77"
