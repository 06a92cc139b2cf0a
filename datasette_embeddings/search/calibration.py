"""From which closeness on an answer is about the question, by questions of both sorts.

The threshold is in the middle of those that flag enough of the questions off topic and
hardly a real one, so that there is room on both sides for questions of another make.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datasette_embeddings.index.cache import indexes
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.search.nearest import Options, checked_query
from datasette_embeddings.search.text_search import query_of, rank
from datasette_embeddings.store.collections import StoredCollection

#: In percent: the questions off topic that a threshold must flag, and the real ones
#: that it may
LEAST_OFF_TOPIC, MOST_REAL = 80, 3
#: Questions of each sort; of fewer, the shares are chance
FEWEST_QUESTIONS = 20
# Of an answer in which nothing is, for example to a phrase that no document has
NOTHING = -1.0


@dataclass(frozen=True)
class Calibration:
    """The closeness of the answers to questions off topic, and to real ones."""

    off_topic: Sequence[float]
    real: Sequence[float]

    @property
    def bounds(self) -> tuple[float, float]:
        """Above the first, enough are flagged; up to the second, few real ones are."""
        far, near = sorted(self.off_topic), sorted(self.real)
        enough = -(-LEAST_OFF_TOPIC * len(far) // 100)
        return far[enough - 1], near[MOST_REAL * len(near) // 100]

    @property
    def threshold(self) -> float | None:
        """From which closeness on an answer is close; None if none tells them apart."""
        low, high = self.bounds
        return (low + high) / 2 if low < high else None

    def flagged(self) -> tuple[int, int]:
        """How many questions off topic and how many real ones the threshold flags.

        Without one, where just enough of the questions off topic are flagged.
        """
        low, high = self.bounds
        # What is flagged lies at or below it: up to the next, the counts are the same
        most = (low + high) / 2 if low < high else low
        off_topic = sum(each <= most for each in self.off_topic)
        return off_topic, sum(each <= most for each in self.real)


def closeness_of(
    collection: StoredCollection, text: str, model: EmbeddingModel
) -> float:
    """How close the answer of *collection* is to *text*, by words and meaning."""
    options = Options(limit=1)
    query = query_of(collection, checked_query(text), options)
    vector, index = model.embed_query(query.text), indexes.index(collection)
    found = rank(collection, query, vector, options=options, index=index)
    return NOTHING if found.closeness is None else found.closeness
