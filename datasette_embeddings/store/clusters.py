"""Clusters: which documents of a collection are about the same, and their names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from datasette_embeddings.migrations import CLUSTER_TABLES
from datasette_embeddings.store import schema
from datasette_embeddings.store.cluster_facts import ClusterFacts, ClusterSettings
from datasette_embeddings.store.cluster_texts import MOST_WORDS, text_sql, texts_of
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.facts import read_facts, store_facts
from datasette_embeddings.vectors import Vector, decode, encode

#: Documents of a cluster that are stored as central
CENTRAL = 3
#: The id of a document, its cluster, the distance to the center, and its state
ClusterRow: TypeAlias = tuple[str, int | None, float | None, str]

#: How many documents each cluster has; people run and change it
CLUSTERS_SQL = """
    select cluster, name, count(*) as documents
    from embedding_clusters
    join embedding_cluster_names using (collection_id, cluster)
    where collection_id = :collection_id
    group by cluster
    order by documents desc, cluster
"""
_VALID_ROWS = f"""
    from embedding_clusters
    where {schema.valid_sql("embedding_clusters")}
    and collection_id = ?
"""
_VALID_NAMES = f"""
    from embedding_cluster_names
    where {schema.valid_sql("embedding_cluster_names")}
    and collection_id = ?
