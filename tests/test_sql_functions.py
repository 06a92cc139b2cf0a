from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest

import datasette_embeddings
from datasette_embeddings.context.passages import context_json
from datasette_embeddings.index.matrix import VectorIndex
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.search.answers import search_text
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.sql import context, searches
from datasette_embeddings.sql.context import Policy
from datasette_embeddings.sql.functions import FUNCTIONS, register
from datasette_embeddings.store.collections import collection
from datasette_embeddings.vectors import decode, encode

DOCS = Path(__file__).parent.parent / "docs"
EXAMPLES = run_path(str(DOCS / "sql_examples.py"))["EXAMPLES"]
# Once Datasette is imported, sqlite3 prints the traceback of a function that raises
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def sql(articles):
    """Run SQL on the articles with our functions; one row comes back."""
    register(articles)
    return lambda query, *values: articles.execute(query, values).fetchone()


def test_the_public_face_registers_the_functions():
    conn = sqlite3.connect(":memory:")
    datasette_embeddings.register(conn)
    assert conn.execute("select length(embed('Hello world'))").fetchone() == (1536,)
    conn.close()


def test_embed_and_embed_query_give_the_models_vectors(sql, model):
    passage, query = sql("select embed('a cat'), embed_query('a cat')")
    assert decode(passage) == pytest.approx(model.embed_passages(["a cat"])[0])
    assert decode(query) == pytest.approx(model.embed_query("a cat"))


@pytest.mark.parametrize(
    "call",
    [
        "embed('mini-l6', 'a cat')",
        "embed('sentence-transformers/all-MiniLM-L6-v2', 'a cat')",
        "embed_query('all-MiniLM-L6-v2', 'a cat')",
        "llm_embed('sentence-transformers/all-MiniLM-L6-v2', 'a cat')",
    ],
)
def test_a_model_can_be_named(sql, call):
    assert sql(f"select {call} = embed('a cat')") == (1,)


def test_numbers_are_embedded_as_they_are_written(sql):
    assert sql("select embed(2026) = embed('2026')") == (1,)


def test_decode_and_encode_undo_each_other(sql):
    numbers = [1.0, -2.5, 0.10000000149011612]
    blob = encode(np.array(numbers))
    assert sql("select embed_decode(?)", blob) == (json.dumps(numbers),)
    assert sql("select embed_encode(?)", json.dumps(numbers)) == (blob,)
    assert sql("select embed_decode(?)", json.dumps(numbers)) == (json.dumps(numbers),)


def test_cosine_takes_blobs_and_json_alike(sql):
    a, b = encode(np.array([1, 0])), encode(np.array([1, 1]))
    scores = sql(
        "select embed_cosine(?1, ?2), embed_cosine('[1, 0]', ?2), "
        "embed_cosine(?1, '[1, 1]'), embed_cosine('[1, 0]', '[1, 1]')",
        a,
        b,
    )
    assert scores == pytest.approx([2**-0.5] * 4)
    assert {type(score) for score in scores} == {float}


def test_search_answers_ids_and_scores_for_json_each(sql):
    query = """
        select articles.title, round(json_extract(found.value, '$.score'), 1)
        from json_each(embed_search('articles', 'pets', 3)) as found
        join articles on articles.id = json_extract(found.value, '$.id')
        order by found.key
        limit 1
    """
    assert sql(query) == ("Kittens", pytest.approx(0.2, abs=0.11))


def searched(conn, *arguments):
    """What embed_search() answers."""
    marks = ", ".join("?" * len(arguments))
    [answer] = conn.execute(f"select embed_search({marks})", arguments).fetchone()
    return json.loads(answer)


def test_a_search_goes_by_words_and_meaning_unless_it_names_a_mode(articles, model):
    """The three modes rank as Python does, and both is what you get without one."""
    register(articles)
    text = "Night sky rings"
    for mode in ("both", "meaning", "words"):
        options = Options(limit=3, mode=mode)
        matches = search_text(
            collection(articles, "articles"), text, model=model, options=options
        )
        expected = [
            {
                "id": match.id,
                "score": match.score,
                "document_id": match.document_id,
                "cosine": match.cosine,
                "matched": list(match.matched),
            }
            for match in matches
        ]
        assert searched(articles, "articles", text, 3, mode) == expected
        if mode == "both":
            assert searched(articles, "articles", text, 3) == expected
            assert {"words", "meaning"} <= {*expected[0]["matched"]}


def test_a_context_is_that_of_python(articles):
    register(articles)
    question = "What do young cats eat?"
    sql = "select embed_context('articles', ?, ?)"
    for tokens in (50, 2000, 20_000):
        [answer] = articles.execute(sql, [question, tokens]).fetchone()
        found = datasette_embeddings.Embeddings(articles).collection("articles")
        expected = context_json(found.context(question, tokens=tokens))
        assert json.loads(answer) == json.loads(json.dumps(expected))


