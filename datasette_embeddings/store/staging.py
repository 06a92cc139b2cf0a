"""The rows of a source in a temporary table: which are new, changed or the same.

They are copied to a temporary table, once, with their hashes.  Reading the source
itself between our own commits would keep its lock for the whole run, and in WAL mode
one commit of another program would make all later commits of the run fail.  SQLite
compares a million hashes without holding them in memory.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass

from datasette_embeddings.documents import Document, Failure, LeftOut
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.diff import (
    EMPTY,
    FAILED,
    LEFT_OUT,
    NEW,
    STAGED,
    UNREAD,
    WRITTEN,
    state_sql,
)
from datasette_embeddings.store.indexed_text import reversed_title
from datasette_embeddings.store.origins import Ownership

# The most that a window holds: enough for batches of texts of equal length, and all
# that a crash can lose
WINDOW_DOCUMENTS = 1_024
WINDOW_CHARACTERS = 4_000_000
# The same where a plugin chunks or captions, which may call a model that costs money
WINDOW_OF_PLUGINS = 16
# Bytes of image files, not of decoded images
WINDOW_BYTES = 64_000_000
OF_ANOTHER_SOURCE = (
    "Another source of the collection has an item with this id; give each source its "
    "own --prefix"
)
# Rows that one statement changes, so that no transaction is long
STEP = 10_000


@contextmanager
def staged(
    conn: sqlite3.Connection, documents: Iterable[Document | Failure | LeftOut]
) -> Iterator[Staging]:
    """*documents* in a temporary table, which is dropped after the block.

    A row whose id came before, or whose text UTF-8 cannot hold, becomes a failure.
    """
    # A source that could not be read may have left one
    conn.execute(f"drop table if exists {STAGED}")
    try:
        conn.execute(_CREATE)
        conn.executemany(
            f"""
            insert into {STAGED}
              (id, content, content_hash, metadata, title, reversed_title, state, error)
            values (?, ?, ?, ?, ?, ?, ?, ?)
            """,
            map(_row, documents),
        )
        conn.execute(f"create index {STAGED}_id on _embedding_staged (id)")
        conn.execute(
            f"""
            update {STAGED}
            set state = 'failed',
                error = 'The id comes more than once; the first row with it is kept'
            where state is null
            and exists (
              select 1
              from {STAGED} as earlier
              where earlier.id = _embedding_staged.id
              and earlier.number < _embedding_staged.number
              and (earlier.state is null or earlier.state = 'empty')
            )
            """
        )
        conn.commit()
        yield Staging(conn)
    finally:
        conn.rollback()
        with suppress(sqlite3.OperationalError):
            # Locked by the statement that failed; its error is the one to report
            conn.execute(f"drop table if exists {STAGED}")


# The content is last: all else is read without the pages of an image
_CREATE = f"""
    create table {STAGED} (
      number integer primary key,
      id text,
      content_hash blob,
      metadata text,
      title text,
      reversed_title text,
      state text,
      error text,
      content
    )
