"""Datasette's databases: which of them we serve, and what they are like."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from datasette_embeddings.compat.access import is_modern

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.database import Database

# Datasette's own.  _memory may have every other database attached (--crossdb), whose
# permissions nobody would ask about
NOT_SERVED = frozenset({"_internal", "_memory"})


def database_for_route(datasette: Datasette, route: str) -> Database | None:
    """The database that a URL names, already decoded; None if there is none."""
    try:
        database = datasette.get_database(route=route)
    except KeyError:
        return None
    return None if database.name in NOT_SERVED else database


def all_databases(datasette: Datasette) -> list[Database]:
    """Every database that holds collections of its own."""
    return [
        database
        for name, database in datasette.databases.items()
        if name not in NOT_SERVED
    ]


def is_immutable(datasette: Datasette, database: str | None) -> bool:
    """Whether the database of that name is served with ``-i``."""
    known = datasette.databases.get(database)
    # A database in memory is called immutable by 1.0, but has no file to open as such
    return known is not None and not known.is_mutable and not known.is_memory


def database_color(database: Database) -> str:
    """The colour of a database's page header, six hexadecimal digits."""
    return str(getattr(database, "color", "ff0000"))


def sql_path(datasette: Datasette, database: str) -> str:
    """The path of the page on which a person runs SQL."""
    path = str(datasette.urls.database(database))
    return f"{path}/-/query" if is_modern() else path


@contextmanager
def time_limited(datasette: Datasette, conn: sqlite3.Connection) -> Iterator[None]:
    """Within, a statement on *conn* ends when Datasette's limit for SQL is over."""
    from datasette.utils import sqlite_timelimit

    with sqlite_timelimit(conn, datasette.setting("sql_time_limit_ms")):
        yield
