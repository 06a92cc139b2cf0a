"""Hits with all that a result shows of them: title, passage, metadata."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.nearest import (
    Options,
    checked_query,
    nearest_to_item,
    nearest_to_vector,
)
from datasette_embeddings.search.snippets import Piece, excerpt
from datasette_embeddings.sources.definitions import Source, TableSource
from datasette_embeddings.sources.table_rows import SourceRow, source_rows
from datasette_embeddings.store.catalog import Collection
from datasette_embeddings.store.chunks import document_hashes
from datasette_embeddings.store.embeddings import StoredItem, stored_items
from datasette_embeddings.store.fitting import check_identity
from datasette_embeddings.store.origins import items_with_source, sources_of

if TYPE_CHECKING:
    from datasette_embeddings.models.base import EmbeddingModel
    from datasette_embeddings.vectors import Vector


@dataclass(frozen=True)
class Match:
    """One result: an item, its *score* (cosine, -1 to 1) and what it shows of itself.

    *content* is None where it is not stored and cannot be read from the source row.
    *stale* is true if the row was changed or deleted since.  Its new text does not
    belong to the score, so title and content are then the stored ones or None.  *stale*
    is None if the present content of the source is not known.
    """

    id: str
    score: float
    title: str | None
    content: str | None
    metadata: Mapping[str, object] | None
    #: Where the content stands in its document, in characters, for a chunk
    start: int | None = None
    end: int | None = None
    document_id: str = ""
    #: Its source row is still there; False too where it never came from a table
    has_row: bool = False
    #: It stands for an image, which is stored or in its row
    has_image: bool = False
    stale: bool | None = None
    #: Where it comes from, if a sync reads that
    source: Source | None = None

    def __post_init__(self) -> None:
        if not self.document_id:
            object.__setattr__(self, "document_id", self.id)

    def snippet(self, length: int) -> str:
        """The beginning of the content after the title, on one line, cut at a word."""
        return "".join(piece.text for piece in self.excerpt(None, length))

    def excerpt(self, query: str | None, length: int) -> list[Piece]:
        """The piece of the content after the title where most words of *query* are."""
        content, title = self.content or "", self.title or ""
        rest = content.removeprefix(title)
        if not rest or rest[0].isspace():
            content = rest
        return excerpt(content, query, length)


def search_text(
    collection: Collection,
    text: str,
    *,
    model: EmbeddingModel,
    options: Options = Options(),
) -> list[Match]:
    """The items of *collection* that mean most nearly what *text* asks.

    :raises InvalidInputError: if there is no text.
    :raises ModelMismatchError: if its vectors are of another model than *model*.
    :raises ModelSettingsMismatchError: if they are of that model as it was otherwise.
    """
    check_identity(collection, model.settings)
    vector = model.embed_query(checked_query(text))
    return search_vector(collection, vector, options=options)


def search_vector(
    collection: Collection,
    vector: Vector,
    *,
    options: Options = Options(),
) -> list[Match]:
    """The items of *collection* closest to *vector*."""
    return matches(collection, nearest_to_vector(collection, vector, options=options))


def similar_items(
    collection: Collection,
    item_id: str,
    *,
    options: Options = Options(),
) -> list[Match]:
    """The items of *collection* closest to one of its own, which is left out.

    :raises UnknownItemError: if the collection has no such item.
    """
    return matches(collection, nearest_to_item(collection, item_id, options=options))


def matches(collection: Collection, hits: Sequence[Hit]) -> list[Match]:
    """*hits* with title, content and metadata, from the store or the source row."""
    items = stored_items(collection, [hit.id for hit in hits])
    rows: dict[str, SourceRow] = {}
    stale: dict[str, bool | None] = {}
    source_of = sources_of(collection, [hit.document_id for hit in hits])
    by_table = _by_table(source_of, hits)
    if by_table:
        embedded = _embedded_hashes(collection, hits, items)
    for source, some in by_table.items():
        # The table or one of its columns may be missing; the vectors still answer
        with suppress(sqlite3.OperationalError):
            found = source_rows(
                collection.conn, source, [hit.document_id for hit in some]
            )
            lost = [hit.id for hit in some if hit.document_id not in found]
            # An item of no source never had a row
            brought = items_with_source(collection, lost) if lost else ()
            for hit in some:
                row = found.get(hit.document_id)
                if row is not None:
                    is_stale = _is_stale(row, embedded.get(hit.document_id))
                else:
                    is_stale = True if hit.id in brought else None
                stale[hit.document_id] = is_stale
            rows.update(found)
    return [
        _match(
            hit,
            items.get(hit.id),
            rows.get(hit.document_id),
            stale=stale.get(hit.document_id),
            source=source_of.get(hit.document_id),
        )
        for hit in hits
    ]


def _by_table(
    source_of: Mapping[str, Source], hits: Sequence[Hit]
) -> dict[TableSource, list[Hit]]:
    """The *hits* that may be of rows of a table, one a document, by their source."""
    found: dict[TableSource, list[Hit]] = {}
    for hit in {hit.document_id: hit for hit in hits}.values():
        source = source_of.get(hit.document_id)
        if isinstance(source, TableSource):
            found.setdefault(source, []).append(hit)
    return found


def _embedded_hashes(
    collection: Collection,
    hits: Sequence[Hit],
    items: Mapping[str, StoredItem],
) -> dict[str, bytes | None]:
    """The hash of each document as it was embedded, whole or in chunks."""
    found: dict[str, bytes | None] = {}
    for hit in hits:
        if hit.chunk is not None:
            found[hit.document_id] = hit.chunk.document_hash
        elif hit.id in items:
            found[hit.id] = items[hit.id].content_hash
    documents = [hit.id for hit in hits if hit.document_id not in found]
    return found | document_hashes(collection, documents)


def _is_stale(row: SourceRow, embedded: bytes | None) -> bool | None:
    """Whether *row* no longer holds what was embedded; None if that is unknown."""
    if row.content_hash is None or embedded is None:
        return None
    return row.content_hash != embedded


def _match(
    hit: Hit,
    item: StoredItem | None,
    row: SourceRow | None,
    *,
    stale: bool | None,
    source: Source | None,
) -> Match:
    content = item.content if item else None
    now = None if stale else row
    if content is None and now is not None and now.content is not None:
        start, end = (hit.chunk.start, hit.chunk.end) if hit.chunk else (None, None)
        content = now.content[start:end]
    return Match(
        id=hit.id,
        score=hit.score,
        title=now.title if now else None,
        content=content,
        metadata=item.metadata if item else None,
        start=hit.chunk.start if hit.chunk else None,
        end=hit.chunk.end if hit.chunk else None,
        document_id=hit.document_id,
        has_row=row is not None,
        has_image=bool((item and item.has_image) or (now and now.has_image)),
        stale=stale,
        source=source,
    )
