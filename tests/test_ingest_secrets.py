"""Who may see a collection follows where its rows come from, whatever a run does."""

from __future__ import annotations

import sqlite3

import numpy as np
import pytest

from datasette_embeddings.cli.transfer import imported
from datasette_embeddings.documents import Document
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.definitions import FileSource, QuerySource
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.documents import write_embeddings
from datasette_embeddings.store.schema import transaction
from datasette_embeddings.web.permissions import required_tables
from tests.models import StandIn

MIXED = ("articles", "embeddings")


@pytest.fixture
def stranger(conn):
    """`articles` beside a collection of that name which llm made, of secret items."""
    model = StandIn()
    made = create_collection(conn, "articles", model.model_id, None)
    documents = [Document("1", "secret", {"salary": 1}), Document("x", "secret too")]
    with transaction(conn):
        vectors = np.eye(2, 4, dtype=np.float32)
        write_embeddings(made, documents, vectors, store_content=True)
        conn.execute("delete from _embedding_collections")
    return conn


def sync(conn, **options):
    source = table_source(conn, "articles")
    return ingest(conn, "articles", source, StandIn(), options=IngestOptions(**options))


def tables(conn):
    return tuple(sorted(required_tables(collection(conn, "articles"))))


def test_items_of_elsewhere_that_stay_count(stranger):
    sync(stranger)
    assert tables(stranger) == MIXED


def test_an_item_of_elsewhere_whose_row_fails_counts(stranger):
    stranger.execute("update articles set body = x'00' where id = 1")
    sync(stranger, prune=True)
    assert tables(stranger) == MIXED


def test_metadata_of_elsewhere_count(stranger):
    sync(stranger, prune=True)
    metadata = stranger.execute("select metadata from embeddings where id = '1'")
    assert metadata.fetchone() == ('{"salary": 1}',)
    assert tables(stranger) == MIXED


def test_an_item_that_llm_wrote_counts_until_it_is_deleted(stranger):
    stranger.execute("update embeddings set metadata = null")
    sync(stranger, prune=True)
    assert tables(stranger) == MIXED
    stranger.execute("delete from embeddings where id = 'x'")
    assert tables(stranger) == ("articles",)


def test_a_rebuild_leaves_nothing_of_elsewhere(stranger):
    sync(stranger, rebuild=True, replace_source=True)
    assert tables(stranger) == ("articles",)
    assert set(stranger.execute("select id, metadata from embeddings")) == {
        (str(number), None) for number in range(1, 7)
    }


def test_a_row_that_fails_does_not_hide_the_items_of_a_known_source(conn):
    conn.execute("update articles set body = x'00' where id = 1")
    sync(conn)
    assert tables(conn) == ("articles",)


def test_vectors_that_are_imported_open_nothing(stranger):
    stranger.execute("create table public (id, embedding)")
    stranger.execute("insert into public values (7, zeroblob(16))")
    imported(stranger, "public", name="articles", model_id="stand-in")
    assert "embeddings" in tables(stranger)


def test_other_vectors_in_an_empty_collection_ask_about_both(conn, tmp_path):
    source = QuerySource("select id, title from articles where 0", ("articles",))
    ingest(conn, "articles", source, StandIn())
    origin = sqlite3.connect(tmp_path / "other.db")
    origin.execute("create table vectors (id, embedding)")
    origin.execute("insert into vectors values ('secret', zeroblob(16))")
    imported(conn, "vectors", other=origin, name="articles", model_id="stand-in")
    origin.close()
    assert tables(conn) == MIXED


def test_a_table_that_joins_a_file_is_asked_about_at_once(conn, tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("id,text\nx,from a file\n")
    ingest(conn, "articles", FileSource(str(path)), StandIn())
    seen = []
    source = table_source(conn, "articles")
    options = IngestOptions(
        replace_source=True, progress=lambda _count: seen.append(tables(conn))
    )
    report = ingest(conn, "articles", source, StandIn(), options=options)
    assert set(seen) == {MIXED}
    assert (report.replaced, tables(conn)) == (1, ("articles",))
