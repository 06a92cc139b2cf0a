"""The title of a file: its first heading, or what its HTML says."""

from __future__ import annotations

import re
from collections.abc import Mapping

from datasette_embeddings.sources.file_kinds import HTML, MARKDOWN, RST

# A title stands at the beginning
HEAD_CHARACTERS = 10_000
# Of reStructuredText: a line between two lines of one mark, or before such a line
RST_HEADING = re.compile(
    r"^(?:([^\w\s])\1+[ \t]*\n[ \t]*)?"
    r"(?=\S)(?!([^\w\s])\2+[ \t]*$)([^\n]+)\n"
    r"([^\w\s])\4{2,}[ \t]*$",
    re.MULTILINE,
)


def title_of(text: str, kind: str, fields: Mapping[str, object]) -> str | None:
    """The title of a file: that of the *fields* of its front matter, or its heading.

    *text* is without the front matter.  None if it has neither.
    """
    given = fields.get("title")
    is_title = isinstance(given, str | int | float) and not isinstance(given, bool)
    title = " ".join(str(given).split()) if is_title else ""
    find = {MARKDOWN: _markdown, RST: _rst, HTML: _html}.get(kind)
    if not title and find is not None:
        title = " ".join((find(text[:HEAD_CHARACTERS]) or "").split())
    return title or None


def _markdown(text: str) -> str | None:
    from markdown_it import MarkdownIt

    tokens = MarkdownIt("commonmark").disable("inline").parse(text)
    starts = (i for i, token in enumerate(tokens) if token.type == "heading_open")
    heading = next(starts, None)
    if heading is None:
        return None
    [line] = MarkdownIt("commonmark").parseInline(tokens[heading + 1].content)
    return "".join(
        part.content or " " for part in line.children or () if not part.nesting
    )


def _rst(text: str) -> str | None:
    found = RST_HEADING.search(text.replace("\r\n", "\n"))
    return found and found[3]


def _html(text: str) -> str | None:
    from bs4 import BeautifulSoup
    from bs4.exceptions import ParserRejectedMarkup

    # In an element, because BeautifulSoup warns of a text that is only a URL
    try:
        soup = BeautifulSoup(f"<div>{text}</div>", "html.parser")
    except ParserRejectedMarkup:
        return None
    found = soup.find("title") or soup.find("h1")
    return None if found is None else found.get_text(" ")
