"""Looking into a collection, for Python programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datasette_embeddings.config import DEFAULT_LIMIT, DEFAULT_TOKENS, Mode
from datasette_embeddings.context.passages import Context
from datasette_embeddings.documents import Content
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.ingest.check import Problem, problems_of
from datasette_embeddings.models.cross_encoder import CrossEncoder
from datasette_embeddings.python.arguments import (
    Cluster,
    Id,
    checked_content,
    checked_many,
    id_text,
    search_options,
)
from datasette_embeddings.python.contexts import context_of
from datasette_embeddings.python.database import Database
from datasette_embeddings.python.exploring import ExploringVerbs
from datasette_embeddings.python.frames import arrow_table, pandas_frame
from datasette_embeddings.python.items import (
    Item,
    ids_after,
    item_named,
    read_items,
    stored_vectors,
)
from datasette_embeddings.python.vectors import vector_of
from datasette_embeddings.search.answers import (
    Answer,
    answer_text,
    search_vector,
    similar_items,
)
from datasette_embeddings.search.matches import Match
from datasette_embeddings.store.chunks import existing_documents
from datasette_embeddings.vectors import Vector, Vectors


class ReadableCollection(ExploringVerbs):
    """The verbs of a collection that change nothing."""

    def __init__(self, database: Database, name: str) -> None:
        self._database, self.name = database, name

    def __repr__(self) -> str:
        return f"<Collection {self.name!r}>"

    @property
    def model_id(self) -> str:
        """The id of the model that its vectors are of."""
        with self._database.stored(self.name) as stored:
            return stored.model_id

    def search(
        self,
        query: Content,
        *,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        mode: Mode = "both",
        where: str | None = None,
        params: Mapping[str, object] | None = None,
        cluster: Cluster | None = None,
        prefix: str = "",
        min_score: float | None = None,
        min_cosine: float | None = None,
        all_chunks: bool = False,
        as_typed: bool = False,
        rerank: str | CrossEncoder | None = None,
    ) -> Answer:
        """The *limit* best items for *query*, a text or the bytes of an image.

        *mode* is ``both`` (words and meaning), ``meaning``, or ``words``, which needs
        no model. *where* is an SQL expression over the columns of the source table or
        the metadata, *params* the values of its ``:names``; *cluster* is the number of
        one, a list of these, or ``"none"``; *prefix* is how ids begin.
        Scores are 0 to 1, cosines -1 to 1. Of a document in chunks the best one counts,
        unless *all_chunks*. *as_typed* corrects no spelling. *rerank* is a
        cross-encoder, or its id, that orders the best matches again.

        :raises InvalidInputError: for an empty query, or an option out of range.
        """
        reranker = self._database.reranker(rerank)
        with self._database.stored(self.name) as stored:
            options = search_options(
                stored,
                limit=limit,
                offset=offset,
                where=where,
                params=params,
                cluster=cluster,
                prefix=prefix,
                min_score=min_score,
                min_cosine=min_cosine,
                all_chunks=all_chunks,
                mode=mode,
                as_typed=as_typed,
                rerank=reranker,
            )
            checked_content(query)
            if isinstance(query, str):
                model = None if mode == "words" else self._database.model(stored)
                return answer_text(stored, query, model=model, options=options)
            model = self._database.model(stored)
            stored.check_settings(model.settings)
            [vector] = model.embed_images([query])
            found = search_vector(stored, vector, options=options)
            return Answer(found, mode="meaning")

    def context(
        self,
        question: str,
        *,
        tokens: int = DEFAULT_TOKENS,
        also: Sequence[ReadableCollection] = (),
        where: str | None = None,
        params: Mapping[str, object] | None = None,
        cluster: Cluster | None = None,
        prefix: str = "",
    ) -> Context:
        """The passages that answer *question*, and a text of at most *tokens* tokens.

        The tokenizer of the model counts; 4 characters are a token of a remote model.
        *also* are up to four other collections, of any database. The filters are as
        for :meth:`search`, and about this collection alone.

        :raises InvalidInputError: for a blank question, or tokens not from 50 to
            100,000.
        """
        others = [*checked_many(also, "other collections, a list")]
        for each in others:
            if not isinstance(each, ReadableCollection):
                raise InvalidInputError(
                    f"Expected other collections, found {quoted(each)}"
                )
        return context_of(
            question,
            (self._database, self.name),
            [(each._database, each.name) for each in others],
            tokens=tokens,
            filters={
                "where": where,
                "params": params,
                "cluster": cluster,
                "prefix": prefix,
            },
        )

    def similar(
        self,
        id: Id,
        *,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        where: str | None = None,
        params: Mapping[str, object] | None = None,
        cluster: Cluster | None = None,
        prefix: str = "",
        min_score: float | None = None,
        all_chunks: bool = False,
    ) -> list[Match]:
        """The *limit* items closest to an item or a document; it needs no model.

        The score is the cosine similarity, -1 to 1. Options as for :meth:`search`.

        :raises UnknownItemError: if there is none of that *id*.
        """
        with self._database.stored(self.name) as stored:
            options = search_options(
                stored,
                limit=limit,
                offset=offset,
                where=where,
                params=params,
                cluster=cluster,
                prefix=prefix,
                min_score=min_score,
                all_chunks=all_chunks,
            )
            return similar_items(stored, id_text(id), options=options)

    def nearest(
        self,
        vector: Vector | Sequence[float],
        *,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        where: str | None = None,
        params: Mapping[str, object] | None = None,
        cluster: Cluster | None = None,
        prefix: str = "",
        min_score: float | None = None,
        all_chunks: bool = False,
    ) -> list[Match]:
        """The *limit* items closest to *vector*, numbers of shape (dimensions,).

        The score is the cosine similarity, -1 to 1. Options as for :meth:`search`.

        :raises InvalidVectorError: if it is none, or not as long as those stored.
        """
        numbers = vector_of(vector)
        with self._database.stored(self.name) as stored:
            options = search_options(
                stored,
                limit=limit,
                offset=offset,
                where=where,
                params=params,
                cluster=cluster,
                prefix=prefix,
                min_score=min_score,
                all_chunks=all_chunks,
            )
            return search_vector(stored, numbers, options=options)

    def get(self, id: Id) -> Item | None:
        """The item, or the document in chunks, of that *id*; None if there is none."""
        with self._database.stored(self.name) as stored:
            return item_named(stored, id_text(id))

    def __contains__(self, id: object) -> bool:
        try:
            text = id_text(id)
        except InvalidInputError:
            return False
        with self._database.stored(self.name) as stored:
            return bool(existing_documents(stored, [text]))

    def __len__(self) -> int:
        with self._database.stored(self.name) as stored:
            return stored.count_items()

    def __iter__(self) -> Iterator[Item]:
        last: str | None = ""
        while last is not None:
            # No connection is held while the caller works with the items
            with self._database.stored(self.name) as stored:
                ids = ids_after(stored, last)
                items = read_items(stored, ids)
            yield from items
            last = ids[-1] if ids else None

    def vectors(self) -> tuple[list[str], Vectors]:
        """The ids of all items, and their vectors: float32, (items, dimensions).

        All of them are in memory at once. Without those of items whose vectors have
        another length than most.
        """
        with self._database.stored(self.name) as stored:
            return stored_vectors(stored)

    def to_pandas(self) -> Any:  # noqa: ANN401 - pandas.DataFrame
        """A ``pandas.DataFrame``: id, content, title, metadata, embedding.

        :raises MissingLibraryError: if pandas is not installed.
        """
        return pandas_frame(self)

    def to_arrow(self) -> Any:  # noqa: ANN401 - pyarrow.Table
        """A ``pyarrow.Table``: id, content, content_blob, title, metadata, embedding.

        :raises MissingLibraryError: if pyarrow is not installed.
        """
        with self._database.stored(self.name) as stored:
            dimensions = stored.dimensions
        return arrow_table(self, dimensions)

    def check(self) -> list[Problem]:
        """Everything that is wrong with it: what, in how many rows, and a remedy."""
        with self._database.stored(self.name) as stored:
            return list(problems_of(stored))
