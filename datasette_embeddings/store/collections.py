"""Collections: llm's table of them, and our facts about each.

A row of ``_embedding_collections`` applies to a collection only while its id, name and
model agree, because llm deletes collections without updating it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from datasette_embeddings.config import DEFAULT_MODEL, ModelConfig
from datasette_embeddings.errors import (
    ModelError,
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
from datasette_embeddings.sources.definitions import Source, had_other_items
from datasette_embeddings.store.collection_sources import (
    CollectionSource,
    SourceState,
    old_source,
    sources_by_collection,
)
from datasette_embeddings.store.items import Items
from datasette_embeddings.store.schema import (
    CHUNKS,
    COLLECTIONS,
    EMBEDDINGS,
    OUR_COLLECTIONS,
    SOURCES,
    Columns,
    read_columns,
    timestamp_sql,
    typed_sql,
)
from datasette_embeddings.vectors import BYTES_PER_NUMBER

BUILDING = "building"


@dataclass(frozen=True)
class Collection(Items):
    """A named set of embeddings of one model, as it was when it was read.

    It reads and writes through *conn*; to use it on another connection, for example in
    another thread, call :meth:`bound_to`.  One that *is_building* will replace another
    collection and is hidden until then.
    """

    #: What its vectors were made with, as far as it is known
    settings: ModelSettings
    #: Numbers in a vector; None while it is empty
    dimensions: int | None = None
    sources: tuple[CollectionSource, ...] = ()
    #: 0.2a0 stored that items came from other sources too
    is_mixed: bool = False
    #: When a run last read all of a source, in Unix seconds
    synced: int | None = None
    #: Some of its items are chunks of documents
    has_chunks: bool = False
    is_building: bool = False
    #: The database file; empty in memory
    path: str = field(default="", compare=False, repr=False)

    def bound_to(self, conn: sqlite3.Connection) -> Collection:
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
    def source(self) -> Source | None:
        """The source that a sync reads, if there is exactly one."""
        current = self.current_sources
        return current[0].source if len(current) == 1 else None

    @property
    def current_sources(self) -> tuple[CollectionSource, ...]:
        """The sources that a sync reads, by prefix."""
        return self.sources_that_are(SourceState.CURRENT)

    def sources_that_are(
        self, state: SourceState, prefix: str | None = None
    ) -> tuple[CollectionSource, ...]:
        """The sources in *state*, of all prefixes or of one."""
        every = (each for each in self.sources if each.state is state)
        return tuple(each for each in every if prefix in (None, each.prefix))

    def is_of_model(self, model_id: str) -> bool:
        """Whether its vectors are of that model, under any of its names."""
        if is_same_model(self.model_id, model_id):
            return True
        folder = folder_of_collection(self.model_id, self.home)
        return folder is not None and is_same_folder(model_id, folder)

    def located_models(
        self, models: Mapping[str, ModelConfig]
    ) -> Mapping[str, ModelConfig]:
        """*models*, with which its model id loads from any working directory."""
        return located(models, self.model_id, self.home)

    def check_settings(self, settings: ModelSettings) -> None:
        """Check that vectors of *settings* can be compared with those stored here.

        :raises ModelMismatchError: if they are of another model.
        :raises ModelSettingsMismatchError: if a setting of the model has changed.
        """
        self._check_model(settings.model_id)
        different = self.settings.difference(settings)
        if different is not None:
            setting, *values = different
            words = setting.replace("_", " ")
            raise ModelSettingsMismatchError(self.name, words, *values)

    def check_can_add(self, settings: ModelSettings) -> None:
        """Check that vectors of *settings* may be added.

        :raises ModelMismatchError: if it is of another model.
        :raises ModelSettingsMismatchError: if a setting of the model has changed.
        """
        self._check_model(settings.model_id)
        if not self.count_items():
            return
        self.check_settings(settings)
        # Most of the vectors, because an old run may have left others
        usual = self.usual_vector_length()[0] // BYTES_PER_NUMBER
        if settings.dimensions is not None and usual not in (0, settings.dimensions):
            raise ModelSettingsMismatchError(
                self.name, "dimensions", usual, settings.dimensions
            )

    def _check_model(self, model_id: str) -> None:
        if not self.is_of_model(model_id):
            raise ModelMismatchError(self.name, self.model_id, stored_id(model_id))

    def check_dimensions(self, dimensions: int) -> None:
        """Raise :class:`ModelError` if vectors of *dimensions* may not be added."""
        if self.dimensions not in (None, dimensions):
            # A server may have put another model behind the same name
            raise ModelError(
                f"The collection {self.name!r} holds vectors of {self.dimensions} "
                f"dimensions, and the model {self.model_id!r} now gives {dimensions}: "
                "such vectors cannot be compared. Rebuild it with embed --rebuild"
            )


def collections(conn: sqlite3.Connection) -> list[Collection]:
    """Every collection in *conn*, by name."""
    return [each for each in all_collections(conn) if not each.is_building]


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
    found = next(iter(all_collections(conn, name)), None)
    return None if found is None or found.is_building else found


def current(known: Collection) -> Collection:
    """*known* as it is by now, also while it is being rebuilt.

    :raises UnknownCollectionError: if another program deleted it meanwhile.
    """
    known.check_exists()
    return all_collections(known.conn, known.name)[0]


def all_collections(
    conn: sqlite3.Connection, name: str | None = None
) -> list[Collection]:
    """Every collection, by name, or those called *name*; also what is being rebuilt.

    :raises SchemaError: if a table has one of our names but not the columns.
    """
    columns = read_columns(conn)
    if not columns[COLLECTIONS] or not columns[EMBEDDINGS]:
        return []
    condition, names = (
        ("", []) if name is None else ("and collections.name = ?", [name])
    )
    rows = conn.execute(_collections_sql(columns, condition), names).fetchall()
    sources = sources_by_collection(conn) if columns[SOURCES] else {}
    found = []
    for row in rows:
        collection_id, name, model, length, has_chunks, path = row[:6]
        has_facts, old_text, synced, state, normalized, *prompts = row[6:]
        each = Collection(
            conn,
            collection_id,
            name,
            ModelSettings(
                stored_id(model),
                **dict(zip(_SETTINGS, prompts, strict=True)),
                normalized=None if normalized is None else bool(normalized),
            ),
            dimensions=None if length is None else length // BYTES_PER_NUMBER,
            # Without facts, the sources of this id are of a deleted collection
            sources=(
                *old_source(old_text, synced),
                *(sources.get(collection_id, ()) if has_facts else ()),
            ),
            is_mixed=old_text is not None and had_other_items(old_text),
            synced=synced,
            has_chunks=bool(has_chunks and has_facts),
            is_building=state == BUILDING,
            path=path or "",
            columns=columns,
        )
        found.append(each)
    return found


_SETTINGS = ("revision", "query_prompt", "passage_prompt")


def _collections_sql(columns: Columns, condition: str) -> str:
    """SQL for the collections; a table or column of ours that is missing gives nulls.

    The length of any one vector gives the dimensions.  llm writes names as TEXT; a name
    of another type cannot be asked for.
    """
    ours = columns[OUR_COLLECTIONS]
    no_facts = "(select null as collection_id, null as name, null as model)"
    chunks = f"select 1 from {CHUNKS} where collection_id = collections.id"
    return f"""
        select
          collections.id,
          collections.name,
          collections.model,
          (
            select length(embedding)
            from embeddings
            where collection_id = collections.id
            and typeof(embedding) = 'blob'
            limit 1
          ),
          {f"exists ({chunks})" if columns[CHUNKS] else "0"},
          (select file from pragma_database_list where name = 'main'),
          facts.collection_id is not null,
          {"source" if ours else "null"},
          {timestamp_sql("synced") if ours else "null"},
          {typed_sql("state", "text", ours)},
          {typed_sql("normalized", "integer", ours)},
          {typed_sql("model_revision", "text", ours)},
          {typed_sql("query_prompt", "text", ours)},
          {typed_sql("passage_prompt", "text", ours)}
        from collections
        left join {OUR_COLLECTIONS if ours else no_facts} as facts
          on facts.collection_id = collections.id
          and facts.name = collections.name
          and facts.model = collections.model
        where typeof(collections.name) = 'text'
        and typeof(collections.model) = 'text'
        {condition}
        order by collections.name
    """


def model_ids(conn: sqlite3.Connection) -> set[str]:
    """The model of each collection in *conn*."""
    return {canonical_id(each.model_id) for each in all_collections(conn)}
