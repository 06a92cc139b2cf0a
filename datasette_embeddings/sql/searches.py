"""Functions that run a model or search a collection."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256

import numpy as np

from datasette_embeddings import vectors
from datasette_embeddings.analysis.labels import labels_of, scale_of
from datasette_embeddings.config import Mode
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.images import check_images
from datasette_embeddings.index.cache import Index, indexes
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.search.nearest import (
    Options,
    checked_query,
    nearest_to_item,
    nearest_to_vector,
)
from datasette_embeddings.search.text_search import TextHits, query_of, rank
from datasette_embeddings.sql.calls import sql_function
from datasette_embeddings.sql.context import Context, LabelsKey, SearchKey
from datasette_embeddings.store import collections
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.vectors import Vector

# Answers that a connection remembers: a join may search for the same once a row
REMEMBERED = 16
# Lists of labels whose vectors a connection remembers: 1,000 of 1,024 numbers are 4 MB
REMEMBERED_LABELS = 4
# Characters of all remembered answers; a longer one is remembered alone
LONGEST_REMEMBERED = 1_000_000


@sql_function("embed(content)")
def embed(context: Context, content: str | bytes) -> bytes:
    """The passage vector of a text or an image, by the default model, as a BLOB."""
    return embed_with(context, context.policy.default_model, content)


@sql_function("embed(model, content)", "llm_embed")
def embed_with(context: Context, model_id: str, content: str | bytes) -> bytes:
    """The passage vector of a text or an image, by the model that is named."""
    model = context.model(model_id)
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


@sql_function("embed_query(text)")
def embed_query(context: Context, text: str) -> bytes:
    """The query vector of a text: with the prompt that the model wants for one."""
    return embed_query_with(context, context.policy.default_model, text)


@sql_function("embed_query(model, text)")
def embed_query_with(context: Context, model_id: str, text: str) -> bytes:
    """The query vector of a text, by the model that is named."""
    return vectors.encode(context.model(model_id).query_vector(text))


@sql_function("embed_search(collection, text, limit)", deterministic=False)
def embed_search(context: Context, collection: str, text: str, limit: int) -> str:
    """The items of a collection that are best for a text: JSON for json_each()."""
    return embed_search_by(context, collection, text, limit, "both")


@sql_function("embed_search(collection, text, limit, mode)", deterministic=False)
def embed_search_by(
    context: Context, collection: str, text: str, limit: int, mode: Mode
) -> str:
    """The same by 'both' words and meaning, by 'meaning' alone or by 'words' alone."""

    def answer(found: StoredCollection) -> str:
        options = Options(limit=limit, mode=mode)
        return _rows(text_hits(context, found, text, options).hits)

    return remembered(context, (mode, collection, digest(text), limit), answer)


def text_hits(
    context: Context, found: StoredCollection, text: str, options: Options
) -> TextHits:
    """What is best for *text* in the collection *found*, and how it was understood."""
    query = query_of(found, checked_query(text), options)
    if options.mode == "words":
        return rank(found, query, None, options=options, index=None)
    index = _index(context, found)
    model = context.model(found.model_id)
    found.check_settings(model.settings)
    vector = model.query_vector(query.text)
    return rank(found, query, vector, options=options, index=index)


@sql_function("embed_similar(collection, id, limit)", deterministic=False)
def embed_similar(context: Context, collection: str, item_id: str, limit: int) -> str:
    """The items closest to one of the collection, itself left out: JSON, no model."""
    nearest = partial(nearest_to_item, item_id=item_id)
    return _answer(context, ("item", collection, digest(item_id), limit), nearest)


@sql_function("embed_nearest(collection, vector, limit)", deterministic=False)
def embed_nearest(context: Context, collection: str, vector: Vector, limit: int) -> str:
    """The items of a collection closest to a vector: JSON for json_each()."""
    nearest = partial(nearest_to_vector, vector=vector)
    key = "vector", collection, sha256(vectors.encode(vector)).digest(), limit
    return _answer(context, key, nearest)


@sql_function("embed_labels(collection, vector, labels)", deterministic=False)
def embed_labels(
    context: Context, collection: str, vector: Vector, labels: tuple[str, ...]
) -> str:
    """How probable each label of a JSON array is for a vector: JSON, the best first."""

    def load() -> EmbeddingModel:
        found = collections.collection(context.conn, collection)
        model = context.model(found.model_id)
        found.check_settings(model.settings)
        return model

    return _labels(context, (collection, labels), vector, _state(context), load)


@sql_function("embed_labels(vector, labels)")
def embed_labels_by_default(
    context: Context, vector: Vector, labels: tuple[str, ...]
) -> str:
    """The same for a vector of the default model."""
    load = partial(context.model, context.policy.default_model)
    return _labels(context, (None, labels), vector, None, load)


def _labels(
    context: Context,
    key: LabelsKey,
    vector: Vector,
    state: object,
    load: Callable[[], EmbeddingModel],
) -> str:
    """The labels of *key* for *vector*, as JSON; their vectors are remembered."""
    labels, known = key[1], context.labels.get(key)
    if known is None or known[0] != state:
        model = load()
        rows = context.query_vectors(model, labels)
        if len(context.labels) >= REMEMBERED_LABELS:
            context.labels.clear()
        known = state, vectors.normalize(np.stack(rows)), scale_of(model)
        context.labels[key] = known
    found = labels_of(vector, labels, *known[1:])
    return json.dumps([each._asdict() for each in found])


def _state(context: Context) -> object:
    """A value that changes whenever the database does."""
    path = context.conn.execute("pragma database_list").fetchone()[2]
    return indexes.state(context.conn, path, immutable=context.policy.immutable)


def digest(text: str) -> bytes:
    """What stands for *text* among the answers that are remembered."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def _answer(
    context: Context, key: SearchKey, nearest: Callable[..., Sequence[Hit]]
) -> str:
    """What *nearest* finds, as JSON."""

    def answer(found: StoredCollection) -> str:
        options, index = Options(limit=key[-1]), _index(context, found)
        return _rows(nearest(found, options=options, index=index))

    return remembered(context, key, answer)


def _index(context: Context, found: StoredCollection) -> Index:
    with context.clock.loading():
        return indexes.index(found, immutable=context.policy.immutable)


def remembered(
    context: Context, key: SearchKey, answer: Callable[[StoredCollection], str]
) -> str:
    """The *answer* of the collection of *key*, or the one that is remembered of it."""
    state = _state(context)
    known = context.remembered.get(key)
    if known is not None and known[0] == state:
        return known[1]
    new = answer(collections.collection(context.conn, key[1]))
    lengths = [len(each) for _state, each in context.remembered.values()]
    if len(lengths) >= REMEMBERED or sum(lengths) + len(new) > LONGEST_REMEMBERED:
        context.remembered.clear()
    context.remembered[key] = state, new
    return new


def _rows(hits: Sequence[Hit]) -> str:
    return json.dumps([_row(hit) for hit in hits])


def _row(hit: Hit) -> dict[str, object]:
    return {
        "id": hit.id,
        "score": hit.score,
        # The source row of a chunk is that of its document
        "document_id": hit.document_id,
        "cosine": hit.cosine,
        "matched": hit.matched,
    }
