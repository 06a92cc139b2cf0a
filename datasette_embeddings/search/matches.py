"""Search results: hits with the title, the content and the metadata of their items."""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from datasette_embeddings.chunking import chunk_id
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.snippets import Piece, excerpt
from datasette_embeddings.sources.definitions import (
    FolderSource,
    Source,
    SourceState,
    TableSource,
)
from datasette_embeddings.sources.links import link
from datasette_embeddings.sources.table_rows import SourceRow, image_of_row, source_rows
from datasette_embeddings.store.chunks import StoredChunk, stored_documents
from datasette_embeddings.store.cluster_names import named_clusters
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.items import StoredItem
from datasette_embeddings.store.origins import owners

#: Between the title of a document and the headings above a chunk
HEADINGS_BETWEEN = " \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} "


@dataclass(frozen=True, kw_only=True)
class Match:
    """A search result: an item, its *score*, title and content.

    The score of a search by words and meaning is what the ranking gives it of the most
    that it could give, 0 to 1; that of a search by meaning is the cosine, -1 to 1.

    *content* is None if it is not stored and cannot be read from the source row.
    *stale* is true if the row was changed or deleted after it was embedded. Its new
    text does not belong to the score, so title and content are then the stored ones or
    None. *stale* is None if the present content of the source is not known.
    """

    id: str
    score: float
    #: The document that it is a chunk of, or its own id
    document_id: str
    #: The cosine similarity, None where the search went by words alone
    cosine: float | None = None
    #: What it was found by: "exact" (its title), "words", "meaning"
    matched: tuple[str, ...] = ()
    #: That of its document; for a chunk, joined with the *headings*
    title: str | None = None
    #: For a chunk: the headings of the document that are open where it starts
    headings: tuple[str, ...] = ()
    content: str | None = None
    metadata: Mapping[str, object] | None = None
    #: For a chunk: where its content is in the document, in characters
    start: int | None = None
    end: int | None = None
    #: It came from a row of a table, which is still there
    has_row: bool = False
    #: It stands for an image, which is stored or in its row
    has_image: bool = False
    stale: bool | None = None
    #: The source that a sync reads it from
    source: Source | None = None
    #: Its address on the owner's site, http(s): or from "/", as its source's url says
    url: str | None = None
    #: What the reranker gave it: the higher, the better
    rerank_score: float | None = None
    #: The number and the name of the cluster of its document, if it is in one
    cluster: int | None = None
    cluster_name: str | None = None

    @property
    def text(self) -> str:
        """Title and content, as far as they are known."""
        content, title = self.content or "", self.title or ""
        return content if content.startswith(title) else f"{title}\n{content}"

    @property
    def row_is_missing(self) -> bool:
        """Whether it came from a table that no longer has its row."""
        return isinstance(self.source, TableSource) and not self.has_row

    def snippet(self, length: int) -> str:
        """The beginning of the content after the title, on one line, cut at a word."""
        return "".join(piece.text for piece in self.excerpt(None, length))

    def excerpt(self, query: str | None, length: int) -> list[Piece]:
        """The part of the content after the title that has most words of *query*."""
        content, title = self.content or "", self.title or ""
        rest = content.removeprefix(title)
        # The first sentence of a file may begin with its title
        ends = "\n" if isinstance(self.source, FolderSource) else " \t\r\n"
        if not rest or rest[0] in ends:
            content = rest
        return excerpt(content, query, length)


def matches(collection: StoredCollection, hits: Sequence[Hit]) -> list[Match]:
    """*hits* with title, content and metadata, from the store or the source row."""
    items = collection.items([hit.id for hit in hits])
    sources = sources_of(collection, {hit.document_id for hit in hits})
    rows, deleted = _source_rows(collection, sources)
    # Documents that are stored as chunks are no items
    chunked = [hit.id for hit in hits if hit.id not in items]
    documents = stored_documents(collection, chunked) if chunked else {}
    found = []
    for hit in hits:
        item = items.get(hit.id) or StoredItem(hit.id, None, None)
        chunk = hit.chunk or documents.get(hit.id)
        embedded = item.content_hash if chunk is None else chunk.document_hash
        row = rows.get(hit.document_id)
        stale = True if hit.document_id in deleted else None
        if row is not None and None not in (row.content_hash, embedded):
            stale = row.content_hash != embedded
            stale = stale or (chunk is not None and chunk.has_other_title(row.title))
        source = sources.get(hit.document_id)
        found.append(_match(hit, item, chunk, source, row, stale))
    if collection.has_clusters:
        found = _with_clusters(collection, found)
    has_links = any(each.source.url for each in collection.sources)
    return _with_addresses(collection, found, rows) if has_links else found


