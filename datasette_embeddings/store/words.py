"""The words index of a collection: one FTS5 table of its documents.

The FTS5 table stores no content, which takes a third of the space.  To delete the words
of a document, SQLite must be given its text as it was indexed (``contentless_delete``
came with 3.43), so a compressed copy stands beside it in ``_embedding_words``.
``_embedding_vocabulary`` counts the documents of each word, for spelling.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from datasette_embeddings.config import NO_WORDS
from datasette_embeddings.documents import Document
from datasette_embeddings.errors import DatabaseError
from datasette_embeddings.store import schema
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.indexed_text import IndexedText, reversed_title

#: What FTS5 calls the tokenizer of each kind of words index
TOKENIZERS = {
    "english": "porter unicode61 remove_diacritics 2",
    "plain": "unicode61 remove_diacritics 2",
    "trigram": "trigram",
}
#: Documents whose words one transaction writes
WINDOW = 1_000


class Words:
    """The words index of a collection, used through its connection.

    Every write is part of the transaction that writes the vectors.
    """

    def __init__(self, collection: StoredCollection) -> None:
        self.collection, self.conn = collection, collection.conn
        self.table = schema.words_table(collection.id)

    def create(self, kind: str) -> None:
        """Make an index of that *kind*, or none.

        The words of one of another kind are indexed again as those of this one.
        """
        if kind == self.collection.words:
            return
        if kind == NO_WORDS or not self.collection.has_words:
            drop(self.collection)
        # A collection that llm made has no row yet
        self.conn.execute(
            """
            insert into _embedding_collections (collection_id, name, model, words)
            select id, name, model, ?
            from collections
            where id = ?
            on conflict (collection_id) do update
            set words = excluded.words
            """,
            [kind, self.collection.id],
        )
        self._is_changed()
        self.collection = replace(self.collection, words=kind)
        if kind != NO_WORDS:
            self.index_again()

    def index_again(self) -> None:
        """Make the tables again, and index the stored text of each document in them."""
        drop_tables(self.collection)
        self._make_tables()
        self._is_changed()
        last = 0
        sql = """
            select id, text
            from _embedding_words
            where collection_id = ?
            and id > ?
            order by id
            limit ?
        """
        while rows := self.conn.execute(
            sql, [self.collection.id, last, WINDOW]
        ).fetchall():
            self._index([(number, IndexedText.unpacked(text)) for number, text in rows])
            last = rows[-1][0]

    def _make_tables(self) -> None:
        tokenizer = TOKENIZERS[str(self.collection.words)]
        try:
            self.conn.execute(
                f"""
                create virtual table {self.table}
                using fts5 (title, body, content='', tokenize='{tokenizer}')
                """
            )
            if self.collection.words == "trigram":
                # Words of two letters are looked for among the trigrams
                self.conn.execute(
                    f"create virtual table {self.table}_terms "
                    f"using fts5vocab ({self.table}, row)"
                )
        except sqlite3.OperationalError as error:
            if not str(error).startswith("no such"):
                raise
            raise DatabaseError(
                f"This SQLite cannot index words ({error}): use --no-words"
            ) from error

    def write(self, documents: Sequence[Document]) -> None:
        """Index *documents* in place of what was indexed of their ids."""
        if not self.collection.has_words:
            return
        self.delete([each.id for each in documents])
        (last,) = self.conn.execute("select max(id) from _embedding_words").fetchone()
        first = (last or 0) + 1
        words = [IndexedText.of(each) for each in documents]
        numbered = list(
            zip(range(first, first + len(words)), documents, words, strict=True)
        )
        self._index([(number, each) for number, _document, each in numbered])
        self.conn.executemany(
            """
            insert into _embedding_words
              (id, collection_id, document_id, reversed_title, content_hash, text)
            values (?, ?, ?, ?, ?, ?)
            """,
            (
                (
                    number,
                    self.collection.id,
                    document.id,
                    reversed_title(document.title or document.id),
                    document.content_hash,
                    each.packed(),
                )
                for number, document, each in numbered
            ),
        )
        self._is_changed()

    def _index(self, texts: Sequence[tuple[int, IndexedText]]) -> None:
        """Add the words of *texts*, each with its number."""
        self.conn.executemany(
            f"insert into {self.table} (rowid, title, body) values (?, ?, ?)",
            ((number, each.title, each.body) for number, each in texts),
        )
        self._count([each for _number, each in texts], 1)

    def delete(self, document_ids: Sequence[str]) -> None:
        """Delete the words of *document_ids*, as far as they are indexed."""
        if not self.collection.has_words:
            return
        sql = """
            select id, text
            from _embedding_words
            where collection_id = ?
            and document_id in
        """
        rows = schema.rows_in(self.conn, sql, [self.collection.id], document_ids)
        old = [(number, IndexedText.unpacked(text)) for number, text in rows]
        self.conn.executemany(
            f"""
            insert into {self.table} ({self.table}, rowid, title, body)
            values ('delete', ?, ?, ?)
            """,
            ((number, each.title, each.body) for number, each in old),
        )
        self.conn.executemany(
            "delete from _embedding_words where id = ?",
            ((number,) for number, _each in old),
        )
        self._count([each for _number, each in old], -1)
        self._is_changed()

    def _is_changed(self) -> None:
        """Let `words_state()` show that the index is another one."""
        self.conn.execute(
            """
            update _embedding_collections
            set words_state = random()
            where collection_id = ?
            """,
            [self.collection.id],
        )

    def _count(self, words: Iterable[IndexedText], change: int) -> None:
        """Count the documents of each word: *change* for each of *words*."""
        if self.collection.words == "trigram":
            # A word that is misspelled has most of its trigrams all the same
            return
        counts = Counter(word for each in words for word in each.vocabulary())
        self.conn.executemany(
            """
            insert into _embedding_vocabulary (collection_id, word, documents)
            values (?, ?, ?)
            on conflict (collection_id, word) do update
            set documents = documents + excluded.documents
            """,
            ((self.collection.id, word, n * change) for word, n in counts.items()),
        )
        if change < 0:
            self.conn.executemany(
                """
                delete from _embedding_vocabulary
                where collection_id = ?
                and word = ?
                and documents < 1
                """,
                ((self.collection.id, word) for word in counts),
            )


def drop(collection: StoredCollection) -> None:
    """Delete the words index of *collection*."""
    drop_tables(collection)
    if collection.columns["_embedding_words"]:
        collection.conn.execute(
            "delete from _embedding_words where collection_id = ?", [collection.id]
        )


def drop_tables(collection: StoredCollection) -> None:
    """Delete all of the words index that is made of the texts in _embedding_words."""
    conn, table = collection.conn, schema.words_table(collection.id)
    conn.execute(f"drop table if exists {table}_terms")
    try:
        conn.execute(f"drop table if exists {table}")
    except sqlite3.OperationalError:
        # FTS5 opens what it drops, and for that it needs the version of its format
        conn.execute(
            f"create table if not exists {table}_config "
            "(k primary key, v) without rowid"
        )
        conn.execute(f"insert or replace into {table}_config values ('version', 4)")
        conn.execute(f"drop table {table}")
    if collection.columns["_embedding_vocabulary"]:
        collection.conn.execute(
            "delete from _embedding_vocabulary where collection_id = ?", [collection.id]
        )


def stale_tables(conn: sqlite3.Connection) -> list[str]:
    """The virtual tables of collections that no longer exist."""
    rows = conn.execute(
        """
        select name
        from sqlite_master
        where sql like 'create virtual table%'
        and name glob '_embedding_words_[0-9]*'
        and not exists (
          select 1
          from collections
          join _embedding_collections as facts
            on facts.collection_id = collections.id
            and facts.name = collections.name
            and facts.model = collections.model
          where sqlite_master.name in (
            '_embedding_words_' || collections.id,
            '_embedding_words_' || collections.id || '_terms'
          )
        )
        order by sqlite_master.name desc
        """
    )
    return [name for (name,) in rows]
