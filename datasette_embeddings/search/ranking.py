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

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import compress
from typing import NamedTuple

import numpy as np

from datasette_embeddings.index.cache import Index
from datasette_embeddings.index.documents import ROUNDING, ByNumber, Values, best_rows
from datasette_embeddings.index.matrix import Hit, VectorIndex, best_first
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.search.shares import Shares
from datasette_embeddings.search.words import WordSearch
from datasette_embeddings.vectors import Vector, normalize

MEANING, WORDS, EXACT = 0.75, 0.25, 0.2
OWN, OF_DOCUMENT, BENT = 0.7, 0.3, 0.3
PARTS, NOTHING = ("exact", "words", "meaning"), np.zeros(1)
# The nearest count as found by meaning.  Common words are read of the documents that
# are best without them.  Of documents with one score, a search by words orders some
NEAREST, MOST_READ, MOST_EQUAL = 100, 5_000, 1_000


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
        return self._page(best.values(), near=np.inf)

    def by_both(self, vector: Vector, index: Index) -> tuple[list[Hit], float | None]:
        """The best by meaning, words and exact names, and how close they are."""
        query, end = normalize(vector), self.options.offset + self.options.limit
        average = index.average_cosine(query)
        best, nearest = list[Ranked](), list[float]()
        shares = [float(self.shares.of_rare.values.max(initial=0.0))]
        for block in index.blocks() if query.any() else ():
            some, cosines, share = self._best_of(block, end, query, average)
            best = best_first([*best, *some], end)
            nearest = sorted([*nearest, *cosines.tolist()])[-NEAREST:]
            shares.append(share)
        if not nearest:
            return [], None
        return self._page(best, nearest[0] - ROUNDING), nearest[-1] + max(shares) / 2

    def _of_documents(self, some: ByNumber, shares: ByNumber) -> list[Ranked]:
        """Those of *some* documents that pass the filters, by their *shares*."""
        documents = self.search.documents(some.numbers, self.options.keep)
        numbers = np.array([*documents.values()], np.int64)
        words, exact = shares.of(numbers), self.titled.of(numbers)
        scores = _score(words, exact).tolist()
        return [*map(Ranked, documents, scores, [None] * len(numbers), exact, words)]

    def _best_of(
        self, block: VectorIndex, end: int, query: Vector, average: float
    ) -> tuple[list[Ranked], Values, float]:
        """What includes the best of *block*, its best cosines, and its best share."""
        documents, least = block.documents, self.options.min_cosine
        one_of = None if self.options.all_chunks else documents
        passing = block.passing(self.options.keep)
        cosines, error = block.cosines(query, is_exact=least is not None)
        passing &= least is None or cosines >= least - ROUNDING
        near = np.where(passing, cosines, -np.inf)
        near = block.same_cosines(best_rows(near, NEAREST, one_of, 2 * error), query)

        def scores(own: Values, means: Values, words: Values, exact: Values) -> Values:
            meaning = (OWN * own + OF_DOCUMENT * means - average) / (1 - average)
            return _score(words, exact, meaning)

        # First without common words, and with cosines that may be a little wrong
        means = documents.means(cosines) if documents.has_chunks else cosines
        words, exact = map(documents.values, (self.shares.of_rare, self.titled))
        every = np.where(passing, scores(cosines, means, words, exact), -np.inf)
        wrong = 2 * MEANING * error / (1 - average)
        common, most = self.shares.most_of_common, max(end, MOST_READ)
        rows = best_rows(every, end, one_of, wrong, WORDS * (1 + BENT) * common, most)
        if len(rows) > most and block.coarse is not None:
            return self._best_of(replace(block, coarse=None), end, query, average)
        words = words[rows] + self.shares.of_common(documents.numbers_of(rows))
        share, exact = float(words.max(initial=0.0)), exact[rows]
        some = scores(cosines[rows], means[rows], words, exact)
        best = best_rows(some, end, None, wrong)
        rows, words, exact = rows[best], words[best], exact[best]
        own = block.same_cosines(rows, query).astype(np.float64)
        means = means[rows] if documents.has_chunks else own
        ids, final = [block.ids[n] for n in rows], scores(own, means, words, exact)
        ranked = map(Ranked, ids, final.tolist(), own.tolist(), exact, words)
        return [*ranked], near, share

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
