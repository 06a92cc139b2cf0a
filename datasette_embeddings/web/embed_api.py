"""Texts and pictures to vectors, in the shape that clients of OpenAI's know."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from datasette_embeddings.config import Config
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.serving.allowed_models import check_allowed, load_allowed
from datasette_embeddings.serving.query_embedder import (
    image_vectors,
    in_model_thread,
    passage_vectors,
    query_embedder,
)
from datasette_embeddings.vectors import encode
from datasette_embeddings.web.bodies import (
    check_keys,
    check_unicode,
    image_bytes,
    json_object,
    whole_number,
)
from datasette_embeddings.web.compat import EMBED_ACTION, Actor, may_embed
from datasette_embeddings.web.http_errors import ForbiddenError
from datasette_embeddings.web.middleware import READS, cors_headers, json_view, queued
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import (
    HARMLESS,
    MOST_PARAMETERS,
    Address,
)

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils import MultiParams
    from datasette.utils.asgi import Request, Response

    from datasette_embeddings.models.base import EmbeddingModel
    from datasette_embeddings.vectors import Vector

ENCODINGS = ("float", "base64", "hex")
INPUT_TYPES = ("passage", "query")
DIMENSIONS = re.compile("[0-9]{1,9}")
# What a query string may hold; OpenAI's clients want to be asked about dimensions
ARGS = ("model", "input", "encoding_format", "input_type", "dimensions")
# What a body may hold; the last one is OpenAI's and unused
BODY_KEYS = (*ARGS, "user")


@dataclass(frozen=True)
class Wanted:
    """What is to be embedded, each a text or the bytes of a picture, and how."""

    model_id: str
    inputs: tuple[str | bytes, ...]
    encoding_format: str = ENCODINGS[0]
    input_type: str = INPUT_TYPES[0]
    dimensions: int | None = None


@dataclass(frozen=True)
class _Embedded:
    """Vectors in the order of the inputs, and the tokens of each text."""

    vectors: Sequence[Vector]
    tokens: Sequence[int]
    #: The places of texts that the model has read only the beginning of
    truncated: Sequence[int]


@json_view(*READS, "POST")
@queued
async def embed(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    """``/-/embeddings/embed.json``"""
    return await _embed(datasette, request, body)


@json_view("POST")
@queued
async def openai_embeddings(
    datasette: Datasette, request: Request, body: bytes
) -> Response:
    """``/-/embeddings/v1/embeddings``"""
    return await _embed(datasette, request, body)


async def _embed(
    datasette: Datasette, request: Request, body: bytes | None
) -> Response:
    from datasette import Response

    await check_may_embed(datasette, request.actor)
    config = config_of(datasette)
    # The inputs themselves are counted where they are read
    address = Address.of(request, most=config.max_inputs + MOST_PARAMETERS)
    if body is None:
        wanted = _wanted(_from_args(address.args), ARGS, config)
    else:
        address.check_names(())
        wanted = _wanted(json_object(body), BODY_KEYS, config)
    check_allowed(wanted.model_id, config)
    embedded = await _embedded(wanted, config)
    return Response(
        await asyncio.to_thread(_answer, wanted, embedded),
        headers=cors_headers(datasette, request),
        content_type="application/json; charset=utf-8",
    )


async def check_may_embed(datasette: Datasette, actor: Actor) -> None:
    """Check that *actor* may use the embedding API.

    :raises ForbiddenError: otherwise.
    """
    if not await may_embed(datasette, actor):
        raise ForbiddenError(
            "You may not have texts embedded here: that takes the permission "
            f"{EMBED_ACTION!r}"
        )


def _from_args(args: MultiParams) -> dict[str, object]:
    given: dict[str, object] = {
        name: args[name] for name in args if name not in ("input", *HARMLESS)
    }
    if "input" in args:
        given["input"] = args.getlist("input")
    dimensions = args.get("dimensions")
    # More digits are no number of dimensions, and more than Python reads
    if dimensions and DIMENSIONS.fullmatch(dimensions):
        given["dimensions"] = int(dimensions)
    return given


def _wanted(given: dict[str, Any], known: Sequence[str], config: Config) -> Wanted:
    check_keys(given, known)
    model_id = given.get("model")
    if not isinstance(model_id, str | None):
        raise InvalidInputError(f"Expected the id of a model, found {quoted(model_id)}")
    if not isinstance(given.get("user"), str | None):
        raise InvalidInputError(
            f"Expected a text for user, found {quoted(given['user'])}"
        )
    return Wanted(
        model_id=config.default_model if model_id is None else model_id,
        inputs=_inputs(given.get("input"), config),
        encoding_format=_one_of(given, "encoding_format", ENCODINGS),
        input_type=_one_of(given, "input_type", INPUT_TYPES),
        dimensions=whole_number("dimensions", given.get("dimensions")),
    )


def _one_of(given: dict[str, Any], name: str, choices: Sequence[str]) -> str:
    value = choices[0] if given.get(name) is None else given[name]
    if value not in choices:
        raise InvalidInputError(
            f"Expected for {name} one of {', '.join(choices)}; found {quoted(value)}"
        )
    return str(value)


def _inputs(value: object, config: Config) -> tuple[str | bytes, ...]:
    inputs = value if isinstance(value, list) else [value]
    if value is None or not inputs:
        raise InvalidInputError(
            "Expected input, a text, a picture as {'image': base64} or a list of them"
        )
    if len(inputs) > config.max_inputs:
        raise InvalidInputError(
            f"Expected at most {config.max_inputs:,} inputs, found {len(inputs):,}"
        )
    return tuple(_input(each, config) for each in inputs)


def _input(value: object, config: Config) -> str | bytes:
    if isinstance(value, dict) and value.keys() == {"image"}:
        picture = image_bytes(value["image"])
        if picture:
            return picture
    if isinstance(value, int | list):
        # Some clients split texts into the tokens of a model of OpenAI's
        raise InvalidInputError(
            f"Expected a text or {{'image': base64}}, found {quoted(value)}. Token ids "
            "mean nothing to another model: send the texts themselves, in LangChain "
            "with check_embedding_ctx_length=False"
        )
    if not isinstance(value, str):
        raise InvalidInputError(
            f"Expected a text or {{'image': base64}}, found {quoted(value)}"
        )
    if not value.strip():
        raise InvalidInputError("Expected a text to embed, found an empty one")
    if len(value) > config.max_text_length:
        raise InvalidInputError(
            f"Expected a text of at most {config.max_text_length:,} characters, "
            f"found {len(value):,}"
        )
    return check_unicode(value)


async def _embedded(wanted: Wanted, config: Config) -> _Embedded:
    model = await in_model_thread(lambda: load_allowed(wanted.model_id, config))
    # Of a model on the network only the vectors tell
    if model.dimensions is not None:
        _check_dimensions(wanted, model.model_id, model.dimensions)
    texts = [each for each in wanted.inputs if isinstance(each, str)]
    pictures = [each for each in wanted.inputs if isinstance(each, bytes)]
    # Images first, because they may be refused
    vectors_of_pictures = iter(
        await image_vectors(wanted.model_id, pictures, config) if pictures else ()
    )
    vectors_of_texts = iter(await _text_vectors(model, texts, wanted, config))
    tokens = await in_model_thread(partial(model.count_tokens, texts))
    vectors = [
        next(vectors_of_texts if isinstance(each, str) else vectors_of_pictures)
        for each in wanted.inputs
    ]
    _check_dimensions(wanted, model.model_id, len(vectors[0]))
    return _Embedded(vectors, tokens, _cut(wanted, tokens, model.max_tokens))


def _check_dimensions(wanted: Wanted, model_id: str, given: int) -> None:
    if wanted.dimensions not in (None, given):
        raise InvalidInputError(
            f"Expected {given} dimensions, all that the model {model_id!r} gives, "
            f"found {wanted.dimensions}"
        )


def _cut(wanted: Wanted, tokens: Sequence[int], most: int | None) -> list[int]:
    """The places of the texts that have more tokens than the model reads."""
    counts = iter(tokens)
    return [
        target
        for target, each in enumerate(wanted.inputs)
        if isinstance(each, str) and most is not None and next(counts) > most
    ]


async def _text_vectors(
    model: EmbeddingModel, texts: Sequence[str], wanted: Wanted, config: Config
) -> Sequence[Vector]:
    if not texts:
        return []
    if wanted.input_type == "query":
        return [
            await query_embedder.vector(model.model_id, text, config) for text in texts
        ]
    return list(await passage_vectors(model.model_id, texts, config))


def _answer(wanted: Wanted, embedded: _Embedded) -> str:
    """The answer in JSON, written vector by vector.

    Thousands of them take a second in one piece, and all others would wait for it.
    """
    tokens = sum(embedded.tokens)
    facts = {
        "ok": True,
        "object": "list",
        "model": wanted.model_id,
        "dimensions": len(embedded.vectors[0]),
        "truncated": embedded.truncated,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    found = (
        json.dumps(
            {
                "object": "embedding",
                "index": index,
                "embedding": _encoded(vector, wanted.encoding_format),
            }
        )
        for index, vector in enumerate(embedded.vectors)
    )
    return f'{json.dumps(facts)[:-1]}, "data": [{", ".join(found)}]}}'


def _encoded(vector: Vector, encoding_format: str) -> str | list[float]:
    if encoding_format == "float":
        numbers: list[float] = vector.tolist()
        return numbers
    blob = encode(vector)
    return blob.hex() if encoding_format == "hex" else base64.b64encode(blob).decode()
