"""A row that changed after it was embedded: what Python and the commands answer."""

from __future__ import annotations

import json
import sqlite3

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.documents import Chunking
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import search_text, similar_items
from datasette_embeddings.search.matches import matches, sources_of
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.search.related import related_items, similar_pairs
from datasette_embeddings.similarities.refreshing import build
from datasette_embeddings.sources.content import template_of
from datasette_embeddings.sources.definitions import Source, TableSource
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.store import collections
from datasette_embeddings.store.attaching import finish_sync
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.documents import write_vectors
from datasette_embeddings.store.schema import transaction

NEW = "How to fill in the forms of the tax office."
OLD = "Kittens Young cats need food four times a day and a warm place to sleep."
CHANGE = f"update articles set body = '{NEW}' where id = 5"


def made(conn, model, name="mine", *, similar=0, **rules):
    """A collection of the table `articles`."""
    options = IngestOptions(
        similarities=SimilaritySettings(similar) if similar else None
    )
    source = table_source(conn, "articles", rules=Source(**rules))
    ingest(conn, name, source, model, options=options)
    return collections.collection(conn, name)


def best(conn, collection, model, **options):
    found = search_text(collection, "pets", model=model, options=Options(**options))
    return found[0]


def shown(match):
    return match.id, match.stale, match.title, match.content


def test_a_row_as_it_was_embedded_is_not_stale(conn, model):
    collection = made(conn, model)
    assert shown(best(conn, collection, model)) == ("5", False, "Kittens", OLD)


def test_a_row_that_changed_shows_neither_its_new_title_nor_its_new_text(conn, model):
    collection = made(conn, model)
    score = best(conn, collection, model).score
    conn.execute(CHANGE)
    match = best(conn, collection, model)
    assert shown(match) == ("5", True, None, None)
    assert (match.score, match.has_row) == (score, True)
    assert best(conn, collection, model, offset=1).stale is False


def test_a_stored_text_is_shown_as_it_was_embedded(conn, model):
    collection = made(conn, model, store_content=True)
    conn.execute(CHANGE)
    assert shown(best(conn, collection, model)) == ("5", True, None, OLD)


def test_a_change_of_other_columns_makes_nothing_stale(conn, model):
    source = table_source(conn, "articles", content_columns=["body"])
    ingest(conn, "mine", source, model)
    conn.execute("update articles set title = 'Cats' where id = 5")
    match = best(conn, collections.collection(conn, "mine"), model)
    assert (match.stale, match.title) == (False, "Cats")


def test_a_row_that_is_embedded_again_is_not_stale(conn, model):
    collection = made(conn, model)
    conn.execute(CHANGE)
    made(conn, model)
    found = search_text(collection, "tax office", model=model)
    assert shown(found[0]) == ("5", False, "Kittens", f"Kittens {NEW}")


@pytest.mark.parametrize(
    "change",
    [
        "delete from articles where id = 5",
        "update articles set body = null, title = '' where id = 5",
        "update articles set body = x'ff' where id = 5",
    ],
    ids=["deleted", "emptied", "no text"],
)
def test_a_row_that_holds_no_text_any_more_is_stale(conn, model, change):
    collection = made(conn, model)
    conn.execute(change)
    assert shown(best(conn, collection, model)) == ("5", True, None, None)


@pytest.mark.parametrize(
    "change",
    ["drop table articles", "alter table articles rename column body to text"],
    ids=["table", "column"],
)
def test_of_a_source_that_cannot_be_read_nothing_is_said(conn, model, change):
    collection = made(conn, model)
    conn.execute(change)
    assert shown(best(conn, collection, model)) == ("5", None, None, None)


def test_templates_and_html_are_compared_as_they_are_embedded(conn, model):
    conn.execute("update articles set body = '<p>Young <b>cats</b></p>' where id = 5")
    rules = {"template": "{{ title }}: {{ body }}", "strip_html": True}
    collection = made(conn, model, **rules)
    assert shown(best(conn, collection, model)) == (
        "5",
        False,
        "Kittens",
        "Kittens: Young cats",
    )
    # The text stays the same
    conn.execute("update articles set body = '<div>Young cats</div>' where id = 5")
    assert best(conn, collection, model).stale is False
    conn.execute("update articles set body = '<div>Young dogs</div>' where id = 5")
    assert best(conn, collection, model).stale is True


def test_a_template_is_compiled_once_for_all_rows(conn, model):
    collection = made(conn, model, template="{{ title }} and {{ body }}")
    template_of.cache_clear()
    similar_items(collection, "1")
    assert template_of.cache_info().misses == 1


def test_a_chunk_is_compared_with_its_whole_document(conn, model):
    chunking = Chunking("fixed", size=6, overlap=0)
    collection = made(conn, model, chunking=chunking)
    match = best(conn, collection, model)
    assert (match.document_id, match.stale) == ("5", False)
    # Behind the passage, which is where it was
    conn.execute("update articles set body = body || ' And milk.' where id = 5")
    match = best(conn, collection, model)
    assert (match.stale, match.title, match.content) == (True, None, None)


def test_a_document_of_one_chunk_is_compared_with_the_row(conn, model):
    conn.execute("update articles set body = body || '\n ' where id = 5")
    collection = made(conn, model, chunking=Chunking("paragraphs", size=200))
    match = best(conn, collection, model)
    assert (match.id, match.stale) == ("5#0", False)
    conn.execute(CHANGE)
    assert best(conn, collection, model).stale is True


def test_a_view_is_read_as_a_table_is(conn, model):
    conn.execute("create view pages as select id, title, body from articles")
    source = table_source(
        conn, "pages", key_columns=["id"], content_columns=["title", "body"]
    )
    ingest(conn, "mine", source, model)
    collection = collections.collection(conn, "mine")
    assert best(conn, collection, model).stale is False
    conn.execute(CHANGE)
    assert best(conn, collection, model).stale is True


