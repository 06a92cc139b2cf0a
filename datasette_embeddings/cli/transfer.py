"""``import`` and ``export``: vectors of other tools, and for other programs."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

import click

from datasette_embeddings import transfer
from datasette_embeddings.cli.commands import Command
from datasette_embeddings.cli.options import collection_argument, database_argument
from datasette_embeddings.databases import open_database
from datasette_embeddings.store import collections


@click.command("import", cls=Command)
@database_argument
@click.argument("table")
@click.option(
    "other",
    "--from",
    type=click.Path(path_type=Path),
    help="The database with TABLE, if it is not DB.",
)
@click.option("--name", help="The name of the collection. Default: that of TABLE.")
@click.option(
    "-m", "--model", "model_id", required=True, help="The model that made the vectors."
)
def import_table(
    database: Path,
    table: str,
    other: Path | None,
    name: str | None,
    model_id: str,
) -> None:
    """Make a collection of the vectors that another tool wrote; TABLE stays.

    TABLE has the columns id and embedding, as openai-to-sqlite writes it and
    datasette-faiss reads it.

    \b
        datasette embeddings import docs.db intros --model text-embedding-ada-002
        datasette embeddings import new.db embeddings --from old.db \\
          --name articles --model text-embedding-ada-002
    """
    with open_database(database, writable=True, create=other is not None) as conn:
        # Without --from it is the same file, and the same connection
        source = nullcontext(None) if other is None else open_database(other)
        with source as origin:
            collection, count = transfer.import_table(
                conn, table, other=origin, name=name, model_id=model_id
            )
    click.echo(
        f"{collection.name}: {count:,} vectors of {collection.model_id} imported",
        err=True,
    )


@click.command("export", cls=Command)
@database_argument
@collection_argument
@click.argument("output", required=False, type=click.Path(path_type=Path))
def export_collection(database: Path, collection: str, output: Path | None) -> None:
    """Write COLLECTION with its vectors to OUTPUT or standard output.

    It is Parquet if OUTPUT ends in .parquet, which needs pyarrow; else a JSON object a
    line.

    \b
        datasette embeddings export docs.db articles | head -n 1
        datasette embeddings export docs.db articles articles.parquet
    """
    with open_database(database) as conn:
        # One read transaction, so that all of it is of one moment
        conn.execute("begin")
        found = collections.collection(conn, collection)
        if output is None:
            count = transfer.write_lines(found, sys.stdout)
        else:
            count = transfer.export(found, output)
    where = "" if output is None else f" to {output}"
    click.echo(f"{collection}: {count:,} items written{where}", err=True)
