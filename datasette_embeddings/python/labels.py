"""Labels, near-duplicates and outliers of a collection, for Python programs."""

from __future__ import annotations

from collections.abc import Sequence

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
from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.documents import Content
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.python.arguments import (
    Id,
    checked_content,
    checked_many,
    id_text,
)
from datasette_embeddings.python.database import Database
from datasette_embeddings.search.matches import Match
from datasette_embeddings.search.nearest import checked_limit


class LabelVerbs:
    """The verbs about labels, near-duplicates and outliers."""

    _database: Database
    name: str

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
