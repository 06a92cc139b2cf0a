"""Documents to vectors: split, each text once, and one that fails does so alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from datasette_embeddings.chunking import CHUNK_ID, Chunk
from datasette_embeddings.documents import (
    AUTO_CHUNKS,
    Chunking,
    Content,
    Document,
    Failure,
)
from datasette_embeddings.errors import EmbeddingsError, InvalidInputError, ModelError
from datasette_embeddings.ingest.splitting import split_documents
from datasette_embeddings.ingest.truncation import with_truncation
from datasette_embeddings.models.base import Callback, EmbeddingModel, Outcome, ignore
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.documents import (
    EmbeddedDocument,
    items_of,
    vectors_of_hashes,
)
from datasette_embeddings.vectors import Vector, Vectors

SIMPLEST_TEXT = "a"
# A PNG of one grey pixel
SIMPLEST_IMAGE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b5500"
    "00000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)


@dataclass(frozen=True)
class Embedded:
    """The vectors of some documents, and those that failed."""

    documents: Sequence[EmbeddedDocument]
    failures: Sequence[Failure]
    #: Items of which the model read only the beginning
    truncated: int


def check_model(source: Source, model: EmbeddingModel) -> None:
    """Check that *model* can embed what *source* gives."""
    if source.images and not model.supports_images:
        raise InvalidInputError(
            f"The model {model.model_id!r} takes texts, not images; choose one that "
            "takes images with embed --model"
        )
    if source.binary and not model.supports_binary:
        raise InvalidInputError(
            f"The model {model.model_id!r} does not take files of any kind; choose a "
            "model of llm that does, or embed pictures with --images"
        )
    chunking = source.chunking
    if chunking is not None and (chunking.size or chunking.method != AUTO_CHUNKS):
        chunking.checked_size(model.passage_tokens)


def embed_documents(
    documents: Sequence[Document],
    model: EmbeddingModel,
    *,
    chunking: Chunking | None,
    known: Callable[[Sequence[tuple[bytes, bytes]]], Mapping[bytes, Vector]],
    binary: bool = False,
    progress: Callback = ignore,
) -> Embedded:
    """A vector for each of *documents*, or for each of their chunks.

    *known* returns the stored vectors of passages, which need no run of the model, by
    the hashes of passage and item.  *progress* is called with the number of documents
    that are done.

    :raises EmbeddingsError: if the model fails on the simplest content too.
    """
    chunks: Sequence[list[Chunk] | None] = [None] * len(documents)
    embedded, failures = list[EmbeddedDocument](), list[Failure]()
    if chunking is not None:
        chunks = _chunks(documents, model, chunking, failures)
    parts = [
        # A whole document is its only item, and what the model reads
        ([document], [document]) if own is None else _parts(document, own)
        for document, own in zip(documents, chunks, strict=True)
    ]
    by_content = {
        passage.content: (passage.content_hash, item.content_hash)
        for items, passages in parts
        for item, passage in zip(items, passages, strict=True)
    }
    stored = known([*by_content.values()])
    outcomes: dict[Content, Outcome] = {
        content: stored[digest]
        for content, (digest, _item) in by_content.items()
        if digest in stored
    }
    report = _Progress(progress, max(1, len(by_content)), len(documents))
    report(len(outcomes))
    new = [content for content in by_content if content not in outcomes]
    cut = _embed(new, model, outcomes, report, binary=binary)
    # What had to be tried again was reported again
    report(len(by_content))
    for document, own, (items, passages) in zip(documents, chunks, parts, strict=True):
        if not passages:
            continue
        found = [outcomes[each.content] for each in passages]
        error = next((each for each in found if isinstance(each, str)), None)
        if error is not None:
            failures.append(Failure(document.id, error))
            continue
        vectors = np.stack(found)
        embedded.append(EmbeddedDocument(document, own, items, vectors, passages))
    if cut or stored or model.max_tokens is None:
        embedded = with_truncation(embedded, model, cut, stored)
    truncated = sum(
        each.content in cut for some in embedded for each in some.passages or ()
    )
    return Embedded(embedded, failures, truncated)


def embed_into(
    collection: StoredCollection,
    documents: Sequence[Document],
    model: EmbeddingModel,
    *,
    chunking: Chunking | None,
    takes_over: bool = True,
    binary: bool = False,
    progress: Callback = ignore,
) -> Embedded:
    """As :func:`embed_documents`, for *collection*, whose vectors are taken over.

    Not so without *takes_over*: the same bytes have another vector as text than as an
    image.
    """
    dimensions = model.dimensions or collection.dimensions
    known = partial(
        vectors_of_hashes, collection, dimensions=dimensions if takes_over else None
    )
    try:
        embedded = embed_documents(
            documents,
            model,
            chunking=chunking,
            known=known,
            binary=binary,
            progress=progress,
        )
    except ModelError as error:
        raise ModelError(
            f"{error}. What was committed is kept; run it again to go on"
        ) from error
    for dimensions in {each.vectors.shape[1] for each in embedded.documents}:
        collection.check_dimensions(dimensions)
    return embedded


def _parts(
    document: Document, chunks: Sequence[Chunk]
) -> tuple[Sequence[Document], Sequence[Document]]:
    """The items of the *chunks* of a document, and what the model reads for each.

    An item whose chunk has no title in front is its own passage.
    """
    items = items_of(document, chunks)
    passages = [
        item if chunk.title is None else Document(item.id, chunk.passage)
        for item, chunk in zip(items, chunks, strict=True)
    ]
    return items, passages


def _chunks(
    documents: Sequence[Document],
    model: EmbeddingModel,
    chunking: Chunking,
    failures: list[Failure],
) -> list[list[Chunk] | None]:
    """The chunks of each document; None for one that stays whole."""
    chunks: list[list[Chunk] | None] = [None] * len(documents)
    positions: Sequence[int] = range(len(documents))
    if chunking.method == AUTO_CHUNKS:
        size = chunking.size or model.passage_tokens
        if size is None:
            return chunks
        positions = [
            position
            for position, document in enumerate(documents)
            # A token has at least one byte
            if len(str(document.content).encode()) >= size
            or CHUNK_ID.search(document.id)
        ]
    if positions:
        some = [documents[position] for position in positions]
        split = split_documents(some, model, chunking, failures)
        for position, own in zip(positions, split, strict=True):
            chunks[position] = own
    return chunks


@dataclass
class _Progress:
    """A callback for each of *parts*, which reports at most *whole* to *progress*."""

    progress: Callback
    parts: int
    whole: int
    done: int = 0
    reported: int = 0

    def __call__(self, count: int) -> None:
        self.done += count
        due = min(self.whole, self.whole * self.done // self.parts)
        self.progress(due - self.reported)
        self.reported = due


def _embed(
    contents: Sequence[Content],
    model: EmbeddingModel,
    outcomes: dict[Content, Outcome],
    progress: Callback,
    *,
    binary: bool,
) -> set[Content]:
    """Add the outcomes of *contents*, all texts or all bytes; return those cut short.

    Where all of them fail together, each half is tried.
    """
    if not contents:
        return set()
    found: Vectors | Sequence[Outcome]
    cut = set[int]()
    try:
        if isinstance(contents[0], bytes):
            embed = model.binary_outcomes if binary else model.image_outcomes
            found = embed(contents, progress=progress)  # type: ignore[arg-type]
        else:
            found = model.embed_passages(
                contents,  # type: ignore[arg-type]
                progress=progress,
                on_truncated=cut.add,
            )
    except EmbeddingsError as error:
        # Before the halves, so that a model that is down is asked only twice
        _check_works(model, error, binary=binary)
        if len(contents) == 1:
            outcomes[contents[0]] = str(error)
            return set()
        middle = len(contents) // 2
        halves = contents[:middle], contents[middle:]
        found_cut = (
            _embed(half, model, outcomes, progress, binary=binary) for half in halves
        )
        return set().union(*found_cut)
    for content, outcome in zip(contents, found, strict=True):
        is_vector = not isinstance(outcome, str)
        if is_vector and not np.isfinite(outcome).all():
            outcome = "The model gave a vector with numbers that are not finite"
        outcomes[content] = outcome
    return {contents[position] for position in cut}


def _check_works(
    model: EmbeddingModel, error: EmbeddingsError, *, binary: bool
) -> None:
    """Raise *error* if the model fails on the simplest content too.

    Of the files that a model of *binary* content takes, none is known to be simple.
    """
    try:
        if model.supports_text:
            model.embed_passages([SIMPLEST_TEXT])
        elif not binary:
            model.embed_images([SIMPLEST_IMAGE])
    except EmbeddingsError:
        raise error from None
