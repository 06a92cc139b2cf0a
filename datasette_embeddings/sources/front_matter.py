"""Front matter: the block of YAML or TOML at the start of a file, and its fields."""

from __future__ import annotations

import math
import re
import sys
from datetime import date, time
from typing import Any

from datasette_embeddings.sources.file_kinds import HTML, KINDS, MARKDOWN

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# Files to which static site generators and note programs add it
SUFFIXES = (
    *(suffix for suffix, kind in KINDS.items() if kind in (MARKDOWN, HTML)),
    *(".adoc", ".asciidoc"),
)
# A line "---" may also be a thematic break.  What follows is front matter only if all
# of its lines are those of a mapping, and another such line ends it.  A line is a key,
# a comment, indented, an item of a list, the end of a list or object, or blank.  Each
# matches in one way only: what a lookahead matched is not tried again
KEY = r"""(?:"[^"\n]*"|'[^'\n]*'|[^\s\-#:"'\[{][^\n]*?):\s"""
YAML = re.compile(
    r"---[ \t]*\r?\n"
    rf"((?:(?:#[^\n]*\n)*(?={KEY})"
    rf"(?:(?={KEY}|#|[ \t]+\S|-\s|[\]}}]|[^\S\n]*\n)[^\n]*\n)*)?)"
    r"(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)"
)
# Of TOML the first entry is enough: nothing else in Markdown begins with "+++"
TOML = re.compile(
    r"\+\+\+[ \t]*\r?\n"
    r"((?:(?:#[^\n]*|[^\S\n]*)\n)*"
    r"""(?:(?=[\w.\-"' ]+=|\[)(?:(?!\+\+\+[ \t]*\r?(?:\n|\Z))[^\n]*\n)*)?)"""
    r"\+\+\+[ \t]*(?:\r?\n|\Z)"
)
# Each item of a document carries the fields.  A longer block has none
MAX_CHARACTERS = 20_000
# SQLite's whole numbers are smaller
MAX_WHOLE = 2**63


def without_front_matter(text: str) -> tuple[str, dict[str, Any]]:
    """*text* without the block that it begins with, and the fields of that.

    Values are those of JSON: a date is its ISO text.  A block that is not valid, or
    that is longer than :data:`MAX_CHARACTERS`, has no fields.
    """
    for pattern, read in ((YAML, _yaml), (TOML, tomllib.loads)):
        block = pattern.match(text)
        if block is not None:
            fields: dict[str, Any] = {}
            if len(block[1]) <= MAX_CHARACTERS:
                try:
                    fields = _json(read(block[1].replace("\r\n", "\n")))
                except (ValueError, RecursionError):
                    fields = {}
            return text[block.end() :], fields if isinstance(fields, dict) else {}
    return text, {}


def _yaml(text: str) -> Any:  # noqa: ANN401 - YAML has values of any type
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # A few names of names can stand for gigabytes
        if "*" in text and any(
            isinstance(each, yaml.AliasEvent) for each in yaml.parse(text, loader)
        ):
            return {}
        return yaml.load(text, loader)
    except yaml.YAMLError as error:
        raise ValueError from error


def _json(value: Any) -> Any:  # noqa: ANN401 - of YAML or TOML, and of JSON
    """*value* as JSON can hold it."""
    if isinstance(value, dict):
        return {str(_json(key)): _json(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_json(each) for each in value]
    if isinstance(value, date | time):
        return value.isoformat()
    is_float = isinstance(value, float) and math.isfinite(value)
    is_whole = isinstance(value, int) and abs(value) < MAX_WHOLE
    return value if value is None or is_float or is_whole else str(value)
