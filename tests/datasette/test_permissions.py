"""A collection is seen by exactly those who may see its database and source table."""

from __future__ import annotations

import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor

import pytest
from datasette.database import Database

from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.sources.from_config import table_source
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.store.collection_writes import (
    create_collection,
    delete_collection,
)
from datasette_embeddings.store.collections import collection
from datasette_embeddings.store.schema import raw_tables
from datasette_embeddings.store.tables import OUR_TABLES, RAW_TABLES, REQUIRED_COLUMNS
from datasette_embeddings.web.compat import is_modern
from tests.datasette.conftest import actor_cookie, execute, make_datasette

pytestmark = pytest.mark.asyncio

ROOT_ONLY = {"id": "root"}
# What is closed, as Datasette's configuration of the database "articles"
CONFIGURATIONS = {
    "open": {},
    "database for root": {"allow": ROOT_ONLY},
    "closed database": {"allow": False},
    "source for root": {"tables": {"articles": {"allow": ROOT_ONLY}}},
    "closed source": {"tables": {"articles": {"allow": False}}},
    "closed embeddings": {"tables": {"embeddings": {"allow": False}}},
    "another table closed": {"tables": {"other": {"allow": False}}},
    "source open in a closed database": {
        "allow": ROOT_ONLY,
        "tables": {"articles": {"allow": True}},
    },
}
ACTORS = [None, "root", "other"]
SEARCH = "/articles/-/embeddings/articles"


def cookies(datasette, actor):
    return {} if actor is None else actor_cookie(datasette, actor)


async def status(datasette, actor, path):
    """The status for a client of its own: cookies of one actor do not stay."""
    options = {"cookies": cookies(datasette, actor)}
    return (await datasette.client.get(path, **options)).status_code


async def core_allows(datasette, actor):
    """What Datasette's own pages of the database and the source table say."""
    return [
        await status(datasette, actor, path) == 200
        for path in ("/articles", "/articles/articles")
    ]


@pytest.mark.parametrize("actor", ACTORS, ids=str)
@pytest.mark.parametrize("name", CONFIGURATIONS)
async def test_a_collection_is_seen_exactly_when_core_shows_its_source(
    articles_db, name, actor
):
    datasette = make_datasette(articles_db, allow={"articles": CONFIGURATIONS[name]})
    visible = all(await core_allows(datasette, actor))
    for path in (SEARCH, f"{SEARCH}.json", f"{SEARCH}?q=pets", f"{SEARCH}.json?like=5"):
        found = await status(datasette, actor, path)
        assert (path, found) == (path, 200 if visible else 404)
    for path in ("/-/embeddings", "/-/embeddings.json"):
        response = await datasette.client.get(path, cookies=cookies(datasette, actor))
        assert response.status_code == 200
        assert (SEARCH in response.text) is visible


@pytest.mark.parametrize("actor", ACTORS, ids=str)
@pytest.mark.parametrize("name", CONFIGURATIONS)
async def test_raw_tables_are_seen_exactly_when_every_source_is(
    articles_db, name, actor
):
    configuration = CONFIGURATIONS[name]
    datasette = make_datasette(articles_db, allow={"articles": configuration})
    source_allowed = (await core_allows(datasette, actor))[1]
    for table in ("embeddings", "collections", "_embedding_collections"):
        closed = configuration.get("tables", {}).get(table) == {"allow": False}
        # An actor that may see the source sees them where the owner has not closed them
        database_closed = configuration.get("allow") == ROOT_ONLY and actor != "root"
        expected = source_allowed and not closed and not database_closed
        found = await status(datasette, actor, f"/articles/{table}.json")
        assert (table, found) == (table, 200 if expected else 403)


async def test_denied_raw_tables_are_not_in_the_list_of_tables(articles_db):
    closed = CONFIGURATIONS["source for root"]
    datasette = make_datasette(articles_db, allow={"articles": closed})
    body = (await datasette.client.get("/articles.json")).json()
    assert {table["name"] for table in body["tables"]} & set(RAW_TABLES) == set()
    text = (await datasette.client.get("/articles")).text
    assert 'href="/articles/embeddings"' not in text


