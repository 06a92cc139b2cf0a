"""The embedding API: texts and images to vectors, as clients of OpenAI's know it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from datasette_embeddings.config import PLUGIN_NAME
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.serving.allowed_models import (
    AllowedModel,
    allowed_model_ids,
    check_allowed,
)
from datasette_embeddings.serving.query_embedder import (
    image_vectors,
    passage_vectors,
    query_embedder,
)
from datasette_embeddings.vectors import encode
from datasette_embeddings.web import embed_request
from datasette_embeddings.web.compat import EMBED_ACTION, Actor, is_allowed
from datasette_embeddings.web.embed_request import EmbedRequest
from datasette_embeddings.web.http_errors import ForbiddenError
from datasette_embeddings.web.middleware import (
    READS,
    cors_headers,
    json_response,
    json_view,
)
from datasette_embeddings.web.server import allowed_model, config_of
from datasette_embeddings.web.urls import MOST_PARAMETERS, Address

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request, Response

    from datasette_embeddings.models.base import EmbeddingModel
    from datasette_embeddings.vectors import Vector


@json_view(*READS)
async def openai_models(datasette: Datasette, request: Request) -> Response:
    """``/-/embeddings/v1/models``"""
    await _check_may_embed(datasette, request.actor)
    Address.of(request).check_names(())
    models = [
        # OpenAI's clients require the last two; the creation time is unknown
        {"id": model_id, "object": "model", "created": 0, "owned_by": PLUGIN_NAME}
        for model_id in allowed_model_ids(config_of(datasette))
    ]
    body = {"ok": True, "object": "list", "data": models}
    return json_response(datasette, request, body)


async def _embed(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    from datasette import Response

    await _check_may_embed(datasette, request.actor)
    config = config_of(datasette)
    # The inputs themselves are counted where they are read
    address = Address.of(request, most=config.max_inputs + MOST_PARAMETERS)
    if body is not None:
        address.check_names(())
    asked = embed_request.parsed(address.args, body, config)
    model_id = config.default_model if asked.model is None else asked.model
    # Not on the event loop: the look-up may import llm
    await asyncio.to_thread(check_allowed, model_id, config)
    allowed = await allowed_model(datasette, model_id)
    model = await allowed.run(allowed.load)
    vectors = await _vectors(allowed, model, asked)
    texts = {
        position: each
        for position, each in enumerate(asked.input)
        if isinstance(each, str)
    }
    tokens = await allowed.run(partial(model.count_tokens, list(texts.values())))
    most = model.max_tokens or float("inf")
    answer = {
        "ok": True,
        "object": "list",
        "model": model_id,
        "dimensions": len(vectors[0]),
        "truncated": [
            position
            for position, count in zip(texts, tokens, strict=True)
            if count > most
        ],
        "usage": {"prompt_tokens": sum(tokens), "total_tokens": sum(tokens)},
    }
    return Response(
        await asyncio.to_thread(_json, answer, vectors, asked.encoding_format),
        headers=cors_headers(datasette, request),
        content_type="application/json; charset=utf-8",
    )


# ``/-/embeddings/embed.json`` and ``/-/embeddings/v1/embeddings``
embed = json_view(*READS, "POST", limited=True)(_embed)
openai_embeddings = json_view("POST", limited=True)(_embed)


async def _check_may_embed(datasette: Datasette, actor: Actor) -> None:
    if not await is_allowed(datasette, actor, EMBED_ACTION):
        raise ForbiddenError(
            f"You need the permission {EMBED_ACTION!r} to embed texts and images here"
        )


async def _vectors(
    allowed: AllowedModel, model: EmbeddingModel, asked: EmbedRequest
) -> list[Vector]:
    """The vectors of the inputs, in their order."""
    # A model on the network may not know its dimensions before it answers
    _check_dimensions(asked, model.model_id, model.dimensions)
    texts = [each for each in asked.input if isinstance(each, str)]
    images = [each for each in asked.input if isinstance(each, bytes)]
    # Images first, because they may be refused
    of_images = iter(await image_vectors(allowed, images) if images else ())
    if asked.input_type == "query":
        found = [await query_embedder.vector(allowed, text) for text in texts]
    else:
        found = list(await passage_vectors(allowed, texts)) if texts else []
    of_texts = iter(found)
    vectors = [
        next(of_texts if isinstance(each, str) else of_images) for each in asked.input
    ]
    _check_dimensions(asked, model.model_id, len(vectors[0]))
    return vectors


def _check_dimensions(asked: EmbedRequest, model_id: str, known: int | None) -> None:
    if None not in (asked.dimensions, known) and asked.dimensions != known:
        raise InvalidInputError(
            f"Expected {known} dimensions, all that the model {model_id!r} gives, "
            f"found {asked.dimensions}"
        )


def _json(
    answer: dict[str, object], vectors: Sequence[Vector], encoding_format: str
) -> str:
    """The answer in JSON, written vector by vector.

    Thousands of them take a second in one piece, and all others would wait for it.
    """
    data = (
        json.dumps(
            {
                "object": "embedding",
                "index": index,
                "embedding": _encoded(vector, encoding_format),
            }
        )
        for index, vector in enumerate(vectors)
    )
    return f'{json.dumps(answer)[:-1]}, "data": [{", ".join(data)}]}}'


def _encoded(vector: Vector, encoding_format: str) -> str | list[float]:
    if encoding_format == "float":
        numbers: list[float] = vector.tolist()
        return numbers
    blob = encode(vector)
    return blob.hex() if encoding_format == "hex" else base64.b64encode(blob).decode()
