"""`sync`: declared and remembered collections, in one command."""

from __future__ import annotations

import json
import shutil
import sqlite3
from functools import partial

import pytest
import yaml
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.store import collections
from datasette_embeddings.store.collections import collection
from datasette_embeddings.web.permissions import required_tables


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments, **options: CliRunner().invoke(
        embeddings, [str(argument) for argument in arguments], **options
    )


@pytest.fixture
def settings(tmp_path):
    """Write declared collections; the path of the file."""

    def write(collections, *, database=None, suffix="yml"):
        plugins = {"plugins": {"datasette-embeddings": {"collections": collections}}}
        content = {"databases": {database: plugins}} if database else plugins
        path = tmp_path / f"settings.{suffix}"
        as_yaml = partial(yaml.safe_dump, sort_keys=False)
        dump = json.dumps if suffix == "json" else as_yaml
        path.write_text(dump(content))
        return path

    return write


def change(path, *statements):
    conn = sqlite3.connect(path)
    for sql in statements:
        conn.execute(sql)
    conn.commit()
    conn.close()


def counts(path):
    conn = sqlite3.connect(path)
    found = {each.name: each.count_items() for each in collections.collections(conn)}
    conn.close()
    return found


def test_a_remembered_collection_is_brought_up_to_date(run, articles_db):
    change(
        articles_db,
        "delete from articles where id = 1",
        "update articles set body = 'x' where id = 2",
        "insert into articles values (7, 'new', 'row')",
    )
    result = run("sync", articles_db)
    assert (result.exit_code, result.stderr) == (
        0,
        "articles: 1 new, 1 changed, 4 unchanged, "
        "1 no longer in the source (deleted)\n",
    )
    assert (
        run("sync", articles_db).stderr == "articles: 0 new, 0 changed, 6 unchanged\n"
    )


@pytest.mark.parametrize("suffix", ["yml", "json"])
@pytest.mark.parametrize("database", [None, "articles"], ids=["everywhere", "for one"])
def test_declared_collections_are_built(run, articles_db, settings, suffix, database):
    declared = {
        "titles": {"sql": "select id, title from articles", "prefix": "t/"},
        "bodies": {"table": "articles", "columns": ["body"], "metadata": ["title"]},
    }
    path = settings(declared, database=database, suffix=suffix)
    result = run("sync", articles_db, "--config", path)
    assert result.stderr.splitlines() == [
        "titles: 6 new, 0 changed, 0 unchanged",
        "bodies: 6 new, 0 changed, 0 unchanged",
        "articles: 0 new, 0 changed, 6 unchanged",
    ]
    assert counts(articles_db) == {"articles": 6, "bodies": 6, "titles": 6}


def test_what_is_declared_for_another_database_is_not_built(run, articles_db, settings):
    path = settings({"titles": {"table": "articles"}}, database="other")
    run("sync", articles_db, "--config", path)
    assert list(counts(articles_db)) == ["articles"]


def test_a_declaration_that_changes_is_followed(run, articles_db, settings):
    run("sync", articles_db, "--config", settings({"x": {"table": "articles"}}))
    declared = {"x": {"table": "articles", "chunk": "fixed", "chunk_size": 20}}
    result = run("sync", articles_db, "x", "--config", settings(declared))
    assert result.stderr.startswith("x: 0 new, 6 changed, 0 unchanged")


def test_only_the_named_collections_are_brought_up_to_date(run, articles_db, settings):
    path = settings({"x": {"table": "articles"}, "y": {"table": "articles"}})
    run("sync", articles_db, "y", "--config", path)
    assert list(counts(articles_db)) == ["articles", "y"]
    result = run("sync", articles_db, "z", "--config", path)
    assert (result.exit_code, "No collection 'z'" in result.stderr) == (1, True)


def test_a_problem_with_one_collection_does_not_stop_the_others(
    run, articles_db, settings
):
    path = settings({"bad": {"table": "nowhere"}, "good": {"table": "articles"}})
    result = run("sync", articles_db, "--config", path)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "Error: bad: No table 'nowhere' in this database: it has 'articles', "
        "'collections', 'embeddings'",
        "good: 6 new, 0 changed, 0 unchanged",
        "articles: 0 new, 0 changed, 6 unchanged",
    ]


def test_rows_that_fail_make_the_exit_code_2(run, articles_db):
    change(articles_db, "insert into articles values (7, x'00', 'a blob')")
    result = run("sync", articles_db)
    assert result.exit_code == 2
    assert "1 failed; the next run tries again" in result.stderr
    assert "  7: The row has a BLOB among its content" in result.stderr


def test_what_cannot_be_read_again_is_left_as_it_is(run, articles_db):
    run("embed", articles_db, "piped", "-", input='{"id": 1, "text": "a text"}\n')
    change(
        articles_db, "insert into collections (name, model) values ('llm', 'mini-l6')"
    )
    result = run("sync", articles_db)
    assert result.exit_code == 0
    assert result.stderr.splitlines()[1:] == [
        "llm: left as it is: Python code or another program stored its items, "
        "which have no source",
        "piped: left as it is: its rows came from standard input; pipe them to embed "
        "again",
    ]
    assert counts(articles_db)["piped"] == 1


