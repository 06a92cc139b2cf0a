"""``search`` and ``similar``: matches for a text, an image or an item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from datasette_embeddings.cli.commands import Command
from datasette_embeddings.cli.options import (
    CONFIG,
    MATCH_OPTIONS,
    collection_argument,
    database_argument,
    option,
)
from datasette_embeddings.cli.output import printable, write
from datasette_embeddings.cli.settings import config_in, fetched_reranker
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.images import MAX_BYTES
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
from datasette_embeddings.store import collections

# Characters of a match's content that a terminal shows
SNIPPET_LENGTH = 200
# Characters of the content in a column of a table
LINE_LENGTH = 100
# Bytes of a text to search for; models read far less
MAX_TEXT_BYTES = 1_000_000

_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_INPUT = option(
    "text_file -i --input",
    "Search for the text in this file, or - for standard input, instead of TEXT.",
    type=_FILE,
)
_IMAGE = option(
    "--image",
    "Search by this image, or - for standard input, instead of TEXT.",
    type=_FILE,
)

_RERANK = option(
    "--rerank",
    "Order the best matches by this cross-encoder. Default: that of the settings.",
    metavar="MODEL",
)
_RERANK_TIME_LIMIT = option(
    "time_limit_ms --rerank-time-limit",
    "Milliseconds for that; after them, the order is that without it. Default: 1000.",
    type=click.IntRange(min=1),
    metavar="MS",
)


@click.command(
    cls=Command,
    options=(_INPUT, _IMAGE, *MATCH_OPTIONS, _RERANK, _RERANK_TIME_LIMIT, CONFIG),
)
@database_argument
@collection_argument
@click.argument("text", required=False)
def search(
    database: Path,
    collection: str,
    text: str | None,
    *,
    text_file: Path | None,
    image: Path | None,
    rerank: str | None,
    time_limit_ms: int | None,
    limit: int,
    full: bool,
    output_format: str | None,
    config_file: Path | None,
    **given: Any,  # noqa: ANN401 - fields of Options
) -> None:
    """Search COLLECTION for the items closest in meaning to TEXT.

    With - as TEXT, the text comes from standard input.

    \b
        datasette embeddings search docs.db articles "how to make a backup"
        datasette embeddings search docs.db articles backup --format nl | jq .id
        datasette embeddings search docs.db articles backup --config metadata.yml
        datasette embeddings search docs.db articles -i question.txt
        fortune | datasette embeddings search docs.db articles -
        datasette embeddings search shop.db photos --image chair.jpg
        datasette embeddings search docs.db articles backup \\
          --rerank cross-encoder/ms-marco-MiniLM-L6-v2
    """
    config = config_in(config_file, database)
    query = _query(text, text_file, image)
    name = rerank or config.reranker_of(collection)
    is_text = isinstance(query, str)
    options = Options(
        checked_limit(limit),
        rerank=fetched_reranker(name, config) if name and is_text else None,
        rerank_time_limit_ms=time_limit_ms or config.rerank_time_limit_ms,
        **given,
    )
    with open_database(database) as conn:
        found = collections.collection(conn, collection)
        model = load_model(found.model_id, found.located_models(config.models))
        if isinstance(query, str):
            matches = search_text(found, query, model=model, options=options)
        else:
            found.check_settings(model.settings)
            vector = model.embed_images([query])[0]
            matches = search_vector(found, vector, options=options)
    is_reranked = options.rerank is not None
    _show_matches(matches, output_format, full=full, is_reranked=is_reranked)
    _show_reranking(matches, options)


@click.command(cls=Command, options=MATCH_OPTIONS)
@database_argument
@collection_argument
@click.argument("item_id", metavar="ID")
def similar(
    database: Path,
    collection: str,
    item_id: str,
    *,
    limit: int,
    full: bool,
    output_format: str | None,
    **given: Any,  # noqa: ANN401 - fields of Options
) -> None:
    """Find the items of COLLECTION closest to its item ID. Needs no model.

    \b
        datasette embeddings similar docs.db articles 17
    """
    options = Options(checked_limit(limit), **given)
    with open_database(database) as conn:
        found = collections.collection(conn, collection)
        matches = similar_items(found, item_id, options=options)
    _show_matches(matches, output_format, full=full)


def _query(text: str | None, text_file: Path | None, image: Path | None) -> str | bytes:
    """The text to search for, or the bytes of the image."""
    if [text, text_file, image].count(None) != 2:
        raise InvalidInputError("Expected one of TEXT, --input FILE and --image FILE")
    if text is not None and text != STDIN:
        return text
    path = image or text_file or Path(STDIN)
    name = "standard input" if str(path) == STDIN else str(path)
    kind, most_bytes = "a text", MAX_TEXT_BYTES
    if image is not None:
        kind, most_bytes = "an image", MAX_BYTES
    try:
        with click.open_file(str(path), "rb") as file:
            content: bytes = file.read(most_bytes + 1)
    except (OSError, RuntimeError) as error:
        # click raises RuntimeError where standard input is closed
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{name} cannot be read: {reason}") from error
    if len(content) > most_bytes:
        raise InvalidInputError(
            f"Expected {kind} of at most {most_bytes:,} bytes, found more in {name}"
        )
    if image is not None:
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"Expected a text in UTF-8 in {name}, found other bytes. "
            f"To search by an image, use: --image {path}"
        ) from error


def _show_matches(
    matches: Sequence[Match],
    output_format: str | None,
    *,
    full: bool,
    is_reranked: bool = False,
) -> None:
    if output_format is None:
        for match in matches:
            _show_match(match, full=full)
        return
    # Tables are for people; JSON is for programs, and always whole
    cut = output_format in ("table", "csv") and not full
    rows = [
        {
            "id": match.id,
            "score": match.score,
            **({"rerank_score": match.rerank_score} if is_reranked else {}),
            "content": printable(shortened(match.content, LINE_LENGTH))
            if cut and match.content is not None
            else match.content,
            "metadata": match.metadata,
            "stale": match.stale,
        }
        for match in matches
    ]
    write(rows, output_format)


def _show_reranking(matches: Sequence[Match], options: Options) -> None:
    """Say which reranker ordered *matches*, or that it did not."""
    if options.rerank is None or not matches:
        return
    note = f"Ordered by {options.rerank.model_id}"
    if all(match.rerank_score is None for match in matches):
        note = (
            f"Not ordered by {options.rerank.model_id}, which was not ready within "
            f"{options.rerank_time_limit_ms:,} ms; --rerank-time-limit gives it more"
        )
    click.echo(note, err=True)


def _show_match(match: Match, *, full: bool) -> None:
    line = f"{match.score:.3f}  {printable(match.title or match.document_id)}"
    if match.start is not None:
        line += f"  (characters {match.start:,} to {match.end:,})"
    click.echo(line)
    content = (match.content or "") if full else match.snippet(SNIPPET_LENGTH)
    lines = [printable(line) for line in content.splitlines()]
    if match.stale and match.has_row:
        lines.append("(the source row has changed since; sync embeds it again)")
    elif match.stale:
        lines.append("(the source row was deleted; sync deletes this item)")
    for line in lines:
        click.echo(f"       {line}")
