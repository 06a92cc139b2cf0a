"""Whether a collection may be made or brought up to date as asked."""

from __future__ import annotations

import sqlite3

from datasette_embeddings.errors import (
    DatabaseError,
    InvalidInputError,
    ModelError,
    ModelMismatchError,
    ModelSettingsMismatchError,
)
from datasette_embeddings.migrations import migrate
from datasette_embeddings.models.names import ModelSettings, stored_id
from datasette_embeddings.store.catalog import Collection, count_items, is_of_model
from datasette_embeddings.store.embeddings import usual_vector_length
from datasette_embeddings.store.schema import (
    check_schema,
    has_collections,
)
from datasette_embeddings.vectors import BYTES_PER_NUMBER


def check_name(name: str) -> None:
    """Nothing, if a collection may be called *name*.

    :raises InvalidInputError: if it is empty.
    """
    if not name.strip():
        raise InvalidInputError("A collection needs a name that is not empty")


def prepare(conn: sqlite3.Connection) -> None:
    """Bring the tables up to date, or make them.

    :raises SchemaError: if a table has one of the names but not the columns.
    :raises DatabaseError: if one of llm's two tables is missing.
    """
    check_schema(conn)
    migrate(conn)
    if not has_collections(conn):
        raise DatabaseError(
            "One of the tables 'collections' and 'embeddings' is there without the "
            "other; restore it from a copy, or use another database file"
        )


def check_fits(
    existing: Collection,
    identity: ModelSettings,
) -> None:
    """Nothing, if vectors of that model may join those of *existing*.

    :raises ModelMismatchError: if it holds vectors of another model.
    :raises ModelSettingsMismatchError: if they are of the model as it was otherwise.
    """
    check_model_id(existing, identity)
    if count_items(existing):
        check_identity(existing, identity)
        _check_dimensions(existing, identity.dimensions)


def check_identity(existing: Collection, identity: ModelSettings) -> None:
    """Nothing, if vectors of *identity* can be compared with those of *existing*.

    :raises ModelMismatchError: if they are of another model.
    :raises ModelSettingsMismatchError: if they are of the model as it was otherwise.
    """
    check_model_id(existing, identity)
    different = existing.settings.difference(identity)
    if different is not None:
        fact, expected, found = different
        words = fact.replace("_", " ")
        raise ModelSettingsMismatchError(existing.name, words, expected, found)


def check_model_id(existing: Collection, identity: ModelSettings) -> None:
    """Nothing, if *existing* is of that model, by whatever name.

    :raises ModelMismatchError: if it is of another.
    """
    if not is_of_model(existing, identity.model_id):
        found = stored_id(identity.model_id)
        raise ModelMismatchError(existing.name, existing.model_id, found)


def _check_dimensions(existing: Collection, dimensions: int | None) -> None:
    """Nothing, if most vectors of *existing* have that many; an old run left others."""
    length, _count = usual_vector_length(existing.conn, existing.id)
    usual = length // BYTES_PER_NUMBER
    if dimensions is not None and usual not in (0, dimensions):
        raise ModelSettingsMismatchError(existing.name, "dimensions", usual, dimensions)


def check_dimensions(existing: Collection, dimensions: int) -> None:
    """Nothing, if vectors of *dimensions* numbers may join those of *existing*.

    :raises ModelError: if they are of another length: an endpoint can put another
        model behind the same name.
    """
    if existing.dimensions not in (None, dimensions):
        raise ModelError(
            f"The collection {existing.name!r} holds vectors of {existing.dimensions} "
            f"dimensions, and the model {existing.model_id!r} now gives {dimensions}: "
            "such vectors cannot be compared. Rebuild it with --rebuild"
        )
