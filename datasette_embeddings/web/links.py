"""Links to the search on Datasette's own pages, for who may see where they lead."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.item_ids import item_id_of
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.web import permissions, resolve
from datasette_embeddings.web.compat import NOT_SERVED, Actor

if TYPE_CHECKING:
    from datasette.app import Datasette

LABEL = "Search by meaning"


def link(href: str, label: str, description: str) -> dict[str, str]:
    """An entry of a menu; 0.65 leaves the description out."""
    return {"href": href, "label": label, "description": description}


def everywhere(datasette: Datasette) -> list[dict[str, str]]:
    """The entry of Datasette's menu."""
    path = str(datasette.urls.path("/-/embeddings"))
    return [link(path, LABEL, "Every collection that can be searched by meaning")]


async def of_database(
    datasette: Datasette, actor: Actor, database: str
) -> list[dict[str, str]]:
    """The entry of a database that has collections which *actor* may see."""
    if not await _visible(datasette, actor, database):
        return []
    path = f"{datasette.urls.database(database)}/-/embeddings"
    return [link(path, LABEL, "The collections of this database")]


async def of_table(
    datasette: Datasette, actor: Actor, database: str, table: str
) -> list[dict[str, str]]:
    """An entry for each collection made of a table or view that *actor* may see."""
    found = await made_of(datasette, actor, database, table)
    return [
        link(
            resolve.collection_path(datasette, database, each.name),
            _label(LABEL, each, found),
            "Find rows by what they mean",
        )
        for each in found
    ]


async def of_row(
    datasette: Datasette,
    actor: Actor,
    database: str,
    table: str,
    row: Mapping[str, Any],
) -> list[dict[str, str]]:
    """An entry for each collection that a row is in: its nearest neighbours."""
    links = []
    found = await made_of(datasette, actor, database, table)
    for each in found:
        item_id = item_id_of_row(each, row)
        if item_id is None:
            continue
        path = resolve.collection_path(datasette, database, each.name)
        links.append(
            link(
                like_path(path, item_id),
                _label("More like this", each, found),
                "Rows that mean nearly the same",
            )
        )
    return links


def like_path(path: str, item_id: str) -> str:
    """The neighbours of an item on the search page at *path*."""
    return f"{path}?{urlencode({'like': item_id})}"


def _label(label: str, collection: Collection, others: Sequence[Collection]) -> str:
    return label if len(others) == 1 else f"{label}: {collection.name}"


def item_id_of_row(collection: Collection, row: Mapping[str, Any]) -> str | None:
    """The item that stands for a row; None where its key is not on the page."""
    source = collection.source
    if not isinstance(source, TableSource):
        return None
    try:
        key = [row[name] for name in source.key_columns]
        return source.id_prefix + item_id_of(key)
    except (EmbeddingsError, KeyError, IndexError):
        return None


async def made_of(
    datasette: Datasette, actor: Actor, database: str, table: str
) -> list[Collection]:
    """The collections made of a table or view that *actor* may see."""
    return [
        each
        for each in await _visible(datasette, actor, database)
        if isinstance(each.source, TableSource) and each.source.table == table
    ]


async def _visible(
    datasette: Datasette, actor: Actor, database: str
) -> list[Collection]:
    holder = datasette.databases.get(database)
    if holder is None or database in NOT_SERVED:
        return []
    try:
        return await permissions.visible_collections(datasette, actor, holder)
    except sqlite3.DatabaseError:
        # The page itself says what is wrong with its database
        return []
