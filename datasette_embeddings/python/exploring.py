"""Looking at a collection as a whole, for Python programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from datasette_embeddings.analysis.axes import axis_of
from datasette_embeddings.analysis.positions import Placed, place_documents
from datasette_embeddings.errors import UnknownItemError
from datasette_embeddings.python.arguments import Id, axis_end, id_text, search_options
from datasette_embeddings.python.database import Database
from datasette_embeddings.python.maps import CollectionMap, read_map
from datasette_embeddings.store.chunks import existing_documents
from datasette_embeddings.store.clusters import Cluster, Clusters
from datasette_embeddings.vectors import Vectors


class ExploringVerbs:
    """The verbs that are about all documents of a collection."""

    _database: Database
    name: str

    def axis(
        self,
        low: str | Iterable[str] = (),
        high: str | Iterable[str] = (),
        *,
        low_items: Iterable[Id] = (),
        high_items: Iterable[Id] = (),
        limit: int | None = None,
        where: str | None = None,
        params: Mapping[str, object] | None = None,
        prefix: str = "",
    ) -> list[Placed]:
        """Every document with its *position* between two ends, from low to high.

        At -1 is what means the low end, at 1 what means the high end. An end is the
        average of texts, in a list or between commas, and of items, by id; only texts
        need the model. With *limit*, as many of each end. Other options as for
        :meth:`search`.

        :raises InvalidInputError: if an end is empty, or both mean the same.
        """
        ends = axis_end("low", low, low_items), axis_end("high", high, high_items)
        with self._database.stored(self.name) as stored:

            def embed(texts: Sequence[str]) -> Vectors:
                model = self._database.model(stored)
                stored.check_settings(model.settings)
                return model.embed_queries(texts)

            options = search_options(
                stored,
                limit=1 if limit is None else limit,
                offset=0,
                where=where,
                params=params,
                prefix=prefix,
            )
            return place_documents(
                stored,
                axis_of(stored, *ends, embed),
                limit=None if limit is None else options.limit,
                keep=options.keep,
            )

    def map(self) -> CollectionMap:
        """Where its documents are on its map: ids, x, y, clusters, titles.

        :raises NoMapError: if it has none; :meth:`make_map` makes one.
        """
        with self._database.stored(self.name) as stored:
            return read_map(stored)

    def clusters(self) -> list[Cluster]:
        """Its stored clusters, the largest first; none if they were not found yet.

        Each has a ``number``, ``name``, ``size``, ``words``, the ids of its ``central``
        documents, and a ``summary`` or None.
        """
        with self._database.stored(self.name) as stored:
            return Clusters(stored).all()

    def cluster_of(self, id: Id) -> int | None:
        """The number of the cluster of a document; None if it is in none.

        :raises UnknownItemError: if there is none of that *id*.
        """
        document = id_text(id)
        with self._database.stored(self.name) as stored:
            if not existing_documents(stored, [document]):
                raise UnknownItemError(self.name, document)
            return Clusters(stored).numbers_of([document])[document]
