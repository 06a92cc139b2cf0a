"""The map of a collection over HTTP: tiles, colours, matches, pictures and the page."""

from __future__ import annotations

import json
import sqlite3
import struct
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np
import pytest

from datasette_embeddings.maps import drawing
from datasette_embeddings.web import map_access
from tests.clusters import give_named_clusters
from tests.datasette.conftest import actor_cookie, get_json, make_datasette
from tests.maps import VERSION, give_map, many_places, stored_items

pytestmark = pytest.mark.asyncio
BASE = "/articles/-/embeddings/articles"
XY = [(0, 0), (4, 0), (4, 2), (0, 2), (2, 1), (1, 1)]
PLACES = {str(number): place for number, place in enumerate(XY, 1)}
CLUSTERS = {"bread & stars": ["1", "2", "5"], "tyres": ["3"], None: ["4", "6"]}


@pytest.fixture
def mapped_db(articles_db):
    """The six articles on a map, in two clusters, with a topic each."""
    conn = sqlite3.connect(articles_db)
    conn.execute("alter table articles add column topic text")
    conn.execute("update articles set topic = 'topic ' || (id % 2)")
    conn.commit()
    give_map(conn, "articles", PLACES)
    give_named_clusters(conn, "articles", CLUSTERS)
    conn.close()
    return articles_db


@pytest.fixture
def datasette(mapped_db):
    return make_datasette(mapped_db)


def execute(path, sql, *values):
    conn = sqlite3.connect(path)
    with conn:
        conn.execute(sql, values)
    conn.close()


async def get(datasette, path, **options):
    return await datasette.client.get(f"{BASE}/map{path}", **options)


async def error_of(datasette, path):
    """Status and message, which is in the shape of all errors of the API."""
    status, body = await get_json(datasette, f"{BASE}/map{path}")
    assert body == {
        "ok": False,
        "error": body["error"],
        "errors": [body["error"]],
        "status": status,
    }
    return status, body["error"]


def decoded(content):
    """Count, child bits, x and y of a tile."""
    count, bits = struct.unpack_from("<II", content)
    x, y = np.frombuffer(content, "<u2", offset=8).reshape(2, count).tolist()
    return count, bits, x, y


async def test_the_facts_of_a_map(datasette):
    status, body = await get_json(datasette, f"{BASE}/map.json")
    assert status == 200
    assert body == {
        "ok": True,
        "database": "articles",
        "collection": "articles",
        "map": {
            "method": "pca",
            "documents": 6,
            "version": str(VERSION),
            "min_x": 0,
            "max_x": 4,
            "min_y": 0,
            "max_y": 2,
            "square": {"left": 0, "bottom": -1, "side": 4},
        },
        "clusters": [
            {"cluster": 1, "name": "bread & stars", "size": 3, "x": 2, "y": 1},
            {"cluster": 2, "name": "tyres", "size": 1, "x": 4, "y": 2},
        ],
        "colors": ["cluster", "topic"],
        "has_images": False,
    }


async def test_tiles_ids_and_colors_have_the_same_order(datasette):
    v = f"v={VERSION}"
    tile = (await get(datasette, f"/tiles/1?{v}")).content
    ids = (await get_json(datasette, f"{BASE}/map/ids/1.json?{v}"))[1]["ids"]
    colors = (await get(datasette, f"/colors/1?by=topic&{v}")).content
    clusters = (await get(datasette, f"/colors/1?by=cluster&{v}")).content
    count, bits, x, y = decoded(tile)
    assert (count, bits, ids) == (6, 0, ["1", "2", "3", "4", "5", "6"])
    assert [each / 65_535 * 4 for each in x] == pytest.approx(
        [PLACES[each][0] for each in ids], abs=1e-3
    )
    assert [each / 65_535 * 4 - 1 for each in y] == pytest.approx(
        [PLACES[each][1] for each in ids], abs=1e-3
    )
    assert [*colors] == [1, 0, 1, 0, 1, 0]
    assert [*clusters] == [0, 0, 1, 255, 0, 255]


async def test_a_legend_says_what_colors_mean(datasette):
    _status, body = await get_json(datasette, f"{BASE}/map/legend.json?by=topic")
    values = [(each["value"], each["label"], each["count"]) for each in body["values"]]
    assert values == [("topic 0", "topic 0", 3), ("topic 1", "topic 1", 3)]
    assert (body["kind"], body["documents"], body["is_sample"]) == (
        *("categories", 6),
        False,
    )
    _status, body = await get_json(datasette, f"{BASE}/map/legend.json?by=cluster")
    assert [(each["value"], each["count"]) for each in body["values"]] == [
        *((1, 3), (2, 1))
    ]


