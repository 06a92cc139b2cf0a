"""The texts of converted documents, kept so that a sync converts only what changed.

A PDF of a hundred pages takes half a minute, and a sync reads every file.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from datasette_embeddings.sources.file_kinds import CONVERTER

# Those that were read last stay
MOST_FILES = 10_000


def folder() -> Path:
    """The folder of the texts: in ``$XDG_CACHE_HOME``, or else ``~/.cache``."""
    # Unlike Path.home(), this is no error where a container has no user of that number
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base, "datasette-embeddings", "documents")


def path_of(content: bytes, suffix: str) -> Path:
    """Where the text of a document is kept, for this version of the converter."""
    digest = hashlib.sha256(f"{metadata.version(CONVERTER)} {suffix} ".encode())
    digest.update(content)
    return folder() / f"{digest.hexdigest()}.txt"


def read(path: Path) -> str | None:
    """The text that is kept at *path*; None if there is none."""
    try:
        # Not as a text file, which may have other line ends
        text = path.read_bytes().decode()
        # Read last
        os.utime(path)
    except (OSError, ValueError):
        return None
    return text


def write(path: Path, text: str) -> None:
    """Keep *text* at *path*, which only this user can read; or not, if that fails."""
    with suppress(OSError, UnicodeEncodeError):
        encoded = text.encode()
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Whole or not at all, because other programs may read it
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(encoded)
        os.replace(file.name, path)


def delete_oldest() -> None:
    """Delete the texts that have not been read for longest, if there are too many."""
    with suppress(OSError):
        files = [(each.stat().st_mtime, each.path) for each in os.scandir(folder())]
        for _time, path in sorted(files)[:-MOST_FILES]:
            os.remove(path)
