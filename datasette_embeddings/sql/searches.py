"""Functions that run a model or search a collection."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING

from datasette_embeddings import vectors
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.index.cache import Index, indexes
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.models.image_decoding import check_images
from datasette_embeddings.search.nearest import (
    Options,
    checked_query,
    nearest_to_item,
    nearest_to_vector,
)
from datasette_embeddings.sql.context import Context, SearchKey
from datasette_embeddings.store import collections
from datasette_embeddings.store.collections import Collection

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector

# Answers that a connection remembers: a join may search for the same once a row
REMEMBERED = 16
# Characters of all remembered answers; a longer one is remembered alone
LONGEST_REMEMBERED = 1_000_000


def embed(context: Context, *arguments: str | bytes) -> bytes:
    *model_ids, content = arguments
    model = context.model(*map(str, model_ids))
    if not isinstance(content, bytes):
        return vectors.encode(model.passage_vector(content))
    if not model.supports_images:
        raise InvalidInputError(
            f"Expected TEXT to embed, found {quoted(content)}, and the model "
            f"{quoted(model.model_id)} takes no images"
        )
    if context.policy.max_image_pixels is not None:
        check_images([content], context.policy.max_image_pixels)
    return vectors.encode(model.embed_images([content])[0])


def embed_query(context: Context, *arguments: str) -> bytes:
    *model_ids, text = arguments
    return vectors.encode(context.model(*model_ids).query_vector(text))


def embed_search(context: Context, collection: str, text: str, limit: int) -> str:
    def nearest(found: Collection, options: Options, index: Index) -> list[Hit]:
        query = checked_query(text)
        model = context.model(found.model_id)
        found.check_settings(model.settings)
        vector = model.query_vector(query)
        return nearest_to_vector(found, vector, options=options, index=index)

    return _answer(context, ("text", collection, _digest(text), limit), nearest)


def embed_similar(context: Context, collection: str, item_id: str, limit: int) -> str:
    def nearest(found: Collection, options: Options, index: Index) -> list[Hit]:
        return nearest_to_item(found, item_id, options=options, index=index)

    return _answer(context, ("item", collection, _digest(item_id), limit), nearest)


def embed_nearest(context: Context, collection: str, vector: Vector, limit: int) -> str:
    def nearest(found: Collection, options: Options, index: Index) -> list[Hit]:
        return nearest_to_vector(found, vector, options=options, index=index)

    digest = sha256(vectors.encode(vector)).digest()
    return _answer(context, ("vector", collection, digest, limit), nearest)


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _answer(
    context: Context,
    key: SearchKey,
    nearest: Callable[[Collection, Options, Index], list[Hit]],
) -> str:
    """What *nearest* finds, as JSON; the same search again is answered from memory."""
    immutable = context.policy.immutable
    state = indexes.state(context.conn, immutable=immutable)
    known = context.remembered.get(key)
    if known is not None and known[0] == state:
        return known[1]
    _kind, name, _digest, limit = key
    found = collections.collection(context.conn, name)
    with context.clock.loading():
        index = indexes.index(found, immutable=immutable)
    hits = nearest(found, Options(limit=limit), index)
    answer = json.dumps([_row(hit) for hit in hits])
    lengths = [len(each) for _state, each in context.remembered.values()]
    if len(lengths) >= REMEMBERED or sum(lengths) + len(answer) > LONGEST_REMEMBERED:
        context.remembered.clear()
    context.remembered[key] = state, answer
    return answer


def _row(hit: Hit) -> dict[str, object]:
    row: dict[str, object] = {"id": hit.id, "score": hit.score}
    # A chunk joins to its source row by the id of the document
    return row if hit.chunk is None else {**row, "document_id": hit.document_id}
