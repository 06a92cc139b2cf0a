"""A file as a document: its text or bytes, its title and its metadata."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from datasette_embeddings.documents import Document, Failure, LeftOut
from datasette_embeddings.errors import SourceError
from datasette_embeddings.images import MAX_BYTES, media_type
from datasette_embeddings.sources.content import stripped
from datasette_embeddings.sources.converters import DocumentConverter
from datasette_embeddings.sources.definitions import FolderSource
from datasette_embeddings.sources.file_kinds import (
    BINARY,
    DOCUMENTS,
    HTML,
    MARKDOWN,
    PICTURE,
    TEXT,
    TEXTS,
    has_converter,
    kind_of,
)
from datasette_embeddings.sources.front_matter import SUFFIXES as WITH_FRONT_MATTER
from datasette_embeddings.sources.front_matter import without_front_matter
from datasette_embeddings.sources.text_files import PDF, BinaryDataError, decoded
from datasette_embeddings.sources.titles import title_of

# No search result is longer, and memory holds up to three copies of a text
MAX_TEXT_BYTES = 100_000_000
# The last second of the year 9999
LAST_TIME = 253_402_300_799


@dataclass(frozen=True)
class FileReader:
    """Reads the files of a folder as *source* says."""

    root: Path
    source: FolderSource
    converter: DocumentConverter

    def read(self, path: Path) -> Document | Failure | LeftOut:
        """The document in the file at *path*, or why there is none."""
        relative = path.relative_to(self.root)
        item_id = f"{self.source.id_prefix}{relative.as_posix()}"
        try:
            item_id.encode()
            return self._read(path, relative, item_id)
        except UnicodeEncodeError:
            return Failure(item_id, "The name of the file is not in UTF-8; rename it")
        except OSError as error:
            reason = error.strerror or error
            return Failure(item_id, f"The file cannot be read: {reason}")
        except SourceError as error:
            return Failure(item_id, str(error))

    def _read(self, path: Path, relative: Path, item_id: str) -> Document | LeftOut:
        source, kind = self.source, kind_of(path)
        left_out = self._left_out(kind, item_id) if source.by_kind else None
        if left_out is not None:
            return left_out
        largest = MAX_BYTES if source.is_bytes else MAX_TEXT_BYTES
        content, modified = _bytes_of(path, self.root, largest)
        facts = {
            "title": path.stem,
            "folder": relative.parent.as_posix(),
            "kind": kind or BINARY,
            "modified": modified,
        }
        if source.is_bytes:
            if source.images and media_type(content) is not None:
                facts["kind"] = PICTURE
            elif source.images and source.by_kind and kind is None:
                return LeftOut(BINARY)
            return Document(item_id, content, facts, path.stem)
        found = self._text(content, kind, item_id)
        if isinstance(found, LeftOut):
            return found
        text, facts["kind"] = found
        return self._text_document(item_id, text, facts, path)

    def _left_out(self, kind: str | None, item_id: str) -> LeftOut | None:
        """Why a file whose name tells *kind* is not read; None if it is."""
        if kind is None or self.source.binary:
            return None
        if self.source.images:
            is_text = kind in TEXTS or kind in DOCUMENTS
            return None if kind == PICTURE else LeftOut(TEXT if is_text else kind)
        if kind in DOCUMENTS:
            # Nothing is deleted where the library is missing
            return None if has_converter() else LeftOut(kind, item_id)
        return None if kind in TEXTS else LeftOut(kind)

    def _text(
        self, content: bytes, kind: str | None, item_id: str
    ) -> tuple[str, str] | LeftOut:
        """The text of a file, and its kind."""
        if kind not in DOCUMENTS:
            try:
                text = decoded(content, self.source.encodings)
                return text, kind if kind in TEXTS else TEXT
            except BinaryDataError:
                # It is not what its name tells
                if not content.startswith(PDF):
                    is_picture = media_type(content) is not None
                    return LeftOut(PICTURE if is_picture else BINARY)
                kind = "pdf"
        if not has_converter():
            return LeftOut(kind, item_id)
        return self.converter.text(content, DOCUMENTS[kind]), kind

    def _text_document(
        self, item_id: str, text: str, facts: dict[str, str], path: Path
    ) -> Document:
        """The document of *text*; its front matter adds to the *facts* of the file."""
        fields = dict[str, object]()
        if path.suffix.lower() in WITH_FRONT_MATTER:
            text, fields = without_front_matter(text)
        kind = MARKDOWN if facts["kind"] in DOCUMENTS else facts["kind"]
        title = title_of(text, kind, fields) or path.stem
        is_page = facts["kind"] == HTML and self.source.by_kind
        if is_page or self.source.strip_html:
            text = str(stripped(text))
        # What a folder, kind or time is has to be the same for all files
        return Document(item_id, text, {**fields, **facts, "title": title}, title)


def _bytes_of(path: Path, root: Path, largest: int) -> tuple[bytes, str]:
    """The content of the file at *path*, which lies below *root*, and its time.

    That is when it was last modified: an ISO time in UTC.

    :raises SourceError: for a link that leads out of *root*, for anything but a file,
        and for a file of more than *largest* bytes.  Only its size is read for that.
    """
    real = os.path.realpath(path, strict=True)
    if not Path(real).is_relative_to(os.path.realpath(root, strict=True)):
        raise SourceError(
            "The link leads out of the folder; to embed the file, name the folder that "
            "it is in with --files as well"
        )
    # Checked before it is opened, because opening a device can have effects
    _check_status(os.stat(real), largest)
    with open(real, "rb", opener=_opened_without_waiting) as file:
        # Again, because another file may have taken its place
        status = os.fstat(file.fileno())
        _check_status(status, largest)
        content = file.read(largest + 1)
    if len(content) > largest:
        raise SourceError(f"Expected a file of at most {largest:,} bytes, found more")
    seconds = min(max(int(status.st_mtime), 0), LAST_TIME)
    modified = datetime.fromtimestamp(seconds, timezone.utc)
    return content, modified.strftime("%Y-%m-%dT%H:%M:%SZ")


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
