"""A collection's most similar pairs: near-duplicates, read from a table."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.search.matches import Pair, similar_pairs
from datasette_embeddings.store.similarities import PAIRS_SQL, most_similar
from datasette_embeddings.store.similarity_notes import similarity_settings
from datasette_embeddings.web import json_bodies, resolve, search_request
from datasette_embeddings.web.compat import database_color, may_execute_sql, sql_path
from datasette_embeddings.web.lists import listing_others, page
from datasette_embeddings.web.middleware import READS, json_view, page_view, queued
from datasette_embeddings.web.resolve import Target, readable
from datasette_embeddings.web.search_response import Found, shown
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request, Response


NAMES = ("_size", "_next", *json_bodies.NAMES)


@dataclass(frozen=True)
class FoundPair:
    """Two documents and how much they are alike, with the paths that they lead to."""

    one: Found
    other: Found
    score: float


@dataclass(frozen=True)
class Pairs:
    """A page of the pairs of a collection, best first."""

    target: Target
    address: Address
    pairs: Sequence[FoundPair]
    offset: int
    next: int | None
    #: Whether similarities have been worked out at all
    is_known: bool


async def _pairs(datasette: Datasette, request: Request) -> Pairs:
    target = await resolve.resolve_target(datasette, request)
    config = config_of(datasette)
    address = Address.of(request)
    address.check_names(NAMES)
    args = address.args
    asked = search_request.page_of(args, config)
    size, offset = asked.size, asked.next

    def read(conn: sqlite3.Connection) -> tuple[list[Pair], bool, bool]:
        collection = target.collection.bound_to(conn)
        found = similar_pairs(collection, limit=size, offset=offset)
        # Pairs whose rows are gone are left out, so fewer than *size* need not be all
        after = most_similar(collection, limit=1, offset=offset + size)
        settings = similarity_settings(collection)
        return found, bool(after), settings is not None

    async with readable(target.database):
        found, has_next, is_known = await target.database.execute_fn(read)
    pairs = [
        FoundPair(
            shown(datasette, target, pair.one),
            shown(datasette, target, pair.other),
            pair.score,
        )
        for pair in found
    ]
    next_offset = offset + size if has_next else None
    return Pairs(target, address, pairs, offset, next_offset, is_known)


@json_view(*READS)
@queued
async def pairs_json(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/pairs.json``"""
    found = await _pairs(datasette, request)
    next_path = _next_path(found)
    next_url = next_path and str(datasette.absolute_url(request, next_path))
    body = {
        "ok": True,
        "database": found.target.database.name,
        "collection": found.target.collection.name,
        "pairs": [_body(pair) for pair in found.pairs],
        "next": None if found.next is None else str(found.next),
        "next_url": next_url,
    }
    args = found.address.args
    return json_bodies.shaped(datasette, request, args, body, "pairs")


def _body(pair: FoundPair) -> dict[str, Any]:
    return {
        "id": pair.one.match.document_id,
        "other_id": pair.other.match.document_id,
        "score": pair.score,
        "title": pair.one.match.title,
        "other_title": pair.other.match.title,
        "url": pair.one.row_path,
        "other_url": pair.other.row_path,
        "image_url": pair.one.image_path,
        "other_image_url": pair.other.image_path,
        "stale": pair.one.match.stale,
        "other_stale": pair.other.match.stale,
    }


def _next_path(found: Pairs) -> str | None:
    if found.next is None:
        return None
    return found.address.with_args({"_next": str(found.next)})


@page_view(*READS)
@queued
@listing_others
async def pairs_page(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/pairs``"""
    found = await _pairs(datasette, request)
    target = found.target
    context = {
        "found": found,
        "target": target,
        "collection": target.collection,
        "database": target.database.name,
        "db_color": database_color(target.database),
        "next_path": _next_path(found),
        "sql_path": await _sql_path(datasette, request, target),
        "sql": PAIRS_SQL.strip(),
        "alternate_url_json": found.address.with_args({}, f"{target.path}/pairs.json"),
    }
    return await page(datasette, request, "embeddings_pairs.html", context)


async def _sql_path(
    datasette: Datasette, request: Request, target: Target
) -> str | None:
    """Where the SQL behind the page is run, for those who may."""
    database = target.database.name
    if not await may_execute_sql(datasette, request.actor, database):
        return None
    values = {
        "collection_id": target.collection.id,
        "limit": DEFAULT_LIMIT,
        "offset": 0,
    }
    query = urlencode({"sql": PAIRS_SQL.strip(), **values})
    return f"{sql_path(datasette, database)}?{query}"
