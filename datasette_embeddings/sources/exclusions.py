"""Which files below a folder a run looks at: what is hidden or ignored is left out."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from datasette_embeddings.errors import SourceError, quoted
from datasette_embeddings.sources.file_kinds import EXCLUDED, HIDDEN, IGNORED

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

    #: The patterns of a ``.gitignore``, and the folder of it
    Rule: TypeAlias = tuple[str, GitIgnoreSpec]

#: Folders of what programs download or write
IGNORED_FOLDERS = ("__pycache__/", "node_modules/")
GITIGNORE = ".gitignore"
# No file of patterns that a person wrote is longer
MAX_GITIGNORE_BYTES = 100_000
# Of "**" in a pattern, and in each of its names: regular expressions of more can take
# hours for one path
MOST_STARS = 3


@dataclass(frozen=True)
class FilesBelow:
    """The files below a folder, and what was left out of them."""

    files: set[Path] = field(default_factory=set)
    #: How many files and whole folders were left out for each reason
    left_out: Counter[str] = field(default_factory=Counter)
    #: Why folders cannot be listed
    errors: list[OSError] = field(default_factory=list)


def files_below(root: Path, exclude: Sequence[str], *, ignore: bool) -> FilesBelow:
    """The files below *root*, without those that a pattern of *exclude* matches.

    With *ignore* without what is hidden, :data:`IGNORED_FOLDERS` and what the files
    ``.gitignore`` below *root* say.  Links to folders are not followed; a link that
    leads nowhere is a file, too.

    :raises SourceError: if a pattern is invalid.
    """
    found, excluded = FilesBelow(), (str(root), _exclude(exclude))
    # Of each folder that is still to be listed, the closest first
    rules: dict[str, list[Rule]] = {}
    for folder, folders, names in os.walk(root, onerror=found.errors.append):
        own = rules.pop(folder, [])
        if ignore and GITIGNORE in names:
            own = [(folder, _gitignore(Path(folder, GITIGNORE))), *own]
        kept = []
        for name in (*(f"{each}/" for each in folders), *names):
            path = os.path.join(folder, name)
            reason = _reason(name, path, excluded, own if ignore else None)
            if reason is not None:
                found.left_out[reason] += 1
            elif name.endswith("/"):
                kept.append(name[:-1])
                rules[path[:-1]] = own
            else:
                found.files.add(Path(path))
        folders[:] = kept
    return found


def _reason(
    name: str, path: str, excluded: Rule, rules: Sequence[Rule] | None
) -> str | None:
    """Why the file or folder at *path* is left out; a folder ends with a slash.

    Without *rules* nothing is ignored.
    """
    if _is_ignored(path, [excluded]):
        return EXCLUDED
    if rules is None:
        return None
    if name.startswith("."):
        return HIDDEN
    if name in IGNORED_FOLDERS:
        return name.rstrip("/")
    return IGNORED if _is_ignored(path, rules) else None


def _is_ignored(path: str, rules: Iterable[Rule]) -> bool:
    """Whether the first of *rules* that has a pattern for *path* ignores it."""
    for folder, patterns in rules:
        # Of the slash only, because a folder may end with one, such as "/"
        relative = path[len(folder) :].replace(os.sep, "/").lstrip("/")
        found = patterns.check_file(relative).include
        if found is not None:
            return found
    return False


def _exclude(patterns: Sequence[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    try:
        return GitIgnoreSpec.from_lines(patterns)
    except (ValueError, re.error) as error:
        raise SourceError(
            "Expected patterns as in a .gitignore, such as 'drafts/**' or '*.log'; "
            f"found {', '.join(map(quoted, patterns))}"
        ) from error


def _gitignore(path: Path) -> GitIgnoreSpec:
    """The patterns of the file at *path*; like git, without those that are invalid.

    Also without those that have more than :data:`MOST_STARS`.
    """
    from pathspec import GitIgnoreSpec

    lines, patterns = "", list[Any]()
    # Like git, not of a link; a pipe would be waited for
    with suppress(OSError):
        if stat.S_ISREG(path.lstat().st_mode):
            with path.open("rb") as file:
                lines = file.read(MAX_GITIGNORE_BYTES).decode("utf-8", "replace")
    for line in lines.splitlines():
        names = line.split("/")
        if max(names.count("**"), *(each.count("*") for each in names)) > MOST_STARS:
            continue
        with suppress(ValueError, re.error):
            patterns += GitIgnoreSpec.from_lines([line]).patterns
    return GitIgnoreSpec(patterns)
