"""Texts that do not fit the model: split by default, the title before each chunk."""

from __future__ import annotations

import json
import random
import re
import sqlite3

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.documents import AUTO, Chunking
from datasette_embeddings.errors import InvalidInputError, ModelError
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import search_vector
from datasette_embeddings.sources.definitions import Source, source_from_json
from datasette_embeddings.sources.from_config import source_from_config, table_source
from datasette_embeddings.store import chunks, collections, staging
from datasette_embeddings.store.collections import collection
from tests.models import StandIn

AUTOMATIC = Source(chunking=AUTO)
#: What the stand-in reads, in words
MOST = 20


class Reader(StandIn):
    """A stand-in whose tokens are words."""

    max_tokens = MOST

    def token_spans(self, texts):
        return [[each.span() for each in re.finditer(r"\S+", text)] for text in texts]


@pytest.fixture
def reader():
    return Reader()


@pytest.fixture
def conn():
    connection = sqlite3.connect(":memory:")
    connection.execute("create table pages (id text primary key, title, body)")
    yield connection
    connection.close()


def text(words, name="w"):
    """A text of so many different words."""
    return " ".join(f"{name}{number}" for number in range(words))


def put(conn, **bodies):
    """Give pages their bodies; their titles are capital letters."""
    with conn:
        conn.executemany(
            "insert or replace into pages values (?, ?, ?)",
            [(name, name.upper(), body) for name, body in bodies.items()],
        )


def sync(conn, model, rules=AUTOMATIC, **options):
    source = table_source(conn, "pages", content_columns=["body"], rules=rules)
    options.setdefault("prune", True)
    return ingest(conn, "pages", source, model, options=IngestOptions(**options))


def items(conn):
    sql = "select id from embeddings order by id"
    return [item_id for (item_id,) in conn.execute(sql)]


def state(conn):
    """All that a run stores of items, besides the time."""
    items = "select id, embedding, content_hash from embeddings order by id"
    places = """
        select id, document_id, document_hash, position, start, "end", title,
               passage_hash
        from _embedding_chunks
        order by id
    """
    return conn.execute(items).fetchall(), conn.execute(places).fetchall()


def test_only_a_text_that_does_not_fit_is_split(conn, reader):
    put(conn, short=text(MOST), long=text(MOST + 1))
    report = sync(conn, reader)
    assert (report.new, report.chunks, report.truncated) == (2, 2, 0)
    assert items(conn) == ["long#0", "long#1", "short"]
    assert sync(conn, reader).unchanged == 2


def test_a_chunk_size_is_how_long_a_text_may_be(conn, reader):
    put(conn, short=text(6), long=text(7))
    rules = Source(chunking=Chunking("auto", size=6, overlap=1))
    sync(conn, reader, rules)
    assert items(conn) == ["long#0", "long#1", "short"]


def test_a_text_that_grows_or_shrinks_changes_its_form(conn, reader):
    for words, expected in [
        (5, ["page"]),
        (25, ["page#0", "page#1"]),
        (45, ["page#0", "page#1", "page#2"]),
        (6, ["page"]),
    ]:
        put(conn, page=text(words))
        report = sync(conn, reader)
        assert report.new + report.changed == 1
        assert items(conn) == expected
        assert sync(conn, reader).unchanged == 1
    assert conn.execute("select * from _embedding_chunks").fetchall() == []


@pytest.mark.parametrize("window", [1, 100])
@pytest.mark.parametrize("names", [("a", "a#0"), ("a#0", "a")], ids=" first, ".join)
def test_a_short_document_may_be_called_like_a_chunk(
    conn, reader, monkeypatch, names, window
):
    monkeypatch.setattr(staging, "WINDOW_DOCUMENTS", window)
    bodies = {"a": text(25), "a#0": "One short line."}
    put(conn, **{name: bodies[name] for name in names})
    for rules, expected in [
        (AUTOMATIC, ["a#0", "a#0#0", "a#1"]),
        (Source(), ["a", "a#0"]),
        (AUTOMATIC, ["a#0", "a#0#0", "a#1"]),
    ]:
        sync(conn, reader, rules)
        assert items(conn) == expected
        assert sync(conn, reader, rules).unchanged == 2
    conn.execute("delete from pages where id = 'a'")
    sync(conn, reader)
    assert items(conn) == ["a#0#0"]


def test_the_model_reads_the_title_before_each_chunk(conn, reader):
    put(conn, long=text(30), short=text(3))
    sync(conn, reader, Source(chunking=AUTO, store_content=True))
    stored = dict(conn.execute("select id, content from embeddings"))
    assert " ".join(stored[each] for each in ("long#0", "long#1")) == text(30)
    assert set(reader.embedded) == {
        f"LONG\n\n{stored['long#0']}",
        f"LONG\n\n{stored['long#1']}",
        text(3),
    }
    found = chunks.stored_chunks(collection(conn, "pages"), ["long#1"])["long#1"]
    assert text(30)[found.start : found.end] == stored["long#1"]


