"""Files of a folder, each a document whose id is its path within."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

from datasette_embeddings.databases import real_path
from datasette_embeddings.documents import Document, Failure
from datasette_embeddings.errors import SourceError
from datasette_embeddings.images import MAX_BYTES
from datasette_embeddings.sources.content import stripped
from datasette_embeddings.sources.definitions import FolderSource
from datasette_embeddings.sources.text_files import decoded

# No search result is longer, and memory holds up to three copies of a text
MAX_TEXT_BYTES = 100_000_000
# Files to which static site generators and note programs add front matter: a block of
# YAML or TOML at the start
WITH_FRONT_MATTER = (
    *(".md", ".markdown", ".mdown", ".mkd", ".mkdn", ".mdx", ".qmd", ".rmd"),
    *(".html", ".htm", ".adoc", ".asciidoc"),
)
# A line "---" may also be a thematic break.  What follows is front matter only if all
# of its lines are those of a mapping, and another such line ends it.  A line is a key,
# a comment, indented, an item of a list, the end of a list or object, or blank.  Each
# matches in one way only: what a lookahead matched is not tried again
KEY = r"""(?:"[^"\n]*"|'[^'\n]*'|[^\s\-#:"'\[{][^\n]*?):\s"""
YAML = re.compile(
    r"---[ \t]*\r?\n"
    rf"(?:(?:#[^\n]*\n)*(?={KEY})"
    rf"(?:(?={KEY}|#|[ \t]+\S|-\s|[\]}}]|[^\S\n]*\n)[^\n]*\n)*)?"
    r"(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)"
)
# Of TOML the first entry is enough: nothing else in Markdown begins with "+++"
TOML = re.compile(
    r"\+\+\+[ \t]*\r?\n"
    r"(?:(?:#[^\n]*|[^\S\n]*)\n)*"
    r"""(?:(?=[\w.\-"' ]+=|\[)(?:(?!\+\+\+[ \t]*\r?(?:\n|\Z))[^\n]*\n)*)?"""
    r"\+\+\+[ \t]*(?:\r?\n|\Z)"
)


def files_of_folders(
    conn: sqlite3.Connection, source: FolderSource
) -> Iterator[Document | Failure]:
    """Each file that a glob matches; each file or folder that cannot be read.

    Links to folders are not followed, so that none can lead round in a circle.  A link
    to a file is followed if the file lies within the folder.
    """
    for stored, pattern in source.folders:
        root = Path(real_path(conn, stored))
        if not root.is_dir():
            found = "a file" if root.exists() else "nothing"
            raise SourceError(f"Expected a folder at {root}, found {found}")
        paths, errors = _matching(root, pattern)
        for error in errors:
            closed = Path(error.filename).relative_to(root).as_posix()
            reason = f"The folder cannot be read: {error.strerror}"
            yield Failure(f"{source.id_prefix}{closed}/", reason, is_item=False)
        if not paths and not errors:
            # An emptied or unmounted folder would empty the collection
            raise SourceError(
                f"Expected files that match {pattern!r} in {root}, found none. Check "
                "folder and glob; if the files are deleted for good, put another "
                "source in its place with --replace"
            )
        for path in paths:
            item_id = f"{source.id_prefix}{path.relative_to(root).as_posix()}"
            yield _read(path, root, item_id, source)


def paths_of_folders(conn: sqlite3.Connection, source: FolderSource) -> Iterator[Path]:
    """The files of *source* that a run would read; none of a folder that is not there.

    :raises SourceError: if a glob is invalid, or a folder cannot be read.
    """
    for stored, pattern in source.folders:
        yield from _matching(Path(real_path(conn, stored)), pattern)[0]


def _matching(root: Path, pattern: str) -> tuple[list[Path], list[OSError]]:
    """The files below *root* that *pattern* matches, and why folders cannot be listed.

    A link that leads nowhere is a file, too.
    """
    errors: list[OSError] = []
    # A glob follows links to folders, and skips those that it cannot list
    below = {
        Path(folder, name)
        for folder, _folders, names in os.walk(root, onerror=errors.append)
        for name in names
    }
    try:
        if ".." in Path(pattern).parts:
            raise ValueError
        return sorted(below.intersection(root.glob(pattern))), errors
    except (ValueError, NotImplementedError, IndexError) as error:
        raise SourceError(
            f"Expected a glob within the folder, such as '**/*.md'; found {pattern!r}"
        ) from error
    except OSError as error:
        raise SourceError(f"{root} cannot be read: {error.strerror}") from error


def _read(
    path: Path, root: Path, item_id: str, source: FolderSource
) -> Document | Failure:
    """The document in the file at *path*, or the reason why it failed."""
    try:
        item_id.encode()
        content = _bytes_of(path, root, source)
        title = path.relative_to(root).with_suffix("").as_posix()
        if source.images:
            return Document(item_id, content, title=title)
        text = decoded(content, source.encodings)
        if path.suffix.lower() in WITH_FRONT_MATTER:
            block = YAML.match(text) or TOML.match(text)
            text = text[block.end() :] if block else text
        text = str(stripped(text)) if source.strip_html else text
        return Document(item_id, text, title=title)
    except UnicodeEncodeError:
        return Failure(item_id, "The name of the file is not in UTF-8; rename it")
    except OSError as error:
        return Failure(item_id, f"The file cannot be read: {error.strerror or error}")
    except SourceError as error:
        return Failure(item_id, str(error))


def _bytes_of(path: Path, root: Path, source: FolderSource) -> bytes:
    """The content of the file at *path*, which lies below *root*.

    :raises SourceError: for a link that leads out of *root*, for anything but a file,
        and for a file that is too large.  Only its size is read for that.
    """
    real = os.path.realpath(path, strict=True)
    if not Path(real).is_relative_to(os.path.realpath(root, strict=True)):
        raise SourceError(
            "The link leads out of the folder; to embed the file, name the folder that "
            "it is in with --files as well"
        )
    largest = MAX_BYTES if source.images else MAX_TEXT_BYTES
    # Checked before it is opened, because opening a device can have effects
    _check_status(os.stat(real), largest)
    with open(real, "rb", opener=_opened_without_waiting) as file:
        # Again, because another file may have taken its place
        _check_status(os.fstat(file.fileno()), largest)
        content = file.read(largest + 1)
    if len(content) > largest:
        raise SourceError(f"Expected a file of at most {largest:,} bytes, found more")
    return content


def _opened_without_waiting(path: str, flags: int) -> int:
    """A descriptor of *path*, without waiting for a pipe or following a link."""
    nonblocking = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    return os.open(path, flags | nonblocking)


def _check_status(status: os.stat_result, largest: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SourceError("Expected a file; it is a pipe, socket or device")
    if status.st_size > largest:
        raise SourceError(
            f"Expected a file of at most {largest:,} bytes, found {status.st_size:,}"
        )
