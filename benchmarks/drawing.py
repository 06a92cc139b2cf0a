"""Line charts in SVG, with both axes logarithmic."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT = 860, 440, 70, 30, 500, 350
# Of Okabe and Ito, which people who see fewer colors tell apart, too
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
GUIDE = 'fill="none" stroke="#999" stroke-dasharray="4 4"'


@dataclass(frozen=True)
class Axes:
    """Places from left to right, and powers of ten from *low* up to *high*."""

    places: Sequence[float]
    low: int
    high: int

    def point(self, place: float, value: float) -> tuple[float, float]:
        """Where *value* at *place* is drawn."""
        width = math.log10(self.places[-1] / self.places[0])
        height = self.high - self.low
        x = LEFT + PLOT_WIDTH * math.log10(place / self.places[0]) / width
        y = TOP + PLOT_HEIGHT * (self.high - math.log10(value)) / height
        return round(x, 1), round(y, 1)

    def drawn(self) -> list[str]:
        """The grid, its numbers, and a dashed line that is linear."""
        parts, first, least = [], self.places[0], 10.0**self.low
        for power in range(self.low, self.high + 1):
            x, y = self.point(first, 10.0**power)
            parts.append(f'<path d="M{x} {y}h{PLOT_WIDTH}" stroke="#ddd"/>')
            parts.append(text(x - 8, y + 4, f"{10.0**power:g}", "end"))
        for place in self.places:
            x, y = self.point(place, least)
            parts.append(text(x, y + 18, f"{place:,}", "middle"))
        end = min(self.places[-1], first * 10.0 ** (self.high - self.low))
        points = [self.point(first, least), self.point(end, least * end / first)]
        return [*parts, f'<polyline points="{joined(points)}" {GUIDE}/>']


def line_chart(
    path: Path,
    unit: str,
    name: str,
    places: Sequence[float],
    lines: Mapping[str, Sequence[float]],
) -> None:
    """Draw up to six *lines*, values in *unit* over *places*, into the file *path*."""
    values = [value for line in lines.values() for value in line]
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    axes = Axes(places, low, high)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="13" fill="#222">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        text(LEFT - 8, TOP - 12, unit, "end"),
        text(LEFT + PLOT_WIDTH, HEIGHT - 12, name, "end"),
        *axes.drawn(),
    ]
    colors = dict(zip(lines, COLORS, strict=False))
    for line, color in colors.items():
        points = [axes.point(*pair) for pair in zip(places, lines[line], strict=True)]
        style = f'fill="none" stroke="{color}" stroke-width="2"'
        parts.append(f'<polyline points="{joined(points)}" {style}/>')
        parts += [
            f'<circle cx="{x}" cy="{y}" r="3" fill="{color}"/>' for x, y in points
        ]
    # Names in the order of the lines at the right end
    order = sorted(lines, key=lambda each: -lines[each][-1])
    x, y = LEFT + PLOT_WIDTH + 25, TOP + 10
    for each in order:
        parts.append(
            f'<path d="M{x} {y}h18" stroke="{colors[each]}" stroke-width="3"/>'
        )
        parts.append(text(x + 26, y + 4, each, "start"))
        y += 24
    parts.append(f'<path d="M{x} {y}h18" {GUIDE}/>')
    parts.append(text(x + 26, y + 4, "slope of linear growth", "start"))
    path.write_text("\n".join([*parts, "</svg>\n"]), encoding="utf-8")


def joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>'
