"""Item ids: from a row's key to TEXT, and back to the row and its URL.

One key column: its value as text, as llm stores it.  Several: Datasette's row path.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

from datasette_embeddings.errors import SourceError


def item_id_of(key: Sequence[object]) -> str:
    """The item id of a row with this *key*: its value, or a row path for several.

    :raises SourceError: for a NULL, a list or an object in the key.
    """
    texts = []
    for value in key:
        if value is None:
            raise SourceError("A row has NULL for its id; every row needs one")
        if isinstance(value, list | dict):
            found = json.dumps(value)[:60]
            raise SourceError(
                f"A row has {found} for its id; expected a text or number"
            )
        if isinstance(value, bytes):
            texts.append(value.decode("utf-8", "replace"))
        else:
            texts.append(json.dumps(value) if isinstance(value, bool) else str(value))
    return texts[0] if len(texts) == 1 else ",".join(map(tilde_encode, texts))


def row_path(item_id: str, key_columns: int, prefix: str = "") -> str | None:
    """The end of the URL of the row of *item_id* in Datasette; None if it has none.

    *prefix* is the text that the source puts in front of its ids.
    """
    if not item_id.startswith(prefix):
        return None
    key = item_id.removeprefix(prefix)
    if key_columns == 1:
        return tilde_encode(key)
    return None if key_values(key, key_columns) is None else key


def key_values(item_id: str, count: int) -> list[str] | None:
    """The values of the *count* key columns that :func:`item_id_of` joined.

    None for an id that is not a row path of *count* columns.
    """
    if count == 1:
        return [item_id]
    parts = item_id.split(",")
    try:
        return [tilde_decode(part) for part in parts] if len(parts) == count else None
    except ValueError:
        return None


def tilde_encode(text: str) -> str:
    """*text* as Datasette writes it in a URL: ``a/b.c`` becomes ``a~2Fb~2Ec``."""
    percent = quote(text, safe=" ").replace(".", "%2E").replace("~", "%7E")
    return percent.replace(" ", "+").replace("%", "~")


def tilde_decode(text: str) -> str:
    """What :func:`tilde_encode` encoded."""
    first, *rest = text.replace("+", " ").split("~")
    pieces = [first.encode("utf-8")]
    for part in rest:
        pieces += [bytes([int(part[:2], 16)]), part[2:].encode("utf-8")]
    return b"".join(pieces).decode("utf-8")
