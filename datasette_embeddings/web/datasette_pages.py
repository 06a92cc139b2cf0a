"""What Datasette's own pages show of collections: menu entries and related rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias

from datasette.app import Datasette
from datasette.utils.asgi import Request

from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.documents import item_id_of
from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.search.matches import Match
from datasette_embeddings.search.related import related_items
from datasette_embeddings.search.snippets import shortened
from datasette_embeddings.sources.definitions import TableSource
from datasette_embeddings.store.cluster_names import named_clusters
from datasette_embeddings.web.compat import Actor
from datasette_embeddings.web.permissions import served_databases
from datasette_embeddings.web.resolve import Target, visible_targets

Links: TypeAlias = list[dict[str, str]]
Row: TypeAlias = Mapping[str, Any]
LABEL, LIKE = "Search by meaning", "More like this"


def link(href: str, label: str, description: str) -> dict[str, str]:
    """An entry of a menu; 0.65 does not show the description."""
    return {"href": href, "label": label, "description": description}


def instance_links(datasette: Datasette) -> Links:
    """The entry of Datasette's main menu."""
    path = str(datasette.urls.path("/-/embeddings"))
    return [link(path, LABEL, "All collections that you can search by meaning")]


async def database_links(datasette: Datasette, actor: Actor, database: str) -> Links:
    """The entry of a database with collections that *actor* may see."""
    path = f"{datasette.urls.database(database)}/-/embeddings"
    entry = link(path, LABEL, "The collections of this database")
    return [entry] if await _targets(datasette, actor, database) else []


async def table_links(
    datasette: Datasette, actor: Actor, database: str, table: str
) -> Links:
    """An entry for each collection made from a table or view."""
    targets = await _targets(datasette, actor, database, table)
    return [
        link(each.path, _label(LABEL, each, targets), "Find rows by their meaning")
        for each in targets
    ]


async def row_links(
    datasette: Datasette, actor: Actor, database: str, table: str, row: Row
) -> Links:
    """An entry for each collection made from the table: the items nearest to *row*."""
    targets = await _targets(datasette, actor, database, table)
    return [
        link(path, _label(LIKE, each, targets), "Rows with a similar meaning")
        for each, item_id in _items(targets, row)
        if (path := each.like_path(item_id))
    ]


def _label(label: str, target: Target, targets: Sequence[Target]) -> str:
    return label if len(targets) == 1 else f"{label}: {target.collection.name}"


async def _targets(
    datasette: Datasette,
    actor: Actor,
    database: str | None,
    table: str | None = None,
    name: str | None = None,
) -> list[Target]:
    """The collections that *actor* may see in a database, or in all databases.

    Of them, those made from *table*, or the one called *name*.
    """
    targets = []
    for each in served_databases(datasette):
        if database is None or each.name == database:
            # The page itself says what is wrong with its database
            with suppress(sqlite3.DatabaseError):
                targets += await visible_targets(datasette, actor, each, name)
    return [
        each
        for each in targets
        if table is None or getattr(each.collection.source, "table", None) == table
    ]


def _items(targets: Sequence[Target], row: Row) -> Iterator[tuple[Target, str]]:
    """The item of a row in each of *targets* whose key columns the page has."""
    for target in targets:
        source = target.collection.source
        with suppress(EmbeddingsError, KeyError, IndexError):
            if isinstance(source, TableSource):
                key = item_id_of([row[name] for name in source.key_columns])
                yield target, source.id_prefix + key


async def related_html(
    datasette: Datasette, request: Request, database: str, table: str, row: Row
) -> str | None:
    """The rows related to *row*, as a part of its page; None if there are none."""
    targets = await _targets(datasette, request.actor, database, table)
    related = []
    for target, item_id in _items(targets, row):
        cluster, matches = None, await _related(target, item_id)
        if target.collection.has_clusters:
            cluster = await _cluster(target, item_id)
        if matches or cluster:
            related.append((target, target.like_path(item_id), matches, cluster))
    if not related:
        return None
    context = {"related": related, "shortened": shortened}
    template = "_embeddings_related.html"
    html = await datasette.render_template(template, context, request=request)
    return str(html)


def template_vars(
    datasette: Datasette,
    request: Request | None,
    database: str | None,
    table: str | None,
) -> dict[str, Any]:
    """What templates may call: ``related_items()``, and what 0.65's row page calls."""
    page_database = database

    async def items(
        collection: str,
        id: object,
        limit: int = DEFAULT_LIMIT,
        database: str | None = None,
    ) -> list[dict[str, object]]:
        """The items related to one, in the page's database or in any if it has none."""
        actor = None if request is None else request.actor
        name = database or page_database
        for target in await _targets(datasette, actor, name, name=collection):
            matches = await _related(target, str(id), limit)
            return [
                {**target.match_to_json(each), "title": each.title or each.id}
                for each in matches
            ]
        return []

    functions: dict[str, Any] = {"related_items": items}
    if request is not None and database is not None and table is not None:
        functions["embeddings_related_html"] = partial(
            related_html, datasette, request, database, table
        )
    return functions


async def _cluster(target: Target, item_id: str) -> tuple[int, str] | None:
    """The number and the name of the cluster of an item."""
    with suppress(sqlite3.DatabaseError):
        known = await target.read(partial(named_clusters, document_ids=[item_id]))
        return known.get(item_id)
    return None


async def _related(
    target: Target, item_id: str, limit: int = DEFAULT_LIMIT
) -> list[Match]:
    with suppress(sqlite3.DatabaseError):
        return await target.read(
            partial(related_items, document_id=item_id, limit=limit)
        )
    return []
