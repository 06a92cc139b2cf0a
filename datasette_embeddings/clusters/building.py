"""The clusters of a collection: found in a full run, and kept up to date.

A full run reads the vectors at one moment, computes without a lock, and replaces the
old clusters in one transaction.  Later, new and changed documents join the cluster with
the nearest center; how many did is counted, because centers and names stay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Protocol

from datasette_embeddings.analysis.documents import (
    DocumentVectors,
    document_states,
    document_vectors,
)
from datasette_embeddings.clusters.clustering import Clustering
from datasette_embeddings.clusters.kmeans import MOST_PASSES, check_library
from datasette_embeddings.clusters.names import words_of_clusters
from datasette_embeddings.clusters.refreshing import count_stale, refresh, state_of
from datasette_embeddings.errors import InvalidInputError, MissingLibraryError, quoted
from datasette_embeddings.models.base import Callback, ignore
from datasette_embeddings.store.cluster_facts import (
    KMEANS,
    LARGEST_MIN_SIZE,
    LARGEST_SEED,
    METHODS,
    MOST_COUNT,
    ClusterFacts,
    ClusterSettings,
)
from datasette_embeddings.store.clusters import CENTRAL, Cluster, Clusters, cluster_name
from datasette_embeddings.store.collections import StoredCollection, current
from datasette_embeddings.store.facts import new_version
from datasette_embeddings.store.items import is_recent
from datasette_embeddings.store.schema import kept_in_memory, one_moment, transaction

WORDS_IN_NAME = 4
#: The documents of each cluster by its number, nearest to the center first
Members = Mapping[int, Sequence[str]]
#: Gives some clusters a title, by their numbers
Summarizer = Callable[[StoredCollection, Members], Mapping[int, str]]


class Namer(Protocol):
    """Gives each cluster the words that set it apart, by its number."""

    def __call__(
        self, collection: StoredCollection, members: Members, *, limit: int
    ) -> Mapping[int, Sequence[str]]: ...


@dataclass(frozen=True)
class ClusterReport:
    """How many clusters a run found, and of how many documents."""

    clusters: int
    documents: int
    #: Documents in no cluster
    outside: int = 0
    #: By which the count was chosen; None if it was given
    silhouette: float | None = None


def build(
    collection: StoredCollection,
    settings: ClusterSettings,
    *,
    start: Callback = ignore,
    progress: Callback = ignore,
    namer: Namer = words_of_clusters,
    summarizer: Summarizer | None = None,
) -> ClusterReport:
    """Find the clusters of *collection*, and keep them up to date from now on.

    *start* is called with how often a document is compared with all centers, at most,
    and *progress* with how many more times that was done.

    :raises InvalidInputError: for settings out of range, or too many documents.
    :raises MissingLibraryError: if scikit-learn is not installed.
    """
    check_settings(settings)
    check_library()
    Clusters(collection).prepare()
    # With the tables that it has by now
    collection = current(collection)
    with ExitStack() as stack:
        with one_moment(collection.conn):
            state = state_of(collection)
            documents = stack.enter_context(document_vectors(collection))
            others = _others(collection, documents)
        start((MOST_PASSES + 1) * len(documents))
        found = Clustering(documents, settings, progress)
        members = found.members()
        names = namer(collection, members, limit=WORDS_IN_NAME)
        titles = summarizer(collection, members) if summarizer is not None else {}
        clusters = [
            _cluster(number, ids, tuple(names.get(number, ())), titles.get(number))
            for number, ids in members.items()
        ]
        facts = ClusterFacts(
            settings,
            tuple(len(ids) for ids in members.values()),
            len(documents) + len(others),
            silhouette=found.silhouette,
            state=None if is_recent(state) else state,
            made=int(time.time()),
            version=new_version(),
        )
        _write(current(collection), facts, clusters, found, others)
    if state_of(collection) != state:
        # Another program wrote meanwhile
        refresh(current(collection))
    inside = sum(facts.sizes)
    return ClusterReport(
        len(clusters), facts.documents, facts.documents - inside, found.silhouette
    )


def check_settings(settings: ClusterSettings) -> None:
    """Check that clusters can be found as *settings* say.

    :raises InvalidInputError: if not.
    """
    count, size, seed = settings.count, settings.min_size, settings.seed
    is_kmeans = settings.method == KMEANS
    if settings.method not in METHODS:
        expected = f"a method, {' or '.join(METHODS)}"
        raise InvalidInputError(f"Expected {expected}; found {quoted(settings.method)}")
    if count is not None and not is_kmeans:
        raise InvalidInputError(
            "Expected no number of clusters for hdbscan, which finds it; found "
            f"{quoted(count)}"
        )
    if size is not None and is_kmeans:
        raise InvalidInputError(
            "Expected a smallest size of clusters for hdbscan only, found "
            f"{quoted(size)}"
        )
    for name, value, least, most in (
        ("number of clusters", count, 1, MOST_COUNT),
        ("smallest size of clusters", size, 2, LARGEST_MIN_SIZE),
        ("seed", seed, 0, LARGEST_SEED),
    ):
        if value is not None and not (type(value) is int and least <= value <= most):
            raise InvalidInputError(
                f"Expected a {name} from {least} to {most:,}, found {quoted(value)}"
            )


def remove(collection: StoredCollection) -> None:
    """Delete the clusters of *collection*, and stop keeping them up to date."""
    table = Clusters(collection)
    table.prepare()
    with transaction(collection.conn):
        table.clear()
        table.store_facts(None)


def repair(collection: StoredCollection) -> None:
    """Bring the clusters of *collection* up to date, whatever was written there.

    If names or centers are missing, the clusters are found again; that is left out
    without scikit-learn.
    """
    table = Clusters(collection)
    if table.facts is not None and not table.exist:
        table.prepare()
    if not (table.count_unnamed() or count_stale(collection)):
        return
    facts = table.facts
    if facts is None:
        remove(collection)
    elif table.count_unnamed():
        with suppress(MissingLibraryError):
            build(collection, facts.settings)
    else:
        with transaction(collection.conn):
            table.store_facts(replace(facts, state=None))
        refresh(collection)


def _others(
    collection: StoredCollection, documents: DocumentVectors
) -> list[tuple[str, str]]:
    """The documents without a vector that can be compared, and their states."""
    if not collection.has_chunks and collection.count_items() == len(documents):
        return []
    compared = set(documents.ids)
    states = document_states(collection)
    return [each for each in states.items() if each[0] not in compared]


def _write(
    collection: StoredCollection,
    facts: ClusterFacts,
    clusters: Sequence[Cluster],
    found: Clustering,
    others: Sequence[tuple[str, str]],
) -> None:
    """Put the clusters of a run in the place of the old ones."""
    table = Clusters(collection)
    centers = {each.number: found.centers[each.number - 1] for each in clusters}
    with kept_in_memory(collection.conn, is_mapped=False), transaction(collection.conn):
        current(collection)
        table.clear()
        table.write(found.rows())
        table.write((each, None, None, state) for each, state in others)
        table.write_names(clusters, centers)
        table.store_facts(facts)


def _cluster(
    number: int, ids: Sequence[str], words: tuple[str, ...], summary: str | None
) -> Cluster:
    name = cluster_name(number, words, summary)
    return Cluster(number, name, len(ids), words, tuple(ids[:CENTRAL]), summary)
