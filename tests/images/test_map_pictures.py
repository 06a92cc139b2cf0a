"""A map as PNG."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image

from datasette_embeddings.maps import drawing, pictures
from tests.clusters import give_named_clusters
from tests.maps import give_map, many_places, stored_items


@pytest.fixture(params=["fonts of the system", "no fonts"])
def found(request, monkeypatch):
    if request.param == "no fonts":
        monkeypatch.setattr(drawing, "FONTS", ())
    drawing._font.cache_clear()
    conn = sqlite3.connect(":memory:")
    places = many_places(300)
    ids = [*places]
    stored_items(conn, "notes", {each: {} for each in places})
    give_map(conn, "notes", places)
    clusters = {"bread \N{SNOWMAN}": ids[:200], "stars": ids[200:290], None: ids[290:]}
    yield give_named_clusters(conn, "notes", clusters)
    drawing._font.cache_clear()


def test_a_map_is_a_png_of_twice_the_size_with_the_colours_of_its_legend(found):
    image = Image.open(BytesIO(pictures.png(found, width=600, height=400)))
    assert (image.format, image.size) == ("PNG", (1200, 800))
    colors = {color for _count, color in image.getcolors(2**24)}
    for each in ("#ffffff", "#202124", "#4278d2", "#e77f3e"):
        assert tuple(bytes.fromhex(each[1:])) in colors


def test_points_are_where_the_svg_has_them(found):
    picture = replace(pictures.picture(found, None, 600, 400), texts=())
    image = Image.open(BytesIO(drawing.as_png(picture)))
    background = (255, 255, 255)
    for dots in picture.dots:
        for x, y in dots.places:
            assert image.getpixel((round(x * 2), round(y * 2))) != background
