"""What the headers of JPEG and TIFF files say that makes decoding them take too long.

Pillow looks at neither, and a file of some kilobytes can keep it busy for minutes.
"""

from __future__ import annotations

import re
from typing import Literal

from datasette_embeddings.errors import InvalidInput

# Each scan of a JPEG passes over the whole picture, and takes a few bytes of the file.
# Cameras write 1 and the web 10; libtiff stops after 100 too
MAX_SCANS = 100
# What begins a part of a JPEG: not what stands within its compressed data
JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")
START_OF_SCAN, END_OF_IMAGE = b"\xda", b"\xd9"
# Where the strips or tiles of a TIFF begin, and how long each is
STRIPS_AND_TILES = (273, 279, 324, 325)
CLASSIC_TIFF = 42


def check_scans(content: bytes) -> None:
    """Check how many scans the JPEG has that *content* begins with.

    :raises InvalidInput: for more than MAX_SCANS.
    """
    # Without a look at each part, unless there may be too many
    if content.count(b"\xff" + START_OF_SCAN) <= MAX_SCANS:
        return
    scans, place = 0, 2
    while found := JPEG_MARKER.search(content, place):
        if found[1] == END_OF_IMAGE:
            return
        scans += found[1] == START_OF_SCAN
        if scans > MAX_SCANS:
            raise InvalidInput(
                f"Expected a JPEG of at most {MAX_SCANS} scans, found more; save it "
                "again with another program"
            )
        end = found.end()
        place = end + int.from_bytes(content[end : end + 2], "big")


def check_tiles(content: bytes, most: int) -> None:
    """Check in how many pieces a TIFF lies; Pillow makes several objects of each.

    :raises InvalidInput: for more than *most*.
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
            raise InvalidInput(
                f"Expected a TIFF of at most {most:,} strips or tiles, found {pieces:,}"
            )
