"""What ``search`` and ``similar`` print."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import click

from datasette_embeddings.cli.output import printable, write
from datasette_embeddings.config import NO_WORDS
from datasette_embeddings.search.answers import Answer
from datasette_embeddings.search.matches import Match
from datasette_embeddings.search.nearest import Options
from datasette_embeddings.search.snippets import shortened
from datasette_embeddings.sources.definitions import FolderSource
from datasette_embeddings.store.collections import StoredCollection

# Characters of a match's content that a terminal shows
SNIPPET_LENGTH = 200
# Characters of the content in a column of a table
LINE_LENGTH = 100


def show_how(
    answer: Answer, options: Options, collection: StoredCollection, database: Path
) -> None:
    """Say where the text was not searched for as it was typed, or not by words."""
    if answer.corrected is not None:
        corrected = printable(shortened(answer.corrected, LINE_LENGTH))
        click.echo(
            f"Showing results for: {corrected}\n"
            "Search for exactly what you typed with --as-typed",
            err=True,
        )
    if answer.mode != options.mode:
        command = ["sync", str(database), collection.name]
        if collection.words == NO_WORDS:
            command = ["embed", str(database), collection.name, "--words", "english"]
        click.echo(
            f"Searched by meaning only: the words of {printable(collection.name)} are "
            f"not indexed. To index them: datasette embeddings {shlex.join(command)}",
            err=True,
        )


def show_matches(
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
    is_table = output_format in ("table", "csv")
    cut = is_table and not full
    rows = [
        {
            "id": match.id,
            "score": match.score,
            **({"rerank_score": match.rerank_score} if is_reranked else {}),
            "cosine": match.cosine,
            "matched": ", ".join(match.matched) if is_table else match.matched,
            "title": _on_a_line(match.title) if cut else match.title,
            # A table has them in the title
            **({} if is_table else {"headings": match.headings}),
            "content": _on_a_line(match.content) if cut else match.content,
            "metadata": match.metadata,
            **({} if is_table else {"url": match.url}),
            "stale": match.stale,
        }
        for match in matches
    ]
    write(rows, output_format)


def _on_a_line(text: str | None) -> str | None:
    return None if text is None else printable(shortened(text, LINE_LENGTH))


def show_reranking(matches: Sequence[Match], options: Options) -> None:
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


def _name_of(match: Match) -> str:
    """The title of a match; of a file its path, and what more the title tells."""
    path, title = match.document_id, match.title
    if not isinstance(match.source, FolderSource):
        return title or path
    tells_more = title is not None and title != PurePosixPath(path).stem
    return f"{path}  {title}" if tells_more else path


def _show_match(match: Match, *, full: bool) -> None:
    line = f"{match.score:.3f}  {printable(_name_of(match))}"
    notes = []
    if match.score != match.cosine:
        # A search by meaning finds all by it
        notes.append(", ".join(match.matched))
    if match.start is not None:
        notes.append(f"characters {match.start:,} to {match.end:,}")
    click.echo(f"{line}  ({'; '.join(notes)})" if notes else line)
    content = (match.content or "") if full else match.snippet(SNIPPET_LENGTH)
    lines = [printable(line) for line in content.splitlines()]
    if match.stale and match.has_row:
        lines.append("(the source row has changed since; sync embeds it again)")
    elif match.stale:
        lines.append("(the source row was deleted; sync deletes this item)")
    for line in lines:
        click.echo(f"       {line}")
