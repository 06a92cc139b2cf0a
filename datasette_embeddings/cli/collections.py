"""``collections``: what is in a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import click

from datasette_embeddings.cli.base import database_argument, format_option, write
from datasette_embeddings.cli.groups import Group
from datasette_embeddings.databases import open_database
from datasette_embeddings.formats import Row
from datasette_embeddings.store import catalog, changes
from datasette_embeddings.store.catalog import Collection, count_items
from datasette_embeddings.store.collection_sources import CollectionSource
from datasette_embeddings.store.failures import count_failures
from datasette_embeddings.store.origins import count_items_of_sources
from datasette_embeddings.store.similarity_notes import similarity_settings


@click.group(cls=Group)
def collections() -> None:
    """List, show, rename and delete collections."""


@collections.command("list")
@database_argument
@format_option
def list_collections(database: Path, output_format: str | None) -> None:
    """Every collection of a database, with its model and number of items."""
    with open_database(database) as conn:
        rows = [_collection_row(each) for each in catalog.collections(conn)]
    if not rows and output_format is None:
        click.echo(f"{database} has no collections", err=True)
    write(rows, output_format or "table")


def _collection_row(collection: Collection) -> Row:
    return {
        "name": collection.name,
        "model": collection.model_id,
        "count": count_items(collection),
        "dimensions": collection.dimensions,
        "sources": "; ".join(map(source_line, collection.current_sources)) or None,
    }


def source_line(each: CollectionSource) -> str:
    """A source with its prefix, in a few words."""
    prefix = f"{each.prefix}: " if each.prefix else ""
    return f"{prefix}{each.source.description}"


@collections.command("show")
@database_argument
@click.argument("collection")
def show_collection(database: Path, collection: str) -> None:
    """What is known of one collection, as JSON."""
    with open_database(database) as conn:
        found = catalog.collection(conn, collection)
        row = _collection_row(found)
        counts = count_items_of_sources(found)
        failed = count_failures(found)
        related = similarity_settings(found)
    source = None if found.source is None else asdict(found.source)
    row = {**row, "failed": failed, "source": source, "synced": moment_of(found.synced)}
    row["sources"] = [_source_row(each, counts) for each in found.sources]
    row["without_source"] = counts.get(None, 0)
    write([{**row, "similarities": None if related is None else asdict(related)}], "nl")


def _source_row(each: CollectionSource, counts: Mapping[int | None, int]) -> Row:
    return {
        "prefix": each.prefix,
        "description": each.source.description,
        "state": each.state.value,
        "synced": moment_of(each.synced),
        "count": counts.get(each.id, 0),
    }


def moment_of(seconds: int | None) -> str | None:
    """Unix *seconds* as ISO 8601 in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, tz=timezone.utc).isoformat()


@collections.command("rename")
@database_argument
@click.argument("collection")
@click.argument("new_name")
def rename_collection(database: Path, collection: str, new_name: str) -> None:
    """Give COLLECTION another name."""
    with open_database(database, writable=True) as conn:
        renamed = changes.rename_collection(conn, collection, new_name)
    click.echo(f"{collection} is now {renamed.name}", err=True)


@collections.command("delete")
@database_argument
@click.argument("collection")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def delete_collection(database: Path, collection: str, *, yes: bool) -> None:
    """Delete COLLECTION and all its embeddings; the source table stays."""
    with open_database(database, writable=True) as conn:
        count = count_items(catalog.collection(conn, collection))
        if not yes:
            click.confirm(f"Delete {collection!r} with {count:,} items?", abort=True)
        changes.delete_collection(conn, collection)
    click.echo(f"Deleted {collection} with {count:,} items", err=True)
