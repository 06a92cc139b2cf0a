"""Semantic search for SQLite and Datasette.

>>> import sqlite3, datasette_embeddings
>>> conn = sqlite3.connect(":memory:")
>>> datasette_embeddings.register(conn)
>>> conn.execute("select length(embed('Hello world'))").fetchone()
(1536,)
"""

from __future__ import annotations

from datasette_embeddings.datasette_plugin import (
    asgi_wrapper,
    database_actions,
    extra_template_vars,
    homepage_actions,
    menu_links,
    permission_allowed,
    permission_resources_sql,
    prepare_connection,
    prepare_jinja2_environment,
    register_actions,
    register_commands,
    register_routes,
    row_actions,
    skip_csrf,
    startup,
    table_actions,
    top_query,
    top_row,
    view_actions,
)
from datasette_embeddings.documents import Document
from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.models.registry import load_model
from datasette_embeddings.search.matches import (
    Match,
    search_text,
    search_vector,
    similar_items,
)
from datasette_embeddings.sql.definitions import register
from datasette_embeddings.store.catalog import Collection, collection, collections

# Datasette looks for hooks in the package itself, because templates stand beside it
HOOKS = (
    asgi_wrapper,
    database_actions,
    extra_template_vars,
    homepage_actions,
    menu_links,
    permission_allowed,
    permission_resources_sql,
    prepare_connection,
    prepare_jinja2_environment,
    register_actions,
    register_commands,
    register_routes,
    row_actions,
    skip_csrf,
    startup,
    table_actions,
    top_query,
    top_row,
    view_actions,
)

__all__ = [
    "Collection",
    "Document",
    "EmbeddingsError",
    "Match",
    "collection",
    "collections",
    "load_model",
    "register",
    "search_text",
    "search_vector",
    "similar_items",
]
