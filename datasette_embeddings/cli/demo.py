"""``demo``: the standard library as a database, built and searched."""

from __future__ import annotations

from pathlib import Path

import click

from datasette_embeddings import demo as demonstration
from datasette_embeddings.cli.base import progress
from datasette_embeddings.cli.groups import Command
from datasette_embeddings.cli.reports import report_line
from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.databases import open_database
from datasette_embeddings.ingest.report import IngestOptions
from datasette_embeddings.ingest.run import ingest
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.search.matches import search_text
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.sources.tables import table_source
from datasette_embeddings.store import catalog
from datasette_embeddings.store.catalog import Collection


@click.command(cls=Command)
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
def demo(path: Path) -> None:
    """Build a database of Python's own standard library at PATH, and search it.

    \b
        datasette embeddings demo demo.db
        datasette demo.db
    """
    with open_database(path, create=True) as conn:
        count = demonstration.write_functions(conn)
        source = table_source(
            conn,
            demonstration.TABLE,
            content_columns=("path", "doc"),
            title_column="path",
        )
        with progress("Embedding", silent=False) as (start, advance):
            report = ingest(
                conn,
                demonstration.COLLECTION,
                source,
                load_model(DEFAULT_MODEL),
                options=IngestOptions(prune=True, start=start, progress=advance),
            )
        collection = catalog.collection(conn, demonstration.COLLECTION)
        click.echo(f"{path}: {count:,} functions, classes and methods of Python")
        click.echo(report_line(collection.name, report))
        for text in demonstration.SEARCHES:
            _show_demo_search(collection, text)
    click.echo(f"\nServe it with:\n\n    datasette {path}\n")


def _show_demo_search(collection: Collection, text: str) -> None:
    model = load_model(collection.model_id)
    options = Options(limit=3)
    click.echo(f"\n{text}")
    for match in search_text(collection, text, model=model, options=options):
        click.echo(f"  {match.score:.3f}  {match.id}")
