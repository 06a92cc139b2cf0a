"""A person with a real browser: types, reads, follows, goes back."""

from __future__ import annotations

import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.datasette.conftest import served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="no browser here: install Debian's package chromium (apt-get install "
        "chromium) to run the browser tests",
    ),
]
# Chromium asks home for updates otherwise, and its sandbox wants a user other than root
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)


@pytest.fixture
def page(browser, articles_db):
    """A page of 320 by 640 pixels, a small phone, and the problems that it met."""
    with served(articles_db) as url:
        context = browser.new_context(
            base_url=url, viewport={"width": 320, "height": 640}
        )
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(request.url))
        yield page
        context.close()
    assert problems == []


def test_a_person_searches_follows_a_match_and_goes_back(page):
    page.goto("/-/embeddings")
    page.get_by_role("link", name="articles", exact=True).last.click()
    page.get_by_label("What are you looking for?").fill("my wheel has a puncture")
    page.keyboard.press("Enter")
    first = page.locator(".embeddings-results h2 a").first
    expect(first).to_have_text("Bicycle repair")
    expect(page.get_by_role("status")).to_contain_text("6 of 6 items")
    first.click()
    expect(page).to_have_url("/articles/articles/3")
    page.go_back()
    expect(page.get_by_label("What are you looking for?")).to_have_value(
        "my wheel has a puncture"
    )


def test_more_like_this_leads_to_the_neighbours(page):
    page.goto("/articles/-/embeddings/articles?q=pets")
    page.get_by_role("link", name="more like this").first.click()
    expect(page.get_by_role("status")).to_contain_text("5 items closest to 5")
    expect(page.locator(".embeddings-results li")).to_have_count(5)


def test_the_page_fits_a_small_phone(page):
    page.goto("/articles/-/embeddings/articles?q=pets")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 320
