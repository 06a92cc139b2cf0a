from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from datasette_embeddings.chunking import Chunk
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.documents import Chunking, Document
from datasette_embeddings.errors import InvalidInputError, SchemaError
from datasette_embeddings.ingest.check import problems
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import similar_items
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.search.related import related_items, similar_pairs
from datasette_embeddings.similarities import knn, refreshing
from datasette_embeddings.similarities.refreshing import (
    build,
    count_stale,
    refresh,
    remove,
)
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.store import collections
from datasette_embeddings.store.collection_writes import (
    create_collection,
    delete_collection,
)
from datasette_embeddings.store.documents import (
    EmbeddedDocument,
    items_of,
    write_documents,
)
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.store.similarities import Similarities
from datasette_embeddings.vectors import normalize

LIMIT = SimilaritySettings(3)


def empty(name="x"):
    conn = sqlite3.connect(":memory:")
    return conn, create_collection(conn, name, "some-model", None)


def write(conn, collection, vectors):
    """Store *vectors*, a mapping from id to a vector, or to those of its chunks.

    The text of a chunk is its vector, so that equal ones have equal text.
    """
    embedded = []
    for document_id, found in vectors.items():
        array = np.array(found, dtype=np.float32)
        chunks = None
        if array.ndim == 2:
            chunks = [Chunk(n, n, n + 1, str(each)) for n, each in enumerate(found)]
        document = Document(document_id, document_id)
        items = items_of(document, chunks)
        vectors = np.atleast_2d(array)
        embedded.append(EmbeddedDocument(document, chunks, items, vectors))
    with transaction(conn):
        write_documents(collection, embedded, store_content=False)
    return collections.collection(conn, collection.name)


def delete(conn, collection, documents):
    """Delete *documents* with their chunks, as a sync does."""
    keys = [(collection.id, each) for each in documents]
    with conn:
        conn.executemany(
            "delete from embeddings where (collection_id, id) in "
            "(select collection_id, id from _embedding_chunks "
            "where collection_id = ? and document_id = ?)",
            keys,
        )
        conn.executemany(
            "delete from _embedding_chunks where collection_id = ? and document_id = ?",
            keys,
        )
        conn.executemany(
            "delete from embeddings where collection_id = ? and id = ?", keys
        )


def table(conn):
    return conn.execute(
        "select id, other_id, score from similarities order by id, score desc, other_id"
    ).fetchall()


def expected(vectors, wanted):
    """What an inspection of every pair finds, in float64."""
    rows = []
    arrays = {
        each: normalize(np.atleast_2d(np.array(found, dtype=np.float32))).astype(float)
        for each, found in without_boilerplate(vectors).items()
    }
    for each, mine in arrays.items():
        scores = [
            (-round(float((mine @ theirs.T).max()), 6), other)
            for other, theirs in arrays.items()
            if other != each
        ]
        rows += [
            (each, other, -score)
            for score, other in sorted(scores)[: wanted.limit]
            if wanted.min_score is None or -score >= wanted.min_score
        ]
    return sorted(rows, key=lambda row: (row[0], -row[2], row[1]))


def without_boilerplate(vectors):
    """*vectors* without chunks that several documents have, except of copies."""
    texts = {
        each: [str(chunk) for chunk in found] if np.ndim(found) == 2 else []
        for each, found in vectors.items()
    }
    counts = Counter(text for found in texts.values() for text in set(found))
    own = {
        each: [chunk for chunk in found if counts[str(chunk)] == 1]
        for each, found in vectors.items()
        if texts[each]
    }
    return {each: own.get(each) or found for each, found in vectors.items()}


def assert_same(found, wanted):
    assert [row[:2] for row in found] == [row[:2] for row in wanted]
    assert [row[2] for row in found] == pytest.approx(
        [row[2] for row in wanted], abs=1e-5
    )


# Few different numbers, so that many scores tie
numbers = st.integers(-2, 2)
vector = st.tuples(numbers, numbers, numbers).filter(any)
# And many chunks of equal text
few = st.sampled_from([(0, 0, 1), (0, 1, 2), (1, 2, 0), (2, -1, 1)])
chunked = st.lists(vector | few, min_size=1, max_size=3)
names = st.sampled_from([f"{letter}'#/" for letter in "abcdefghijklmnop"])


def histories(value):
    step = st.tuples(
        st.dictionaries(names, value, max_size=6), st.sets(names, max_size=3)
    )
    return st.lists(step, min_size=1, max_size=5)


