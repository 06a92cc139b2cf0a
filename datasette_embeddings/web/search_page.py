"""The search page: its form, its results, and the links that change the search."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from typing import Any

from datasette.app import Datasette
from datasette.utils import filters_should_redirect
from datasette.utils.asgi import Request, Response

from datasette_embeddings.config import Config
from datasette_embeddings.errors import EmbeddingsError, UnknownItemError
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.matches import Match, has_images, matches
from datasette_embeddings.search.selecting import rows_of
from datasette_embeddings.search.snippets import Piece
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.web import filters, search_request
from datasette_embeddings.web.code_samples import code_samples
from datasette_embeddings.web.compat import database_color
from datasette_embeddings.web.filter_links import Link, filter_links, scope_context
from datasette_embeddings.web.http_errors import (
    SearchUnavailableError,
    headers_of,
    status_of,
)
from datasette_embeddings.web.live import live_json
from datasette_embeddings.web.middleware import SHAPE, page_view
from datasette_embeddings.web.pages import render_page
from datasette_embeddings.web.resolve import Target, resolve_target
from datasette_embeddings.web.search_request import SearchRequest
from datasette_embeddings.web.search_response import run_search
from datasette_embeddings.web.search_results import SearchResponse
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address, is_special, joined

# Characters of a match's content, title and metadata that its result shows
LENGTHS = {"snippet_length": 280, "title_length": 200, "metadata_length": 100}
# Fields of the form that are left out of the URL when they are empty
OPTIONAL = ("_mode", "_min_score", "_min_cosine", "_prefix", "_facet", "_sort")
# What the form offers to search by, the default first
MODES = {"both": "words and meaning", "meaning": "meaning", "words": "words"}
# What a match was found by, in words
FOUND_BY = {"exact": "title", "words": "words", "meaning": "meaning"}
# Sent by the script while the user types, and in no link of the page
TYPING = "_typing"
# What the form keeps of "more like this" until the user types a text
KEPT_LIKE = "_like"
# Parameters that only the form sends
SORT_BY_DESC = "_sort_by_desc"
FORM_NAMES = (
    *(KEPT_LIKE, SORT_BY_DESC),
    *("_filter_column", "_filter_op", "_filter_value"),
)


@page_view("GET", "HEAD", "POST", limited=True)
async def search(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    """``/{database}/-/embeddings/{collection}``

    A body has an image to search by; everything else is in the URL then, too.
    """
    target = await resolve_target(datasette, request)
    config = config_of(datasette)
    asked_address = Address.of(request)
    address = asked_address.without(TYPING)
    tidy = _tidy_path(address)
    if tidy is not None and body is None:
        return Response.redirect(tidy)
    context = {
        **_request_context(target, address, config, is_image=body is not None),
        **await _form_context(target),
        **await scope_context(target, address),
        "live": (await live_json(target)).get("live"),
    }
    status, headers = 200, dict[str, str]()
    try:
        known = (*search_request.NAMES, SHAPE)
        address.check_names(known if body is None else (*known, *FORM_NAMES))
        asked = search_request.from_args(asked_address.args, config, body=body)
        response = await run_search(target, asked)
        context.update(await _response_context(request, address, response))
    except EmbeddingsError as error:
        context["error"] = _for_visitors(error)
        status, headers = status_of(error), headers_of(error)
        if isinstance(error, SearchUnavailableError) and target.collection.has_words:
            context["by_words_path"] = _by_words_path(address)
    template = "embeddings_search.html"
    return await render_page(
        datasette, request, template, context, status=status, headers=headers
    )


def _request_context(
    target: Target, address: Address, config: Config, *, is_image: bool
) -> dict[str, Any]:
    """What the page shows of the request, with or without a response."""
    return {
        "response": None,
        "error": None,
        "target": target,
        "collection": target.collection,
        "database": target.database.name,
        "db_color": database_color(target.database),
        "text": address.args.get(search_request.QUERY),
        "given": address.args,
        "filters": search_request.filters_of(address.args),
        "filter_links": filter_links(address),
        "comparisons": filters.comparisons(),
        "is_image": is_image,
        "modes": MODES,
        "alternate_url_json": address.with_args({}, f"{target.path}.json"),
        "max_body_bytes": config.max_body_bytes,
        "max_query_length": config.max_query_length,
        **LENGTHS,
    }


async def _form_context(target: Target) -> dict[str, Any]:
    """What the form offers, and when the collection was synced."""
    synced = target.collection.synced
    context: dict[str, Any] = {
        "columns": (),
        "has_images": False,
        "failed": 0,
        "synced": synced and datetime.fromtimestamp(synced, timezone.utc),
    }
    with suppress(EmbeddingsError, sqlite3.DatabaseError):
        context.update(await target.read(_read_form))
        if context["has_images"]:
            model = await target.model()
            context["has_images"] = await asyncio.to_thread(model.may_embed_images)
    return context


def _read_form(collection: StoredCollection) -> dict[str, Any]:
    rows = rows_of(collection, ())
    # Ids alone are no choice
    has_choice = not rows.is_metadata or len(rows.columns) > 1
    return {
        "columns": rows.columns if has_choice else (),
        "has_images": has_images(collection),
        "failed": collection.count_failures(),
    }


async def _response_context(
    request: Request, address: Address, response: SearchResponse
) -> dict[str, Any]:
    target, asked = response.target, response.request
    like_image_path = None
    if asked.like is not None:
        like_image_path = await target.read(partial(_image_path, target, asked.like))
    marked = " ".join(filter(None, [asked.text, response.corrected])) or None
    return {
        "response": response,
        "search": asked,
        **_ranking_context(address, response),
        # Not in the template: other requests would wait for long texts
        "excerpts": await asyncio.to_thread(_excerpts, response.matches, marked),
        "is_grid": any(map(target.image_path, response.matches)),
        "like_image_path": like_image_path,
        "facet_links": _facet_links(address, response),
        "no_facet_path": address.with_args({"_facet": None}),
        "next_path": address.next_path(response.next),
        "previous_path": _previous_path(address, asked),
        "code_samples": await code_samples(request, address, response),
    }


def _ranking_context(address: Address, response: SearchResponse) -> dict[str, Any]:
    """What the page says of how *response* was ranked, and of what it is among."""
    asked, is_by_words = response.request, response.mode == "words"
    conditions = [
        text
        for text, is_set in (
            (
                "is in the cluster" if len(asked.cluster) < 2 else "is in the clusters",
                asked.cluster,
            ),
            ("is in the area of the map", asked.area),
            ("passes the filters", asked.filters or asked.prefix),
            ("fits these words", is_by_words or response.is_narrowed),
            (f"scores {asked.min_score} or more", asked.min_score is not None),
            (
                f"has a cosine of {asked.min_cosine} or more",
                asked.min_cosine is not None,
            ),
        )
        if is_set
    ]
    return {
        "best_score": max((match.score for match in response.matches), default=0.0),
        "found_by": _found_by,
        "as_typed_path": address.with_args({"_as_typed": "1", "_next": None}),
        "conditions": conditions,
        "is_narrowed": bool(conditions),
    }


def _excerpts(found: Sequence[Match], marked: str | None) -> list[list[Piece]]:
    """The part of each match that is shown, with the words of *marked*."""
    return [each.excerpt(marked, LENGTHS["snippet_length"]) for each in found]


def _found_by(matched: Sequence[str]) -> str:
    """Such as "title, words and meaning"."""
    *first, last = (FOUND_BY[each] for each in matched)
    return f"{', '.join(first)} and {last}" if first else last


def _by_words_path(address: Address) -> str | None:
    """The same search by words, which needs no model; None if it has no text."""
    if not address.args.get(search_request.QUERY):
        return None
    return address.with_args({"_mode": "words", "_min_cosine": None, "_next": None})


def _image_path(
    target: Target, item_id: str, collection: StoredCollection
) -> str | None:
    return target.image_path(matches(collection, [Hit(item_id, 1.0)])[0])


def _for_visitors(error: EmbeddingsError) -> str:
    """*error* in words for a visitor, who knows nothing of tables and ids."""
    if isinstance(error, UnknownItemError):
        return (
            f"There is no item called {error.item_id:.200} here. It may have been "
            "deleted since; search for it in the box above."
        )
    return str(error)


def _facet_links(address: Address, response: SearchResponse) -> Sequence[Link]:
    """The values of the facet, each a filter to add or to remove."""
    if response.facet is None:
        return []
    given, column = response.request.filters, response.facet.column
    is_reserved = column in (search_request.QUERY, search_request.LIKE)
    if response.facet.of_lists:
        column = f"{column}__arraycontains"
    elif is_reserved or "__" in column or is_special(column):
        # A column with a name that the page uses itself needs its comparison
        column = f"{column}__exact"
    pairs = [((column, str(value)), count) for value, count in response.facet.values]
    return [
        Link(pair[1], address.toggle_filter(pair), count, pair in given)
        for pair, count in pairs
    ]


def _previous_path(address: Address, asked: SearchRequest) -> str | None:
    if not asked.next:
        return None
    before = max(0, asked.next - asked.size)
    return address.with_args({"_next": str(before) if before else None})


def _tidy_path(address: Address) -> str | None:
    """The URL to share, where the form sent fields for a filter, or empty ones."""
    args = address.args
    left_out = {name for name in OPTIONAL if args.get(name) == ""}
    left_out.update(name for name in FORM_NAMES if name in args)
    if not left_out:
        return None
    # An empty box of the form asks nothing; in a URL written by hand it is an error
    kept = [
        ("_sort_desc", pair[1]) if pair[0] == "_sort" and SORT_BY_DESC in args else pair
        for pair in address.pairs
        if pair[0] not in left_out and pair != (search_request.QUERY, "")
    ]
    added = [pair for pair in filters_should_redirect(args) if pair[1] is not None]
    is_asked = args.get(search_request.QUERY) or search_request.LIKE in args
    if KEPT_LIKE in args and not is_asked:
        kept.insert(0, (search_request.LIKE, args[KEPT_LIKE]))
    return joined(address.path, [*kept, *added])
