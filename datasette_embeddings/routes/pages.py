"""The HTML doors: an answer in Datasette's own look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from datasette_embeddings import compat, serving, sources
from datasette_embeddings import search as searching
from datasette_embeddings.config import PLUGIN_NAME
from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.routes import filters, places, questions
from datasette_embeddings.routes.answers import Answer, answered
from datasette_embeddings.routes.examples import examples
from datasette_embeddings.routes.faults import headers_of, status_of
from datasette_embeddings.routes.filters import Filter
from datasette_embeddings.routes.guard import page_view, queued
from datasette_embeddings.routes.places import Place, readable
from datasette_embeddings.routes.questions import Question
from datasette_embeddings.routes.urls import joined, pairs_of, with_args, without_pair
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
# Fields of the form that are left out of the URL when nobody filled them in
OPTIONAL = ("_min_score", "_prefix", "_facet")
FILTER_FIELDS = ("_filter_column", "_filter_op", "_filter_value")


@dataclass(frozen=True)
class Link:
    """A filter or a value of a facet on the page, and where it leads."""

    label: str
    path: str
    count: int = 0
    is_selected: bool = False
    #: What the form keeps of a filter
    pair: Filter = ("", "")


@page_view
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


@page_view
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


@page_view
@queued
async def search(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}``"""
    place = await places.requested_place(datasette, request)
    tidy = _tidy_path(request)
    if tidy is not None:
        from datasette import Response

        return Response.redirect(tidy)
    context: dict[str, Any] = {
        "place": place,
        "collection": place.collection,
        "database": place.database.name,
        "db_color": compat.database_color(place.database),
        "text": request.args.get(questions.QUERY),
        "given": request.args,
        "filters": _filters(request),
        "comparisons": filters.comparisons(),
        "snippet_length": SNIPPET_LENGTH,
        "come_again_s": COME_AGAIN_S,
        "alternate_url_json": with_args(request, {}, f"{place.path}.json"),
    }
    try:
        config = compat.checked_config(datasette)
        question = questions.from_args(request.args, config)
        model_id = place.collection.model_id
        if question.text is not None and not await serving.is_ready(
            model_id, config, within_s=PATIENCE_S
        ):
            context.update(is_loading=True, columns=await _columns(place))
            return await _search_page(datasette, request, context, status=503)
        answer = await answered(datasette, place, question)
    except EmbeddingsError as problem:
        context.update(problem=problem, columns=await _columns(place))
        return await _search_page(
            datasette,
            request,
            context,
            status=status_of(problem),
            headers=headers_of(problem),
        )
    context.update(await _shown(datasette, request, answer))
    return await _search_page(datasette, request, context)


async def _shown(
    datasette: Datasette, request: Request, answer: Answer
) -> dict[str, Any]:
    """What the page shows of *answer*."""
    question = answer.question
    return {
        "answer": answer,
        "columns": answer.columns,
        "question": question,
        "facet_values": _facet_values(request, answer),
        "no_facet_path": with_args(request, {"_facet": None}),
        "next_path": _page_path(request, answer.next),
        "previous_path": _previous_path(request, question),
        "examples": await examples(datasette, request, answer)
        if question.is_asked
        else [],
        "synced": _moment(answer.place.collection.synced),
    }


async def _columns(place: Place) -> Sequence[str]:
    """The columns to filter by, for a page that has no answer to take them from."""
    source = place.collection.source
    if not isinstance(source, TableSource):
        return ()
    with suppress(EmbeddingsError):
        async with readable(place.database):
            found: Sequence[str] = await place.database.execute_fn(
                lambda conn: sources.selectable_columns(conn, source)
            )
            return found
    return ()


def _filters(request: Request) -> list[Link]:
    """The filters of *request*, also those that will turn out to be wrong."""
    return [
        Link(_in_words(pair), without_pair(request, pair), pair=pair)
        for pair in questions.filters_of(request.args)
    ]


def _in_words(pair: Filter) -> str:
    try:
        return filters.in_words(pair) or "=".join(pair)
    except (ValueError, RecursionError):
        return "=".join(pair)


def _facet_values(request: Request, answer: Answer) -> Sequence[Link]:
    if answer.facet is None:
        return []
    column = answer.facet.column
    # A column whose name the page uses itself is reached by its comparison
    name = f"{column}__exact" if _is_reserved(column) else column
    links = []
    for each in answer.facet.values:
        pair = (name, str(each.value))
        is_selected = pair in answer.question.filters
        path = (
            without_pair(request, pair)
            if is_selected
            else joined(request.path, [*_first_page(request), pair])
        )
        links.append(Link(str(each.value), path, each.count, is_selected))
    return links


def _is_reserved(column: str) -> bool:
    return (
        column in (questions.QUERY, questions.LIKE)
        or "__" in column
        or questions.is_special(column)
    )


def _first_page(request: Request) -> list[tuple[str, str]]:
    return [pair for pair in pairs_of(request) if pair[0] != "_next"]


def _page_path(request: Request, offset: int | None) -> str | None:
    return None if offset is None else with_args(request, {"_next": str(offset)})


def _previous_path(request: Request, question: Question) -> str | None:
    if not question.offset:
        return None
    before = max(0, question.offset - question.size)
    return with_args(request, {"_next": str(before) if before else None})


def _moment(seconds: int | None) -> datetime | None:
    try:
        return (
            None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)
        )
    except (OverflowError, OSError, TypeError, ValueError):
        # Another program may have written anything there
        return None


def _tidy_path(request: Request) -> str | None:
    """The URL to share where the form has sent fields for a filter, or empty ones."""
    from datasette.utils import filters_should_redirect

    has_fields = any(name in request.args for name in FILTER_FIELDS)
    empty = {name for name in OPTIONAL if request.args.get(name) == ""}
    if not has_fields and not empty:
        return None
    changed = [(name, value) for name, value in filters_should_redirect(request.args)]
    # An empty box of the form asks nothing; in a URL written by hand it is a fault
    kept = [
        pair
        for pair in pairs_of(request)
        if pair[0] not in {*empty, *FILTER_FIELDS} and pair != (questions.QUERY, "")
    ]
    added = [(name, value) for name, value in changed if value is not None]
    return joined(request.path, [*kept, *added])


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
        path = datasette.urls.static_plugins(PLUGIN_NAME, name)
        return f"{path}?v={version(PLUGIN_NAME)}"

    html = await datasette.render_template(
        template,
        {**context, "asset": asset},
        request=request,
        view_name="embeddings",
    )
    url = datasette.absolute_url(request, str(context["alternate_url_json"]))
    link = f'<{url}>; rel="alternate"; type="application/json+datasette"'
    return Response.html(html, status=status, headers={**(headers or {}), "Link": link})
