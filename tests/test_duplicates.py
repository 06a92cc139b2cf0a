"""Groups of near-duplicates and outliers, from the stored similarities."""

from __future__ import annotations

import itertools
import json
import random
import sqlite3

import numpy as np
import pytest
from click.testing import CliRunner

from datasette_embeddings import Embeddings
from datasette_embeddings.analysis.groups import connected, duplicates
from datasette_embeddings.analysis.outliers import outliers
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.documents import Document
from datasette_embeddings.errors import InvalidInputError, NoSimilaritiesError
from datasette_embeddings.migrations import NEAR_SCORE
from datasette_embeddings.similarities.refreshing import build
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.deleting import delete_items
from datasette_embeddings.store.documents import write_embeddings
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.vectors import normalize
from tests.models import StandIn


def run(*arguments, status=0):
    result = CliRunner().invoke(embeddings, [*map(str, arguments)])
    assert result.exit_code == status, result.output
    return result.output


def made_of(conn, vectors, *, limit=10, min_score=None):
    """The collection of *vectors* by id, with similarities."""
    made = create_collection(conn, "made", StandIn().settings, None)
    documents = [Document(item_id, f"text of {item_id}") for item_id in vectors]
    with transaction(conn):
        write_embeddings(
            made, documents, np.stack([*vectors.values()]), store_content=True
        )
    found = collection(conn, "made")
    build(found, SimilaritySettings(limit, min_score))
    return found


def at(degrees):
    """A vector of two dimensions."""
    angle = np.radians(degrees)
    return np.array([np.cos(angle), np.sin(angle), 0, 0], np.float32)


def ids(group):
    return [item.id for item in group.items]


@pytest.fixture
def conn():
    made = sqlite3.connect(":memory:")
    yield made
    made.close()


# Connecting


def test_a_chain_is_one_group_with_the_score_of_its_ends(conn):
    # 15 degrees apart: a cosine of 0.966; the ends, 30 degrees, of 0.866
    vectors = {"a": at(0), "b": at(15), "c": at(30), "far": at(120)}
    [group] = duplicates(made_of(conn, vectors)).groups
    assert (ids(group), group.size) == (["a", "b", "c"], 3)
    assert group.highest == pytest.approx(np.cos(np.radians(15)), abs=1e-5)
    assert group.lowest == pytest.approx(np.cos(np.radians(30)), abs=1e-5)


def test_larger_groups_come_first_then_more_similar_ones(conn):
    vectors = {"a1": at(0), "a2": at(8), "b1": at(60), "b2": at(61)}
    vectors |= {"c1": at(120), "c2": at(125), "c3": at(130)}
    made = made_of(conn, vectors)
    found = duplicates(made)
    assert [ids(each)[0][0] for each in found.groups] == ["c", "b", "a"]
    assert found.count == 3
    second = duplicates(made, limit=1, offset=1)
    assert ([ids(each) for each in second.groups], second.count) == ([["b1", "b2"]], 3)
    [largest] = duplicates(made, limit=1, most_items=2).groups
    assert (ids(largest), largest.size) == (["c1", "c2"], 3)


def test_groups_are_those_of_a_search_from_each_document():
    """Beside the reference: every document that can be reached."""
    chance = random.Random(5)
    names = [str(number) for number in range(60)]
    pairs = [(*chance.sample(names, 2), chance.random()) for _ in range(50)]
    near = {name: {name} for name in names}
    for one, other, _score in pairs:
        joined = near[one] | near[other]
        for each in joined:
            near[each] = joined
    expected = {frozenset(each) for each in near.values() if len(each) > 1}
    found = connected(pairs)
    assert {frozenset(ids) for ids, _score in found} == expected
    for group, highest in found:
        assert highest == max(s for a, b, s in pairs if a in group)
    sizes = [len(ids) for ids, _score in found]
    assert sizes == sorted(sizes, reverse=True)


def test_fewer_pairs_raise_the_lowest_score(conn):
    vectors = {"a": at(0), "b": at(1), "c": at(40), "d": at(50)}
    found = duplicates(made_of(conn, vectors), 0.9, most_pairs=2)
    assert [ids(each) for each in found.groups] == [["a", "b"]]
    assert found.min_score == pytest.approx(np.cos(np.radians(1)), abs=1e-5)


def test_a_lower_score_than_the_index_has_is_found_too(conn):
    vectors = {"a": at(0), "b": at(40), "c": at(170)}
    [group] = duplicates(made_of(conn, vectors), 0.7).groups
    assert 0.7 < group.highest < NEAR_SCORE
    assert ids(group) == ["a", "b"]


def test_what_was_deleted_is_in_no_group(conn):
    made = made_of(conn, {"a": at(0), "b": at(1), "c": at(2), "d": at(90)})
    # Another program, which refreshes no similarities
    conn.execute("delete from embeddings where id = 'b'")
    assert [ids(each) for each in duplicates(made).groups] == [["a", "c"]]
    conn.execute("delete from embeddings where id = 'c'")
    assert duplicates(made).groups == []


def test_the_index_is_used(conn):
    made = made_of(conn, {"a": at(0), "b": at(1)})
    plans = []
    conn.set_trace_callback(plans.append)
    duplicates(made)
    outliers(made)
    conn.set_trace_callback(None)
    by_score = [e for e in plans if "order by score" in e or "order by lowest" in e]
    details = [
        row[3]
        for statement in by_score
        for row in conn.execute(f"explain query plan {statement}")
    ]
    assert len(by_score) == 2
    assert not any("SCAN" in each or "B-TREE FOR ORDER" in each for each in details)


