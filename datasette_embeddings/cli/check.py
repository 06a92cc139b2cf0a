"""``check``: problems in a database, and fixing them."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from datasette_embeddings.cli.commands import Command, error_text
from datasette_embeddings.cli.embed import SOME_FAILED, embed_source
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
from datasette_embeddings.store import collections

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
    if not found and output_format is None:
        click.echo(f"{database}: nothing is wrong", err=True)
    else:
        write([asdict(problem) for problem in found], output_format or "table")
    if found:
        ctx.exit(SOME_FAILED)


def _fix(ctx: click.Context, conn: sqlite3.Connection, config: Config) -> None:
    delete_inconsistent_rows(conn)
    embed = partial(embed_source, conn, config, IngestOptions(prune=True))
    for outcome in sync(conn, {}, embed):
        if outcome.skipped:
            refresh(collections.collection(conn, outcome.collection))
        if outcome.error is not None:
            reason = error_text(ctx, outcome.error)
            click.echo(f"Error: {printable(outcome.collection)}: {reason}", err=True)
    delete_replaced_rows(conn)
