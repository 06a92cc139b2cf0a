"""From the values of a row to the document that is embedded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TypeAlias

from datasette_embeddings.documents import Content, Document, Failure, item_id_of
from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources.definitions import TITLES, Source

#: The value of a column that a row does not have, as a JSON object may lack a key
ABSENT = object()
#: Its number from 1, and its values in the order of the columns, or why there are none
NumberedRow: TypeAlias = tuple[int, Sequence[object] | SourceError]
#: The names of the columns, and the rows
Rows: TypeAlias = tuple[Sequence[str], Iterator[NumberedRow]]

Render: TypeAlias = Callable[[Mapping[str, object]], str]
# How a template reaches a column whose name is no identifier: {{ row["my column"] }}
ROW = "row"
# Elements that begin a line of their own, or a paragraph, and private characters that
# mark the break until the text is whole
LINES = ("br", "dd", "div", "dt", "li", "td", "th", "tr")
PARAGRAPHS = (
    *("address", "article", "blockquote", "dl", "figure", "footer", "form", "h1", "h2"),
    *("h3", "h4", "h5", "h6", "header", "hr", "main", "nav", "ol", "p", "pre"),
    *("section", "table", "title", "ul"),
)
LINE_BREAK, PARAGRAPH_BREAK = "\ue000", "\ue001"
BREAKS = {
    **dict.fromkeys(LINES, LINE_BREAK),
    **dict.fromkeys(PARAGRAPHS, PARAGRAPH_BREAK),
}
SPACES = re.compile(r"[\s\ue000\ue001]+")


class RowReader:
    """Makes documents of rows whose columns are *names*, a list that may grow."""

    def __init__(self, source: Source, names: Sequence[str]) -> None:
        keys: Sequence[str] = getattr(source, "key_columns", ())
        contents: Sequence[str] = getattr(source, "content_columns", ())
        used = columns_of_template(source.template, names) if source.template else []
        for name in (*keys, *contents, *source.metadata_columns, *used):
            if name not in names:
                raise SourceError(
                    f"No column {name!r} in the rows: they have "
                    f"{', '.join(map(repr, names)) or 'none'}"
                )
        self._source = source
        self._names = names
        # By position, because two columns of a query may have the same name
        self._keys = [names.index(key) for key in keys] or [0]
        self._metadata = {name: names.index(name) for name in source.metadata_columns}
        self._contents = [names.index(name) for name in contents]
        named = getattr(source, "title_column", None)
        titles = TITLES if named is None else (named,)
        self._title = next(
            (names.index(each) for each in titles if each in names), None
        )
        found = self._used()
        if not found:
            raise SourceError(
                "Expected at least two columns, the id and the content; "
                f"found {len(names)}"
            )
        if source.images and len(found) != 1:
            raise SourceError(
                "Expected one column of images besides the id, found "
                f"{', '.join(repr(names[each]) for each in found)}; name it with "
                "--column"
            )

    def _used(self) -> Sequence[int]:
        """The columns of the content; those that are not named may have grown."""
        every = range(len(self._names))
        if self._source.template is not None:
            return every
        if self._contents:
            return self._contents
        taken = {*self._keys, *self._metadata.values()}
        return [each for each in every if each not in taken]

    def documents(self, rows: Iterator[NumberedRow]) -> Iterator[Document | Failure]:
        """The document of each of *rows*, or the reason why it has none."""
        for number, values in rows:
            item_id = None
            try:
                if isinstance(values, SourceError):
                    raise values
                row = [None if value is ABSENT else value for value in values]
                key = item_id_of([row[each] for each in self._keys])
                item_id = f"{self._source.id_prefix}{key}"
                metadata = {name: row[each] for name, each in self._metadata.items()}
                for name, value in metadata.items():
                    if isinstance(value, bytes):
                        raise SourceError(
                            f"The row has a BLOB in its metadata, column {name!r}; "
                            "expected text or a number"
                        )
                contents = [values[each] for each in self._used()]
                content = content_of_row(self._source, self._names, contents)
                title = None if self._title is None else row[self._title]
                if title is not None:
                    title = None if isinstance(title, bytes) else str(title)
                yield Document(item_id, content, metadata or None, title)
            except SourceError as error:
                failed = f"row {number}" if item_id is None else item_id
                yield Failure(failed, str(error), is_item=item_id is not None)


def content_of_row(
    source: Source, names: Sequence[str], values: Sequence[object]
) -> Content:
    """The content of a row: its one image, its rendered template, or its joined values.

    *values* are those of the content columns; for a template, of the columns *names*.
    NULL is nothing, a number its digits, a list its JSON.

    :raises SourceError: if such a row cannot be embedded.
    """
    if source.images:
        return _image(values[0])
    if source.strip_html:
        values = [stripped(value) for value in values]
    if source.template is not None:
        return _rendered(source.template, dict(zip(names, values, strict=True)))
    # What is absent leaves not even a space, as with llm
    present = (value for value in values if value is not ABSENT)
    return " ".join(
        value if isinstance(value, str) else _text(value) for value in present
    )


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        raise SourceError(
            "The row has a BLOB among its content; expected text. Name the columns "
            "to embed with --column, and --images if they hold images"
        )
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _image(value: object) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, bytes):
        raise SourceError(
            f"The row has {type(value).__name__} in the column of images; expected a "
            "BLOB, the bytes of an image file"
        )
    return value


def _rendered(template: str, row: Mapping[str, object]) -> str:
    from jinja2 import StrictUndefined

    # NULL renders as nothing; a BLOB fails where the template uses it
    values = {
        name: StrictUndefined(hint=f"the column {name!r} holds a BLOB")
        if isinstance(value, bytes)
        else ("" if value is None or value is ABSENT else value)
        for name, value in row.items()
    }
    try:
        return template_of(template)(values)
    except Exception as error:  # a template may fail in any way
        raise SourceError(f"The template fails on the row: {error}") from error


@lru_cache(maxsize=32)
def template_of(template: str) -> Render:
    """*template* as a function of a row, in a sandbox where it can only read.

    Cached, because compiling takes longer than rendering ten rows of a result.
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
    """The columns of *names* that the template uses, then its unknown variables."""
    from jinja2 import meta
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    template_of(template)
    tree = ImmutableSandboxedEnvironment().parse(template)
    used = meta.find_undeclared_variables(tree)
    if ROW in used and ROW not in names:
        return list(names)
    return [name for name in names if name in used] + sorted(used - set(names))


