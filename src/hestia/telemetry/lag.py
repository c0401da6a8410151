"""How late the event loop is: read off a timer that runs anyway, so that looking wakes nobody."""

from __future__ import annotations

from hestia.telemetry.numbers import Histogram


class LoopLag:
    """interval: seconds that should lie between two looks."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last: float | None = None
        self.histogram = Histogram()
        self.lasting = 0.0  # seconds by which the last two looks were late, at least
        self._before = 0.0

    def look(self, now: float) -> None:
        """now: loop-clock seconds at which the timer fired."""
        if self._last is not None:
            late = max(0.0, now - self._last - self._interval)
            self.lasting, self._before = min(late, self._before), late
            self.histogram.add(late * 1000)
        self._last = now
