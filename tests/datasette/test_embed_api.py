"""Vectors for programs: by OpenAI's own client, by httpx, and for whom."""

from __future__ import annotations

import base64
import json

import numpy as np
import openai
import pytest
from datasette.app import Datasette

from datasette_embeddings.models import registry
from datasette_embeddings.models.onnx import BUNDLED_FOLDER
from datasette_embeddings.web.compat import is_modern
from tests.datasette.conftest import (
    actor_cookie,
    get_json,
    http,
    make_datasette,
    running,
    served,
)
from tests.models import Eyes, runtimes_with

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
EMBED = "/-/embeddings/embed.json"
OPENAI = "/-/embeddings/v1/embeddings"
MODELS = "/-/embeddings/v1/models"
TEXTS = ["hello", "Ünïcode, 日本語 🥕", "a much longer text than all the others " * 5]
# Small, so that what is too much is little
LIMITS = {"max_inputs": 5, "max_text_length": 2_000}
# The first bytes are all that the stand-in for a model of images looks at
IMAGE = base64.b64encode(b"\x89PNG\r\n\x1a\n one").decode()
ROOT_ONLY = {"id": "root"}


def write_settings(folder, settings, **others):
    path = folder / "metadata.json"
    plugins = {"datasette-embeddings": settings}
    path.write_text(json.dumps({"plugins": plugins, **others}))
    return path


@pytest.fixture(scope="module")
def url():
    with running(make_datasette(settings=LIMITS)) as url:
        yield url


@pytest.fixture(scope="module")
def client(url):
    """OpenAI's, which sends a key with every request."""
    base_url = f"{url}/-/embeddings/v1"
    with openai.OpenAI(base_url=base_url, api_key="x", max_retries=0) as client:
        yield client


def close_to(vectors):
    return pytest.approx(np.asarray(vectors), abs=1e-6)


def decoded(embedding, encoding_format):
    """The numbers of *embedding*, in whichever format it came."""
    if encoding_format == "float":
        return np.asarray(embedding)
    is_hex = encoding_format == "hex"
    blob = bytes.fromhex(embedding) if is_hex else base64.b64decode(embedding)
    return np.frombuffer(blob, dtype="<f4")


def has_four_keys(body, status):
    return (
        list(body) == ["ok", "error", "errors", "status"]
        and (body["ok"], body["status"]) == (False, status)
        and body["errors"] == [body["error"]]
    )


# What the client asks for by itself is base64, which it decodes with numpy
@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}], ids=str)
def test_openais_client_has_the_vectors_of_the_model(client, model, options):
    answer = client.embeddings.create(model=MODEL, input=TEXTS, **options)
    vectors = np.array([each.embedding for each in answer.data])
    assert vectors == close_to(model.embed_passages(TEXTS))
    assert [each.index for each in answer.data] == [0, 1, 2]
    assert answer.model == MODEL
    tokens = sum(model.count_tokens(TEXTS))
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)


def test_openais_client_has_one_vector_of_one_text(client, model):
    answer = client.embeddings.create(model=MODEL, input=TEXTS[0])
    (found,) = answer.data
    assert np.array(found.embedding) == close_to(model.embed_passages(TEXTS[:1])[0])


def test_openais_client_may_ask_for_base64_itself(client, model):
    answer = client.embeddings.create(
        model=MODEL, input=TEXTS[0], encoding_format="base64"
    )
    found = decoded(answer.data[0].embedding, "base64")
    assert found == close_to(model.embed_passages(TEXTS[:1])[0])


