"""The pages and their JSON twins: which URL leads to which view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datasette_embeddings.web import (
    embed_api,
    images,
    openapi,
    pages,
    search_page,
    search_response,
)

JSON_SUFFIX = r"\.json$"
DATABASE = r"^/(?P<database>[^/\.]+)/-/embeddings"
COLLECTION = DATABASE + r"/(?P<collection>[^/\.]+)"

ROUTES: tuple[tuple[str, Callable[..., Any]], ...] = (
    (r"^/-/embeddings$", pages.collections),
    (r"^/-/embeddings" + JSON_SUFFIX, pages.collections_json),
    (r"^/-/embeddings/embed" + JSON_SUFFIX, embed_api.embed),
    (r"^/-/embeddings/v1/embeddings$", embed_api.openai_embeddings),
    (r"^/-/embeddings/v1/models$", embed_api.openai_models),
    (r"^/-/embeddings/openapi" + JSON_SUFFIX, openapi.document),
    (DATABASE + "$", pages.collections),
    (DATABASE + JSON_SUFFIX, pages.collections_json),
    (COLLECTION + "$", search_page.search),
    (COLLECTION + JSON_SUFFIX, search_response.search_json),
    (COLLECTION + r"/image/(?P<item>[^/\.]*)$", images.image),
    (COLLECTION + "/pairs$", pages.pairs_page),
    (COLLECTION + "/pairs" + JSON_SUFFIX, pages.pairs_json),
)
# Any other path of the API, after all of those
UNKNOWN = (r"^(/[^/]+)?/-/embeddings(\.json|/.+\.json|/v1/.*)$", pages.unknown_path)
