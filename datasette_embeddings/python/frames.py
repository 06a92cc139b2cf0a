"""A collection as a table of pandas or Arrow, where these are installed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from datasette_embeddings.errors import MissingLibraryError
from datasette_embeddings.python.items import Item


def pandas_frame(items: Iterable[Item]) -> Any:  # noqa: ANN401 - imported when used
    """A ``pandas.DataFrame`` with a row for each of *items*."""
    try:
        import pandas
    except ImportError as error:
        raise MissingLibraryError("pandas", "to_pandas()") from error
    rows = [
        (each.id, each.content, each.title, each.metadata, each.vector)
        for each in items
    ]
    columns = ["id", "content", "title", "metadata", "embedding"]
    return pandas.DataFrame(rows, columns=columns)


def arrow_table(items: Iterable[Item], dimensions: int | None) -> Any:  # noqa: ANN401
    """A ``pyarrow.Table`` with a row for each of *items*."""
    try:
        import pyarrow
    except ImportError as error:
        raise MissingLibraryError("pyarrow", "to_arrow()") from error
    schema = pyarrow.schema(
        {
            "id": pyarrow.string(),
            "content": pyarrow.string(),
            "content_blob": pyarrow.binary(),
            "title": pyarrow.string(),
            "metadata": pyarrow.string(),
            "embedding": pyarrow.list_(pyarrow.float32(), dimensions or -1),
        }
    )
    rows = [
        {
            "id": each.id,
            "content": each.content if isinstance(each.content, str) else None,
            "content_blob": each.content if isinstance(each.content, bytes) else None,
            "title": each.title,
            "metadata": None if each.metadata is None else json.dumps(each.metadata),
            "embedding": each.vector
            if each.vector is not None and len(each.vector) == dimensions
            else None,
        }
        for each in items
    ]
    return pyarrow.Table.from_pylist(rows, schema=schema)
