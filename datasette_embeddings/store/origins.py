"""Which source brought which item: a row of ``_embedding_origins`` says so.

It is written in the transaction that writes the item, and is valid while the item has
the same content hash and ``updated``: llm, and any other program that writes to
``embeddings``, changes one of the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datasette_embeddings.documents import AUTO_CHUNKS
from datasette_embeddings.sources.definitions import (
    Source,
    SourceState,
    TableSource,
    UnreadableSource,
)
from datasette_embeddings.store.chunks import of_documents
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.schema import OLD_SOURCE_ID, listed

NO_OWNER = "null"


def owner_sql(collection: StoredCollection) -> str:
    """SQL for the id of the source that brought a row of ``embeddings``, or null.

    0.2a0 stored only the one source of a collection.  It is taken as the origin of
    every item with its prefix that is no newer than its last complete run, unless 0.2a0
    stored that others brought items too.
    """
    ids = [each.id for each in collection.sources]
    if ids == [OLD_SOURCE_ID]:
        return _old_owner(collection)
    if not ids or not collection.columns["_embedding_origins"]:
        return NO_OWNER
    return f"""
        (
          select source_id
          from _embedding_origins as origin
          where origin.collection_id = embeddings.collection_id
          and origin.id = embeddings.id
          and origin.content_hash is embeddings.content_hash
          and origin.updated is embeddings.updated
          and source_id in ({listed(ids)})
        )
    """


def _old_owner(collection: StoredCollection) -> str:
    (source,) = collection.sources
    if source.state is not SourceState.CURRENT or not source.synced:
        return NO_OWNER
    # As a BLOB, because SQL cannot write every character of a text
    prefix = f"cast(x'{source.prefix.encode().hex()}' as text)"
    return f"""
        case
          when substr(embeddings.id, 1, length({prefix})) = {prefix}
          and embeddings.updated <= {int(source.synced)}
            then {OLD_SOURCE_ID}
        end
    """


@dataclass(frozen=True)
class Ownership:
    """How the staged source relates to the sources of a collection."""

    #: SQL for the id of the source that brought a row of ``embeddings``, or null
    owner: str = NO_OWNER
    #: Its own id; None for a pipe, and for a source that has not brought anything yet
    source_id: int | None = None
    #: The ids of those that it replaces
    replaced: tuple[int, ...] = ()
    #: The ids of all these whose documents were split differently, had captions of
    #: another plugin, or are images now and were texts: all are embedded again
    changed: tuple[int, ...] = ()
    #: Texts are images now, or images texts: no stored vector is of the same content
    is_other_kind: bool = False
    is_of_images: bool = False
    #: A plugin makes captions of its images
    is_captioned: bool = False
    #: Those that are stored are of the same plugin
    keeps_captions: bool = True
    #: It supplied metadata before, and no longer does
    clears_metadata: bool = False
    is_pipe: bool = False
    is_chunked: bool = False
    #: Only texts that are too long are in chunks
    is_auto: bool = False
    #: The model reads the title before each chunk
    is_titled: bool = False
    #: The content of a table's rows stays there; other rows cannot be found again
    stores_content: bool = False

    @property
    def own_ids(self) -> tuple[int, ...]:
        """Its own id and those that it replaces."""
        return (*(() if self.source_id is None else (self.source_id,)), *self.replaced)

    @property
    def keeping_sql(self) -> str:
        """SQL for whether metadata stay that the source does not supply.

        Those of another source do not: that source decides who may see them.
        """
        if self.source_id is None or self.clears_metadata:
            return f"{self.owner} is null"
        return f"coalesce({self.owner}, {self.source_id}) = {self.source_id}"

    @property
    def is_own_sql(self) -> str:
        """SQL for whether a row of ``embeddings`` is one that it may delete."""
        if self.is_pipe:
            return f"{self.owner} is null"
        return f"{self.owner} in ({listed(self.own_ids)})"


def ownership_of(collection: StoredCollection | None, source: Source) -> Ownership:
    """How *source* relates to the sources of *collection*; None is one not yet made."""
    chunking, is_pipe = source.chunking, source.is_standard_input
    stores_content = source.store_content
    if stores_content is None:
        stores_content = not isinstance(source, TableSource)
    if collection is None:
        return Ownership(is_pipe=is_pipe, is_chunked=chunking is not None)
    attached = collection.attached(source)
    # In a dry run the sources that it would replace are not marked as replaced
    others = [
        each
        for each in collection.sources
        if each.prefix == source.id_prefix
        and each != attached
        and each.state is not SourceState.PIPED
        and not is_pipe
    ]
    every = others if attached is None else [attached, *others]
    known = [e for e in every if not isinstance(e.source, UnreadableSource)]
    kind = source.images, source.binary
    of_other_kind = [e for e in known if (e.source.images, e.source.binary) != kind]
    rechunked = [e for e in known if e.source.chunking != source.chunking]
    recaptioned = [e for e in known if e.source.caption not in (None, source.caption)]
    had_metadata = attached is not None and bool(attached.source.metadata_columns)
    return Ownership(
        owner_sql(collection),
        source_id=None if attached is None or is_pipe else attached.id,
        replaced=tuple(each.id for each in others),
        changed=tuple(each.id for each in [*of_other_kind, *rechunked, *recaptioned]),
        is_other_kind=bool(of_other_kind),
        is_of_images=source.images,
        is_captioned=source.images and source.caption is not None,
        keeps_captions=not recaptioned,
        clears_metadata=had_metadata and not source.metadata_columns and not is_pipe,
        is_pipe=is_pipe,
        is_chunked=chunking is not None,
        is_auto=chunking is not None and chunking.method == AUTO_CHUNKS,
        is_titled=chunking is not None and chunking.titled,
        stores_content=stores_content,
    )


def write_origins(
    collection: StoredCollection,
    source_id: int | None,
    items: Iterable[tuple[str, bool]],
) -> None:
    """Store that *source_id* brought *items*: ids, and whether it supplied metadata.

    None is for items of no source, as is an item that keeps other metadata.  The model
    has read all of an item, unless that is unknown; :func:`write_truncated` says else.
    """
    keys = [(collection.id, *item) for item in items]
    collection.conn.executemany(
        "delete from _embedding_origins where collection_id = ? and id = ?",
        [key[:2] for key in keys],
    )
    if source_id is not None:
        collection.conn.executemany(
            f"""
            insert into _embedding_origins
              (collection_id, id, source_id, content_hash, updated, truncated)
            select collection_id, id, {int(source_id)}, content_hash, updated,
              case when content_hash is not null then 0 end
            from embeddings
            where collection_id = ?
            and id = ?
            and (? or metadata is null)
            """,
            keys,
        )


def write_truncated(
    collection: StoredCollection, items: Iterable[tuple[str, bool | None]]
) -> None:
    """Store of some items whether the model read only the beginning; or None."""
    collection.conn.executemany(
        """
        update _embedding_origins
        set truncated = ?
        where collection_id = ?
        and id = ?
        """,
        [(is_truncated, collection.id, item_id) for item_id, is_truncated in items],
    )


def count_items_of_sources(collection: StoredCollection) -> dict[int | None, int]:
    """How many items each source brought, by its id; None for items of no source."""
    rows = collection.conn.execute(
        f"""
        select {owner_sql(collection)} as owner, count(*)
        from embeddings
        where collection_id = ?
        group by owner
        """,
        [collection.id],
    )
    return dict(rows.fetchall())


def has_items(collection: StoredCollection, source_id: int | None) -> bool:
    """Whether the source of that id brought any item, or for None, no source did."""
    row = collection.conn.execute(
        f"""
        select 1
        from embeddings
        where collection_id = ?
        and {owner_sql(collection)} is ?
        limit 1
        """,
        [collection.id, source_id],
    ).fetchone()
    return row is not None


def has_unsourced_items(collection: StoredCollection) -> bool:
    """Whether items of *collection* are, or would be, of none of its sources."""
    return owner_sql(collection) == NO_OWNER or has_items(collection, None)


def owners(collection: StoredCollection, ids: Sequence[str]) -> dict[str, int]:
    """The id of the source that brought each of *ids*, items or documents in chunks."""
    found = of_documents(collection, owner_sql(collection), ids)
    return {each: source_id for each, source_id in found if source_id is not None}
