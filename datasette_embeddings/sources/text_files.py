"""Decodes files of text, and recognises those that are not text."""

from __future__ import annotations

import codecs
import io
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import IO

from datasette_embeddings.errors import SourceError

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
BLOCK_BYTES = 1 << 20
# What is not text is recognised from so many bytes
HEAD_BYTES = 4_096
# It may have no NUL, and be text in an encoding that was named
PDF = b"%PDF-"


class BinaryDataError(SourceError):
    """A file is no text in any encoding."""


def decoded(content: bytes, encodings: Sequence[str] = ()) -> str:
    """*content* as text."""
    with text_stream(io.BytesIO(content), encodings) as text:
        return text.read()


@contextmanager
def text_stream(file: IO[bytes], encodings: Sequence[str] = ()) -> Iterator[IO[str]]:
    """The text of *file*: as its byte order mark says, in UTF-8 or in an encoding.

    The first of *encodings* that can decode all of the file is used.  A pipe, which
    cannot be read twice, is copied to a temporary file first.

    :raises SourceError: if it is no text, in none of these encodings, or if one of
        *encodings* does not exist.
    """
    with nullcontext(file) if file.seekable() else _copy(file) as stream:
        encoding = _encoding_of(stream, encodings)
        stream.seek(0)
        # csv needs line ends as they are
        text = io.TextIOWrapper(stream, encoding=encoding, newline="")
        try:
            yield text
        finally:
            text.detach()


def _copy(file: IO[bytes]) -> IO[bytes]:
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    shutil.copyfileobj(file, copy)
    return copy


def _encoding_of(file: IO[bytes], encodings: Sequence[str]) -> str:
    for encoding in encodings:
        try:
            # Codecs that turn bytes into bytes fail too
            "a".encode(encoding)
        except (LookupError, ValueError) as error:
            raise SourceError(
                "Expected the name of a text encoding, such as latin-1; "
                f"found {encoding!r}"
            ) from error
    file.seek(0)
    head = file.read(HEAD_BYTES)
    marked = [name for mark, name in BYTE_ORDER_MARKS if head.startswith(mark)]
    for encoding in (*marked[:1], "utf-8", *encodings):
        if _is_text(file, encoding) and not head.startswith(PDF):
            return encoding
    if b"\0" in head or head.startswith(PDF):
        raise BinaryDataError(
            "Expected text, found binary data. Embed pictures and documents as files "
            "of a folder"
        )
    raise SourceError(
        f"Expected text in {' or '.join(['UTF-8', *encodings])}, found another "
        "encoding; name it with --encoding, such as cp1252"
    )


def _is_text(file: IO[bytes], encoding: str) -> bool:
    """Whether *file* is text in *encoding*, without a NUL at its beginning."""
    decoder = codecs.getincrementaldecoder(encoding)()
    file.seek(0)
    try:
        if "\0" in decoder.decode(file.read(HEAD_BYTES)):
            return False
        while block := file.read(BLOCK_BYTES):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True
