"""The media type of an image, known from its first bytes."""

from __future__ import annotations

import re

# Larger files are not taken as images
MAX_BYTES = 50_000_000
# How a file of each type begins.  SVG is not among them: it may hold scripts
SIGNATURES = {
    "image/jpeg": rb"\xff\xd8\xff",
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/gif": rb"GIF8[79]a",
    "image/webp": rb"RIFF.{4}WEBP",
    "image/tiff": rb"II\*\0|MM\0\*",
    # With the length of its second header, because many texts begin with BM
    "image/bmp": rb"BM.{4}\0{4}.{4}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0{3}",
}
EXTENSIONS = {name: f".{name.removeprefix('image/')}" for name in SIGNATURES} | {
    "image/jpeg": ".jpg",
    "image/avif": ".avif",
}
# Bytes of a list of brands that are looked at
LONGEST_BRANDS = 256


def media_type(content: bytes) -> str | None:
    """Such as ``image/png``; None if *content* is not an image of a known type."""
    for name, signature in SIGNATURES.items():
        if re.match(signature, content, re.DOTALL):
            return name
    if content[4:8] != b"ftyp":
        return None
    # AVIF is one of the brands that the file can be read as. A version stands between
    # the first brand and the others
    length = min(int.from_bytes(content[:4], "big"), len(content), LONGEST_BRANDS)
    brands = [content[at : at + 4] for at in (8, *range(16, length - 3, 4))]
    return "image/avif" if {b"avif", b"avis"} & set(brands) else None
