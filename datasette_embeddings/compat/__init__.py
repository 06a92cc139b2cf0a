"""Datasette 0.65 and 1.0: the only room that knows which of them runs."""

from __future__ import annotations

from datasette_embeddings.compat.access import (
    EMBED_ACTION,
    Actor,
    deny_tables_sql,
    embed_actions,
    embed_opinion,
    embed_rule,
    is_modern,
    may_embed,
    may_execute_sql,
    may_view,
    may_view_instance,
)
from datasette_embeddings.compat.databases import (
    NOT_SERVED,
    all_databases,
    database_color,
    database_for_route,
    is_immutable,
    sql_path,
    time_limited,
)
from datasette_embeddings.compat.responses import (
    cors_headers,
    error_body,
    error_response,
    is_json_post,
    json_response,
    reasons_html,
    request_wrapper,
)
from datasette_embeddings.compat.startup import (
    add_classic_templates,
    checked_config,
    registered_name,
    server_policy,
    start,
    startup_errors,
)

__all__ = [
    "EMBED_ACTION",
    "NOT_SERVED",
    "Actor",
    "add_classic_templates",
    "all_databases",
    "checked_config",
    "cors_headers",
    "database_color",
    "database_for_route",
    "deny_tables_sql",
    "embed_actions",
    "embed_opinion",
    "embed_rule",
    "error_body",
    "error_response",
    "is_immutable",
    "is_json_post",
    "is_modern",
    "json_response",
    "may_embed",
    "may_execute_sql",
    "may_view",
    "may_view_instance",
    "reasons_html",
    "registered_name",
    "request_wrapper",
    "server_policy",
    "sql_path",
    "start",
    "startup_errors",
    "time_limited",
]