def stripped(value: object) -> object:
    """*value* without its HTML tags, scripts and styles, if it is a text."""
    if not isinstance(value, str) or not ("<" in value or "&" in value):
        return value
    from bs4 import BeautifulSoup
    from bs4.element import CData, NavigableString, Tag
    from bs4.exceptions import ParserRejectedMarkup

    # In an element, because BeautifulSoup warns of a text that is only a URL
    try:
        soup = BeautifulSoup(f"<div>{value}</div>", "html.parser")
    except ParserRejectedMarkup as error:
        raise SourceError(f"The HTML cannot be read: {error}") from error
    parts, todo = list[str](), list[object]([soup])
    while todo:
        # Without changing the tree, where each change looks through all siblings
        node = todo.pop()
        if isinstance(node, Tag):
            mark = BREAKS.get(node.name, "")
            todo += [mark, *reversed(node.contents), mark]
        elif isinstance(node, str) and type(node) in (str, NavigableString, CData):
            # Neither a comment nor a script
            parts.append(node)
    return SPACES.sub(_space, "".join(parts)).strip()


def _space(found: re.Match[str]) -> str:
    """A paragraph or line break, if one is marked in white space; else that itself."""
    if PARAGRAPH_BREAK in found[0]:
        return "\n\n"
    return "\n" if LINE_BREAK in found[0] else found[0]
