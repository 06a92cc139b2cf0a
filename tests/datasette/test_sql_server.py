"""SQL functions in a real Datasette process, as strangers call them."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request

import pytest

from datasette_embeddings.models.onnx import BUNDLED_FOLDER
from datasette_embeddings.web.compat import is_modern
from tests.datasette.conftest import served

QUERY = "/articles/-/query" if is_modern() else "/articles"
# Enough for each of Datasette's three SQL threads to have its turn
TURNS = 6


def answer(url, path, **parameters):
    """Status and text of a page."""
    query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
    try:
        with urllib.request.urlopen(f"{url}{path}{query}") as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def sql_errors(url, sql, turns=TURNS):
    """The different answers to *sql*, asked of every thread."""
    answers = {answer(url, f"{QUERY}.json", sql=sql) for _ in range(turns)}
    return {(status, json.loads(text).get("error")) for status, text in answers}


# With one thread it is certain that SQL runs where the pages did
THREADS = ["1", pytest.param("3", marks=pytest.mark.long)]


@pytest.fixture(scope="module", params=THREADS, ids=["one thread", "three threads"])
def visited(request, built_articles, tmp_path_factory):
    """The URL of a server of which every kind of page was visited, and its folder."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "articles.db").write_bytes(built_articles)
    (folder / "model").symlink_to(BUNDLED_FOLDER)
    threads = ("--setting", "num_sql_threads", request.param)
    with served(folder / "articles.db", *threads) as url:
        paths = ["/articles/articles", "/articles/articles/1", "/articles", "/", QUERY]
        for path in paths * TURNS:
            assert answer(url, path)[0] == 200
        yield url, folder


RAISED = {(400, "user-defined function raised exception")}


def test_pages_that_were_visited_lift_no_limit(visited):
    url, folder = visited
    assert sql_errors(url, f"select embed('{folder / 'model'}', 'x')") == RAISED
    assert sql_errors(url, "select embed(hex(zeroblob(50001)))") == RAISED
    assert sql_errors(url, "select embed_error()") == {
        (400, "no such function: embed_error")
    }
    slow = """
        with recursive n(i) as (select 1 union select i + 1 from n where i < 5000)
        select sum(length(embed('slow ' || i))) from n
    """
    [(status, error)] = sql_errors(url, slow, turns=2)
    assert (status, "too long" in error or "time limit" in error) == (400, True)


@pytest.mark.skipif(not is_modern(), reason="0.65 has no hook for its query page")
def test_pages_that_were_visited_leave_the_reason_on_the_query_page(visited):
    url, _folder = visited
    sql = "select embed('no-such', 'x')"
    pages = [answer(url, QUERY, sql=sql)[1] for _ in range(TURNS)]
    assert all("is not available. This server offers" in page for page in pages)


LONG = [
    "embed_scale(zeroblob(4), zeroblob(2000000))",
    "embed_search(zeroblob(2000000), 'x', 1)",
    "embed_scale(zeroblob(4), zeroblob(6000000))",
    "embed_scale(zeroblob(4), zeroblob(20000000))",
    "embed_search(zeroblob(20000000), 'x', 1)",
    "embed_similar(zeroblob(20000000), 'x', 1)",
    "embed_similar('articles', zeroblob(20000000), 1)",
    "embed(zeroblob(20000000), 'x')",
    "embed_similar('articles', '1', zeroblob(20000000))",
    "embed_encode(zeroblob(20000000))",
    "embed_search(hex(zeroblob(10000000)), 'x', 1)",
    "embed_query(hex(zeroblob(10000000)), 'x')",
]


def test_long_arguments_write_little_to_the_log(articles_db, tmp_path):
    log = tmp_path / "log"
    with served(articles_db, "--setting", "num_sql_threads", "1", log_path=log) as url:
        before = log.stat().st_size
        for call in LONG:
            assert sql_errors(url, f"select {call}", turns=1) == RAISED
        logged = log.read_text()[before:]
    assert len(logged) < 10_000
    assert logged.count("found a BLOB of 20,000,000 bytes") == 7
    assert max(map(len, logged.splitlines())) <= 400
