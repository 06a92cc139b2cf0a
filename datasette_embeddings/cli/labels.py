"""``labels``: which of some labels fits an item, a text, a file, or every item."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from datasette_embeddings.analysis.labels import (
    best_labels,
    checked_labels,
    column_labels,
    document_vector,
    label_vectors,
    labels_of,
    scale_of,
)
from datasette_embeddings.cli.commands import Command
from datasette_embeddings.cli.contents import read_file
from datasette_embeddings.cli.options import (
    CONFIG,
    collection_argument,
    database_argument,
    flag,
    option,
)
from datasette_embeddings.cli.output import FORMATS, printable, write
from datasette_embeddings.cli.settings import config_in
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.images import MAX_BYTES
from datasette_embeddings.models.base import EmbeddingModel
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.store import collections
from datasette_embeddings.store.collections import StoredCollection
from datasette_embeddings.vectors import Vector

MAX_TEXT_BYTES = 1_000_000
_LABELS = (
    option("labels -l --label", "A label, at least two. Repeatable.", multiple=True),
    option(
        "--labels-from",
        "Take the distinct values of a column as labels.",
        nargs=2,
        metavar="TABLE COLUMN",
    ),
    option(
        "--template",
        "What the model reads in place of a label, such as 'a photo of a {}'. Default: "
        "the label alone.",
    ),
    option("-c --content", "The text to label."),
    option(
        "content_file -i --input",
        "Label the text of this file, or - for standard input.",
        type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
        metavar="FILE",
    ),
    flag("--binary", "FILE is an image."),
    flag("every --all", "Print every item with its best label."),
    option(
        "output_format --format",
        "nl: a JSON object a line. Default: for people.",
        type=click.Choice(FORMATS),
    ),
    CONFIG,
)


@click.command(cls=Command, options=_LABELS)
@database_argument
@collection_argument
@click.argument("item_id", metavar="[ITEM]", required=False)
def labels(
    database: Path,
    collection: str,
    item_id: str | None,
    *,
    labels: Sequence[str],
    labels_from: tuple[str, str] | None,
    template: str | None,
    content: str | None,
    content_file: Path | None,
    binary: bool,
    every: bool,
    output_format: str | None,
    config_file: Path | None,
) -> None:
    """Say how probable each label is for an ITEM of COLLECTION, a text or an image.

    The model of COLLECTION compares the labels. Their probabilities add up to 1, so one
    of them is the best even if none fits.

    \b
        datasette embeddings labels docs.db articles 17 -l recipe -l travel -l code
        datasette embeddings labels docs.db articles -c "boil it" -l recipe -l code
        datasette embeddings labels shop.db photos -i a.jpg --binary -l chair -l bed
        datasette embeddings labels docs.db articles --all --labels-from topics name
    """
    if [item_id, content, content_file, every or None].count(None) != 3:
        raise InvalidInputError(
            "Expected one of ITEM, --content TEXT, --input FILE and --all"
        )
    if binary and content_file is None:
        raise InvalidInputError("--binary goes with --input FILE")
    if bool(labels) == (labels_from is not None):
        raise InvalidInputError("Expected either --label or --labels-from")
    config = config_in(config_file, database)
    with open_database(database) as conn:
        found = collections.collection(conn, collection)
        names = (
            checked_labels(labels)
            if labels_from is None
            else column_labels(conn, *labels_from)
        )
        model = load_model(found.model_id, found.located_models(config.models))
        found.check_settings(model.settings)
        vectors, scale = label_vectors(model, names, template), scale_of(model)
        if every:
            _write_all(found, names, vectors, scale, output_format)
            return
        if item_id is not None:
            vector = document_vector(found, item_id)
        else:
            vector = _vector(model, content, content_file, is_binary=binary)
        best = labels_of(vector, names, vectors, scale)
    if output_format is not None:
        write([each._asdict() for each in best], output_format)
        return
    for each in best:
        click.echo(f"{each.probability:6.1%}  {printable(each.label)}")


def _write_all(
    collection: StoredCollection,
    names: Sequence[str],
    vectors: Vector,
    scale: float,
    output_format: str | None,
) -> None:
    """Print each document with its best label, as it is found unless for a table."""
    found = best_labels(collection, names, vectors, scale)
    rows = ({"id": document_id, **each._asdict()} for document_id, each in found)
    if output_format == "nl":
        for row in rows:
            write([row], output_format)
    elif output_format is not None:
        write(list(rows), output_format)
    else:
        for row in rows:
            label, document_id = printable(str(row["label"])), printable(str(row["id"]))
            click.echo(f"{row['probability']:6.1%}  {label}  {document_id}")


def _vector(
    model: EmbeddingModel,
    content: str | None,
    content_file: Path | None,
    *,
    is_binary: bool,
) -> Vector:
    """The vector of the text, or of what is in the file."""
    query: str | bytes | None = content
    if content_file is not None:
        query = read_file(
            content_file,
            is_binary=is_binary,
            most_bytes=MAX_BYTES if is_binary else MAX_TEXT_BYTES,
            otherwise="To label an image, use --binary",
        )
    if isinstance(query, bytes):
        vector: Vector = model.embed_images([query])[0]
        return vector
    if not query or not query.strip():
        raise InvalidInputError("Expected a text to label, found an empty one")
    return model.passage_vector(query)
