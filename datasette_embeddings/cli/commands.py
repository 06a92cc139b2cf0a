"""``datasette embeddings …``, and the same as ``sqlite-utils embeddings …``."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pkgutil import resolve_name
from types import MappingProxyType
from typing import Any

import click

from datasette_embeddings import distribution
from datasette_embeddings.errors import EmbeddingsError, quoted

# The module and function of each command, and its line in the help
SECTIONS = {
    "Build and update": {
        "embed": ("embed:embed", "Embed a table, query or files."),
        "sync": ("embed:sync", "Update every collection."),
        "similarities": ("collections:similarities", "Precompute similar documents."),
        "import": ("transfer:import_table", "Take vectors of another tool."),
    },
    "Search": {
        "search": ("search:search", "Search by a text or an image."),
        "similar": ("search:similar", "Find items like one of them."),
        "evaluate": ("evaluate:evaluate", "Measure how good a search is."),
    },
    "Manage": {
        "collections": (
            "collections:collections",
            "List, show, rename and delete collections.",
        ),
        "models": ("models:models", "List, download and export models."),
        "check": ("collections:check", "Find and fix problems."),
        "export": ("transfer:export", "Write vectors as JSON."),
    },
    "Try it": {"demo": ("demo:demo", "Build a database to try.")},
}
COMMANDS = dict(chain.from_iterable(each.items() for each in SECTIONS.values()))
_IS_VERBOSE = f"{__name__}.is_verbose"


def _set_verbose(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    # Nested contexts share this dictionary
    ctx.meta[_IS_VERBOSE] = value


def error_text(ctx: click.Context, error: EmbeddingsError) -> str:
    """The message of *error*, with its reasons below it after ``--verbose``."""
    reasons = error.reasons if ctx.meta.get(_IS_VERBOSE) else ()
    return "\n".join([str(error), *(f"  {reason}" for reason in reasons)])


class Command(click.Command):
    """A command with *options* and ``--verbose``; its help has *sections* of others.

    The name of an option is never taken as the value of another one.
    """

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - those of click
        options: Sequence[click.Option] = (),
        sections: Mapping[str, Sequence[click.Option]] = MappingProxyType({}),
        **settings: Any,  # noqa: ANN401 - those of click
    ) -> None:
        super().__init__(*arguments, **settings)
        self.sections = sections
        verbose = click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            help="Print the details of an error.",
            expose_value=False,
            callback=_set_verbose,
        )
        self.params += [*chain.from_iterable(sections.values()), *options, verbose]

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        grouped = set(chain.from_iterable(self.sections.values()))
        params = [each for each in self.get_params(ctx) if each not in grouped]
        rest = [each for each in params if isinstance(each, click.Option)]
        for heading, options in {**self.sections, "Options": rest}.items():
            records = [option.get_help_record(ctx) for option in options]
            with formatter.section(heading):
                formatter.write_dl([each for each in records if each is not None])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        params = [
            each for each in self.get_params(ctx) if isinstance(each, click.Option)
        ]
        options = {name: option for option in params for name in option.opts}
        for number, name in enumerate(args[: [*args, "--"].index("--")], 1):
            option = options.get(name)
            if option is None or option.is_flag:
                continue
            found = options.keys() & set(args[number : number + option.nargs])
            if found:
                raise click.UsageError(
                    f"Expected {option.metavar or 'a value'} after {option.opts[-1]}, "
                    f"found the option {min(found)}",
                    ctx,
                )
        return super().parse_args(ctx, args)


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


class LazyGroup(Group):
    """A group that imports a command when it is called, and prints errors as a line."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        path, _line = COMMANDS[name]
        command: click.Command = resolve_name(f"datasette_embeddings.cli.{path}")
        return command

    def format_commands(
        self, _ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        for heading, commands in SECTIONS.items():
            with formatter.section(heading):
                rows = [(name, line) for name, (_path, line) in commands.items()]
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - the type of click
        try:
            return super().invoke(ctx)
        except EmbeddingsError as error:
            raise click.ClickException(error_text(ctx, error)) from error
        except UnicodeEncodeError as error:
            # An argument with other bytes; "ascii", say, is that of the terminal
            if error.encoding != "utf-8":
                raise
            message = f"Expected text in UTF-8, found {quoted(error.object)}"
            raise click.ClickException(message) from error
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


@contextmanager
def ended_like_interrupted() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that temporary files are deleted."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    # Only the main thread may set handlers, and only it is interrupted
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
