"""Functions that run a model: text or image in, vector out."""

from __future__ import annotations

from datasette_embeddings import vectors
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.models.cache import passage_vector, query_vector
from datasette_embeddings.models.pictures import check_images
from datasette_embeddings.sql.context import Context


def embed(context: Context, *arguments: str | bytes) -> bytes:
    *model_ids, content = arguments
    model = loaded(context, *model_ids)
    if isinstance(content, bytes):
        return _embed_image(context, model, content)
    return vectors.encode(passage_vector(model, content))


def _embed_image(context: Context, model: EmbeddingModel, content: bytes) -> bytes:
    if not model.supports_images:
        raise InvalidInputError(
            f"Expected TEXT to embed, found {quoted(content)}, and the model "
            f"{quoted(model.model_id)} takes no images"
        )
    most_pixels = context.policy.max_image_pixels
    if most_pixels is not None:
        check_images([content], most_pixels)
    return vectors.encode(model.embed_images([content])[0])


def embed_query(context: Context, *arguments: str) -> bytes:
    *model_ids, text = arguments
    return vectors.encode(query_vector(loaded(context, *model_ids), text))


def loaded(context: Context, model_id: str | bytes | None = None) -> EmbeddingModel:
    """The model of that id, or the default one; loading it costs the query nothing."""
    with context.clock.loading():
        return context.policy.load(
            context.policy.default_model if model_id is None else str(model_id)
        )
