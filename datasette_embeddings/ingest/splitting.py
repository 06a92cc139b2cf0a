"""Documents as chunks that leave the model room for the title in front of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datasette_embeddings.chunking import CHUNK_ID, Chunk, TokenSpans, split
from datasette_embeddings.documents import (
    AUTO_CHUNKS,
    Chunking,
    Document,
    title_before_chunks,
)
from datasette_embeddings.errors import ModelError
from datasette_embeddings.models.base import EmbeddingModel

# The share of what the model reads that a title may take, and the tokens for the blank
# line after it
TITLE_SHARE, AFTER_TITLE = 4, 2


def split_documents(
    documents: Sequence[Document], model: EmbeddingModel, chunking: Chunking
) -> list[list[Chunk] | None]:
    """The chunks of each of *documents*; None for one that stays whole."""
    is_auto = chunking.method == AUTO_CHUNKS
    size = chunking.checked_size(model.passage_tokens)
    try:
        spans = model.token_spans([str(each.content) for each in documents])
    except ModelError:
        if is_auto and chunking.size is None:
            # It is no error, because no option asked for chunks: they are cut
            return [None] * len(documents)
        raise
    chunks: list[list[Chunk] | None] = [None] * len(documents)
    long = [
        position
        for position, (document, tokens) in enumerate(
            zip(documents, spans, strict=True)
        )
        if not is_auto or len(tokens) > size or CHUNK_ID.search(document.id)
    ]
    largest = model.passage_tokens or size
    titles = [("", 0)] * len(long)
    if chunking.titled:
        split_ones = [documents[position] for position in long]
        titles = _titles(split_ones, model, largest // TITLE_SHARE)
    for position, (title, count) in zip(long, titles, strict=True):
        room = largest - count - AFTER_TITLE if title else size
        chunks[position] = _chunks(
            documents[position], chunking, spans[position], min(size, room), title
        )
    return chunks


def _titles(
    documents: Sequence[Document], model: EmbeddingModel, most: int
) -> list[tuple[str, int]]:
    """The title of each document, cut to *most* tokens, and how many it has."""
    titles = [
        " ".join((title_before_chunks(each.title) or "").split()) for each in documents
    ]
    known = {"": ("", 0)}
    new = sorted({*titles} - {*known})
    for title, tokens in zip(new, model.token_spans(new) if new else (), strict=True):
        whole = len(tokens) <= most
        end = len(title) if whole else tokens[most - 1][1] if most else 0
        known[title] = title[:end], min(len(tokens), most)
    return [known[title] for title in titles]


def _chunks(
    document: Document, chunking: Chunking, tokens: TokenSpans, size: int, title: str
) -> list[Chunk]:
    """The chunks of *document*, with its *title* in front unless they begin with it."""
    if chunking.overlap >= size:
        chunking = replace(chunking, overlap=size - 1)
    chunks = split(str(document.content), chunking, tokens=tokens, size=size)
    return [
        replace(each, title=title)
        if title and not each.text.startswith(title)
        else each
        for each in chunks
    ]
