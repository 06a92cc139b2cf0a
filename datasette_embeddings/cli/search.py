"""``search`` and ``similar``: matches for a text, a file or an item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from datasette_embeddings.cli.commands import Command
from datasette_embeddings.cli.contents import read_file
from datasette_embeddings.cli.matches import show_how, show_matches, show_reranking
from datasette_embeddings.cli.options import (
    CONFIG,
    MATCH_OPTIONS,
    MIN_SCORE,
    collection_argument,
    database_argument,
    flag,
    option,
    row_options,
)
from datasette_embeddings.cli.settings import config_in, fetched_reranker
from datasette_embeddings.config import MODES
from datasette_embeddings.databases import open_database
from datasette_embeddings.documents import Content
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.images import MAX_BYTES
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.search.answers import (
    Answer,
    answer_text,
    search_text,
    search_vector,
    similar_items,
)
from datasette_embeddings.search.nearest import Options, checked_limit
from datasette_embeddings.search.scope import Scope, read_clusters
from datasette_embeddings.search.selecting import items_where
from datasette_embeddings.sources.definitions import STDIN
from datasette_embeddings.sources.table_rows import number_or
from datasette_embeddings.store import collections
from datasette_embeddings.store.collections import StoredCollection

# Bytes of a text to search for; models read far less
MAX_TEXT_BYTES = 1_000_000

_FILE = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
_INPUT = option(
    "text_file -i --input",
    "Search for the text in this file, or - for standard input, instead of TEXT.",
    type=_FILE,
    metavar="FILE",
)
_IMAGE = option(
    "--image",
    "Search by this image, or - for standard input, instead of TEXT.",
    type=_FILE,
    metavar="FILE",
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
        *(_INPUT, _IMAGE, *_RANKING, *row_options(), *MATCH_OPTIONS),
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
    where: str | None,
    params: Sequence[tuple[str, str]],
    cluster: str | None,
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
        datasette embeddings search docs.db articles os.walk --mode words
        datasette embeddings search docs.db articles backup --where "year > 2020"
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
        options = replace(options, among=among(found, where, params, cluster))
        if not by_words:
            model = load_model(found.model_id, found.located_models(config.models))
        if isinstance(query, str):
            answer = answer_text(found, query, model=model, options=options)
        else:
            assert model is not None
            answer = _answer_image(found, query, model, options)
    if is_text:
        show_how(answer, options, found, database)
    if answer.close is False and answer.matches and output_format is None:
        click.echo("Nothing here is close to that. Nearest anyway:", err=True)
    is_reranked = options.rerank is not None
    show_matches(answer.matches, output_format, full=full, is_reranked=is_reranked)
    show_reranking(answer.matches, options)


def _answer_image(
    collection: StoredCollection, image: bytes, model: EmbeddingModel, options: Options
) -> Answer:
    """The matches of an image."""
    collection.check_settings(model.settings)
    vector = model.embed_images([image])[0]
    return Answer(search_vector(collection, vector, options=options), "meaning")


_SIMILAR_OPTIONS = (
    option("-c --content", "Find items like this text, instead of ID."),
    option(
        "content_file -i --input",
        "Find items like the text of this file, or - for standard input.",
        type=_FILE,
        metavar="FILE",
    ),
    flag("--binary", "FILE is not a text: an image, or what else the model takes."),
    MIN_SCORE,
    # -p is --plain, as in llm
    *row_options("--param"),
    *MATCH_OPTIONS,
    flag("plain -p --plain", "Print for people: the default."),
    CONFIG,
)


@click.command(cls=Command, options=_SIMILAR_OPTIONS)
@database_argument
@collection_argument
@click.argument("item_id", metavar="[ID]", required=False)
def similar(
    database: Path,
    collection: str,
    item_id: str | None,
    *,
    content: str | None,
    content_file: Path | None,
    binary: bool,
    where: str | None,
    params: Sequence[tuple[str, str]],
    cluster: str | None,
    limit: int,
    full: bool,
    output_format: str | None,
    plain: bool,
    config_file: Path | None,
    **given: Any,  # noqa: ANN401 - fields of Options
) -> None:
    """Find the items of COLLECTION closest to its item ID, which needs no model.

    With --content or --input, those closest in meaning to a text or a file.

    \b
        datasette embeddings similar docs.db articles 17
        datasette embeddings similar docs.db articles 17 --prefix 2026/ -n 3
        datasette embeddings similar docs.db articles -c "how to make a backup"
        datasette embeddings similar shop.db photos -i chair.jpg --binary
    """
    if [item_id, content, content_file].count(None) != 2:
        raise InvalidInputError("Expected one of ID, --content TEXT and --input FILE")
    if binary and content_file is None:
        raise InvalidInputError("--binary goes with --input FILE")
    if plain and output_format is not None:
        raise InvalidInputError("Expected --plain or --format, found both")
    options = Options(checked_limit(limit), mode="meaning", **given)
    query: Content | None = content
    if content_file is not None:
        query = _content_of(content_file, is_binary=binary, way_out="--binary --input")
    config = config_in(config_file, database)
    with open_database(database) as conn:
        found = collections.collection(conn, collection)
        options = replace(options, among=among(found, where, params, cluster))
        if item_id is not None:
            matches = similar_items(found, item_id, options=options)
        else:
            model = load_model(found.model_id, found.located_models(config.models))
            if isinstance(query, bytes):
                matches = _answer_image(found, query, model, options).matches
            else:
                matches = search_text(found, query or "", model=model, options=options)
    show_matches(matches, output_format, full=full)


def among(
    collection: StoredCollection,
    where: str | None,
    params: Sequence[tuple[str, str]],
    cluster: str | None = None,
) -> frozenset[str] | None:
    """The items of *cluster* for which *where* is true; None without both."""
    if where is None and params:
        raise InvalidInputError("Expected --where with --param, found none")
    chosen = None
    if cluster is not None:
        chosen = Scope(read_clusters(cluster)).items(collection)
    if where is not None:
        # As numbers, because metadata have no types that would convert a text
        values = {name.lstrip(":"): number_or(value) for name, value in params}
        found = items_where(collection, where, values)
        chosen = found if chosen is None else chosen & found
    return chosen


def _query(text: str | None, text_file: Path | None, image: Path | None) -> Content:
    """The text to search for, or the bytes of the image."""
    if [text, text_file, image].count(None) != 2:
        raise InvalidInputError("Expected one of TEXT, --input FILE and --image FILE")
    if text is not None and text != STDIN:
        return text
    path = image or text_file or Path(STDIN)
    return _content_of(path, is_binary=image is not None, way_out="--image")


def _content_of(path: Path, *, is_binary: bool, way_out: str) -> Content:
    """What is in the file at *path*; *way_out* is the option for one without text."""
    return read_file(
        path,
        is_binary=is_binary,
        most_bytes=MAX_BYTES if is_binary else MAX_TEXT_BYTES,
        otherwise=f"To search by an image, use: {way_out} {path}",
    )
