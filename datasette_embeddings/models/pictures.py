"""The bytes of an image file → the picture that a person sees, as a model takes it.

Upright, its first frame, in red, green and blue, on white where it is transparent.
Colour profiles are passed over: CLIP learned from pictures that were read so.
"""

from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING

from datasette_embeddings.errors import InvalidInput, MissingLibrary
from datasette_embeddings.images import MAX_BYTES

if TYPE_CHECKING:
    from PIL.Image import Image

# A format that is not named here is not tried: some run other programs
FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF")
FORMAT_NAMES = "JPEG, PNG, GIF, WebP, TIFF, BMP or AVIF"
# Pillow warns above this many by itself: a quarter of a gigabyte in memory
MAX_PIXELS = 89_000_000
# Those of more than eight bits take four times as much on the way to eight
MAX_DEEP_PIXELS = 22_000_000
# A model scales the short side up to its own: of a line, the long one with it
MOST_TIMES_AS_LONG = 50
SIXTEEN_BITS = 65_535


def decoded(content: bytes) -> Image:
    """The picture in *content*, the bytes of an image file.

    :raises InvalidInput: for what is no image, is cut short, or is too large, which is
        told before any of it is decoded.
    """
    if not content:
        raise InvalidInput("Expected an image, found nothing")
    if len(content) > MAX_BYTES:
        raise InvalidInput(
            f"Expected an image of at most {MAX_BYTES:,} bytes, found {len(content):,}"
        )
    picture = _opened(content)
    try:
        return _in_colour(_upright(picture))
    except MemoryError:
        raise
    except Exception as error:  # a decoder fails in whatever way its format has
        width, height = picture.size
        raise InvalidInput(
            f"Expected a whole image, found one of {picture.format} with {width} x "
            f"{height} pixels that is cut short or broken: {error}"
        ) from error


def _opened(content: bytes) -> Image:
    """The picture whose header *content* begins with; nothing is decoded yet."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise MissingLibrary("pillow", "an image") from error
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        picture = Image.open(io.BytesIO(content), formats=formats)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidInput(
            f"Expected an image of at most {MAX_PIXELS:,} pixels, found more: {error}"
        ) from error
    except UnidentifiedImageError as error:
        raise InvalidInput(
            f"Expected an image, {FORMAT_NAMES}; found {len(content):,} bytes that "
            f"begin with {content[:8]!r}"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # as in decoded()
        raise InvalidInput(
            f"Expected an image, found one whose header is broken: {error}"
        ) from error
    width, height = picture.size
    most = MAX_DEEP_PIXELS if picture.mode.startswith(("I", "F")) else MAX_PIXELS
    if not 0 < width * height <= most:
        raise InvalidInput(
            f"Expected an image of 1 to {most:,} pixels, found {width:,} x {height:,}"
        )
    if max(width, height) > MOST_TIMES_AS_LONG * min(width, height):
        raise InvalidInput(
            f"Expected an image at most {MOST_TIMES_AS_LONG} times as long as it is "
            f"wide, found {width:,} x {height:,} pixels"
        )
    return picture


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
    picture = picture.convert("RGBA")
    white = Image.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
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
