"""Whose registration of the SQL functions counts where several make one."""

from __future__ import annotations

import sqlite3

import pytest
import sqlite_utils
from datasette.plugins import pm
from pluggy import HookimplMarker

from datasette_embeddings import register
from datasette_embeddings.models.onnx import BUNDLED_FOLDER
from datasette_embeddings.web.compat import is_modern
from tests.datasette.conftest import make_datasette

pytestmark = [
    pytest.mark.asyncio,
    # Datasette has sqlite3 print the traceback of a function that raises
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
    ),
]
hookimpl = HookimplMarker("datasette")


@pytest.fixture
def folder(tmp_path):
    """A folder with a model, as SQL would name it."""
    path = tmp_path / "model"
    path.symlink_to(BUNDLED_FOLDER)
    return path


def errors(conn, folder):
    """What SQL on *conn* answers to what only a connection of one's own allows."""
    found = []
    for sql in (f"select embed('{folder}', 'x')", "select embed_error()"):
        try:
            conn.execute(sql).fetchone()
        except sqlite3.OperationalError as error:
            found.append(str(error))
    return found


REFUSED = ["user-defined function raised exception", "no such function: embed_error"]
WITHOUT = ["no such function: embed", "no such function: embed_error"]


def opened_by_sqlite_utils(conn):
    # As Datasette 1.0 does for a table page
    return sqlite_utils.Database(conn).conn


def registered_by_a_plugin(conn):
    register(conn)
    return conn


REOPENED = pytest.mark.parametrize(
    "reopened",
    [opened_by_sqlite_utils, registered_by_a_plugin],
    ids=["sqlite-utils", "register()"],
)


@REOPENED
@pytest.mark.parametrize("method", ["execute_fn", "execute_write_fn"])
async def test_a_servers_connection_keeps_its_policy(
    articles_db, folder, method, reopened
):
    datasette = make_datasette(articles_db)
    database = datasette.get_database("articles")
    # Without startup(), as 1.0 prepares its first connections
    run = getattr(database, method)
    assert await run(lambda conn: errors(reopened(conn), folder)) == REFUSED


async def test_sqlite_utils_adds_no_function_in_a_server(articles_db, folder):
    datasette = make_datasette(articles_db)
    await datasette.invoke_startup()
    conn = sqlite3.connect(articles_db)
    assert errors(opened_by_sqlite_utils(conn), folder) == WITHOUT
    # A plugin that wants them there says so
    assert errors(registered_by_a_plugin(conn), folder) == []
    conn.close()


@pytest.mark.skipif(not is_modern(), reason="0.65 has no isolated connections")
async def test_an_isolated_connection_gets_no_functions(articles_db, folder):
    datasette = make_datasette(articles_db)
    await datasette.invoke_startup()
    found = await datasette.get_database("articles").execute_isolated_fn(
        lambda conn: errors(opened_by_sqlite_utils(conn), folder)
    )
    assert found == WITHOUT


async def test_a_servers_policy_replaces_an_earlier_registration(articles_db, folder):
    class Early:
        __name__ = "early"

        @hookimpl(tryfirst=True)
        def prepare_connection(self, conn):
            registered_by_a_plugin(conn)

    pm.register(Early(), name="early")
    try:
        database = make_datasette(articles_db).get_database("articles")
        # embed_error() exists then, and has nothing to tell
        assert await database.execute_fn(lambda conn: errors(conn, folder)) == [
            "user-defined function raised exception"
        ]
        assert await database.execute_fn(
            lambda conn: conn.execute("select embed_error()").fetchone()[0] is None
        )
    finally:
        pm.unregister(name="early")


async def test_a_connection_that_is_prepared_twice_keeps_its_policy(
    articles_db, folder
):
    datasette = make_datasette(articles_db)
    conn = sqlite3.connect(articles_db)
    for _ in range(2):
        datasette._prepare_connection(conn, "articles")
        assert errors(conn, folder) == REFUSED
        assert len(conn.execute("select embed('x')").fetchone()[0]) == 1536
    conn.close()


async def test_a_server_that_is_asked_through_itself_keeps_reasons_apart(datasette):
    """1.0 builds the application again for each request of its own client."""
    path = "/articles/-/query" if is_modern() else "/articles"
    await datasette.client.get(path, params={"sql": "select embed('no-such', 'x')"})
    response = await datasette.client.get(path, params={"sql": "select 1"})
    assert "is not available" not in response.text