async def test_a_legend_follows_the_table(datasette, mapped_db):
    path = f"{BASE}/map/legend.json?by=topic"
    first = await get_json(datasette, path)
    execute(mapped_db, "update articles set topic = 'new' where id < 3")
    _status, body = await get_json(datasette, path)
    assert first[1] != body
    assert [each["label"] for each in body["values"]] == ["new", "topic 0", "topic 1"]


async def test_a_legend_is_counted_once_for_a_state(datasette, monkeypatch):
    counted = []
    legend_of = map_access.legend_of
    monkeypatch.setattr(
        map_access, "legend_of", lambda *one: counted.append(one[1]) or legend_of(*one)
    )
    for path in ("/legend.json", "/colors/1", "/legend.json"):
        assert (await get(datasette, f"{path}?by=topic")).status_code == 200
    assert counted == ["topic"]


async def test_a_large_map_is_read_by_tiles(tmp_path):
    path, places = tmp_path / "large.db", many_places(10_000)
    conn = sqlite3.connect(path)
    stored_items(conn, "notes", {each: {} for each in places})
    facts = json.loads(
        give_map(conn, "notes", places)
        .conn.execute("select map from _embedding_collections")
        .fetchone()[0]
    )
    conn.close()
    datasette = make_datasette(path)
    base = "/large/-/embeddings/notes/map"
    squares = (await get_json(datasette, f"{base}.json"))[1]["map"]["square"]
    open_tiles = [(1, squares["left"], squares["bottom"], squares["side"])]
    found = {}
    while open_tiles:
        tile, left, bottom, side = open_tiles.pop()
        content = (await datasette.client.get(f"{base}/tiles/{tile}")).content
        assert len(content) <= 8 + 4 * 4_096
        count, bits, x, y = decoded(content)
        _status, body = await get_json(datasette, f"{base}/ids/{tile}.json")
        assert len(body["ids"]) == count
        for each, px, py in zip(body["ids"], x, y, strict=True):
            found[each] = left + px / 65_535 * side, bottom + py / 65_535 * side
        half = side / 2
        open_tiles += [
            (4 * tile + q, left + (q & 1) * half, bottom + (q >> 1) * half, half)
            for q in range(4)
            if bits >> q & 1
        ]
    assert facts["documents"] == len(found) == 10_000
    assert {each: pytest.approx(places[each], abs=0.01) for each in found} == found


async def test_caches_keep_a_tile_of_a_version_and_ask_about_everything_else(datasette):
    kept = await get(datasette, f"/tiles/1?v={VERSION}")
    assert kept.headers["cache-control"] == "public, max-age=86400, immutable"
    known = {"If-None-Match": kept.headers["etag"]}
    again = await get(datasette, f"/tiles/1?v={VERSION}", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    for path in ("/tiles/1", f"/colors/1?by=topic&v={VERSION}", ".json", ".svg"):
        response = await get(datasette, path)
        assert response.headers["cache-control"] == "public, max-age=0, must-revalidate"
        assert response.headers["etag"]


async def test_what_an_actor_sees_is_not_cached_for_others(mapped_db):
    datasette = make_datasette(mapped_db, allow={"articles": {"allow": {"id": "root"}}})
    cookies = actor_cookie(datasette, "root")
    for path in (f"/tiles/1?v={VERSION}", ".json", ".svg", f"/ids/1.json?v={VERSION}"):
        assert (await get(datasette, path)).status_code in (403, 404)
        response = await get(datasette, path, cookies=cookies)
        assert response.status_code == 200
        assert response.headers["cache-control"].startswith("private")


@pytest.mark.parametrize(
    "path",
    ["/tiles/1", "/ids/1.json", "/colors/1?by=topic", "/legend.json?by=topic", ".svg"],
)
async def test_another_version_than_the_present_is_gone(datasette, path):
    for version in (VERSION - 1, "x" * 1_000, "10e30"):
        mark = "&" if "?" in path else "?"
        status, error = await error_of(datasette, f"{path}{mark}v={version}")
        assert (status, "Read map.json again" in error, len(error) < 300) == (
            *(410, True),
            True,
        )


@pytest.mark.parametrize(
    "tile", ["0", "2", "3", "8", "33554432", "1" + "0" * 30, "-1", "1.0", "x", "%00"]
)
async def test_a_tile_that_there_cannot_be_is_not_found(datasette, tile):
    for path in (f"/tiles/{tile}", f"/colors/{tile}?by=topic"):
        response = await get(datasette, path)
        assert response.status_code == 404
    response = await get(datasette, f"/ids/{tile}.json")
    assert response.status_code == 404


async def test_a_tile_without_points_is_not_found(datasette):
    status, error = await error_of(datasette, "/tiles/4")
    assert (status, error) == (404, "The map has no tile 4")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/legend.json", "Expected by=cluster or by=COLUMN"),
        ("/colors/1", "Expected by=cluster or by=COLUMN"),
        ("/legend.json?by=nonsense", "No column 'nonsense'"),
        ("/colors/1?by=nonsense", "No column 'nonsense'"),
        (".svg?by=nonsense", "No column 'nonsense'"),
        (f"/legend.json?by={'x' * 60_000}", "No column 'xxx"),
        ("/items.json", "once for each of 1 to 50 documents, found 0"),
        ("/items.json?" + "&".join(f"id={n}" for n in range(51)), "found 51"),
        ("/matches.json", "Expected q=TEXT or like=ID, found neither"),
        ("/matches.json?q=x&like=1", "either q or like"),
        (f"/matches.json?q={'x' * 60_000}", "2,000 characters"),
        ("/matches.json?q=x&_next=5", "Unknown parameter '_next'"),
        ("/matches.json?q=x&_size=1000", "_size: expected at most 100"),
        ("/matches.json?q=x&nocolumn=5", "No column 'nocolumn'"),
        (".json?_nonsense=1", "Unknown parameter"),
    ],
)
async def test_a_wrong_request_is_refused_in_few_words(datasette, path, message):
    status, error = await error_of(datasette, path)
    assert (status, message in error, len(error) < 500) == (400, True, True), error


