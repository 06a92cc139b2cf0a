"""Maps: made by a method, and kept up to date without moving what is there."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from datasette_embeddings.documents import Document
from datasette_embeddings.errors import InvalidInputError, MissingLibraryError
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.maps import building, pacmap, placement, projections
from datasette_embeddings.maps.building import build, count_stale, refresh, remove
from datasette_embeddings.maps.projections import METHODS, Components, projected
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store import collections
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.documents import EmbeddedDocument, write_documents
from datasette_embeddings.store.map_facts import MapSettings
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.vectors import normalize

GROUPS, DIMENSIONS = 5, 12


def groups(count, seed=0):
    """Vectors in five groups, (n, 12): number *n* is in group *n* modulo five."""
    random = np.random.default_rng(seed)
    centers = 3 * np.eye(GROUPS, DIMENSIONS)[np.arange(count) % GROUPS]
    noise = random.normal(0, 0.4, (count, DIMENSIONS))
    return normalize((centers + noise).astype(np.float32))


def write(collection, vectors, first=0):
    """Store *vectors* as the documents d0, d1, …"""
    embedded = []
    for number, vector in enumerate(vectors, start=first):
        document = Document(f"d{number}", f"text {number}")
        each = EmbeddedDocument(document, None, [document], vector[None])
        embedded.append(each)
    with transaction(collection.conn):
        write_documents(collection, embedded, store_content=False)
    return collections.current(collection)


def of(vectors, path=":memory:"):
    conn = sqlite3.connect(path)
    return write(
        create_collection(conn, "notes", "some-model", None), np.array(vectors)
    )


def points(collection):
    rows = Coordinates(collection).rows()
    return {each: (x, y) for each, x, y, _tile, _state in rows}


def made(vectors, method="pacmap", seed=0, **options):
    collection = of(vectors)
    build(collection, MapSettings(method, seed), **options)
    return collections.current(collection)


def delete(collection, *ids):
    with collection.conn:
        collection.conn.executemany(
            "delete from embeddings where id = ?", [(each,) for each in ids]
        )


@pytest.fixture
def fake_umap(monkeypatch):
    """A library that swaps the coordinates of the first two numbers."""

    class Umap:
        def __init__(self, **settings):
            self.settings = settings

        def fit_transform(self, vectors):
            assert self.settings["random_state"] == 7
            return vectors[:, [1, 0]]

    monkeypatch.setattr(projections, "_umap_library", lambda: Umap)


def test_pca_is_what_a_singular_value_decomposition_says():
    vectors = groups(200)
    found = projected("pca", vectors, 0)
    centered = vectors - vectors.mean(axis=0)
    _u, _s, axes = np.linalg.svd(centered.astype(float), full_matrices=False)
    expected = centered @ axes[:2].T
    for column in range(2):
        sign = np.sign(expected[0, column] * found[0, column])
        np.testing.assert_allclose(
            found[:, column], sign * expected[:, column], atol=1e-5
        )


def test_the_sign_of_a_component_does_not_depend_on_the_blocks():
    vectors = groups(100)
    whole = Components([vectors], DIMENSIONS, 2)
    parts = Components([vectors[:30], vectors[30:]], DIMENSIONS, 2)
    np.testing.assert_allclose(whole.axes, parts.axes, atol=1e-5)
    assert (whole.axes[np.abs(whole.axes).argmax(axis=0), [0, 1]] > 0).all()


def test_a_map_keeps_groups_together():
    found = points(made(groups(300)))
    places = np.array([found[f"d{number}"] for number in range(300)])
    distances = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(axis=1)
    assert (nearest % GROUPS == np.arange(300) % GROUPS).mean() > 0.95


@pytest.mark.parametrize("method", ["pca", "pacmap"])
def test_the_same_map_of_the_same_seed(method):
    one, other = made(groups(100), method, 3), made(groups(100), method, 3)
    assert points(one) == points(other)
    facts = Coordinates(one).facts
    assert (facts.method, facts.seed, facts.documents, facts.placed) == (
        *(method, 3),
        *(100, 0),
    )


def test_another_map_of_another_seed():
    one, other = made(groups(100), seed=1), made(groups(100), seed=2)
    assert points(one) != points(other)


@pytest.mark.parametrize("fitted", [30, 1_000])
def test_the_map_does_not_depend_on_the_order_of_rows(monkeypatch, fitted):
    monkeypatch.setattr(building, "MOST_FITTED", fitted)
    vectors = groups(40)
    collection = made(vectors)
    other = of([])
    for number in reversed(range(40)):
        write(other, vectors[number : number + 1], first=number)
    other = collections.current(other)
    build(other, MapSettings("pacmap"))
    assert points(other) == points(collection)


def test_the_facts_have_the_edges():
    collection = made(groups(60))
    x, y = np.array(list(points(collection).values())).T
    facts = Coordinates(collection).facts
    assert (facts.min_x, facts.max_x) == (x.min(), x.max())
    assert (facts.min_y, facts.max_y) == (y.min(), y.max())


@pytest.mark.parametrize("method", ["pca", "pacmap"])
@pytest.mark.parametrize("count", [1, 2, 3, 14, 15, 16])
def test_a_map_of_few_documents(method, count):
    collection = made(groups(count), method)
    assert len(points(collection)) == count
    assert np.isfinite(list(points(collection).values())).all()


@pytest.mark.parametrize("method", ["pca", "pacmap"])
def test_documents_that_are_all_equal_are_at_one_place(method):
    found = made(np.tile(groups(1), (30, 1)), method)
    places = np.array(list(points(found).values()))
    assert np.ptp(places, axis=0).max() < 1e-6


@pytest.mark.parametrize("method", ["pca", "pacmap"])
def test_vectors_of_one_number(method):
    vectors = np.sign(np.random.default_rng(0).normal(size=(30, 1)))
    found = made(vectors.astype(np.float32), method)
    assert np.isfinite(list(points(found).values())).all()


def test_some_equal_documents_among_others():
    vectors = groups(60)
    vectors[:20] = vectors[0]
    assert np.isfinite(list(points(made(vectors)).values())).all()


def test_more_documents_than_the_method_is_given(monkeypatch):
    monkeypatch.setattr(building, "MOST_FITTED", 100)
    collection = made(groups(400))
    found = points(collection)
    assert len(found) == 400
    places = np.array([found[f"d{number}"] for number in range(400)])
    centers = np.array([np.median(places[n::GROUPS], axis=0) for n in range(GROUPS)])
    nearest = np.linalg.norm(places[:, None] - centers, axis=2).argmin(axis=1)
    assert (nearest == np.arange(400) % GROUPS).mean() > 0.95
    assert Coordinates(collection).facts.placed == 0


@pytest.mark.parametrize("method", ["pca", "pacmap"])
@pytest.mark.parametrize("fitted", [50, 1_000])
def test_progress_comes_to_the_number_of_documents(monkeypatch, method, fitted):
    monkeypatch.setattr(building, "MOST_FITTED", fitted)
    started, done = [], []
    made(groups(130), method, start=started.append, progress=done.append)
    assert started == [130]
    assert sum(done) == 130


def test_umap_is_called_with_the_seed(fake_umap):
    vectors = groups(30)
    found = points(made(vectors, "umap", 7))
    np.testing.assert_allclose(found["d3"], vectors[3, [1, 0]], atol=1e-6)


def test_what_a_method_leaves_out_is_placed(fake_umap):
    vectors = groups(30)
    good = projections._umap_library().fit_transform

    def with_gap(self, given):
        found = good(self, given).astype(float)
        found[0] = np.nan
        return found

    projections._umap_library().fit_transform = with_gap
    found = points(made(vectors, "umap", 7))
    assert len(found) == 30
    assert np.isfinite(list(found.values())).all()


def test_a_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    collection = of(groups(20))
    with pytest.raises(MissingLibraryError, match="umap-learn"):
        build(collection, MapSettings("umap"))
    assert not collections.current(collection).has_map


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (MapSettings("tsne"), f"one of {', '.join(METHODS)}; found 'tsne'"),
        (MapSettings("pca", -1), "seed from 0"),
        (MapSettings("pca", 2**32), "seed from 0"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        build(of(groups(20)), settings)


def test_an_empty_collection_has_no_map():
    conn = sqlite3.connect(":memory:")
    collection = create_collection(conn, "notes", "some-model", None)
    with pytest.raises(InvalidInputError, match="'notes' has no vectors"):
        build(collection, MapSettings("pca"))
    assert refresh(collection) is None


def test_new_documents_are_placed_and_others_stay():
    collection = made(groups(200))
    before, version = points(collection), Coordinates(collection).facts.version
    write(collection, groups(230)[200:], first=200)
    facts = refresh(collection)
    after = points(collection)
    assert {each: after[each] for each in before} == before
    assert (len(after), facts.documents, facts.placed) == (230, 230, 30)
    assert facts.version != version
    for number in range(200, 230):
        own = np.array([before[f"d{n}"] for n in range(number % GROUPS, 200, GROUPS)])
        x, y = after[f"d{number}"]
        assert own[:, 0].min() <= x <= own[:, 0].max()
        assert own[:, 1].min() <= y <= own[:, 1].max()


def test_a_changed_document_moves_to_its_new_neighbours():
    collection = made(groups(200))
    before = points(collection)
    collection = write(collection, groups(200)[1:2])
    refresh(collection)
    after = points(collection)
    assert {each for each in after if after[each] != before[each]} == {"d0"}
    own = np.array([before[f"d{n}"] for n in range(1, 200, GROUPS)])
    assert own[:, 0].min() <= after["d0"][0] <= own[:, 0].max()


def test_deleted_documents_leave_the_map():
    collection = made(groups(50))
    before = points(collection)
    delete(collection, "d3", "d4")
    assert count_stale(collection) == 2
    assert refresh(collection).documents == 48
    assert points(collection) == {
        each: place for each, place in before.items() if each not in ("d3", "d4")
    }
    assert count_stale(collection) == 0


def test_a_refresh_without_changes_writes_nothing():
    collection = made(groups(50))
    collection.conn.execute("update embeddings set updated = 1")
    refresh(collection)
    version = Coordinates(collection).facts.version
    changes = collection.conn.total_changes
    assert refresh(collection).version == version
    assert collection.conn.total_changes == changes


def test_a_small_map_is_made_again_when_most_is_new():
    collection = made(groups(2))
    write(collection, groups(60)[2:], first=2)
    facts = refresh(collections.current(collection))
    assert (facts.documents, facts.placed) == (60, 0)
    assert len(set(points(collection).values())) == 60


def test_a_map_of_deleted_documents_is_made_again():
    collection = made(groups(20))
    delete(collection, *(f"d{n}" for n in range(20)))
    assert refresh(collection).documents == 0
    write(collection, groups(20))
    assert refresh(collections.current(collection)).documents == 20


def test_a_refresh_gives_the_tiles_of_a_full_run(monkeypatch):
    collection = made(groups(300))
    write(collection, groups(340)[300:], first=300)
    refresh(collection)
    rows = Coordinates(collection).rows()
    assert {row[3] for row in rows} == {1}
    assert count_stale(collection) == 0


def test_a_change_of_another_program_meanwhile_is_kept(monkeypatch):
    collection = made(groups(100))
    write(collection, groups(103)[100:], first=100)
    placed, calls = building.place, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 1:
            delete(collection, "d0")
            refresh(collection)
        return placed(*args)

    monkeypatch.setattr(building, "place", interrupted)
    refresh(collection)
    # Of the first, of the one meanwhile; then the first finds all done
    assert len(calls) == 2
    assert len(points(collection)) == 102
    assert count_stale(collection) == 0


def test_vectors_that_cannot_be_compared_are_not_on_the_map():
    collection = made(groups(50))
    collection.conn.execute("update embeddings set embedding = x'00' where id = 'd1'")
    collection.conn.execute("update embeddings set updated = 3 where id = 'd1'")
    assert count_stale(collection) == 1
    assert refresh(collection).documents == 49
    assert count_stale(collection) == 0


@pytest.mark.parametrize(
    "sql",
    [
        "update embedding_coordinates set x = 1e9 where id = 'd1'",
        "update embedding_coordinates set x = null where id = 'd1'",
        "update embedding_coordinates set tile = 5 where id = 'd1'",
        "update embedding_coordinates set tile = 'high' where id = 'd1'",
        "update embedding_coordinates set state = null where id = 'd1'",
        "delete from embedding_coordinates where id = 'd1'",
        "insert into embedding_coordinates select collection_id, 'gone', x, y, tile, "
        "state from embedding_coordinates where id = 'd1'",
        "insert into embedding_coordinates select collection_id, x'01', x, y, tile, "
        "state from embedding_coordinates where id = 'd1'",
    ],
)
def test_what_another_program_wrote_is_found_and_repaired(sql):
    collection = made(groups(50))
    assert count_stale(collection) == 0
    collection.conn.execute(sql)
    collection.conn.commit()
    assert count_stale(collection) == 1
    refresh(collection, checks=True)
    assert count_stale(collection) == 0
    assert set(points(collection)) == {f"d{n}" for n in range(50)}


def test_facts_that_are_not_valid_make_a_new_map():
    collection = made(groups(50))
    sql = "update _embedding_collections set map = json_set(map, '$.min_x', 'left')"
    collection.conn.execute(sql)
    collection.conn.commit()
    assert count_stale(collection) == 50
    assert refresh(collection).documents == 50
    assert count_stale(collection) == 0


@pytest.mark.parametrize(
    "settings", ["'$.method', 'tsne'", "'$.seed', -4", "'$.seed', 1e300"]
)
def test_settings_of_another_program_stop_no_run(settings):
    collection = made(groups(50))
    sql = "update _embedding_collections set map = json_set(map, '$.min_x', null, {})"
    collection.conn.execute(sql.format(settings))
    collection.conn.commit()
    assert refresh(collection, checks=True) is None


def test_lost_facts_of_an_empty_map_stop_no_run():
    collection = made(groups(50))
    sql = "update _embedding_collections set map = json_set(map, '$.min_x', 'left')"
    collection.conn.execute(sql)
    delete(collection, *(f"d{number}" for number in range(50)))
    assert refresh(collection) is None


def test_a_map_is_removed():
    collection = made(groups(50))
    remove(collection)
    assert points(collection) == {}
    assert not collections.current(collection).has_map
    assert refresh(collections.current(collection)) is None


def test_a_run_that_is_killed_leaves_the_old_map(tmp_path):
    path = tmp_path / "notes.db"
    collection = of(groups(100), path)
    build(collection, MapSettings("pca"))
    before = points(collection)
    code = f"""
