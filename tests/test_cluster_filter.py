"""Searches within clusters and within an area of the map."""

from __future__ import annotations

import re
import sqlite3

import pytest
from click.testing import CliRunner

from datasette_embeddings import Embeddings
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.documents import Chunking
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.matches import matches
from datasette_embeddings.search.scope import (
    Scope,
    read_area,
    read_clusters,
    scope_page,
)
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import collection
from tests.clusters import give_clusters
from tests.maps import give_map
from tests.models import StandIn

EVEN, ODD = [(["even", "number"], ["8", "2", "4", "6"]), (["odd"], ["9", "3", "5"])]
ALL = [str(number) for number in range(1, 11)]


class Reader(StandIn):
    """A stand-in that counts words as tokens."""

    def token_spans(self, texts):
        return [[each.span() for each in re.finditer(r"\S+", text)] for text in texts]


def write_notes(conn, rules=None):
    conn.execute("create table notes (id integer primary key, topic text, body text)")
    conn.executemany(
        "insert into notes values (?, ?, ?)",
        [(n, "ab"[n > 5], f"note {n} says this. And that.") for n in range(1, 11)],
    )
    rules = rules or Source()
    notes = table_source(conn, "notes", content_columns=["body"], rules=rules)
    ingest(conn, "notes", notes, Reader())
    give_clusters(conn, "notes", [EVEN, ODD], none=["1", "7", "10"])
    give_map(conn, "notes", {each: (int(each), 0) for each in ALL})


@pytest.fixture
def notes():
    conn = sqlite3.connect(":memory:")
    write_notes(conn)
    yield collection(conn, "notes")
    conn.close()


def square(left, right):
    return ((left, -1.0), (right, -1.0), (right, 1.0), (left, 1.0))


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (Scope((1,)), {"2", "4", "6", "8"}),
        (Scope((2, 1)), {"2", "3", "4", "5", "6", "8", "9"}),
        (Scope((None,)), {"1", "7", "10"}),
        (Scope((None, 2)), {"1", "3", "5", "7", "9", "10"}),
        (Scope(area=square(2.5, 5.5)), {"3", "4", "5"}),
        (Scope((1,), square(2.5, 6.5)), {"4", "6"}),
    ],
)
def test_a_scope_has_what_is_in_its_clusters_and_its_area(notes, scope, expected):
    assert scope.documents(notes) == expected
    assert scope.items(notes) == expected
    hits, count = scope_page(notes, scope, limit=10)
    assert ({hit.id for hit in hits}, count) == (expected, len(expected))


def test_the_most_central_documents_of_a_cluster_come_first(notes):
    hits, count = scope_page(notes, Scope((1,)), limit=2, offset=1)
    assert [(hit.id, hit.score, hit.cosine) for hit in hits] == [
        ("2", 0.8, 0.8),
        ("4", 0.7, 0.7),
    ]
    assert count == 4
    # Also where several clusters are listed; what is in none comes last, by its id
    hits, _count = scope_page(notes, Scope((1, 2, None)), limit=9)
    assert [hit.id for hit in hits] == ["8", "9", "2", "3", "4", "5", "6", "1", "10"]
    assert [(hit.score, hit.cosine) for hit in hits[-2:]] == [(0.0, None)] * 2


def test_an_area_is_listed_by_id(notes):
    hits, count = scope_page(notes, Scope(area=square(0, 20)), limit=3, offset=1)
    assert ([hit.id for hit in hits], count) == (["10", "2", "3"], 10)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"among": frozenset("46")}, ["4", "6"]),
        ({"prefix": "4"}, ["4"]),
        ({"least": 0.75}, ["8", "2"]),
        ({"least": 0.75, "offset": 1}, ["2"]),
    ],
)
def test_a_list_is_narrowed(notes, options, expected):
    hits, count = scope_page(notes, Scope((1,)), limit=5, **options)
    assert [hit.id for hit in hits] == expected
    assert count == len(expected) + options.get("offset", 0)


def test_what_was_deleted_since_is_not_listed(notes):
    notes.conn.execute("delete from embeddings where id = '2'")
    hits, _count = scope_page(notes, Scope((1,)), limit=5)
    assert [hit.id for hit in hits] == ["8", "4", "6"]


def test_of_a_document_in_chunks_the_first_stands_for_it():
    pytest.importorskip("sentencex")
    conn = sqlite3.connect(":memory:")
    write_notes(conn, Source(chunking=Chunking("sentences", size=5)))
    notes = collection(conn, "notes")
    hits, _count = scope_page(notes, Scope((2,)), limit=5)
    assert [(hit.id, hit.document_id) for hit in hits] == [
        ("9#0", "9"),
        ("3#0", "3"),
        ("5#0", "5"),
    ]
    assert matches(notes, hits)[0].content.strip() == "note 9 says this."
    assert Scope((2,)).items(notes) == {
        *("3", "5", "9"),
        *("3#0", "3#1", "5#0", "5#1", "9#0", "9#1"),
    }
    conn.close()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (3, (3,)),
        (3.0, (3,)),
        ("3", (3,)),
        ("3,5", (3, 5)),
        (" 3 , none ,3", (3, None)),
        ([3, "none"], (3, None)),
        ((5, 3), (5, 3)),
    ],
)
def test_clusters_are_read(given, expected):
    assert read_clusters(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        *(
            "",
            "0",
            "-1",
            "1.5",
            "²",
            "three",
            "3,",
            "3;5",
            None,
            True,
            0,
            1.5,
            [],
            [[1]],
        ),
        *({}, b"3", float("nan"), float("inf"), "9" * 19, "1," * 100 + "1", [1] * 101),
        *("1" * 4_000, "," * 4_000),
    ],
)
def test_what_names_no_cluster_is_refused(given):
    with pytest.raises(InvalidInputError, match="Expected 1 to 100 clusters, such as"):
        read_clusters(given)


