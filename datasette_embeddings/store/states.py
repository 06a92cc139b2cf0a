"""What a staged row is to what is stored of it."""

from __future__ import annotations

STAGED = "temp._embedding_staged"
# States of a staged row
NEW, CHANGED, METADATA, UNCHANGED = "new", "changed", "metadata", "unchanged"
EMPTY, FAILED = "empty", "failed"
# A row that failed, and nobody knows which item it would be
UNREAD = "unread"


def state_sql(*, by_chunks: bool, has_chunks: bool) -> str:
    """The state of a staged row, by the hash of the document or the item."""
    if by_chunks and has_chunks:
        stored, otherwise = _STORED_CHUNKS, _IS_STORED
    elif by_chunks:
        stored, otherwise = _NOTHING_STORED, f"exists ({_STORED_ITEM})"
    else:
        stored, otherwise = _STORED_ITEM, _HAS_CHUNKS if has_chunks else "0"
    return f"""
        coalesce(
          (
            select case
              when :everything_changed or hash is not _embedding_staged.content_hash
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


_NOTHING_STORED = "select null as hash, null as old_metadata where 0"
_STORED_ITEM = """
    select embeddings.content_hash as hash, embeddings.metadata as old_metadata
    from embeddings
    where embeddings.collection_id = :collection_id
    and embeddings.id = _embedding_staged.id
"""
_STORED_CHUNKS = """
    select document_hash as hash, embeddings.metadata as old_metadata
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
