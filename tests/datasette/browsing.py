"""A person at a real browser: what every test with one needs."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(
        CHROMIUM is None,
        reason="no browser here: install Debian's package chromium (apt-get install "
        "chromium) to run the browser tests",
    ),
    pytest.mark.long(datasette="0.65"),
]
# Chromium asks home for updates otherwise, and its sandbox wants a user other than root
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WINDOWS = {"wide": (1200, 900), "phone": (320, 640)}
SCRIPT = {"script": True, "plain": False}
#: Also on Datasette 0.65 in every run
on_both_datasettes = pytest.mark.short


def _in(*pages, long=()):
    """On each of *pages*, a window and how it has script, and with --all on *long*."""
    marked = [pytest.param(page, marks=pytest.mark.long) for page in long]
    return pytest.mark.parametrize("page", [*pages, *marked], ids=_name, indirect=True)


def _name(page):
    return "-".join(page)


# Each window and each kind once, where what is tested depends on one of the two
crosswise = _in(("wide", "plain"), ("phone", "script"))
# Without script and with it, on a desk and on a small phone
with_and_without_script = _in(
    ("wide", "plain"),
    ("phone", "script"),
    long=[("wide", "script"), ("phone", "plain")],
)
without_script = _in(("wide", "plain"))
# On the phone in every run, because that is where room is short
in_both_windows = _in(("phone", "script"), long=[("wide", "script")])


@contextmanager
def watched(page, site, problems):
    """Errors, requests that fail and those to any host but ours are *problems*."""

    def raised(error):
        problems.append(str(error))

    def failed(request):
        # The script takes back what no page waits for any more
        if request.failure != "net::ERR_ABORTED":
            problems.append(f"{request.url}: {request.failure}")

    def asked(request):
        # What the page has made itself is asked of no server
        if not request.url.startswith((site, f"blob:{site}", "data:")):
            problems.append(request.url)

    listeners = {"pageerror": raised, "requestfailed": failed, "request": asked}
    for event, listener in listeners.items():
        page.on(event, listener)
    yield
    for event, listener in listeners.items():
        page.remove_listener(event, listener)


def box(page):
    return page.get_by_label("What are you looking for?")


def status(page):
    return page.get_by_role("status")


def titles(page):
    return page.locator(".embeddings-results h2")


def title_texts(page):
    return page.evaluate(
        "[...document.querySelectorAll('.embeddings-results h2')]"
        ".map((each) => each.textContent.trim())"
    )


def summary(page, text):
    return page.locator("summary").get_by_text(text)


def ask(page, text):
    """Type *text* key by key, behind what is there."""
    box(page).press("End")
    box(page).press_sequentially(text)


def focused(page):
    return page.evaluate(
        "document.activeElement.value || document.activeElement.textContent.trim()"
    )


def tab(page):
    page.keyboard.press("Tab")
    return focused(page)


def assert_fits_and_axe_finds_nothing(page):
    """*page*, with all that can be opened open, fits and has no faults."""
    page.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"]
    # Only what is ours: the frame is that of Datasette, whose 0.65 names no language
    found = Axe().run(
        page,
        context={"include": [[".content"]]},
        options={
            "resultTypes": ["violations"],
            "rules": {"target-size": {"enabled": True}},
        },
    )
    violations = {
        each["id"]: [node["target"] for node in each["nodes"]]
        for each in found.response["violations"]
    }
    assert violations == {}
