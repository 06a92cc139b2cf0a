"""A person places documents between two ends, and moves along the axis."""

from __future__ import annotations

import re
import sqlite3

import pytest
from playwright.sync_api import expect

from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.from_config import table_source
from tests.conftest import write_articles
from tests.datasette import browsing
from tests.datasette.browsing import (
    assert_fits_and_axe_finds_nothing,
    in_both_windows,
    with_and_without_script,
)
from tests.datasette.conftest import make_datasette, running

pytestmark = browsing.MARKS
AXIS = "/articles/-/embeddings/articles/axis"
ENDS = "low=cats,+pets&high=stars,+planets"


@pytest.fixture(scope="module")
def site(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("axis") / "articles.db"
    conn = sqlite3.connect(path)
    write_articles(conn)
    ingest(conn, "articles", table_source(conn, "articles"), model)
    conn.close()
    with running(make_datasette(path)) as url:
        yield url


def near(page):
    return page.locator("#embeddings-axis-near li")


def slider(page, name="Position"):
    return page.get_by_label(name, exact=True)


@in_both_windows
def test_the_slider_is_as_wide_as_the_picture_above_it(page):
    page.goto(f"{AXIS}?{ENDS}")
    picture = page.locator("#embeddings-axis-plot").bounding_box()
    own = slider(page).bounding_box()
    assert picture["x"] == own["x"]
    assert picture["width"] - own["width"] == 2  # its borders


@browsing.on_both_datasettes
@with_and_without_script
def test_a_person_names_two_ends_and_looks_at_a_place_between_them(page):
    page.goto("/articles/-/embeddings/articles")
    page.get_by_role("link", name="Axis").click()
    page.get_by_label("Low end", exact=True).fill("cats, pets")
    page.get_by_label("High end", exact=True).fill("stars, planets")
    page.keyboard.press("Enter")
    low = page.get_by_role("region", name="Nearest to cats, pets").get_by_role("link")
    high = page.get_by_role("region", name="Nearest to stars, planets")
    expect(low.first).to_have_text("Kittens")
    expect(high.get_by_role("link").first).to_have_text("Night sky")
    slider(page).focus()
    page.keyboard.press("End")
    show = page.get_by_role("button", name="Show what is there")
    if show.is_visible():
        show.click()
    expect(page).to_have_url(re.compile(r"[?&]at=0\.\d"))
    expect(near(page).last).to_contain_text("Night sky")


@browsing.on_both_datasettes
def test_the_slider_follows_the_keyboard(page):
    page.goto(f"{AXIS}?{ENDS}&_size=1")
    expect(near(page)).to_have_count(1)
    slider(page).focus()
    page.keyboard.press("Home")
    expect(near(page)).to_contain_text("Kittens")
    output = page.locator("#embeddings-at + span")
    lowest = output.text_content()
    assert lowest.startswith("-")
    page.keyboard.press("ArrowRight")
    expect(output).not_to_have_text(lowest)
    line = page.locator("#embeddings-axis-x")
    before = float(line.get_attribute("x1"))
    page.keyboard.press("End")
    expect(near(page)).to_contain_text("Night sky")
    assert float(line.get_attribute("x1")) > before
    # The address is that of the place
    page.reload()
    expect(near(page)).to_contain_text("Night sky")


def test_a_click_into_the_map_shows_what_is_there(page):
    second = "low2=food&high2=machine"
    page.goto(f"{AXIS}?{ENDS}&{second}&_size=1")
    picture = page.locator("#embeddings-axis-plot")
    box = picture.bounding_box()
    picture.click(position={"x": 2, "y": box["height"] - 2})
    expect(near(page)).to_contain_text("Kittens")
    expect(page).to_have_url(re.compile(r"[?&]at=-0\.\d+.*&at2=-0\.\d"))


@in_both_windows
@pytest.mark.parametrize("second", ["", "&low2=food&high2=machine"], ids=["", "map"])
def test_a_page_fits_and_axe_finds_nothing(page, second):
    page.goto(f"{AXIS}?{ENDS}{second}&low_item=5")
    assert_fits_and_axe_finds_nothing(page)


def test_an_error_of_the_server_is_read_out(page):
    page.goto(f"{AXIS}?{ENDS}&_size=1")
    page.route(
        "**/axis.json*",
        lambda route: route.fulfill(json={"ok": False, "error": "Too many"}),
    )
    slider(page).focus()
    page.keyboard.press("End")
    expect(page.get_by_role("status")).to_have_text("No answer: Too many")
