"""Functions that search a collection: JSON for json_each() out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from datasette_embeddings import search, store
from datasette_embeddings.index import indexes
from datasette_embeddings.models.cache import query_vector
from datasette_embeddings.sql_functions.arithmetic import vector_of
from datasette_embeddings.sql_functions.content import checked_text, loaded
from datasette_embeddings.sql_functions.context import Context, SqlValue

# Answers that a connection remembers: a join may ask the same once a row
REMEMBERED = 16


def embed_search(
    context: Context, collection: SqlValue, text: SqlValue, limit: SqlValue
) -> str | None:
    if collection is None or text is None or limit is None:
        return None

    def nearest(found: store.Collection, options: search.Options) -> list[search.Hit]:
        query = search.checked_query(checked_text(context, text))
        model = loaded(context, found.model_id)
        store.check_identity(found, model.identity)
        vector = query_vector(model, query)
        return search.nearest_to_vector(context.conn, found, vector, options=options)

    return _answer(context, ("text", collection, text, limit), nearest)


def embed_similar(
    context: Context, collection: SqlValue, item_id: SqlValue, limit: SqlValue
) -> str | None:
    if collection is None or item_id is None or limit is None:
        return None

    def nearest(found: store.Collection, options: search.Options) -> list[search.Hit]:
        return search.nearest_to_item(
            context.conn, found, str(item_id), options=options
        )

    return _answer(context, ("item", collection, item_id, limit), nearest)


def embed_nearest(
    context: Context, collection: SqlValue, vector: SqlValue, limit: SqlValue
) -> str | None:
    if collection is None or vector is None or limit is None:
        return None

    def nearest(found: store.Collection, options: search.Options) -> list[search.Hit]:
        return search.nearest_to_vector(
            context.conn, found, vector_of(vector), options=options
        )

    return _answer(context, ("vector", collection, vector, limit), nearest)


def _answer(
    context: Context,
    question: tuple[SqlValue, ...],
    nearest: Callable[[store.Collection, search.Options], list[search.Hit]],
) -> str:
    """What *nearest* finds, as JSON; the same question again costs no search."""
    immutable = context.policy.immutable
    state = indexes.state(context.conn, immutable=immutable)
    known = context.remembered.get(question)
    if known is not None and known[0] == state:
        return known[1]
    limit = search.checked_limit(question[-1])
    found = store.collection(context.conn, str(question[1]))
    with context.clock.loading():
        indexes.index(context.conn, found.id, immutable=immutable)
    answer = _json(nearest(found, search.Options(limit=limit, immutable=immutable)))
    while len(context.remembered) >= REMEMBERED:
        context.remembered.pop(next(iter(context.remembered)))
    context.remembered[question] = state, answer
    return answer


def _json(hits: Sequence[search.Hit]) -> str:
    return json.dumps([_found(hit) for hit in hits])


def _found(hit: search.Hit) -> dict[str, object]:
    found: dict[str, object] = {"id": hit.id, "score": hit.score}
    if hit.chunk is not None:
        # What joins back to the source row
        found["document_id"] = hit.document_id
    return found
