"""Labels: probabilities for texts and items, in Python, SQL and the shell."""

from __future__ import annotations

import csv
import io
import json
import sqlite3

import numpy as np
import pytest
from click.testing import CliRunner

from datasette_embeddings import Embeddings, register
from datasette_embeddings.analysis.labels import (
    MOST_LABELS,
    checked_labels,
    document_vector,
    labels_of,
    probabilities,
    prompts,
)
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.errors import (
    DimensionMismatchError,
    InvalidInputError,
    InvalidVectorError,
    UnknownItemError,
)
from datasette_embeddings.store.collections import collection

# Once Datasette is imported, sqlite3 prints the traceback of a function that raises
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)

LABELS = ["baking bread", "planets", "bicycle repair", "animals"]


def run(*arguments, status=0):
    result = CliRunner().invoke(embeddings, [*map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture
def notes(tmp_path, model):
    with Embeddings(tmp_path / "notes.db") as db:
        made = db.collection("notes", create=True)
        made.embed("bread", "Flour, water and salt become bread with wild yeast.")
        made.embed("rings", "With a small telescope you can see the rings of Saturn.")
        made.embed("tyre", "Find the hole in the tube and patch it.")
        yield made


# What a label is worth


def test_the_probabilities_are_the_softmax_of_scaled_cosines():
    cosines = np.array([[0.5, 0.4, -0.1]], np.float32)
    found = probabilities(cosines, 20.0)
    expected = np.exp(20 * cosines.astype(float))
    assert np.allclose(found, expected / expected.sum())
    # No overflow, whatever the scale
    assert np.allclose(probabilities(cosines, 1e6), [[1, 0, 0]])


def test_the_most_probable_label_comes_first_and_ties_stay_in_order():
    vectors = np.eye(3, dtype=np.float32)
    found = labels_of(np.array([0, 2, 0], np.float32), ["a", "b", "c"], vectors, 1.0)
    assert [each.label for each in found] == ["b", "a", "c"]
    assert sum(each.probability for each in found) == pytest.approx(1, abs=1e-5)
    assert found[0].cosine == 1


def test_a_vector_must_have_the_length_of_the_labels_and_a_direction():
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(DimensionMismatchError):
        labels_of(np.ones(2, np.float32), ["a", "b", "c"], vectors, 1.0)
    with pytest.raises(InvalidVectorError, match="found zero"):
        labels_of(np.zeros(3, np.float32), ["a", "b", "c"], vectors, 1.0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("cat", "a list of labels"),
        ({"cat": 1}, "a list of labels"),
        ([], "at least two"),
        (["cat"], "at least two"),
        (["cat", " cat "], "at least two"),
        (["cat", ""], "texts, found ''"),
        (["cat", "  "], "texts"),
        (["cat", 7], "texts, found 7"),
        (["cat", None], "texts"),
        (["cat", "x" * 2_001], "at most 2,000 characters"),
        (["cat", "x" * 1_000_000], "at most 2,000 characters, found 1,000,000"),
        ([str(n) for n in range(MOST_LABELS + 1)], "at most 1,000 labels"),
        (["cat", "\ud800"], "UTF-8"),
    ],
)
def test_labels_are_two_to_a_thousand_texts(labels, message):
    with pytest.raises(InvalidInputError, match=message):
        checked_labels(labels)


def test_labels_count_once_and_markup_is_text():
    found = checked_labels([" dog", "cat", "dog ", "<b>cat</b>"])
    assert found == ["dog", "cat", "<b>cat</b>"]
    assert len(checked_labels([str(n) for n in range(MOST_LABELS)])) == MOST_LABELS


def test_a_template_has_one_place_and_is_no_format_string():
    assert prompts(["{0.__class__}"], "a photo of {}") == ["a photo of {0.__class__}"]
    for template in ("a photo", "{} and {}", "", 3):
        with pytest.raises(InvalidInputError, match="a template with one"):
            prompts(["cat"], template)
    with pytest.raises(InvalidInputError, match="at most 2,000"):
        prompts(["cat"], "{}" + "x" * 2_000)


# Python


def test_a_text_and_an_item_have_labels(notes):
    found = notes.labels(LABELS, "How to knead dough")
    assert found[0].label == "baking bread"
    assert sum(each.probability for each in found) == pytest.approx(1, abs=1e-5)
    assert notes.labels(LABELS, id="rings")[0].label == "planets"
    assert (
        notes.labels(LABELS, id="tyre", template="about {}")[0].label
        == "bicycle repair"
    )


def test_a_document_in_chunks_has_the_mean_of_them(tmp_path, model):
    with Embeddings(tmp_path / "notes.db") as db:
        made = db.collection("notes", create=True)
        text = " ".join(f"Saturn has {number} rings." for number in range(400))
        made.embed("long", text)
        assert "long#1" in made
        assert made.labels(LABELS, id="long")[0].label == "planets"
    conn = sqlite3.connect(tmp_path / "notes.db")
    stored = collection(conn, "notes")
    rows = np.stack([vector for _id, vector in _vectors(stored)])
    assert np.allclose(document_vector(stored, "long"), rows.mean(axis=0), atol=1e-6)
    conn.close()


def _vectors(stored):
    return [(item, np.frombuffer(blob, "<f4")) for item, blob in stored.vector_rows()]


def test_what_python_is_given_is_checked(notes):
    with pytest.raises(InvalidInputError, match="either content or id"):
        notes.labels(LABELS)
    with pytest.raises(InvalidInputError, match="either content or id"):
        notes.labels(LABELS, "text", id="bread")
    with pytest.raises(InvalidInputError, match="a list of labels"):
        notes.labels("cat", "text")
    with pytest.raises(UnknownItemError):
        notes.labels(LABELS, id="missing")


# SQL


@pytest.fixture
def sql(articles):
    register(articles)

    def run_sql(query, *values):
        return articles.execute(query, values).fetchall()

    return run_sql


def test_sql_gives_the_best_label_of_each_row(sql):
    labels = json.dumps(["a pet", "a planet", "bread"])
    rows = sql(
        "select id, embed_labels('articles', embedding, ?) from embeddings", labels
    )
    found = {item: json.loads(text) for item, text in rows}
    assert all(len(each) == 3 for each in found.values())
    for each in found.values():
        shares = [label["probability"] for label in each]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(1, abs=1e-5)
    by_default = sql("select id, embed_labels(embedding, ?) from embeddings", labels)
    assert {item: json.loads(text) for item, text in by_default} == found


def test_sql_embeds_the_labels_once(sql, model, monkeypatch):
    asked = []
    embed = type(model).query_vector
    monkeypatch.setattr(
        type(model),
        "query_vector",
        lambda own, text: asked.append(text) or embed(own, text),
    )
    labels = '["one thing", "another thing"]'
    sql("select embed_labels('articles', embedding, ?) from embeddings", labels)
    assert asked == ["one thing", "another thing"]


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ("cat, dog", "a JSON array"),
        ("[" * 100_000, "a JSON array"),
        ('"cat"', "a list of labels"),
        ('["cat"]', "at least two"),
        (json.dumps(["x" * 1_000_000, "y"]), "at most 262,144 characters"),
        (json.dumps([str(n) for n in range(1_001)]), "at most 1,000 labels"),
        (b"[]", "a JSON array"),
        (7, "a JSON array"),
    ],
)
def test_sql_says_what_is_wrong_with_labels(sql, labels, reason):
    with pytest.raises(sqlite3.OperationalError):
        sql("select embed_labels(embedding, ?) from embeddings", labels)
    assert reason in sql("select embed_error()")[0][0]


