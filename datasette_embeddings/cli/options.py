"""The options that say what goes into a collection, for `embed`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

import click

from datasette_embeddings.config import (
    DEFAULT_MODEL,
    CollectionConfig,
    SimilaritySettings,
)
from datasette_embeddings.documents import METHODS
from datasette_embeddings.sources.row_files import FORMATS

Command = TypeVar("Command", bound=Callable[..., Any])


def _settings(
    _ctx: click.Context, _option: click.Parameter, limit: int | None
) -> SimilaritySettings | None:
    return None if limit is None else SimilaritySettings(limit)


SOURCE_OPTIONS = (
    click.option("-t", "--table", help="Embed the rows of this table or view."),
    click.option(
        "--sql", help="Embed the rows of a query: first the id, then content."
    ),
    click.option(
        "--attach",
        nargs=2,
        multiple=True,
        metavar="ALIAS FILE",
        help="Another database that the query reads; repeatable.",
    ),
    click.option(
        "--files",
        nargs=2,
        multiple=True,
        metavar="FOLDER GLOB",
        help="Embed files, such as docs '**/*.md'; the id is the path. Repeatable.",
    ),
    click.option(
        "--images", is_flag=True, help="The content is images: files, or a BLOB column."
    ),
    click.option(
        "input_format",
        "--input-format",
        type=click.Choice(FORMATS),
        help="Format of INPUT; else told from its name or its beginning.",
    ),
    click.option(
        "encodings",
        "--encoding",
        multiple=True,
        help="Encoding of files that are not UTF-8; repeatable.",
    ),
    click.option(
        "columns",
        "-c",
        "--column",
        multiple=True,
        help="A column to embed; repeatable.",
    ),
    click.option("--template", help="Jinja for the content: '{{ title }}: {{ body }}'"),
    click.option("--strip-html", is_flag=True, help="Leave out HTML tags."),
    click.option("--id", multiple=True, help="A column that identifies a row."),
    click.option("--prefix", default="", help="In front of each id."),
    click.option(
        "--metadata", multiple=True, help="A column kept with the item; repeatable."
    ),
    click.option("--title", help="The column that names a row in results."),
    click.option(
        "--chunk",
        type=click.Choice(METHODS),
        help="Split long texts, into what the model reads whole.",
    ),
    click.option(
        "--chunk-size", type=int, help="Tokens of a chunk; default: all it reads."
    ),
    click.option(
        "--chunk-overlap",
        type=int,
        default=0,
        help="Tokens that begin a chunk and also end the one before.",
    ),
    click.option(
        "-m",
        "--model",
        help=f"Default: the model of the collection, for a new one {DEFAULT_MODEL}.",
    ),
    click.option("--store", is_flag=True, help="Copy the content of a table too."),
    click.option(
        "--similarities",
        type=click.IntRange(min=1),
        callback=_settings,
        metavar="N",
        help="Note the N nearest others of each document, now and from now on.",
    ),
)

# The headings of the help of `embed`
SECTIONS = {
    "Where the rows come from": (
        *("table", "sql", "attach", "files", "images", "input_format", "encodings"),
    ),
    "What of a row is embedded and kept": (
        *("columns", "template", "strip_html", "id", "prefix", "metadata", "title"),
        "store",
    ),
    "Model and chunks": (
        *("model", "chunk", "chunk_size", "chunk_overlap", "similarities"),
        "metadata_file",
    ),
}


def source_options(command: Command) -> Command:
    """*command* with the options above."""
    for option in reversed(SOURCE_OPTIONS):
        command = option(command)
    return command


def declared(given: dict[str, Any]) -> CollectionConfig:
    """What *given* options declare."""
    names = {field.name for field in fields(CollectionConfig)}
    return CollectionConfig(**{name: given[name] for name in names})
