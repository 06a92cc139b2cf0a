"""What every command shares: arguments, error lines, output and the progress bar."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeAlias

import click

from datasette_embeddings.config.settings import DEFAULT_LIMIT, Config
from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.formats import FORMATS, Row, written
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.models.registry import find, load_model, model_spec

Step: TypeAlias = Callable[[int], None]
EVENT_EVERY_S = 1.0

database_argument = click.argument(
    "database", type=click.Path(path_type=Path), metavar="DB"
)
format_option = click.option(
    "output_format",
    "--format",
    type=click.Choice(FORMATS),
    help="nl: a JSON object a line, with llm's keys. Default: for people.",
)
limit_option = click.option(
    "limit",
    "-n",
    "--limit",
    default=DEFAULT_LIMIT,
    show_default=True,
    help="How many matches to show.",
)
min_score_option = click.option(
    "--min-score", type=float, help="Leave out matches below this cosine similarity."
)


IS_VERBOSE = f"{__name__}.is_verbose"


def _be_verbose(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    # Nested contexts share this dictionary
    ctx.meta[IS_VERBOSE] = value


verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_be_verbose,
    help="Print the details of an error.",
)


def error_text(ctx: click.Context, error: EmbeddingsError) -> str:
    """The message of *error*, and its reasons below it if ``-v`` was given."""
    reasons = error.reasons if ctx.meta.get(IS_VERBOSE) else ()
    return "\n".join([str(error), *(f"  {reason}" for reason in reasons)])


class Command(click.Command):
    """A command that refuses the name of an option as the value of another one.

    *sections* maps headings of the help to the names of their options.
    """

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - as click has it
        sections: Mapping[str, Sequence[str]] | None = None,
        **options: Any,  # noqa: ANN401 - as click has it
    ) -> None:
        super().__init__(*arguments, **options)
        self.sections = sections or {}

    def format_options(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        records = {
            option.name: option.get_help_record(ctx)
            for option in self.get_params(ctx)
            if isinstance(option, click.Option)
        }
        others = records.keys() - set(chain.from_iterable(self.sections.values()))
        rest = [name for name in records if name in others]
        for heading, names in {**self.sections, "Options": rest}.items():
            lines = [line for name in names if (line := records[name]) is not None]
            with formatter.section(heading):
                formatter.write_dl(lines)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        names = {name for option in self.get_params(ctx) for name in option.opts}
        for option in self.params:
            if not isinstance(option, click.Option) or option.is_flag:
                continue
            found = names.intersection(_words(ctx.params.get(option.name or "")))
            if found:
                expected = option.metavar or "a value"
                raise click.UsageError(
                    f"Expected {expected} after {option.opts[-1]}, found the option "
                    f"{min(found)}",
                    ctx,
                )
        return rest


def _words(value: object) -> Iterator[str]:
    """The texts in the value of an option; those of a repeated one are nested."""
    if isinstance(value, tuple):
        for each in value:
            yield from _words(each)
    elif isinstance(value, str):
        yield value


class Commands(click.Group):
    """A group whose commands end with one line for an error that a person can mend."""

    command_class = Command

    def __init__(
        self,
        *arguments: Any,  # noqa: ANN401 - as click has it
        sections: Mapping[str, Sequence[click.Command]] | None = None,
        **options: Any,  # noqa: ANN401 - as click has it
    ) -> None:
        super().__init__(*arguments, **options)
        self.sections = dict(sections or {})
        for command in chain.from_iterable(self.sections.values()):
            self.add_command(command)

    def format_commands(
        self, ctx: click.Context, formatter: click.HelpFormatter
    ) -> None:
        """Write the commands below the headings of their sections."""
        width = formatter.width - 6 - max(map(len, self.commands))
        for heading, commands in (
            self.sections or {"Commands": [*self.commands.values()]}
        ).items():
            with formatter.section(heading):
                formatter.write_dl(
                    [
                        (each.name or "", each.get_short_help_str(width))
                        for each in commands
                    ]
                )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if not os.path.exists(args[0]):
                raise
            *names, last = self.commands
            raise click.UsageError(
                f"Expected {', '.join(names)} or {last} before {args[0]}", ctx
            ) from error

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click has it
        try:
            return super().invoke(ctx)
        except EmbeddingsError as error:
            raise click.ClickException(error_text(ctx, error)) from error
        except KeyboardInterrupt:
            raise click.ClickException(
                "Interrupted. What was committed is kept; run it again to go on"
            ) from None


def write(rows: Sequence[Row], output_format: str) -> None:
    """Print *rows* in one of the formats."""
    for line in written(rows, output_format):
        click.echo(line)


@contextmanager
def progress(
    label: str, *, silent: bool, output_format: str | None = None
) -> Iterator[tuple[Step, Step]]:
    """What hears of the total and of each step: a bar, or JSON, on stderr.

    The bar has rate and time left, and is only there where a person watches.
    """
    if output_format is not None and not silent:
        yield _events(label)
        return
    bars: list[Any] = []

    def start(total: int) -> None:
        from tqdm import tqdm

        for bar in bars:
            bar.close()

        # disable=None: only where a person watches
        disable = True if silent else None
        bars.append(
            tqdm(total=total, desc=label, unit=" rows", leave=False, disable=disable)
        )

    def advance(count: int) -> None:
        # Similarities come after the rows, with a total of their own
        bars[-1].update(count)

    try:
        yield start, advance
    finally:
        for bar in bars:
            bar.close()


def _events(label: str) -> tuple[Step, Step]:
    """Progress as a JSON object a line, at most one a second."""
    state: dict[str, object] = {"event": "progress", "collection": label}
    done, last = 0, 0.0

    def start(total: int) -> None:
        nonlocal done
        state["total"], done = total, 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        if done == state["total"] or time.monotonic() - last >= EVENT_EVERY_S:
            last = time.monotonic()
            click.echo(json.dumps({**state, "done": done}), err=True)

    return start, advance


def fetched_model(model_id: str, config: Config) -> EmbeddingModel:
    """The model called *model_id*, whose files may be fetched, which is told."""
    asked = replace(model_spec(model_id, config.models), may_download=True)
    if find(asked).downloads:
        click.echo(f"Fetching {asked.hub_name} from the hub", err=True)
    return load_model(model_id, config.models, may_download=True)
