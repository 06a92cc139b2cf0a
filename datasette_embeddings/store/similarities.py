"""Similarities: the nearest other documents of each, and of which vectors they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from datasette_embeddings.store.collections import Collection
from datasette_embeddings.store.schema import (
    CHUNKS,
    PARAMETERS,
    SIMILARITIES,
    SIMILARITY_MARKS,
    read_columns,
    valid_sql,
)

#: id, other_id and score
SimilarityRow: TypeAlias = tuple[str, str, float]
#: By the id of a document the state of the vectors that its list is of, and what a new
#: document must score to join the list
Marks: TypeAlias = dict[str, tuple[str, float]]
#: The id of a document, what changes with a vector of it, the hash of its text (None in
#: a collection without chunks), and the vector
MarkedVector: TypeAlias = tuple[str, str, bytes | None, bytes]


def marked_vectors(collection: Collection) -> Iterator[MarkedVector]:
    """Every vector of *collection*, and what of it changes with it.

    llm replaces rows, which gives them new rowids; an update in place sets `updated`.
    """
    if collection.has_chunks:
        sql = f"""
            select
              coalesce(document_id, embeddings.id),
              embeddings.rowid || ':' || coalesce(updated, ''),
              content_hash,
              embedding
            from embeddings
            left join {CHUNKS} as chunks
              on chunks.collection_id = embeddings.collection_id
              and chunks.id = embeddings.id
              and typeof(chunks.document_id) = 'text'
        """
    else:
        sql = """
            select id, rowid || ':' || coalesce(updated, ''), null, embedding
            from embeddings
        """
    return collection.conn.execute(
        f"""
        {sql}
        where embeddings.collection_id = ?
        and typeof(embeddings.id) = 'text'
        and typeof(embedding) = 'blob'
        """,
        [collection.id],
    )


def similarity_marks(collection: Collection) -> Marks:
    """What the similarities of *collection* are of."""
    rows = collection.conn.execute(
        f"""
        select id, state, lowest
        from {SIMILARITY_MARKS}
        where {valid_sql(SIMILARITY_MARKS)}
        and lowest is not null
        and collection_id = ?
        """,
        [collection.id],
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def existing_documents(collection: Collection, document_ids: Sequence[str]) -> set[str]:
    """Which of *document_ids* have an embedding, or chunks that have."""
    found: set[str] = set()
    for start in range(0, len(document_ids), PARAMETERS):
        some = document_ids[start : start + PARAMETERS]
        wanted = ", ".join("?" * len(some))
        sql = f"select id from embeddings where collection_id = ? and id in ({wanted})"
        found.update(
            row[0] for row in collection.conn.execute(sql, [collection.id, *some])
        )
        if collection.has_chunks:
            sql = f"""
                select document_id
                from {CHUNKS}
                where collection_id = ?
                and document_id in ({wanted})
            """
            found.update(
                row[0] for row in collection.conn.execute(sql, [collection.id, *some])
            )
    return found


def lists_with(collection: Collection, others: Sequence[str]) -> set[str]:
    """The documents that have one of *others* among their similarities."""
    found: set[str] = set()
    for start in range(0, len(others), PARAMETERS):
        some = others[start : start + PARAMETERS]
        rows = collection.conn.execute(
            f"""
            select distinct id
            from {SIMILARITIES}
            where {valid_sql(SIMILARITIES)}
            and collection_id = ?
            and other_id in ({", ".join("?" * len(some))})
            """,
            [collection.id, *some],
        )
        found.update(row[0] for row in rows)
    return found


def similarities_of(
    collection: Collection, document_id: str
) -> list[tuple[str, float]]:
    """The other documents noted for a document, and their scores, best first."""
    if not read_columns(collection.conn)[SIMILARITIES]:
        return []
    return collection.conn.execute(
        f"""
        select other_id, score
        from {SIMILARITIES}
        where {valid_sql(SIMILARITIES)}
        and id = ?
        and collection_id = ?
        order by score desc, other_id
        """,
        [document_id, collection.id],
    ).fetchall()


def similarity_rows(
    collection: Collection, document_ids: Sequence[str]
) -> list[SimilarityRow]:
    """The stored similarities of *document_ids*."""
    found: list[SimilarityRow] = []
    for start in range(0, len(document_ids), PARAMETERS):
        some = document_ids[start : start + PARAMETERS]
        found += collection.conn.execute(
            f"""
            select id, other_id, score
            from {SIMILARITIES}
            where {valid_sql(SIMILARITIES)}
            and collection_id = ?
            and id in ({", ".join("?" * len(some))})
            """,
            [collection.id, *some],
        )
    return found


def most_similar(
    collection: Collection, *, limit: int, offset: int = 0
) -> list[SimilarityRow]:
    """The pairs of documents nearest to each other, each pair once, best first."""
    if not read_columns(collection.conn)[SIMILARITIES]:
        return []
    rows = collection.conn.execute(
        PAIRS_SQL,
        {"collection_id": collection.id, "limit": limit, "offset": offset},
    )
    # The SQL is shown to people; other programs may have written anything
    return [row for row in rows if tuple(map(type, row)) == (str, str, float)]


#: A pair may stand in the list of one of the two only
PAIRS_SQL = """
    select min(id, other_id) as id, max(id, other_id) as other_id, max(score) as score
    from similarities
    where collection_id = :collection_id
    group by 1, 2
    order by 3 desc, 1, 2
    limit :limit offset :offset
"""


def write_similarities(
    collection: Collection,
    rows: Iterable[SimilarityRow],
    marks: Iterable[tuple[str, str, float]],
    *,
    deleted: Iterable[tuple[str, str]] = (),
    gone: Iterable[str] = (),
) -> None:
    """Write *rows* and *marks*, ids with their state and lowest score.

    The rows of *deleted*, pairs of ids, are deleted, and the marks of *gone*.
    """
    at = f"where collection_id = {collection.id:d} and id = ?"
    for sql, values in (
        (f"delete from {SIMILARITIES} {at} and other_id = ?", deleted),
        (f"delete from {SIMILARITY_MARKS} {at}", ((each,) for each in gone)),
        (
            f"insert or replace into {SIMILARITIES} "
            f"(collection_id, id, other_id, score) values ({collection.id:d}, ?, ?, ?)",
            rows,
        ),
        (
            f"insert or replace into {SIMILARITY_MARKS} "
            f"(collection_id, id, state, lowest) values ({collection.id:d}, ?, ?, ?)",
            marks,
        ),
    ):
        collection.conn.executemany(sql, values)


def remove_similarities(collection: Collection) -> None:
    """Delete all similarities of *collection*."""
    for table in (SIMILARITIES, SIMILARITY_MARKS):
        collection.conn.execute(
            f"delete from {table} where collection_id = ?", [collection.id]
        )
