"""Points and texts as a picture: SVG, or PNG with Pillow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib.util import find_spec
from io import BytesIO
from typing import TYPE_CHECKING, Any

from datasette_embeddings.errors import MissingLibraryError

if TYPE_CHECKING:
    from PIL.Image import Image

#: Pixels of a PNG for one of the SVG
SCALE = 2
BACKGROUND, INK = "#ffffff", "#202124"
# Around the name of a cluster, in pixels
HALO = 2
# An edge is as smooth as this many pixels for one
SMOOTH = 4
# Fonts with more than English, as systems call their files; Pillow's own has ASCII
FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf"),
    *("Arial Unicode.ttf", "Arial.ttf", "arial.ttf", "Helvetica.ttc"),
)
# What XML cannot have
NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Dots:
    """Round points of one colour; places and radius in pixels, y downwards."""

    color: str
    radius: float
    places: Sequence[tuple[float, float]]
    opacity: float = 1.0


@dataclass(frozen=True)
class Text:
    """A line of text; *y* is that of its base line, *x* of its start."""

    text: str
    x: float
    y: float
    size: int
    #: It names a cluster: *x* is its middle, and it has a halo
    is_name: bool = False


@dataclass(frozen=True)
class Picture:
    """What is drawn, from below to above; sizes in pixels."""

    width: int
    height: int
    title: str
    description: str
    dots: Sequence[Dots]
    texts: Sequence[Text]


def as_svg(picture: Picture) -> str:
    """*picture* as SVG, of which a browser shows everything and runs nothing."""
    width, height = picture.width, picture.height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="title desc" '
        f'font-family="sans-serif" fill="{INK}">',
        f'<title id="title">{_xml(picture.title)}</title>',
        f'<desc id="desc">{_xml(picture.description)}</desc>',
        f'<rect width="{width}" height="{height}" fill="{BACKGROUND}"/>',
        *(_svg_of_dots(each) for each in picture.dots if each.places),
        *(_svg_of_text(each) for each in picture.texts),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _svg_of_dots(dots: Dots) -> str:
    # The round ends of lines without length: a third of the bytes of circles
    path = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in dots.places)
    return (
        f'<path d="{path}" fill="none" stroke="{dots.color}" '
        f'stroke-width="{2 * dots.radius:.1f}" stroke-linecap="round" '
        f'stroke-opacity="{dots.opacity}"/>'
    )


def _svg_of_text(text: Text) -> str:
    halo = (
        f' text-anchor="middle" stroke="{BACKGROUND}" stroke-width="{2 * HALO}" '
        'stroke-linejoin="round" paint-order="stroke"'
    )
    return (
        f'<text x="{text.x:.1f}" y="{text.y:.1f}" font-size="{text.size}"'
        f"{halo if text.is_name else ''}>{_xml(text.text)}</text>"
    )


def _xml(text: str) -> str:
    return escape(NO_XML.sub("\N{REPLACEMENT CHARACTER}", text))


def makes_png() -> bool:
    """Whether the library for PNG is installed."""
    return find_spec("PIL") is not None


def as_png(picture: Picture) -> bytes:
    """*picture* as PNG, with two pixels for each of it in both directions.

    The letters are those of the first of ``FONTS`` that the system has.

    :raises MissingLibraryError: without Pillow.
    """
    try:
        from PIL import Image, ImageDraw
    except ImportError as error:
        raise MissingLibraryError("pillow", "a map as PNG") from error
    size = picture.width * SCALE, picture.height * SCALE
    image = Image.new("RGB", size, BACKGROUND)
    for dots in picture.dots:
        mask = _dot(dots)
        for x, y in dots.places:
            left, top = (
                round(x * SCALE - mask.width / 2),
                round(y * SCALE - mask.height / 2),
            )
            image.paste(dots.color, (left, top), mask)
    draw = ImageDraw.Draw(image)
    for text in picture.texts:
        draw.text(
            (text.x * SCALE, text.y * SCALE),
            NO_XML.sub("\N{REPLACEMENT CHARACTER}", text.text),
            fill=INK,
            font=_font(text.size * SCALE),
            anchor="ms" if text.is_name else "ls",
            stroke_width=HALO * SCALE if text.is_name else 0,
            stroke_fill=BACKGROUND,
        )
    file = BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _dot(dots: Dots) -> Image:
    """How much of each pixel a dot covers, with smooth edges."""
    from PIL import Image, ImageDraw

    side = round(2 * dots.radius * SCALE)
    large = Image.new("L", (side * SMOOTH, side * SMOOTH))
    corner = side * SMOOTH - 1
    shade = round(255 * dots.opacity)
    ImageDraw.Draw(large).ellipse((0, 0, corner, corner), fill=shade)
    return large.resize((side, side), Image.Resampling.BOX)


@cache
def _font(size: int) -> Any:  # noqa: ANN401 - Pillow's, of two classes
    """The first of ``FONTS`` that the system has, else Pillow's own."""
    from PIL import ImageFont

    for name in FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)
