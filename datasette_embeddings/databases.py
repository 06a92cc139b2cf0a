"""SQLite files: opening them, names in SQL, and paths relative to them."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasette_embeddings.errors import DatabaseError

BUSY_TIMEOUT_S = 10.0
LAST_TRY_MS = 1_000
#: As Datasette reads texts: a Latin-1 byte in one is no reason to stop
LENIENT_TEXT = partial(str, encoding="utf-8", errors="replace")
# The start of SQLite's message, and what a person can do about it
ADVICE = {
    "database is locked": (
        f"is locked: another program has been writing to it for {BUSY_TIMEOUT_S:.0f} "
        "seconds. What was committed is kept; run the same command again"
    ),
    "attempt to write a readonly database": (
        "is read-only. Check the permissions of the file and of its folder"
    ),
    "unable to open database file": (
        "cannot be opened. Check the permissions of the file and of its folder"
    ),
    "database or disk is full": (
        "does not fit: the disk is full. What was committed is kept; "
        "make room and run the same command again"
    ),
    "disk I/O error": (
        "could not be read or written. What was committed is kept; check the disk"
    ),
    "file is not a database": "is not a SQLite database",
    "database disk image is malformed": (
        "is damaged. Restore a copy, or try the sqlite3 program's .recover"
    ),
}


#: The locks that threads hold while they write to a file, by its path. SQLite looks
#: again at intervals whether a file is free, so that one of many threads can go without
#: until its time is up; here they wait for each other
WRITERS: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)


class PatientConnection(sqlite3.Connection):
    """A connection that gets its turn among the writers of this process.

    Without WAL, a commit shuts out all readers. When the time of one of them is up, it
    tries once more while no thread of this process writes.
    """

    def execute(self, *arguments: Any) -> sqlite3.Cursor:  # noqa: ANN401
        try:
            return super().execute(*arguments)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or self.in_transaction:
                raise
        path = str(super().execute("pragma database_list").fetchone()[2])
        with WRITERS[path]:
            super().execute(f"pragma busy_timeout = {LAST_TRY_MS}")
            try:
                return super().execute(*arguments)
            finally:
                super().execute(f"pragma busy_timeout = {int(BUSY_TIMEOUT_S * 1_000)}")


@contextmanager
def open_database(
    path: Path, *, writable: bool = False, create: bool = False
) -> Iterator[sqlite3.Connection]:
    """A connection to the file at *path*, closed afterwards; *create* makes it.

    :raises DatabaseError: if there is no such file, and for errors of SQLite in
        the block.
    """
    # os.path, unlike Path, has no exception for a folder that may not be entered
    is_new = not os.path.exists(path)
    if os.path.isdir(path) or (is_new and not create):
        found = "nothing" if is_new else "a folder"
        raise DatabaseError(f"Expected a database file at {path}, found {found}")
    mode = "rwc" if create else "rw" if writable else "ro"
    try:
        conn = connect(path, mode)
        try:
            # SQLite opens any file; the first read fails if it is no database
            conn.execute("pragma schema_version").fetchone()
            yield conn
        finally:
            conn.close()
            if is_new and path.stat().st_size == 0:
                # Nothing came of it
                path.unlink()
    except sqlite3.DatabaseError as error:
        raise explained(error, path) from error


def connect(
    path: Path, mode: str, kind: type[sqlite3.Connection] = sqlite3.Connection
) -> sqlite3.Connection:
    """A connection to the file at *path*, in a *mode* of SQLite's, for any thread."""
    conn = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        check_same_thread=False,
        factory=kind,
    )
    conn.text_factory = LENIENT_TEXT
    return conn


def explained(error: sqlite3.Error, path: Path) -> DatabaseError:
    """*error* as a sentence about the file at *path*."""
    message = str(error)
    for start, advice in ADVICE.items():
        # FTS5 says first what it was doing
        if message.startswith(start) or message.endswith(start):
            return DatabaseError(f"{path} {advice}")
    return DatabaseError(f"{path}: SQLite says: {message}")


def quote(identifier: str) -> str:
    """*identifier* quoted for SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def folder_of(conn: sqlite3.Connection) -> Path | None:
    """The folder of the database file; None for one in memory."""
    path = conn.execute("pragma database_list").fetchone()[2]
    return Path(path).resolve().parent if path else None


def stored_path(conn: sqlite3.Connection, path: str) -> str:
    """*path*, relative to the working directory, as the database stores it.

    That is relative to the folder of the database, so that a command finds the file
    from any directory, and a published database reveals little of its machine.
    """
    absolute, home = Path(path).expanduser().absolute(), folder_of(conn)
    if home is not None:
        # Not possible between two drives of Windows
        with suppress(ValueError):
            return Path(os.path.relpath(absolute, home)).as_posix()
    return str(absolute)


def real_path(conn: sqlite3.Connection, stored: str) -> str:
    """The path of the file that :func:`stored_path` stored."""
    return os.path.normpath((folder_of(conn) or Path.cwd()) / stored)


@dataclass(frozen=True)
class Column:
    """A column of a table, as SQLite declares it."""

    name: str
    type: str
    #: 1 for the first column of the primary key, 0 for a column outside of it
    key_position: int


def declared_columns(conn: sqlite3.Connection, table: str) -> list[Column]:
    """The columns of *table*; none if it does not exist."""
    rows = conn.execute(f"pragma table_info({quote(table)})")
    return [Column(row[1], row[2], row[5]) for row in rows]


def tables_and_views(conn: sqlite3.Connection) -> dict[str, str]:
    """The names in the main database except SQLite's own: ``table`` or ``view``."""
    rows = conn.execute(
        """
        select name, type
        from sqlite_master
        where type in ('table', 'view')
        and name not like 'sqlite\\_%' escape '\\'
        order by name
        """
    )
    return dict(rows.fetchall())