@pytest.mark.parametrize(
    "given",
    [
        "0,0,4,0,0,4.5",
        "0,0, 4e0,0,0,4.5",
        [0, 0, 4, 0, 0, 4.5],
        [[0, 0], [4, 0], [0, 4.5]],
        [(0, 0), (4, "0"), (0, "4.5")],
    ],
)
def test_an_area_is_read(given):
    assert read_area(given) == ((0, 0), (4, 0), (0, 4.5))


@pytest.mark.parametrize(
    "given",
    [
        *("", "1,2,3,4", "1,2,3,4,5", "1,2,3,4,5,nan", "1,2,3,4,5,inf", "1,2,3,4,5,x"),
        *(None, 7, [], [1, 2, 3, 4], [[1, 2], [3, 4]], [1, 2, 3, 4, 5, None], {}),
        *([[1, 2, 3], [4, 5, 6]], [[[1]]] * 6, [1, 2, 3, 4, 5, True]),
        *(",".join(["1"] * 202), [1] * 2_000, "1" * 7_000, [1, 2, 3, 4, 5, 10**400]),
        [[1, 2]] * 101,
    ],
)
def test_what_is_no_area_is_refused(given):
    with pytest.raises(InvalidInputError, match="Expected an area of 3 to 100 corners"):
        read_area(given)


def test_an_area_may_have_a_hundred_corners():
    assert len(read_area(",".join(["1.25"] * 200))) == 100


def test_unknown_clusters_and_missing_ones_are_said(notes):
    with pytest.raises(InvalidInputError, match="No cluster 3 in 'notes'; there are 1"):
        Scope((3,)).documents(notes)
    with pytest.raises(InvalidInputError, match="No cluster 99"):
        scope_page(notes, Scope((1, 99)), limit=3)
    notes.conn.execute("update _embedding_collections set clusters = null, map = null")
    bare = collection(notes.conn, "notes")
    for ask in (
        Scope((1,)).documents,
        lambda notes: scope_page(notes, Scope((1,)), limit=1),
    ):
        with pytest.raises(InvalidInputError, match="no clusters; the command"):
            ask(bare)
    with pytest.raises(InvalidInputError, match="has no map; the command"):
        Scope(area=square(0, 1)).documents(bare)


def test_a_match_names_its_cluster(notes):
    hits, _count = scope_page(notes, Scope((1, None)), limit=9)
    found = {
        each.id: (each.cluster, each.cluster_name) for each in matches(notes, hits)
    }
    assert found["2"] == (1, "even, number")
    assert found["1"] == (None, None)


@pytest.mark.parametrize(
    "statement",
    [
        "drop table embedding_cluster_names",
        "drop table embedding_clusters",
        "update embedding_cluster_names set name = x'00'",
        "delete from embedding_cluster_names",
    ],
)
def test_what_another_program_did_to_names_is_no_error(notes, statement):
    hits, _count = scope_page(notes, Scope((1,)), limit=1)
    notes.conn.execute(statement)
    [found] = matches(collection(notes.conn, "notes"), hits)
    expected = (None, None) if "drop" in statement else (1, "Cluster 1")
    assert (found.cluster, found.cluster_name) == expected


def test_python_searches_within_a_cluster(tmp_path):
    conn = sqlite3.connect(tmp_path / "notes.db")
    write_notes(conn)
    conn.close()
    notes = Embeddings(tmp_path / "notes.db").collection("notes")
    for cluster, expected in {
        1: {"2", "4", "6", "8"},
        "none": {"1", "7", "10"},
        (2, "none"): {"1", "3", "5", "7", "9", "10"},
    }.items():
        found = notes.search("note", mode="words", cluster=cluster)
        assert {match.id for match in found} == expected
        assert {
            match.id for match in notes.nearest([1] * 4, cluster=cluster)
        } == expected
        assert {e.id for e in notes.similar(8, cluster=cluster)} == expected - {"8"}
    some = notes.search("note", mode="words", cluster=1, where="topic = 'b'")
    assert {match.id for match in some} == {"6", "8"}
    assert {match.cluster_name for match in some} == {"even, number"}
    with pytest.raises(InvalidInputError, match="Expected 1 to 100 clusters"):
        notes.search("note", cluster=0)


def test_the_command_line_searches_within_a_cluster(tmp_path):
    path = tmp_path / "notes.db"
    conn = sqlite3.connect(path)
    write_notes(conn)
    conn.close()

    def run(command, *arguments):
        given = [command, str(path), "notes", *arguments, "--format", "csv"]
        return CliRunner().invoke(embeddings, given)

    def ids(result):
        return {line.partition(",")[0] for line in result.stdout.splitlines()[1:]}

    by_words = ("search", "note", "--mode", "words")
    assert ids(run(*by_words, "--cluster", "1")) == {"2", "4", "6", "8"}
    assert ids(run("similar", "8", "--cluster", "1")) == {"2", "4", "6"}
    found = run(*by_words, "--cluster", "1,none", "--where", "topic = 'a'")
    assert ids(found) == {"1", "2", "4"}
    failed = run("similar", "8", "--cluster", "nine")
    assert failed.exit_code == 1
    assert "Expected 1 to 100 clusters" in failed.stderr
