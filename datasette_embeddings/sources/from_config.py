"""From a configuration, or the options of a command, to the source they describe."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace

from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.databases import (
    Column,
    declared_columns,
    stored_path,
    tables_and_views,
)
from datasette_embeddings.documents import (
    AUTO,
    AUTO_CHUNKS,
    NO_CAPTIONS,
    NO_CHUNKS,
    Chunking,
)
from datasette_embeddings.errors import InvalidInputError, SourceError
from datasette_embeddings.sources.content import columns_of_template, template_of
from datasette_embeddings.sources.definitions import (
    ROWID,
    STDIN,
    TITLES,
    CollectionSource,
    FileSource,
    FolderSource,
    Source,
    SourceState,
    TableSource,
    UnreadableSource,
)
from datasette_embeddings.sources.folders import with_folder, with_stored_rules
from datasette_embeddings.sources.links import columns_of_link, link_template
from datasette_embeddings.sources.queries import query_source
from datasette_embeddings.sources.row_files import FORMATS

KINDS = ("table", "sql", "input", "files")
# Settings that go with some kinds only
BELONGS_TO = {
    "title": ("table",),
    "attach": ("sql",),
    "input_format": ("input",),
    "images": ("table", "sql", "files"),
    "caption": ("table", "sql", "files"),
    "binary": ("files",),
    "exclude": ("files",),
    "glob": ("a folder as input",),
    "encodings": ("input", "files"),
    "id": ("table", "sql", "input"),
    "columns": ("table", "sql", "input"),
    "metadata": ("table", "sql", "input"),
    "template": ("table", "sql", "input"),
}


def source_from_config(
    conn: sqlite3.Connection,
    config: CollectionConfig,
    stored: Sequence[CollectionSource] = (),
) -> Source | None:
    """The source that *config* describes, or None if it names none.

    Where *config* does not say how texts are split, they are as in the *stored* source
    of that prefix.
    """
    if config.input is not None and config.input != STDIN:
        config = with_folder(conn, config, config.input, stored)
    problems = list(_problems(config))
    if problems:
        raise InvalidInputError(*problems)
    if config.template is not None:
        template_of(config.template)
    chunking: Chunking | None = AUTO
    if stored or config.images or config.binary or config.chunk is not None:
        chunking = _chunking(config, stored)
    rules = Source(
        metadata_columns=config.metadata,
        template=config.template,
        strip_html=config.strip_html,
        id_prefix=config.prefix,
        chunking=chunking,
        images=config.images,
        caption=_caption(config, stored) if config.caption or stored else None,
        binary=config.binary,
        store_content=config.store,
        url=config.url and link_template(config.url),
    )
    if rules.url is not None:
        _check_link(config, rules.url)
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
        found = FolderSource(folders, encodings, config.exclude, **vars(rules))
        return with_stored_rules(found, config.ignore, _before(config, stored))
    return None


def _check_link(config: CollectionConfig, url: str) -> None:
    """Refuse a *url* with a name that is neither kept with an item nor a column."""
    if not (config.sql or config.input):
        return
    used = columns_of_link(url, config.metadata)
    missing = [name for name in used if name not in config.metadata]
    if missing:
        raise SourceError(
            f"The url uses {missing[0]!r}, which is not kept with an item: add it with "
            f"--metadata {missing[0]}"
        )


def _chunking(
    config: CollectionConfig, stored: Sequence[CollectionSource]
) -> Chunking | None:
    """How texts are split: as *config* says, or else as in a source that is stored."""
    if config.images or config.binary or config.chunk == NO_CHUNKS:
        return None
    before = [e.chunking for e in _before(config, stored) if not e.is_bytes]
    if config.chunk is None:
        return before[0] if before else AUTO
    given = Chunking(config.chunk, config.chunk_size, config.chunk_overlap)
    # As an earlier release split them; --rebuild adds the titles
    untitled = replace(given, titled=False)
    return untitled if before[:1] == [untitled] else given


def _caption(
    config: CollectionConfig, stored: Sequence[CollectionSource]
) -> str | None:
    """What makes captions: as *config* says, or else as in a source that is stored."""
    if config.caption is None:
        before = [each.caption for each in _before(config, stored) if each.images]
        # A folder need not say again that it has images
        keeps = config.images or config.files
        return before[0] if before and keeps else None
    return None if config.caption == NO_CAPTIONS else config.caption


def _before(
    config: CollectionConfig, stored: Sequence[CollectionSource]
) -> list[Source]:
    """The *stored* sources in whose place that of *config* comes."""
    state = SourceState.PIPED if config.input == STDIN else SourceState.CURRENT
    return [
        each.source
        for each in stored
        if (each.prefix, each.state) == (config.prefix, state)
        and not isinstance(each.source, UnreadableSource)
    ]


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
    if config.images or config.binary:
        yield from _problems_of_bytes(config)
    if config.chunk in (None, NO_CHUNKS) and (
        config.chunk_size or config.chunk_overlap
    ):
        yield "A chunk size or overlap goes with a way to chunk, such as paragraphs"


def _problems_of_bytes(config: CollectionConfig) -> Iterator[str]:
    if config.images and config.binary:
        yield "Expected images or binary, found both"
    splits = config.chunk not in (None, NO_CHUNKS, AUTO_CHUNKS)
    if splits or config.strip_html or config.template:
        yield "Images have no text to split, to strip of HTML or to put in a template"
    if len(config.columns) > 1:
        yield f"Expected one column of images, found {', '.join(config.columns)}"


def table_source(
    conn: sqlite3.Connection,
    table: str,
    *,
    content_columns: Sequence[str] = (),
    key_columns: Sequence[str] = (),
    title_column: str | None = None,
    rules: Source = Source(),
) -> TableSource:
    """The source of the rows of *table*.

    Defaults.  Content: the columns that the template names; without one every TEXT
    column that is neither key nor metadata, or for images the one BLOB column.  Key:
    the primary key, else rowid.  Title: the first column of :data:`TITLES`.
    """
    table, kind = _existing_table(conn, table)
    columns = declared_columns(conn, table)
    names = [column.name for column in columns]
    if rules.template is not None:
        content_columns = columns_of_template(rules.template, names)
    linked = [] if rules.url is None else columns_of_link(rules.url, names)
    given = (
        *(*content_columns, *key_columns, *rules.metadata_columns, *linked),
        title_column,
    )
    for name in given:
        if name is not None and name not in (*names, ROWID):
            raise SourceError(
                f"No column {name!r} in the table {table!r}: it has "
                f"{', '.join(map(repr, names))}"
            )
    if not key_columns:
        keys = sorted((each.key_position, each.name) for each in columns)
        key_columns = [name for position, name in keys if position]
        if not key_columns and kind == "view":
            raise SourceError(
                f"{table!r} is a view, and a view has no primary key; "
                "name the column that identifies a row with --id"
            )
        key_columns = key_columns or [ROWID]
    if not content_columns:
        taken = (*key_columns, *rules.metadata_columns)
        free = [column for column in columns if column.name not in taken]
        content_columns = _default_content(table, free, images=rules.images)
    title = title_column or next((name for name in TITLES if name in names), None)
    return TableSource(
        table,
        tuple(key_columns),
        tuple(content_columns),
        title,
        tuple(linked),
        **vars(rules),
    )


def _default_content(
    table: str, columns: Sequence[Column], *, images: bool
) -> list[str]:
    kind = "BLOB" if images else "TEXT"
    found = [column.name for column in columns if kind in column.type.upper()]
    if images and len(found) != 1:
        raise SourceError(
            f"Expected one BLOB column with images in the table {table!r}, found "
            f"{' and '.join(map(repr, found)) or 'none'}; name the column to embed "
            "with --column"
        )
    if not found:
        raise SourceError(
            f"The table {table!r} has no TEXT column besides its key; "
            "name what to embed with --column"
        )
    return found


def _existing_table(conn: sqlite3.Connection, table: str) -> tuple[str, str]:
    """The name as it was created, and whether it is a table or a view."""
    found = tables_and_views(conn)
    for name, kind in found.items():
        # Datasette's permissions may be case-sensitive
        if name.lower() == table.lower():
            return name, kind
    # Tables of this package and of migrations hold no content
    others = ", ".join(repr(name) for name in found if not name.startswith("_"))
    raise SourceError(
        f"No table {table!r} in this database: it has {others or 'no tables'}"
    )
