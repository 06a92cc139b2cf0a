"""SearchRequest to answer: what a page and its JSON twin have in common."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from datasette_embeddings import images
from datasette_embeddings.errors import (
    InvalidInputError,
    MissingLibraryError,
    ModelError,
    ModelLoadingError,
    ModelSettingsMismatchError,
    UnknownModelError,
)
from datasette_embeddings.index.cache import Index, indexes
from datasette_embeddings.item_ids import row_path
from datasette_embeddings.models.registry import loaded_model
from datasette_embeddings.search.matches import (
    Match,
    has_item_image,
    search_vector,
    similar_items,
)
from datasette_embeddings.search.matches import has_images as has_images_of_images
from datasette_embeddings.search.nearest import Options, selected_items, source_table
from datasette_embeddings.serving.allowed_models import config_for, log_once
from datasette_embeddings.serving.query_embedder import image_vectors, query_embedder
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.sources.table_rows import (
    Selection,
    counted_values,
    selectable_columns,
)
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.web import filters
from datasette_embeddings.web.compat import is_immutable
from datasette_embeddings.web.filters import Facet
from datasette_embeddings.web.http_errors import SearchUnavailableError
from datasette_embeddings.web.resolve import Target, image_path, readable
from datasette_embeddings.web.search_request import SearchRequest
from datasette_embeddings.web.server import config_of

if TYPE_CHECKING:
    from datasette.app import Datasette

    from datasette_embeddings.config import Config
    from datasette_embeddings.vectors import Vector, Vectors


# No server takes a URL with a longer id in it
LONGEST_LINKED_ID = 2_000
NO_PICTURE = (
    "Expected a picture, JPEG, PNG, GIF, WebP, TIFF, BMP or AVIF; found another file"
)
# Errors that only the owner of the server can fix
MODEL_FAULTS = (
    UnknownModelError,
    ModelError,
    ModelSettingsMismatchError,
    MissingLibraryError,
)


@dataclass(frozen=True)
class Found:
    """A match, the path of its source row and that of "more like this"."""

    match: Match
    row_path: str | None
    like_path: str | None
    #: It came from a table that has no such row any more
    is_gone: bool = False
    #: Where the image that it stands for is served
    image_path: str | None = None


@dataclass(frozen=True)
class SearchResponse:
    """What was found, in a collection of *count* items."""

    target: Target
    question: SearchRequest
    count: int
    #: Rows that could not be embedded
    failed: int = 0
    found: Sequence[Found] = ()
    #: The offset of the next page, if there is one
    next: int | None = None
    facet: Facet | None = None
    #: The columns that can be filtered by
    columns: Sequence[str] = ()
    #: Where the image of the item is served that others shall be like
    like_image_path: str | None = None
    #: There are images in this collection, so one may be asked with
    has_images: bool = False
    #: The collection is too large for memory: each search reads it from SQLite
    is_scanned: bool = False
    #: Items whose vectors cannot be compared with the others
    left_out: int = 0
    took_ms: float = 0.0


async def search_response(
    datasette: Datasette, target: Target, question: SearchRequest
) -> SearchResponse:
    """The answer to *question* in the collection of *target*."""
    started = time.perf_counter()
    config = config_of(datasette)
    async with readable(target.database):
        vector = await _vector(target, question, config)
        found: SearchResponse = await target.database.execute_fn(
            partial(_answer, datasette, target, question, vector)
        )
    return replace(found, took_ms=(time.perf_counter() - started) * 1000)


async def _vector(
    target: Target, question: SearchRequest, config: Config
) -> Vector | None:
    """What to compare with.  The model first: Datasette has few threads for SQL.

    :raises SearchUnavailableError: where the model is not here; the log says why.
    """
    collection = target.collection
    model_id = collection.model_id
    config = config_for(model_id, collection.home, config)
    try:
        if question.text is not None:
            vector = await query_embedder.vector(model_id, question.text, config)
        elif question.image is not None:
            vector = await _image_vector(model_id, question.image, config)
        else:
            return question.vector
        model = loaded_model(model_id, config.models)
        if model is not None:
            target.collection.check_settings(model.settings)
    except ModelLoadingError:
        raise
    except MODEL_FAULTS as problem:
        if not isinstance(problem, UnknownModelError):
            # The reasons of an UnknownModelError are already in the log
            log_once(str(problem))
        kind = "text" if question.image is None else "a picture"
        raise SearchUnavailableError(
            f"Search by {kind} is not available here at the moment; "
            '"more like this" works'
        ) from problem
    return vector


async def _image_vector(model_id: str, picture: bytes, config: Config) -> Vector:
    try:
        vectors: Vectors = await image_vectors(model_id, [picture], config)
    except (InvalidInputError, ModelError) as problem:
        model = loaded_model(model_id, config.models)
        if model is not None and not model.supports_images:
            raise SearchUnavailableError(
                "This collection cannot be searched by a picture: its model takes "
                "texts, not images"
            ) from problem
        if images.media_type(picture) is None:
            raise InvalidInputError(NO_PICTURE) from problem
        raise
    vector: Vector = vectors[0]
    return vector


def _answer(
    datasette: Datasette,
    target: Target,
    question: SearchRequest,
    vector: Vector | None,
    conn: sqlite3.Connection,
) -> SearchResponse:
    """The answer of one moment of the database; *vector* is what to compare with."""
    from datasette.utils import sqlite_timelimit

    target = replace(target, collection=target.collection.bound_to(conn))
    collection = target.collection
    source = collection.source
    columns = (
        selectable_columns(conn, source) if isinstance(source, TableSource) else ()
    )
    chosen = _selection(collection, question, columns)
    with sqlite_timelimit(conn, datasette.setting("sql_time_limit_ms")):
        facet = _facet(datasette, collection, question, chosen, conn)
        among = None
        if chosen is not None and question.filters:
            among = selected_items(collection, chosen)
    options = Options(
        # One more tells whether there is a next page
        limit=question.size + 1,
        offset=question.next,
        min_score=question.min_score,
        all_chunks=question.chunks == "all",
        prefix=question.prefix,
        among=among,
    )
    index, matches = None, list[Match]()
    if vector is not None or question.like is not None:
        immutable = is_immutable(datasette, target.database.name)
        index = indexes.index(collection, immutable=immutable)
        matches = _matches(collection, question, vector, options, index)
    has_next = len(matches) > question.size
    return SearchResponse(
        target,
        question,
        count=collection.count_items() if index is None else index.count,
        failed=collection.count_failures(),
        found=[shown(datasette, target, match) for match in matches[: question.size]],
        next=question.next + question.size if has_next else None,
        facet=facet,
        columns=columns,
        like_image_path=_like_image_path(target, question),
        has_images=has_images_of_images(collection),
        is_scanned=index is not None and index.is_scanned,
        left_out=0 if index is None else index.skipped,
    )


def _selection(
    collection: Collection, question: SearchRequest, columns: Sequence[str]
) -> Selection | None:
    """The rows that the filters let pass; None without filters."""
    if not question.filters and question.facet is None:
        return None
    table = source_table(collection).table
    if question.facet is not None:
        filters.check_column(question.facet, columns)
    return filters.selection(table, columns, question.filters)


def _facet(
    datasette: Datasette,
    collection: Collection,
    question: SearchRequest,
    chosen: Selection | None,
    conn: sqlite3.Connection,
) -> Facet | None:
    if question.facet is None or chosen is None:
        return None
    limit = datasette.setting("default_facet_size")
    values = counted_values(
        conn,
        source_table(collection),
        question.facet,
        selection=chosen,
        limit=limit + 1,
    )
    return Facet(question.facet, values[:limit], is_truncated=len(values) > limit)


def _matches(
    collection: Collection,
    question: SearchRequest,
    vector: Vector | None,
    options: Options,
    index: Index,
) -> list[Match]:
    if question.like is not None:
        return similar_items(collection, question.like, options=options, index=index)
    assert vector is not None
    expected = collection.dimensions
    if question.vector is not None and expected not in (None, len(vector)):
        raise InvalidInputError(
            f"Expected a vector of {expected} dimensions, found {len(vector)}"
        )
    return search_vector(collection, vector, options=options, index=index)


def _like_image_path(target: Target, question: SearchRequest) -> str | None:
    like = question.like
    has_image = like is not None and has_item_image(target.collection, like)
    return image_path(target, like) if like is not None and has_image else None


def shown(datasette: Datasette, target: Target, match: Match) -> Found:
    """*match* with the paths that it leads to."""
    source = match.source
    is_gone = match.row_is_missing
    if len(match.document_id) > LONGEST_LINKED_ID:
        return Found(match, None, None, is_gone)
    like_path = f"{target.path}?like={quote(match.document_id, safe='')}"
    image = image_path(target, match.id) if match.has_image else None
    if is_gone or not isinstance(source, TableSource):
        return Found(match, None, like_path, is_gone, image)
    table = datasette.urls.table(target.database.name, source.table)
    row = row_path(match.document_id, len(source.key_columns), source.id_prefix)
    path = None if row is None else f"{table}/{row}"
    return Found(match, path, like_path, image_path=image)
