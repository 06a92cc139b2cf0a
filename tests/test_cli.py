from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from importlib import metadata
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import SECTIONS, embeddings
from datasette_embeddings.errors import DatabaseError
from datasette_embeddings.models.onnx import BUNDLED_FOLDER
from datasette_embeddings.store.collection_writes import (
    create_collection,
    delete_collection,
)

DATASETTE = [sys.executable, "-m", "datasette", "embeddings"]


@pytest.fixture
def run():
    """Run a command in this process; its result has exit_code, stdout and stderr."""
    return lambda *arguments, **options: CliRunner().invoke(
        embeddings, [str(argument) for argument in arguments], **options
    )


def lines(result):
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.fixture
def source_db(tmp_path, articles_db):
    """A database with the table `articles` and no collection."""
    conn = sqlite3.connect(articles_db)
    delete_collection(conn, "articles")
    conn.close()
    return articles_db


def test_embed_says_what_it_did(run, source_db):
    arguments = ["embed", source_db, "mine", "-t", "articles", "--column", "body"]
    first, second = run(*arguments), run(*arguments)
    assert first.stderr == "mine: 6 new, 0 changed, 0 unchanged\n"
    assert second.stderr == "mine: 0 new, 0 changed, 6 unchanged\n"
    assert (first.exit_code, second.exit_code) == (0, 0)


def test_embed_takes_a_query(run, source_db):
    sql = "select 'a' || id, title from articles where id < 3"
    assert run("embed", source_db, "mine", "--sql", sql).exit_code == 0
    found = lines(run("similar", source_db, "mine", "a1", "--format", "nl"))
    assert [(each["id"], each["content"]) for each in found] == [("a2", "Night sky")]


def test_embed_tells_of_rows_that_it_left_out(run, source_db):
    conn = sqlite3.connect(source_db)
    conn.execute("update articles set title = '', body = null where id = 1")
    conn.execute("update articles set body = ? where id = 2", ["word " * 300])
    conn.commit()
    conn.close()
    arguments = ["embed", source_db, "mine", "-t", "articles", "--chunk", "none"]
    assert run(*arguments).stderr == (
        "mine: 5 new, 0 changed, 0 unchanged, 1 without content, not embedded, "
        "1 cut to the model's length (--chunk splits them)\n"
    )


def test_a_folder_without_the_name_of_a_collection_is_told_of(run, articles_db):
    folder = articles_db.parent
    for database in (articles_db, folder / "new.db"):
        result = run("embed", database, folder)
        assert f"the name of the collection: DB NAME {folder}\n" in result.stderr
        assert result.exit_code == 1
    assert not (folder / "new.db").exists()


def test_embed_needs_no_source_the_second_time(run, articles_db):
    conn = sqlite3.connect(articles_db)
    conn.execute("insert into articles values (7, 'Chess', 'Openings')")
    conn.commit()
    conn.close()
    result = run("embed", articles_db, "articles")
    assert result.stderr == "articles: 1 new, 0 changed, 6 unchanged\n"
    result = run("embed", articles_db, "articles", "--chunk", "fixed")
    assert (result.exit_code, "to say what to embed" in result.stderr) == (1, True)


def test_embed_tells_a_script_what_it_did(run, source_db):
    rows = '{"id": "a", "text": "one"}\n{"id": "b", "text": \n'
    arguments = ["embed", source_db, "mine", "-", "--format", "json"]
    result = run(*arguments, input=rows)
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {
        "collection": "mine",
        "new": 1,
        "changed": 0,
        "metadata": 0,
        "unchanged": 0,
        "empty": 0,
        "failed": 1,
        "unread": 1,
        "truncated": 0,
        "chunks": None,
        "gone": 0,
        "pruned": False,
        "replaced": 0,
        "is_dry_run": False,
        "failures": [{"id": "row 2", "error": "Line 2 is no JSON: Expecting value"}],
        "advice": None,
        "left_out": {},
    }


def test_only_the_first_failures_are_printed(run, source_db):
    rows = "id,text\n" + "".join(f"{number}\n" for number in range(15))
    result = run("embed", source_db, "mine", "-", input=rows)
    lines = result.stderr.splitlines()
    assert lines[0] == (
        "mine: 0 new, 0 changed, 0 unchanged, 15 failed; the next run tries again"
    )
    assert len(lines) == 12
    assert lines[-1] == "  … and 5 more: datasette embeddings check"


