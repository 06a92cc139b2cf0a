"""Commands and groups: sections of the help, mistaken option names, error lines."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import click

from datasette_embeddings.errors import EmbeddingsError

_IS_VERBOSE = f"{__name__}.is_verbose"


def _set_verbose(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    # Nested contexts share this dictionary
    ctx.meta[_IS_VERBOSE] = value


def error_text(ctx: click.Context, error: EmbeddingsError) -> str:
    """The message of *error*, with its reasons below it after ``--verbose``."""
    reasons = error.reasons if ctx.meta.get(_IS_VERBOSE) else ()
    return "\n".join([str(error), *(f"  {reason}" for reason in reasons)])


class Command(click.Command):
    """A command that refuses the name of an option as the value of another one.

    *sections* maps headings of the help to further options. Every command has
    ``--verbose``.
    """

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - those of click
        sections: Mapping[str, Sequence[click.Option]] | None = None,
        **options: Any,  # noqa: ANN401 - those of click
    ) -> None:
        super().__init__(*arguments, **options)
        self.sections = sections or {}
        verbose = click.Option(
            ["-v", "--verbose"],
            is_flag=True,
            expose_value=False,
            callback=_set_verbose,
            help="Print the details of an error.",
        )
        self.params += [*chain.from_iterable(self.sections.values()), verbose]

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        grouped = set(chain.from_iterable(self.sections.values()))
        rest = [each for each in self.get_params(ctx) if each not in grouped]
        for heading, options in {**self.sections, "Options": rest}.items():
            records = [option.get_help_record(ctx) for option in options]
            with formatter.section(heading):
                formatter.write_dl([each for each in records if each is not None])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        options = [each for each in self.params if isinstance(each, click.Option)]
        names = {name for option in options for name in option.opts}
        for option in options:
            found = names.intersection(_texts(ctx.params.get(option.name or "")))
            if found:
                expected = option.metavar or "a value"
                raise click.UsageError(
                    f"Expected {expected} after {option.opts[-1]}, found the option "
                    f"{min(found)}",
                    ctx,
                )
        return rest


def _texts(value: object) -> Iterator[str]:
    """The texts in the value of an option; those of a repeated one are nested."""
    if isinstance(value, tuple):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str):
        yield value


class Group(click.Group):
    """A group that lists its commands in order, also when a file stands for one."""

    command_class = Command

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        *names, last = self.list_commands(ctx)
        if args[0] not in (*names, last) and os.path.exists(args[0]):
            raise click.UsageError(
                f"Expected {', '.join(names)} or {last} before {args[0]}", ctx
            )
        return super().resolve_command(ctx, args)
