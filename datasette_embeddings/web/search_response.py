"""From a search request to its response: the JSON API; the page shows the same."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

from datasette.app import Datasette
from datasette.utils import sqlite_timelimit
from datasette.utils.asgi import Request, Response

from datasette_embeddings import errors
from datasette_embeddings.config import Config
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.search.matches import matches
from datasette_embeddings.search.nearest import (
    Options,
    nearest_to_item,
    nearest_to_vector,
)
from datasette_embeddings.search.query import Query
from datasette_embeddings.search.reranking import widened
from datasette_embeddings.search.scope import Scope
from datasette_embeddings.search.selecting import in_order
from datasette_embeddings.search.text_search import TextHits, query_of, rank
from datasette_embeddings.serving.allowed_models import log_once
from datasette_embeddings.serving.query_embedder import image_vectors, query_embedder
from datasette_embeddings.serving.reranking import rerank_for_visitor, shown_name
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.vectors import Vector
from datasette_embeddings.web import filters, search_request
from datasette_embeddings.web.compat import is_immutable
from datasette_embeddings.web.http_errors import SearchUnavailableError
from datasette_embeddings.web.live import followers, live_json
from datasette_embeddings.web.middleware import SHAPE, json_view, shaped
from datasette_embeddings.web.resolve import Target, resolve_target
from datasette_embeddings.web.scope_list import list_scope
from datasette_embeddings.web.search_request import SearchRequest
from datasette_embeddings.web.search_results import SearchResponse
from datasette_embeddings.web.server import config_of, with_rerankers
from datasette_embeddings.web.urls import Address

# Errors that only the owner of the server can fix
MODEL_ERRORS = (
    errors.UnknownModelError,
    errors.ModelError,
    errors.ModelSettingsMismatchError,
    errors.MissingLibraryError,
)


@json_view("GET", "HEAD", "POST", limited=True)
async def search_json(
    datasette: Datasette, request: Request, body: bytes | None = None
) -> Response:
    """``/{database}/-/embeddings/{collection}.json``"""
    # First: visitors who may not see the collection learn nothing from other errors
    target = await resolve_target(datasette, request)
    config = config_of(datasette)
    address = Address.of(request)
    if body is None:
        address.check_names((*search_request.NAMES, SHAPE))
        asked = search_request.from_args(address.args, config)
    else:
        address.check_names((SHAPE,))
        asked = search_request.from_body(body, config)
    started = time.perf_counter()
    response = await run_search(target, asked)
    took_ms = (time.perf_counter() - started) * 1000
    next_path = None
    if body is None and response.next is not None:
        next_path = address.next_path(response.next)
    answer: dict[str, Any] = {
        "ok": True,
        "database": target.database.name,
        "collection": target.to_json(response.count),
        "query": asked.to_json(),
        "mode": response.mode,
        "corrected": response.corrected,
        "close": response.close,
        "matches": [target.match_to_json(each) for each in response.matches],
        "next": None if response.next is None else str(response.next),
        "next_url": next_path and str(datasette.absolute_url(request, next_path)),
        "index": None if response.index is None else response.index.kind,
        "recall": None if response.index is None else response.index.recall,
        "left_out": response.left_out,
        "reranked": response.reranked,
        "not_reranked": response.not_reranked,
        "took_ms": round(took_ms, 1),
    }
    if datasette in followers:
        answer["collection"].update(await live_json(target))
    if response.facet is not None:
        answer["facet_results"] = response.facet.to_json()
    return shaped(datasette, request, address.args, answer, "matches")


async def run_search(target: Target, request: SearchRequest) -> SearchResponse:
    """The response to *request* in the collection of *target*."""
    query, collection = None, target.collection
    if all(getattr(request, name) is None for name in search_request.QUERIES):
        return await target.read(partial(list_scope, target, request))
    # Where only its meaning counts, a text is taken word for word
    goes_by_words = collection.has_words or request.mode == "words"
    if request.text is not None and request.mode != "meaning" and goes_by_words:
        query = query_of(collection, request.text, Options(mode=request.mode))
    # The model first: Datasette has few threads for SQL
    vector = await _query_vector(target, request, query)
    reranker = None
    configs = with_rerankers.get(target.datasette)
    # While the visitor types, an answer soon is better than its best order
    if configs is not None and request.text is not None and not request.typing:
        config = configs.get(target.database.name, config_of(target.datasette))
        reranker = config.reranker_of(target.collection.name)
    is_reranked = reranker is not None
    work = partial(_search, target, request, query, vector, is_reranked=is_reranked)
    response = await target.read(work)
    if reranker is not None:
        response = await _reranked(response, reranker, config)
    if not (request.sort or request.sort_desc):
        return response
    return await target.read(partial(_sorted, response))


def _sorted(response: SearchResponse, collection: StoredCollection) -> SearchResponse:
    """*response* in the order of a column; its page has the best matches as before."""
    request, found = response.request, response.matches
    limit_ms = response.target.datasette.setting("sql_time_limit_ms")
    with sqlite_timelimit(collection.conn, limit_ms):
        found = in_order(collection, found, request.sort, request.sort_desc)
    return replace(response, matches=found)


async def _reranked(
    response: SearchResponse, reranker: str, config: Config
) -> SearchResponse:
    """The page of *response* in the order of *reranker*; *response* has all matches."""
    request = response.request
    found, how = await rerank_for_visitor(
        request.text or "", response.matches, reranker, config
    )
    end = request.next + request.size
    return replace(
        response,
        matches=found[request.next : end],
        next=end if len(found) > end else None,
        reranked=how.model_id and shown_name(how.model_id),
        not_reranked=how.reason,
    )


async def _query_vector(
    target: Target, request: SearchRequest, query: Query | None
) -> Vector | None:
    """The vector to compare with; None if there is none, or only words count."""
    if request.text is None and request.image is None:
        return request.vector
    if request.text is not None and request.mode == "words":
        return None
    model = await target.model()
    try:
        if request.text is not None:
            text = request.text if query is None else query.text
            vector = await query_embedder.vector(model, text)
        else:
            (vector,) = await image_vectors(model, [request.image or b""])
        loaded = model.loaded()
        if loaded is not None:
            target.collection.check_settings(loaded.settings)
    except MODEL_ERRORS as error:
        kind, loaded = "text" if request.image is None else "image", model.loaded()
        if kind == "image" and loaded is not None and not loaded.supports_images:
            raise SearchUnavailableError(
                "This collection cannot be searched by an image: its model takes "
                "texts, not images"
            ) from error
        if not isinstance(error, errors.UnknownModelError):
            # The reasons of an UnknownModelError are already in the log
            log_once(str(error))
        works = '"more like this" works'
        if query is not None:
            works += ", and so does search by words alone (mode: words)"
        raise SearchUnavailableError(
            f"Search by {kind} is not available here at the moment; {works}"
        ) from error
    return vector


def _search(
    target: Target,
    request: SearchRequest,
    query: Query | None,
    vector: Vector | None,
    collection: StoredCollection,
    *,
    is_reranked: bool = False,
) -> SearchResponse:
    """The response in one state of the database, with all that a reranker reads."""
    facet, selected, scope = None, None, None
    if request.cluster or request.area:
        scope = Scope(request.cluster, request.area)
    if scope or request.filters or request.facet or request.sort or request.sort_desc:
        asked = request.filters, request.facet, request.order
        facet, selected = filters.applied(target.datasette, collection, *asked, scope)
    immutable = is_immutable(target.datasette, target.database.name)
    index = indexes.index(collection, immutable=immutable)
    options = Options(
        # One more shows whether there is a next page
        limit=request.size + 1,
        offset=request.next,
        min_score=request.min_score,
        min_cosine=request.min_cosine,
        mode=request.mode,
        as_typed=request.as_typed,
        is_typing=request.typing,
        all_chunks=request.chunks == "all",
        prefix=request.prefix,
        among=selected,
    )
    options = widened(options) if is_reranked else options
    found: TextHits | None = None
    if request.like is not None:
        hits = nearest_to_item(collection, request.like, options=options, index=index)
    elif query is not None:
        found = rank(collection, query, vector, options=options, index=index)
        hits = [*found.hits]
    else:
        assert vector is not None
        if request.vector is not None:
            _check_length(collection, request.vector)
        hits = nearest_to_vector(collection, vector, options=options, index=index)
    has_next = len(hits) > request.size
    return SearchResponse(
        target,
        request,
        index.count,
        matches=matches(collection, hits if is_reranked else hits[: request.size]),
        mode="meaning" if found is None else found.mode,
        corrected=None if found is None else found.corrected,
        close=None if found is None else found.close,
        is_narrowed=query is not None and bool(query.phrases or query.without),
        next=request.next + request.size if has_next else None,
        facet=facet,
        index=index,
        left_out=index.skipped if hits and vector is not None else 0,
    )


def _check_length(collection: StoredCollection, vector: Vector) -> None:
    expected = collection.dimensions
    if expected not in (None, len(vector)):
        raise errors.InvalidInputError(
            f"Expected a vector of {expected} dimensions, found {len(vector)}"
        )
