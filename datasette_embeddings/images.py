"""Which of the web's images some bytes are, told by how they begin."""

from __future__ import annotations

# How each begins.  SVG is not among them: it may hold scripts
SIGNATURES = (
    ("image/jpeg", b"\xff\xd8\xff"),
    ("image/png", b"\x89PNG\r\n\x1a\n"),
    ("image/gif", b"GIF87a"),
    ("image/gif", b"GIF89a"),
    ("image/tiff", b"II*\x00"),
    ("image/tiff", b"MM\x00*"),
)
# Larger files are no pictures that anybody searches
MAX_BYTES = 50_000_000
EXTENSIONS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/gif": ".gif",
    "image/webp": ".webp",
    "image/tiff": ".tiff",
    "image/bmp": ".bmp",
    "image/avif": ".avif",
}
# The lengths that a bitmap's second header may have
BITMAP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
AVIF_BRANDS = frozenset({b"avif", b"avis"})
# Bytes of a list of brands that are looked at
LONGEST_BRANDS = 256


def media_type(content: bytes) -> str | None:
    """The media type of an image, ``image/png``; None for whatever else *content* is.

    JPEG, PNG, GIF, WebP, TIFF, BMP and AVIF.
    """
    for kind, signature in SIGNATURES:
        if content.startswith(signature):
            return kind
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    if _is_bitmap(content):
        return "image/bmp"
    return "image/avif" if _is_avif(content) else None


def _is_bitmap(content: bytes) -> bool:
    """Two letters alone would make one of many a text."""
    return (
        content.startswith(b"BM")
        and content[6:10] == bytes(4)
        and int.from_bytes(content[14:18], "little") in BITMAP_HEADERS
    )


def _is_avif(content: bytes) -> bool:
    """A box called ftyp names the brands that the file can be read as."""
    if content[4:8] != b"ftyp":
        return False
    length = min(int.from_bytes(content[:4], "big"), len(content), LONGEST_BRANDS)
    # Between the first of them and the others stands a version
    starts = (8, *range(16, length - 3, 4))
    return any(content[start : start + 4] in AVIF_BRANDS for start in starts)
