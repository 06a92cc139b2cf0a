"""The bytes of an image file → the picture that a person sees, as a model takes it.

Upright, its first frame, in red, green and blue, on white where it is transparent.
Colour profiles are passed over: CLIP learned from pictures that were read so.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from datasette_embeddings.errors import InvalidInputError, MissingLibraryError
from datasette_embeddings.images import MAX_BYTES, media_type
from datasette_embeddings.models.picture_headers import check_scans, check_tiles

if TYPE_CHECKING:
    from PIL.Image import Image

# A format that is not named here is not tried: some run other programs
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF")
FORMAT_NAMES = "JPEG, PNG, GIF, WebP, TIFF, BMP or AVIF"
# Pillow warns above this many by itself.  All threads together decode no more at once,
# which takes 4 to 20 bytes of memory a pixel, as the format and its colours are
MAX_PIXELS = 89_000_000
# Those of more than eight bits take four times as much on the way to eight
MAX_DEEP_PIXELS = 22_000_000
# A model scales the short side up to its own: of a line, the long one with it
MOST_TIMES_AS_LONG = 50
SIXTEEN_BITS = 65_535
TILE_WIDTH, TILE_LENGTH = 322, 323
# Tiles of 16 x 16, the smallest, in the largest picture
MAX_TILES = MAX_PIXELS // (16 * 16)
# At most this many pixels are put on white at a time
PIXELS_AT_ONCE = 1_000_000
LONGEST_REASON = 120


class PixelLimit:
    """Lets threads decode at the same time, up to *pixels* in all."""

    def __init__(self, pixels: int) -> None:
        self._free = self._all = pixels
        self._changed = threading.Condition()

    @contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        """Reserve *pixels* for the block; a larger picture waits until it is alone."""
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
    """The picture in *content*, the bytes of an image file; made smaller by *fit*.

    Waits while other threads decode as many pixels as memory is to hold.

    :raises InvalidInputError: for what is no image, is cut short, or is too large,
        which is
        known before any of it is decoded.
    """
    picture = _opened(content)
    width, height = picture.size
    with _pixel_limit.of(width * height):
        try:
            found = _in_colour(_upright(picture))
            return found if fit is None else fit(found)
        except MemoryError:
            raise
        except Exception as error:  # decoders raise many types
            raise InvalidInputError(
                f"Expected a whole image, found one of {picture.format} with {width} x "
                f"{height} pixels that is cut short or broken: {_reason(error)}"
            ) from error


def check_images(images: Sequence[bytes], most_pixels: int = MAX_PIXELS) -> None:
    """Check that *images* are images, and the pixels of all of them together.

    Only their headers are read.

    :raises InvalidInputError: for the first that is none, or for more than
        *most_pixels*.
    """
    pixels = 0
    for content in images:
        if media_type(content) is None:
            raise _not_an_image(content)
        # A plugin may decode images without Pillow being installed
        if find_spec("PIL") is not None:
            width, height = _opened(content).size
            pixels += width * height
        if pixels > most_pixels:
            raise InvalidInputError(
                f"Expected images of at most {most_pixels:,} pixels together, found "
                f"{pixels:,}; send a smaller copy, of which a model sees as much"
            )


def _opened(content: bytes) -> Image:
    """The picture whose header *content* begins with; nothing is decoded yet."""
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
    check_tiles(content, MAX_TILES)
    _silence_pillow()
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        picture = Image.open(io.BytesIO(content), formats=formats)
        tile_pixels = _tile_pixels(picture)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidInputError(
            f"Expected an image of at most {MAX_PIXELS:,} pixels, found more: "
            f"{_reason(error)}"
        ) from error
    except UnidentifiedImageError as error:
        raise _not_an_image(content) from error
    except MemoryError:
        raise
    except Exception as error:  # as in decoded()
        raise InvalidInputError(
            f"Expected an image, found one whose header is broken: {_reason(error)}"
        ) from error
    _check_size(picture, tile_pixels)
    if picture.format in ("JPEG", "MPO"):
        check_scans(content)
    return picture


@cache
def _silence_pillow() -> None:
    """Silence Pillow's warnings: one file may cause thousands.

    Such a file is read all the same, or refused with a reason.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _tile_pixels(picture: Image) -> int:
    """The pixels of a tile of a TIFF, which may be larger than the picture."""
    tags = getattr(picture, "tag_v2", {})
    return int(tags.get(TILE_WIDTH, 0)) * int(tags.get(TILE_LENGTH, 0))


def _check_size(picture: Image, tile_pixels: int) -> None:
    width, height = picture.size
    most = MAX_DEEP_PIXELS if picture.mode.startswith(("I", "F")) else MAX_PIXELS
    if not 0 < width * height <= most:
        raise InvalidInputError(
            f"Expected an image of 1 to {most:,} pixels, found {width:,} x {height:,}"
        )
    if tile_pixels > max(width * height, PIXELS_AT_ONCE):
        raise InvalidInputError(
            f"Expected tiles no larger than the {width:,} x {height:,} pixels of the "
            f"image, found tiles of {tile_pixels:,}"
        )
    if max(width, height) > MOST_TIMES_AS_LONG * min(width, height):
        raise InvalidInputError(
            f"Expected an image at most {MOST_TIMES_AS_LONG} times as long as it is "
            f"wide, found {width:,} x {height:,} pixels"
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


def _upright(picture: Image) -> Image:
    """*picture*, decoded and turned as its camera noted that it was held."""
    from PIL import ImageOps

    picture.load()
    # In place, or most pictures would be copied for nothing; one with notes that cannot
    # be read is a picture still
    with suppress(Exception):
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


def _in_colour(picture: Image) -> Image:
    """*picture* in red, green and blue."""
    from PIL import Image

    if picture.mode.startswith(("I", "F")):
        return _in_eight_bits(picture).convert("RGB")
    if picture.mode == "RGB" and not picture.has_transparency_data:
        return picture
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    white = Image.new("RGB", picture.size, "white")
    width, height = picture.size
    rows = max(1, PIXELS_AT_ONCE // width)
    # Some rows at a time: copying all of them would take twice as much memory
    for top in range(0, height, rows):
        band = picture.crop((0, top, width, min(height, top + rows))).convert("RGBA")
        white.paste(band, (0, top), band)
    return white


def _in_eight_bits(picture: Image) -> Image:
    """A grey *picture* of more bits than eight, where Pillow would cut off what is
    brighter than 255.

    Sixteen bits have a white that everybody agrees on.  Wider integers and floats have
    none: they are taken for what they look like, from 0 to 1, to 255, or to 65,535, and
    else their lightest is white and their darkest black.
    """
    import numpy as np
    from PIL import Image

    values = np.asarray(picture, dtype=np.float32)
    values = np.nan_to_num(values, nan=0.0, posinf=SIXTEEN_BITS, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if picture.mode.startswith("I;16"):
        low, high = 0.0, SIXTEEN_BITS
    elif low >= 0 and high <= SIXTEEN_BITS:
        whites = (1, 255, SIXTEEN_BITS) if picture.mode == "F" else (SIXTEEN_BITS,)
        low, high = 0.0, next(white for white in whites if high <= white)
    scaled = (values - low) * (255 / max(high - low, 1e-12))
    return Image.fromarray(np.rint(scaled).astype(np.uint8))
