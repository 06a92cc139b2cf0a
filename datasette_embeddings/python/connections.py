"""The connections of an :class:`Embeddings`: to a file, as many as threads use at once,
or the one that it was given.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from datasette_embeddings.databases import (
    LENIENT_TEXT,
    PatientConnection,
    connect,
    explained,
)
from datasette_embeddings.errors import DatabaseError

MEMORY = ":memory:"


class FileConnections:
    """Connections to one file.  Those that come back are lent again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._is_closed = False
        #: Which file is at the path; another one may take its place
        self.identity: tuple[int, int] | None = None

    @contextmanager
    def lent(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """A connection that no other thread uses meanwhile; *create* makes the file.

        :raises DatabaseError: if there is no such file, and for errors of SQLite in
            the block.
        """
        try:
            conn = self._taken(create=create)
            try:
                yield conn
            finally:
                self._give_back(conn)
        except sqlite3.DatabaseError as error:
            raise explained(error, self.path) from error

    def _taken(self, *, create: bool) -> sqlite3.Connection:
        with self._lock:
            if self._is_closed:
                raise _closed(self.path)
            self._leave_moved_file()
            if self._idle:
                return self._idle.pop()
        if self.path.is_dir() or not (create or self.path.exists()):
            found = "a folder" if self.path.is_dir() else "nothing"
            raise DatabaseError(
                f"Expected a database file at {self.path}, found {found}; "
                "collection(name, create=True) makes one"
            )
        return connect(self.path, "rwc" if create else "rw", PatientConnection)

    def _leave_moved_file(self) -> None:
        """Forget the connections to a file that is no longer at the path."""
        identity = None
        with suppress(OSError):
            found = self.path.stat()
            identity = found.st_dev, found.st_ino
        if identity != self.identity:
            self.identity = identity
            for conn in self._idle:
                conn.close()
            self._idle.clear()

    def _give_back(self, conn: sqlite3.Connection) -> None:
        # An error may have left a transaction open
        conn.rollback()
        with self._lock:
            if not self._is_closed:
                self._idle.append(conn)
                return
        conn.close()

    def close(self) -> None:
        """Close every connection; one that is in use when it comes back."""
        with self._lock:
            self._is_closed = True
            idle, self._idle = self._idle, []
        for conn in idle:
            conn.close()


class OneConnection:
    """A connection that threads use one after the other."""

    identity = None

    def __init__(self, conn: sqlite3.Connection, *, is_own: bool = False) -> None:
        self._conn, self._is_own = conn, is_own
        self._is_closed = False
        # A caller may use it again within, for example to read what it embeds
        self._lock = threading.RLock()
        self.path = Path(MEMORY)
        with self.lent():
            name = conn.execute("pragma database_list").fetchone()[2]
        self.path = Path(name or MEMORY)

    @contextmanager
    def lent(self, *, create: bool = False) -> Iterator[sqlite3.Connection]:
        """The connection, while no other thread uses it here; it exists already."""
        with self._lock:
            if self._is_closed:
                raise _closed(self.path)
            conn = self._conn
            factories = conn.row_factory, conn.text_factory
            conn.row_factory, conn.text_factory = None, LENIENT_TEXT
            try:
                yield conn
            except sqlite3.DatabaseError as error:
                raise explained(error, self.path) from error
            finally:
                conn.row_factory, conn.text_factory = factories

    def close(self) -> None:
        """Close the connection, unless the caller opened it."""
        with self._lock:
            self._is_closed = True
            if self._is_own:
                self._conn.close()


def _closed(path: Path) -> DatabaseError:
    return DatabaseError(f"{path} was closed here; open it again with Embeddings()")


Connections: TypeAlias = FileConnections | OneConnection