def test_the_rows_of_a_query_are_not_read_again(conn, model):
    source = query_source(conn, "select id, title, body from articles")
    ingest(conn, "mine", source, model)
    conn.execute(CHANGE)
    match = best(conn, collections.collection(conn, "mine"), model)
    assert shown(match) == ("5", None, None, OLD)


def test_vectors_of_unknown_content_are_neither(conn, model):
    source = TableSource("articles", ("id",), ("title", "body"), "title")
    collection = create_collection(conn, "mine", model.model_id, source)
    vector = model.embed_query("pets")
    with transaction(conn):
        write_vectors(collection, [("5", vector), ("99", vector)])
    finish_sync(collection, source)
    found = search_text(collections.collection(conn, "mine"), "pets", model=model)
    assert {match.id: match.stale for match in found} == {"5": None, "99": None}


@pytest.fixture
def overlapping(conn, model):
    """Makes a collection of two tables, one with a prefix that begins as the other's.

    `ab1` is the row `b1` of `t1`. `ab2` is the row `2` of `t2`, which has a row `1`.
    """

    def make(chunking=None):
        conn.execute("create table t1 (id text primary key, body text)")
        conn.execute("create table t2 (id text primary key, body text)")
        conn.execute(
            "insert into t1 values ('b1', 'Young cats need food.'), ('c', 'x')"
        )
        conn.execute("insert into t2 values ('1', 'A tax.'), ('2', 'The moon of Mars')")
        for table, prefix in (("t1", "a"), ("t2", "ab")):
            rules = Source(id_prefix=prefix, chunking=chunking)
            source = table_source(conn, table, rules=rules)
            ingest(conn, "mine", source, model)
        return collections.collection(conn, "mine")

    return make


@pytest.mark.parametrize("chunking", [None, Chunking("fixed", size=6, overlap=0)])
def test_an_item_is_compared_with_the_row_of_the_source_that_brought_it(
    conn, model, overlapping, chunking
):
    collection = overlapping(chunking)
    ids = ("ab1", "ab2", "ac")

    def told(found):
        return {match.document_id: match.stale for match in found}

    found = search_text(collection, "pets", model=model)
    assert told(found) == dict.fromkeys(ids, False)
    assert "cats" in next(each.content for each in found if each.document_id == "ab1")
    # The row that only has the same id as an item
    conn.execute("delete from t2 where id = '1'")
    found = search_text(collection, "pets", model=model)
    assert told(found) == dict.fromkeys(ids, False)
    conn.execute("delete from t1 where id = 'b1'")
    found = search_text(collection, "pets", model=model)
    assert told(found) == {**dict.fromkeys(ids, False), "ab1": True}
    # As lists of related items name it, not by a chunk
    [match] = matches(collection, [Hit("ab2", 1.0)])
    assert (match.source.table, match.has_row) == ("t2", True)
    [match] = matches(collection, [Hit("ab1", 1.0)])
    assert (match.source.table, match.has_row) == ("t1", False)


def test_origins_are_read_only_where_several_prefixes_fit(conn, model, overlapping):
    collection = overlapping()
    statements = []
    conn.set_trace_callback(statements.append)
    for ids in (["ac", "of none"], ["ab1", "ac"]):
        sources_of(collection, ids)
    conn.set_trace_callback(None)
    asked = [each for each in statements if "_embedding_origins as" in each]
    assert len(asked) == 1
    assert statements.index(asked[0]) == len(statements) - 1
    assert "'ab1'" in asked[0]
    assert "'ac'" not in asked[0]


@pytest.mark.parametrize("chunking", [None, Chunking("fixed", size=6, overlap=0)])
def test_related_items_and_pairs_say_it_too(conn, model, chunking):
    collection = made(conn, model, similar=3, chunking=chunking)
    conn.execute(CHANGE)
    for match in related_items(collection, "1"):
        assert (match.stale, match.title is None) == (match.id == "5", match.id == "5")
    pairs = similar_pairs(collection, limit=20)
    told = {each.id: each.stale for pair in pairs for each in (pair.one, pair.other)}
    assert told == {each: each == "5" for each in "123456"}


@pytest.fixture
def changed_db(articles_db):
    conn = sqlite3.connect(articles_db)
    build(collections.collection(conn, "articles"), SimilaritySettings(3))
    conn.execute(CHANGE)
    conn.execute("delete from articles where id = 1")
    conn.commit()
    conn.close()
    return articles_db


def run(*arguments):
    result = CliRunner().invoke(embeddings, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("command", [["search", "pets"], ["similar", "2"]], ids=str)
def test_the_commands_say_it_in_every_format(changed_db, command):
    name, what = command
    asked = [name, changed_db, "articles", what]
    rows = json.loads(run(*asked, "--format", "json"))
    stale = {row["id"]: row["stale"] for row in rows}
    assert stale == {each: each in "15" for each in stale}
    assert {row["content"] for row in rows if row["stale"]} == {None}
    for output_format in ("nl", "csv", "table"):
        text = run(*asked, "--format", output_format)
        assert "stale" in text
        assert "tax office" not in text
    text = run(*asked)
    assert "tax office" not in text
    assert text.count("(the source row has changed since; sync embeds it again)") == 1
    assert text.count("(the source row was deleted; sync deletes this item)") == 1


def test_an_export_says_it(changed_db):
    rows = map(json.loads, run("export", changed_db, "articles").splitlines())
    told = {row["id"]: (row["stale"], row["content"] is None) for row in rows}
    assert told == {each: (each in "15", each in "15") for each in "123456"}
