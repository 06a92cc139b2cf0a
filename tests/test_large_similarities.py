"""Collections whose vectors are compared in random clusters, not each with each."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.errors import DatabaseError
from datasette_embeddings.similarities import partitions
from datasette_embeddings.similarities.refreshing import build, count_stale, refresh
from datasette_embeddings.similarities.vector_file import VectorFile
from datasette_embeddings.store import collections
from datasette_embeddings.store.similarities import Similarities
from tests.test_similarities import (
    articles_table,
    assert_same,
    delete,
    empty,
    expected,
    table,
    write,
)

TEN = SimilaritySettings(10)
COUNT, DIMENSIONS = 400, 8


@pytest.fixture(autouse=True)
def small_bound(monkeypatch):
    """150 documents may be compared with all, but not all of them."""
    scores = 150 * COUNT
    bound = scores * (DIMENSIONS + partitions.PER_SCORE)
    monkeypatch.setattr(partitions, "EVERY_PAIR", bound)


def walks(count=COUNT, seed=0):
    """Vectors by id, in walks of 20 steps: each has near neighbors."""
    random = np.random.default_rng(seed)
    steps = random.standard_normal((count // 20, 20, DIMENSIONS))
    steps[:, 0] *= 5
    vectors = steps.cumsum(axis=1).reshape(-1, DIMENSIONS).astype(np.float32)
    return {f"{number}": each for number, each in enumerate(vectors)}


def built(vectors, settings=TEN, **callbacks):
    conn, made = empty()
    made = write(conn, made, vectors)
    return conn, made, build(made, settings, **callbacks)


def part_of(wanted, found):
    """What part of the rows *wanted* those *found* have; all scores must be right."""
    scores = {row[:2]: row[2] for row in found}
    assert len(scores) == len(found)
    lowest = {}
    for one, _other, score in wanted:
        lowest[one] = min(score, lowest.get(one, 1))
    near = sum(score >= lowest[one] - 1e-5 for (one, _), score in scores.items())
    for one, other, score in wanted:
        assert scores.get((one, other), score) == pytest.approx(score, abs=1e-5)
    return near / len(wanted)


@pytest.mark.parametrize("min_score", [None, 0.9])
def test_nearly_all_of_the_nearest_are_found_and_the_part_is_stored(min_score):
    settings = SimilaritySettings(10, min_score)
    conn, made, done = built(walks(), settings)
    assert (done.compared, done.documents) == (COUNT, COUNT)
    assert done.recall == Similarities(made).recall >= partitions.ENOUGH
    found = table(conn)
    # The sample is three quarters of the documents
    assert part_of(expected(walks(), settings), found) >= partitions.ENOUGH - 0.02
    assert count_stale(made) == 0


def test_documents_in_chunks_have_the_score_of_their_best_pair():
    vectors = list(walks(2 * COUNT).values())
    footer = [0.0] * (DIMENSIONS - 1) + [1.0]
    chunked = {
        f"{n}": [vectors[2 * n].tolist(), vectors[2 * n + 1].tolist(), footer]
        for n in range(COUNT)
    }
    conn, _made, done = built(chunked)
    assert done.recall >= partitions.ENOUGH
    found = table(conn)
    assert part_of(expected(chunked, TEN), found) >= partitions.ENOUGH - 0.02
    assert all(row[0] != row[1] for row in found)


def test_changes_are_compared_with_all_and_other_lists_are_kept(monkeypatch):
    monkeypatch.setattr(partitions, "MOST_ROUNDS", 1)
    random = np.random.default_rng(3).standard_normal((COUNT, DIMENSIONS))
    vectors = {f"{number}": each for number, each in enumerate(random)}
    conn, made, done = built(vectors)
    assert done.recall < partitions.ENOUGH
    before = table(conn)
    new = {"new": vectors["7"] + 0.01, "8": vectors["350"] + 0.01}
    vectors.update(new)
    made = write(conn, made, new)
    delete(conn, made, ["300"])
    del vectors["300"]
    done = refresh(collections.collection(conn, "x"))
    assert (done.compared, done.recall) == (2, Similarities(made).recall)
    found, wanted = table(conn), expected(vectors, TEN)
    # Those that lost a neighbor are compared with all, too
    lost = {row[0] for row in before if row[1] in ("8", "300")}
    exact = {"new", "8", *lost} - {"300"}
    for each in exact:
        assert_same(
            [row for row in found if row[0] == each],
            [row for row in wanted if row[0] == each],
        )
    joined = {row[0] for row in found if row[1] in new}
    assert joined >= {row[0] for row in wanted if row[1] in new}
    others = {row[0] for row in before} - exact - joined - {"300"}
    assert [row for row in found if row[0] in others] == [
        row for row in before if row[0] in others
    ]


def test_what_joins_lists_of_equal_scores_comes_by_its_id():
    equal = {f"equal {n:02}": [1.0] * DIMENSIONS for n in range(12)}
    conn, made, _done = built({**walks(), **equal})
    new = {"a": [1.0] * DIMENSIONS, "z": [1.0] * DIMENSIONS}
    refresh(write(conn, made, new))
    others = {row[1] for row in table(conn) if row[0] == "equal 11"}
    assert others & {"a", "z"} == {"a"}


def test_many_changes_are_compared_in_rounds_again():
    conn, made, _done = built(walks())
    changed = dict(list(walks(seed=1).items())[:160])
    made = write(conn, made, changed)
    assert refresh(made).compared == COUNT
    wanted = expected({**walks(), **changed}, TEN)
    assert part_of(wanted, table(conn)) >= partitions.ENOUGH - 0.02


def test_a_collection_that_became_smaller_is_compared_exactly(monkeypatch):
    conn, made, _done = built(walks())
    monkeypatch.undo()
    delete(conn, made, ["7"])
    done = refresh(made)
    assert (done.compared, done.recall) == (COUNT - 1, None)
    vectors = walks()
    del vectors["7"]
    assert_same(table(conn), expected(vectors, TEN))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_fewer_documents_than_the_limit_have_what_there_is(monkeypatch, count):
    monkeypatch.setattr(partitions, "EVERY_PAIR", -1)
    vectors = dict(list(walks().items())[:count])
    conn, made = empty()
    made = write(conn, made, vectors) if vectors else made
    build(made, TEN)
    assert_same(table(conn), expected(vectors, TEN))


def test_thousands_of_equal_vectors_have_others_of_them():
    equal = {f"equal {n}": [1.0] * DIMENSIONS for n in range(2_000)}
    conn, made, done = built({**walks(), **equal})
    assert done.recall >= partitions.ENOUGH
    scores = [row[2] for row in table(conn) if row[0].startswith("equal")]
    assert scores == [1.0] * 20_000
    assert refresh(made).compared == 0


def test_progress_does_not_exceed_what_was_started():
    started, done = [], []
    built(walks(), start=started.append, progress=done.append)
    assert len(started) == 1
    assert 0 < sum(done) <= started[0]


def test_a_full_disk_is_reported_and_leaves_the_table_as_it_was():
    conn, made, _done = built(walks())
    before = table(conn)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_000, hard))
    try:
        with pytest.raises(DatabaseError, match="The folder of temporary files"):
            build(made, SimilaritySettings(3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert table(conn) == before
    assert Similarities(made).settings == TEN


KILLED = """
import os, signal, sqlite3, sys
from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.similarities import partitions, refreshing
from datasette_embeddings.store.collections import collection

