"""What a staged row is to what is stored of it."""

from __future__ import annotations

STAGED = "temp._embedding_staged"
# States of a staged row
NEW, CHANGED, METADATA, UNCHANGED = "new", "changed", "metadata", "unchanged"
EMPTY, FAILED = "empty", "failed"
# A row that failed, and nobody knows which item it would be
UNREAD = "unread"


#: Whether a row of `embeddings` is the vector of an image.  What a table's rows hold is
#: not stored: of that the source tells
IS_IMAGE = """
    case
      when typeof(content_blob) = 'blob' then 1
      when typeof(content) = 'text' then 0
      else :unstored_are_images
    end
"""


def state_sql(*, by_chunks: bool, has_chunks: bool, has_blobs: bool) -> str:
    """The state of a staged row, by the kind and hash of the document or the item.

    The same bytes are another content as a text than as an image.
    """
    if by_chunks and has_chunks:
        stored, otherwise = _STORED_CHUNKS, _IS_STORED
    elif by_chunks:
        stored, otherwise = _NOTHING_STORED, f"exists ({_STORED_ITEM})"
    else:
        stored = _stored_item(IS_IMAGE if has_blobs else "0")
        otherwise = _HAS_CHUNKS if has_chunks else "0"
    return f"""
        coalesce(
          (
            select case
              when :everything_changed
              or hash is not _embedding_staged.content_hash
              or was_image <> (typeof(_embedding_staged.content) = 'blob')
                then '{CHANGED}'
              when (:clears_metadata or _embedding_staged.metadata is not null)
              and old_metadata is not _embedding_staged.metadata
                then '{METADATA}'
              else '{UNCHANGED}'
            end
            from ({stored})
          ),
          case when {otherwise} then '{CHANGED}' else '{NEW}' end
        )
    """


def _stored_item(was_image: str = "0") -> str:
    return f"""
        select
          embeddings.content_hash as hash,
          embeddings.metadata as old_metadata,
          {was_image} as was_image
        from embeddings
        where embeddings.collection_id = :collection_id
        and embeddings.id = _embedding_staged.id
    """


_NOTHING_STORED = "select null as hash, null as old_metadata, 0 as was_image where 0"
_STORED_ITEM = _stored_item()
_STORED_CHUNKS = """
    select document_hash as hash, embeddings.metadata as old_metadata, 0 as was_image
    from _embedding_chunks
    join embeddings
      on embeddings.collection_id = _embedding_chunks.collection_id
      and embeddings.id = _embedding_chunks.id
    where _embedding_chunks.collection_id = :collection_id
    and document_id = _embedding_staged.id
    and position = 0
    and not exists (
      select 1
      from _embedding_chunks as piece
      where piece.collection_id = :collection_id
      and piece.document_id = _embedding_staged.id
      and not exists (
        select 1
        from embeddings as stored
        where stored.collection_id = :collection_id
        and stored.id = piece.id
      )
    )
"""
# Not as somebody else's chunk, whose id may be the same
_IS_STORED = f"""
    exists (
      {_STORED_ITEM}
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
