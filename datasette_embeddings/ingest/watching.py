"""Finds the collections whose sources change, while files and tables do."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.databases import real_path
from datasette_embeddings.errors import EmbeddingsError, UnknownCollectionError
from datasette_embeddings.ingest.folder_changes import FolderChanges, identity, state_of
from datasette_embeddings.sources.definitions import (
    FileSource,
    FolderSource,
    QuerySource,
    Source,
)
from datasette_embeddings.sources.folders import paths_of_folders
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.store.collections import StoredCollection, collections

# Intervals after which a source that never stops changing is read all the same
MOST_INTERVALS = 20
# A sync that found nothing is followed by a pause so many times as long, which keeps a
# table in a busy database from taking more than a fifth of the time
PAUSE = 4
# In seconds: the longest such pause, and until a sync that failed is tried again
LONGEST_PAUSE = RETRY = 60.0


@dataclass(frozen=True)
class _Inputs:
    """What the rows of a collection are read from."""

    database: bool
    #: Files of rows, and databases that queries attach
    files: tuple[str, ...]
    folders: tuple[FolderSource, ...]
    #: The real paths of those folders
    roots: tuple[str, ...]


@dataclass
class _Watched:
    """What is known of a collection; times are those of :func:`time.monotonic`."""

    inputs: _Inputs
    #: When its inputs changed first, and last, since they were compared
    first: float | None = None
    last: float = 0.0
    #: What the last look saw, and what the last comparison found
    seen: object = None
    compared: object = None
    #: No sync begins before; None until the first one ends
    paused: float | None = None
    #: When a sync that failed is tried again
    retry: float | None = None

    def touch(self, now: float) -> None:
        """Note that an input may have changed."""
        self.first, self.last = now if self.first is None else self.first, now


class Watch:
    """The collections of a database, *declared* or stored, as their sources change.

    It looks every *interval* seconds.  A collection is due when its sources have
    changed, and then not for an interval, or for MOST_INTERVALS without rest.  With
    *polls* the folders are listed every MOST_INTERVALS, for file systems that do not
    report changes.

    :raises UnknownCollectionError: if one of *only* is neither declared nor stored.
    """

    def __init__(
        self,
        conn: sqlite3.Connection,
        declared: Mapping[str, CollectionConfig],
        *,
        only: Sequence[str] = (),
        interval: float,
        polls: bool = False,
    ) -> None:
        self._conn, self._declared, self._only = conn, declared, only
        self._interval = interval
        self._changes = FolderChanges(interval, polls=polls)
        self._path = conn.execute("pragma database_list").fetchone()[2]
        self._file = identity(self._path)
        self._version: int | None = None
        self._watched: dict[str, _Watched] = {}
        # The first sync waits for nothing
        self._look(-float("inf"))
        for name in only:
            if name not in self._watched:
                names = [*declared, *(each.name for each in collections(conn))]
                raise UnknownCollectionError(name, names)

    @property
    def names(self) -> list[str]:
        """The names of the collections by now."""
        return list(self._watched)

    @property
    def is_replaced(self) -> bool:
        """Whether another file, or none, is where the database was."""
        return identity(self._path) != self._file

    def wait(self) -> str | None:
        """The name of a collection that is due; None if the database was replaced.

        :raises sqlite3.Error: if the database cannot be read.
        """
        while not self.is_replaced:
            if (name := self.due()) is not None:
                return name
            self.look()
        return None

    def due(self) -> str | None:
        """The name of a collection that is due by now."""
        watched = self._watched.items()
        return next((name for name, each in watched if self._is_due(each)), None)

    def look(self) -> None:
        """Wait for an interval at most, and note what has changed.

        :raises sqlite3.Error: if the database cannot be read.
        """
        roots = [e for each in self._watched.values() for e in each.inputs.roots]
        changed = self._changes.wait(roots)
        now = time.monotonic()
        for each in self._watched.values():
            if not changed.isdisjoint(each.inputs.roots):
                each.touch(now)
        # Last, because a database that is locked is an error
        self._look(now)

    def finish(
        self,
        name: str,
        *,
        idle: float = 0.0,
        has_failed: bool = False,
        retry_s: float | None = None,
    ) -> None:
        """Note that *name* was synced; *idle* are the seconds if nothing was found.

        If it *has_failed*, it is tried again after *retry_s*, or RETRY seconds.
        """
        each, now = self._watched[name], time.monotonic()
        # The first one may have loaded the model
        pause = 0.0 if each.paused is None else min(PAUSE * idle, LONGEST_PAUSE)
        each.paused = now + pause
        wait_s = RETRY if retry_s is None else retry_s
        each.retry = now + wait_s if has_failed else None

    def _is_due(self, each: _Watched) -> bool:
        now = time.monotonic()
        if each.paused is not None and now < each.paused:
            return False
        is_due = each.retry is not None and now >= each.retry
        if each.first is not None and (
            now - each.last >= self._interval
            or now - each.first >= MOST_INTERVALS * self._interval
        ):
            each.first = None
            # Files changed in the folder, but maybe none that the source reads
            found = each.seen, self._listed(each.inputs)
            is_due = is_due or found != each.compared
            each.compared = found
        return is_due

    def _listed(self, inputs: _Inputs) -> int | None:
        """A number that differs if the files differ that the folders have."""
        with suppress(EmbeddingsError, OSError):
            return hash(
                tuple(
                    (str(path), state_of(path))
                    for source in inputs.folders
                    for path in paths_of_folders(self._conn, source)
                )
            )
        return None

    def _look(self, now: float) -> None:
        """Touch the collections whose database or files have changed."""
        version = self._conn.execute("pragma data_version").fetchone()[0]
        if version != self._version:
            self._read_sources()
            self._version = version
        for each in self._watched.values():
            seen = (
                version if each.inputs.database else None,
                [state_of(path) for path in each.inputs.files],
            )
            if seen != each.seen:
                each.seen = seen
                each.touch(now)

    def _read_sources(self) -> None:
        """Read which collections there are, and what they are made from."""
        stored = {each.name: each for each in collections(self._conn)}
        watched = {}
        for name in dict.fromkeys([*self._declared, *stored]):
            if not self._only or name in self._only:
                declared = self._declared.get(name)
                inputs = _inputs_of(self._conn, declared, stored.get(name))
                watched[name] = self._watched.get(name) or _Watched(inputs)
                watched[name].inputs = inputs
        self._watched = watched


def _inputs_of(
    conn: sqlite3.Connection,
    declared: CollectionConfig | None,
    existing: StoredCollection | None,
) -> _Inputs:
    sources: list[Source | None] = []
    if existing is not None:
        sources = [each.source for each in existing.current_sources]
    if declared is not None:
        # Its table may be created later, which is a change of the database
        with suppress(EmbeddingsError):
            sources.append(source_from_config(conn, declared))
    files, folders = list[str](), list[FolderSource]()
    for source in sources:
        if isinstance(source, FileSource):
            files.append(real_path(conn, source.path))
        elif isinstance(source, FolderSource):
            folders.append(source)
        elif isinstance(source, QuerySource):
            attached = [real_path(conn, path) for _alias, path in source.attached]
            # What is committed is in either file
            files += [*attached, *(f"{path}-wal" for path in attached)]
    # Without sources, other programs write to it
    database = not sources or any(
        not isinstance(each, FileSource | FolderSource) for each in sources
    )
    roots = [
        os.path.realpath(real_path(conn, folder))
        for source in folders
        for folder, _glob in source.folders
    ]
    return _Inputs(database, tuple(files), tuple(folders), tuple(roots))
