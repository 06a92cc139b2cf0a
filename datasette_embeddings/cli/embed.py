"""``embed``: rows into a collection."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from datasette_embeddings.cli.commands import Command
from datasette_embeddings.cli.options import (
    RUN_OPTIONS,
    SOURCE_OPTIONS,
    collection_argument,
    database_argument,
    flag,
)
from datasette_embeddings.cli.output import progress, show_report
from datasette_embeddings.cli.settings import config_in, fetched_model
from datasette_embeddings.config import CollectionConfig, Config, SimilaritySettings
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInputError, SourceUnavailableError
from datasette_embeddings.ingest.run import IngestOptions, Report, ingest
from datasette_embeddings.ingest.sync import stored_sources
from datasette_embeddings.sources.definitions import ROWID, Source, TableSource
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.store.collections import find_collection

# The exit code of a run that went through, but for some rows
SOME_FAILED = 2
PRUNE = flag("--prune", "Delete items whose source row was deleted.")


@dataclass(frozen=True)
class Run:
    """How ``embed``, ``sync`` or ``check --fix`` embeds rows of a database."""

    conn: sqlite3.Connection
    config: Config
    options: IngestOptions
    silent: bool = True
    output_format: str | None = None

    def embed(
        self, name: str, source: Source, declared: CollectionConfig | None = None
    ) -> Report:
        """Embed *source* into the collection *name*, with model and similarities.

        Those are *declared*, or else what the collection has.
        """
        config, declared = self.config, declared or CollectionConfig()
        is_rowid = isinstance(source, TableSource) and source.key_columns == (ROWID,)
        if is_rowid and self.output_format is None:
            click.echo(
                f"Note: {source.description} has no primary key, so its rowid is the "
                "item id; VACUUM can renumber it. Name a column with --id to be safe",
                err=True,
            )
        existing, model_id = find_collection(self.conn, name), declared.model
        if model_id is None and existing is not None:
            model_id = existing.model_id
            config = replace(config, models=existing.located_models(config.models))
        model = fetched_model(model_id or config.default_model, config)
        with progress(name, silent=self.silent, output_format=self.output_format) as (
            start,
            advance,
        ):
            options = replace(
                self.options,
                start=start,
                progress=advance,
                similarities=declared.similarities,
            )
            return ingest(self.conn, name, source, model, options=options)


@click.command(
    cls=Command, sections={**SOURCE_OPTIONS, "This run": (PRUNE, *RUN_OPTIONS)}
)
@database_argument
@collection_argument
@click.argument("input", required=False)
@click.pass_context
def embed(
    ctx: click.Context,
    /,
    database: Path,
    collection: str,
    *,
    output_format: str | None,
    silent: bool,
    config_file: Path | None,
    **given: Any,  # noqa: ANN401 - the fields of CollectionConfig and IngestOptions
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
    if given["similarities"] is not None:
        given["similarities"] = SimilaritySettings(given["similarities"])
    names = {field.name for field in fields(CollectionConfig)} & given.keys()
    declared = CollectionConfig(**{name: given.pop(name) for name in names})
    options = IngestOptions(**given)
    check_options(options)
    writable = not options.dry_run
    # Rows of a file need no database that exists already
    create = writable and bool(declared.input or declared.files)
    has_failed = False
    with open_database(database, writable=writable, create=create) as conn:
        run = Run(conn, config_in(config_file), options, silent, output_format)
        for source in _sources(conn, collection, declared):
            report = run.embed(collection, source, declared)
            show_report(collection, report, output_format)
            has_failed = has_failed or report.failed > 0
    if has_failed:
        ctx.exit(SOME_FAILED)


def check_options(options: IngestOptions) -> None:
    """Nothing, if these go together.

    :raises InvalidInputError: for a part of a collection that would replace the whole.
    """
    if options.limit is not None and (options.rebuild or options.replace_source):
        other = "--rebuild" if options.rebuild else "--replace"
        raise InvalidInputError(
            f"Expected --limit or {other}, found both: a part would replace the whole. "
            "Try a few rows under another collection name"
        )


def _sources(
    conn: sqlite3.Connection, name: str, declared: CollectionConfig
) -> list[Source]:
    """The source that the options name, or else those of the collection."""
    source = source_from_config(conn, declared)
    if source is not None:
        return [source]
    expected = "Expected --table, --sql, --files or an input file"
    existing = find_collection(conn, name)
    if (
        existing is None
        or replace(declared, model=None, similarities=None) != CollectionConfig()
    ):
        raise InvalidInputError(f"{expected}, to say what to embed")
    try:
        return stored_sources(existing)
    except SourceUnavailableError as reason:
        raise InvalidInputError(
            f"{expected} to embed into {name!r}: {reason}"
        ) from reason
