"""The items of a collection as they are stored: vectors, content, failures."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from datasette_embeddings.errors import UnknownItemError
from datasette_embeddings.images import MAX_BYTES
from datasette_embeddings.store import schema
from datasette_embeddings.vectors import Vector, decode

# `updated` counts whole seconds, and the clocks of two machines differ a little
RECENT_S = 2
# Items that are looked at to see whether there are images among them
SAMPLED_ITEMS = 1_000
# Lists in lists that every reader of JSON can still read
SAFE_DEPTH = 300


_ITEMS = f"""
    select
      id,
      {schema.typed_sql("content", "text")},
      {schema.typed_sql("metadata", "text")},
      typeof(content_blob) = 'blob',
      {schema.typed_sql("content_hash", "blob")}
    from embeddings
    where collection_id = ?
    and id in
"""


@dataclass(frozen=True)
class StoredItem:
    """What an embedding's row keeps beside the vector."""

    id: str
    content: str | None
    metadata: Mapping[str, object] | None
    #: Its content is stored, and bytes
    has_image: bool = False
    #: Of the content that was embedded, where it is known
    content_hash: bytes | None = None


@dataclass(frozen=True)
class StoredFailure:
    """A row that could not be embedded, in how many runs, and when last."""

    id: str
    error: str
    attempts: int
    last_tried: int


