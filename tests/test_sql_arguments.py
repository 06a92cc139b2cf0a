"""Arguments of SQL functions that are longer than anything they could stand for."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc

import pytest

from datasette_embeddings.errors import LONGEST_MESSAGE
from datasette_embeddings.sql import context
from datasette_embeddings.sql.context import Policy
from datasette_embeddings.sql.functions import FUNCTIONS, register

# Once Datasette is imported, sqlite3 prints the traceback of a function that raises
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)

LENGTH = 2_000_000
LONG = {"BLOB": bytes(LENGTH), "TEXT": "\x00" * LENGTH, "digits": "1" * LENGTH}
#: What each argument is where another one is too long
FITTING = {
    "a": "[1]",
    "b": "[1]",
    "collection": "articles",
    "labels": '["pets", "stars"]',
    "content": "a text",
    "high": "stars",
    "id": "5",
    "json": "[1]",
    "limit": 1,
    "low": "pets, animals",
    "mode": "both",
    "model": "all-MiniLM-L6-v2",
    "number": 2,
    "question": "a text",
    "text": "a text",
    "tokens": 100,
    "vector": json.dumps([0.5] * 384),
}
CALLS = [
    (name, function.arguments, place, kind)
    for function in FUNCTIONS
    for name in (function.name, *function.aliases)
    for place in range(len(function.arguments))
    for kind in LONG
]


def called(name, arguments):
    return f"select {name}({', '.join('?' for _ in arguments)})"


def peak_bytes(conn, sql, values):
    """The most memory that Python has during *sql*, and whether it fails."""
    tracemalloc.start()
    try:
        conn.execute(sql, values).fetchone()
        fails = False
    except sqlite3.OperationalError:
        fails = True
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, fails


@pytest.fixture
def limited(articles, model):
    """A connection with our functions as a server has them, and one that does nothing.

    It tells the last error, which is what is kept.
    """
    register(articles, Policy(load=lambda _model_id: model, max_text_length=100_000))
    articles.create_function("no_op", -1, lambda *_arguments: None)
    return articles


@pytest.mark.parametrize(
    ("name", "arguments", "place", "kind"),
    CALLS,
    ids=[f"{name}-{arguments[place]}-{kind}" for name, arguments, place, kind in CALLS],
)
def test_a_long_argument_is_refused_before_it_is_copied(
    limited, caplog, name, arguments, place, kind
):
    values = [FITTING[argument] for argument in arguments]
    # Imports of the first call are no copies
    limited.execute(called(name, arguments), values).fetchone()
    caplog.clear()
    values[place] = LONG[kind]
    peak, fails = peak_bytes(limited, called(name, arguments), values)
    nothing, no_op_fails = peak_bytes(limited, called("no_op", arguments), values)
    assert (fails, no_op_fails) == (True, False)
    assert peak - nothing < LENGTH / 4
    assert 0 < len(caplog.text) < 2 * LONGEST_MESSAGE
    [reason] = limited.execute("select embed_error()").fetchone()
    assert reason in caplog.text
    assert len(reason) <= LONGEST_MESSAGE


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (
            "embed_search(zeroblob(5000), 'x', 1)",
            "Expected the name of a collection as TEXT, found a BLOB of 5,000 bytes",
        ),
        (
            "embed_query(hex(zeroblob(5000)), 'x')",
            "Expected the id of a model of at most 4,096 characters, found 10,000",
        ),
        (
            "embed_similar('articles', x'00', 1)",
            "Expected an item id as TEXT, found a BLOB of 1 bytes",
        ),
        ("embed_similar('articles', hex(zeroblob(9000)), 1)", "No item '000000000000"),
        (
            "embed_scale('[1]', zeroblob(9))",
            "Expected a number to scale by, found a BLOB of 9 bytes",
        ),
        (
            "embed_similar('articles', '5', zeroblob(9))",
            "Expected a limit, a whole number from 1; found a BLOB of 9 bytes",
        ),
        (
            "embed_search('articles', 'x', 1, 'Words')",
            "Expected a mode, one of both, meaning, words; found 'Words'",
        ),
        (
            "embed_search('articles', 'x', 1, zeroblob(9))",
            "Expected a mode, one of both, meaning, words; found a BLOB of 9 bytes",
        ),
        (
            "embed(zeroblob(50000001))",
            "Expected TEXT or an image of at most 50,000,000 bytes, found a BLOB of",
        ),
    ],
)
def test_the_reason_quotes_a_piece_of_the_value(limited, call, reason):
    with pytest.raises(sqlite3.OperationalError):
        limited.execute(f"select {call}")
    [told] = limited.execute("select embed_error()").fetchone()
    assert told.partition(": ")[2].startswith(reason)
    assert len(told) <= LONGEST_MESSAGE


def test_an_item_with_a_long_id_is_found(limited):
    item_id = "x" * 9_000
    with limited:
        limited.execute("update embeddings set id = ? where id = '5'", [item_id])
    sql = "select json_array_length(embed_similar('articles', ?, 2))"
    assert limited.execute(sql, [item_id]).fetchone() == (2,)


def test_a_message_names_some_of_many_collections(limited):
    with limited:
        limited.executemany(
            "insert into collections (name, model) values (?, 'm')",
            [(f"{number} {'x' * 500}",) for number in range(100)],
        )
    with pytest.raises(sqlite3.OperationalError):
        limited.execute("select embed_search('nowhere', 'x', 1)")
    [reason] = limited.execute("select embed_error()").fetchone()
    assert "No collection 'nowhere' in this database: it has " in reason
    assert len(reason) <= LONGEST_MESSAGE


def test_what_a_connection_remembers_has_a_bound(limited, monkeypatch):
    made = []
    monkeypatch.setattr(
        "datasette_embeddings.sql.functions.Context",
        lambda *arguments: made.append(context.Context(*arguments)) or made[-1],
    )
    monkeypatch.setattr("datasette_embeddings.sql.searches.LONGEST_REMEMBERED", 150)
    register(limited, Policy())
    [kept] = made
    for limit in (1, 2, 3, 4, 5, 6):
        limited.execute("select embed_similar('articles', '5', ?)", [limit])
        assert limit in {question[-1] for question in kept.remembered}
    vector = json.dumps([0.5] * 384)
    limited.execute("select embed_nearest('articles', ?, 6)", [vector]).fetchone()
    [question] = kept.remembered
    assert len(str(question)) < 250
