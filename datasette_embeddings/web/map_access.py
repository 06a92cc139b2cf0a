"""From a request to the map of a collection: permission, version, what is kept."""

from __future__ import annotations

import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from datasette.app import Datasette
from datasette.utils import sqlite_timelimit
from datasette.utils.asgi import Request

from datasette_embeddings.errors import InvalidInputError, NoMapError, quoted
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.maps.colors import Legend, color_names, legend_of
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.coordinates import Coordinates
from datasette_embeddings.store.map_facts import MapFacts
from datasette_embeddings.store.schema import one_moment
from datasette_embeddings.web.compat import is_immutable
from datasette_embeddings.web.http_errors import NotFoundError, OutdatedError
from datasette_embeddings.web.resolve import Target, resolve_target
from datasette_embeddings.web.urls import Address

# The version of the map, and what its colours mean
VERSION, BY = "v", "by"
# What is kept of each Datasette: legends and the like of a kB, pictures of 0.5 MB
MOST_KEPT = {"facts": 200, "picture": 16}
Result = TypeVar("Result")


class Kept:
    """What was computed of maps; the least recently used go first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, OrderedDict[Hashable, Any]] = {
            kind: OrderedDict() for kind in MOST_KEPT
        }

    def value(
        self, key: Hashable, make: Callable[[], Result], *, kind: str = "facts"
    ) -> Result:
        """What *make* returned for *key*."""
        values = self._values[kind]
        with self._lock:
            if key in values:
                values.move_to_end(key)
                found: Result = values[key]
                return found
        made = make()
        with self._lock:
            values[key] = made
            while len(values) > MOST_KEPT[kind]:
                values.popitem(last=False)
        return made


_kept: WeakKeyDictionary[Datasette, Kept] = WeakKeyDictionary()


@dataclass(frozen=True)
class Map:
    """The map of a collection at one moment."""

    collection: StoredCollection
    facts: MapFacts
    kept: Kept
    #: What changes with the database, and the collection in it
    key: tuple[Hashable, ...]

    def value(
        self, name: str, make: Callable[[], Result], *, kind: str = "facts"
    ) -> Result:
        """What *make* returns; it is kept by *name* until the database changes."""
        return self.kept.value((*self.key, name), make, kind=kind)

    def color_names(self) -> list[str]:
        """By what it can be coloured."""
        return self.value("colors", partial(color_names, self.collection))

    def legend(self, by: str) -> Legend:
        """What the colours mean.

        :raises InvalidInputError: for what it cannot be coloured by.
        """
        # An error is not kept: there is any number of wrong names
        return self.value(f"legend {by}", partial(legend_of, self.collection, by))


@dataclass(frozen=True)
class MapRequest:
    """A request for the map of a collection that the actor may see."""

    target: Target
    address: Address

    @property
    def by(self) -> str | None:
        """By what the map is to be coloured, if the request says it."""
        return self.address.args.get(BY) or None

    @property
    def version(self) -> str | None:
        """The version of the map that is asked for, if the request names one."""
        return self.address.args.get(VERSION) or None

    async def read(self, function: Callable[[Map], Result]) -> Result:
        """What *function* returns for the map, in the time that SQL may take.

        :raises NotFoundError: if there is none.
        :raises OutdatedError: if the request asks for another version of it.
        """
        datasette, limit_ms = self.target.datasette, _limit_ms(self.target.datasette)
        immutable = is_immutable(datasette, self.target.database.name)

        def read(collection: StoredCollection) -> Result:
            conn, path = collection.conn, collection.path
            # Before everything else: a change meanwhile then counts as a later one
            state = indexes.state(conn, path, immutable=immutable)
            key = self.target.database.name, collection.id, state[1] if path else state
            with _explained(), sqlite_timelimit(conn, limit_ms), one_moment(conn):
                facts = Coordinates(collection).facts
                if facts is None:
                    raise NotFoundError(str(NoMapError(collection.name)))
                self._check_version(facts)
                kept = _kept.setdefault(datasette, Kept())
                return function(Map(collection, facts, kept, key))

        return await self.target.read(read)

    def _check_version(self, facts: MapFacts) -> None:
        if self.version not in (None, str(facts.version)):
            raise OutdatedError(
                f"The map has changed: expected version {facts.version}, found "
                f"{quoted(self.version)}. Read map.json again"
            )


async def resolve_map(datasette: Datasette, request: Request) -> MapRequest:
    """The map that the URL of *request* names, if its actor may see it."""
    target = await resolve_target(datasette, request)
    if not target.collection.has_map:
        raise NotFoundError(str(NoMapError(target.collection.name)))
    address = Address.of(request)
    address.check_names(())
    return MapRequest(target, address)


def _limit_ms(datasette: Datasette) -> int:
    return int(datasette.setting("sql_time_limit_ms"))


@contextmanager
def _explained() -> Iterator[None]:
    """Say in an error of SQLite that the time is up."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if not str(error).startswith("interrupted"):
            raise
        raise InvalidInputError(
            "To read this of the map takes longer than this server's time limit for SQL"
        ) from error
