"""A person at a real browser goes from clusters to their items and back."""

from __future__ import annotations

import re
import sqlite3

import pytest
from playwright.sync_api import expect

from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.from_config import table_source
from tests.clusters import give_clusters
from tests.datasette import browsing
from tests.datasette.browsing import (
    ask,
    assert_fits_and_axe_finds_nothing,
    box,
    focused,
    in_both_windows,
    status,
    tab,
    titles,
    with_and_without_script,
)
from tests.datasette.conftest import served
from tests.datasette.test_browser import UNBROKEN, write_notes
from tests.maps import give_map

pytestmark = browsing.MARKS
NOTES = "/notes/-/embeddings/notes"


@pytest.fixture(scope="module")
def site(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("browser") / "notes.db"
    conn = sqlite3.connect(path)
    write_notes(conn)
    notes = table_source(conn, "notes", content_columns=["title", "body"])
    ingest(conn, "notes", notes, model)
    numbers = list(map(str, range(1, 25)))
    clusters = [
        (["cats", "food"], numbers[:6] + numbers[6:8]),
        (["bread", UNBROKEN], numbers[8:12]),
        (["telescope"], numbers[12:18]),
    ]
    give_clusters(conn, "notes", clusters, none=numbers[18:])
    give_map(conn, "notes", {each: (int(each), 0) for each in numbers})
    conn.close()
    with served(path) as url:
        yield url


@browsing.on_both_datasettes
@with_and_without_script
def test_a_person_opens_a_cluster_searches_in_it_and_leaves_it(page):
    page.goto(NOTES)
    page.get_by_role("link", name="Clusters (3)").click()
    expect(page).to_have_url(f"{NOTES}/clusters")
    cards = page.locator(".embeddings-clusters > li")
    expect(cards).to_have_count(3)
    expect(cards.first).to_contain_text("8 items")
    expect(cards.first.get_by_role("listitem")).to_have_text(
        ["Kittens 1", "Kittens 2", "Kittens 3"]
    )
    page.get_by_role("link", name="cats, food").click()
    expect(page).to_have_url(f"{NOTES}?_cluster=1")
    expect(status(page)).to_have_text("8 items, the most central first.")
    expect(titles(page).first).to_have_text("Kittens 1")
    chip = page.get_by_label("Filters", exact=True).get_by_role("listitem")
    expect(chip).to_contain_text("Cluster: cats, food")
    box(page).fill("bread")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{NOTES}?q=bread&_cluster=1")
    expect(titles(page)).to_have_count(8)
    expect(titles(page).first).to_contain_text("Sourdough")
    page.get_by_role("link", name="Remove the filter Cluster: cats, food").click()
    expect(page).to_have_url(f"{NOTES}?q=bread")
    page.get_by_role("link", name="cluster: cats, food").first.click()
    expect(page).to_have_url(f"{NOTES}?_cluster=1")


@in_both_windows
def test_typing_stays_within_the_cluster_and_an_empty_box_lists_it(page):
    page.goto(f"{NOTES}?_cluster=3")
    ask(page, "saturn")
    expect(page).to_have_url(f"{NOTES}?q=saturn&_cluster=3")
    expect(titles(page)).to_have_count(6)
    box(page).fill("")
    expect(page).to_have_url(f"{NOTES}?_cluster=3")
    expect(status(page)).to_have_text("6 items, the most central first.")


@in_both_windows
def test_an_area_of_the_map_is_a_filter_that_can_be_removed(page):
    page.goto(f"{NOTES}?_area=0.5,-1,3.5,-1,3.5,1,0.5,1")
    expect(titles(page)).to_have_text(["Kittens 1", "Kittens 2", "Kittens 3"])
    expect(status(page)).to_have_text("3 items.")
    page.get_by_role("link", name="Remove the filter Area of the map").click()
    expect(page).to_have_url(NOTES)


def test_the_keyboard_reaches_every_card_in_its_order(page):
    page.goto(f"{NOTES}/clusters")
    while tab(page) != "json":
        assert focused(page) != "Powered by Datasette"
    order = [tab(page) for _ in range(5)]
    assert order[:4] == ["cats, food", "Kittens 1", "Kittens 2", "Kittens 3"]
    assert order[4] == "telescope"
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{NOTES}?_cluster=3")
    expect(titles(page)).to_have_count(6)


@browsing.on_both_datasettes
@in_both_windows
def test_the_pages_fit_and_have_no_faults(page):
    for path in (
        *("/-/embeddings", f"{NOTES}/clusters", f"{NOTES}?_cluster=2"),
        *(f"{NOTES}?q=bread&_cluster=1,2,none", f"{NOTES}?q=bread", "/notes/notes/9"),
    ):
        page.goto(path)
        expect(page.locator(".content")).to_contain_text(
            re.compile("Clusters|In cluster", re.IGNORECASE)
        )
        if path != "/notes/notes/9":
            assert_fits_and_axe_finds_nothing(page)
