"""sqlite-utils' hooks: the same commands and SQL functions there."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from pluggy import HookimplMarker

if TYPE_CHECKING:
    import click

hookimpl = HookimplMarker("sqlite_utils")


@hookimpl
def register_commands(cli: click.Group) -> None:
    from datasette_embeddings.cli.commands import embeddings

    cli.add_command(embeddings)


@hookimpl
def prepare_connection(conn: sqlite3.Connection) -> None:
    """Add the functions, except in a Datasette server.

    Datasette 1.0 runs this hook on its connections too. Datasette's own hook adds the
    functions there, with the limits of the server.
    """
    from datasette_embeddings.serving.allowed_models import has_started
    from datasette_embeddings.sql.functions import register

    if not has_started():
        register(conn)
