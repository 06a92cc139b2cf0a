"""``collections`` and ``check``: what is in a database; and ``similarities``."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path

import click

from datasette_embeddings.cli import options
from datasette_embeddings.cli.commands import Command, ListingGroup
from datasette_embeddings.cli.output import SOME_FAILED, Row, progress, write
from datasette_embeddings.cli.settings import config_in
from datasette_embeddings.cli.sync import sync_collections
from datasette_embeddings.config import SimilaritySettings
from datasette_embeddings.databases import open_database
from datasette_embeddings.index.cache import indexes
from datasette_embeddings.ingest.check import (
    complete_collections,
    delete_inconsistent_rows,
    problems,
)
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.similarities import refreshing
from datasette_embeddings.sources.definitions import CollectionSource
from datasette_embeddings.store import collection_writes
from datasette_embeddings.store import collections as stored
from datasette_embeddings.store.change_triggers import stored_triggers
from datasette_embeddings.store.changes import count_changes
from datasette_embeddings.store.clusters import Clusters
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.store.metadata_index import MetadataIndex
from datasette_embeddings.store.origins import count_items_of_sources
from datasette_embeddings.store.similarities import Similarities
from datasette_embeddings.store.words_check import count_indexed


@click.group(cls=ListingGroup)
def collections() -> None:
    """List, show, rename and delete collections. Without a command: list them.

    \b
        datasette embeddings collections docs.db
        datasette embeddings collections show docs.db articles
    """


@collections.command("list", options=(options.FORMAT,))
@options.database_argument
def list_collections(database: Path, output_format: str | None) -> None:
    """List the collections of a database, with model and number of items.

    \b
        datasette embeddings collections list docs.db
        datasette embeddings collections docs.db --format json
    """
    with open_database(database) as conn:
        rows = [_collection_row(each) for each in stored.collections(conn)]
    if not rows and output_format is None:
        click.echo(f"{database} has no collections", err=True)
    write(rows, output_format or "table")


def _collection_row(collection: StoredCollection) -> Row:
    behind: Row = {}
    if stored_triggers(collection.conn):
        behind = {"behind": count_changes(collection).rows}
    return {
        "name": collection.name,
        "model": collection.model_id,
        "count": collection.count_items(),
        **behind,
        "dimensions": collection.dimensions,
        "sources": "; ".join(map(source_line, collection.current_sources)) or None,
    }


def source_line(each: CollectionSource) -> str:
    """A source with its prefix, in a few words."""
    prefix = f"{each.prefix}: " if each.prefix else ""
    return f"{prefix}{each.source.description}"


@collections.command("show")
@options.database_argument
@options.collection_argument
def show_collection(database: Path, collection: str) -> None:
    """Show the model, the sources and the state of COLLECTION as JSON.

    \b
        datasette embeddings collections show docs.db articles
    """
    with open_database(database) as conn:
        found = stored.collection(conn, collection)
        counts = count_items_of_sources(found)
        table = Similarities(found)
        related = None if table.settings is None else asdict(table.settings)
        if related is not None and table.recall is not None:
            related["recall"] = table.recall
        clusters, behind = Clusters(found).facts, count_changes(found)
        row = {
            **_collection_row(found),
            "failed": found.count_failures(),
            "source": None if found.source is None else asdict(found.source),
            "synced": iso_time(found.synced),
            "sources": [
                {
                    "prefix": each.prefix,
                    "description": each.source.description,
                    "state": each.state.value,
                    "synced": iso_time(each.synced),
                    "count": counts.get(each.id, 0),
                }
                for each in found.sources
            ],
            "without_source": counts.get(None, 0),
            "similarities": related,
            "clusters": None if clusters is None else clusters.to_json(),
            "words": found.words,
            "indexed": count_indexed(found),
            "closeness": found.closeness,
            "metadata_index": MetadataIndex(found).keys(),
        }
        if behind.since is not None:
            row["behind_since"] = iso_time(int(behind.since))
        if found.truncated:
            row["truncated"] = found.truncated
    write([row], "nl")


def iso_time(seconds: int | None) -> str | None:
    """Unix *seconds* as ISO 8601 in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, tz=timezone.utc).isoformat()


