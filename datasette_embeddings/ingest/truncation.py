"""Which texts a model read only the beginning of."""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Sequence
from dataclasses import replace

from datasette_embeddings.documents import Content
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.store.documents import EmbeddedDocument


def with_truncation(
    embedded: Sequence[EmbeddedDocument],
    model: EmbeddingModel,
    cut: Container[Content],
    stored: Container[bytes],
) -> list[EmbeddedDocument]:
    """*embedded*, where whole texts know whether the model read all of them."""
    texts = {
        str(each.document.content): each.document.content_hash in stored
        for each in embedded
        if each.chunks is None and isinstance(each.document.content, str)
    }
    known: dict[Content, bool | None] = {text: text in cut for text in texts}
    if model.max_tokens is None:
        known = dict.fromkeys(texts)
    else:
        # They were not embedded now.  A token has at least one byte
        most = model.passage_tokens or 0
        again = [e for e, is_stored in texts.items() if is_stored]
        again = [text for text in again if len(text.encode()) >= most]
        if again:
            counts = model.count_tokens(again)
            known |= {
                t: n > model.max_tokens for t, n in zip(again, counts, strict=True)
            }
    return [
        replace(each, truncated=known.get(each.document.content, False))
        if each.chunks is None
        else each
        for each in embedded
    ]