async def test_a_collection_that_is_hidden_leaks_nothing(articles_db):
    closed = CONFIGURATIONS["source for root"]
    datasette = make_datasette(articles_db, allow={"articles": closed})
    hidden = await datasette.client.get(f"{SEARCH}.json?q=pets")
    missing = await datasette.client.get("/articles/-/embeddings/missing.json?q=pets")
    assert hidden.json() == {
        **missing.json(),
        "error": "Collection not found: articles",
        "errors": ["Collection not found: articles"],
    }


async def test_a_collection_of_a_query_needs_every_table_that_it_reads(
    articles_db, model
):
    conn = sqlite3.connect(articles_db)
    conn.execute("create table authors (id integer primary key, name text)")
    conn.execute("insert into authors values (1, 'Ada')")
    conn.commit()
    sql = "select articles.id, title, name from articles join authors"
    ingest(conn, "joined", query_source(conn, sql), model)
    conn.close()
    datasette = make_datasette(
        articles_db, allow={"articles": {"tables": {"authors": {"allow": False}}}}
    )
    assert await status(datasette, None, "/articles/-/embeddings/joined.json") == 404
    assert await status(datasette, None, f"{SEARCH}.json") == 200
    assert await status(datasette, None, "/articles/embeddings.json") == 403


async def test_a_collection_without_source_is_seen_by_who_sees_embeddings(articles_db):
    conn = sqlite3.connect(articles_db)
    conn.execute("delete from _embedding_collections")
    conn.commit()
    conn.close()
    tables = {"embeddings": {"allow": ROOT_ONLY}}
    datasette = make_datasette(articles_db, allow={"articles": {"tables": tables}})
    assert await status(datasette, None, f"{SEARCH}.json") == 404
    assert await status(datasette, "root", f"{SEARCH}.json") == 200


async def test_one_hidden_collection_hides_those_without_source(articles_db):
    conn = sqlite3.connect(articles_db)
    conn.execute("insert into collections values (9, 'from-llm', 'some-model')")
    conn.commit()
    conn.close()
    closed = CONFIGURATIONS["source for root"]
    datasette = make_datasette(articles_db, allow={"articles": closed})
    path = "/articles/-/embeddings/from-llm.json"
    assert await status(datasette, None, path) == 404
    assert await status(datasette, "root", path) == 200
    # In one request that asks about several tables, too
    response = await datasette.client.get("/-/embeddings.json")
    assert response.json()["collections"] == []
    assert await status(datasette, None, "/articles/embeddings.json") == 403


async def test_an_item_of_no_source_closes_a_collection_while_it_is_served(articles_db):
    tables = {"embeddings": {"allow": ROOT_ONLY}}
    datasette = make_datasette(articles_db, allow={"articles": {"tables": tables}})
    assert await status(datasette, None, f"{SEARCH}.json") == 200
    statements = {
        # What llm does
        "insert into embeddings (collection_id, id, embedding, updated) "
        "select collection_id, 'new', embedding, 1 from embeddings limit 1": 404,
        "delete from embeddings where id = 'new'": 200,
        "insert or replace into embeddings (collection_id, id, embedding, "
        "content, content_hash, updated) select collection_id, id, embedding, "
        "'secret', x'00', updated from embeddings where id = '5'": 404,
        "delete from embeddings where id = '5'": 200,
        # In place, where no rowid tells of it
        "update embeddings set content = 'secret', content_hash = x'00' "
        "where id = '2'": 404,
    }
    for sql, expected in statements.items():
        execute(articles_db, sql)
        for path in (f"{SEARCH}.json", f"{SEARCH}.json?like=1"):
            assert await status(datasette, None, path) == expected
            assert await status(datasette, "root", path) == 200
        listed = (await datasette.client.get("/-/embeddings.json")).json()
        assert bool(listed["collections"]) is (expected == 200)


