"""The measures of rankings, and the files of questions that they are taken over."""

from __future__ import annotations

import sqlite3

import ir_measures
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.search import questions as asked
from datasette_embeddings.search.evaluation import (
    Outcome,
    Run,
    compare,
    evaluate,
    figures,
    interval,
)
from datasette_embeddings.search.questions import Question, answerable, read_questions

JUDGES = [ir_measures.RR, ir_measures.nDCG @ 10, ir_measures.R @ 10, ir_measures.P @ 1]
IDS = [f"d{number}" for number in range(40)]


@given(st.permutations(IDS), st.sets(st.sampled_from([*IDS, "x", "y"]), min_size=1))
def test_the_measures_are_those_of_ir_measures(ranking, relevant):
    ranking = ranking[:25]
    qrels = [ir_measures.Qrel("q", each, 1) for each in relevant]
    run = [ir_measures.ScoredDoc("q", e, -place) for place, e in enumerate(ranking)]
    judged = ir_measures.calc_aggregate(JUDGES, qrels, run)
    expected = [judged[each] for each in JUDGES]
    assert figures(ranking, frozenset(relevant)) == pytest.approx(expected)


def run_of(mode, *places, kinds=None):
    """A run whose questions find their only answer at *places*; 0 for never."""
    kinds = kinds or [None] * len(places)
    outcomes = [
        Outcome(
            Question(f"q{number}", frozenset(["yes"]), kind),
            tuple("yes" if each == place else f"no{each}" for each in range(1, 31)),
            float(number),
        )
        for number, (place, kind) in enumerate(zip(places, kinds, strict=True))
    ]
    return Run("c", mode, tuple(outcomes))


def test_a_summary_is_of_one_kind_or_of_all():
    run = run_of("both", 1, 2, 0, kinds=["name", "name", "word"])
    assert run.summary("name").means["mrr"] == 0.75
    assert run.summary().means == pytest.approx(
        {"mrr": 0.5, "ndcg_10": 0.5436, "recall_10": 2 / 3, "right_at_1": 1 / 3},
        abs=1e-4,
    )
    assert (run.summary().count, run.summary().p50_ms) == (3, 1.0)


def test_an_interval_holds_the_mean_and_narrows_with_more_questions():
    few = np.arange(10.0)[:, None]
    many = np.tile(few, (100, 1))
    (low, high), (lower, higher) = interval(few), interval(many)
    assert low < lower < 4.5 < higher < high
    # The normal approximation of the same
    assert higher - lower == pytest.approx(2 * 1.96 * many.std() / 1000**0.5, rel=0.05)


def test_an_interval_is_the_same_in_blocks(monkeypatch):
    values = np.random.default_rng(1).random((50, 2))
    whole = interval(values)
    monkeypatch.setattr("datasette_embeddings.search.evaluation.BLOCK", 120)
    assert np.array_equal(interval(values), whole)


@pytest.mark.parametrize(
    ("one", "other", "sentence"),
    [
        ([1] * 20, [2] * 20, "a beats b: +0.50 MRR, certain: between +0.50 and +0.50"),
        ([2] * 20, [1] * 20, "b beats a: +0.50 MRR, certain: between +0.50 and +0.50"),
        ([1, 2, 1, 1], [1, 1, 2, 2], "a beats b: +0.12 MRR, not certain: between −0.25 and +0.50"),  # noqa: E501, RUF001
        ([3, 3], [3, 3], "a and b are equal"),
    ],
    ids=["better", "worse", "uncertain", "equal"],
)  # fmt: skip
def test_a_comparison_is_a_sentence(one, other, sentence):
    found = compare(run_of("a", *one), run_of("b", *other))
    assert found.sentence(lambda run: run.mode) == sentence


def test_pairs_that_differ_alike_are_certain_although_the_intervals_overlap():
    places = list(range(1, 21))
    one, other = run_of("a", *places), run_of("b", *(each + 1 for each in places))
    assert one.summary().low["mrr"] < other.summary().high["mrr"]
    assert compare(one, other).is_certain


def test_what_an_evaluation_keeps_of_a_search():
    questions = [Question("one", frozenset("a")), Question("two", frozenset("b"))]
    done = []
    found = evaluate(questions, lambda text: ["a", text], progress=done.append)
    assert [(each.ranking, each.is_failure) for each in found] == [
        (("a", "one"), False),
        (("a", "two"), True),
    ]
    assert (done, all(each.time_ms >= 0 for each in found)) == ([1, 1], True)


