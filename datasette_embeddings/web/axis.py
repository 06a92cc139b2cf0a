"""Documents between two ends: the page and the JSON of an axis, or of two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from datasette.app import Datasette
from datasette.utils.asgi import Request, Response

from datasette_embeddings import errors
from datasette_embeddings.analysis.axes import Axis, End, axis_of
from datasette_embeddings.analysis.positions import (
    PlacedDocument,
    Position,
    Positions,
    placed_documents,
)
from datasette_embeddings.errors import EmbeddingsError, UnknownItemError
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.serving.allowed_models import log_once
from datasette_embeddings.serving.query_embedder import query_vectors
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.vectors import Vector, Vectors
from datasette_embeddings.web import axis_request
from datasette_embeddings.web.axis_plot import plot
from datasette_embeddings.web.axis_request import AxisRequest
from datasette_embeddings.web.compat import database_color, is_immutable
from datasette_embeddings.web.http_errors import (
    SearchUnavailableError,
    headers_of,
    status_of,
)
from datasette_embeddings.web.middleware import SHAPE, json_view, page_view, shaped
from datasette_embeddings.web.pages import render_page
from datasette_embeddings.web.resolve import Target, resolve_target
from datasette_embeddings.web.search_response import MODEL_ERRORS
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address

KNOWN = (axis_request.SIZE, axis_request.POINTS, SHAPE)
# Points that a page draws, on one axis and on two
STRIP_POINTS = 1_000


@dataclass(frozen=True)
class AxisAnswer:
    """The documents of a collection on the axes of *request*."""

    request: AxisRequest
    axes: Sequence[Axis]
    #: The lowest and the highest position on each axis, nearly
    ranges: Sequence[tuple[float, float]]
    #: How many documents have a position
    count: int
    #: The lowest and the highest on the first axis, in order
    documents: Sequence[PlacedDocument]
    near: Sequence[PlacedDocument]
    points: Sequence[Position]


@json_view(limited=True)
async def axis_json(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/axis.json``"""
    target = await resolve_target(datasette, request)
    address = Address.of(request)
    address.check_names(KNOWN)
    asked = axis_request.from_args(address.args, config_of(datasette))
    answer = await _answered(target, asked)
    body = {
        "ok": True,
        "database": target.database.name,
        "collection": target.collection.name,
        "count": answer.count,
        "axes": [
            {
                "low": _end_body(low),
                "high": _end_body(high),
                "cosine": axis.cosine,
                "lowest": lowest,
                "highest": highest,
            }
            for (low, high), axis, (lowest, highest) in zip(
                asked.axes, answer.axes, answer.ranges, strict=True
            )
        ],
        "documents": [_placed_body(target, each) for each in answer.documents],
        "at": list(asked.at) or None,
        "near": [_placed_body(target, each) for each in answer.near],
        "points": [
            {"id": each.id, "position": each.position, "position2": each.position2}
            for each in answer.points
        ],
    }
    return shaped(datasette, request, address.args, body, "documents")


def _end_body(end: End) -> dict[str, list[str]]:
    return {"texts": list(end.texts), "items": list(end.items)}


def _placed_body(target: Target, each: PlacedDocument) -> dict[str, Any]:
    match = each.match
    return {
        "id": match.id,
        "position": each.position,
        "position2": each.position2,
        "title": match.title,
        "url": target.url(match),
        "image_url": target.image_path(match),
        "stale": match.stale,
    }


@page_view(limited=True)
async def axis_page(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/axis``"""
    target = await resolve_target(datasette, request)
    config, address = config_of(datasette), Address.of(request)
    context: dict[str, Any] = {
        "answer": None,
        "error": None,
        "target": target,
        "collection": target.collection,
        "database": target.database.name,
        "db_color": database_color(target.database),
        "max_query_length": config.max_query_length,
        "given": address.args,
        "field": partial(axis_request.field, address.args),
        "json_path": f"{target.path}/axis.json",
        "alternate_url_json": address.with_args({}, f"{target.path}/axis.json"),
    }
    status, headers = 200, dict[str, str]()
    try:
        address.check_names(KNOWN)
        if axis_request.is_asked(address.args):
            asked = axis_request.from_args(address.args, config)
            asked = replace(asked, points=_points_of(asked))
            if not asked.at:
                asked = replace(asked, at=(0.0,) * len(asked.axes))
            answer = await _answered(target, asked)
            context["answer"] = answer
            context["plot"] = plot(answer.points, answer.ranges)
    except EmbeddingsError as error:
        context["error"] = _for_visitors(error)
        status, headers = status_of(error), headers_of(error)
    template = "embeddings_axis.html"
    return await render_page(
        datasette, request, template, context, status=status, headers=headers
    )


def _points_of(asked: AxisRequest) -> int:
    return STRIP_POINTS if len(asked.axes) == 1 else axis_request.MOST_POINTS


def _for_visitors(error: EmbeddingsError) -> str:
    if isinstance(error, UnknownItemError):
        return f"There is no item called {error.item_id:.200} here."
    return str(error)


async def _answered(target: Target, asked: AxisRequest) -> AxisAnswer:
    """The answer to *asked* in the collection of *target*."""
    ends = [end for pair in asked.axes for end in pair]
    texts = list(dict.fromkeys(text for end in ends for text in end.texts))
    # The model first: Datasette has few threads for SQL
    known = dict(zip(texts, await _vectors(target, texts), strict=True))
    return await target.read(partial(_read, target, asked, known))


async def _vectors(target: Target, texts: Sequence[str]) -> Sequence[Vector]:
    """The vector of each of *texts*, as visitors may have it computed."""
    if not texts:
        return ()
    model = await target.model()
    try:
        found = await query_vectors(model, texts)
        loaded = model.loaded()
        if loaded is not None:
            target.collection.check_settings(loaded.settings)
    except MODEL_ERRORS as error:
        if not isinstance(error, errors.UnknownModelError):
            # The reasons of an UnknownModelError are already in the log
            log_once(str(error))
        raise SearchUnavailableError(
            "Texts cannot be ends here at the moment; items can"
        ) from error
    return found


def _read(
    target: Target,
    asked: AxisRequest,
    known: dict[str, Vector],
    collection: StoredCollection,
) -> AxisAnswer:
    """The answer in one state of the database; *known* are the vectors of texts."""

    def embed(texts: Sequence[str]) -> Vectors:
        return np.stack([known[text] for text in texts])

    axes = [axis_of(collection, *ends, embed) for ends in asked.axes]
    immutable = is_immutable(target.datasette, target.database.name)
    index = indexes.index(collection, immutable=immutable)
    positions = Positions(collection, axes, index=index)
    near = positions.near(*asked.at, limit=asked.size) if asked.at else []
    return AxisAnswer(
        asked,
        axes,
        positions.ranges(),
        len(positions),
        placed_documents(collection, positions.ends(asked.size)),
        placed_documents(collection, near),
        positions.sample(asked.points) if asked.points else (),
    )