@pytest.mark.parametrize(
    "value", [vector, chunked, vector | chunked], ids=["whole", "chunks", "both"]
)
@pytest.mark.parametrize("min_score", [None, 0.5])
@pytest.mark.parametrize(
    "most_changed", [refreshing.MOST_CHANGED, 1], ids=["some", "all"]
)
@given(data=st.data(), limit=st.integers(1, 5))
def test_after_any_history_the_table_is_that_of_a_full_run(
    data, limit, most_changed, min_score, value
):
    with pytest.MonkeyPatch.context() as patch:
        # Or nearly all changes to so few documents would be full runs
        patch.setattr(refreshing, "MOST_CHANGED", most_changed)
        follow_history(data, SimilaritySettings(limit, min_score), value)


def follow_history(data, wanted, value):
    conn, made = empty()
    build(made, wanted)
    current = {}
    for written, deleted in data.draw(histories(value)):
        current.update(written)
        made = write(conn, made, written)
        delete(conn, made, deleted)
        for each in deleted:
            current.pop(each, None)
        made = collections.collection(conn, "x")
        refresh(made)
        assert_same(table(conn), expected(current, wanted))
        assert count_stale(made) == 0
    conn.close()


@given(vectors=st.dictionaries(names, vector | chunked, min_size=1, max_size=8))
def test_the_nearest_documents_are_those_of_the_table(vectors):
    conn, made = empty()
    made = write(conn, made, vectors)
    wanted = expected(vectors, SimilaritySettings(100))
    for each in vectors:
        found = similar_items(made, each, options=Options(limit=100))
        scores = {match.document_id: match.score for match in found}
        noted = {other: score for one, other, score in wanted if one == each}
        assert scores == pytest.approx(noted, abs=1e-5)
    conn.close()


@given(st.integers(0, 2**32 - 1), st.integers(1, 90), st.integers(1, 200))
def test_the_best_of_many_are_those_of_a_full_sort(seed, limit, count):
    random = np.random.default_rng(seed)
    vectors = normalize(random.standard_normal((count + 2, 5)).astype(np.float32))
    documents = knn.Documents([str(n) for n in range(len(vectors))], vectors)
    wanted = SimilaritySettings(min(limit, len(vectors) - 1))
    scores = vectors.astype(float) @ vectors.T.astype(float)
    np.fill_diagonal(scores, -9)
    for each in knn.nearest(documents, wanted, range(len(vectors))):
        best = np.sort(scores[each.position])[::-1][: wanted.limit]
        assert each.scores.tolist() == pytest.approx(best.tolist(), abs=1e-5)
        assert scores[each.position][each.others].tolist() == pytest.approx(
            best.tolist(), abs=1e-5
        )


def test_the_three_columns_of_openai_to_sqlite_are_there():
    conn, made = empty()
    made = write(conn, made, {"a": [1, 0], "b": [1, 1], "c": [0, 1]})
    build(made, LIMIT)
    rows = conn.execute(
        """
        select id, other_id, score from similarities
        where id = :id order by score desc limit 10
        """,
        {"id": "a"},
    ).fetchall()
    assert rows == [("a", "b", pytest.approx(0.70710678)), ("a", "c", 0.0)]
    plan = conn.execute(
        "explain query plan select * from similarities where id = 'a'"
    ).fetchall()
    assert "SEARCH" in plan[0][3]
    assert "id=?" in plan[0][3]


def test_a_table_of_the_older_shape_is_left_alone_and_named():
    conn, made = empty()
    made = write(conn, made, {"a": [1, 0], "b": [1, 1]})
    conn.execute(
        """
        create table similarities
          (id text, other_id text, score float, primary key (id, other_id))
        """
    )
    conn.execute("insert into similarities values ('x', 'y', 0.5)")
    conn.commit()
    with pytest.raises(SchemaError, match="'similarities' has the columns id, oth"):
        build(made, LIMIT)
    assert refresh(made) is None
    delete_collection(conn, "x")
    assert table(conn) == [("x", "y", 0.5)]


@pytest.mark.parametrize(
    ("vectors", "rows"),
    [
        ({}, []),
        ({"a": [1, 2]}, []),
        ({"a": [1, 0], "b": [2, 0]}, [("a", "b", 1.0), ("b", "a", 1.0)]),
        ({"a": [0, 0], "b": [1, 0], "c": [1, 0]}, [("b", "c", 1.0), ("c", "b", 1.0)]),
    ],
    ids=["none", "one", "fewer than the limit", "a zero vector"],
)
def test_small_collections_have_what_there_is(vectors, rows):
    conn, made = empty()
    made = write(conn, made, vectors) if vectors else made
    build(made, SimilaritySettings(10))
    assert table(conn) == rows
    made = collections.collection(conn, "x")
    refresh(made)
    assert (table(conn), count_stale(made)) == (rows, 0)


