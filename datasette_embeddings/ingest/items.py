"""Stores given items in a collection. They belong to no source; no run deletes them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from datasette_embeddings.documents import (
    AUTO,
    AUTO_CHUNKS,
    Chunking,
    Document,
    Failure,
)
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.images import MAX_BYTES
from datasette_embeddings.ingest.embed import embed_into
from datasette_embeddings.ingest.refreshing import refresh
from datasette_embeddings.ingest.report import FAILURES_SHOWN, Report
from datasette_embeddings.ingest.run import save_index
from datasette_embeddings.models.base import Callback, EmbeddingModel, ignore
from datasette_embeddings.store.attaching import writing
from datasette_embeddings.store.chunks import titles_in_metadata
from datasette_embeddings.store.collections import StoredCollection, current
from datasette_embeddings.store.deleting import delete_failures, delete_items
from datasette_embeddings.store.diff import ADOPTED, EMPTY, FAILED, WRITTEN, states_of
from datasette_embeddings.store.documents import EmbeddedDocument, write_documents
from datasette_embeddings.store.origins import Ownership, owner_sql
from datasette_embeddings.store.staging import (
    WINDOW_BYTES,
    WINDOW_CHARACTERS,
    WINDOW_DOCUMENTS,
)

LONGEST_ID = 10_000
# Bytes of JSON; a search reads the metadata of every result
LARGEST_METADATA = 1_000_000


def embed_items(
    collection: StoredCollection,
    model: EmbeddingModel,
    documents: Iterable[Document],
    *,
    chunking: Chunking | None = AUTO,
    store: bool = True,
    batch_size: int = WINDOW_DOCUMENTS,
    progress: Callback = ignore,
) -> Report:
    """Embed those of *documents* that are new or changed; *store* keeps their content.

    Up to *batch_size* of them at a time are embedded and committed, so that memory does
    not grow with their number. Of several with one id the last stays. One that fails
    does not stop the others; one without content deletes the item that it had. An item
    that a source brought belongs to none once it is written here. *progress* is called
    with the number of documents that are done.

    :raises ModelError: if the model fails on everything. What was committed stays.
    """
    run = _Run(collection, model, chunking, store=store)
    for window in _windows(documents, batch_size):
        run.write(window, progress)
    if run.has_written:
        refresh(current(collection))
        save_index(collection)
    return run.report()


def embed_item(
    collection: StoredCollection,
    model: EmbeddingModel,
    document: Document,
    *,
    chunking: Chunking | None = AUTO,
    store: bool = True,
) -> None:
    """Embed *document*, unless it is stored unchanged.

    It costs the same however many items *collection* has, unless it has similarities.

    :raises InvalidInputError: if the content is empty, or the model cannot embed it.
    """
    run = _Run(collection, model, chunking, store=store)
    if _is_empty(document):
        raise InvalidInputError(
            f"Expected a text that is not blank, or bytes, for the item "
            f"{quoted(document.id)}; found {quoted(document.content)}"
        )
    run.write([document], ignore)
    for failure in run.failures:
        raise InvalidInputError(f"The item {quoted(failure.id)}: {failure.error}")
    if run.has_written:
        refresh(collection)


def _windows(
    documents: Iterable[Document], batch_size: int
) -> Iterator[list[Document]]:
    """*documents* in lists of at most *batch_size*, or fewer long ones."""
    most = max(1, min(batch_size, WINDOW_DOCUMENTS))
    window, filled = list[Document](), 0.0
    for document in documents:
        window.append(document)
        if isinstance(document.content, str):
            filled += len(document.content) / WINDOW_CHARACTERS
        elif isinstance(document.content, bytes):
            filled += len(document.content) / WINDOW_BYTES
        if filled >= 1 or len(window) >= most:
            yield window
            window, filled = [], 0.0
    if window:
        yield window


class _Run:
    """Given documents on their way into one collection."""

    def __init__(
        self,
        collection: StoredCollection,
        model: EmbeddingModel,
        chunking: Chunking | None,
        *,
        store: bool,
    ) -> None:
        if chunking is not None and (chunking.size or chunking.method != AUTO_CHUNKS):
            chunking.checked_size(model.passage_tokens)
        self.collection, self.model, self.chunking = collection, model, chunking
        self.store = store
        self.counts = Counter[str]()
        self.failures = list[Failure]()
        self.chunks = self.truncated = 0
        self.has_written = False

    def write(self, window: Sequence[Document], progress: Callback) -> None:
        """Bring the items of *window* up to date, in one transaction."""
        if self.has_written:
            # Its first items give it dimensions
            self.collection = current(self.collection)
        usable, empty = list[Document](), list[str]()
        # The last of several with one id
        for document in {each.id: each for each in window}.values():
            fault = _fault(document, self.model)
            if fault is not None:
                self._fail(Failure(document.id, fault))
            elif _is_empty(document):
                empty.append(document.id)
            else:
                usable.append(document)
        self.counts[EMPTY] += len(empty)
        self.has_written |= delete_items(self.collection, empty) > 0
        progress(len(window) - len(usable))
        usable = _titled(self.collection, usable)
        texts = [each for each in usable if isinstance(each.content, str)]
        images = [each for each in usable if not isinstance(each.content, str)]
        parts = (
            self._embedded(texts, self.chunking, progress),
            self._embedded(images, None, progress),
        )
        if not any(embedded for embedded, _ownership in parts):
            return
        with writing(self.collection) as collection:
            for embedded, ownership in parts:
                write_documents(
                    collection, embedded, store_content=self.store, ownership=ownership
                )
                delete_failures(collection, [each.document.id for each in embedded])
        self.has_written = True

    def _embedded(
        self,
        documents: Sequence[Document],
        chunking: Chunking | None,
        progress: Callback,
    ) -> tuple[Sequence[EmbeddedDocument], Ownership]:
        """Those of *documents* that are new or changed, with their vectors."""
        ownership = Ownership(
            owner_sql(self.collection),
            # As rows of a pipe: they replace items of any source, and are of none
            is_pipe=True,
            is_chunked=chunking is not None,
            is_auto=chunking is not None and chunking.method == AUTO_CHUNKS,
            is_titled=chunking is not None and chunking.titled,
            stores_content=self.store,
        )
        states = states_of(self.collection, ownership, documents)
        state = {d.id: s for d, s in zip(documents, states, strict=True)}
        changed = [each for each in documents if state[each.id] in WRITTEN]
        progress(len(documents) - len(changed))
        self.counts.update(states)
        if not changed:
            return (), ownership
        found = embed_into(
            self.collection, changed, self.model, chunking=chunking, progress=progress
        )
        for failure in found.failures:
            self.counts[state[failure.id]] -= 1
            self._fail(failure)
        self.chunks += sum(len(each.chunks or ()) for each in found.documents)
        self.truncated += found.truncated
        return found.documents, ownership

    def _fail(self, failure: Failure) -> None:
        self.counts[FAILED] += 1
        if len(self.failures) < FAILURES_SHOWN:
            self.failures.append(failure)

    def report(self) -> Report:
        """What was found in which state."""
        counts: dict[str, Any] = dict(self.counts)
        # Of these, only the content was not stored yet
        counts["unchanged"] = counts.get("unchanged", 0) + counts.pop(ADOPTED, 0)
        return Report(
            **counts,
            truncated=self.truncated,
            chunks=self.chunks or None,
            failures=tuple(self.failures),
        )


def _titled(
    collection: StoredCollection, documents: Sequence[Document]
) -> list[Document]:
    """*documents* with the titles in their metadata, given or stored."""
    kept = [each.id for each in documents if each.metadata is None]
    stored = titles_in_metadata(collection, kept)
    found = []
    for document in documents:
        title: object = stored.get(document.id)
        if isinstance(document.metadata, Mapping):
            title = document.metadata.get("title")
        if isinstance(title, str) and title.strip():
            found.append(replace(document, title=title))
        else:
            found.append(document)
    return found


def _is_empty(document: Document) -> bool:
    content = document.content
    return not (content.strip() if isinstance(content, str) else content)


def _fault(document: Document, model: EmbeddingModel) -> str | None:
    """Why *document* cannot be stored, if it cannot."""
    content, metadata = document.content, document.metadata
    if not document.id or len(document.id) > LONGEST_ID:
        return f"Expected an id of 1 to {LONGEST_ID:,} characters"
    if not isinstance(content, str | bytes | None):
        return f"Expected a text, or bytes, for its content; found {quoted(content)}"
    if content and len(content) > MAX_BYTES:
        unit = "characters" if isinstance(content, str) else "bytes"
        return f"Expected at most {MAX_BYTES:,} {unit}, found {len(content):,}"
    if isinstance(content, bytes) and not model.supports_images:
        return f"The model {model.model_id!r} takes texts, not images"
    if not isinstance(metadata, Mapping | None):
        return f"Expected a mapping for its metadata, found {quoted(metadata)}"
    try:
        text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
        size = len(text.encode())
        f"{document.id}{content if isinstance(content, str) else ''}".encode()
    except UnicodeEncodeError as error:
        return f"Expected text that UTF-8 can hold: {error}"
    except (TypeError, ValueError, RecursionError) as error:
        return f"The metadata is no JSON: {error}"
    if size > LARGEST_METADATA:
        return (
            f"Expected metadata of at most {LARGEST_METADATA:,} bytes as JSON, "
            f"found {size:,}"
        )
    return None
