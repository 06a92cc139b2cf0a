"""A person who looks at a map: points, names, a search, an area, by mouse and keys."""

from __future__ import annotations

import json
import re
import sqlite3

import numpy as np
import pytest
from playwright.sync_api import expect

from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.maps.tiles import assign_tiles
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.cluster_facts import ClusterFacts, ClusterSettings
from datasette_embeddings.store.clusters import Cluster, Clusters
from datasette_embeddings.store.collections import find_collection
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.map_facts import MapFacts
from datasette_embeddings.store.schema import transaction
from tests.datasette import browsing
from tests.datasette.browsing import (
    ARGUMENTS,
    CHROMIUM,
    assert_fits_and_axe_finds_nothing,
    in_both_windows,
    tab,
    without_script,
)
from tests.datasette.conftest import opened, served
from tests.datasette.image_tables import (
    COLOURS,
    EYES,
    collect_images,
    png,
    write_images,
    write_plugin,
)

pytestmark = browsing.MARKS
MAP = "/notes/-/embeddings/notes/map"
# Topic, and text of six notes each, around a corner of the map
TOPICS = [
    ("pets", "Young cats need food four times a day and a warm place.", (0, 0)),
    ("baking", "Flour, water and salt become bread with wild yeast.", (10, 0)),
    ("sky", "With a small telescope you see the rings of Saturn.", (0, 10)),
    ("bicycles", "Find the hole in the tube of the wheel and patch it.", (10, 10)),
]
AROUND = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1)]
HOSTILE = "<img src=x onerror=alert(1)>"
EDGES = {"min_x": -1.0, "max_x": 11.0, "min_y": -1.0, "max_y": 11.0}
# Of the window, when all points are shown
FILLED = 0.92
WHITE = "rgb(255, 255, 255)"


