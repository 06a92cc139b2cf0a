from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasette_embeddings import store
from datasette_embeddings.chunks import Document
from datasette_embeddings.errors import DimensionMismatch
from datasette_embeddings.index import Score, VectorIndex, indexes
from datasette_embeddings.vectors import encode, normalize


def filled(path, vectors, ids=None):
    """A connection to a new database whose collection `x` holds *vectors*."""
    conn = sqlite3.connect(path)
    made = store.create_collection(conn, "x", "some-model", None)
    write(conn, made, vectors, ids)
    return conn, made


def write(conn, collection, vectors, ids=None):
    ids = ids or [str(number) for number in range(len(vectors))]
    documents = [Document(item_id, item_id) for item_id in ids]
    with store.transaction(conn):
        store.write_embeddings(
            conn, collection, documents, np.array(vectors), store_content=False
        )


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_the_nearest_are_those_of_a_full_sort(count, limit, seed):
    random = np.random.default_rng(seed)
    # Few different numbers, so that many scores tie
    vectors = normalize(random.integers(-1, 2, (count, 3)).astype(np.float32) + 0.5)
    query = normalize(random.integers(-1, 2, 3).astype(np.float32) + 0.5)
    ids = [f"{number:02}" for number in random.permutation(count)]
    scores = np.clip(vectors @ query, -1, 1).tolist()
    ranked = sorted(zip(scores, ids, strict=True), key=lambda pair: (-pair[0], pair[1]))
    expected = [Score(item_id, score) for score, item_id in ranked[:limit]]
    assert VectorIndex(ids, vectors).nearest(query, limit) == expected


def test_an_item_can_be_left_out_and_a_score_asked_for():
    index = VectorIndex(["a", "b", "c"], normalize(np.array([[1, 0], [1, 1], [-1, 0]])))
    query = np.array([1, 0], dtype=np.float32)
    found = index.nearest(query, 10, without="a", min_score=0)
    assert [each.id for each in found] == ["b"]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_finds_nothing(limit):
    index = VectorIndex(["a"], np.ones((1, 1), dtype=np.float32))
    assert index.nearest(np.ones(1, dtype=np.float32), limit) == []


def test_a_zero_vector_is_near_to_nothing():
    index = VectorIndex(["a"], np.ones((1, 1), dtype=np.float32))
    assert index.nearest(np.zeros(1, dtype=np.float32), 3) == []


def test_a_vector_of_another_length_is_refused_with_both():
    index = VectorIndex(["a"], np.ones((1, 2), dtype=np.float32))
    with pytest.raises(DimensionMismatch, match="2 dimensions, found 3"):
        index.nearest(np.ones(3, dtype=np.float32), 3)


def test_rows_that_have_no_direction_are_left_out_and_counted(tmp_path):
    conn, made = filled(tmp_path / "x.db", [[1, 0], [0, 1], [0, 0], [np.nan, 1]])
    with conn:
        conn.execute(
            "insert into embeddings (collection_id, id, embedding) "
            "values (1, 'odd', ?)",
            [encode(np.ones(7))],
        )
    index = indexes.index(conn, made.id)
    assert (list(index.ids), index.left_out) == (["0", "1"], 3)
    conn.close()


def test_an_empty_collection_has_nothing_near(tmp_path):
    conn, made = filled(tmp_path / "x.db", np.empty((0, 2)))
    assert indexes.index(conn, made.id).nearest(np.ones(2), 5) == []
    conn.close()


def nearest_id(conn, collection):
    return indexes.index(conn, collection.id).nearest(np.ones(2), 1)[0].id


CHANGES = {
    "insert": "insert into embeddings values (1, 'n', :v, null, null, null, null, 1)",
    "replace": "replace into embeddings values (1, '1', :v, null, null, null, null, 1)",
    "update": "update embeddings set embedding = :v, updated = 1 where id = '1'",
    "delete": "delete from embeddings where id = '0' and :v is not null",
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_a_search_sees_what_another_process_committed(tmp_path, change, journal_mode):
    path = tmp_path / "x.db"
    conn, made = filled(path, [[1, 0.5], [1, 0.1]])
    conn.execute(f"pragma journal_mode = {journal_mode}")
    assert nearest_id(conn, made) == "0"
    code = (
        "import sqlite3, sys; conn = sqlite3.connect(sys.argv[1]); "
        "conn.execute(sys.argv[2], {'v': bytes.fromhex(sys.argv[3])}); conn.commit()"
    )
    vector = encode(np.ones(2)).hex()
    subprocess.run(
        [sys.executable, "-c", code, str(path), CHANGES[change], vector], check=True
    )
    assert nearest_id(conn, made) == ("n" if change == "insert" else "1")
    conn.close()


def test_a_search_sees_what_its_own_connection_committed(tmp_path):
    conn, made = filled(tmp_path / "x.db", [[1, 0.5]])
    assert nearest_id(conn, made) == "0"
    write(conn, made, [[1, 1]], ["better"])
    assert nearest_id(conn, made) == "better"
    conn.close()


def test_a_search_in_memory_sees_every_change():
    conn, made = filled(":memory:", [[1, 0.5]])
    assert nearest_id(conn, made) == "0"
    write(conn, made, [[1, 1]], ["better"])
    assert nearest_id(conn, made) == "better"
    conn.close()


def test_a_commit_that_does_not_touch_the_collection_keeps_its_matrix(tmp_path):
    conn, made = filled(tmp_path / "x.db", [[1, 0.5]])
    before = indexes.index(conn, made.id)
    conn.execute("create table other (id)")
    conn.commit()
    assert indexes.index(conn, made.id) is before
    conn.close()


def test_a_file_that_was_replaced_by_another_is_read_anew(tmp_path):
    old, made = filled(tmp_path / "x.db", [[1, 0.5]], ["old"])
    assert nearest_id(old, made) == "old"
    old.close()
    new, made = filled(tmp_path / "y.db", [[1, 0.5]], ["new"])
    new.close()
    os.replace(tmp_path / "y.db", tmp_path / "x.db")
    conn = sqlite3.connect(tmp_path / "x.db")
    assert nearest_id(conn, made) == "new"
    conn.close()


def test_two_names_of_one_file_share_a_matrix(tmp_path):
    conn, made = filled(tmp_path / "x.db", [[1, 0.5]])
    (tmp_path / "link.db").symlink_to(tmp_path / "x.db")
    linked = sqlite3.connect(tmp_path / "link.db")
    assert indexes.index(conn, made.id) is indexes.index(linked, made.id)
    conn.close()
    linked.close()


def test_fifty_threads_share_one_matrix(tmp_path):
    path = tmp_path / "x.db"
    vectors = np.random.default_rng(0).standard_normal((2_000, 8))
    conn, made = filled(path, vectors)

    def search(_number):
        own = sqlite3.connect(path)
        index = indexes.index(own, made.id)
        own.close()
        return id(index), index.nearest(vectors[7], 1)[0].id

    with ThreadPoolExecutor(50) as pool:
        found = set(pool.map(search, range(200)))
    assert found == {(id(indexes.index(conn, made.id)), "7")}
    conn.close()


def test_an_immutable_file_in_a_folder_that_cannot_be_written_is_read(tmp_path):
    conn, made = filled(tmp_path / "x.db", [[1, 0.5]])
    conn.execute("pragma journal_mode = wal")
    conn.close()
    conn = sqlite3.connect(f"file:{tmp_path}/x.db?immutable=1", uri=True)
    index = indexes.index(conn, made.id, immutable=True)
    assert list(index.ids) == ["0"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.db"]
    conn.close()
