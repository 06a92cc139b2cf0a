"""``check``: what is wrong in a database, and mending it."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict
from pathlib import Path

import click

from datasette_embeddings import similarities, sources, store
from datasette_embeddings.cli.base import (
    Command,
    database_argument,
    error_text,
    format_option,
    verbose_option,
    write,
)
from datasette_embeddings.cli.embed import SOME_FAILED, embedded
from datasette_embeddings.cli.settings import config_in, metadata_option
from datasette_embeddings.config import Config
from datasette_embeddings.databases import open_database
from datasette_embeddings.ingest import IngestOptions, Report
from datasette_embeddings.ingest.checking import problems, remove_what_is_wrong
from datasette_embeddings.ingest.syncing import sync


@click.command(cls=Command, short_help="Find and fix what is wrong.")
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
    if not found and output_format is None:
        click.echo(f"{database}: nothing is wrong", err=True)
    write([asdict(problem) for problem in found], output_format or "table")
    if found:
        ctx.exit(SOME_FAILED)


def _mend(ctx: click.Context, conn: sqlite3.Connection, config: Config) -> None:
    remove_what_is_wrong(conn)

    def work(name: str, source: sources.ReadableSource, model_id: str | None) -> Report:
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
            similarities.refresh(conn, store.collection(conn, outcome.collection))
        if outcome.problem is not None:
            said = error_text(ctx, outcome.problem)
            click.echo(f"Error: {outcome.collection}: {said}", err=True)