def test_equal_scores_are_in_the_order_of_their_ids():
    conn, made = empty()
    same = {f"{number:02}": [1, 2, 3] for number in range(30)}
    made = write(conn, made, same)
    build(made, SimilaritySettings(3))
    assert [row[1] for row in table(conn) if row[0] == "07"] == ["00", "01", "02"]
    assert [row[1] for row in table(conn) if row[0] == "01"] == ["00", "02", "03"]


def test_opposite_documents_are_a_pair_too():
    # In float32 the score of these is a little less than -1
    conn, collection = empty()
    collection = write(
        conn, collection, {"a": [2.0, 2.0, 1.0], "b": [-2.0, -2.0, -1.0]}
    )
    build(collection, SimilaritySettings(1))
    assert table(conn) == [("a", "b", -1.0), ("b", "a", -1.0)]


def test_vectors_of_an_old_run_are_left_out():
    conn, made = empty()
    made = write(conn, made, {"old": [1, 0]})
    conn.execute("update embeddings set embedding = x'0000803f'")
    made = write(conn, made, {"a": [1, 0], "b": [1, 1]})
    build(made, LIMIT)
    assert {row[0] for row in table(conn)} == {"a", "b"}


def test_a_document_does_not_recommend_itself():
    conn, made = empty()
    chunks = {"a": [[1, 0], [0, 1]], "b": [[1, 0.1], [-1, 0]], "c": [[0, 1]]}
    made = write(conn, made, chunks)
    build(made, LIMIT)
    assert_same(table(conn), expected(chunks, LIMIT))
    assert all(row[0] != row[1] for row in table(conn))


@pytest.mark.parametrize("settings", [SimilaritySettings(0), SimilaritySettings(-1)])
def test_a_limit_below_one_is_refused(settings):
    _conn, made = empty()
    with pytest.raises(
        InvalidInputError, match="a limit, a whole number from 1; found"
    ):
        build(made, settings)


def test_a_score_that_there_is_not_is_refused():
    _conn, made = empty()
    with pytest.raises(InvalidInputError, match="a lowest score from -1 to 1, found 7"):
        build(made, SimilaritySettings(3, 7))


def test_other_settings_make_all_lists_again():
    conn, made = empty()
    vectors = {f"{n}": [n + 1, 1] for n in range(6)}
    made = write(conn, made, vectors)
    for wanted in (
        SimilaritySettings(1),
        SimilaritySettings(4),
        SimilaritySettings(4, 0.99),
        SimilaritySettings(2),
    ):
        build(made, wanted)
        assert_same(table(conn), expected(vectors, wanted))


def test_nothing_is_compared_where_nothing_changed(monkeypatch):
    conn, made = empty()
    made = write(conn, made, {f"{n}": [n + 1, 1] for n in range(6)})
    conn.execute("update embeddings set updated = 1000")
    conn.commit()
    assert build(made, LIMIT).compared == 6
    assert refresh(made).compared == 0


def test_one_changed_document_is_one_compared():
    conn, made = empty()
    random = np.random.default_rng(1)
    made = write(conn, made, {f"{n}": random.standard_normal(4) for n in range(50)})
    build(made, LIMIT)
    made = write(conn, made, {"7": [1, 2, 3, 4]})
    found = refresh(made)
    assert (found.compared, found.documents) == (1, 50)


def test_removed_similarities_stay_away():
    conn, made = empty()
    made = write(conn, made, {"a": [1, 0], "b": [1, 1]})
    build(made, LIMIT)
    remove(made)
    made = write(conn, made, {"c": [1, 0]})
    assert (refresh(made), table(conn)) == (None, [])


def test_two_collections_have_their_own():
    conn, one = empty("one")
    two = create_collection(conn, "two", "some-model", None)
    one = write(conn, one, {"a": [1, 0], "b": [1, 1]})
    two = write(conn, two, {"a": [1, 0], "c": [1, 1]})
    build(one, LIMIT)
    build(two, LIMIT)
    assert [each[0] for each in Similarities(two).of("a")] == ["c"]
    delete_collection(conn, "one")
    assert [row[:2] for row in table(conn)] == [("a", "c"), ("c", "a")]


def articles_table(conn):
    return conn.execute(
        """
        select id, other_id, round(score, 4) from similarities
        order by id, score desc, other_id
        """
    ).fetchall()


