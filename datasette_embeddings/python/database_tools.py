"""The tools on the database file of the person who runs the program."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datasette_embeddings import errors
from datasette_embeddings.context.budget import counter_of
from datasette_embeddings.context.building import BestChunks, build, chunk_options
from datasette_embeddings.errors import InvalidInputError, listed, quoted, shortened
from datasette_embeddings.models import registry
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.models.names import ModelSpec
from datasette_embeddings.python.connections import FileConnections
from datasette_embeddings.python.database import Database
from datasette_embeddings.search.answers import Answer, answer_text, similar_items
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.store.collections import StoredCollection, collections
from datasette_embeddings.tools import results
from datasette_embeddings.tools.definitions import (
    ContextArguments,
    SearchArguments,
    SimilarArguments,
    Tool,
    arguments,
)

#: Why a model does not embed a query; words alone may answer then
MODEL_ERRORS = (
    errors.MissingLibraryError,
    errors.ModelError,
    errors.ModelMismatchError,
    errors.ModelSettingsMismatchError,
    errors.UnknownModelError,
)
SPEC = """-T 'Embeddings("demo.db")'"""
REMOTE = "It may cost money; remote_models=true allows that to Embeddings"


def opened(
    database: object, collections: object, remote_models: object
) -> DatabaseTools:
    """The tools on the file *database*, of all *collections* or of those named.

    :raises EmbeddingsError: if one of the arguments is wrong.
    """
    path, names = _path(database), _names(collections)
    if not isinstance(remote_models, bool):
        raise InvalidInputError(
            f"Expected true or false for remote_models, found {quoted(remote_models)}"
        )
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise InvalidInputError(f"Expected a database file at {path}, found {found}")
    return DatabaseTools(path, names, remote_models=remote_models)


class DatabaseTools:
    """The tools on a database file, for any thread. Nothing is downloaded."""

    def __init__(
        self, path: Path, names: Sequence[str] | None, *, remote_models: bool
    ) -> None:
        """*names* are those of the collections that may be read; None: all.

        Models that may cost money embed queries only with *remote_models*.

        :raises EmbeddingsError: if the file or one of the collections is not there.
        """
        self.path = path
        self._database = _Database(path, remote_models=remote_models)
        self._names = None if names is None else frozenset(names)
        known = [each["name"] for each in self.rows()]
        if missing := [each for each in names or () if each not in known]:
            raise InvalidInputError(
                f"No collection {quoted(missing[0])} in {path}: it has "
                f"{listed(self._database.names()) or 'none'}"
            )
        if not known:
            raise InvalidInputError(
                f"There are no collections in {path}. Make one with: "
                "datasette embeddings embed"
            )

    def rows(self) -> list[dict[str, Any]]:
        """What a model is told of each collection."""
        with self._database.connections.lent() as conn:
            return [
                results.collection_facts(each)
                for each in collections(conn)
                if self._may_read(each.name)
            ]

    def call(self, tool: Tool, given: Mapping[str, object]) -> str:
        """The result of *tool* in JSON, for the arguments that a model has *given*.

        :raises EmbeddingsError: with what the model can do about it.
        """
        asked = arguments(tool, given, has_databases=False)
        calls: Mapping[str, Callable[[Any], dict[str, Any]]] = {
            "collections": lambda _asked: results.collections_result(self.rows()),
            "search": self._search,
            "similar": self._similar,
            "context": self._context,
        }
        try:
            return results.as_text(calls[tool.name](asked))
        except errors.UnknownCollectionError:
            raise InvalidInputError(
                f"No collection {quoted(asked.collection)} here. Call collections to "
                "see those there are"
            ) from None
        except errors.UnknownItemError:
            raise InvalidInputError(
                f"No item {quoted(asked.id)} in the collection "
                f"{quoted(asked.collection)}. Take an id from a match of search"
            ) from None
        except errors.DatabaseError as error:
            raise errors.DatabaseError(
                f"The database cannot be read: {shortened(str(error))}"
            ) from error

    def _search(self, asked: SearchArguments) -> dict[str, Any]:
        with self._database.stored(self._named(asked.collection)) as stored:
            options = Options(limit=asked.limit)
            answer, _model, note = self._answered(stored, asked.query, options)
        return results.matches_result(
            [results.match_result(each, query=asked.query) for each in answer],
            answer.close,
            corrected=answer.corrected,
            note=note,
        )

    def _similar(self, asked: SimilarArguments) -> dict[str, Any]:
        with self._database.stored(self._named(asked.collection)) as stored:
            found = similar_items(stored, asked.id, options=Options(limit=asked.limit))
        return results.matches_result([results.match_result(each) for each in found])

    def _context(self, asked: ContextArguments) -> dict[str, Any]:
        question, tokens = asked.question, asked.tokens
        with self._database.stored(self._named(asked.collection)) as stored:
            options = chunk_options(tokens)
            answer, model, note = self._answered(stored, question, options)
            chunks = BestChunks.of(stored, answer)
        context = build(question, [chunks], tokens=tokens, count=counter_of(model))
        return results.context_result(context, note=note)

    def _answered(
        self, stored: StoredCollection, text: str, options: Options
    ) -> tuple[Answer, EmbeddingModel | None, str | None]:
        """The answer to *text*, the model of it, and a note if words alone found it."""
        try:
            model = self._database.model(stored)
            return answer_text(stored, text, model=model, options=options), model, None
        except MODEL_ERRORS as error:
            reason = shortened(str(error))
            if not stored.has_words:
                raise InvalidInputError(
                    f"The collection {quoted(stored.name)} cannot be searched here: "
                    f"{reason}"
                ) from error
        options = replace(options, mode="words")
        answer = answer_text(stored, text, model=None, options=options)
        return answer, None, results.by_words_note(reason)

    def _may_read(self, name: str) -> bool:
        return self._names is None or name in self._names

    def _named(self, name: str) -> str:
        """*name*, if the collection may be read; it may be there or not."""
        if not self._may_read(name):
            raise errors.UnknownCollectionError(name, ())
        return name


class _Database(Database):
    """A database whose models embed queries, of which remote ones may be excluded."""

    def __init__(self, path: Path, *, remote_models: bool) -> None:
        super().__init__(FileConnections(path), {}, may_download=False)
        self.remote_models = remote_models

    def names(self) -> list[str]:
        with self.connections.lent() as conn:
            return [each.name for each in collections(conn)]

    def model(self, found: StoredCollection) -> EmbeddingModel:
        models = found.embedding_models(self.models)
        spec = registry.model_spec(found.model_id, models)
        try:
            return registry.load(spec, may_be_remote=self.remote_models)
        except errors.UnknownModelError as error:
            if self.remote_models or not _is_remote(spec):
                raise
            raise errors.UnknownModelError(found.model_id, REMOTE) from error


def _is_remote(spec: ModelSpec) -> bool:
    try:
        return registry.find(spec).is_remote
    except errors.UnknownModelError:
        return False


def _path(database: object) -> Path:
    if not isinstance(database, str | Path) or not str(database):
        raise InvalidInputError(
            f"Expected the path of a database file, {SPEC}; found {quoted(database)}"
        )
    if "\0" in str(database):
        raise InvalidInputError(
            f"Expected the path of a file, found {quoted(database)}"
        )
    return Path(database).expanduser().absolute()


def _names(collections: object) -> list[str] | None:
    if collections is None:
        return None
    names = [collections] if isinstance(collections, str) else collections
    if not isinstance(names, list | tuple) or not names:
        names = [None]
    if not all(isinstance(each, str) for each in names):
        raise InvalidInputError(
            f"Expected the names of collections, found {quoted(collections)}"
        )
    return list(names)
