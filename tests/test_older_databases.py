"""Databases of version 0.2a0 open, search and sync, read-only files included."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.ingest.changed_rows import embed_changes
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import search_text, similar_items
from datasette_embeddings.store.changes import Behind, count_changes, is_tracked, track
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.origins import has_unsourced_items

DATA = Path(__file__).parent / "data" / "0.2a0"


@pytest.fixture
def old(tmp_path):
    """A folder with copies of the databases, and of the files that one is of."""
    return Path(shutil.copytree(DATA, tmp_path / "old"))


def output(*arguments):
    """What a command prints, which must have succeeded."""
    result = CliRunner().invoke(embeddings, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


def items(path):
    """Every stored item with all that is known of it, by collection and id."""
    with closing(sqlite3.connect(path)) as conn:
        return conn.execute(
            "select * from embeddings order by collection_id, id"
        ).fetchall()


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("tables", "mode=ro"),
        ("tables", "immutable=1"),
        ("mixed", "mode=ro"),
        ("mixed", "immutable=1"),
    ],
)
def test_a_file_that_cannot_be_written_is_searched(old, model, name, mode):
    searches = {
        "tables": [("articles", "planets", "2"), ("passages", "planets", "2#1")],
        "mixed": [("notes", "insects", "bees.md"), ("phrases", "hi there", "hello")],
    }
    path = old / f"{name}.db"
    before = path.read_bytes()
    with closing(sqlite3.connect(f"file:{path}?{mode}", uri=True)) as conn:
        found = [
            search_text(collection(conn, name), text, model=model)[0].id
            for name, text, _id in searches[name]
        ]
    assert found == [item_id for _name, _text, item_id in searches[name]]
    assert path.read_bytes() == before


def test_similar_items_are_those_of_then(old):
    with closing(
        sqlite3.connect(f"file:{old / 'tables.db'}?mode=ro", uri=True)
    ) as conn:
        found = similar_items(collection(conn, "articles"), "1")
        noted = conn.execute(
            """
            select other_id
            from similarities
            where id = '1'
            and collection_id = 1
            order by score desc
            """
        ).fetchall()
    assert [match.id for match in found] == [row[0] for row in noted]


def test_a_sync_finds_nothing_to_do(old):
    before = items(old / "tables.db")
    said = CliRunner().invoke(embeddings, ["sync", str(old / "tables.db"), "--silent"])
    assert said.exit_code == 0
    assert [line.split(",")[0] for line in said.stderr.splitlines()] == [
        "articles: 0 new",
        "food: 0 new",
        "passages: 0 new",
        "places: 0 new",
    ]
    assert items(old / "tables.db") == before


def test_a_sync_deletes_the_rows_that_have_left_the_table(old):
    with closing(sqlite3.connect(old / "tables.db")) as conn:
        conn.execute("delete from articles where id = 5")
        conn.commit()
    output("sync", old / "tables.db", "--silent")
    kept = {(row[0], row[1]) for row in items(old / "tables.db")}
    assert {(1, "5"), (2, "5#0"), (4, "5")}.isdisjoint(kept)
    assert len(kept) == 17 - 3


def test_a_sync_keeps_what_llm_added(old):
    before = items(old / "mixed.db")
    output("sync", old / "mixed.db", "--silent")
    output("check", old / "mixed.db")
    assert {row[:2] for row in items(old / "mixed.db")} == {row[:2] for row in before}


def test_an_item_that_llm_wrote_after_the_last_run_is_of_no_source(old):
    path = old / "tables.db"
    with closing(sqlite3.connect(path)) as conn:
        conn.execute(
            "insert into embeddings (collection_id, id, embedding, content, updated) "
            "select 1, 'of llm', embedding, 'of llm', unixepoch() "
            "from embeddings limit 1"
        )
        conn.commit()
        assert has_unsourced_items(collection(conn, "articles"))
        assert not has_unsourced_items(collection(conn, "places"))
    output("sync", path, "--silent")
    assert (1, "of llm") in {row[:2] for row in items(path)}


@pytest.mark.parametrize(
    ("name", "collections"),
    [
        ("tables", ["articles", "food", "passages", "places"]),
        ("mixed", ["notes", "phrases", "piped", "words"]),
    ],
)
def test_every_collection_is_listed(old, name, collections):
    listed = output("collections", "list", old / f"{name}.db")
    assert [line.split()[0] for line in listed.splitlines()[2:]] == collections


def test_a_check_finds_nothing_wrong(old):
    assert output("check", old / "tables.db")


def test_words_that_a_sync_indexes_reach_an_index_in_memory(old):
    path = old / "tables.db"
    with closing(sqlite3.connect(path)) as conn:
        # Its rows are old enough for the index to stay in memory
        assert not indexes.index(collection(conn, "articles")).numbers.any()
        output("sync", path, "--silent")
        articles = collection(conn, "articles")
        assert articles.has_words
        assert indexes.index(articles).numbers.all()


def test_the_changes_of_a_table_are_recorded(old, model):
    """The table is made when it is first needed, and the source gets an id."""
    with closing(sqlite3.connect(old / "tables.db")) as conn:
        articles = collection(conn, "articles")
        track(articles, articles.source)
        articles = collection(conn, "articles")
        assert is_tracked(articles, articles.source)
        options = IngestOptions(prune=True)
        ingest(conn, "articles", articles.source, model, options=options)
        assert is_tracked(articles, articles.source)
        conn.execute("delete from articles where id = 1")
        conn.commit()
        assert embed_changes(articles, articles.source, model).gone == 1
        assert count_changes(articles) == Behind()
