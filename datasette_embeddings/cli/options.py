"""Arguments and options that several commands share, and those of ``embed``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from datasette_embeddings.cli.output import FORMATS as OUTPUT_FORMATS
from datasette_embeddings.config import DEFAULT_LIMIT, DEFAULT_MODEL
from datasette_embeddings.documents import METHODS
from datasette_embeddings.sources.row_files import FORMATS as INPUT_FORMATS

database_argument = click.argument(
    "database", type=click.Path(path_type=Path), metavar="DB"
)
format_option = click.option(
    "output_format",
    "--format",
    type=click.Choice(OUTPUT_FORMATS),
    help="nl: a JSON object a line, with llm's keys. Default: for people.",
)
limit_option = click.option(
    "-n",
    "--limit",
    default=DEFAULT_LIMIT,
    show_default=True,
    help="How many matches to show.",
)
min_score_option = click.option(
    "--min-score", type=float, help="Leave out matches below this cosine similarity."
)
silent_option = click.option("--silent", is_flag=True, help="No progress bar.")
_CONFIG: dict[str, Any] = {
    "type": click.Path(exists=True, dir_okay=False, path_type=Path),
    "metavar": "FILE",
    "help": "The YAML or JSON file with the settings, as Datasette reads it.",
}
config_option = click.option("config_file", "--config", **_CONFIG)


class _Summary(click.Choice):  # type: ignore[type-arg]  # click 8.1 takes none
    """The format of the summary, easily mistaken for that of the rows."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as click has it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        if value in INPUT_FORMATS and value not in self.choices:
            self.fail(
                f"Expected json, found {value!r}; for the format of INPUT use "
                f"--input-format {value}",
                param,
                ctx,
            )
        converted: str = super().convert(value, param, ctx)
        return converted


# The headings of the help of `embed`, and below each its options
SOURCE_OPTIONS = {
    "Where the rows come from": (
        click.Option(["-t", "--table"], help="Embed the rows of this table or view."),
        click.Option(
            ["--sql"], help="Embed the rows of a query: first the id, then content."
        ),
        click.Option(
            ["--attach"],
            nargs=2,
            multiple=True,
            metavar="ALIAS FILE",
            help="Another database that the query reads; repeatable.",
        ),
        click.Option(
            ["--files"],
            nargs=2,
            multiple=True,
            metavar="FOLDER GLOB",
            help="Embed files, such as docs '**/*.md'; the id is the path. Repeatable.",
        ),
        click.Option(
            ["--images"],
            is_flag=True,
            help="The content is images: files, or a BLOB column.",
        ),
        click.Option(
            ["--input-format"],
            type=click.Choice(INPUT_FORMATS),
            help="Format of INPUT. Default: inferred from its name or its beginning.",
        ),
        click.Option(
            ["encodings", "--encoding"],
            multiple=True,
            help="Encoding of files that are not UTF-8; repeatable.",
        ),
    ),
    "What of a row is embedded and kept": (
        click.Option(
            ["columns", "-c", "--column"],
            multiple=True,
            help="A column to embed; repeatable.",
        ),
        click.Option(
            ["--template"], help="Jinja for the content: '{{ title }}: {{ body }}'"
        ),
        click.Option(["--strip-html"], is_flag=True, help="Leave out HTML tags."),
        click.Option(["--id"], multiple=True, help="A column that identifies a row."),
        click.Option(["--prefix"], default="", help="Text in front of each id."),
        click.Option(
            ["--metadata"],
            multiple=True,
            help="A column kept with the item; repeatable.",
        ),
        click.Option(["--title"], help="The column that names a row in results."),
        click.Option(
            ["--store"], is_flag=True, help="Copy the content of a table too."
        ),
    ),
    "Model and chunks": (
        click.Option(
            ["-m", "--model"],
            help=f"Default: the collection's model; for a new one {DEFAULT_MODEL}.",
        ),
        click.Option(
            ["--chunk"],
            type=click.Choice(METHODS),
            help="Split long texts into chunks that fit the model.",
        ),
        click.Option(
            ["--chunk-size"],
            type=int,
            help="Tokens of a chunk. Default: as many as the model reads.",
        ),
        click.Option(
            ["--chunk-overlap"],
            type=int,
            default=0,
            help="Tokens that a chunk repeats from the one before.",
        ),
        click.Option(
            ["--similarities"],
            type=click.IntRange(min=1),
            metavar="N",
            help="Store the N most similar documents of each, and keep them current.",
        ),
    ),
}
# Of the commands that embed: `embed` and `sync`
RUN_OPTIONS = (
    click.Option(
        ["--limit"],
        type=click.IntRange(min=1),
        help="Take only the first rows, as many as this, to try it.",
    ),
    click.Option(
        ["--dry-run"],
        is_flag=True,
        help="Report what would be done, and write nothing.",
    ),
    click.Option(
        ["--rebuild"],
        is_flag=True,
        help="Embed everything again, and replace the collection when all is done.",
    ),
    click.Option(
        ["replace_source", "--replace"],
        is_flag=True,
        help="Replace another source, and delete the items that only that one had.",
    ),
    click.Option(
        ["output_format", "--format"],
        type=_Summary(["json"]),
        help="Summary on stdout and progress on stderr as JSON, an object a line.",
    ),
    click.Option(["--silent"], is_flag=True, help="No progress bar."),
    click.Option(["config_file", "--config"], **_CONFIG),
)
