"""Clusters of documents: found in a full run, and kept up to date."""

from __future__ import annotations

import itertools
import sqlite3
import sys
from itertools import chain

import numpy as np
import pytest

from datasette_embeddings.clusters import refreshing
from datasette_embeddings.clusters.building import build, remove
from datasette_embeddings.clusters.density import default_min_size
from datasette_embeddings.clusters.refreshing import advice, count_stale, refresh
from datasette_embeddings.documents import Chunking, Document
from datasette_embeddings.errors import (
    InvalidInputError,
    MissingLibraryError,
    UnknownCollectionError,
)
from datasette_embeddings.ingest.check import delete_inconsistent_rows, problems
from datasette_embeddings.ingest.items import embed_items
from datasette_embeddings.store.cluster_facts import HDBSCAN, KMEANS, ClusterSettings
from datasette_embeddings.store.clusters import Cluster, Clusters
from datasette_embeddings.store.collection_writes import (
    create_collection,
    delete_collection,
)
from datasette_embeddings.store.collections import collection as collection_named
from datasette_embeddings.store.collections import current
from datasette_embeddings.store.deleting import delete_items
from datasette_embeddings.store.documents import write_embeddings
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.store.words import Words
from datasette_embeddings.vectors import encode, normalize

times = itertools.count(1_600_000_000)
TWO, THREE = ClusterSettings(count=2), ClusterSettings(count=3)
# Degrees: 20 is the center of the first three, 95 that of the others
DEGREES = {"a": 10, "b": 20, "c": 30, "d": 90, "e": 100}
BY_DENSITY = ClusterSettings(HDBSCAN, min_size=3)


def vector(degrees):
    angle = np.radians(degrees)
    return np.array([np.cos(angle), np.sin(angle)], "<f4")


def distance(degrees):
    """One minus the cosine of an angle."""
    return pytest.approx(1 - np.cos(np.radians(degrees)), abs=1e-6)


def write(collection, vectors):
    """Store *vectors*, arrays or degrees by id, some time ago."""
    arrays = {k: vector(v) if np.isscalar(v) else v for k, v in vectors.items()}
    documents = [Document(each, f"The text of {each}") for each in arrays]
    with transaction(collection.conn):
        rows = np.array(list(arrays.values()), "<f4")
        write_embeddings(collection, documents, rows, store_content=True)
        # Some time ago: what is recent is looked at again
        sql = "update embeddings set updated = ? where id = ?"
        time = next(times)
        collection.conn.executemany(sql, [(time, each) for each in arrays])
        Words(collection).write(documents)
    return current(collection)


def made(vectors=DEGREES, settings=TWO, conn=None):
    """A collection of *vectors* with clusters."""
    conn = conn or sqlite3.connect(":memory:")
    found = write(create_collection(conn, "notes", "some-model", None), vectors)
    build(found, settings)
    return current(found)


def by_cluster(collection):
    """The ids of the documents of each cluster; the last are those in none."""
    table = Clusters(collection)
    ids = {each.number: sorted(table.document_ids(each.number)) for each in table.all()}
    outside = [
        id
        for id, (number, _distance) in table.of(sorted(table.states())).items()
        if number is None
    ]
    return [*ids.values(), sorted(outside)]


def groups(count=3, each=12, dimensions=6, seed=0):
    """Vectors around *count* directions, by ids such as "1-07"."""
    random = np.random.default_rng(seed)
    noise = 0.05 * random.standard_normal((count, each, dimensions))
    vectors = normalize(
        (np.eye(dimensions)[:count, None] + noise).reshape(-1, dimensions).astype("<f4")
    )
    ids = [f"{group}-{n:02}" for group in range(1, count + 1) for n in range(each)]
    return dict(zip(ids, vectors, strict=True))


