"""What a model reads of a context: sentences, and passages below their sources."""

from __future__ import annotations

import re

from datasette_embeddings.context.joining import Piece
from datasette_embeddings.search.snippets import shortened
from datasette_embeddings.sources.definitions import (
    FileSource,
    QuerySource,
    Source,
    TableSource,
)

NOT_CLOSE = (
    "Note: nothing that was found is close to the question; the passages below may be "
    "about something else."
)
NOTHING_FOUND = "Note: no passage was found for the question."
NO_TEXT = (
    "Note: of what was found, no text is stored, or its row has changed since it was "
    "embedded."
)
NOTHING_FITS = "Note: no passage fits into so few tokens."
# Characters of a title in a line of source
TITLE_CHARACTERS = 200
# A number in brackets where a line begins, as a source has it: in a list of references,
# or in a text that means to look like another source.  What ends a line, and what is
# not seen in one
_ENDS = r"\n\r\v\f\x1c-\x1e\x85\u2028\u2029"
_UNSEEN = r"\0\t \xa0\xad\u1680\u2000-\u200f\u202a-\u202f\u205f-\u206f\u3000\ufeff"
_LIKE_A_SOURCE = re.compile(
    rf"((?:\A|[{_ENDS}])[{_UNSEEN}]*)(?=\[[{_UNSEEN}]{{0,9}}\d)"
)
#: What stands for a left out end
LEFT_OUT = " \N{HORIZONTAL ELLIPSIS}"
BETWEEN = "\n\n"


def source_line(piece: Piece, number: int) -> str:
    """The number, the title and the address of *piece*, with the end of the line."""
    match = piece.match
    title = shortened(match.title or match.document_id, TITLE_CHARACTERS)
    address = f" ({match.url})" if match.url else ""
    return f"[{number}] {title}{address}\n"


def block(piece: Piece, number: int) -> str:
    """*piece* below its source."""
    end = LEFT_OUT if piece.is_cut else ""
    return f"{source_line(piece, number)}{shown(_after_title(piece))}{end}"


def shown(text: str) -> str:
    """*text* with a backslash before what might be taken for the number of a source."""
    return _LIKE_A_SOURCE.sub(r"\1\\", text)


def _after_title(piece: Piece) -> str:
    """The text of *piece* without the title, which its source says, and blank lines."""
    text, match = piece.text, piece.match
    title = match.title or ""
    rest = text.removeprefix(title)
    ends = (" ", "\n") if _begins_with_title(match.source) else ("\n",)
    is_said = 0 < len(title) <= TITLE_CHARACTERS and rest[:1] in ends
    return rest.lstrip() if is_said and not match.headings else text.lstrip("\n")


def _begins_with_title(source: Source | None) -> bool:
    """Whether the title is the first of the columns, which stand behind each other."""
    if isinstance(source, TableSource):
        return source.content_columns[:1] == (source.title_column,)
    if isinstance(source, QuerySource | FileSource):
        # Their titles are those of the metadata
        return source.content_columns[:1] == ("title",)
    return False
