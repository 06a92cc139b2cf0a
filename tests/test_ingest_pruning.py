"""What is deleted, and what never is."""

from __future__ import annotations

import sqlite3

import pytest

from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.errors import UnknownCollectionError
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources import reading
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import source_from_config, table_source
from datasette_embeddings.store.collections import collections
from tests.models import StandIn


def ids(conn):
    return [row[0] for row in conn.execute("select id from embeddings order by id")]


@pytest.fixture
def rows(tmp_path, conn):
    """Write a file and embed it into `notes`, deleting what is gone."""

    def embed(content, name="rows.nl", **config):
        path = tmp_path / name
        path.write_text(content)
        source = source_from_config(conn, CollectionConfig(input=str(path), **config))
        options = IngestOptions(prune=True)
        return ingest(conn, "notes", source, StandIn(), options=options)

    return embed


def test_an_item_whose_row_cannot_be_read_is_not_gone(conn, rows):
    rows('{"id": "a", "t": "one"}\n{"id": "b", "t": "two"}\n')
    report = rows('{"id": "a", "t": "one"}\n{"id": "b", "t": \n')
    assert (report.failed, report.gone, report.pruned) == (1, 1, False)
    assert ids(conn) == ["a", "b"]
    report = rows('{"id": "a", "t": "one"}\n')
    assert (report.gone, report.pruned, ids(conn)) == (1, True, ["a"])


def test_an_open_quote_deletes_nothing(conn, rows):
    rows("id,t\n1,one\n2,two\n3,three\n", "rows.csv")
    assert rows('id,t\n1,"one\n2,two\n3,three\n', "rows.csv").failed == 1
    assert ids(conn) == ["1", "2", "3"]


def test_two_sources_with_prefixes_share_a_collection(conn, rows):
    for _turn in range(2):
        rows('{"id": "a", "t": "one"}\n', "one.nl", prefix="p/")
        rows('{"id": "a", "t": "two"}\n', "two.nl", prefix="q/")
        assert ids(conn) == ["p/a", "q/a"]
    rows('{"id": "b", "t": "two"}\n', "two.nl", prefix="q/")
    assert ids(conn) == ["p/a", "q/b"]


def test_a_rebuild_holds_only_what_the_source_has_at_its_end(conn):
    source = table_source(conn, "articles")
    options = IngestOptions(rebuild=True, limit=4)
    ingest(conn, "articles", source, StandIn(), options=options)
    conn.execute("delete from articles where id < 3")
    conn.commit()
    options = IngestOptions(rebuild=True)
    ingest(conn, "articles", source, StandIn(), options=options)
    assert ids(conn) == ["3", "4", "5", "6"]


def test_two_rebuilds_at_once_leave_one_whole_collection(articles_db):
    conns = [sqlite3.connect(articles_db) for _ in range(2)]
    source = table_source(conns[0], "articles")

    class Slow(StandIn):
        def embed_passages(self, texts, **options):
            if not self.embedded:
                # The other one goes all the way while this one is at work
                self.embedded.append("once")
                ingest(conns[1], "articles", source, StandIn(), options=REBUILD)
            return super().embed_passages(texts, **options)

    with pytest.raises(UnknownCollectionError):
        ingest(conns[0], "articles", source, Slow(), options=REBUILD)
    assert [each.name for each in collections(conns[1])] == ["articles"]
    assert len(ids(conns[1])) == 6
    for conn in conns:
        conn.close()


REBUILD = IngestOptions(rebuild=True)


def test_a_collection_may_be_called_like_what_a_rebuild_replaces(conn):
    source = table_source(conn, "articles")
    for name in ("articles (replaced)", "articles"):
        ingest(conn, name, source, StandIn())
    ingest(conn, "articles", source, StandIn(), options=REBUILD)
    names = [each.name for each in collections(conn)]
    assert names == ["articles", "articles (replaced)"]


def test_another_chunking_settles_although_an_item_is_gone(conn):
    ingest(conn, "articles", table_source(conn, "articles"), StandIn())
    conn.execute("delete from articles where id = 1")
    config = CollectionConfig(table="articles", chunk="fixed")
    for changed in (5, 0):
        source = source_from_config(conn, config)
        report = ingest(conn, "articles", source, StandIn())
        assert (report.changed, report.gone) == (changed, 1)


def test_metadata_that_are_no_longer_wanted_go(conn):
    with_titles = Source(metadata_columns=("title",))
    source = table_source(conn, "articles", content_columns=["body"], rules=with_titles)
    ingest(conn, "articles", source, StandIn())
    conn.execute("update articles set body = 'other' where id = 1")
    source = table_source(conn, "articles", content_columns=["body"])
    report = ingest(conn, "articles", source, StandIn())
    assert (report.changed, report.metadata) == (1, 5)
    metadata = conn.execute("select distinct metadata from embeddings").fetchall()
    assert metadata == [(None,)]
    assert ingest(conn, "articles", source, StandIn()).unchanged == 6


def test_a_text_with_a_nul_character_is_copied_whole(conn):
    conn.execute("update articles set title = 'before' || char(0) || 'after'")
    ingest(conn, "articles", table_source(conn, "articles"), StandIn())
    source = table_source(conn, "articles", rules=Source(store_content=True))
    ingest(conn, "articles", source, StandIn())
    contents = conn.execute("select content from embeddings").fetchall()
    assert all("before\0after" in content for (content,) in contents)


def test_of_two_rows_with_one_id_the_first_good_one_gives_the_metadata(conn):
    conn.execute("create table t (id, body, m)")
    conn.execute("insert into t values (1, x'00', 'bad'), (1, 'text', 'good')")
    config = CollectionConfig(table="t", id=("id",), columns=("body",), metadata=("m",))
    for value in ("good", "better"):
        conn.execute("update t set m = ? where body = 'text'", [value])
        ingest(conn, "t", source_from_config(conn, config), StandIn())
        row = conn.execute("select metadata from embeddings").fetchone()
        assert row == (f'{{"m": "{value}"}}',)
    assert ingest(conn, "t", source_from_config(conn, config), StandIn()).unchanged == 1


@pytest.mark.parametrize("journal_mode", ["delete", "wal"])
def test_another_writer_need_not_wait_while_rows_are_made_into_documents(
    articles_db, journal_mode
):
    # The other one does not wait at all
    conn, other = sqlite3.connect(articles_db), sqlite3.connect(articles_db, timeout=0)
    conn.execute(f"pragma journal_mode = {journal_mode}")
    source = source_from_config(conn, CollectionConfig(table="articles"))
    with reading.documents(conn, source) as documents:
        next(documents)
        other.execute("insert into articles (title) values ('from elsewhere')")
        other.commit()
        assert len(list(documents)) == 5
    conn.close()
    other.close()
