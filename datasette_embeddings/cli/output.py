"""What commands print: rows in four formats, progress, and the report of a run."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeAlias

import click

from datasette_embeddings.clusters.refreshing import advice
from datasette_embeddings.ingest.report import Report
from datasette_embeddings.sources.file_kinds import described
from datasette_embeddings.store.collections import StoredCollection

Row: TypeAlias = Mapping[str, object]

# The exit code of a run that went through, but for some rows
SOME_FAILED = 2
FORMATS = ("nl", "json", "csv", "table")


def write(rows: Sequence[Row], output_format: str) -> None:
    """Print *rows* in one of :data:`FORMATS`."""
    if output_format == "nl":
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
    elif output_format == "json":
        click.echo(json.dumps(list(rows), ensure_ascii=False, indent=2))
    elif output_format == "table":
        from tabulate import tabulate

        shown = [{key: _shown(value) for key, value in row.items()} for row in rows]
        click.echo(tabulate(shown, headers="keys"))
    elif rows:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _cell(row[key]) for key in row} for row in rows)
        click.echo(buffer.getvalue(), nl=False)


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, Mapping) else value


def _shown(value: object) -> object:
    """*value* as a cell of a table, which may have several lines."""
    cell = _cell(value)
    if not isinstance(cell, str):
        return cell
    return "\n".join(map(printable, cell.splitlines()))


def printable(text: str) -> str:
    """*text* without the control characters that could steer a terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def writable(text: str) -> str:
    """*text* without half surrogate pairs, which UTF-8 does not have."""
    return text.encode("utf-8", "replace").decode("utf-8")


@contextmanager
def progress(
    label: str, *, silent: bool, unit: str = " rows"
) -> Iterator[dict[str, Any]]:
    """The callbacks *start* and *progress* of a run: a bar on stderr, if a terminal."""
    from tqdm import tqdm

    # disable=None: only on a terminal.  The rows have a total, then their similarities
    # No smoothing: long texts come first in each window, so that its speed grows
    with tqdm(
        desc=label, unit=unit, leave=False, disable=silent or None, smoothing=0
    ) as bar:
        yield {"start": bar.reset, "progress": bar.update}


def advise_on_clusters(collection: StoredCollection) -> None:
    """Say so if the clusters of *collection* are outdated."""
    line = advice(collection)
    if line is not None:
        click.echo(line, err=True)


def show_report(collection: str, report: Report, output_format: str | None) -> None:
    """Print *report*, and the first of the rows that failed."""
    if output_format is not None:
        failures = [{"id": each.id, "error": each.error} for each in report.failures]
        row = {"collection": collection, **asdict(report), "failures": failures}
        click.echo(json.dumps(row, ensure_ascii=False))
        return
    click.echo(report_line(collection, report), err=True)
    if report.advice is not None:
        click.echo(report.advice, err=True)
    if report.left_out:
        click.echo(f"  left out: {described(report.left_out)}", err=True)
    if report.failed:
        click.echo("\n".join(failure_lines(report)), err=True)


def failure_lines(report: Report) -> Iterator[str]:
    """The first of the rows that failed, a line for each, and how many more did."""
    for failure in report.failures:
        yield f"  {printable(failure.id)}: {printable(failure.error)}"
    more = report.failed - len(report.failures)
    if more > 0:
        yield f"  … and {more:,} more: datasette embeddings check"


def report_line(collection: str, report: Report) -> str:
    """What an ingest did, or a dry run would do, in one line."""
    deletion = "to be deleted" if report.is_dry_run else "deleted"
    if report.unread:
        fate = "kept: they may be the rows that could not be read"
    else:
        fate = deletion if report.pruned else "kept: --prune deletes them"
    again = "" if report.is_dry_run else "; the next run tries again"
    parts = [
        f"{report.new:,} new",
        f"{report.changed:,} changed",
        f"{report.unchanged:,} unchanged",
    ]
    parts += [
        f"{count:,} {text}"
        for count, text in (
            (report.metadata, "with other metadata only"),
            (report.empty, "without content, not embedded"),
            (report.failed, f"failed{again}"),
            (report.chunks, "chunks"),
            (report.truncated, "cut to the model's length (--chunk splits them)"),
            (report.gone, f"no longer in the source ({fate})"),
            (report.replaced, f"of the replaced source ({deletion})"),
        )
        if count
    ]
    would = "would be: " if report.is_dry_run else ""
    return f"{collection}: {would}{', '.join(parts)}"
