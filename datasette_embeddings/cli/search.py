"""``search`` and ``similar``: matches for a text, an image or an item."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from datasette_embeddings.cli.commands import Command
from datasette_embeddings.cli.matches import show_how, show_matches, show_reranking
from datasette_embeddings.cli.options import (
    CONFIG,
    MATCH_OPTIONS,
    MIN_SCORE,
    collection_argument,
    database_argument,
    flag,
    option,
)
from datasette_embeddings.cli.settings import config_in, fetched_reranker
from datasette_embeddings.config import MODES
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.images import MAX_BYTES
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.search.answers import (
    Answer,
    answer_text,
    search_vector,
    similar_items,
)
from datasette_embeddings.search.nearest import Options, checked_limit
from datasette_embeddings.sources.definitions import STDIN
from datasette_embeddings.store import collections

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
_RANKING = (
    option(
        "--mode",
        "What to search by: words and meaning together, or one of them; words need no "
        "model.",
        type=click.Choice(MODES),
        default=MODES[0],
        show_default=True,
    ),
    flag("--as-typed", "Look for the words as they are typed, without corrections."),
    option("--min-score", "Leave out matches below this score.", type=float),
    option(
        "--min-cosine", "Leave out matches below this cosine similarity.", type=float
    ),
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
    options=(
        *(_INPUT, _IMAGE, *_RANKING, *MATCH_OPTIONS),
        *(_RERANK, _RERANK_TIME_LIMIT, CONFIG),
    ),
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
    """Search COLLECTION for TEXT, by its words and its meaning.

    Words in "quotation marks" must be there, and -word must not. An image is searched
    for by meaning.

    With - as TEXT, the text comes from standard input.

    \b
        datasette embeddings search docs.db articles "how to make a backup"
        datasette embeddings search docs.db articles backup --format nl | jq .id
        datasette embeddings search docs.db articles backup --config metadata.yml
        datasette embeddings search docs.db articles os.walk --mode words
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
    by_words = options.mode == "words"
    if by_words and not is_text:
        raise InvalidInputError("Expected a text to search for by words, not an image")
    with open_database(database) as conn:
        found, model = collections.collection(conn, collection), None
        if not by_words:
            model = load_model(found.model_id, found.located_models(config.models))
        if isinstance(query, str):
            answer = answer_text(found, query, model=model, options=options)
        else:
            assert model is not None
            found.check_settings(model.settings)
            vector = model.embed_images([query])[0]
            by_image = search_vector(found, vector, options=options)
            answer = Answer(by_image, "meaning")
    if is_text:
        show_how(answer, options, found, database)
    if answer.close is False and answer.matches and output_format is None:
        click.echo("Nothing here is close to that. Nearest anyway:", err=True)
    is_reranked = options.rerank is not None
    show_matches(answer.matches, output_format, full=full, is_reranked=is_reranked)
    show_reranking(answer.matches, options)


@click.command(cls=Command, options=(MIN_SCORE, *MATCH_OPTIONS))
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
    show_matches(matches, output_format, full=full)


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