import os, sqlite3
from datasette_embeddings.maps import building
from datasette_embeddings.store import collections
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.map_facts import MapSettings
write = Coordinates.write
def killed(self, rows, deleted):
    write(self, rows, deleted=deleted)
    os.kill(os.getpid(), 9)
Coordinates.write = killed
found = collections.collection(sqlite3.connect({str(path)!r}), "notes")
building.build(found, MapSettings("pacmap"))
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    collection = collections.current(collection)
    assert points(collection) == before
    assert Coordinates(collection).settings == MapSettings("pca")


def test_a_run_of_a_source_keeps_the_map_up_to_date(conn, model):
    source = table_source(conn, "articles")
    ingest(conn, "articles", source, model)
    build(collections.collection(conn, "articles"), MapSettings("pca", 5))
    conn.execute("insert into articles values (7, 'Cats', 'Cats purr and sleep.')")
    conn.execute("delete from articles where id = 1")
    conn.commit()
    ingest(conn, "articles", source, model, options=IngestOptions(prune=True))
    collection = collections.collection(conn, "articles")
    assert set(points(collection)) == set("234567")
    rebuild = IngestOptions(rebuild=True)
    ingest(conn, "articles", source, model, options=rebuild)
    collection = collections.collection(conn, "articles")
    assert set(points(collection)) == set("234567")
    assert Coordinates(collection).settings == MapSettings("pca", 5)
    rows = conn.execute("select distinct collection_id from embedding_coordinates")
    assert rows.fetchall() == [(collection.id,)]


