"""``datasette embeddings …``, and the same as ``sqlite-utils embeddings …``."""

from __future__ import annotations

from importlib import import_module
from itertools import chain
from typing import Any

import click

from datasette_embeddings import distribution
from datasette_embeddings.cli.groups import Group, error_text
from datasette_embeddings.errors import EmbeddingsError

# Each command's attribute in the module of its command, and its line in the help
SECTIONS = {
    "Build and update": {
        "embed": ("embed:embed", "Embed a table, query or files."),
        "sync": ("sync:sync", "Update every collection."),
        "similarities": ("collections:similarities", "Precompute similar documents."),
        "import": ("transfer:import_table", "Take vectors of another tool."),
    },
    "Search": {
        "search": ("search:search", "Search by a text or an image."),
        "similar": ("search:similar", "Find items like one of them."),
    },
    "Manage": {
        "collections": (
            "collections:collections",
            "List, show, rename and delete collections.",
        ),
        "models": ("models:models", "List, download and export models."),
        "check": ("check:check", "Find and fix problems."),
        "export": ("transfer:export_collection", "Write vectors to a file."),
    },
    "Try it": {"demo": ("demo:demo", "Build a database to try.")},
}
COMMANDS = dict(chain.from_iterable(each.items() for each in SECTIONS.values()))


class LazyGroup(Group):
    """A group that imports a command when it is called, and prints errors as a line."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name][0].partition(":")
        command: click.Command = getattr(
            import_module(f"datasette_embeddings.cli.{module}"), attribute
        )
        return command

    def format_commands(
        self, _ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        for heading, commands in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl(
                    [(name, line) for name, (_, line) in commands.items()]
                )

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - the type of click
        try:
            return super().invoke(ctx)
        except EmbeddingsError as error:
            raise click.ClickException(error_text(ctx, error)) from error
        except KeyboardInterrupt:
            raise click.ClickException(
                "Interrupted. What was committed is kept; run it again to go on"
            ) from None


@click.group(cls=LazyGroup)
@click.version_option(package_name=distribution.NAME, message="%(package)s %(version)s")
def embeddings() -> None:
    """Semantic search over SQLite: build collections of embeddings and search them.

    \b
        datasette embeddings embed docs.db articles --table articles
        datasette embeddings search docs.db articles "how to make a backup"
    """
