"""A source into a collection: what is new or changed is embedded, the rest is kept."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

from datasette_embeddings import sources, store
from datasette_embeddings.models.base import EmbeddingModel, silent

if TYPE_CHECKING:
    from datasette_embeddings.chunks import Document
    from datasette_embeddings.vectors import Vectors

# Documents that are looked up, sorted by length and committed together: enough for
# batches of texts of one length, and all that a crash can lose
WINDOW = 1_024


@dataclass(frozen=True)
class Report:
    """What became of each row of the source, and of items that it no longer has."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    #: Rows without content: not embedded, and what they had before is removed
    empty: int = 0
    #: Of those embedded, how many were cut to the model's length
    truncated: int = 0
    #: Items that the source no longer has
    gone: int = 0
    pruned: bool = False

    def __add__(self, other: Report) -> Report:
        return Report(
            new=self.new + other.new,
            changed=self.changed + other.changed,
            unchanged=self.unchanged + other.unchanged,
            empty=self.empty + other.empty,
            truncated=self.truncated + other.truncated,
        )


@dataclass(frozen=True)
class IngestOptions:
    """How a source is brought in.

    *store_content* copies the content even of a table; *prune* deletes what is gone;
    *start* hears how many rows there are, *progress* how many more of them are done.
    """

    store_content: bool = False
    prune: bool = False
    start: Callable[[int], None] = silent
    progress: Callable[[int], None] = silent


def ingest(
    conn: sqlite3.Connection,
    name: str,
    source: sources.ReadableSource,
    model: EmbeddingModel,
    *,
    options: IngestOptions = IngestOptions(),
) -> Report:
    """Bring the collection called *name* up to date with *source*.

    Each window of rows is one transaction: whatever stops the run, all windows before
    are kept and the next run goes on from there.

    :raises ModelMismatch: if the collection holds vectors of another model.
    :raises InvalidInput: if it was made from other tables.
    """
    # A table's content stays where it is; a query's rows may not be found again
    keep = options.store_content or not isinstance(source, sources.TableSource)
    options = replace(options, store_content=keep)
    report, seen = Report(), set[str]()
    with sources.snapshot(conn, source) as rows:
        collection = store.create_collection(conn, name, model.model_id, source)
        options.start(rows.count)
        for window in _windows(rows.documents):
            seen.update(document.id for document in window)
            report = report + _ingest_window(
                conn, collection, window, model, options=options
            )
    gone = _remove_gone(conn, collection, seen, prune=options.prune)
    is_complete = options.prune or not gone
    store.finish_sync(conn, collection, source if is_complete else None)
    return replace(report, gone=gone, pruned=options.prune)


def _ingest_window(
    conn: sqlite3.Connection,
    collection: store.Collection,
    window: Sequence[Document],
    model: EmbeddingModel,
    *,
    options: IngestOptions,
) -> Report:
    """Embed what is new or changed in *window*."""
    empty = [document.id for document in window if document.is_empty]
    full = [document for document in window if not document.is_empty]
    hashes = store.stored_hashes(conn, collection, [each.id for each in window])
    wanted = [each for each in full if hashes.get(each.id) != each.content_hash]
    options.progress(len(window) - len(wanted))
    vectors, truncated = _embed(model, wanted, progress=options.progress)
    with store.transaction(conn):
        store.check_exists(conn, collection)
        if options.store_content:
            store.store_contents(conn, collection, full)
        store.write_embeddings(
            conn, collection, wanted, vectors, store_content=options.store_content
        )
        store.delete_items(conn, collection, empty)
    changed = sum(document.id in hashes for document in wanted)
    return Report(
        new=len(wanted) - changed,
        changed=changed,
        unchanged=len(full) - len(wanted),
        empty=len(empty),
        truncated=truncated,
    )


def _embed(
    model: EmbeddingModel,
    documents: Sequence[Document],
    *,
    progress: Callable[[int], None],
) -> tuple[Vectors, int]:
    """A vector a document, equal texts embedded once, and how many were cut."""
    places: dict[str, int] = {}
    for document in documents:
        places.setdefault(document.content, len(places))
    texts = list(places)
    progress(len(documents) - len(texts))
    vectors = model.embed_passages(texts, progress=progress)
    lengths = model.count_tokens(texts)
    rows = [places[document.content] for document in documents]
    return vectors[rows], sum(lengths[row] > model.max_tokens for row in rows)


def _remove_gone(
    conn: sqlite3.Connection,
    collection: store.Collection,
    seen: set[str],
    *,
    prune: bool,
) -> int:
    """How many items the source no longer has; they are deleted if *prune*."""
    gone = sorted(store.item_ids(conn, collection) - seen)
    if prune and gone:
        with store.transaction(conn):
            store.delete_items(conn, collection, gone)
    return len(gone)


def _windows(documents: Iterator[Document]) -> Iterator[list[Document]]:
    while window := list(islice(documents, WINDOW)):
        yield window
