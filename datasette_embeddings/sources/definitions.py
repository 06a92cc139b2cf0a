"""The kinds of sources, and the JSON that a collection stores of each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from enum import Enum
from functools import lru_cache
from itertools import chain
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from datasette_embeddings.databases import quote
from datasette_embeddings.documents import AUTO_CHUNKS, OWN_METHODS, Chunking
from datasette_embeddings.errors import EmbeddingsError, quoted

ROWID = "rowid"
#: Columns that name a row, unless another one is given
TITLES = ("title", "name", "heading", "headline", "subject")
STDIN = "-"
#: The glob of every file
ALL_FILES = "**/*"


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
    #: What a plugin calls its way to make captions of images
    caption: str | None = None
    #: The content is the bytes of a file of any kind
    binary: bool = False
    #: The content is kept beside its vectors; None: unless it stays in a table
    store_content: bool | None = None
    #: Jinja that renders the address of an item on the owner's site
    url: str | None = None

    #: The fields that say where the rows are; the first shows which kind it is
    place: ClassVar[tuple[str, ...]] = ()

    @property
    def is_bytes(self) -> bool:
        """Whether the content is bytes, and not a text."""
        return self.images or self.binary

    @property
    def description(self) -> str:
        """The source in a few words, for messages."""
        return "a source that this release cannot read"

    @property
    def is_standard_input(self) -> bool:
        """Whether it is a pipe, which cannot be read a second time."""
        return isinstance(self, FileSource) and self.path == STDIN

    @property
    def permission_tables(self) -> tuple[str, ...]:
        """The tables of this database that decide who may see its rows.

        For rows from outside of the database it is the table ``embeddings``.
        """
        return ("embeddings",)

    @property
    def uses_plugin(self) -> bool:
        """Whether a plugin chunks its texts or makes captions of its images."""
        method = AUTO_CHUNKS if self.chunking is None else self.chunking.method
        return method not in OWN_METHODS or self.caption is not None

    def is_same(self, other: Source) -> bool:
        """Whether both are the same table, query or files; their rules may differ."""
        if self.place != other.place or not self.place:
            return False
        for name in self.place:
            mine, its = getattr(self, name), getattr(other, name)
            # Folders and databases may be in another order
            if mine != its and not (isinstance(mine, tuple) and set(mine) == set(its)):
                return False
        return True

    def to_json(self) -> str:
        """JSON that :func:`source_from_json` reads, without default values."""
        values, defaults = asdict(self), {f.name: f.default for f in fields(self)}
        return json.dumps({k: v for k, v in values.items() if v != defaults[k]})


@dataclass(frozen=True)
class TableSource(Source):
    """Rows of a table or view; *key_columns* identify a row."""

    table: str
    key_columns: tuple[str, ...]
    content_columns: tuple[str, ...]
    title_column: str | None = None
    #: Those that *url* uses
    url_columns: tuple[str, ...] = ()

    place = ("table",)

    @property
    def image_column(self) -> str | None:
        """The column that holds the images, if they are stored as they are."""
        is_one = len(self.content_columns) == 1 and self.template is None
        return self.content_columns[0] if self.images and is_one else None

    @property
    def sql(self) -> str:
        """SQL for its rows: keys, content, metadata and title."""
        title = () if self.title_column is None else (self.title_column,)
        columns = self.key_columns, self.content_columns, self.metadata_columns, title
        names = dict.fromkeys(chain(*columns))
        selected = [f"{self.column_sql(each)} as {quote(each)}" for each in names]
        return f"select {', '.join(selected)} from main.{quote(self.table)}"

    def column_sql(self, column: str) -> str:
        """SQL for *column*, qualified, because a mere name may be taken for a text."""
        return f"{quote(self.table)}.{quote(column)}"

    @property
    def description(self) -> str:
        return f"the table {self.table!r}"

    @property
    def permission_tables(self) -> tuple[str, ...]:
        return (self.table,)


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

    place = ("sql", "attached")

    @property
    def description(self) -> str:
        return f"the query {quoted(' '.join(self.sql.split()))}"

    @property
    def permission_tables(self) -> tuple[str, ...]:
        reads_others = self.attached or not self.tables
        return (*self.tables, "embeddings") if reads_others else self.tables


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

    place = ("path",)

    @property
    def description(self) -> str:
        if self.is_standard_input:
            return "standard input"
        return f"the file {quoted(self.path)}"


@dataclass(frozen=True)
class FolderSource(Source):
    """Files: *folders* are pairs of folder and glob; the id is the relative path."""

    folders: tuple[tuple[str, str], ...]
    encodings: tuple[str, ...] = ()
    #: Patterns as in a ``.gitignore``, of files and folders that are left out
    exclude: tuple[str, ...] = ()
    #: What is hidden or ignored is left out; not so in sources of earlier releases
    ignore: bool = False
    #: Each file is read as its name tells; earlier releases took each for a text
    by_kind: bool = False

    place = ("folders",)

    @property
    def description(self) -> str:
        if len(self.folders) == 1 and self.folders[0][1] == ALL_FILES:
            return f"the folder {quoted(self.folders[0][0])}"
        files = ", ".join(f"{folder} {glob}" for folder, glob in self.folders)
        return f"the files {quoted(files)}"


@dataclass(frozen=True)
class UnreadableSource(Source):
    """A source that a newer release, or another program, stored."""


KINDS = (TableSource, QuerySource, FileSource, FolderSource)


# Every search reads the same few
@lru_cache(maxsize=256)
def source_from_json(text: str | None) -> Source:
    """The source that :meth:`Source.to_json` wrote.

    Fields that a newer release added are skipped.
    """
    try:
        values: dict[str, Any] = json.loads(text or "")
        kind = next(kind for kind in KINDS if kind.place[0] in values)
        hints = get_type_hints(kind)
        known = hints.keys() & values.keys()
        return kind(**{name: _typed(values[name], hints[name]) for name in known})
    except (ValueError, TypeError, AttributeError, StopIteration, EmbeddingsError):
        return UnreadableSource()


def _typed(value: Any, hint: Any) -> Any:  # noqa: ANN401 - any value, any type
    """*value* of JSON in the type of its field; any program may have written it."""
    kinds = get_args(hint) or (hint,)
    if get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise TypeError
        if kinds[-1] is Ellipsis:
            kinds = kinds[:1] * len(value)
        return tuple(_typed(*each) for each in zip(value, kinds, strict=True))
    if Chunking in kinds and isinstance(value, dict):
        # Earlier releases did not put the title in front
        return Chunking(**{"titled": False, **value})
    if not isinstance(value, kinds):
        raise TypeError
    return value


def had_other_items(text: str) -> bool:
    """Whether *text*, which 0.2a0 stored, says that other sources brought items too."""
    try:
        values = json.loads(text)
    except ValueError:
        return True
    return not isinstance(values, dict) or bool(values.get("is_mixed"))


class SourceState(Enum):
    """Whether a sync reads a source."""

    #: It is read; a collection has one such source for each prefix
    CURRENT = "current"
    #: Another source has replaced it, but some of its items are left
    REPLACED = "replaced"
    #: A pipe, which cannot be read again: only its rules are kept
    PIPED = "piped"


@dataclass(frozen=True)
class CollectionSource:
    """Where items of a collection whose ids begin with *prefix* come from."""

    id: int
    prefix: str
    source: Source
    #: When a run last read all of it, in Unix seconds
    synced: int | None = None
    state: SourceState = SourceState.CURRENT
