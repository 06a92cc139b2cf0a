"""Request to answer: what a page and its JSON twin have in common."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from datasette_embeddings import compat, permissions, serving, store
from datasette_embeddings import search as searching
from datasette_embeddings.config import DEFAULT_LIMIT, Config
from datasette_embeddings.databases import explained
from datasette_embeddings.errors import (
    EmbeddingsError,
    InvalidInput,
    UnknownItem,
)
from datasette_embeddings.item_ids import row_path, tilde_decode, tilde_encode
from datasette_embeddings.sources import TableSource

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.database import Database
    from datasette.utils.asgi import Request

    from datasette_embeddings.store import Collection


class Absent(EmbeddingsError):
    """What is not there, or may not be seen by whoever asks; answered with 404."""


class Unavailable(EmbeddingsError):
    """A database that cannot be read now; answered with 503."""


@asynccontextmanager
async def readable(database: Database) -> AsyncIterator[None]:
    """Within, what SQLite finds wrong with *database* is :class:`Unavailable`."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        problem = explained(error, Path(database.name))
        raise Unavailable(str(problem)) from error


@dataclass(frozen=True)
class Listed:
    """A collection in a list, how many items it has, and its search page."""

    database: str
    collection: Collection
    count: int
    path: str


@dataclass(frozen=True)
class Found:
    """A match, the path of its source row and that of "more like this"."""

    match: searching.Match
    row_path: str | None
    like_path: str


@dataclass(frozen=True)
class Place:
    """A collection that the actor may see, how many items it has, and its page."""

    database: Database
    collection: Collection
    count: int
    path: str


@dataclass(frozen=True)
class Answer:
    """What a search page shows; *problem* says why there are no matches."""

    place: Place
    text: str | None
    like: str | None
    size: int
    found: Sequence[Found] = ()
    took_ms: float = 0.0
    #: The collection is too large for memory: each search reads it from SQLite
    is_scanned: bool = False
    #: Items whose vectors cannot be compared with the others
    left_out: int = 0
    problem: EmbeddingsError | None = None


async def listed(
    datasette: Datasette, request: Request, databases: Sequence[Database]
) -> list[Listed]:
    """Every collection in *databases* that the actor of *request* may see."""
    found = []
    for database in databases:
        async with readable(database):
            visible = await permissions.visible_collections(
                datasette, request.actor, database
            )
            for each in visible:
                count = await _count(database, each)
                path = collection_path(datasette, database, each.name)
                found.append(Listed(database.name, each, count, path))
    return found


async def _count(database: Database, collection: Collection) -> int:
    count = await database.execute_fn(lambda conn: store.count_items(conn, collection))
    return int(count)


async def requested_database(datasette: Datasette, request: Request) -> Database:
    """The database that the URL of *request* names.

    :raises Absent: if there is none, or the actor may not see it.
    """
    route = _decoded(request.url_vars["database"])
    database = compat.database_for_route(datasette, route)
    if database is None or not await compat.may_view(
        datasette, request.actor, database.name
    ):
        raise Absent(f"Database not found: {route}")
    return database


async def requested_place(datasette: Datasette, request: Request) -> Place:
    """The collection that the URL of *request* names.

    :raises Absent: if there is none, or the actor may not see it.
    """
    database = await requested_database(datasette, request)
    name = _decoded(request.url_vars["collection"])
    async with readable(database):
        collection = await permissions.visible_collection(
            datasette, request.actor, database, name
        )
        if collection is None:
            raise Absent(f"Collection not found: {name}")
        count = await _count(database, collection)
    path = collection_path(datasette, database, name)
    return Place(database, collection, count, path)


async def answer(datasette: Datasette, request: Request) -> Answer:
    """The answer to the query string of *request*, with what went wrong in it.

    :raises Absent: if the collection is none that the actor may see.
    """
    started = time.perf_counter()
    place = await requested_place(datasette, request)
    text, like = request.args.get("q"), request.args.get("like")
    size = DEFAULT_LIMIT
    try:
        config = compat.checked_config(datasette)
        given = request.args.get("_size") or DEFAULT_LIMIT
        size = searching.checked_limit(given, max_limit=config.max_size)
        immutable = compat.is_immutable(datasette, place.database.name)
        options = searching.Options(
            limit=size, immutable=immutable, all_chunks=_all_chunks(request)
        )
        async with readable(place.database):
            matches = await _matches(place, text, like, options, config)
            state = await _index_state(place, options) if matches else (False, 0)
    except EmbeddingsError as problem:
        return Answer(place, text, like, size, problem=problem)
    return Answer(
        place,
        text,
        like,
        size,
        found=[_found(datasette, place, match) for match in matches],
        took_ms=(time.perf_counter() - started) * 1000,
        is_scanned=state[0],
        left_out=state[1],
    )


def _all_chunks(request: Request) -> bool:
    """Whether ``?_chunks=`` asks for every chunk and not only each document's best."""
    chunks = request.args.get("_chunks") or "best"
    if chunks not in ("best", "all"):
        raise InvalidInput(f"Expected _chunks=best or _chunks=all, found {chunks!r}")
    return bool(chunks == "all")


async def _index_state(place: Place, options: searching.Options) -> tuple[bool, int]:
    state: tuple[bool, int] = await place.database.execute_fn(
        lambda conn: searching.index_state(conn, place.collection, options)
    )
    return state


async def _matches(
    place: Place,
    text: str | None,
    like: str | None,
    options: searching.Options,
    config: Config,
) -> list[searching.Match]:
    collection = place.collection
    if text is not None and like is not None:
        raise InvalidInput("Expected either q or like, found both")
    if like is not None:
        item_id = like
        matches: list[searching.Match] = await place.database.execute_fn(
            lambda conn: searching.similar_items(
                conn, collection, item_id, options=options
            )
        )
        return matches
    if text is None:
        return []
    query = searching.checked_query(text, max_length=config.max_query_length)
    # The model first, in a thread of its own: Datasette has few for its databases
    vector = await serving.query_vector_in_thread(collection.model_id, query, config)

    def search(conn: sqlite3.Connection) -> list[searching.Match]:
        return searching.search_vector(conn, collection, vector, options=options)

    matches = await place.database.execute_fn(search)
    return matches


def _found(datasette: Datasette, place: Place, match: searching.Match) -> Found:
    source = place.collection.source
    path = None
    if isinstance(source, TableSource):
        table = datasette.urls.table(place.database.name, source.table)
        row = row_path(match.document_id, len(source.key_columns), source.id_prefix)
        path = None if row is None else f"{table}/{row}"
    like_path = f"{place.path}?like={quote(match.document_id, safe='')}"
    return Found(match, path, like_path)


def collection_path(datasette: Datasette, database: Database, name: str) -> str:
    """The path of a collection's search page."""
    prefix = datasette.urls.database(database.name)
    return f"{prefix}/-/embeddings/{tilde_encode(name)}"


def status_of(problem: EmbeddingsError) -> int:
    """The HTTP status that says what *problem* says."""
    if isinstance(problem, Absent | UnknownItem):
        return 404
    if isinstance(problem, Unavailable):
        return 503
    return 400 if isinstance(problem, InvalidInput) else 500


def _decoded(part: str) -> str:
    try:
        return tilde_decode(part)
    except ValueError as error:
        raise Absent(f"Not a tilde-encoded name: {part}") from error
