"""``import``: embeddings of other tools into a collection."""

from __future__ import annotations

from pathlib import Path

import click

from datasette_embeddings.cli.base import database_argument
from datasette_embeddings.databases import open_database
from datasette_embeddings.imports import import_shadow_table


@click.command("import")
@database_argument
@click.argument("table")
@click.option("--name", help="What to call the collection; else as the table.")
@click.option("-m", "--model", help="Which model's vectors, where there are several.")
def import_table(
    database: Path, table: str, name: str | None, model: str | None
) -> None:
    """Make a collection of what the older datasette-embeddings wrote beside TABLE.

    Its alphas kept the vectors in a table called _embeddings_TABLE, which stays.

    \b
        datasette embeddings import docs.db articles
    """
    with open_database(database, writable=True) as conn:
        collection, count = import_shadow_table(conn, table, name=name, model_id=model)
    click.echo(
        f"{collection.name}: {count:,} vectors of {collection.model_id} imported",
        err=True,
    )