ITEM_OF_NO_SOURCE = (
    "insert into embeddings (collection_id, id, embedding, content, updated) "
    "select collection_id, 'new', embedding, 'secret', 1 from embeddings limit 1"
)


def create_all_raw_tables(path):
    """Those too that a database gets with its first chunk, failure, pair or index."""
    for table in OUR_TABLES:
        columns = ", ".join(REQUIRED_COLUMNS[table])
        execute(path, f"create table if not exists {table} ({columns})")
    execute(path, "create table _embedding_metadata_1 (_item, topic)")


@pytest.mark.parametrize("allow", [False, ROOT_ONLY], ids=["none", "root"])
async def test_closed_embeddings_close_all_raw_tables_over_items_of_no_source(
    articles_db, allow
):
    create_all_raw_tables(articles_db)
    tables = {"embeddings": {"allow": allow}}
    datasette = make_datasette(articles_db, allow={"articles": {"tables": tables}})
    conn = sqlite3.connect(articles_db)
    tables = raw_tables(conn)
    conn.close()
    # With the FTS5 table of the one collection, and its shadow tables
    assert {"_embedding_words_1_data", "_embedding_metadata_1"} <= {*tables}
    for actor in ACTORS:
        for table in set(tables) - {"embeddings"}:
            assert await status(datasette, actor, f"/articles/{table}.json") == 200
    execute(articles_db, ITEM_OF_NO_SOURCE)
    for actor in ACTORS:
        shown = allow is ROOT_ONLY and actor == "root"
        options = {"cookies": cookies(datasette, actor)}
        for table in tables:
            found = await status(datasette, actor, f"/articles/{table}.json")
            assert (actor, table, found) == (actor, table, 200 if shown else 403)
        assert await status(datasette, actor, f"{SEARCH}.json") == (
            200 if shown else 404
        )
        assert await status(datasette, actor, "/articles/articles.json") == 200
        body = (await datasette.client.get("/articles.json", **options)).json()
        listed = {table["name"] for table in body["tables"]} & set(tables)
        assert listed == (set(tables) if shown else set())


async def test_a_closed_raw_table_that_a_collection_reads_closes_the_others(
    articles_db, model
):
    execute(articles_db, ITEM_OF_NO_SOURCE)
    conn = sqlite3.connect(articles_db)
    ingest(conn, "names", query_source(conn, "select id, name from collections"), model)
    conn.close()
    tables = {"collections": {"allow": ROOT_ONLY}}
    datasette = make_datasette(articles_db, allow={"articles": {"tables": tables}})
    for actor, is_shown in ((None, False), ("root", True)):
        found = await status(datasette, actor, "/articles/embeddings.json")
        assert found == (200 if is_shown else 403)
        # A page that asks about its own table first, then about "embeddings"
        page = await datasette.client.get(
            "/articles/articles", cookies=cookies(datasette, actor)
        )
        assert page.status_code == 200
        assert (SEARCH in page.text) is is_shown


async def test_a_collection_needs_the_tables_of_all_its_sources(articles_db, model):
    conn = sqlite3.connect(articles_db)
    conn.execute("create table authors (id integer primary key, name text)")
    conn.execute("insert into authors values (1, 'Ada')")
    conn.commit()
    rules = Source(id_prefix="authors/")
    authors = table_source(conn, "authors", rules=rules)
    closed = {"articles": {"tables": {"authors": {"allow": ROOT_ONLY}}}}
    datasette = make_datasette(articles_db, allow=closed)
    assert await status(datasette, None, f"{SEARCH}.json") == 200
    # Before its first item already
    create_collection(conn, "articles", model.settings, authors)
    for _turn in range(2):
        assert await status(datasette, None, f"{SEARCH}.json") == 404
        assert await status(datasette, "root", f"{SEARCH}.json?q=ada") == 200
        assert await status(datasette, None, "/articles/embeddings.json") == 403
        ingest(conn, "articles", authors, model)
    conn.close()


