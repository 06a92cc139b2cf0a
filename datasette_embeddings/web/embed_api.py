"""The embedding API: texts and images to vectors, as clients of OpenAI's know it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

from datasette.app import Datasette
from datasette.utils import MultiParams
from datasette.utils.asgi import Request, Response

from datasette_embeddings import validation
from datasette_embeddings.config import PLUGIN_NAME, Config
from datasette_embeddings.errors import InvalidInputError, quoted
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
from datasette_embeddings.validation import (
    AnyText,
    Checked,
    Expected,
    validated,
    whole_number,
)
from datasette_embeddings.vectors import Vector, encode
from datasette_embeddings.web.compat import EMBED_ACTION, Actor, is_allowed
from datasette_embeddings.web.http_errors import ForbiddenError
from datasette_embeddings.web.middleware import cors_headers, json_view
from datasette_embeddings.web.search_request import image_bytes, number_of
from datasette_embeddings.web.server import allowed_model, config_of
from datasette_embeddings.web.urls import HARMLESS, MOST_PARAMETERS, Address


def _inputs(value: object) -> tuple[str | bytes, ...]:
    inputs = value if isinstance(value, list) else [value]
    if not inputs:
        raise ValueError
    return tuple(_input(each) for each in inputs)


def _input(value: object) -> str | bytes:
    if isinstance(value, str):
        if value.strip():
            return value
        raise InvalidInputError("input: expected a text to embed, found an empty one")
    if isinstance(value, dict) and value.keys() == {"image"}:
        try:
            return image_bytes(value["image"])
        except ValueError as error:
            raise InvalidInputError("input: expected an image in base64") from error
    fault = f"input: expected a text or {{'image': base64}}, found {quoted(value)}"
    if isinstance(value, int | list):
        # Some clients split texts into the tokens of a model of OpenAI's
        fault += (
            ". Token ids mean nothing to another model: send the texts themselves, in "
            "LangChain with check_embedding_ctx_length=False"
        )
    raise InvalidInputError(fault)


Inputs: TypeAlias = Annotated[
    tuple[AnyText | bytes, ...],
    Expected(
        "a text in UTF-8, an image as {'image': base64} or a list of them",
        read=_inputs,
        component="Input",
    ),
]
Dimensions: TypeAlias = Annotated[
    int,
    Expected("a whole number from 1 to 999,999,999", read=whole_number, ge=1, lt=10**9),
]


@dataclass(frozen=True, kw_only=True)
class EmbedRequest(Checked):
    """What to embed, and how: the keys of OpenAI's API, and `input_type`."""

    input: Inputs
    """Texts and images; an image only if the model takes images."""
    model: (
        Annotated[str, Expected("the id of a model", component="AllowedModel")] | None
    ) = None
    """The default model if there is none."""
    encoding_format: Annotated[Literal["float", "base64", "hex"], Expected()] = "float"
    """Numbers, or little-endian float32 in base64 or in hexadecimal digits."""
    input_type: Annotated[Literal["passage", "query"], Expected()] = "passage"
    """Some models make different vectors of queries and of the passages to search."""
    dimensions: Dimensions | None = None
    """As many as the model has; other numbers are an error."""
    user: AnyText | None = None
    """Not used."""

    @property
    def texts(self) -> list[str]:
        """The texts of the input, in their order."""
        return [each for each in self.input if isinstance(each, str)]


@json_view()
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
    return Response.json(body, headers=cors_headers(datasette, request))


async def _embed(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    await _check_may_embed(datasette, request.actor)
    config = config_of(datasette)
    # The inputs themselves are counted where they are read
    address = Address.of(request, most=config.max_inputs + MOST_PARAMETERS)
    if body is not None:
        address.check_names(())
    asked = _parsed(address.args, body, config)
    model_id = config.default_model if asked.model is None else asked.model
    # Not on the event loop: the look-up may import llm
    await asyncio.to_thread(check_allowed, model_id, config)
    allowed = await allowed_model(datasette, model_id)
    model = await allowed.run(allowed.load)
    vectors = await _vectors(allowed, asked)
    tokens = await allowed.run(partial(model.count_tokens, asked.texts))
    positions = [at for at, each in enumerate(asked.input) if isinstance(each, str)]
    most = model.max_tokens or float("inf")
    answer = {
        "ok": True,
        "object": "list",
        "model": model_id,
        "dimensions": len(vectors[0]),
        "truncated": [
            position
            for position, count in zip(positions, tokens, strict=True)
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
embed = json_view("GET", "HEAD", "POST", limited=True)(_embed)
openai_embeddings = json_view("POST", limited=True)(_embed)


async def _check_may_embed(datasette: Datasette, actor: Actor) -> None:
    if not await is_allowed(datasette, actor, EMBED_ACTION):
        raise ForbiddenError(
            f"You need the permission {EMBED_ACTION!r} to embed texts and images here"
        )


async def _vectors(allowed: AllowedModel, asked: EmbedRequest) -> list[Vector]:
    """The vectors of the inputs, in their order."""
    images = [each for each in asked.input if isinstance(each, bytes)]
    # Images first, because they may be refused
    of_images = iter(await image_vectors(allowed, images) if images else ())
    if asked.input_type == "query":
        found = [await query_embedder.vector(allowed, text) for text in asked.texts]
    else:
        found = list(await passage_vectors(allowed, asked.texts)) if asked.texts else []
    of_texts = iter(found)
    vectors = [
        next(of_texts if isinstance(each, str) else of_images) for each in asked.input
    ]
    # A model on the network may not know its dimensions before it answers
    if asked.dimensions not in (None, known := len(vectors[0])):
        raise InvalidInputError(
            f"Expected {known} dimensions, all that the model {allowed.model_id!r} "
            f"gives, found {asked.dimensions}"
        )
    return vectors


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


def _parsed(args: MultiParams, body: bytes | None, config: Config) -> EmbedRequest:
    """The request of the JSON in *body*, or of the query string if there is no body."""
    given = _from_args(args) if body is None else validation.json_object(body)
    inputs = given.get("input")
    if isinstance(inputs, list) and len(inputs) > config.max_inputs:
        raise InvalidInputError(
            f"Expected at most {config.max_inputs:,} inputs, found {len(inputs):,}"
        )
    request = validated(EmbedRequest, given)
    longest = max(map(len, request.texts), default=0)
    if longest > config.max_text_length:
        raise InvalidInputError(
            f"Expected a text of at most {config.max_text_length:,} characters, "
            f"found {longest:,}"
        )
    return request


def _from_args(args: MultiParams) -> dict[str, Any]:
    given: dict[str, Any] = {name: args[name] for name in args if name not in HARMLESS}
    if "input" in given:
        given["input"] = args.getlist("input")
    with suppress(ValueError):
        given["dimensions"] = number_of(args.get("dimensions"))
    return given
