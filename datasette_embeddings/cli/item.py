"""``embed --content`` and ``--input``: one item, stored, or its vector printed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from datasette_embeddings.cli.commands import is_database_named
from datasette_embeddings.cli.contents import read_file
from datasette_embeddings.cli.output import show_report
from datasette_embeddings.cli.settings import fetched_model
from datasette_embeddings.config import NO_WORDS, Config
from datasette_embeddings.databases import open_database
from datasette_embeddings.documents import (
    AUTO_CHUNKS,
    NO_CHUNKS,
    Chunking,
    Content,
    Document,
)
from datasette_embeddings.errors import InvalidInputError, quoted
from datasette_embeddings.images import MAX_BYTES
from datasette_embeddings.ingest.items import embed_items
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.store.collection_writes import create_collection
from datasette_embeddings.store.collections import StoredCollection, find_collection
from datasette_embeddings.vectors import Vector, encode

# Parameters of `embed` that go with one item, stored or not
OF_ITEM = {
    *("database", "database_option", "collection", "input", "config_file", "silent"),
    *("content", "content_file", "binary", "images", "output_format"),
    *("model", "passage_prompt", "batch_size", "api_key"),
}
# Those that say how it is stored
OF_STORED_ITEM = {
    *("id", "metadata", "title", "store", "words"),
    *("chunk", "chunk_size", "chunk_overlap"),
}


def embed_item(
    ctx: click.Context,
    database: Path | None,
    collection: str | None,
    config: Config,
    model_options: Mapping[str, Any],
    given: Mapping[str, Any],
) -> None:
    """Store the item that *given* describes, or print its vector.

    *given* are the other parameters of ``embed``.
    """
    _check_parameters(ctx, is_stored=collection is not None)
    if collection is None or database is None:
        if database is not None and not is_database_named(ctx):
            raise InvalidInputError(
                "Expected DB, COLLECTION and ID to store the item, or none of them to "
                f"print its vector; found only {database}"
            )
        content = _content(given)
        model = fetched_model(given["model"], config, model_options)
        print_vector(_vector(model, content), given["output_format"] or "json")
        return
    document = _document(given)
    with open_database(database, writable=True, create=True) as conn:
        existing = find_collection(conn, collection)
        model = fetched_model(given["model"], config, model_options, existing=existing)
        if isinstance(document.content, bytes) and not model.supports_images:
            raise InvalidInputError(
                f"The model {model.model_id!r} takes texts, not images; choose one "
                "that takes images with --model"
            )
        words, store = given["words"], given["store"] is not False
        if not store:
            words = words_without_content(words, existing)
        stored = create_collection(conn, collection, model.settings, None, words=words)
        report = embed_items(
            stored, model, [document], chunking=_chunking(given), store=store
        )
        for failure in report.failures:
            raise InvalidInputError(f"The item {quoted(failure.id)}: {failure.error}")
        show_report(collection, report, None)
        if given["output_format"] is not None:
            print_vector(stored.vector(document.id), given["output_format"])


def words_without_content(
    words: str | None, existing: StoredCollection | None
) -> str | None:
    """The kind of words index for texts that are not kept: none by default.

    The index has the texts, too.
    """
    if words is None and existing is not None and existing.has_words:
        click.echo(
            f"Note: the words of {existing.name} are indexed, with their texts; "
            "--no-words keeps none",
            err=True,
        )
        return None
    return words or NO_WORDS


def print_vector(vector: Vector, output_format: str) -> None:
    """Print *vector* as llm does: json, blob, base64 or hex."""
    blob = encode(vector)
    if output_format == "blob":
        click.echo(blob, nl=False)
    elif output_format == "base64":
        click.echo(base64.b64encode(blob).decode("ascii"))
    elif output_format == "hex":
        click.echo(blob.hex())
    else:
        click.echo(json.dumps(vector.tolist()))


def _check_parameters(ctx: click.Context, *, is_stored: bool) -> None:
    """Check that no option is of rows, or of storing an item that is not stored."""
    for param in ctx.command.params:
        name = param.name or ""
        if (
            name in OF_ITEM
            or ctx.get_parameter_source(name) is not ParameterSource.COMMANDLINE
            or (is_stored and name in OF_STORED_ITEM)
        ):
            continue
        one = "--content" if ctx.params["content"] is not None else "--input"
        option = max(param.opts, key=len)
        if name in OF_STORED_ITEM:
            message = (
                f"{option} goes with an item that is stored: name DB, COLLECTION and ID"
            )
        else:
            message = f"{one} goes with one item, not with {option}"
            if one == "--content":
                message += "; --column names columns"
        raise InvalidInputError(message)


def _document(given: Mapping[str, Any]) -> Document:
    """The item with its id, content and metadata."""
    ids = [*given["id"], *([] if given["input"] is None else [given["input"]])]
    if len(ids) != 1 or not ids[0]:
        found = " and ".join(map(quoted, ids)) or "none"
        raise InvalidInputError(
            f"Expected one id of the item, after COLLECTION or with --id; found {found}"
        )
    metadata = _metadata(given["metadata"])
    if given["title"] is not None:
        metadata["title"] = given["title"]
    return Document(ids[0], _content(given), metadata or None)


def _metadata(given: tuple[str, ...]) -> dict[str, object]:
    if not given:
        return {}
    try:
        [text] = given
        metadata = json.loads(text)
        if isinstance(metadata, dict):
            return metadata
    except ValueError:
        pass
    raise InvalidInputError(
        "Expected one JSON object as --metadata, such as '{\"year\": 2026}'; found "
        + " and ".join(map(quoted, given))
    )


def _content(given: Mapping[str, Any]) -> Content:
    """The text of --content, or what is in the file of --input."""
    text, path = given["content"], given["content_file"]
    is_binary = given["binary"] or given["images"]
    if None not in (text, path) or (is_binary and path is None):
        found = "both" if path is not None else "--binary with --content"
        raise InvalidInputError(f"Expected --content or --input FILE, found {found}")
    content: Content = text
    if path is not None:
        content = read_file(
            path,
            is_binary=is_binary,
            most_bytes=MAX_BYTES,
            otherwise=f"To embed them as they are, use: --binary --input {path}",
        )
    if not content.strip():
        raise InvalidInputError("Expected a content to embed, found an empty one")
    return content


def _chunking(given: Mapping[str, Any]) -> Chunking | None:
    method, size = given["chunk"] or AUTO_CHUNKS, given["chunk_size"]
    if method == NO_CHUNKS:
        return None
    return Chunking(method, size, given["chunk_overlap"])


def _vector(model: EmbeddingModel, content: Content) -> Vector:
    """The vector of *content*, (d,), as it would be stored."""
    if isinstance(content, bytes):
        vector: Vector = model.embed_images([content])[0]
    else:
        vector = model.embed_passages([content])[0]
    return vector