def _match(
    hit: Hit,
    item: StoredItem,
    chunk: StoredChunk | None,
    source: Source | None,
    row: SourceRow | None,
    stale: bool | None,
) -> Match:
    """*hit* with what is known of its item, and of its row unless that is *stale*.

    *chunk* is that of the hit, or the first one of the document that the hit is.
    """
    current = SourceRow(None, None) if stale or row is None else row
    start, end = (hit.chunk.start, hit.chunk.end) if hit.chunk else (None, None)
    content = item.content
    if content is None and current.content is not None:
        content = current.content[start:end]
    is_row = isinstance(source, TableSource)
    title = current.title if is_row else _stored_title(item, chunk)
    headings = hit.chunk.headings if hit.chunk and not stale else ()
    is_binary = source is not None and source.binary
    return Match(
        id=hit.id,
        score=hit.score,
        document_id=hit.document_id,
        cosine=hit.cosine,
        matched=hit.matched,
        title=_joined(title, headings) if headings else title or None,
        headings=headings,
        content=content,
        metadata=item.metadata,
        start=start,
        end=end,
        has_row=row is not None,
        has_image=current.has_image or (item.has_image and not is_binary),
        stale=stale,
        source=source,
    )


def _with_clusters(collection: StoredCollection, found: list[Match]) -> list[Match]:
    """*found* with the clusters of their documents."""
    known = named_clusters(collection, [each.document_id for each in found])
    named = [known.get(each.document_id, (None, None)) for each in found]
    return [
        replace(match, cluster=number, cluster_name=name)
        for match, (number, name) in zip(found, named, strict=True)
    ]


def _with_addresses(
    collection: StoredCollection,
    found: Sequence[Match],
    rows: Mapping[str, SourceRow | None],
) -> list[Match]:
    """*found* with the addresses that the rules of their sources give them."""
    # A document in chunks is no item, but its chunks have its metadata
    chunked = [e.id for e in found if e.metadata is None and collection.has_chunks]
    first = collection.items([chunk_id(each, 0) for each in chunked])
    piped = [each for each in collection.sources if each.state is SourceState.PIPED]
    linked = []
    for match in found:
        # Of those whose prefix it has, the last has the longest
        pipes = [e.source for e in piped if match.document_id.startswith(e.prefix)]
        source = match.source or (pipes[-1] if pipes else None)
        item, row = first.get(chunk_id(match.id, 0)), rows.get(match.document_id)
        metadata = match.metadata or (item and item.metadata)
        # Of a chunk, it may be the title with the headings
        title = None if match.headings else match.title
        values = {"title": title, **(metadata or {})}
        if row is not None:
            values |= {"title": row.title, **row.linked}
        if source is not None and not match.row_is_missing:
            match = replace(match, url=link(source, match.document_id, values))
        linked.append(match)
    return linked


def _stored_title(item: StoredItem, chunk: StoredChunk | None) -> str | None:
    """The title of an item that is no row of a table: of its metadata, or a chunk."""
    title = (item.metadata or {}).get("title")
    if isinstance(title, str) and title.strip():
        return title
    return None if chunk is None else chunk.title


def _joined(title: str | None, headings: tuple[str, ...]) -> str | None:
    """*title* and the *headings* below it; the first heading may repeat the title."""
    if title and headings[0].casefold() == title.strip().casefold():
        headings = headings[1:]
    return HEADINGS_BETWEEN.join([*([title] if title else ()), *headings]) or None


def sources_of(
    collection: StoredCollection, document_ids: Iterable[str]
) -> dict[str, Source]:
    """The current source of each of *document_ids* that has the prefix of one.

    Where several prefixes fit, it is the source that brought the document, or the one
    with the longest prefix if none of them did.
    """
    # In the order of their prefixes, a longer one comes after its own beginning
    by_prefix = collection.current_sources[::-1]
    candidates = {
        document_id: [each for each in by_prefix if document_id.startswith(each.prefix)]
        for document_id in document_ids
    }
    unclear = [each for each, some in candidates.items() if len(some) > 1]
    owner = owners(collection, unclear) if unclear else {}
    return {
        document_id: next(
            (each for each in some if each.id == owner.get(document_id)), some[0]
        ).source
        for document_id, some in candidates.items()
        if some
    }


def _source_rows(
    collection: StoredCollection, sources: Mapping[str, Source]
) -> tuple[dict[str, SourceRow | None], Container[str]]:
    """The row of each document of a table, or None; and those whose row was deleted."""
    tables: dict[TableSource, list[str]] = {}
    for document_id, source in sources.items():
        if isinstance(source, TableSource):
            tables.setdefault(source, []).append(document_id)
    rows: dict[str, SourceRow | None] = {}
    for table, document_ids in tables.items():
        # The table or one of its columns may be missing; the vectors still answer
        with suppress(sqlite3.OperationalError):
            found = source_rows(collection.conn, table, document_ids)
            rows |= {each: found.get(each) for each in document_ids}
    missing = [each for each, row in rows.items() if row is None]
    # An item of no source never had a row
    return rows, owners(collection, missing) if missing else ()


def item_image(collection: StoredCollection, item_id: str) -> bytes | None:
    """The bytes of an item's image, stored or in its source row; None without one."""
    image = collection.image(item_id)
    source = sources_of(collection, [item_id]).get(item_id)
    if image is None and isinstance(source, TableSource):
        # The table or the column may be missing
        with suppress(sqlite3.OperationalError):
            image = image_of_row(collection.conn, source, item_id)
    return image


def has_images(collection: StoredCollection) -> bool:
    """Whether *collection* is one of images, by its sources and its first items."""
    sources = [each.source for each in collection.current_sources]
    if any(each.images for each in sources):
        return True
    return not any(e.binary for e in sources) and collection.has_stored_images()
