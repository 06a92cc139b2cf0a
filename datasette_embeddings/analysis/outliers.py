"""Outliers: the documents that are far even from those nearest to them.

The score is the mean cosine to the three nearest others (Angiulli and Pizzuti 2002 sum
the distances to the k nearest; Ramaswamy, Rastogi and Shim 2000 take the k-th alone).
A document is an outlier of a lower score.  The cosine to the mean of the collection
finds far fewer: most collections are not about one thing.
"""

from __future__ import annotations

from bisect import insort
from itertools import islice

from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.errors import NoSimilaritiesError
from datasette_embeddings.index.matrix import BY_MEANING, Hit
from datasette_embeddings.search.matches import Match, matches
from datasette_embeddings.store.chunks import existing_documents
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.similarities import Similarities

NEAREST = 3
# Documents whose lists are read, and those that are read at a time
MOST_READ, READ_AT_ONCE = 50_000, 500


def outliers(
    collection: StoredCollection,
    *,
    limit: int = DEFAULT_LIMIT,
    offset: int = 0,
    most_read: int = MOST_READ,
) -> list[Match]:
    """The *limit* documents farthest from all others, the farthest first.

    Their score is the mean cosine to the three nearest, -1 to 1.  Where similarities
    have a lowest score, each of the three that is not stored counts as that.  They are
    exact if the lists of *most_read* documents decide it.

    :raises NoSimilaritiesError: if the similarities of *collection* are not stored.
    """
    table = Similarities(collection)
    if table.settings is None:
        raise NoSimilaritiesError(collection.name)
    page = _lowest(table, offset + limit, most_read)[offset:]
    existing = existing_documents(collection, [each for _score, each in page])
    hits = [
        Hit(each, score, cosine=score, matched=BY_MEANING)
        for score, each in page
        if each in existing
    ]
    return [each for each in matches(collection, hits) if not each.row_is_missing]


def _lowest(table: Similarities, count: int, most_read: int) -> list[tuple[float, str]]:
    """The *count* lowest scores and their documents, ascending.

    No score is below the lowest of its list, so once this is above all that were found,
    the others need not be read.
    """
    found: list[tuple[float, str]] = []
    documents = islice(table.by_lowest(), most_read)
    while block := list(islice(documents, READ_AT_ONCE)):
        if len(found) >= count and block[0][1] > found[count - 1][0]:
            break
        ids = [each for each, _lowest in block]
        lists: dict[str, list[float]] = {each: [] for each in ids}
        for one, _other, score in table.rows(ids):
            lists[one].append(score)
        for each, lowest in block:
            nearest = sorted(lists[each], reverse=True)[:NEAREST]
            if lowest >= -1:
                nearest += [lowest] * (NEAREST - len(nearest))
            if nearest:
                insort(found, (sum(nearest) / len(nearest), each))
        del found[count:]
    return found