def test_the_chunks_of_a_document_are_shown_with_their_place(run, source_db):
    options = [
        "-t",
        "articles",
        "--column",
        "body",
        "--chunk",
        "fixed",
        "--chunk-size",
        "6",
    ]
    run("embed", source_db, "mine", *options)
    result = run("search", source_db, "mine", "planets", "-n", 1)
    assert "Night sky  (meaning; characters " in result.stdout
    arguments = ["search", source_db, "mine", "planets", "--format", "nl"]
    best, everything = lines(run(*arguments)), lines(run(*arguments, "--all-chunks"))
    assert (len(best), len(everything)) == (6, 10)


def test_files_and_pipes_need_no_database_that_is_there(run, tmp_path):
    path = tmp_path / "new.db"
    result = run("embed", path, "notes", tmp_path / "nowhere.csv")
    assert (result.exit_code, path.exists()) == (1, False)
    rows = '{"id": 1, "text": "one"}'
    assert run("embed", path, "notes", "-", input=rows).exit_code == 0
    assert len(lines(run("search", path, "notes", "one", "--format", "nl"))) == 1


def test_embed_prunes_on_request(run, articles_db):
    conn = sqlite3.connect(articles_db)
    conn.execute("delete from articles where id = 1")
    conn.commit()
    conn.close()
    arguments = ["embed", articles_db, "articles", "-t", "articles"]
    assert (
        "1 no longer in the source (kept: --prune deletes them)"
        in run(*arguments).stderr
    )
    assert "1 no longer in the source (deleted)" in run(*arguments, "--prune").stderr
    assert "gone" not in run(*arguments).stderr


def test_embed_warns_of_a_table_without_primary_key(run, source_db):
    conn = sqlite3.connect(source_db)
    conn.execute("create table notes (body text)")
    conn.execute("insert into notes values ('a note')")
    conn.commit()
    conn.close()
    result = run("embed", source_db, "notes", "-t", "notes")
    assert (result.exit_code, "VACUUM can renumber it" in result.stderr) == (0, True)


def test_search_prints_for_people(run, articles_db):
    result = run("search", articles_db, "articles", "pets", "-n", 1)
    score, title, matched = result.stdout.splitlines()[0].split("  ")
    assert (title, matched) == ("Kittens", "(meaning)")
    assert (0 < float(score) < 1, result.stderr) == (True, "")


def test_search_goes_by_words_by_meaning_or_by_both(run, articles_db, monkeypatch):
    """By words, no model is loaded; by meaning, the score is the cosine."""
    asked = ["search", articles_db, "articles", "night sky", "--format", "nl", "-n", 1]
    [both] = lines(run(*asked))
    assert both == lines(run(*asked, "--mode", "both"))[0]
    assert {"words", "meaning"} <= {*both["matched"]}
    [meaning] = lines(run(*asked, "--mode", "meaning"))
    assert (meaning["score"], meaning["matched"]) == (meaning["cosine"], ["meaning"])
    monkeypatch.setattr("datasette_embeddings.cli.search.load_model", pytest.fail)
    [words] = lines(run(*asked, "--mode", "words"))
    assert (words["id"], words["cosine"]) == (both["id"], None)
    assert "meaning" not in words["matched"]


def test_search_says_what_matched_in_each_format(run, articles_db):
    asked = ["search", articles_db, "articles", "kittens", "-n", 1]
    assert "Kittens  (exact, words, meaning)\n" in run(*asked).stdout
    by_meaning = run(*asked, "--mode", "meaning").stdout.splitlines()[0]
    assert by_meaning.endswith("  Kittens")
    [row] = csv.DictReader(io.StringIO(run(*asked, "--format", "csv").stdout))
    assert row["matched"] == "exact, words, meaning"


def test_a_typing_error_is_corrected_and_reported_unless_as_typed(run, articles_db):
    asked = ["search", articles_db, "articles", "kitens", "--mode", "words"]
    result = run(*asked)
    assert "Kittens" in result.stdout
    assert result.stderr == (
        "Showing results for: kittens\n"
        "Search for exactly what you typed with --as-typed\n"
    )
    result = run(*asked, "--as-typed")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_min_score_and_min_cosine_are_thresholds_of_their_own(run, articles_db):
    asked = ["search", articles_db, "articles", "kittens", "--format", "nl"]
    found = lines(run(*asked))
    cosines = sorted(each["cosine"] for each in found)
    kept = lines(run(*asked, "--min-cosine", cosines[3]))
    assert sorted(each["cosine"] for each in kept) == cosines[3:]
    least = found[0]["score"]
    assert [each["id"] for each in lines(run(*asked, "--min-score", least))] == ["5"]


