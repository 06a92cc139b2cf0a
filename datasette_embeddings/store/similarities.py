"""Similarities: the nearest other documents of each, and of which vectors they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.migrations import NEAR_SCORE, SIMILARITY_TABLES
from datasette_embeddings.store import schema
from datasette_embeddings.store.chunks import DOCUMENT, items_with_chunks
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.facts import read_facts, store_facts

# Another program may have written the limit
LARGEST_LIMIT = 1_000_000
#: id, other_id and score
SimilarityRow: TypeAlias = tuple[str, str, float]
#: By the id of a document the state of the vectors that its list is of, and what a new
#: document must score to join the list
Marks: TypeAlias = dict[str, tuple[str, float]]
#: The id of a document, what changes with a vector of it, the hash of its text, and it
MarkedVector: TypeAlias = tuple[str, str, bytes | None, bytes]


def marked_vectors(collection: StoredCollection) -> Iterator[MarkedVector]:
    """Every vector of *collection*, with a text that changes whenever the vector does.

    llm replaces rows, which gives them new rowids; an update in place sets `updated`.
    A document that becomes whole may get the rowid of its chunk in the same second.
    """
    return collection.conn.execute(
        f"""
        select
          {DOCUMENT},
          embeddings.rowid || ':' || coalesce(updated, '')
            || case when chunks.id is null then '=' else '#' end,
          content_hash,
          embedding
        {items_with_chunks(collection)}
        and typeof(embedding) = 'blob'
        """
    )


#: A pair may be in the list of one of the two only
PAIRS_SQL = """
    select min(id, other_id) as id, max(id, other_id) as other_id, max(score) as score
    from similarities
    where collection_id = :collection_id
    group by 1, 2
    order by 3 desc, 1, 2
    limit :limit offset :offset
"""
_VALID_ROWS = f"""
    from similarities
    where {schema.valid_sql("similarities")}
    and collection_id = ?
