"""Hits with all that a result shows of them: title, passage, metadata."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasette_embeddings import sources, store
from datasette_embeddings.chunks import Document
from datasette_embeddings.search.nearest import (
    Hit,
    Options,
    checked_query,
    nearest_to_item,
    nearest_to_vector,
)
from datasette_embeddings.search.snippets import Piece, excerpt

if TYPE_CHECKING:
    from datasette_embeddings.models.base import EmbeddingModel
    from datasette_embeddings.vectors import Vector


@dataclass(frozen=True)
class Match:
    """One result: an item, its *score* (cosine, -1 to 1) and what it shows of itself.

    *content* is None where it was not stored and the source row is gone.
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
    conn: sqlite3.Connection,
    collection: store.Collection,
    text: str,
    *,
    model: EmbeddingModel,
    options: Options = Options(),
) -> list[Match]:
    """The items of *collection* that mean most nearly what *text* asks.

    :raises InvalidInput: if there is no text.
    :raises ModelMismatch: if its vectors are of another model than *model*.
    :raises IdentityMismatch: if they are of that model as it was otherwise.
    """
    store.check_identity(collection, model.identity)
    vector = model.embed_query(checked_query(text))
    return search_vector(conn, collection, vector, options=options)


def search_vector(
    conn: sqlite3.Connection,
    collection: store.Collection,
    vector: Vector,
    *,
    options: Options = Options(),
) -> list[Match]:
    """The items of *collection* closest to *vector*."""
    return matches(
        conn, collection, nearest_to_vector(conn, collection, vector, options=options)
    )


def similar_items(
    conn: sqlite3.Connection,
    collection: store.Collection,
    item_id: str,
    *,
    options: Options = Options(),
) -> list[Match]:
    """The items of *collection* closest to one of its own, which is left out.

    :raises UnknownItem: if the collection has no such item.
    """
    return matches(
        conn, collection, nearest_to_item(conn, collection, item_id, options=options)
    )


def matches(
    conn: sqlite3.Connection, collection: store.Collection, hits: Sequence[Hit]
) -> list[Match]:
    """*hits* with title, content and metadata, from the store or the source row."""
    items = store.stored_items(conn, collection, [hit.id for hit in hits])
    rows: dict[str, sources.SourceRow] = {}
    if isinstance(collection.source, sources.TableSource):
        documents = dict.fromkeys(hit.document_id for hit in hits)
        rows = _source_rows(conn, collection.source, list(documents))
    return [_match(hit, items.get(hit.id), rows.get(hit.document_id)) for hit in hits]


def _match(
    hit: Hit, item: store.StoredItem | None, row: sources.SourceRow | None
) -> Match:
    content = item.content if item else None
    if content is None and row is not None:
        content = _passage(hit, row)
    return Match(
        id=hit.id,
        score=hit.score,
        title=row.title if row else None,
        content=content,
        metadata=item.metadata if item else None,
        start=hit.chunk.start if hit.chunk else None,
        end=hit.chunk.end if hit.chunk else None,
        document_id=hit.document_id,
        has_row=row is not None,
        has_image=bool((item and item.has_image) or (row and row.has_image)),
    )


def _passage(hit: Hit, row: sources.SourceRow) -> str | None:
    """What *row* holds of *hit*; None where the row has changed and offsets lie."""
    if hit.chunk is None or row.content is None:
        return row.content
    if Document(hit.document_id, row.content).content_hash != hit.chunk.document_hash:
        return None
    return row.content[hit.chunk.start : hit.chunk.end]


def _source_rows(
    conn: sqlite3.Connection, source: sources.TableSource, ids: Sequence[str]
) -> dict[str, sources.SourceRow]:
    try:
        return sources.source_rows(conn, source, ids)
    except sqlite3.OperationalError:
        # The table or a column of it is gone; the vectors still answer
        return {}
