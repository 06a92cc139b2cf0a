"""Values of a JSON body, each with its type checked."""

from __future__ import annotations

import base64
import binascii
import gc
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from datasette_embeddings.errors import InvalidInputError, quoted


def json_object(body: bytes) -> dict[str, Any]:
    """The JSON object in *body*.

    :raises InvalidInputError: if there is none.
    """
    try:
        with _no_collections():
            found = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"Expected a JSON object for a body: {error}"
        ) from error
    if not isinstance(found, dict):
        raise InvalidInputError(
            f"Expected a JSON object for a body, found {quoted(found)}"
        )
    return found


@contextmanager
def _no_collections() -> Iterator[None]:
    """The garbage collector is off: JSON holds no cycles.

    While hundreds of thousands of lists are read it would look at them again and
    again, which takes ten times as long as to read them, and stops all threads.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _no_number(name: str) -> None:
    raise ValueError(f"JSON has no {name}")


def image_bytes(encoded: object) -> bytes | None:
    """The bytes of a picture in base64, also behind ``data:image/png;base64,``.

    :raises InvalidInputError: if they are not.
    """
    text = text_or_none("image", encoded)
    if text is None:
        return None
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInputError(f"Expected an image in base64: {error}") from error


def check_keys(given: Collection[str], known: Collection[str]) -> None:
    """Refuse keys that are not in *known*.

    :raises InvalidInputError: with the first unknown key.
    """
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None:
        raise InvalidInputError(
            f"Unknown in the request: {quoted(unknown)}; it may have {', '.join(known)}"
        )


def check_unicode(text: str) -> str:
    """*text*, if it can be written as UTF-8.

    :raises InvalidInputError: for half of a surrogate pair, which JSON can spell.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError(f"Expected a text in UTF-8: {error}") from error
    return text


def text_or_none(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInputError(f"Expected a text for {name}, found {quoted(value)}")
    return check_unicode(value)


def whole_number(name: str, value: object) -> int | None:
    """*value* as an int; in JSON, 3.0 is a whole number too.

    :raises InvalidInputError: if it is none.
    """
    if value is None or type(value) is int:
        return value
    if not isinstance(value, float) or not value.is_integer():
        raise InvalidInputError(
            f"Expected a whole number for {name}, found {quoted(value)}"
        )
    return int(value)


def number_or_none(name: str, value: object) -> int | float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInputError(f"Expected a number for {name}, found {quoted(value)}")
    return value
