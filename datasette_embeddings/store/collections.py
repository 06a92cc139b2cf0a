"""Collections: llm's table of them, and our facts about each.

A row of ``_embedding_collections`` applies to a collection only while its id, name and
model agree, because llm deletes collections without updating it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datasette_embeddings.config import DEFAULT_MODEL, NO_WORDS, WORDS, ModelConfig
from datasette_embeddings.errors import (
    ModelMismatchError,
    ModelSettingsMismatchError,
    UnknownCollectionError,
)
from datasette_embeddings.models.names import (
    ModelSettings,
    canonical_id,
    folder_of_collection,
    is_same_folder,
    is_same_model,
    located,
    stored_id,
)
from datasette_embeddings.models.registry import with_passage_prompt
from datasette_embeddings.sources.definitions import (
    CollectionSource,
    Source,
    SourceState,
    had_other_items,
    source_from_json,
)
from datasette_embeddings.store import schema
from datasette_embeddings.store.collections_sql import COLLECTIONS_SQL
from datasette_embeddings.store.items import Items
from datasette_embeddings.vectors import BYTES_PER_NUMBER

BUILDING = "building"


@dataclass(frozen=True)
class StoredCollection(Items):
    """A named set of embeddings of one model, as it was when it was read.

    It is used through *conn*; on another connection, for example in another thread,
    use :meth:`bound_to`.  One that *is_building* will replace another and is hidden.
    """

    #: What its vectors were made with, as far as it is known
    settings: ModelSettings
    #: Numbers in a vector; None while it is empty
    dimensions: int | None = None
    sources: tuple[CollectionSource, ...] = ()
    #: When a run last read all of a source, in Unix seconds
    synced: int | None = None
    #: Some of its items are chunks of documents
    has_chunks: bool = False
    #: A compact index of it is saved
    has_compact: bool = False
    #: Clusters of its documents are stored, and coordinates on a map
    has_clusters: bool = False
    has_map: bool = False
    #: Its documents are to have similarities
    has_similarities: bool = False
    #: The greatest rowid of all items, which are no more than that
    most_items: int = field(default=0, compare=False)
    #: Documents of which the model read only the beginning; None if that is unknown
    truncated: int | None = None
    is_building: bool = False
    #: The kind of its words index, or "none"; None before it was made
    words: str | None = None
    #: From which closeness on an answer is close; None if it is not calibrated
    closeness: float | None = None
    #: The database file; empty in memory
    path: str = field(default="", compare=False, repr=False)

    def bound_to(self, conn: sqlite3.Connection) -> StoredCollection:
        """The same collection, used through *conn*."""
        return replace(self, conn=conn)

    @property
    def model_id(self) -> str:
        """The id of the model that its vectors are of."""
        return self.settings.model_id

    @property
    def home(self) -> Path | None:
        """The folder of its database; None in memory, and for the bundled model."""
        has_none = not self.path or self.model_id == DEFAULT_MODEL
        return None if has_none else Path(self.path).resolve().parent

    @property
    def has_images(self) -> bool:
        """Whether its source gives images, and not texts."""
        return self.source is not None and self.source.images

    @property
    def has_words(self) -> bool:
        """Whether its words are indexed."""
        return self.words not in (None, NO_WORDS)

    @property
    def source(self) -> Source | None:
        """The source that a sync reads, if there is exactly one."""
        current = self.current_sources
        return current[0].source if len(current) == 1 else None

    @property
    def current_sources(self) -> tuple[CollectionSource, ...]:
        """The sources that a sync reads, by prefix."""
        return tuple(each for each in self.sources if each.state is SourceState.CURRENT)

    def attached(self, source: Source) -> CollectionSource | None:
        """Its source that is the same as *source*, if there is one."""
        of_prefix = (each for each in self.sources if each.prefix == source.id_prefix)
        kept = (each for each in of_prefix if each.state is not SourceState.REPLACED)
        return next((each for each in kept if each.source.is_same(source)), None)

    def located_models(
        self, models: Mapping[str, ModelConfig]
    ) -> Mapping[str, ModelConfig]:
        """*models*, with which its model id loads from any working directory."""
        return located(models, self.model_id, self.home)

    def embedding_models(
        self, models: Mapping[str, ModelConfig]
    ) -> Mapping[str, ModelConfig]:
        """As :meth:`located_models`, with its passage prompt, unless one is given."""
        prompt = self.settings.passage_prompt
        return with_passage_prompt(self.located_models(models), self.model_id, prompt)

    def check_settings(
        self, settings: ModelSettings, *, ignored: Sequence[str] = ("passage_prompt",)
    ) -> None:
        """Check that vectors of *settings* can be compared with those stored here.

        Those *ignored* may differ: no query has the passage prompt.

        :raises ModelMismatchError: if they are of another model.
        :raises ModelSettingsMismatchError: if a setting of the model has changed.
        """
        found = settings.model_id
        if found != self.model_id and not is_same_model(self.model_id, found):
            folder = folder_of_collection(self.model_id, self.home)
            if folder is None or not is_same_folder(found, folder):
                raise ModelMismatchError(self.name, self.model_id, stored_id(found))
        for name, mine in vars(self.settings).items():
            other = getattr(settings, name)
            if name in ("model_id", *ignored) or None in (mine, other):
                continue
            if mine != other:
                words = name.replace("_", " ")
                raise ModelSettingsMismatchError(self.name, words, mine, other)

    def check_can_add(self, settings: ModelSettings) -> None:
        """Check that vectors of *settings* may be added."""
        # An empty collection takes any settings of its model
        is_empty = self.dimensions is None
        own = replace(self, settings=ModelSettings(self.model_id)) if is_empty else self
        own.check_settings(settings, ignored=())
        own.check_dimensions(settings.dimensions)

    def check_dimensions(self, dimensions: int | None) -> None:
        """Check that vectors of *dimensions* may be added.

        :raises ModelSettingsMismatchError: if most have another number of them. A
            server may have put another model behind the same name.
        """
        if None in (self.dimensions, dimensions) or self.dimensions == dimensions:
            return
        # The vector that the dimensions were taken from may not be like the others
        own = self.usual_vector_length()[0] // BYTES_PER_NUMBER
        if own != dimensions:
            raise ModelSettingsMismatchError(self.name, "dimensions", own, dimensions)


def collections(conn: sqlite3.Connection) -> list[StoredCollection]:
    """Every collection in *conn*, by name."""
    return [each for each in all_collections(conn) if not each.is_building]


def collection(conn: sqlite3.Connection, name: str) -> StoredCollection:
    """The collection called *name*.

    :raises UnknownCollectionError: if there is none.
    """
    if (found := find_collection(conn, name)) is None:
        raise _unknown(conn, name)
    return found


def _unknown(conn: sqlite3.Connection, name: str) -> UnknownCollectionError:
    return UnknownCollectionError(name, [each.name for each in collections(conn)])


def find_collection(conn: sqlite3.Connection, name: str) -> StoredCollection | None:
    """The collection called *name*, or None."""
    found = all_collections(conn, name)
    return next((each for each in found if not each.is_building), None)


def current(known: StoredCollection) -> StoredCollection:
    """*known* as it is by now, also while it is being rebuilt.

    :raises UnknownCollectionError: if another program deleted it meanwhile.
    """
    for each in all_collections(known.conn, known.name):
        if each.id == known.id:
            return each
    raise _unknown(known.conn, known.name)


def all_collections(
    conn: sqlite3.Connection, name: str | None = None
) -> list[StoredCollection]:
    """Every collection, by name, or those called *name*; also what is being rebuilt.

    :raises SchemaError: if a table has one of our names but not the columns.
    """
    columns = schema.read_columns(conn)
    if not columns["collections"] or not columns["embeddings"]:
        return []
    tables = {
        name: schema.table_or_empty(f"_embedding_{name}", columns)
        for name in ("collections", "chunks", "compact")
    }
    cursor = conn.execute(COLLECTIONS_SQL.format(**tables), [name])
    names = [column[0] for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor]
    sources = schema.read_sources(conn) if columns["_embedding_sources"] else {}
    return [_collection(conn, columns, row, sources) for row in rows]


def _collection(
    conn: sqlite3.Connection,
    columns: schema.Columns,
    row: dict[str, Any],
    sources: Mapping[int, Sequence[CollectionSource]],
) -> StoredCollection:
    """The collection of *row*."""
    # Without facts, the sources of this id are of a deleted collection
    has_facts, old = row["collection_id"] is not None, row["source"]
    own = list(sources.get(row["id"], ()) if has_facts else ())
    synced = schema.read_timestamp(row["synced"])
    if old is not None:
        # What 0.2a0 stored, until the first write moves it
        source = source_from_json(old)
        # If others brought items too, it is unknown which ones its last run brought
        known = None if had_other_items(old) else synced
        state = SourceState.PIPED if source.is_standard_input else SourceState.CURRENT
        old_id = schema.OLD_SOURCE_ID
        own.insert(0, CollectionSource(old_id, source.id_prefix, source, known, state))
    texts = {name: value for name, value in row.items() if isinstance(value, str)}
    normalized, truncated = row["normalized"], row.get("truncated")
    closeness = row.get("closeness")
    return StoredCollection(
        conn,
        row["id"],
        row["name"],
        ModelSettings(
            stored_id(row["model"]),
            revision=texts.get("model_revision"),
            query_prompt=texts.get("query_prompt"),
            passage_prompt=texts.get("passage_prompt"),
            normalized=bool(normalized) if isinstance(normalized, int) else None,
        ),
        dimensions=row["length"] and row["length"] // BYTES_PER_NUMBER,
        sources=tuple(own),
        synced=synced,
        has_chunks=bool(row["has_chunks"]) and has_facts,
        has_compact=bool(row["has_compact"]),
        has_clusters=row.get("clusters") is not None,
        has_map=row.get("map") is not None,
        has_similarities=row.get("similarities") is not None,
        most_items=row["most_items"] or 0,
        truncated=truncated if isinstance(truncated, int) and own else None,
        is_building=row["state"] == BUILDING,
        words=_words(row) if has_facts else None,
        closeness=closeness if isinstance(closeness, float) else None,
        path=row["path"] or "",
        columns=columns,
    )


def _words(row: Mapping[str, Any]) -> str | None:
    kind = row.get("words")
    # A copy of the other tables comes without the table of words
    return kind if kind in WORDS and (row["has_words"] or kind == NO_WORDS) else None


def model_ids(conn: sqlite3.Connection) -> set[str]:
    """The model of each collection in *conn*."""
    return {canonical_id(each.model_id) for each in all_collections(conn)}
