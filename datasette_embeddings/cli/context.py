"""``context``: the passages that answer a question, for a language model."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import click

from datasette_embeddings.cli.commands import Command
from datasette_embeddings.cli.contents import read_file
from datasette_embeddings.cli.options import (
    CONFIG,
    collection_argument,
    database_argument,
    flag,
    option,
)
from datasette_embeddings.cli.output import printable, writable
from datasette_embeddings.cli.settings import config_in, fetched_reranker
from datasette_embeddings.config import DEFAULT_TOKENS, LEAST_TOKENS, MOST_TOKENS
from datasette_embeddings.context.budget import (
    BY_CHARACTERS,
    CHARACTERS,
    Count,
    counter_of,
)
from datasette_embeddings.context.building import (
    MOST_OTHERS,
    BestChunks,
    best_chunks,
    build,
)
from datasette_embeddings.context.passages import Context, context_json
from datasette_embeddings.databases import open_database
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.search.nearest import Options, checked_query
from datasette_embeddings.sources.definitions import STDIN
from datasette_embeddings.store import collections

# Characters of a question; models read far less
LONGEST_QUESTION = 100_000
#: A database and the name of a collection in it
NamedCollection: TypeAlias = tuple[Path, str]

#: Of ``context`` and ``ask``
CONTEXT_OPTIONS = (
    option(
        "--tokens",
        "The most tokens of the passages with their sources, as the embedding model "
        "counts them.",
        type=click.IntRange(LEAST_TOKENS, MOST_TOKENS),
        default=DEFAULT_TOKENS,
        show_default=True,
    ),
    option(
        "--also",
        f"Another collection to take passages from, up to {MOST_OTHERS}. Repeatable.",
        type=(click.Path(path_type=Path), str),
        multiple=True,
        metavar="DB COLLECTION",
    ),
)


@click.command(
    cls=Command,
    options=(
        *CONTEXT_OPTIONS,
        flag("as_json --json", "Print JSON: the passages one by one, and the text."),
        CONFIG,
    ),
)
@database_argument
@collection_argument
@click.argument("question")
def context(
    database: Path,
    collection: str,
    question: str,
    *,
    tokens: int,
    also: Sequence[NamedCollection],
    as_json: bool,
    config_file: Path | None,
) -> None:
    """Print the passages of COLLECTION that answer QUESTION, for a language model.

    Each has a numbered source, which a model can cite as [1]. Neighbouring passages of
    a document are joined, and all of them fit into --tokens.

    With - as QUESTION, it comes from standard input.

    \b
        datasette embeddings context docs.db articles "How do I make a backup?"
        datasette embeddings context docs.db articles "How do I make a backup?" \\
          | llm -s "How do I make a backup? Cite your sources as [1]"
        datasette embeddings context docs.db articles backup --tokens 500 --json
        datasette embeddings context docs.db articles backup \\
          --also docs.db notes --also mail.db messages
    """
    places = [(database, collection), *also]
    found = found_context(places, question, tokens=tokens, config_file=config_file)
    show_notes(found)
    if as_json:
        written = json.dumps(context_json(found), ensure_ascii=False, indent=2)
        click.echo(writable(written))
        return
    text = found.text
    if sys.stdout.isatty():
        text = "\n".join(map(printable, text.splitlines()))
    click.echo(writable(text))


def found_context(
    places: Sequence[NamedCollection],
    question: str,
    *,
    tokens: int,
    config_file: Path | None,
) -> Context:
    """The context of the collections at *places*, the first of which counts tokens.

    :raises InvalidInputError: for a blank question, or too many collections.
    """
    if question == STDIN:
        otherwise = "Give the question as an argument"
        content = read_file(
            Path(STDIN),
            is_binary=False,
            most_bytes=LONGEST_QUESTION,
            otherwise=otherwise,
        )
        question = str(content).strip()
    checked_query(question, max_length=LONGEST_QUESTION)
    if len(places) > MOST_OTHERS + 1:
        raise InvalidInputError(
            f"Expected --also at most {MOST_OTHERS} times, found {len(places) - 1}"
        )
    is_of_one = len({path.absolute() for path, _name in places}) == 1
    ranked, counters = list[BestChunks](), list[Count | None]()
    for path, name in places:
        config = config_in(config_file, path)
        reranker = config.reranker_of(name)
        options = Options(
            rerank=fetched_reranker(reranker, config) if reranker else None,
            rerank_time_limit_ms=config.rerank_time_limit_ms,
        )
        with open_database(path) as conn:
            found = collections.collection(conn, name)
            model = load_model(found.model_id, found.located_models(config.models))
            counters.append(counter_of(model))
            best = best_chunks(
                found,
                question,
                model=model,
                tokens=tokens,
                options=options,
                database=None if is_of_one else str(path),
            )
            ranked.append(best)
    return build(question, ranked, tokens=tokens, count=counters[0])


def show_notes(found: Context) -> None:
    """Say on standard error how the question was read, and how tokens were counted."""
    if found.corrected is not None:
        click.echo(f"Passages for: {printable(found.corrected)}", err=True)
    if found.counted_by == BY_CHARACTERS:
        click.echo(
            f"{CHARACTERS} characters were counted as a token: the model of the "
            "collection is remote, and its tokenizer is not known",
            err=True,
        )
