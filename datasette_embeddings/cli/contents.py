"""What a command is given as a file: a text, or bytes."""

from __future__ import annotations

from pathlib import Path

import click

from datasette_embeddings.documents import Content
from datasette_embeddings.errors import InvalidInputError
from datasette_embeddings.sources.definitions import STDIN


def read_file(
    path: Path, *, is_binary: bool, most_bytes: int, otherwise: str
) -> Content:
    """The text of the file at *path*, - for standard input, or its bytes.

    *otherwise* is the option for a file that is no text.

    :raises InvalidInputError: if it cannot be read, is no text or has more than
        *most_bytes*.
    """
    name = "standard input" if str(path) == STDIN else str(path)
    try:
        with click.open_file(str(path), "rb") as file:
            content: bytes = file.read(most_bytes + 1)
    except (OSError, RuntimeError) as error:
        # click raises RuntimeError where standard input is closed
        reason = getattr(error, "strerror", None) or error
        raise InvalidInputError(f"{name} cannot be read: {reason}") from error
    if len(content) > most_bytes:
        kind = "an image" if is_binary else "a text"
        raise InvalidInputError(
            f"Expected {kind} of at most {most_bytes:,} bytes, found more in {name}"
        )
    if is_binary:
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"Expected a text in UTF-8 in {name}, found other bytes. {otherwise}"
        ) from error
