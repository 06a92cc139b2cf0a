"""A site with public and private collections, and what its settings let visitors do."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from datasette.app import Datasette

from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models.registry import DEFAULT_MODEL, load_model
from datasette_embeddings.sources.from_config import table_source
from tests.conftest import write_articles
from tests.servers import make_datasette

EDITOR = {"id": "editor"}
#: Whose names a stranger must never see
PRIVATE = {"allow": EDITOR}
ALLOW = {"library": {"tables": {"letters": PRIVATE}}, "vault": PRIVATE}
SECRET = "of the tests"
NAMES = ("collections", "search", "similar", "context")


@pytest.fixture(scope="session", autouse=True)
def _loaded_model():
    """No test waits for the model on the slowest machine."""
    load_model(DEFAULT_MODEL)


@pytest.fixture(autouse=True)
def _plain_tracebacks(monkeypatch):
    """Where rich is installed Datasette has it print each error, a second at a time."""
    monkeypatch.setattr("datasette.handle_exception.rich", None)


@pytest.fixture(scope="session")
def databases(tmp_path_factory, model) -> list[Path]:
    """`library` with `articles` and the private `letters`, and the private `vault`."""
    folder = tmp_path_factory.mktemp("site")
    paths = [folder / "library.db", folder / "vault.db"]
    for path, name in zip(paths, ("letters", "diaries"), strict=True):
        conn = sqlite3.connect(path)
        write_articles(conn)
        ingest(conn, "articles", table_source(conn, "articles"), model)
        conn.execute(f"create table {name} (id integer primary key, body text)")
        conn.execute(f"insert into {name} values (1, 'The safe opens with 4711')")
        conn.commit()
        ingest(conn, name, table_source(conn, name), model)
        conn.close()
    return paths


@pytest.fixture(scope="session")
def config(databases) -> Path:
    """The configuration file of the site."""
    path = databases[0].parent / "datasette.json"
    agent = {"datasette-agent": EDITOR, "datasette-agent-background": EDITOR}
    path.write_text(json.dumps({"databases": ALLOW, "permissions": agent}))
    return path


@pytest.fixture
def datasette(databases) -> Datasette:
    """The site in this process."""
    return make_datasette(*databases, allow=ALLOW)
