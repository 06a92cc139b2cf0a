"""``datasette embeddings evaluate``: an owner measures a search."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings

REPOSITORY = Path(__file__).parent.parent
QUESTIONS = [
    {"q": "how to make bread", "relevant": ["1"], "kind": "question"},
    {"q": "planets and stars", "relevant": ["2"], "kind": "question"},
    {"q": "cat food", "relevant": ["5"], "kind": "keyword"},
    {"q": "bicycle", "relevant": ["6"], "kind": "wrong"},
]


@pytest.fixture
def run():
    return lambda *arguments: CliRunner().invoke(embeddings, list(map(str, arguments)))


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(QUESTIONS))
    return path


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """The folder of temporary files, which a command leaves empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


MEANING = ("--mode", "meaning")


def test_the_figures_are_for_programs(run, articles_db, questions):
    before = articles_db.read_bytes()
    result = run(
        "evaluate", articles_db, "articles", questions, *MEANING, "--format", "json"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    rows = json.loads(result.stdout)
    assert [(row["mode"], row["kind"], row["n"]) for row in rows] == [
        ("meaning", "all", 4),
        ("meaning", "question", 2),
        ("meaning", "keyword", 1),
        ("meaning", "wrong", 1),
    ]
    times = [row.pop("p50_ms") for row in rows]
    assert all(time > 0 for time in times)
    assert rows[1] == {
        "mode": "meaning",
        "kind": "question",
        "n": 2,
        "mrr": 1.0,
        "ndcg_10": 1.0,
        "recall_10": 1.0,
        "right_at_1": 1.0,
    }
    assert rows[3]["right_at_1"] == 0
    assert articles_db.read_bytes() == before


def test_the_figures_are_for_people(run, articles_db, questions):
    result = run("evaluate", articles_db, "articles", questions, *MEANING)
    headings, _line, first, *_rest = result.stdout.splitlines()
    assert headings.split("  ")[0] == "kind"
    assert "MRR" in headings
    assert "right at 1" in headings
    assert first.split()[:3] == ["all", "meaning", "4"]


def test_what_is_not_in_the_collection_is_said(run, articles_db, tmp_path):
    path = tmp_path / "questions.csv"
    path.write_text("q,relevant\nbread,1 100\nchess,200\n")
    result = run("evaluate", articles_db, "articles", path, *MEANING)
    assert result.exit_code == 0
    assert result.stderr == (
        "2 of 3 answers are not in 'articles': '100', '200'\n"
        "Left out, without an answer in 'articles': 1 of 2 questions: 'chess'\n"
    )
    path.write_text("q,relevant\nchess,200\n")
    result = run("evaluate", articles_db, "articles", path)
    assert result.exit_code == 1
    assert "found none whose answers are in 'articles'" in result.stderr


@pytest.mark.parametrize(("least", "status"), [(0.5, 0), (0.99, 1)])
def test_a_low_mrr_ends_with_1(run, articles_db, questions, least, status):
    arguments = "evaluate", articles_db, "articles", questions, *MEANING
    result = run(*arguments, "--min-mrr", least)
    assert result.exit_code == status
    assert ("The MRR of 'meaning' is" in result.stderr) == (status == 1)


def test_failures_are_listed_with_what_came_instead(run, source_db, questions):
    result = run("evaluate", source_db, "few", questions, *MEANING, "--failures")
    assert result.exit_code == 0, result.output
    shown = result.stdout[result.stdout.index("few, mode") :].splitlines()
    assert shown[0] == (
        "few, mode meaning: 1 of 4 questions without an answer among the 10 best"
    )
    assert shown[1] == "  bicycle  (wrong)"
    assert shown[2].startswith("    expected  6, at place 1")
    assert shown[3].startswith("    found     ")


def test_every_mode_is_measured_and_compared(run, source_db, questions):
    arguments = "evaluate", source_db, "few", questions
    result = run(*arguments, "--format", "json")
    rows = [row for row in json.loads(result.stdout) if row["kind"] == "all"]
    assert [row["mode"] for row in rows] == ["both", "meaning", "words"]
    sentences = run(*arguments).stdout.splitlines()[-3:]
    assert all(" MRR, " in line or " are equal" in line for line in sentences)
    low = run(*arguments, "--min-mrr", 1)
    assert (low.exit_code, "The MRR of 'both' is" in low.stderr) == (1, True)
    chosen = run(*arguments, "--min-mrr", 0, "--mode", "words", "--mode", "meaning")
    assert (chosen.exit_code, "found 'meaning', 'words'" in chosen.stderr) == (1, True)


@pytest.fixture
def source_db(run, articles_db):
    """With the collection `few`, in which ten rows are about bicycles."""
    with closing(sqlite3.connect(articles_db)) as conn:
        rows = [
            (number, "Bicycle", f"A bicycle of {number}") for number in range(7, 17)
        ]
        conn.executemany("insert into articles values (?, ?, ?)", rows)
        conn.commit()
    run("embed", articles_db, "few", "--table", "articles")
    return articles_db


def test_two_collections_are_compared(run, articles_db, questions):
    run("embed", articles_db, "titles", "--table", "articles", "--column", "title")
    arguments = "evaluate", articles_db, "articles", questions, *MEANING
    result = run(*arguments, "--compare", "titles")
    assert result.exit_code == 0, result.output
    sentence = result.stdout.splitlines()[-1]
    assert "articles (meaning)" in sentence
    assert "titles (meaning)" in sentence
    result = run(*arguments, "--compare", "titles", "--format", "nl")
    rows = list(map(json.loads, result.stdout.splitlines()))
    assert [(row["collection"], row["kind"]) for row in rows[:3]] == [
        ("articles", "all"),
        ("titles", "all"),
        ("articles", "question"),
    ]


def test_known_items_are_searched_for_in_a_copy_without_them(
    run, articles_db, temporary
):
    before = articles_db.read_bytes()
    arguments = "evaluate", articles_db, "articles", "--known-item", "title", *MEANING
    result = run(*arguments, "--format", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    [row] = json.loads(result.stdout)
    assert (row["n"], row["right_at_1"] > 0.5) == (6, True)
    # With the titles in it, every one would be right
    with closing(sqlite3.connect(articles_db)) as conn:
        conn.execute("update articles set title = 'Kittens' where id = 4")
        conn.execute("update articles set title = 'Tax return' where id = 5")
        conn.commit()
    run("sync", articles_db)
    [swapped] = json.loads(run(*arguments, "--format", "json").stdout)
    assert swapped["right_at_1"] == pytest.approx(row["right_at_1"] - 2 / 6)
    assert list(temporary.glob("datasette-embeddings-*")) == []
    assert before != articles_db.read_bytes()


def test_a_sample_is_always_the_same(run, articles_db, tmp_path):
    rows = [f"Kittens {n},{1 + n % 6}" for n in range(60)]
    path = tmp_path / "questions.csv"
    path.write_text("\n".join(["q,relevant", *rows]))
    arguments = "evaluate", articles_db, "articles", path, *MEANING, "--sample", 30
    first, second = (run(*arguments, "--format", "nl") for _ in range(2))
    assert first.stderr == "30 of 60 questions, drawn at random\n"
    rows = [json.loads(each.stdout) for each in (first, second)]
    assert [row.pop("p50_ms") > 0 for row in rows] == [True, True]
    assert rows[0] == rows[1]
    assert rows[0]["n"] == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Expected a file of QUESTIONS"),
        (["--known-item", "nothing"], "No column 'nothing' in the table 'articles'"),
        (["--compare", "nothing", "--known-item", "title"], "No collection 'nothing'"),
    ],
)
def test_a_wrong_request_is_explained(run, articles_db, arguments, message):
    result = run("evaluate", articles_db, "articles", *arguments)
    assert (result.exit_code, message in result.stderr) == (1, True)


