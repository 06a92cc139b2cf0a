"""The tools of datasette-agent, which shows their results as links, too."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from datasette.app import Datasette

from datasette_embeddings.errors import EmbeddingsError
from datasette_embeddings.tools.definitions import TOOLS, Bounds, Tool, input_schema
from datasette_embeddings.web.compat import Actor
from datasette_embeddings.web.tools import bounds_of, call_tool, description_of, name_of

if TYPE_CHECKING:
    from datasette_agent.tools import AgentTool

# A page of the web, or of this server.  Browsers read two slashes, or one with a
# backslash, as the beginning of another host
LINKED = re.compile(r"https?://[^\s\\]+|/(?![/\\])[^\s\\]*", re.IGNORECASE | re.ASCII)
# datasette-agent cuts what a model reads at 10,000 characters of JSON, in the middle of
# a passage.  So many tokens of most languages are fewer
MOST_TOKENS = 1_500
#: Characters of a result that are shown below its title
SHOWN_LENGTH = 200


def agent_tools(datasette: Datasette) -> list[AgentTool]:
    """The tools, each with what calls it for the actor who chats."""
    from datasette_agent.tools import AgentTool

    bounds = replace(bounds_of(datasette), tokens=MOST_TOKENS)
    return [
        AgentTool(
            name=name_of(tool),
            description=description_of(tool),
            input_schema=input_schema(tool, bounds=bounds),
            fn=partial(_answer, tool, bounds),
        )
        for tool in TOOLS
    ]


async def _answer(
    tool: Tool, bounds: Bounds, /, datasette: Datasette, actor: Actor, **given: object
) -> str:
    """The result in JSON: what the model reads, and ``_html``, which the user sees."""
    try:
        result = await call_tool(datasette, actor, tool, given, bounds=bounds)
    except EmbeddingsError as error:
        return json.dumps({"error": str(error)})
    # The text of a context names its sources
    found = result.get("matches") or result.pop("sources", None)
    return json.dumps(result | {"_html": links_html(found)} if found else result)


def links_html(found: Sequence[Mapping[str, Any]]) -> str:
    """*found*, matches or sources, as a list of links that needs no style sheet."""
    return f"<ol>{''.join(map(_entry, found))}</ol>"


def _entry(each: Mapping[str, Any]) -> str:
    title, url = escape(each.get("title") or each["id"]), each.get("url") or ""
    if LINKED.fullmatch(url):
        title = f'<a href="{escape(url)}">{title}</a>'
    snippet = escape((each.get("snippet") or "")[:SHOWN_LENGTH])
    return f"<li>{title}{snippet and f'<br><small>{snippet}</small>'}</li>"
