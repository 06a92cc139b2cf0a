"""What plugins bring to a run: their chunkers, and captions of images."""

from __future__ import annotations

from dataclasses import replace

from datasette_embeddings import hooks
from datasette_embeddings.documents import OWN_METHODS, Failure
from datasette_embeddings.errors import InvalidInputError, SourceError, quoted
from datasette_embeddings.ingest.embed import Embedded
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.documents import with_stored_captions

MOST_CHARACTERS = 10_000


def check_plugins(source: Source) -> None:
    """Check that plugins have the chunker and the captions that *source* names."""
    chunking = source.chunking
    if chunking is not None and chunking.method not in OWN_METHODS:
        hooks.chunker(chunking.method)
    if source.caption is None:
        return
    if not source.images:
        raise InvalidInputError(
            "Expected images to write captions of, found a source of texts; add "
            "--images, or leave out the caption with --caption none"
        )
    hooks.captioner(source.caption)


def with_captions(
    collection: StoredCollection, embedded: Embedded, name: str, *, keeps: bool
) -> Embedded:
    """*embedded*, where each image has the caption that the plugin's *name* makes.

    With *keeps*, one that is stored for the same image is not made again.  An image
    whose caption cannot be made is not written, but one of the failures.
    """
    make = hooks.captioner(name)
    documents = [each.document for each in embedded.documents]
    if keeps:
        documents = with_stored_captions(collection, documents)
    done, failures = [], [*embedded.failures]
    for each, document in zip(embedded.documents, documents, strict=True):
        if isinstance(document.content, bytes) and document.caption is None:
            try:
                caption = _checked(make(document.content))
            except Exception as error:  # a plugin may fail in any way
                reason = hooks.failure("captioner", name, error)
                failures.append(Failure(document.id, reason))
                continue
            document = replace(document, caption=caption)
        is_whole = each.chunks is None
        items = [document] if is_whole else each.items
        done.append(replace(each, document=document, items=items))
    return replace(embedded, documents=done, failures=failures)


def _checked(caption: object) -> str:
    if not isinstance(caption, str) or not caption.strip():
        raise SourceError(f"expected a text, found {quoted(caption)}")
    if len(caption) > MOST_CHARACTERS:
        raise SourceError(
            f"expected at most {MOST_CHARACTERS:,} characters, found {len(caption):,}"
        )
    caption.encode()
    return caption.strip()
