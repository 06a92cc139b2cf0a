"""Every command that writes keeps the words index in step with the content."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.search.answers import answer_text
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.store.collections import collection, collections
from datasette_embeddings.store.schema import words_table
from datasette_embeddings.store.words_check import count_indexed, is_damaged, outdated

TABLE = ("--table", "articles")


def run(*arguments, **settings):
    """Our command line, which must succeed."""
    arguments = [str(each) for each in arguments]
    done = CliRunner().invoke(embeddings, arguments, **settings)
    assert done.exit_code == 0, done.output
    return done


def change(path, *statements):
    with closing(sqlite3.connect(path)) as conn, conn:
        for sql in statements:
            conn.execute(sql)


def found(path, text, name="articles", **options):
    """The ids that *text* finds by words alone."""
    with closing(sqlite3.connect(path)) as conn:
        asked = Options(mode="words", as_typed=True, **options)
        answer = answer_text(collection(conn, name), text, model=None, options=asked)
    return [match.document_id for match in answer.matches]


def shown(path, name="articles"):
    row = json.loads(run("collections", "show", path, name).stdout)
    return row["words"], row["indexed"]


@pytest.fixture(autouse=True)
def _in_step(articles_db):
    """At the end of each test, the index has the words of the content, no others."""
    yield
    with closing(sqlite3.connect(articles_db)) as conn:
        for each in collections(conn):
            assert (outdated(each), is_damaged(each)) == ([], False)
        tables = conn.execute(
            "select name from sqlite_master where name glob '_embedding_words_[0-9]*'"
        )
        existing = {
            words_table(each.id) for each in collections(conn) if each.has_words
        }
        assert {re.match(r"_embedding_words_\d+", name)[0] for (name,) in tables} == (
            existing
        )


@pytest.mark.parametrize("command", [("embed", "--prune"), ("sync",)], ids=" ".join)
def test_new_changed_and_deleted_rows_change_the_words(articles_db, command):
    change(
        articles_db,
        "insert into articles values (7, 'Marmalade', 'Boil oranges with sugar.')",
        "update articles set title = 'Cardamom bread' where id = 1",
        "delete from articles where id = 5",
    )
    name, *options = command
    run(name, articles_db, "articles", *(TABLE if name == "embed" else ()), *options)
    assert found(articles_db, "marmalade oranges") == ["7"]
    assert found(articles_db, "cardamom") == ["1"]
    assert found(articles_db, "sourdough") == []
    assert found(articles_db, "kittens") == []
    assert shown(articles_db) == ("english", 6)


def test_a_row_that_is_emptied_loses_its_words(articles_db):
    change(articles_db, "update articles set title = '', body = null where id = 5")
    run("sync", articles_db)
    assert found(articles_db, "kittens") == []


def test_a_new_title_alone_is_indexed_without_the_model(articles_db, monkeypatch):
    run("embed", articles_db, "bodies", *TABLE, "--column", "body")
    change(articles_db, "update articles set title = 'Marmalade' where id = 5")
    report = run("embed", articles_db, "bodies", *TABLE, "--column", "body").stderr
    assert "0 new, 0 changed, 6 unchanged" in report
    assert found(articles_db, "marmalade", "bodies") == ["5"]
    assert found(articles_db, "kittens", "bodies") == []


def test_a_document_in_chunks_is_indexed_whole(articles_db):
    run("embed", articles_db, "parts", *TABLE, "--chunk", "fixed", "--chunk-size", 6)
    assert shown(articles_db, "parts") == ("english", 6)
    assert found(articles_db, "kittens", "parts") == ["5"]
    change(articles_db, "update articles set body = 'Milk' where id = 5")
    run("sync", articles_db, "parts")
    assert found(articles_db, "milk", "parts") == ["5"]
    run("embed", articles_db, "parts", *TABLE, "--chunk", "none")
    assert shown(articles_db, "parts") == ("english", 6)


def test_a_rebuild_indexes_the_words_again_in_the_same_way(articles_db):
    run("embed", articles_db, "plain", *TABLE, "--words", "plain")
    change(articles_db, "update articles set title = 'Marmalade' where id = 5")
    run("embed", articles_db, "plain", *TABLE, "--rebuild")
    assert shown(articles_db, "plain") == ("plain", 6)
    assert found(articles_db, "marmalade", "plain") == ["5"]
    assert found(articles_db, "kittens", "plain") == []


def test_a_renamed_collection_keeps_its_words_and_a_deleted_one_none(articles_db):
    run("collections", "rename", articles_db, "articles", "texts")
    assert found(articles_db, "kittens", "texts") == ["5"]
    run("collections", "delete", articles_db, "texts", "--yes")
    with closing(sqlite3.connect(articles_db)) as conn:
        for table in ("_embedding_words", "_embedding_vocabulary"):
            assert conn.execute(f"select count(*) from {table}").fetchone() == (0,)


def test_another_source_brings_its_words_and_takes_those_of_the_old(articles_db):
    sql = "select 'new', 'Marmalade', 'Boil oranges with sugar.'"
    run("embed", articles_db, "articles", "--sql", sql, "--replace")
    assert found(articles_db, "oranges") == ["new"]
    assert found(articles_db, "kittens") == []
    assert shown(articles_db) == ("english", 1)


def test_two_sources_keep_their_words_when_the_kind_changes(articles_db, tmp_path):
    (tmp_path / "marmalade.md").write_text("Boil oranges with sugar.")
    files = ("--files", tmp_path, "*.md", "--prefix", "files/")
    run("embed", articles_db, "articles", *files)
    run("embed", articles_db, "articles", *TABLE, "--words", "plain")
    assert shown(articles_db) == ("plain", 7)
    assert found(articles_db, "oranges") == ["files/marmalade.md"]


def test_an_imported_vector_has_no_words_of_the_item_before(articles_db):
    change(
        articles_db,
        "create table other (id text primary key, embedding blob)",
        "insert into other select id, embedding from embeddings where id = '5'",
    )
    model = ("--model", "sentence-transformers/all-MiniLM-L6-v2")
    run("import", articles_db, "other", *model)
    assert shown(articles_db, "other") == ("english", 0)
    run("embed", articles_db, "piped", "-", input='{"id": "5", "text": "oranges"}\n')
    assert found(articles_db, "oranges", "piped") == ["5"]
    run("import", articles_db, "other", "--name", "piped", *model)
    assert found(articles_db, "oranges", "piped") == []


@pytest.mark.parametrize("arguments", [TABLE, ()], ids=["with its source", "stored"])
def test_another_kind_is_indexed_without_the_model(articles_db, monkeypatch, arguments):
    """Word forms are found in English only, parts of words by trigrams only."""
    assert found(articles_db, "kitten") == ["5"]
    assert found(articles_db, "itte") == []
    options = (*arguments, "--words", "trigram")
    assert "0 changed" in run("embed", articles_db, "articles", *options).stderr
    assert shown(articles_db) == ("trigram", 6)
    assert found(articles_db, "itte") == ["5"]
    run("embed", articles_db, "articles", *arguments, "--words", "plain")
    assert (found(articles_db, "kittens"), found(articles_db, "kitten")) == (["5"], [])


def test_a_pipe_keeps_its_words_when_the_kind_changes(articles_db):
    """Its rows cannot be read again, so their stored text is indexed."""
    rows = "".join(
        json.dumps({"id": f"p{number}", "text": "oranges and lemons " * number}) + "\n"
        for number in (1, 2)
    )
    chunks = ("--chunk", "fixed", "--chunk-size", 5)
    run("embed", articles_db, "piped", "-", *chunks, input=rows)
    run("embed", articles_db, "piped", "--words", "trigram")
    assert shown(articles_db, "piped") == ("trigram", 2)
    assert sorted(found(articles_db, "rang", "piped")) == ["p1", "p2"]


def test_without_words_the_index_is_dropped_and_comes_back(articles_db):
    run("embed", articles_db, "articles", *TABLE, "--no-words")
    assert shown(articles_db) == ("none", 0)
    run("sync", articles_db)
    assert run("check", articles_db).stderr.endswith("nothing is wrong\n")
    assert shown(articles_db) == ("none", 0)
    with closing(sqlite3.connect(articles_db)) as conn:
        for table in ("_embedding_words", "_embedding_vocabulary"):
            assert conn.execute(f"select count(*) from {table}").fetchone() == (0,)
    run("embed", articles_db, "articles", *TABLE, "--words", "english")
    assert (shown(articles_db), found(articles_db, "kittens")) == (
        ("english", 6),
        ["5"],
    )


def test_a_dry_run_leaves_the_words_as_they_are(articles_db):
    before = articles_db.read_bytes()
    for options in (TABLE, ()):
        run(
            *("embed", articles_db, "articles", *options),
            *("--words", "trigram", "--dry-run"),
        )
    assert articles_db.read_bytes() == before


def test_a_declared_kind_is_applied_by_sync(articles_db, tmp_path):
    settings = {"collections": {"articles": {"table": "articles", "words": "trigram"}}}
    config = tmp_path / "metadata.json"
    plugins = {"plugins": {"datasette-embeddings": settings}}
    config.write_text(json.dumps(plugins))
    run("sync", articles_db, "--config", config)
    assert shown(articles_db) == ("trigram", 6)


TEXTS = {
    "trigram": {
        "zh": ("备份数据库", "每天晚上把数据库复制到另一台机器。"),
        "ja": ("猫の世話", "子猫には一日に四回ご飯をあげます。"),
        "de": ("Datensicherung", "Die Rückspielung der Datenbank übernimmt nachts."),
    },
    "plain": {
        "de": ("Datensicherung", "Die Übung für Ärzte: Öl und Äpfel, 2 mal am Tag."),
        "fr": ("Sauvegarde", "Un café crème à midi, et du thé."),
    },
}


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("trigram", "数据库", "zh"),
        ("trigram", "数据", "zh"),
        ("trigram", "机器", "zh"),
        ("trigram", "子猫", "ja"),
        ("trigram", "猫", "ja"),
        ("trigram", "世話", "ja"),
        ("trigram", "四回ご飯", "ja"),
        ("trigram", "Sicherung", "de"),
        ("trigram", "datenbank", "de"),
        ("plain", "übung", "de"),
        ("plain", "ubung", "de"),
        ("plain", "Öl", "de"),
        ("plain", "thé", "fr"),
        ("plain", "cafe creme", "fr"),
    ],
)
def test_words_of_other_languages_are_found(articles_db, kind, text, expected):
    """Also words of two letters; without the language's word forms."""
    rows = "".join(
        json.dumps({"id": name, "title": title, "body": body}) + "\n"
        for name, (title, body) in TEXTS[kind].items()
    )
    run("embed", articles_db, "texts", "-", "--words", kind, input=rows)
    assert found(articles_db, text, "texts") == [expected]


def test_words_are_counted_for_each_collection_alone(articles_db):
    run("embed", articles_db, "bodies", *TABLE, "--column", "body")
    change(articles_db, "delete from articles where id = 5")
    run("sync", articles_db, "bodies")
    with closing(sqlite3.connect(articles_db)) as conn:
        counts = [count_indexed(each) for each in collections(conn)]
    assert counts == [6, 5]
    assert found(articles_db, "kittens") == ["5"]


def test_looking_for_damage_leaves_a_transaction_as_it_is(articles_db):
    with closing(sqlite3.connect(articles_db)) as conn:
        (articles,) = collections(conn)
        assert not is_damaged(articles)
        assert not conn.in_transaction
        conn.execute("delete from articles where id = 5")
        assert not is_damaged(articles)
        assert conn.in_transaction
        assert conn.execute("select count(*) from articles").fetchone() == (5,)
        conn.rollback()
        assert conn.execute("select count(*) from articles").fetchone() == (6,)
        assert conn.execute("select * from sqlite_temp_master").fetchall() == []
