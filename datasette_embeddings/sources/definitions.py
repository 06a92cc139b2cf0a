"""What can be embedded, as it is remembered with a collection."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

from datasette_embeddings.documents import Chunking
from datasette_embeddings.errors import EmbeddingsError

ROWID = "rowid"
STDIN = "-"
# Characters of a query or path that a message shows
SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class SourceRules:
    """How rows become documents, whatever they come from."""

    #: Kept with each item, as JSON
    metadata_columns: tuple[str, ...] = ()
    #: Jinja: the content, where it is more than the columns joined with spaces
    template: str | None = None
    strip_html: bool = False
    #: In front of each id
    id_prefix: str = ""
    chunking: Chunking | None = None
    #: The content is an image: the bytes of a file, or a BLOB
    images: bool = False
    #: The content is copied, even that of a table, which could be read there
    store_content: bool = False


@dataclass(frozen=True)
class TableSource(SourceRules):
    """Rows of a table or view; *key_columns* identify a row."""

    table: str
    key_columns: tuple[str, ...]
    content_columns: tuple[str, ...]
    title_column: str | None = None


@dataclass(frozen=True)
class QuerySource(SourceRules):
    """Rows of a query.  Without *key_columns* the first one is the id.

    Without *content_columns* all others are the content.  *tables* are those of this
    database that SQLite reads to answer it; *attached* are alias and path of others.
    """

    sql: str
    tables: tuple[str, ...] = ()
    key_columns: tuple[str, ...] = ()
    content_columns: tuple[str, ...] = ()
    attached: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class FileSource(SourceRules):
    """Rows of a CSV, TSV, JSON or NDJSON file, or of the standard input.

    Columns as in :class:`QuerySource`.
    """

    path: str
    format: str | None = None
    encodings: tuple[str, ...] = ()
    key_columns: tuple[str, ...] = ()
    content_columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class FolderSource(SourceRules):
    """Files: *folders* are pairs of folder and glob; the id is the relative path."""

    folders: tuple[tuple[str, str], ...]
    encodings: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnreadableSource:
    """What a newer release, or somebody else, noted of where rows come from."""


ReadableSource: TypeAlias = TableSource | QuerySource | FileSource | FolderSource
Source: TypeAlias = ReadableSource | UnreadableSource
# The field that tells which kind of source it is
KINDS: Mapping[str, type[Any]] = {
    "table": TableSource,
    "sql": QuerySource,
    "path": FileSource,
    "folders": FolderSource,
}


def noted(source: Source | None) -> str | None:
    """*source* as JSON, without what is left at its default."""
    if source is None:
        return None
    defaults = {field.name: field.default for field in fields(source)}
    values = asdict(source)
    return json.dumps(
        {name: value for name, value in values.items() if value != defaults[name]}
    )


# Every search reads the same few notes
@lru_cache(maxsize=256)
def from_note(text: str | None) -> Source | None:
    """What :func:`noted` noted; what a newer release added to it is skipped."""
    if text is None:
        return None
    try:
        values: dict[str, Any] = json.loads(text)
        kind = next(KINDS[name] for name in KINDS if name in values)
        known = {field.name for field in fields(kind)} & set(values)
        given = {name: _frozen(values[name]) for name in known}
        if given.get("chunking"):
            given["chunking"] = Chunking(**values["chunking"])
        hints = get_type_hints(kind)
        if not all(_is_a(value, hints[name]) for name, value in given.items()):
            return UnreadableSource()
        source: Source = kind(**given)
        return source
    except (ValueError, TypeError, AttributeError, StopIteration, EmbeddingsError):
        return UnreadableSource()


def _is_a(value: object, hint: Any) -> bool:  # noqa: ANN401 - a type, or a union
    """Whether *value* has the type of a field; another program may have written it."""
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        if not isinstance(value, tuple):
            return False
        if kinds[-1] is Ellipsis:
            return all(_is_a(each, kinds[0]) for each in value)
        return len(value) == len(kinds) and all(map(_is_a, value, kinds))
    if get_args(hint):
        return any(_is_a(value, each) for each in get_args(hint))
    return isinstance(value, hint)


def _frozen(value: object) -> object:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def had_other_items(text: str | None) -> bool:
    """Whether *text*, a note of 0.2a0, says that other sources brought items too."""
    try:
        values = json.loads(text or "{}")
    except ValueError:
        return True
    return not isinstance(values, dict) or bool(values.get("is_mixed"))


def prefix_of(source: Source) -> str:
    """The prefix that *source* puts in front of each id."""
    return "" if isinstance(source, UnreadableSource) else source.id_prefix


def is_standard_input(source: Source) -> bool:
    """Whether *source* is a pipe, which cannot be read a second time."""
    return isinstance(source, FileSource) and source.path == STDIN


def is_same_source(one: Source, other: Source) -> bool:
    """Whether both are the same table, query or files; their rules may differ."""
    return _identity(one) == _identity(other) is not None


def _identity(source: Source) -> tuple[object, ...] | None:
    if isinstance(source, TableSource):
        return "table", source.table
    if isinstance(source, QuerySource):
        return "sql", source.sql, source.attached
    if isinstance(source, FileSource):
        return "input", source.path
    if isinstance(source, FolderSource):
        return "files", frozenset(source.folders)
    return None


def described(source: Source) -> str:
    """*source* in a few words, for messages."""
    if isinstance(source, TableSource):
        return f"the table {source.table!r}"
    if isinstance(source, QuerySource):
        return f"the query {_shortened(' '.join(source.sql.split()))!r}"
    if is_standard_input(source):
        return "standard input"
    if isinstance(source, FileSource):
        return f"the file {_shortened(source.path)!r}"
    if isinstance(source, FolderSource):
        files = ", ".join(f"{folder} {glob}" for folder, glob in source.folders)
        return f"the files {_shortened(files)!r}"
    return "a source that this release cannot read"


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def quote(identifier: str) -> str:
    """*identifier* as SQL takes it, whatever characters it has."""
    return '"' + identifier.replace('"', '""') + '"'
