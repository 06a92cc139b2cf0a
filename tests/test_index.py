from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasette_embeddings.documents import Document
from datasette_embeddings.errors import DatabaseError, DimensionMismatchError
from datasette_embeddings.index.cache import Indexes, indexes
from datasette_embeddings.index.matrix import CoarseMatrix, Hit, VectorIndex
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.sql.context import Policy
from datasette_embeddings.sql.functions import register
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.documents import write_embeddings
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.vectors import encode, normalize


def filled(path, vectors, ids=None):
    """A connection to a new database whose collection `x` holds *vectors*."""
    conn = sqlite3.connect(path)
    made = create_collection(conn, "x", "some-model", None)
    write(conn, made, vectors, ids)
    return conn, made


def write(conn, collection, vectors, ids=None):
    ids = ids or [str(number) for number in range(len(vectors))]
    documents = [Document(item_id, item_id) for item_id in ids]
    with transaction(conn):
        write_embeddings(
            collection.bound_to(conn), documents, np.array(vectors), store_content=False
        )


@given(st.integers(1, 60), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_the_nearest_are_those_of_a_full_sort(count, limit, seed):
    random = np.random.default_rng(seed)
    # Few different numbers, so that many scores tie
    vectors = normalize(random.integers(-1, 2, (count, 3)).astype(np.float32) + 0.5)
    query = normalize(random.integers(-1, 2, 3).astype(np.float32) + 0.5)
    ids = [f"{number:02}" for number in random.permutation(count)]
    scores = np.clip(vectors @ query, -1, 1).tolist()
    ranked = sorted(zip(scores, ids, strict=True), key=lambda pair: (-pair[0], pair[1]))
    expected = [Hit(item_id, score) for score, item_id in ranked[:limit]]
    assert VectorIndex(ids, vectors).nearest(query, limit) == expected
    coarse = VectorIndex(ids, vectors, coarse=CoarseMatrix.of(vectors))
    assert set(np.argsort(-np.array(scores), kind="stable")[:limit]) <= set(
        coarse.coarse.candidates(query, min(limit, count))
    )


@pytest.mark.parametrize("spread", [1.0, 0.2, 0.02], ids=["wide", "close", "closest"])
def test_a_coarse_matrix_rules_out_no_right_row(spread):
    random = np.random.default_rng(0)
    centre = random.standard_normal(64)
    vectors = normalize(centre + spread * random.standard_normal((30_000, 64)))
    ids = [str(number) for number in range(len(vectors))]
    plain = VectorIndex(ids, vectors)
    coarse = VectorIndex(ids, vectors, coarse=CoarseMatrix.of(vectors))
    for row in (0, 17, 29_999):
        found = coarse.nearest(vectors[row], 10)
        expected = plain.nearest(vectors[row], 10)
        assert [each.id for each in found] == [each.id for each in expected]
        assert [each.score for each in found] == pytest.approx(
            [each.score for each in expected], abs=1e-6
        )


def test_a_large_collection_has_a_coarse_matrix(tmp_path):
    conn, made = filled(tmp_path / "x.db", np.eye(20_000, 8) + 0.1)
    index = indexes.index(made)
    assert index.coarse.steps.shape == index.vectors.shape
    assert index.size > index.vectors.nbytes + index.coarse.steps.nbytes
    conn.close()


def test_only_accepted_items_are_found():
    index = VectorIndex(["a", "b", "c"], normalize(np.array([[1, 0], [1, 1], [-1, 0]])))
    query = np.array([1, 0], dtype=np.float32)
    found = index.nearest(query, 10, keep={"b", "c"}.__contains__)
    assert [each.id for each in found] == ["b", "c"]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_finds_nothing(limit):
    index = VectorIndex(["a"], np.ones((1, 1), dtype=np.float32))
    assert index.nearest(np.ones(1, dtype=np.float32), limit) == []


def test_a_zero_vector_is_near_to_nothing():
    index = VectorIndex(["a"], np.ones((1, 1), dtype=np.float32))
    assert index.nearest(np.zeros(1, dtype=np.float32), 3) == []


def test_a_vector_of_another_length_is_refused_with_both():
    index = VectorIndex(["a"], np.ones((1, 2), dtype=np.float32))
    with pytest.raises(DimensionMismatchError, match="2 dimensions, found 3"):
        index.nearest(np.ones(3, dtype=np.float32), 3)


def test_rows_that_have_no_direction_are_left_out_and_counted(tmp_path):
    conn, made = filled(tmp_path / "x.db", [[1, 0], [0, 1], [0, 0], [np.nan, 1]])
    with conn:
        conn.execute(
            "insert into embeddings (collection_id, id, embedding) "
            "values (1, 'odd', ?)",
            [encode(np.ones(7))],
        )
    index = indexes.index(made)
    assert (list(index.ids), index.skipped, index.count) == (["0", "1"], 3, 5)
    conn.close()


def test_an_empty_collection_has_nothing_near(tmp_path):
    conn, made = filled(tmp_path / "x.db", np.empty((0, 2)))
    assert indexes.index(made).nearest(np.ones(2), 5) == []
    conn.close()


def nearest_id(conn, collection):
    return indexes.index(collection.bound_to(conn)).nearest(np.ones(2), 1)[0].id


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
    with conn:
        conn.execute("update embeddings set updated = 1")
    before = indexes.index(made)
    conn.execute("create table other (id)")
    conn.commit()
    assert indexes.index(made) is before
    conn.close()


def test_a_file_that_is_replaced_by_another_is_read_again_every_time(tmp_path):
    conn, made = filled(tmp_path / "x.db", [[1, 0.5]], ["old"])
    assert nearest_id(conn, made) == "old"
    conn.close()
    for name in ("second", "third", "fourth"):
        new, _made = filled(tmp_path / "y.db", [[1, 0.5]], [name])
        new.close()
        os.replace(tmp_path / "y.db", tmp_path / "x.db")
        conn = sqlite3.connect(tmp_path / "x.db")
        assert nearest_id(conn, made) == name
        conn.close()


def test_a_file_that_was_copied_over_in_place_is_read_again(tmp_path):
    old, made = filled(tmp_path / "x.db", [[1, 0.5]], ["old"])
    new, _made = filled(tmp_path / "y.db", [[1, 0.5]], ["new"])
    new.close()
    assert nearest_id(old, made) == "old"
    old.close()
    shutil.copyfile(tmp_path / "y.db", tmp_path / "x.db")
    conn = sqlite3.connect(tmp_path / "x.db")
    assert nearest_id(conn, made) == "new"
    conn.close()


def test_a_row_that_goes_and_comes_back_within_a_second_is_seen(tmp_path):
    conn, made = filled(tmp_path / "x.db", [[1, 0.5], [0, 1]])
    assert nearest_id(conn, made) == "0"
    with conn:
        conn.execute("delete from embeddings where id = '1'")
    write(conn, made, [[1, 1]], ["1"])
    assert nearest_id(conn, made) == "1"
    conn.close()


def test_a_file_that_is_gone_is_named(tmp_path):
    conn, made = filled(tmp_path / "x.db", [[1, 0.5]])
    (tmp_path / "x.db").unlink()
    with pytest.raises(DatabaseError, match=r"x\.db cannot be read"):
        indexes.index(made)
    conn.close()


@pytest.mark.parametrize(
    "cell", ["null", "7", "'text'", "x''", "x'010203'"], ids=lambda cell: cell
)
def test_what_is_no_vector_is_left_out(tmp_path, cell):
    conn, made = filled(tmp_path / "x.db", [[1, 1], [1, 0.5]])
    with conn:
        conn.execute(f"update embeddings set embedding = {cell} where id = '0'")
    assert nearest_id(conn, made) == "1"
    conn.close()


def test_a_file_opened_as_immutable_and_as_usual_are_two(tmp_path):
    conn, made = filled(tmp_path / "x.db", [[1, 0.5]])
    indexes.index(made, immutable=True)
    write(conn, made, [[1, 1]], ["better"])
    assert nearest_id(conn, made) == "better"
    conn.close()


def test_two_names_of_one_file_share_a_matrix(tmp_path):
    conn, made = filled(tmp_path / "x.db", [[1, 0.5]])
    (tmp_path / "link.db").symlink_to(tmp_path / "x.db")
    linked = sqlite3.connect(tmp_path / "link.db")
    assert indexes.index(made) is indexes.index(made.bound_to(linked))
    conn.close()
    linked.close()


def test_fifty_threads_share_one_matrix(tmp_path):
    path = tmp_path / "x.db"
    vectors = np.random.default_rng(0).standard_normal((2_000, 8))
    conn, made = filled(path, vectors)

    def search(_number):
        own = sqlite3.connect(path)
        index = indexes.index(made.bound_to(own))
        own.close()
        return id(index), index.nearest(vectors[7], 1)[0].id

    with ThreadPoolExecutor(50) as pool:
        found = set(pool.map(search, range(200)))
    assert found == {(id(indexes.index(made)), "7")}
    conn.close()


def test_an_immutable_file_in_a_folder_that_cannot_be_written_is_read(tmp_path):
    conn, made = filled(tmp_path / "x.db", [[1, 0.5]])
    conn.execute("pragma journal_mode = wal")
    conn.close()
    conn = sqlite3.connect(f"file:{tmp_path}/x.db?immutable=1", uri=True)
    index = indexes.index(made.bound_to(conn), immutable=True)
    assert list(index.ids) == ["0"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.db"]
    conn.close()


@pytest.fixture
def own_indexes():
    """Matrices of this test alone, within one megabyte."""
    own = Indexes(memory_limit_mb=1)
    yield own
    own.close()


def test_the_least_used_matrix_goes_when_memory_is_short(tmp_path, own_indexes):
    opened = [
        filled(tmp_path / f"{name}.db", np.ones((1_000, 80)))
        for name in ("a", "b", "c")
    ]
    first, second, third = (
        own_indexes.index(each[1]) for each in [*opened[:2], opened[0]]
    )
    assert third is first
    own_indexes.index(opened[2][1])
    # Now the second is the least used; it is read again, the first is not
    assert own_indexes.index(opened[0][1]) is first
    assert own_indexes.index(opened[1][1]) is not second
    for conn, _made in opened:
        conn.close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["insert", "update", "delete", "replace", "other", "search"]),
        st.integers(0, 7),
        st.integers(0, 3),
    ),
    max_size=25,
)


