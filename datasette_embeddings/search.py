"""Text, vector or item to matches: the one use case behind every door."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasette_embeddings import sources, store
from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.errors import InvalidInput
from datasette_embeddings.index import Score, indexes

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

    def snippet(self, length: int) -> str:
        """The beginning of the content after the title, on one line, cut at a word."""
        content, title = self.content or "", self.title or ""
        rest = content.removeprefix(title)
        if not rest or rest[0].isspace():
            content = rest
        text = " ".join(content.split())
        if len(text) <= length:
            return text
        return f"{text[:length].rpartition(' ')[0] or text[:length]} …"


@dataclass(frozen=True)
class Options:
    """What a search may be told besides what to look for."""

    limit: int = DEFAULT_LIMIT
    min_score: float | None = None
    #: The file is opened as one that nobody changes
    immutable: bool = False


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
    """
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


def nearest_to_vector(
    conn: sqlite3.Connection,
    collection: store.Collection,
    vector: Vector,
    *,
    options: Options = Options(),
) -> list[Score]:
    """Ids and scores only, of :func:`search_vector`."""
    index = indexes.index(conn, collection.id, immutable=options.immutable)
    return index.nearest(vector, options.limit, min_score=options.min_score)


def nearest_to_item(
    conn: sqlite3.Connection,
    collection: store.Collection,
    item_id: str,
    *,
    options: Options = Options(),
) -> list[Score]:
    """Ids and scores only, of :func:`similar_items`."""
    vector = store.stored_vector(conn, collection, item_id)
    index = indexes.index(conn, collection.id, immutable=options.immutable)
    return index.nearest(
        vector, options.limit, min_score=options.min_score, without=item_id
    )


def index_state(
    conn: sqlite3.Connection, collection: store.Collection, options: Options
) -> tuple[bool, int]:
    """Whether each search reads *collection* from SQLite; how many items it leaves out.

    Left out are vectors of another length than most, zero, or not finite.
    """
    index = indexes.index(conn, collection.id, immutable=options.immutable)
    return index.is_scanned, index.left_out


def matches(
    conn: sqlite3.Connection, collection: store.Collection, scores: Sequence[Score]
) -> list[Match]:
    """*scores* with title, content and metadata, from the store or the source row."""
    ids = [found.id for found in scores]
    items = store.stored_items(conn, collection, ids)
    rows: dict[str, sources.SourceRow] = {}
    if isinstance(collection.source, sources.TableSource):
        rows = _source_rows(conn, collection.source, ids)
    found = []
    for each in scores:
        item, row = items.get(each.id), rows.get(each.id)
        content = item.content if item else None
        if content is None and row is not None:
            content = row.content
        found.append(
            Match(
                id=each.id,
                score=each.score,
                title=row.title if row else None,
                content=content,
                metadata=item.metadata if item else None,
            )
        )
    return found


def _source_rows(
    conn: sqlite3.Connection, source: sources.TableSource, ids: Sequence[str]
) -> dict[str, sources.SourceRow]:
    try:
        return sources.source_rows(conn, source, ids)
    except sqlite3.OperationalError:
        # The table or a column of it is gone; the vectors still answer
        return {}


def checked_query(text: str, *, max_length: int | None = None) -> str:
    """*text*, if it asks something and no more than *max_length* characters.

    :raises InvalidInput: if it does not.
    """
    if not text.strip():
        raise InvalidInput("Expected a text to search for, found an empty one")
    if max_length is not None and len(text) > max_length:
        raise InvalidInput(
            f"Expected a text of at most {max_length:,} characters, found {len(text):,}"
        )
    return text


def checked_limit(limit: object, *, max_limit: int | None = None) -> int:
    """*limit* as a whole number from 1.

    :raises InvalidInput: if it is not one, or above *max_limit*.
    """
    try:
        number = int(str(limit))
    except ValueError:
        number = 0
    top = "" if max_limit is None else f" to {max_limit}"
    if number < 1 or (max_limit is not None and number > max_limit):
        raise InvalidInput(
            f"Expected a limit, a whole number from 1{top}; found {limit!r}"
        )
    return number
