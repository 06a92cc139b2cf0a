"""llm's hooks: collections as tools of a chat model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pluggy import HookimplMarker

hookimpl = HookimplMarker("llm")


@hookimpl
def register_tools(register: Callable[..., Any]) -> None:
    from datasette_embeddings.python.toolbox import toolbox

    register(toolbox())
