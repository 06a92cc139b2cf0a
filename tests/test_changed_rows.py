"""A collection that follows the changes of its table is as after a sync of it."""

from __future__ import annotations

import pytest

from datasette_embeddings.databases import connect
from datasette_embeddings.documents import AUTO
from datasette_embeddings.ingest.changed_rows import embed_changes
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.changes import count_changes, is_tracked, track
from datasette_embeddings.store.collections import collection


@pytest.fixture
def conn(tmp_path):
    path = tmp_path / "docs.db"
    path.touch()
    conn = connect(path, "rw")
    yield conn
    conn.close()


def followed(conn, model, table="docs", **rules):
    """The source of *table*, whose rows are embedded and tracked."""
    source = table_source(conn, table, rules=Source(chunking=AUTO, **rules))
    ingest(conn, "docs", source, model)
    track(collection(conn, "docs"), source)
    ingest(conn, "docs", source, model, options=IngestOptions(prune=True))
    return source


def test_inserted_updated_and_deleted_rows(conn, model):
    conn.execute("create table docs (id integer primary key, title, body text)")
    rows = [(f"title {number}", f"body {number}") for number in range(5)]
    conn.executemany("insert into docs (title, body) values (?, ?)", rows)
    conn.commit()
    source = followed(conn, model)
    docs = collection(conn, "docs")
    assert is_tracked(docs, source)
    assert not count_changes(docs).needs_sync
    conn.execute("insert into docs (title, body) values ('new', 'a new row')")
    conn.execute("update docs set body = 'changed' where id = 2")
    conn.execute("delete from docs where id = 3")
    conn.commit()
    assert count_changes(docs).rows == 3
    report = embed_changes(docs, source, model)
    assert (report.new, report.changed, report.gone) == (1, 1, 1)
    assert count_changes(docs).rows == 0
    report = ingest(conn, "docs", source, model, options=IngestOptions(prune=True))
    assert (report.unchanged, report.new, report.changed, report.gone) == (5, 0, 0, 0)
