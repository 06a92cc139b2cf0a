"""Whether a collection may be made or brought up to date as asked."""

from __future__ import annotations

import sqlite3

from datasette_embeddings.errors import (
    DatabaseProblem,
    InvalidInput,
    ModelMismatch,
    ModelProblem,
    PromptMismatch,
)
from datasette_embeddings.migrations import migrate
from datasette_embeddings.models.registry import canonical_id
from datasette_embeddings.sources import Source
from datasette_embeddings.store.catalog import (
    Collection,
    count_items,
    source_tables,
)
from datasette_embeddings.store.schema import (
    check_schema,
    columns_of,
    has_collections,
)


def check_name(name: str) -> None:
    """Nothing, if a collection may be called *name*.

    :raises InvalidInput: if it is empty.
    """
    if not name.strip():
        raise InvalidInput("A collection needs a name that is not empty")


def prepare(conn: sqlite3.Connection) -> None:
    """Bring the tables up to date, or make them.

    :raises SchemaMismatch: if a table has one of the names but not the columns.
    :raises DatabaseProblem: if one of llm's two tables is missing.
    """
    check_schema(conn)
    migrate(conn)
    if not has_collections(conn):
        raise DatabaseProblem(
            "One of the tables 'collections' and 'embeddings' is there without the "
            "other; restore it from a copy, or use another database file"
        )


def check_fits(
    conn: sqlite3.Connection,
    existing: Collection,
    model_id: str,
    *,
    source: Source | None,
    passage_prompt: str | None,
) -> None:
    """Nothing, if *source* may be embedded into *existing* with that model.

    :raises ModelMismatch: if it holds vectors of another model.
    :raises PromptMismatch: if they are of the model with another prompt.
    :raises InvalidInput: if it was made from other tables.
    """
    if existing.model_id != canonical_id(model_id):
        raise ModelMismatch(existing.name, existing.model_id, canonical_id(model_id))
    if not count_items(conn, existing):
        return
    known = existing.passage_prompt
    if None not in (known, passage_prompt) and known != passage_prompt:
        raise PromptMismatch(existing.name, str(known), str(passage_prompt))
    _check_same_tables(conn, existing, source)


def check_dimensions(existing: Collection, dimensions: int) -> None:
    """Nothing, if vectors of *dimensions* numbers may join those of *existing*.

    :raises ModelProblem: if they are of another length: an endpoint can put another
        model behind the same name.
    """
    if existing.dimensions not in (None, dimensions):
        raise ModelProblem(
            f"The collection {existing.name!r} holds vectors of {existing.dimensions} "
            f"dimensions, and the model {existing.model_id!r} now gives {dimensions}: "
            "such vectors cannot be compared. Make it anew with --rebuild"
        )


def _check_same_tables(
    conn: sqlite3.Connection, existing: Collection, source: Source | None
) -> None:
    """Nothing, if *existing*, which has items, may be brought up to date from *source*.

    A table that is gone may have been renamed to the new one.
    """
    old, new = source_tables(existing.source), source_tables(source)
    is_there = all(columns_of(conn, table) for table in old)
    if old and is_there and set(old) - {"embeddings"} != set(new) - {"embeddings"}:
        raise InvalidInput(
            f"The collection {existing.name!r} is made from {', '.join(old)}, not from "
            f"{', '.join(new) or 'there'}; choose another collection name, "
            "or make it anew with --rebuild"
        )
