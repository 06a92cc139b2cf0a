from __future__ import annotations

import hashlib
import sqlite3

import pytest

from datasette_embeddings.errors import InvalidInputError, UnknownCollectionError
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.search.answers import search_text
from datasette_embeddings.sources.definitions import QuerySource, Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.store import collections, staging
from datasette_embeddings.store.collection_writes import delete_collection
from datasette_embeddings.store.collections import find_collection
from datasette_embeddings.web.permissions import required_tables


def sync(conn, model, *, rules=None, **options):
    return ingest(
        conn,
        "articles",
        table_source(conn, "articles", rules=rules or Source()),
        model,
        options=IngestOptions(**options),
    )


STORED = Source(store_content=True)


def rows(conn, columns="id, embedding"):
    return conn.execute(f"select {columns} from embeddings order by id").fetchall()


def test_every_row_is_embedded_once(conn, model):
    assert sync(conn, model) == Report(new=6)
    assert sync(conn, model) == Report(unchanged=6)


def test_only_what_changed_is_embedded_again(conn, model):
    sync(conn, model)
    before = dict(rows(conn))
    conn.execute("update articles set body = 'Patching tubes' where id = 3")
    conn.execute("insert into articles values (7, 'Chess', 'Openings for beginners')")
    assert sync(conn, model) == Report(new=1, changed=1, unchanged=5)
    after = dict(rows(conn))
    assert {item_id for item_id in after if after[item_id] != before.get(item_id)} == {
        "3",
        "7",
    }


def test_contents_that_are_swapped_are_both_right_afterwards(conn, model):
    sync(conn, model)
    before = dict(rows(conn))
    conn.execute("update articles set title = 'a' || id, body = ''")
    conn.execute("update articles set title = 'a1' where id = 2")
    conn.execute("update articles set title = 'a2' where id = 1")
    sync(conn, model)
    after = dict(rows(conn))
    for item_id, text in (("1", "a2 "), ("2", "a1 ")):
        expected = model.embed_passages([text])[0]
        stored = collections.collection(conn, "articles").vector(item_id)
        assert stored == pytest.approx(expected, abs=1e-5)
        assert after[item_id] != before[item_id]


def test_equal_texts_are_embedded_once_and_stored_for_each_id(conn, model):
    conn.execute("update articles set title = 'same', body = 'text'")
    assert sync(conn, model).new == 6
    assert len({embedding for _id, embedding in rows(conn)}) == 1


@pytest.mark.parametrize("content", [None, "", "  \n"], ids=["null", "empty", "blank"])
def test_a_row_without_content_is_counted_and_not_embedded(conn, model, content):
    conn.execute("update articles set title = ?, body = ? where id = 2", [content] * 2)
    assert sync(conn, model) == Report(new=5, empty=1)
    assert "2" not in dict(rows(conn))


def test_a_row_that_lost_its_content_loses_its_stale_vector(conn, model):
    sync(conn, model)
    conn.execute("update articles set title = null, body = null where id = 2")
    assert sync(conn, model) == Report(unchanged=5, empty=1)
    assert "2" not in dict(rows(conn))


def test_items_whose_row_is_gone_are_counted_and_deleted_only_on_request(conn, model):
    sync(conn, model)
    conn.execute("delete from articles where id < 3")
    assert sync(conn, model) == Report(unchanged=4, gone=2)
    assert len(rows(conn)) == 6
    assert sync(conn, model, prune=True) == Report(unchanged=4, gone=2, pruned=True)
    assert [item_id for item_id, _ in rows(conn)] == ["3", "4", "5", "6"]


def test_the_content_of_a_table_stays_where_it_is(conn, model):
    sync(conn, model)
    assert {content for (content,) in rows(conn, "content")} == {None}


def test_the_content_of_a_table_is_copied_on_request(conn, model):
    sync(conn, model, rules=STORED)
    assert rows(conn, "content")[1][0].startswith("Night sky With a small telescope")


def test_what_llm_stored_of_an_item_stays_stored_when_it_changes(conn, model):
    sync(conn, model, rules=STORED)
    conn.execute("""update embeddings set metadata = '{"from": "llm"}' where id = 2""")
    conn.execute("update articles set title = 'Day sky' where id = 2")
    assert sync(conn, model).changed == 1
    content, metadata = rows(conn, "content, metadata")[1]
    assert content.startswith("Day sky With a small telescope")
    assert metadata == '{"from": "llm"}'


def test_the_content_of_a_query_is_stored(conn, model):
    source = query_source(conn, "select id, title from articles")
    ingest(conn, "titles", source, model)
    assert rows(conn, "content")[:2] == [("Sourdough",), ("Night sky",)]


def test_the_hash_is_the_md5_of_the_text(conn, model):
    sync(conn, model, rules=STORED)
    for content, content_hash in rows(conn, "content, content_hash"):
        assert content_hash == hashlib.md5(content.encode()).digest()


def test_long_texts_are_counted_as_cut(conn, model):
    conn.execute("update articles set body = ? where id < 3", ["word " * 400])
    assert sync(conn, model).truncated == 2


