"""Searches by a text, a vector or an item, to the matches that a caller shows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import overload

from datasette_embeddings.config import Mode
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.models.cross_encoder import CrossEncoder
from datasette_embeddings.search.matches import Match, matches
from datasette_embeddings.search.nearest import (
    Options,
    checked_query,
    nearest_to_item,
    nearest_to_vector,
)
from datasette_embeddings.search.reranking import Reranking, rerank, widened
from datasette_embeddings.search.selecting import in_order
from datasette_embeddings.search.text_search import query_of, rank
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.vectors import Vector


def search_text(
    collection: StoredCollection,
    text: str,
    *,
    model: EmbeddingModel | None,
    options: Options = Options(),
) -> list[Match]:
    """The items of *collection* that are best for *text*, best first.

    By its words and meaning, or by what *options* say; words alone need no *model*.

    :raises InvalidInputError: if *text* is blank.
    :raises ModelMismatchError: if the vectors of *collection* are of another model.
    :raises ModelSettingsMismatchError: if they were made with other settings of it.
    """
    return answer_text(collection, text, model=model, options=options).matches


@dataclass(frozen=True)
class Answer(Sequence[Match]):
    """The matches of a query, as a sequence, and how it was understood."""

    matches: list[Match]
    mode: Mode
    #: The text with other spelling, by which words were looked for
    corrected: str | None = None
    #: Whether a match is close to the text; None where that is not known of the model
    close: bool | None = None
    #: The cross-encoder that ordered the best matches
    reranked: str | None = None
    #: Why the one of the options did not
    not_reranked: str | None = None

    def __len__(self) -> int:
        return len(self.matches)

    @overload
    def __getitem__(self, place: int) -> Match: ...

    @overload
    def __getitem__(self, place: slice) -> list[Match]: ...

    def __getitem__(self, place: int | slice) -> Match | list[Match]:
        return self.matches[place]


def answer_text(
    collection: StoredCollection,
    text: str,
    *,
    model: EmbeddingModel | None,
    options: Options = Options(),
) -> Answer:
    """As :func:`search_text`, with what a page tells about the answer."""
    query = query_of(collection, checked_query(text), options)
    vector, index = None, None
    if options.mode != "words":
        if model is None:
            raise InvalidInputError("Expected a model, as mode is not 'words'")
        collection.check_settings(model.settings)
        vector, index = model.embed_query(query.text), indexes.index(collection)
    wanted = options if options.rerank is None else widened(options)
    found = rank(collection, query, vector, options=wanted, index=index)
    best = matches(collection, found.hits)
    if options.rerank is None:
        best = in_order(collection, best, options.sort, options.sort_desc)
        return Answer(best, found.mode, found.corrected, found.close)
    deadline = time.monotonic() + options.rerank_time_limit_ms / 1000
    best, how = reranked(query.text, best, options.rerank, deadline=deadline)
    best = best[options.offset : options.offset + options.limit]
    return Answer(
        in_order(collection, best, options.sort, options.sort_desc),
        found.mode,
        found.corrected,
        found.close,
        reranked=how.model_id,
        not_reranked=how.reason,
    )


def reranked(
    query: str, found: Sequence[Match], model: CrossEncoder, *, deadline: float
) -> tuple[list[Match], Reranking]:
    """*found* in the order of *model*, each with its score, and how that was done."""
    how = rerank(query, [each.text for each in found], model, deadline=deadline)
    best_first = [
        replace(found[place], rerank_score=how.scores.get(place)) for place in how.order
    ]
    return best_first, how


def search_vector(
    collection: StoredCollection, vector: Vector, *, options: Options = Options()
) -> list[Match]:
    """The items of *collection* closest to *vector*, best first.

    :raises DimensionMismatchError: if *vector* is not as long as those of the items.
    """
    found = matches(collection, nearest_to_vector(collection, vector, options=options))
    return in_order(collection, found, options.sort, options.sort_desc)


def similar_items(
    collection: StoredCollection, item_id: str, *, options: Options = Options()
) -> list[Match]:
    """The items of *collection* closest to one of its own, which is left out.

    :raises UnknownItemError: if the collection has no such item.
    """
    found = matches(collection, nearest_to_item(collection, item_id, options=options))
    return in_order(collection, found, options.sort, options.sort_desc)