@pytest.mark.parametrize("kind", ["none", None])
def test_a_search_by_meaning_only_names_the_command_that_indexes_words(
    run, articles_db, kind
):
    """The command works, and then there is no such note."""
    conn = sqlite3.connect(articles_db)
    conn.execute("drop table _embedding_words_1")
    conn.execute("update _embedding_collections set words = ?", [kind])
    conn.commit()
    conn.close()
    asked = ["search", articles_db, "articles", "kittens", "-n", 1]
    result = run(*asked)
    note, command = result.stderr.strip().split(": datasette embeddings ")
    assert "by meaning only: the words of articles are not indexed" in note
    assert run(*asked, "--mode", "meaning").stderr == ""
    refused = run(*asked, "--mode", "words")
    assert (refused.exit_code, "are not indexed" in refused.stderr) == (1, True)
    assert run(*shlex.split(command)).exit_code == 0
    result = run(*asked)
    assert ("(exact, words, meaning)" in result.stdout, result.stderr) == (True, "")


def test_an_image_is_not_searched_for_by_words(run, articles_db):
    result = run("search", articles_db, "x", "--mode", "words", "--image", articles_db)
    assert result.stderr == (
        "Error: Expected a text to search for by words, not an image\n"
    )


@pytest.mark.parametrize(
    ("arguments", "piped"),
    [(["-"], True), (["-i", "-"], True), (["--input", "question.txt"], False)],
    ids=["dash", "input dash", "file"],
)
def test_a_question_comes_from_standard_input_or_a_file(
    run, articles_db, tmp_path, monkeypatch, arguments, piped
):
    monkeypatch.chdir(tmp_path)
    text = "a pet that has to eat\n" + "often " * 20
    (tmp_path / "question.txt").write_text(text)
    options = ["-n", 1, "--format", "nl"]
    asked = ["search", articles_db, "articles", *options]
    found = lines(run(*asked, *arguments, input=text if piped else None))
    assert found == lines(run(*asked, text))
    assert found[0]["id"] == "5"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "found an empty one"),
        (b" \n", "found an empty one"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), r"found other bytes\. .*use: --image -"),
        (bytes(range(128, 256)) * 9, r"found other bytes\. .*use: --image -"),
        (b"a" * 1_000_001, r"of at most 1,000,000 bytes, found more in standard input"),
    ],
    ids=["empty", "blank", "image", "binary", "long"],
)
def test_a_question_that_is_no_text_is_refused(run, articles_db, content, message):
    result = run("search", articles_db, "articles", "-", input=content)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert re.search(message, result.stderr)


def test_there_is_one_question(run, articles_db):
    for asked in ([], ["text", "-i", "-"], ["-", "--image", __file__]):
        result = run("search", articles_db, "articles", *asked)
        assert result.stderr == (
            "Error: Expected one of TEXT, --input FILE and --image FILE\n"
        )


def test_standard_input_may_be_closed(articles_db):
    arguments = [*DATASETTE, "search", str(articles_db), "articles", "-"]
    result = subprocess.run(
        f"{shlex.join(arguments)} <&-",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, len(result.stderr.splitlines())) == (1, 1)
    assert "standard input cannot be read" in result.stderr


def test_search_writes_llms_keys(run, articles_db):
    found = lines(run("search", articles_db, "articles", "pets", "--format", "nl"))
    assert [list(each) for each in found] == [
        [
            *("id", "score", "cosine", "matched", "title", "headings", "content"),
            *("metadata", "url", "stale"),
        ]
    ] * 6
    assert found[0]["id"] == "5"


def test_search_writes_json_csv_and_tables(run, articles_db):
    arguments = ["search", articles_db, "articles", "pets", "-n", "2", "--format"]
    nl = lines(run(*arguments, "nl"))
    assert json.loads(run(*arguments, "json").stdout) == nl
    rows = list(csv.DictReader(io.StringIO(run(*arguments, "csv").stdout)))
    assert [row["id"] for row in rows] == [each["id"] for each in nl]
    table = run(*arguments, "table").stdout.splitlines()
    assert (table[0].split(), len(table)) == (
        ["id", "score", "cosine", "matched", "title", "content", "metadata", "stale"],
        4,
    )


def test_tables_cut_the_content_to_a_line_and_full_prints_it_all(run, source_db):
    text = "Saturn has rings\n\n" + "and \a moons " * 50
    conn = sqlite3.connect(source_db)
    conn.execute("update articles set body = ? where id = 2", [text])
    conn.commit()
    conn.close()
    run("embed", source_db, "mine", "-t", "articles", "--column", "body")
    for command, asked in [("search", "planets"), ("similar", "1")]:
        arguments = [command, source_db, "mine", asked, "-n", 1, "--format"]
        if command == "similar":
            arguments[arguments.index("-n") + 1] = 10
        [cut] = contents(run(*arguments, "csv"), "2")
        assert cut.startswith("Saturn has rings and")
        assert (len(cut) < 120, cut.endswith("…"), cut.isprintable()) == (True,) * 3
        table = run(*arguments, "table").stdout
        assert max(map(len, table.splitlines())) < 200
        assert contents(run(*arguments, "csv", "--full"), "2") == [text]
        for other in ([], ["--full"]):
            [row] = [
                each
                for each in lines(run(*arguments, "nl", *other))
                if each["id"] == "2"
            ]
            assert row["content"] == text
    shown = run("search", source_db, "mine", "planets", "-n", 1, "--full").stdout
    assert shown.count("moons") == 50
    assert "\a" not in shown


