"""A person who asks which of some labels fits a text, an item or a picture."""

from __future__ import annotations

import json
import sqlite3

import pytest
from playwright.sync_api import expect

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.similarities.refreshing import build
from tests.datasette import browsing
from tests.datasette.browsing import (
    assert_fits_and_axe_finds_nothing,
    crosswise,
    in_both_windows,
    status,
    with_and_without_script,
)
from tests.datasette.conftest import served
from tests.datasette.image_tables import (
    COLOURS,
    EYES,
    collect_images,
    png,
    write_images,
    write_plugin,
)

pytestmark = browsing.MARKS

COLLECTION = "/shop/-/embeddings/images"
PAGE = f"{COLLECTION}/labels"
RED = {"name": "red.png", "mimeType": "image/png", "buffer": png(COLOURS["Red"])}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    path = folder / "shop.db"
    conn = sqlite3.connect(path)
    write_images(conn)
    build(collect_images(conn), SimilaritySettings(4))
    conn.close()
    metadata = folder / "metadata.json"
    metadata.write_text(json.dumps({"plugins": {"datasette-embeddings": EYES}}))
    with served(path, "-m", metadata, "--plugins-dir", write_plugin(folder)) as url:
        yield url


def labels(page):
    return page.get_by_label("Which of these labels fits?")


def rows(page):
    return page.locator("#embeddings-answer tbody tr")


@browsing.on_both_datasettes
@in_both_windows
def test_a_picture_is_chosen_and_labelled(page):
    page.goto(PAGE)
    page.evaluate("window.marker = 1")
    labels(page).fill("a chair\na table, a lamp")
    page.get_by_label("What is in this picture?").set_input_files(RED)
    expect(rows(page)).to_have_count(3)
    expect(status(page)).to_contain_text("Your image: most probably")
    expect(page.get_by_alt_text("Your image")).to_be_visible()
    expect(rows(page).first).to_contain_text("%")
    # Other labels for the same picture, on the same page
    labels(page).fill("red, blue")
    page.get_by_role("button", name="Compare").click()
    expect(rows(page)).to_have_count(2)
    expect(status(page)).to_contain_text("Your image: most probably")
    assert page.evaluate("window.marker") == 1
    assert_fits_and_axe_finds_nothing(page)


@with_and_without_script
def test_a_text_is_labelled(page):
    page.goto(PAGE)
    labels(page).fill("<b>red</b>, blue")
    page.get_by_label("A text to label").fill("something")
    page.get_by_role("button", name="Compare").click()
    expect(rows(page)).to_have_count(2)
    expect(page.locator("#embeddings-answer")).to_contain_text("<b>red</b>")
    assert "labels=" in page.url


@crosswise
def test_an_item_stays_with_other_labels(page):
    page.goto(f"{PAGE}?labels=red,blue&like=1")
    expect(status(page)).to_contain_text("most probably")
    labels(page).fill("red, blue, green")
    page.get_by_role("button", name="Compare").click()
    expect(rows(page)).to_have_count(3)
    assert "like=1" in page.url


@in_both_windows
def test_the_pages_lead_to_each_other(page):
    page.goto(COLLECTION)
    for name, heading in (
        ("Labels", "Labels in images"),
        ("Duplicates", "Near-duplicates in images"),
        ("Outliers", "Outliers in images"),
    ):
        page.get_by_role("link", name=name, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        assert_fits_and_axe_finds_nothing(page)
