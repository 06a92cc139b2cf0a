"""``sync``: every collection of a database, brought up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from datasette_embeddings.cli.commands import Command, error_text
from datasette_embeddings.cli.embed import embed_source
from datasette_embeddings.cli.options import RUN_OPTIONS, SUMMARY, database_argument
from datasette_embeddings.cli.output import (
    SOME_FAILED,
    advise_on_clusters,
    printable,
    show_report,
)
from datasette_embeddings.cli.settings import config_in
from datasette_embeddings.config import Config
from datasette_embeddings.databases import open_database
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.ingest.refreshing import refresh
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.sync import SyncOutcome
from datasette_embeddings.ingest.sync import sync as sync_all
from datasette_embeddings.ingest.words import index_words
from datasette_embeddings.store.collections import collection as collection_named
from datasette_embeddings.store.collections import current


@click.command(cls=Command, sections={"This run": (SUMMARY, *RUN_OPTIONS)})
@database_argument
@click.argument("collections", nargs=-1, metavar="[COLLECTION]...")
@click.pass_context
def sync(
    ctx: click.Context,
    /,
    database: Path,
    collections: tuple[str, ...],
    *,
    output_format: str | None,
    silent: bool,
    config_file: Path | None,
    **given: Any,  # noqa: ANN401 - the fields of IngestOptions
) -> None:
    """Bring every collection up to date: new, changed and deleted rows.

    These are the collections that the settings declare, and those whose sources the
    database stores; with names, only these. Items of no source are kept. A declared
    source that differs from the stored one is an error without --replace.

    \b
        datasette embeddings sync docs.db
        datasette embeddings sync docs.db --config metadata.yml --dry-run

    The exit code is 1 if a collection could not be brought up to date, 2 if some rows
    could not be embedded.
    """
    options = IngestOptions(prune=True, **given)
    config = config_in(config_file, database)
    indexes.configure(config)
    writable = not options.dry_run
    create = writable and declares_files(config)
    with open_database(database, writable=writable, create=create) as conn:
        outcomes = sync_collections(
            ctx, conn, config, options, collections, silent, output_format
        )
    if not outcomes:
        click.echo(f"{database} has no collections, and none is declared", err=True)
    if any(each.error for each in outcomes):
        ctx.exit(1)
    if any(each.report and each.report.failed for each in outcomes):
        ctx.exit(SOME_FAILED)


def declares_files(config: Config) -> bool:
    """Whether a database could be made from files that *config* declares alone."""
    return any(each.input or each.files for each in config.collections.values())


def sync_collections(
    ctx: click.Context,
    conn: sqlite3.Connection,
    config: Config,
    options: IngestOptions,
    only: Sequence[str] = (),
    silent: bool = True,
    output_format: str | None = None,
) -> list[SyncOutcome]:
    """Bring collections up to date, *only* these if given, and print each outcome."""
    outcomes = []
    for outcome in synced(conn, config, options, only, silent=silent):
        outcomes.append(outcome)
        if outcome.report is not None:
            label = label_of(outcome) if output_format is None else outcome.collection
            show_report(label, outcome.report, output_format)
        else:
            click.echo(problem_line(ctx, outcome), err=True)
    return outcomes


def synced(
    conn: sqlite3.Connection,
    config: Config,
    options: IngestOptions,
    only: Sequence[str] = (),
    *,
    silent: bool = True,
) -> Iterator[SyncOutcome]:
    """Bring collections up to date, *only* these if given: each outcome."""
    run = partial(embed_source, conn, config, options, silent=silent)
    for outcome in sync_all(conn, config.collections, run, only=only):
        if outcome.skipped is not None and not options.dry_run:
            # llm or a pipe may have written rows
            skipped = collection_named(conn, outcome.collection)
            index_words(skipped)
            refresh(skipped)
            indexes.save(current(skipped))
            advise_on_clusters(current(skipped))
        yield outcome


def label_of(outcome: SyncOutcome) -> str:
    """The name of the collection, with the prefix of the source if it has several."""
    name = printable(outcome.collection)
    if outcome.prefix is None:
        return name
    return f"{name} (prefix {printable(outcome.prefix)!r})"


def problem_line(ctx: click.Context, outcome: SyncOutcome) -> str:
    """Why there is no report of *outcome*."""
    if outcome.error is not None:
        return f"Error: {label_of(outcome)}: {error_text(ctx, outcome.error)}"
    return f"{label_of(outcome)}: left as it is: {outcome.skipped}"
