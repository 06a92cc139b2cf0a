"""Files of a folder, each a document whose id is its path within."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from datasette_embeddings.config import CollectionConfig
from datasette_embeddings.databases import real_path, stored_path
from datasette_embeddings.documents import Document, Failure, LeftOut
from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources.converters import DocumentConverter
from datasette_embeddings.sources.definitions import (
    ALL_FILES,
    CollectionSource,
    FolderSource,
    Source,
)
from datasette_embeddings.sources.exclusions import FilesBelow, files_below
from datasette_embeddings.sources.file_kinds import PICTURE, described, kind_of
from datasette_embeddings.sources.files import FileReader


def with_folder(
    conn: sqlite3.Connection,
    config: CollectionConfig,
    path: str,
    stored: Sequence[CollectionSource],
) -> CollectionConfig:
    """*config* with *path*, its input, among its files if that is a folder."""
    known = {
        folder
        for each in stored
        if isinstance(each.source, FolderSource)
        for folder, _glob in each.source.folders
    }
    # A folder that is missing now is no file of rows
    if not Path(path).is_dir() and stored_path(conn, path) not in known:
        return config
    globs = config.glob or (ALL_FILES,)
    files = (*config.files, *((path, each) for each in globs))
    return replace(config, input=None, glob=(), files=files)


def with_stored_rules(
    source: FolderSource, ignore: bool | None, before: Sequence[Source]
) -> FolderSource:
    """*source* with the rules of that of its folders *before*, or those of today.

    *ignore* is the rule of that name where an option gives it.
    """
    source = replace(source, ignore=True, by_kind=True)
    for each in before:
        if isinstance(each, FolderSource) and each.is_same(source):
            # A new release deletes nothing by itself, and embeds nothing again
            source = replace(source, ignore=each.ignore, by_kind=each.by_kind)
    return source if ignore is None else replace(source, ignore=ignore)


def files_of_folders(
    conn: sqlite3.Connection, source: FolderSource
) -> Generator[Document | Failure | LeftOut, None, None]:
    """Each file that a glob matches; each file or folder that cannot be read.

    Links to folders are not followed, so that none can lead round in a circle.  A link
    to a file is followed if the file lies within the folder.

    :raises SourceError: if nothing in a folder can be embedded.
    """
    with DocumentConverter() as converter:
        for root, globs in _globs(conn, source).items():
            below = files_below(root, source.exclude, ignore=source.ignore)
            for error in below.errors:
                closed = Path(error.filename).relative_to(root).as_posix()
                reason = f"The folder cannot be read: {error.strerror}"
                yield Failure(f"{source.id_prefix}{closed}/", reason, is_item=False)
            paths = _matching(root, globs, below)
            reader = FileReader(root, source, converter)
            left_out, is_empty = Counter[str](), not below.errors
            for each in chain(
                map(LeftOut, below.left_out.elements()), map(reader.read, paths)
            ):
                if isinstance(each, LeftOut):
                    left_out[each.kind] += 1
                else:
                    is_empty = False
                yield each
            if is_empty:
                # As for an emptied folder, nothing is deleted
                raise SourceError(
                    f"Expected files to embed in {root}, found none: left out "
                    f"{described(left_out)}"
                )


def has_pictures(conn: sqlite3.Connection, source: FolderSource) -> bool:
    """Whether the name of a file of *source* says that it is a picture."""
    for root, globs in _globs(conn, source).items():
        below = files_below(root, source.exclude, ignore=source.ignore)
        if any(kind_of(path) == PICTURE for path in _matching(root, globs, below)):
            return True
    return False


def _globs(conn: sqlite3.Connection, source: FolderSource) -> dict[Path, list[str]]:
    """The globs of each folder."""
    globs: dict[Path, list[str]] = {}
    for stored, pattern in source.folders:
        root = Path(real_path(conn, stored))
        if not root.is_dir():
            found = "a file" if root.exists() else "nothing"
            raise SourceError(f"Expected a folder at {root}, found {found}")
        globs.setdefault(root, []).append(pattern)
    return globs


def paths_of_folders(conn: sqlite3.Connection, source: FolderSource) -> Iterator[Path]:
    """The files of *source* that a run would look at.

    :raises SourceError: if a folder is not there, or a glob matches nothing.
    """
    for root, globs in _globs(conn, source).items():
        below = files_below(root, source.exclude, ignore=source.ignore)
        yield from _matching(root, globs, below)


def _matching(root: Path, globs: Sequence[str], below: FilesBelow) -> list[Path]:
    """The files that one of *globs* matches, in order.

    :raises SourceError: if a glob matches none.
    """
    matching = set[Path]()
    for pattern in globs:
        found = _of_glob(root, pattern, below.files)
        if not found and not below.errors:
            # An emptied or unmounted folder would empty the collection
            left_out = f" (left out: {described(below.left_out)})"
            raise SourceError(
                f"Expected files that match {pattern!r} in {root}, found none"
                f"{left_out if below.left_out else ''}. Check folder and glob; if the "
                "files are deleted for good, put another source in its place with "
                "--replace"
            )
        matching |= found
    return sorted(matching)


def _of_glob(root: Path, pattern: str, files: set[Path]) -> set[Path]:
    """Those of *files*, which are below *root*, that *pattern* matches."""
    if pattern == ALL_FILES:
        # Without looking into folders that are left out
        return files
    try:
        if ".." in Path(pattern).parts:
            raise ValueError
        # A glob follows links to folders, and skips those that it cannot list
        return files.intersection(root.glob(pattern))
    except (ValueError, NotImplementedError, IndexError) as error:
        raise SourceError(
            f"Expected a glob within the folder, such as '**/*.md'; found {pattern!r}"
        ) from error
    except OSError as error:
        raise SourceError(f"{root} cannot be read: {error.strerror}") from error
