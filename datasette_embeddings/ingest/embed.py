"""Documents to vectors: split, each text once, and one that fails does so alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from datasette_embeddings.chunking import Chunk, split
from datasette_embeddings.documents import Chunking, Content, Document, Failure
from datasette_embeddings.errors import EmbeddingsError, InvalidInputError
from datasette_embeddings.models.base import Callback, EmbeddingModel, Outcome, ignore
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.store.documents import EmbeddedDocument, items_of
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
    if source.chunking is not None:
        source.chunking.checked_size(model.passage_tokens)


def embed_documents(
    documents: Sequence[Document],
    model: EmbeddingModel,
    *,
    chunking: Chunking | None,
    known: Callable[[Sequence[bytes]], Mapping[bytes, Vector]],
    progress: Callback = ignore,
) -> Embedded:
    """A vector for each of *documents*, or for each of their chunks.

    *known* returns the stored vectors of content hashes, which need no run of the
    model.  *progress* is called with the number of documents that are done.

    :raises EmbeddingsError: if the model fails on the simplest content too.
    """
    chunks: Sequence[list[Chunk] | None] = [None] * len(documents)
    if chunking is not None:
        chunks = _chunks(documents, model, chunking)
    items = [*map(items_of, documents, chunks)]
    by_content = {each.content: each for some in items for each in some}
    stored = known([each.content_hash for each in by_content.values()])
    outcomes: dict[Content, Outcome] = {
        content: stored[item.content_hash]
        for content, item in by_content.items()
        if item.content_hash in stored
    }
    report = _scaled(progress, max(1, len(by_content)), len(documents))
    report(len(outcomes))
    new = [content for content in by_content if content not in outcomes]
    cut = _embed(new, model, outcomes, report)
    # What had to be tried again was reported again
    report(len(by_content))
    embedded, failures = list[EmbeddedDocument](), list[Failure]()
    for document, own_chunks, own in zip(documents, chunks, items, strict=True):
        found = [outcomes[item.content] for item in own]
        error = next((each for each in found if isinstance(each, str)), None)
        if error is None:
            vectors = np.stack(found)
            embedded.append(EmbeddedDocument(document, own_chunks, own, vectors))
        else:
            failures.append(Failure(document.id, error))
    truncated = sum(item.content in cut for each in embedded for item in each.items)
    return Embedded(embedded, failures, truncated)


def _chunks(
    documents: Sequence[Document], model: EmbeddingModel, chunking: Chunking
) -> list[list[Chunk]]:
    size = chunking.checked_size(model.passage_tokens)
    texts = [str(document.content) for document in documents]
    return [
        split(text, chunking, tokens=tokens, size=size)
        for text, tokens in zip(texts, model.token_spans(texts), strict=True)
    ]


def _scaled(progress: Callback, parts: int, whole: int) -> Callback:
    """A callback for each of *parts*, which reports at most *whole* to *progress*."""
    done, reported = 0, 0

    def report(count: int) -> None:
        nonlocal done, reported
        done += count
        due = min(whole, whole * done // parts)
        progress(due - reported)
        reported = due

    return report


def _embed(
    contents: Sequence[Content],
    model: EmbeddingModel,
    outcomes: dict[Content, Outcome],
    progress: Callback,
) -> set[Content]:
    """Add the outcomes of *contents*, all texts or all images; return those cut short.

    Where all of them fail together, each half is tried.
    """
    if not contents:
        return set()
    found: Vectors | Sequence[Outcome]
    cut = set[int]()
    try:
        if isinstance(contents[0], bytes):
            found = model.image_outcomes(contents, progress=progress)  # type: ignore[arg-type]
        else:
            found = model.embed_passages(
                contents,  # type: ignore[arg-type]
                progress=progress,
                on_truncated=cut.add,
            )
    except EmbeddingsError as error:
        # Before the halves, so that a model that is down is asked only twice
        _check_works(model, error)
        if len(contents) == 1:
            outcomes[contents[0]] = str(error)
            return set()
        middle = len(contents) // 2
        halves = contents[:middle], contents[middle:]
        return set().union(*(_embed(h, model, outcomes, progress) for h in halves))
    for content, outcome in zip(contents, found, strict=True):
        is_vector = not isinstance(outcome, str)
        if is_vector and not np.isfinite(outcome).all():
            outcome = "The model gave a vector with numbers that are not finite"
        outcomes[content] = outcome
    return {contents[position] for position in cut}


def _check_works(model: EmbeddingModel, error: EmbeddingsError) -> None:
    """Raise *error* if the model fails on the simplest content too."""
    try:
        if model.supports_text:
            model.embed_passages([SIMPLEST_TEXT])
        else:
            model.embed_images([SIMPLEST_IMAGE])
    except EmbeddingsError:
        raise error from None