def place(number):
    """Where note *number* is, from 1."""
    (x, y), (right, up) = TOPICS[(number - 1) // 6][2], AROUND[(number - 1) % 6]
    return float(x + right), float(y + up)


def write_map(collection, places, version):
    """Store *places* by id, as a map of this *version*."""
    coordinates = Coordinates(collection)
    coordinates.prepare()
    x, y = (np.array(each, dtype=float) for each in zip(*places.values(), strict=True))
    edges = EDGES
    if len(places) < 24:
        edges = {"min_x": x.min(), "max_x": x.max(), "min_y": y.min(), "max_y": y.max()}
    edges = {name: float(edge) for name, edge in edges.items()}
    facts = MapFacts("pca", 0, len(places), 0, version, **edges)
    tiles = assign_tiles(list(places), x, y, facts.square).tolist()
    rows = zip(places, x.tolist(), y.tolist(), tiles, ["state"] * len(x), strict=True)
    with transaction(collection.conn):
        coordinates.clear()
        coordinates.write(rows)
        coordinates.store_facts(facts, [1, 2])


def write_clusters(collection):
    """Three clusters; the notes about bicycles are in none."""
    clusters = Clusters(collection)
    clusters.prepare()
    names = ["cats, food", "bread, flour", HOSTILE]
    made = [Cluster(number, name, 6) for number, name in enumerate(names, 1)]
    centers = {each.number: np.ones(384, np.float32) / 384**0.5 for each in made}
    rows = [(str(n), (n - 1) // 6 + 1, 0.1, "state") for n in range(1, 19)]
    rows += [(str(n), None, None, "state") for n in range(19, 25)]
    facts = ClusterFacts(ClusterSettings(count=3), (6, 6, 6), 24, state=[1, 2])
    with transaction(collection.conn):
        clusters.write(rows)
        clusters.write_names(made, centers)
        clusters.store_facts(facts)


@pytest.fixture(scope="module")
def notes_db(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("map") / "notes.db"
    conn = sqlite3.connect(path)
    conn.execute("create table notes (id integer primary key, title, body, topic)")
    rows = [
        (f"{topic} {number}", f"{text} Part {number}.", topic)
        for topic, text, _corner in TOPICS
        for number in range(1, 7)
    ]
    rows[12] = (HOSTILE, *rows[12][1:])
    conn.executemany("insert into notes (title, body, topic) values (?, ?, ?)", rows)
    conn.commit()
    columns = ["title", "body"]
    rules = Source(metadata_columns=("topic",))
    notes = table_source(conn, "notes", content_columns=columns, rules=rules)
    for name in ("notes", "changing", "bare"):
        ingest(conn, name, notes, model)
    places = {str(number): place(number) for number in range(1, 25)}
    write_clusters(find_collection(conn, "notes"))
    for name in ("notes", "changing"):
        write_map(find_collection(conn, name), places, 1)
    conn.close()
    return path


@pytest.fixture(scope="module")
def site(notes_db):
    with served(notes_db) as url:
        yield url


def view(page):
    return page.get_by_role("application")


def panel(page, name):
    return page.get_by_role("region", name=name, exact=True)


def loaded(page):
    return page.locator("#embeddings-map-loaded")


def said(page):
    return page.locator("#embeddings-map-status")


def look_at(page, path=MAP):
    """Open the map and wait for its points."""
    page.goto(path)
    expect(loaded(page)).to_have_text("24 items")


def spot(page, number):
    """Where in the window note *number* is, while the whole map is shown."""
    box = view(page).bounding_box()
    scale = FILLED * min(box["width"], box["height"]) / 12
    x, y = place(number)
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    return middle[0] + (x - 5) * scale, middle[1] - (y - 5) * scale


def colors_at(page, number):
    """The color that is drawn where note *number* is."""
    box, (x, y) = view(page).bounding_box(), spot(page, number)
    return page.evaluate(
        """([x, y]) => {
          const canvas = document.getElementById("embeddings-map-points");
          const context = canvas.getContext("2d");
          const ratio = canvas.width / canvas.clientWidth;
          const { data } = context.getImageData(x * ratio, y * ratio, 1, 1);
          return `rgb(${data.slice(0, 3).join(", ")})`;
        }""",
        [x - box["x"], y - box["y"]],
    )


def names_shown(page):
    names = page.locator("#embeddings-map-names bdi:visible")
    expect(names).to_have_count(3)
    return sorted(names.all_inner_texts())


@browsing.on_both_datasettes
@in_both_windows
def test_every_item_is_a_point_that_leads_to_its_row(page):
    look_at(page)
    assert names_shown(page) == sorted(["cats, food", "bread, flour", HOSTILE])
    page.mouse.click(*spot(page, 7))
    item = panel(page, "Selected item")
    expect(item.get_by_role("heading")).to_have_text("baking 1")
    expect(item).to_contain_text("Flour, water and salt")
    expect(item.get_by_role("link", name="bread, flour")).to_have_attribute(
        "href", "/notes/-/embeddings/notes?_cluster=2"
    )
    item.get_by_role("link", name="baking 1").click()
    expect(page).to_have_url(re.compile("/notes/notes/7$"))
    page.go_back()
    expect(panel(page, "Selected item")).to_contain_text("baking 1")


@in_both_windows
def test_points_have_the_color_of_their_cluster(page):
    look_at(page)
    drawn = {number: colors_at(page, number) for number in (1, 2, 7, 13, 19)}
    assert drawn[1] == drawn[2]
    assert len(set(drawn.values()) - {WHITE}) == 4
    panel(page, "Colors").get_by_role("button", name="cats, food").click()
    # The next frame has them
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => done()))")
    assert colors_at(page, 1) == drawn[1]
    assert colors_at(page, 7) != drawn[7]
    page.get_by_label("Color by").select_option("topic")
    expect(panel(page, "Colors").get_by_role("button")).to_have_count(4)
    expect(page).to_have_url(re.compile(r"/map\?by=topic$"))


def test_a_title_shows_where_the_mouse_is(page):
    look_at(page)
    page.mouse.move(*spot(page, 13))
    hint = page.locator("#embeddings-map-hint")
    expect(hint).to_contain_text(HOSTILE)
    expect(hint).to_contain_text("rings of Saturn")
    page.mouse.move(*spot(page, 24)[:1], 10)
    expect(hint).to_be_hidden()


@browsing.on_both_datasettes
@in_both_windows
def test_arrows_go_from_item_to_item_and_enter_opens_one(page):
    look_at(page)
    view(page).focus()
    page.mouse.click(*spot(page, 1))
    expect(said(page)).to_have_text("pets 1, cats, food")
    view(page).focus()
    page.keyboard.press("ArrowRight")
    expect(said(page)).to_have_text("pets 2, cats, food")
    page.keyboard.press("ArrowUp")
    expect(said(page)).to_have_text("pets 6, cats, food")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/notes/notes/6$"))
    page.go_back()
    expect(said(page)).to_have_text("pets 6, cats, food")
    view(page).focus()
    page.keyboard.press("Escape")
    expect(panel(page, "Selected item")).to_be_hidden()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement === document.body")


def test_the_first_arrow_selects_what_is_in_the_middle(page):
    look_at(page)
    view(page).focus()
    page.keyboard.press("ArrowLeft")
    expect(said(page)).to_have_text("pets 6, cats, food")


@browsing.on_both_datasettes
@in_both_windows
def test_a_search_lights_its_matches_up(page):
    look_at(page)
    before = colors_at(page, 2)
    box = page.get_by_label("Find on the map")
    box.fill("my wheel has a puncture")
    box.press("Enter")
    matches = panel(page, "Matches")
    expect(matches.get_by_role("heading")).to_contain_text("my wheel has a puncture")
    expect(matches.get_by_role("listitem").first).to_contain_text("bicycles")
    expect(page).to_have_url(re.compile(r"\?q=my\+wheel"))
    assert colors_at(page, 2) not in (before, WHITE)
    matches.get_by_role("button", name="bicycles").first.click()
    expect(panel(page, "Selected item")).to_contain_text("hole in the tube")
    page.reload()
    expect(panel(page, "Selected item")).to_contain_text("hole in the tube")
    expect(matches.get_by_role("listitem").first).to_contain_text("bicycles")
    matches.get_by_role("button", name="Clear").click()
    expect(matches).to_be_hidden()
    expect(page).not_to_have_url(re.compile(r"\?q="))


def test_what_is_similar_to_an_item_is_lit_up(page):
    look_at(page)
    page.mouse.click(*spot(page, 7))
    panel(page, "Selected item").get_by_role("button", name="Similar items").click()
    found = panel(page, "Matches").get_by_role("listitem")
    expect(found.first).to_contain_text("baking")
    expect(page).to_have_url(re.compile(r"/map\?like=7#all/7$"))


@in_both_windows
def test_a_line_around_an_area_leads_to_a_list(page):
    look_at(page)
    page.get_by_role("button", name="Select an area").click()
    (x, y), step = spot(page, 1), spot(page, 2)[0] - spot(page, 1)[0]
    step *= 1.4
    page.mouse.move(x - step, y - step)
    page.mouse.down()
    for right, down in [(1, -1), (1, 1), (-1, 1)]:
        page.mouse.move(x + right * step, y + down * step, steps=5)
    page.mouse.up()
    area = panel(page, "Selected area")
    expect(area.get_by_role("heading")).to_have_text("In this area: 6 items")
    expect(panel(page, "Selected item")).to_be_hidden()
    link = area.get_by_role("link", name="Show them as a list")
    expect(link).to_be_focused()
    path, corners = link.get_attribute("href").split("?_area=")
    numbers = [float(each) for each in corners.split(",")]
    assert path == "/notes/-/embeddings/notes"
    assert min(numbers) == pytest.approx(-1.4, abs=0.2)
    assert max(numbers) == pytest.approx(1.4, abs=0.2)
    assert 6 <= len(numbers) <= 200


@in_both_windows
def test_a_link_keeps_the_view(page):
    look_at(page)
    view(page).focus()
    page.keyboard.press("+")
    expect(page).to_have_url(re.compile(r"#5,5,1\.5$"))
    page.get_by_role("button", name="Zoom in").click()
    expect(page).to_have_url(re.compile(r"#5,5,2\.25$"))
    box = view(page).bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 140, steps=3)
    page.mouse.up()
    expect(page).not_to_have_url(re.compile(r"#5,5,"))
    url = page.url
    page.goto("about:blank")
    look_at(page, url)
    page.wait_for_function("url => location.href === url", arg=url)
    page.get_by_role("button", name="Show the whole map").click()
    expect(page).to_have_url(re.compile("/map#?$"))


@browsing.on_both_datasettes
@in_both_windows
def test_the_page_fits_and_has_no_faults(page):
    look_at(page, f"{MAP}?q=cats&by=topic")
    expect(panel(page, "Matches").get_by_role("listitem")).not_to_have_count(0)
    page.mouse.click(*spot(page, 7))
    expect(panel(page, "Selected item")).to_be_visible()
    assert_fits_and_axe_finds_nothing(page)


@browsing.on_both_datasettes
@without_script
def test_without_script_there_are_a_picture_and_lists(page):
    page.goto(MAP)
    picture = page.get_by_role("img", name="A map of 24 items")
    page.wait_for_function("document.querySelector('.embeddings-map-picture').complete")
    assert picture.evaluate("each => each.naturalWidth") > 0
    links = panel(page, "3 clusters").get_by_role("link")
    assert [each.get_attribute("href") for each in links.all()] == [
        f"/notes/-/embeddings/notes?_cluster={number}" for number in (1, 2, 3)
    ]
    expect(view(page)).to_be_hidden()
    page.get_by_label("Color by").select_option("topic")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile(r"/map\?by=topic$"))
    expect(panel(page, "Colors").get_by_role("listitem")).to_have_count(4)
    page.get_by_label("Find on the map").fill("bread")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/notes/-/embeddings/notes\?q=bread$"))


