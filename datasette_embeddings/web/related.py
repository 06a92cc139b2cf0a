"""Related rows where people read: on row pages, and in templates of one's own."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.search.matches import Match, related_items
from datasette_embeddings.search.snippets import shortened
from datasette_embeddings.store.collections import Collection
from datasette_embeddings.web import links, permissions, resolve
from datasette_embeddings.web.compat import Actor, all_databases
from datasette_embeddings.web.resolve import Target
from datasette_embeddings.web.search_response import Found, shown

if TYPE_CHECKING:
    from datasette.app import Datasette
    from datasette.database import Database
    from datasette.utils.asgi import Request

TEMPLATE = "_embeddings_related.html"
# Of 0.65 only, which has no hook for a row page
CLASSIC_TEMPLATES = Path(__file__).parent.parent / "templates" / "classic"


@dataclass(frozen=True)
class Item:
    """A related item, as a template shows it."""

    id: str
    title: str
    score: float
    #: The page of its row, if it has one
    url: str | None
    content: str | None
    metadata: Mapping[str, object] | None
    #: The image that it stands for, if it does
    image_url: str | None
    #: Its row has changed since it was embedded; None where that is not known
    stale: bool | None


@dataclass(frozen=True)
class Related:
    """What is related to a row, in one of the collections that it is in."""

    collection: Collection
    #: More of the same
    path: str
    found: Sequence[Found]


async def html_of_row(
    datasette: Datasette,
    request: Request,
    database: str,
    table: str,
    row: Mapping[str, Any],
) -> str | None:
    """The related rows of a row, as a piece of its page; None where there are none."""
    related = await _related_to_row(datasette, request.actor, database, table, row)
    if not related:
        return None
    context = {"related": related, "shortened": shortened}
    html = await datasette.render_template(TEMPLATE, context, request=request)
    return str(html)


async def _related_to_row(
    datasette: Datasette,
    actor: Actor,
    database: str,
    table: str,
    row: Mapping[str, Any],
) -> list[Related]:
    found = []
    for collection in await links.made_of(datasette, actor, database, table):
        item_id = links.item_id_of_row(collection, row)
        if item_id is None:
            continue
        holder = datasette.databases[database]
        path = resolve.collection_path(datasette, database, collection.name)
        target = Target(holder, collection, path)
        items = await _related(datasette, target, item_id, DEFAULT_LIMIT)
        if items:
            found.append(Related(collection, links.like_path(path, item_id), items))
    return found


async def _related(
    datasette: Datasette, target: Target, item_id: str, limit: int
) -> list[Found]:
    def search(conn: sqlite3.Connection) -> list[Match]:
        return related_items(target.collection.bound_to(conn), item_id, limit=limit)

    try:
        matches = await target.database.execute_fn(search)
    except sqlite3.DatabaseError:
        # The page itself says what is wrong with its database
        return []
    return [shown(datasette, target, match) for match in matches]


def template_vars(
    datasette: Datasette,
    request: Request | None,
    database: str | None,
    table: str | None,
) -> dict[str, Callable[..., Awaitable[object]]]:
    """What templates may call: ``related_items()``, and what 0.65's row page does."""
    functions: dict[str, Callable[..., Awaitable[object]]] = {
        "related_items": partial(_items, datasette, request, database)
    }
    if request is not None and database is not None and table is not None:
        functions["embeddings_related_html"] = partial(
            html_of_row, datasette, request, database, table
        )
    return functions


async def _items(
    datasette: Datasette,
    request: Request | None,
    page_database: str | None,
    collection: str,
    id: object,
    limit: int = DEFAULT_LIMIT,
    database: str | None = None,
) -> list[Item]:
    """The items related to the one called *id*, as far as the visitor may see them.

    Without *database* it is that of the page, or any that has such a collection.
    """
    actor = None if request is None else request.actor
    for holder in _candidates(datasette, database or page_database):
        found = await permissions.visible_collection(
            datasette, actor, holder, collection
        )
        if found is not None:
            path = resolve.collection_path(datasette, holder.name, collection)
            target = Target(holder, found, path)
            items = await _related(datasette, target, str(id), limit)
            return [_item(each) for each in items]
    return []


def _candidates(datasette: Datasette, name: str | None) -> list[Database]:
    served = all_databases(datasette)
    return [each for each in served if name is None or each.name == name]


def _item(found: Found) -> Item:
    match = found.match
    return Item(
        id=match.document_id,
        title=match.title or match.document_id,
        score=match.score,
        url=found.row_path,
        content=match.content,
        metadata=match.metadata,
        image_url=found.image_path,
        stale=match.stale,
    )
