"""Paths of files outside the database, noted so that they are found again.

They are noted from the folder of the database file: a command finds them from wherever
it is run, and a published database tells little of the machine that it was made on.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

from datasette_embeddings.sources.definitions import (
    STDIN,
    FileSource,
    FolderSource,
    QuerySource,
    ReadableSource,
)


def noted_path(conn: sqlite3.Connection, path: str) -> str:
    """*path*, given from where we are, as it is noted in the database of *conn*."""
    home = folder_of(conn)
    absolute = Path(path).expanduser().absolute()
    if path == STDIN or home is None:
        return path if path == STDIN else str(absolute)
    try:
        return Path(os.path.relpath(absolute, home)).as_posix()
    except ValueError:
        # On another drive
        return str(absolute)


def located(conn: sqlite3.Connection, source: ReadableSource) -> ReadableSource:
    """*source* with its paths as they can be opened."""
    if isinstance(source, FileSource):
        return replace(source, path=real_path(conn, source.path))
    if isinstance(source, FolderSource):
        folders = tuple((real_path(conn, each), glob) for each, glob in source.folders)
        return replace(source, folders=folders)
    if isinstance(source, QuerySource):
        return replace(source, attached=real_paths(conn, source.attached))
    return source


def real_path(conn: sqlite3.Connection, noted: str) -> str:
    """The path that :func:`noted_path` noted, as it can be opened."""
    home = folder_of(conn) or Path.cwd()
    return noted if noted == STDIN else os.path.normpath(home / noted)


def real_paths(
    conn: sqlite3.Connection, attached: tuple[tuple[str, str], ...]
) -> tuple[tuple[str, str], ...]:
    """Aliases, each with its path as it can be opened."""
    return tuple((alias, real_path(conn, path)) for alias, path in attached)


def folder_of(conn: sqlite3.Connection) -> Path | None:
    """The folder of the database file; None for one in memory."""
    path = conn.execute("pragma database_list").fetchone()[2]
    return Path(path).resolve().parent if path else None
