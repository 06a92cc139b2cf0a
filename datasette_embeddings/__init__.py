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
    from datasette_embeddings.context.passages import Context, Passage
    from datasette_embeddings.errors import EmbeddingsError
    from datasette_embeddings.models.cross_encoder import load_reranker
    from datasette_embeddings.models.registry import load_model
    from datasette_embeddings.python.collection import Collection
    from datasette_embeddings.python.embeddings import Embeddings
    from datasette_embeddings.python.items import Item
    from datasette_embeddings.python.vectors import cosine, decode, encode
    from datasette_embeddings.search.answers import Answer
    from datasette_embeddings.search.matches import Match
    from datasette_embeddings.sql.functions import register
    from datasette_embeddings.web.plugins import search_collection

__all__ = [
    "Answer",
    "Collection",
    "Context",
    "Embeddings",
    "EmbeddingsError",
    "Item",
    "Match",
    "Passage",
    "cosine",
    "decode",
    "encode",
    "load_model",
    "load_reranker",
    "register",
    "search_collection",
]
# The modules that the public names are imported from when they are first used
_MODULES = {
    "context.passages": ("Context", "Passage"),
    "errors": ("EmbeddingsError",),
    "models.cross_encoder": ("load_reranker",),
    "models.registry": ("load_model",),
    "python.collection": ("Collection",),
    "python.embeddings": ("Embeddings",),
    "python.items": ("Item",),
    "python.vectors": ("cosine", "decode", "encode"),
    "search.answers": ("Answer",),
    "search.matches": ("Match",),
    "sql.functions": ("register",),
    "web.plugins": ("search_collection",),
}


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            value = getattr(import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
