"""What a staged row is to what is stored of it."""

from __future__ import annotations

from dataclasses import dataclass

from datasette_embeddings.store.origins import listed

STAGED = "temp._embedding_staged"
# States of a staged row
NEW, CHANGED, METADATA, UNCHANGED = "new", "changed", "metadata", "unchanged"
# Unchanged, but of no source or of one that this source replaces
ADOPTED = "adopted"
EMPTY, FAILED = "empty", "failed"
# A row that failed, and nobody knows which item it would be
UNREAD = "unread"


#: Whether a row of `embeddings` is the vector of an image.  If the content of a table's
#: row is not stored, the source decides
IS_IMAGE = """
    case
      when typeof(content_blob) = 'blob' then 1
      when typeof(content) = 'text' then 0
      else :unstored_are_images
    end
"""


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
    #: It supplied metadata before, and does not any more
    clears_metadata: bool = False
    #: The sources of the collection that give images
    of_images: tuple[int, ...] = ()
    is_pipe: bool = False

    @property
    def own_ids(self) -> tuple[int, ...]:
        """Its own id and those that it replaces."""
        return (*(() if self.source_id is None else (self.source_id,)), *self.replaced)

    @property
    def cleared_ids(self) -> tuple[int, ...]:
        """The sources whose metadata are removed if it supplies none."""
        return self.own_ids if self.clears_metadata else self.replaced

    @property
    def keeping_sql(self) -> str:
        """SQL for whether metadata stay that the source does not supply.

        Those of another source do not: that source decides who may see them.
        """
        if self.source_id is None or self.clears_metadata:
            return f"{self.owner} is null"
        return f"coalesce({self.owner}, {self.source_id}) = {self.source_id}"

    @property
    def is_image_sql(self) -> str:
        """SQL for whether a row of ``embeddings`` is the vector of an image."""
        is_of_images = f"coalesce({self.owner} in ({listed(self.of_images)}), 0)"
        return IS_IMAGE.replace(":unstored_are_images", is_of_images)

    @property
    def is_own_sql(self) -> str:
        """SQL for whether a row of ``embeddings`` is one that it may delete."""
        if self.is_pipe:
            return f"{self.owner} is null"
        return f"{self.owner} in ({listed(self.own_ids)})"


def state_sql(
    ownership: Ownership, *, by_chunks: bool, has_chunks: bool, has_blobs: bool
) -> str:
    """The state of a staged row, by the kind and hash of the document or the item.

    The same bytes as text and as an image are different content.
    """
    owner = ownership.owner
    if by_chunks and has_chunks:
        stored, otherwise = _stored_chunks(ownership), _is_stored(owner)
    elif by_chunks:
        stored, otherwise = _NOTHING_STORED, f"exists ({_stored_item(owner)})"
    else:
        was_image = ownership.is_image_sql if has_blobs else "0"
        stored = _stored_item(owner, was_image)
        otherwise = _HAS_CHUNKS if has_chunks else "0"
    own = f"owner in ({listed(ownership.own_ids)})"
    # A pipe replaces items of any source
    is_taken = "0" if ownership.is_pipe else f"owner is not null and not {own}"
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
                or owner in ({listed(ownership.cleared_ids)})
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
          case when {otherwise} then '{CHANGED}' else '{NEW}' end
        )
    """


_NOTHING_STORED = """
    select null as hash, null as old_metadata, null as owner, 0 as was_image where 0
"""


def _stored_item(owner: str, was_image: str = "0") -> str:
    return f"""
        select
          embeddings.content_hash as hash,
          embeddings.metadata as old_metadata,
          {owner} as owner,
          {was_image} as was_image
        from embeddings
        where embeddings.collection_id = :collection_id
        and embeddings.id = _embedding_staged.id
    """


def _stored_chunks(ownership: Ownership) -> str:
    """The document of which all chunks are there, each brought by the same source."""
    is_same = "1" if ownership.is_pipe else f"{ownership.owner} is first.owner"
    is_brought = "1" if ownership.is_pipe else "first.owner is not null"
    return f"""
        select hash, old_metadata, owner, 0 as was_image
        from (
          select
            document_hash as hash,
            embeddings.metadata as old_metadata,
            {ownership.owner} as owner
          from _embedding_chunks
          join embeddings
            on embeddings.collection_id = _embedding_chunks.collection_id
            and embeddings.id = _embedding_chunks.id
          where _embedding_chunks.collection_id = :collection_id
          and document_id = _embedding_staged.id
          and position = 0
        ) as first
        where {is_brought}
        and not exists (
          select 1
          from _embedding_chunks as piece
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


def _is_stored(owner: str) -> str:
    # Not as a chunk of another document, which may have the same id
    return f"""
        exists (
          {_stored_item(owner)}
          and not exists (
            select 1
            from _embedding_chunks
            where collection_id = :collection_id
            and id = _embedding_staged.id
          )
        )
    """


_HAS_CHUNKS = """
    exists (
      select 1
      from _embedding_chunks
      where collection_id = :collection_id
      and document_id = _embedding_staged.id
    )
"""