@pytest.mark.parametrize("score", [2, -1.5, float("nan"), "high", None, True])
def test_a_score_is_a_cosine(conn, score):
    made = made_of(conn, {"a": at(0), "b": at(1)})
    with pytest.raises(InvalidInputError, match="lowest score"):
        duplicates(made, score)


# Far from all


def planted(count=300, dimensions=4, seed=3):
    """Vectors around two directions, and three that point elsewhere."""
    chance = np.random.default_rng(seed)
    around = np.eye(dimensions)[chance.integers(2, size=count)]
    rows = around + 0.1 * chance.standard_normal((count, dimensions))
    vectors = {f"n{n}": row.astype(np.float32) for n, row in enumerate(rows)}
    foreign = {"x": [0, 0, 1, 0.2], "y": [0, 0, -1, 1], "z": [-1, -1, 0, 0]}
    return vectors | {
        name: np.array(each, np.float32) for name, each in foreign.items()
    }


def expected_scores(vectors, nearest=3):
    rows = normalize(np.stack([*vectors.values()]))
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -2)
    means = -np.sort(-cosines, axis=1)[:, :nearest]
    return dict(zip(vectors, means.mean(axis=1).tolist(), strict=True))


def test_outliers_are_the_lowest_means_of_the_three_nearest(conn):
    vectors = planted()
    made = made_of(conn, vectors)
    expected = sorted(expected_scores(vectors).items(), key=lambda each: each[1])
    found = outliers(made, limit=20)
    assert [each.id for each in found] == [name for name, _score in expected[:20]]
    assert {each.id for each in found[:3]} == {"x", "y", "z"}
    for match, (_name, score) in zip(found, expected, strict=False):
        assert match.score == pytest.approx(score, abs=1e-5)
    assert outliers(made, limit=5, offset=5) == found[5:10]


def test_few_lists_are_read(conn, monkeypatch):
    made = made_of(conn, planted(2_000))
    read = []
    from datasette_embeddings.store.similarities import Similarities

    rows = Similarities.rows
    monkeypatch.setattr(
        Similarities, "rows", lambda own, ids: read.extend(ids) or rows(own, ids)
    )
    outliers(made, limit=3)
    assert len(read) < 1_000


def test_where_lists_are_short_their_lowest_score_counts(conn):
    vectors = {"a": at(0), "b": at(5), "c": at(10), "d": at(12), "far": at(90)}
    found = outliers(made_of(conn, vectors, min_score=0.8))
    assert found[0].id == "far"
    assert found[0].score == pytest.approx(0.8)


def test_a_small_collection_has_outliers_too(conn):
    found = outliers(made_of(conn, {"a": at(0), "b": at(10), "c": at(90)}))
    assert [each.id for each in found] == ["c", "a", "b"]


def test_a_deleted_document_is_no_outlier(conn):
    made = made_of(conn, planted())
    delete_items(made, ["x"])
    assert "x" not in [each.id for each in outliers(made)]


# Interfaces


@pytest.fixture
def articles_with_copies(articles_db):
    with sqlite3.connect(articles_db) as conn:
        rows = conn.execute("select title, body from articles where id < 3").fetchall()
        for number, row in itertools.product((100, 200), enumerate(rows)):
            place, (title, body) = row
            conn.execute(
                "insert into articles values (?, ?, ?)", [number + place, title, body]
            )
    run("sync", articles_db)
    run("similarities", articles_db, "articles")
    return articles_db


def test_the_shell_lists_groups(articles_with_copies):
    lines = run("duplicates", articles_with_copies, "articles").splitlines()
    assert lines[0] == "3 items, 1.000 to 1.000"
    assert len([line for line in lines if line.startswith("3 items")]) == 2
    given = ["duplicates", articles_with_copies, "articles", "--format", "json"]
    rows = json.loads(run(*given))
    assert [row["group"] for row in rows] == [1, 1, 1, 2, 2, 2]
    assert {row["id"] for row in rows} == {"1", "100", "200", "2", "101", "201"}
    assert rows[0].keys() == {
        *("group", "size", "id", "title", "score", "lowest", "highest")
    }
    assert run(*given, "--min-score", "2", status=1).startswith("Error: Expected")


def test_the_shell_lists_outliers(articles_with_copies):
    given = ["outliers", articles_with_copies, "articles", "-n", "2"]
    assert len(run(*given).splitlines()) == 2
    rows = json.loads(run(*given, "--format", "json"))
    assert [set(row) for row in rows] == [{"id", "score", "title"}] * 2
    assert rows[0]["score"] <= rows[1]["score"]


def test_python_has_both(articles_with_copies):
    with Embeddings(articles_with_copies) as db:
        articles = db.collection("articles")
        assert [group.size for group in articles.duplicates(0.99)] == [3, 3]
        assert len(articles.outliers(limit=2)) == 2


@pytest.mark.parametrize("command", ["duplicates", "outliers"])
def test_without_similarities_the_command_is_named(articles_db, command):
    said = run(command, articles_db, "articles", status=1)
    assert "datasette embeddings similarities" in said
    with Embeddings(articles_db) as db, pytest.raises(NoSimilaritiesError):
        getattr(db.collection("articles"), command)()
