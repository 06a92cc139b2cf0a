"""The names of clusters, as a search result and a filter show them."""

from __future__ import annotations

from collections.abc import Sequence

from datasette_embeddings.store import schema
from datasette_embeddings.store.cluster_texts import text_sql
from datasette_embeddings.store.clusters import cluster_name
from datasette_embeddings.store.collections import StoredCollection

_NAME = text_sql(schema.typed_sql("embedding_cluster_names.name", "text"))


def named_clusters(
    collection: StoredCollection, document_ids: Sequence[str]
) -> dict[str, tuple[int, str]]:
    """The cluster of each of *document_ids* and its name; without those in none."""
    if not _exist(collection):
        return {}
    sql = f"""
        select embedding_clusters.id, embedding_clusters.cluster, {_NAME}
        from embedding_clusters
        left join embedding_cluster_names using (collection_id, cluster)
        where typeof(embedding_clusters.cluster) = 'integer'
        and embedding_clusters.collection_id = ?
        and embedding_clusters.id in
    """
    rows = schema.rows_in(collection.conn, sql, [collection.id], document_ids)
    return {
        each: (number, name or cluster_name(number, ())) for each, number, name in rows
    }


def names_of(collection: StoredCollection, numbers: Sequence[int]) -> dict[int, str]:
    """The names of the clusters of *numbers*; without those that have none."""
    if not _exist(collection):
        return {}
    sql = f"""
        select cluster, {_NAME}
        from embedding_cluster_names
        where collection_id = ?
        and cluster in
    """
    rows = schema.rows_in(collection.conn, sql, [collection.id], numbers)
    return {number: name for number, name in rows if name}


def _exist(collection: StoredCollection) -> bool:
    """Whether the tables exist by now."""
    return all(
        collection.columns[table] or schema.columns_of(collection.conn, table)
        for table in ("embedding_clusters", "embedding_cluster_names")
    )
