"""Draws the samples of a soak as an SVG: one panel for each figure, time from left to right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, GAP = 800, 110, 60, 28  # of one panel's curve, in SVG units
PANELS = (
    ("memory", "resident memory, MiB", 2**20),
    ("descriptors", "descriptors", 1),
    ("threads", "threads", 1),
    ("in_flight", "requests in flight", 1),
    ("hot", "services that are hot", 1),
)


def draw(samples: Sequence[Mapping[str, float]]) -> str:
    """The picture. samples: at least one, in order of `seconds`."""
    height = len(PANELS) * (HEIGHT + GAP) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 10} {height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="{height}" fill="white"/>',
    ]
    span = samples[-1]["seconds"] or 1.0
    for number, (key, title, unit) in enumerate(PANELS):
        top = number * (HEIGHT + GAP) + GAP
        points = [(one["seconds"] / span, one[key] / unit) for one in samples]
        parts += panel(title, points, top)
    minutes = f"{span / 60:.0f} min" if span >= 120 else f"{span:.0f} s"
    parts.append(f'<text x="{LEFT}" y="{height - 8}">0</text>')
    parts.append(f'<text x="{LEFT + WIDTH}" y="{height - 8}" text-anchor="end">{minutes}</text></svg>')
    return "\n".join(parts) + "\n"


def panel(title: str, points: Sequence[tuple[float, float]], top: int) -> list[str]:
    """One curve from 0 to a little above its highest point."""
    most = max(value for _, value in points) * 1.1 or 1.0
    curve = " ".join(
        f"{LEFT + x * WIDTH:.1f},{top + HEIGHT - value / most * HEIGHT:.1f}" for x, value in points
    )
    return [
        f'<text x="{LEFT}" y="{top - 6}" font-weight="bold">{title}</text>',
        f'<path d="M{LEFT} {top}V{top + HEIGHT}H{LEFT + WIDTH}" fill="none" stroke="#888"/>',
        f'<text x="{LEFT - 6}" y="{top + 10}" text-anchor="end">{most:.0f}</text>',
        f'<text x="{LEFT - 6}" y="{top + HEIGHT}" text-anchor="end">0</text>',
        f'<polyline points="{curve}" fill="none" stroke="#c0392b" stroke-width="1.2"/>',
    ]