async def test_items_are_what_a_page_shows_of_documents(datasette):
    _status, body = await get_json(
        datasette, f"{BASE}/map/items.json?id=5&id=missing&id=4&id=5"
    )
    kittens, tax = body["items"]
    assert kittens == {
        "id": "5",
        "title": "Kittens",
        "snippet": kittens["snippet"],
        "url": "/articles/articles/5",
        "image_url": None,
        "like_url": f"{BASE}?like=5",
        "cluster": 1,
        "x": 2.0,
        "y": 1.0,
    }
    assert kittens["snippet"].startswith("Young cats need food")
    assert (tax["id"], tax["cluster"]) == ("4", None)


async def test_matches_are_those_of_the_search_with_their_places(datasette):
    searched = (await get_json(datasette, f"{BASE}.json?q=pets&_size=3"))[1]
    _status, body = await get_json(datasette, f"{BASE}/map/matches.json?q=pets")
    first = body["matches"][0]
    assert (first["id"], first["x"], first["y"]) == ("5", 2.0, 1.0)
    assert first["score"] == searched["matches"][0]["score"]
    assert (body["mode"], body["close"]) == (searched["mode"], searched["close"])
    assert len(body["matches"]) == 6
    _status, some = await get_json(
        datasette, f"{BASE}/map/matches.json?q=pets&_size=2&topic=topic+0"
    )
    assert {each["id"] for each in some["matches"]} < {"2", "4", "6"}
    _status, like = await get_json(datasette, f"{BASE}/map/matches.json?like=5")
    assert "5" not in {each["id"] for each in like["matches"]}
    status, _error = await error_of(datasette, "/matches.json?like=unknown")
    assert status == 404


async def test_a_match_that_is_not_on_the_map_has_no_place(datasette, mapped_db):
    execute(mapped_db, "delete from embedding_coordinates where id = '5'")
    _status, body = await get_json(datasette, f"{BASE}/map/matches.json?q=kittens")
    assert (body["matches"][0]["id"], body["matches"][0]["x"]) == ("5", None)


async def test_without_a_map_each_address_says_which_command_makes_one(articles_db):
    datasette = make_datasette(articles_db)
    for path in (
        *("", ".json", ".svg", ".png", "/tiles/1", "/colors/1?by=x", "/ids/1.json"),
        *("/legend.json?by=x", "/items.json?id=1", "/matches.json?q=x"),
    ):
        response = await get(datasette, path)
        assert response.status_code == 404
        assert "datasette embeddings map" in response.text


async def test_the_picture_is_an_image_that_runs_nothing(datasette):
    response = await get(datasette, ".svg?by=topic")
    assert response.headers["content-type"] == "image/svg+xml; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in response.headers["content-security-policy"]
    assert ElementTree.fromstring(response.text).get("role") == "img"


async def test_without_pillow_there_is_no_png(datasette, monkeypatch):
    monkeypatch.setattr(drawing, "makes_png", lambda: False)
    status, error = await error_of(datasette, ".png")
    assert (status, "Pillow is not installed" in error) == (404, True)


async def test_a_png_is_drawn_once_for_a_state(datasette, monkeypatch):
    drawn = []
    monkeypatch.setattr(drawing, "makes_png", lambda: True)
    monkeypatch.setattr(drawing, "as_png", lambda _one: drawn.append(1) or b"PNG")
    for _again in range(2):
        response = await get(datasette, ".png")
        assert (response.content, response.headers["content-type"]) == (
            *(b"PNG",),
            "image/png",
        )
    assert len(drawn) == 1


