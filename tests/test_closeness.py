"""Whether an answer says that nothing in it is close to the question."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from datasette_embeddings import collection
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.search import text_search
from datasette_embeddings.search.matches import answer_text
from datasette_embeddings.search.nearest import Options

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