def test_sql_takes_vectors_of_the_model_only(sql):
    with pytest.raises(sqlite3.OperationalError):
        sql("select embed_labels('articles', '[1, 2]', '[\"a\", \"b\"]')")
    assert "384 dimensions, found 2" in sql("select embed_error()")[0][0]
    assert sql('select embed_labels(null, \'["a", "b"]\')') == [(None,)]


# The shell


def test_the_shell_labels_an_item_and_a_text(articles_db):
    given = [articles_db, "articles", "-l", "a pet", "-l", "a planet"]
    lines = run("labels", *given, "-c", "Saturn and Jupiter").splitlines()
    assert lines[0].endswith("%  a planet")
    rows = json.loads(run("labels", *given, "1", "--format", "json"))
    assert [set(row) for row in rows] == [{"label", "probability", "cosine"}] * 2


def test_the_shell_labels_every_item(articles_db):
    given = ["labels", articles_db, "articles", "--all", "-l", "a pet", "-l", "space"]
    with sqlite3.connect(articles_db) as conn:
        count = conn.execute("select count(*) from articles").fetchone()[0]
    rows = list(csv.DictReader(io.StringIO(run(*given, "--format", "csv"))))
    assert len(rows) == count
    assert {row["label"] for row in rows} <= {"a pet", "space"}
    lines = run(*given, "--format", "nl").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [row["id"] for row in rows]
    assert len(run(*given).splitlines()) == count


def test_labels_come_from_a_column(articles_db):
    with sqlite3.connect(articles_db) as conn:
        conn.execute('create table "my topics" ("the name")')
        rows = [("space",), ("pets",), ("pets",), (None,), (" ",), (b"x",), (7,)]
        conn.executemany('insert into "my topics" values (?)', rows)
    given = ["labels", articles_db, "articles", "1", "--format", "json"]
    found = json.loads(run(*given, "--labels-from", "my topics", "the name"))
    assert sorted(row["label"] for row in found) == ["7", "pets", "space"]
    said = run(*given, "--labels-from", "my topics", "other", status=1)
    assert "a table and one of its columns" in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["-l", "a", "-l", "b"], "Expected one of ITEM"),
        (["1", "-c", "text", "-l", "a", "-l", "b"], "Expected one of ITEM"),
        (["1", "--all", "-l", "a", "-l", "b"], "Expected one of ITEM"),
        (["1"], "Expected either --label or --labels-from"),
        (["1", "-l", "a", "--labels-from", "articles", "title"], "Expected either"),
        (["1", "-l", "a"], "at least two"),
        (["1", "-l", "a", "-l", "b", "--binary"], "--binary goes with"),
        (["-c", " ", "-l", "a", "-l", "b"], "found an empty one"),
        (["none", "-l", "a", "-l", "b"], "No item 'none'"),
        (["1", "-l", "a", "-l", "b", "--template", "x"], "a template with one"),
    ],
)
def test_the_shell_says_what_is_missing(articles_db, given, message):
    assert message in run("labels", articles_db, "articles", *given, status=1)
