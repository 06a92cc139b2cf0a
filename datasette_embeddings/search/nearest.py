"""The items nearest to a vector or to an item, and the best chunk of each document."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from datasette_embeddings.config import (
    DEFAULT_LIMIT,
    DEFAULT_RERANK_TIME_LIMIT_MS,
    Mode,
)
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.index.cache import Index, indexes
from datasette_embeddings.index.documents import (
    ROUNDING,
    Compared,
    Rows,
    Values,
    best_rows,
)
from datasette_embeddings.index.matrix import Filter, Hit, Keep, best_first
from datasette_embeddings.models.cross_encoder import CrossEncoder
from datasette_embeddings.store import chunks
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.vectors import Vector

#: The scores of rows, by their cosines and the mean cosines of their documents
Scores: TypeAlias = Callable[[Rows, Values, Values], Values]
# How many more chunks than documents a search asks for, at first and again
MORE_CHUNKS = 4


@dataclass(frozen=True)
class Options:
    """Search options: the page of results, a threshold and filters."""

    limit: int = DEFAULT_LIMIT
    #: How many of the best results to skip
    offset: int = 0
    min_score: float | None = None
    min_cosine: float | None = None
    #: What a text is searched by, as far as the collection's words are indexed
    mode: Mode = "both"
    #: Words are looked for as they are typed, not with corrected spelling
    as_typed: bool = False
    #: The last word of the text may be the beginning of one
    is_typing: bool = False
    #: Every chunk is a result of its own, not only the best of each document
    all_chunks: bool = False
    #: Only items whose ids begin with it
    prefix: str = ""
    #: Only these items, as :func:`selecting.selected_items` returns them
    among: frozenset[str] | None = None
    #: Shows the matches in the order of this column; the score decides which they are
    sort: str | None = None
    #: The same from the end of the column
    sort_desc: str | None = None
    #: Not these items
    without: frozenset[str] = frozenset()
    #: Orders the best matches of a search by text again
    rerank: CrossEncoder | None = None
    #: How long that may take; after it, the order is that without it
    rerank_time_limit_ms: int = DEFAULT_RERANK_TIME_LIMIT_MS

    @cached_property
    def keep(self) -> Keep | None:
        """Whether an item passes the filters, by its id; None without filters."""
        prefix, among, without = self.prefix, self.among, self.without
        if among is not None:
            among -= without
            only = frozenset(each for each in among if each.startswith(prefix))
            return Filter(only.__contains__, only)
        if without:
            return lambda item_id: item_id.startswith(prefix) and item_id not in without
        if not prefix:
            return None
        return Filter(lambda item_id: item_id.startswith(prefix), prefix=prefix)


def nearest_to_vector(
    collection: StoredCollection,
    vector: Vector,
    *,
    options: Options = Options(),
    index: Index | None = None,
) -> list[Hit]:
    """The items of *collection* closest to *vector*, best first.

    *index* is that of the collection, where the caller has it already.
    """
    index = index or indexes.index(collection)
    ranking = partial(index.nearest, vector, keep=options.keep)
    return _page(collection, ranking, options)


def nearest_to_item(
    collection: StoredCollection,
    item_id: str,
    *,
    options: Options = Options(),
    index: Index | None = None,
) -> list[Hit]:
    """The items of *collection* closest to one of its own, which is left out.

    With the id of a document, the score of another one is that of the best pair of
    their chunks, without chunks whose text several documents have.
    """
    own_chunks = chunks.chunk_ids(collection, item_id)
    shared = chunks.boilerplate(collection, own_chunks)
    ids = [each for each in own_chunks if each not in shared] or [item_id]
    chunk = chunks.stored_chunks(collection, ids).get(ids[0])
    document_id = item_id if chunk is None else chunk.document_id
    vectors = {each: collection.vector(each) for each in ids}
    nearest = partial((index or indexes.index(collection)).nearest, keep=options.keep)

    def ranking(limit: int) -> list[Hit]:
        best: dict[str, Hit] = {}
        for own_id, vector in vectors.items():
            # One more, because the item itself is among them
            for hit in nearest(vector, limit + 1):
                known = best.get(hit.id)
                if hit.id != own_id and (known is None or hit.score > known.score):
                    best[hit.id] = hit
        return best_first(best.values(), limit)

    def accept(hits: list[Hit]) -> list[Hit]:
        hits = [hit for hit in hits if hit.document_id != document_id]
        # Chunks are compared as they are, documents without what several have
        is_document = chunk is None or bool(own_chunks)
        ids = [hit.id for hit in hits] if is_document else []
        shared = chunks.boilerplate(collection, ids)
        return [hit for hit in hits if hit.id not in shared]

    return _page(collection, ranking, options, accept)


def _page(
    collection: StoredCollection,
    ranking: Callable[[int], list[Hit]],
    options: Options,
    accept: Callable[[list[Hit]], list[Hit]] = list,
) -> list[Hit]:
    """The page of *ranking* that *options* ask for.

    In a chunked collection: the best chunk of each document, of those that *accept*
    returns.
    """
    end = options.offset + options.limit
    least = -1.0 if options.min_score is None else options.min_score
    if options.min_cosine is not None:
        # A little lower: a cosine that an answer gave may be rounded
        least = max(least, options.min_cosine - ROUNDING)
    if not collection.has_chunks:
        best = [hit for hit in ranking(end) if hit.score >= least]
        return best[options.offset :]
    limit = end * MORE_CHUNKS
    while True:
        best = [hit for hit in ranking(limit) if hit.score >= least]
        stored = chunks.stored_chunks(collection, [hit.id for hit in best])
        hits = accept([replace(hit, chunk=stored.get(hit.id)) for hit in best])
        if not options.all_chunks:
            of_document: dict[str, Hit] = {}
            for hit in hits:
                of_document.setdefault(hit.document_id, hit)
            hits = list(of_document.values())
        if len(hits) >= end or len(best) < limit:
            return hits[options.offset : end]
        limit *= MORE_CHUNKS


class Comparison:
    """The cosines of *query*, of length 1, and the items that pass the filters.

    Of each document, the best item counts alone, unless *options* ask for all chunks.
    """

    def __init__(
        self, query: Vector, index: Index, options: Options, *, is_exact: bool
    ) -> None:
        self.query, self.index, self.documents = query, index, index.documents
        self.least, self.keep = options.min_cosine, options.keep
        has_chunks = index.documents.has_chunks
        is_one_of = has_chunks and not options.all_chunks
        self.one_of = index.documents if is_one_of else None
        #: About the cosine of each row, (n,), and how far off it may be
        self.cosines, self.error = index.cosines(
            query, is_exact=is_exact or self.least is not None
        )
        self.means = self.documents.means(self.cosines) if has_chunks else self.cosines
        self.passing = index.passing(self.keep)
        if self.least is not None:
            self.passing &= self.cosines >= self.least - index.slack

    def depth(self, limit: int) -> int:
        """How many rows include the *limit* best, where cosines are not exact."""
        times, fewest = self.index.spread
        return max(times * limit, fewest)

    def candidates(
        self, values: Values, limit: int, documents: NDArray[np.bool_]
    ) -> Rows:
        """Rows that include the *limit* best by *values*, (n,), and all of *documents*.

        *values* are as exact as the cosines; *documents*, (m,), says which are meant.
        """
        passing = np.where(self.passing, values, -np.inf)
        best = best_rows(passing, limit, self.one_of, 2 * self.error)
        rows = np.flatnonzero(documents[self.documents.of_rows] & self.passing)
        if self.one_of is not None:
            rows = rows[self.one_of.best_of_each(rows, values[rows])]
        return np.union1d(best, rows)

    def best(
        self,
        rows: Rows,
        limit: int,
        scores: Scores,
        steepness: float = 1.0,
        more: float = 0.0,
        most: int = 0,
    ) -> Rows:
        """Those of *rows* that include the *limit* best by *scores*.

        They also include up to *most* of those that are by *more* lower.  A score
        changes by *steepness* times as much as the cosine.
        """
        values = scores(rows, self.cosines[rows], self.means[rows])
        margin = 2 * steepness * self.error
        return rows[best_rows(values, self.depth(limit), None, margin, more, most)]

    def exactly(self, rows: Rows, scores: Scores) -> tuple[Compared, Values]:
        """*rows* that pass, compared exactly, and their *scores*."""
        found = self.index.compared(rows, self.query)
        values = scores(found.rows, found.cosines, found.means)
        kept = np.ones(len(found.ids), bool)
        if self.keep is not None:
            # By id: by now, another item may have the rowid of a row
            kept = np.fromiter(map(self.keep, found.ids), bool, len(found.ids))
        if self.least is not None:
            kept &= found.cosines >= self.least - ROUNDING
        chosen = np.flatnonzero(kept)
        if self.one_of is not None:
            best = self.documents.best_of_each(found.rows[chosen], values[chosen])
            chosen = chosen[best]
        ids = [found.ids[place] for place in chosen]
        arrays = found.cosines[chosen], found.means[chosen]
        whole = found.is_whole
        return Compared(found.rows[chosen], ids, *arrays, whole), values[chosen]


def checked_query(text: str, *, max_length: int | None = None) -> str:
    """*text*, if it is not blank and has at most *max_length* characters."""
    if not text.strip():
        raise InvalidInputError("Expected a text to search for, found an empty one")
    if max_length is not None and len(text) > max_length:
        raise InvalidInputError(
            f"Expected a text of at most {max_length:,} characters, found {len(text):,}"
        )
    return text


def checked_limit(limit: object) -> int:
    """*limit*, a number or its text, as a whole number from 1."""
    # The text of a BLOB would be four times as large
    text = str(limit) if isinstance(limit, int | str) else ""
    if not re.fullmatch("0*[1-9][0-9]{,17}", text):
        raise InvalidInputError(
            f"Expected a limit, a whole number from 1; found {quoted(limit)}"
        )
    return int(text)
