"""What every command shares: arguments, error lines, output and the progress bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeAlias

import click

from datasette_embeddings.config import DEFAULT_LIMIT
from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.formats import FORMATS, Row, written

Step: TypeAlias = Callable[[int], None]

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


class Commands(click.Group):
    """A group whose commands end with one line for an error that a person can mend."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click has it
        try:
            return super().invoke(ctx)
        except EmbeddingsError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            raise click.ClickException(
                "Interrupted. What was committed is kept; run it again to go on"
            ) from None


def write(rows: Sequence[Row], output_format: str) -> None:
    """Print *rows* in one of the formats."""
    for line in written(rows, output_format):
        click.echo(line)


class ProgressBar(AbstractContextManager[tuple[Step, Step]]):
    """A bar on stderr, with rate and time left: one call starts, one moves it."""

    def __init__(self, label: str, *, silent: bool) -> None:
        self._label = label
        self._silent = silent
        self._bar: Any = None

    def __enter__(self) -> tuple[Step, Step]:
        return self._start, self._advance

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _start(self, total: int) -> None:
        from tqdm import tqdm

        # disable=None: only where a person watches
        disable = True if self._silent else None
        self._bar = tqdm(
            total=total, desc=self._label, unit=" rows", leave=False, disable=disable
        )

    def _advance(self, count: int) -> None:
        self._bar.update(count)