def test_the_passages_of_a_context_are_rows(sql):
    query = """
        select found.value ->> 'number', articles.title
        from json_each(embed_context('articles', 'kittens', 100), '$.passages') as found
        join articles on articles.id = found.value ->> 'id'
        limit 1
    """
    assert sql(query) == (1, "Kittens")


def test_a_search_by_words_loads_no_model_and_no_vectors(articles, monkeypatch):
    def fail(*_arguments, **_options):
        pytest.fail("Words need neither")

    register(articles, Policy(load=fail))
    monkeypatch.setattr(searches.indexes, "index", fail)
    [best] = searched(articles, "articles", "kittens", 1, "words")
    assert (best["id"], best["cosine"], best["matched"][-1]) == ("5", None, "words")


def test_words_that_are_not_indexed_are_an_error_in_their_mode_only(articles):
    register(articles)
    with articles:
        articles.execute("update _embedding_collections set words = 'none'")
    by_meaning = searched(articles, "articles", "pets", 3, "meaning")
    assert searched(articles, "articles", "pets", 3) == by_meaning
    with pytest.raises(sqlite3.OperationalError):
        searched(articles, "articles", "pets", 3, "words")
    [reason] = articles.execute("select embed_error()").fetchone()
    assert "are not indexed" in reason


def test_a_search_whose_time_is_up_among_the_words_is_interrupted(articles, model):
    """Not a function that failed, which Datasette would show as an error in SQL."""
    is_over = False

    def load(_model_id):
        nonlocal is_over
        is_over = True
        return model

    register(articles, Policy(load=load))
    # The table is opened, in steps that count
    searched(articles, "articles", "pets", 1, "words")
    articles.set_progress_handler(lambda: is_over, 1)
    with pytest.raises(sqlite3.OperationalError, match=r"^interrupted$"):
        articles.execute("select embed_search('articles', 'x', 1)").fetchall()


def test_average_is_the_mean_of_what_is_not_null(sql):
    values = "(select '[1, 0]' as v union all select null union all select '[0, 1]')"
    assert sql(f"select embed_decode(embed_average(v)) from {values}") == (
        "[0.5, 0.5]",
    )
    assert sql(f"select embed_average(v) from {values} where v is null") == (None,)


NULL_CALLS = [
    f"{name}({', '.join('null' if place == null else one for place in places)})"
    for function in FUNCTIONS
    for name in (function.name, *function.aliases)
    for places in [range(len(function.arguments))]
    for null in places
    for one in ("'[1]'",)
]


@pytest.mark.parametrize("call", NULL_CALLS)
def test_null_in_gives_null_out(sql, call):
    assert sql(f"select {call}") == (None,)


@pytest.mark.parametrize(
    "function", FUNCTIONS, ids=lambda each: f"{each.name}-{len(each.arguments)}"
)
def test_every_function_has_a_doc_and_an_example_that_runs(sql, function):
    assert function.doc.endswith(".")
    assert sql(f"select {EXAMPLES[function.signature]}")[0] is not None


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        ("embed('no-such/model', 'x')", "'no-such/model' is not available"),
        ("embed(x'00ff')", "found a BLOB"),
        ("embed_decode(x'00010203040506')", "found 7 bytes"),
        ("embed_encode('[1, \"x\"]')", "numbers only"),
        ("embed_encode('[1e400]')", "finite numbers"),
        ("embed_cosine('[1]', '[1, 2]')", "1 dimensions, found 2"),
        ("embed_cosine(7, '[1, 2]')", "found 7"),
        ("embed_search('nowhere', 'x', 3)", "No collection 'nowhere'"),
        ("embed_search('articles', '', 3)", "found an empty one"),
        ("embed_search('articles', 'x', 0)", "from 1; found 0"),
        ("embed_context('nowhere', 'x', 300)", "No collection 'nowhere'"),
        ("embed_context('articles', ' ', 300)", "found an empty one"),
        ("embed_context('articles', 'x', 49)", "from 50 to 20,000; found 49"),
        ("embed_context('articles', 'x', 20001)", "from 50 to 20,000; found 20001"),
        ("embed_context('articles', 'x', 'all')", "from 50 to 20,000; found 'all'"),
        ("embed_average(v) from (select '[1]' v union select '[1, 2]')", "dimensions"),
    ],
    ids=lambda value: value.partition("(")[0] if "(" in value else None,
)
def test_misuse_raises_and_the_log_says_why(sql, call, reason, caplog):
    with pytest.raises(sqlite3.OperationalError, match="user-defined"):
        sql(f"select {call}")
    assert reason in caplog.text


