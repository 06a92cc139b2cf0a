"""``embed``: rows into a collection."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from datasette_embeddings.cli.base import database_argument, fetched_model, progress
from datasette_embeddings.cli.groups import Command, verbose_option
from datasette_embeddings.cli.options import SECTIONS, declared, source_options
from datasette_embeddings.cli.reports import show_report
from datasette_embeddings.cli.settings import config_in, config_option
from datasette_embeddings.config import CollectionConfig, Config
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.ingest.syncing import remembered_sources
from datasette_embeddings.sources.definitions import ROWID, Source, TableSource
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.sources.row_files import FORMATS
from datasette_embeddings.store.catalog import find_collection, models_of

#: Options that have the names of fields of IngestOptions
RUN_OPTIONS = ("prune", "limit", "dry_run", "rebuild", "replace_source")
# The exit code of a run that went through, but for some rows
SOME_FAILED = 2


class _Summary(click.Choice):  # type: ignore[type-arg]  # click 8.1 takes none
    """The format of the summary, easily mistaken for that of the rows."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as click has it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        if value in FORMATS and value not in self.choices:
            self.fail(
                f"Expected json, found {value!r}; for the format of INPUT use "
                f"--input-format {value}",
                param,
                ctx,
            )
        converted: str = super().convert(value, param, ctx)
        return converted


limit_rows_option = click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Take only the first so many rows, to try it.",
)
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be done, and write nothing."
)
rebuild_option = click.option(
    "--rebuild",
    is_flag=True,
    help="Make the collection anew beside the old, and swap it in when it is whole.",
)
replace_option = click.option(
    "replace_source",
    "--replace",
    is_flag=True,
    help="Replace another source, and delete the items that only that one had.",
)
summary_option = click.option(
    "output_format",
    "--format",
    type=_Summary(["json"]),
    help="Summary on stdout and progress on stderr as JSON, an object a line.",
)
silent_option = click.option("--silent", is_flag=True, help="No progress bar.")


@click.command(cls=Command, sections=SECTIONS)
@database_argument
@click.argument("collection")
@click.argument("input", required=False)
@source_options
@config_option
@click.option("--prune", is_flag=True, help="Delete items whose source row is gone.")
@limit_rows_option
@dry_run_option
@rebuild_option
@replace_option
@summary_option
@silent_option
@verbose_option
@click.pass_context
def embed(
    ctx: click.Context,
    /,
    database: Path,
    collection: str,
    *,
    output_format: str | None,
    silent: bool,
    **given: Any,  # noqa: ANN401 - whatever source_options adds
) -> None:
    """Embed rows into COLLECTION, skipping those that have not changed.

    They come from a table, a query, files, or INPUT: a CSV, TSV, JSON or
    newline-delimited JSON file, or - for standard input. Without any of these, the
    sources of the collection are read again.

    A collection has one source for each --prefix; a different one is an error
    without --replace. Items from standard input belong to no source, and no run
    deletes them.

    \b
        datasette embeddings embed docs.db articles --table articles -c title -c body
        datasette embeddings embed docs.db recent \\
          --sql "select id, title, body from articles where year > 2020"
        datasette embeddings embed docs.db notes --files ~/notes '**/*.md' \\
          --chunk markdown
        symbex '*.*' --nl | datasette embeddings embed code.db functions -

    The exit code is 2 if some rows could not be embedded.
    """
    config = declared(given)
    settings = config_in(given["metadata_file"])
    asked = {name: given[name] for name in RUN_OPTIONS}
    options = IngestOptions(**asked, similarities=config.similarities)
    check_options(options)
    # Rows of a file need no database that is there already
    create = bool(config.input or config.files) and not options.dry_run
    writable = not options.dry_run
    with open_database(database, writable=writable, create=create) as conn:
        reports = []
        for source in _sources(conn, collection, config):
            report = embedded(
                conn,
                collection,
                source,
                model_id=config.model,
                options=options,
                silent=silent,
                output_format=output_format,
                config=settings,
            )
            show_report(collection, report, output_format)
            reports.append(report)
    if any(report.failed for report in reports):
        ctx.exit(SOME_FAILED)


def check_options(options: IngestOptions) -> None:
    """Nothing, if these go together.

    :raises InvalidInputError: for a part of a collection that would replace the whole.
    """
    if options.limit is not None and (options.rebuild or options.replace_source):
        other = "--rebuild" if options.rebuild else "--replace"
        raise InvalidInputError(
            f"Expected --limit or {other}, found both: a part would take the place of "
            "the whole. Try a few rows under another collection name"
        )


def embedded(
    conn: sqlite3.Connection,
    collection: str,
    source: Source,
    *,
    model_id: str | None,
    options: IngestOptions,
    silent: bool,
    output_format: str | None,
    config: Config = Config(),
) -> Report:
    """The report of an ingest that shows its progress."""
    if isinstance(source, TableSource) and output_format is None:
        _warn_of_rowid(source)
    existing = find_collection(conn, collection)
    if model_id is None and existing is not None:
        model_id = existing.model_id
        config = replace(config, models=models_of(existing, config.models))
    model = fetched_model(model_id or config.default_model, config)
    with progress(collection, silent=silent, output_format=output_format) as steps:
        start, advance = steps
        options = replace(options, start=start, progress=advance)
        return ingest(conn, collection, source, model, options=options)


def _sources(
    conn: sqlite3.Connection, collection: str, config: CollectionConfig
) -> list[Source]:
    source = source_from_config(conn, config)
    if source is not None:
        return [source]
    existing = find_collection(conn, collection)
    says_how = replace(config, model=None, similarities=None) != CollectionConfig()
    if existing is None or says_how:
        raise InvalidInputError(
            "Expected --table, --sql, --files or an input file, to say what to embed"
        )
    try:
        return remembered_sources(existing)
    except InvalidInputError as reason:
        raise InvalidInputError(
            f"Expected --table, --sql, --files or an input file to embed into "
            f"{collection!r}: {reason}"
        ) from reason


def _warn_of_rowid(source: TableSource) -> None:
    if source.key_columns == (ROWID,):
        click.echo(
            f"Note: the table {source.table!r} has no primary key, so its rowid is the "
            "item id; VACUUM can renumber it. Name a column with --id to be safe",
            err=True,
        )
