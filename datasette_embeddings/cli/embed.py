"""``embed``: rows into a collection."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from datasette_embeddings.cli.commands import Command
from datasette_embeddings.cli.item import embed_item, words_without_content
from datasette_embeddings.cli.options import (
    RUN_OPTIONS,
    SOURCE_OPTIONS,
    flag,
    optional_database_argument,
)
from datasette_embeddings.cli.output import SOME_FAILED, progress, show_report
from datasette_embeddings.cli.settings import config_in, fetched_model
from datasette_embeddings.config import CollectionConfig, Config, SimilaritySettings
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInputError, SourceUnavailableError
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.ingest.changed_rows import embed_all_changes
from datasette_embeddings.ingest.report import IngestOptions, Report
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.ingest.sync import stored_sources
from datasette_embeddings.ingest.words import index_words
from datasette_embeddings.sources.definitions import ROWID, Source, TableSource
from datasette_embeddings.sources.from_config import source_from_config
from datasette_embeddings.store.changes import has_recorded_all
from datasette_embeddings.store.collections import collection as collection_named
from datasette_embeddings.store.collections import find_collection
from datasette_embeddings.store.metadata_index import index_metadata

PRUNE = flag("--prune", "Delete items whose source row was deleted.")
SOURCES = "Expected a folder, a file of rows, --table or --sql"


def embed_source(
    conn: sqlite3.Connection,
    config: Config,
    options: IngestOptions,
    name: str,
    source: Source,
    declared: CollectionConfig | None = None,
    *,
    model_options: Mapping[str, Any] = MappingProxyType({}),
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
    existing = find_collection(conn, name)
    is_by_rowid = isinstance(source, TableSource) and source.key_columns == (ROWID,)
    if is_by_rowid and existing is None:
        click.echo(
            f"Note: {source.description} has no primary key, so its rowid is the "
            "item id; VACUUM can renumber it. embed --id names another column",
            err=True,
        )
    declared = declared or CollectionConfig()
    model = fetched_model(declared.model, config, model_options, existing=existing)
    words = declared.words
    if source.store_content is False and not isinstance(source, TableSource):
        words = words_without_content(words, existing)
    with progress(name, silent=silent) as callbacks:
        options = replace(
            options, similarities=declared.similarities, words=words, **callbacks
        )
        if (
            options.changed_only
            and existing is not None
            and isinstance(source, TableSource)
            and has_recorded_all(existing, source)
        ):
            report = embed_all_changes(existing, source, model)
        else:
            report = ingest(conn, name, source, model, options=options)
    if declared.metadata_index and not options.dry_run:
        index_metadata(collection_named(conn, name), declared.metadata_index)
    return report


@click.command(
    cls=Command, sections={**SOURCE_OPTIONS, "This run": (PRUNE, *RUN_OPTIONS)}
)
@optional_database_argument
@click.argument("collection", required=False)
@click.argument("input", required=False)
@click.pass_context
def embed(
    ctx: click.Context,
    /,
    database: Path | None,
    collection: str | None,
    *,
    config_file: Path | None,
    **given: Any,  # noqa: ANN401 - those of one item, or of rows
) -> None:
    """Embed rows or one item into COLLECTION, or print a vector.

    Rows come from a table, a query, or INPUT: a folder of files, a CSV, TSV, JSON or
    newline-delimited JSON file, or - for standard input. Those that have not changed
    are skipped. Without any of these, the sources of the collection are read again.

    One item is a text (-c) or a file (-i), stored as the ID after COLLECTION. Without
    COLLECTION and DB, its vector is printed.

    A collection has one source for each --prefix; a different one is an error
    without --replace. One item, and rows from standard input, belong to no source,
    and no run deletes them.

    \b
        datasette embeddings embed docs.db articles --table articles \\
          --column title --column body
        datasette embeddings embed docs.db recent \\
          --sql "select id, title, body from articles where year > 2020"
        datasette embeddings embed docs.db notes ~/notes --exclude 'drafts/**'
        symbex '*.*' --nl | datasette embeddings embed code.db functions -
        datasette embeddings embed docs.db phrases hello -c "Hello world"
        datasette embeddings embed -c "Hello world" -f hex

    The exit code is 2 if some rows could not be embedded.
    """
    config = config_in(config_file)
    if config_file is not None:
        indexes.configure(config)
    model_options = {
        name: value
        for name in ("passage_prompt", "batch_size", "api_key")
        if (value := given.pop(name)) is not None
    }
    if given["content"] is not None or given["content_file"] is not None:
        embed_item(ctx, database, collection, config, model_options, given)
        return
    del given["content"], given["content_file"]
    output_format = given["output_format"]
    if output_format not in (None, "json"):
        raise InvalidInputError(
            f"--format {output_format} goes with one item: --content or --input"
        )
    if database is None or collection is None:
        raise click.UsageError(
            "Expected DB and COLLECTION, or --content or --input", ctx
        )
    has_failed = _embed_rows(database, collection, config, model_options, **given)
    if has_failed:
        ctx.exit(SOME_FAILED)


def _embed_rows(
    database: Path,
    collection: str,
    config: Config,
    model_options: Mapping[str, Any],
    *,
    output_format: str | None,
    silent: bool,
    **given: Any,  # noqa: ANN401 - the fields of CollectionConfig and IngestOptions
) -> bool:
    """Embed the rows of a source; return whether some failed."""
    if given["similarities"] is not None:
        given["similarities"] = SimilaritySettings(given["similarities"])
    names = {field.name for field in fields(CollectionConfig)} & given.keys()
    declared = CollectionConfig(**{name: given.pop(name) for name in names})
    options = IngestOptions(**given)
    writable = not options.dry_run
    # Rows of a file need no database that exists already
    create = writable and bool(declared.input or declared.files)
    has_failed = False
    has_source = declared.input or declared.files or declared.table or declared.sql
    if not has_source and not database.exists():
        raise _no_source(collection)
    with open_database(database, writable=writable, create=create) as conn:
        sources = _sources(conn, collection, declared)
        if not sources and not options.dry_run:
            existing = collection_named(conn, collection)
            index_words(existing, declared.words)
            if declared.metadata_index:
                index_metadata(existing, declared.metadata_index)
        embed = partial(
            embed_source, conn, config, options, model_options=model_options
        )
        for source in sources:
            report = embed(collection, source, declared, silent=silent)
            show_report(collection, report, output_format)
            has_failed = has_failed or report.failed > 0
    return has_failed


def _sources(
    conn: sqlite3.Connection, name: str, declared: CollectionConfig
) -> list[Source]:
    """The source that the options name, or else those of the collection.

    None if it has none, and only its stored texts or metadata are to be indexed.
    """
    existing = find_collection(conn, name)
    source = source_from_config(conn, declared, existing.sources if existing else ())
    if source is not None:
        return [source]
    own = replace(
        declared, model=None, similarities=None, words=None, metadata_index=()
    )
    if existing is None or own != CollectionConfig():
        raise _no_source(name)
    try:
        return stored_sources(existing)
    except SourceUnavailableError as reason:
        indexes = CollectionConfig(
            words=declared.words, metadata_index=declared.metadata_index
        )
        if declared == indexes != CollectionConfig():
            return []
        message = f"{SOURCES} to embed into {name!r}: {reason}"
        raise InvalidInputError(message) from reason


def _no_source(name: str) -> InvalidInputError:
    """No source was given for the collection *name*."""
    forgotten = Path(name).exists()
    hint = f", after the name of the collection: DB NAME {name}" if forgotten else ""
    return InvalidInputError(f"{SOURCES}, to say what to embed{hint}")
