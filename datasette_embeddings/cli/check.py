"""``check``: what is wrong in a database, and mending it."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict
from pathlib import Path

import click

from datasette_embeddings.cli.base import database_argument, format_option, write
from datasette_embeddings.cli.collections import moment_of, source_line
from datasette_embeddings.cli.embed import SOME_FAILED, embedded
from datasette_embeddings.cli.groups import Command, error_text, verbose_option
from datasette_embeddings.cli.settings import config_in, metadata_option
from datasette_embeddings.config import Config
from datasette_embeddings.databases import open_database
from datasette_embeddings.formats import printable
from datasette_embeddings.ingest.checking import (
    problems,
    remove_what_is_mended,
    remove_what_is_wrong,
)
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.ingest.syncing import sync
from datasette_embeddings.similarities.refreshing import refresh
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.store import catalog
from datasette_embeddings.store.catalog import collections
from datasette_embeddings.store.collection_sources import CollectionSource, SourceState
from datasette_embeddings.store.origins import count_items_of_sources


@click.command(cls=Command)
@database_argument
@click.option(
    "--fix",
    is_flag=True,
    help="Delete what belongs nowhere, and sync what is not as its source.",
)
@metadata_option
@format_option
@verbose_option
@click.pass_context
def check(
    ctx: click.Context,
    database: Path,
    output_format: str | None,
    *,
    fix: bool,
    metadata: Path | None,
) -> None:
    """Find what is wrong: orphans, mixed dimensions, stale and failed items.

    \b
        datasette embeddings check docs.db
        datasette embeddings check docs.db --fix

    The exit code is 2 if something is wrong, and still is after --fix.
    """
    with open_database(database, writable=fix) as conn:
        found = list(problems(conn))
        if fix and found:
            _mend(ctx, conn, config_in(metadata))
            found = list(problems(conn))
        if output_format is None:
            _show_sources(conn)
    if not found and output_format is None:
        click.echo(f"{database}: nothing is wrong", err=True)
    else:
        write([asdict(problem) for problem in found], output_format or "table")
    if found:
        ctx.exit(SOME_FAILED)


def _show_sources(conn: sqlite3.Connection) -> None:
    """Print where the items of each collection come from."""
    for collection in collections(conn):
        counts = count_items_of_sources(collection)
        parts = [
            f"{_items(counts.get(each.id, 0))} of {source_line(each)} ({_synced(each)})"
            for each in collection.current_sources
        ]
        replaced = sum(
            counts.get(each.id, 0)
            for each in collection.sources_that_are(SourceState.REPLACED)
        )
        if replaced:
            parts.append(f"{_items(replaced)} of a source that was replaced")
        if counts.get(None):
            parts.append(f"{_items(counts[None])} of no source")
        click.echo(printable(f"{collection.name}: {', '.join(parts)}"), err=True)


def _items(count: int) -> str:
    return "1 item" if count == 1 else f"{count:,} items"


def _synced(each: CollectionSource) -> str:
    moment = moment_of(each.synced)
    return "not synced yet" if moment is None else f"synced {moment}"


def _mend(ctx: click.Context, conn: sqlite3.Connection, config: Config) -> None:
    remove_what_is_wrong(conn)

    def work(name: str, source: Source, model_id: str | None) -> Report:
        return embedded(
            conn,
            name,
            source,
            model_id=model_id,
            options=IngestOptions(prune=True),
            silent=True,
            output_format=None,
            config=config,
        )

    for outcome in sync(conn, {}, work):
        if outcome.skipped:
            refresh(catalog.collection(conn, outcome.collection))
        if outcome.problem is not None:
            said = error_text(ctx, outcome.problem)
            click.echo(f"Error: {printable(outcome.collection)}: {said}", err=True)
    remove_what_is_mended(conn)
