"""The SQL that compares staged rows with what is stored of them."""

from __future__ import annotations

import json
from collections.abc import Sequence

from datasette_embeddings.documents import TITLE_CHARACTERS, Document
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.origins import Ownership
from datasette_embeddings.store.schema import (
    PARAMETERS,
    Columns,
    listed,
    table_or_empty,
)

STAGED = "temp._embedding_staged"
# States of a staged row
NEW, CHANGED, METADATA, UNCHANGED = "new", "changed", "metadata", "unchanged"
# Unchanged, but of no source, of one that this source replaces, or without the content
# that is to be stored
ADOPTED = "adopted"
# States of rows that are written.  Those with a known content keep its vector
WRITTEN = (NEW, CHANGED, METADATA, ADOPTED)
EMPTY, FAILED = "empty", "failed"
# A row that failed, and whose item id is unknown
UNREAD = "unread"
# Files that are not embedded by design
LEFT_OUT = "left out"


def state_sql(ownership: Ownership, columns: Columns) -> str:
    """SQL for the state of a staged row, by the hash of its content."""
    chunks = table_or_empty("_embedding_chunks", columns)
    stored = item = _stored_item(ownership)
    if ownership.is_chunked:
        has_titles = ownership.is_titled and "title" in columns["_embedding_chunks"]
        stored = _stored_chunks(ownership, chunks, has_titles=has_titles)
        if ownership.is_auto:
            stored = f"{stored} union all {_stored_whole(item, chunks)}"
        # A stored item may be a chunk of another document, and have the id of this one
        other_form = f"exists ({item}) and not {_is_chunk(chunks, 'id')}"
    else:
        other_form = _is_chunk(chunks, "document_id")
    # All rows of a pipe are embedded again if they are split differently
    all_changed = ownership.is_pipe and bool(ownership.changed)
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
              when {int(all_changed)}
              or hash is not _embedding_staged.content_hash
              or has_other_title
              or {int(ownership.is_captioned)} and not has_caption
              or owner in ({listed(ownership.changed)})
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
              or {int(ownership.stores_content)} and not has_content
                then '{ADOPTED}'
              else '{UNCHANGED}'
            end
            from ({stored})
          ),
          case when {other_form} then '{CHANGED}' else '{NEW}' end
        )
    """


def states_of(
    collection: StoredCollection, ownership: Ownership, documents: Sequence[Document]
) -> list[str]:
    """The state of each of *documents*, as if they were staged."""
    if collection.dimensions is None:
        return [NEW] * len(documents)
    states = list[str]()
    sql = state_sql(ownership, collection.columns)
    names = "id", "content_hash", "metadata", "title"
    portion = PARAMETERS // len(names)
    for start in range(0, len(documents), portion):
        some = documents[start : start + portion]
        rows = [
            ", ".join(f":{name}{number}" for name in names)
            for number in range(len(some))
        ]
        values: dict[str, object] = {"collection_id": collection.id}
        for number, each in enumerate(some):
            metadata = None if each.metadata is None else json.dumps(each.metadata)
            row = each.id, each.content_hash, metadata, each.title
            values |= {f"{n}{number}": v for n, v in zip(names, row, strict=True)}
        found = collection.conn.execute(
            f"""
            with _embedding_staged ({", ".join(names)}) as (
              values {", ".join(f"({row})" for row in rows)}
            )
            select id, {sql}
            from _embedding_staged
            """,
            values,
        )
        state = dict(found.fetchall())
        states += [state[each.id] for each in some]
    return states


def _facts(ownership: Ownership) -> str:
    # The text of an image is its caption
    content = "coalesce(embeddings.content, embeddings.content_blob)"
    if ownership.is_of_images:
        content = "embeddings.content_blob"
    return f"""
        embeddings.metadata as old_metadata,
        {ownership.owner} as owner,
        {content} is not null as has_content,
        typeof(embeddings.content) = 'text' as has_caption
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


def _stored_item(ownership: Ownership) -> str:
    return f"""
        select
          embeddings.content_hash as hash,
          0 as has_other_title,
          {_facts(ownership)}
        from embeddings
        where embeddings.collection_id = :collection_id
        and embeddings.id = _embedding_staged.id
    """


def _stored_whole(item: str, chunks: str) -> str:
    """The stored *item* of a document that is whole where only long ones are split.

    A document whose id is like that of a chunk is never whole.
    """
    name = "_embedding_staged.id"
    return f"""
        select *
        from ({item})
        where not {_is_chunk(chunks, "id")}
        and not {_is_chunk(chunks, "document_id")}
        and not (
          {name} glob '*#*[0-9]'
          and substr(rtrim({name}, '0123456789'), -1) = '#'
        )
    """


def _stored_chunks(ownership: Ownership, chunks: str, *, has_titles: bool) -> str:
    """The document of which all chunks are stored, each brought by the same source."""
    # As title_before_chunks
    title = f"nullif(substr(_embedding_staged.title, 1, {TITLE_CHARACTERS}), '')"
    has_other_title = f"chunk.title is not {title}" if has_titles else "0"
    is_same = "1" if ownership.is_pipe else f"{ownership.owner} is first.owner"
    is_brought = "1" if ownership.is_pipe else "first.owner is not null"
    return f"""
        select hash, has_other_title, old_metadata, owner, has_content, has_caption
        from (
          select
            document_hash as hash,
            {has_other_title} as has_other_title,
            {_facts(ownership)}
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