def test_openais_client_may_say_how_many_dimensions_it_expects(client):
    answer = client.embeddings.create(
        model=MODEL, input="hello", dimensions=384, user="visitor"
    )
    assert len(answer.data[0].embedding) == 384


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"model": "text-embedding-3-small"}, openai.UnprocessableEntityError, MODEL),
        ({"input": ""}, openai.BadRequestError, "found an empty one"),
        ({"input": ["a", " "]}, openai.BadRequestError, "found an empty one"),
        ({"input": []}, openai.BadRequestError, "input: expected"),
        ({"dimensions": 256}, openai.BadRequestError, "384 dimensions"),
        ({"input": [15339]}, openai.BadRequestError, "send the texts themselves"),
        ({"input": [[15339, 2]]}, openai.BadRequestError, "send the texts themselves"),
        ({"extra_body": {"truncated": 1}}, openai.BadRequestError, "truncated: unk"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_openais_client_raises_its_own_errors(client, options, kind, message):
    with pytest.raises(kind) as raised:
        client.embeddings.create(**{"model": MODEL, "input": "hello", **options})
    assert has_four_keys(raised.value.response.json(), raised.value.status_code)
    assert message in raised.value.response.json()["error"]


def test_openais_client_lists_the_models_that_may_be_asked(client):
    models = list(client.models.list())
    assert [(each.id, each.object) for each in models] == [(MODEL, "model")]
    answer = client.embeddings.create(model=models[0].id, input="hello")
    assert len(answer.data) == 1


@pytest.mark.asyncio
async def test_the_models_of_the_settings_are_listed_too():
    models = {"mine": {"path": str(BUNDLED_FOLDER)}}
    status, body = await get_json(configured({"models": models}), MODELS)
    assert (status, body) == (
        200,
        {
            "ok": True,
            "object": "list",
            "data": [
                {
                    "id": model_id,
                    "object": "model",
                    "created": 0,
                    "owned_by": "datasette-embeddings",
                }
                for model_id in ("mine", MODEL)
            ],
        },
    )


def test_what_else_openai_has_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.models.retrieve("x")
    assert has_four_keys(raised.value.response.json(), 404)


@pytest.mark.parametrize("encoding_format", ["float", "base64", "hex"])
@pytest.mark.parametrize("path", [EMBED, OPENAI])
def test_a_post_has_vectors_in_every_format(url, model, path, encoding_format):
    body = {"input": TEXTS, "model": MODEL, "encoding_format": encoding_format}
    answer = http.post(url + path, json=body).json()
    found = [decoded(each["embedding"], encoding_format) for each in answer["data"]]
    assert np.array(found) == close_to(model.embed_passages(TEXTS))


@pytest.mark.parametrize("encoding_format", ["float", "base64", "hex"])
def test_a_get_has_a_vector_for_each_input(url, model, encoding_format):
    params = {"input": TEXTS, "encoding_format": encoding_format}
    answer = http.get(url + EMBED, params=params).json()
    found = [decoded(each["embedding"], encoding_format) for each in answer["data"]]
    assert np.array(found) == close_to(model.embed_passages(TEXTS))
    assert [each["index"] for each in answer["data"]] == [0, 1, 2]


def test_an_answer_holds_what_the_document_promises(url, model):
    answer = http.get(url + EMBED, params={"input": "hello"}).json()
    vector = answer["data"][0].pop("embedding")
    assert len(vector) == 384
    assert answer == {
        "ok": True,
        "object": "list",
        "model": MODEL,
        "dimensions": 384,
        "truncated": [],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
        "data": [{"object": "embedding", "index": 0}],
    }


def test_a_text_of_which_only_the_beginning_is_read_is_told(url):
    texts = ["short", "word " * 300, "short again", "word " * 254]
    answer = http.post(url + EMBED, json={"input": texts}).json()
    assert answer["truncated"] == [1]
    assert answer["usage"]["total_tokens"] == 3 + 302 + 4 + 256


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "mini-l6", MODEL])
def test_the_bundled_model_answers_to_all_its_names(url, name):
    answer = http.post(url + EMBED, json={"input": "hello", "model": name}).json()
    assert (answer["model"], answer["dimensions"]) == (name, 384)


def test_null_is_as_good_as_nothing(url):
    keys = ("model", "encoding_format", "input_type", "dimensions", "user")
    body = {"input": "hello", **dict.fromkeys(keys)}
    plain = http.post(url + EMBED, json={"input": "hello"}).json()
    assert http.post(url + EMBED, json=body).json() == plain


