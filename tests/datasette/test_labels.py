"""The labels of a text, an item and a picture, over HTTP."""

from __future__ import annotations

import base64
import json
import sqlite3

import pytest

from datasette_embeddings.models import registry
from datasette_embeddings.serving.allowed_models import AllowedModel
from tests.datasette.conftest import execute, get_json, make_datasette
from tests.datasette.image_tables import COLOURS, collect_images, png, write_images
from tests.models import Eyes, runtimes_with

pytestmark = pytest.mark.asyncio

PAGE = "/articles/-/embeddings/articles/labels"
JSON = f"{PAGE}.json"
LABELS = ["planets", "pets", "bread"]
QUERY = "labels=planets,+pets%0Abread"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """Images whose model is a stand-in."""
    monkeypatch.setattr(registry, "RUNTIMES", runtimes_with(Eyes()))
    path = tmp_path / "shop.db"
    conn = sqlite3.connect(path)
    write_images(conn)
    collect_images(conn)
    conn.close()
    return make_datasette(path, settings={"models": {"eyes": {}}})


async def test_a_text_has_labels_the_most_probable_first(datasette):
    status, body = await get_json(datasette, f"{JSON}?{QUERY}&q=Saturn+and+Mars")
    assert (status, body["ok"], body["collection"]) == (200, True, "articles")
    assert body["labels"][0]["label"] == "planets"
    assert {each["label"] for each in body["labels"]} == set(LABELS)
    assert sum(each["probability"] for each in body["labels"]) == pytest.approx(1)
    assert body["scale"] == 20
    status, rows = await get_json(
        datasette, f"{JSON}?{QUERY}&q=Saturn+and+Mars&_shape=array"
    )
    assert rows == body["labels"]


async def test_a_body_asks_the_same(datasette):
    async def post(**body):
        response = await datasette.client.post(JSON, json=body)
        return response.status_code, response.json()

    status, body = await post(labels=LABELS, text="Saturn and Mars")
    _status, expected = await get_json(datasette, f"{JSON}?{QUERY}&q=Saturn+and+Mars")
    assert (status, body["labels"]) == (200, expected["labels"])
    status, by_item = await post(labels=LABELS, like="1")
    assert (status, len(by_item["labels"])) == (200, 3)
    status, other = await post(labels=LABELS, text="Saturn", template="a book on {}")
    assert status == 200
    assert other["labels"] != body["labels"]


async def test_an_item_is_that_of_the_collection(datasette):
    status, body = await get_json(datasette, f"{JSON}?{QUERY}&like=none")
    assert (status, body["ok"]) == (404, False)
    page = await datasette.client.get(f"{PAGE}?{QUERY}&like=1")
    assert page.status_code == 200
    assert "most probably" in page.text


async def test_a_picture_has_labels(shop):
    page = "/shop/-/embeddings/images/labels"
    labels = [png(colour).hex() for colour in COLOURS.values()][:3]
    image = base64.b64encode(png(COLOURS["Red"])).decode()
    # The stand-in has one vector for the bytes and their digits
    labels = ["x", "y"]
    response = await shop.client.post(
        f"{page}.json", json={"labels": labels, "image": image}
    )
    assert (response.status_code, len(response.json()["labels"])) == (200, 2)
    response = await shop.client.post(
        f"{page}?labels=x,y", json={"image": f"data:image/png;base64,{image}"}
    )
    assert response.status_code == 200
    assert "Your image: most probably" in " ".join(response.text.split())
    assert 'id="embeddings-file"' in response.text


