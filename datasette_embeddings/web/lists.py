"""The pages that list collections, and the rendering of every page."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from datasette_embeddings.distribution import version
from datasette_embeddings.search.snippets import shortened
from datasette_embeddings.web import json_bodies, resolve
from datasette_embeddings.web.compat import all_databases, database_color
from datasette_embeddings.web.http_errors import CollectionNotFoundError
from datasette_embeddings.web.middleware import READS, View, page_view
from datasette_embeddings.web.urls import Address

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.database import Database
    from datasette.utils.asgi import Request, Response


# What Datasette calls this plugin where no distribution of it is installed
PACKAGE = __name__.partition(".")[0]


@page_view(*READS)
async def all_collections(datasette: Datasette, request: Request) -> Response:
    """``/-/embeddings``"""
    Address.of(request).check_names(json_bodies.NAMES)
    databases = all_databases(datasette)
    context = {
        "collections": await resolve.listed(datasette, request, databases),
        "database": None,
        "db_color": None,
        "alternate_url_json": datasette.urls.path("/-/embeddings.json"),
    }
    return await page(datasette, request, "embeddings_collections.html", context)


def listing_others(view: View) -> View:
    """*view*, with a 404 page that lists the collections for an unknown one."""

    async def listed(datasette: Datasette, request: Request, *body: bytes) -> Response:
        try:
            return await view(datasette, request, *body)
        except CollectionNotFoundError as problem:
            if "%" in request.path:
                # Datasette redirects to the same path with "~"
                raise
            context = await _collections(datasette, request, problem.database)
            context["missing"] = problem.name
            template = "embeddings_collections.html"
            return await page(datasette, request, template, context, status=404)

    return listed


@page_view(*READS)
async def database_collections(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings``"""
    database = await resolve.resolve_database(datasette, request)
    Address.of(request).check_names(json_bodies.NAMES)
    context = await _collections(datasette, request, database)
    return await page(datasette, request, "embeddings_collections.html", context)


async def _collections(
    datasette: Datasette, request: Request, database: Database
) -> dict[str, Any]:
    """The context of the list of one database."""
    path = datasette.urls.database(database.name)
    return {
        "collections": await resolve.listed(datasette, request, [database]),
        "database": database.name,
        "db_color": database_color(database),
        "alternate_url_json": f"{path}/-/embeddings.json",
    }


@cache
def registered_name() -> str:
    """What Datasette calls this plugin in the URLs of its static files.

    Usually the name of the distribution.  Datasette is asked because it takes the
    older one's where an environment holds both.
    """
    from datasette.plugins import pm

    for plugin, distribution in pm.list_plugin_distinfo():
        if getattr(plugin, "__name__", None) == PACKAGE:
            return str(distribution.metadata["name"])
    return PACKAGE


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
        path = datasette.urls.static_plugins(registered_name(), name)
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
