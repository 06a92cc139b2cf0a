"""``sync``: every collection of a database brought up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from datasette_embeddings.cli.commands import Command, error_text
from datasette_embeddings.cli.embed import SOME_FAILED, Run, check_options
from datasette_embeddings.cli.options import RUN_OPTIONS, database_argument
from datasette_embeddings.cli.output import printable, show_report
from datasette_embeddings.cli.settings import settings_for
from datasette_embeddings.databases import open_database
from datasette_embeddings.ingest import sync as syncing
from datasette_embeddings.ingest.run import IngestOptions
from datasette_embeddings.ingest.sync import SyncOutcome
from datasette_embeddings.similarities.refreshing import refresh
from datasette_embeddings.store.collections import collection


@click.command(cls=Command, sections={"This run": RUN_OPTIONS})
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
    check_options(options)
    config, declared = settings_for(config_file, database)
    writable = not options.dry_run
    create = writable and any(each.input or each.files for each in declared.values())
    outcomes: list[SyncOutcome] = []
    with open_database(database, writable=writable, create=create) as conn:
        run = Run(conn, config, options, silent, output_format)
        for outcome in syncing.sync(conn, declared, run.embed, only=collections):
            if outcome.skipped and writable:
                # llm or a pipe may have written rows
                refresh(collection(conn, outcome.collection))
            _show_outcome(ctx, outcome, output_format)
            outcomes.append(outcome)
    if not outcomes:
        click.echo(f"{database} has no collections, and none is declared", err=True)
    if any(each.error for each in outcomes):
        ctx.exit(1)
    if any(each.report and each.report.failed for each in outcomes):
        ctx.exit(SOME_FAILED)


def _show_outcome(
    ctx: click.Context, outcome: SyncOutcome, output_format: str | None
) -> None:
    name = printable(outcome.collection)
    if outcome.prefix is not None:
        name = f"{name} (prefix {printable(outcome.prefix)!r})"
    if outcome.report is not None:
        label = name if output_format is None else outcome.collection
        show_report(label, outcome.report, output_format)
    elif outcome.skipped:
        click.echo(f"{name}: left as it is: {outcome.skipped}", err=True)
    elif outcome.error is not None:
        click.echo(f"Error: {name}: {error_text(ctx, outcome.error)}", err=True)
