"""Clusters kept up to date as documents come, change and go."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from datasette_embeddings.analysis.documents import document_states, document_vectors
from datasette_embeddings.clusters.kmeans import nearest_center
from datasette_embeddings.store.cluster_facts import HDBSCAN, ClusterFacts
from datasette_embeddings.store.clusters import ClusterRow, Clusters
from datasette_embeddings.store.collections import StoredCollection, current
from datasette_embeddings.store.facts import new_version
from datasette_embeddings.store.items import is_recent
from datasette_embeddings.store.schema import one_moment, transaction

# A refresh starts again when another program wrote clusters meanwhile, so often
ATTEMPTS = 3
# Version of the rules for the state of a document; a change compares all again
RULES = 1


def state_of(collection: StoredCollection) -> list[float | None]:
    """The state of the vectors of *collection*, as it is stored with clusters."""
    return [RULES, *collection.snapshot()]


def refresh(collection: StoredCollection) -> None:
    """Bring the clusters of *collection* up to date, if it has some.

    New and changed documents join the cluster of the nearest center; with HDBSCAN,
    none if they are farther from it than every document of it.
    """
    table = Clusters(collection)
    if table.facts is None:
        return
    if not table.exist:
        table.prepare()
    conn = collection.conn
    for attempt in range(ATTEMPTS):
        # The last attempt makes other programs wait
        is_last = attempt == ATTEMPTS - 1
        with transaction(conn) if is_last else nullcontext():
            with one_moment(conn):
                facts, state = table.facts, state_of(collection)
                if facts is None or facts.state == state:
                    return
                changes = _changes(collection, facts)
            with transaction(conn):
                if table.facts == facts:
                    current(collection)
                    _write(table, facts, changes, state)
                    return


def count_stale(collection: StoredCollection) -> int:
    """How many documents changed, came or went since their cluster was stored."""
    table = Clusters(collection)
    if not table.exist:
        return 0 if table.facts is None else collection.count_items()
    with one_moment(collection.conn):
        if table.facts is None:
            # They belong to clusters that were removed
            return len(table.states())
        states, gone = _changed(collection)
        return len(states) + len(gone)


def advice(collection: StoredCollection) -> str | None:
    """What to do if the clusters of *collection* are outdated; None if they are not."""
    facts = Clusters(collection).facts if collection.has_clusters else None
    if facts is None or not facts.is_outdated:
        return None
    return (
        f"{collection.name}: {facts.joined:,} of {facts.documents:,} documents joined "
        "its clusters since they were found: run 'datasette embeddings clusters' again"
    )


@dataclass(frozen=True)
class _Changes:
    """The rows of documents that came or changed, and those that are gone."""

    rows: list[ClusterRow]
    gone: list[str]


def _changed(collection: StoredCollection) -> tuple[dict[str, str], list[str]]:
    """The states of documents that came or changed, by id, and those that are gone."""
    states, gone = document_states(collection), []
    for document, state in Clusters(collection).states().items():
        if document not in states:
            gone.append(document)
        elif states[document] == state:
            del states[document]
    return states, gone


def _changes(collection: StoredCollection, facts: ClusterFacts) -> _Changes:
    """What is to be written so that the clusters are of the documents as they are."""
    states, gone = _changed(collection)
    rows: list[ClusterRow] = []
    if states:
        with document_vectors(collection, states) as documents:
            length = documents.file.dimensions
            centers = {
                number: center
                for number, center in Clusters(collection).centers().items()
                if len(center) == length
                and 1 <= number <= len(facts.sizes)
                and np.isfinite(center).all()
            }
            numbers, farthest = list(centers), Clusters(collection).farthest()
            is_bounded = facts.settings.method == HDBSCAN
            for first, block in documents.blocks() if centers else ():
                nearest = nearest_center(block, np.array(list(centers.values())))
                pairs = zip(*(each.tolist() for each in nearest), strict=True)
                for position, (index, distance) in enumerate(pairs, first):
                    number = numbers[index]
                    if is_bounded and distance > farthest.get(number, 0):
                        continue
                    document = documents.ids[position]
                    rows.append((document, number, distance, states.pop(document)))
    # Those without a vector that can be compared, too
    rows += [(document, None, None, state) for document, state in states.items()]
    return _Changes(rows, gone)


def _write(
    table: Clusters, facts: ClusterFacts, changes: _Changes, state: list[float | None]
) -> None:
    """Write *changes*; part of a transaction."""
    table.write(changes.rows, gone=changes.gone)
    facts = replace(
        table.counted(facts),
        joined=facts.joined + len(changes.rows),
        state=None if is_recent(state) else state,
    )
    if changes.rows or changes.gone:
        facts = replace(facts, version=new_version())
    table.store_facts(facts)
    if changes.rows or changes.gone:
        table.write_central()
