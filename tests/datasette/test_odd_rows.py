"""What another program may have written: no command and no route breaks of it.

Every column of every table takes every type of value, once in one row.  Every run has
a part of these, the long tests have them all.
"""

from __future__ import annotations

import itertools
import sqlite3

import pytest
from click.testing import CliRunner

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.documents import Chunking
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.similarities.refreshing import build
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.schema import columns_of
from tests.clusters import give_clusters
from tests.datasette.conftest import make_datasette
from tests.maps import give_map

pytestmark = [
    pytest.mark.asyncio,
    # Once Datasette is imported, sqlite3 prints the traceback of a function that raises
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
    ),
]

VALUES = {
    "null": None,
    "integer": -7,
    "huge": 2**63 - 1,
    "real": -1.5,
    "infinity": float("inf"),
    "text": "2024-01-01",
    "empty": "",
    "blob": b"aa",
    "bytes": b"\xff\x00\xfe",
    "json": '{"limit": 99999999999999999999, "min_score": "x", "state": {"a": 1}}',
    "list": "[1, [2], null]",
}
TABLES = {
    "collections": 3,
    "embeddings": 8,
    "similarities": 4,
    "_embedding_collections": 19,
    "_embedding_sources": 6,
    "_embedding_origins": 6,
    "_embedding_chunks": 10,
    "_embedding_failures": 6,
    "_embedding_similarity_marks": 4,
    "embedding_clusters": 5,
    "embedding_cluster_names": 7,
    "embedding_coordinates": 6,
}
COMMANDS = (
    "search {db} docs pets",
    "search {db} docs pets --format json",
    "similar {db} docs 2",
    "collections list {db}",
    "collections list {db} --format json",
    "collections show {db} docs",
    "models list {db}",
    "export {db} docs",
    "check {db}",
    "sync {db} --dry-run --silent",
    "similarities {db} docs --limit 3 --silent",
    "clusters {db} docs --stored",
    "map {db} docs --silent",
    "search {db} docs pets --cluster 1",
    "outliers {db} docs",
    "sync {db} --silent",
    "embed {db} docs --table articles --chunk fixed --chunk-size 8 --silent",
    "check {db} --fix",
    "check {db}",
)
ROUTES = (
    "/-/embeddings.json",
    "/articles/-/embeddings",
    "/articles/-/embeddings/docs?q=pets",
    "/articles/-/embeddings/docs.json?q=pets&_chunks=all",
    "/articles/-/embeddings/docs.json?like=2",
    "/articles/-/embeddings/docs?q=pets&title=Kittens&_facet=title",
    "/articles/-/embeddings/docs/pairs",
    "/articles/-/embeddings/docs/pairs.json",
    "/articles/-/embeddings/docs/image/2",
    "/articles/-/embeddings/docs/clusters",
    "/articles/-/embeddings/docs/clusters.json",
    "/articles/-/embeddings/docs?_cluster=1",
    "/articles/-/embeddings/docs.json?_cluster=none",
    "/articles/-/embeddings/docs.json?_area=-1,-1,9,-1,9,9",
    "/articles/-/embeddings/docs/map",
    "/articles/-/embeddings/docs/map.json",
    "/articles/-/embeddings/docs/map.svg",
    "/articles/-/embeddings/docs/map/tiles/1",
    "/articles/-/embeddings/docs/map/colors/1?by=cluster",
    "/articles/-/embeddings/docs/map/ids/1.json",
    "/articles/-/embeddings/docs/map/matches.json?q=pets",
    "/articles/-/embeddings/docs/axis.json?low=pets&high=stars",
    "/articles/-/embeddings/docs/duplicates.json",
    "/articles/-/embeddings/docs/outliers.json",
    "/articles/articles/2",
    "/articles.json?sql=select+embed_similar('docs','2',3)",
    "/articles.json?sql=select+embed_search('docs','pets',3)",
    "/articles/-/query.json?sql=select+embed_similar('docs','2',3)",
    "/articles/-/query.json?sql=select+embed_search('docs','pets',3)",
)


def cases(step):
    """Table, number of the column and name of the value; each *step*-th is short.

    A *step* that has no factor in common with the 11 values gives each column another.
    """
    everything = itertools.product(
        [(table, column) for table, count in TABLES.items() for column in range(count)],
        VALUES,
    )
    for number, ((table, column), name) in enumerate(everything):
        marks = pytest.mark.long if number % step else ()
        yield pytest.param(table, column, name, marks=marks)


@pytest.fixture(scope="module")
def built(tmp_path_factory, built_articles, model):
    """A database with chunks, similarities and a failure."""
    path = tmp_path_factory.mktemp("odd") / "articles.db"
    path.write_bytes(built_articles)
    conn = sqlite3.connect(path)
    conn.execute("insert into articles values (7, 'Bad', x'ff')")
    rules = Source(chunking=Chunking("fixed", size=8, overlap=0))
    ingest(conn, "docs", table_source(conn, "articles", rules=rules), model)
    build(collection(conn, "docs"), SimilaritySettings(3))
    give_clusters(conn, "docs", [(["pets"], ["1", "2"]), (["sky"], ["3"])])
    give_map(conn, "docs", {"1": (0, 0), "2": (1, 2), "3": (2, 1)})
    for table, count in TABLES.items():
        assert len(columns_of(conn, table)) == count, table
        row = conn.execute(f"select 1 from {table} limit 1").fetchone()
        assert row is not None, table
    conn.close()
    return path.read_bytes()


def damage(path, table, place, name):
    """Write a value into a column of one row, or skip what SQLite refuses."""
    conn = sqlite3.connect(path)
    column = columns_of(conn, table)[place]
    conn.execute("pragma foreign_keys = off")
    key = (
        "name = 'docs'"
        if "name" in columns_of(conn, table)
        else ("collection_id = (select id from collections where name = 'docs')")
    )
    cursor = conn.execute(
        f"select min({'id' if 'id' in columns_of(conn, table) else 'name'}) "
        f"from {table} where {key}"
    )
    (least,) = cursor.fetchone()
    which = "id" if "id" in columns_of(conn, table) else "name"
    try:
        conn.execute(
            f'update or fail {table} set "{column}" = ? where {key} and {which} = ?',
            [VALUES[name], least],
        )
    except sqlite3.IntegrityError as error:
        pytest.skip(f"SQLite refuses it: {error}")
    finally:
        conn.commit()
        conn.close()


@pytest.mark.parametrize(("table", "place", "name"), list(cases(23)))
async def test_no_route_breaks(tmp_path, built, table, place, name):
    path = tmp_path / "articles.db"
    path.write_bytes(built)
    damage(path, table, place, name)
    datasette = make_datasette(path)
    failed = {}
    for route in ROUTES:
        response = await datasette.client.get(route)
        if response.status_code >= 500:
            failed[route] = response.text[:300]
    assert failed == {}


# No command asks Datasette for anything: once is enough for both
@pytest.mark.long(datasette="1.")
# Each column at least once
@pytest.mark.parametrize(("table", "place", "name"), list(cases(10)))
async def test_no_command_breaks(tmp_path, built, table, place, name):
    path = tmp_path / "articles.db"
    path.write_bytes(built)
    damage(path, table, place, name)
    failed = {}
    for command in COMMANDS:
        result = CliRunner().invoke(embeddings, command.format(db=path).split())
        if result.exception and not isinstance(result.exception, SystemExit):
            failed[command] = repr(result.exception)
        indexes.close()
    assert failed == {}
