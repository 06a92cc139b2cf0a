"""Whether the words index of each collection is that of its documents, to the word."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing

from datasette_embeddings.store.collections import all_collections
from datasette_embeddings.store.indexed_text import IndexedText
from datasette_embeddings.store.schema import words_table
from datasette_embeddings.store.words import TOKENIZERS
from datasette_embeddings.store.words_check import outdated

# Each word of each document: term, document, column and position
INSTANCES = "select * from temp.instances order by term, doc, col, offset"


def assert_in_step(path):
    """Each document that has an item has its words in the index, and no other has."""
    with closing(sqlite3.connect(path)) as conn:
        for each in all_collections(conn):
            assert_collection_in_step(conn, each)


def assert_collection_in_step(conn, collection):
    assert collection.has_words
    assert outdated(collection) == []
    documents = conn.execute(
        """
        select distinct coalesce(document_id, embeddings.id)
        from embeddings
        left join _embedding_chunks as chunks using (collection_id, id)
        where embeddings.collection_id = ?
        order by 1
        """,
        [collection.id],
    ).fetchall()
    rows = conn.execute(
        """
        select id, document_id, text
        from _embedding_words
        where collection_id = ?
        order by document_id
        """,
        [collection.id],
    ).fetchall()
    assert [(document_id,) for _id, document_id, _text in rows] == documents
    texts = {number: IndexedText.unpacked(text) for number, _id, text in rows}
    assert instances(conn, "main", words_table(collection.id)) == indexed_again(
        texts, collection.words
    )
    counted = Counter(word for text in texts.values() for word in text.vocabulary())
    stored = conn.execute(
        "select word, documents from _embedding_vocabulary where collection_id = ?",
        [collection.id],
    )
    assert dict(stored) == (counted if collection.words != "trigram" else {})


def instances(conn, schema, table):
    conn.execute(
        "create virtual table temp.instances "
        f"using fts5vocab ({schema}, {table}, instance)"
    )
    try:
        return conn.execute(INSTANCES).fetchall()
    finally:
        conn.execute("drop table temp.instances")


def indexed_again(texts, kind):
    with closing(sqlite3.connect(":memory:")) as conn:
        conn.execute(
            "create virtual table words "
            f"using fts5 (title, body, content='', tokenize='{TOKENIZERS[kind]}')"
        )
        conn.executemany(
            "insert into words (rowid, title, body) values (?, ?, ?)",
            ((number, text.title, text.body) for number, text in texts.items()),
        )
        return instances(conn, "main", "words")
