"""The HTML doors: an answer in Datasette's own look."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from datasette_embeddings import compat, serving, sources
from datasette_embeddings import search as searching
from datasette_embeddings.config import Config
from datasette_embeddings.distribution import version
from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.routes import filters, navigation, places, questions
from datasette_embeddings.routes.answers import Answer, answered
from datasette_embeddings.routes.examples import examples
from datasette_embeddings.routes.faults import headers_of, status_of
from datasette_embeddings.routes.guard import READS, page_view, queued
from datasette_embeddings.routes.places import Place, readable
from datasette_embeddings.routes.questions import Question
from datasette_embeddings.routes.urls import with_args
from datasette_embeddings.sources import TableSource

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


@page_view(*READS)
async def all_collections(datasette: Datasette, request: Request) -> Response:
    """``/-/embeddings``"""
    databases = compat.all_databases(datasette)
    context = {
        "collections": await places.listed(datasette, request, databases),
        "database": None,
        "db_color": None,
        "alternate_url_json": datasette.urls.path("/-/embeddings.json"),
    }
    return await page(datasette, request, "embeddings_collections.html", context)


@page_view(*READS)
async def database_collections(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings``"""
    database = await places.requested_database(datasette, request)
    path = datasette.urls.database(database.name)
    context = {
        "collections": await places.listed(datasette, request, [database]),
        "database": database.name,
        "db_color": compat.database_color(database),
        "alternate_url_json": f"{path}/-/embeddings.json",
    }
    return await page(datasette, request, "embeddings_collections.html", context)


@page_view(*READS, "POST")
@queued
async def search(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    """``/{database}/-/embeddings/{collection}``

    A body has a picture to search for; all else is in the address then too.
    """
    place = await places.requested_place(datasette, request)
    tidy = navigation.tidy_path(request)
    if tidy is not None and body is None:
        from datasette import Response

        return Response.redirect(tidy)
    config = compat.checked_config(datasette)
    context: dict[str, Any] = {
        "place": place,
        "max_body_bytes": config.max_body_bytes,
        "collection": place.collection,
        "database": place.database.name,
        "db_color": compat.database_color(place.database),
        "text": request.args.get(questions.QUERY),
        "given": request.args,
        "filters": navigation.filter_links(request),
        "comparisons": filters.comparisons(),
        "snippet_length": SNIPPET_LENGTH,
        "come_again_s": COME_AGAIN_S,
        "is_picture": body is not None,
        "alternate_url_json": with_args(request, {}, f"{place.path}.json"),
    }
    try:
        question = _question(request, body, config)
        if question.needs_model and not await serving.is_ready(
            place.collection.model_id, config, within_s=PATIENCE_S
        ):
            context.update(is_loading=True, **await _form_facts(place))
            return await _search_page(datasette, request, context, status=503)
        answer = await answered(datasette, place, question)
    except EmbeddingsError as problem:
        context.update(problem=problem, **await _form_facts(place))
        return await _search_page(
            datasette,
            request,
            context,
            status=status_of(problem),
            headers=headers_of(problem),
        )
    context.update(await _shown(datasette, request, answer))
    return await _search_page(datasette, request, context)


def _question(request: Request, body: bytes | None, config: Config) -> Question:
    if body is None:
        return questions.from_args(request.args, config)
    return questions.with_image(request.args, body, config)


async def _shown(
    datasette: Datasette, request: Request, answer: Answer
) -> dict[str, Any]:
    """What the page shows of *answer*."""
    question = answer.question
    return {
        "answer": answer,
        "columns": answer.columns,
        "has_images": answer.has_images,
        "is_grid": any(each.image_path for each in answer.found),
        "question": question,
        "facet_values": navigation.facet_links(request, answer),
        "no_facet_path": with_args(request, {"_facet": None}),
        "next_path": navigation.next_path(request, answer.next),
        "previous_path": navigation.previous_path(request, question),
        "examples": await examples(datasette, request, answer)
        if question.is_asked
        else [],
        "synced": _moment(answer.place.collection.synced),
    }


async def _form_facts(place: Place) -> dict[str, Any]:
    """What the form offers, for a page that has no answer to take it from."""
    source = place.collection.source

    def read(conn: sqlite3.Connection) -> dict[str, Any]:
        columns = (
            sources.selectable_columns(conn, source)
            if isinstance(source, TableSource)
            else ()
        )
        has_images = searching.has_images(conn, place.collection)
        return {"columns": columns, "has_images": has_images}

    with suppress(EmbeddingsError):
        async with readable(place.database):
            facts: dict[str, Any] = await place.database.execute_fn(read)
            return facts
    return {"columns": (), "has_images": False}


def _moment(seconds: int | None) -> datetime | None:
    try:
        return (
            None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
        )
    except (OverflowError, OSError, TypeError, ValueError):
        # Another program may have written anything there
        return None


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
            "shortened": searching.shortened,
            "title_length": TITLE_LENGTH,
            "metadata_length": METADATA_LENGTH,
        },
        status=status,
        headers=headers,
    )


async def page(
    datasette: Datasette,
    request: Request,
    template: str,
    context: dict[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    from datasette import Response

    def asset(name: str) -> str:
        path = datasette.urls.static_plugins(compat.registered_name(), name)
        return f"{path}?v={version()}"

    html = await datasette.render_template(
        template,
        {**context, "asset": asset},
        request=request,
        view_name="embeddings",
    )
    url = datasette.absolute_url(request, str(context["alternate_url_json"]))
    link = f'<{url}>; rel="alternate"; type="application/json+datasette"'
    return Response.html(html, status=status, headers={**(headers or {}), "Link": link})
