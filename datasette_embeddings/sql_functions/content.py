"""Functions that run a model: text or image in, vector out."""

from __future__ import annotations

from collections.abc import Callable

from datasette_embeddings import vectors
from datasette_embeddings.errors import InvalidInput
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.models.cache import passage_vector, query_vector
from datasette_embeddings.sql_functions.context import Context, SqlValue


def embed(context: Context, *arguments: SqlValue) -> bytes | None:
    *model_ids, content = arguments
    if isinstance(content, bytes) and None not in model_ids:
        return _embed_image(loaded(context, *model_ids), content)
    return _embed(context, passage_vector, *arguments)


def _embed_image(model: EmbeddingModel, content: bytes) -> bytes:
    if not model.supports_images:
        raise InvalidInput(
            f"Expected TEXT to embed, found a BLOB, and the model {model.model_id!r} "
            "takes no images"
        )
    return vectors.encode(model.embed_images([content])[0])


def embed_query(context: Context, *arguments: SqlValue) -> bytes | None:
    return _embed(context, query_vector, *arguments)


def _embed(
    context: Context,
    run: Callable[[EmbeddingModel, str], vectors.Vector],
    *arguments: SqlValue,
) -> bytes | None:
    *model_ids, content = arguments
    if content is None or None in model_ids:
        return None
    text = checked_text(context, content)
    model = loaded(context, *model_ids)
    return vectors.encode(run(model, text))


def loaded(context: Context, model_id: SqlValue = None) -> EmbeddingModel:
    """The model of that id, or the default one; loading it costs the query nothing."""
    with context.clock.loading():
        return context.policy.load(
            context.policy.default_model if model_id is None else str(model_id)
        )


def checked_text(context: Context, content: SqlValue) -> str:
    """*content* as a text that may be embedded here.

    :raises InvalidInput: for a BLOB, or a text longer than the policy allows.
    """
    if isinstance(content, bytes):
        raise InvalidInput("Expected TEXT to embed, found a BLOB")
    text = str(content)
    longest = context.policy.max_text_length
    if longest is not None and len(text) > longest:
        raise InvalidInput(
            f"Expected a text of at most {longest:,} characters, found {len(text):,}"
        )
    return text