def test_a_collection_without_words_is_searched_by_meaning(run, articles_db, questions):
    run("embed", articles_db, "bare", "--table", "articles", "--no-words")
    arguments = "evaluate", articles_db, "bare", questions
    rows = json.loads(run(*arguments, "--format", "json").stdout)
    assert {row["mode"] for row in rows} == {"meaning"}
    for mode in ("words", "both"):
        result = run(*arguments, "--mode", mode)
        assert (result.exit_code, "are not indexed" in result.stderr) == (1, True)


def test_a_column_is_needed_to_search_in(run, articles_db):
    run("embed", articles_db, "titles", "--table", "articles", "--column", "title")
    result = run("evaluate", articles_db, "titles", "--known-item", "title")
    assert result.exit_code == 1
    assert "found only that column in 'titles'" in result.stderr


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_temporary_file(articles_db, temporary, sent):
    with closing(sqlite3.connect(articles_db)) as conn:
        rows = [(n, f"Title {n}", f"Body {n} " * 50) for n in range(100, 4_000)]
        conn.executemany("insert into articles values (?, ?, ?)", rows)
        conn.commit()
    command = [sys.executable, "-m", "datasette", "embeddings", "evaluate"]
    arguments = [str(articles_db), "articles", "--known-item", "title"]
    with subprocess.Popen(
        [*command, *arguments],
        env={**os.environ, "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        while not list(temporary.glob("datasette-embeddings-*/known-items.db")):
            assert program.poll() is None, program.stderr.read()
            time.sleep(0.05)
        program.send_signal(sent)
        assert "Interrupted" in program.stderr.read()
    assert program.returncode == 1
    assert list(temporary.glob("datasette-embeddings-*")) == []


def test_the_questions_of_the_tutorial_have_their_answers_in_the_demo(
    run, demo, tmp_path
):
    text = (REPOSITORY / "docs" / "evaluating.md").read_text("utf-8")
    [table] = re.findall(r"^```csv\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    path = tmp_path / "questions.csv"
    path.write_text(table)
    result = run("evaluate", demo.path, "stdlib", path, "--format", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert {row["n"] for row in json.loads(result.stdout)} == {10, 5, 3, 2}