@dataclass(frozen=True)
class Items:
    """The items of one collection, read through *conn*."""

    conn: sqlite3.Connection = field(compare=False, repr=False)
    id: int
    name: str
    #: The columns that the tables of *conn* have
    columns: schema.Columns = field(
        default_factory=dict, kw_only=True, compare=False, repr=False
    )

    def count_items(self) -> int:
        """How many items it has."""
        # SQLite counts a whole table four times as fast as a part of it
        row = self.conn.execute(
            """
            select case
              when exists (select 1 from embeddings where collection_id < :id)
              or exists (select 1 from embeddings where collection_id > :id)
              or exists (select 1 from embeddings where collection_id is null)
              then (select count(*) from embeddings where collection_id = :id)
              else (select count(*) from embeddings)
            end
            """,
            {"id": self.id},
        ).fetchone()
        return int(row[0])

    def item_ids(self) -> set[str]:
        """The id of every item that has a vector."""
        return {item_id for item_id, _vector in self.vector_rows()}

    def vector(self, item_id: str) -> Vector:
        """The vector of one item, float32 of shape (dimensions,).

        :raises UnknownItemError: if there is no such item.
        """
        blob = self._value("embedding", item_id)
        if not isinstance(blob, bytes):
            raise UnknownItemError(self.name, item_id)
        return decode(blob)

    def image(self, item_id: str) -> bytes | None:
        """The bytes that are the content of an item; None if they are not stored.

        More bytes than an image may have are not read.

        :raises UnknownItemError: if there is no such item.
        """
        is_small = f"length(content_blob) <= {MAX_BYTES}"
        found = self._value(f"case when {is_small} then content_blob end", item_id)
        return found if isinstance(found, bytes) else None

    def _value(self, expression: str, item_id: str) -> object:
        row = self.conn.execute(
            f"select {expression} from embeddings where collection_id = ? and id = ?",
            [self.id, item_id],
        ).fetchone()
        if row is None:
            raise UnknownItemError(self.name, item_id)
        return row[0]

    def has_stored_images(self) -> bool:
        """Whether the content of one of its first items is an image."""
        # The type alone: SQLite need not read an image for that
        count = self._count(
            f"""
            from (
              select typeof(content_blob) as kind
              from embeddings
              where collection_id = ?
              limit {SAMPLED_ITEMS}
            )
            where kind = 'blob'
            """
        )
        return count > 0

    def items(self, item_ids: Sequence[str]) -> dict[str, StoredItem]:
        """Those of *item_ids* that exist, with their content and metadata, by id."""
        rows = schema.rows_in(self.conn, _ITEMS, [self.id], item_ids)
        return {
            item_id: StoredItem(
                item_id,
                content,
                None if metadata is None else _read_metadata(metadata),
                bool(has_image),
                digest,
            )
            for item_id, content, metadata, has_image, digest in rows
        }

    def count_failures(self) -> int:
        """How many rows could not be embedded."""
        failures = schema.table_or_empty("_embedding_failures", self.columns)
        return self._count(f"from {failures} where collection_id = ?")

    def failures(self, limit: int = -1) -> list[StoredFailure]:
        """The rows that could not be embedded, by id; at most *limit* if given."""
        if not self.columns["_embedding_failures"]:
            return []
        rows = self.conn.execute(
            f"""
            select id, error, attempts, last_tried
            from _embedding_failures
            where {schema.valid_sql("_embedding_failures")}
            and collection_id = ?
            order by id
            limit ?
            """,
            [self.id, limit],
        )
        return [StoredFailure(*row) for row in rows]

    def snapshot(self) -> tuple[float | None, ...]:
        """Numbers that change when the vectors do; the last `updated` ends them.

        llm replaces rows, which gives them new rowids; an update in place sets
        `updated`.
        """
        row = self.conn.execute(
            """
            select count(*), total(rowid), max(rowid), total(updated), max(
              case when typeof(updated) in ('integer', 'real') then updated end
            )
            from embeddings
            where collection_id = ?
            """,
            [self.id],
        ).fetchone()
        return tuple(row)

    def words_state(self) -> int | None:
        """A number that is another one after each write of the words; None without."""
        # A database may get the column while an index of it is in memory
        has_state = self.conn.execute(
            """
            select 1
            from pragma_table_info('_embedding_collections', 'main')
            where name = 'words_state'
            """
        ).fetchone()
        if has_state is None:
            return None
        row = self.conn.execute(
            "select words_state from _embedding_collections where collection_id = ?",
            [self.id],
        ).fetchone()
        return None if row is None else row[0]

    def usual_vector_length(self) -> tuple[int, int]:
        """The length in bytes that most vectors have, and how many do."""
        is_vector = """
            collection_id = ?
            and typeof(embedding) = 'blob'
            and length(embedding) > 0
            and length(embedding) % 4 = 0
        """
        # Nearly always it is that of any vector, and to count that is ten times as fast
        row = self.conn.execute(
            f"""
            select first, sum(length(embedding) = first) as equal, count(*)
            from embeddings, (
              select length(embedding) as first
              from embeddings
              where {is_vector}
              limit 1
            )
            where {is_vector}
            """,
            [self.id, self.id],
        ).fetchone()
        if row[2] and row[1] * 2 <= row[2]:
            row = self.conn.execute(
                f"""
                select length(embedding), count(*)
                from embeddings
                where {is_vector}
                group by 1
                order by 2 desc, 1
                limit 1
                """,
                [self.id],
            ).fetchone()
        return (row[0], row[1]) if row[0] else (0, 0)

    def vector_rows(self) -> Iterator[tuple[str, bytes]]:
        """Every id and vector that are TEXT and BLOB, as they must be."""
        return self.conn.execute(
            """
            select id, embedding
            from embeddings
            where collection_id = ?
            and typeof(id) = 'text'
            and typeof(embedding) = 'blob'
            """,
            [self.id],
        )

    def _count(self, rows: str) -> int:
        (count,) = self.conn.execute(f"select count(*) {rows}", [self.id]).fetchone()
        return int(count)


def _read_metadata(text: str) -> Mapping[str, object] | None:
    """The object in *text*; for JSON that no answer can hold, *text* itself."""
    try:
        metadata = json.loads(text) if text else None
        whole = json.dumps(metadata, ensure_ascii=False, allow_nan=False)
        if "\\u" in text:
            # It may have half of a character
            metadata = json.loads(whole.encode("utf-8", "replace"))
        if text.count("[") + text.count("{") > SAFE_DEPTH:
            # A server answers from deeper in Python's stack
            json.loads(f"{'[' * SAFE_DEPTH}{text}{']' * SAFE_DEPTH}")
    except (ValueError, RecursionError):
        # llm writes JSON; text that another program put there is shown as it is
        return {"metadata": text}
    return metadata if isinstance(metadata, dict | None) else {"metadata": metadata}


def is_recent(state: Sequence[float | None]) -> bool:
    """Whether a row may still change without a trace in *state*, a snapshot.

    A row that is deleted and inserted again within one second leaves none.
    """
    return (state[-1] or 0) >= time.time() - RECENT_S
