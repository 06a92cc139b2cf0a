"""``axis``: the documents of a collection between two ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from datasette_embeddings.analysis.axes import End, axis_of
from datasette_embeddings.analysis.positions import PlacedDocument, place_documents
from datasette_embeddings.cli.commands import Command
from datasette_embeddings.cli.options import (
    CONFIG,
    FORMAT,
    collection_argument,
    database_argument,
    option,
    row_options,
)
from datasette_embeddings.cli.output import printable, write
from datasette_embeddings.cli.search import among
from datasette_embeddings.cli.settings import config_in
from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.databases import open_database
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.store import collections
from datasette_embeddings.vectors import Vectors

_WHERE, _PARAMS, *_sorting = row_options()


@click.command(
    cls=Command,
    options=(
        *(
            option(
                f"--{end}",
                f"Texts of the {end} end, separated by commas, or a JSON array.",
                metavar="TEXTS",
                default="",
            )
            for end in ("low", "high")
        ),
        *(
            option(
                f"{end}_items --{end}-item",
                f"An item at the {end} end. Repeatable.",
                metavar="ID",
                multiple=True,
            )
            for end in ("low", "high")
        ),
        option(
            "limit -n --number --limit",
            "How many documents to show at each end; 0 shows all.",
            type=click.IntRange(min=0),
            default=DEFAULT_LIMIT,
            show_default=True,
        ),
        option("--prefix", "Only items whose ids begin with this.", default=""),
        *(_WHERE, _PARAMS, FORMAT, CONFIG),
    ),
)
@database_argument
@collection_argument
def axis(
    database: Path,
    collection: str,
    *,
    low: str,
    high: str,
    low_items: Sequence[str],
    high_items: Sequence[str],
    limit: int,
    prefix: str,
    where: str | None,
    params: Sequence[tuple[str, str]],
    output_format: str | None,
    config_file: Path | None,
) -> None:
    """Show the documents of COLLECTION that lie nearest to each of two ends.

    Each end is the average of texts, of items, or of both. The position -1 is the low
    end, 1 is the high end, and at 0 a document is as close to one end as to the other.

    \b
        datasette embeddings axis docs.db articles \\
          --low "concrete, table, stone" --high "abstract, idea, truth"
        datasette embeddings axis docs.db articles --low-item 17 --high-item 4 -n 3
        datasette embeddings axis docs.db articles --low cheap --high expensive \\
          -n 0 --format csv > positions.csv
    """
    ends = End.of("--low", low, low_items), End.of("--high", high, high_items)
    config = config_in(config_file, database)
    with open_database(database) as conn:
        found = collections.collection(conn, collection)

        def embed(texts: Sequence[str]) -> Vectors:
            model = load_model(found.model_id, found.located_models(config.models))
            found.check_settings(model.settings)
            return model.embed_queries(texts)

        options = Options(prefix=prefix, among=among(found, where, params))
        documents = place_documents(
            found, axis_of(found, *ends, embed), limit=limit or None, keep=options.keep
        )
    if output_format is None:
        _show(documents, limit)
        return
    rows = [
        {"id": each.match.id, "position": each.position, "title": each.match.title}
        for each in documents
    ]
    write(rows, output_format)


def _show(documents: Sequence[PlacedDocument], limit: int) -> None:
    """Print a line for each of *documents*, with a gap between the two ends."""
    for number, each in enumerate(documents):
        if number == limit and number:
            click.echo("   …")
        title = each.match.title or each.match.id
        click.echo(f"{each.position:+.3f}  {printable(title)}")
