"""Images that are drawn: so many shapes of one colour, and how people call them."""

from __future__ import annotations

import io
import itertools
import math
import random
from typing import NamedTuple

from PIL import Image, ImageDraw

COUNTS = {"one": 1, "two": 2, "three": 3}
COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 170, 60),
    "blue": (40, 70, 220),
    "yellow": (240, 210, 30),
    "purple": (140, 50, 170),
    "orange": (245, 140, 20),
    "black": (20, 20, 20),
    "pink": (250, 130, 180),
}
SHAPES = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "star": "stars",
    "cross": "crosses",
}
# An image has four places, and a shape lies in one of them
SIDE = 96
PLACES = ((24, 24), (72, 24), (24, 72), (72, 72))


class Combination(NamedTuple):
    """What an image shows."""

    count: str
    colour: str
    shape: str

    @property
    def caption(self) -> str:
        """It in words, such as "three red circles"."""
        shape = self.shape if self.count == "one" else SHAPES[self.shape]
        return f"{self.count} {self.colour} {shape}"


COMBINATIONS = tuple(
    itertools.starmap(Combination, itertools.product(COUNTS, COLOURS, SHAPES))
)


def draw(what: Combination, chance: random.Random) -> Image.Image:
    """An image of *what*; place, size, shade and ground are left to *chance*."""
    ground = tuple(chance.randint(200, 255) for _ in range(3))
    image = Image.new("RGB", (SIDE, SIDE), ground)
    pen = ImageDraw.Draw(image)
    for x, y in chance.sample(PLACES, COUNTS[what.count]):
        centre = x + chance.randint(-4, 4), y + chance.randint(-4, 4)
        shade = [value + chance.randint(-15, 15) for value in COLOURS[what.colour]]
        fill = tuple(min(255, max(0, value)) for value in shade)
        _draw_shape(pen, what.shape, centre, chance.randint(14, 20), fill)
    return image


def _draw_shape(
    pen: ImageDraw.ImageDraw,
    shape: str,
    centre: tuple[int, int],
    size: int,
    fill: tuple[int, ...],
) -> None:
    x, y = centre
    around = (x - size, y - size, x + size, y + size)
    if shape == "circle":
        pen.ellipse(around, fill=fill)
    elif shape == "square":
        pen.rectangle(around, fill=fill)
    elif shape == "triangle":
        corners = [(x, y - size), (x - size, y + size), (x + size, y + size)]
        pen.polygon(corners, fill=fill)
    elif shape == "star":
        pen.polygon(_star(x, y, size), fill=fill)
    else:
        pen.rectangle((x - size, y - 4, x + size, y + 4), fill=fill)
        pen.rectangle((x - 4, y - size, x + 4, y + size), fill=fill)


def _star(x: int, y: int, size: int) -> list[tuple[float, float]]:
    """Five points outside and five between them, the first one on top."""
    corners = []
    for number in range(10):
        radius = size if number % 2 == 0 else size * 0.4
        angle = number * math.pi / 5
        corners.append((x + radius * math.sin(angle), y - radius * math.cos(angle)))
    return corners


def file_of(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """The bytes of *image* as a file of that *kind*."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
