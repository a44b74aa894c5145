"""A growth plot as SVG: both axes logarithmic, one line per series."""

from __future__ import annotations

import math
from xml.sax.saxutils import escape

from bench.measure import Points, slope

WIDTH, HEIGHT = 640, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 40, 70
COLOURS = ("#0b62a4", "#b5651d", "#3a7d44", "#7a3e9d")


def plot(title: str, unit: str, series: dict[str, Points]) -> str:
    """The picture; `series` maps a name to (N, figure) pairs, all above zero."""
    points = [point for one in series.values() for point in one]
    across = _Axis([n for n, _ in points], LEFT, WIDTH - RIGHT)
    up = _Axis([value for _, value in points], HEIGHT - BOTTOM, TOP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 22, title, "middle", 15),
        _text(LEFT, TOP - 6, unit),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 34, "N", "middle"),
    ]
    for n in across.marks:
        x = across.at(n)
        parts += [_line(x, TOP, x, HEIGHT - BOTTOM), _text(x, HEIGHT - BOTTOM + 16, f"{n:,.10g}", "middle")]
    for value in up.marks:
        y = up.at(value)
        parts += [_line(LEFT, y, WIDTH - RIGHT, y), _text(LEFT - 6, y + 4, f"{value:,.10g}", "end")]
    for number, (name, one) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = [(across.at(n), up.at(value)) for n, value in one]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        label = f"{name} (slope {slope(one):+.2f})"
        parts.append(_text(LEFT + number * 280, HEIGHT - 12, label, colour=colour))
    return "\n".join([*parts, "</svg>\n"])


class _Axis:
    """Whole decades from `start` to `end` (in picture units) around the values."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
        self._low, self._decades = low, max(1, high - low)
        self._start, self._span = start, end - start
        self.marks = [10.0 ** (low + i) for i in range(self._decades + 1)]

    def at(self, value: float) -> float:
        return self._start + (math.log10(value) - self._low) / self._decades * self._span


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _text(x: float, y: float, text: str, anchor: str = "start", size: int = 12, colour: str = "#222") -> str:
    placed = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}"'
    return f"<text {placed}>{escape(text)}</text>"
