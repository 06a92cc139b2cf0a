"""The pages and their JSON twins: which URL leads to which view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datasette_embeddings.web import (
    axis,
    clusters,
    context,
    embed_api,
    groups,
    images,
    labels,
    map_json,
    map_page,
    map_tiles,
    openapi,
    pages,
    search_page,
    search_response,
)

JSON_SUFFIX = r"\.json$"
DATABASE = r"^/(?P<database>[^/\.]+)/-/embeddings"
COLLECTION = DATABASE + r"/(?P<collection>[^/\.]+)"
TILE = r"(?P<tile>[^/\.]*)"

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
    (COLLECTION + "/map$", map_page.page),
    (COLLECTION + "/map" + JSON_SUFFIX, map_json.map_json),
    (COLLECTION + r"/map\.svg$", map_page.svg),
    (COLLECTION + r"/map\.png$", map_page.png),
    (COLLECTION + f"/map/tiles/{TILE}$", map_tiles.tile),
    (COLLECTION + f"/map/colors/{TILE}$", map_tiles.colors),
    (COLLECTION + f"/map/ids/{TILE}" + JSON_SUFFIX, map_tiles.ids_json),
    (COLLECTION + "/map/legend" + JSON_SUFFIX, map_json.legend_json),
    (COLLECTION + "/map/items" + JSON_SUFFIX, map_json.items_json),
    (COLLECTION + "/map/matches" + JSON_SUFFIX, map_json.matches_json),
    (COLLECTION + "/axis$", axis.axis_page),
    (COLLECTION + "/axis" + JSON_SUFFIX, axis.axis_json),
    (COLLECTION + "/clusters$", clusters.clusters_page),
    (COLLECTION + "/clusters" + JSON_SUFFIX, clusters.clusters_json),
    (COLLECTION + "/context" + JSON_SUFFIX, context.context_view),
    (COLLECTION + "/pairs$", pages.pairs_page),
    (COLLECTION + "/pairs" + JSON_SUFFIX, pages.pairs_json),
    (COLLECTION + "/labels$", labels.labels_page),
    (COLLECTION + "/labels" + JSON_SUFFIX, labels.labels_json),
    (COLLECTION + "/duplicates$", groups.duplicates_page),
    (COLLECTION + "/duplicates" + JSON_SUFFIX, groups.duplicates_json),
    (COLLECTION + "/outliers$", groups.outliers_page),
    (COLLECTION + "/outliers" + JSON_SUFFIX, groups.outliers_json),
)
# Any other path of the API, after all of those
UNKNOWN = (r"^(/[^/]+)?/-/embeddings(\.json|/.+\.json|/v1/.*)$", pages.unknown_path)
