"""One ranking by meaning, words and exact names.

    score = (3/4 · meaning + 1/4 · words + exact) / 1.2

*meaning* is how far the cosine is from the collection's average (0) to that of an equal
vector (1), so that models whose cosines are all high rank as well.  The cosine of a
chunk counts 0.7, the mean of its document's chunks 0.3: one alone forgets what the
document is about.  *words* is BM25 as a share of the best for the query (``shares.py``)
plus 0.3 · min(share, 1 - share): a document with every word has about half, and more of
the same says less.  *exact* is 0.2 for a title that equals the query, 0.1 for one that
ends with it.  ``benchmarks/ranking.py`` chose the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

import numpy as np

from datasette_embeddings.index.cache import Index
from datasette_embeddings.index.documents import ROUNDING, ByNumber, Rows, Values
from datasette_embeddings.index.matrix import Hit, best_first
from datasette_embeddings.search.nearest import Comparison, Options
from datasette_embeddings.search.shares import Shares
from datasette_embeddings.search.words import WordSearch
from datasette_embeddings.vectors import Vector, normalize

MEANING, WORDS, EXACT = 0.75, 0.25, 0.2
OWN, OF_DOCUMENT, BENT = 0.7, 0.3, 0.3
PARTS, NOTHING = ("exact", "words", "meaning"), np.zeros(1)
# The nearest, which count as found by meaning
NEAREST = 100
# Documents whose common words are read, those that are best without them
MOST_READ = 5_000
# Documents of one score that a search by words orders by id; of more, the first ones
MOST_EQUAL = 1_000


class Ranked(NamedTuple):
    """An item, its score, and what that is made of."""

    id: str
    score: float
    cosine: float | None
    exact: float
    words: float


@dataclass(frozen=True)
class Ranking:
    """What a query finds by its words, to be ranked alone or with meaning."""

    search: WordSearch
    shares: Shares
    #: Documents whose title equals the query (1) or ends with it (0.5)
    titled: ByNumber
    options: Options

    def by_words(self) -> list[Hit]:
        """The best by words and exact names; no vector is read."""
        end, left = self.options.offset + self.options.limit, MOST_EQUAL
        known = self.shares.of_all if self.options.keep else self.shares.of_best(end)
        best = {each.id: each for each in self._of_documents(self.titled, known)}
        for some in self.search.best_first(known):
            page, most = best_first(best.values(), end), _score(some.values, NOTHING)[0]
            if len(page) == end and (left <= 0 or page[-1].score > most):
                break
            best = {each.id: each for each in (*page, *self._of_documents(some, known))}
            left -= len(some)
        return self._page(best.values(), near=math.inf)

    def by_both(
        self, vector: Vector, index: Index, *, is_exact: bool = False
    ) -> tuple[list[Hit], float | None]:
        """The best by meaning, words and exact names, and how close they are."""
        query, documents = normalize(vector), index.documents
        if not len(documents.of_rows) or not query.any():
            return [], None
        end = self.options.offset + self.options.limit
        average = index.average_cosine(query)
        comparison = Comparison(query, index, self.options, is_exact=is_exact)
        if not comparison.passing.any():
            return [], None
        words, exact = map(documents.values, (self.shares.of_rare, self.titled))

        def scores(rows: Rows, own: Values, means: Values) -> Values:
            meaning = (OWN * own + OF_DOCUMENT * means - average) / (1 - average)
            places = documents.of_rows[rows]
            return _score(words[places], exact[places], meaning)

        # First without common words, which are read where they could make a difference
        steepness = MEANING / (1 - average)
        more = WORDS * (1 + BENT) * self.shares.most_of_common
        most, near = max(comparison.depth(end), MOST_READ), comparison.cosines
        if documents.has_chunks:
            near = OWN * near + OF_DOCUMENT * comparison.means
        rows = comparison.candidates(near, most, (words > 0) | (exact > 0))
        nearest = comparison.best(rows, NEAREST, lambda _rows, own, _means: own)
        rows = comparison.best(rows, end, scores, steepness, more, most)
        if len(rows) > most and comparison.error > ROUNDING:
            return self.by_both(vector, index, is_exact=True)
        places = np.unique(documents.of_rows[rows])
        words[places] += self.shares.of_common(documents.numbers[places])
        share = max(words[places].max(), self.shares.of_rare.values.max(initial=0.0))
        rows = comparison.best(rows, end, scores, steepness)
        found, final = comparison.exactly(np.union1d(rows, nearest), scores)
        if not found.is_whole:
            return self.by_both(vector, index, is_exact=is_exact)
        if not len(found.rows):
            return [], None
        places = documents.of_rows[found.rows]
        parts = final.tolist(), found.cosines.tolist(), exact[places], words[places]
        cosines = np.sort(found.cosines)[-NEAREST:]
        page = self._page(map(Ranked, found.ids, *parts), near=cosines[0] - ROUNDING)
        return page, float(cosines[-1] + share / 2)

    def _of_documents(self, some: ByNumber, shares: ByNumber) -> list[Ranked]:
        """Those of *some* documents that pass the filters, by their *shares*."""
        documents = self.search.documents(some.numbers, self.options.keep)
        numbers = np.array([*documents.values()], np.int64)
        words, exact = shares.of(numbers), self.titled.of(numbers)
        scores = _score(words, exact).tolist()
        return [*map(Ranked, documents, scores, [None] * len(numbers), exact, words)]

    def _page(self, best: Iterable[Ranked], near: float) -> list[Hit]:
        """The page of *best*; what is as *near* was found by meaning."""
        start, least = self.options.offset, self.options.min_score
        page = best_first(best, start + self.options.limit)[start:]
        return [
            Hit(item_id, max(0.0, score), None, cosine, tuple(compress(PARTS, parts)))
            for item_id, score, cosine, exact, words in page
            for parts in [(exact, words, cosine is not None and cosine >= near)]
            if least is None or score >= least
        ]


def _score(words: Values, exact: Values, meaning: Values | None = None) -> Values:
    """The weighted sum, of the greatest that it could be; *words* are shares."""
    score = WORDS * (words + BENT * np.minimum(words, 1 - words)) + EXACT * exact
    most = WORDS + EXACT
    if meaning is not None:
        score, most = MEANING * meaning + score, MEANING + most
    # Rounded, because equal vectors may differ in the last digit
    return np.round(score / most, 6)
