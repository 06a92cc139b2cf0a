"""From the values of a row to what is embedded of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

from datasette_embeddings.documents import Content, Document
from datasette_embeddings.errors import SourceError
from datasette_embeddings.item_ids import item_id_of
from datasette_embeddings.sources.definitions import ReadableSource, TableSource
from datasette_embeddings.sources.file_kinds import file_kind

#: The value of a column that a row does not have, as a JSON object may lack a key
ABSENT = object()

Render: TypeAlias = Callable[[Mapping[str, object]], str]
# How a template reaches a column whose name is no identifier: {{ row["my column"] }}
ROW = "row"
# Elements that begin a line of their own, or a paragraph, and what stands for the
# break until the text is whole: characters that no text has
LINES = ("br", "dd", "div", "dt", "li", "td", "th", "tr")
PARAGRAPHS = (
    *("address", "article", "blockquote", "dl", "figure", "footer", "form", "h1", "h2"),
    *("h3", "h4", "h5", "h6", "header", "hr", "main", "nav", "ol", "p", "pre"),
    *("section", "table", "title", "ul"),
)
LINE_BREAK, PARAGRAPH_BREAK = "\ue000", "\ue001"
PARAGRAPH_BREAKS = re.compile(r"[\s\ue000\ue001]*\ue001[\s\ue000\ue001]*")
LINE_BREAKS = re.compile(r"\s*\ue000[\s\ue000]*")


class RowError(SourceError):
    """One row cannot be embedded; *item_id* is its id, if it has one."""

    def __init__(self, message: str, item_id: str | None = None) -> None:
        super().__init__(message)
        self.item_id = item_id


class RowReader:
    """Rows whose columns are *names*, as documents.

    :raises SourceError: if one of the columns that *source* names is not there.
    """

    def __init__(self, source: ReadableSource, names: Sequence[str]) -> None:
        keys: Sequence[str] = getattr(source, "key_columns", ())
        contents: Sequence[str] = getattr(source, "content_columns", ())
        wanted = columns_of_template(source.template, names) if source.template else []
        for name in (*keys, *contents, *source.metadata_columns, *wanted):
            if name not in names:
                raise SourceError(
                    f"No column {name!r} in the rows: they have "
                    f"{', '.join(map(repr, names)) or 'none'}"
                )
        self._names = names
        self._keys = [names.index(key) for key in keys] or [0]
        self._metadata = [names.index(name) for name in source.metadata_columns]
        self._taken = {*self._keys, *self._metadata}
        self._given = [names.index(name) for name in contents]
        if not (self._given or source.template or self._contents()):
            raise SourceError(
                "Expected at least two columns, the id and the content; "
                f"found {len(names)}"
            )
        if source.images and len(self._contents()) != 1:
            raise SourceError(
                "Expected one column of images besides the id, found "
                f"{', '.join(repr(names[place]) for place in self._contents())}; name "
                "it with --column"
            )
        self._prefix = source.id_prefix
        self._content = content_maker(source, names, self._contents)

    def _contents(self) -> Sequence[int]:
        """The places of the content, which grow with the names."""
        if self._given:
            return self._given
        return [place for place in range(len(self._names)) if place not in self._taken]

    def document(self, values: Sequence[object]) -> Document:
        """The document that a row with *values* is.

        :raises RowError: for a row without an id, or with a BLOB for its content.
        """
        try:
            key = item_id_of([_or_none(values[place]) for place in self._keys])
        except SourceError as error:
            raise RowError(str(error)) from error
        item_id = f"{self._prefix}{key}"
        metadata = {
            self._names[place]: _or_none(values[place]) for place in self._metadata
        }
        try:
            for name, value in metadata.items():
                if isinstance(value, bytes):
                    raise RowError(
                        f"The row {item_id!r} has a BLOB in its metadata, column "
                        f"{name!r}; expected text or a number"
                    )
            return Document(item_id, self._content(item_id, values), metadata or None)
        except RowError as error:
            error.item_id = item_id
            raise


def content_maker(
    source: ReadableSource, names: Sequence[str], places: Callable[[], Sequence[int]]
) -> Callable[[str, Sequence[object]], Content]:
    """What makes the content of an item from its row's values.

    From its template, else from the values at *places*, joined, or the one image there.
    Names and places may grow from row to row, as the keys of JSON objects do.
    """
    if source.images:
        return lambda item_id, values: image(item_id, values[places()[0]])
    clean = stripped if source.strip_html else _as_it_is

    def joined_content(item_id: str, values: Sequence[object]) -> str:
        return joined(item_id, [clean(values[place]) for place in places()])

    if source.template is None:
        return joined_content
    render = template_of(source.template)

    def rendered_content(item_id: str, values: Sequence[object]) -> str:
        row = {
            name: _in_template(name, clean(value))
            for name, value in zip(names, values, strict=True)
        }
        try:
            return render(row)
        except Exception as error:  # a template may fail in any way it likes
            raise RowError(
                f"The template fails on the row {item_id!r}: {error}"
            ) from error

    return rendered_content


def joined(item_id: str, values: Sequence[object]) -> str:
    """*values* as one text; NULL is nothing, a number its digits, a list its JSON.

    What is absent leaves not even a space, as llm has it.

    :raises RowError: for a BLOB, which is no text.
    """
    return " ".join(text_of(item_id, value) for value in values if value is not ABSENT)


def text_of(item_id: str, value: object) -> str:
    """One value as text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bytes):
        kind = file_kind(value)
        found = "a BLOB" if kind is None else kind.name
        raise RowError(
            f"The row {item_id!r} has {found} among its content; expected text. "
            "Name the columns to embed with --column, and --images if they hold images"
        )
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def image(item_id: str, value: object) -> bytes:
    """*value* as the bytes of an image; NULL is none.

    :raises RowError: for anything else but a BLOB.
    """
    if value is None:
        return b""
    if not isinstance(value, bytes):
        raise RowError(
            f"The row {item_id!r} has {type(value).__name__} in the column of images; "
            "expected a BLOB, the bytes of an image file"
        )
    return value