@given(STEPS)
def test_whatever_happens_in_between_a_search_is_right(tmp_path_factory, steps):
    conn, made = filled(tmp_path_factory.mktemp("x") / "x.db", np.empty((0, 2)))
    other = sqlite3.connect(conn.execute("pragma database_list").fetchone()[2])
    truth: dict[str, np.ndarray] = {}
    clock = 1
    for action, number, direction in [*steps, ("search", 0, 0)]:
        item_id, clock = str(number), clock + 1
        vector = np.array([1, direction], dtype=np.float32)
        writer = other if number % 2 else conn
        if action in ("insert", "replace"):
            write(writer, made, [vector], [item_id])
            truth[item_id] = vector
        elif action == "update" and item_id in truth:
            writer.execute(
                "update embeddings set embedding = ?, updated = ? where id = ?",
                [encode(vector), clock, item_id],
            )
            truth[item_id] = vector
        elif action == "delete":
            writer.execute("delete from embeddings where id = ?", [item_id])
            truth.pop(item_id, None)
        elif action == "other":
            writer.execute(f"create table if not exists t{number} (id)")
        writer.commit()
        if action == "search":
            found = indexes.index(made).nearest(np.array([1.0, 0.5]), 99)
            expected = VectorIndex(
                list(truth), normalize(np.array(list(truth.values())).reshape(-1, 2))
            ).nearest(np.array([1.0, 0.5]), 99)
            assert [each.id for each in found] == [each.id for each in expected]
    conn.close()
    other.close()


def test_fifty_threads_on_three_connections_and_a_first_load(tmp_path, model):
    path = tmp_path / "x.db"
    vectors = np.random.default_rng(0).standard_normal((500, 384))
    conn, _made = filled(path, vectors)
    with conn:
        conn.execute("update collections set model = ?", [model.model_id])
    loads = []
    shared = [sqlite3.connect(path, check_same_thread=False) for _ in range(3)]
    locks = [threading.Lock() for _ in shared]

    def load(model_id):
        loads.append(id(load_model(model_id)))
        return load_model(model_id)

    for each in shared:
        register(each, Policy(load=load))

    def search(number):
        place = number % 3
        with locks[place]:
            sql = "select embed_search('x', ?, 3)"
            return number % 5, shared[place].execute(sql, [f"t{number % 5}"]).fetchone()

    with ThreadPoolExecutor(50) as pool:
        answers = set(pool.map(search, range(150)))
    assert (len(answers), len(set(loads))) == (5, 1)
    for each in (conn, *shared):
        each.close()
