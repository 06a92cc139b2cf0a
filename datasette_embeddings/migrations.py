"""The schema: llm's two tables, exactly, and our own beside them.

Both are recorded in ``_sqlite_migrations``.  llm's tables carry its own name and the
names of its steps, so that llm finds nothing left to do in a database of this package.
"""

from __future__ import annotations

import sqlite3
from typing import Any

# All that llm has done to its tables; the first step here makes them as the last does
LLM_STEPS = (
    "m001_create_tables",
    "m002_foreign_key",
    "m003_add_updated",
    "m004_store_content_hash",
    "m005_add_content_blob",
)


def migrate(conn: sqlite3.Connection) -> None:
    """Bring the tables in *conn* up to date, and create those that are missing.

    All steps are one transaction, which takes the write lock before it reads: SQLite
    does not wait for another writer once a transaction has read.
    """
    import sqlite_utils
    from sqlite_utils import Migrations

    # No plugins: they would register functions on a connection that is not theirs
    db = sqlite_utils.Database(conn, execute_plugins=False)
    llm, ours = Migrations("llm.embeddings"), Migrations("datasette_embeddings")
    for name in LLM_STEPS:
        llm(name=name)(_create_llm_tables)
    for step in OUR_STEPS:
        ours()(step)
    if not (llm.pending(db) or ours.pending(db)):
        return
    if not conn.in_transaction:
        conn.execute("begin immediate")
    with conn:
        # Another program may have done it meanwhile; then there is nothing to apply
        llm.apply(db)
        ours.apply(db)


def _create_llm_tables(db: Any) -> None:  # noqa: ANN401 - sqlite_utils is imported when used
    # Tables that were copied from another database come without their record
    if db["collections"].exists() or db["embeddings"].exists():
        return
    db["collections"].create({"id": int, "name": str, "model": str}, pk="id")
    db["collections"].create_index(["name"], unique=True)
    db["embeddings"].create(
        {
            "collection_id": int,
            "id": str,
            "embedding": bytes,
            "content": str,
            "content_blob": bytes,
            "content_hash": bytes,
            "metadata": str,
            "updated": int,
        },
        pk=("collection_id", "id"),
        foreign_keys=[("collection_id", "collections", "id")],
    )
    db["embeddings"].create_index(["content_hash"])


OUR_TABLES = (
    """
    create table if not exists _embedding_collections (
      collection_id integer primary key, name text, model text, dimensions integer,
      source text, created integer, synced integer, state text, similarities text,
      model_revision text, query_prompt text, passage_prompt text, normalized integer
    )
    """,
    """
    create table if not exists _embedding_sources (
      id integer primary key, collection_id integer, prefix text, source text,
      state text, synced integer
    )
    """,
    """
    create table if not exists _embedding_origins (
      collection_id integer, id text, source_id integer, content_hash blob,
      updated integer, primary key (collection_id, id)
    ) without rowid
    """,
    """
    create table if not exists _embedding_chunks (
      collection_id integer, id text, document_id text, document_hash blob,
      position integer, start integer, "end" integer, primary key (collection_id, id)
    )
    """,
    """
    create index if not exists idx__embedding_chunks_collection_id_document_id_position
    on _embedding_chunks (collection_id, document_id, position)
    """,
    """
    create table if not exists _embedding_failures (
      collection_id integer, id text, error text, attempts integer,
      last_tried integer, source_id integer, primary key (collection_id, id)
    )
    """,
)
# Only databases whose collections have similarities have these
# From this score on, an index has the similarities of all documents by score
NEAR_SCORE = 0.9
SIMILARITY_TABLES = (
    """
    create table if not exists similarities (
      collection_id integer, id text, other_id text, score real,
      primary key (id, collection_id, other_id)
    ) without rowid
    """,
    """
    create table if not exists _embedding_similarity_marks (
      collection_id integer, id text, state text, lowest real,
      primary key (collection_id, id)
    ) without rowid
    """,
    f"""
    create index if not exists idx_similarities_near
    on similarities (collection_id, score)
    where score >= {NEAR_SCORE}
    """,
    """
    create index if not exists idx__embedding_similarity_marks_lowest
    on _embedding_similarity_marks (collection_id, lowest)
    """,
)


def m006_our_tables(db: Any) -> None:  # noqa: ANN401
    # 0.2a0 made some of them, and so may a copy of tables without their record
    for sql in OUR_TABLES:
        db.execute(sql)
    if "source_id" not in db["_embedding_failures"].columns_dict:
        db.execute("alter table _embedding_failures add column source_id integer")


