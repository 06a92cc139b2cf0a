"""The compact index: few bits of each vector, and exact scores of what they find."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from datasette_embeddings.documents import Document
from datasette_embeddings.errors import DimensionMismatchError
from datasette_embeddings.index import compact as compact_module
from datasette_embeddings.index.cache import Indexes
from datasette_embeddings.index.compact import CompactIndex
from datasette_embeddings.index.matrix import Filter
from datasette_embeddings.search import ranking, shares
from datasette_embeddings.search.nearest import Options, nearest_to_vector
from datasette_embeddings.search.query import Query
from datasette_embeddings.search.text_search import rank
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.documents import write_embeddings
from datasette_embeddings.store.schema import rows_in
from datasette_embeddings.vectors import encode, normalize
from scripts.random_walk import walks
from tests.test_ranking import DIMENSIONS, VOCABULARY, make_collection


def filled(path, vectors):
    conn = sqlite3.connect(path)
    made = create_collection(conn, "items", "model", None)
    documents = [Document(f"{number}", "text") for number in range(len(vectors))]
    with conn:
        write_embeddings(made, documents, vectors, store_content=False)
    return conn, made


def index_of(made, kind):
    """An index of its own, of that *kind*."""
    own = Indexes()
    own.kind = kind
    return own, own.index(made)


def made_in(folder, *, in_chunks):
    """A collection of texts in a file, and its documents."""
    memory, documents = make_collection(5, in_chunks=in_chunks)
    path = folder / "x.db"
    memory.conn.execute("vacuum into ?", [str(path)])
    return collection(sqlite3.connect(path), memory.name), documents


def as_tuples(hits):
    return [(hit.id, pytest.approx(hit.score, abs=1e-6)) for hit in hits]


def test_it_finds_what_an_exact_search_finds_with_exact_scores(tmp_path):
    random = np.random.default_rng(0)
    vectors = walks(random, 384)[:6_000]
    conn, made = filled(tmp_path / "x.db", vectors)
    (_one, compact), (_other, exact) = (
        index_of(made, "compact"),
        index_of(made, "exact"),
    )
    assert (compact.kind, exact.kind) == ("compact", "exact")
    assert compact.size < exact.size / 10
    shared = []
    for row in random.integers(0, len(vectors), 50):
        query = vectors[row] + 0.01 * random.standard_normal(384)
        found = compact.nearest(query, 10)
        expected = {hit.id: hit.score for hit in exact.nearest(query, 10)}
        same = [hit for hit in found if hit.id in expected]
        shared.append(len(same) / 10)
        for hit in same:
            assert hit.score == pytest.approx(expected[hit.id], abs=1e-6)
    assert np.mean(shared) >= 0.99
    assert 0.97 <= compact.recall <= 1
    conn.close()


def test_where_bits_tell_little_the_recall_says_so(tmp_path):
    # Directions that have nothing to do with each other, in few dimensions
    vectors = np.random.default_rng(0).standard_normal((9_000, 16))
    conn, made = filled(tmp_path / "x.db", normalize(vectors.astype(np.float32)))
    _own, compact = index_of(made, "compact")
    assert 0 < compact.recall < 0.9
    conn.close()


def test_the_recall_is_that_of_items_from_all_over_the_collection(tmp_path):
    vectors = np.random.default_rng(0).standard_normal((9_000, 16))
    # As in the first document of a collection whose chunks are nearly the same
    by_id = sorted(range(9_000), key=str)
    vectors[by_id[:400]] = vectors[0] + 1e-3 * vectors[by_id[:400]]
    conn, made = filled(tmp_path / "x.db", normalize(vectors.astype(np.float32)))
    (_one, compact), (_other, exact) = (
        index_of(made, "compact"),
        index_of(made, "exact"),
    )
    found = [
        len(
            {hit.id for hit in compact.nearest(each, 10)}
            & {hit.id for hit in exact.nearest(each, 10)}
        )
        for each in vectors[by_id[400::200]]
    ]
    assert compact.recall == pytest.approx(np.mean(found) / 10, abs=0.06)
    assert compact.recall < 0.95
    conn.close()


@pytest.mark.parametrize("count", [1, 7, 300, 2_000])
def test_filters_apply_before_the_candidates_are_chosen(tmp_path, count):
    random = np.random.default_rng(1)
    vectors = walks(random, 64)[:5_000]
    conn, made = filled(tmp_path / "x.db", vectors)
    (_one, compact), (_other, exact) = (
        index_of(made, "compact"),
        index_of(made, "exact"),
    )
    only = frozenset(str(n) for n in random.choice(5_000, count, replace=False))
    for keep in (only.__contains__, Filter(only.__contains__, only)):
        found = compact.nearest(vectors[5], 5, keep=keep)
        expected = exact.nearest(vectors[5], 5, keep=keep)
        if count <= 400:
            assert [hit.id for hit in found] == [hit.id for hit in expected]
        assert {hit.id for hit in found} <= only
        assert len(found) == min(5, count)
    assert compact.nearest(vectors[5], 5, keep=frozenset().__contains__) == []
    conn.close()


def test_changes_are_found_and_deleted_items_are_not(tmp_path):
    conn, made = filled(tmp_path / "x.db", np.eye(64, dtype=np.float32))
    own, compact = index_of(made, "compact")
    with conn:
        conn.execute("delete from embeddings where id = '5'")
        new = Document("new", "text")
        write_embeddings(made, [new], np.eye(64)[7:8], store_content=False)
    # An index that a search still holds reads what is left
    assert [hit.id for hit in compact.nearest(np.eye(64)[5], 1)] != ["5"]
    fresh = own.index(made)
    assert [hit.id for hit in fresh.nearest(np.eye(64)[7], 2)] == ["7", "new"]
    assert "5" not in {hit.id for hit in fresh.nearest(np.eye(64)[5], 99)}
    conn.close()


def test_vectors_that_cannot_be_compared_are_left_out_and_counted(tmp_path):
    vectors = np.eye(16, dtype=np.float32)
    conn, made = filled(tmp_path / "x.db", vectors)
    odd = [encode(np.ones(5)), encode(np.zeros(16)), b"", None]
    with conn:
        for number, blob in enumerate(odd):
            conn.execute(
                """
                insert into embeddings (collection_id, id, embedding)
                values (?, ?, ?)
                """,
                [made.id, f"odd {number}", blob],
            )
        # No id as they must be
        conn.execute(
            "insert into embeddings (collection_id, id, embedding) values (?, ?, ?)",
            [made.id, b"odd", encode(np.ones(16))],
        )
    _own, compact = index_of(made, "compact")
    assert (compact.count, compact.skipped) == (21, 5)
    for keep in (None, lambda item_id: item_id.isdigit()):
        assert len(compact.nearest(np.ones(16), 99, keep=keep)) == 16
    assert len(compact.nearest(np.ones(16), 99, keep=Options(prefix="1").keep)) == 7
    assert compact.nearest(np.zeros(16), 5) == []
    with pytest.raises(DimensionMismatchError):
        compact.nearest(np.ones(8), 5)
    conn.close()


def test_an_empty_collection_has_an_empty_compact_index(tmp_path):
    conn, made = filled(tmp_path / "x.db", np.empty((0, 8), np.float32))
    _own, compact = index_of(made, "compact")
    assert (compact.count, compact.recall) == (0, 1.0)
    conn.close()


@pytest.mark.parametrize("in_chunks", [False, True], ids=["whole", "chunks"])
def test_words_and_meaning_rank_as_with_an_exact_index(tmp_path, in_chunks):
    made, documents = made_in(tmp_path, in_chunks=in_chunks)
    (_one, compact), (_other, exact) = (
        index_of(made, "compact"),
        index_of(made, "exact"),
    )
    assert (compact.kind, exact.kind) == ("compact", "exact")
    random = np.random.default_rng(5)
    ids = [each.document.id for each in documents]
    for options in (
        Options(limit=5),
        Options(limit=5, offset=3, all_chunks=True),
        Options(limit=5, prefix="3/"),
        Options(limit=5, among=frozenset(ids[:40])),
    ):
        for _ in range(10):
            query = Query.read(" ".join(random.choice(VOCABULARY, 2)))
            vector = random.standard_normal(DIMENSIONS).astype(np.float32)
            found, expected = (
                rank(made, query, vector, options=options, index=index)
                for index in (compact, exact)
            )
            assert [hit.matched for hit in found.hits] == [
                hit.matched for hit in expected.hits
            ]
            assert as_tuples(found.hits) == as_tuples(expected.hits)
            assert found.closeness == pytest.approx(expected.closeness, abs=1e-6)
            least = replace(options, min_cosine=0.5)
            hits = rank(made, query, vector, options=least, index=compact).hits
            assert all(hit.cosine >= 0.5 for hit in hits)
    made.conn.close()


def test_filters_hold_for_each_chunk_of_a_document(tmp_path):
    made, _documents = made_in(tmp_path, in_chunks=True)
    (_one, compact), (_other, exact) = (
        index_of(made, "compact"),
        index_of(made, "exact"),
    )
    vector = np.ones(DIMENSIONS, np.float32)
    for keep in (Options(prefix="0/112#0").keep, lambda item_id: item_id[-1] == "1"):
        found = compact.nearest(vector, 99, keep=keep)
        assert as_tuples(found) == as_tuples(exact.nearest(vector, 99, keep=keep))
    options = Options(prefix="0/112#0")
    hits = nearest_to_vector(made, vector, options=options, index=compact)
    assert [hit.id for hit in hits] == ["0/112#0"]
    made.conn.close()


@pytest.mark.parametrize("mode", ["meaning", "both"])
def test_an_item_that_got_the_rowid_of_another_is_filtered(tmp_path, monkeypatch, mode):
    conn, made = filled(tmp_path / "x.db", np.eye(64, dtype=np.float32))
    _own, compact = index_of(made, "compact")
    passing = CompactIndex.passing

    def passing_before_a_commit(self, keep):
        rows = passing(self, keep)
        with conn:
            conn.execute("update embeddings set id = 'secret' where id = '5'")
        return rows

    monkeypatch.setattr(CompactIndex, "passing", passing_before_a_commit)
    options = Options(limit=99, without=frozenset(["secret"]), mode=mode)
    query, vector = Query.read("text"), np.eye(64, dtype=np.float32)[5]
    hits = rank(made, query, vector, options=options, index=compact).hits
    assert len(hits) == 63
    assert "secret" not in {hit.id for hit in hits}
    conn.close()


def test_thousands_that_are_equally_alike_are_read_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(compact_module, "BLOCK_ROWS", 100)
    vectors = np.ones((1_000, 24), np.float32)
    conn, made = filled(tmp_path / "x.db", vectors)
    (_one, compact), (_other, exact) = (
        index_of(made, "compact"),
        index_of(made, "exact"),
    )
    read = []

    def counted(*given):
        read.append(len(given[-1]))
        return rows_in(*given)

    monkeypatch.setattr(compact_module, "rows_in", counted)
    found = compact.nearest(vectors[3], 20)
    assert as_tuples(found) == as_tuples(exact.nearest(vectors[3], 20))
    assert read == [100] * 10
    conn.close()


def test_thousands_that_common_words_could_lift_are_counted_once(tmp_path, monkeypatch):
    monkeypatch.setattr(shares, "MOST_RARE", 30)
    monkeypatch.setattr(ranking, "MOST_READ", 40)
    memory, _documents = make_collection(5)
    path = tmp_path / "x.db"
    memory.conn.execute("vacuum into ?", [str(path)])
    made = collection(sqlite3.connect(path), memory.name)
    _own, compact = index_of(made, "compact")
    asked = []
    cosines = CompactIndex.cosines

    def counted(*given, **options):
        asked.append(given)
        return cosines(*given, **options)

    monkeypatch.setattr(CompactIndex, "cosines", counted)
    vector = np.ones(DIMENSIONS, np.float32)
    query = Query.read("river bank")
    assert rank(made, query, vector, options=Options(limit=5), index=compact).hits
    assert len(asked) == 1
    made.conn.close()


def test_vectors_without_a_negative_number_are_told_apart(tmp_path):
    # Their signs are all the same: only the distance from the center tells them apart
    vectors = np.abs(walks(np.random.default_rng(2), 384)[:6_000])
    conn, made = filled(tmp_path / "x.db", normalize(vectors))
    _own, compact = index_of(made, "compact")
    assert compact.recall >= 0.95
    conn.close()
