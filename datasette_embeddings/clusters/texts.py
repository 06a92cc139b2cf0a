"""The texts of documents, as far as they are known without their files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from datasette_embeddings.chunking import chunk_id
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.matches import Match, matches
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.indexed_text import IndexedText
from datasette_embeddings.store.schema import rows_in
from datasette_embeddings.store.words_check import is_current_sql

# Documents whose content is read at a time
WINDOW = 100


def read_texts(
    collection: StoredCollection, document_ids: Sequence[str], *, length: int
) -> dict[str, IndexedText]:
    """Title and text of each of *document_ids*, at most *length* characters of both.

    They are those of the words index; of a document that it has not, what is stored or
    in its row: a text, the caption of a picture, a title, or else the name of its file.
    """
    found = _indexed(collection, document_ids, length)
    others = [each for each in document_ids if each not in found]
    for match, content in read_contents(collection, others):
        title = match.title or ("" if content else PurePosixPath(match.id).stem)
        found[match.id] = IndexedText(title[:length], (content or "")[:length])
    return {each: found[each] for each in document_ids}


def _indexed(
    collection: StoredCollection, document_ids: Sequence[str], length: int
) -> dict[str, IndexedText]:
    if not collection.has_words:
        return {}
    sql = f"""
        select document_id, text
        from _embedding_words
        where collection_id = ?
        and {is_current_sql(collection)}
        and document_id in
    """
    rows = rows_in(collection.conn, sql, [collection.id], document_ids)
    return {each: IndexedText.beginning(blob, length) for each, blob in rows}


def read_contents(
    collection: StoredCollection, document_ids: Sequence[str]
) -> Iterator[tuple[Match, str | None]]:
    """Each of *document_ids* as a match, and its content, if it is stored or in a row.

    Of a document in chunks that is in no row, it is that of the first chunk.
    """
    for start in range(0, len(document_ids), WINDOW):
        some = document_ids[start : start + WINDOW]
        found = matches(collection, [Hit(each, 1.0) for each in some])
        unknown = [each.id for each in found if each.content is None]
        first = collection.items(
            [chunk_id(each, 0) for each in unknown] if collection.has_chunks else []
        )
        for match in found:
            chunk = first.get(chunk_id(match.id, 0))
            yield match, match.content or (chunk.content if chunk else None)