def test_a_rebuild_does_not_embed_for_a_map_that_it_cannot_make(
    conn, model, monkeypatch
):
    source = table_source(conn, "articles")
    ingest(conn, "articles", source, model)
    build(collections.collection(conn, "articles"), MapSettings("pca"))
    conn.execute(
        "update _embedding_collections set map = json_set(map, '$.method', 'umap')"
    )
    conn.commit()
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(MissingLibraryError):
        ingest(conn, "articles", source, model, options=IngestOptions(rebuild=True))
    assert [each.name for each in collections.all_collections(conn)] == ["articles"]


def test_a_document_is_placed_at_the_median_of_its_nearest():
    references = np.eye(6, dtype=np.float32)
    vector = np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.0]], np.float32)
    places = np.array([[1, 5], [2, 4], [3, 3], [4, 2], [50, 1], [9, 9]], float)
    # In blocks of three
    found = placement.place(vector, [references[:3], references[3:]], places)
    assert found.tolist() == [[3, 3]]
    assert placement.place(vector, [references[:2]], places[:2]).tolist() == [
        [1.5, 4.5]
    ]


def test_neighbours_are_the_nearest_by_relative_distance():
    vectors = groups(80)
    near = pacmap._neighbors(vectors)
    assert near.shape == (80, pacmap.NEIGHBORS)
    assert (near % GROUPS == (np.arange(80) % GROUPS)[:, None]).mean() > 0.9
    assert not (near == np.arange(80)[:, None]).any()
    further = pacmap._further(near, np.random.default_rng(0))
    assert not (further[:, :, None] == near[:, None]).any()


def test_a_long_method_is_quoted_in_part():
    with pytest.raises(InvalidInputError) as raised:
        projections.check_method("x" * 1_000_000)
    assert len(str(raised.value)) < 500
