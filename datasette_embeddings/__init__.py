"""Semantic search for SQLite and Datasette.

>>> import sqlite3, datasette_embeddings
>>> conn = sqlite3.connect(":memory:")
>>> datasette_embeddings.register(conn)
>>> conn.execute("select length(embed('Hello world'))").fetchone()
(1536,)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

# pluggy looks for hooks in this package, because Datasette looks for templates beside
# them. They import what they call, so this is cheap
from datasette_embeddings.datasette_plugin import *  # noqa: F403

if TYPE_CHECKING:
    from datasette_embeddings.documents import Document
    from datasette_embeddings.errors import EmbeddingsError
    from datasette_embeddings.models.cross_encoder import load_reranker
    from datasette_embeddings.models.registry import load_model
    from datasette_embeddings.search.answers import (
        Answer,
        answer_text,
        search_text,
        search_vector,
        similar_items,
    )
    from datasette_embeddings.search.matches import Match
    from datasette_embeddings.search.nearest import Options
    from datasette_embeddings.sql.functions import register
    from datasette_embeddings.store.collections import (
        StoredCollection,
        collection,
        collections,
    )

__all__ = [
    "Answer",
    "Document",
    "EmbeddingsError",
    "Match",
    "Options",
    "StoredCollection",
    "answer_text",
    "collection",
    "collections",
    "load_model",
    "load_reranker",
    "register",
    "search_text",
    "search_vector",
    "similar_items",
]
# The modules that the public names are imported from when they are first used
_MODULES = {
    "documents": ("Document",),
    "errors": ("EmbeddingsError",),
    "models.cross_encoder": ("load_reranker",),
    "models.registry": ("load_model",),
    "search.answers": (
        *("Answer", "answer_text", "search_text", "search_vector", "similar_items"),
    ),
    "search.matches": ("Match",),
    "search.nearest": ("Options",),
    "sql.functions": ("register",),
    "store.collections": ("StoredCollection", "collection", "collections"),
}


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
