"""``embed`` and ``sync``: rows into collections."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from datasette_embeddings.cli.commands import Command, error_text
from datasette_embeddings.cli.options import (
    RUN_OPTIONS,
    SOURCE_OPTIONS,
    collection_argument,
    database_argument,
    flag,
)
from datasette_embeddings.cli.output import printable, progress, show_report
from datasette_embeddings.cli.settings import config_in, fetched_model
from datasette_embeddings.config import CollectionConfig, Config, SimilaritySettings
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInputError, SourceUnavailableError
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.ingest.run import IngestOptions, Report, ingest
from datasette_embeddings.ingest.sync import SyncOutcome, stored_sources
from datasette_embeddings.ingest.sync import sync as sync_all
from datasette_embeddings.ingest.words import index_words
from datasette_embeddings.similarities.refreshing import refresh
from datasette_embeddings.sources.definitions import ROWID, Source, TableSource
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.store.collections import collection as collection_named
from datasette_embeddings.store.collections import current, find_collection

# The exit code of a run that went through, but for some rows
SOME_FAILED = 2
PRUNE = flag("--prune", "Delete items whose source row was deleted.")


def embed_source(
    conn: sqlite3.Connection,
    config: Config,
    options: IngestOptions,
    name: str,
    source: Source,
    declared: CollectionConfig | None = None,
    *,
    silent: bool = True,
) -> Report:
    """Embed *source* into the collection *name*, with a progress bar unless *silent*.

    Its model and similarities are those *declared*, or else those that it has.
    """
    if options.limit is not None and (options.rebuild or options.replace_source):
        other = "--rebuild" if options.rebuild else "--replace"
        raise InvalidInputError(
            f"Expected --limit or {other}, found both: a part would replace the "
            "whole. Try a few rows under another collection name"
        )
    if isinstance(source, TableSource) and source.key_columns == (ROWID,):
        click.echo(
            f"Note: {source.description} has no primary key, so its rowid is the "
            "item id; VACUUM can renumber it. embed --id names another column",
            err=True,
        )
    declared = declared or CollectionConfig()
    existing, model_id = find_collection(conn, name), declared.model
    if model_id is None and existing is not None:
        model_id = existing.model_id
        config = replace(config, models=existing.located_models(config.models))
    model = fetched_model(model_id or config.default_model, config)
    with progress(name, silent=silent) as callbacks:
        options = replace(
            options,
            similarities=declared.similarities,
            words=declared.words,
            **callbacks,
        )
        return ingest(conn, name, source, model, options=options)


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
    writable = not options.dry_run
    # Rows of a file need no database that exists already
    create = writable and bool(declared.input or declared.files)
    config = config_in(config_file)
    if config_file is not None:
        indexes.configure(config)
    has_failed = False
    with open_database(database, writable=writable, create=create) as conn:
        sources = _sources(conn, collection, declared)
        if not sources and not options.dry_run:
            index_words(collection_named(conn, collection), declared.words)
        for source in sources:
            report = embed_source(
                conn, config, options, collection, source, declared, silent=silent
            )
            show_report(collection, report, output_format)
            has_failed = has_failed or report.failed > 0
    if has_failed:
        ctx.exit(SOME_FAILED)


def _sources(
    conn: sqlite3.Connection, name: str, declared: CollectionConfig
) -> list[Source]:
    """The source that the options name, or else those of the collection.

    None if it has none, and only its stored texts are to be indexed.
    """
    existing = find_collection(conn, name)
    source = source_from_config(conn, declared, existing.sources if existing else ())
    if source is not None:
        return [source]
    expected = "Expected --table, --sql, --files or an input file"
    own = replace(declared, model=None, similarities=None, words=None)
    if existing is None or own != CollectionConfig():
        raise InvalidInputError(f"{expected}, to say what to embed")
    try:
        return stored_sources(existing)
    except SourceUnavailableError as reason:
        if declared.words is not None and declared == CollectionConfig(
            words=declared.words
        ):
            return []
        message = f"{expected} to embed into {name!r}: {reason}"
        raise InvalidInputError(message) from reason


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
    config = config_in(config_file, database)
    indexes.configure(config)
    writable = not options.dry_run
    reads_files = any(each.input or each.files for each in config.collections.values())
    create = writable and reads_files
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
    run = partial(embed_source, conn, config, options, silent=silent)
    outcomes = []
    for outcome in sync_all(conn, config.collections, run, only=only):
        outcomes.append(outcome)
        name = printable(outcome.collection)
        if outcome.prefix is not None:
            name = f"{name} (prefix {printable(outcome.prefix)!r})"
        if outcome.report is not None:
            label = name if output_format is None else outcome.collection
            show_report(label, outcome.report, output_format)
        elif outcome.error is not None:
            click.echo(f"Error: {name}: {error_text(ctx, outcome.error)}", err=True)
        else:
            click.echo(f"{name}: left as it is: {outcome.skipped}", err=True)
            if not options.dry_run:
                # llm or a pipe may have written rows
                skipped = collection_named(conn, outcome.collection)
                index_words(skipped)
                refresh(skipped)
                indexes.save(current(skipped))
    return outcomes
