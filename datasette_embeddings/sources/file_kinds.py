"""Recognises files that are not text, with advice on how to embed them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from datasette_embeddings.images import EXTENSIONS, media_type

# The kind of a file is recognised from so many bytes
HEAD_BYTES = 4096
# Control characters: no text in a single-byte encoding has them, but UTF-16 has
CONTROL = re.compile(rb"[\x00-\x06\x0e-\x1a\x1c-\x1f]")
# DOS programs end a text with it, or fill its last block
DOS_END = b"\x1a"
PDF = b"%PDF-"
# puremagic's confidence is a tenth for each matching byte; two may match by chance
LOWEST_CONFIDENCE = 0.3

AS_IMAGE = "embed it with --files and --images"
AS_OTHER_IMAGE = "convert it to PNG or JPEG, and embed it with --files and --images"
TO_TEXT = "convert it to text first"
UNPACK = "unpack it first"


@dataclass(frozen=True)
class FileKind:
    """A kind of file, such as "a PNG image", and how to embed it."""

    name: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name}: {self.advice}"


def _image(name: str) -> FileKind:
    return FileKind(f"a {name} image", AS_OTHER_IMAGE)


def _archive(name: str) -> FileKind:
    return FileKind(f"a {name} archive", UNPACK)


FONT = FileKind("a font, which holds no text", "leave it out")
#: By the extension that puremagic returns.  An office document is a ZIP archive, and
#: matches all of the formats based on ZIP
KINDS = {
    ".heif": _image("HEIF"),
    ".ico": _image("ICO"),
    ".jp2": _image("JPEG 2000"),
    ".psd": _image("Photoshop"),
    ".pdf": FileKind("a PDF", TO_TEXT),
    ".doc": FileKind("an office document", TO_TEXT),
    ".docx": FileKind("a ZIP archive or an office document", f"unpack it or {TO_TEXT}"),
    ".gz": _archive("gzip"),
    ".bzip2": _archive("bzip2"),
    ".xz": FileKind("an xz archive", UNPACK),
    ".zst": _archive("Zstandard"),
    ".tar": _archive("tar"),
    ".7z": _archive("7z"),
    ".rar": _archive("RAR"),
    ".db": FileKind(
        "a SQLite database", "embed its rows with --table, naming it as the database"
    ),
    ".mdb": FileKind("an Access database", "export its rows as CSV first"),
    ".ttf": FONT,
    ".otf": FONT,
    ".woff": FONT,
    ".woff2": FONT,
    ".mp3": FileKind("audio", TO_TEXT),
    ".wav": FileKind("audio", TO_TEXT),
    ".mp4": FileKind("a video", TO_TEXT),
}


def file_kind(content: bytes) -> FileKind | None:
    """The kind of file that begins with *content*; None if it may be text.

    Text may begin as a binary file does ("BMW", "II"), but has no control characters.
    """
    head = content[:HEAD_BYTES]
    if not (has_control_characters(head) or head.startswith(PDF)):
        return None
    image = media_type(head)
    if image is not None:
        name = EXTENSIONS[image].removeprefix(".").upper().replace("JPG", "JPEG")
        return FileKind(f"a {name} image", AS_IMAGE)
    import puremagic

    try:
        # Without a file name it looks at these bytes only
        matches = puremagic.magic_string(head)
    except puremagic.PureError:
        return None
    return next(
        (
            KINDS[match.extension]
            for match in matches
            if match.extension in KINDS and match.confidence >= LOWEST_CONFIDENCE
        ),
        None,
    )


def has_control_characters(content: bytes) -> bool:
    """Whether *content* has bytes that no text has, except in UTF-16."""
    return CONTROL.search(content[:HEAD_BYTES].rstrip(DOS_END)) is not None
