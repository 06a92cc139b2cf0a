"""Brings the words index of a collection up to date with what is staged and stored."""

from __future__ import annotations

from datasette_embeddings.config import DEFAULT_WORDS
from datasette_embeddings.store.attaching import writing
from datasette_embeddings.store.collections import Collection, current
from datasette_embeddings.store.schema import prepare
from datasette_embeddings.store.staging import Staging
from datasette_embeddings.store.words import WINDOW, Words


def index_staged_words(collection: Collection, staging: Staging) -> None:
    """Index the staged documents whose words are not indexed, or under another title.

    Those that are embedded have their words already.
    """
    if collection.has_words:
        for window in staging.windows(staging.unindexed_sql(collection)):
            with writing(collection) as found:
                Words(found).write(window)


def index_words(collection: Collection) -> None:
    """Index the stored texts that no source brings, such as those of llm.

    The words of documents that no longer exist are deleted.
    """
    if collection.words is None:
        prepare(collection.conn)
        with writing(collection) as found:
            Words(found).create(DEFAULT_WORDS)
    words = Words(current(collection))
    if not words.collection.has_words:
        return
    outdated = words.outdated()
    for start in range(0, len(outdated), WINDOW):
        with writing(collection):
            words.delete(outdated[start : start + WINDOW])
    last = 0
    while rows := words.unindexed(last):
        with writing(collection):
            words.write([document for _rowid, document in rows])
        last = rows[-1][0]
