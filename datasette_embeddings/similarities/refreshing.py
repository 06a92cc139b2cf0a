"""The table of similarities, made and kept right as vectors come, change and go.

What a full run would write stands in the table after any history.  Work grows with what
changed times all, not with all times all.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.index.cache import one_moment
from datasette_embeddings.similarities.reading import changes, read
from datasette_embeddings.similarities.work import Refreshed, Work, noted_state
from datasette_embeddings.store import items
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.store.similarities import (
    remove_similarities,
    similarity_marks,
)
from datasette_embeddings.store.similarity_notes import (
    note_similarities,
    prepare_similarities,
    similarities_state,
    similarity_settings,
)

# As often a run begins again because somebody wrote meanwhile; then it holds the lock
ATTEMPTS = 3


def silent(_count: int) -> None:
    """The progress of somebody who does not want to know."""


def build(
    collection: Collection,
    settings: SimilaritySettings,
    *,
    start: Callable[[int], None] = silent,
    progress: Callable[[int], None] = silent,
) -> Refreshed:
    """Note for each document of *collection* its nearest others, now and from now on.

    *start* hears how many documents are compared, *progress* how many more are done.

    :raises InvalidInputError: for a limit below 1, or a score that there is not.
    :raises SchemaError: if somebody else's table has the name.
    """
    if settings.limit < 1:
        raise InvalidInputError(
            f"Expected a limit, a whole number from 1; found {settings.limit}"
        )
    if settings.min_score is not None and not -1 <= settings.min_score <= 1:
        raise InvalidInputError(
            f"Expected a lowest score from -1 to 1, found {settings.min_score}"
        )
    prepare_similarities(collection.conn)
    return _refresh(collection, settings, start, progress)


def refresh(
    collection: Collection,
    *,
    start: Callable[[int], None] = silent,
    progress: Callable[[int], None] = silent,
) -> Refreshed | None:
    """Bring the similarities of *collection* up to date; None if it has none."""
    settings = similarity_settings(collection)
    if settings is None:
        return None
    prepare_similarities(collection.conn)
    return _refresh(collection, settings, start, progress)


def count_stale(collection: Collection) -> int:
    """How many documents have changed, come or gone since their similarities."""
    if similarity_settings(collection) is None:
        return 0
    marks = similarity_marks(collection)
    found = changes(read(collection), marks)
    return len(found.places) + len(found.gone)


def remove(collection: Collection) -> None:
    """Forget the similarities of *collection*, and that it is to have any."""
    prepare_similarities(collection.conn)
    with transaction(collection.conn):
        remove_similarities(collection)
        note_similarities(collection, None)


def _refresh(
    collection: Collection,
    settings: SimilaritySettings,
    start: Callable[[int], None],
    progress: Callable[[int], None],
) -> Refreshed:
    conn = collection.conn
    with _kept_in_memory(conn):
        for attempt in range(ATTEMPTS):
            # The last attempt holds the lock while lists are made, as nobody likes
            holding = transaction if attempt == ATTEMPTS - 1 else one_moment
            version = _version(conn)
            with holding(conn):
                snapshot = items.snapshot(conn, collection.id)
                if _is_done(collection, settings, snapshot):
                    return Refreshed(0, collection.count_items())
                work = Work.begun(collection, settings, snapshot)
                if holding is transaction:
                    work.write(conn, work.lists(conn, start, progress))
                    return work.report
            lists = work.lists(conn, start, progress)
            with transaction(conn):
                if version == _version(conn) or work.is_current(conn):
                    work.write(conn, lists)
                    return work.report
    raise AssertionError("the last attempt returns")


def _is_done(
    collection: Collection,
    settings: SimilaritySettings,
    snapshot: tuple[float | None, ...],
) -> bool:
    """Whether the table is of these vectors and settings already."""
    return similarity_settings(collection) == settings and similarities_state(
        collection
    ) == noted_state(collection, snapshot)


def _version(conn: sqlite3.Connection) -> int:
    """What every commit of somebody else changes."""
    return int(conn.execute("pragma data_version").fetchone()[0])


@contextmanager
def _kept_in_memory(conn: sqlite3.Connection) -> Iterator[None]:
    """Within, what a transaction changes is not written before its commit.

    In rollback-journal mode SQLite would lock readers out when its cache is full.  The
    file is mapped into memory, which halves the time that reading every vector takes.
    """
    before = conn.execute("pragma cache_spill").fetchone()[0]
    mapped = conn.execute("pragma mmap_size").fetchone()
    conn.execute("pragma cache_spill = off")
    conn.execute("pragma mmap_size = 1000000000")
    try:
        yield
    finally:
        conn.execute(f"pragma cache_spill = {int(before)}")
        conn.execute(f"pragma mmap_size = {mapped[0] if mapped else 0}")