def test_files_are_read_again(run, articles_db, tmp_path):
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.md").write_text("First note")
    (notes / "b.md").write_text("Second note")
    (tmp_path / "rows.csv").write_text("id,text\n1,one\n")
    run("embed", articles_db, "notes", "--files", "notes", "*.md")
    run("embed", articles_db, "rows", "rows.csv")
    (notes / "a.md").unlink()
    (notes / "b.md").write_text("Second note, longer")
    (tmp_path / "rows.csv").write_text("id,text\n1,one\n2,two\n")
    assert run("sync", articles_db).stderr.splitlines()[1:] == [
        "notes: 0 new, 1 changed, 0 unchanged, 1 no longer in the source (deleted)",
        "rows: 1 new, 0 changed, 1 unchanged",
    ]


def test_a_folder_that_is_gone_deletes_nothing(run, articles_db, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.md").write_text("First note")
    run("embed", articles_db, "notes", "--files", "notes", "*.md")
    shutil.rmtree(tmp_path / "notes")
    result = run("sync", articles_db)
    assert (result.exit_code, counts(articles_db)["notes"]) == (1, 1)
    assert (
        f"Error: notes: Expected a folder at {tmp_path / 'notes'}, found nothing"
        in result.stderr
    )


def test_a_dry_run_says_what_would_be_done(run, articles_db, settings):
    change(articles_db, "delete from articles where id = 1")
    before = articles_db.read_bytes()
    path = settings({"x": {"table": "articles"}})
    result = run("sync", articles_db, "--config", path, "--dry-run")
    first, second = result.stderr.splitlines()
    assert first == "x: would be: 5 new, 0 changed, 0 unchanged"
    assert second == (
        "articles: would be: 0 new, 0 changed, 5 unchanged, 1 no longer in the source "
        "(to be deleted)"
    )
    assert articles_db.read_bytes() == before


def test_a_script_reads_an_object_a_collection(run, articles_db, settings):
    path = settings({"x": {"table": "articles"}})
    result = run("sync", articles_db, "--config", path, "--format", "json")
    reports = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["collection"], each["new"]) for each in reports] == [
        ("x", 6),
        ("articles", 0),
    ]


def test_the_source_of_a_query_is_looked_at_again(run, articles_db):
    change(
        articles_db,
        "create table secret (id integer primary key, body text)",
        "insert into secret values (1, 'hidden')",
        "create view shown as select id, title from articles",
    )
    run("embed", articles_db, "x", "--sql", "select * from shown")
    change(
        articles_db,
        "drop view shown",
        "create view shown as select id, body from secret",
    )
    result = run("sync", articles_db, "x")
    assert result.stderr == (
        "x: 0 new, 1 changed, 0 unchanged, 5 of the replaced source (deleted)\n"
    )
    conn = sqlite3.connect(articles_db)
    asked = required_tables(collection(conn, "x"))
    conn.close()
    assert asked == {"secret", "shown"}


BAD_SETTINGS = {
    "not YAML": ("a: [", "is neither YAML nor JSON"),
    "a list": ("[1]", "Expected a mapping in"),
    "no mapping": ({"x": 3}, "collections.x: expected a mapping, found 3"),
    "unknown": (
        {"x": {"tables": "t"}},
        "collections.x.tables: unknown, expected one of table, sql",
    ),
    "kind": ({"x": {"table": 3}}, "collections.x.table: expected a text, found 3"),
    "flag": ({"x": {"store": "yes"}}, "x.store: expected true or false, found 'yes'"),
    "number": ({"x": {"chunk_size": -1}}, "x.chunk_size: expected a whole number"),
    "names": ({"x": {"columns": [1]}}, "expected a name or a list of names"),
    "pairs": ({"x": {"files": ["a"]}}, "x.files: expected names, each with a text"),
    "nothing": ({"x": {"model": "mini-l6"}}, "Expected table, sql, input or files"),
    "method": ({"x": {"table": "articles", "chunk": "pages"}}, "a chunking method"),
    "two": ({"x": {"table": "a", "sql": "b"}}, "Expected one of table, sql, input"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_wrong_settings_are_named_and_nothing_is_written(
    run, articles_db, settings, tmp_path, name
):
    content, message = BAD_SETTINGS[name]
    if isinstance(content, str):
        path = tmp_path / "settings.yml"
        path.write_text(content)
    else:
        path = settings(content)
    before = counts(articles_db)
    result = run("sync", articles_db, "--config", path)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert counts(articles_db) == before


def test_a_database_without_collections_says_so(run, tmp_path):
    sqlite3.connect("x.db").close()
    change("x.db", "create table t (a)")
    assert run("sync", "x.db").stderr == (
        "x.db has no collections, and none is declared\n"
    )
