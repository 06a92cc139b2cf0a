"""What the table of similarities tells: neither a model nor a vector is needed."""

from __future__ import annotations

from dataclasses import dataclass

from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.matches import Match, matches
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.store.catalog import Collection
from datasette_embeddings.store.similarities import (
    existing_documents,
    most_similar,
    similarities_of,
)


@dataclass(frozen=True)
class Pair:
    """Two documents and how much they are alike."""

    one: Match
    other: Match
    score: float


def related_items(
    collection: Collection,
    document_id: str,
    *,
    limit: int = DEFAULT_LIMIT,
) -> list[Match]:
    """The documents noted as nearest to one, best first; none where none are noted.

    Those that are gone since are left out.
    """
    noted = similarities_of(collection, document_id)
    there = existing_documents(collection, [each for each, _ in noted])
    hits = [Hit(each, score) for each, score in noted if each in there]
    return _shown(collection, hits[:limit])


def similar_pairs(
    collection: Collection,
    *,
    limit: int = DEFAULT_LIMIT,
    offset: int = 0,
) -> list[Pair]:
    """The pairs of documents noted as most alike, each pair once, best first."""
    rows = most_similar(collection, limit=limit, offset=offset)
    ids = list(dict.fromkeys(each for row in rows for each in row[:2]))
    there = existing_documents(collection, ids)
    hits = [Hit(each, 1.0) for each in ids if each in there]
    shown = {match.id: match for match in _shown(collection, hits)}
    return [
        Pair(shown[one], shown[other], score)
        for one, other, score in rows
        if one in shown and other in shown
    ]


def _shown(collection: Collection, hits: list[Hit]) -> list[Match]:
    """What *hits* show, without items of tables whose rows were deleted."""
    return [
        match
        for match in matches(collection, hits)
        if match.has_row or not isinstance(match.source, TableSource)
    ]