@pytest.mark.parametrize("table", ["_embedding_sources", "_embedding_origins"])
async def test_what_is_noted_of_sources_is_closed_with_them(articles_db, table):
    closed = CONFIGURATIONS["source for root"]
    datasette = make_datasette(articles_db, allow={"articles": closed})
    assert await status(datasette, None, f"/articles/{table}.json") == 403
    assert await status(datasette, "root", f"/articles/{table}.json") == 200
    execute(articles_db, "alter table _embedding_sources rename column source to s")
    assert await status(datasette, None, f"/articles/{table}.json") == 403


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("collections", "model"),
        ("embeddings", "embedding"),
        ("_embedding_origins", "source_id"),
        ("_embedding_chunks", "position"),
        ("_embedding_failures", "error"),
    ],
)
async def test_tables_that_cannot_be_read_open_nothing(articles_db, table, column):
    closed = CONFIGURATIONS["source for root"]
    datasette = make_datasette(articles_db, allow={"articles": closed})
    execute(articles_db, f"alter table {table} rename column {column} to other")
    for raw in ("embeddings", "collections", table):
        assert await status(datasette, None, f"/articles/{raw}.json") == 403


async def test_the_name_of_a_table_in_another_case_opens_nothing(articles_db, model):
    conn = sqlite3.connect(articles_db)
    delete_collection(conn, "articles")
    ingest(conn, "articles", table_source(conn, "ARTICLES"), model)
    conn.close()
    closed = CONFIGURATIONS["source for root"]
    datasette = make_datasette(articles_db, allow={"articles": closed})
    assert await status(datasette, None, f"{SEARCH}.json") == 404


@pytest.mark.parametrize(
    "change",
    ["alter table articles rename to private", "drop table articles"],
    ids=["renamed", "dropped"],
)
async def test_a_source_that_is_gone_shows_nothing(articles_db, change):
    execute(articles_db, change)
    datasette = make_datasette(articles_db)
    assert await status(datasette, None, f"{SEARCH}.json") == 404
    assert await status(datasette, None, "/articles/embeddings.json") == 403


@pytest.mark.parametrize("source", ["{", "[]", "7"], ids=repr)
async def test_a_source_that_cannot_be_read_shows_nothing(articles_db, source):
    execute(articles_db, f"update _embedding_collections set source = '{source}'")
    datasette = make_datasette(articles_db)
    assert await status(datasette, None, f"{SEARCH}.json") == 404
    assert await status(datasette, None, "/articles/embeddings.json") == 403
    assert await status(datasette, None, "/articles/articles.json") == 200


async def test_facts_of_another_shape_close_that_database_only(articles_db, tmp_path):
    shutil.copyfile(articles_db, tmp_path / "odd.db")
    execute(tmp_path / "odd.db", "drop table _embedding_collections")
    execute(tmp_path / "odd.db", "create table _embedding_collections (x)")
    datasette = make_datasette(articles_db, tmp_path / "odd.db")
    assert await status(datasette, None, "/odd/-/embeddings/articles.json") == 404
    assert await status(datasette, None, "/odd/embeddings.json") == 403
    assert await status(datasette, None, "/odd/articles.json") == 200
    assert await status(datasette, None, f"{SEARCH}.json") == 200


async def test_databases_that_are_attached_to_memory_are_not_searched_there(
    articles_db, tmp_path
):
    shutil.copyfile(articles_db, tmp_path / "other.db")
    closed = {"articles": {"allow": False}, "other": {"allow": False}}
    datasette = make_datasette(
        articles_db, tmp_path / "other.db", allow=closed, crossdb=True, memory=True
    )
    path = "/_memory/-/embeddings"
    assert await status(datasette, None, f"{path}.json") == 404
    assert await status(datasette, None, f"{path}/articles.json?like=5") == 404
    response = await datasette.client.get("/-/embeddings.json")
    assert response.json()["collections"] == []


