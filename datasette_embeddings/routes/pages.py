"""The HTML doors: an answer in Datasette's own look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from datasette_embeddings import compat
from datasette_embeddings.config import DEFAULT_LIMIT, PLUGIN_NAME
from datasette_embeddings.routes import answers

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.utils.asgi import Request, Response

# Characters of a match's content that its result shows
SNIPPET_LENGTH = 280


async def all_collections(datasette: Datasette, request: Request) -> Response:
    """``/-/embeddings``"""
    databases = compat.all_databases(datasette)
    found = await answers.listed(datasette, request, databases)
    context = {
        "collections": found,
        "database": None,
        "db_color": None,
        "alternate_url_json": datasette.urls.path("/-/embeddings.json"),
    }
    return await _page(datasette, request, "embeddings_collections.html", context)


async def database_collections(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings``"""
    database = await _or_not_found(answers.requested_database(datasette, request))
    path = datasette.urls.database(database.name)
    context = {
        "collections": await answers.listed(datasette, request, [database]),
        "database": database.name,
        "db_color": compat.database_color(database),
        "alternate_url_json": f"{path}/-/embeddings.json",
    }
    return await _page(datasette, request, "embeddings_collections.html", context)


async def search(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}``"""
    answer = await _or_not_found(answers.answer(datasette, request))
    query_string = f"?{request.query_string}" if request.query_string else ""
    context = {
        "answer": answer,
        "collection": answer.place.collection,
        "database": answer.place.database.name,
        "db_color": compat.database_color(answer.place.database),
        "snippet_length": SNIPPET_LENGTH,
        "default_size": DEFAULT_LIMIT,
        "alternate_url_json": f"{answer.place.path}.json{query_string}",
    }
    status = 200 if answer.problem is None else answers.status_of(answer.problem)
    return await _page(
        datasette, request, "embeddings_search.html", context, status=status
    )


async def _or_not_found(answer: Any) -> Any:  # noqa: ANN401 - whatever is awaited
    from datasette import NotFound

    try:
        return await answer
    except answers.Absent as problem:
        raise NotFound(str(problem)) from problem


async def _page(
    datasette: Datasette,
    request: Request,
    template: str,
    context: dict[str, Any],
    *,
    status: int = 200,
) -> Response:
    from datasette import Response

    stylesheet = datasette.urls.static_plugins(PLUGIN_NAME, "embeddings.css")
    html = await datasette.render_template(
        template,
        {**context, "stylesheet": stylesheet},
        request=request,
        view_name="embeddings",
    )
    headers = {}
    if "alternate_url_json" in context:
        url = datasette.absolute_url(request, str(context["alternate_url_json"]))
        headers["Link"] = f'<{url}>; rel="alternate"; type="application/json+datasette"'
    return Response.html(html, status=status, headers=headers)
