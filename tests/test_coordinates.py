"""Where documents are on a map, and the tiles that a page loads."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pytest

from datasette_embeddings.errors import InvalidInputError, SchemaError
from datasette_embeddings.maps.tiles import assign_tiles
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.coordinates import (
    DEPTH,
    HIDDEN_TILE,
    TILE_POINTS,
    Coordinates,
)
from datasette_embeddings.store.map_areas import Square, is_within
from datasette_embeddings.store.map_facts import MapFacts
from datasette_embeddings.store.schema import transaction

TRIANGLE = [(0.0, 0.0), (4.0, 0.0), (0.0, 4.0)]


def stored(x, y, name="notes", conn=None):
    """The coordinates of points called p0, p1, …"""
    conn = conn or sqlite3.connect(":memory:")
    coordinates = Coordinates(create_collection(conn, name, "some-model", None))
    coordinates.prepare()
    edges = float(min(x)), float(max(x)), float(min(y)), float(max(y))
    facts = MapFacts("pca", 0, len(x), 0, 1, *edges)
    ids = [f"p{number}" for number in range(len(x))]
    tiles = assign_tiles(ids, np.array(x, float), np.array(y, float), facts.square)
    points = zip(ids, map(float, x), map(float, y), tiles.tolist(), strict=True)
    with transaction(conn):
        coordinates.write((*each, "state") for each in points)
        coordinates.store_facts(facts, [1, 2])
    return coordinates


@pytest.fixture(scope="module")
def many():
    """30,000 points, most of them in one corner."""
    random = np.random.default_rng(0)
    points = np.vstack(
        [random.normal(0, 0.01, (20_000, 2)), random.random((10_000, 2))]
    )
    return stored(*points.T.tolist())


def test_what_is_stored_is_read():
    coordinates = stored([0, 1, 3], [5, 5, 6])
    assert coordinates.of(["p2", "p0", "missing"]) == {"p0": (0, 5), "p2": (3, 6)}
    assert coordinates.tile(1) == [("p0", 0, 5), ("p1", 1, 5), ("p2", 3, 6)]
    assert coordinates.tile(4) == []
    assert coordinates.tiles() == {1: 3}
    assert coordinates.settings.method == "pca"
    assert coordinates.facts == MapFacts("pca", 0, 3, 0, 1, 0.0, 3.0, 5.0, 6.0)
    assert coordinates.state == [1, 2]


def test_points_are_changed_deleted_and_cleared():
    coordinates = stored([0, 1, 3], [5, 5, 6])
    coordinates.write([("p0", 2.0, 5.5, 1, "new")], deleted=["p1", "missing"])
    assert coordinates.rows() == [("p0", 2, 5.5, 1, "new"), ("p2", 3, 6, 1, "state")]
    coordinates.clear()
    assert coordinates.rows() == []
    coordinates.store_facts(None)
    assert (coordinates.settings, coordinates.facts) == (None, None)


def test_the_points_of_two_collections_are_apart():
    coordinates = stored([0, 1], [0, 1])
    other = stored([8], [8], "other", coordinates.conn)
    assert coordinates.of(["p0"]) == {"p0": (0, 0)}
    assert other.tile(1) == [("p0", 8, 8)]
    other.clear()
    assert len(coordinates.tile(1)) == 2


def test_a_collection_without_a_map():
    conn = sqlite3.connect(":memory:")
    coordinates = Coordinates(create_collection(conn, "notes", "some-model", None))
    assert (coordinates.settings, coordinates.facts) == (None, None)
    assert (coordinates.of(["a"]), coordinates.tile(1), coordinates.tiles()) == (
        *({}, []),
        {},
    )
    assert (coordinates.within(TRIANGLE), coordinates.nearest(0, 0)) == (set(), [])


def test_a_map_without_its_table():
    coordinates = stored([0, 1], [0, 1])
    coordinates.conn.execute("drop table embedding_coordinates")
    assert (coordinates.of(["p0"]), coordinates.tiles(), coordinates.rows()) == (
        *({}, {}),
        [],
    )
    assert (coordinates.within(TRIANGLE), coordinates.nearest(0, 0)) == (set(), [])


def test_a_table_of_another_program_is_an_error():
    conn = sqlite3.connect(":memory:")
    coordinates = Coordinates(create_collection(conn, "notes", "some-model", None))
    conn.execute("create table embedding_coordinates (place text)")
    with pytest.raises(SchemaError, match="embedding_coordinates"):
        coordinates.prepare()


@pytest.mark.parametrize(
    "values",
    [
        {"method": 3},
        {"seed": None},
        {"seed": True},
        {"documents": "many"},
        {"version": 1.5},
        {"min_x": None},
        {"max_y": "high"},
        {"min_x": 10**400},
        {"max_x": float("nan")},
        {"max_x": float("inf")},
        {"min_y": 9},
    ],
)
def test_facts_of_another_program_do_not_count(values):
    coordinates = stored([0, 1], [0, 1])
    facts = {**vars(coordinates.facts), **values}
    sql = "update _embedding_collections set map = ?"
    coordinates.conn.execute(sql, [json.dumps(facts)])
    assert coordinates.facts is None
    assert (coordinates.within(TRIANGLE), coordinates.nearest(0, 0)) == (set(), [])


@pytest.mark.parametrize("column", ["x", "y", "tile"])
@pytest.mark.parametrize("value", [b"x", "text", None, 1e300, float("inf")])
def test_rows_of_another_program_are_left_out(column, value):
    coordinates = stored([0, 1], [0, 1])
    sql = f"update embedding_coordinates set {column} = ? where id = 'p1'"
    coordinates.conn.execute(sql, [value])
    assert coordinates.tile(1) == [("p0", 0, 0)]
    assert coordinates.tiles() == {1: 1}
    assert coordinates.within([(-1, -1), (2, -1), (2, 2), (-1, 2)]) == {"p0"}
    assert [row[0] for row in coordinates.rows()] == ["p0"]
    assert [row[0] for row in coordinates.nearest(1, 1, limit=2)] == ["p0"]


def test_an_id_of_another_type_is_left_out():
    coordinates = stored([0, 1], [0, 1])
    coordinates.conn.execute(
        "update embedding_coordinates set id = x'00' where id = 'p1'"
    )
    assert coordinates.tile(1) == [("p0", 0, 0)]
    assert coordinates.within([(-1, -1), (2, -1), (2, 2), (-1, 2)]) == {"p0"}


def test_more_points_than_a_tile_has_are_not_read():
    coordinates = stored([0] * (TILE_POINTS + 5), [0] * (TILE_POINTS + 5))
    coordinates.conn.execute("update embedding_coordinates set tile = 1")
    assert coordinates.tiles() == {1: TILE_POINTS}
    assert len(coordinates.tile(1)) == TILE_POINTS


def test_the_square_has_the_points_in_its_middle():
    facts = MapFacts("pca", 0, 2, 0, 1, -1.0, 3.0, 5.0, 6.0)
    assert facts.square == Square(-1, 3.5, 4)
    assert MapFacts("pca", 0, 1, 0, 1, 2.0, 2.0, 5.0, 5.0).square.side == 1


def test_a_tile_is_divided_into_four():
    square = Square(0, 0, 8)
    assert square.tile(1) == square
    assert [square.tile(number) for number in (4, 5, 6, 7)] == [
        *(Square(0, 0, 4), Square(4, 0, 4)),
        *(Square(0, 4, 4), Square(4, 4, 4)),
    ]
    # The upper right quarter of the lower left one
    assert square.tile(4 * 4 + 3) == Square(2, 2, 2)


def test_every_point_is_in_one_tile_that_has_room_and_its_place(many):
    tiles, square = many.tiles(), many.facts.square
    assert max(tiles.values()) == TILE_POINTS
    assert sum(tiles.values()) == 30_000
    seen = set()
    for number in tiles:
        points, own = many.tile(number), square.tile(number)
        assert len(points) == tiles[number]
        assert [each for each, _x, _y in points] == sorted(
            each for each, _x, _y in points
        )
        seen.update(each for each, _x, _y in points)
        x, y = np.array([each[1:] for each in points]).T
        near = own.side * 1e-9
        assert own.left - near <= x.min() <= x.max() <= own.left + own.side + near
        assert own.bottom - near <= y.min() <= y.max() <= own.bottom + own.side + near
        if number > 1:
            assert tiles[number // 4] == TILE_POINTS
    assert len(seen) == 30_000


def test_the_first_tile_has_a_fair_sample(many):
    numbers = np.array([int(each[1:]) for each, _x, _y in many.tile(1)])
    # Two thirds of all, within five standard deviations
    assert abs((numbers < 20_000).mean() - 2 / 3) < 5 * (2 / 9 / TILE_POINTS) ** 0.5


def test_tiles_do_not_depend_on_the_order_of_points(many):
    rows = many.rows()
    np.random.default_rng(1).shuffle(rows)
    ids, x, y, tiles, _states = zip(*rows, strict=True)
    again = assign_tiles(ids, np.array(x), np.array(y), many.facts.square)
    assert again.tolist() == list(tiles)


def test_points_at_the_same_place_fill_a_tile_of_each_depth():
    count = (DEPTH + 1) * TILE_POINTS + 100
    tiles = assign_tiles(
        [str(number) for number in range(count)],
        np.zeros(count),
        np.zeros(count),
        Square(0, 0, 1),
    )
    numbers, counts = np.unique(tiles, return_counts=True)
    assert numbers.tolist() == [HIDDEN_TILE, *(4**depth for depth in range(DEPTH + 1))]
    assert counts.tolist() == [100, *[TILE_POINTS] * (DEPTH + 1)]


def test_points_at_the_edges_and_beyond_are_in_the_outermost_tiles():
    count = 4 * (TILE_POINTS + 1)
    x = np.array([-9.0, 1.0, 1.0, 5.0] * (TILE_POINTS + 1))
    y = np.array([0.0, 0.0, 1.0, 9.0] * (TILE_POINTS + 1))
    ids = [str(number) for number in range(count)]
    tiles = assign_tiles(ids, x, y, Square(0, 0, 1))
    assert set(tiles.tolist()) == {1, 4, 5, 7, 31}


@pytest.mark.parametrize("ids", [["\ud800"], ["a\x00b"], [""]])
def test_any_id_has_a_tile(ids):
    assert assign_tiles(ids, np.zeros(1), np.zeros(1), Square(0, 0, 1)).tolist() == [1]


AREAS = {
    "triangle": TRIANGLE,
    "square": [(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)],
    "around all": [(-9.0, -9.0), (9.0, -9.0), (9.0, 9.0), (-9.0, 9.0)],
    "small": [(0.001, 0.002), (0.003, 0.001), (0.002, 0.006)],
    "crossing itself": [(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)],
    "of all corners": [
        (0.5 + 0.4 * np.cos(each) * (1 + each % 2), 0.5 + 0.4 * np.sin(each))
        for each in np.linspace(0, 6.2, 100)
    ],
    "far away": [(50.0, 50.0), (60.0, 50.0), (60.0, 60.0)],
    "without width": [(0.0, 0.0), (1.0, 1.0), (0.0, 0.0)],
}


@pytest.mark.parametrize("area", AREAS.values(), ids=AREAS)
def test_the_documents_in_an_area(many, area):
    ids, x, y, _tiles, _states = zip(*many.rows(), strict=True)
    inside = is_within(np.array(x), np.array(y), np.array(area))
    expected = {ids[row] for row in np.flatnonzero(inside)}
    assert many.within(area) == expected
    assert bool(expected) == (area not in (AREAS["far away"], AREAS["without width"]))


def test_points_that_are_not_drawn_are_in_an_area_too():
    count = (DEPTH + 1) * TILE_POINTS + 10
    coordinates = stored([1.0] * count, [1.0] * count)
    assert coordinates.conn.execute(
        "select count(*) from embedding_coordinates where tile = 0"
    ).fetchone() == (10,)
    assert len(coordinates.within(TRIANGLE)) == count


def test_a_point_is_within_by_the_even_odd_rule():
    corners = np.array([(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (3, 1), (3, 3), (1, 3)])
    x, y = np.array([[0.5, 3.5], [2.5, 2.5], [5, 1], [-1, 1], [3.9, 0.1]]).T
    assert is_within(x, y, corners).tolist() == [True, False, False, False, True]


@pytest.mark.parametrize(
    "area",
    [
        [],
        [(0, 0), (1, 1)],
        [(0, 0)] * 101,
        [(0, 0), (1, 1), (0, float("nan"))],
        [(0, 0), (1, 1), (0, float("inf"))],
        [(0, 0), (1, 1), (0, 1e200)],
        [(0, 0), (1, 1), (0, 1, 2)],
    ],
)
def test_an_area_has_corners_that_are_numbers(many, area):
    with pytest.raises(InvalidInputError, match="3 to 100 corners"):
        many.within(area)


@pytest.mark.parametrize("place", [(0.5, 0.5), (0.0, 0.0), (2.0, -3.0), (1e9, 1e9)])
@pytest.mark.parametrize("limit", [1, 20])
def test_the_points_nearest_to_a_place(many, place, limit):
    rows = many.rows()
    points = np.array([row[1:3] for row in rows])
    distances = np.hypot(*(points - place).T)
    found = many.nearest(*place, limit=limit)
    expected = np.sort(distances)[:limit]
    np.testing.assert_allclose(
        np.hypot(*(np.array([each[1:] for each in found]) - place).T), expected
    )
    assert len({each for each, _x, _y in found}) == limit


@pytest.mark.parametrize("place", [(float("nan"), 0), (float("inf"), 0), (1e300, 0)])
def test_nothing_is_near_a_place_that_is_no_number(many, place):
    assert many.nearest(*place) == []


def test_more_points_than_there_are():
    assert len(stored([0, 1], [0, 1]).nearest(0, 0, limit=9)) == 2
