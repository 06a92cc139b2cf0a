"""Functions that search a collection: JSON for json_each() out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from datasette_embeddings import vectors
from datasette_embeddings.index.cache import Index, indexes
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.models.cache import query_vector
from datasette_embeddings.search.nearest import (
    Options,
    checked_query,
    nearest_to_item,
    nearest_to_vector,
)
from datasette_embeddings.sql.content import loaded
from datasette_embeddings.sql.context import Context, Question
from datasette_embeddings.store import catalog
from datasette_embeddings.store.catalog import Collection
from datasette_embeddings.store.fitting import check_identity

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector

# Answers that a connection remembers: a join may ask the same once a row
REMEMBERED = 16
# Characters of all remembered answers; a longer one is remembered alone
LONGEST_REMEMBERED = 1_000_000


def embed_search(context: Context, collection: str, text: str, limit: int) -> str:
    def nearest(found: Collection, options: Options, index: Index) -> list[Hit]:
        query = checked_query(text)
        model = loaded(context, found.model_id)
        check_identity(found, model.settings)
        vector = query_vector(model, query)
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
    question: Question,
    nearest: Callable[[Collection, Options, Index], list[Hit]],
) -> str:
    """What *nearest* finds, as JSON; the same question again costs no search."""
    immutable = context.policy.immutable
    state = indexes.state(context.conn, immutable=immutable)
    known = context.remembered.get(question)
    if known is not None and known[0] == state:
        return known[1]
    _kind, name, _digest, limit = question
    found = catalog.collection(context.conn, name)
    with context.clock.loading():
        index = indexes.index(found, immutable=immutable)
    answer = _json(nearest(found, Options(limit=limit), index))
    _remember(context, question, state, answer)
    return answer


def _remember(context: Context, question: Question, state: object, answer: str) -> None:
    """Remember *answer*, and forget the oldest ones if need be."""
    remembered = context.remembered
    remembered.pop(question, None)
    while remembered and (
        len(remembered) >= REMEMBERED
        or sum(len(each) for _state, each in remembered.values()) + len(answer)
        > LONGEST_REMEMBERED
    ):
        remembered.pop(next(iter(remembered)))
    remembered[question] = state, answer


def _json(hits: Sequence[Hit]) -> str:
    return json.dumps([_found(hit) for hit in hits])


def _found(hit: Hit) -> dict[str, object]:
    found: dict[str, object] = {"id": hit.id, "score": hit.score}
    if hit.chunk is not None:
        # What joins back to the source row
        found["document_id"] = hit.document_id
    return found
