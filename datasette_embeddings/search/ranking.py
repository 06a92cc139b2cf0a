"""One ranking by meaning, words and exact names.

    score = (3/4 · meaning + 1/4 · words + exact) / 1.2

*meaning* is how far the cosine is from the collection's average (0) to that of an equal
vector (1), so that models whose cosines are all high rank as well.  The cosine of a
chunk counts 0.7, the mean of its document's chunks 0.3: one alone forgets what the
document is about.  *words* is BM25 as a share of the best for the query (``words.py``)
plus 0.3 · min(share, 1 - share): a document with every word has about half, and more of
the same says less.  *exact* is 0.2 for a title that equals the query, 0.1 for one that
ends with it.  ``benchmarks/ranking.py`` chose the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

from datasette_embeddings.index.cache import Index
from datasette_embeddings.index.matrix import Hit, best_first
from datasette_embeddings.search.nearest import Options, cosines_of, nearest_to_vector
from datasette_embeddings.search.words import WordSearch
from datasette_embeddings.store.chunks import existing_documents, stored_chunks
from datasette_embeddings.vectors import Vector, normalize

MEANING, WORDS, EQUAL_TITLE, TITLE_ENDING = 0.75, 0.25, 0.2, 0.1
OWN, OF_DOCUMENT = 0.7, 0.3
BENT = 0.3
# The nearest by meaning, which count as found by it
NEAREST = 100
# Documents beyond these whose vectors a search reads, those with the best words
MOST_READ = 400

#: Document, item, its cosine, and the mean of the document's; None without vectors
Compared: TypeAlias = tuple[str, str, "float | None", float]


@dataclass
class Ranking:
    """The documents that have words of a query, or a title that ends with it."""

    search: WordSearch
    #: By the number of a document in the words index, best first
    shares: Mapping[int, float]
    #: Whether the title equals the query
    titled: Mapping[str, bool]
    options: Options
    #: By meaning, whether they are all that pass the filters, and which count as near
    nearest: Sequence[Hit] = ()
    is_all: bool = False
    near: frozenset[str] = frozenset()
    #: The average cosine; None to rank without meaning
    average: float | None = None
    #: The numbers of documents in the words index, as far as they are known
    numbers: dict[str, int] = field(default_factory=dict)

    def by_words(self) -> list[Hit]:
        """The best by words and exact names; no vector is read."""

        def compared(documents: list[str]) -> Iterator[Compared]:
            for each in existing_documents(self.search.collection, documents):
                yield each, each, None, 0.0

        return self._page(compared)

    def by_both(self, vector: Vector, index: Index) -> tuple[list[Hit], float | None]:
        """The best by meaning, words and exact names, and the highest cosine of all.

        The vector of a document beyond the nearest is read only if its words could
        outweigh that it is no nearer than the last of those.
        """
        options, collection = self.options, self.search.collection
        query = normalize(vector)
        compared = partial(
            cosines_of, collection, vector=query, options=options, index=index
        )
        depth = max(NEAREST, options.offset + options.limit)
        while True:
            asked = replace(options, limit=depth, offset=0, min_score=None)
            nearest = nearest_to_vector(collection, vector, options=asked, index=index)
            if not nearest:
                return [], None
            near = frozenset(hit.id for hit in nearest[:NEAREST])
            ranking = replace(self, nearest=nearest, near=near)
            ranking.average = float(index.mean @ query)
            ranking.is_all = len(nearest) < depth
            hits = ranking._page(compared)
            last = ranking._score(ranking._meaning(nearest[-1].score), 0.0, 0.0)
            is_full = len(hits) == options.limit
            least = hits[-1].score if is_full else options.min_score or 0.0
            if ranking.is_all or last <= least:
                return hits, nearest[0].score
            # Chunks whose documents are about something else have fallen below others
            depth *= 4

    def _page(self, compared: Callable[[list[str]], Iterator[Compared]]) -> list[Hit]:
        """The page of the best: of the nearest, and of others once *compared*."""
        options, keep = self.options, self.options.keep
        end = options.offset + options.limit
        met = {hit.document_id for hit in self.nearest}
        self.numbers |= self.search.numbers([*met])
        best = {hit.id: hit for hit in map(self._hit, compared([*met]))}
        last = self._meaning(self.nearest[-1].score) if self.nearest else 0.0
        left, batches = MOST_READ, self.search.batches(self.shares, self.titled)
        for share, batch in () if self.is_all else batches:
            page = best_first(best.values(), end)
            most = self._score(last, share or 0.0, 0.0)
            is_full = share is not None and len(page) == end
            if is_full and (left <= 0 or page[-1].score > most):
                break
            self.numbers |= batch
            others = [each for each in batch if options.all_chunks or each not in met]
            others = others if keep is None else [*filter(keep, others)]
            left -= len(others)
            best = {e.id: e for e in (*page, *map(self._hit, compared(others)))}
        page = best_first(best.values(), end)[options.offset :]
        least = -math.inf if options.min_score is None else options.min_score
        chunks = stored_chunks(self.search.collection, [hit.id for hit in page])
        return [
            replace(hit, score=max(0.0, hit.score), chunk=chunks.get(hit.id))
            for hit in page
            if hit.score >= least
        ]

    def _hit(self, compared: Compared) -> Hit:
        document_id, item_id, cosine, mean = compared
        near = OWN * (cosine or 0.0) + OF_DOCUMENT * mean
        meaning = 0.0 if cosine is None else self._meaning(near)
        words = self.shares.get(self.numbers.get(document_id, 0), 0.0)
        is_equal = self.titled.get(document_id)
        exact = {None: 0.0, False: TITLE_ENDING, True: EQUAL_TITLE}[is_equal]
        parts = {"exact": exact, "words": words, "meaning": item_id in self.near}
        matched = tuple(name for name, part in parts.items() if part)
        score = self._score(meaning, words, exact)
        return Hit(item_id, score, cosine=cosine, matched=matched)

    def _meaning(self, cosine: float) -> float:
        """How far *cosine* is from the average (0) to that of an equal vector (1)."""
        assert self.average is not None
        return (cosine - self.average) / (1 - self.average)

    def _score(self, meaning: float, words: float, exact: float) -> float:
        """The weighted sum, of the greatest that it could be; *words* is the share."""
        most = WORDS + EQUAL_TITLE + (self.average is not None) * MEANING
        # Rounded, because equal vectors may differ in the last digit
        words += BENT * min(words, 1 - words)
        return round((MEANING * meaning + WORDS * words + exact) / most, 6)
