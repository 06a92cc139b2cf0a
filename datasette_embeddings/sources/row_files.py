"""Rows of CSV, TSV, JSON and newline-delimited JSON, each with its number."""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from _csv import Reader as CsvReader
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import IO

from datasette_embeddings.databases import real_path
from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources.content import ABSENT, NumberedRow, Rows
from datasette_embeddings.sources.definitions import FileSource
from datasette_embeddings.sources.text_files import text_stream

FORMATS = ("csv", "tsv", "json", "nl")
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".json": "json",
    ".nl": "nl",
    ".ndjson": "nl",
    ".jsonl": "nl",
}
# The format is recognised from so many characters
HEAD = 4_096
# Of a CSV file; spreadsheets use a semicolon where the comma is a decimal point
DELIMITERS = (",", ";", "\t", "|")
# The columns are the keys of so many objects; later objects may add to them
FIRST_OBJECTS = 1_000
# As large as the C code behind csv takes on every system
LONGEST_FIELD = 2**31 - 1


@contextmanager
def rows_of_file(conn: sqlite3.Connection, source: FileSource) -> Iterator[Rows]:
    """The rows of the file or of standard input."""
    with _open(conn, source) as file, text_stream(file, source.encodings) as text:
        head = text.read(HEAD)
        text.seek(0)
        kind = source.format or SUFFIXES.get(Path(source.path).suffix.lower())
        kind = kind or _format_of(head)
        if kind == "json":
            yield _objects(_json_rows(text))
        elif kind == "nl":
            yield _objects(_json_lines(text))
        else:
            first_line = head.partition("\n")[0]
            marks = "\t" if kind == "tsv" else DELIMITERS
            delimiter = next((mark for mark in marks if mark in first_line), marks[0])
            yield _separated(text, delimiter)


def _open(
    conn: sqlite3.Connection, source: FileSource
) -> AbstractContextManager[IO[bytes]]:
    if source.is_standard_input:
        if sys.stdin is None:
            raise SourceError("Expected rows on standard input, which is closed")
        return nullcontext(sys.stdin.buffer)
    path = real_path(conn, source.path)
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error


def _format_of(head: str) -> str:
    """The format of a text that begins with *head*."""
    first_line = head.lstrip().partition("\n")[0]
    if first_line.startswith("["):
        return "json"
    if first_line.startswith("{"):
        try:
            json.loads(first_line)
        except ValueError:
            # An object over several lines, or a line longer than the head
            return "nl" if len(first_line) >= HEAD - 1 else "json"
        return "nl"
    return "tsv" if "\t" in first_line and "," not in first_line else "csv"


def _separated(text: IO[str], delimiter: str) -> Rows:
    csv.field_size_limit(LONGEST_FIELD)
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    try:
        names = next(reader, [])
    except csv.Error as error:
        raise SourceError(f"The first line cannot be read: {error}") from error
    if not names:
        raise SourceError(
            "Expected the names of the columns in the first line; it is empty"
        )
    return names, enumerate(_separated_rows(reader, len(names)), 1)


def _separated_rows(
    reader: CsvReader, columns: int
) -> Iterator[Sequence[object] | SourceError]:
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield SourceError(f"Line {reader.line_num} cannot be read: {error}")
            continue
        if len(values) == columns:
            yield values
        elif values:
            yield SourceError(
                f"Expected {columns} fields as in the first line, found "
                f"{len(values)} in line {reader.line_num}"
            )


def _json_rows(text: IO[str]) -> Iterator[tuple[int, object]]:
    try:
        found = json.load(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(f"The JSON cannot be read: {error}") from error
    if isinstance(found, dict):
        found = [found]
    if not isinstance(found, list):
        raise SourceError(
            f"Expected a JSON list of objects, found {json.dumps(found)[:60]}"
        )
    yield from enumerate(found, 1)


def _json_lines(text: IO[str]) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = getattr(error, "msg", None) or error
                yield number, SourceError(f"Line {number} is no JSON: {reason}")


def _objects(found: Iterator[tuple[int, object]]) -> Rows:
    """The rows of the objects that are *found*, each with its number."""
    first = list(islice(found, FIRST_OBJECTS))
    objects = [row for _number, row in first if isinstance(row, dict)]
    names = list(dict.fromkeys(chain.from_iterable(objects)))
    if first and not names:
        failures = (row for _number, row in first if isinstance(row, SourceError))
        raise next(failures, SourceError("Expected JSON objects with keys, found none"))
    return names, _object_rows(chain(first, found), names)


def _object_rows(
    found: Iterator[tuple[int, object]], names: list[str]
) -> Iterator[NumberedRow]:
    for number, row in found:
        if isinstance(row, dict):
            names.extend(name for name in row if name not in names)
            yield number, [row.get(name, ABSENT) for name in names]
        elif isinstance(row, SourceError):
            yield number, row
        else:
            found_json = json.dumps(row)[:60]
            yield number, SourceError(f"Expected a JSON object, found {found_json}")
