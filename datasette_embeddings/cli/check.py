"""``check``: problems in a database, and fixing them."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict
from pathlib import Path

import click

from datasette_embeddings.cli.collections import iso_time, source_line
from datasette_embeddings.cli.commands import Command, error_text
from datasette_embeddings.cli.embed import SOME_FAILED, Run
from datasette_embeddings.cli.options import CONFIG, FORMAT, database_argument, flag
from datasette_embeddings.cli.output import printable, write
from datasette_embeddings.cli.settings import config_in
from datasette_embeddings.config import Config
from datasette_embeddings.databases import open_database
from datasette_embeddings.ingest.check import (
    delete_inconsistent_rows,
    delete_replaced_rows,
    problems,
)
from datasette_embeddings.ingest.run import IngestOptions
from datasette_embeddings.ingest.sync import sync
from datasette_embeddings.similarities.refreshing import refresh
from datasette_embeddings.sources.definitions import SourceState
from datasette_embeddings.store import collections
from datasette_embeddings.store.origins import count_items_of_sources

FIX = flag("--fix", "Delete orphaned rows, and sync what is not current.")


@click.command(cls=Command, options=(FIX, CONFIG, FORMAT))
@database_argument
@click.pass_context
def check(
    ctx: click.Context,
    database: Path,
    output_format: str | None,
    *,
    fix: bool,
    config_file: Path | None,
) -> None:
    """Find problems: orphans, mixed dimensions, stale and failed items.

    \b
        datasette embeddings check docs.db
        datasette embeddings check docs.db --fix

    The exit code is 2 if there are problems; with --fix, if some remain.
    """
    with open_database(database, writable=fix) as conn:
        found = list(problems(conn))
        if fix and found:
            _fix(ctx, conn, config_in(config_file))
            found = list(problems(conn))
        if output_format is None:
            _show_sources(conn)
    if not found and output_format is None:
        click.echo(f"{database}: nothing is wrong", err=True)
    else:
        write([asdict(problem) for problem in found], output_format or "table")
    if found:
        ctx.exit(SOME_FAILED)


def _fix(ctx: click.Context, conn: sqlite3.Connection, config: Config) -> None:
    delete_inconsistent_rows(conn)
    run = Run(conn, config, IngestOptions(prune=True))
    for outcome in sync(conn, {}, run.embed):
        if outcome.skipped:
            refresh(collections.collection(conn, outcome.collection))
        if outcome.error is not None:
            reason = error_text(ctx, outcome.error)
            click.echo(f"Error: {printable(outcome.collection)}: {reason}", err=True)
    delete_replaced_rows(conn)


def _show_sources(conn: sqlite3.Connection) -> None:
    """Print where the items of each collection come from."""
    for collection in collections.collections(conn):
        counts = count_items_of_sources(collection)
        parts = []
        for each in collection.current_sources:
            synced = (
                f"synced {iso_time(each.synced)}" if each.synced else "not synced yet"
            )
            parts.append(f"{_items(counts, each.id)} of {source_line(each)} ({synced})")
        replaced = [
            each.id for each in collection.sources if each.state is SourceState.REPLACED
        ]
        if any(map(counts.get, replaced)):
            items = _items(counts, *replaced)
            parts.append(f"{items} of a source that was replaced")
        if counts.get(None):
            parts.append(f"{_items(counts, None)} of no source")
        click.echo(printable(f"{collection.name}: {', '.join(parts)}"), err=True)


def _items(counts: dict[int | None, int], *source_ids: int | None) -> str:
    count = sum(counts.get(each, 0) for each in source_ids)
    return "1 item" if count == 1 else f"{count:,} items"