@collections.command("rename")
@options.database_argument
@options.collection_argument
@click.argument("new_name")
def rename_collection(database: Path, collection: str, new_name: str) -> None:
    """Give COLLECTION another name.

    \b
        datasette embeddings collections rename docs.db articles posts
    """
    with open_database(database, writable=True) as conn:
        renamed = collection_writes.rename_collection(conn, collection, new_name)
    click.echo(f"{collection} is now {renamed.name}", err=True)


@collections.command("delete")
@options.database_argument
@options.collection_argument
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def delete_collection(database: Path, collection: str, *, yes: bool) -> None:
    """Delete COLLECTION and all its embeddings; the source table stays.

    \b
        datasette embeddings collections delete docs.db articles --yes
    """
    with open_database(database, writable=True) as conn:
        count = stored.collection(conn, collection).count_items()
        if not yes:
            click.confirm(f"Delete {collection!r} with {count:,} items?", abort=True)
        collection_writes.delete_collection(conn, collection)
    click.echo(f"Deleted {collection} with {count:,} items", err=True)


SIMILARITIES = (
    options.limit("How many similar documents to store for each."),
    options.MIN_SCORE,
    options.flag(
        "--remove", "Delete the stored similarities and stop maintaining them."
    ),
    options.SILENT,
)


@click.command(cls=Command, options=SIMILARITIES)
@options.database_argument
@options.collection_argument
def similarities(
    database: Path,
    collection: str,
    limit: int,
    min_score: float | None,
    *,
    remove: bool,
    silent: bool,
) -> None:
    """Store the most similar documents of each document of COLLECTION.

    They are rows of the table similarities(collection_id, id, other_id, score), best
    first by score, so that related content needs no model. Every later embed, sync and
    delete updates them.

    \b
        datasette embeddings similarities docs.db articles
        datasette embeddings similarities docs.db articles --limit 5 --min-score 0.6
    """
    with open_database(database, writable=True) as conn:
        found = stored.collection(conn, collection)
        if remove:
            refreshing.remove(found)
            click.echo(f"{collection}: similarities removed", err=True)
            return
        settings = SimilaritySettings(limit, min_score)
        with progress(collection, silent=silent) as callbacks:
            done = refreshing.build(found, settings, **callbacks)
    line = f"{collection}: {done.compared:,} of {done.documents:,} documents compared"
    if done.recall is not None:
        line += f"; the lists have {done.recall:.1%} of the nearest, as measured"
    click.echo(line, err=True)


FIX = options.flag(
    "--fix", "Delete orphaned rows, sync what is not current, and index it."
)


@click.command(cls=Command, options=(FIX, options.CONFIG, options.FORMAT))
@options.database_argument
@click.pass_context
def check(
    ctx: click.Context,
    database: Path,
    output_format: str | None,
    *,
    fix: bool,
    config_file: Path | None,
) -> None:
    """Find problems: orphans, mixed dimensions, stale and failed items, wrong indexes.

    \b
        datasette embeddings check docs.db
        datasette embeddings check docs.db --fix

    The exit code is 2 if there are problems; with --fix, if some remain.
    """
    config = config_in(config_file)
    indexes.configure(config)
    with open_database(database, writable=fix) as conn:
        found = list(problems(conn))
        if fix and found:
            delete_inconsistent_rows(conn)
            # Those that exist, not those that the file declares
            existing = replace(config, collections={})
            sync_collections(ctx, conn, existing, IngestOptions(prune=True))
            # Rows of another type that the sync has brought again
            delete_inconsistent_rows(conn)
            found = list(problems(conn))
        elif fix:
            # Of llm, or of an earlier release: nothing is wrong without
            complete_collections(conn)
    if not found and output_format is None:
        click.echo(f"{database}: nothing is wrong", err=True)
    else:
        write([asdict(problem) for problem in found], output_format or "table")
    if found:
        ctx.exit(SOME_FAILED)
