"""``similarities``: each document's nearest others, noted in a table."""

from __future__ import annotations

from pathlib import Path

import click

from datasette_embeddings.cli.base import database_argument, min_score_option, progress
from datasette_embeddings.cli.groups import Command
from datasette_embeddings.config import DEFAULT_LIMIT, SimilaritySettings
from datasette_embeddings.databases import open_database
from datasette_embeddings.similarities import refreshing
from datasette_embeddings.similarities.refreshing import build
from datasette_embeddings.store import catalog


@click.command(cls=Command)
@database_argument
@click.argument("collection")
@click.option(
    "-n",
    "--limit",
    default=DEFAULT_LIMIT,
    show_default=True,
    help="How many others to note for each document.",
)
@min_score_option
@click.option("--remove", is_flag=True, help="Delete them, and keep none any more.")
@click.option("--silent", is_flag=True, help="No progress bar.")
def similarities(
    database: Path,
    collection: str,
    limit: int,
    min_score: float | None,
    *,
    remove: bool,
    silent: bool,
) -> None:
    """Note the nearest others of each document of COLLECTION, from now on.

    They stand in the table similarities(collection_id, id, other_id, score), best
    first by score, so that related content needs no model. Every later embed, sync and
    delete keeps them right.

    \b
        datasette embeddings similarities docs.db articles
        datasette embeddings similarities docs.db articles --limit 5 --min-score 0.6
    """
    with open_database(database, writable=True) as conn:
        found = catalog.collection(conn, collection)
        if remove:
            refreshing.remove(found)
            click.echo(f"{collection}: similarities removed", err=True)
            return
        settings = SimilaritySettings(limit, min_score)
        with progress(collection, silent=silent) as (start, advance):
            done = build(found, settings, start=start, progress=advance)
    click.echo(
        f"{collection}: {done.compared:,} of {done.documents:,} compared anew", err=True
    )
