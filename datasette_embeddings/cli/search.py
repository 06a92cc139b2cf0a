"""``search`` and ``similar``: matches for a text or an item."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from datasette_embeddings import search as searching
from datasette_embeddings import store
from datasette_embeddings.cli.base import (
    database_argument,
    format_option,
    limit_option,
    min_score_option,
    printable,
    verbose_option,
    write,
)
from datasette_embeddings.cli.settings import config_in, metadata_option
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInput
from datasette_embeddings.formats import Row
from datasette_embeddings.images import MAX_BYTES
from datasette_embeddings.models.registry import load_model

if TYPE_CHECKING:
    from datasette_embeddings.models.base import EmbeddingModel

# Characters of a match's content that a terminal shows
SNIPPET_LENGTH = 200


all_chunks_option = click.option(
    "--all-chunks",
    is_flag=True,
    help="Of a chunked document show every chunk that matches, not only the best.",
)


@click.command()
@database_argument
@click.argument("collection")
@click.argument("text", required=False)
@click.option(
    "--image",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Look for what is like this picture, in place of TEXT.",
)
@limit_option
@min_score_option
@all_chunks_option
@metadata_option
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
    image: Path | None,
    all_chunks: bool,
    metadata: Path | None,
) -> None:
    """The items of COLLECTION that mean most nearly what TEXT asks.

    \b
        datasette embeddings search docs.db articles "how to make a backup"
        datasette embeddings search docs.db articles backup --format nl | jq .id
        datasette embeddings search docs.db articles backup -m metadata.yml
        datasette embeddings search shop.db photos --image chair.jpg
    """
    config = config_in(metadata)
    options = searching.Options(
        searching.checked_limit(limit), min_score=min_score, all_chunks=all_chunks
    )
    with open_database(database) as conn:
        found = store.collection(conn, collection)
        model = load_model(found.model_id, config.models)
        matches = _matches(conn, found, model, (text, image), options)
    _show_matches(matches, output_format)


@click.command()
@database_argument
@click.argument("collection")
@click.argument("item_id", metavar="ID")
@limit_option
@min_score_option
@all_chunks_option
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
) -> None:
    """The items of COLLECTION closest to the one called ID. Needs no model.

    \b
        datasette embeddings similar docs.db articles 17
    """
    options = searching.Options(
        searching.checked_limit(limit), min_score=min_score, all_chunks=all_chunks
    )
    with open_database(database) as conn:
        found = store.collection(conn, collection)
        matches = searching.similar_items(conn, found, item_id, options=options)
    _show_matches(matches, output_format)


def _matches(
    conn: sqlite3.Connection,
    collection: store.Collection,
    model: EmbeddingModel,
    asked: tuple[str | None, Path | None],
    options: searching.Options,
) -> list[searching.Match]:
    """The matches of the text or the image of *asked*, of which one is given."""
    text, image = asked
    if text is not None and image is None:
        return searching.search_text(
            conn, collection, text, model=model, options=options
        )
    if image is not None and text is None:
        store.check_identity(collection, model.identity)
        vector = model.embed_images([_image_in(image)])[0]
        return searching.search_vector(conn, collection, vector, options=options)
    raise InvalidInput("Expected either a text to search for or --image FILE")


def _image_in(path: Path) -> bytes:
    """The bytes of the image at *path*, a file or a pipe.

    :raises InvalidInput: for more bytes than an image may have; no more are read.
    """
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise InvalidInput(
            f"Expected an image of at most {MAX_BYTES:,} bytes, found more in {path}"
        )
    return content


def _show_matches(
    matches: Sequence[searching.Match], output_format: str | None
) -> None:
    if output_format is not None:
        rows: list[Row] = [
            {
                "id": match.id,
                "score": match.score,
                "content": match.content,
                "metadata": match.metadata,
                "stale": match.stale,
            }
            for match in matches
        ]
        return write(rows, output_format)
    for match in matches:
        title = match.title or match.document_id
        click.echo(f"{match.score:.3f}  {printable(title)}{_place(match)}")
        snippet = match.snippet(SNIPPET_LENGTH)
        if snippet:
            click.echo(f"       {printable(snippet)}")
        if match.stale:
            click.echo(f"       {_reason(match)}")


def _reason(match: searching.Match) -> str:
    """Why a match is stale."""
    if not match.has_row:
        return "(the source row was deleted; sync deletes this item)"
    return "(the source row has changed since; sync embeds it again)"


def _place(match: searching.Match) -> str:
    """Where in its document the passage of a chunk stands."""
    if match.start is None:
        return ""
    return f"  (characters {match.start:,} to {match.end:,})"