EXPECTED = [
    Question("how to make a backup", frozenset({"6", "7"}), "question"),
    Question("cats", frozenset({"5"})),
]
FILES = {
    "questions.json": '[{"q": "how to make a backup", "kind": "question", '
    '"relevant": ["6", 7]}, {"q": "cats", "relevant": ["5"]}]',
    "questions.nl": '{"q": "how to make a backup", "kind": "question", '
    '"relevant": ["6", "7"]}\n{"q": "cats", "relevant": "5"}\n',
    "questions.csv": "q,relevant,kind\nhow to make a backup,6 7,question\ncats,5,\n",
    "rows.csv": "relevant;kind;q\n6;question;how to make a backup\n5;;cats\n"
    "7;question;how to make a backup\n",
}


@pytest.fixture
def read(tmp_path):
    """The questions in a file of that name with that text, and in one of qrels."""
    conn = sqlite3.connect(":memory:")

    def read(name, text, qrels=None):
        path = tmp_path / name
        path.write_text(text, "utf-8")
        if qrels is None:
            return read_questions(conn, path)
        (tmp_path / "qrels").write_text(qrels, "utf-8")
        return read_questions(conn, path, tmp_path / "qrels")

    yield read
    conn.close()


@pytest.mark.parametrize("name", FILES)
def test_questions_are_read(read, name):
    assert read(name, FILES[name]) == EXPECTED


TOPICS = {
    "closed": "<top>\n<num>301</num>\n<title>make a backup</title>\n</top>\n"
    "<top><num>302</num><title>cats</title></top>",
    "open": "<top>\n<num> Number: 301\n<title> make a\n backup\n<desc> Description:\n"
    "no\n</top>\n<top>\n<num> Number: 302\n<title> cats\n</top>\n",
    "columns": "301\tmake a backup\n302\tcats\n",
}
QRELS = {
    "four columns": "301 0 6 1\n301 0 2 0\n301 0 7 2\n301 0 1 -1\n",
    "three columns": "query-id\tcorpus-id\tscore\n301\t6\t1\n301\t7\t1\n301\t2\t0\n",
}


@pytest.mark.parametrize("qrels", QRELS.values(), ids=QRELS)
@pytest.mark.parametrize("topics", TOPICS.values(), ids=TOPICS)
def test_topics_of_trec_are_read(read, topics, qrels):
    assert read("topics", topics, qrels) == [
        Question("make a backup", frozenset({"6", "7"})),
        Question("cats", frozenset()),
    ]


@pytest.mark.parametrize(
    ("name", "text", "qrels", "message"),
    [
        ("a.json", '[{"text": "x"}]', None, "keys q and relevant, found 'text'"),
        ("a.json", "[]", None, "expected questions such as"),
        ("a.json", "{", None, "JSON cannot be read"),
        ("a.json", '[{"q": " ", "relevant": ["1"]}]', None, "a text as q, found ' '"),
        ("a.json", '[{"q": 5, "relevant": ["1"]}]', None, "a text as q, found 5"),
        ("a.json", '[{"q": "x", "relevant": [true]}]', None, "found [True]"),
        ("a.json", '[{"q": "x", "relevant": {"a": 1}}]', None, "found {'a': 1}"),
        ("a.nl", '{"q": "x", "relevant": ["1"]}\n{"q"', None, "Line 2 is no JSON"),
        ("a.csv", "q,relevant\nx\n", None, "found 1 in line 2"),
        ("t", "<top><num>1</num></top>", "1 0 1 1", "<num> and <title>"),
        ("t", "301 cats", "301 0 1 1", "found '301 cats' in line 1"),
        ("t", "301\tcats", "301 0 1 1\n301 one", "line 2: expected a topic"),
        ("t", "301\t \n", "301 0 1 1", "Topic 301: expected a text"),
    ],
)
def test_a_file_of_other_content_is_explained(read, name, text, qrels, message):
    with pytest.raises(InvalidInputError) as caught:
        read(name, text, qrels)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("bound", "message"),
    [
        ("MAX_BYTES", "of at most 1 bytes"),
        ("MOST_QUESTIONS", "at most 1 questions"),
        ("LONGEST_QUESTION", "at most 1 characters"),
    ],
)
def test_a_file_of_questions_is_bounded(read, monkeypatch, bound, message):
    monkeypatch.setattr(asked, bound, 1)
    with pytest.raises(InvalidInputError) as caught:
        read("questions.json", FILES["questions.json"])
    assert message in str(caught.value)


def test_answers_that_do_not_exist_are_counted_and_left_out():
    kept, left_out, missing = answerable(EXPECTED, {"6"})
    assert kept == [Question(EXPECTED[0].text, frozenset({"6"}), "question")]
    assert (left_out, missing) == ([EXPECTED[1]], {"5", "7"})
