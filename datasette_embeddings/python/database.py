"""What the collections of one :class:`Embeddings` share: connections and models."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from datasette_embeddings.config import DEFAULT_MODEL, ModelConfig
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.ingest.words import index_words
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.models.cross_encoder import CrossEncoder, load_reranker
from datasette_embeddings.models.names import ModelSettings
from datasette_embeddings.models.registry import load_model, model_spec
from datasette_embeddings.python.connections import Connections
from datasette_embeddings.store import schema
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import (
    StoredCollection,
    collection,
    current,
    find_collection,
)


class Database:
    """A database with collections, and the models of these; for any thread."""

    def __init__(
        self,
        connections: Connections,
        models: Mapping[str, ModelConfig],
        *,
        may_download: bool,
    ) -> None:
        self.connections, self.models = connections, models
        self.may_download = may_download
        self._given: dict[str, EmbeddingModel] = {}
        # The file that has all tables of this release
        self._prepared: object = False

    @contextmanager
    def stored(self, name: str) -> Iterator[StoredCollection]:
        """The collection called *name*, on a connection that no other thread uses."""
        with self.connections.lent() as conn:
            yield collection(conn, name)

    @contextmanager
    def prepared(self, name: str) -> Iterator[StoredCollection]:
        """As :meth:`stored`, with all tables of this release, to write to."""
        with self.stored(name) as found:
            _check_no_transaction(found.conn)
            if self._prepared != self.connections.identity:
                schema.prepare(found.conn)
                self._prepared = self.connections.identity
                found = current(found)
            yield found

    @contextmanager
    def writable(self, name: str) -> Iterator[tuple[StoredCollection, EmbeddingModel]]:
        """As :meth:`prepared`, ready for items, with its model."""
        with self.prepared(name) as found:
            model = self.model(found)
            if found.words is None:
                # llm or an earlier release made it
                create_collection(found.conn, name, model.settings, None)
                index_words(current(found))
                found = current(found)
            found.check_can_add(model.settings)
            yield found, model

    def create(self, name: str, model: str | EmbeddingModel | None) -> None:
        """Make the collection called *name*, unless it exists; check its *model*."""
        with self.connections.lent(create=True) as conn:
            if find_collection(conn, name) is None:
                loaded = self._loaded(model or DEFAULT_MODEL)
                _check_no_transaction(conn)
                create_collection(conn, name, loaded.settings, None)
            else:
                self.check(conn, name, model)

    def check(
        self, conn: sqlite3.Connection, name: str, model: str | EmbeddingModel | None
    ) -> None:
        """Check that there is a collection called *name*, of that *model* if given."""
        found = collection(conn, name)
        if isinstance(model, EmbeddingModel):
            found.check_settings(model.settings)
            self._given[found.model_id] = model
        elif model is not None:
            found.check_settings(ModelSettings(model_spec(model, self.models).model_id))

    def model(self, found: StoredCollection) -> EmbeddingModel:
        """The model of a collection, loaded once in this process."""
        given = self._given.get(found.model_id)
        if given is not None:
            return given
        models = found.embedding_models(self.models)
        return load_model(found.model_id, models, may_download=self.may_download)

    def _loaded(self, model: str | EmbeddingModel) -> EmbeddingModel:
        if isinstance(model, EmbeddingModel):
            self._given[model.model_id] = model
            return model
        return load_model(model, self.models, may_download=self.may_download)

    def reranker(self, model: str | CrossEncoder | None) -> CrossEncoder | None:
        """The cross-encoder *model*, loaded once in this process."""
        if not isinstance(model, str):
            return model
        return load_reranker(model, self.models, may_download=self.may_download)


def _check_no_transaction(conn: sqlite3.Connection) -> None:
    """Refuse to commit, or roll back, what the caller wrote with *conn*."""
    if conn.in_transaction:
        raise InvalidInputError(
            "Expected a connection without an open transaction, because this call "
            "commits; commit or roll back first, or give Embeddings the path of the "
            "file"
        )
