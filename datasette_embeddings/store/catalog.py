"""Collections: llm's table of them, and what we know beyond it.

That stands in ``_embedding_collections``, whose row counts for a collection only while
its id, name and model all agree: llm deletes collections without telling us.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from datasette_embeddings.config import DEFAULT_MODEL, ModelConfig
from datasette_embeddings.databases import folder_of
from datasette_embeddings.errors import UnknownCollectionError
from datasette_embeddings.models.names import (
    ModelSettings,
    canonical_id,
    folder_of_collection,
    is_same_folder,
    is_same_model,
    located,
    stored_id,
)
from datasette_embeddings.sources.definitions import Source, had_other_items
from datasette_embeddings.store.collection_sources import (
    CollectionSource,
    SourceState,
    old_source,
    sources_by_collection,
)
from datasette_embeddings.store.schema import (
    CHUNKS,
    OUR_COLLECTIONS,
    columns_of,
    has_collections,
    later_columns,
    timestamp_sql,
)
from datasette_embeddings.vectors import BYTES_PER_NUMBER

READY, BUILDING = "ready", "building"
# What the new and the old are called while the other has the name
NEW_NAME, OLD_NAME = "{name} (rebuilding)", "{name} (replaced)"


@dataclass(frozen=True)
class Collection:
    """A named set of embeddings of one model; *dimensions* is None while it is empty.

    It reads and writes through *conn*; to use it on another connection, for example in
    another thread, call :meth:`bound_to`.  One that *is_building* will replace another
    collection and is hidden until then.
    """

    conn: sqlite3.Connection = field(compare=False, repr=False)
    id: int
    name: str
    model_id: str
    dimensions: int | None
    #: None for a collection that llm made
    sources: tuple[CollectionSource, ...] = ()
    #: 0.2a0 stored that items came from other sources too
    is_mixed: bool = False
    synced: int | None = None
    #: The commit of the model, its prompts and whether its vectors have length 1, as
    #: far as they are known
    revision: str | None = None
    query_prompt: str | None = None
    passage_prompt: str | None = None
    normalized: bool | None = None
    #: Some of its items are chunks of documents
    has_chunks: bool = False
    is_building: bool = False
    #: The folder of its database file; None in memory, and for the bundled model
    home: Path | None = None

    def bound_to(self, conn: sqlite3.Connection) -> Collection:
        """The same collection, used through *conn*."""
        return replace(self, conn=conn)

    @property
    def has_images(self) -> bool:
        """Whether its source gives images, and not texts."""
        return self.source is not None and self.source.images

    @property
    def source(self) -> Source | None:
        """The source that a sync reads, if there is exactly one."""
        current = self.current_sources
        return current[0].source if len(current) == 1 else None

    @property
    def current_sources(self) -> tuple[CollectionSource, ...]:
        """The sources that a sync reads, by prefix."""
        return self.sources_that_are(SourceState.CURRENT)

    def sources_for(self, document_id: str) -> list[CollectionSource]:
        """The current sources whose prefix *document_id* has, longest prefix first."""
        found = [
            each for each in self.current_sources if document_id.startswith(each.prefix)
        ]
        return sorted(found, key=lambda each: len(each.prefix), reverse=True)

    def sources_that_are(
        self, state: SourceState, prefix: str | None = None
    ) -> tuple[CollectionSource, ...]:
        """The sources in *state*, of all prefixes or of one."""
        return tuple(
            each
            for each in self.sources
            if each.state is state and prefix in (None, each.prefix)
        )

    @property
    def settings(self) -> ModelSettings:
        """What its vectors were made with; of their length each tells by itself."""
        return ModelSettings(
            self.model_id,
            None,
            self.revision,
            self.query_prompt,
            self.passage_prompt,
            self.normalized,
        )


def is_of_model(collection: Collection, model_id: str) -> bool:
    """Whether the vectors of *collection* are of that model, under any of its names."""
    if is_same_model(collection.model_id, model_id):
        return True
    folder = folder_of_collection(collection.model_id, collection.home)
    return folder is not None and is_same_folder(model_id, folder)


def models_of(
    collection: Collection, models: Mapping[str, ModelConfig]
) -> Mapping[str, ModelConfig]:
    """*models*, the configured ones, with the folder of the model of *collection*.

    With these, its model id loads what it names, wherever the program runs.
    """
    return located(models, collection.model_id, collection.home)


def collections(conn: sqlite3.Connection) -> list[Collection]:
    """Every collection in *conn*, by name."""
    return [each for each in all_collections(conn) if not each.is_building]


def all_collections(conn: sqlite3.Connection) -> list[Collection]:
    """Every collection in *conn*, those that are being rebuilt included."""
    if not has_collections(conn):
        return []
    rows = conn.execute(_COLLECTIONS_SQL).fetchall()
    facts, sources = _facts(conn), sources_by_collection(conn)
    return [_collection(conn, row, facts, sources) for row in rows]


def collection(conn: sqlite3.Connection, name: str) -> Collection:
    """The collection called *name*.

    :raises UnknownCollectionError: if there is none.
    """
    found = find_collection(conn, name)
    if found is None:
        raise UnknownCollectionError(name, [each.name for each in collections(conn)])
    return found


def find_collection(conn: sqlite3.Connection, name: str) -> Collection | None:
    """The collection called *name*, or None."""
    if not has_collections(conn):
        return None
    rows = conn.execute(f"select * from ({_COLLECTIONS_SQL}) where name = ?", [name])
    row = rows.fetchone()
    if row is None:
        return None
    found = _collection(conn, row, _facts(conn), sources_by_collection(conn))
    return None if found.is_building else found


def current(known: Collection) -> Collection:
    """*known* as it is by now, also while it is being rebuilt.

    :raises UnknownCollectionError: if somebody deleted it meanwhile.
    """
    for each in all_collections(known.conn):
        if (each.id, each.name) == (known.id, known.name):
            return each
    raise UnknownCollectionError(
        known.name, [each.name for each in collections(known.conn)]
    )


# The length of any one vector stands for all: a collection has one model.  llm writes
# TEXT; a name of another type is none that anybody could ask for
_COLLECTIONS_SQL = """
    select
      collections.id,
      collections.name,
      collections.model,
      (
        select length(embedding)
        from embeddings
        where embeddings.collection_id = collections.id
        and typeof(embedding) = 'blob'
        limit 1
      )
    from collections
    where typeof(collections.name) = 'text'
    and typeof(collections.model) = 'text'
    order by collections.name
