"""A real Datasette process, as a visitor reaches it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from tests.datasette.conftest import execute, served


def get(url):
    with urllib.request.urlopen(url) as response:
        return json.load(response)


def test_first_visitors_who_come_together_all_get_the_answer(articles_db):
    with served(articles_db, with_model=False) as url:
        path = f"{url}/articles/-/embeddings/articles.json?q="
        texts = ["pets", "baking", "astronomy"] * 10
        with ThreadPoolExecutor(len(texts)) as pool:
            answers = list(pool.map(get, [path + text for text in texts]))
    titles = [answer["matches"][0]["title"] for answer in answers]
    assert titles == ["Kittens", "Sourdough", "Night sky"] * 10


@pytest.mark.parametrize(
    "journal_mode", ["wal", pytest.param("delete", marks=pytest.mark.long)]
)
def test_a_server_sees_what_the_cli_commits_while_it_runs(articles_db, journal_mode):
    execute(articles_db, f"pragma journal_mode = {journal_mode}")
    with served(articles_db) as url:
        path = f"{url}/articles/-/embeddings/articles.json?q=chess&_size=1"
        assert get(path)["matches"][0]["title"] != "Chess"
        insert = "insert into articles values (7, 'Chess', 'Openings and endgames')"
        execute(articles_db, insert)
        command = ["embed", str(articles_db), "articles", "--table", "articles"]
        done = CliRunner().invoke(embeddings, command)
        assert done.exit_code == 0, done.output
        assert get(path)["matches"][0]["title"] == "Chess"


@pytest.mark.parametrize(
    "journal_mode",
    [
        pytest.param("delete", marks=pytest.mark.long(datasette="0.65")),
        pytest.param("wal", marks=pytest.mark.long),
    ],
)
def test_a_server_answers_while_a_run_writes(articles_db, journal_mode):
    execute(
        articles_db,
        f"pragma journal_mode = {journal_mode}",
        """
        with numbers(n) as (select 1 union all select n + 1 from numbers where n < 300)
        insert into articles (title, body) select 'Text ' || n, 'of many' from numbers
        """,
    )
    command = [sys.executable, "-m", "datasette", "embeddings", "embed"]
    with served(articles_db) as url:
        path = f"{url}/articles/-/embeddings/articles.json?q=pets&_size=1"
        process = subprocess.Popen([*command, articles_db, "articles", "--silent"])
        counts = []
        while process.poll() is None:
            answer = get(path)
            assert answer["matches"][0]["title"] == "Kittens"
            counts.append(answer["collection"]["count"])
        assert process.returncode == 0
        assert get(path)["collection"]["count"] == 306
    assert counts == sorted(counts)
    assert len(counts) > 3


def test_visitors_change_no_database_and_are_told_what_is_not_there(articles_db):
    before = articles_db.read_bytes()
    with served(articles_db) as url:
        for path in ("/-/embeddings", "/articles/-/embeddings/articles?q=pets"):
            urllib.request.urlopen(url + path).close()
        with pytest.raises(urllib.error.HTTPError) as raised:
            get(f"{url}/articles/-/embeddings/nowhere.json?q=x")
        with raised.value as answer:
            body = json.load(answer)
    assert (answer.code, body["status"], body["ok"]) == (404, 404, False)
    assert articles_db.read_bytes() == before


def test_a_wrong_setting_ends_the_start_with_one_message(articles_db, tmp_path):
    metadata = {"plugins": {"datasette-embeddings": {"max_size": "many"}}}
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    arguments = ["-m", str(tmp_path / "metadata.json"), "--get", "/"]
    result = subprocess.run(
        [sys.executable, "-m", "datasette", str(articles_db), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    message = "max_size: expected a whole number of at least 1, found 'many'"
    assert (result.returncode != 0, message in result.stderr) == (True, True)


def test_a_locked_database_is_searched_all_the_same(articles_db):
    writer = sqlite3.connect(articles_db)
    writer.execute("begin immediate")
    writer.execute("delete from articles")
    with served(articles_db) as url:
        path = f"{url}/articles/-/embeddings/articles.json?q=pets&_size=1"
        assert get(path)["matches"][0]["title"] == "Kittens"
    writer.rollback()
    writer.close()
