"""The source that a configuration, or the options of a command, describe."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.databases import stored_path
from datasette_embeddings.documents import Chunking
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.sources.content import template_of
from datasette_embeddings.sources.definitions import (
    STDIN,
    FileSource,
    FolderSource,
    Source,
)
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.sources.row_files import FORMATS
from datasette_embeddings.sources.tables import table_source

KINDS = ("table", "sql", "input", "files")
# Settings that go with some kinds only
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


def source_from_config(
    conn: sqlite3.Connection, config: CollectionConfig
) -> Source | None:
    """The source that *config* describes, or None if it names none.

    :raises InvalidInputError: if it names two, or settings that do not go together.
    :raises SourceError: if there is no such source.
    """
    problems = list(_problems(config))
    if problems:
        raise InvalidInputError("; ".join(problems))
    if config.template is not None:
        template_of(config.template)
    chunking = None
    if config.chunk is not None:
        chunking = Chunking(config.chunk, config.chunk_size, config.chunk_overlap)
    rules = Source(
        metadata_columns=config.metadata,
        template=config.template,
        strip_html=config.strip_html,
        id_prefix=config.prefix,
        chunking=chunking,
        images=config.images,
        store_content=config.store,
    )
    columns = {"key_columns": config.id, "content_columns": config.columns}
    encodings = config.encodings
    if config.table is not None:
        return table_source(
            conn, config.table, title_column=config.title, rules=rules, **columns
        )
    if config.sql is not None:
        attached = tuple((alias, stored_path(conn, p)) for alias, p in config.attach)
        return query_source(conn, config.sql, attached=attached, rules=rules, **columns)
    if config.input is not None:
        path = STDIN if config.input == STDIN else stored_path(conn, config.input)
        kind = config.input_format
        own = {**vars(rules), **columns}
        return FileSource(path, kind, encodings, **own)
    if config.files:
        folders = tuple((stored_path(conn, each), glob) for each, glob in config.files)
        return FolderSource(folders, encodings, **vars(rules))
    return None


def _problems(config: CollectionConfig) -> Iterator[str]:
    kinds = [kind for kind in KINDS if getattr(config, kind)]
    if len(kinds) > 1:
        yield f"Expected one of {', '.join(KINDS)}; found {' and '.join(kinds)}"
    for setting, allowed in BELONGS_TO.items():
        if getattr(config, setting) and kinds and kinds[0] not in allowed:
            yield f"{setting!r} goes with {' or '.join(allowed)}, not with {kinds[0]}"
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
