"""sqlite-utils' hooks: the same commands and SQL functions there."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from pluggy import HookimplMarker

from datasette_embeddings.cli.commands import embeddings
from datasette_embeddings.serving.models import has_started
from datasette_embeddings.sql.definitions import register

if TYPE_CHECKING:
    import click

hookimpl = HookimplMarker("sqlite_utils")


@hookimpl
def register_commands(cli: click.Group) -> None:
    cli.add_command(embeddings)


@hookimpl
def prepare_connection(conn: sqlite3.Connection) -> None:
    """Datasette 1.0 and its plugins run this hook on a server's connections too.

    There Datasette's own hook adds the functions, with the limits of the server.
    """
    if not has_started():
        register(conn)
