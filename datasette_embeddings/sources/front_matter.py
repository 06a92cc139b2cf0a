"""Front matter: the block of YAML or TOML at the start of a Markdown file."""

from __future__ import annotations

import re
from pathlib import PurePath

#: The files that static site generators and note programs give front matter
SUFFIXES = frozenset(
    {
        *(".md", ".markdown", ".mdown", ".mkd", ".mkdn", ".mdx", ".qmd", ".rmd"),
        *(".html", ".htm", ".adoc", ".asciidoc"),
    }
)
YAML_FENCE = re.compile(r"---[ \t]*\r?\n")
YAML_END = re.compile(r"(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)")
# A key, and the other lines of a mapping: indented, an item of a list, the end of a
# list or object, or blank
YAML_KEY = re.compile(r"""(?:"[^"\n]*"|'[^'\n]*'|[^\s\-#:"'\[{][^\n]*?):(?:\s|\Z)""")
YAML_LINE = re.compile(r"[ \t]+\S|-\s|[\]}]|\s*\Z")
TOML_FENCE = re.compile(r"\+\+\+[ \t]*\r?\n")
TOML_END = re.compile(r"\+\+\+[ \t]*(?:\r?\n|\Z)")
TOML_KEY = re.compile(r"""[\w.\-"' ]+=|\[""")


def may_have_front_matter(path: PurePath) -> bool:
    """Whether files with the suffix of *path* can have front matter."""
    return path.suffix.lower() in SUFFIXES


def without_front_matter(text: str) -> str:
    """*text* without its front matter, if it has any.

    A line ``---`` may also be a thematic break.  What follows is front matter only
    if all of it has the shape of a mapping and another such line ends it.
    """
    if fence := YAML_FENCE.match(text):
        return text[_end_of_yaml(text, fence.end()) :]
    if fence := TOML_FENCE.match(text):
        return text[_end_of_toml(text, fence.end()) :]
    return text


def _end_of_yaml(text: str, first: int) -> int:
    """Where the YAML that begins at *first* ends, with its fence; 0 if it is none."""
    start, has_key = first, False
    while start < len(text):
        end = YAML_END.match(text, start)
        line, following = _line(text, start)
        if end and (has_key or start == first):
            return end.end()
        if YAML_KEY.match(line):
            has_key = True
        elif not (line.startswith("#") or (has_key and YAML_LINE.match(line))):
            return 0
        start = following
    return 0


def _end_of_toml(text: str, start: int) -> int:
    """Where the TOML that begins at *start* ends, with its fence; 0 if it is none.

    Only its first entry is looked at: nothing else in Markdown begins with ``+++``.
    """
    has_key = False
    while start < len(text):
        if end := TOML_END.match(text, start):
            return end.end()
        line, start = _line(text, start)
        if not has_key and line.strip() and not line.startswith("#"):
            if not TOML_KEY.match(line):
                return 0
            has_key = True
    return 0


def _line(text: str, start: int) -> tuple[str, int]:
    """The line that begins at *start*, and where the next one does."""
    end = text.find("\n", start)
    return (text[start:], len(text)) if end < 0 else (text[start:end], end + 1)
