"""Rows out of a command: for people, for pipes, for spreadsheets."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

Row: TypeAlias = Mapping[str, object]

FORMATS = ("nl", "json", "csv", "table")


def written(rows: Sequence[Row], output_format: str) -> Iterator[str]:
    """The lines of *rows* in one of :data:`FORMATS`."""
    if output_format == "nl":
        yield from (json.dumps(row, ensure_ascii=False) for row in rows)
    elif output_format == "json":
        yield json.dumps(list(rows), ensure_ascii=False, indent=2)
    elif output_format == "csv":
        yield from _csv_lines(rows)
    else:
        yield _table(rows)


def _csv_lines(rows: Sequence[Row]) -> Iterator[str]:
    if not rows:
        return
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    yield buffer.getvalue().removesuffix("\n")


def _table(rows: Sequence[Row]) -> str:
    from tabulate import tabulate

    cells = [{key: _shown(value) for key, value in row.items()} for row in rows]
    return str(tabulate(cells, headers="keys"))


def _shown(value: object) -> object:
    """*value* as a cell of a table, which may have several lines."""
    cell = _cell(value)
    if not isinstance(cell, str):
        return cell
    return "\n".join(map(printable, cell.splitlines()))


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, Mapping) else value


def printable(text: str) -> str:
    """*text* without the control characters that could steer a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)
