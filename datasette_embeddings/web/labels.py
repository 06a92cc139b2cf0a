"""Which of some labels fits a text, an item or a picture: a page and its JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, TypeAlias

import numpy as np
from datasette.app import Datasette
from datasette.utils.asgi import Request, Response

from datasette_embeddings import validation
from datasette_embeddings.analysis.labels import (
    Label,
    checked_labels,
    checked_template,
    document_vector,
    labels_of,
    prompts,
    scale_of,
)
from datasette_embeddings.config import Config
from datasette_embeddings.errors import (
    EmbeddingsError,
    InvalidInputError,
    UnknownModelError,
)
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.matches import Match, matches
from datasette_embeddings.search.nearest import checked_query
from datasette_embeddings.serving.allowed_models import log_once
from datasette_embeddings.serving.query_embedder import (
    image_vectors,
    passage_vectors,
    query_vectors,
)
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.validation import AnyText, Checked, Expected, validated
from datasette_embeddings.vectors import Vector, normalize
from datasette_embeddings.web.compat import database_color
from datasette_embeddings.web.http_errors import (
    SearchUnavailableError,
    headers_of,
    status_of,
)
from datasette_embeddings.web.middleware import SHAPE, json_view, page_view, shaped
from datasette_embeddings.web.pages import render_page
from datasette_embeddings.web.resolve import Target, resolve_target
from datasette_embeddings.web.search_request import LIKE, QUERY, Image, QueryText
from datasette_embeddings.web.search_response import MODEL_ERRORS
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address, joined

LABELS, TEMPLATE = "labels", "_template"
NAMES = {QUERY: "text", LIKE: "like", LABELS: "labels", TEMPLATE: "template"}
FIELD_NAMES = {field_name: name for name, field_name in NAMES.items()}
QUERIES = ("text", "like", "image")
# What the script of the search page sends while the user types, and the form keeps
TYPING, KEPT_LIKE = "_typing", "_like"
# Labels take as long as so many searches, at most
MOST_QUERIES = 16


Labels: TypeAlias = Annotated[
    Any, Expected("labels", read=checked_labels, component="Labels")
]
Template: TypeAlias = Annotated[
    str, Expected("a text with one {}", read=checked_template, component="Template")
]


@dataclass(frozen=True, kw_only=True)
class LabelsRequest(Checked):
    """One of `text`, `like` and `image`, and labels."""

    labels: Labels | None = None
    """Two to 1,000 labels."""
    text: QueryText | None = None
    """A text to label."""
    like: AnyText | None = None
    """The id of an item to label."""
    image: Image | None = field(default=None, compare=False)
    """An image to label."""
    template: Template | None = None
    """What the model reads for a label, which replaces its one `{}`."""


@dataclass(frozen=True)
class LabelsResponse:
    """The labels of a vector, the best first, and the item that it is of, if any."""

    labels: list[Label]
    scale: float
    item: Match | None = None


@page_view("GET", "HEAD", "POST", limited=True)
async def labels_page(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    """``/{database}/-/embeddings/{collection}/labels``

    A body has an image to label; the labels are in the URL then, too.
    """
    target = await resolve_target(datasette, request)
    config, address = config_of(datasette), Address.of(request)
    args = address.args
    if KEPT_LIKE in args and body is None:
        return Response.redirect(_tidy_path(address))
    context: dict[str, Any] = {
        "target": target,
        "collection": target.collection,
        "database": target.database.name,
        "db_color": database_color(target.database),
        "text": args.get(QUERY),
        "like": args.get(LIKE),
        "labels": args.get(LABELS) or "",
        "template": args.get(TEMPLATE),
        "is_image": body is not None,
        "response": None,
        "error": None,
        "max_body_bytes": config.max_body_bytes,
        "max_query_length": config.max_query_length,
        "alternate_url_json": address.with_args(
            {TYPING: None}, f"{target.path}/labels.json"
        ),
        "takes_images": False,
    }
    status, headers = 200, dict[str, str]()
    try:
        model = await target.model()
        context["takes_images"] = await asyncio.to_thread(model.may_embed_images)
        address.check_names((*NAMES, TYPING, KEPT_LIKE, SHAPE))
        asked = _from_args(address, config, body)
        if asked.labels is not None and _queries(asked):
            context["response"] = await _run(target, asked)
    except EmbeddingsError as error:
        context["error"] = error
        status, headers = status_of(error), headers_of(error)
    return await render_page(
        datasette,
        request,
        "embeddings_labels.html",
        context,
        status=status,
        headers=headers,
    )


@json_view("GET", "HEAD", "POST", limited=True)
async def labels_json(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    """``/{database}/-/embeddings/{collection}/labels.json``"""
    target = await resolve_target(datasette, request)
    config, address = config_of(datasette), Address.of(request)
    if body is None:
        address.check_names((TEMPLATE, SHAPE))
        asked = _from_args(address, config, None)
    else:
        address.check_names((SHAPE,))
        asked = _checked(validation.json_object(body), config, {})
    if asked.labels is None:
        raise InvalidInputError("labels: expected labels, found none")
    queries = _queries(asked)
    if len(queries) != 1:
        names = [FIELD_NAMES[each] for each in ("text", "like")]
        expected = QUERIES if body is not None else names
        raise InvalidInputError(
            f"Expected one of {', '.join(expected)}; found "
            f"{', '.join(queries) or 'none'}"
        )
    response = await _run(target, asked)
    answer = {
        "ok": True,
        "database": target.database.name,
        "collection": target.collection.name,
        "labels": [each._asdict() for each in response.labels],
        "scale": response.scale,
    }
    return shaped(datasette, request, address.args, answer, LABELS)


def _tidy_path(address: Address) -> str:
    """The URL to share, where the form sent the item that it keeps."""
    args = address.args
    kept = [
        pair for pair in address.pairs if pair[0] != KEPT_LIKE and pair != (QUERY, "")
    ]
    if not args.get(QUERY) and LIKE not in args:
        kept.append((LIKE, args[KEPT_LIKE]))
    return joined(address.path, kept)


def _from_args(address: Address, config: Config, body: bytes | None) -> LabelsRequest:
    """The request of a query string, and of a *body* that holds an image."""
    args = address.args
    given: dict[str, Any] = {
        field_name: args[name] for name, field_name in NAMES.items() if args.get(name)
    }
    if LABELS in given:
        # One to a line, or between commas
        lines = given[LABELS].replace(",", "\n").split("\n")
        given[LABELS] = [each for each in lines if each.strip()]
    if body is not None:
        image = validation.json_object(body)
        if image.keys() != {"image"} or image["image"] is None:
            raise InvalidInputError('Expected {"image": base64} for a body')
        # The image takes the place of what the address has
        given = {n: each for n, each in given.items() if n not in QUERIES} | image
    if args.get(QUERY) and args.get(LIKE):
        raise InvalidInputError("Expected either q or like, found both")
    return _checked(given, config, FIELD_NAMES)


def _checked(
    given: dict[str, Any], config: Config, names: dict[str, str]
) -> LabelsRequest:
    asked = validated(LabelsRequest, given, names=names)
    longest = config.max_query_length
    for label in (*(asked.labels or ()), asked.template or ""):
        if len(label) > longest:
            raise InvalidInputError(
                f"labels: expected labels of at most {longest:,} characters, found "
                f"{len(label):,}"
            )
    if asked.text is not None:
        checked_query(asked.text, max_length=longest)
    if asked.labels is not None:
        length = sum(map(len, prompts(asked.labels, asked.template)))
        if length > MOST_QUERIES * longest:
            raise InvalidInputError(
                f"labels: expected at most {MOST_QUERIES * longest:,} characters "
                f"together, with the template of each; found {length:,}"
            )
    return asked


def _queries(asked: LabelsRequest) -> list[str]:
    return [each for each in QUERIES if getattr(asked, each) is not None]


async def _run(target: Target, asked: LabelsRequest) -> LabelsResponse:
    """The labels of *asked*, most probable first."""
    item, vector = None, None
    assert asked.labels is not None
    if asked.like is not None:
        item, vector = await target.read(partial(_item, asked.like))
    model = await target.model()
    with _model_errors(is_image=asked.image is not None):
        if asked.text is not None:
            (vector,) = await passage_vectors(model, [asked.text])
        elif asked.image is not None:
            (vector,) = await image_vectors(model, [asked.image])
        texts = prompts(asked.labels, asked.template)
        label_vectors = normalize(np.stack(await query_vectors(model, texts)))
        loaded = model.loaded()
        if loaded is None:
            loaded = await model.run(model.load)
        target.collection.check_settings(loaded.settings)
    assert vector is not None
    scale = scale_of(loaded)
    # Not on the event loop: a thousand labels are compared and sorted
    found = await asyncio.to_thread(
        labels_of, vector, asked.labels, label_vectors, scale
    )
    return LabelsResponse(found, scale, item)


def _item(document_id: str, collection: StoredCollection) -> tuple[Match, Vector]:
    vector = document_vector(collection, document_id)
    return matches(collection, [Hit(document_id, 1.0)])[0], vector


@contextmanager
def _model_errors(*, is_image: bool) -> Iterator[None]:
    """Errors that only the owner can fix as one that tells visitors nothing more."""
    try:
        yield
    except MODEL_ERRORS as error:
        if not isinstance(error, UnknownModelError):
            # The reasons of an UnknownModelError are already in the log
            log_once(str(error))
        reason = "Labels are not available here at the moment"
        if is_image:
            reason = "An image cannot be labelled here: the model may take texts only"
        raise SearchUnavailableError(reason) from error
