"""``ask``: a question answered by a chat model from the passages of collections."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from datasette_embeddings.cli.commands import Command, ended_like_interrupted
from datasette_embeddings.cli.contents import read_file
from datasette_embeddings.cli.context import (
    CONTEXT_OPTIONS,
    NamedCollection,
    found_context,
    show_notes,
)
from datasette_embeddings.cli.options import (
    CONFIG,
    collection_argument,
    database_argument,
    flag,
    option,
)
from datasette_embeddings.cli.output import printable, writable
from datasette_embeddings.context.citations import CitationCheck, ranges
from datasette_embeddings.context.passages import Context, Passage, context_json
from datasette_embeddings.context.prompts import DEFAULT_PROMPT, message
from datasette_embeddings.errors import EmbeddingsError, InvalidInputError, ModelError
from datasette_embeddings.models.chat import ChatModel
from datasette_embeddings.search.snippets import shortened

# Bytes of a prompt, characters of an answer and of a source's title
MOST_OF_PROMPT, MOST_OF_ANSWER, TITLE_LENGTH = 100_000, 200_000, 100
NOTHING = "The chat model answered nothing"
_NOT_COMPLETE = "The answer above is not complete"


@click.command(
    cls=Command,
    options=(
        option(
            "llm_model --llm",
            "The chat model of llm that answers. Default: the default model of llm, if "
            "you have set one.",
            metavar="MODEL",
        ),
        *CONTEXT_OPTIONS,
        option(
            "--prompt",
            "The instruction for the chat model, or @FILE. Default: to answer from the "
            "passages only, and to cite them.",
            metavar="TEXT",
        ),
        flag("is_json --json", "Print the answer, citations and passages as JSON."),
        CONFIG,
    ),
)
@database_argument
@collection_argument
@click.argument("question")
def ask(
    database: Path,
    collection: str,
    question: str,
    *,
    llm_model: str | None,
    tokens: int,
    also: Sequence[NamedCollection],
    prompt: str | None,
    is_json: bool,
    config_file: Path | None,
) -> None:
    """Let a chat model of llm answer QUESTION from the passages of COLLECTION.

    It reads the passages that fit the question best, and cites them as [1]. A number
    that no passage has is marked in the answer. The sources are listed below it. With -
    as QUESTION, it comes from standard input.

    \b
        datasette embeddings ask docs.db articles "how do I make a backup?" --llm MODEL
        datasette embeddings ask docs.db articles "how do I make a backup?" \\
          --also notes.db notes --tokens 4000 --prompt @prompt.txt

    Your passages and the question are sent to the chat model, which may cost money. No
    model is asked unless you name it, or have set a default with: llm models default

    This command needs llm, which the extra llm installs.
    """
    instruction = _instruction(prompt)
    # Before a search, which may load another model
    model = ChatModel(llm_model)
    places = [(database, collection), *also]
    context = found_context(places, question, tokens=tokens, config_file=config_file)
    check = CitationCheck([each.number for each in context.passages])
    if not context.passages:
        if is_json:
            _write_json(context, model, None, check)
        raise InvalidInputError(
            "No passage was found for this question, so no chat model was asked. "
            "Sources without stored content, or that have changed, have none: sync "
            "reads them again"
        )
    _tell(context, model)
    parts = model.answer(message(context.question, context.text), system=instruction)
    with ended_like_interrupted():
        if is_json:
            answer = _collected(parts, check)
            _write_json(context, model, answer, check)
            return
        fault = _print_answer(parts, check)
    _print_sources(context, check)
    if fault is not None:
        raise fault


def _instruction(prompt: str | None) -> str:
    """What instructs the chat model: *prompt*, the text of its file, or our own."""
    if prompt is None:
        return DEFAULT_PROMPT
    if prompt.startswith("@"):
        prompt = _text_in(Path(prompt[1:]))
    if not prompt.strip():
        raise InvalidInputError("Expected a prompt, found an empty one")
    return prompt


def _text_in(path: Path) -> str:
    way_out = "Save it in UTF-8"
    return str(
        read_file(path, is_binary=False, most_bytes=MOST_OF_PROMPT, otherwise=way_out)
    )


def _tell(context: Context, model: ChatModel) -> None:
    """Say what is asked, and where the passages may not answer."""
    show_notes(context)
    if context.close is False:
        click.echo(
            "Nothing here is close to that question; the model reads what is nearest",
            err=True,
        )
    count = len(context.passages)
    passages = "1 passage" if count == 1 else f"{count} passages"
    click.echo(f"{model.model_id} reads {passages}", err=True)


def _collected(parts: Iterable[str], check: CitationCheck) -> str:
    """The whole answer as it is, after *check* has seen it."""
    answer = ""
    for part in parts:
        check.checked(part)
        answer += part
        if len(answer) > MOST_OF_ANSWER:
            raise ModelError(_too_long())
    check.end()
    if not answer:
        raise ModelError(NOTHING)
    return answer


def _print_answer(
    parts: Iterable[str], check: CitationCheck
) -> EmbeddingsError | click.ClickException | None:
    """Print *parts* as they come, and return why they end too early, if they do."""
    length = 0
    fault: EmbeddingsError | click.ClickException | None = None
    try:
        for part in parts:
            length += len(part)
            click.echo(_shown(check.checked(part)), nl=False)
            if length > MOST_OF_ANSWER:
                raise ModelError(_too_long())
    except KeyboardInterrupt:
        fault = click.ClickException(f"Interrupted. {_NOT_COMPLETE}")
    except ModelError as error:
        if not length:
            raise
        fault = ModelError(f"{error}. {_NOT_COMPLETE}")
    click.echo(_shown(check.end()))
    if not length and fault is None:
        raise ModelError(NOTHING)
    return fault


def _too_long() -> str:
    return f"The chat model wrote more than {MOST_OF_ANSWER:,} characters"


def _print_sources(context: Context, check: CitationCheck) -> None:
    """List the passages of *context*, those that were cited first."""
    passages = {each.number: each for each in context.passages}
    if check.cited:
        click.echo("\nSources:")
        for number in sorted(check.cited):
            click.echo(_source(passages.pop(number)))
        heading = "Not cited:"
    else:
        heading = "The answer cites none of its sources:"
    if passages:
        names = "; ".join(f"[{n}] {_title(each)}" for n, each in passages.items())
        click.echo(f"\n{heading} {names}")
    if check.unknown:
        found = ranges(check.unknown)
        click.echo(f"The answer cites {found}: there is no such source", err=True)


def _title(passage: Passage) -> str:
    return printable(shortened(passage.title or passage.id, TITLE_LENGTH))


def _source(passage: Passage) -> str:
    """The title of *passage*, and where it is."""
    place = f"{passage.collection} {passage.id}"
    if passage.database is not None:
        place = f"{passage.database} {place}"
    if passage.start is not None and passage.end is not None:
        place += f", characters {passage.start:,} to {passage.end:,}"
    address = f"  {printable(passage.url)}" if passage.url else ""
    return f"[{passage.number}] {_title(passage)}  ({printable(place)}){address}"


def _shown(text: str) -> str:
    """*text* for a terminal, with its lines and tabs."""
    return "".join(each if each in "\n\t" else printable(each) for each in text)


def _write_json(
    context: Context, model: ChatModel, answer: str | None, check: CitationCheck
) -> None:
    found = {
        "question": context.question,
        "model": model.model_id,
        "answer": answer,
        "cited": sorted(check.cited),
        "unknown": sorted(check.unknown),
        "context": context_json(context),
    }
    # An answer may have cost money: nothing in it must be an error
    click.echo(writable(json.dumps(found, ensure_ascii=False, indent=2)))
