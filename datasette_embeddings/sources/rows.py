"""Rows of CSV, TSV, JSON and newline-delimited JSON, each with its number."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources.content import ABSENT
from datasette_embeddings.sources.definitions import STDIN, FileSource
from datasette_embeddings.sources.encodings import text_stream

if TYPE_CHECKING:
    from _csv import Reader as CsvReader

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
# Characters of the beginning that a format is told from
PEEKED = 4_096
# Of a CSV file; spreadsheets use a semicolon where the comma is a decimal point
DELIMITERS = (",", ";", "\t", "|")
# Objects whose keys are looked at before the first of them is read
LOOKED_AT = 1_000
# As large as the C code behind csv takes on every system
LONGEST_FIELD = 2**31 - 1


@dataclass(frozen=True)
class BadRow:
    """A row that is none, and why."""

    error: str


#: Its number from 1, and its values in the order of the columns
NumberedRow: TypeAlias = tuple[int, Sequence[object] | BadRow]


@contextmanager
def rows_of_file(
    source: FileSource,
) -> Iterator[tuple[Sequence[str], Iterator[NumberedRow]]]:
    """The names of the columns, and the rows.

    :raises SourceError: for a file that cannot be opened, or is none of the formats.
    """
    with _opened(source) as file, text_stream(file, source.encodings) as text:
        kind = source.format or SUFFIXES.get(Path(source.path).suffix.lower())
        kind = kind or _format_of(text)
        if kind in ("csv", "tsv"):
            yield _separated(text, "\t" if kind == "tsv" else _delimiter_of(text))
        else:
            yield _objects(_json(text) if kind == "json" else _lines(text))


@contextmanager
def _opened(source: FileSource) -> Iterator[IO[bytes]]:
    if source.path == STDIN:
        if sys.stdin is None:
            raise SourceError("Expected rows on standard input, which is closed")
        yield sys.stdin.buffer
        return
    try:
        file = Path(source.path).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise SourceError(f"{source.path} cannot be read: {error.strerror}") from error
    with file:
        yield file


def _format_of(text: IO[str]) -> str:
    """The format that the beginning of *text* looks like."""
    start = text.read(PEEKED)
    text.seek(0)
    first_line, _newline, _rest = start.lstrip().partition("\n")
    if first_line.startswith("["):
        return "json"
    if first_line.startswith("{"):
        try:
            json.loads(first_line)
        except ValueError:
            # An object over several lines, or a line longer than what was looked at
            return "nl" if len(first_line) >= PEEKED - 1 else "json"
        return "nl"
    return "tsv" if "\t" in first_line and "," not in first_line else "csv"


def _delimiter_of(text: IO[str]) -> str:
    """A comma, or what stands in the first line in place of one."""
    first_line, _newline, _rest = text.read(PEEKED).partition("\n")
    text.seek(0)
    found = (mark for mark in DELIMITERS if mark in first_line)
    return next(found, DELIMITERS[0])


def _separated(
    text: IO[str], delimiter: str
) -> tuple[Sequence[str], Iterator[NumberedRow]]:
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
    return names, _numbered(_separated_rows(reader, len(names)))


def _separated_rows(
    reader: CsvReader, columns: int
) -> Iterator[Sequence[object] | BadRow]:
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield BadRow(f"Line {reader.line_num} cannot be read: {error}")
            continue
        if len(values) == columns:
            yield values
        elif values:
            yield BadRow(
                f"Expected {columns} fields as in the first line, found "
                f"{len(values)} in line {reader.line_num}"
            )


def _numbered(rows: Iterator[Sequence[object] | BadRow]) -> Iterator[NumberedRow]:
    yield from enumerate(rows, 1)


def _json(text: IO[str]) -> Iterator[tuple[int, object]]:
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


def _lines(text: IO[str]) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text, 1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", None) or error
            yield number, BadRow(f"Line {number} is no JSON: {reason}")


def _objects(
    found: Iterator[tuple[int, object]],
) -> tuple[Sequence[str], Iterator[NumberedRow]]:
    """The columns are the keys of the first objects; later ones may add to them."""
    first = list(islice(found, LOOKED_AT))
    names = list(
        dict.fromkeys(name for _, row in first if isinstance(row, dict) for name in row)
    )
    return names, _object_rows(chain(first, found), names)


def _object_rows(
    found: Iterator[tuple[int, object]], names: list[str]
) -> Iterator[NumberedRow]:
    for number, row in found:
        if isinstance(row, Mapping):
            names.extend(name for name in row if name not in names)
            yield number, [row.get(name, ABSENT) for name in names]
        else:
            yield number, _no_object(row)


def _no_object(row: object) -> BadRow:
    if isinstance(row, BadRow):
        return row
    return BadRow(f"Expected a JSON object, found {json.dumps(row)[:60]}")