def test_clusters_of_five_documents():
    found = Clusters(made())
    assert found.all() == [
        Cluster(1, "Cluster 1", 3, (), ("b", "a", "c")),
        Cluster(2, "Cluster 2", 2, (), ("d", "e")),
    ]
    assert found.of(list(DEGREES)) == {
        "a": (1, distance(10)),
        "b": (1, distance(0)),
        "c": (1, distance(10)),
        "d": (2, distance(5)),
        "e": (2, distance(5)),
    }
    centers = found.centers()
    np.testing.assert_allclose(centers[1], vector(20), atol=1e-6)
    np.testing.assert_allclose(centers[2], vector(95), atol=1e-6)
    facts = found.facts
    assert (facts.documents, facts.joined, facts.sizes) == (5, 0, (3, 2))
    assert facts.settings == TWO


def test_the_report_of_a_run():
    found = write(
        create_collection(sqlite3.connect(":memory:"), "notes", "some-model", None),
        {**groups(), "odd": np.zeros(6)},
    )
    counts = []
    report = build(found, THREE, start=counts.append, progress=counts.append)
    assert (report.clusters, report.documents, report.outside) == (3, 37, 1)
    assert report.silhouette is None
    # The sample, and all documents until none moves
    assert counts[0] == 16 * 36
    assert set(counts[1:]) == {36}
    assert by_cluster(current(found))[-1] == ["odd"]


def test_the_count_is_chosen_by_the_silhouette():
    found = made(groups(4), ClusterSettings())
    facts = Clusters(found).facts
    assert len(facts.sizes) == 4
    assert 0.5 < facts.silhouette < 1
    assert facts.settings.count is None


def test_names_and_titles():
    conn = sqlite3.connect(":memory:")
    found = write(create_collection(conn, "notes", "some-model", None), DEGREES)
    given = []

    def namer(collection, members, *, limit):
        given.append((collection.name, members, limit))
        return {1: ["low", "few"], 2: ["high"]}

    build(found, TWO, namer=namer, summarizer=lambda _c, _members: {2: "Large angles"})
    assert given == [("notes", {1: ["b", "a", "c"], 2: ["d", "e"]}, 4)]
    names = [(each.name, each.words, each.summary) for each in Clusters(found).all()]
    assert names == [
        ("low, few", ("low", "few"), None),
        ("Large angles", ("high",), "Large angles"),
    ]


@pytest.mark.parametrize("settings", [THREE, ClusterSettings(), BY_DENSITY])
def test_the_same_documents_have_the_same_clusters(settings):
    # Neither the order in which they were stored nor a second run changes anything
    vectors = groups(5, 30, seed=3)
    random = dict(sorted(vectors.items(), key=lambda each: hash(each[1].tobytes())))
    first, second = made(vectors, settings), made(random, settings)
    assert by_cluster(first) == by_cluster(second)
    rows = Clusters(first).of(list(vectors))
    build(first, settings)
    assert Clusters(first).of(list(vectors)) == rows


def test_another_seed_may_find_other_clusters():
    random = np.random.default_rng(0)
    vectors = {f"{n}": each for n, each in enumerate(random.standard_normal((200, 9)))}
    vectors = {
        key: normalize(each[None].astype("<f4"))[0] for key, each in vectors.items()
    }
    found = {
        str(by_cluster(made(vectors, ClusterSettings(count=9, seed=seed))))
        for seed in range(3)
    }
    assert len(found) > 1


@pytest.mark.parametrize("threads", [1, 4])
def test_the_number_of_threads_changes_nothing(threads, monkeypatch):
    monkeypatch.setattr("datasette_embeddings.similarities.knn.MOST_WORKERS", threads)
    monkeypatch.setattr("os.cpu_count", lambda: threads)
    monkeypatch.setattr("datasette_embeddings.similarities.vector_file.BLOCK_ROWS", 16)
    random = np.random.default_rng(1).standard_normal((300, 8)).astype("<f4")
    vectors = {f"{n}": each for n, each in enumerate(normalize(random))}
    found = by_cluster(made(vectors, ClusterSettings(count=6)))
    monkeypatch.undo()
    assert found == by_cluster(made(vectors, ClusterSettings(count=6)))


