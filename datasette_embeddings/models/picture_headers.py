"""Checks for JPEG and TIFF files whose headers make decoding take too long.

Pillow checks neither, and a file of a few kilobytes can keep it busy for minutes.
"""

from __future__ import annotations

import re
from typing import Literal

from datasette_embeddings.errors import InvalidInputError

# Each scan of a JPEG passes over the whole picture, but takes only a few bytes of the
# file.  Cameras write 1 scan, web images have about 10; libtiff stops after 100 too
MAX_SCANS = 100
# The beginning of a segment of a JPEG; such bytes do not occur in compressed data
JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")
START_OF_SCAN, END_OF_IMAGE = b"\xda", b"\xd9"
# Tags: the offsets and lengths of the strips or tiles of a TIFF
STRIPS_AND_TILES = (273, 279, 324, 325)
CLASSIC_TIFF = 42


def check_scans(content: bytes) -> None:
    """Check the number of scans of the JPEG in *content*.

    :raises InvalidInputError: for more than MAX_SCANS.
    """
    # Segments are read only if there may be too many
    if content.count(b"\xff" + START_OF_SCAN) <= MAX_SCANS:
        return
    scans, place = 0, 2
    while found := JPEG_MARKER.search(content, place):
        if found[1] == END_OF_IMAGE:
            return
        scans += found[1] == START_OF_SCAN
        if scans > MAX_SCANS:
            raise InvalidInputError(
                f"Expected a JPEG of at most {MAX_SCANS} scans, found more; save it "
                "again with another program"
            )
        end = found.end()
        place = end + int.from_bytes(content[end : end + 2], "big")


def check_tiles(content: bytes, most: int) -> None:
    """Check the number of strips or tiles of a TIFF; Pillow makes objects for each.

    :raises InvalidInputError: for more than *most*.
    """
    if content[:2] not in (b"II", b"MM"):
        return
    order: Literal["little", "big"] = "little" if content[:2] == b"II" else "big"

    def number(place: int, length: int) -> int:
        return int.from_bytes(content[place : place + length], order)

    # The second kind is BigTIFF, where a number has 8 bytes
    wide, entry, start = (4, 12, 4) if number(2, 2) == CLASSIC_TIFF else (8, 20, 8)
    first = number(start, wide)
    count = number(first, 2 if wide == 4 else 8)
    place = first + (2 if wide == 4 else 8)
    for each in range(place, min(place + count * entry, len(content)), entry):
        pieces = number(each + 4, wide)
        if number(each, 2) in STRIPS_AND_TILES and pieces > most:
            raise InvalidInputError(
                f"Expected a TIFF of at most {most:,} strips or tiles, found {pieces:,}"
            )
