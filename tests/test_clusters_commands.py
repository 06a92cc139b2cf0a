"""Clusters on the command line and in Python, and through runs that embed."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys

import pytest
from click.testing import CliRunner

from datasette_embeddings import Embeddings
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.errors import InvalidInputError, UnknownItemError
from datasette_embeddings.store.clusters import Clusters
from datasette_embeddings.store.collections import collection
from tests.conftest import ARTICLES, write_articles


@pytest.fixture
def path(tmp_path):
    """A database with the articles in the collection `articles`."""
    found = tmp_path / "docs.db"
    with sqlite3.connect(found) as conn:
        write_articles(conn)
    run("embed", found, "articles", "--table", "articles", "--column", "body")
    return found


def run(*arguments, code=0):
    result = CliRunner().invoke(embeddings, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return result


def table(path):
    return Clusters(collection(sqlite3.connect(path), "articles"))


def test_the_command_prints_a_table(path):
    result = run("clusters", path, "articles", "-n", 2)
    assert result.stderr == "articles: 2 clusters of 6 documents\n"
    header, _line, *rows = result.stdout.splitlines()
    assert header.split() == ["cluster", "documents", "name", "central"]
    assert rows[0].split()[0] == "1"
    clusters = table(path).all()
    assert sum(each.size for each in clusters) == 6
    assert any(each.words for each in clusters)
    for each in clusters:
        assert each.name == (", ".join(each.words) or f"Cluster {each.number}")
        assert each.name in result.stdout


def test_a_long_title_is_cut_at_a_word_and_says_so(path):
    with sqlite3.connect(path) as conn:
        conn.execute("update articles set title = ?", ["A very long title " * 9])
    run("embed", path, "articles", "--table", "articles", "--column", "body")
    result = run("clusters", path, "articles", "-n", 2)
    central = [line for line in result.stdout.splitlines() if "A very" in line]
    assert central
    assert all(each.endswith("\N{HORIZONTAL ELLIPSIS}") for each in central)


def test_json_is_that_of_llm_cluster(path):
    result = run("clusters", path, "articles", 2, "--format", "json", "--truncate", 9)
    found = json.loads(result.stdout)
    assert [each["id"] for each in found] == ["1", "2"]
    assert all(set(each) == {"id", "items"} for each in found)
    items = [item for each in found for item in each["items"]]
    assert sorted(item["id"] for item in items) == [str(row[0]) for row in ARTICLES]
    assert all(len(item["content"]) == 9 for item in items)
    lines = run("clusters", path, "articles", "--stored", "--format", "nl").stdout
    assert len(lines.splitlines()) == 2


def test_stored_clusters_are_printed_and_removed(path):
    error = run("clusters", path, "articles", "--stored", code=1).stderr
    assert "has no clusters" in error
    first = run("clusters", path, "articles", "-n", 3, "--format", "csv").stdout
    again = run("clusters", path, "articles", "--stored", "--format", "csv").stdout
    assert again == first
    shown = json.loads(run("collections", "show", path, "articles").stdout)
    assert shown["clusters"]["count"] == 3
    run("clusters", path, "articles", "--remove")
    assert table(path).settings is None
    assert (
        json.loads(run("collections", "show", path, "articles").stdout)["clusters"]
        is None
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "0"], "from 1 to 1,000, found 0"),
        (["3", "-n", "2"], "Expected NUMBER or -n"),
        (["--method", "hdbscan", "-n", "2"], "no number of clusters"),
        (["--min-size", "3"], "for hdbscan only"),
        (["--stored", "--remove"], "Expected --stored or --remove"),
    ],
)
def test_options_that_do_not_fit(path, arguments, message):
    assert message in run("clusters", path, "articles", *arguments, code=1).stderr
    assert table(path).settings is None


def test_without_scikit_learn(path, monkeypatch):
    run("clusters", path, "articles", "-n", 2)
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    assert "scikit-learn" in run("clusters", path, "articles", code=1).stderr
    arguments = ["embed", path, "articles", "--table", "articles", "--column", "body"]
    # Before anything is embedded
    assert "scikit-learn" in run(*arguments, "--rebuild", code=1).stderr
    assert sum(each.size for each in table(path).all()) == 6
    run(*arguments)


def test_a_sync_updates_clusters_and_says_when_they_are_outdated(path):
    run("clusters", path, "articles", "-n", 2)
    assert "joined" not in run("sync", path).stderr
    with sqlite3.connect(path) as conn:
        conn.execute("delete from articles where id = 1")
        conn.execute("update articles set body = 'Dogs bark.' where id = 2")
    conn.close()
    advice = (
        "articles: 1 of 5 documents joined its clusters since they were found: "
        "run 'datasette embeddings clusters' again\n"
    )
    assert advice in run("sync", path).stderr
    assert advice in run("clusters", path, "articles", "--stored").stderr
    assert set(table(path).states()) == {"2", "3", "4", "5", "6"}
    assert "nothing is wrong" in run("check", path).stderr


def test_a_sync_notices_what_another_program_deleted(path):
    run("clusters", path, "articles", "-n", 2)
    with sqlite3.connect(path) as conn:
        conn.execute("delete from embeddings where id = '3'")
    conn.close()
    assert "whose cluster is old" in run("check", path, code=2).stdout
    run("sync", path)
    assert len(table(path).states()) == 6
    assert "nothing is wrong" in run("check", path).stderr


def test_a_rebuild_finds_clusters_again_with_the_stored_settings(path):
    run("clusters", path, "articles", "-n", 3, "--seed", 5)
    before, settings = table(path), table(path).settings
    run(
        "embed",
        path,
        "articles",
        "--table",
        "articles",
        "--column",
        "title",
        "--rebuild",
    )
    after = table(path)
    assert after.settings == settings
    assert after.collection.id != before.collection.id
    assert (after.facts.documents, after.facts.joined) == (6, 0)
    assert len(after.all()) == 3
    assert "nothing is wrong" in run("check", path).stderr


def test_in_python(path):
    found = Embeddings(path).collection("articles")
    assert (found.clusters(), found.cluster_of(1)) == ([], None)
    clusters = found.cluster(2)
    assert clusters == found.clusters()
    assert [each.number for each in clusters] == [1, 2]
    for each in clusters:
        assert found.cluster_of(each.central[0]) == each.number
    found.delete_items([clusters[0].central[0]])
    assert sum(each.size for each in found.clusters()) == 5
    with pytest.raises(UnknownItemError):
        found.cluster_of("missing")
    with pytest.raises(InvalidInputError, match="found 'x'"):
        found.cluster(method="x")
    assert not any("cluster" in each.problem for each in found.check())


KILLED = """
import os, signal, sys
from datasette_embeddings import Embeddings
from datasette_embeddings.clusters.clustering import Clustering

def rows(found):
    for number, row in enumerate(honest(found)):
        if number == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        yield row
honest, Clustering.rows = Clustering.rows, rows
Embeddings(sys.argv[1]).collection("articles").cluster(3)
"""


def test_a_killed_run_leaves_the_old_clusters(path):
    run("clusters", path, "articles", "-n", 2)
    before = table(path).facts, table(path).all()
    command = [sys.executable, "-c", KILLED, str(path)]
    result = subprocess.run(command, capture_output=True, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert (table(path).facts, table(path).all()) == before
    assert sum(each.size for each in table(path).all()) == 6
    assert len(Embeddings(path).collection("articles").cluster(3)) == 3
