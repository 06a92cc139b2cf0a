"""The items nearest to a vector or to an item, and the best chunk of each document."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.index.cache import Index, indexes
from datasette_embeddings.index.matrix import Hit, Keep, best_first
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.sources.table_rows import Selection, selected_ids
from datasette_embeddings.store import chunks
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.vectors import Vector

# How many more chunks than documents a search asks for, at first and again
MORE_CHUNKS = 4


@dataclass(frozen=True)
class Options:
    """Search options: the page of results, a threshold and filters."""

    limit: int = DEFAULT_LIMIT
    #: How many of the best results to skip
    offset: int = 0
    min_score: float | None = None
    #: Every chunk is a result of its own, not only the best of each document
    all_chunks: bool = False
    #: Only items whose ids begin with it
    prefix: str = ""
    #: Only these items, as :func:`selected_items` returns them
    among: frozenset[str] | None = None

    @property
    def keep(self) -> Keep | None:
        """Whether an item passes the filters, by its id; None without filters."""
        prefix, among = self.prefix, self.among
        if among is None:
            return (lambda item_id: item_id.startswith(prefix)) if prefix else None
        return frozenset(each for each in among if each.startswith(prefix)).__contains__


def nearest_to_vector(
    collection: Collection,
    vector: Vector,
    *,
    options: Options = Options(),
    index: Index | None = None,
) -> list[Hit]:
    """The items of *collection* closest to *vector*, best first.

    *index* is that of the collection, where the caller has it already.
    """
    index = index or indexes.index(collection)
    ranking = partial(index.nearest, vector, keep=options.keep)
    return _page(collection, ranking, options)


def nearest_to_item(
    collection: Collection,
    item_id: str,
    *,
    options: Options = Options(),
    index: Index | None = None,
) -> list[Hit]:
    """The items of *collection* closest to one of its own, which is left out.

    With the id of a document, the score of another one is that of the best pair of
    their chunks, without chunks whose text several documents have.
    """
    own_chunks = chunks.chunk_ids(collection, item_id)
    shared = chunks.boilerplate(collection, own_chunks)
    ids = [each for each in own_chunks if each not in shared] or [item_id]
    chunk = chunks.stored_chunks(collection, ids).get(ids[0])
    document_id = item_id if chunk is None else chunk.document_id
    vectors = {each: collection.vector(each) for each in ids}
    nearest = partial((index or indexes.index(collection)).nearest, keep=options.keep)

    def ranking(limit: int) -> list[Hit]:
        best: dict[str, Hit] = {}
        for own_id, vector in vectors.items():
            # One more, because the item itself is among them
            for hit in nearest(vector, limit + 1):
                known = best.get(hit.id)
                if hit.id != own_id and (known is None or hit.score > known.score):
                    best[hit.id] = hit
        return best_first(best.values(), limit)

    def accept(hits: list[Hit]) -> list[Hit]:
        hits = [hit for hit in hits if hit.document_id != document_id]
        ids = [hit.id for hit in hits] if own_chunks else []
        shared = chunks.boilerplate(collection, ids)
        return [hit for hit in hits if hit.id not in shared]

    return _page(collection, ranking, options, accept)


def _page(
    collection: Collection,
    ranking: Callable[[int], list[Hit]],
    options: Options,
    accept: Callable[[list[Hit]], list[Hit]] = list,
) -> list[Hit]:
    """The page of *ranking* that *options* ask for.

    In a chunked collection: the best chunk of each document, of those that *accept*
    returns.
    """
    end = options.offset + options.limit
    least = -1 if options.min_score is None else options.min_score
    if not collection.has_chunks:
        best = [hit for hit in ranking(end) if hit.score >= least]
        return best[options.offset :]
    limit = end * MORE_CHUNKS
    while True:
        best = [hit for hit in ranking(limit) if hit.score >= least]
        stored = chunks.stored_chunks(collection, [hit.id for hit in best])
        hits = accept([replace(hit, chunk=stored.get(hit.id)) for hit in best])
        if not options.all_chunks:
            of_document: dict[str, Hit] = {}
            for hit in hits:
                of_document.setdefault(hit.document_id, hit)
            hits = list(of_document.values())
        if len(hits) >= end or len(best) < limit:
            return hits[options.offset : end]
        limit *= MORE_CHUNKS


def selected_items(collection: Collection, selection: Selection) -> frozenset[str]:
    """Ids of items whose source rows match *selection*, and of rows without an item."""
    documents = selected_ids(collection.conn, source_table(collection), selection)
    return frozenset(documents | chunks.chunks_of_documents(collection, documents))


def source_table(collection: Collection) -> TableSource:
    """The table whose rows *collection* holds, its only source."""
    if not isinstance(collection.source, TableSource):
        raise InvalidInputError(
            "Filters and facets need a source table, and the collection "
            f"{collection.name!r} was not made from one"
        )
    return collection.source


def checked_query(text: str, *, max_length: int | None = None) -> str:
    """*text*, if it is not blank and has at most *max_length* characters."""
    if not text.strip():
        raise InvalidInputError("Expected a text to search for, found an empty one")
    if max_length is not None and len(text) > max_length:
        raise InvalidInputError(
            f"Expected a text of at most {max_length:,} characters, found {len(text):,}"
        )
    return text


def checked_limit(limit: object) -> int:
    """*limit*, a number or its text, as a whole number from 1."""
    # The text of a BLOB would be four times as large
    text = str(limit) if isinstance(limit, int | str) else ""
    if not re.fullmatch("0*[1-9][0-9]{,17}", text):
        raise InvalidInputError(
            f"Expected a limit, a whole number from 1; found {quoted(limit)}"
        )
    return int(text)
