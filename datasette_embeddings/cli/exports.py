"""``export``: a collection as a file for other programs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from datasette_embeddings.cli.base import database_argument
from datasette_embeddings.cli.groups import Command
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.exports import BINARY, FORMATS, export, write_text
from datasette_embeddings.store import catalog

SUFFIXES = {".ndjson": "nl", ".jsonl": "nl"} | {f".{name}": name for name in FORMATS}


@click.command("export", cls=Command)
@database_argument
@click.argument("collection")
@click.argument("output", required=False, type=click.Path(path_type=Path))
@click.option(
    "output_format",
    "--format",
    type=click.Choice(FORMATS),
    help="Default: as the file is called, or nl.",
)
def export_collection(
    database: Path, collection: str, output: Path | None, output_format: str | None
) -> None:
    """Write COLLECTION, its vectors included, to OUTPUT or standard output.

    nl is a JSON object a line; npy holds the vectors, and a file called
    OUTPUT.ids.json their ids; parquet needs pyarrow.

    \b
        datasette embeddings export docs.db articles | head -n 1
        datasette embeddings export docs.db articles articles.parquet
    """
    suffix = "" if output is None else output.suffix.lower()
    chosen = output_format or SUFFIXES.get(suffix, "nl")
    with open_database(database) as conn:
        # All of it is of one moment
        conn.execute("begin")
        found = catalog.collection(conn, collection)
        if output is not None:
            count = export(found, output, chosen)
        elif chosen in BINARY:
            raise InvalidInputError(
                f"Expected a file to write {chosen} to, such as: datasette embeddings "
                f"export {database} {collection} {collection}.{chosen}"
            )
        else:
            count = write_text(found, sys.stdout, chosen)
    where = "" if output is None else f" to {output}"
    click.echo(f"{collection}: {count:,} items written{where}", err=True)
