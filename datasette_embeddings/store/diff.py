"""The SQL that compares staged rows with what is stored of them."""

from __future__ import annotations

from dataclasses import dataclass

from datasette_embeddings.sources.definitions import (
    Source,
    SourceState,
    UnreadableSource,
)
from datasette_embeddings.store.attaching import attached_source
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.origins import owner_sql
from datasette_embeddings.store.schema import (
    CHUNKS,
    EMBEDDINGS,
    Columns,
    listed,
    table_or_empty,
)

STAGED = "temp._embedding_staged"
# States of a staged row
NEW, CHANGED, METADATA, UNCHANGED = "new", "changed", "metadata", "unchanged"
# Unchanged, but of no source or of one that this source replaces
ADOPTED = "adopted"
EMPTY, FAILED = "empty", "failed"
# A row that failed, and whose item id is unknown
UNREAD = "unread"


@dataclass(frozen=True)
class Ownership:
    """How the staged source relates to the sources of a collection."""

    #: SQL for the id of the source that brought a row of ``embeddings``, or null
    owner: str = "null"
    #: Its own id; None for a pipe, and for a source that has not brought anything yet
    source_id: int | None = None
    #: The ids of those that it replaces
    replaced: tuple[int, ...] = ()
    #: The ids of all these whose documents were split differently
    rechunked: tuple[int, ...] = ()
    #: It supplied metadata before, and no longer does
    clears_metadata: bool = False
    #: The sources of the collection that give images
    of_images: tuple[int, ...] = ()
    is_pipe: bool = False
    is_chunked: bool = False
    #: All rows of a pipe are embedded again, because they are split differently
    everything_changed: bool = False

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


def ownership_of(collection: Collection | None, source: Source) -> Ownership:
    """How *source* relates to the sources of *collection*, None for one not yet made.

    Where documents are now split differently, all of them have changed.
    """
    is_chunked, is_pipe = source.chunking is not None, source.is_standard_input
    if collection is None:
        return Ownership(is_pipe=is_pipe, is_chunked=is_chunked)
    attached = attached_source(collection, source)
    # In a dry run the sources that it would replace are not marked as replaced
    others = [
        each
        for each in collection.sources
        if each.prefix == source.id_prefix
        and each != attached
        and each.state is not SourceState.PIPED
        and not is_pipe
    ]
    known = others if attached is None else [attached, *others]
    rechunked = tuple(
        each.id
        for each in known
        if not isinstance(each.source, UnreadableSource)
        and each.source.chunking != source.chunking
    )
    had_metadata = attached is not None and bool(attached.source.metadata_columns)
    return Ownership(
        owner_sql(collection),
        source_id=None if attached is None or is_pipe else attached.id,
        replaced=tuple(each.id for each in others),
        rechunked=rechunked,
        clears_metadata=had_metadata and not source.metadata_columns and not is_pipe,
        of_images=tuple(each.id for each in collection.sources if each.source.images),
        is_pipe=is_pipe,
        is_chunked=is_chunked,
        everything_changed=is_pipe and bool(rechunked),
    )


def is_image_sql(unstored: str, columns: Columns) -> str:
    """SQL for whether a row of ``embeddings`` is the vector of an image.

    If its content is not stored, it is one where *unstored* is true.
    """
    if "content_blob" not in columns[EMBEDDINGS]:
        return "0"
    return f"""
        case
          when typeof(embeddings.content_blob) = 'blob' then 1
          when typeof(embeddings.content) = 'text' then 0
          else {unstored}
        end
    """


def state_sql(ownership: Ownership, columns: Columns) -> str:
    """SQL for the state of a staged row, by the kind and hash of its content.

    The same bytes as text and as an image are different content.
    """
    if "content_hash" not in columns[EMBEDDINGS]:
        # Of an old llm: the first write adds the column
        return f"'{CHANGED}'"
    chunks = table_or_empty(CHUNKS, columns)
    stored = item = _stored_item(ownership, columns)
    if ownership.is_chunked:
        stored = _stored_chunks(ownership, chunks)
        # A stored item may be a chunk of another document, and have the id of this one
        other_form = f"exists ({item}) and not {_is_chunk(chunks, 'id')}"
    else:
        other_form = _is_chunk(chunks, "document_id")
    own = f"owner in ({listed(ownership.own_ids)})"
    # A pipe replaces items of any source
    is_taken = "0" if ownership.is_pipe else f"owner is not null and not {own}"
    cleared = ownership.own_ids if ownership.clears_metadata else ownership.replaced
    source_id = "null" if ownership.source_id is None else str(ownership.source_id)
    return f"""
        coalesce(
          (
            select case
              when {is_taken} then '{FAILED}'
              when :everything_changed
              or hash is not _embedding_staged.content_hash
              or owner in ({listed(ownership.rechunked)})
              or was_image <> (typeof(_embedding_staged.content) = 'blob')
                then '{CHANGED}'
              when (
                _embedding_staged.metadata is not null
                or owner in ({listed(cleared)})
              )
              and old_metadata is not _embedding_staged.metadata
                then '{METADATA}'
              when {int(not ownership.is_pipe)}
              and owner is not {source_id}
              and old_metadata is _embedding_staged.metadata
                then '{ADOPTED}'
              else '{UNCHANGED}'
            end
            from ({stored})
          ),
          case when {other_form} then '{CHANGED}' else '{NEW}' end
        )
    """


def _is_chunk(chunks: str, column: str) -> str:
    return f"""
        exists (
          select 1
          from {chunks} as other
          where other.collection_id = :collection_id
          and other.{column} = _embedding_staged.id
        )
    """


def _stored_item(ownership: Ownership, columns: Columns) -> str:
    of_images = f"coalesce({ownership.owner} in ({listed(ownership.of_images)}), 0)"
    return f"""
        select
          embeddings.content_hash as hash,
          embeddings.metadata as old_metadata,
          {ownership.owner} as owner,
          {is_image_sql(of_images, columns)} as was_image
        from embeddings
        where embeddings.collection_id = :collection_id
        and embeddings.id = _embedding_staged.id
    """


def _stored_chunks(ownership: Ownership, chunks: str) -> str:
    """The document of which all chunks are stored, each brought by the same source."""
    is_same = "1" if ownership.is_pipe else f"{ownership.owner} is first.owner"
    is_brought = "1" if ownership.is_pipe else "first.owner is not null"
    return f"""
        select hash, old_metadata, owner, 0 as was_image
        from (
          select
            document_hash as hash,
            embeddings.metadata as old_metadata,
            {ownership.owner} as owner
          from {chunks} as chunk
          join embeddings
            on embeddings.collection_id = chunk.collection_id
            and embeddings.id = chunk.id
          where chunk.collection_id = :collection_id
          and document_id = _embedding_staged.id
          and position = 0
        ) as first
        where {is_brought}
        and not exists (
          select 1
          from {chunks} as piece
          where piece.collection_id = :collection_id
          and piece.document_id = _embedding_staged.id
          and not exists (
            select 1
            from embeddings
            where embeddings.collection_id = :collection_id
            and embeddings.id = piece.id
            and {is_same}
          )
        )
    """