def test_the_last_error_of_a_connection_can_be_asked_for(sql):
    assert sql("select embed_error()") == (None,)
    with pytest.raises(sqlite3.OperationalError):
        sql("select embed_cosine('[1]', '[1, 2]')")
    assert sql("select embed_error()") == (
        "embed_cosine(): Expected a vector of 1 dimensions, found 2",
    )


def test_similar_and_nearest_answer_as_search_does(sql):
    similar = json.loads(sql("select embed_similar('articles', 5, 3)")[0])
    nearest = json.loads(
        sql(
            "select embed_nearest('articles', embedding, 4) "
            "from embeddings where id = 5"
        )[0]
    )
    assert nearest[0] == {
        "id": "5",
        "score": pytest.approx(1, abs=1e-6),
        "document_id": "5",
        "cosine": nearest[0]["score"],
        "matched": ["meaning"],
    }
    assert similar == nearest[1:]


def test_a_join_searches_once_not_once_a_row(articles, monkeypatch):
    register(articles)
    searches = []
    cosines = VectorIndex.cosines
    monkeypatch.setattr(
        VectorIndex,
        "cosines",
        lambda *args, **options: searches.append(args) or cosines(*args, **options),
    )
    rows = articles.execute(
        """
        select articles.title, json_extract(found.value, '$.id')
        from articles
        left join json_each(embed_search('articles', 'pets', 1)) as found
          on json_extract(found.value, '$.id') = articles.id
        """
    ).fetchall()
    assert [row for row in rows if row[1]] == [("Kittens", "5")]
    assert (len(rows), len(searches)) == (6, 1)


def test_a_remembered_answer_is_forgotten_with_the_next_change(articles):
    register(articles)
    sql = "select json_extract(embed_search('articles', 'pets', 1), '$[0].id')"
    assert articles.execute(sql).fetchone() == ("5",)
    with articles:
        articles.execute("delete from embeddings where id = '5'")
    assert articles.execute(sql).fetchone() != ("5",)


def test_a_filter_on_the_source_still_returns_as_many_as_asked_for(sql, articles):
    articles.execute("alter table articles add column topic text")
    articles.execute("update articles set topic = 'home' where id in (1, 3, 6)")
    rows = articles.execute(
        """
        select articles.id
        from articles
        join embeddings on embeddings.id = articles.id
        where articles.topic = 'home'
        order by embed_cosine(embeddings.embedding, embed_query('cats')) desc
        limit 3
        """
    ).fetchall()
    assert sorted(rows) == [(1,), (3,), (6,)]


def test_a_text_longer_than_the_policy_allows_is_refused(articles):
    register(articles, Policy(max_text_length=10))
    for call in (
        "embed(?)",
        "embed_query(?)",
        "embed_search('articles', ?, 1)",
        "embed_context('articles', ?, 100)",
    ):
        with pytest.raises(sqlite3.OperationalError):
            articles.execute(f"select {call}", ["x" * 11])
        reason = articles.execute("select embed_error()").fetchone()[0]
        assert "at most 10 characters, found 11" in reason


def test_a_text_with_a_nul_is_embedded(sql):
    assert sql("select length(embed(?))", "a\0b") == (1536,)


def test_a_text_that_is_no_unicode_is_refused(sql):
    with pytest.raises(sqlite3.OperationalError):
        sql("select embed(cast(x'eda080' as text))")


class FakeClock:
    """A clock that tests set, because the real one depends on how fast the machine is.

    It moves by *tick* seconds each time it is read.
    """

    def __init__(self):
        self.now = 0.0
        self.tick = 0.0

    def __call__(self):
        self.now += self.tick
        return self.now


@pytest.fixture
def clock(monkeypatch):
    fake = FakeClock()
    monkeypatch.setattr(context, "perf_counter", fake)
    return fake


class CountingModel(EmbeddingModel):
    """Counts how often it runs; a stand-in because the real one does not tell."""

    model_id = "counting"
    dimensions = 2
    max_tokens = 10

    def __init__(self, clock=None, takes_s=0.0):
        self.runs = 0
        self.clock = clock or FakeClock()
        self.takes_s = takes_s

    def embed_passages(self, texts, *, progress=None):
        self.runs += 1
        self.clock.now += self.takes_s
        return np.ones((len(texts), 2), dtype=np.float32)

    def embed_queries(self, texts):
        return self.embed_passages(texts)

    def count_tokens(self, texts):
        return [1] * len(texts)

    def token_spans(self, texts):
        return [[(0, len(text))] for text in texts]


