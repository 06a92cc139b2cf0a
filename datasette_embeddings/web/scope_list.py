"""The documents of a cluster, or of an area of the map, without a search."""

from __future__ import annotations

from dataclasses import replace

from datasette.utils import sqlite_timelimit

from datasette_embeddings.search.matches import matches
from datasette_embeddings.search.scope import Scope, scope_page
from datasette_embeddings.search.selecting import explained, in_order
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.web import filters
from datasette_embeddings.web.resolve import Target
from datasette_embeddings.web.search_request import SearchRequest
from datasette_embeddings.web.search_results import SearchResponse


def list_scope(
    target: Target, request: SearchRequest, collection: StoredCollection
) -> SearchResponse:
    """The answer to *request*, which searches for nothing.

    It lists the documents of a cluster or an area, if the request has one, and counts
    the values of its facet.
    """
    datasette, facet, among, scope = target.datasette, None, None, None
    if request.cluster or request.area:
        scope = Scope(request.cluster, request.area)
    if request.filters or request.facet or request.order:
        asked = request.filters, request.facet, request.order
        facet, selected = filters.applied(datasette, collection, *asked, scope)
        among = selected if request.filters else None
    response = SearchResponse(target, request, collection.count_items(), facet=facet)
    if scope is None:
        return response
    bounds = request.min_score, request.min_cosine
    least = max((each for each in bounds if each is not None), default=-1.0)
    limit_ms = datasette.setting("sql_time_limit_ms")
    with sqlite_timelimit(collection.conn, limit_ms), explained():
        hits, total = scope_page(
            collection,
            scope,
            limit=request.size,
            offset=request.next,
            among=among,
            prefix=request.prefix,
            least=least,
        )
        found = matches(collection, hits)
        found = in_order(collection, found, request.sort, request.sort_desc)
    end = request.next + request.size
    following = end if end < total else None
    return replace(response, matches=found, total=total, next=following)