REFUSED = {
    "an unknown model": ({"model": "far/away"}, 422, "This server offers"),
    "no model": ({"model": ""}, 422, "The model '' is not available"),
    "a model that is no name": ({"model": 7}, 400, "id of a model"),
    "an empty text": ({"input": ""}, 400, "found an empty one"),
    "nothing": ({"input": None}, 400, "input: expected"),
    "token ids": ({"input": [1, 2]}, 400, "check_embedding_ctx_length=False"),
    "true": ({"input": True}, 400, "found True"),
    "another object": ({"input": {"text": "hello"}}, 400, "{'image': base64}"),
    "too many": ({"input": ["a"] * 6}, 400, "at most 5 inputs, found 6"),
    "too long": ({"input": "a" * 2_001}, 400, "at most 2,000 characters, found 2,001"),
    "half a character": ({"input": "\ud83e"}, 400, "UTF-8"),
    "dimensions": ({"dimensions": 3}, 400, "Expected 384 dimensions"),
    "no dimensions": ({"dimensions": "384"}, 400, "dimensions: expected a whole"),
    "broken dimensions": ({"dimensions": 384.5}, 400, "dimensions: expected a whole"),
    "too many dimensions": ({"dimensions": 10**9}, 400, "whole number from 1 to 999"),
    "a format": ({"encoding_format": "int8"}, 400, "one of float, base64, hex"),
    "a type": ({"input_type": "document"}, 400, "one of passage, query"),
    "a user": ({"user": 7}, 400, "user: expected a text"),
    "a key": ({"inputs": "x"}, 400, "inputs: unknown"),
    "an image": ({"input": {"image": IMAGE}}, 422, "takes texts, not images"),
    "no image": ({"input": {"image": ""}}, 400, "an image in base64"),
    "no base64": ({"input": {"image": "%"}}, 400, "in base64"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_embedded_says_why(url, name):
    changed, status, message = REFUSED[name]
    body = json.dumps({"input": "hello", **changed})
    response = http.post(url + EMBED, content=body)
    assert (response.status_code, has_four_keys(response.json(), status)) == (
        status,
        True,
    )
    assert message in response.json()["error"]


@pytest.mark.parametrize(
    ("params", "status", "message"),
    [
        ({}, 400, "input: expected"),
        ({"input": ""}, 400, "found an empty one"),
        (
            {"input": "a", "dimensions": "9" * 5_000},
            400,
            "dimensions: expected a whole",
        ),
        ({"input": "a", "dimensions": "٣٨٤"}, 400, "dimensions: expected a whole"),
        ({"input": "a", "dimensions": "3"}, 400, "Expected 384 dimensions"),
        ({"input": "a", "model": "far/away"}, 422, "This server offers"),
    ],
    ids=["nothing", "empty", "many digits", "digits", "dimensions", "model"],
)
def test_a_query_string_that_cannot_be_embedded_says_why(url, params, status, message):
    response = http.get(url + EMBED, params=params)
    assert (response.status_code, has_four_keys(response.json(), status)) == (
        status,
        True,
    )
    assert message in response.json()["error"]


class Prompted(Eyes):
    """A stand-in that tells questions from passages, which the bundled model does not.

    It sees, too: no model of the package takes images yet.
    """

    def embed_queries(self, texts):
        return np.stack([self._vector(f"query: {text}") for text in texts])


@pytest.fixture
def eyes(monkeypatch):
    """A Datasette with a stand-in for a model that sees."""
    found = Prompted()
    monkeypatch.setattr(registry, "RUNTIMES", runtimes_with(found))
    monkeypatch.setattr(registry, "_loaded", {})
    return make_datasette(settings={"models": {"eyes": {}}}), found


async def embed(datasette, **body):
    response = await datasette.client.post(EMBED, json={"model": "eyes", **body})
    return response.status_code, response.json()


@pytest.mark.asyncio
@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"], ids=["", "data URL"])
async def test_images_and_texts_keep_their_places(eyes, prefix):
    datasette, model = eyes
    image = {"image": prefix + IMAGE}
    status, answer = await embed(datasette, input=["one", image, "two"])
    expected = [
        model._vector("one"),
        model._vector(b"\x89PNG\r\n\x1a\n one".hex()),
        model._vector("two"),
    ]
    found = [each["embedding"] for each in answer["data"]]
    assert (status, np.array(found)) == (200, close_to(expected))
    assert answer["usage"]["total_tokens"] == 2


@pytest.mark.asyncio
async def test_an_image_needs_no_list(eyes):
    datasette, _model = eyes
    _status, answer = await embed(datasette, input={"image": IMAGE})
    assert (len(answer["data"]), answer["usage"]["total_tokens"]) == (1, 0)


@pytest.mark.asyncio
async def test_what_is_no_image_is_refused_by_the_model(eyes):
    datasette, _model = eyes
    no_image = base64.b64encode(b"GIF89a").decode()
    status, answer = await embed(datasette, input={"image": no_image})
    assert (status, has_four_keys(answer, 400)) == (400, True)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("input_type", "prompt"), [("query", "query: "), ("passage", ""), (None, "")]
)
async def test_a_question_is_not_embedded_as_a_passage(eyes, input_type, prompt):
    datasette, model = eyes
    _status, answer = await embed(datasette, input="what", input_type=input_type)
    vector = answer["data"][0]["embedding"]
    assert np.array(vector) == close_to(model._vector(prompt + "what"))


# Who may


def configured(settings, *paths, **others):
    """A Datasette with *others* at the top of its configuration."""
    content = {"plugins": {"datasette-embeddings": settings}, **others}
    name = "config" if is_modern() else "metadata"
    return Datasette(paths, **{name: content})


async def statuses(datasette, actor):
    """Those of both GETs and of both ways to POST."""
    cookies = {} if actor is None else actor_cookie(datasette, actor)
    responses = [
        await datasette.client.get(path, cookies=cookies)
        for path in (f"{EMBED}?input=hello", MODELS)
    ]
    for path in (EMBED, OPENAI):
        responses.append(
            await datasette.client.post(path, json={"input": "hi"}, cookies=cookies)
        )
    for response in responses:
        if response.status_code != 200:
            assert has_four_keys(response.json(), response.status_code)
    return [response.status_code for response in responses]


ALLOWED, DENIED = [200] * 4, [403] * 4


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("allow", "anonymous", "root"),
    [
        (None, ALLOWED, ALLOWED),
        (True, ALLOWED, ALLOWED),
        (False, DENIED, DENIED),
        (ROOT_ONLY, DENIED, ALLOWED),
        ({"unauthenticated": True}, ALLOWED, DENIED),
    ],
    ids=str,
)
async def test_the_settings_say_who_may(allow, anonymous, root):
    datasette = configured({"allow_embed": allow})
    assert await statuses(datasette, None) == anonymous
    assert await statuses(datasette, "root") == root


