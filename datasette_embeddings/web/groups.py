"""Near-duplicates and outliers of a collection: pages and their JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from datasette.app import Datasette
from datasette.utils import sqlite_timelimit
from datasette.utils.asgi import Request, Response

from datasette_embeddings.analysis.groups import (
    DUPLICATE_SCORE,
    Group,
    Groups,
    duplicates,
)
from datasette_embeddings.analysis.outliers import outliers
from datasette_embeddings.errors import InvalidInputError, NoSimilaritiesError, quoted
from datasette_embeddings.migrations import NEAR_SCORE
from datasette_embeddings.search.matches import Match
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.web import search_request
from datasette_embeddings.web.compat import database_color
from datasette_embeddings.web.http_errors import status_of
from datasette_embeddings.web.middleware import SHAPE, json_view, page_view, shaped
from datasette_embeddings.web.pages import render_page
from datasette_embeddings.web.resolve import Target, resolve_target
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address

Result = TypeVar("Result")
MIN_SCORE = "_min_score"
# Of a group, those that are shown, and similarities that a visitor has read
MOST_ITEMS, MOST_PAIRS = 50, 20_000
# Outliers that visitors can see, and lists that are read to find them
MOST_OUTLIERS, MOST_READ = 1_000, 20_000


@json_view(limited=True)
async def duplicates_json(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/duplicates.json``"""
    target = await resolve_target(datasette, request)
    address = Address.of(request)
    found, next_offset = await _groups(target, address)
    body = {
        **_body(target, request, address, next_offset),
        "min_score": found.min_score,
        "count": found.count,
        "groups": [_group_to_json(target, each) for each in found.groups],
    }
    return shaped(datasette, request, address.args, body, "groups")


@page_view(limited=True)
async def duplicates_page(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/duplicates``"""
    target = await resolve_target(datasette, request)
    return await _page(
        datasette, request, target, "duplicates", partial(_groups, target)
    )


@json_view(limited=True)
async def outliers_json(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/outliers.json``"""
    target = await resolve_target(datasette, request)
    address = Address.of(request)
    found, next_offset = await _outliers(target, address)
    body = {
        **_body(target, request, address, next_offset),
        "items": [_item_to_json(target, each) for each in found],
    }
    return shaped(datasette, request, address.args, body, "items")


@page_view(limited=True)
async def outliers_page(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/outliers``"""
    target = await resolve_target(datasette, request)
    return await _page(
        datasette, request, target, "outliers", partial(_outliers, target)
    )


async def _groups(target: Target, address: Address) -> tuple[Groups, int | None]:
    """A page of groups, and the offset of the next."""
    address.check_names(("_size", "_next", MIN_SCORE, SHAPE))
    asked = _paging(target, address)
    least = DUPLICATE_SCORE if asked.min_score is None else asked.min_score
    if least < NEAR_SCORE:
        raise InvalidInputError(
            f"{MIN_SCORE}: expected a score from {NEAR_SCORE} to 1, found "
            f"{quoted(asked.min_score)}"
        )
    work = partial(
        duplicates,
        min_score=least,
        limit=asked.size,
        offset=asked.next,
        most_items=MOST_ITEMS,
        most_pairs=MOST_PAIRS,
    )
    found = await _read(target, work)
    end = asked.next + asked.size
    return found, end if end < found.count else None


async def _outliers(target: Target, address: Address) -> tuple[list[Match], int | None]:
    """A page of outliers, and the offset of the next."""
    address.check_names(("_size", "_next", SHAPE))
    asked = _paging(target, address)
    end = min(asked.next + asked.size, MOST_OUTLIERS)
    limit = max(0, end - asked.next)
    # One more shows whether there is a next page
    work = partial(outliers, limit=limit + 1, offset=asked.next, most_read=MOST_READ)
    found = await _read(target, work) if limit else []
    has_next = len(found) > limit and end < MOST_OUTLIERS
    return found[:limit], end if has_next else None


def _paging(target: Target, address: Address) -> search_request.SearchRequest:
    return search_request.from_args(address.args, config_of(target.datasette))


async def _read(target: Target, work: Callable[[StoredCollection], Result]) -> Result:
    """What *work* returns, within the time limit of Datasette's SQL."""
    limit_ms = target.datasette.setting("sql_time_limit_ms")

    def limited(collection: StoredCollection) -> Result:
        with sqlite_timelimit(collection.conn, limit_ms):
            return work(collection)

    return await target.read(limited)


async def _page(
    datasette: Datasette,
    request: Request,
    target: Target,
    name: str,
    read: Callable[[Address], Any],
) -> Response:
    """The page *name* with what *read* finds, or with what is missing."""
    address = Address.of(request)
    context: dict[str, Any] = {
        "target": target,
        "collection": target.collection,
        "database": target.database.name,
        "db_color": database_color(target.database),
        "found": None,
        "error": None,
        "alternate_url_json": address.with_args({}, f"{target.path}/{name}.json"),
    }
    status = 200
    try:
        context["found"], next_offset = await read(address)
        context["next_path"] = address.next_path(next_offset)
    except NoSimilaritiesError as error:
        context["error"], status = error, status_of(error)
    template = f"embeddings_{name}.html"
    return await render_page(datasette, request, template, context, status=status)


def _body(
    target: Target, request: Request, address: Address, next_offset: int | None
) -> dict[str, Any]:
    path = address.next_path(next_offset)
    return {
        "ok": True,
        "database": target.database.name,
        "collection": target.collection.name,
        "next": None if next_offset is None else str(next_offset),
        "next_url": path and str(target.datasette.absolute_url(request, path)),
    }


def _group_to_json(target: Target, group: Group) -> Mapping[str, Any]:
    return {
        "size": group.size,
        "highest": group.highest,
        "lowest": group.lowest,
        "items": [_item_to_json(target, each) for each in group.items],
    }


def _item_to_json(target: Target, item: Match) -> Mapping[str, Any]:
    return {
        "id": item.id,
        "score": item.score,
        "title": item.title,
        "url": target.url(item),
        "image_url": target.image_path(item),
        "stale": item.stale,
    }
