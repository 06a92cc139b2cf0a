"""Bytes → text, in the encoding that they are in and never in one that only fits."""

from __future__ import annotations

import codecs
import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from datasette_embeddings.errors import SourceError
from datasette_embeddings.sources.file_kinds import (
    HEAD_BYTES,
    file_kind,
    has_control_characters,
)

BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
BLOCK_BYTES = 1 << 20
# What the encoding of a large file is told from, where it is not UTF-8
SAMPLE_BYTES = 1 << 17
# With fewer bytes beyond ASCII, a guess is wrong too often
FEWEST_BYTES = 6


def decoded(content: bytes, encodings: Sequence[str] = ()) -> str:
    """*content* as text: its byte order mark, UTF-8, one of *encodings*, or detected.

    :raises SourceError: if it is in none of them.
    """
    return content.decode(_encoding_of(io.BytesIO(content), encodings))


@contextmanager
def text_stream(file: IO[bytes], encodings: Sequence[str] = ()) -> Iterator[IO[str]]:
    """The text of *file*, as :func:`decoded` finds its encoding, read as it is used.

    What cannot be read twice, as a pipe, is copied to a temporary file first.

    :raises SourceError: if it is no text.
    """
    with tempfile.TemporaryFile() as spool:
        if not file.seekable():
            while block := file.read(BLOCK_BYTES):
                spool.write(block)
            spool.seek(0)
        stream = file if file.seekable() else spool
        encoding = _encoding_of(stream, encodings)
        stream.seek(0)
        # csv wants line ends as they are
        text = io.TextIOWrapper(stream, encoding=encoding, newline="")
        try:
            yield text
        finally:
            text.detach()


def _encoding_of(file: IO[bytes], encodings: Sequence[str]) -> str:
    for encoding in encodings:
        _check_is_encoding(encoding)
    start = file.read(HEAD_BYTES)
    file.seek(0)
    kind = file_kind(start)
    if kind is not None:
        raise SourceError(f"Expected text, found {kind}")
    for mark, encoding in BYTE_ORDER_MARKS:
        if start.startswith(mark):
            if _is_encoded_as(file, encoding):
                return encoding
            break
    for encoding in ("utf-8", *encodings):
        if _is_encoded_as(file, encoding):
            return encoding
    if encodings:
        raise SourceError(
            f"Expected text in UTF-8 or {', '.join(encodings)}; it is in none of them. "
            "Name another with --encoding"
        )
    return _detected(file)


def _check_is_encoding(name: str) -> None:
    try:
        # Not only unknown ones fail: some codecs turn bytes into bytes
        "a".encode(name)
    except (LookupError, ValueError) as error:
        raise SourceError(
            f"Expected the name of a text encoding, such as latin-1; found {name!r}"
        ) from error


def _is_encoded_as(file: IO[bytes], encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    file.seek(0)
    try:
        while block := file.read(BLOCK_BYTES):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeError:
        return False
    return True


def _detected(file: IO[bytes]) -> str:
    """The encoding that *file* seems to be in, if there is enough to tell it from."""
    import chardet

    sample = _sample(file)
    eras = chardet.EncodingEra.MODERN_WEB | chardet.EncodingEra.LEGACY_ISO
    if sum(byte >= 0x80 for byte in sample) >= FEWEST_BYTES:
        found = chardet.detect(sample, encoding_era=eras, max_bytes=len(sample))
        encoding = found["encoding"]
        if encoding and _is_encoded_as(file, encoding):
            return str(encoding)
    if has_control_characters(sample):
        raise SourceError(
            "Expected text, found binary data of a kind that is not known: leave it out"
        )
    raise SourceError(
        "Expected text; it is not in UTF-8, and no encoding could be told from it. "
        "Name one with --encoding, for example cp1252"
    )


def _sample(file: IO[bytes]) -> bytes:
    """What surrounds the first bytes beyond ASCII: a file may begin with much of it."""
    file.seek(0)
    sample = b""
    while len(sample) < SAMPLE_BYTES and (block := file.read(BLOCK_BYTES)):
        if not block.isascii():
            first = next(place for place, byte in enumerate(block) if byte >= 0x80)
            sample += block[max(0, first - SAMPLE_BYTES // 4) :]
    return sample[:SAMPLE_BYTES]