def test_it_needs_no_webgl(browser, site):
    arguments = [*ARGUMENTS, "--disable-3d-apis"]
    launch = browser.browser_type.launch
    without_webgl = launch(executable_path=CHROMIUM, args=arguments)
    with opened(without_webgl, site, "wide", "script") as page:
        look_at(page)
        has_webgl = "!!document.createElement('canvas').getContext('webgl2')"
        assert not page.evaluate(has_webgl)
        assert colors_at(page, 1) != WHITE
    without_webgl.close()


@in_both_windows
def test_a_frame_has_the_map_alone(page):
    look_at(page, f"{MAP}?embed=1")
    expect(page.get_by_role("banner")).to_be_hidden()
    expect(page.get_by_role("contentinfo")).to_be_hidden()
    expect(page.get_by_role("link", name="Open this map")).to_have_attribute(
        "href", MAP
    )
    assert_fits_and_axe_finds_nothing(page)


def test_text_of_the_data_is_never_part_of_the_page(page):
    look_at(page, f"{MAP}?q=telescope#all/13")
    expect(panel(page, "Selected item")).to_contain_text(HOSTILE)
    expect(panel(page, "Matches")).to_contain_text(HOSTILE)
    expect(panel(page, "Colors")).to_contain_text(HOSTILE)
    assert page.locator("img[src=x]").count() == 0