WORDS_TABLES = (
    """
    create table if not exists _embedding_words (
      id integer primary key, collection_id integer, document_id text,
      reversed_title text, content_hash blob, text blob
    )
    """,
    """
    create unique index if not exists idx__embedding_words_collection_id_document_id
    on _embedding_words (collection_id, document_id)
    """,
    """
    create index if not exists idx__embedding_words_collection_id_reversed_title
    on _embedding_words (collection_id, reversed_title)
    """,
    """
    create table if not exists _embedding_vocabulary (
      collection_id integer, word text, documents integer,
      primary key (collection_id, word)
    ) without rowid
    """,
)


def m007_words(db: Any) -> None:  # noqa: ANN401
    # The FTS5 table of each collection is made with its first words
    for sql in WORDS_TABLES:
        db.execute(sql)
    columns = db["_embedding_collections"].columns_dict
    for column, kind in (("words", "text"), ("closeness", "real")):
        if column not in columns:
            db.execute(f"alter table _embedding_collections add column {column} {kind}")


def m008_passages(db: Any) -> None:  # noqa: ANN401
    for table, column, kind in (
        ("_embedding_chunks", "title", "text"),
        ("_embedding_chunks", "passage_hash", "blob"),
        ("_embedding_origins", "truncated", "integer"),
        ("_embedding_collections", "truncated", "integer"),
    ):
        if column not in db[table].columns_dict:
            db.execute(f"alter table {table} add column {column} {kind}")
    db.execute(
        """
        create index if not exists idx__embedding_chunks_passage_hash
        on _embedding_chunks (passage_hash)
        where passage_hash is not null
        """
    )


def m009_words_state(db: Any) -> None:  # noqa: ANN401
    if "words_state" not in db["_embedding_collections"].columns_dict:
        db.execute("alter table _embedding_collections add column words_state integer")


COMPACT_TABLES = (
    """
    create table if not exists _embedding_compact (
      collection_id integer primary key, facts text, center blob, mean blob,
      left_out blob
    )
    """,
    """
    create table if not exists _embedding_compact_rows (
      collection_id integer, block integer, rowids blob, numbers blob, signs blob,
      primary key (collection_id, block)
    )
    """,
)


def m010_compact(db: Any) -> None:  # noqa: ANN401
    for sql in COMPACT_TABLES:
        db.execute(sql)


def m011_headings(db: Any) -> None:  # noqa: ANN401
    if "headings" not in db["_embedding_chunks"].columns_dict:
        db.execute("alter table _embedding_chunks add column headings text")


# Only databases with clusters or a map have these
CLUSTER_TABLES = (
    """
    create table if not exists embedding_clusters (
      collection_id integer, id text, cluster integer, distance real, state text,
      primary key (collection_id, id)
    ) without rowid
    """,
    """
    create index if not exists idx_embedding_clusters_collection_id_cluster
    on embedding_clusters (collection_id, cluster, distance)
    """,
    """
    create table if not exists embedding_cluster_names (
      collection_id integer, cluster integer, name text, summary text, words text,
      central text, center blob, primary key (collection_id, cluster)
    )
    """,
)
MAP_TABLES = (
    """
    create table if not exists embedding_coordinates (
      collection_id integer, id text, x real, y real, tile integer, state text,
      primary key (collection_id, id)
    ) without rowid
    """,
    """
    create index if not exists idx_embedding_coordinates_collection_id_tile
    on embedding_coordinates (collection_id, tile, id, x, y)
    """,
)


# Only databases in which the changes of a source are recorded have it
CHANGES_TABLES = (
    """
    create table if not exists _embedding_changes (
      collection_id integer, source_id integer, key text, changed real,
      version integer, error text, attempts integer, tried real,
      primary key (collection_id, source_id, key)
    ) without rowid
    """,
    """
    create index if not exists idx__embedding_changes_changed
    on _embedding_changes (collection_id, source_id, changed)
    """,
    """
    create index if not exists idx__embedding_changes_error
    on _embedding_changes (collection_id, source_id, error)
    where error is not null
    """,
)


def m012_analysis(db: Any) -> None:  # noqa: ANN401
    for column in ("clusters", "map"):
        if column not in db["_embedding_collections"].columns_dict:
            db.execute(f"alter table _embedding_collections add column {column} text")


OUR_STEPS = (
    *(m006_our_tables, m007_words, m008_passages, m009_words_state),
    *(m010_compact, m011_headings, m012_analysis),
)
