"""Where documents are between two ends: the formula, the ends, SQL, CLI and Python."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pytest
from click.testing import CliRunner

from datasette_embeddings import Embeddings, register
from datasette_embeddings.analysis import positions
from datasette_embeddings.analysis.axes import Axis, End, axis_of, texts_of
from datasette_embeddings.analysis.positions import Positions, place_documents
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import Settings
from datasette_embeddings.documents import Chunking, Document
from datasette_embeddings.errors import (
    DimensionMismatchError,
    InvalidInputError,
    UnknownItemError,
)
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.ingest.items import embed_items
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.sql.context import Policy
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection, current
from datasette_embeddings.vectors import encode, normalize
from tests.test_cli import lines

# Once Datasette is imported, sqlite3 prints the traceback of a function that raises
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)
PETS, SKY = "cats, kittens, pets", "stars, planets, telescopes"


def vectors(*rows):
    return np.array(rows, dtype=np.float32)


# The formula


def test_a_position_is_the_difference_of_the_cosines_scaled_by_that_of_the_ends():
    rng = np.random.default_rng(3)
    low, high = rng.normal(size=(3, 8)), rng.normal(size=(5, 8))
    axis = Axis.between(low.astype("f4"), high.astype("f4"))
    ends = []
    for end in (low, high):
        mean = (end / np.linalg.norm(end, axis=1)[:, None]).mean(axis=0)
        ends.append(mean / np.linalg.norm(mean))
    x = rng.normal(size=8)
    unit = x / np.linalg.norm(x)
    expected = (unit @ ends[1] - unit @ ends[0]) / (1 - ends[0] @ ends[1])
    assert axis.position(x.astype("f4")) == pytest.approx(expected, abs=1e-5)
    assert axis.cosine == pytest.approx(ends[0] @ ends[1], abs=1e-6)
    # The ends themselves, and what is between them
    assert axis.position(ends[0].astype("f4")) == pytest.approx(-1, abs=1e-5)
    assert axis.position(ends[1].astype("f4")) == pytest.approx(1, abs=1e-5)
    middle = (ends[0] + ends[1]).astype("f4")
    assert axis.position(middle) == pytest.approx(0, abs=1e-5)
    # SemAxis has the same order: it is the cosine with the difference
    difference = ends[1] - ends[0]
    cosine = unit @ difference / np.linalg.norm(difference)
    assert axis.position(x.astype("f4")) / axis.scale == pytest.approx(cosine, abs=1e-5)


def test_the_number_of_words_of_an_end_moves_nothing():
    """An average of many words is short, and would else be nearer to everything."""
    one, many = vectors([1, 0, 0, 0]), vectors([0, 1, 0.9, 0], [0, 1, -0.9, 0])
    axis = Axis.between(one, many)
    assert axis.position(vectors([0, 0, 0, 1])[0]) == pytest.approx(0, abs=1e-6)
    assert axis.position(vectors([0, 7, 0, 0])[0]) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ([[1, 0]], [[2, 0]], "two that mean the same"),
        ([[1, 0], [-1, 0]], [[0, 1]], "the low end, but its vectors cancel each"),
        ([[0, 1]], [[0, 0]], "the high end, but its vectors cancel each"),
    ],
)
def test_ends_without_a_difference_are_refused(low, high, message):
    with pytest.raises(InvalidInputError, match=message):
        Axis.between(vectors(*low), vectors(*high))


def test_vectors_of_another_length_are_refused_and_a_zero_one_has_no_position():
    axis = Axis.between(vectors([1, 0]), vectors([0, 1]))
    assert axis.position(vectors([0, 0])[0]) is None
    with pytest.raises(DimensionMismatchError):
        axis.position(vectors([1, 0, 0])[0])
    with pytest.raises(DimensionMismatchError):
        Axis.between(vectors([1, 0]), vectors([0, 1, 0]))


# The ends


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("table", ["table"]),
        ("a table, two stones\nsand", ["a table", "two stones", "sand"]),
        (" , table,,\n table ", ["table"]),
        ('["hard, as stone", "sand"]', ["hard, as stone", "sand"]),
    ],
)
def test_texts_are_between_commas_and_line_breaks_or_a_json_array(value, expected):
    assert list(End.of("low", value).texts) == expected


@pytest.mark.parametrize("value", ["[1, 2]", '["a"', "[" * 100_000, '[["a"]]'])
def test_what_looks_like_json_and_is_none_is_refused(value):
    with pytest.raises(InvalidInputError, match="Expected a JSON array of texts") as e:
        texts_of(value)
    assert len(str(e.value)) < 300


@pytest.mark.parametrize("texts", ["", " , ", ",".join(map(str, range(51)))])
def test_an_end_has_one_to_fifty_texts_or_items(texts):
    with pytest.raises(InvalidInputError, match="Expected 1 to 50 texts or items for"):
        End.of("low", texts)
    assert End.of("low", texts[:9], ["5", "5"]).items == ("5",)


# The documents


@pytest.fixture
def found(articles):
    return collection(articles, "articles")


@pytest.fixture
def axis(found, model):
    ends = End.of("low", PETS), End.of("high", SKY)
    return axis_of(found, *ends, model.embed_queries)


def ids(placed):
    return [each.match.id for each in placed]


def test_documents_are_in_order_from_the_low_end_to_the_high_one(found, axis):
    placed = place_documents(found, axis, limit=None)
    assert (ids(placed)[0], ids(placed)[-1], len(placed)) == ("5", "2", 6)
    expected = [axis.position(found.vector(each)) for each in ids(placed)]
    assert [each.position for each in placed] == pytest.approx(expected, abs=1e-5)
    assert sorted(expected) == expected
    assert (placed[0].match.title, placed[0].position2) == ("Kittens", None)


def test_a_limit_takes_as_many_of_each_end_and_none_twice(found, axis):
    whole = ids(place_documents(found, axis, limit=None))
    for limit in (1, 2, 3, 5, 100):
        least = whole[:limit] + whole[max(limit, len(whole) - limit) :]
        assert ids(place_documents(found, axis, limit=limit)) == least


def test_a_filter_applies_before_the_limit(found, axis):
    keep = Options(among=frozenset({"1", "4", "6"})).keep
    assert sorted(ids(place_documents(found, axis, limit=None, keep=keep))) == [
        "1",
        "4",
        "6",
    ]


def test_items_are_ends_without_a_model(found):
    axis = axis_of(found, End.of("low", (), ["5"]), End.of("high", (), ["2"]), None)
    placed = place_documents(found, axis, limit=None)
    positions_of = {each.match.id: each.position for each in placed}
    assert positions_of["5"] == pytest.approx(-1, abs=1e-5)
    assert positions_of["2"] == pytest.approx(1, abs=1e-5)


def test_an_unknown_item_is_an_error(found):
    with pytest.raises(UnknownItemError):
        axis_of(found, End.of("low", (), ["99"]), End.of("high", (), ["2"]), None)


def test_a_row_that_was_deleted_is_left_out(articles, found, axis):
    articles.execute("delete from articles where id = 5")
    assert "5" not in ids(place_documents(found, axis, limit=None))


def test_near_are_those_around_a_position_and_around_a_point(found, axis, model):
    on_one = Positions(found, [axis])
    [nearest] = on_one.near(5.0, limit=1)
    assert nearest.id == "2"
    ends = End.of("low", "food"), End.of("high", "machine")
    other = axis_of(found, *ends, model.embed_queries)
    on_two = Positions(found, [axis, other])
    for each in on_two.all():
        expected = other.position(found.vector(each.id))
        assert each.position2 == pytest.approx(expected, abs=1e-5)
        [self] = on_two.near(each.position, each.position2, limit=1)
        assert self.id == each.id
    assert [each.id for each in on_two.all()] == [each.id for each in on_one.all()]


def test_a_sample_is_the_same_each_time_and_in_order(found, axis):
    chosen = Positions(found, [axis]).sample(3)
    assert chosen == Positions(found, [axis]).sample(3)
    assert (len(chosen), sorted(e.position for e in chosen)) == (
        3,
        [e.position for e in chosen],
    )
    assert len(Positions(found, [axis]).sample(100)) == 6


def test_an_empty_collection_has_no_documents_on_an_axis(conn, axis, model):
    empty = create_collection(conn, "empty", model.settings, None)
    assert place_documents(current(empty), axis, limit=2) == []
    assert Positions(current(empty), [axis]).near(0.0, limit=2) == []


def test_an_axis_of_another_model_is_refused(found):
    axis = Axis.between(vectors([1, 0]), vectors([0, 1]))
    with pytest.raises(DimensionMismatchError):
        place_documents(found, axis, limit=1)


LONG = {
    "cats": "Cats purr. " * 40 + "\n\n" + "Kittens sleep. " * 40,
    "sky": "Saturn has rings. " * 40,
    "tax": "Pay your tax.",
}


def in_chunks(conn, model, words):
    found = create_collection(conn, "notes", model.settings, None, words=words)
    documents = [Document(each, text) for each, text in LONG.items()]
    embed_items(found, model, documents, chunking=Chunking("fixed", 20))
    return current(found)


@pytest.mark.parametrize("kind", ["exact", "compact"])
@pytest.mark.parametrize("words", ["english", "none"])
def test_a_document_in_chunks_is_at_the_mean_of_them(
    articles, model, axis, kind, words
):
    indexes.configure(Settings(index=kind))
    try:
        found = in_chunks(articles, model, words)
        assert indexes.index(found).kind == kind
        placed = place_documents(found, axis, limit=None)
    finally:
        indexes.configure(Settings())
    assert ids(placed) == ["cats", "tax", "sky"]
    for each in placed:
        rows = articles.execute(
            "select embedding from embeddings where id = ?1 or id glob ?1 || '#*'",
            [each.match.id],
        ).fetchall()
        chunks = normalize(np.array([np.frombuffer(blob, "<f4") for (blob,) in rows]))
        assert (len(chunks) > 1) is (each.match.id != "tax")
        mean = np.mean([axis.position(chunk) for chunk in chunks])
        assert each.position == pytest.approx(mean, abs=1e-5)


def test_chunks_without_words_are_read_once_for_a_state(articles, model, axis):
    found = in_chunks(articles, model, "none")
    index = indexes.index(found)
    statements = []
    articles.set_trace_callback(statements.append)
    once = positions.with_documents(found, index)
    first = len(statements)
    again = positions.with_documents(found, index)
    assert (first > 0, len(statements)) == (True, first)
    assert np.array_equal(once.numbers, again.numbers)
    assert once.documents.has_chunks


def test_a_document_in_chunks_is_an_end(articles, model):
    found = in_chunks(articles, model, "english")
    ends = End.of("low", (), ["cats"]), End.of("high", (), ["sky"])
    placed = place_documents(found, axis_of(found, *ends, None), limit=1)
    assert ids(placed) == ["cats", "sky"]


# SQL


@pytest.fixture
def sql(articles):
    register(articles)
    return lambda query, *values: articles.execute(query, values).fetchone()


def test_sql_gives_the_position_of_a_vector(sql, found, axis):
    for item_id in ("2", "4", "5"):
        vector = found.vector(item_id)
        # Twice: the second one is of the remembered axis
        for given in (encode(vector), encode(vector), json.dumps(vector.tolist())):
            [position] = sql("select embed_axis(?, ?, ?)", given, PETS, SKY)
            assert position == pytest.approx(axis.position(vector), abs=1e-5)
        model_id = found.model_id
        [same] = sql("select embed_axis(?, ?, ?, ?)", given, PETS, SKY, model_id)
        assert same == pytest.approx(position, abs=1e-6)


def test_sql_takes_vectors_as_ends(sql):
    a, b = encode(vectors([1, 0])[0]), encode(vectors([0, 1])[0])
    for vector, expected in (("[1, 0]", -1), ("[0, 3]", 1), ("[5, 5]", 0)):
        for _ in range(2):
            [position] = sql("select embed_axis(?, ?, ?)", vector, a, b)
            assert position == pytest.approx(expected, abs=1e-6)
            blob = encode(np.array(json.loads(vector)))
            [position] = sql("select embed_axis(?, ?, ?)", blob, a, b)
            assert position == pytest.approx(expected, abs=1e-6)


def test_sql_answers_null_to_null_and_to_a_zero_vector(sql):
    for call in ("null, 'a', 'b'", "'[1]', null, 'b'", "'[1]', 'a', null"):
        assert sql(f"select embed_axis({call})") == (None,)
    for _ in range(2):
        assert sql("select embed_axis(zeroblob(1536), 'a', 'b')") == (None,)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("embed_axis(embed('x'), '', 'b')", "Expected 1 to 50 texts or items for low"),
        ("embed_axis(embed('x'), 'a', 'a')", "two that mean the same"),
        ("embed_axis('[1, 2]', 'a', 'b')", "Expected a vector of 384 dimensions"),
        ("embed_axis(x'0000803f', 'a', 'b')", "Expected a vector of 384 dimensions"),
        ("embed_axis(embed('x'), 'a', x'00')", "Expected a vector BLOB"),
        ("embed_axis(embed('x'), 'a', '[1]')", "Expected a JSON array of texts"),
    ],
)
def test_sql_says_why_it_has_no_position(sql, call, reason):
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError):
            sql(f"select {call}")
        assert reason in sql("select embed_error()")[0]


def test_sql_embeds_the_ends_once_for_all_rows(articles, model):
    asked = []

    def load(model_id):
        asked.append(model_id)
        return model

    register(articles, Policy(load=load))
    query = "select count(embed_axis(embedding, ?, ?)) from embeddings"
    assert articles.execute(query, [PETS, SKY]).fetchone() == (6,)
    # Once for each end
    assert len(asked) == 2
    # Many axes are not all remembered
    for number in range(40):
        sql = "select embed_axis(embed('x'), 'a', ?)"
        articles.execute(sql, [f"b {number}"]).fetchone()
    assert articles.execute(query, [PETS, SKY]).fetchone() == (6,)


# CLI and Python


@pytest.fixture
def run(articles_db):
    return lambda *arguments: CliRunner().invoke(
        embeddings, ["axis", str(articles_db), "articles", *arguments]
    )


def test_the_command_shows_both_ends(run):
    result = run("--low", PETS, "--high", SKY, "-n", "1")
    assert result.exit_code == 0, result.output
    first, gap, last = result.stdout.splitlines()
    assert (first[0], first[8:], gap.strip()) == ("-", "Kittens", "…")
    assert (last[0], last[8:]) == ("+", "Night sky")


def test_the_command_writes_rows(run):
    result = run("--low", PETS, "--high", SKY, "-n", "0", "--format", "nl")
    rows = lines(result)
    assert [set(row) for row in rows] == [{"id", "position", "title"}] * 6
    assert (rows[0]["id"], rows[-1]["id"]) == ("5", "2")
    result = run("--low-item", "5", "--high-item", "2", "-n", "1", "--format", "csv")
    assert result.stdout.splitlines()[0] == "id,position,title"
    result = run("--low-item", "5", "--high-item", "2", "--where", "id > 4", "-n", "0")
    assert len(result.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--high", "x"], "Expected 1 to 50 texts or items for --low, found 0"),
        (["--low", "x", "--high", "x"], "two that mean the same"),
        (["--low-item", "99", "--high", "x"], "No item '99'"),
        (["--low", "x", "--high", "y", "--where", "nope = 1"], "no such column"),
    ],
)
def test_the_command_says_what_is_wrong(run, arguments, message):
    result = run(*arguments)
    assert (result.exit_code, message in result.output) == (1, True)


def test_python_returns_documents_with_their_positions(articles_db):
    with Embeddings(articles_db) as db:
        articles = db.collection("articles")
        placed = articles.axis(PETS, SKY.split(","))
        assert (ids(placed)[0], ids(placed)[-1], len(placed)) == ("5", "2", 6)
        assert ids(articles.axis(low_items=[5], high_items=["2"], limit=1)) == [
            "5",
            "2",
        ]
        assert len(articles.axis(PETS, SKY, where="id > :n", params={"n": 4})) == 2
        for low in ((), 5, [1], b"x", "\ud800"):
            with pytest.raises(InvalidInputError):
                articles.axis(low, SKY)
        with pytest.raises(InvalidInputError):
            articles.axis(PETS, SKY, limit=0)
        with pytest.raises(InvalidInputError):
            articles.axis(low_items="52", high_items=["2"])


@pytest.mark.parametrize("texts", ["x" * 1_000_001, ["x" * 600_000, "y" * 600_000]])
def test_an_end_has_a_length_that_is_checked_before_it_is_read(texts):
    with pytest.raises(
        InvalidInputError, match="at most 1,000,000 characters together"
    ):
        End.of("low", texts)
