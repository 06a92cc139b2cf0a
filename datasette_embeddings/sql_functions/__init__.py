"""The SQL functions, for Datasette, sqlite-utils and any connection."""

from __future__ import annotations

from datasette_embeddings.sql_functions.context import Policy
from datasette_embeddings.sql_functions.definitions import (
    FUNCTIONS,
    SqlFunction,
    register,
)

__all__ = ["FUNCTIONS", "Policy", "SqlFunction", "register"]