def test_a_run_keeps_similarities_right(conn, model):
    source = table_source(conn, "articles")
    ingest(conn, "articles", source, model)
    build(collections.collection(conn, "articles"), LIMIT)
    conn.execute("insert into articles values (7, 'Cats', 'How to feed a kitten.')")
    conn.execute("delete from articles where id = 3")
    conn.execute("update articles set body = 'A loaf of bread.' where id = 2")
    conn.commit()
    ingest(conn, "articles", source, model, options=IngestOptions(prune=True))
    kept = articles_table(conn)
    conn.execute("delete from similarities")
    conn.execute("delete from _embedding_similarity_marks")
    conn.commit()
    build(collections.collection(conn, "articles"), LIMIT)
    assert kept == articles_table(conn)
    assert {row[0] for row in kept} == {"1", "2", "4", "5", "6", "7"}


def test_a_rebuilt_collection_has_the_similarities_of_the_old(conn, model):
    source = table_source(conn, "articles")
    ingest(conn, "articles", source, model)
    build(collections.collection(conn, "articles"), LIMIT)
    before = articles_table(conn)
    ingest(conn, "articles", source, model, options=IngestOptions(rebuild=True))
    assert articles_table(conn) == before
    found = collections.collection(conn, "articles")
    assert Similarities(found).settings == LIMIT
    ids = conn.execute("select distinct collection_id from similarities").fetchall()
    assert ids == [(found.id,)]


def test_related_items_have_titles_and_none_that_are_gone(conn, model):
    ingest(conn, "articles", table_source(conn, "articles"), model)
    found = collections.collection(conn, "articles")
    assert related_items(found, "5") == []
    build(found, SimilaritySettings(5))
    related = related_items(found, "5", limit=2)
    assert [match.title for match in related] == [
        match.title for match in similar_items(found, "5")[:2]
    ]
    conn.execute("delete from articles where id = ?", [related[0].id])
    conn.execute("delete from embeddings where id = ?", [related[1].id])
    left = [match.id for match in related_items(found, "5")]
    assert len(left) == 3
    assert not {each.id for each in related} & set(left)


@pytest.mark.parametrize("chunking", [None, Chunking("fixed", size=6, overlap=0)])
def test_deleted_rows_are_left_out_with_several_sources_too(conn, model, chunking):
    conn.execute("create table pages (id integer primary key, body text)")
    conn.execute("insert into pages select id, body from articles")
    query = "select id, body from articles where id < 3"
    a, b, q = (Source(id_prefix=each, chunking=chunking) for each in "abq")
    for source in (
        table_source(conn, "articles", rules=a),
        table_source(conn, "pages", rules=b),
        query_source(conn, query, rules=q),
    ):
        ingest(conn, "mine", source, model)
    found = collections.collection(conn, "mine")
    build(found, SimilaritySettings(20))
    before = {match.id for match in related_items(found, "a5", limit=20)}
    assert {"a1", "a6", "b2", "q1"} <= before
    conn.execute("delete from articles where id = 1")
    conn.execute("delete from pages where id = 2")
    left = {match.id for match in related_items(found, "a5", limit=20)}
    assert left == before - {"a1", "b2"}
    pairs = similar_pairs(found, limit=200)
    shown = {each.id for pair in pairs for each in (pair.one, pair.other)}
    assert shown == left | {"a5"}


def test_pairs_come_once_and_best_first(conn, model):
    ingest(conn, "articles", table_source(conn, "articles"), model)
    found = collections.collection(conn, "articles")
    build(found, SimilaritySettings(1))
    shown = similar_pairs(found, limit=100)
    keys = [frozenset((pair.one.id, pair.other.id)) for pair in shown]
    scores = [pair.score for pair in shown]
    assert (len(keys), scores) == (len(set(keys)), sorted(scores, reverse=True))
    noted = {frozenset(row[:2]) for row in articles_table(conn)}
    assert set(keys) == noted
    assert similar_pairs(found, limit=2, offset=1) == shown[1:3]