def test_all_documents_place_the_centers_and_not_a_sample_alone(monkeypatch):
    monkeypatch.setattr("datasette_embeddings.clusters.kmeans.SAMPLED", 8)
    monkeypatch.setattr("datasette_embeddings.clusters.kmeans.LEAST_FOR_EACH", 1)
    found = by_cluster(made(groups(3, 40), THREE))
    assert [len(each) for each in found] == [40, 40, 40, 0]
    assert all(len({id[0] for id in each}) == 1 for each in found[:3])


@pytest.mark.parametrize(
    ("vectors", "sizes"),
    [
        ({}, []),
        ({"a": 10}, [1]),
        ({"a": 10, "b": 80}, [1, 1]),
        ({"a": 10, "b": 10, "c": 10, "d": 10}, [4]),
        # Opposite: their mean has no direction
        ({"a": 0, "b": 180}, [1, 1]),
        ({"a": np.zeros(2)}, []),
    ],
    ids=["none", "one", "two", "equal", "opposite", "zero"],
)
@pytest.mark.parametrize("count", [1, 3, None])
def test_few_documents(vectors, sizes, count):
    found = Clusters(made(vectors, ClusterSettings(count=count)))
    assert sum(each.size for each in found.all()) == sum(sizes)
    assert len(found.all()) <= max(1, len(sizes))
    if count == 3:
        assert [each.size for each in found.all()] == sizes
    assert found.facts.documents == len(vectors)


@pytest.mark.parametrize(
    "vectors",
    [{}, {"a": 10}, {"a": 1, "b": 2}, {f"{n}": 10 for n in range(20)}, DEGREES],
    ids=["none", "one", "two", "equal", "five"],
)
def test_few_documents_by_density(vectors):
    found = by_cluster(made(vectors, ClusterSettings(HDBSCAN)))
    assert sorted(chain(*found)) == sorted(vectors)


def test_clusters_by_density_leave_out_documents_between_them():
    random = np.random.default_rng(0).standard_normal((40, 6)).astype("<f4")
    others = {f"x{n}": each for n, each in enumerate(normalize(random))}
    settings = ClusterSettings(HDBSCAN, min_size=5)
    *inside, outside = by_cluster(made({**groups(3, 30), **others}, settings))
    assert len(inside) >= 3
    assert all(len({id[0] for id in each} - {"x"}) <= 1 for each in inside)
    assert len(outside) > 20


def test_the_smallest_size_of_a_cluster_by_default():
    sizes = {count: default_min_size(count) for count in (0, 100, 577, 4_691, 20_000)}
    assert sizes == {0: 3, 100: 3, 577: 3, 4_691: 10, 20_000: 20}


