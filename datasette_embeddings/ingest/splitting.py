"""Documents as chunks that leave the model room for the title in front of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from datasette_embeddings import hooks
from datasette_embeddings.chunking import CHUNK_ID, Chunk, Span, split
from datasette_embeddings.documents import (
    AUTO_CHUNKS,
    OWN_METHODS,
    Chunking,
    Document,
    Failure,
    title_before_chunks,
)
from datasette_embeddings.errors import ModelError, SourceError, quoted
from datasette_embeddings.models.base import EmbeddingModel

# The share of what the model reads that a title may take, and the tokens for the blank
# line after it
TITLE_SHARE, AFTER_TITLE = 4, 2
# In the metadata of a file of code, whose comments may begin as headings do
CODE = "code"


def split_documents(
    documents: Sequence[Document],
    model: EmbeddingModel,
    chunking: Chunking,
    failures: list[Failure],
) -> list[list[Chunk] | None]:
    """The chunks of each of *documents*; None for one that stays whole.

    One that the chunker of a plugin fails on has none, and is added to *failures*.
    """
    is_auto = chunking.method == AUTO_CHUNKS
    is_of_plugin = chunking.method not in OWN_METHODS
    chunker = hooks.chunker(chunking.method) if is_of_plugin else None
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
        document, size_left = documents[position], min(size, room)
        try:
            pieces = None if chunker is None else _pieces(chunker, document)
        except Exception as error:  # a plugin may fail in any way
            reason = hooks.failure("chunker", chunking.method, error)
            failures.append(Failure(document.id, reason))
            chunks[position] = []
            continue
        found = split(
            str(document.content),
            replace(chunking, overlap=min(chunking.overlap, size_left - 1)),
            tokens=spans[position],
            size=size_left,
            may_be_markdown=(document.metadata or {}).get("kind") != CODE,
            pieces=pieces,
        )
        chunks[position] = [_titled(each, title) for each in found]
    return chunks


def _pieces(chunker: hooks.Chunker, document: Document) -> list[Span]:
    """The spans of *document* that *chunker* gives, each after the one before.

    :raises SourceError: for anything else.
    """
    text, pieces, last = str(document.content), list[Span](), -1
    for each in chunker(text):
        start, end = each
        is_span = isinstance(start, int) and isinstance(end, int)
        if not (is_span and last < start < end <= len(text)):
            raise SourceError(
                "expected spans (start, end) in characters, each starting after the "
                f"one before, of a text of {len(text):,}; found {quoted(each)}"
            )
        pieces.append((start, end))
        last = start
    if not any(text[start:end].strip() for start, end in pieces):
        raise SourceError("expected at least one chunk that is not blank, found none")
    return pieces


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


def _titled(chunk: Chunk, title: str) -> Chunk:
    """*chunk* with *title* in front, unless it begins with it."""
    is_there = not title or chunk.text.startswith(title)
    return chunk if is_there else replace(chunk, title=title)