@pytest.mark.asyncio
async def test_who_may_not_see_datasette_may_not_embed():
    datasette = configured({"allow_embed": True}, allow=ROOT_ONLY)
    assert await statuses(datasette, None) == DENIED
    assert await statuses(datasette, "other") == DENIED
    assert await statuses(datasette, "root") == ALLOWED


@pytest.mark.asyncio
async def test_who_may_not_learns_nothing_of_what_is_wrong_otherwise():
    datasette = configured({"allow_embed": False})
    status, body = await get_json(datasette, f"{EMBED}?model=far/away")
    assert (status, "permission 'embeddings-embed'" in body["error"]) == (403, True)


if is_modern():

    @pytest.mark.asyncio
    @pytest.mark.parametrize(
        ("allow", "anonymous", "root"),
        [(False, DENIED, DENIED), (ROOT_ONLY, DENIED, ALLOWED)],
        ids=str,
    )
    async def test_datasettes_own_permissions_say_who_may(allow, anonymous, root):
        datasette = configured({}, permissions={"embeddings-embed": allow})
        assert await statuses(datasette, None) == anonymous
        assert await statuses(datasette, "root") == root

    @pytest.mark.asyncio
    async def test_a_denial_by_either_holds():
        permissions = {"embeddings-embed": ROOT_ONLY}
        datasette = configured({"allow_embed": True}, permissions=permissions)
        assert await statuses(datasette, "other") == DENIED
        datasette = configured({"allow_embed": False}, permissions=permissions)
        assert await statuses(datasette, "root") == DENIED

    @pytest.mark.asyncio
    async def test_default_deny_closes_it_but_for_whom_the_settings_name():
        permissions = {"view-instance": True}
        closed = Datasette([], config={"permissions": permissions}, default_deny=True)
        assert await statuses(closed, None) == DENIED
        config = {
            "permissions": permissions,
            "plugins": {"datasette-embeddings": {"allow_embed": ROOT_ONLY}},
        }
        opened = Datasette([], config=config, default_deny=True)
        assert await statuses(opened, None) == DENIED
        assert await statuses(opened, "root") == ALLOWED

    def test_a_token_of_datasettes_is_a_key_for_openais_client(tmp_path, monkeypatch):
        secret = "not much of one"
        monkeypatch.setenv("DATASETTE_SECRET", secret)
        signed = Datasette(secret=secret).sign({"a": "root", "t": 1}, "token")
        metadata = write_settings(tmp_path, {"allow_embed": ROOT_ONLY})
        with served("-m", metadata) as url:
            assert len(with_key(url, f"dstok_{signed}").data) == 1
            with pytest.raises(openai.PermissionDeniedError):
                with_key(url, "unused")


def with_key(url, key):
    base_url = f"{url}/-/embeddings/v1"
    with openai.OpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        return client.embeddings.create(model=MODEL, input="hello")
