"""Options that several commands share, and those that say what to embed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click import Choice, Option

from datasette_embeddings.cli.commands import MODEL_VARIABLE, DatabaseArgument
from datasette_embeddings.cli.output import FORMATS as OUTPUT_FORMATS
from datasette_embeddings.config import DEFAULT_LIMIT, DEFAULT_MODEL, NO_WORDS, WORDS
from datasette_embeddings.documents import AUTO_CHUNKS, METHODS, NO_CHUNKS
from datasette_embeddings.sources.row_files import FORMATS as INPUT_FORMATS

database_argument, optional_database_argument = (
    click.argument(
        "database",
        cls=DatabaseArgument,
        type=click.Path(path_type=Path),
        metavar="[DB]",
        required=is_required,
    )
    for is_required in (True, False)
)
collection_argument = click.argument("collection")


def option(names: str, text: str, **settings: Any) -> Option:  # noqa: ANN401 - of click
    """An option called *names*, such as ``-n --limit``, with *text* as its help."""
    return Option(names.split(), help=text, **settings)


def flag(names: str, text: str) -> Option:
    return option(names, text, is_flag=True)


def _many(names: str, text: str, **settings: Any) -> Option:  # noqa: ANN401 - of click
    return option(names, f"{text} Repeatable.", multiple=True, **settings)


def limit(text: str) -> Option:
    names = "limit -n --number --limit"
    return option(names, text, default=DEFAULT_LIMIT, show_default=True)


class _EmbedFormat(Choice[str]):
    """The forms that ``embed`` prints; those of rows have another option."""

    def convert(
        self,
        value: Any,  # noqa: ANN401 - as click declares it
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> str:
        if value in INPUT_FORMATS and value not in self.choices:
            message = f"{value!r} is a format of rows: use --input-format {value}"
            self.fail(message, param, ctx)
        return super().convert(value, param, ctx)


CONFIG = option(
    "config_file --config",
    "The YAML or JSON file with the settings, as Datasette reads it.",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
)
FORMAT = option(
    "output_format --format",
    "nl: a JSON object a line, with llm's keys. Default: for people.",
    type=Choice(OUTPUT_FORMATS),
)


def row_options(param: str = "-p --param") -> tuple[Option, ...]:
    """The options of ``sqlite-utils rows``, for the rows or metadata of items."""
    return (
        option(
            "--where",
            "Only items for which this SQL is true of their row or metadata: "
            "'year > :y'",
            metavar="SQL",
        ),
        _many(
            f"params {param}",
            f"A value of --where: {param.split()[0]} y 2020.",
            nargs=2,
            metavar="NAME VALUE",
        ),
        option(
            "--sort",
            "Show the best matches in the order of this column.",
            metavar="COLUMN",
        ),
        option("--sort-desc", "The same in descending order.", metavar="COLUMN"),
    )


MIN_SCORE = option(
    "--min-score", "Leave out matches below this cosine similarity.", type=float
)
SILENT = flag("--silent", "No progress bar.")

VECTOR_FORMATS = ("json", "blob", "base64", "hex")

# Of `search` and `similar`
MATCH_OPTIONS = (
    limit("How many matches to show."),
    option("--prefix", "Only items whose ids begin with this.", default=""),
    option(
        "--cluster",
        "Only items of this cluster: 3, several as 3,5, or none for those in none.",
        metavar="NUMBER",
    ),
    flag("--all-chunks", "Show every matching chunk of a document, not only the best."),
    flag("--full", "Print the whole content of each match, as nl and json always do."),
    FORMAT,
)
# Of `embed`, below the headings of its help
ITEM_OPTIONS = (
    option("-c --content", "The text to embed."),
    option(
        "content_file -i --input",
        "Embed the text of this file, or - for standard input.",
        type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
        metavar="FILE",
    ),
    flag(
        "--binary",
        "FILE, or each file of a folder, is not a text: an image, or what else the "
        "model takes.",
    ),
    option(
        "output_format -f --format",
        "Print the vector in this form. Of rows, json prints the summary; the format "
        "of INPUT is --input-format.",
        type=_EmbedFormat(VECTOR_FORMATS),
    ),
)
SOURCE_OPTIONS = {
    "One item": ITEM_OPTIONS,
    "Where the rows come from": (
        option("-t --table", "Embed the rows of this table or view."),
        option("--sql", "Embed the rows of a query: first the id, then content."),
        _many(
            "--attach",
            "Another database that the query reads.",
            nargs=2,
            metavar="ALIAS FILE",
        ),
        _many(
            "--files",
            "Embed files, such as docs '**/*.md'; the id is the path.",
            nargs=2,
            metavar="FOLDER GLOB",
        ),
        _many("--glob", "Which files of the folder INPUT. Default: all, '**/*'."),
        _many(
            "--exclude",
            "Files and folders to leave out, as in a .gitignore: 'drafts/**'.",
            metavar="PATTERN",
        ),
        option(
            "--ignore/--no-ignore",
            "Leave out hidden files, node_modules, and what .gitignore says. Default: "
            "as in the collection; in a new one --ignore.",
            default=None,
        ),
        flag("--images", "The content is images: files, or a BLOB column."),
        option(
            "--input-format",
            "Format of INPUT. Default: inferred from its name or its beginning.",
            type=Choice(INPUT_FORMATS),
        ),
        _many("encodings --encoding", "Encoding of files that are not UTF-8."),
    ),
    "What is embedded and kept": (
        _many("columns --column", "A column to embed."),
        option("--template", "Jinja for the content: '{{ title }}: {{ body }}'"),
        flag("--strip-html", "Leave out HTML tags."),
        _many("--id", "The id of one item; of rows, a column with it."),
        option("--prefix", "Text in front of each id.", default=""),
        _many("--metadata", "JSON kept with one item; of rows, a column."),
        _many(
            "--metadata-index",
            "A key of the metadata that filters find by an index; none removes it.",
            metavar="KEY",
        ),
        option(
            "url --base-url",
            "Where items are on your site: what begins their addresses, such as "
            "https://example.com/notes/, or Jinja such as '/{{ year }}/{{ slug }}'.",
        ),
        option("--title", "What names one item in results; of rows, a column."),
        option(
            "--store/--no-store",
            "Keep the content, or only the vectors. Default: that of a table is not "
            "copied, all other is kept.",
            default=None,
        ),
        option(
            "--caption",
            "Let a plugin write a text about each image, found by words; or none. "
            "Default: as in the collection.",
            metavar="NAME",
        ),
    ),
    "Model, chunks and words": (
        option(
            "-m --model",
            "Default: the collection's model; for a new one that of the settings, or "
            f"{MODEL_VARIABLE}, or {DEFAULT_MODEL}.",
        ),
        option(
            "passage_prompt --prepend",
            "Text in front of each text for the model, not stored. The collection "
            "remembers it.",
        ),
        option(
            "--batch-size",
            "Texts that the model takes together.",
            type=click.IntRange(min=1),
        ),
        option("api_key --key", "The key of a model behind an API."),
        option(
            "--chunk",
            "Where to split texts into chunks that fit the model: "
            f"{', '.join((AUTO_CHUNKS, *METHODS, NO_CHUNKS))}, or a chunker of a "
            "plugin. Default: as in the collection; in a new one auto, which splits "
            "only long texts. With none the model reads the beginning of a long text.",
            metavar="NAME",
        ),
        option(
            "--chunk-size",
            "Tokens of a chunk. Default: as many as the model reads.",
            type=int,
        ),
        option(
            "--chunk-overlap",
            "Tokens that a chunk repeats from the one before.",
            default=0,
        ),
        option(
            "--words",
            "How words are indexed: english word forms, plain words, trigrams (for "
            "languages without spaces), or none.",
            type=Choice(WORDS),
        ),
        option(
            "words --no-words",
            "Index no words: searches go by meaning alone.",
            flag_value=NO_WORDS,
        ),
        option(
            "--similarities",
            "Store the N most similar documents of each, and keep them current.",
            type=click.IntRange(min=1),
            metavar="N",
        ),
    ),
}
SUMMARY = option(
    "output_format --format",
    "json: print the summary as JSON. Default: for people.",
    type=Choice(["json"]),
)
# Of `embed` and `sync`
RUN_OPTIONS = (
    option(
        "--limit",
        "Take only the first rows, as many as this, to try it.",
        type=click.IntRange(min=1),
    ),
    flag("--dry-run", "Report what would be done, and write nothing."),
    flag("--rebuild", "Embed everything again, then replace the collection."),
    flag(
        "replace_source --replace",
        "Replace another source, and delete the items that only that one had.",
    ),
    SILENT,
    CONFIG,
)