"""


class Similarities:
    """The stored similarities of a collection: the nearest others of each document."""

    def __init__(self, collection: StoredCollection) -> None:
        self.collection = collection
        self.conn = collection.conn

    @property
    def settings(self) -> SimilaritySettings | None:
        """The similarities that the collection is to have; None for none."""
        stored = read_facts(self.collection, "similarities")
        limit, min_score = stored.get("limit"), stored.get("min_score")
        if type(limit) is not int or not 0 < limit <= LARGEST_LIMIT:
            return None
        if not isinstance(min_score, float | int | None):
            min_score = None
        return SimilaritySettings(limit, min_score)

    @property
    def state(self) -> list[float] | None:
        """The state of the vectors that the similarities are of."""
        state = read_facts(self.collection, "similarities").get("state")
        return state if isinstance(state, list) else None

    @property
    def recall(self) -> float | None:
        """What part of the nearest the lists have, as measured; None if all."""
        recall = read_facts(self.collection, "similarities").get("recall")
        return recall if isinstance(recall, float) else None

    def store_settings(
        self,
        settings: SimilaritySettings | None,
        state: Sequence[float | None] | None = None,
        recall: float | None = None,
    ) -> None:
        """Store the similarities that the collection is to have, and their state."""
        values: dict[str, object] = {}
        if settings is not None:
            values = {**vars(settings), "state": state, "recall": recall}
        given = {name: value for name, value in values.items() if value is not None}
        store_facts(self.collection, "similarities", given)

    def prepare(self) -> None:
        """Create the tables of similarities, if they do not exist."""
        names = "similarities", "_embedding_similarity_marks"
        schema.create_tables(self.conn, names, SIMILARITY_TABLES)

    def of(self, document_id: str) -> list[tuple[str, float]]:
        """The documents similar to a document and their scores, best first."""
        if not schema.read_columns(self.conn)["similarities"]:
            return []
        sql = f"select other_id, score {_VALID_ROWS} and id = ?"
        return self.conn.execute(
            f"{sql} order by score desc, other_id", [self.collection.id, document_id]
        ).fetchall()

    def pairs(self, *, limit: int, offset: int = 0) -> list[SimilarityRow]:
        """The pairs of documents nearest to each other, each pair once, best first."""
        if not schema.read_columns(self.conn)["similarities"]:
            return []
        key = {"collection_id": self.collection.id}
        rows = self.conn.execute(PAIRS_SQL, {**key, "limit": limit, "offset": offset})
        # The SQL is shown to people; other programs may have written anything
        return [row for row in rows if tuple(map(type, row)) == (str, str, float)]

    def near(self, min_score: float, *, limit: int = -1) -> Iterator[SimilarityRow]:
        """The similarities of at least *min_score*, highest first; -1 is no limit.

        From ``NEAR_SCORE`` on, an index has them.
        """
        if not schema.read_columns(self.conn)["similarities"]:
            return iter(())
        is_near = f"and score >= {NEAR_SCORE}" if min_score >= NEAR_SCORE else ""
        return self.conn.execute(
            f"""
            select id, other_id, score
            {_VALID_ROWS}
            {is_near}
            and score >= ?
            order by score desc, id desc, other_id desc
            limit ?
            """,
            [self.collection.id, min_score, limit],
        )

    def by_lowest(self) -> Iterator[tuple[str, float]]:
        """Each document and the lowest score of a full list of it, lowest first.

        Of a list that is not full, it is what the settings ask for at least.
        """
        if not schema.read_columns(self.conn)["_embedding_similarity_marks"]:
            return iter(())
        return self.conn.execute(
            f"""
            select id, lowest
            from _embedding_similarity_marks
            where {schema.valid_sql("_embedding_similarity_marks")}
            and lowest is not null
            and collection_id = ?
            order by lowest, id
            """,
            [self.collection.id],
        )

    def rows(self, document_ids: Sequence[str]) -> list[SimilarityRow]:
        """The stored similarities of *document_ids*."""
        sql = f"select id, other_id, score {_VALID_ROWS} and id in"
        rows = schema.rows_in(self.conn, sql, [self.collection.id], document_ids)
        # Tuples, also from a connection that makes other rows
        return [(one, other, score) for one, other, score in rows]

    def lists_with(self, others: Sequence[str]) -> set[str]:
        """The documents that have one of *others* among their similarities."""
        sql = f"select distinct id {_VALID_ROWS} and other_id in"
        rows = schema.rows_in(self.conn, sql, [self.collection.id], others)
        return {row[0] for row in rows}

    def marks(self) -> Marks:
        """The vectors that the lists of documents are of, and their lowest scores."""
        rows = self.conn.execute(
            f"""
            select id, state, lowest
            from _embedding_similarity_marks
            where {schema.valid_sql("_embedding_similarity_marks")}
            and lowest is not null
            and collection_id = ?
            """,
            [self.collection.id],
        )
        return {row[0]: (row[1], row[2]) for row in rows}

    def write(
        self,
        rows: Iterable[SimilarityRow],
        marks: Iterable[tuple[str, str, float]],
        *,
        deleted: Iterable[tuple[str, str]] = (),
        gone: Iterable[str] = (),
    ) -> None:
        """Write *rows* and *marks*, ids with their state and lowest score.

        The rows of *deleted*, pairs of ids, are deleted, and the marks of *gone*.
        """
        key = int(self.collection.id)
        at = f"where collection_id = {key} and id = ?"
        execute, gone_keys = self.conn.executemany, [(each,) for each in gone]
        execute(f"delete from similarities {at} and other_id = ?", deleted)
        execute(f"delete from _embedding_similarity_marks {at}", gone_keys)
        execute(
            "insert or replace into similarities "
            f"(collection_id, id, other_id, score) values ({key}, ?, ?, ?)",
            rows,
        )
        execute(
            "insert or replace into _embedding_similarity_marks "
            f"(collection_id, id, state, lowest) values ({key}, ?, ?, ?)",
            marks,
        )

    def clear(self) -> None:
        """Delete all similarities of the collection."""
        for table in ("similarities", "_embedding_similarity_marks"):
            self.conn.execute(
                f"delete from {table} where collection_id = ?", [self.collection.id]
            )