def test_the_same_text_costs_one_run_however_many_rows_there_are():
    counting = CountingModel()
    conn = sqlite3.connect(":memory:")
    register(conn, Policy(load=lambda _model_id: counting))
    rows = "with recursive n(i) as (select 1 union select i + 1 from n where i < 500)"
    for function in ("embed", "embed_query"):
        query = f"{rows} select count({function}('text ' || (i % 1))) from n"
        assert conn.execute(query).fetchone() == (500,)
    assert counting.runs == 2
    conn.close()


ROWS = "with recursive n(i) as (select 1 union select i + 1 from n where i < 5000)"


def test_a_query_ends_when_its_time_is_up_inside_a_function(clock):
    counting = CountingModel(clock, takes_s=0.01)
    conn = sqlite3.connect(":memory:")
    register(conn, Policy(load=lambda _model_id: counting, time_limit_s=0.1))
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        conn.execute(f"{ROWS} select count(embed('text ' || i)) from n").fetchone()
    assert counting.runs == 11
    # The next statement has its own time
    assert conn.execute("select length(embed('one more'))").fetchone() == (8,)
    conn.close()


def test_a_query_ends_when_its_time_is_up_within_the_ends_of_an_axis(clock):
    counting = CountingModel(clock, takes_s=0.01)
    conn = sqlite3.connect(":memory:")
    register(conn, Policy(load=lambda _model_id: counting, time_limit_s=0.1))
    low = ", ".join(f"text {number}" for number in range(50))
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        conn.execute("select embed_axis(?, ?, 'high')", [bytes(8), low]).fetchone()
    assert counting.runs == 11
    conn.close()


def test_loading_a_model_is_not_charged_to_the_query(clock):
    counting = CountingModel()

    def load_slowly(_model_id):
        if not counting.runs:
            clock.now += 0.3
        return counting

    conn = sqlite3.connect(":memory:")
    register(conn, Policy(load=load_slowly, time_limit_s=0.25))
    # As Datasette does: its own deadline, which knows nothing of loads
    conn.set_progress_handler(lambda: clock() > 0.25, 1000)
    sql = f"{ROWS} select count(embed('the same' || (i % 2))) from n"
    assert conn.execute(sql).fetchone() == (5000,)
    conn.close()


def test_a_statement_that_runs_others_has_no_more_time(clock):
    counting = CountingModel(clock, takes_s=0.01)
    conn = sqlite3.connect(":memory:")
    conn.execute("create virtual table words using fts5(word)")
    conn.execute(f"{ROWS} insert into words select 'word' || i from n")
    register(conn, Policy(load=lambda _model_id: counting, time_limit_s=0.1))
    # SQLite reports the statements of the full-text index as it reports this one
    query = f"""
        {ROWS} select count(embed('nested ' || i)) from n
        where (select count(*) from words where word match 'word' || i)
    """
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        conn.execute(query).fetchone()
    assert counting.runs == 11
    # A statement that begins with a comment has time of its own
    sql = "-- a comment\nselect length(embed('after one'))"
    assert conn.execute(sql).fetchone() == (8,)
    conn.close()


def test_the_limit_of_one_statement_is_not_that_of_the_next(clock):
    def load_slowly(_model_id):
        clock.now += 0.1
        return CountingModel()

    conn = sqlite3.connect(":memory:")
    register(conn, Policy(load=load_slowly, time_limit_s=0.05))
    assert conn.execute("select length(embed('loads'))").fetchone() == (8,)
    # Without one of these functions, as a write of Datasette's that may take long
    clock.tick = 0.01
    rows = ROWS.replace("5000", "1000000")
    assert conn.execute(f"{rows} select count(*) from n").fetchone() == (1_000_000,)
    conn.close()


def test_a_clock_whose_callback_was_replaced_starts_again(clock):
    counting = CountingModel(clock, takes_s=0.01)
    conn = sqlite3.connect(":memory:")
    register(conn, Policy(load=lambda _model_id: counting, time_limit_s=0.1))
    conn.set_trace_callback(None)
    with pytest.raises(sqlite3.OperationalError, match="interrupted"):
        conn.execute(f"{ROWS} select count(embed('text ' || i)) from n").fetchone()
    assert conn.execute("select length(embed('one more'))").fetchone() == (8,)
    conn.close()


def test_functions_that_are_registered_stay_as_they_are(articles):
    register(articles, Policy(max_text_length=10))
    register(articles)
    with pytest.raises(sqlite3.OperationalError):
        articles.execute("select embed(?)", ["x" * 11])
    register(articles, Policy())
    assert articles.execute("select length(embed(?))", ["x" * 11]).fetchone() == (1536,)