partitions.EVERY_PAIR = 0
def rows(ids, lists):
    for number, row in enumerate(honest(ids, lists)):
        if number == 900:
            os.kill(os.getpid(), signal.SIGKILL)
        yield row
honest, refreshing._rows = refreshing._rows, rows
conn = sqlite3.connect(sys.argv[1])
# As few pages as would be written early
conn.execute("pragma cache_size = 5")
refreshing.build(collection(conn, "x"), SimilaritySettings(9))
"""


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_a_killed_run_leaves_the_table_as_it_was(tmp_path, journal_mode):
    path = tmp_path / "x.db"
    conn, made, _done = built(walks())
    conn.execute(f"vacuum into '{path}'")
    conn = sqlite3.connect(path)
    conn.execute(f"pragma journal_mode = {journal_mode}")
    before = table(conn)
    conn.close()
    command = [sys.executable, "-c", KILLED, str(path)]
    result = subprocess.run(command, capture_output=True, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr
    conn = sqlite3.connect(path)
    assert table(conn) == before
    build(collections.collection(conn, made.name), SimilaritySettings(9))
    assert len(table(conn)) == COUNT * 9
    conn.close()


def test_the_command_prints_the_part_that_was_found(articles_db, monkeypatch):
    monkeypatch.setattr(partitions, "EVERY_PAIR", 0)
    path = str(articles_db)
    command = ["similarities", path, "articles", "--limit", "2"]
    result = CliRunner().invoke(embeddings, command)
    assert result.stderr == (
        "articles: 6 of 6 documents compared; the lists have 100.0% of the nearest, "
        "as measured\n"
    )
    shown = CliRunner().invoke(embeddings, ["collections", "show", path, "articles"])
    assert '"recall": 1.0' in shown.stdout
    conn = sqlite3.connect(path)
    assert len(articles_table(conn)) == 12
    conn.close()


def test_a_file_of_vectors_that_ends_too_early_is_an_error():
    with VectorFile() as file:
        file.clear(2)
        file.append(np.ones((5, 2), np.float32))
        assert (file.block(0) == 1).all()
        os.ftruncate(file._file.fileno(), 20)
        with pytest.raises(DatabaseError, match="ends too early"):
            file.block(0)
