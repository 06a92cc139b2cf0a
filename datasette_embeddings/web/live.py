"""Live collections of a Datasette: followed while it serves, and what they tell."""

from __future__ import annotations

import asyncio
import logging
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from datasette.app import Datasette
from datasette.database import Database

from datasette_embeddings.config import CollectionConfig, Config
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import EmbeddingsError, shortened
from datasette_embeddings.ingest.report import FAILURES_SHOWN
from datasette_embeddings.serving.allowed_models import VISITORS_WAY_OUT
from datasette_embeddings.serving.live import Follower
from datasette_embeddings.serving.live_state import LiveState
from datasette_embeddings.store.change_triggers import stored_triggers
from datasette_embeddings.store.changes import count_changes
from datasette_embeddings.store.collections import StoredCollection, collections
from datasette_embeddings.web.compat import is_immutable
from datasette_embeddings.web.permissions import served_databases
from datasette_embeddings.web.resolve import Target
from datasette_embeddings.web.server import config_of, own_collections

IMMUTABLE = LiveState("off", "This database is served as immutable")
IN_MEMORY = LiveState("off", "This database is in memory")
# What may be a path or an address, which visitors do not learn
LIKE_A_PATH = re.compile(r"[/\\\\]\w")
logger = logging.getLogger("datasette_embeddings")
#: What follows the live collections of each Datasette that serves, by database
followers: WeakKeyDictionary[Datasette, Mapping[str, Follower]] = WeakKeyDictionary()


async def while_serving(
    datasette: Datasette,
    app: Any,  # noqa: ANN401 - an ASGI application
    scope: Any,  # noqa: ANN401
    receive: Any,  # noqa: ANN401
    send: Any,  # noqa: ANN401
) -> None:
    """Follow the live collections of *datasette* during the lifespan of its server.

    Only a server has one: ``datasette --get`` and other commands have none.
    """
    await app(scope, receive, partial(_send, datasette, send))


async def _send(
    datasette: Datasette, send: Callable[[Any], Any], message: Mapping[str, Any]
) -> None:
    if message["type"] == "lifespan.startup.complete":
        # Not on the event loop: it reads databases
        try:
            followers[datasette] = await asyncio.to_thread(_started, datasette)
        except Exception:  # the server answers searches all the same
            logger.exception("Live collections are not followed")
    elif message["type"].startswith("lifespan.shutdown"):
        for each in followers.pop(datasette, {}).values():
            await asyncio.to_thread(each.stop)
    await send(message)


def _started(datasette: Datasette) -> Mapping[str, Follower]:
    """Start to follow every live collection: what follows those of each database."""
    found = {}
    databases = served_databases(datasette)
    shared = {n: e for n, e in config_of(datasette).collections.items() if e.live}
    for database in databases:
        own = own_collections(datasette, database.name)
        names, is_tracked = _stored(database)
        declared = {
            name: each
            for name, each in shared.items()
            # Not made in each of several databases
            if name in names or len(databases) == 1
        }
        declared = {**declared, **own}
        if is_tracked or any(each.live for each in declared.values()):
            found[database.name] = _follower(datasette, database, declared)
    missing = shared.keys() - {name for each in found.values() for name in each.live}
    for name in sorted(missing):
        logger.warning(
            "No database has the live collection %r: declare it under the database "
            "in which it is to be made",
            name,
        )
    return found


def _stored(database: Database) -> tuple[set[str], bool]:
    """The names of the collections of *database*, and whether triggers follow any."""
    with suppress(EmbeddingsError, sqlite3.Error):
        if database.path:
            with open_database(Path(database.path)) as conn:
                names = {each.name for each in collections(conn)}
                return names, bool(stored_triggers(conn))
    return set(), False


def _follower(
    datasette: Datasette, database: Database, declared: Mapping[str, CollectionConfig]
) -> Follower:
    """What follows the live ones of *declared*; it has begun if it can write."""
    config: Config = replace(config_of(datasette), collections=declared)
    follower = Follower(Path(database.path or database.name), config)
    reason = None if database.path else IN_MEMORY
    if is_immutable(datasette, database.name):
        reason = IMMUTABLE
    if reason is None:
        follower.start()
        return follower
    for name in follower.live:
        follower.set_state(name, reason, reason.reason)
    return follower


async def live_json(target: Target) -> dict[str, object]:
    """``{"live": …}``: what the JSON API says of a live collection; else nothing."""
    follower = followers.get(target.datasette, {}).get(target.database.name)
    if follower is None or target.collection.name not in follower.live:
        return {}
    state, checked = follower.states[target.collection.name], follower.checked
    return {"live": await target.read(partial(_to_json, state, checked))}


def _to_json(
    state: LiveState, checked: float | None, collection: StoredCollection
) -> dict[str, object]:
    behind = count_changes(collection)
    is_behind = state.name == "following" and behind.due
    return {
        "state": "behind" if is_behind else state.name,
        "reason": state.reason,
        "behind": behind.rows,
        "since": _iso_time(behind.since),
        "failing": collection.count_failures(),
        "failures": [
            {"id": each.id, "error": _for_visitors(each.error)}
            for each in collection.failures(FAILURES_SHOWN)
        ],
        "checked": _iso_time(checked),
    }


def _for_visitors(error: str) -> str:
    """*error* of a row, without paths and addresses."""
    return VISITORS_WAY_OUT if LIKE_A_PATH.search(error) else shortened(error)


def _iso_time(seconds: float | None) -> str | None:
    """Unix *seconds* as ISO 8601 in UTC, in whole seconds."""
    if seconds is None:
        return None
    found = datetime.fromtimestamp(seconds, tz=timezone.utc)
    return found.isoformat(timespec="seconds")
