"""How well documents match the terms of a query.

BM25 of SQLite's FTS5, the title five times, is divided by the best that a document
could have for the query: the sum over its terms of ``idf * (k1 + 1)``.  So 1 means that
a document has every word, often; and where words of the query stand nowhere, no
document gets much for the others.

FTS5 scores about 700 documents a millisecond, and passes over ten times as many.  So
all documents are scored that have a rare term, and for common terms, whose idf is
small, only those that may be among the best (``ranking.py``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np

from datasette_embeddings.index.documents import ByNumber, Numbers, Values, best_value
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.schema import rows_in, words_table
from datasette_embeddings.store.words_check import is_current_sql

#: What a word counts in a title
TITLE_WEIGHT = 5.0
#: FTS5's constant k1, plus 1: the most that a term counts, in units of its idf
MOST_OF_A_TERM = 2.2
# FTS5's idf of a term that more than half of the documents have
LEAST_IDF = 1e-6
# Documents that have the rare terms of a query, together
MOST_RARE = 3_000
# Documents that a search by words alone scores: of more, the commonest terms are left
# out
MOST_SCORED = 100_000
# Counts that are kept in memory until the words of their collection change
MOST_COUNTS = 10_000
_counts: dict[tuple[int | None, str | None], int] = {}


class Counts:
    """How many documents of *collection* have a term.

    A term is a string of FTS5's query language: ``"word"``, ``"a phrase"``.
    """

    def __init__(self, collection: StoredCollection) -> None:
        self._conn, self._table = collection.conn, words_table(collection.id)
        self._state = collection.words_state()
        #: All documents that are indexed
        self.total = self.of(None)

    def of(self, term: str | None) -> int:
        """How many have *term*; of more than a half, one more than that."""
        key = self._state, term
        # Another thread may clear them at any time
        known = None if self._state is None else _counts.get(key)
        if known is not None:
            return known
        rows, limit = f"{self._table}_docsize", -1
        if term is not None:
            rows = f"{self._table} where {self._table} match ?"
            limit = self.total // 2 + 1
        (count,) = self._conn.execute(
            f"select count(*) from (select 1 from {rows} limit {limit})",
            [] if term is None else [term],
        ).fetchone()
        if len(_counts) >= MOST_COUNTS:
            _counts.clear()
        _counts[key] = count
        return int(count)


@dataclass(frozen=True)
class Shares:
    """The share of each document, by the terms of a query."""

    collection: StoredCollection
    #: Those that some documents have, the rarest first, and how many at most have them
    #: and the rarer ones
    sums: Mapping[str, int]
    #: Those that are not rare
    common: Sequence[str]
    #: The most that these can add to a share
    most_of_common: float
    #: The greatest BM25 that a document could have for all of them
    ideal: float
    #: All documents that are indexed
    total: int

    @classmethod
    def of(
        cls, collection: StoredCollection, counts: Mapping[str, int], total: int
    ) -> Shares:
        """Those of *collection*, by how many of *total* documents have each term."""
        idf = {
            term: max(math.log((max(total - n, 0) + 0.5) / (n + 0.5)), LEAST_IDF)
            for term, n in counts.items()
        }
        ideal = MOST_OF_A_TERM * sum(idf.values())
        # Of more than half of the documents, it is not known how many they are
        known = sorted(
            (count if count <= total // 2 else total, term)
            for term, count in counts.items()
            if count
        )
        running = accumulate(count for count, _term in known)
        sums = {term: n for (_count, term), n in zip(known, running, strict=True)}
        common = [term for term, documents in sums.items() if documents > MOST_RARE]
        # A term of more than half of the documents weighs nothing beside others
        weighty = [term for term in common if counts[term] <= total // 2]
        common = common if len(common) == len(sums) and not weighty else weighty
        most = MOST_OF_A_TERM * sum(idf[term] for term in common) / (ideal or 1)
        return cls(collection, sums, common, most, ideal, total)

    @cached_property
    def of_all(self) -> ByNumber:
        """That of each document that has some terms."""
        terms = [term for term, most in self.sums.items() if most <= MOST_SCORED]
        if terms or not self.sums:
            return self._shares(terms)
        # All of them are in too many: a title says that a document is about one
        rarest = next(iter(self.sums))
        found = self._shares([f"title : {rarest}"]) or self._shares([rarest])
        # It weighs more in titles
        return ByNumber(found.numbers, found.values / found.values.max(initial=1.0))

    @cached_property
    def of_rare(self) -> ByNumber:
        """That of each document that has rare terms, by these alone."""
        return self._shares([term for term, n in self.sums.items() if n <= MOST_RARE])

    def of_best(self, end: int) -> ByNumber:
        """That of documents which include the *end* that have most of the terms."""
        rare = self.of_rare
        least = best_value(rare.values, end) if len(rare) >= end else 0.0
        best = rare.numbers[rare.values >= least]
        if least <= self.most_of_common or not self._are_current(best):
            return self.of_all
        return ByNumber(rare.numbers, rare.values + self.of_common(rare.numbers))

    def _are_current(self, numbers: Numbers) -> bool:
        """Whether no other program deleted or replaced a document of *numbers*."""
        sql = f"""
            select id
            from _embedding_words
            where {is_current_sql(self.collection)}
            and id in
        """
        rows = rows_in(self.collection.conn, sql, [], numbers.tolist())
        return len([*rows]) == len(numbers)

    def of_common(self, numbers: Numbers) -> Values:
        """What common terms add to the share of each of *numbers*, (n,)."""
        if not self.common:
            return np.zeros(len(numbers))
        return self._shares(self.common, among=numbers).of(numbers)

    def _shares(self, terms: Sequence[str], among: Numbers | None = None) -> ByNumber:
        """The share by *terms* of the documents that have some, or of those *among*."""
        table, sql, values = words_table(self.collection.id), "", list[str]()
        if not terms:
            return ByNumber(np.empty(0, np.int64), np.empty(0))
        if among is not None:
            # The plus: FTS5 would find each of them by itself, which takes far longer
            sql = "and +rowid in (select value from json_each(?))"
            values = [json.dumps(among.tolist())]
        rows = self.collection.conn.cursor()
        # Tuples cost less than the rows of Datasette
        rows.row_factory = None
        rows.execute(
            f"""
            select rowid, rank
            from {table}
            where {table} match ?
            and rank match 'bm25({TITLE_WEIGHT}, 1.0)'
            {sql}
            order by rowid
            limit {MOST_SCORED}
            """,
            [" OR ".join(terms), *values],
        )
        found = np.fromiter(rows, [("number", np.int64), ("bm25", np.float64)])
        return ByNumber(found["number"].copy(), -found["bm25"] / self.ideal)