def test_hdbscan_takes_a_limited_number_of_documents(monkeypatch):
    monkeypatch.setattr("datasette_embeddings.clusters.density.MOST_DOCUMENTS", 4)
    with pytest.raises(InvalidInputError, match=r"at most 4 .* found 5.* kmeans"):
        made(settings=ClusterSettings(HDBSCAN))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (ClusterSettings(count=0), "number of clusters from 1 to 1,000, found 0"),
        (ClusterSettings(count=1_001), "found 1001"),
        (ClusterSettings(count=2.0), "found 2.0"),
        (ClusterSettings(count=True), "found True"),
        (ClusterSettings("x"), "kmeans or hdbscan; found 'x'"),
        (ClusterSettings(HDBSCAN, count=2), "no number of clusters for hdbscan"),
        (ClusterSettings(min_size=5), "for hdbscan only, found 5"),
        (ClusterSettings(HDBSCAN, min_size=1), "from 2 to"),
        (ClusterSettings(seed=-1), "seed from 0"),
        (ClusterSettings(seed=2**31), "seed from 0"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        made(settings=settings)


def test_scikit_learn_is_missing(monkeypatch):
    found = made()
    rows = by_cluster(found)
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(MissingLibraryError, match=r"pip install .?scikit-learn"):
        build(found, THREE)
    assert by_cluster(found) == rows
    # What is there is kept up to date all the same
    write(found, {"f": 85})
    refresh(current(found))
    assert Clusters(found).of(["f"]) == {"f": (2, distance(10))}


def test_new_documents_join_the_nearest_center():
    found = write(made(), {"f": 40, "g": 60, "h": 181})
    assert count_stale(found) == 3
    refresh(found)
    table = Clusters(found)
    # The centers stay where they were
    assert table.of(["f", "g", "h"]) == {
        "f": (1, distance(20)),
        "g": (2, distance(35)),
        "h": (2, distance(86)),
    }
    facts = table.facts
    assert (facts.sizes, facts.documents, facts.joined) == ((4, 4), 8, 3)
    assert (count_stale(found), facts.is_outdated) == (0, True)


def test_changed_documents_join_again_and_deleted_ones_go():
    found = write(made(), {"b": 95})
    delete_items(found, ["a"])
    assert count_stale(found) == 2
    refresh(current(found))
    table = Clusters(found)
    assert table.of(["a", "b"]) == {"b": (2, distance(0))}
    assert [(each.number, each.size, each.central) for each in table.all()] == [
        (2, 3, ("b", "d", "e")),
        (1, 1, ("c",)),
    ]
    assert count_stale(found) == 0


def test_a_refresh_by_density_leaves_out_what_is_far():
    found = made(groups(3, 30), ClusterSettings(HDBSCAN, min_size=5))
    near = groups(1, 1, seed=9)["1-00"]
    number = Clusters(found).of(["1-00", "1-01", "1-02", "1-03", "1-04"])
    assert {each for each, _distance in number.values()} - {None}
    odd = normalize(np.ones((1, 6), "<f4"))[0]
    found = write(found, {"near": Clusters(found).centers()[1], "odd": odd, "x": near})
    refresh(found)
    table = Clusters(found)
    assert table.of(["near", "odd"]) == {
        "near": (1, pytest.approx(0, abs=1e-6)),
        "odd": (None, None),
    }


def test_a_document_that_can_no_longer_be_compared_is_in_no_cluster():
    found = write(made(), {"a": np.zeros(2)})
    refresh(found)
    assert Clusters(found).of(["a"]) == {"a": (None, None)}
    assert count_stale(found) == 0


def test_nothing_is_read_again_if_nothing_has_changed(monkeypatch):
    found = made()
    monkeypatch.setattr(refreshing, "document_states", None)
    refresh(found)
    found = write(found, {"f": 40})
    with pytest.raises(TypeError):
        refresh(found)


def test_a_collection_without_clusters_is_not_looked_at():
    conn = sqlite3.connect(":memory:")
    found = write(create_collection(conn, "notes", "some-model", None), DEGREES)
    refresh(found)
    assert (count_stale(found), advice(found)) == (0, None)
    assert not Clusters(found).exist


def test_a_changed_vector_of_the_last_second_is_noticed():
    # A row that llm deletes and inserts again within one second has the same rowid
    found = made()
    conn = found.conn
    with conn:
        conn.execute("update embeddings set updated = strftime('%s', 'now')")
    refresh(current(found))
    assert Clusters(found).facts.state is None


def test_advice_after_more_than_a_tenth_joined():
    found = made(groups())
    found = write(
        found, {f"x{n}": each for n, each in enumerate(groups(1, 3).values())}
    )
    refresh(found)
    assert advice(current(found)) is None
    found = write(found, {"y": groups(1, 1)["1-00"], "z": groups(1, 1)["1-00"]})
    refresh(found)
    assert advice(current(found)) == (
        "notes: 5 of 41 documents joined its clusters since they were found: "
        "run 'datasette embeddings clusters' again"
    )


def test_removed_clusters_leave_nothing():
    found = made()
    remove(found)
    found = current(found)
    assert not found.has_clusters
    tables = ("embedding_clusters", "embedding_cluster_names")
    counts = [f"select count(*) from {each}" for each in tables]
    assert [found.conn.execute(sql).fetchone()[0] for sql in counts] == [0, 0]
    refresh(found)
    assert Clusters(found).settings is None


def test_a_deleted_collection_leaves_no_clusters():
    found = made()
    delete_collection(found.conn, "notes")
    for table in ("embedding_clusters", "embedding_cluster_names"):
        assert found.conn.execute(f"select * from {table}").fetchall() == []


def test_clusters_of_another_collection_stay():
    conn = sqlite3.connect(":memory:")
    other = write(create_collection(conn, "other", "some-model", None), DEGREES)
    build(other, TWO)
    rows = by_cluster(other)
    found = made(groups(), conn=conn)
    write(found, {"b": groups(1, 1)["1-00"]})
    refresh(current(found))
    remove(found)
    assert by_cluster(current(other)) == rows


def test_documents_that_another_program_changes_during_a_run():
    conn = sqlite3.connect(":memory:")
    found = write(create_collection(conn, "notes", "some-model", None), DEGREES)

    def namer(_collection, _members, *, limit):
        delete_items(found, ["a"])
        write(found, {"f": 95})
        return {}

    build(found, TWO, namer=namer)
    assert by_cluster(current(found)) == [["d", "e", "f"], ["b", "c"], []]
    assert count_stale(current(found)) == 0


def test_a_collection_that_is_deleted_during_a_run():
    conn = sqlite3.connect(":memory:")
    found = write(create_collection(conn, "notes", "some-model", None), DEGREES)

    def namer(_collection, _members, *, limit):
        delete_collection(conn, "notes")
        return {}

    with pytest.raises(UnknownCollectionError):
        build(found, TWO, namer=namer)
    assert conn.execute("select * from embedding_clusters").fetchall() == []


def test_a_refresh_beside_a_run_of_another_program(tmp_path, monkeypatch):
    path = tmp_path / "notes.db"
    conn = sqlite3.connect(path)
    conn.execute("pragma journal_mode = wal")
    found = write(made(conn=conn), {"f": 40})
    read, runs = refreshing._changes, []

    def changes(collection, facts):
        changed = read(collection, facts)
        runs.append(len(changed.rows))
        if len(runs) == 1:
            # Another program finds three clusters meanwhile
            with sqlite3.connect(path) as other:
                build(collection_named(other, "notes"), THREE)
        return changed

    monkeypatch.setattr(refreshing, "_changes", changes)
    refresh(found)
    table = Clusters(current(found))
    assert table.settings == THREE
    assert (table.facts.joined, table.facts.documents) == (0, 6)
    assert runs == [1]


def problems_of(conn):
    return {each.problem: each.count for each in problems(conn)}


def test_check_finds_and_repairs_rows_of_clusters():
    found = made()
    conn = found.conn
    assert problems_of(conn) == {}
    with conn:
        conn.execute("delete from embedding_clusters where id = 'a'")
        conn.execute("update embedding_clusters set state = 'x' where id = 'b'")
        conn.execute("update embedding_clusters set cluster = 'x' where id = 'c'")
        conn.execute("insert into embedding_clusters values (1, 'y', 1, 0.5, '')")
        conn.execute("insert into embedding_clusters values (7, 'y', 1, 0.5, '')")
    assert problems_of(conn) == {
        "documents whose cluster is old": 4,
        "rows with values of another type": 1,
        "facts about a collection that was deleted": 1,
    }
    rows = by_cluster(made())
    delete_inconsistent_rows(conn)
    assert problems_of(conn) == {}
    assert by_cluster(current(found)) == rows


@pytest.mark.parametrize(
    "sql",
    [
        "delete from embedding_cluster_names where cluster = 1",
        "update embedding_cluster_names set center = null",
        "update embedding_cluster_names set center = 'x'",
        "update embedding_cluster_names set name = x'00'",
    ],
)
def test_check_finds_and_repairs_names_of_clusters(sql, monkeypatch):
    found = made()
    rows = by_cluster(found)
    with found.conn:
        found.conn.execute(sql)
    assert problems_of(found.conn)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "sklearn.cluster", None)
        delete_inconsistent_rows(found.conn)
        assert "clusters without a name or a center" in problems_of(found.conn)
    delete_inconsistent_rows(found.conn)
    assert problems_of(found.conn) == {}
    assert by_cluster(current(found)) == rows


