"""Whether an answer says that nothing in it is close to the question."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search import text_search
from datasette_embeddings.search.answers import answer_text
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collection_writes import (
    rename_collection,
    store_closeness,
)
from datasette_embeddings.store.collections import collection
from tests.models import StandIn

DATA = Path(__file__).parent.parent / "benchmarks" / "data"


@pytest.fixture
def answer(demo, model):
    with closing(sqlite3.connect(demo.path)) as conn:
        stdlib = collection(conn, "stdlib")
        yield lambda text, mode="both": answer_text(
            stdlib, text, model=model, options=Options(mode=mode)
        )


def test_most_questions_off_topic_are_far_and_few_real_ones(answer, demo):
    off_topic = json.loads((DATA / "off_topic.json").read_text())["stdlib"]
    far = [answer(text).close is False for text in off_topic]
    assert sum(far) >= 0.8 * len(far)
    real = json.loads((DATA / "questions_stdlib.json").read_text())
    if demo.is_sample:
        # Those that it can answer
        with closing(sqlite3.connect(demo.path)) as conn:
            ids = {each for (each,) in conn.execute("select path from functions")}
        real = [each for each in real if ids & {*each["relevant"]}]
    close = [answer(each["q"]).close is True for each in real]
    assert len(close) >= 10
    assert sum(close) >= 0.97 * len(close) - 1


def test_what_is_close_is_not_known_of_other_models_and_modes(answer, monkeypatch):
    assert [answer("json", mode).close for mode in ("meaning", "words")] == [None, None]
    assert answer("json").close is True
    monkeypatch.setattr(text_search, "LEAST_CLOSENESS", {})
    assert answer("json").close is None


@pytest.mark.parametrize(
    ("text", "is_far"), [("treatment of gout", True), ("days in a month", False)]
)
def test_a_search_says_that_nothing_is_close(demo, text, is_far):
    result = CliRunner().invoke(embeddings, ["search", str(demo.path), "stdlib", text])
    assert ("Nothing here is close to that" in result.stderr) == is_far
    assert (result.exit_code, bool(result.stdout)) == (0, True)


def embed(conn, model=None, **options):
    """The table `articles` as a collection."""
    source = table_source(conn, "articles")
    options = IngestOptions(**options)
    ingest(conn, "articles", source, model or StandIn(), options=options)
    return collection(conn, "articles")


def test_a_stored_threshold_comes_before_that_of_the_model(conn, monkeypatch):
    add_articles(conn, 50)
    articles = embed(conn)
    assert close(articles) is None
    store_closeness(articles, -1)
    assert close(collection(conn, "articles")) is True
    monkeypatch.setattr(text_search, "LEAST_CLOSENESS", {StandIn.model_id: -1})
    assert close(articles) is True
    store_closeness(articles, 1.5)
    assert close(collection(conn, "articles")) is False


def close(articles):
    return answer_text(articles, "bread", model=StandIn()).close


def add_articles(conn, count):
    """Rows, so that the table has *count*."""
    (before,) = conn.execute("select count(*) from articles").fetchone()
    rows = [(number, f"Bread {number}") for number in range(100, 100 + count - before)]
    conn.executemany("insert into articles (id, title) values (?, ?)", rows)
    conn.commit()


@pytest.mark.parametrize(("count", "known"), [(49, None), (50, True)])
def test_few_documents_are_too_few_to_say_what_is_close(conn, count, known):
    add_articles(conn, count)
    articles = embed(conn)
    store_closeness(articles, -1)
    assert close(collection(conn, "articles")) is known


class Other(StandIn):
    model_id = "other"


def test_a_threshold_is_kept_as_long_as_the_model(conn):
    store_closeness(embed(conn), 0.5)
    assert embed(conn, rebuild=True).closeness == 0.5
    rename_collection(conn, "articles", "renamed")
    rename_collection(conn, "renamed", "articles")
    assert embed(conn).closeness == 0.5
    assert embed(conn, Other(), rebuild=True).closeness is None


@pytest.mark.parametrize("value", ["high", b"1", None])
def test_a_threshold_of_another_program_is_left_out(conn, value):
    embed(conn)
    conn.execute("update _embedding_collections set closeness = ?", [value])
    assert collection(conn, "articles").closeness is None
