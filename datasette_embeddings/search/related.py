"""Stored similarities as matches: related items, and the most similar pairs."""

from __future__ import annotations

from dataclasses import dataclass

from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.index.matrix import BY_MEANING, Hit
from datasette_embeddings.search.matches import Match, matches
from datasette_embeddings.store.chunks import existing_documents
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.similarities import Similarities


@dataclass(frozen=True)
class Pair:
    """Two documents and their similarity."""

    one: Match
    other: Match
    score: float


def related_items(
    collection: StoredCollection, document_id: str, *, limit: int = DEFAULT_LIMIT
) -> list[Match]:
    """The stored similarities of a document, best first, as far as they still exist."""
    stored = Similarities(collection).of(document_id)
    existing = existing_documents(collection, [other for other, _score in stored])
    hits = [
        Hit(other, score, cosine=score, matched=BY_MEANING)
        for other, score in stored
        if other in existing
    ]
    found = matches(collection, hits[:limit])
    return [match for match in found if not match.row_is_missing]


def similar_pairs(
    collection: StoredCollection, *, limit: int = DEFAULT_LIMIT, offset: int = 0
) -> list[Pair]:
    """The most similar pairs of documents as stored, each pair once, best first."""
    rows = Similarities(collection).pairs(limit=limit, offset=offset)
    ids = list(dict.fromkeys(each for row in rows for each in row[:2]))
    existing = existing_documents(collection, ids)
    found = matches(collection, [Hit(each, 1.0) for each in ids if each in existing])
    known = {match.id: match for match in found if not match.row_is_missing}
    return [
        Pair(known[one], known[other], score)
        for one, other, score in rows
        if one in known and other in known
    ]
