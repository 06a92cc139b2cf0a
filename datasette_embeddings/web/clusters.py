"""The clusters of a collection as a page of cards and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from typing import Any

from datasette.app import Datasette
from datasette.utils.asgi import Request, Response

from datasette_embeddings.errors import NoClustersError
from datasette_embeddings.index.matrix import Hit
from datasette_embeddings.search.matches import Match, matches
from datasette_embeddings.search.scope import NO_CLUSTER
from datasette_embeddings.store.chunks import existing_documents
from datasette_embeddings.store.cluster_facts import ClusterFacts
from datasette_embeddings.store.clusters import CLUSTERS_SQL, Cluster, Clusters
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.web import search_request
from datasette_embeddings.web.compat import database_color, run_sql_path
from datasette_embeddings.web.http_errors import NotFoundError
from datasette_embeddings.web.middleware import SHAPE, json_view, page_view, shaped
from datasette_embeddings.web.pages import render_page
from datasette_embeddings.web.resolve import Target, resolve_target
from datasette_embeddings.web.server import config_of
from datasette_embeddings.web.urls import Address

PARAMETERS = ("_size", "_next", SHAPE)
# What the methods are called
METHODS = {"kmeans": "k-means", "hdbscan": "HDBSCAN"}


@dataclass(frozen=True)
class Page:
    """Clusters, largest first, from *offset* on, with their most central documents."""

    facts: ClusterFacts | None
    #: How many there are, with those of other pages
    count: int
    clusters: Sequence[Cluster]
    #: By the id of a document
    documents: Mapping[str, Match]
    offset: int
    next: int | None

    @property
    def in_none(self) -> int:
        """How many documents are in no cluster."""
        return 0 if self.facts is None else self.facts.documents - sum(self.facts.sizes)

    def central(self, cluster: Cluster) -> list[Match]:
        """The most central documents of *cluster*, as far as they still exist."""
        return [self.documents[e] for e in cluster.central if e in self.documents]


async def _read(datasette: Datasette, request: Request) -> tuple[Target, Address, Page]:
    """A collection, and a page of its clusters."""
    target = await resolve_target(datasette, request)
    address = Address.of(request)
    address.check_names(PARAMETERS)
    config = config_of(datasette)
    asked = search_request.from_args(address.args, config)
    size = asked.size if address.args.get("_size") else config.max_size
    page = await target.read(partial(_read_page, size, asked.next))
    return target, address, page


def _read_page(size: int, offset: int, collection: StoredCollection) -> Page:
    known = Clusters(collection)
    facts = known.facts if collection.has_clusters else None
    found = known.all() if facts is not None else []
    shown = found[offset : offset + size]
    ids = list(dict.fromkeys(each for cluster in shown for each in cluster.central))
    existing = existing_documents(collection, ids)
    central = matches(collection, [Hit(each, 1.0) for each in ids if each in existing])
    return Page(
        facts,
        len(found),
        shown,
        {each.document_id: each for each in central if not each.row_is_missing},
        offset,
        offset + size if len(found) > offset + size else None,
    )


@json_view(limited=True)
async def clusters_json(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/clusters.json``"""
    target, address, page = await _read(datasette, request)
    facts = page.facts
    if facts is None:
        raise NotFoundError(str(NoClustersError(target.collection.name)))
    next_path = address.next_path(page.next)

    def absolute(path: str) -> str:
        return str(datasette.absolute_url(request, path))

    body = {
        "ok": True,
        "database": target.database.name,
        "collection": target.collection.name,
        "method": facts.settings.method,
        "count": page.count,
        "documents": facts.documents,
        "in_no_cluster": page.in_none,
        "joined": facts.joined,
        "made": facts.made,
        "clusters": [_to_json(target, page, each) for each in page.clusters],
        "next": None if page.next is None else str(page.next),
        "next_url": None if next_path is None else absolute(next_path),
    }
    return shaped(datasette, request, address.args, body, "clusters")


def _to_json(target: Target, page: Page, cluster: Cluster) -> dict[str, Any]:
    return {
        "cluster": cluster.number,
        "name": cluster.name,
        "size": cluster.size,
        "words": cluster.words,
        "summary": cluster.summary,
        "url": target.cluster_path(cluster.number),
        "central": [
            {
                "id": match.document_id,
                "title": match.title,
                "url": target.url(match),
                "image_url": target.image_path(match),
            }
            for match in page.central(cluster)
        ],
    }


@page_view(limited=True)
async def clusters_page(datasette: Datasette, request: Request) -> Response:
    """``/{database}/-/embeddings/{collection}/clusters``"""
    target, address, page = await _read(datasette, request)
    collection, database = target.collection, target.database.name
    sql, values = CLUSTERS_SQL.strip(), {"collection_id": collection.id}
    sql_path = await run_sql_path(datasette, request.actor, database, sql, values)
    facts = page.facts
    made = None if facts is None else facts.made
    context = {
        "page": page,
        "facts": facts,
        "method": METHODS.get(facts.settings.method) if facts else None,
        "made": made and datetime.fromtimestamp(made, timezone.utc),
        "cluster_count": page.count,
        "none_path": target.cluster_path(NO_CLUSTER),
        "next_path": address.next_path(page.next),
        "target": target,
        "collection": collection,
        "database": database,
        "db_color": database_color(target.database),
        "sql_path": sql_path,
        "sql": sql,
        "alternate_url_json": address.with_args({}, f"{target.path}/clusters.json"),
    }
    return await render_page(datasette, request, "embeddings_clusters.html", context)
