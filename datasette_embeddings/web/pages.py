"""Lists as pages and JSON: the collections, and a collection's most similar pairs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import Any

from datasette.app import Datasette
from datasette.plugins import pm
from datasette.utils.asgi import Request, Response

from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.distribution import version
from datasette_embeddings.search.related import Pair, similar_pairs
from datasette_embeddings.search.snippets import shortened
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.similarities import PAIRS_SQL, Similarities
from datasette_embeddings.web import search_request
from datasette_embeddings.web.compat import database_color, run_sql_path
from datasette_embeddings.web.filter_links import cluster_count
from datasette_embeddings.web.http_errors import NotFoundError
from datasette_embeddings.web.live import live_json
from datasette_embeddings.web.middleware import SHAPE, json_view, page_view, shaped
from datasette_embeddings.web.resolve import Target, listed_targets, resolve_target
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address

PAIRS_PARAMETERS = ("_size", "_next", SHAPE)
# What Datasette calls this plugin where no distribution of it is installed
PACKAGE = __name__.partition(".")[0]


@page_view()
async def collections(datasette: Datasette, request: Request) -> Response:
    """``/-/embeddings`` and ``/{database}/-/embeddings``"""
    database, targets = await listed_targets(datasette, request)
    Address.of(request).check_names((SHAPE,))
    url = datasette.urls.path("/")
    if database is not None:
        url = f"{datasette.urls.database(database.name)}/"
    counts = {
        target.path: await target.read(cluster_count)
        for target, _count in targets
        if target.collection.has_clusters
    }
    context = {
        "collections": targets,
        "cluster_counts": counts,
        "database": database and database.name,
        "db_color": database and database_color(database),
        "alternate_url_json": f"{url}-/embeddings.json",
    }
    return await render_page(datasette, request, "embeddings_collections.html", context)


@json_view()
async def collections_json(datasette: Datasette, request: Request) -> Response:
    """``/-/embeddings.json`` and ``/{database}/-/embeddings.json``"""
    database, targets = await listed_targets(datasette, request)
    address = Address.of(request)
    address.check_names((SHAPE,))
    rows = [
        {
            "database": target.database.name,
            **target.to_json(count),
            **await live_json(target),
            "url": target.path,
        }
        for target, count in targets
    ]
    body: dict[str, Any] = {"ok": True, "collections": rows}
    if database is not None:
        body["database"] = database.name
    return shaped(datasette, request, address.args, body, "collections")


@json_view("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
async def unknown_path(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    """Any path below those of the API, for which Datasette might answer in HTML."""
    raise NotFoundError(f"No such path: {request.path:.200}")


async def _pairs(
    datasette: Datasette, request: Request
) -> tuple[Target, Address, dict[str, Any]]:
    """A collection, and a page of its most similar pairs, best first."""
    target = await resolve_target(datasette, request)
    address = Address.of(request)
    address.check_names(PAIRS_PARAMETERS)
    asked = search_request.from_args(address.args, config_of(datasette))
    page = await target.read(partial(_read_pairs, asked.size, asked.next))
    page["next_path"] = address.next_path(page["next"])
    return target, address, page


def _read_pairs(size: int, offset: int, collection: StoredCollection) -> dict[str, Any]:
    # Pairs of deleted rows are left out, so fewer than *size* need not be all
    similarities = Similarities(collection)
    after = similarities.pairs(limit=1, offset=offset + size)
    return {
        "pairs": similar_pairs(collection, limit=size, offset=offset),
        "offset": offset,
        "next": offset + size if after else None,
        "has_similarities": similarities.settings is not None,
    }


@json_view(limited=True)
async def pairs_json(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/pairs.json``"""
    target, address, page = await _pairs(datasette, request)
    next_path = page["next_path"]
    body = {
        "ok": True,
        "database": target.database.name,
        "collection": target.collection.name,
        "pairs": [_pair_body(target, pair) for pair in page["pairs"]],
        "next": None if page["next"] is None else str(page["next"]),
        "next_url": next_path and str(datasette.absolute_url(request, next_path)),
    }
    return shaped(datasette, request, address.args, body, "pairs")


def _pair_body(target: Target, pair: Pair) -> dict[str, Any]:
    one, other = pair.one, pair.other
    return {
        "id": one.document_id,
        "other_id": other.document_id,
        "score": pair.score,
        "title": one.title,
        "other_title": other.title,
        "url": target.url(one),
        "other_url": target.url(other),
        "image_url": target.image_path(one),
        "other_image_url": target.image_path(other),
        "stale": one.stale,
        "other_stale": other.stale,
    }


@page_view(limited=True)
async def pairs_page(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/pairs``"""
    target, address, page = await _pairs(datasette, request)
    collection, database = target.collection, target.database.name
    sql = PAIRS_SQL.strip()
    values = {"collection_id": collection.id, "limit": DEFAULT_LIMIT, "offset": 0}
    sql_path = await run_sql_path(datasette, request.actor, database, sql, values)
    context = {
        **page,
        "target": target,
        "collection": collection,
        "database": database,
        "db_color": database_color(target.database),
        "sql_path": sql_path,
        "sql": sql,
        "alternate_url_json": address.with_args({}, f"{target.path}/pairs.json"),
    }
    return await render_page(datasette, request, "embeddings_pairs.html", context)


async def render_page(
    datasette: Datasette,
    request: Request,
    template: str,
    context: dict[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A page, with a ``Link`` header to its JSON."""

    def asset(name: str) -> str:
        path = datasette.urls.static_plugins(_registered_name(), name)
        return f"{path}?v={version()}"

    html = await datasette.render_template(
        template,
        {"shortened": shortened, **context, "asset": asset},
        request=request,
        view_name="embeddings",
    )
    url = datasette.absolute_url(request, str(context["alternate_url_json"]))
    link = f'<{url}>; rel="alternate"; type="application/json+datasette"'
    return Response.html(html, status=status, headers={**(headers or {}), "Link": link})


@cache
def _registered_name() -> str:
    """The name of this plugin in the URLs of its static files.

    It is the distribution's; with two installed, Datasette decides which.
    """
    for plugin, distribution in pm.list_plugin_distinfo():
        if getattr(plugin, "__name__", None) == PACKAGE:
            return str(distribution.metadata["name"])
    return PACKAGE
