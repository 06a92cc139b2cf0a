"""A person looks at groups of near-duplicates."""

from __future__ import annotations

import sqlite3

import pytest
from playwright.sync_api import expect

from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.similarities.refreshing import build
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import collection
from tests.conftest import write_articles
from tests.datasette import browsing
from tests.datasette.browsing import assert_fits_and_axe_finds_nothing, in_both_windows
from tests.datasette.conftest import make_datasette, running

pytestmark = browsing.MARKS
ARTICLES = "/articles/-/embeddings/articles"


@pytest.fixture(scope="module")
def site(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("duplicates") / "articles.db"
    conn = sqlite3.connect(path)
    write_articles(conn)
    for number in (100, 200, 300):
        conn.execute(
            "insert into articles select id + ?, title, body from articles "
            "where id < 3",
            [number],
        )
    conn.commit()
    ingest(conn, "articles", table_source(conn, "articles"), model)
    build(collection(conn, "articles"), SimilaritySettings(5))
    conn.close()
    with running(make_datasette(path)) as url:
        yield url


@browsing.on_both_datasettes
@in_both_windows
def test_the_items_of_a_group_are_lines_without_space_between_them(page):
    page.goto(f"{ARTICLES}/duplicates")
    group = page.locator(".embeddings-group").first
    expect(group.get_by_role("link")).to_have_count(4)
    cell = group.locator("xpath=..").bounding_box()
    assert cell["height"] < 4 * 48
    assert_fits_and_axe_finds_nothing(page)


@in_both_windows
@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("duplicates", ["size", "scores", "items"]),
        ("outliers", ["score", "item"]),
        ("labels?labels=cats,stars&q=kittens", ["label", "probability", "cosine"]),
    ],
)
def test_on_a_phone_a_cell_has_the_name_of_its_column(page, path, named):
    page.goto(f"{ARTICLES}/{path}")
    read = "cells => cells.map(each => getComputedStyle(each, '::before').content)"
    shown = page.locator("tbody tr").first.locator("td").evaluate_all(read)
    is_phone = page.viewport_size["width"] < 577
    expected = [f'"{each}"' if is_phone else "none" for each in named]
    assert shown == expected
