from __future__ import annotations

import json
import math
import struct

import llm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasette_embeddings.errors import DimensionMismatchError, InvalidVectorError
from datasette_embeddings.sql.arithmetic import (
    embed_cosine,
    embed_dot,
    embed_l2,
    fast_cosine,
)
from datasette_embeddings.vectors import (
    decode,
    encode,
    from_json,
    normalize,
    normalize_in_place,
    to_json,
)

float32_lists = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=40)
finite_lists = st.lists(
    st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40
)


def reference_cosine(a: list[float], b: list[float]) -> float | None:
    """The definition, in exact-enough plain Python."""
    norms = math.hypot(*a) * math.hypot(*b)
    if norms == 0 or not math.isfinite(norms):
        return None
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / norms


@given(float32_lists)
def test_decode_undoes_encode(numbers):
    assert decode(encode(np.array(numbers))).tolist() == numbers


@given(float32_lists)
def test_a_blob_is_little_endian_float32(numbers):
    assert encode(np.array(numbers)) == struct.pack(f"<{len(numbers)}f", *numbers)


@pytest.mark.parametrize("blob", [b"", b"1234567", b"\0"], ids=["empty", "7", "1"])
def test_decode_refuses_a_length_that_no_vector_has(blob):
    with pytest.raises(InvalidVectorError, match=f"found {len(blob)} bytes"):
        decode(blob)


@given(finite_lists)
def test_from_json_reads_what_to_json_wrote(numbers):
    blob = encode(np.array(numbers))
    assert encode(from_json(to_json(decode(blob)))) == blob


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "3",
        "nonsense",
        "[[1, 2]]",
        '["1"]',
        "[null]",
        "[true]",
        "[NaN]",
        "[Infinity]",
        "[1e39]",
        "[1" + "0" * 400 + "]",
        "[" * 100_000,
    ],
    ids=lambda text: text[:12] or "empty",
)
def test_from_json_refuses_anything_but_an_array_of_finite_numbers(text):
    with pytest.raises(InvalidVectorError):
        from_json(text)


@given(st.lists(st.tuples(*[st.floats(-1e3, 1e3, width=32)] * 2), min_size=1))
def test_the_score_is_the_definition(pairs):
    a, b = [list(numbers) for numbers in zip(*pairs, strict=True)]
    score = embed_cosine(np.array(a, dtype="<f4"), np.array(b, dtype="<f4"))
    assert score == pytest.approx(reference_cosine(a, b), abs=1e-6)


@given(st.lists(st.tuples(*[st.floats(-1e3, 1e3, width=32)] * 2), min_size=1))
def test_dot_and_distance_are_their_definitions(pairs):
    a, b = [list(numbers) for numbers in zip(*pairs, strict=True)]
    left, right = np.array(a, dtype="<f4"), np.array(b, dtype="<f4")
    assert embed_dot(left, right) == pytest.approx(
        math.fsum(x * y for x, y in pairs), rel=1e-9, abs=1e-6
    )
    assert embed_l2(left, right) == pytest.approx(math.dist(a, b), rel=1e-9)


def test_the_fast_score_is_the_score():
    random = np.random.default_rng(0)
    fast = fast_cosine(lambda a, b: None, longest=100_000)
    for dimensions in (1, 2, 3, 7, 64, 384, 1536):
        a, b = random.standard_normal((2, dimensions)).astype("<f4")
        assert fast(encode(a), encode(b)) == pytest.approx(embed_cosine(a, b), abs=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "score"),
    [
        ([1, 2, 3], [1, 2, 3], 1.0),
        ([1, 2, 3], [-1, -2, -3], -1.0),
        ([1, 0], [0, 1], 0.0),
        ([0, 0], [1, 1], None),
        ([0, 0], [0, 0], None),
        ([1e30, 0], [1e30, 1e30], math.sqrt(0.5)),
        ([1e-30, 0], [1e-30, 1e-30], math.sqrt(0.5)),
        ([math.nan, 1], [1, 1], None),
        ([math.inf, 1], [1, 1], None),
    ],
    ids=[
        "same",
        "opposite",
        "right angle",
        "zero",
        "zeros",
        "huge",
        "tiny",
        "nan",
        "inf",
    ],
)
def test_the_score_at_the_edges(a, b, score):
    a, b = np.array(a, dtype="<f4"), np.array(b, dtype="<f4")
    assert embed_cosine(a, b) == pytest.approx(score, abs=1e-6)


def test_the_score_of_vectors_of_two_lengths_is_refused_with_both():
    with pytest.raises(DimensionMismatchError) as raised:
        embed_cosine(np.ones(2), np.ones(3))
    assert str(raised.value) == "Expected a vector of 2 dimensions, found 3"


def test_normalize_brings_every_row_to_length_one_and_keeps_its_argument():
    rows = np.array([[3, 4], [1e30, 0], [1e-30, 0]], dtype=np.float32)
    before = rows.copy()
    assert np.allclose(normalize(rows), [[0.6, 0.8], [1, 0], [1, 0]])
    assert (rows == before).all()


def test_rows_without_a_direction_are_named_and_become_zero():
    rows = np.array([[1, 1], [0, 0], [np.nan, 1], [np.inf, 1]], dtype=np.float32)
    assert normalize_in_place(rows).tolist() == [True, False, False, False]
    assert rows[1:].tolist() == [[0, 0]] * 3


def test_json_is_what_llm_prints():
    blob = encode(np.random.default_rng(0).standard_normal(50))
    assert to_json(decode(blob)) == json.dumps(llm.decode(blob))
