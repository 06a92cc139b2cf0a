"""The tools as ``llm`` has them, made of their definitions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, Signature
from types import MethodType
from typing import TYPE_CHECKING, Any

import click

from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.tools.definitions import TOOLS, Tool, described, input_schema

if TYPE_CHECKING:
    import llm


class ToolboxError(EmbeddingsError, click.ClickException):
    """The tools cannot be offered; ``llm`` prints the reason as one line."""


def tools_of(
    instance: object, collections: Sequence[Mapping[str, object]] = ()
) -> list[llm.Tool]:
    """The tools as llm has them, of an *instance* with *collections*, or of the class.

    llm knows an instance by the methods that it calls.
    """
    import llm

    found = []
    for each in TOOLS:
        function, text = _function(each), each.description
        if instance is not None:
            function = MethodType(function, instance)
            text = described(each, collections)
        schema = input_schema(each, has_databases=False)
        found.append(llm.Tool(f"Embeddings_{each.name}", text, schema, function))
    return found


def _function(tool: Tool) -> Callable[..., str]:
    # What a model sends may have any names
    def call(self: Any, /, **given: Any) -> str:  # noqa: ANN401 - the class is llm's
        text: str = self._database_tools.call(tool, given)
        return text

    schema = input_schema(tool, has_databases=False)
    call.__name__ = tool.name
    # ``llm tools`` shows the arguments that there are
    call.__signature__ = Signature(  # type: ignore[attr-defined]  # as inspect reads it
        [
            Parameter("self", Parameter.POSITIONAL_OR_KEYWORD),
            *(
                Parameter(
                    name,
                    Parameter.POSITIONAL_OR_KEYWORD,
                    default=field.get("default", Parameter.empty),
                )
                for name, field in schema["properties"].items()
            ),
        ]
    )
    return call
