"""Image files: their media type, and their bytes decoded as a model takes them.

Upright, the first frame, in red, green and blue, on white where it is transparent.
Colour profiles are ignored, as in the training of CLIP.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal

from datasette_embeddings.errors import InvalidInputError, MissingLibraryError

if TYPE_CHECKING:
    from PIL.Image import Image

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
# Other formats are not tried: some of their decoders run other programs
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF")
FORMAT_NAMES = "JPEG, PNG, GIF, WebP, TIFF, BMP or AVIF"
# Pillow warns above this number.  All threads together decode no more at once, which
# takes 4 to 20 bytes of memory a pixel, depending on the format and its colours
MAX_PIXELS = 89_000_000
# A model scales the short side up to its own size, and the long one with it
MAX_ASPECT_RATIO = 50
# Tiles of 16 x 16, the smallest, in the largest image
MAX_TILES = MAX_PIXELS // (16 * 16)
# Pixels that are put on white at a time
PIXELS_AT_ONCE = 1_000_000
LONGEST_REASON = 120
# Each scan of a JPEG passes over the whole image, but takes only a few bytes of the
# file.  Cameras write 1 scan, web images have about 10; libtiff stops after 100 too
MAX_SCANS = 100
# The beginning of a segment of a JPEG; such bytes do not occur in compressed data
JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xff\xd0-\xd8])")
START_OF_SCAN, END_OF_IMAGE = b"\xda", b"\xd9"
# Tags of a TIFF: the size of a tile; the offsets and lengths of its strips or tiles
TILE_WIDTH, TILE_LENGTH = 322, 323
STRIPS_AND_TILES = (273, 279, 324, 325)
CLASSIC_TIFF = 42


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


class PixelLimit:
    """Lets threads decode at the same time, up to *pixels* in all."""

    def __init__(self, pixels: int) -> None:
        self._free = self._all = pixels
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, pixels: int) -> Iterator[None]:
        """Reserve *pixels* for the block; a larger image waits until it is alone."""
        pixels = min(pixels, self._all)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


_pixel_limit = PixelLimit(MAX_PIXELS)


def decoded(content: bytes, fit: Callable[[Image], Image] | None = None) -> Image:
    """The image in *content*, the bytes of a file; made smaller by *fit*.

    Waits while other threads decode as many pixels as memory should hold.

    :raises InvalidInputError: if *content* is no image, is cut short, or is too large,
        which is known before any of it is decoded.
    """
    image = _opened(content)
    width, height = image.size
    with _pixel_limit.reserve(width * height):
        try:
            found = _to_rgb(_upright(image))
            return found if fit is None else fit(found)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise many types
            raise InvalidInputError(
                f"Expected a whole image, found one of {image.format} with {width} x "
                f"{height} pixels that is cut short or broken: {_reason(error)}"
            ) from error


def check_images(images: Sequence[bytes], max_pixels: int = MAX_PIXELS) -> None:
    """Check the headers of *images*, and their number of pixels together."""
    pixels = 0
    for content in images:
        if media_type(content) is None:
            raise _not_an_image(content)
        # A plugin may decode images without Pillow being installed
        if find_spec("PIL") is not None:
            width, height = _opened(content).size
            pixels += width * height
        if pixels > max_pixels:
            raise InvalidInputError(
                f"Expected images of at most {max_pixels:,} pixels together, found "
                f"{pixels:,}; send a smaller copy, of which a model sees as much"
            )


def _opened(content: bytes) -> Image:
    """The image whose header *content* begins with; nothing is decoded yet."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingLibraryError("pillow", "an image") from error
    if not content:
        raise InvalidInputError("Expected an image, found nothing")
    if len(content) > MAX_BYTES:
        raise InvalidInputError(
            f"Expected an image of at most {MAX_BYTES:,} bytes, found {len(content):,}"
        )
    _check_tiles(content)
    _silence_pillow()
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        image = Image.open(io.BytesIO(content), formats=formats)
        tags = getattr(image, "tag_v2", {})
        tile_pixels = int(tags.get(TILE_WIDTH, 0)) * int(tags.get(TILE_LENGTH, 0))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidInputError(
            f"Expected an image of at most {MAX_PIXELS:,} pixels, found more: "
            f"{_reason(error)}"
        ) from error
    except UnidentifiedImageError as error:
        raise _not_an_image(content) from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many types
        raise InvalidInputError(
            f"Expected an image, found one whose header is broken: {_reason(error)}"
        ) from error
    _check_size(image, tile_pixels)
    if image.format in ("JPEG", "MPO"):
        _check_scans(content)
    return image


