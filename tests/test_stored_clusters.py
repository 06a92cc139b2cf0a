"""The tables of clusters: what is written there, and what is read of anything there."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pytest

from datasette_embeddings.errors import SchemaError
from datasette_embeddings.ingest.check import problems
from datasette_embeddings.store import clusters, schema
from datasette_embeddings.store.cluster_facts import (
    HDBSCAN,
    ClusterFacts,
    ClusterSettings,
)
from datasette_embeddings.store.cluster_names import named_clusters, names_of
from datasette_embeddings.store.clusters import CENTRAL, Cluster, Clusters
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection, current
from datasette_embeddings.store.coordinates import Coordinates

PETS = Cluster(1, "cats, dogs", 3, ("cats", "dogs"), ("a", "b", "c"))
TAXES = Cluster(2, "Forms", 1, ("tax",), ("d",), "Forms")
ROWS = [
    ("c", 1, 0.3, "3:1"),
    ("b", 1, 0.1, "2:1"),
    ("a", 1, 0.1, "1:1"),
    ("d", 2, 0.0, "4:1"),
    ("e", None, None, "5:1"),
]
FACTS = ClusterFacts(ClusterSettings(HDBSCAN, None, 2, 7), (3, 1), 5, 1, None, [1, 2.5])


@pytest.fixture
def table(conn):
    return Clusters(create_collection(conn, "notes", "some-model", None))


@pytest.fixture
def stored(table):
    """The table with rows, names and facts."""
    table.prepare()
    centers = {1: np.array([1, 0], "<f4"), 2: np.array([0, 1], "<f4")}
    with schema.transaction(table.conn):
        table.write(ROWS)
        table.write_names([PETS, TAXES], centers)
        table.store_facts(FACTS)
    return Clusters(current(table.collection))


def test_a_collection_has_no_clusters_at_first(table):
    assert (table.settings, table.facts, table.all()) == (None, None, [])
    assert (table.of(["a"]), table.members(1, limit=9)) == ({}, [])
    assert table.document_ids(1) == set()
    assert not table.collection.has_clusters


def test_clusters_are_read_as_they_were_written(stored):
    assert stored.collection.has_clusters
    assert stored.facts == FACTS
    assert stored.settings == FACTS.settings
    assert stored.all() == [PETS, TAXES]


def test_the_cluster_of_a_document(stored):
    found = {"a": (1, 0.1), "e": (None, None)}
    assert stored.of(["a", "e", "missing"]) == found


def test_members_are_nearest_first_and_paged(stored):
    assert stored.members(1, limit=2) == [("a", 0.1), ("b", 0.1)]
    assert stored.members(1, limit=2, offset=2) == [("c", 0.3)]
    assert stored.members(3, limit=2) == []
    assert stored.document_ids(1) == {"a", "b", "c"}
    plan = " ".join(
        row[-1]
        for row in stored.conn.execute(
            "explain query plan select id, distance from embedding_clusters "
            "where collection_id = 1 and cluster = 1 order by distance, id limit 2"
        )
    )
    assert "idx_embedding_clusters" in plan
    assert "TEMP B-TREE" not in plan


def test_what_a_refresh_reads(stored):
    assert stored.states() == {row[0]: row[3] for row in ROWS}
    centers = {number: each.tolist() for number, each in stored.centers().items()}
    assert centers == {1: [1, 0], 2: [0, 1]}
    assert stored.farthest() == {1: 0.3, 2: 0.0}


def test_sizes_are_counted_again(stored):
    stored.write([("f", 2, 0.5, "6:1"), ("b", 2, 0.5, "7:1")], gone=["c"])
    facts = stored.counted(FACTS)
    assert (facts.sizes, facts.documents) == ((1, 3), 5)
    stored.store_facts(facts)
    assert [(each.number, each.size) for each in stored.all()] == [(2, 3), (1, 1)]


def test_a_cluster_that_lost_its_documents_is_left_out(stored):
    stored.write([], gone=["d"])
    stored.store_facts(stored.counted(FACTS))
    assert stored.all() == [PETS]


def test_cleared(stored):
    stored.clear()
    stored.store_facts(None)
    found = Clusters(current(stored.collection))
    assert not found.collection.has_clusters
    assert (found.settings, found.all(), found.of(["a"])) == (None, [], {})


def test_the_name_of_a_cluster():
    assert clusters.cluster_name(3, ["a", "b"], "About a") == "About a"
    assert clusters.cluster_name(3, ["a", "b"]) == "a, b"
    assert clusters.cluster_name(3, []) == "Cluster 3"


def test_a_chosen_count_is_stored_and_chosen_again_later(stored):
    facts = ClusterFacts(ClusterSettings(seed=1), (4, 2), 6, silhouette=0.25)
    stored.store_facts(facts)
    sql = "select clusters from _embedding_collections"
    assert json.loads(stored.conn.execute(sql).fetchone()[0]) == {
        "method": "kmeans",
        "count": 2,
        "is_chosen": True,
        "seed": 1,
        "version": 0,
        "sizes": [4, 2],
        "documents": 6,
        "joined": 0,
        "silhouette": 0.25,
    }
    assert stored.facts == facts
    assert stored.settings == ClusterSettings(seed=1)


@pytest.mark.parametrize(
    "facts",
    [
        *("[1]", "1", "null", "{", '{"method": "other"}', '{"method": ["kmeans"]}'),
        f'{{"method": "kmeans", "sizes": {[1] * 10_001}}}',
        '{"method": "kmeans", "sizes": "many", "count": -1, "seed": "x"}',
        '{"method": "kmeans", "sizes": [1, "many", -5, null], "state": 5}',
        '{"method": "kmeans", "joined": 1e9, "silhouette": "x", "min_size": 0}',
        # What no run takes would stop the next one
        '{"method": "kmeans", "count": 1001, "min_size": 9, "made": 253402300800}',
    ],
)
def test_facts_of_another_program(stored, facts):
    stored.conn.execute("update _embedding_collections set clusters = ?", [facts])
    assert all(each.size == 1 for each in stored.all())
    found = stored.facts
    assert found is None or found.settings == ClusterSettings()
    assert found is None or found.made is None


def test_half_of_a_character_is_left_out(stored):
    texts = '["\\ud800", "a"]'
    sql = "update embedding_cluster_names set words = ?, central = ?"
    stored.conn.execute(sql, [texts, texts])
    assert {(each.words, each.central) for each in stored.all()} == {(("a",), ("a",))}


def test_names_of_another_program_are_read_up_to_a_length(stored):
    sql = "update embedding_cluster_names set name = ?, summary = ?"
    stored.conn.execute(sql, ["x" * 5_000_000] * 2)
    names = [each.name for each in stored.all()]
    names += names_of(stored.collection, [1, 2]).values()
    names += [name for _number, name in named_clusters(stored.collection, "a").values()]
    assert [len(each) for each in names] == [1_000] * 5
    assert all(len(each.summary) == 1_000 for each in stored.all())


def test_of_long_lists_the_beginning_is_read(stored):
    sql = "update embedding_cluster_names set words = ?1, central = ?1"
    stored.conn.execute(sql, [json.dumps(["a"] * 10_000)])
    assert {(len(e.words), len(e.central)) for e in stored.all()} == {(20, CENTRAL)}


def test_names_of_no_cluster_are_not_read(stored):
    stored.conn.execute(
        """
        with recursive n(i) as (select 10 union all select i + 1 from n where i < 10000)
        insert into embedding_cluster_names (collection_id, cluster, name)
        select ?, i, 'name' from n
        """,
        [stored.collection.id],
    )
    steps = 0

    def count():
        nonlocal steps
        steps += 1

    stored.conn.set_progress_handler(count, 100)
    stored.all()
    stored.conn.set_progress_handler(None, 0)
    assert steps < 20


def test_settings_of_another_program_are_those_of_a_run(stored):
    facts = '{"method": "hdbscan", "count": 5, "min_size": 1000001, "made": 1e15}'
    stored.conn.execute("update _embedding_collections set clusters = ?", [facts])
    assert stored.facts == ClusterFacts(ClusterSettings("hdbscan"), (), 0)


@pytest.mark.parametrize("value", [None, b"\xff", "x", 5, 1.5, "[1, {}]", "[" * 9_999])
@pytest.mark.parametrize(
    "column",
    [
        *("embedding_clusters.cluster", "embedding_clusters.distance"),
        *("embedding_clusters.id", "embedding_clusters.state"),
        *("embedding_cluster_names.name", "embedding_cluster_names.words"),
        *("embedding_cluster_names.central", "embedding_cluster_names.center"),
        *("embedding_cluster_names.summary", "embedding_cluster_names.cluster"),
    ],
)
def test_rows_of_another_program(stored, column, value):
    table, name = column.split(".")
    stored.conn.execute(f"update or ignore {table} set {name} = ?", [value])
    for each in stored.all():
        assert isinstance(each.name, str)
        assert all(isinstance(text, str) for text in (*each.words, *each.central))
    assert all(isinstance(each, str) for each in stored.of(["a", "b", "x", 5]))
    assert all(
        isinstance(distance, float) for _id, distance in stored.members(1, limit=9)
    )
    assert all(isinstance(each, str) for each in stored.document_ids(1))
    assert all(isinstance(each, str) for each in stored.states())
    stored.centers()
    stored.farthest()
    stored.counted(FACTS)


@pytest.mark.parametrize("table", ["embedding_clusters", "embedding_coordinates"])
def test_a_table_of_another_program_stops_only_what_would_need_it(table):
    conn = sqlite3.connect(":memory:")
    found = create_collection(conn, "notes", "some-model", None)
    conn.execute(f"create table {table} (place text)")
    conn.execute(f"insert into {table} values ('here')")
    assert collection(conn, "notes").count_items() == 0
    assert list(problems(conn)) == []
    with pytest.raises(SchemaError, match=table):
        (Clusters(found) if "cluster" in table else Coordinates(found)).prepare()
    assert conn.execute(f"select * from {table}").fetchall() == [("here",)]
