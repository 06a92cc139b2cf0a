"""The functions of vectors alone, against plain Python, whatever they are given."""

from __future__ import annotations

import json
import math
import sqlite3
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasette_embeddings.sql.calls import LONGEST_VECTOR
from datasette_embeddings.sql.functions import FUNCTIONS, register

pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)
numbers = st.floats(-1e6, 1e6, width=32)
pairs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30)
# How a vector may be written: as llm stores it, or as JSON
written = st.sampled_from([
    lambda vector: struct.pack(f"<{len(vector)}f", *vector),
    json.dumps,
])  # fmt: skip


@pytest.fixture(scope="module")
def plain():
    """A connection with our functions and nothing else."""
    conn = sqlite3.connect(":memory:")
    register(conn)
    yield conn
    conn.close()


def value(conn, sql, *arguments):
    return conn.execute(f"select {sql}", arguments).fetchone()[0]


def float32(number: float) -> float:
    return struct.unpack("<f", struct.pack("<f", number))[0]


def unpacked(blob: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(blob) // 4}f", blob))


def columns(given_pairs):
    return [list(column) for column in zip(*given_pairs, strict=True)]


@given(pairs, written, written)
@settings(max_examples=200)
def test_the_metrics_are_their_definitions(plain, given_pairs, first, second):
    a, b = columns(given_pairs)
    arguments = first(a), second(b)
    dot = math.fsum(x * y for x, y in given_pairs)
    assert value(plain, "embed_dot(?, ?)", *arguments) == pytest.approx(
        dot, rel=1e-9, abs=1e-3
    )
    assert value(plain, "embed_l2(?, ?)", *arguments) == pytest.approx(math.dist(a, b))
    norms = math.hypot(*a) * math.hypot(*b)
    cosine = value(plain, "embed_cosine(?, ?)", *arguments)
    if norms == 0:
        assert cosine is None
    elif min(math.hypot(*a), math.hypot(*b)) > 1e-15:
        assert cosine == pytest.approx(dot / norms, abs=1e-5)


@given(pairs, written, written)
def test_the_arithmetic_is_plain_arithmetic(plain, given_pairs, first, second):
    a, b = columns(given_pairs)
    arguments = first(a), second(b)
    added = unpacked(value(plain, "embed_add(?, ?)", *arguments))
    assert added == [float32(x + y) for x, y in given_pairs]
    less = unpacked(value(plain, "embed_subtract(?, ?)", *arguments))
    assert less == [float32(x - y) for x, y in given_pairs]
    scaled = unpacked(value(plain, "embed_scale(?, -2.5)", arguments[0]))
    assert scaled == [float32(x * -2.5) for x in a]
    assert value(plain, "embed_dimensions(?)", arguments[0]) == len(a)


@given(st.lists(numbers, min_size=1, max_size=30), written)
def test_a_normalized_vector_has_length_one_and_the_direction(plain, vector, write):
    blob = value(plain, "embed_normalize(?)", write(vector))
    length = math.hypot(*vector)
    expected = [number / length for number in vector] if length else vector
    assert unpacked(blob) == pytest.approx(expected, abs=1e-6)


@given(st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=20))
def test_the_average_is_the_mean(plain, vectors):
    blob = value(plain, "embed_average(value) from json_each(?)", json.dumps(vectors))
    mean = [math.fsum(column) / len(vectors) for column in zip(*vectors, strict=True)]
    assert unpacked(blob) == pytest.approx(mean, rel=1e-6, abs=1e-6)


anything = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),  # SQLite takes NaN for NULL
    st.binary(max_size=40),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(
        ["[]", "[1]", "[NaN]", "[1e999]", "[[1]]", "{}", "[1, null]", "\0"]
    ),
)
# NULL where a vector holds NaN, or has no direction
METRICS = {"embed_cosine", "embed_dot", "embed_l2"}
PURE = [function for function in FUNCTIONS if not function.needs_context]


@given(st.data())
@settings(max_examples=400)
def test_anything_gives_a_value_of_sqlite_or_an_error(plain, data):
    function = data.draw(st.sampled_from(PURE))
    arguments = [data.draw(anything) for _ in function.arguments]
    call = f"{function.name}({', '.join('?' * len(arguments))})"
    try:
        found = value(plain, call, *arguments)
    except sqlite3.OperationalError:
        # The next call says why, and to this connection only
        assert value(plain, "embed_error()").startswith(f"{function.name}(): Expected")
    else:
        assert found is None or type(found) in (float, int, str, bytes)
        assert found is not None or None in arguments or function.name in METRICS


@pytest.mark.parametrize(
    ("call", "arguments", "reason"),
    [
        ("embed_add(?, ?)", ["[3e38]", "[3e38]"], "finite"),
        ("embed_scale(?, ?)", ["[1]", "x"], "a number to scale by, found 'x'"),
        ("embed_scale(?, ?)", ["[1]", math.inf], "finite"),
        ("embed_normalize(?)", [struct.pack("<f", math.nan)], "finite"),
        ("embed_dot(?, ?)", ["[1]", "[1, 2]"], "1 dimensions, found 2"),
        ("embed_encode(?)", [b"[1]"], "a JSON array as TEXT"),
        ("embed_decode(?)", [b"1234567"], "found 7 bytes"),
        ("embed_decode(zeroblob(?))", [100_000_000], "found 100,000,000"),
        ("embed_encode(?)", [f"[{'1,' * 10_000_000}1]"], "found 20,000,003"),
        ("embed_encode(?)", ["[" * LONGEST_VECTOR], "Expected a JSON array"),
    ],
    ids=lambda argument: argument[:20] if isinstance(argument, str) else None,
)
def test_what_cannot_be_is_an_error_with_its_reason(plain, call, arguments, reason):
    with pytest.raises(sqlite3.OperationalError):
        value(plain, call, *arguments)
    assert reason in value(plain, "embed_error()")


def test_words_add_up_as_in_word2vec(plain):
    words = {
        "berlin": [0.9, 0.1, 0.8],
        "germany": [0.1, 0.1, 0.8],
        "france": [0.1, 0.9, 0.1],
        "paris": [0.9, 0.9, 0.1],
        "cat": [-0.8, 0.1, 0.1],
    }
    plain.execute("create temp table words (word text, vector blob)")
    plain.executemany(
        "insert into words values (?, embed_encode(?))",
        [(word, json.dumps(vector)) for word, vector in words.items()],
    )
    sql = """
        word
        from words
        order by embed_cosine(
          vector,
          embed_add(
            embed_subtract(
              (select vector from words where word = 'germany'),
              (select vector from words where word = 'france')
            ),
            (select vector from words where word = 'paris')
          )
        ) desc
    """
    assert value(plain, sql) == "berlin"


def test_the_centre_of_a_class_classifies(plain):
    plain.execute("create temp table known (class text, vector text)")
    plain.executemany(
        "insert into known values (?, ?)",
        [("a", "[1, 0.1]"), ("a", "[0.9, 0]"), ("b", "[0, 1]"), ("b", "[0.2, 0.9]")],
    )
    sql = """
        class
        from (select class, embed_average(vector) as centre from known group by class)
        order by embed_cosine('[0.7, 0.3]', centre) desc
    """
    assert value(plain, sql) == "a"
