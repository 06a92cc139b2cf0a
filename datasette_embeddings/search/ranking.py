"""One ranking by meaning, words and exact names.

    score = (2/3 · meaning + 1/3 · words + exact) / 1.2

*meaning* is how far the cosine is from the average one of the collection (0) to that of
an equal vector (1), so that models whose cosines are all high rank as well as others.
*words* is what BM25 gives a document, of the best that it could have for this query
(:mod:`datasette_embeddings.search.words`).  *exact* is 0.2 for a title that equals the
query, and 0.1 for one that ends with it.  ``benchmarks/ranking.py`` chose the numbers.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from datasette_embeddings.index.cache import Index
from datasette_embeddings.index.matrix import Hit, best_first
from datasette_embeddings.search.nearest import Options, nearest_of, nearest_to_vector
from datasette_embeddings.search.words import WordSearch
from datasette_embeddings.store.chunks import existing_documents
from datasette_embeddings.vectors import Vector, normalize

MEANING, WORDS = 2 / 3, 1 / 3
EQUAL_TITLE, TITLE_ENDING = 0.2, 0.1
MOST = MEANING + WORDS + EQUAL_TITLE
# The nearest by meaning, which count as found by it
NEAREST = 100
# Documents with words whose vectors are read at a time, best first
BATCH = 100


@dataclass(frozen=True)
class Candidates:
    """The documents that have words of a query, or a title that ends with it."""

    search: WordSearch
    #: By the number of a document in the words index, best first
    shares: Mapping[int, float]
    #: Whether the title equals the query
    titled: Mapping[str, bool]
    options: Options

    def best_by_words(self) -> list[Hit]:
        """The best by words and exact names; no vector is read."""
        collection = self.search.collection

        def hits(documents: Sequence[str]) -> Iterator[Hit]:
            for each in existing_documents(collection, documents):
                yield Hit(each, 0.0)

        return self._best([], hits, most=WORDS + EQUAL_TITLE, most_of_others=0.0)

    def best_by_both(self, vector: Vector, index: Index) -> list[Hit]:
        """The best by meaning, words and exact names.

        Documents that are not among the nearest cannot be nearer than the last of
        those, so their vectors are read only while their words could outweigh that.
        """
        options, collection = self.options, self.search.collection
        depth = max(NEAREST, options.offset + options.limit)
        asked = replace(options, limit=depth, offset=0, min_score=None)
        near = nearest_to_vector(collection, vector, options=asked, index=index)
        if not near:
            return []
        query = normalize(vector)
        average = float(index.mean @ query)

        def by_meaning(hit: Hit) -> Hit:
            meaning = (hit.score - average) / (1 - average)
            return replace(hit, score=MEANING * meaning)

        def hits(documents: Sequence[str]) -> Iterator[Hit]:
            return map(by_meaning, nearest_of(collection, documents, query, options))

        nearest = [by_meaning(hit) for hit in near]
        # Fewer than asked for are all that pass the filters
        rest = nearest[-1].score if len(nearest) == depth else None
        return self._best(nearest, hits, most=MOST, most_of_others=rest)

    def _best(
        self,
        nearest: Sequence[Hit],
        hits: Callable[[Sequence[str]], Iterable[Hit]],
        *,
        most: float,
        most_of_others: float | None,
    ) -> list[Hit]:
        """The page of the best of *nearest* and of *hits* of other documents.

        The score of these hits is what meaning adds, at most *most_of_others*, and
        *most* the greatest sum; None if there are no others.
        """
        options, keep = self.options, self.options.keep
        end = options.offset + options.limit
        met = {hit.document_id for hit in nearest}
        numbers = self.search.numbers([*met])
        known = {hit.id: self._summed(hit, numbers, most) for hit in nearest}
        for greatest, batch in self._batches():
            scores = heapq.nlargest(end, (hit.score for hit in known.values()))
            if most_of_others is None or (
                len(scores) == end
                and scores[-1] > (most_of_others + WORDS * greatest) / most
            ):
                break
            others = [each for each in batch if keep is None or keep(each)]
            if not options.all_chunks:
                others = [each for each in others if each not in met]
            numbers |= batch
            for hit in hits(others):
                known[hit.id] = self._summed(hit, numbers, most)
        least_score = -math.inf if options.min_score is None else options.min_score
        best = best_first((h for h in known.values() if h.score >= least_score), end)
        return [replace(h, score=max(0.0, h.score)) for h in best[options.offset :]]

    def _batches(self) -> Iterator[tuple[float, dict[str, int]]]:
        """Documents and their numbers, best first, with the greatest share of each.

        First those of titles, which count more than their words.
        """
        yield math.inf, self.search.numbers([*self.titled])
        numbers = list(self.shares)
        for start in range(0, len(numbers), BATCH):
            batch = numbers[start : start + BATCH]
            yield self.shares[batch[0]], self.search.documents(batch)

    def _summed(self, hit: Hit, numbers: Mapping[str, int], most: float) -> Hit:
        """*hit*, to whose score by meaning that of words and title is added."""
        is_equal = self.titled.get(hit.document_id)
        exact = {None: 0.0, False: TITLE_ENDING, True: EQUAL_TITLE}[is_equal]
        share = self.shares.get(numbers.get(hit.document_id, 0), 0.0)
        by_words = [name for name, part in (("exact", exact), ("words", share)) if part]
        # Rounded, because equal vectors may differ in the last digit
        score = round((hit.score + WORDS * share + exact) / most, 6)
        return replace(hit, score=score, matched=(*by_words, *hit.matched))
