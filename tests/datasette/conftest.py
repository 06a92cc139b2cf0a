from __future__ import annotations

from contextlib import ExitStack, contextmanager
from functools import cache, partial

import pytest
from datasette.app import Datasette
from jinja2 import BytecodeCache, Environment
from playwright.sync_api import expect, sync_playwright

from datasette_embeddings.models.registry import DEFAULT_MODEL, load_model
from datasette_embeddings.web.compat import is_modern
from tests.datasette.browsing import ARGUMENTS, CHROMIUM, SCRIPT, WINDOWS, watched
from tests.servers import (
    actor_cookie,
    execute,
    free_port,
    http,
    is_answering,
    make_datasette,
    running,
    served,
)

# Those that the tests beside this file take from here
__all__ = [
    "actor_cookie",
    "execute",
    "free_port",
    "http",
    "is_answering",
    "make_datasette",
    "running",
    "served",
]
# A busy machine is no fault: a browser waits for its page
BROWSER_TIMEOUT_MS = 120_000
expect.set_options(timeout=BROWSER_TIMEOUT_MS)


@pytest.fixture(scope="session", autouse=True)
def _loaded_model():
    """No test waits for the model on the slowest machine."""
    load_model(DEFAULT_MODEL)


@pytest.fixture(scope="session", autouse=True)
def _one_application():
    """Datasette 1.0's own client makes the application again for each request."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Datasette, "app", cached_application)
        yield


def cached_application(datasette, make=Datasette.app):
    if not hasattr(datasette, "application_of_tests"):
        datasette.application_of_tests = make(datasette)
    return datasette.application_of_tests


class CompiledTemplates(BytecodeCache):
    """The compiled templates of every Datasette of this process."""

    def __init__(self):
        self.codes: dict[str, bytes] = {}

    def load_bytecode(self, bucket):
        if bucket.key in self.codes:
            bucket.bytecode_from_string(self.codes[bucket.key])

    def dump_bytecode(self, bucket):
        self.codes[bucket.key] = bucket.bytecode_to_string()


@pytest.fixture(scope="session", autouse=True)
def _templates_compiled_once():
    """Each Datasette would compile its templates itself, which takes longest of all."""
    shared = partial(Environment, bytecode_cache=CompiledTemplates())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasette.app.Environment", shared)
        yield


@pytest.fixture(autouse=True)
def _plain_tracebacks(monkeypatch):
    """Where rich is installed Datasette has it print each error, a second at a time."""
    monkeypatch.setattr("datasette.handle_exception.rich", None)


@pytest.fixture
def datasette(articles_db):
    return make_datasette(articles_db)


@contextmanager
def open_datasette(path):
    """One for many tests, none of which changes anything, in one event loop.

    To make one takes as long as five requests.
    """
    datasette = make_datasette(path)
    yield datasette
    if is_modern():
        datasette.close()


@pytest.fixture(scope="module")
def shared_articles(tmp_path_factory, built_articles):
    """The same as :func:`datasette`, for a module in one event loop."""
    path = tmp_path_factory.mktemp("shared") / "articles.db"
    path.write_bytes(built_articles)
    with open_datasette(path) as datasette:
        yield datasette


async def get_json(datasette, path, **options):
    """Status and body of *path*."""
    response = await datasette.client.get(path, **options)
    return response.status_code, response.json()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)


@pytest.fixture
def problems():
    """What went wrong in the page; none of it may be left after a test."""
    found: list[str] = []
    yield found
    assert found == []


@contextmanager
def opened(browser, site, window, script):
    """A page of its own, as wide as *window* is."""
    width, height = WINDOWS[window]
    context = browser.new_context(
        base_url=site,
        viewport={"width": width, "height": height},
        java_script_enabled=SCRIPT[script],
    )
    context.set_default_timeout(BROWSER_TIMEOUT_MS)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def pages(browser, site):
    """The page of a window and script, opened once: that takes most of a test."""
    with ExitStack() as stack:
        yield cache(lambda *kind: stack.enter_context(opened(browser, site, *kind)))


@pytest.fixture
def page(request, pages, site, problems):
    """An empty page, which others had before."""
    page = pages(*getattr(request, "param", ("wide", "script")))
    with watched(page, site, problems):
        yield page
    page.unroute_all(behavior="ignoreErrors")
    page.goto("about:blank")


@pytest.fixture
def own_page(browser, site, problems):
    """A page for a test that leaves more behind, as its clock."""
    with opened(browser, site, "wide", "script") as page, watched(page, site, problems):
        yield page