def contents(result, item_id):
    rows = csv.DictReader(io.StringIO(result.stdout))
    return [row["content"] for row in rows if row["id"] == item_id]


def test_search_finds_nothing_above_a_score_that_nothing_has(run, articles_db):
    result = run("search", articles_db, "articles", "pets", "--min-score", "0.99")
    assert (result.exit_code, result.stdout) == (0, "")


def test_collections_are_listed_shown_renamed_and_deleted(run, articles_db):
    row = {
        "name": "articles",
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "count": 6,
        "dimensions": 384,
        "sources": "the table 'articles'",
    }
    assert lines(run("collections", "list", articles_db, "--format", "nl")) == [row]
    shown = lines(run("collections", "show", articles_db, "articles"))[0]
    assert shown["source"]["table"] == "articles"
    assert shown["without_source"] == 0
    described = ("", "the table 'articles'", "current", 6)
    [source] = shown["sources"]
    keys = ("prefix", "description", "state", "count")
    assert tuple(map(source.get, keys)) == described
    run("collections", "rename", articles_db, "articles", "texts")
    renamed = lines(run("collections", "list", articles_db, "--format", "nl"))
    assert renamed == [{**row, "name": "texts"}]
    assert run("collections", "delete", articles_db, "texts", "-y").exit_code == 0
    assert lines(run("collections", "list", articles_db, "--format", "nl")) == []


def test_a_collection_is_deleted_only_after_a_yes(run, articles_db):
    result = run("collections", "delete", articles_db, "articles", input="n\n")
    assert (result.exit_code, "with 6 items?" in result.output) == (1, True)
    assert len(lines(run("collections", "list", articles_db, "--format", "nl"))) == 1