"""


@dataclass(frozen=True)
class Cluster:
    """Documents that are about the same."""

    #: From 1, by size at the last full run
    number: int
    #: Its summary, else its words, else "Cluster 3"
    name: str
    #: How many documents it has
    size: int
    words: tuple[str, ...] = ()
    #: The ids of the documents nearest to the center, nearest first
    central: tuple[str, ...] = ()
    #: What a chat model wrote about it
    summary: str | None = None


def cluster_name(number: int, words: Sequence[str], summary: str | None = None) -> str:
    """The name of a cluster: *summary*, else *words*, else its number."""
    return summary or ", ".join(words) or f"Cluster {number}"


class Clusters:
    """The stored clusters of a collection; a document is in one of them, or in none."""

    def __init__(self, collection: StoredCollection) -> None:
        self.collection = collection
        self.conn = collection.conn

    @property
    def settings(self) -> ClusterSettings | None:
        """How its clusters are found; None if it has none."""
        facts = self.facts
        return None if facts is None else facts.settings

    @property
    def facts(self) -> ClusterFacts | None:
        """What is known about all clusters; None if it has none."""
        return ClusterFacts.from_json(read_facts(self.collection, "clusters"))

    def store_facts(self, facts: ClusterFacts | None) -> None:
        """Store *facts*, or that it has no clusters; part of a transaction."""
        stored = {} if facts is None else facts.to_json()
        store_facts(self.collection, "clusters", stored)

    def prepare(self) -> None:
        """Create the tables of clusters, if they do not exist."""
        names = "embedding_clusters", "embedding_cluster_names"
        schema.create_tables(self.conn, names, CLUSTER_TABLES)

    def all(self) -> list[Cluster]:
        """The clusters that have documents, largest first; as of the last refresh."""
        facts = self.facts
        if facts is None or not self.exist:
            return []
        rows = self.conn.execute(
            f"""
            select cluster, {text_sql("name")}, words, central, {text_sql("summary")}
            {_VALID_NAMES}
            and cluster between 1 and ?
            """,
            [self.collection.id, len(facts.sizes)],
        )
        by_number = {row[0]: row for row in rows}
        found = [
            _cluster(by_number.get(number, (number, *[None] * 4)), size)
            for number, size in enumerate(facts.sizes, 1)
            if size
        ]
        return sorted(found, key=lambda each: (-each.size, each.number))

    def of(
        self, document_ids: Sequence[str]
    ) -> dict[str, tuple[int | None, float | None]]:
        """The cluster of each of *document_ids*, and its distance to the center.

        Both are None of a document in no cluster. Unknown documents are left out.
        """
        if not self.exist:
            return {}
        sql = f"select id, cluster, distance {_VALID_ROWS} and id in"
        rows = schema.rows_in(self.conn, sql, [self.collection.id], document_ids)
        return {each: (cluster, distance) for each, cluster, distance in rows}

    def numbers_of(self, document_ids: Sequence[str]) -> dict[str, int | None]:
        """The number of the cluster of each of *document_ids*, None in no cluster."""
        found = self.of(document_ids)
        return {
            each: found[each][0] if each in found else None for each in document_ids
        }

    def members(
        self, number: int, *, limit: int, offset: int = 0
    ) -> list[tuple[str, float]]:
        """The documents of a cluster and their distances, nearest first."""
        if not self.exist:
            return []
        rows = self.conn.execute(
            f"""
            select id, distance
            {_VALID_ROWS}
            and cluster = ?
            and distance is not null
            order by distance, id
            limit ? offset ?
            """,
            [self.collection.id, number, limit, offset],
        )
        # Tuples, also from a connection that makes other rows
        return [(each, distance) for each, distance in rows]

    def document_ids(self, number: int | None) -> set[str]:
        """The documents of a cluster, or for None those in no cluster."""
        if not self.exist:
            return set()
        sql = f"select id {_VALID_ROWS} and cluster is ?"
        rows = self.conn.execute(sql, [self.collection.id, number])
        return {row[0] for row in rows}

    def states(self) -> dict[str, str]:
        """The state of each document, by its id, when its cluster was found."""
        sql = f"select id, coalesce(state, '') {_VALID_ROWS}"
        return dict(map(tuple, self.conn.execute(sql, [self.collection.id])))

    def centers(self) -> dict[int, Vector]:
        """The center of each cluster, of length 1, by its number."""
        sql = f"select cluster, center {_VALID_NAMES} and center is not null"
        rows = self.conn.execute(sql, [self.collection.id])
        return {number: decode(blob) for number, blob in rows if len(blob) % 4 == 0}

    def farthest(self) -> dict[int, float]:
        """The distance of the farthest document of each cluster, by its number."""
        sql = f"select cluster, max(distance) {_VALID_ROWS} and cluster is not null"
        rows = self.conn.execute(f"{sql} group by cluster", [self.collection.id])
        return {number: distance for number, distance in rows if distance is not None}

    def count_unnamed(self) -> int:
        """How many clusters with documents lack a name or a center."""
        if not self.exist:
            return 0
        named = f"select cluster {_VALID_NAMES} and center is not null"
        row = self.conn.execute(
            f"""
            select count(distinct cluster)
            {_VALID_ROWS}
            and cluster not in ({named})
            """,
            [self.collection.id, self.collection.id],
        ).fetchone()
        return int(row[0])

    def counted(self, facts: ClusterFacts) -> ClusterFacts:
        """*facts* with the sizes that the table has, for all clusters that it named."""
        rows = self.conn.execute(
            f"select cluster, count(*) {_VALID_ROWS} group by cluster",
            [self.collection.id],
        )
        counts = dict(map(tuple, rows))
        sizes = tuple(counts.get(each, 0) for each in range(1, len(facts.sizes) + 1))
        return replace(facts, sizes=sizes, documents=sum(counts.values()))

    def write(self, rows: Iterable[ClusterRow], *, gone: Iterable[str] = ()) -> None:
        """Write *rows* and delete those of *gone*; part of a transaction."""
        key = int(self.collection.id)
        self.conn.executemany(
            f"delete from embedding_clusters where collection_id = {key} and id = ?",
            ((each,) for each in gone),
        )
        self.conn.executemany(
            "insert or replace into embedding_clusters "
            f"(collection_id, id, cluster, distance, state) values ({key}, ?, ?, ?, ?)",
            rows,
        )

    def write_names(
        self, clusters: Iterable[Cluster], centers: Mapping[int, Vector]
    ) -> None:
        """Write the names and centers of *clusters*; part of a transaction."""
        self.conn.executemany(
            """
            insert or replace into embedding_cluster_names (
              collection_id, cluster, name, summary, words, central, center
            )
            values (?, ?, ?, ?, ?, ?, ?)
            """,
            _name_rows(self.collection.id, clusters, centers),
        )

    def write_central(self) -> None:
        """Write again which documents are central; part of a transaction."""
        for each in self.all():
            nearest = self.members(each.number, limit=CENTRAL)
            central = tuple(document for document, _distance in nearest)
            if central != each.central:
                self.conn.execute(
                    """
                    update embedding_cluster_names
                    set central = ?
                    where collection_id = ?
                    and cluster = ?
                    """,
                    [_json(central), self.collection.id, each.number],
                )

    def clear(self) -> None:
        """Delete all clusters of the collection; part of a transaction."""
        for table in ("embedding_clusters", "embedding_cluster_names"):
            self.conn.execute(
                f"delete from {table} where collection_id = ?", [self.collection.id]
            )

    @property
    def exist(self) -> bool:
        """Whether the tables exist by now."""
        known = self.collection.columns
        return all(
            known[table] or schema.columns_of(self.conn, table)
            for table in ("embedding_clusters", "embedding_cluster_names")
        )


def _cluster(row: Sequence[Any], size: int) -> Cluster:
    """The cluster of a row of names, of *size* documents."""
    number, name, words, central, summary = row
    found, near = texts_of(words)[:MOST_WORDS], texts_of(central)[:CENTRAL]
    own_name = name or cluster_name(number, found, summary)
    return Cluster(number, own_name, size, found, near, summary)


def _json(texts: Sequence[str]) -> str:
    return json.dumps(texts, ensure_ascii=False)


def _name_rows(
    collection_id: int, clusters: Iterable[Cluster], centers: Mapping[int, Vector]
) -> Iterator[tuple[object, ...]]:
    for each in clusters:
        lists = _json(each.words), _json(each.central)
        center = encode(centers[each.number])
        yield collection_id, each.number, each.name, each.summary, *lists, center
