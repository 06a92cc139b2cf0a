"""``duplicates`` and ``outliers``: what the stored similarities say of a collection."""

from __future__ import annotations

from pathlib import Path

import click

from datasette_embeddings.analysis.groups import DUPLICATE_SCORE, Group
from datasette_embeddings.analysis.groups import duplicates as groups_of
from datasette_embeddings.analysis.outliers import outliers as outliers_of
from datasette_embeddings.cli.commands import Command
from datasette_embeddings.cli.options import (
    FORMAT,
    collection_argument,
    database_argument,
    limit,
    option,
)
from datasette_embeddings.cli.output import Row, printable, write
from datasette_embeddings.databases import open_database
from datasette_embeddings.search.matches import Match
from datasette_embeddings.search.nearest import checked_limit
from datasette_embeddings.search.snippets import shortened
from datasette_embeddings.store import collections

LINE_LENGTH = 100
_MIN_SCORE = option(
    "--min-score",
    "The lowest cosine similarity that connects two documents.",
    type=float,
    default=DUPLICATE_SCORE,
    show_default=True,
)


@click.command(cls=Command, options=(_MIN_SCORE, FORMAT))
@database_argument
@collection_argument
def duplicates(
    database: Path, collection: str, *, min_score: float, output_format: str | None
) -> None:
    """List groups of near-duplicates in COLLECTION, the largest first.

    Two documents are in one group if a chain of similar pairs connects them. The scores
    of a group are those of its least and its most similar pair. Run similarities first.

    \b
        datasette embeddings duplicates docs.db articles
        datasette embeddings duplicates docs.db articles --min-score 0.9 --format csv
    """
    with open_database(database) as conn:
        found = groups_of(collections.collection(conn, collection), min_score)
    if output_format is not None:
        rows = [
            row
            for number, group in enumerate(found.groups, 1)
            for row in _rows(number, group)
        ]
        write(rows, output_format)
        return
    for group in found.groups:
        click.echo(f"{group.size:,} items, {group.lowest:.3f} to {group.highest:.3f}")
        for item in group.items:
            click.echo(f"       {_name(item)}")


def _rows(number: int, group: Group) -> list[Row]:
    facts = {"group": number, "size": group.size}
    scores = {"lowest": group.lowest, "highest": group.highest}
    return [
        {**facts, "id": item.id, "title": item.title, "score": item.score, **scores}
        for item in group.items
    ]


@click.command(cls=Command, options=(limit("How many items to show."), FORMAT))
@database_argument
@collection_argument
def outliers(
    database: Path, collection: str, *, limit: int, output_format: str | None
) -> None:
    """List the items of COLLECTION that are farthest from all others.

    The score of an item is its mean cosine similarity to the three nearest items. Run
    similarities first.

    \b
        datasette embeddings outliers docs.db articles -n 20
    """
    with open_database(database) as conn:
        stored = collections.collection(conn, collection)
        found = outliers_of(stored, limit=checked_limit(limit))
    if output_format is not None:
        rows = [{"id": e.id, "score": e.score, "title": e.title} for e in found]
        write(rows, output_format)
        return
    for item in found:
        click.echo(f"{item.score:.3f}  {_name(item)}")


def _name(item: Match) -> str:
    """The id of *item*, and its title where that says more."""
    title = printable(shortened(item.title or "", LINE_LENGTH))
    known = printable(item.id)
    return f"{known}  {title}" if title and title != known else known
