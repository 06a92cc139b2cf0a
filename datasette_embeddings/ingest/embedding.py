"""Documents → vectors: split, each text once, and one that fails fails alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasette_embeddings.chunking import Chunk, split
from datasette_embeddings.documents import Chunking, Content, Document, Failure
from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.models.base import EmbeddingModel, Outcome, ignore
from datasette_embeddings.store.documents import EmbeddedDocument, items_of

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector, Vectors

SIMPLEST_TEXT = "a"
# A PNG of one grey pixel
SIMPLEST_IMAGE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b5500"
    "00000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)


@dataclass(frozen=True)
class Embedded:
    """What became of some documents."""

    documents: Sequence[EmbeddedDocument]
    failures: Sequence[Failure]
    #: Items that the model read only the beginning of
    truncated: int
    #: Chunks in all, where documents are split
    chunks: int


def embed_documents(
    documents: Sequence[Document],
    model: EmbeddingModel,
    *,
    chunking: Chunking | None,
    known: Callable[[Sequence[bytes]], Mapping[bytes, Vector]],
    progress: Callable[[int], None] = ignore,
) -> Embedded:
    """A vector for each of *documents*, or for each of their chunks.

    *known* tells the vectors of contents that need no run of the model, by hash.
    """
    import numpy as np

    all_chunks = _chunks(documents, model, chunking)
    items = [
        items_of(document, chunks)
        for document, chunks in zip(documents, all_chunks, strict=True)
    ]
    contents = list({item.content: item for each in items for item in each}.values())
    hear = _scaled(progress, len(contents), len(documents))
    outcomes, truncated = _outcomes(contents, model, known(_hashes(contents)), hear)
    embedded, failures, cut = list[EmbeddedDocument](), list[Failure](), 0
    for document, chunks, parts in zip(documents, all_chunks, items, strict=True):
        found = [outcomes[part.content] for part in parts]
        error = next((each for each in found if isinstance(each, str)), None)
        if error is None:
            vectors = np.stack([each for each in found if not isinstance(each, str)])
            embedded.append(EmbeddedDocument(document, chunks, vectors))
            cut += sum(part.content in truncated for part in parts)
        else:
            failures.append(Failure(document.id, error))
    total = sum(len(each or ()) for each in all_chunks)
    return Embedded(embedded, failures, cut, total)


def _chunks(
    documents: Sequence[Document], model: EmbeddingModel, chunking: Chunking | None
) -> list[list[Chunk] | None]:
    """The chunks of each of *documents*; None for one that stays whole."""
    if chunking is None:
        return [None] * len(documents)
    size = chunking.checked_size(model.passage_tokens)
    texts = [str(document.content) for document in documents]
    return [
        split(text, chunking, tokens=tokens, size=size)
        for text, tokens in zip(texts, model.token_spans(texts), strict=True)
    ]


def _hashes(documents: Sequence[Document]) -> list[bytes]:
    return [document.content_hash for document in documents]


def _scaled(
    progress: Callable[[int], None], parts: int, whole: int
) -> Callable[[int], None]:
    """*progress* that hears of *whole* while *parts* are done."""
    done, told = 0, 0

    def advance(count: int) -> None:
        nonlocal done, told
        done += count
        due = whole * done // parts
        progress(due - told)
        told = due

    return advance


def _outcomes(
    documents: Sequence[Document],
    model: EmbeddingModel,
    known: Mapping[bytes, Vector],
    progress: Callable[[int], None],
) -> tuple[dict[Content, Outcome], set[Content]]:
    """The outcome of each content, and which of them the model cut."""
    outcomes: dict[Content, Outcome] = {}
    texts, images = list[str](), list[bytes]()
    for document in documents:
        vector = known.get(document.content_hash)
        if vector is not None:
            outcomes[document.content] = vector
        elif isinstance(document.content, bytes):
            images.append(document.content)
        else:
            texts.append(document.content)
    progress(len(outcomes))
    outcomes.update(_attempted(model, texts, model.embed_passages, progress))
    outcomes.update(_attempted(model, images, model.image_outcomes, progress))
    return outcomes, _cut(texts, model)


def _cut(texts: Sequence[str], model: EmbeddingModel) -> set[Content]:
    """Those of *texts* of which the model reads only the beginning, as far as known."""
    if not texts or model.max_tokens is None:
        return set()
    lengths = model.count_tokens(texts)
    return {
        text
        for text, length in zip(texts, lengths, strict=True)
        if length > model.max_tokens
    }


def _attempted(
    model: EmbeddingModel,
    contents: Sequence[Content],
    embed: Callable[..., Vectors | Sequence[Outcome]],
    progress: Callable[[int], None],
) -> dict[Content, Outcome]:
    """The outcome of each of *contents*: halves are tried where the whole fails.

    Before that the simplest text is, so that a model that is down is asked twice, and
    not once a half.

    :raises EmbeddingsError: if the model fails on the simplest text too.
    """
    if not contents:
        return {}
    heard = 0

    def hear(count: int) -> None:
        nonlocal heard
        heard += count
        progress(count)

    try:
        outcomes = embed(contents, progress=hear)
    except EmbeddingsError as error:
        progress(-heard)
        _check_works(model, error)
        if len(contents) > 1:
            middle = len(contents) // 2
            halves = contents[:middle], contents[middle:]
            first, second = (
                _attempted(model, half, embed, progress) for half in halves
            )
            return {**first, **second}
        progress(1)
        return {contents[0]: str(error)}
    return dict(zip(contents, map(_checked, outcomes), strict=True))


def _check_works(model: EmbeddingModel, error: EmbeddingsError) -> None:
    """Nothing, if it was the content that failed and not the model.

    :raises EmbeddingsError: *error*, if the model can do nothing at all.
    """
    try:
        if model.supports_text:
            model.embed_passages([SIMPLEST_TEXT])
        else:
            model.embed_images([SIMPLEST_IMAGE])
    except EmbeddingsError:
        raise error from None


def _checked(outcome: Outcome) -> Outcome:
    import numpy as np

    if isinstance(outcome, str) or np.isfinite(outcome).all():
        return outcome
    return "The model gave a vector with numbers that are not finite"