async def test_texts_take_no_picture(datasette):
    response = await datasette.client.get(PAGE)
    assert 'id="embeddings-file"' not in response.text
    image = base64.b64encode(png(COLOURS["Red"])).decode()
    response = await datasette.client.post(
        JSON, json={"labels": LABELS, "image": image}
    )
    assert response.status_code == 422
    assert "cannot be labelled here" in response.json()["error"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("q=x", "labels: expected labels, found none"),
        (f"{QUERY}", "Expected one of q, like; found none"),
        (f"{QUERY}&q=x&like=1", "either q or like"),
        ("labels=cat&q=x", "at least two"),
        ("labels=,,%0A&q=x", "at least two"),
        (f"{QUERY}&q=%20", "found an empty one"),
        (f"{QUERY}&q=x&_template=none", "a template with one"),
        (f"{QUERY}&q=x&_size=3", "Unknown parameter '_size'"),
        (f"{QUERY}&q={'x' * 2_001}", "at most 2,000 characters"),
        (f"labels=a,{'x' * 2_001}&q=x", "at most 2,000 characters"),
        (f"labels={','.join(map(str, range(1_001)))}&q=x", "at most 1,000 labels"),
        (
            f"labels={','.join(map(str, range(100)))}&q=x&_template={'x' * 400}{{}}",
            "at most 32,000 characters together, with the template of each; found "
            "40,190",
        ),
    ],
)
async def test_what_is_wrong_is_said(datasette, query, message):
    status, body = await get_json(datasette, f"{JSON}?{query}")
    assert (status, message in body["error"]) == (400, True), body["error"]


HOSTILE = [
    {"labels": [f"{number} {'x' * 1_900}" for number in range(17)], "text": "x"},
    {"labels": ["a", "x" * 1_000_000], "text": "x"},
    {"labels": [str(number) for number in range(100_000)], "text": "x"},
    {"labels": [["a"], ["b"]], "text": "x"},
    {"labels": {"a": 1}, "text": "x"},
    {"labels": "a,b", "text": "x"},
    {"labels": ["a", "b"], "text": "x", "like": "1"},
    {"labels": ["a", "b"], "image": "no base64"},
    {"labels": ["a", "b"], "text": 7},
    {"labels": ["a", "b"], "text": "x", "template": "{}{}"},
    {"labels": ["a", "\ud800"], "text": "x"},
    {"labels": ["a", "b"], "text": "x", "other": 1},
    {"labels": None, "text": "x"},
    {"text": "x"},
    [],
]


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
async def test_a_body_that_is_wrong_is_refused_before_any_work(
    datasette, body, monkeypatch
):
    def load(_model):
        raise AssertionError("the model was asked")

    monkeypatch.setattr(AllowedModel, "load", load)
    monkeypatch.setattr(AllowedModel, "loaded", load)
    response = await datasette.client.post(
        JSON, content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert response.status_code in (400, 422), response.text
    assert response.json()["ok"] is False
    assert len(response.json()["error"]) < 2_000


async def test_a_thousand_labels_are_embedded_in_batches(datasette):
    labels = [f"label {number}" for number in range(100)]
    response = await datasette.client.post(JSON, json={"labels": labels, "text": "x"})
    assert len(response.json()["labels"]) == 100


async def test_markup_is_shown_as_text(datasette):
    labels = "labels=%3Cscript%3Ealert(1)%3C/script%3E,%22%3E%3Cb%3E"
    page = (await datasette.client.get(f"{PAGE}?{labels}&q=%3Ci%3E")).text
    assert "<script>alert" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


async def test_the_form_keeps_the_item(datasette):
    response = await datasette.client.get(f"{PAGE}?labels=a%2Cb&q=&_like=1")
    assert response.status_code == 302
    assert response.headers["location"] == f"{PAGE}?labels=a%2Cb&like=1"
    response = await datasette.client.get(f"{PAGE}?labels=a%2Cb&q=x&_like=1")
    assert response.headers["location"] == f"{PAGE}?labels=a%2Cb&q=x"


async def test_an_error_is_on_the_page(datasette):
    response = await datasette.client.get(f"{PAGE}?labels=cat&q=x")
    assert response.status_code == 400
    assert "at least two different labels" in response.text
    assert (await datasette.client.get(PAGE)).status_code == 200


async def test_a_model_that_is_missing_is_in_the_log_only(articles_db, caplog):
    execute(articles_db, "update collections set model = 'secret/path'")
    execute(articles_db, "update _embedding_collections set model = 'secret/path'")
    status, body = await get_json(make_datasette(articles_db), f"{JSON}?{QUERY}&q=x")
    assert (status, "secret" in json.dumps(body)) == (422, False)
    assert body["error"] == "Labels are not available here at the moment"


async def test_the_search_page_leads_there(datasette):
    page = (await datasette.client.get("/articles/-/embeddings/articles")).text
    assert f'href="{PAGE}"' in page