async def test_a_hundred_databases_with_a_secret_can_be_served(articles_db, tmp_path):
    paths = [tmp_path / f"d{number}.db" for number in range(100)]
    for path in paths:
        shutil.copyfile(articles_db, path)
    closed = {path.stem: CONFIGURATIONS["source for root"] for path in paths}
    datasette = make_datasette(*paths, allow=closed)
    assert await status(datasette, None, "/d7/embeddings.json") == 403
    assert await status(datasette, None, "/d7/-/embeddings/articles.json") == 404
    assert await status(datasette, "root", "/d7/-/embeddings/articles.json") == 200


async def test_a_collection_of_a_full_text_table_needs_the_table_that_it_indexes(
    articles_db, model
):
    execute(
        articles_db,
        "create virtual table found using fts5(title, content='articles')",
        "insert into found (rowid, title) select id, title from articles",
    )
    conn = sqlite3.connect(articles_db)
    source = query_source(conn, "select rowid, title from found")
    ingest(conn, "found", source, model)
    conn.close()
    closed = CONFIGURATIONS["source for root"]
    datasette = make_datasette(articles_db, allow={"articles": closed})
    assert await status(datasette, None, "/articles/-/embeddings/found.json") == 404
    assert await status(datasette, "root", "/articles/-/embeddings/found.json") == 200


def write_joined(path, model, content="notes_private.body"):
    """A collection that reads a private table whose name begins as a virtual one's."""
    execute(
        path,
        "create virtual table notes using fts5(body)",
        "create table notes_private (id integer primary key, body text)",
        "insert into notes (rowid, body) values (1, 'public')",
        "insert into notes_private values (1, 'Young cats need food.')",
    )
    sql = (
        f"select notes.rowid, {content} from notes join notes_private "
        "on notes_private.id = notes.rowid"
    )
    conn = sqlite3.connect(path)
    ingest(conn, "joined", query_source(conn, sql), model)
    conn.close()


NOTES_FOR_ROOT = {"tables": {"notes_private": {"allow": {"id": "root"}}}}
JOINED = "/articles/-/embeddings/joined.json"


@pytest.mark.parametrize(
    "content", ["notes_private.body", "notes.body"], ids=["content", "condition"]
)
async def test_a_private_table_is_no_shadow_of_a_virtual_one_by_its_name(
    articles_db, model, content
):
    write_joined(articles_db, model, content)
    datasette = make_datasette(articles_db, allow={"articles": NOTES_FOR_ROOT})
    for path in (JOINED, f"{JOINED}?like=1", "/articles/embeddings.json"):
        assert await status(datasette, None, path) in (403, 404)
        assert await status(datasette, "root", path) == 200
    response = await datasette.client.get("/articles/-/embeddings.json")
    assert [each["name"] for each in response.json()["collections"]] == ["articles"]


async def test_a_note_that_lacks_a_private_table_shows_nothing(articles_db, model):
    """Releases up to 0.2a0 wrote such notes."""
    write_joined(articles_db, model)
    note = "json_set(source, '$.tables', json_array('notes'))"
    execute(
        articles_db,
        f"update _embedding_sources set source = {note} where collection_id = "
        "(select id from collections where name = 'joined')",
    )
    datasette = make_datasette(articles_db, allow={"articles": NOTES_FOR_ROOT})
    assert await status(datasette, None, JOINED) == 404
    assert await status(datasette, "root", JOINED) == 200
    # An owner who syncs has the note completed
    conn = sqlite3.connect(articles_db)
    source = collection(conn, "joined").source
    assert source.tables == ("notes",)
    ingest(conn, "joined", query_source(conn, source.sql), model)
    assert "notes_private" in collection(conn, "joined").source.tables
    conn.close()
    assert await status(datasette, None, JOINED) == 404