async def test_the_page_has_what_its_script_reads_and_a_picture_without(datasette):
    page = (await get(datasette, "?by=topic")).text
    assert f"{BASE}/map.svg?by=topic&amp;v={VERSION}" in page
    assert "bread &amp; stars" in page
    assert f"{BASE}/map/tiles/{{n}}" in page
    for status, path in ((400, "?by=nonsense"), (400, "?embed=perhaps"), (200, "?by=")):
        assert (await get(datasette, path)).status_code == status


async def test_the_page_in_a_frame_has_no_header(datasette):
    whole, framed = (await get(datasette, "")), (await get(datasette, "?embed=1"))
    assert "Powered by" in whole.text
    assert "Powered by" not in framed.text
    # Datasette lets any site show its pages in a frame; the session stays out of it
    assert "x-frame-options" not in framed.headers


async def test_other_pages_lead_to_the_map(datasette, mapped_db):
    for path in ("/-/embeddings", BASE, f"{BASE}?q=pets"):
        assert f'href="{BASE}/map"' in (await datasette.client.get(path)).text
    execute(mapped_db, "update _embedding_collections set map = null")
    for path in ("/-/embeddings", BASE):
        assert f'href="{BASE}/map"' not in (await datasette.client.get(path)).text


ODD = "a/b 'c' \"d\" <i>é</i>~2F%,"


async def test_odd_ids_titles_and_values_come_back_as_they_are(tmp_path):
    path = tmp_path / "odd.db"
    conn = sqlite3.connect(path)
    title = "</script><script>alert(1)</script>"
    values = [{"cluster": [each], "title": title} for each in (ODD, ODD, title, title)]
    ids = [ODD, f"{ODD}2", f"{ODD}3", f"{ODD}4"]
    stored_items(conn, "odd", dict(zip(ids, values, strict=True)))
    give_map(conn, "odd", {each: (number, 0) for number, each in enumerate(ids)})
    give_named_clusters(conn, "odd", {"</script><script>alert(2)": ids})
    conn.close()
    datasette = make_datasette(path)
    base = "/odd/-/embeddings/odd/map"
    assert (await get_json(datasette, f"{base}/ids/1.json"))[1]["ids"][0] == ODD
    _status, body = await get_json(datasette, f"{base}/items.json?id={quote(ODD)}")
    assert (body["items"][0]["id"], body["items"][0]["cluster"]) == (ODD, 1)
    assert (await get_json(datasette, f"{base}.json"))[1]["colors"] == [
        "cluster",
        "column:cluster",
    ]
    legend = (await get_json(datasette, f"{base}/legend.json?by=column:cluster"))[1]
    assert {each["value"] for each in legend["values"]} == {ODD, title}
    for each in ("", "?by=column:cluster", ".svg", ".svg?by=column:cluster"):
        page = (await datasette.client.get(f"{base}{each}")).text
        assert "<script>alert" not in page


@pytest.mark.parametrize("value", ["9e999", "-9e999", "null", "'x'", "x'00'"])
async def test_places_of_another_program_are_left_out(datasette, mapped_db, value):
    execute(mapped_db, f"update embedding_coordinates set x = {value} where id = '5'")
    count, _bits, _x, _y = decoded((await get(datasette, "/tiles/1")).content)
    ids = (await get_json(datasette, f"{BASE}/map/ids/1.json"))[1]["ids"]
    colors = (await get(datasette, "/colors/1?by=topic")).content
    assert (count, len(ids), len(colors)) == (5, 5, 5)
    for path in (".json", ".svg", "", "/items.json?id=5", "/matches.json?q=pets"):
        assert (await get(datasette, path)).status_code == 200


@pytest.mark.parametrize(
    "facts", ["'x'", "'[]'", "'{}'", '\'{"method": "pca", "seed": 0}\'', "7"]
)
async def test_facts_of_another_program_are_no_map(datasette, mapped_db, facts):
    execute(mapped_db, f"update _embedding_collections set map = {facts}")
    for path in (".json", "", ".svg", "/tiles/1", "/matches.json?q=pets"):
        assert (await get(datasette, path)).status_code == 404


async def test_what_takes_too_long_is_refused(mapped_db, monkeypatch):
    datasette = make_datasette(mapped_db, sql_time_limit_ms=20)
    execute(mapped_db, "alter table articles rename to stored")
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) "
    execute(
        mapped_db,
        "create view articles as select stored.*, "
        f"({endless} select count(*) from n limit 1) as endless from stored",
    )
    status, error = await error_of(datasette, "/legend.json?by=endless")
    assert (status, "time limit" in error) == (400, True)