@cache
def _silence_pillow() -> None:
    """Silence Pillow's warnings: one file may cause thousands."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _check_size(image: Image, tile_pixels: int) -> None:
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise InvalidInputError(
            f"Expected an image of 1 to {MAX_PIXELS:,} pixels, found {width:,} x "
            f"{height:,}"
        )
    if image.mode == "F":
        raise InvalidInputError("Expected an image of whole numbers, found fractions")
    # The tiles of a TIFF may be larger than the image
    if tile_pixels > max(width * height, PIXELS_AT_ONCE):
        raise InvalidInputError(
            f"Expected tiles no larger than the {width:,} x {height:,} pixels of the "
            f"image, found tiles of {tile_pixels:,}"
        )
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise InvalidInputError(
            f"Expected an image at most {MAX_ASPECT_RATIO} times as long as it is "
            f"wide, found {width:,} x {height:,} pixels"
        )


def _check_scans(content: bytes) -> None:
    """Check the number of scans of a JPEG, which Pillow does not."""
    # Segments are read only if there may be too many
    if content.count(b"\xff" + START_OF_SCAN) <= MAX_SCANS:
        return
    scans, position = 0, 2
    while found := JPEG_MARKER.search(content, position):
        if found[1] == END_OF_IMAGE:
            return
        scans += found[1] == START_OF_SCAN
        if scans > MAX_SCANS:
            raise InvalidInputError(
                f"Expected a JPEG of at most {MAX_SCANS} scans, found more; save it "
                "again with another program"
            )
        end = found.end()
        position = end + int.from_bytes(content[end : end + 2], "big")


def _check_tiles(content: bytes) -> None:
    """Check the number of strips or tiles of a TIFF; Pillow makes objects for each."""
    if content[:2] not in (b"II", b"MM"):
        return
    order: Literal["little", "big"] = "little" if content[:2] == b"II" else "big"

    def number(position: int, length: int) -> int:
        return int.from_bytes(content[position : position + length], order)

    # The second kind is BigTIFF, where a number has 8 bytes
    wide, entry, start = (4, 12, 4) if number(2, 2) == CLASSIC_TIFF else (8, 20, 8)
    directory, count_bytes = number(start, wide), 2 if wide == 4 else 8
    first = directory + count_bytes
    end = min(first + number(directory, count_bytes) * entry, len(content))
    for position in range(first, end, entry):
        pieces = number(position + 4, wide)
        if number(position, 2) in STRIPS_AND_TILES and pieces > MAX_TILES:
            raise InvalidInputError(
                f"Expected a TIFF of at most {MAX_TILES:,} strips or tiles, found "
                f"{pieces:,}"
            )


def _not_an_image(content: bytes) -> InvalidInputError:
    return InvalidInputError(
        f"Expected an image, {FORMAT_NAMES}; found {len(content):,} bytes that "
        f"begin with {content[:8]!r}"
    )


def _reason(error: Exception) -> str:
    """The message of a decoder's error, in one line of limited length."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]}…"


def _upright(image: Image) -> Image:
    """*image*, decoded and turned as its camera was held."""
    from PIL import ImageOps

    image.load()
    # In place, because most images need not be copied; unreadable metadata of the
    # camera does not matter
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)
    return image


def _to_rgb(image: Image) -> Image:
    from PIL import Image

    if image.mode.startswith("I"):
        # Grey, of 16 bits; Pillow would cut off what exceeds 255
        eight_bits = image.convert("I").point(lambda value: value / 257 + 0.5)
        image = eight_bits.convert("L")
    if not image.has_transparency_data:
        return image if image.mode == "RGB" else image.convert("RGB")
    white = Image.new("RGB", image.size, "white")
    width, height = image.size
    rows = max(1, PIXELS_AT_ONCE // width)
    # Some rows at a time: copying all of them would take twice as much memory
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(height, top + rows))).convert("RGBA")
        white.paste(band, (0, top), band)
    return white
