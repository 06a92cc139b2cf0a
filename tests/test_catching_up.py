"""A compact index that follows the commits of all programs, and the saved one."""

from __future__ import annotations

import random
import sqlite3
import threading
import time

import numpy as np
import pytest

from datasette_embeddings.chunking import Chunk
from datasette_embeddings.documents import Document
from datasette_embeddings.index import cache, catching_up
from datasette_embeddings.index.building import blocks, read_compact
from datasette_embeddings.index.verifying import count_wrong
from datasette_embeddings.ingest.words import index_words
from datasette_embeddings.store import documents as documents_module
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.compact_index import SavedIndex
from datasette_embeddings.store.documents import EmbeddedDocument, write_documents
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.store.words import Words
from datasette_embeddings.vectors import encode, normalize
from tests.following import assert_current, compact_indexes
from tests.kills import Clock
from tests.test_ranking import VOCABULARY

DIMENSIONS = 64
NAME = "items"


class Writer:
    """Writes to a collection through its own connection, as several programs do."""

    def __init__(self, path, count=400):
        self.conn = sqlite3.connect(path)
        self.random = np.random.default_rng(7)
        create_collection(self.conn, NAME, "model", None)
        # Rows of another collection lie between its own
        create_collection(self.conn, "others", "model", None)
        self.write([f"{number}" for number in range(count // 2)])
        self.write(["1", "2", "3"], name="others")
        self.write([f"{number}" for number in range(count // 2, count)])

    @property
    def collection(self):
        return collection(self.conn, NAME)

    def write(self, ids, *, in_chunks=False, name=NAME):
        embedded = []
        for each in ids:
            text = " ".join(self.random.choice(VOCABULARY, 4))
            document, parts = Document(each, text), 3 if in_chunks else 1
            chunks = [
                Chunk(position, 0, len(text), text, None) for position in range(parts)
            ]
            items = [
                Document(f"{each}#{position}", f"{text} {position}")
                for position in range(parts)
            ]
            vectors = self.random.standard_normal((parts, DIMENSIONS))
            embedded.append(
                EmbeddedDocument(
                    document,
                    chunks if in_chunks else None,
                    items if in_chunks else [document],
                    normalize(vectors.astype(np.float32)),
                )
            )
        with transaction(self.conn):
            write_documents(collection(self.conn, name), embedded, store_content=True)

    def replace_as_llm(self, item_id):
        vector = self.random.standard_normal(DIMENSIONS).astype(np.float32)
        with self.conn:
            self.conn.execute(
                """
                insert or replace into embeddings
                  (collection_id, id, embedding, content, content_hash, updated)
                values (?, ?, ?, 'of llm', x'00', ?)
                """,
                [self.collection.id, item_id, encode(vector), int(time.time()) - 9],
            )

    def delete(self, ids):
        with self.conn:
            self.conn.executemany(
                "delete from embeddings where collection_id = ? and id = ?",
                [(self.collection.id, each) for each in ids],
            )

    def ids(self):
        return sorted(self.collection.item_ids())


@pytest.fixture
def writer(tmp_path, monkeypatch):
    """Its rows are old enough to be remembered."""
    monkeypatch.setattr(documents_module, "time", Clock)
    made = Writer(tmp_path / "x.db")
    yield made
    made.conn.close()


def changes(writer):
    """What programs do to a collection, by name."""
    ids, rest = writer.ids, writer.random

    def some(count):
        return rest.choice(ids(), count, replace=False).tolist()

    def reindexed():
        kind = "plain" if writer.collection.words == "english" else "english"
        index_words(writer.collection, kind)

    def other_title():
        document = Document(some(1)[0], "other words", None, "A title")
        with transaction(writer.conn):
            Words(writer.collection).write([document])

    def number_reused():
        last = "select document_id from _embedding_words order by id desc limit 2"
        documents = [document_id for (document_id,) in writer.conn.execute(last)]
        with transaction(writer.conn):
            Words(writer.collection).delete(documents)
        writer.write([f"new {rest.integers(1_000_000)}"])

    return {
        "number reused": number_reused,
        "new": lambda: writer.write([f"new {rest.integers(1_000_000)}"]),
        "changed": lambda: writer.write(some(5)),
        "last changed": lambda: writer.write(ids()[-2:]),
        "in chunks": lambda: writer.write(some(2), in_chunks=True),
        "of llm": lambda: [writer.replace_as_llm(each) for each in some(3)],
        "deleted": lambda: writer.delete(some(7)),
        "last deleted": lambda: writer.delete(last_items(writer)),
        "last replaced": lambda: (
            writer.delete(last := last_items(writer)),
            writer.write(last),
        ),
        "of others": lambda: writer.write(["2"], name="others"),
        "words anew": reindexed,
        "other words": other_title,
        "no words": lambda: index_words(writer.collection, "none"),
        "words again": lambda: index_words(writer.collection, "english"),
        "packed": lambda: writer.conn.execute("vacuum"),
    }


def last_items(writer):
    rows = writer.conn.execute(
        """
        select id
        from embeddings
        where collection_id = ?
        order by rowid desc
        limit 3
        """,
        [writer.collection.id],
    )
    return [item_id for (item_id,) in rows]


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_committed_the_index_follows(writer, seed):
    own, chosen = compact_indexes(), random.Random(seed)
    assert_current(own.index(writer.collection))
    for step in range(25):
        name = chosen.choice([*changes(writer)])
        if name.startswith("last") and len(writer.ids()) < 10:
            continue
        changes(writer)[name]()
        index = own.index(writer.collection)
        try:
            assert_current(index)
        except AssertionError as error:
            raise AssertionError(f"after {name}, step {step}") from error


@pytest.mark.parametrize("seed", range(12))
def test_a_saved_index_and_what_came_since_are_the_whole(writer, seed):
    chosen = random.Random(seed)
    compact_indexes().save(writer.collection)
    for _ in range(8):
        name = chosen.choice([*changes(writer)])
        changes(writer)[name]()
        assert_current(compact_indexes().index(writer.collection))
        if chosen.random() < 0.3:
            compact_indexes().save(writer.collection)


def vectors_read(monkeypatch):
    """The number of vectors that are read from now on, as a list."""
    read = []

    def counted(rows, length):
        for block in blocks(rows, length):
            read.append(len(block.rowids))
            yield block

    monkeypatch.setattr(catching_up, "blocks", counted)
    monkeypatch.setattr(catching_up, "read_compact", None)
    monkeypatch.setattr(cache, "read_compact", None)
    return read


@pytest.mark.parametrize("change", ["new", "changed", "of llm", "deleted", "of others"])
def test_only_new_vectors_are_read(writer, monkeypatch, change):
    own = compact_indexes()
    own.index(writer.collection)
    read = vectors_read(monkeypatch)
    changes(writer)[change]()
    assert_current(own.index(writer.collection))
    assert sum(read) <= 5


def test_a_start_reads_no_vector_that_is_saved(writer, monkeypatch):
    compact_indexes().save(writer.collection)
    writer.write(["new"])
    read = vectors_read(monkeypatch)
    index = compact_indexes().index(writer.collection)
    assert_current(index)
    assert read == [1]
    assert index.recall == SavedIndex(writer.collection).facts().recall


def test_rows_of_the_last_seconds_are_read_again(tmp_path):
    # The last row may go and come back as it was, after another one that did not
    writer, own = Writer(tmp_path / "x.db"), compact_indexes()
    own.index(writer.collection)
    *_others, changed, last = writer.conn.execute(
        """
        select collection_id, id, embedding, content, content_hash, updated
        from embeddings
        order by rowid
        """
    )
    other = [*changed]
    other[2] = encode(np.ones(DIMENSIONS))
    writer.delete([changed[1], last[1]])
    with writer.conn:
        writer.conn.executemany(
            """
            insert into embeddings
              (collection_id, id, embedding, content, content_hash, updated)
            values (?, ?, ?, ?, ?, ?)
            """,
            [other, last],
        )
    assert_current(own.index(writer.collection))
    writer.conn.close()


def test_an_index_that_lacks_few_rows_is_not_saved_again(writer):
    own = compact_indexes()
    own.save(writer.collection)
    saved = SavedIndex(writer.collection).facts()
    writer.write(["one", "two"])
    own.save(writer.collection)
    assert SavedIndex(writer.collection).facts().of_vectors == saved.of_vectors
    writer.write([f"more {number}" for number in range(20)])
    own.save(writer.collection)
    facts = SavedIndex(writer.collection).facts()
    assert (facts.rows, facts.added) == (422, 22)
    # Many more: the center and the recall are those of all
    writer.write([f"most {number}" for number in range(200)])
    own.save(writer.collection)
    assert SavedIndex(writer.collection).facts().added == 0


def test_a_search_starts_again_where_most_of_what_it_finds_was_deleted(writer):
    index = compact_indexes().index(writer.collection)
    query = writer.collection.vector("5")
    found = index.nearest(query, 300)
    writer.delete([hit.id for hit in found])
    left = index.nearest(query, 300)
    assert {hit.id for hit in left} == writer.collection.item_ids()
    assert len(left) == 100


def test_another_search_that_noticed_what_was_deleted_changes_nothing(writer):
    index = compact_indexes().index(writer.collection)
    rows = np.arange(len(index.rowids))
    writer.delete(writer.ids()[:300])
    found = index.compared(rows, writer.collection.vector(writer.ids()[0]))
    assert not found.is_whole
    # Of a search whose rows were chosen before
    assert not index.compared(rows, writer.collection.vector(found.ids[0])).is_whole


@pytest.mark.parametrize("keep", [None, lambda _id: True], ids=["all", "filtered"])
def test_vectors_that_are_no_longer_as_they_were_end_a_search(writer, keep):
    index = compact_indexes().index(writer.collection)
    query = writer.collection.vector("5")
    with writer.conn:
        writer.conn.execute("update embeddings set embedding = x'00' where id <> '5'")
    assert [hit.id for hit in index.nearest(query, 3, keep=keep)] == ["5"]


def test_an_index_of_which_most_was_deleted_is_read_again(writer):
    own = compact_indexes()
    own.index(writer.collection)
    writer.delete(writer.ids()[:300])
    assert len(own.index(writer.collection).rowids) == 100


def test_a_row_with_a_low_rowid_is_not_missed(writer):
    own = compact_indexes()
    own.index(writer.collection)
    with writer.conn:
        writer.conn.execute(
            """
            insert into embeddings (rowid, collection_id, id, embedding, updated)
            values (-5, ?, 'low', ?, 1)
            """,
            [writer.collection.id, encode(np.ones(DIMENSIONS))],
        )
    assert_current(own.index(writer.collection))


def test_rows_that_are_read_again_count_as_new_once(writer, monkeypatch):
    own = compact_indexes()
    own.index(writer.collection)
    # Rows of the last seconds are read again with each commit
    monkeypatch.setattr(documents_module, "time", time)
    for number in range(8):
        writer.write([f"new {number}"])
        index = own.index(writer.collection)
    assert 8 <= index.facts.added <= 16
    assert_current(index)


def test_rowids_that_cannot_ascend_are_read_again(writer):
    own = compact_indexes()
    with writer.conn:
        writer.conn.execute(
            "update embeddings set rowid = ? where id = '9'", [2**63 - 1]
        )
    own.index(writer.collection)
    writer.write(["any"])
    assert_current(own.index(writer.collection))


def test_a_table_that_is_missing_counts_as_no_index(writer):
    compact_indexes().save(writer.collection)
    with writer.conn:
        writer.conn.execute("drop table _embedding_compact_rows")
    assert_current(compact_indexes().index(writer.collection))
    SavedIndex(writer.collection).delete()
    assert not writer.collection.has_compact


@pytest.mark.parametrize("left", ["no items", "no vectors"])
def test_an_index_without_rows_is_not_saved(writer, left):
    own = compact_indexes()
    own.save(writer.collection)
    with writer.conn:
        if left == "no items":
            writer.conn.execute("delete from embeddings")
        else:
            writer.conn.execute("update embeddings set embedding = x'00'")
    own.save(writer.collection)
    assert not writer.collection.has_compact
    assert count_wrong(writer.collection) == 0


def test_only_the_setting_exact_deletes_a_saved_index(writer):
    own = compact_indexes()
    own.save(writer.collection)
    writer.write([f"new {number}" for number in range(20)])
    # A run without the settings of the server keeps it up to date
    own.kind = "auto"
    own.save(writer.collection)
    assert SavedIndex(writer.collection).facts().rows == 420
    own.kind = "exact"
    own.save(writer.collection)
    assert not writer.collection.has_compact
    assert SavedIndex(writer.collection).facts() is None


TEXT = "update _embedding_compact set facts = replace(facts, '{}', '{}')"
NAN = encode(np.full(DIMENSIONS, np.nan)).hex()
DAMAGES = {
    "a table": "drop table _embedding_compact_rows",
    "the rows": "delete from _embedding_compact_rows",
    "a block": "update _embedding_compact_rows set signs = x'00'",
    "numbers": "update _embedding_compact_rows set rowids = 'text'",
    "order": "update _embedding_compact_rows set rowids = zeroblob(length(rowids))",
    "facts": "update _embedding_compact set facts = '{'",
    "other facts": "update _embedding_compact set facts = '[]'",
    "no facts": "update _embedding_compact set facts = null",
    "a center": "update _embedding_compact set center = x'00000000'",
    "few rows": "update _embedding_compact set facts = json_set(facts, '$.rows', 3)",
    "many rows": "update _embedding_compact set facts = json_set(facts, '$.rows', 1e9)",
    "infinite rows": TEXT.format('"rows": 400', '"rows": Infinity'),
    "recall": TEXT.format('"recall": 1.0', '"recall": NaN'),
    "landmarks": TEXT.format('"of_words": {', f'"of_words": {{"{10**30}": "", '),
    "depth": f"update _embedding_compact set facts = '{'[' * 100_000}'",
    "no numbers": f"update _embedding_compact set center = x'{NAN}'",
    "few signs": "update _embedding_compact_rows set signs = zeroblob(8)",
    "no rows": "update _embedding_compact set facts = json_set(facts, '$.rows', -1)",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_made_again(writer, damage):
    compact_indexes().save(writer.collection)
    with writer.conn:
        writer.conn.execute(DAMAGES[damage])
    assert count_wrong(writer.collection) == 400
    assert_current(compact_indexes().index(writer.collection))
    compact_indexes().save(writer.collection)
    assert count_wrong(writer.collection) == 0


def test_wrong_signs_are_counted(writer):
    compact_indexes().save(writer.collection)
    with writer.conn:
        # In place, and with the time that it had: nothing else tells
        writer.conn.execute(
            "update embeddings set embedding = ? where id in ('7', '8')",
            [encode(-writer.collection.vector("7"))],
        )
    assert count_wrong(writer.collection) == 2 + 2 * ("2" in "78")


def test_searches_of_many_threads_while_others_write(tmp_path):
    path = tmp_path / "x.db"
    writer, own, errors = Writer(path), compact_indexes(), []
    stop = threading.Event()

    def search():
        conn = sqlite3.connect(path)
        try:
            while not stop.is_set():
                found = own.index(collection(conn, NAME))
                hits = found.nearest(np.ones(DIMENSIONS, np.float32), 5)
                assert len(hits) == 5
        except Exception as error:
            errors.append(error)
        finally:
            conn.close()

    threads = [threading.Thread(target=search) for _ in range(4)]
    for each in threads:
        each.start()
    for number in range(30):
        writer.write([f"{number}", f"new {number}"])
    stop.set()
    for each in threads:
        each.join()
    assert not errors
    assert_current(own.index(writer.collection))
    writer.conn.close()


def test_an_index_of_all_vectors_has_landmarks(writer):
    index = read_compact(writer.collection, threading.RLock())
    assert max(index.facts.of_vectors) == int(index.rowids[-1])
    assert max(index.facts.of_words) == 403
    assert len(index.facts.of_vectors) == 9