@lru_cache(maxsize=32)
def template_of(template: str) -> Render:
    """*template* as a function of a row, in a sandbox where it can only read.

    A search shows ten rows, and compiling takes longer than rendering.

    :raises SourceError: if Jinja cannot read it.
    """
    from jinja2 import StrictUndefined, TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
    try:
        compiled = environment.from_string(template)
    except TemplateError as error:
        raise SourceError(f"The template cannot be read: {error}") from error
    return lambda row: str(compiled.render({ROW: row, **row}))


def columns_of_template(template: str, names: Sequence[str]) -> list[str]:
    """Which of the columns *names* the template needs, and what else it asks for."""
    from jinja2 import TemplateError, meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        tree = ImmutableSandboxedEnvironment().parse(template)
    except TemplateError as error:
        raise SourceError(f"The template cannot be read: {error}") from error
    wanted = meta.find_undeclared_variables(tree)
    if ROW in wanted and ROW not in names:
        return list(names)
    return [name for name in names if name in wanted] + sorted(wanted - set(names))


def stripped(value: object) -> object:
    """*value* without its HTML tags, scripts and styles, if it is a text."""
    if not isinstance(value, str) or not ("<" in value or "&" in value):
        return value
    from bs4 import BeautifulSoup
    from bs4.exceptions import ParserRejectedMarkup

    # In an element, or a bare address would be taken for a mistake of ours
    try:
        soup = BeautifulSoup(f"<div>{value}</div>", "html.parser")
    except ParserRejectedMarkup as error:
        raise RowError(f"The HTML cannot be read: {error}") from error
    for names, mark in ((LINES, LINE_BREAK), (PARAGRAPHS, PARAGRAPH_BREAK)):
        for element in soup.find_all(names):
            element.insert_before(mark)
            element.append(mark)
    text = PARAGRAPH_BREAKS.sub("\n\n", soup.get_text())
    return LINE_BREAKS.sub("\n", text).strip()


def _in_template(name: str, value: object) -> object:
    """*value* as a template meets it: NULL as nothing, a BLOB as an error."""
    from jinja2 import StrictUndefined

    if isinstance(value, bytes):
        return StrictUndefined(hint=f"the column {name!r} holds a BLOB")
    return "" if value is None or value is ABSENT else value


def _or_none(value: object) -> object:
    return None if value is ABSENT else value


def _as_it_is(value: object) -> object:
    return value


def content_of_row(
    source: TableSource, item_id: str, values: Sequence[object]
) -> Content:
    """The content of a table's row whose content columns hold *values*.

    :raises SourceError: if such a row cannot be embedded.
    """
    names = source.content_columns
    make = content_maker(source, names, lambda: range(len(names)))
    return make(item_id, values)