def test_links_lead_to_pages_only(page):
    items = [{"id": "7", "title": "Trap", "snippet": "", "cluster": None}]
    items[0] |= {"url": "javascript:alert(1)", "like_url": "data:text/html,x"}
    items[0] |= {"image_url": "javascript:alert(1)", "x": 9, "y": 0}
    body = json.dumps({"ok": True, "items": items})
    page.route("**/map/items.json*", lambda route: route.fulfill(body=body))
    look_at(page, f"{MAP}#all/7")
    item = panel(page, "Selected item")
    expect(item).to_contain_text("Trap")
    assert item.get_by_role("link").count() == 0
    assert item.get_by_role("img").count() == 0


def test_a_map_that_changes_is_shown_as_it_is_now(page, notes_db):
    page.goto("/notes/-/embeddings/changing/map")
    expect(loaded(page)).to_have_text("24 items")
    conn = sqlite3.connect(notes_db)
    places = {str(number): place(number) for number in range(1, 24)}
    write_map(find_collection(conn, "changing"), places, 2)
    conn.close()
    page.mouse.click(*spot(page, 1))
    expect(loaded(page)).to_have_text("23 items")


@in_both_windows
def test_a_collection_without_a_map_says_what_makes_one(page):
    page.goto("/notes/-/embeddings/bare/map")
    expect(page.locator(".content")).to_contain_text("datasette embeddings map")
    assert_fits_and_axe_finds_nothing(page)


def test_the_buttons_are_reached_with_tab(page):
    look_at(page)
    page.get_by_label("Color by").focus()
    page.keyboard.press("Tab")
    expect(view(page)).to_be_focused()
    assert tab(page) == "+"
    assert tab(page) == "−"  # noqa: RUF001 - the sign on the button


@pytest.fixture(scope="module")
def images_site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    conn = sqlite3.connect(folder / "shop.db")
    write_images(conn, {name: png(colour, side=80) for name, colour in COLOURS.items()})
    collection = collect_images(conn)
    places = {str(each): (float(each), float(each % 3)) for each in range(1, 7)}
    write_map(collection, places, 1)
    conn.close()
    metadata = folder / "metadata.json"
    metadata.write_text(json.dumps({"plugins": {"datasette-embeddings": EYES}}))
    plugins = write_plugin(folder)
    with served(
        folder / "shop.db", "-m", metadata, "--plugins-dir", plugins, with_model=False
    ) as url:
        yield url


def test_images_are_shown_where_there_are_few_points(browser, images_site):
    with opened(browser, images_site, "wide", "script") as page:
        page.goto("/shop/-/embeddings/images/map")
        images = page.locator("#embeddings-map-images img")
        expect(images).to_have_count(6)
        page.wait_for_function(
            "[...document.querySelectorAll('#embeddings-map-images img')]"
            ".every((each) => each.naturalWidth === 80)"
        )
        boxes = [each.bounding_box() for each in images.all()]
        assert {round(each["width"]) for each in boxes} == {64}
