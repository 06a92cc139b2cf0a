"""What a run did, for people and for scripts."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from datasette_embeddings.formats import printable
from datasette_embeddings.ingest.report import Report


def report_row(collection: str, report: Report) -> dict[str, Any]:
    """*report* as a script reads it."""
    failures = [{"id": each.id, "error": each.error} for each in report.failures]
    return {"collection": collection, **asdict(report), "failures": failures}


def report_line(collection: str, report: Report) -> str:
    """What an ingest did, or a dry run would do, in one line."""
    parts = [
        f"{report.new:,} new",
        f"{report.changed:,} changed",
        f"{report.unchanged:,} unchanged",
    ]
    if report.metadata:
        parts.append(f"{report.metadata:,} with other metadata only")
    if report.empty:
        parts.append(f"{report.empty:,} without content, not embedded")
    if report.failed:
        again = "" if report.is_dry_run else "; the next run tries again"
        parts.append(f"{report.failed:,} failed{again}")
    if report.chunks:
        parts.append(f"{report.chunks:,} chunks")
    if report.truncated:
        parts.append(
            f"{report.truncated:,} cut to the model's length (--chunk splits them)"
        )
    if report.gone:
        parts.append(f"{report.gone:,} gone from the source ({_fate(report)})")
    if report.replaced:
        fate = "to be deleted" if report.is_dry_run else "deleted"
        parts.append(f"{report.replaced:,} of the replaced source ({fate})")
    if report.estimated_s is not None:
        parts.append(f"about {_about(report.estimated_s)} of embedding")
    would = "would be: " if report.is_dry_run else ""
    return f"{collection}: {would}{', '.join(parts)}"


def _fate(report: Report) -> str:
    if report.unread:
        return "kept: they may be the rows that could not be read"
    if not report.pruned:
        return "kept: --prune deletes them"
    return "to be deleted" if report.is_dry_run else "deleted"


def _about(time_s: float) -> str:
    if time_s < 90:
        return f"{time_s:.0f} s"
    return f"{time_s / 60:.0f} min" if time_s < 5_400 else f"{time_s / 3_600:.1f} h"


def show_report(collection: str, report: Report, output_format: str | None) -> None:
    """Print *report*, and the first of the rows that failed."""
    if output_format is not None:
        click.echo(json.dumps(report_row(collection, report), ensure_ascii=False))
        return
    click.echo(report_line(collection, report), err=True)
    for failure in report.failures:
        click.echo(f"  {printable(failure.id)}: {printable(failure.error)}", err=True)
    more = report.failed - len(report.failures)
    if more > 0:
        click.echo(f"  … and {more:,} more: datasette embeddings check", err=True)
