"""The kinds of sources, and the JSON that a collection stores of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any, get_args, get_origin, get_type_hints

from datasette_embeddings.documents import Chunking
from datasette_embeddings.errors import EmbeddingsError

ROWID = "rowid"
STDIN = "-"
# Characters of a query or path in a message
SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where rows come from, and how they become documents; subclasses add the first."""

    #: Stored with each item, as JSON
    metadata_columns: tuple[str, ...] = ()
    #: Jinja that renders the content; without one, columns are joined with spaces
    template: str | None = None
    strip_html: bool = False
    #: In front of each id
    id_prefix: str = ""
    chunking: Chunking | None = None
    #: The content is an image: the bytes of a file, or a BLOB
    images: bool = False
    #: The content is copied, even that of a table, which could be read there
    store_content: bool = False

    @property
    def identity(self) -> tuple[object, ...] | None:
        """Equal for sources of the same rows, whatever their rules; None if unknown."""
        return None

    @property
    def description(self) -> str:
        """The source in a few words, for messages."""
        return "a source that this release cannot read"

    @property
    def is_standard_input(self) -> bool:
        """Whether it is a pipe, which cannot be read a second time."""
        return self.identity == ("input", STDIN)

    def is_same(self, other: Source) -> bool:
        """Whether both are the same table, query or files; their rules may differ."""
        return self.identity == other.identity is not None

    def to_json(self) -> str:
        """JSON that :func:`source_from_json` reads, without default values."""
        defaults = {field.name: field.default for field in fields(self)}
        values = asdict(self)
        return json.dumps(
            {name: value for name, value in values.items() if value != defaults[name]}
        )


@dataclass(frozen=True)
class TableSource(Source):
    """Rows of a table or view; *key_columns* identify a row."""

    table: str
    key_columns: tuple[str, ...]
    content_columns: tuple[str, ...]
    title_column: str | None = None

    @property
    def identity(self) -> tuple[object, ...]:
        return "table", self.table

    @property
    def description(self) -> str:
        return f"the table {self.table!r}"


@dataclass(frozen=True)
class QuerySource(Source):
    """Rows of a query.  Without *key_columns* the first column is the id.

    Without *content_columns* all other columns are the content.  *tables* are those of
    this database that SQLite reads for it; *attached* are alias and path of others.
    """

    sql: str
    tables: tuple[str, ...] = ()
    key_columns: tuple[str, ...] = ()
    content_columns: tuple[str, ...] = ()
    attached: tuple[tuple[str, str], ...] = ()

    @property
    def identity(self) -> tuple[object, ...]:
        return "sql", self.sql, self.attached

    @property
    def description(self) -> str:
        return f"the query {_shortened(' '.join(self.sql.split()))!r}"


@dataclass(frozen=True)
class FileSource(Source):
    """Rows of a CSV, TSV, JSON or NDJSON file, or of standard input.

    Columns as in :class:`QuerySource`.
    """

    path: str
    format: str | None = None
    encodings: tuple[str, ...] = ()
    key_columns: tuple[str, ...] = ()
    content_columns: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[object, ...]:
        return "input", self.path

    @property
    def description(self) -> str:
        if self.is_standard_input:
            return "standard input"
        return f"the file {_shortened(self.path)!r}"


@dataclass(frozen=True)
class FolderSource(Source):
    """Files: *folders* are pairs of folder and glob; the id is the relative path."""

    folders: tuple[tuple[str, str], ...]
    encodings: tuple[str, ...] = ()

    @property
    def identity(self) -> tuple[object, ...]:
        return "files", frozenset(self.folders)

    @property
    def description(self) -> str:
        files = ", ".join(f"{folder} {glob}" for folder, glob in self.folders)
        return f"the files {_shortened(files)!r}"


@dataclass(frozen=True)
class UnreadableSource(Source):
    """A source that a newer release, or another program, stored."""


def _shortened(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


# The field that shows which kind of source it is
KINDS: Mapping[str, type[Source]] = {
    "table": TableSource,
    "sql": QuerySource,
    "path": FileSource,
    "folders": FolderSource,
}


# Every search reads the same few
@lru_cache(maxsize=256)
def source_from_json(text: str | None) -> Source:
    """The source that :meth:`Source.to_json` wrote.

    Fields that a newer release added are skipped.
    """
    try:
        values: dict[str, Any] = json.loads(text)  # type: ignore[arg-type]  # None is an error
        kind = next(KINDS[name] for name in KINDS if name in values)
        hints = get_type_hints(kind)
        known = {name: _frozen(values[name]) for name in hints.keys() & values.keys()}
        if known.get("chunking"):
            known["chunking"] = Chunking(**values["chunking"])
        if all(_has_type(value, hints[name]) for name, value in known.items()):
            return kind(**known)  # type: ignore[arg-type]  # checked
    except (ValueError, TypeError, AttributeError, StopIteration, EmbeddingsError):
        pass
    return UnreadableSource()


def _has_type(value: object, hint: Any) -> bool:  # noqa: ANN401 - a type, or a union
    """Whether *value* has the type of its field: any program may have written it."""
    if get_origin(hint) is tuple:
        kinds = get_args(hint)
        if not isinstance(value, tuple):
            return False
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        return len(value) == len(kinds) and all(map(_has_type, value, kinds))
    if get_args(hint):
        return any(_has_type(value, each) for each in get_args(hint))
    return isinstance(value, hint)


def _frozen(value: object) -> object:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def had_other_items(text: str) -> bool:
    """Whether *text*, which 0.2a0 stored, says that other sources brought items too."""
    try:
        values = json.loads(text)
    except ValueError:
        return True
    return not isinstance(values, dict) or bool(values.get("is_mixed"))
