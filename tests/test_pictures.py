"""A map as SVG: valid, small, with a legend and names that do not overlap."""

from __future__ import annotations

import re
import sqlite3
import sys
from xml.etree import ElementTree

import pytest

from datasette_embeddings.errors import (
    InvalidInputError,
    MissingLibraryError,
    NoMapError,
)
from datasette_embeddings.maps import pictures
from tests.clusters import give_named_clusters
from tests.maps import give_map, many_places, stored_items

SVG = "{http://www.w3.org/2000/svg}"
ODD = "<script>alert('1')</script> & \x00\x1b\ufffe \N{CJK UNIFIED IDEOGRAPH-4E2D}"

ODD_KEY = ODD.replace("\0", "")


def with_map(places, *, name="notes", metadata=None, clusters=None):
    conn = sqlite3.connect(":memory:")
    stored_items(conn, name, metadata or {each: {} for each in places})
    found = give_map(conn, name, places)
    return give_named_clusters(conn, name, clusters) if clusters else found


def drawn(found, **options):
    """The tree of a picture, and the places of its points by colour."""
    tree = ElementTree.fromstring(pictures.svg(found, **options))
    paths = {
        each.get("stroke"): each.get("d")
        for each in tree.iter(f"{SVG}path")
        # Those of the legend are opaque
        if each.get("stroke-opacity") != "1.0"
    }
    points = {
        color: [tuple(map(float, each)) for each in re.findall("M(.+?) (.+?)h0", path)]
        for color, path in paths.items()
    }
    return tree, points


def texts(tree):
    return [each.text for each in tree.iter(f"{SVG}text")]


def test_a_map_without_clusters_is_points_of_one_colour():
    found = with_map({"a": (0, 0), "b": (10, 0), "c": (10, 5)})
    tree, points = drawn(found, width=500, height=400)
    [places] = points.values()
    # By id, as wide as the picture, x to the right and y upwards
    a, b, c = places
    assert (a[0] < b[0] == c[0], a[1] == b[1] > c[1]) == (True, True)
    assert b[0] - a[0] == pytest.approx(2 * (b[1] - c[1]), abs=0.2)
    assert texts(tree) == ["Map of notes"]
    assert (tree.get("role"), tree.get("aria-labelledby")) == ("img", "title desc")
    assert tree.find(f"{SVG}title").text == "Map of notes"
    assert "3 documents, placed by their meaning (pca)" in tree.find(f"{SVG}desc").text


def test_clusters_have_colours_a_legend_and_names():
    places = many_places(100)
    ids = [*places]
    clusters = {"bread": ids[:60], "stars": ids[60:90], None: ids[90:]}
    tree, points = drawn(with_map(places, clusters=clusters))
    assert {*map(len, points.values())} == {60, 30, 10}
    assert texts(tree).count("bread") == 2
    assert texts(tree)[:1] == ["Map of notes"]
    assert {"cluster", "bread", "stars"} <= {*texts(tree)}
    description = tree.find(f"{SVG}desc").text
    assert "Coloured by cluster: bread 60, stars 30." in description


def test_a_column_gives_the_colours_that_are_asked_for():
    places = many_places(40)
    metadata = {each: {"kind": f"kind {each[-1]}"} for each in places}
    found = with_map(places, metadata=metadata)
    tree, points = drawn(found, color_by="kind")
    assert len(points) == 10
    assert {"kind", "kind 3"} <= {*texts(tree)}
    with pytest.raises(InvalidInputError, match="No column 'nonsense'"):
        pictures.svg(found, color_by="nonsense")


def test_names_do_not_overlap_and_the_largest_come_first():
    places = {f"i{n}": (n % 10, n // 10) for n in range(100)}
    clusters = {f"cluster of the number {n}": [f"i{n}"] for n in range(100)}
    found = with_map(places, clusters=clusters)
    names = [
        each
        for each in ElementTree.fromstring(pictures.svg(found)).iter(f"{SVG}text")
        if each.get("text-anchor") == "middle"
    ]
    assert len(names) > 20
    assert names[0].text == "cluster of the number 0"
    boxes = [pictures._box(e.text, float(e.get("x")), float(e.get("y"))) for e in names]
    for number, box in enumerate(boxes):
        assert not any(map(box.overlaps, boxes[:number]))


def test_a_large_map_is_a_small_picture():
    places = many_places(12_000)
    metadata = {each: {"kind": each[-1]} for each in places}
    clusters = {f"{'wide ' * 30}{n}": [f"i{n}", f"i{n + 300}"] for n in range(300)}
    found = with_map(places, metadata=metadata, clusters=clusters)
    for by in (None, "kind"):
        picture = pictures.svg(found, color_by=by, width=4_000, height=4_000)
        assert len(picture.encode()) < 500_000
        assert picture.count("M") < 5_200
    assert "12,000 documents" in picture
    assert "4,096 of them are drawn" in picture


def test_whatever_names_and_values_hold_the_picture_is_xml_without_other_elements():
    places = {f"{ODD}{n}": (n, n) for n in range(4)}
    metadata = {each: {ODD_KEY: ODD} for each in places}
    clusters = {ODD: [*places]}
    found = with_map(places, name=ODD, metadata=metadata, clusters=clusters)
    for by in ("cluster", ODD_KEY):
        tree, _points = drawn(found, color_by=by)
        names = {each.tag.removeprefix(SVG) for each in tree.iter()}
        assert names == {"svg", "title", "desc", "rect", "path", "text"}
        assert any("<script>alert" in each for each in texts(tree))


@pytest.mark.parametrize(
    "places",
    [{"a": (3, 3)}, {"a": (1, 1), "b": (1, 1)}, {"a": (0, 5), "b": (9e99, 5)}],
    ids=["one", "at one place", "far"],
)
def test_any_places_are_drawn(places):
    _tree, points = drawn(with_map(places), width=300, height=300)
    [own] = points.values()
    assert len(own) == len(places)
    assert all(0 <= number <= 300 for place in own for number in place)


def test_places_of_another_program_that_are_no_numbers_are_left_out():
    found = with_map({"a": (0, 0), "b": (1, 1), "c": (2, 2)})
    for x in (float("inf"), float("nan"), "north", b"x"):
        found.conn.execute("update embedding_coordinates set x = ? where id = 'b'", [x])
        _tree, points = drawn(found)
        assert [len(own) for own in points.values()] == [2]


@pytest.mark.parametrize("sides", [(299, 400), (400, 4_001), (10**30, 400)])
def test_a_size_beyond_the_bounds_is_refused(sides):
    found = with_map({"a": (0, 0)})
    with pytest.raises(InvalidInputError, match="sides of 300 to 4,000 pixels"):
        pictures.svg(found, width=sides[0], height=sides[1])


def test_without_a_map_the_error_names_the_command():
    found = stored_items(sqlite3.connect(":memory:"), "notes", {"a": {}})
    with pytest.raises(NoMapError, match="makes it: datasette embeddings map"):
        pictures.svg(found)


def test_without_pillow_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingLibraryError, match=r"a map as PNG.*pip install.*pillow"):
        pictures.png(with_map({"a": (0, 0)}))
