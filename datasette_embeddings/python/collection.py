"""A collection with verbs, for Python programs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from datasette_embeddings.clusters import building as clusters
from datasette_embeddings.clusters.building import Summarizer, check_settings
from datasette_embeddings.clusters.summaries import summarize
from datasette_embeddings.documents import AUTO_CHUNKS, Content
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.ingest.items import embed_item, embed_items
from datasette_embeddings.ingest.refreshing import refresh
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.ingest.sync import stored_sources
from datasette_embeddings.maps import building as maps
from datasette_embeddings.maps.projections import DEFAULT_METHOD
from datasette_embeddings.models.base import ignore
from datasette_embeddings.models.chat import ChatModel
from datasette_embeddings.python.arguments import (
    Entry,
    Id,
    checked_many,
    chunking_of,
    document_of,
    document_of_entry,
    id_text,
)
from datasette_embeddings.python.maps import CollectionMap, read_map
from datasette_embeddings.python.reading import ReadableCollection
from datasette_embeddings.store.cluster_facts import KMEANS, ClusterSettings
from datasette_embeddings.store.clusters import Cluster, Clusters
from datasette_embeddings.store.collection_writes import delete_collection
from datasette_embeddings.store.collections import current
from datasette_embeddings.store.deleting import delete_items
from datasette_embeddings.store.map_facts import MapSettings
from datasette_embeddings.store.staging import WINDOW_DOCUMENTS


class Collection(ReadableCollection):
    """A named set of items of one model, each with a vector.

    A call reads what is committed at that moment, by whichever program or thread.
    Iteration gives each :class:`Item` in the order of ids, ``len()`` counts them, and
    ``in`` takes the id of an item or of a document in chunks.

    Every call raises ``UnknownCollectionError`` if the collection was deleted, and
    ``DatabaseError`` if SQLite cannot read or write the database.
    """

    def embed(
        self,
        id: Id,
        content: Content,
        metadata: Mapping[str, object] | None = None,
        *,
        title: str | None = None,
        store: bool = True,
        chunk: str = AUTO_CHUNKS,
    ) -> None:
        """Store the vector of *content*, a text or the bytes of an image, under *id*.

        Nothing is done if it is there already. *metadata* must be JSON; None keeps what
        is stored. *title* becomes the metadata ``title``. With *store*, the content is
        stored, too. A text that is too long for the model is split into items called
        ``id#0``, ``id#1``…; *chunk* is another method of ``--chunk``, or ``none``.

        :raises InvalidInputError: if the content is empty, or the model cannot take it.
        """
        document = document_of(id, content, metadata, title)
        chunking = chunking_of(chunk)
        with self._database.writable(self.name) as (stored, model):
            embed_item(stored, model, document, chunking=chunking, store=store)

    def embed_many(
        self,
        entries: Iterable[Entry],
        *,
        store: bool = True,
        chunk: str = AUTO_CHUNKS,
        batch_size: int = WINDOW_DOCUMENTS,
        progress: Callable[[int], object] = ignore,
    ) -> Report:
        """Embed all *entries* that are new or changed; see :meth:`embed`.

        An entry is ``(id, content)``, ``(id, content, metadata)`` or a mapping of id,
        content, metadata and title. Up to *batch_size* of them, 1,024 at most, are
        read, embedded and committed at a time, so that memory does not grow with their
        number. Of several with one id the last stays; one without content deletes its
        item. *progress* is called with how many more are done.

        Returns how many were ``new``, ``changed``, ``unchanged``, ``empty``, ``failed``
        or had other ``metadata``. Those that failed do not stop the others; the first
        ten are in ``failures``.

        :raises InvalidInputError: for an entry of another shape. What was committed
            before stays.
        """
        if not isinstance(batch_size, int) or batch_size < 1:
            raise InvalidInputError(
                f"Expected a batch size of at least 1, found {quoted(batch_size)}"
            )
        chunking = chunking_of(chunk)
        checked_many(entries, "entries, such as a list of (id, content)")
        with self._database.writable(self.name) as (stored, model):
            return embed_items(
                stored,
                model,
                map(document_of_entry, entries),
                chunking=chunking,
                store=store,
                batch_size=batch_size,
                progress=progress,
            )

    def delete_items(self, ids: Iterable[Id]) -> int:
        """Delete items, and all chunks of documents; return how many of *ids* existed.

        An item that a source brought comes back with the next sync.
        """
        texts = [id_text(each) for each in checked_many(ids, "a list of ids")]
        with self._database.prepared(self.name) as stored:
            deleted = delete_items(stored, texts)
            if deleted:
                refresh(current(stored))
            return deleted

    def make_map(
        self,
        *,
        method: str = DEFAULT_METHOD,
        seed: int = 0,
        progress: Callable[[int], object] = ignore,
    ) -> CollectionMap:
        """Place its documents on a map, near those like them, and keep it up to date.

        *method* is ``pacmap``, ``pca`` or ``umap``. The same *seed* gives the same map.
        *progress* is called with how many more documents have a place.

        :raises InvalidInputError: for another method or seed, or without vectors.
        :raises MissingLibraryError: for ``umap`` without umap-learn.
        """
        with self._database.prepared(self.name) as stored:
            maps.build(stored, MapSettings(method, seed), progress=progress)
            return read_map(current(stored))

    def delete(self) -> None:
        """Delete the collection with all its items; its sources stay as they are."""
        with self._database.prepared(self.name) as stored:
            delete_collection(stored.conn, self.name)

    def cluster(
        self,
        count: int | None = None,
        *,
        method: str = KMEANS,
        min_size: int | None = None,
        seed: int = 0,
        summary: str | None = None,
        progress: Callable[[int], object] = ignore,
    ) -> list[Cluster]:
        """Find *count* clusters, store them, and return them, the largest first.

        Without *count*, as many as separate the documents best. *method* is ``kmeans``
        or ``hdbscan``, whose clusters have at least *min_size* documents. *summary* is
        a chat model of ``llm`` that writes the names. Every change of the collection
        updates the clusters.

        :raises InvalidInputError: for an option out of range.
        :raises MissingLibraryError: if scikit-learn, or llm, is not installed.
        """
        settings = ClusterSettings(method, count, min_size, seed)
        check_settings(settings)
        summarizer: Summarizer | None = None
        if summary is not None:
            summarizer = partial(
                summarize,
                model=ChatModel(summary, purpose="a title"),
                warn=warnings.warn,
            )
        with self._database.prepared(self.name) as stored:
            clusters.build(stored, settings, progress=progress, summarizer=summarizer)
            return Clusters(current(stored)).all()

    def sync(self, *, progress: Callable[[int], object] = ignore) -> list[Report]:
        """Read its sources again: embed new and changed rows, delete those of no row.

        Returns a report for each source, by prefix; items of no source are kept.

        :raises SourceUnavailableError: if it has no source that can be read again.
        """
        with self._database.writable(self.name) as (stored, model):
            options = IngestOptions(prune=True, progress=progress)
            return [
                ingest(stored.conn, self.name, source, model, options=options)
                for source in stored_sources(stored)
            ]