def test_progress_hears_of_every_row_that_is_embedded(conn, model):
    heard = {"total": 0, "done": 0}

    def start(total):
        heard["total"] = total

    def advance(count):
        heard["done"] += count

    conn.execute("update articles set title = 'same', body = 'text' where id > 4")
    conn.execute("update articles set title = null, body = null where id = 1")
    sync(conn, model, start=start, progress=advance)
    assert heard == {"total": 5, "done": 5}
    sync(conn, model, start=start, progress=advance)
    assert heard == {"total": 0, "done": 5}


def test_a_bad_row_fails_alone_and_is_tried_again(conn, model):
    conn.execute("insert into articles values (7, 'blob', x'00ff')")
    report = sync(conn, model)
    assert (report.new, report.failed) == (6, 1)
    assert [failure.id for failure in report.failures] == ["7"]
    [failure] = collections.collection(conn, "articles").failures()
    assert (failure.id, failure.attempts) == ("7", 1)
    assert "has a BLOB among its content" in failure.error
    sync(conn, model)
    [failure] = collections.collection(conn, "articles").failures()
    assert failure.attempts == 2
    conn.execute("update articles set body = 'text' where id = 7")
    assert sync(conn, model) == Report(new=1, unchanged=6)
    assert collections.collection(conn, "articles").failures() == []


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_another_writer_between_the_windows_does_no_harm(
    articles_db, model, monkeypatch, journal_mode
):
    monkeypatch.setattr(staging, "WINDOW_DOCUMENTS", 1)
    conn = sqlite3.connect(articles_db)
    conn.execute(f"pragma journal_mode = {journal_mode}")
    conn.execute("update articles set title = title || '!'")
    conn.commit()
    other = sqlite3.connect(articles_db, timeout=0.1)

    def write_too(_count):
        other.execute("insert into articles (title) values ('from elsewhere')")
        other.commit()

    assert sync(conn, model, progress=write_too).changed == 6
    assert other.execute("select count(*) from articles").fetchone()[0] > 6
    conn.close()
    other.close()


def test_a_collection_over_its_own_database_tables_can_be_searched(conn, model):
    source = QuerySource("select id, body from articles")
    ingest(conn, "bodies", source, model)
    found = search_text(collections.collection(conn, "bodies"), "cats", model=model)
    assert found[0].id == "5"


def test_a_collection_does_not_take_rows_of_another_table(conn, model):
    sync(conn, model)
    conn.execute("create table public (id integer primary key, body text)")
    conn.execute("insert into public values (9, 'for all')")
    with pytest.raises(
        InvalidInputError, match="not from the table 'public': add --repl"
    ):
        ingest(conn, "articles", table_source(conn, "public"), model)
    assert collections.collection(conn, "articles").source.table == "articles"
    assert len(rows(conn)) == 6


def test_foreign_items_of_an_unknown_source_are_remembered(conn, model):
    sync(conn, model)
    conn.execute("delete from _embedding_collections")
    conn.execute("update embeddings set id = 'foreign' where id = '1'")
    conn.commit()
    for prune in (False, True):
        report = sync(conn, model, prune=prune)
        assert (report.gone, report.unchanged) == (0, 6 if prune else 5)
        collection = collections.collection(conn, "articles")
        assert required_tables(collection) == {"articles", "embeddings"}
        assert collection.count_items() == 7


def test_a_collection_whose_table_was_renamed_follows_it_when_told(conn, model):
    sync(conn, model)
    conn.execute("alter table articles rename to posts")
    posts = table_source(conn, "posts")
    with pytest.raises(InvalidInputError, match="come from the table 'articles', not"):
        ingest(conn, "articles", posts, model)
    options = IngestOptions(replace_source=True)
    report = ingest(conn, "articles", posts, model, options=options)
    assert report == Report(unchanged=6)
    assert required_tables(collections.collection(conn, "articles")) == {"posts"}


def test_a_collection_that_is_deleted_meanwhile_ends_the_run(
    articles_db, model, monkeypatch
):
    monkeypatch.setattr(staging, "WINDOW_DOCUMENTS", 2)
    conn, other = sqlite3.connect(articles_db), sqlite3.connect(articles_db)
    conn.execute("update articles set title = title || '!'")
    conn.commit()

    def delete(_count):
        if find_collection(other, "articles"):
            delete_collection(other, "articles")

    with pytest.raises(UnknownCollectionError):
        sync(conn, model, progress=delete)
    assert conn.execute("select count(*) from embeddings").fetchone() == (0,)
    conn.close()
    other.close()


def test_content_is_copied_later_without_embedding_again(conn, model, monkeypatch):
    sync(conn, model)
    before, texts = rows(conn), []
    monkeypatch.setattr(model, "embed_passages", texts.append)
    assert sync(conn, model, rules=STORED) == Report(unchanged=6)
    assert texts == []
    assert rows(conn) == before
    assert all(content for (content,) in rows(conn, "content"))
