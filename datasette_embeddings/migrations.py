"""The schema, step by step: llm's two tables, exactly, and our own beside them.

Both sets are recorded in ``_sqlite_migrations``.  The first carries llm's own name and
the names of its steps, so that llm finds nothing left to do in a database of ours, and
we finish what an older llm began.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

LLM_SET = "llm.embeddings"
OUR_SET = "datasette_embeddings"

UTC = timezone.utc
EMBEDDINGS_ORDER = ("collection_id", "id", "embedding", "content")


def migrate(conn: sqlite3.Connection) -> None:
    """Bring the tables in *conn* up to date, and create those that are missing.

    All steps are one transaction, which takes the write lock before it reads: SQLite
    does not wait for another writer once a transaction has read.
    """
    import sqlite_utils
    from sqlite_utils import Migrations

    # No plugins: they would register functions on a connection that is not theirs
    db = sqlite_utils.Database(conn, execute_plugins=False)
    sets = []
    for name, steps in ((LLM_SET, LLM_STEPS), (OUR_SET, OUR_STEPS)):
        migrations = Migrations(name)
        for step in steps:
            migrations()(step)
        sets.append(migrations)
    if not any(each.pending(db) for each in sets):
        return
    if not conn.in_transaction:
        conn.execute("begin immediate")
    with conn:
        for each in sets:
            # Another program may have done it meanwhile
            if each.pending(db):
                _record_what_is_there(db, each, each.name)
                each.apply(db)


def _record_what_is_there(db: Any, migrations: Any, name: str) -> None:  # noqa: ANN401
    """Record llm's steps whose work is there without their record.

    Tables that were copied from another database come without it.
    """
    if name != LLM_SET or not db["embeddings"].exists() or migrations.applied(db):
        return
    columns = set(db["embeddings"].columns_dict)
    done = [step.__name__ for step, column in LLM_SIGNS if column in columns]
    migrations.ensure_migrations_table(db)
    db[migrations.migrations_table].insert_all(
        {"migration_set": name, "name": step, "applied_at": str(datetime.now(UTC))}
        for step in done
    )


def m001_create_tables(db: Any) -> None:  # noqa: ANN401 - sqlite_utils is imported when used
    db["collections"].create({"id": int, "name": str, "model": str}, pk="id")
    db["collections"].create_index(["name"], unique=True)
    columns = {
        "collection_id": int,
        "id": str,
        "embedding": bytes,
        "content": str,
        "metadata": str,
    }
    db["embeddings"].create(columns, pk=("collection_id", "id"))


def m002_foreign_key(db: Any) -> None:  # noqa: ANN401
    db["embeddings"].add_foreign_key("collection_id", "collections", "id")


def m003_add_updated(db: Any) -> None:  # noqa: ANN401
    db["embeddings"].add_column("updated", int)
    db["embeddings"].transform()
    # When older rows were made is not known; llm calls that "now"
    db.execute(
        "update embeddings set updated = ? where updated is null", [int(time.time())]
    )


def m004_store_content_hash(db: Any) -> None:  # noqa: ANN401
    db["embeddings"].add_column("content_hash", bytes)
    db["embeddings"].transform(
        column_order=(*EMBEDDINGS_ORDER, "content_hash", "metadata", "updated")
    )
    # Content that was not stored gets a hash that no content has, so that it is
    # embedded once more
    unknown = _md5(f"not stored, {time.time()}")
    rows = db.execute("select rowid, content from embeddings").fetchall()
    for rowid, content in rows:
        content_hash = unknown if content is None else _md5(content)
        db.execute(
            "update embeddings set content_hash = ? where rowid = ?",
            [content_hash, rowid],
        )
    db["embeddings"].create_index(["content_hash"])


def m005_add_content_blob(db: Any) -> None:  # noqa: ANN401
    db["embeddings"].add_column("content_blob", bytes)
    db["embeddings"].transform(column_order=(*EMBEDDINGS_ORDER, "content_blob"))


OUR_TABLES = (
    """
    create table if not exists _embedding_collections (
      collection_id integer primary key, name text, model text, dimensions integer,
      source text, created integer, synced integer
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
      last_tried integer, primary key (collection_id, id)
    )
    """,
)
# Earlier releases made these tables without them
LATER_COLUMNS = {
    "_embedding_collections": {
        "state": "text",
        "similarities": "text",
        "model_revision": "text",
        "query_prompt": "text",
        "passage_prompt": "text",
        "normalized": "integer",
    },
    "_embedding_failures": {"source_id": "integer"},
}
# Only databases whose collections have similarities have these
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
)


def m006_our_tables(db: Any) -> None:  # noqa: ANN401
    # Steps m001 to m005 of earlier releases may have made some of it, and so may a
    # copy of tables without their record
    for sql in OUR_TABLES:
        db.execute(sql)
    for table, columns in LATER_COLUMNS.items():
        for column in columns.keys() - db[table].columns_dict.keys():
            db.execute(f"alter table {table} add column {column} {columns[column]}")


def _md5(text: str) -> bytes:
    return hashlib.md5(text.encode("utf-8"), usedforsecurity=False).digest()


LLM_STEPS: tuple[Callable[[Any], None], ...] = (
    m001_create_tables,
    m002_foreign_key,
    m003_add_updated,
    m004_store_content_hash,
    m005_add_content_blob,
)
# The column of `embeddings` that shows that a step was done
LLM_SIGNS = tuple(
    zip(
        LLM_STEPS,
        ("embedding", "embedding", "updated", "content_hash", "content_blob"),
        strict=True,
    )
)
OUR_STEPS: tuple[Callable[[Any], None], ...] = (m006_our_tables,)