"""


@dataclass(frozen=True)
class _Facts:
    """A row of ``_embedding_collections``, as far as it is there."""

    source: str | None = None
    synced: int | None = None
    revision: str | None = None
    query_prompt: str | None = None
    passage_prompt: str | None = None
    normalized: int | None = None
    state: str | None = None


def _collection(
    conn: sqlite3.Connection,
    row: tuple[int, str, str, int | None],
    facts: Mapping[tuple[int, str, str], _Facts],
    sources: Mapping[int, Sequence[CollectionSource]],
) -> Collection:
    collection_id, name, model, length = row
    model_id = stored_id(model)
    known = facts.get((collection_id, name, model))
    noted = known or _Facts()
    # Without facts that agree, the sources of this id belong to another collection
    agreeing = () if known is None else tuple(sources.get(collection_id, ()))
    return Collection(
        conn=conn,
        id=collection_id,
        name=name,
        model_id=model_id,
        dimensions=None if length is None else length // BYTES_PER_NUMBER,
        sources=(*old_source(noted.source, noted.synced), *agreeing),
        is_mixed=noted.source is not None and had_other_items(noted.source),
        synced=noted.synced,
        revision=noted.revision,
        query_prompt=noted.query_prompt,
        passage_prompt=noted.passage_prompt,
        normalized=None if noted.normalized is None else bool(noted.normalized),
        has_chunks=known is not None and _has_chunks(conn, collection_id),
        is_building=noted.state == BUILDING,
        home=None if model_id == DEFAULT_MODEL else folder_of(conn),
    )


def _has_chunks(conn: sqlite3.Connection, collection_id: int) -> bool:
    if not columns_of(conn, CHUNKS):
        return False
    row = conn.execute(
        "select 1 from _embedding_chunks where collection_id = ? limit 1",
        [collection_id],
    ).fetchone()
    return row is not None


def _facts(conn: sqlite3.Connection) -> dict[tuple[int, str, str], _Facts]:
    """What ``_embedding_collections`` says, keyed by what must agree."""
    columns = columns_of(conn, OUR_COLLECTIONS)
    if not columns:
        return {}
    later = later_columns(columns)
    rows = conn.execute(
        f"""
        select collection_id, name, model, source,
          {timestamp_sql("synced")}, {later}
        from _embedding_collections
        """
    )
    return {(row[0], row[1], row[2]): _Facts(*row[3:]) for row in rows}


def count_items(collection: Collection) -> int:
    """How many items *collection* has."""
    row = collection.conn.execute(
        "select count(*) from embeddings where collection_id = ?", [collection.id]
    ).fetchone()
    return int(row[0])


def model_ids(conn: sqlite3.Connection) -> set[str]:
    """The model of each collection in *conn*."""
    if not has_collections(conn):
        return set()
    rows = conn.execute("select model from collections where typeof(model) = 'text'")
    return {canonical_id(row[0]) for row in rows}