"""


def _row(document: Document | Failure | LeftOut) -> tuple[object, ...]:
    item_id = document.id and document.id.encode("utf-8", "backslashreplace").decode()

    def row(state: str | None, error: str | None = None) -> tuple[object, ...]:
        return item_id, None, None, None, None, None, state, error

    if isinstance(document, LeftOut):
        return row(LEFT_OUT, document.kind)
    if isinstance(document, Failure):
        return row(FAILED if document.is_item else UNREAD, document.error)
    try:
        content = document.content
        if not (content.strip() if isinstance(content, str) else content):
            return row(EMPTY)
        metadata = None
        if document.metadata is not None:
            metadata = json.dumps(document.metadata, allow_nan=False)
        document.id.encode()
        content_hash = document.content_hash
    except UnicodeEncodeError as error:
        return row(FAILED, f"Expected text that UTF-8 can hold: {error}")
    except (TypeError, ValueError) as error:
        return row(FAILED, f"The metadata is no JSON: {error}")
    title = document.title and document.title.encode("utf-8", "replace").decode()
    name = reversed_title(title or document.id)
    return item_id, content, content_hash, metadata, title, name, None, None


@dataclass(frozen=True)
class Staging:
    """The staged rows of *conn*, each in one state."""

    conn: sqlite3.Connection

    def compare(
        self, collection: StoredCollection | None, ownership: Ownership
    ) -> None:
        """Set the state of each row: new, changed or as it is in *collection*.

        A row whose item another source brought fails.
        """
        state, parameters = f"'{NEW}'", dict[str, object]()
        if collection is not None and collection.dimensions is not None:
            state = state_sql(ownership, collection.columns)
            parameters["collection_id"] = collection.id
        (last,) = self.conn.execute(f"select max(number) from {STAGED}").fetchone()
        for low in range(1, (last or 0) + 1, STEP):
            with self.conn:
                self.conn.execute(
                    f"""
                    update {STAGED}
                    set state = {state}
                    where number between :low and :high
                    and state is null
                    """,
                    {**parameters, "low": low, "high": low + STEP - 1},
                )
        with self.conn:
            self.conn.execute(
                f"update {STAGED} set error = ? "
                f"where state = '{FAILED}' and error is null",
                [OF_ANOTHER_SOURCE],
            )

    def counts(self) -> Counter[str]:
        """How many rows are in each state, by the name of the state."""
        sql = f"select state, count(*) from {STAGED} group by state"
        return Counter(dict(self.conn.execute(sql).fetchall()))

    def failed_ids(self) -> set[str]:
        """The ids of the rows that failed."""
        return {each for each, state, _error in self.states() if state == FAILED}

    def states(self) -> list[tuple[str, str, str | None]]:
        """The id, the state and the error of each row, by its number."""
        sql = f"select id, state, error from {STAGED} order by number"
        return self.conn.execute(sql).fetchall()

    def left_out(self) -> dict[str, int]:
        """How many files of each kind are not embedded by design."""
        sql = f"select error, count(*) from {STAGED} where state = ? group by error"
        return dict(self.conn.execute(sql, [LEFT_OUT]).fetchall())

    def windows(
        self, condition: str = f"state in {WRITTEN}", *, uses_plugin: bool = False
    ) -> Iterator[list[Document]]:
        """The documents to write, or those that fulfil *condition*, some at a time."""
        at_once = WINDOW_OF_PLUGINS if uses_plugin else WINDOW_DOCUMENTS
        last = 0
        while True:
            window, filled = list[Document](), 0.0
            # Closed before the window is yielded, because its user commits
            with closing(self.conn.cursor()) as rows:
                rows.execute(
                    f"""
                    select number, id, content, metadata, title, content_hash
                    from {STAGED}
                    where number > ?
                    and {condition}
                    order by number
                    """,
                    [last],
                )
                # Row by row: a hundred photos would be a gigabyte
                for number, item_id, content, metadata, title, digest in rows:
                    last = number
                    known = json.loads(metadata) if metadata else None
                    document = Document(
                        item_id, content, known, title, known_hash=digest
                    )
                    window.append(document)
                    most = WINDOW_BYTES
                    if isinstance(content, str):
                        most = WINDOW_CHARACTERS
                    filled += len(content) / most
                    if filled >= 1 or len(window) >= at_once:
                        break
            if not window:
                return
            yield window

    def unindexed_sql(self, collection: StoredCollection) -> str:
        """The condition for rows whose words are not those that are indexed."""
        return f"""
            state not in ('{EMPTY}', '{FAILED}', '{UNREAD}', '{LEFT_OUT}')
            and not exists (
              select 1
              from _embedding_words as words
              where words.collection_id = {int(collection.id)}
              and words.document_id = _embedding_staged.id
              and words.content_hash is _embedding_staged.content_hash
              and words.reversed_title is _embedding_staged.reversed_title
            )
        """

    def count_unindexed(self, collection: StoredCollection) -> int:
        """How many rows are embedded as they are, and their words not indexed.

        Without those of stored texts that have no words at all.
        """
        if not collection.has_words:
            return 0
        row = self.conn.execute(
            f"""
            select count(*)
            from {STAGED}
            where {self.unindexed_sql(collection)}
            and state not in {WRITTEN}
            and not exists (
              select 1
              from embeddings
              where embeddings.collection_id = {int(collection.id)}
              and embeddings.id = _embedding_staged.id
              and typeof(embeddings.content) = 'text'
              and not exists (
                select 1
                from _embedding_words
                where _embedding_words.collection_id = embeddings.collection_id
                and _embedding_words.document_id = embeddings.id
              )
            )
            """
        ).fetchone()
        return int(row[0])

    def fail(self, failures: Sequence[Failure]) -> None:
        """Store that rows could not be embedded."""
        with self.conn:
            self.conn.executemany(
                f"""
                update {STAGED}
                set state = '{FAILED}', error = ?
                where id = ?
                and state in {WRITTEN}
                """,
                [(failure.error, failure.id) for failure in failures],
            )

    def failures(self, limit: int) -> list[Failure]:
        """The first *limit* rows that failed."""
        rows = self.conn.execute(
            f"""
            select id, error
            from {STAGED}
            where state in ('{FAILED}', '{UNREAD}')
            order by number
            limit ?
            """,
            [limit],
        )
        return [Failure(*row) for row in rows]
