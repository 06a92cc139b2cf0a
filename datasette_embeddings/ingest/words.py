"""Brings the words index of a collection up to date with what is staged and stored."""

from __future__ import annotations

from datasette_embeddings.config import DEFAULT_WORDS
from datasette_embeddings.store.attaching import writing
from datasette_embeddings.store.collection_writes import drop_stale_facts
from datasette_embeddings.store.collections import StoredCollection, current
from datasette_embeddings.store.documents import with_stored_captions
from datasette_embeddings.store.schema import prepare
from datasette_embeddings.store.staging import Staging
from datasette_embeddings.store.words import WINDOW, Words
from datasette_embeddings.store.words_check import is_damaged, outdated, unindexed


def index_staged_words(collection: StoredCollection, staging: Staging) -> None:
    """Index the staged documents whose words are not indexed, or under another title.

    Those that are embedded have their words already.
    """
    if collection.has_words:
        for window in staging.windows(staging.unindexed_sql(collection)):
            with writing(collection) as found:
                Words(found).write(with_stored_captions(found, window))


def index_words(collection: StoredCollection, kind: str | None = None) -> None:
    """Index the stored texts that no source brings, such as those of llm.

    The words of documents that no longer exist are deleted.  *kind* is that of the
    index; None for the one that it has, or the default.
    """
    kind = kind or collection.words or DEFAULT_WORDS
    if kind != collection.words:
        prepare(collection.conn)
        with writing(collection):
            # llm gives the id of a deleted collection to the next one
            drop_stale_facts(collection.conn)
            Words(current(collection)).create(kind)
    words = Words(current(collection))
    if not words.collection.has_words:
        return
    old = outdated(words.collection)
    for start in range(0, len(old), WINDOW):
        with writing(collection):
            words.delete(old[start : start + WINDOW])
    last = 0
    while rows := unindexed(words.collection, last):
        with writing(collection):
            words.write([document for _rowid, document in rows])
        last = rows[-1][0]


def repair_words(collection: StoredCollection) -> None:
    """Bring the words index in step with what is stored, also if it is damaged."""
    if is_damaged(collection):
        with writing(collection) as found:
            Words(found).index_again()
    index_words(collection)
