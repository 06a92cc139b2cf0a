"""``import``: embeddings of other tools into a collection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from datasette_embeddings.cli.base import database_argument
from datasette_embeddings.cli.groups import Command
from datasette_embeddings.databases import open_database
from datasette_embeddings.imports import import_table


@click.command("import", cls=Command)
@database_argument
@click.argument("table")
@click.option(
    "origin",
    "--from",
    type=click.Path(path_type=Path),
    help="The database that holds TABLE, if it is another.",
)
@click.option("--name", help="What to call the collection; else as the table.")
@click.option("-m", "--model", help="Which model's vectors they are.")
def import_collection(
    database: Path,
    table: str,
    origin: Path | None,
    name: str | None,
    model: str | None,
) -> None:
    """Make a collection of the vectors that another tool wrote; TABLE stays.

    Either TABLE has the columns id and embedding, as openai-to-sqlite writes it and
    datasette-faiss reads it; which model made the vectors, only you know. Or the older
    datasette-embeddings kept them beside it, in a table called _embeddings_TABLE.

    \b
        datasette embeddings import docs.db articles
        datasette embeddings import new.db embeddings --from old.db \\
          --name articles --model text-embedding-ada-002
    """
    with open_database(database, writable=True, create=origin is not None) as conn:
        options: dict[str, Any] = {"name": name, "model_id": model}
        if origin is None:
            collection, count = import_table(conn, table, **options)
        else:
            with open_database(origin) as other:
                collection, count = import_table(conn, table, other=other, **options)
    click.echo(
        f"{collection.name}: {count:,} vectors of {collection.model_id} imported",
        err=True,
    )
