"""``search`` and ``similar``: matches for a text or an item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from datasette_embeddings.cli.base import (
    database_argument,
    format_option,
    limit_option,
    min_score_option,
    write,
)
from datasette_embeddings.cli.groups import Command, verbose_option
from datasette_embeddings.cli.settings import config_in, metadata_option
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInputError, SourceError
from datasette_embeddings.formats import Row, printable
from datasette_embeddings.images import MAX_BYTES, media_type
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.search.matches import (
    Match,
    search_text,
    search_vector,
    similar_items,
)
from datasette_embeddings.search.nearest import Options, checked_limit
from datasette_embeddings.search.snippets import shortened
from datasette_embeddings.sources.definitions import STDIN
from datasette_embeddings.sources.text_files import decoded
from datasette_embeddings.store import catalog
from datasette_embeddings.store.catalog import Collection, models_of
from datasette_embeddings.store.fitting import check_identity

if TYPE_CHECKING:
    from datasette_embeddings.models.base import EmbeddingModel

# Characters of a match's content that a terminal shows
SNIPPET_LENGTH = 200
# Characters of the content in a column of a table
LINE_LENGTH = 100
# Bytes of a text to search for; models read far less
MAX_TEXT_BYTES = 1_000_000


_file = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
all_chunks_option = click.option(
    "--all-chunks",
    is_flag=True,
    help="Of a chunked document show every chunk that matches, not only the best.",
)
full_option = click.option(
    "--full",
    is_flag=True,
    help="Print the whole content of each match, as nl and json always do.",
)


@click.command(cls=Command)
@database_argument
@click.argument("collection")
@click.argument("text", required=False)
@click.option(
    "-i",
    "--input",
    "text_file",
    type=_file,
    help="Search for the text in this file, or - for standard input, instead of TEXT.",
)
@click.option(
    "--image",
    type=_file,
    help="Search by this picture, or - for standard input, instead of TEXT.",
)
@limit_option
@min_score_option
@all_chunks_option
@metadata_option
@full_option
@format_option
@verbose_option
def search(
    database: Path,
    collection: str,
    text: str | None,
    limit: int,
    min_score: float | None,
    output_format: str | None,
    *,
    text_file: Path | None,
    image: Path | None,
    all_chunks: bool,
    full: bool,
    metadata: Path | None,
) -> None:
    """Search COLLECTION for the items closest in meaning to TEXT.

    With - as TEXT, the text comes from standard input.

    \b
        datasette embeddings search docs.db articles "how to make a backup"
        datasette embeddings search docs.db articles backup --format nl | jq .id
        datasette embeddings search docs.db articles backup -m metadata.yml
        datasette embeddings search docs.db articles -i question.txt
        fortune | datasette embeddings search docs.db articles -
        datasette embeddings search shop.db photos --image chair.jpg
    """
    config = config_in(metadata)
    options = Options(checked_limit(limit), min_score=min_score, all_chunks=all_chunks)
    question = _question(text, text_file, image)
    with open_database(database) as conn:
        found = catalog.collection(conn, collection)
        model = load_model(found.model_id, models_of(found, config.models))
        matches = _matches(found, model, question, options)
    _show_matches(matches, output_format, full=full)


@click.command(cls=Command)
@database_argument
@click.argument("collection")
@click.argument("item_id", metavar="ID")
@limit_option
@min_score_option
@all_chunks_option
@full_option
@format_option
def similar(
    database: Path,
    collection: str,
    item_id: str,
    limit: int,
    min_score: float | None,
    output_format: str | None,
    *,
    all_chunks: bool,
    full: bool,
) -> None:
    """The items of COLLECTION closest to the one called ID. Needs no model.

    \b
        datasette embeddings similar docs.db articles 17
    """
    options = Options(checked_limit(limit), min_score=min_score, all_chunks=all_chunks)
    with open_database(database) as conn:
        found = catalog.collection(conn, collection)
        matches = similar_items(found, item_id, options=options)
    _show_matches(matches, output_format, full=full)


def _matches(
    collection: Collection,
    model: EmbeddingModel,
    question: str | bytes,
    options: Options,
) -> list[Match]:
    """The matches of a text or of the bytes of an image."""
    if isinstance(question, str):
        return search_text(collection, question, model=model, options=options)
    check_identity(collection, model.settings)
    vector = model.embed_images([question])[0]
    return search_vector(collection, vector, options=options)


def _question(
    text: str | None, text_file: Path | None, image: Path | None
) -> str | bytes:
    """The text to search for, or the bytes of the image.

    :raises InvalidInputError: unless exactly one of the three is given and can be read.
    """
    if [text, text_file, image].count(None) != 2:
        raise InvalidInputError("Expected one of TEXT, --input FILE and --image FILE")
    if image is not None:
        return _content(image, MAX_BYTES, "an image")
    if text is not None and text != STDIN:
        return text
    path = text_file or Path(STDIN)
    content = _content(path, MAX_TEXT_BYTES, "a text")
    kind = media_type(content)
    try:
        if kind is None:
            # A guessed encoding would turn many images into text
            return decoded(content, ["utf-8"])
    except SourceError:
        kind = "other bytes"
    raise InvalidInputError(
        f"Expected a text in UTF-8 in {_named(path)}, found {kind}. To search by a "
        f"picture, use: --image {path}"
    )


def _content(path: Path, most_bytes: int, wanted: str) -> bytes:
    """The bytes of the file at *path*, a pipe or standard input.

    :raises InvalidInputError: if it cannot be read, or has more than *most_bytes*,
        which
        are not read.
    """
    try:
        with click.open_file(str(path), "rb") as file:
            content: bytes = file.read(most_bytes + 1)
    except (OSError, RuntimeError) as error:
        # A RuntimeError of click where standard input is closed
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{_named(path)} cannot be read: {reason}") from error
    if len(content) > most_bytes:
        raise InvalidInputError(
            f"Expected {wanted} of at most {most_bytes:,} bytes, found more in "
            f"{_named(path)}"
        )
    return content


def _named(path: Path) -> str:
    return "standard input" if str(path) == STDIN else str(path)


def _show_matches(
    matches: Sequence[Match], output_format: str | None, *, full: bool
) -> None:
    if output_format is not None:
        # Tables are for people; JSON is for programs, and always whole
        is_cut = output_format in ("table", "csv") and not full
        return write([_row(match, is_cut=is_cut) for match in matches], output_format)
    for match in matches:
        title = match.title or match.document_id
        click.echo(f"{match.score:.3f}  {printable(title)}{_place(match)}")
        for line in _lines(match, full=full):
            click.echo(f"       {printable(line)}")
        if match.stale:
            click.echo(f"       {_reason(match)}")


def _row(match: Match, *, is_cut: bool) -> Row:
    content = match.content
    if is_cut and content is not None:
        content = printable(shortened(content, LINE_LENGTH))
    return {
        "id": match.id,
        "score": match.score,
        "content": content,
        "metadata": match.metadata,
        "stale": match.stale,
    }


def _lines(match: Match, *, full: bool) -> list[str]:
    """The content of *match* for a terminal: its beginning, or all of it."""
    if full:
        return (match.content or "").splitlines()
    snippet = match.snippet(SNIPPET_LENGTH)
    return [snippet] if snippet else []


def _reason(match: Match) -> str:
    """Why a match is stale."""
    if not match.has_row:
        return "(the source row was deleted; sync deletes this item)"
    return "(the source row has changed since; sync embeds it again)"


def _place(match: Match) -> str:
    """Where in its document the passage of a chunk stands."""
    if match.start is None:
        return ""
    return f"  (characters {match.start:,} to {match.end:,})"