ERRORS = {
    "no database": (
        ["search", "nowhere.db", "articles", "x"],
        "Expected a database file at nowhere.db, found nothing",
    ),
    "a folder": (["search", ".", "articles", "x"], "found a folder"),
    "not SQLite": (["search", "text.db", "articles", "x"], "is not a SQLite database"),
    "no table": (
        ["embed", "articles.db", "x", "-t", "nowhere"],
        "No table 'nowhere' in this database: it has",
    ),
    "no column": (
        ["embed", "articles.db", "x", "-t", "articles", "--column", "text"],
        "No column 'text' in the table 'articles': it has 'id', 'title', 'body'",
    ),
    "no collection": (
        ["search", "articles.db", "nowhere", "x"],
        "No collection 'nowhere' in this database: it has 'articles'",
    ),
    "no item": (["similar", "articles.db", "articles", "9"], "No item '9'"),
    "no model": (
        ["embed", "articles.db", "x", "-t", "articles", "-m", "no-model"],
        "The model 'no-model' is not available. Describe it in the settings",
    ),
    "another model": (
        ["embed", "bare.db", "x", "-t", "articles", "-m", "mini-l6"],
        "The collection 'x' holds vectors of 'other-model', not of",
    ),
    "no query": (["search", "articles.db", "articles", " "], "found an empty one"),
    "limit 0": (
        ["search", "articles.db", "articles", "x", "-n", "0"],
        "from 1; found 0",
    ),
    "no source": (
        ["embed", "articles.db", "x"],
        "Expected a folder, a file of rows, --table or --sql",
    ),
    "two sources": (
        ["embed", "articles.db", "x", "-t", "articles", "--sql", "select 1, 2"],
        "Expected one of table, sql, input, files; found table and sql",
    ),
    "columns of a query": (
        ["embed", "articles.db", "x", "--sql", "select 1, 2", "--title", "t"],
        "'title' goes with table, not with sql",
    ),
    "no query at all": (
        ["embed", "articles.db", "x", "--sql", "drop table a"],
        "query",
    ),
    "no name": (["embed", "articles.db", "", "-t", "articles"], "needs a name"),
    "another shape": (
        ["embed", "openai.db", "x", "--sql", "select 1, 'x'"],
        "The table 'embeddings' has the columns id, embedding; expected",
    ),
    "a vector of another length": (
        ["search", "short.db", "articles", "x"],
        "Expected a vector of 1 dimensions, found 384",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_one_line_that_says_what_to_do(
    run, articles_db, tmp_path, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.db").write_text("This is a letter, no database. " * 50)
    prepare = {
        "openai.db": ["create table embeddings (id text primary key, embedding blob)"],
        "bare.db": ["create table articles (id integer primary key, body text)"],
    }
    for path, statements in prepare.items():
        conn = sqlite3.connect(path)
        for statement in statements:
            conn.execute(statement)
        if path == "bare.db":
            create_collection(conn, "x", "other-model", None)
        conn.close()
    (tmp_path / "short.db").write_bytes(articles_db.read_bytes())
    conn = sqlite3.connect("short.db")
    conn.execute("update embeddings set embedding = x'0000803f'")
    conn.commit()
    conn.close()
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.db")}

    arguments, message = ERRORS[name]
    result = run(*arguments)

    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.db")} == before


def test_a_database_that_another_program_holds_is_named_and_whole(
    run, source_db, monkeypatch
):
    monkeypatch.setattr("datasette_embeddings.databases.BUSY_TIMEOUT_S", 0.2)
    other = sqlite3.connect(source_db)
    other.execute("begin immediate")
    result = run("embed", source_db, "mine", "-t", "articles")
    assert (result.exit_code, "is locked" in result.stderr) == (1, True)
    other.rollback()
    other.close()
    assert run("embed", source_db, "mine", "-t", "articles").exit_code == 0


def test_a_locked_database_can_be_searched_before_the_writer_commits(run, articles_db):
    other = sqlite3.connect(articles_db)
    other.execute("begin immediate")
    other.execute("delete from articles")
    assert run("search", articles_db, "articles", "pets").exit_code == 0
    other.close()


def test_a_read_only_database_is_named_and_kept(source_db):
    # The superuser may write everywhere, so what opens the file runs as another user,
    # who must be able to reach it: hence a folder of its own
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from datasette_embeddings.databases import open_database\n"
        "from datasette_embeddings.errors import DatabaseError\n"
        "if os.geteuid() == 0: os.setgid(65534), os.setuid(65534)\n"
        "try:\n"
        "    with open_database(Path(sys.argv[1]), writable=True) as conn:\n"
        "        conn.execute('create table x (y)')\n"
        "except DatabaseError as problem:\n"
        "    print(problem)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.db"
        shutil.copyfile(source_db, path)
        path.chmod(0o444)
        os.chmod(folder, 0o555)
        result = subprocess.run(
            [sys.executable, "-c", script, str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        os.chmod(folder, 0o755)
        assert "is read-only. Check the permissions" in result.stdout, result.stderr
        assert path.read_bytes() == source_db.read_bytes()


def test_a_full_disk_is_named_and_what_was_there_is_kept(run, source_db, monkeypatch):
    connect = sqlite3.connect

    def connect_to_a_full_disk(*arguments, **options):
        # SQLite's own limit: it answers as it does when the disk has no room
        conn = connect(*arguments, **options)
        pages = conn.execute("pragma page_count").fetchone()[0]
        conn.execute(f"pragma max_page_count = {pages}")
        return conn

    conn = connect(source_db)
    conn.executemany(
        "insert into articles (title) values (?)",
        ((f"number {n}",) for n in range(200)),
    )
    conn.commit()
    conn.execute("vacuum")
    articles = conn.execute("select * from articles").fetchall()
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect_to_a_full_disk)
        result = run("embed", source_db, "mine", "-t", "articles")
    assert (result.exit_code, "the disk is full" in result.stderr) == (1, True)
    assert conn.execute("select * from articles").fetchall() == articles
    assert conn.execute("pragma integrity_check").fetchone() == ("ok",)
    conn.close()
    assert run("embed", source_db, "mine", "-t", "articles").exit_code == 0


@pytest.mark.long
def test_a_killed_run_keeps_what_it_committed_and_the_next_one_completes_it(tmp_path):
    path = tmp_path / "many.db"
    conn = sqlite3.connect(path)
    conn.execute("create table t (id integer primary key, body text)")
    conn.executemany(
        "insert into t (body) values (?)",
        ((f"number {n} of many",) for n in range(4000)),
    )
    conn.commit()
    command = [*DATASETTE, "embed", str(path), "x", "-t", "t"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while stored(conn) == 0 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = stored(conn)
    assert 0 < kept < 4000
    assert conn.execute("pragma integrity_check").fetchone() == ("ok",)
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert finished.stderr == f"x: {4000 - kept:,} new, 0 changed, {kept:,} unchanged\n"
    conn.close()


def stored(conn):
    tables = conn.execute("select 1 from sqlite_master where name = 'embeddings'")
    if tables.fetchone() is None:
        return 0
    return conn.execute("select count(*) from embeddings").fetchone()[0]


def test_the_same_commands_are_in_sqlite_utils(articles_db):
    arguments = ["embeddings", "search", str(articles_db), "articles", "pets"]
    outputs = {
        program: subprocess.run(
            [sys.executable, "-m", program, *arguments],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for program in ("datasette", "sqlite_utils")
    }
    assert outputs["datasette"] == outputs["sqlite_utils"] != ""


def test_the_same_functions_are_in_sqlite_utils(articles_db):
    query = "select json_array_length(embed_search('articles', 'pets', 3)) as found"
    result = subprocess.run(
        [sys.executable, "-m", "sqlite_utils", "query", str(articles_db), query],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(result.stdout) == [{"found": 3}]


def commands(group, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize(
    "path", [path for path, _ in commands(embeddings)], ids=" ".join
)
def test_every_command_has_help(run, path):
    result = run(*path, "--help")
    assert (result.exit_code, len(result.stdout.splitlines()) > 4) == (0, True)
    assert f"      datasette embeddings {' '.join(path)} " in result.stdout


def test_unknown_sqlite_errors_are_passed_on_with_the_file(tmp_path):
    from datasette_embeddings.databases import explained

    problem = explained(sqlite3.OperationalError("no such thing"), tmp_path / "x.db")
    assert isinstance(problem, DatabaseError)
    assert str(problem) == f"{tmp_path / 'x.db'}: SQLite says: no such thing"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--files", "md", "--silent"], "FOLDER GLOB after --files, found the option"),
        (["--files", "md", "--images"], "found the option --images"),
        (["--files", "md", "*.md", "--files", "md", "-c", "x"], "the option -c"),
        (["--table", "--silent"], "after --table, found the option --silent"),
        (["-t", "a", "--column", "--prune"], "after --column, found the option"),
        (["a", "-c", "--prune"], "after --content, found the option --prune"),
    ],
)
def test_an_option_is_never_the_value_of_another(run, tmp_path, arguments, message):
    result = run("embed", tmp_path / "new.db", "notes", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_matching_files_deletes_nothing(run, tmp_path):
    folder, path = tmp_path / "notes", tmp_path / "notes.db"
    folder.mkdir()
    (folder / "a.md").write_text("one")
    embed = ["embed", path, "notes", "--files", folder, "*.md", "--prune"]
    assert run(*embed).exit_code == 0
    (folder / "a.md").rename(tmp_path / "a.md")
    for arguments in (embed, ["sync", path], ["sync", path, "--rebuild"]):
        result = run(*arguments)
        assert result.exit_code == 1
        assert f"Expected files that match '*.md' in {folder}, found" in result.stderr
    shown = lines(run("collections", "show", path, "notes"))
    assert shown[0]["count"] == 1
    (tmp_path / "a.md").rename(folder / "a.md")
    assert "notes: 0 new, 0 changed, 1 unchanged" in run("sync", path).stderr


def test_the_help_of_embed_has_every_option_once_below_its_heading(run):
    text = run("embed", "--help").stdout
    command = dict(commands(embeddings))[("embed",)]
    for option in command.params:
        if option.param_type_name == "option":
            shown = re.findall(rf"(?m)^  (?:-\w, )?{option.opts[-1]}(?![\w-])", text)
            assert len(shown) == 1, option.opts
    headings = [line for line in text.splitlines() if re.match(r"\w.*:$", line)]
    assert headings == [f"{heading}:" for heading in (*command.sections, "Options")]


def test_the_version_is_that_of_the_distribution(run):
    assert run("--version").stdout == (
        f"datasette-semantic-search {metadata.version('datasette-semantic-search')}\n"
    )


def test_collections_and_models_list_without_a_command(run, articles_db):
    for group in ("collections", "models", "embed-models"):
        listed = run(group, "list", articles_db, "--format", "nl")
        assert lines(listed) == lines(run(group, articles_db, "--format", "nl"))
        assert lines(listed) == lines(run(group, "--format", "nl", "-d", articles_db))
    result = run("collections", "nowhere.db")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        2,
        "Error: No such command 'nowhere.db'.",
    )


def test_the_format_of_the_input_has_an_option_of_its_own(run, source_db):
    result = run("embed", source_db, "mine", "-", "--format", "nl", input="")
    assert (result.exit_code, "use --input-format nl" in result.stderr) == (2, True)
    assert "--input-format." in run("embed", "--help").stdout


def test_the_help_lists_every_command_under_a_heading_and_uncut(run):
    text = run("--help").stdout
    for heading, named in SECTIONS.items():
        assert f"\n{heading}:\n" in text
        for name, (_module, line) in named.items():
            assert re.search(rf"(?m)^  {name} +{re.escape(line)}$", text)


def test_embed_keeps_the_model_of_the_collection(run, tmp_path):
    model = tmp_path / "model"
    model.symlink_to(BUNDLED_FOLDER)
    conn = sqlite3.connect(tmp_path / "x.db")
    conn.execute("create table t (id integer primary key, body text)")
    conn.execute("insert into t values (1, 'a text')")
    conn.commit()
    conn.close()
    path = tmp_path / "x.db"
    run("embed", path, "x", "-t", "t", "-m", model)
    assert run("embed", path, "x", "-t", "t").stderr == (
        "x: 0 new, 0 changed, 1 unchanged\n"
    )
    shown = lines(run("collections", "show", path, "x"))[0]
    assert shown["model"] == "./model"


def test_text_that_is_not_utf_8_is_embedded_and_shown(run, source_db):
    conn = sqlite3.connect(source_db)
    conn.execute("update articles set title = cast(x'436166e9' as text) where id = 5")
    conn.commit()
    conn.close()
    assert run("embed", source_db, "x", "-t", "articles").exit_code == 0
    assert "\N{REPLACEMENT CHARACTER}" in run("search", source_db, "x", "cat").stdout


def test_what_would_steer_a_terminal_is_not_printed(run, source_db):
    conn = sqlite3.connect(source_db)
    conn.execute("update articles set title = 'a' || char(27) || ']0;owned' || char(7)")
    conn.commit()
    conn.close()
    run("embed", source_db, "x", "-t", "articles")
    result = run("search", source_db, "x", "cat")
    assert (result.exit_code, "\x1b" in result.stdout, "\x07" in result.stdout) == (
        0,
        False,
        False,
    )


@pytest.mark.parametrize(
    "command",
    [
        "search {db} {name} cat --format table --full",
        "search {db} {name} cat --format table",
        "similar {db} {name} {id} --format table",
        "collections list {db}",
        "check {db}",
    ],
)
def test_no_table_steers_a_terminal(run, tmp_path, command):
    path, steering = tmp_path / "x.db", "\x1b]0;owned\x07\x9b2J\x85"
    conn = sqlite3.connect(path)
    conn.execute("create table t (id text primary key, body)")
    rows = [(f"a{steering}", f"cat{steering}\nb"), (f"{steering}", b"\0")]
    conn.executemany("insert into t values (?, ?)", [*rows, ("c", "dog")])
    conn.commit()
    conn.close()
    name = f"x{steering}"
    run("embed", path, name, "-t", "t", "--column", "body", "--prefix", steering)
    values = {"db": path, "name": name, "id": f"{steering}c"}
    result = run(*(each.format(**values) for each in command.split(" ")))
    assert "]0;owned" in result.output
    printed = result.output.replace("\n", "")
    assert printed.isprintable()


@pytest.mark.parametrize("output_format", ["csv", "json", "nl"])
def test_data_keeps_every_character(run, tmp_path, output_format):
    path, text = tmp_path / "x.db", "cat\x1b]0;owned\x07"
    conn = sqlite3.connect(path)
    conn.execute("create table t (id text primary key, body)")
    conn.execute("insert into t values (?, ?)", [text, text])
    conn.commit()
    conn.close()
    run("embed", path, "x", "-t", "t", "--column", "body")
    arguments = ["search", path, "x", "cat", "--full", "--format", output_format]
    written = run(*arguments).stdout
    if output_format == "csv":
        [row] = csv.DictReader(io.StringIO(written))
    else:
        [row] = (
            json.loads(written) if output_format == "json" else [json.loads(written)]
        )
    assert (row["id"], row["content"]) == (text, text)


def test_ctrl_c_is_one_line_and_keeps_what_was_committed(run, source_db, monkeypatch):
    def interrupt(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("datasette_embeddings.cli.embed.ingest", interrupt)
    result = run("embed", source_db, "x", "-t", "articles")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: Interrupted. What was committed is kept; run it again to go on\n",
    )


def test_the_demo_does_not_touch_a_table_that_is_not_its_own(run, tmp_path):
    conn = sqlite3.connect(tmp_path / "x.db")
    conn.execute("create table functions (a, b, c, d, e, f)")
    conn.execute("insert into functions values (1, 2, 3, 4, 5, 6)")
    conn.commit()
    result = run("demo", tmp_path / "x.db")
    assert (result.exit_code, "'functions' of its own" in result.stderr) == (1, True)
    assert conn.execute("select count(*) from functions").fetchone() == (1,)
    conn.close()


@pytest.mark.parametrize(
    "model_id", ["~no-such-user/x", "x" * 5000, "a\0b"], ids=["user", "long", "nul"]
)
def test_a_model_that_cannot_be_a_path_is_unknown(run, source_db, model_id):
    result = run("embed", source_db, "x", "-t", "articles", "-m", model_id)
    assert (result.exit_code, "is not available" in result.stderr) == (1, True)


MISSING = {
    "a repository": (
        "example/no-model",
        "datasette embeddings models fetch example/no",
    ),
    "a name of the configuration": (
        "e5",
        "Describe it in the settings (a command reads the file that --config",
    ),
}


@pytest.mark.parametrize(("model_id", "way_out"), MISSING.values(), ids=MISSING)
def test_a_missing_model_is_one_line_with_a_way_out_and_reasons_on_demand(
    run, articles_db, model_id, way_out
):
    with closing(sqlite3.connect(articles_db)) as conn, conn:
        conn.execute("update collections set model = ?", [model_id])
    command = ["search", articles_db, "articles", "cats"]
    lines = run(*command).stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"Error: The model {model_id!r} is not available. ")
    assert way_out in lines[0]
    told, *reasons = run(*command, "-v").stderr.splitlines()
    assert told == lines[0]
    assert [each.partition(":")[0].strip() for each in reasons] == [
        "bundled",
        "onnx",
        "sentence-transformers",
        "open_clip",
        "llm",
        "http",
    ]


def test_reasons_of_a_collection_that_sync_cannot_embed(run, articles_db):
    with closing(sqlite3.connect(articles_db)) as conn, conn:
        for table in ("collections", "_embedding_collections"):
            conn.execute(f"update {table} set model = 'e5'")
    result = run("sync", articles_db, "--verbose")
    told, *reasons = result.stderr.splitlines()
    assert told.startswith("Error: articles: The model 'e5' is not available. ")
    assert (result.exit_code, len(reasons)) == (1, 6)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (["similar"], ["articles", "\udcff"]),
        (["search"], ["\udcff", "text"]),
        (["embed"], ["new", "--sql", "select '\udcff'"]),
        (["collections", "rename"], ["articles", "\udcff"]),
    ],
    ids=["id", "collection", "sql", "name"],
)
def test_an_argument_that_is_not_utf_8_is_an_error(
    run, articles_db, command, arguments
):
    run("embed", articles_db, "articles", "--table", "articles")
    result = run(*command, articles_db, *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: Expected text in UTF-8, found ")


@pytest.fixture
def items_db(run, tmp_path):
    """A collection of a pipe, with metadata."""
    rows = "id,text,topic,year\n1,cats purr,pets,2019\n2,dogs bark,pets,2021\n"
    rows += "3,stars shine,sky,2022\n"
    columns = ["--column", "text", "--metadata", "topic", "--metadata", "year"]
    path = str(tmp_path / "items.db")
    run("embed", path, "items", "-", *columns, "--silent", input=rows)
    return path


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--where", "topic = 'pets'", "--sort", "id"], "12"),
        (["--where", "year > :y", "-p", "y", "2020", "--sort-desc", "year"], "32"),
        (["--where", "topic = :t and year < :y", "-p", "t", "sky", "-p", "y", "9"], ""),
        (["--sort", "year"], "123"),
        (["--sort-desc", "topic", "-n", "1"], "1"),
    ],
)
def test_search_and_similar_go_by_metadata(run, items_db, options, expected):
    command = ["search", items_db, "items", "cats purr", "--format", "nl", *options]
    assert [each["id"] for each in lines(run(*command))] == [*expected]


def test_items_like_one_go_by_metadata(run, items_db):
    command = ["similar", items_db, "items", "1", "--format", "nl"]
    found = lines(run(*command, "--where", "topic = 'pets'"))
    assert [each["id"] for each in found] == ["2"]
    found = lines(run(*command, "--sort-desc", "year"))
    assert [each["id"] for each in found] == ["3", "2"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--where", "colour = 1"], "colour; the columns are id, topic, year"),
        (["--where", "year > :y"], "binding"),
        (["--param", "y", "2020"], "Expected --where with --param, found none"),
        (["--sort", "colour"], "No column 'colour' in the metadata of 'items'; it has"),
        (["--sort", "id", "--sort-desc", "id"], "found both"),
    ],
)
def test_a_condition_that_does_not_fit_says_what_there_is(
    run, items_db, options, message
):
    for command in (["search", items_db, "items", "cats"], ["similar", items_db]):
        rest = [] if command[0] == "search" else ["items", "1"]
        result = run(*command, *rest, *options)
        assert (result.exit_code, message in result.stderr) == (1, True)
