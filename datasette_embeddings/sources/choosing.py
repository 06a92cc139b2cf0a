"""From what somebody declared to the source that it is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.documents import Chunking
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.sources.content import template_of
from datasette_embeddings.sources.definitions import (
    FileSource,
    FolderSource,
    ReadableSource,
    SourceRules,
)
from datasette_embeddings.sources.paths import noted_path
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.sources.rows import FORMATS
from datasette_embeddings.sources.tables import table_source

# Each way to say where rows come from, and the settings that go with no other
WAYS = ("table", "sql", "input", "files")
BELONGS_TO = {
    "title": ("table",),
    "attach": ("sql",),
    "input_format": ("input",),
    "images": ("table", "sql", "files"),
    "encodings": ("input", "files"),
    "id": ("table", "sql", "input"),
    "columns": ("table", "sql", "input"),
    "metadata": ("table", "sql", "input"),
    "template": ("table", "sql", "input"),
}


def chosen_source(
    conn: sqlite3.Connection, config: CollectionConfig
) -> ReadableSource | None:
    """The source that *config* names, or None if it names none.

    Its paths are given from where we are.

    :raises InvalidInputError: if it names two, or settings that do not go together.
    :raises SourceError: if there is no such source.
    """
    ways = [way for way in WAYS if getattr(config, way)]
    problems = list(_problems(config, ways))
    if problems:
        raise InvalidInputError("; ".join(problems))
    if config.template is not None:
        template_of(config.template)
    rules = SourceRules(
        metadata_columns=config.metadata,
        template=config.template,
        strip_html=config.strip_html,
        id_prefix=config.prefix,
        chunking=_chunking(config),
        images=config.images,
        store_content=config.store,
    )
    if config.table is not None:
        return table_source(
            conn,
            config.table,
            content_columns=config.columns,
            key_columns=config.id,
            title_column=config.title,
            rules=rules,
        )
    if config.sql is not None:
        return query_source(
            conn,
            config.sql,
            key_columns=config.id,
            content_columns=config.columns,
            attached=tuple(
                (alias, noted_path(conn, path)) for alias, path in config.attach
            ),
            rules=rules,
        )
    return _outside_source(conn, config, rules)


def _outside_source(
    conn: sqlite3.Connection, config: CollectionConfig, rules: SourceRules
) -> ReadableSource | None:
    """A source that is not in the database."""
    if config.input is not None:
        return FileSource(
            noted_path(conn, config.input),
            config.input_format,
            config.encodings,
            config.id,
            config.columns,
            **vars(rules),
        )
    if config.files:
        folders = tuple((noted_path(conn, each), glob) for each, glob in config.files)
        return FolderSource(folders, config.encodings, **vars(rules))
    return None


def _problems(config: CollectionConfig, ways: list[str]) -> Iterator[str]:
    if len(ways) > 1:
        yield f"Expected one of {', '.join(WAYS)}; found {' and '.join(ways)}"
    for setting, allowed in BELONGS_TO.items():
        if getattr(config, setting) and ways and ways[0] not in allowed:
            yield f"{setting!r} goes with {' or '.join(allowed)}, not with {ways[0]}"
    if config.input_format and config.input_format not in FORMATS:
        yield (
            f"Expected an input format, one of {', '.join(FORMATS)}; "
            f"found {config.input_format!r}"
        )
    if config.template is not None and config.columns:
        yield "Expected either columns or a template, which names its own columns"
    if config.images and (config.chunk or config.strip_html or config.template):
        yield "Images have no text to split, to strip of HTML or to put in a template"
    if config.images and len(config.columns) > 1:
        yield f"Expected one column of images, found {', '.join(config.columns)}"
    if config.chunk is None and (config.chunk_size or config.chunk_overlap):
        yield "A chunk size or overlap goes with a way to chunk, such as paragraphs"


def _chunking(config: CollectionConfig) -> Chunking | None:
    if config.chunk is None:
        return None
    return Chunking(config.chunk, config.chunk_size, config.chunk_overlap)