@pytest.mark.parametrize("table", ["embedding_clusters", "embedding_cluster_names"])
def test_check_finds_and_repairs_a_table_that_is_gone(table):
    found = made()
    found.conn.execute(f"drop table {table}")
    found = current(found)
    assert Clusters(found).all() == []
    assert problems_of(found.conn) == {"documents whose cluster is old": 5}
    delete_inconsistent_rows(found.conn)
    assert problems_of(found.conn) == {}
    assert sum(each.size for each in Clusters(current(found)).all()) == 5


def test_check_removes_clusters_whose_facts_are_gone():
    found = made()
    with found.conn:
        found.conn.execute("update _embedding_collections set clusters = null")
    assert problems_of(found.conn) == {"documents whose cluster is old": 5}
    delete_inconsistent_rows(found.conn)
    assert problems_of(found.conn) == {}
    assert found.conn.execute("select * from embedding_clusters").fetchall() == []


def test_the_vectors_of_another_model_do_not_stop_a_refresh():
    # As another program may write: centers have another length then
    found = made()
    with found.conn:
        found.conn.execute(
            "update embeddings set embedding = ?, updated = updated + 1",
            [encode(np.ones(5, "<f4"))],
        )
    refresh(current(found))
    assert by_cluster(current(found)) == [sorted(DEGREES)]


