"""Looking at a collection as a whole, for Python programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from datasette_embeddings.analysis.axes import axis_of
from datasette_embeddings.analysis.groups import DUPLICATE_SCORE, Group, duplicates
from datasette_embeddings.analysis.labels import (
    Label,
    checked_labels,
    checked_template,
    document_vector,
    label_vectors,
    labels_of,
    scale_of,
)
from datasette_embeddings.analysis.outliers import outliers
from datasette_embeddings.analysis.positions import PlacedDocument, place_documents
from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.documents import Content
from datasette_embeddings.errors import InvalidInputError, UnknownItemError
from datasette_embeddings.python.arguments import (
    Id,
    axis_end,
    checked_content,
    checked_many,
    id_text,
    search_options,
)
from datasette_embeddings.python.database import Database
from datasette_embeddings.python.maps import CollectionMap, read_map
from datasette_embeddings.search.matches import Match
from datasette_embeddings.search.nearest import checked_limit
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
    ) -> list[PlacedDocument]:
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

    def labels(
        self,
        labels: Sequence[str],
        content: Content | None = None,
        *,
        id: Id | None = None,
        template: str | None = None,
    ) -> list[Label]:
        """*labels* for *content*, a text or the bytes of an image, the best first.

        With *id*, for that item or document. Each has a ``probability``, of which all
        together have 1, and a ``cosine``. *template* is what the model reads for a
        label, such as ``a photo of a {}``.

        :raises InvalidInputError: unless there are 2 to 1,000 different labels.
        :raises UnknownItemError: if there is no item of that *id*.
        """
        if (content is None) == (id is None):
            raise InvalidInputError("Expected either content or id")
        names = checked_labels(list(checked_many(labels, "a list of labels")))
        checked_template(template)
        with self._database.stored(self.name) as stored:
            vector = None
            if id is not None:
                vector = document_vector(stored, id_text(id))
            model = self._database.model(stored)
            stored.check_settings(model.settings)
            if isinstance(content, bytes):
                [vector] = model.embed_images([content])
            elif content is not None:
                vector = model.passage_vector(str(checked_content(content)))
            assert vector is not None
            vectors = label_vectors(model, names, template)
            return labels_of(vector, names, vectors, scale_of(model))

    def duplicates(self, min_score: float = DUPLICATE_SCORE) -> list[Group]:
        """Groups that pairs of at least *min_score* connect, the largest first.

        :raises NoSimilaritiesError: if its similarities are not stored.
        """
        with self._database.stored(self.name) as stored:
            return duplicates(stored, min_score).groups

    def outliers(self, *, limit: int = DEFAULT_LIMIT) -> list[Match]:
        """The items farthest from all others, the farthest first.

        The score is the mean cosine to the three nearest.

        :raises NoSimilaritiesError: if its similarities are not stored.
        """
        with self._database.stored(self.name) as stored:
            return outliers(stored, limit=checked_limit(limit))
