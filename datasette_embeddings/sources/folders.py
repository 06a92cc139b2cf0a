"""Files of a folder, each a document whose id is its path within."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from datasette_embeddings.chunks import Document, Failure
from datasette_embeddings.errors import SourceProblem
from datasette_embeddings.images import MAX_BYTES
from datasette_embeddings.sources.content import stripped
from datasette_embeddings.sources.definitions import FolderSource
from datasette_embeddings.sources.encodings import decoded


def files_of_folders(source: FolderSource) -> Iterator[Document | Failure]:
    """Each file that a glob matches; each file or folder that cannot be read.

    Links to folders are not followed, so that none can lead round in a circle.

    :raises SourceProblem: for a folder that is not there, and a glob that is none.
    """
    for folder, pattern in source.folders:
        root = Path(folder)
        if not root.is_dir():
            found = "a file" if root.exists() else "nothing"
            raise SourceProblem(f"Expected a folder at {folder}, found {found}")
        yield from _closed_folders(root, source.id_prefix)
        for path in _matching(root, pattern):
            yield _read(
                path, f"{source.id_prefix}{path.relative_to(root).as_posix()}", source
            )


def _matching(root: Path, pattern: str) -> list[Path]:
    """The files that *pattern* matches, and links that lead nowhere, in order."""
    try:
        paths = sorted(root.glob(pattern))
        if ".." in Path(pattern).parts:
            raise ValueError
        return [
            path
            for path in paths
            if not path.is_dir() and not _is_behind_a_link(path, root)
        ]
    except (ValueError, NotImplementedError, IndexError) as error:
        raise SourceProblem(
            f"Expected a glob within the folder, such as '**/*.md'; found {pattern!r}"
        ) from error
    except OSError as error:
        raise SourceProblem(f"{root} cannot be read: {error.strerror}") from error


def _is_behind_a_link(path: Path, root: Path) -> bool:
    """Whether a link to a folder leads from *root* to *path*."""
    inner = path.relative_to(root).parents
    return any((root / each).is_symlink() for each in inner if each.name)


def _closed_folders(root: Path, prefix: str) -> Iterator[Failure]:
    """Folders whose files nobody can list, which a glob passes over in silence."""
    problems: list[OSError] = []
    for _folder in os.walk(root, onerror=problems.append):
        pass
    for problem in problems:
        path = Path(problem.filename).relative_to(root).as_posix()
        yield Failure(
            f"{prefix}{path}/",
            f"The folder cannot be read: {problem.strerror}",
            is_item=False,
        )


def _read(path: Path, item_id: str, source: FolderSource) -> Document | Failure:
    try:
        if not path.is_file():
            # Reading a pipe would wait for somebody to write to it
            path.stat()
            return Failure(item_id, "Expected a file; it is a pipe, socket or device")
        size = path.stat().st_size
        if source.images and size > MAX_BYTES:
            return Failure(
                item_id,
                f"Expected an image of at most {MAX_BYTES:,} bytes, found {size:,}",
            )
        content = path.read_bytes()
        if source.images:
            return Document(item_id, content)
        text: object = decoded(content, source.encodings)
        if source.strip_html:
            text = stripped(text)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        return Failure(item_id, f"The file cannot be read: {reason}")
    except SourceProblem as error:
        return Failure(item_id, str(error))
    return Document(item_id, str(text))