KILLED = """
import os, signal, sqlite3, sys
import numpy as np
from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.similarities import refreshing
from datasette_embeddings.store.collections import collection

conn = sqlite3.connect(sys.argv[1])
written = 0
def rows(ids, lists):
    global written
    for row in honest(ids, lists):
        written += 1
        if written == 200:
            os.kill(os.getpid(), signal.SIGKILL)
        yield row
honest, refreshing._rows = refreshing._rows, rows
refreshing.build(collection(conn, "x"), SimilaritySettings(9))
"""


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_a_killed_run_leaves_the_table_as_it_was(tmp_path, journal_mode):
    path = tmp_path / "x.db"
    conn = sqlite3.connect(path)
    conn.execute(f"pragma journal_mode = {journal_mode}")
    made = create_collection(conn, "x", "some-model", None)
    random = np.random.default_rng(2)
    made = write(conn, made, {f"{n}": random.standard_normal(4) for n in range(60)})
    build(made, LIMIT)
    before = table(conn)
    conn.close()
    command = [sys.executable, "-c", KILLED, str(path)]
    result = subprocess.run(command, capture_output=True, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr
    conn = sqlite3.connect(path)
    assert table(conn) == before
    build(collections.collection(conn, "x"), SimilaritySettings(9))
    assert len(table(conn)) == 60 * 9
    conn.close()


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_readers_see_the_old_table_until_the_new_one_is_whole(
    tmp_path, journal_mode, monkeypatch
):
    path = tmp_path / "x.db"
    conn = sqlite3.connect(path)
    conn.execute(f"pragma journal_mode = {journal_mode}")
    made = create_collection(conn, "x", "some-model", None)
    random = np.random.default_rng(3)
    made = write(conn, made, {f"{n}": random.standard_normal(4) for n in range(900)})
    build(made, SimilaritySettings(2))
    # As few pages as would be written early
    conn.execute("pragma cache_size = 5")
    seen = []
    honest = refreshing._rows

    def rows(ids, lists):
        for number, row in enumerate(honest(ids, lists)):
            if number % 500 == 499:
                reader = sqlite3.connect(path, timeout=0)
                seen.append(
                    reader.execute("select count(*) from similarities").fetchone()[0]
                )
                reader.close()
            yield row

    monkeypatch.setattr(refreshing, "_rows", rows)
    build(made, SimilaritySettings(5))
    assert seen == [1800] * 9
    assert len(table(conn)) == 4500
    conn.close()


def test_what_is_written_meanwhile_is_not_lost(tmp_path, monkeypatch):
    path = tmp_path / "x.db"
    conn = sqlite3.connect(path)
    made = create_collection(conn, "x", "some-model", None)
    vectors = {f"{n}": [n + 1, 1, 0] for n in range(9)}
    made = write(conn, made, vectors)
    honest, times = refreshing.nearest, []

    def interrupted(*arguments, **options):
        if not times:
            times.append(1)
            other = sqlite3.connect(path)
            write(other, made.bound_to(other), {"new": [1, 1, 0.1]})
            other.close()
        return honest(*arguments, **options)

    monkeypatch.setattr(refreshing, "nearest", interrupted)
    build(made, LIMIT)
    vectors["new"] = [1, 1, 0.1]
    assert_same(table(conn), expected(vectors, LIMIT))
    conn.close()


def test_the_command_makes_keeps_and_removes_them(articles_db, tmp_path):
    def run(*arguments):
        result = CliRunner().invoke(embeddings, arguments)
        return result.exit_code, result.stderr

    path = str(articles_db)
    command = ["similarities", path, "articles", "--limit", "2"]
    assert run(*command) == (0, "articles: 6 of 6 documents compared\n")
    conn = sqlite3.connect(path)
    assert len(articles_table(conn)) == 12
    conn.execute("insert into articles values (7, 'Cats', 'How to feed a kitten.')")
    conn.commit()
    assert run("sync", path, "--silent")[0] == 0
    assert len(articles_table(conn)) == 14
    code, told = run("similarities", path, "articles", "--limit", "0")
    assert (code, told) == (
        1,
        "Error: Expected a limit, a whole number from 1; found 0\n",
    )
    assert run("similarities", path, "articles", "--remove")[0] == 0
    assert articles_table(conn) == []
    metadata = tmp_path / "metadata.yml"
    metadata.write_text(
        "plugins:\n  datasette-embeddings:\n    collections:\n      articles:\n"
        "        table: articles\n        similarities: {limit: 1, min_score: -1}\n"
    )
    assert run("sync", path, "--config", str(metadata), "--silent")[0] == 0
    assert len(articles_table(conn)) == 7
    conn.execute("update embeddings set embedding = zeroblob(1536) where id = '7'")
    conn.execute("update embeddings set updated = 1 where id = '7'")
    conn.commit()
    found = list(problems(conn))
    assert ("documents whose similarities are old", 2) in [
        (each.problem, each.count) for each in found
    ] or ("documents whose similarities are old", 1) in [
        (each.problem, each.count) for each in found
    ]
    conn.close()
