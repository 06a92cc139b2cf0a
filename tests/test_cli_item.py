"""One item from the command line, the database by another name, and model options."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from datasette_embeddings import Embeddings
from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.ingest.embed import SIMPLEST_IMAGE
from datasette_embeddings.vectors import decode, encode
from tests.test_cli import lines

NL = ("--format", "nl")
PROGRAMS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture
def run(monkeypatch, articles_db):
    """Run a command beside `articles.db`; its result has exit_code, stdout, stderr."""
    monkeypatch.chdir(articles_db.parent)
    return lambda *arguments, **options: CliRunner().invoke(
        embeddings, [str(argument) for argument in arguments], **options
    )


def query(sql, *parameters):
    with closing(sqlite3.connect("articles.db")) as conn:
        return conn.execute(sql, parameters).fetchall()


def test_one_item_is_stored_with_its_metadata_and_printed(run):
    stored = ["embed", "articles.db", "phrases", "hello", "-c", "Hello world"]
    result = run(*stored, "--metadata", '{"lang": "en"}', "--title", "Hi", "-f", "hex")
    assert result.stderr == "phrases: 1 new, 0 changed, 0 unchanged\n"
    [(vector, content, metadata)] = query(
        "select embedding, content, metadata from embeddings where id = 'hello'"
    )
    assert (vector.hex(), content) == (result.stdout.strip(), "Hello world")
    assert json.loads(metadata) == {"lang": "en", "title": "Hi"}
    assert run(*stored).stdout == ""


def test_one_item_is_kept_by_every_run_over_rows(run):
    run("embed", "articles.db", "articles", "--id", "extra", "-c", "One more")
    run("embed", "articles.db", "articles", "-t", "articles", "--prune")
    run("sync", "articles.db")
    assert query("select content from embeddings where id = 'extra'") == [("One more",)]
    shown = lines(run("collections", "show", "articles.db", "articles"))
    assert (shown[0]["count"], shown[0]["without_source"]) == (7, 1)


def test_an_item_that_did_not_change_is_not_embedded_again(run):
    stored = ["embed", "articles.db", "phrases", "a", "-i", "-"]
    assert "1 new" in run(*stored, input="one").stderr
    assert "0 changed, 1 unchanged" in run(*stored, input="one").stderr
    assert "1 changed" in run(*stored, input="two").stderr


def test_a_vector_needs_no_database_and_is_the_one_that_is_stored(run, model):
    expected = model.embed_passages(["a pet"])[0]
    printed = run("embed", "-c", "a pet", "-f", "blob")
    assert np.array_equal(decode(printed.stdout_bytes), expected)
    assert (
        json.loads(run("embed", "-i", "-", input="a pet").stdout) == expected.tolist()
    )
    assert (
        encode(expected).hex() == run("embed", "-c", "a pet", "-f", "hex").stdout[:-1]
    )


WRONG = {
    "columns": (
        ["articles.db", "x", "-t", "articles", "-c", "title"],
        "--column names",
    ),
    "a table": (
        ["-i", "f.txt", "--table", "t"],
        "--input goes with one item, not with",
    ),
    "a prune": (
        ["-c", "x", "--prune"],
        "--content goes with one item, not with --prune",
    ),
    "metadata": (["-c", "x", "--metadata", "{}"], "name DB, COLLECTION and ID"),
    "no store": (["-c", "x", "--no-store"], "--store goes with an item that is stored"),
    "only a name": (["articles", "-c", "x"], "found only articles"),
    "no id": (["articles.db", "x", "-c", "x"], "after COLLECTION or with --id; found"),
    "two ids": (["articles.db", "x", "a", "--id", "b", "-c", "x"], "found 'b' and 'a'"),
    "no text": (["-c", " "], "found an empty one"),
    "two texts": (["-c", "x", "-i", "f.txt"], "or --input FILE, found both"),
    "binary text": (["-c", "x", "--binary"], "found --binary with --content"),
    "no JSON": (
        ["articles.db", "x", "a", "-c", "x", "--metadata", "year"],
        "Expected one JSON object as --metadata",
    ),
    "a list": (
        ["articles.db", "x", "a", "-c", "x", "--metadata", "[1]"],
        "found '[1]'",
    ),
    "bytes": (
        ["-i", "image"],
        "To embed them as they are, use: --binary --input image",
    ),
    "a model of texts": (["-i", "image", "--binary"], "takes texts, not images"),
    "a collection of it": (
        ["new.db", "x", "a", "-i", "image", "--binary"],
        "takes texts, not images; choose one that takes images with --model",
    ),
    "no file": (["-i", "nowhere"], "nowhere cannot be read: No such file"),
    "a key": (["-c", "x", "--key", "k"], "--key goes with a model behind an API"),
    "rows as hex": (
        ["articles.db", "x", "-f", "hex"],
        "--format hex goes with one item",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_mixture_names_the_right_option(run, articles_db, name):
    (articles_db.parent / "image").write_bytes(SIMPLEST_IMAGE)
    (articles_db.parent / "f.txt").write_text("text")
    before = articles_db.read_bytes()
    arguments, message = WRONG[name]
    result = run("embed", *arguments)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert message in result.stderr
    assert articles_db.read_bytes() == before
    assert not (articles_db.parent / "new.db").exists()


@pytest.mark.parametrize("command", ["embed", "embed-multi"])
def test_llms_name_of_embed_is_understood_and_not_shown(run, command):
    assert run(command, "articles.db", "articles").exit_code == 0
    assert "embed-multi" not in run("--help").stdout


# Each with DB first, and what has to stand in its output
COMMANDS = {
    "search": (["articles", "pets", "-n", "1"], "Kittens"),
    "similar": (["articles", "5", "-n", "1"], "Sourdough"),
    "sync": ([], "6 unchanged"),
    "check": ([], "nothing is wrong"),
    "export": (["articles"], "6 items written"),
    "similarities": (["articles", "--silent"], "of 6 documents compared"),
    "collections list": ([], "articles"),
    "collections show": (["articles"], '"count": 6'),
    "models": ([], "all-MiniLM-L6-v2"),
    "embed": (["articles"], "6 unchanged"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_the_database_may_be_an_option_or_in_the_environment(run, monkeypatch, command):
    arguments, shown = COMMANDS[command]
    first = run(*command.split(), "articles.db", *arguments)
    option = run(*command.split(), *arguments, "-d", "articles.db")
    monkeypatch.setenv("DATASETTE_EMBEDDINGS_DB", "articles.db")
    variable = run(*command.split(), *arguments)
    for result in (first, option, variable):
        assert (result.exit_code, shown in result.output) == (0, True), result.output
    again = run(*command.split(), "articles.db", *arguments)
    assert (again.exit_code, "Leave out one of them" in again.stderr) == (2, True)
    assert "DATASETTE_EMBEDDINGS_DB names the database articles.db" in again.stderr


def test_an_option_goes_before_the_environment(run, monkeypatch):
    monkeypatch.setenv("DATASETTE_EMBEDDINGS_DB", "nowhere.db")
    assert run("search", "articles", "pets", "-d", "articles.db").exit_code == 0
    assert "at nowhere.db, found nothing" in run("search", "articles", "pets").stderr


def test_a_database_that_is_not_named_is_asked_for(run):
    result = run("sync")
    assert (result.exit_code, result.stderr.splitlines()[-1]) == (
        2,
        "Error: Expected a database file, as the first argument, with --database or in "
        "DATASETTE_EMBEDDINGS_DB",
    )


def test_the_default_model_is_that_of_the_settings_then_of_the_environment(
    run, monkeypatch, tmp_path
):
    settings = {"default_model": "of-the-settings"}
    (tmp_path / "m.json").write_text(
        json.dumps({"plugins": {"datasette-embeddings": settings}})
    )
    monkeypatch.setenv("DATASETTE_EMBEDDINGS_MODEL", "of-the-environment")
    for options, model in {
        (): "of-the-environment",
        ("--config", "m.json"): "of-the-settings",
        ("-m", "of-the-option", "--config", "m.json"): "of-the-option",
    }.items():
        result = run("embed", "-c", "x", *options)
        assert f"The model {model!r} is not available" in result.stderr
    # A collection has its own
    assert run("embed", "articles.db", "articles").exit_code == 0


def test_similar_takes_a_text_or_a_file_and_a_prefix(run):
    similar = ["similar", "articles.db", "articles", "--format", "nl"]
    by_text = lines(run(*similar, "-c", "food for pets"))
    assert by_text == lines(run(*similar, "-i", "-", input="food for pets"))
    assert by_text[0]["id"] == "5"
    searched = ["search", "articles.db", "articles", "food for pets", "--mode"]
    assert by_text == lines(run(*searched, "meaning", "--format", "nl"))
    for asked in ([*similar, "5"], [*similar, "-c", "pets"]):
        assert [each["id"] for each in lines(run(*asked, "--prefix", "3"))] == ["3"]
    assert [e["id"] for e in lines(run(*searched, "both", "--prefix", "3", *NL))] == [
        "3"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Expected one of ID, --content TEXT and --input FILE"),
        (["5", "-c", "x"], "Expected one of ID, --content TEXT and --input FILE"),
        (["5", "--binary"], "--binary goes with --input FILE"),
        (["5", "-p", *NL], "Expected --plain or --format, found both"),
        (["-i", "articles.db"], "use: --binary --input articles.db"),
    ],
)
def test_similar_is_asked_one_thing(run, arguments, message):
    result = run("similar", "articles.db", "articles", *arguments)
    assert (result.exit_code, message in result.stderr) == (1, True), result.output


def test_what_is_prepended_is_remembered_and_not_stored(run, model):
    row = [("1", "a cat")]
    embed = ["embed", "articles.db", "pets", "-", "--input-format", "csv"]
    assert run(*embed, "--prepend", "passage: ", input=csv_of(row)).exit_code == 0
    expected = model.embed_passages(["passage: a cat", "passage: a dog"])
    assert run(*embed, input=csv_of([*row, ("2", "a dog")])).exit_code == 0
    run("embed", "articles.db", "pets", "3", "-c", "a dog")
    sql = "select id, content, embedding from embeddings where collection_id = 2"
    found = {item_id: (text, decode(vector)) for item_id, text, vector in query(sql)}
    assert [found["1"][0], found["2"][0]] == ["a cat", "a dog"]
    assert found["1"][1] == pytest.approx(expected[0], abs=1e-6)
    assert found["2"][1] == pytest.approx(expected[1], abs=1e-6)
    assert np.array_equal(found["2"][1], found["3"][1])
    # No query has it
    asked = ["search", "articles.db", "pets", "a cat", "--mode", "meaning", *NL]
    best = lines(run(*asked))[0]
    assert best["cosine"] == pytest.approx(
        float(model.embed_query("a cat") @ expected[0]), abs=1e-6
    )
    refused = run(*embed, "--prepend", "text: ", input=csv_of(row))
    assert (refused.exit_code, "--rebuild" in refused.stderr) == (1, True)
    with Embeddings("articles.db") as db:
        db.collection("pets").embed("4", "a dog")
    [vector] = [
        decode(vector) for item_id, _text, vector in query(sql) if item_id == "4"
    ]
    assert np.array_equal(vector, found["2"][1])


def test_a_sync_and_a_rebuild_keep_what_is_prepended_until_it_is_taken_away(run, model):
    embed = ["embed", "articles.db", "bodies", "-t", "articles", "--column", "body"]
    run(*embed, "--prepend", "passage: ")
    with closing(sqlite3.connect("articles.db")) as conn:
        conn.execute("update articles set body = 'Cats' where id = 5")
        conn.commit()
    sql = """
        select embedding
        from embeddings
        join collections on collections.id = collection_id
        where name = 'bodies' and embeddings.id = '5'
    """
    for arguments, text in (
        (["sync", "articles.db", "bodies"], "passage: Cats"),
        (["sync", "articles.db", "bodies", "--rebuild"], "passage: Cats"),
        ([*embed, "--rebuild", "--prepend", ""], "Cats"),
    ):
        assert run(*arguments).exit_code == 0
        [(vector,)] = query(sql)
        expected = model.embed_passages([text])[0]
        assert decode(vector) == pytest.approx(expected, abs=1e-6)


def csv_of(rows):
    return "".join(f"{','.join(row)}\n" for row in [("id", "text"), *rows])


def test_no_store_keeps_no_text_at_all(run):
    rows = csv_of([("1", "a very secret text")])
    run("embed", "articles.db", "secrets", "-", "--no-store", input=rows)
    run("embed", "articles.db", "secrets", "2", "-c", "secret, too", "--no-store")
    kept = "select content from embeddings where collection_id = 2"
    assert query(kept) == [(None,), (None,)]
    [shown] = lines(run("collections", "show", "articles.db", "secrets"))
    assert (shown["words"], shown["indexed"]) == ("none", 0)
    assert lines(run("search", "articles.db", "secrets", "x", "--mode", "meaning", *NL))


def test_no_store_says_that_words_have_the_texts(run):
    rows = csv_of([("1", "a text")])
    run("embed", "articles.db", "x", "-", input=rows)
    said = run("embed", "articles.db", "x", "-", "--no-store", input=rows).stderr
    assert "the words of x are indexed, with their texts; --no-words keeps none" in said
    said = run("embed", "articles.db", "x", "2", "-c", "text", "--no-store").stderr
    assert "Note: the words of x are indexed" in said
    said = run("embed", "articles.db", "x", "-", "--no-store", "--no-words", input=rows)
    assert "Note" not in said.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_what_the_docs_turn_on():
    """The function of click, called as Tab calls it."""
    script = """
        eval "$(_DATASETTE_COMPLETE=bash_source datasette)"
        COMP_WORDS=(datasette embeddings embed docs.db x --pre); COMP_CWORD=5
        _datasette_completion datasette
        echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": PROGRAMS},
    )
    assert done.stdout.strip() == "--prefix --prepend"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["simila"], ["similarities", "similar"]),
        (["collections", "re"], ["rename"]),
        (["search", "docs.db", "x", "--mode", "m"], ["meaning"]),
    ],
)
def test_commands_and_values_are_completed(words, expected):
    completion = ShellComplete(embeddings, {}, "embeddings", "_EMBEDDINGS_COMPLETE")
    found = completion.get_completions(words[:-1], words[-1])
    assert [each.value for each in found] == expected