async def test_a_view_that_is_defined_otherwise_hides_what_it_has_shown(
    articles_db, model
):
    execute(
        articles_db,
        "create table secret as select * from articles",
        "create view shown as select id, body from secret",
    )
    conn = sqlite3.connect(articles_db)
    ingest(conn, "shown", query_source(conn, "select id, body from shown"), model)
    conn.close()
    execute(
        articles_db,
        "drop view shown",
        "create view shown as select id, body from articles",
    )
    closed = {"articles": {"tables": {"secret": {"allow": {"id": "root"}}}}}
    datasette = make_datasette(articles_db, allow=closed)
    path = "/articles/-/embeddings/shown.json"
    assert await status(datasette, None, path) == 404
    assert await status(datasette, "root", path) == 200


async def test_what_a_collection_requires_is_read_again_while_it_is_served(
    articles_db, model
):
    view = "create view shown as select id, body from"
    execute(
        articles_db, "create table secret as select * from articles", f"{view} articles"
    )
    conn = sqlite3.connect(articles_db)
    ingest(conn, "shown", query_source(conn, "select id, body from shown"), model)
    conn.close()
    closed = {"articles": {"tables": {"secret": {"allow": ROOT_ONLY}}}}
    datasette = make_datasette(articles_db, allow=closed)
    path = "/articles/-/embeddings/shown.json"
    for table, expected in (("articles", 200), ("secret", 404), ("articles", 200)):
        execute(articles_db, "drop view shown", f"{view} {table}")
        for _ in range(2):
            assert await status(datasette, None, path) == expected
            assert await status(datasette, "root", path) == 200
    execute(articles_db, "drop table articles")
    assert await status(datasette, "root", f"{SEARCH}.json") == 404
    execute(articles_db, "delete from collections where name = 'shown'")
    assert await status(datasette, "root", path) == 404


@pytest.fixture
def shown_db(articles_db, model):
    """With a collection of a view, which :data:`REDEFINED` makes secret."""
    view = "create view shown as select id, body from articles"
    execute(articles_db, "create table secret as select * from articles", view)
    conn = sqlite3.connect(articles_db)
    conn.execute("pragma journal_mode = wal")
    ingest(conn, "shown", query_source(conn, "select id, body from shown"), model)
    conn.close()
    return articles_db


SHOWN = "/articles/-/embeddings/shown.json"
REDEFINED = ("drop view shown", "create view shown as select id, body from secret")


def serve_shown(path):
    closed = {"articles": {"tables": {"secret": {"allow": ROOT_ONLY}}}}
    return make_datasette(path, allow=closed, num_sql_threads=1)


async def test_a_connection_that_still_sees_the_past_opens_nothing_later(shown_db):
    datasette = serve_shown(shown_db)
    assert await status(datasette, None, SHOWN) == 200
    reading = []

    def read(conn):
        reading.append(conn.execute("select id from articles"))
        reading[0].fetchone()

    await datasette.get_database("articles").execute_fn(read)
    execute(shown_db, *REDEFINED)
    # It still reads the rows that it may see
    assert await status(datasette, None, SHOWN) == 200
    reading.clear()
    assert await status(datasette, None, SHOWN) == 404


@pytest.mark.parametrize("how", ["file", "database"])
async def test_another_file_in_its_place_opens_nothing(shown_db, tmp_path, how):
    other = tmp_path / "other" / "articles.db"
    other.parent.mkdir()
    execute(shown_db, "pragma journal_mode = delete")
    shutil.copy(shown_db, other)
    execute(other, *REDEFINED)
    datasette = serve_shown(shown_db)
    assert await status(datasette, None, SHOWN) == 200
    if how == "file":
        other.replace(shown_db)
    else:
        datasette.remove_database("articles")
        datasette.add_database(Database(datasette, path=str(other)), name="articles")
    # This thread may still have the file of before, another one has not
    await status(datasette, None, SHOWN)
    datasette.executor = ThreadPoolExecutor(1)
    assert await status(datasette, None, SHOWN) == 404


if is_modern():

    async def test_default_deny_closes_collections_too(articles_db):
        datasette = make_datasette(articles_db, default_deny=True)
        assert await status(datasette, None, f"{SEARCH}.json") == 404
