"""The items nearest to a vector or an item: ids and scores, a document's best chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.index.matrix import Hit, Keep, best_first
from datasette_embeddings.store.catalog import Collection
from datasette_embeddings.store.chunks import boilerplate as boilerplate_of_chunks
from datasette_embeddings.store.chunks import chunk_ids, stored_chunks
from datasette_embeddings.store.embeddings import stored_vector

if TYPE_CHECKING:
    from datasette_embeddings.vectors import Vector

# How many more chunks than documents are asked for, at first and again
MORE_CHUNKS = 4
# Characters of a limit that is given as text
LONGEST_LIMIT = 20
#: The best so many items, best first
Ranked: TypeAlias = Callable[[int], list[Hit]]


@dataclass(frozen=True)
class Options:
    """What a search may be told besides what to look for."""

    limit: int = DEFAULT_LIMIT
    #: How many of the best to leave out, for what comes after them
    offset: int = 0
    min_score: float | None = None
    #: The file is opened as one that nobody changes
    immutable: bool = False
    #: Every chunk is a match of its own, not only the best of each document
    all_chunks: bool = False
    #: Only items whose ids begin so
    prefix: str = ""
    #: Only these items, as :func:`selected_items` gives them
    among: frozenset[str] | None = None

    @property
    def wanted(self) -> int:
        """How many of the best are needed."""
        return self.offset + self.limit


def nearest_to_vector(
    collection: Collection,
    vector: Vector,
    *,
    options: Options = Options(),
) -> list[Hit]:
    """The items of *collection* closest to *vector*, best first."""
    index = indexes.index(collection.conn, collection.id, immutable=options.immutable)
    keep = _keep(options)

    def ranked(limit: int) -> list[Hit]:
        return index.nearest(vector, limit, keep=keep)

    return _hits(collection, ranked, options)


def nearest_to_item(
    collection: Collection,
    item_id: str,
    *,
    options: Options = Options(),
) -> list[Hit]:
    """The items of *collection* closest to one of its own, which is left out.

    The id may be that of a document: the score of another one is then that of the best
    pair of their chunks.  Chunks whose text several documents have are left out.

    :raises UnknownItemError: if the collection has no such item.
    """
    chunks = chunk_ids(collection, item_id)
    boilerplate = boilerplate_of_chunks(collection, chunks)
    ids = [each for each in chunks if each not in boilerplate] or [item_id]
    chunk = stored_chunks(collection, ids).get(ids[0])
    own = item_id if chunk is None else chunk.document_id
    vectors = [stored_vector(collection, each) for each in ids]
    index = indexes.index(collection.conn, collection.id, immutable=options.immutable)
    keep = _keep(options)

    def ranked(limit: int) -> list[Hit]:
        best: dict[str, Hit] = {}
        for each, vector in zip(ids, vectors, strict=True):
            # One more, as the chunk itself is left out
            for hit in index.nearest(vector, limit + 1, keep=keep):
                known = best.get(hit.id)
                if hit.id != each and (known is None or hit.score > known.score):
                    best[hit.id] = hit
        return best_first(best.values(), limit)

    return _hits(
        collection, ranked, options, without=own, compares_documents=bool(chunks)
    )


def _hits(
    collection: Collection,
    ranked: Ranked,
    options: Options,
    *,
    without: str | None = None,
    compares_documents: bool = False,
) -> list[Hit]:
    """The best items by *ranked*; in a chunked collection the best of each document.

    Where it *compares_documents*, without the text that several of them have.
    """
    least = -1 if options.min_score is None else options.min_score

    def best(limit: int) -> list[Hit]:
        return [hit for hit in ranked(limit) if hit.score >= least]

    if not collection.has_chunks:
        return best(options.wanted)[options.offset :]
    wanted = options.wanted * MORE_CHUNKS
    while True:
        items = best(wanted)
        chunks = stored_chunks(collection, [hit.id for hit in items])
        hits = [replace(hit, chunk=chunks.get(hit.id)) for hit in items]
        hits = [hit for hit in hits if hit.document_id != without]
        if compares_documents:
            boilerplate = boilerplate_of_chunks(collection, [hit.id for hit in hits])
            hits = [hit for hit in hits if hit.id not in boilerplate]
        if not options.all_chunks:
            hits = _best_of_each_document(hits)
        if len(hits) >= options.wanted or len(items) < wanted:
            return hits[options.offset : options.wanted]
        wanted *= MORE_CHUNKS


def _keep(options: Options) -> Keep | None:
    """Which items may be found, None for all."""
    prefix, among = options.prefix, options.among
    if among is None:
        return (lambda item_id: item_id.startswith(prefix)) if prefix else None
    if not prefix:
        return among.__contains__
    return frozenset(each for each in among if each.startswith(prefix)).__contains__


def _best_of_each_document(hits: Sequence[Hit]) -> list[Hit]:
    best: dict[str, Hit] = {}
    for hit in hits:
        best.setdefault(hit.document_id, hit)
    return list(best.values())


def index_state(collection: Collection, options: Options) -> tuple[bool, int]:
    """Whether each search reads *collection* from SQLite; how many items it leaves out.

    Left out are vectors of another length than most, zero, or not finite.
    """
    index = indexes.index(collection.conn, collection.id, immutable=options.immutable)
    return index.is_scanned, index.skipped


def checked_query(text: str, *, max_length: int | None = None) -> str:
    """*text*, if it asks something and no more than *max_length* characters.

    :raises InvalidInputError: if it does not.
    """
    if not text.strip():
        raise InvalidInputError("Expected a text to search for, found an empty one")
    if max_length is not None and len(text) > max_length:
        raise InvalidInputError(
            f"Expected a text of at most {max_length:,} characters, found {len(text):,}"
        )
    return text


def checked_limit(limit: object, *, max_limit: int | None = None) -> int:
    """*limit* as a whole number from 1.

    :raises InvalidInputError: if it is not one, or above *max_limit*.
    """
    number = 0
    if isinstance(limit, int) or (
        isinstance(limit, str) and len(limit) <= LONGEST_LIMIT
    ):
        with suppress(ValueError):
            number = int(str(limit))
    top = "" if max_limit is None else f" to {max_limit}"
    if number < 1 or (max_limit is not None and number > max_limit):
        raise InvalidInputError(
            f"Expected a limit, a whole number from 1{top}; found {quoted(limit)}"
        )
    return number
