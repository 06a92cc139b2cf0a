"""A database of collections, for Python programs."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from datasette_embeddings.config import Config, ModelConfig
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.python.arguments import checked_name
from datasette_embeddings.python.collection import Collection
from datasette_embeddings.python.connections import (
    MEMORY,
    Connections,
    FileConnections,
    OneConnection,
)
from datasette_embeddings.python.database import Database
from datasette_embeddings.store.collections import collections


class Embeddings:
    """The collections of a SQLite database, safe to use from several threads.

    *database* is the path of a file, ``":memory:"``, a ``sqlite3.Connection`` or a
    ``sqlite_utils.Database``. A file is made by the first ``collection(name,
    create=True)``. Every call that writes commits, so a connection that you give may
    have no open transaction then. It is used by one call at a time, and stays open; for
    other threads open it with ``check_same_thread=False``.

    *models* are settings of models by their ids, as under ``models:`` in
    ``metadata.example.yml``. With *may_download*, missing weights are downloaded.

    >>> with Embeddings(":memory:") as db:
    ...     notes = db.collection("notes", create=True)
    ...     notes.embed("cat", "Cats purr")
    ...     [match.id for match in notes.search("a kitten")]
    ['cat']
    """

    def __init__(
        self,
        database: str | os.PathLike[str] | sqlite3.Connection | Any,  # noqa: ANN401 - sqlite_utils.Database
        *,
        models: Mapping[str, ModelConfig | Mapping[str, Any]] = MappingProxyType({}),
        may_download: bool = False,
    ) -> None:
        self._database = Database(
            _connections(database), _checked(models), may_download=may_download
        )

    def collections(self) -> list[Collection]:
        """Every collection, by name."""
        with self._database.connections.lent() as conn:
            return [Collection(self._database, each.name) for each in collections(conn)]

    def __contains__(self, name: object) -> bool:
        """Whether there is a collection called *name*."""
        return any(each.name == name for each in self.collections())

    def collection(
        self,
        name: str,
        *,
        model: str | EmbeddingModel | None = None,
        create: bool = False,
    ) -> Collection:
        """The collection called *name*; *create* makes it, and the file, if needed.

        A new one is of *model*, or of the bundled model; an existing one must be.

        :raises UnknownCollectionError: if there is none, without *create*.
        :raises ModelMismatchError: if its vectors are of another model.
        :raises UnknownModelError: if the model of a new one is not available.
        """
        checked_name(name)
        if not isinstance(model, str | EmbeddingModel | None):
            raise InvalidInputError(
                f"Expected a model or the id of one, found {quoted(model)}"
            )
        if create:
            self._database.create(name, model)
        else:
            with self._database.connections.lent() as conn:
                self._database.check(conn, name, model)
        return Collection(self._database, name)

    def close(self) -> None:
        """Close the connections that were opened here, in all threads."""
        self._database.connections.close()

    def __enter__(self) -> Embeddings:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Embeddings({str(self._database.connections.path)!r})"


def _connections(database: object) -> Connections:
    # sqlite_utils.Database has its connection there
    conn = getattr(database, "conn", database)
    if isinstance(conn, sqlite3.Connection):
        return OneConnection(conn)
    if conn == MEMORY:
        opened = sqlite3.connect(MEMORY, check_same_thread=False)
        return OneConnection(opened, is_own=True)
    if isinstance(conn, str | os.PathLike):
        path = os.fspath(conn)
        if isinstance(path, str) and path and "\0" not in path:
            return FileConnections(Path(path))
    raise InvalidInputError(
        "Expected the path of a database file or a sqlite3.Connection, "
        f"found {quoted(database)}"
    )


def _checked(
    models: Mapping[str, ModelConfig | Mapping[str, Any]],
) -> Mapping[str, ModelConfig]:
    settings = {n: each for n, each in models.items() if isinstance(each, Mapping)}
    if not settings:
        return dict(models)  # type: ignore[arg-type]
    # As in the configuration, with all faults at once
    return {**models, **Config.from_plugin_config({"models": settings}).models}  # type: ignore[dict-item]
