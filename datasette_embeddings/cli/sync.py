"""``sync``: every collection of a database brought up to date."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from datasette_embeddings.cli.base import database_argument
from datasette_embeddings.cli.embed import (
    SOME_FAILED,
    check_options,
    dry_run_option,
    embedded,
    limit_rows_option,
    rebuild_option,
    replace_option,
    silent_option,
    summary_option,
)
from datasette_embeddings.cli.groups import Command, error_text, verbose_option
from datasette_embeddings.cli.reports import show_report
from datasette_embeddings.cli.settings import metadata_option, settings_for
from datasette_embeddings.databases import open_database
from datasette_embeddings.formats import printable
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.ingest.syncing import SyncOutcome
from datasette_embeddings.ingest.syncing import sync as synced
from datasette_embeddings.similarities.refreshing import refresh
from datasette_embeddings.sources.definitions import Source
from datasette_embeddings.store.catalog import collection


@click.command(cls=Command)
@database_argument
@click.argument("collections", nargs=-1, metavar="[COLLECTION]...")
@metadata_option
@limit_rows_option
@dry_run_option
@rebuild_option
@replace_option
@summary_option
@silent_option
@verbose_option
@click.pass_context
def sync(
    ctx: click.Context,
    /,
    database: Path,
    collections: tuple[str, ...],
    metadata: Path | None,
    output_format: str | None,
    *,
    silent: bool,
    **asked: Any,  # noqa: ANN401 - the fields of IngestOptions
) -> None:
    """Bring every collection up to date: new, changed and deleted rows.

    Those that the configuration declares, and those that the database remembers the
    sources of; with names, only these. Items of no source are kept. A declared source
    that differs from the remembered one is an error without --replace.

    \b
        datasette embeddings sync docs.db
        datasette embeddings sync docs.db -m metadata.yml --dry-run

    The exit code is 1 if a collection could not be brought up to date, 2 if some rows
    could not be embedded.
    """
    options = IngestOptions(prune=True, **asked)
    check_options(options)
    settings, declared = settings_for(metadata, database)
    outcomes: list[SyncOutcome] = []
    create = any(each.input or each.files for each in declared.values())
    writable = not options.dry_run
    with open_database(database, writable=writable, create=create and writable) as conn:

        def work(name: str, source: Source, model_id: str | None) -> Report:
            related = declared[name].similarities if name in declared else None
            return embedded(
                conn,
                name,
                source,
                model_id=model_id,
                options=replace(options, similarities=related),
                silent=silent,
                output_format=output_format,
                config=settings,
            )

        for outcome in synced(conn, declared, work, only=collections):
            if outcome.skipped and writable:
                # llm, or a pipe, may have brought rows of its own
                refresh(collection(conn, outcome.collection))
            _show_outcome(ctx, outcome, output_format)
            outcomes.append(outcome)
    if not outcomes:
        click.echo(f"{database} has no collections, and none is declared", err=True)
    if any(each.problem for each in outcomes):
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
    elif outcome.problem is not None:
        click.echo(f"Error: {name}: {error_text(ctx, outcome.problem)}", err=True)
