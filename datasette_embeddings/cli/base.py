"""What every command shares: arguments, error lines, output and the progress bar."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import click

from datasette_embeddings.config import DEFAULT_LIMIT, Config
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
