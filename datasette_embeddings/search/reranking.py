"""A second opinion: a cross-encoder orders the best matches of a search again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from datasette_embeddings.models.cross_encoder import CrossEncoder
from datasette_embeddings.search.nearest import Options

# How many of the best matches it reads
CANDIDATES = 50
TIME_IS_OVER = "The time limit of the reranker was over"


@dataclass(frozen=True)
class Reranking:
    """The order of the matches, by their positions before, and the scores behind it.

    *model_id* is None where the order stayed as it was, for the *reason*.
    """

    order: Sequence[int]
    scores: Mapping[int, float] = field(default_factory=dict)
    model_id: str | None = None
    reason: str | None = None


def widened(options: Options) -> Options:
    """*options* of the search that finds all matches a reranker reads, and the page."""
    end = options.offset + options.limit
    return replace(options, limit=max(CANDIDATES, end), offset=0)


def rerank(
    query: str, texts: Sequence[str], model: CrossEncoder, *, deadline: float
) -> Reranking:
    """The first of *texts* by their scores for *query*, then the others as they were.

    Blank ones keep their places. The order stays as it was if the *deadline*, on the
    monotonic clock, passes before all scores are known.

    :raises ModelError: if *model* fails.
    """
    unchanged = range(len(texts))
    places = [place for place in unchanged[:CANDIDATES] if texts[place].strip()]
    scores: dict[int, float] = {}
    batches = model.scores(query, [texts[place] for place in places])
    while len(scores) < len(places):
        if time.monotonic() >= deadline:
            return Reranking(unchanged, reason=TIME_IS_OVER)
        scores |= {places[n]: score for n, score in next(batches).items()}
    order = [*unchanged]
    # Stable: those with the same score keep their order
    best_first = sorted(places, key=lambda place: -scores[place])
    for place, best in zip(places, best_first, strict=True):
        order[place] = best
    return Reranking(order, scores, model.model_id)
