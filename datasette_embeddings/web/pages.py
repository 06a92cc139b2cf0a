"""The HTML doors: an answer in Datasette's own look."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from datasette_embeddings.config import Config
from datasette_embeddings.errors import (
    EmbeddingsError,
    InvalidInputError,
    UnknownItemError,
)
from datasette_embeddings.search.matches import has_images
from datasette_embeddings.serving.allowed_models import config_for
from datasette_embeddings.serving.models import is_ready, may_take_images
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.sources.table_rows import selectable_columns
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.web import (
    filters,
    json_bodies,
    navigation,
    resolve,
    search_request,
)
from datasette_embeddings.web.code_samples import code_samples
from datasette_embeddings.web.compat import database_color
from datasette_embeddings.web.http_errors import headers_of, status_of
from datasette_embeddings.web.lists import listing_others, page
from datasette_embeddings.web.middleware import READS, page_view, queued
from datasette_embeddings.web.resolve import Target, readable
from datasette_embeddings.web.search_request import SearchRequest
from datasette_embeddings.web.search_response import SearchResponse, search_response
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request, Response

# Characters of a match's content, title and metadata that its result shows
SNIPPET_LENGTH = 280
TITLE_LENGTH = 200
METADATA_LENGTH = 100
# How long a page waits for a model; then it says so, and comes again by itself
PATIENCE_S = 1.0
COME_AGAIN_S = 2


@page_view(*READS, "POST")
@queued
@listing_others
async def search(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    """``/{database}/-/embeddings/{collection}``

    A body has a picture to search for; all else is in the address then too.
    """
    target = await resolve.resolve_target(datasette, request)
    try:
        address = Address.of(request)
    except InvalidInputError as problem:
        # The page repeats nothing of such an address, not even in the form
        context = _context(datasette, target, Address(request.path), body)
        return await _problem_page(datasette, request, context, problem)
    tidy = navigation.tidy_path(address)
    if tidy is not None and body is None:
        from datasette import Response

        return Response.redirect(tidy)
    config = config_of(datasette)
    context = _context(datasette, target, address, body)
    try:
        question = _question(address, body, config)
        if question.needs_model and not await _is_ready(target.collection, config):
            context.update(is_loading=True, **await _form_facts(datasette, target))
            return await _search_page(datasette, request, context, status=503)
        answer = await search_response(datasette, target, question)
    except EmbeddingsError as problem:
        return await _problem_page(datasette, request, context, problem)
    context.update(await _shown(datasette, request, address, answer))
    return await _search_page(datasette, request, context)


def _context(
    datasette: Datasette, target: Target, address: Address, body: bytes | None
) -> dict[str, Any]:
    """What the page shows for a question, with or without an answer."""
    config = config_of(datasette)
    asked = search_request.filters_of(address.args)
    return {
        "target": target,
        "max_body_bytes": config.max_body_bytes,
        "max_query_length": config.max_query_length,
        "collection": target.collection,
        "database": target.database.name,
        "db_color": database_color(target.database),
        "text": address.args.get(search_request.QUERY),
        "given": address.args,
        "filters": asked,
        "filter_links": navigation.filter_links(address),
        "comparisons": filters.comparisons(),
        "snippet_length": SNIPPET_LENGTH,
        "come_again_s": COME_AGAIN_S,
        "is_picture": body is not None,
        "alternate_url_json": address.with_args({}, f"{target.path}.json"),
    }


def _question(address: Address, body: bytes | None, config: Config) -> SearchRequest:
    known = (*search_request.NAMES, *json_bodies.NAMES)
    if body is None:
        address.check_names(known)
        return search_request.from_args(address.args, config)
    address.check_names((*known, *navigation.FORM_NAMES))
    return search_request.with_image(address.args, body, config)


async def _is_ready(collection: Collection, config: Config) -> bool:
    """Whether the model of *collection* is loaded, or is within PATIENCE_S."""
    model_id = collection.model_id
    config = config_for(model_id, collection.home, config)
    return await is_ready(model_id, config, within_s=PATIENCE_S)


async def _shown(
    datasette: Datasette, request: Request, address: Address, answer: SearchResponse
) -> dict[str, Any]:
    """What the page shows of *answer*."""
    question = answer.question
    return {
        "answer": answer,
        "columns": answer.columns,
        "has_images": answer.has_images
        and await _may_take_images(datasette, answer.target),
        "is_grid": any(each.image_path for each in answer.found),
        "question": question,
        "facet_values": navigation.facet_links(address, answer),
        "no_facet_path": address.with_args({"_facet": None}),
        "next_path": navigation.next_path(address, answer.next),
        "previous_path": navigation.previous_path(address, question),
        "code_samples": await code_samples(datasette, request, address, answer),
        "synced": _moment(answer.target.collection.synced),
    }


async def _form_facts(datasette: Datasette, target: Target) -> dict[str, Any]:
    """What the form offers, for a page that has no answer to take it from."""
    source = target.collection.source

    def read(conn: sqlite3.Connection) -> dict[str, Any]:
        columns = (
            selectable_columns(conn, source) if isinstance(source, TableSource) else ()
        )
        images = has_images(target.collection.bound_to(conn))
        return {"columns": columns, "has_images": images}

    with suppress(EmbeddingsError):
        async with readable(target.database):
            facts: dict[str, Any] = await target.database.execute_fn(read)
            if facts["has_images"]:
                facts["has_images"] = await _may_take_images(datasette, target)
            return facts
    return {"columns": (), "has_images": False}


async def _may_take_images(datasette: Datasette, target: Target) -> bool:
    model_id = target.collection.model_id
    config = config_of(datasette)
    config = config_for(model_id, target.collection.home, config)
    return await may_take_images(model_id, config)


def _moment(seconds: int | None) -> datetime | None:
    try:
        return (
            None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
        )
    except (OverflowError, OSError, TypeError, ValueError):
        # Another program may have written anything there
        return None


async def _problem_page(
    datasette: Datasette,
    request: Request,
    context: dict[str, Any],
    problem: EmbeddingsError,
) -> Response:
    """The page with an error instead of an answer."""
    target: Target = context["target"]
    return await _search_page(
        datasette,
        request,
        {
            **context,
            "problem": _for_visitors(problem),
            **await _form_facts(datasette, target),
        },
        status=status_of(problem),
        headers=headers_of(problem),
    )


def _for_visitors(problem: EmbeddingsError) -> str:
    """*problem* in words for a visitor who knows nothing of tables and ids."""
    if isinstance(problem, UnknownItemError):
        return (
            f"There is no item called {problem.item_id:.200} here. It may have been "
            "deleted since; search for it in the box above."
        )
    return str(problem)


async def _search_page(
    datasette: Datasette,
    request: Request,
    context: dict[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    if context.get("is_loading"):
        headers = {"Retry-After": str(COME_AGAIN_S)}
    return await page(
        datasette,
        request,
        "embeddings_search.html",
        {
            "answer": None,
            "problem": None,
            "is_loading": False,
            **context,
            "title_length": TITLE_LENGTH,
            "metadata_length": METADATA_LENGTH,
        },
        status=status,
        headers=headers,
    )
