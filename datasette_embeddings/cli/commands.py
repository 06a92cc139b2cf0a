"""``datasette embeddings …``, and the same as ``sqlite-utils embeddings …``."""

from __future__ import annotations

import inspect
import os
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
    "Build": {
        "embed": ("embed:embed", "Embed a text, a file, a table, a query or files."),
        "import": ("transfer:import_table", "Take vectors of another tool."),
        "similarities": ("collections:similarities", "Precompute similar documents."),
        "demo": ("demo:demo", "Build a database to try."),
    },
    "Search": {
        "search": ("search:search", "Search by a text or an image."),
        "similar": ("search:similar", "Find items like one of them, or like a text."),
        "context": ("context:context", "Print the passages that answer a question."),
        "ask": ("ask:ask", "Let a chat model answer from the passages."),
        "evaluate": ("evaluate:evaluate", "Measure how good a search is."),
    },
    "Explore": {
        "clusters": ("clusters:clusters", "Find clusters of documents, with names."),
        "map": ("map:map_collection", "Place similar documents near each other."),
        "axis": ("axis:axis", "Place every document between two ends."),
        "labels": ("labels:labels", "Say which of some labels fits."),
        "duplicates": ("duplicates:duplicates", "List groups of near-duplicates."),
        "outliers": ("duplicates:outliers", "List the items farthest from all."),
    },
    "Look": {
        "collections": (
            "collections:collections",
            "List, show, rename and delete collections.",
        ),
        "models": ("models:models", "List, download and export models."),
        "export": ("transfer:export", "Write vectors as JSON."),
    },
    "Keep": {
        "sync": ("sync:sync", "Update every collection."),
        "watch": ("watch:watch", "Keep every collection up to date."),
        "check": ("collections:check", "Find and fix problems."),
    },
}
COMMANDS = dict(chain.from_iterable(each.items() for each in SECTIONS.values()))
# The names of llm; the help does not show them
ALIASES = {"embed-multi": "embed", "embed-models": "models"}
DATABASE_VARIABLE = "DATASETTE_EMBEDDINGS_DB"
MODEL_VARIABLE = "DATASETTE_EMBEDDINGS_MODEL"
SQLITE_HEADER = b"SQLite format 3\0"
_IS_VERBOSE = f"{__name__}.is_verbose"
_DATABASE_NAMED_BY = f"{__name__}.database_named_by"
_DATABASE = click.Option(
    ["database_option", "-d", "--database"],
    type=click.Path(),
    metavar="FILE",
    help=f"The database, instead of DB; so is {DATABASE_VARIABLE}.",
    expose_value=False,
)


def _set_verbose(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    # Nested contexts share this dictionary
    ctx.meta[_IS_VERBOSE] = value


def error_text(ctx: click.Context, error: EmbeddingsError) -> str:
    """The message of *error*, with its reasons below it after ``--verbose``."""
    reasons = error.reasons if ctx.meta.get(_IS_VERBOSE) else ()
    return "\n".join([str(error), *(f"  {reason}" for reason in reasons)])


class DatabaseArgument(click.Argument):
    """DB, the first argument, unless ``--database`` or the environment names it."""


class Command(click.Command):
    """A command with *options* and ``--verbose``; its help has *sections* of others.

    One that takes a database also takes ``--database``.  The name of an option is never
    taken as the value of another one.
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
        self.params += [*chain.from_iterable(sections.values()), *options]
        self.takes_database = any(isinstance(p, DatabaseArgument) for p in self.params)
        if self.takes_database:
            self.params.append(_DATABASE)
        self.params.append(verbose)

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
        if self.takes_database and not ctx.resilient_parsing:
            args = self._with_database(ctx, args)
        try:
            return super().parse_args(ctx, args)
        except click.MissingParameter as error:
            if not isinstance(error.param, DatabaseArgument):
                raise
            raise click.UsageError(
                "Expected a database file, as the first argument, with --database or "
                f"in {DATABASE_VARIABLE}",
                ctx,
            ) from None

    def _with_database(self, ctx: click.Context, args: list[str]) -> list[str]:
        """*args* with the database in front that an option or the environment names."""
        found, _rest, _order = self.make_parser(ctx).parse_args([*args])
        named = "--database"
        given, first = (found.get(name) for name in ("database_option", "database"))
        if not isinstance(given, str):
            named, given = DATABASE_VARIABLE, os.environ.get(DATABASE_VARIABLE)
        if not given:
            return args
        if isinstance(first, str) and _is_database(first):
            raise click.UsageError(
                f"{named} names the database {given}, so the arguments begin after DB; "
                f"found the database {first}. Leave out one of them",
                ctx,
            )
        ctx.meta[_DATABASE_NAMED_BY] = named
        return [given, *args]


def is_database_named(ctx: click.Context) -> bool:
    """Whether an option or the environment named the database, not an argument."""
    return _DATABASE_NAMED_BY in ctx.meta


def _is_database(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(len(SQLITE_HEADER)) == SQLITE_HEADER
    except (OSError, ValueError):
        return False


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


class ListingGroup(Group):
    """A group whose command ``list`` runs if none is named, as those of llm do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else "-"
        is_command = first in (*self.commands, *self.get_help_option_names(ctx))
        is_of_list = first.startswith("-") or os.path.exists(first)
        if is_of_list and not (is_command or ctx.resilient_parsing):
            args = ["list", *args]
        return super().parse_args(ctx, args)


class LazyGroup(Group):
    """A group that imports a command when it is called, and prints errors as a line."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        name = ALIASES.get(name, name)
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


HELP = """
    Semantic search over SQLite: build collections of embeddings and search them.

    \b
        datasette embeddings embed docs.db articles --table articles
        datasette embeddings search docs.db articles "how to make a backup"
"""
embeddings = LazyGroup("embeddings", help=inspect.cleandoc(HELP))
click.version_option(package_name=distribution.NAME, message="%(package)s %(version)s")(
    embeddings
)


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
