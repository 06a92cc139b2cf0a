"""``embed``: a table or query into a collection."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import click

from datasette_embeddings import sources, store
from datasette_embeddings.cli.base import ProgressBar, database_argument
from datasette_embeddings.config import DEFAULT_MODEL
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInput
from datasette_embeddings.ingest import IngestOptions, Report, ingest
from datasette_embeddings.models.registry import load_model


@click.command()
@database_argument
@click.argument("collection")
@click.option("-t", "--table", help="Embed the rows of this table or view.")
@click.option(
    "columns", "-c", "--column", multiple=True, help="A column to embed; repeatable."
)
@click.option("keys", "--id", multiple=True, help="A column that identifies a row.")
@click.option("--title", help="The column that names a row in results.")
@click.option("--sql", help="Embed the rows of a query: first the id, then content.")
@click.option(
    "-m",
    "--model",
    help=f"Default: the model of the collection, for a new one {DEFAULT_MODEL}.",
)
@click.option("--store", "store_content", is_flag=True, help="Copy the content too.")
@click.option("--prune", is_flag=True, help="Delete items whose source row is gone.")
@click.option("--silent", is_flag=True, help="No progress bar.")
def embed(
    database: Path,
    collection: str,
    table: str | None,
    columns: tuple[str, ...],
    keys: tuple[str, ...],
    title: str | None,
    sql: str | None,
    model: str | None,
    *,
    store_content: bool,
    prune: bool,
    silent: bool,
) -> None:
    """Embed the rows of a table or query into COLLECTION, skipping unchanged ones.

    \b
        datasette embeddings embed docs.db articles --table articles -c title -c body
        datasette embeddings embed docs.db recent \\
          --sql "select id, title, body from articles where year > 2020"
    """
    if (table is None) == (sql is None):
        raise InvalidInput("Expected either --table or --sql, to say what to embed")
    if sql is not None and (columns or keys or title):
        raise InvalidInput(
            "--column, --id and --title go with --table; a query names its own columns"
        )
    with open_database(database, writable=True) as conn:
        source: sources.ReadableSource
        if table is not None:
            source = sources.table_source(
                conn,
                table,
                content_columns=columns,
                key_columns=keys,
                title_column=title,
            )
            _warn_of_rowid(source)
        else:
            source = sources.query_source(conn, str(sql))
        with ProgressBar("Embedding", silent=silent) as (start, advance):
            report = ingest(
                conn,
                collection,
                source,
                load_model(model or _model_of(conn, collection)),
                options=IngestOptions(store_content, prune, start, advance),
            )
    click.echo(report_line(collection, report), err=True)


def _model_of(conn: sqlite3.Connection, collection: str) -> str:
    existing = store.find_collection(conn, collection)
    return DEFAULT_MODEL if existing is None else existing.model_id


def _warn_of_rowid(source: sources.TableSource) -> None:
    if source.key_columns == (sources.ROWID,):
        click.echo(
            f"Note: the table {source.table!r} has no primary key, so its rowid is the "
            "item id; VACUUM can renumber it. Name a column with --id to be safe",
            err=True,
        )


def report_line(collection: str, report: Report) -> str:
    """What an ingest did, in one line."""
    parts = [
        f"{report.new:,} new",
        f"{report.changed:,} changed",
        f"{report.unchanged:,} unchanged",
    ]
    if report.empty:
        parts.append(f"{report.empty:,} without content, not embedded")
    if report.truncated:
        parts.append(f"{report.truncated:,} cut to the model's length")
    if report.gone:
        fate = "deleted" if report.pruned else "kept: --prune deletes them"
        parts.append(f"{report.gone:,} gone from the source ({fate})")
    return f"{collection}: {', '.join(parts)}"
