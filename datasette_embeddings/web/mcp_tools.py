"""The tools in the MCP server of datasette-mcp, which calls them over HTTP."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from datasette.app import Datasette
from datasette.utils.asgi import Request
from typing_extensions import NotRequired, TypedDict

from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.tools.definitions import (
    COLLECTIONS,
    CONTEXT,
    SEARCH,
    SIMILAR,
    TOOLS,
    Tool,
    input_schema,
)
from datasette_embeddings.web.tools import bounds_of, call_tool, description_of, name_of

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer

#: Of JSON Schema and in Python; the SDK takes the second for what a client may send
TYPES = {"string": str, "integer": int}


class CollectionEntry(TypedDict):
    """A collection that the actor may see."""

    database: str
    name: str
    count: int
    title: NotRequired[str]
    about: NotRequired[str]
    images: NotRequired[bool]


class Collections(TypedDict):
    """The collections; of more than 100, the first."""

    collections: list[CollectionEntry]
    more: NotRequired[int]
    note: NotRequired[str]


class MatchEntry(TypedDict):
    """An item that was found."""

    id: str
    title: NotRequired[str]
    url: NotRequired[str]
    score: float
    snippet: NotRequired[str]
    cluster_name: NotRequired[str]
    image: NotRequired[bool]
    stale: NotRequired[bool]


class Matches(TypedDict):
    """The items that were found, best first."""

    matches: list[MatchEntry]
    close: NotRequired[bool]
    corrected: NotRequired[str]
    note: NotRequired[str]


class SourceEntry(TypedDict):
    """Where a passage of the text is from."""

    number: int
    collection: str
    id: str
    title: NotRequired[str]
    url: NotRequired[str]
    start: NotRequired[int]
    end: NotRequired[int]
    score: float
    truncated: NotRequired[bool]


class Passages(TypedDict):
    """The text to answer from, and its sources by number."""

    text: str
    sources: list[SourceEntry]
    close: NotRequired[bool]
    corrected: NotRequired[str]
    tokens: int
    note: NotRequired[str]


OUTPUTS: dict[str, Any] = {
    COLLECTIONS.name: Collections,
    SEARCH.name: Matches,
    SIMILAR.name: Matches,
    CONTEXT.name: Passages,
}


def register(datasette: Datasette, mcp: MCPServer) -> None:
    """Give *mcp* the tools of *datasette*."""
    from mcp.types import ToolAnnotations

    reads_only = ToolAnnotations(
        read_only_hint=True, idempotent_hint=True, open_world_hint=False
    )
    for tool in TOOLS:
        mcp.add_tool(
            _function(datasette, tool),
            name=name_of(tool),
            description=description_of(tool),
            annotations=reads_only,
        )


def _function(datasette: Datasette, tool: Tool) -> Any:  # noqa: ANN401 - a function
    """What calls *tool*, with the signature that the SDK makes the schemas from."""
    from mcp.server.mcpserver import Context
    from mcp.server.mcpserver.exceptions import ToolError

    bounds = bounds_of(datasette)

    async def call(ctx: Any, **given: Any) -> Any:  # noqa: ANN401 - arguments of any tool
        scope = getattr(ctx.request_context.request, "scope", None) or {}
        absolute = partial(_absolute, datasette, scope)
        try:
            return await call_tool(
                datasette,
                scope.get("actor"),
                tool,
                given,
                bounds=bounds,
                absolute=absolute,
            )
        except EmbeddingsError as error:
            raise ToolError(str(error)) from error

    keyword = inspect.Parameter.KEYWORD_ONLY
    call.__name__ = name_of(tool)
    call.__annotations__ = {"ctx": Context}
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter("ctx", keyword, annotation=Context),
            *_parameters(input_schema(tool, bounds=bounds)),
        ],
        return_annotation=OUTPUTS[tool.name],
    )
    return call


def _parameters(schema: dict[str, Any]) -> list[inspect.Parameter]:
    """The arguments of *schema*, which the SDK shows as they are and does not check.

    What is wrong with them is said by ``tools.definitions.arguments``.
    """
    from pydantic import SkipValidation, WithJsonSchema

    found = []
    for name, each in schema["properties"].items():
        kind, default = TYPES[each["type"]], each.get("default")
        if name in schema["required"]:
            default = inspect.Parameter.empty
        elif default is None:
            plain = {key: each[key] for key in each if key != "description"}
            types = [plain, {"type": "null"}]
            each = {"anyOf": types, "description": each["description"]}
        annotation = Annotated[kind, SkipValidation, WithJsonSchema(each)]  # type: ignore[valid-type]
        keyword = inspect.Parameter.KEYWORD_ONLY
        found.append(
            inspect.Parameter(name, keyword, annotation=annotation, default=default)
        )
    return found


def _absolute(datasette: Datasette, scope: Any, path: str) -> str:  # noqa: ANN401 - of ASGI
    """The address of *path*, at the host that the client asked."""
    if "type" not in scope:
        return path
    return str(datasette.absolute_url(Request(scope, None), path))
