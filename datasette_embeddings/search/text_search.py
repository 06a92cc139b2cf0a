"""Search by a text: what the visitor typed, to the best hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from datasette_embeddings.config import DEFAULT_MODEL, Mode
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.index.cache import Index
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.nearest import Options, nearest_to_vector
from datasette_embeddings.search.query import Query
from datasette_embeddings.search.ranking import Ranking
from datasette_embeddings.search.words import WordSearch
from datasette_embeddings.store.chunks import chunks_of_documents, stored_chunks
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.vectors import Vector

# The lowest closeness of an answer, by model: what is below is about something else.
# That of a collection, which evaluate --calibrate stores, comes before it.
# benchmarks/README.md, "What is close", says how it was found
LEAST_CLOSENESS = {DEFAULT_MODEL: 0.48}
# With fewer documents, too little has been seen to say what is close
FEWEST_DOCUMENTS = 50


@dataclass(frozen=True)
class TextHits:
    """The best hits of a query, by what they were ranked, and how it was understood."""

    hits: Sequence[Hit]
    mode: Mode
    #: The query with other spelling, by which words were looked for
    corrected: str | None = None
    #: Whether one of them is close to the query; None where that is not known: of a
    #: model that is not calibrated, of few documents, of a search that is not by both
    close: bool | None = None
    #: The best cosine and half of the best share of words; None without one of them
    closeness: float | None = None


def mode_of(collection: StoredCollection, mode: Mode) -> Mode:
    """*mode*, as far as the words of *collection* are indexed."""
    if collection.has_words or mode == "meaning":
        return mode
    if mode == "words":
        raise InvalidInputError(
            f"The words of {collection.name!r} are not indexed, so it can be searched "
            "by meaning only. sync indexes them, or embed --words where --no-words "
            "left them out"
        )
    return "meaning"


def query_of(collection: StoredCollection, text: str, options: Options) -> Query:
    """*text* as it is read: word for word where only its meaning counts."""
    if mode_of(collection, options.mode) == "meaning":
        return Query(text, text)
    return Query.read(text)


def rank(
    collection: StoredCollection,
    query: Query,
    vector: Vector | None,
    *,
    options: Options,
    index: Index | None,
) -> TextHits:
    """The items of *collection* that are best for *query*, whose vector is *vector*.

    The *vector* and the *index* of the others are None to rank by words alone.
    """
    mode = mode_of(collection, options.mode)
    if mode == "meaning":
        assert vector is not None
        hits = nearest_to_vector(collection, vector, options=options, index=index)
        return TextHits(hits, mode)
    close, closeness = None, None
    search = WordSearch(collection)
    found = search.matches(
        query, as_typed=options.as_typed, is_typing=options.is_typing
    )
    if query.phrases or query.without:
        options = _restricted(search, query, options)
    titled = search.titled(found.corrected or query.text)
    ranking = Ranking(search, found.shares, titled, options)
    if mode == "words":
        if options.min_cosine is not None:
            raise InvalidInputError(
                "A search by words alone compares no vectors, so its matches have no "
                "cosine; leave out the lowest cosine, or search by both"
            )
        hits = ranking.by_words()
    else:
        assert vector is not None
        assert index is not None
        hits, closeness = ranking.by_both(vector, index)
        if collection.has_chunks:
            chunks = stored_chunks(collection, [hit.id for hit in hits])
            hits = [replace(hit, chunk=chunks.get(hit.id)) for hit in hits]
        least = collection.closeness
        if least is None:
            least = LEAST_CLOSENESS.get(collection.model_id)
        is_known = found.shares.total >= FEWEST_DOCUMENTS
        if is_known and closeness is not None and least is not None:
            close = closeness >= least
    return TextHits(hits, mode, found.corrected, close, closeness)


def _restricted(search: WordSearch, query: Query, options: Options) -> Options:
    """*options* for what has the phrases of *query* and no excluded word."""
    collection = search.collection
    having, excluded = search.having(query), search.excluded(query)
    if having is not None:
        having |= chunks_of_documents(collection, having)
        among = having if options.among is None else having & options.among
        options = replace(options, among=frozenset(among))
    if excluded:
        excluded |= chunks_of_documents(collection, excluded)
    return replace(options, without=options.without | excluded)
