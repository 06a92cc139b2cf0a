"""Groups of near-duplicates: documents that a chain of similar pairs connects.

The pairs are the stored similarities of at least a score.  Of each document only its
nearest are stored, so a document with more near-duplicates than that may be missing
from a group, unless another member has it in its own list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datasette_embeddings.errors import InvalidInputError, NoSimilaritiesError, quoted
from datasette_embeddings.index.matrix import BY_MEANING, Hit
from datasette_embeddings.search.matches import Match, matches
from datasette_embeddings.store.chunks import existing_documents
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.similarities import Similarities, SimilarityRow

# From this cosine on, texts say nearly the same
DUPLICATE_SCORE = 0.95


@dataclass(frozen=True)
class Group:
    """Documents of which each is similar to another one of them."""

    items: tuple[Match, ...]
    #: How many there are, of which *items* may be the first
    size: int
    #: The highest and the lowest stored score of two of them.  In a chain, the ends may
    #: be less similar than what was asked for
    highest: float
    lowest: float


@dataclass(frozen=True)
class Groups:
    """A page of the groups of a collection, the largest first."""

    groups: list[Group]
    #: How many groups there are in all
    count: int
    #: The score that was asked for, or a higher one if there were too many pairs
    min_score: float


def duplicates(
    collection: StoredCollection,
    min_score: float = DUPLICATE_SCORE,
    *,
    limit: int | None = None,
    offset: int = 0,
    most_items: int | None = None,
    most_pairs: int = -1,
) -> Groups:
    """The groups that pairs of at least *min_score* connect: the largest first.

    Groups of one size are in the order of their highest score.  *most_items* of a group
    are returned.  Of more than *most_pairs* pairs, counted in both directions, only the
    most similar ones are taken.

    :raises NoSimilaritiesError: if the similarities of *collection* are not stored.
    """
    if isinstance(min_score, bool) or not isinstance(min_score, int | float):
        raise InvalidInputError(f"Expected a lowest score, found {quoted(min_score)}")
    if not -1 <= min_score <= 1:
        raise InvalidInputError(
            f"Expected a lowest score from -1 to 1, found {min_score}"
        )
    table = Similarities(collection)
    if table.settings is None:
        raise NoSimilaritiesError(collection.name)
    rows = [*table.near(min_score, limit=most_pairs)] if most_pairs >= 0 else None
    if rows is not None and len(rows) == most_pairs:
        min_score = rows[-1][2]
    sets = connected(table.near(min_score) if rows is None else rows)
    end = None if limit is None else offset + limit
    page = [_group(collection, *each, most_items) for each in sets[offset:end]]
    return Groups([each for each in page if each is not None], len(sets), min_score)


def connected(pairs: Iterable[SimilarityRow]) -> list[tuple[list[str], float]]:
    """The sets of ids that *pairs* connect, each with its highest score.

    The largest come first, then those of the highest score.  The ids are sorted.
    """
    parents: dict[str, str] = {}
    highest: dict[str, float] = {}

    def root(each: str) -> str:
        while parents.setdefault(each, each) != each:
            # Each step halves the way for the next look-up
            parents[each] = parents[parents[each]]
            each = parents[each]
        return each

    for one, other, score in pairs:
        first, second = sorted((root(one), root(other)))
        parents[second] = first
        known = highest.get(first, score), highest.get(second, score)
        highest[first] = max(*known, score)
    sets: dict[str, list[str]] = {}
    for each in parents:
        sets.setdefault(root(each), []).append(each)
    found = [(sorted(ids), highest[name]) for name, ids in sets.items()]
    return sorted(found, key=lambda each: (-len(each[0]), -each[1], each[0]))


def _group(
    collection: StoredCollection,
    ids: Sequence[str],
    highest: float,
    most_items: int | None,
) -> Group | None:
    """The group of *ids* that still exist; None if fewer than two do."""
    existing = existing_documents(collection, ids)
    ids = [each for each in ids if each in existing]
    best: dict[str, float] = {}
    lowest = highest
    for one, other, score in Similarities(collection).rows(ids):
        if other in existing:
            lowest = min(lowest, score)
            best[one] = max(score, best.get(one, score))
            best[other] = max(score, best.get(other, score))
    members = [each for each in ids if each in best]
    hits = [
        Hit(each, best[each], cosine=best[each], matched=BY_MEANING)
        for each in members[:most_items]
    ]
    items = [each for each in matches(collection, hits) if not each.row_is_missing]
    if len(items) < 2:
        return None
    size = len(members) - len(hits) + len(items)
    return Group(tuple(items), size, highest, lowest)
