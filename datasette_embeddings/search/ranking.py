"""One ranking by meaning, words and exact names.

    score = (7/9 · meaning + 2/9 · words + exact) / 1.2

*meaning* is how far the cosine is from the average one of the collection (0) to that of
an equal vector (1), so that models whose cosines are all high rank as well as others.
*words* is what BM25 gives a document, of the best that it could have for this query
(:mod:`datasette_embeddings.search.words`).  *exact* is 0.2 for a title that equals the
query, and 0.1 for one that ends with it.  ``benchmarks/ranking.py`` chose the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import starmap
from typing import TypeAlias

from datasette_embeddings.index.cache import Index
from datasette_embeddings.index.matrix import Hit, best_first
from datasette_embeddings.search.nearest import Options, cosines_of, nearest_to_vector
from datasette_embeddings.search.words import WordSearch
from datasette_embeddings.store.chunks import existing_documents, stored_chunks
from datasette_embeddings.vectors import Vector, normalize

MEANING, WORDS = 7 / 9, 2 / 9
EQUAL_TITLE, TITLE_ENDING = 0.2, 0.1
# The nearest by meaning, which count as found by it
NEAREST = 100
# Documents with words whose vectors are read at a time, best first
BATCH = 200

#: Document, item and cosine; None where vectors are not compared
Compared: TypeAlias = tuple[str, str, "float | None"]


@dataclass
class Ranking:
    """The documents that have words of a query, or a title that ends with it."""

    search: WordSearch
    #: By the number of a document in the words index, best first
    shares: Mapping[int, float]
    #: Whether the title equals the query
    titled: Mapping[str, bool]
    options: Options
    #: The nearest by meaning, and the average cosine; None to rank without meaning
    nearest: Sequence[Hit] = ()
    average: float | None = None
    #: The numbers of documents in the words index, as far as they are known
    numbers: dict[str, int] = field(default_factory=dict)
    #: Items that count as found by meaning
    near: frozenset[str] = frozenset()

    def by_words(self) -> list[Hit]:
        """The best by words and exact names; no vector is read."""
        collection = self.search.collection

        def compared(documents: list[str]) -> Iterator[Compared]:
            for each in existing_documents(collection, documents):
                yield each, each, None

        return self._page(compared)

    def by_both(self, vector: Vector, index: Index) -> tuple[list[Hit], float | None]:
        """The best by meaning, words and exact names, and the highest cosine of all.

        A document that is not among the nearest is not nearer than the last of those,
        so its vector is read only if its words could outweigh that.
        """
        options, collection = self.options, self.search.collection
        depth = max(NEAREST, options.offset + options.limit)
        asked = replace(options, limit=depth, offset=0, min_score=None)
        nearest = nearest_to_vector(collection, vector, options=asked, index=index)
        if not nearest:
            return [], None
        query = normalize(vector)
        average = float(index.mean @ query)
        near = frozenset(hit.id for hit in nearest[:NEAREST])
        ranking = replace(self, nearest=nearest, average=average, near=near)
        compared = partial(cosines_of, collection, vector=query, options=options)
        return ranking._page(compared), nearest[0].cosine

    def _page(self, compared: Callable[[list[str]], Iterator[Compared]]) -> list[Hit]:
        """The page of the best: of the nearest, and of others once *compared*."""
        options, keep = self.options, self.options.keep
        end = options.offset + options.limit
        met = {hit.document_id for hit in self.nearest}
        self.numbers |= self.search.numbers([*met])
        best = {e.id: self._hit(e.document_id, e.id, e.cosine) for e in self.nearest}
        last = self._meaning(self.nearest[-1].cosine) if self.nearest else 0.0
        # Fewer nearest than that are all that pass the filters
        is_all = 0 < len(self.nearest) < max(NEAREST, end)
        for share, batch in () if is_all else self._batches():
            page = best_first(best.values(), end)
            if len(page) == end and page[-1].score > self._score(last, share, 0.0):
                break
            self.numbers |= batch
            others = [
                each
                for each in batch
                if (options.all_chunks or each not in met)
                and (keep is None or keep(each))
            ]
            best = {
                hit.id: hit for hit in (*page, *starmap(self._hit, compared(others)))
            }
        page = best_first(best.values(), end)[options.offset :]
        least = -math.inf if options.min_score is None else options.min_score
        chunks = stored_chunks(self.search.collection, [hit.id for hit in page])
        return [
            replace(hit, score=max(0.0, hit.score), chunk=chunks.get(hit.id))
            for hit in page
            if hit.score >= least
        ]

    def _batches(self) -> Iterator[tuple[float, dict[str, int]]]:
        """Documents and their numbers, best first, with the greatest share of each.

        First those of titles, which count more than their words.
        """
        yield math.inf, self.search.numbers([*self.titled])
        numbers = list(self.shares)
        for start in range(0, len(numbers), BATCH):
            batch = numbers[start : start + BATCH]
            yield self.shares[batch[0]], self.search.documents(batch)

    def _hit(self, document_id: str, item_id: str, cosine: float | None) -> Hit:
        meaning = self._meaning(cosine)
        words = self.shares.get(self.numbers.get(document_id, 0), 0.0)
        is_equal = self.titled.get(document_id)
        exact = {None: 0.0, False: TITLE_ENDING, True: EQUAL_TITLE}[is_equal]
        parts = {"exact": exact, "words": words, "meaning": item_id in self.near}
        matched = tuple(name for name, part in parts.items() if part)
        score = self._score(meaning, words, exact)
        return Hit(item_id, score, cosine=cosine, matched=matched)

    def _meaning(self, cosine: float | None) -> float:
        """How far *cosine* is from the average (0) to that of an equal vector (1)."""
        if cosine is None or self.average is None:
            return 0.0
        return (cosine - self.average) / (1 - self.average)

    def _score(self, meaning: float, words: float, exact: float) -> float:
        """The weighted sum, of the greatest that it could be."""
        most = WORDS + EQUAL_TITLE + (0 if self.average is None else MEANING)
        # Rounded, because equal vectors may differ in the last digit
        return round((MEANING * meaning + WORDS * words + exact) / most, 6)
