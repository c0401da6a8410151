"""Metrics as text for Prometheus. Source: Prometheus text exposition format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hestia.telemetry.catalogue import Family
from hestia.telemetry.metrics import Labels, Points
from hestia.telemetry.numbers import SHOWN, Counter, Histogram

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
AT_ONCE: Final = 64  # series written in one go, so that a long page does not hold the loop
_LE: Final = tuple(f'le="{bound / 1000:g}"' for bound in SHOWN)
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def pieces(family: Family, points: Points) -> Iterator[str]:
    """The lines of one metric, a few series a piece."""
    head = f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"
    for first in range(0, len(points), AT_ONCE):
        lines: list[str] = []
        for labels, value in points[first : first + AT_ONCE]:
            pairs = _pairs(family, labels)
            if isinstance(value, Histogram):
                lines += _histogram(family.name, pairs, value)
            else:
                number = value.value if isinstance(value, Counter) else value
                lines.append(f"{family.name}{_braced(pairs)} {_number(number)}\n")
        yield head + "".join(lines)
        head = ""


def _histogram(name: str, pairs: str, value: Histogram) -> Iterator[str]:
    begin = f"{name}_bucket{{{pairs}," if pairs else f"{name}_bucket{{"
    for le, count in zip(_LE, value.cumulative(), strict=True):
        yield f"{begin}{le}}} {count}\n"
    count, braced = value.count, _braced(pairs)
    yield f'{begin}le="+Inf"}} {count}\n'
    yield f"{name}_sum{braced} {_number(value.total / 1000)}\n"
    yield f"{name}_count{braced} {count}\n"


def _pairs(family: Family, labels: Labels) -> str:
    return ",".join(
        f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(family.labels, labels, strict=True)
    )


def _braced(pairs: str) -> str:
    return f"{{{pairs}}}" if pairs else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