@pytest.mark.parametrize("number", [-7, 0, 1, 9])
def test_no_document_joins_a_center_of_another_program(number):
    found = made()
    center = encode(np.array([np.nan, 1], "<f4") if number == 1 else vector(10))
    with found.conn:
        found.conn.execute("delete from embedding_cluster_names")
        found.conn.execute(
            "insert into embedding_cluster_names (collection_id, cluster, center) "
            "values (?, ?, ?)",
            [found.id, number, center],
        )
        found.conn.execute("update embeddings set updated = updated + 1")
        found.conn.execute("update embedding_clusters set state = 'other'")
    refresh(current(found))
    assert set(Clusters(found).of(list(DEGREES)).values()) == {(None, None)}


def test_sizes_of_documents_in_chunks(conn, model):
    found = create_collection(conn, "notes", model.settings, None)
    texts = {"cats": "Cats purr. " * 40, "dogs": "Dogs bark. " * 40, "tax": "Pay tax."}
    documents = [Document(each, text) for each, text in texts.items()]
    embed_items(found, model, documents, chunking=Chunking("fixed", 20))
    build(current(found), THREE)
    assert sorted(Clusters(found).of(list(texts))) == sorted(texts)
    assert Clusters(found).facts.documents == 3
    embed_items(current(found), model, [Document("dogs", "Dogs.")], chunking=None)
    assert Clusters(found).facts.joined == 1
    assert count_stale(current(found)) == 0


def test_the_settings_stay_those_that_were_given():
    found = made(settings=ClusterSettings(KMEANS, 9, None, 5))
    assert Clusters(found).settings == ClusterSettings(KMEANS, 9, None, 5)
    assert len(Clusters(found).all()) == 5