def test_a_chunk_that_begins_with_the_title_has_it_once(conn, reader):
    put(conn, long=f"LONG {text(30)}")
    sync(conn, reader)
    assert sorted(each.count("LONG") for each in reader.embedded) == [1, 1]


def test_a_long_title_leaves_room_for_the_chunk(conn, reader):
    put(conn, long=text(60))
    conn.execute("update pages set title = ?", [text(50, "t")])
    report = sync(conn, reader)
    assert report.truncated == 0
    for each in reader.embedded:
        assert each.startswith(text(MOST // 4, "t") + "\n\nw")


@pytest.mark.parametrize("title", ["", "  ", None, 7, "a\0b", "ä" * 1_000], ids=repr)
def test_any_title_is_embedded_once(conn, reader, title):
    put(conn, long=text(60))
    conn.execute("update pages set title = ?", [title])
    assert (sync(conn, reader).new, sync(conn, reader).unchanged) == (1, 1)


def test_another_title_embeds_the_chunks_again_and_no_whole_text(conn, reader):
    put(conn, long=text(30), short=text(3))
    sync(conn, reader)
    reader.embedded.clear()
    conn.execute("update pages set title = 'Other'")
    [match, *_] = search_vector(
        collection(conn, "pages"), collection(conn, "pages").vector("long#0")
    )
    assert (match.document_id, match.stale) == ("long", True)
    report = sync(conn, reader)
    assert (report.changed, report.unchanged) == (1, 1)
    assert all(each.startswith("Other\n\n") for each in reader.embedded)
    assert len(reader.embedded) == 2
    fresh = sqlite3.connect(":memory:")
    fresh.execute("create table pages (id text primary key, title, body)")
    fresh.executemany(
        "insert into pages values (?, ?, ?)", conn.execute("select * from pages")
    )
    sync(fresh, reader)
    assert state(conn) == state(fresh)
    fresh.close()


def test_a_chunk_is_not_embedded_again_under_the_same_title_only(conn, reader):
    put(conn, a=text(30))
    sync(conn, reader)
    reader.embedded.clear()
    conn.execute("insert into pages values ('b', 'A', ?)", [text(30)])
    sync(conn, reader)
    assert reader.embedded == []
    conn.execute("insert into pages values ('c', 'C', ?)", [text(30)])
    sync(conn, reader)
    assert len(reader.embedded) == 2
    found = dict(conn.execute("select id, embedding from embeddings"))
    assert found["a#0"] == found["b#0"] != found["c#0"]


def test_a_vector_that_another_program_wrote_is_not_taken_for_a_chunk(conn, reader):
    put(conn, a=text(30))
    sync(conn, reader)
    conn.execute("update embeddings set embedding = zeroblob(16), content_hash = x'00'")
    conn.execute("insert into pages values ('b', 'A', ?)", [text(30)])
    sync(conn, reader)
    sql = "select count(*) from embeddings where embedding = zeroblob(16)"
    assert conn.execute(sql).fetchone() == (0,)


def test_a_passage_that_pages_share_is_boilerplate_under_any_title(conn, reader):
    notice = "This page is licensed to all who read it here today, with thanks."
    own = "\n\n".join([text(12, "x"), notice])
    put(conn, a=own, b=own.replace("x", "y"), c=text(5))
    sync(conn, reader)
    found = chunks.boilerplate(collection(conn, "pages"), ["a#0", "a#1", "b#1"])
    assert found == {"a#1", "b#1"}


def test_chunks_of_an_earlier_release_have_no_title_until_a_rebuild(conn, reader):
    rules = Source(chunking=Chunking("fixed", titled=False))
    put(conn, long=text(30))
    sync(conn, reader, rules)
    stored = collection(conn, "pages").source.to_json().replace(', "titled": false', "")
    assert source_from_json(stored) == collection(conn, "pages").source
    with conn:
        conn.execute("update _embedding_sources set source = ?", [stored])
    config = CollectionConfig(table="pages", columns=("body",), chunk="fixed")
    source = source_from_config(conn, config, collection(conn, "pages").sources)
    assert ingest(conn, "pages", source, reader).unchanged == 1
    reader.embedded.clear()
    ingest(conn, "pages", source, reader, options=IngestOptions(rebuild=True))
    assert [each[:4] for each in reader.embedded] == ["LONG", "LONG"]
    source = source_from_config(conn, config, collection(conn, "pages").sources)
    assert ingest(conn, "pages", source, reader).unchanged == 1


def chosen(conn, stored=(), **config):
    config = CollectionConfig(table="pages", columns=("body",), **config)
    return source_from_config(conn, config, stored).chunking


def test_a_source_keeps_its_chunking_unless_another_is_given(conn, reader):
    put(conn, page="text")
    assert chosen(conn) == AUTO
    assert chosen(conn, chunk="none") is None
    for rules in (Source(), Source(chunking=Chunking("fixed", 9))):
        sync(conn, reader, rules)
        stored = collection(conn, "pages").sources
        assert chosen(conn, stored) == rules.chunking
        assert chosen(conn, stored, chunk="auto") == AUTO
        assert chosen(conn, stored, chunk="none") is None
        assert chosen(conn, stored, prefix="other/") == AUTO


def test_no_chunks_have_no_size(conn):
    with pytest.raises(InvalidInputError, match="goes with a way to chunk"):
        chosen(conn, chunk="none", chunk_size=9)


class Unbounded(Reader):
    """A model that does not report how many tokens it reads."""

    max_tokens = None


class Blind(Reader):
    """A model whose tokenizer does not report where tokens are."""

    def token_spans(self, texts):
        raise ModelError("No positions")


@pytest.mark.parametrize(("kind", "truncated"), [(Unbounded, None), (Blind, 1)])
def test_a_model_that_cannot_tell_where_to_cut_takes_texts_whole(conn, kind, truncated):
    put(conn, long=text(30), short=text(3))
    report = sync(conn, kind())
    assert (report.new, report.truncated) == (2, truncated or 0)
    assert items(conn) == ["long", "short"]
    assert collection(conn, "pages").truncated == truncated


def test_a_model_that_cannot_tell_where_to_cut_is_an_error_with_a_size(conn):
    put(conn, long=text(30))
    with pytest.raises(ModelError, match="No positions"):
        sync(conn, Blind(), Source(chunking=Chunking("auto", size=10)))
    sync(conn, Unbounded(), Source(chunking=Chunking("auto", size=10)))
    assert len(items(conn)) > 2


def test_what_is_cut_is_counted_in_the_collection(conn, reader):
    whole = Source(metadata_columns=("title",))
    put(conn, a=text(30), b=text(31), c=text(3))

    def count(rules=whole, **options):
        sync(conn, reader, rules, **options)
        return collection(conn, "pages").truncated

    assert count() == 2
    conn.execute("update pages set title = 'x' where id = 'a'")
    assert count() == 2, "only metadata changed"
    conn.execute("update pages set id = 'moved' where id = 'a'")
    assert count() == 2, "the vector was that of another id"
    put(conn, b=text(5))
    assert count() == 1
    conn.execute("delete from pages where id = 'moved'")
    assert count() == 0
    put(conn, d=text(50))
    assert count(rebuild=True) == 1
    assert count(AUTOMATIC) == 0


def test_what_an_earlier_release_cut_is_unknown(conn, reader):
    put(conn, a=text(30), b=text(3))
    sync(conn, reader, Source())
    with conn:
        conn.execute("update _embedding_origins set truncated = null where id = 'a'")
    sync(conn, reader, Source())
    assert collection(conn, "pages").truncated is None


def test_a_run_with_the_default_is_as_for_a_new_collection(conn, reader):
    """After any history of the rows, the stored items are those of a single run."""
    chance = random.Random(15)
    names = ["a", "a#0", "a#1", "b", "b#0", "b#00", "c#0#1"]
    titles = ["One", "Two", "", None]
    for _step in range(40):
        for name in chance.sample(names, 3):
            if chance.random() < 0.2:
                conn.execute("delete from pages where id = ?", [name])
                continue
            body = text(chance.choice([0, 3, 20, 21, 50]), chance.choice("xy"))
            row = name, chance.choice(titles), body
            conn.execute("insert or replace into pages values (?, ?, ?)", row)
        conn.commit()
        sync(conn, reader)
        fresh = sqlite3.connect(":memory:")
        fresh.execute("create table pages (id text primary key, title, body)")
        rows = conn.execute("select * from pages").fetchall()
        fresh.executemany("insert into pages values (?, ?, ?)", rows)
        sync(fresh, reader)
        assert state(conn) == state(fresh)
        fresh.close()
        again = sync(conn, reader)
        assert again == Report(
            unchanged=again.unchanged, empty=again.empty, pruned=True
        )
    assert collections.collection(conn, "pages").has_chunks


def run(*arguments):
    return CliRunner().invoke(embeddings, [str(each) for each in arguments])


def test_a_command_splits_by_default_and_says_where_it_cuts(articles_db):
    conn = sqlite3.connect(articles_db)
    conn.execute("update articles set body = ? where id = 2", [text(300)])
    conn.commit()
    conn.close()
    arguments = ["embed", articles_db, "mine", "-t", "articles"]
    assert run(*arguments).stderr == "mine: 6 new, 0 changed, 0 unchanged, 4 chunks\n"
    shown = json.loads(run("collections", "show", articles_db, "mine").stdout)
    assert shown["source"]["chunking"]["method"] == "auto"
    assert "truncated" not in shown
    assert "1 cut" in run(*arguments, "--chunk", "none").stderr
    shown = json.loads(run("collections", "show", articles_db, "mine").stdout)
    assert (shown["source"]["chunking"], shown["truncated"]) == (None, 1)
    # It keeps what it has
    assert run(*arguments).stderr == "mine: 0 new, 0 changed, 6 unchanged\n"
