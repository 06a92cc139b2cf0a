"""Options that several commands share, and those that say what to embed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click import Option

from datasette_embeddings.cli.output import FORMATS as OUTPUT_FORMATS
from datasette_embeddings.config import DEFAULT_LIMIT, DEFAULT_MODEL
from datasette_embeddings.documents import METHODS
from datasette_embeddings.sources.row_files import FORMATS as INPUT_FORMATS

database_argument = click.argument(
    "database", type=click.Path(path_type=Path), metavar="DB"
)
collection_argument = click.argument("collection")

CONFIG = Option(
    ["config_file", "--config"],
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The YAML or JSON file with the settings, as Datasette reads it.",
)
FORMAT = Option(
    ["output_format", "--format"],
    type=click.Choice(OUTPUT_FORMATS),
    help="nl: a JSON object a line, with llm's keys. Default: for people.",
)
MIN_SCORE = Option(
    ["--min-score"], type=float, help="Leave out matches below this cosine similarity."
)
SILENT = Option(["--silent"], is_flag=True, help="No progress bar.")


def flag(name: str, text: str) -> Option:
    return Option([name], is_flag=True, help=text)


def limit(text: str) -> Option:
    return Option(
        ["-n", "--limit"], default=DEFAULT_LIMIT, show_default=True, help=text
    )


def _many(*names: str, text: str, **settings: Any) -> Option:  # noqa: ANN401 - of click
    return Option(list(names), multiple=True, help=f"{text} Repeatable.", **settings)


# Of `search` and `similar`
MATCH_OPTIONS = (
    limit("How many matches to show."),
    MIN_SCORE,
    flag("--all-chunks", "Show every matching chunk of a document, not only the best."),
    flag("--full", "Print the whole content of each match, as nl and json always do."),
    FORMAT,
)
# Of `embed`, below the headings of its help
SOURCE_OPTIONS = {
    "Where the rows come from": (
        Option(["-t", "--table"], help="Embed the rows of this table or view."),
        Option(
            ["--sql"], help="Embed the rows of a query: first the id, then content."
        ),
        _many(
            "--attach",
            nargs=2,
            metavar="ALIAS FILE",
            text="Another database that the query reads.",
        ),
        _many(
            "--files",
            nargs=2,
            metavar="FOLDER GLOB",
            text="Embed files, such as docs '**/*.md'; the id is the path.",
        ),
        flag("--images", "The content is images: files, or a BLOB column."),
        Option(
            ["--input-format"],
            type=click.Choice(INPUT_FORMATS),
            help="Format of INPUT. Default: inferred from its name or its beginning.",
        ),
        _many("encodings", "--encoding", text="Encoding of files that are not UTF-8."),
    ),
    "What of a row is embedded and kept": (
        _many("columns", "-c", "--column", text="A column to embed."),
        Option(["--template"], help="Jinja for the content: '{{ title }}: {{ body }}'"),
        flag("--strip-html", "Leave out HTML tags."),
        _many("--id", text="A column that identifies a row."),
        Option(["--prefix"], default="", help="Text in front of each id."),
        _many("--metadata", text="A column kept with the item."),
        Option(["--title"], help="The column that names a row in results."),
        flag("--store", "Copy the content of a table too."),
    ),
    "Model and chunks": (
        Option(
            ["-m", "--model"],
            help=f"Default: the collection's model; for a new one {DEFAULT_MODEL}.",
        ),
        Option(
            ["--chunk"],
            type=click.Choice(METHODS),
            help="Split long texts into chunks that fit the model.",
        ),
        Option(
            ["--chunk-size"],
            type=int,
            help="Tokens of a chunk. Default: as many as the model reads.",
        ),
        Option(
            ["--chunk-overlap"],
            type=int,
            default=0,
            help="Tokens that a chunk repeats from the one before.",
        ),
        Option(
            ["--similarities"],
            type=click.IntRange(min=1),
            metavar="N",
            help="Store the N most similar documents of each, and keep them current.",
        ),
    ),
}


# Of the commands that embed: `embed` and `sync`
RUN_OPTIONS = (
    Option(
        ["--limit"],
        type=click.IntRange(min=1),
        help="Take only the first rows, as many as this, to try it.",
    ),
    flag("--dry-run", "Report what would be done, and write nothing."),
    flag("--rebuild", "Embed everything again, then replace the collection."),
    Option(
        ["replace_source", "--replace"],
        is_flag=True,
        help="Replace another source, and delete the items that only that one had.",
    ),
    Option(
        ["output_format", "--format"],
        type=click.Choice(["json"]),
        help="Summary on stdout and progress on stderr as JSON, an object a line; for "
        "that of INPUT use --input-format.",
    ),
    SILENT,
    CONFIG,
)
