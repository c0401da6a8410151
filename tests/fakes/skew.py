"""A clock that can be put forward: what waits for minutes is tested in a second, by facts alone."""

from __future__ import annotations

import asyncio


class Skew:
    """Puts the running loop's clock forward. Timers already set keep their real time; what compares the
    clock with a deadline, as the sweep does, sees the new one. Undo with `end`.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._real = self._loop.time
        self._ahead = 0.0
        self._loop.time = self._now  # type: ignore[method-assign]

    def _now(self) -> float:
        return self._real() + self._ahead

    def forward(self, seconds: float) -> None:
        """Let this much time have passed."""
        self._ahead += seconds

    def end(self) -> None:
        """The loop's own clock again."""
        self._loop.time = self._real  # type: ignore[method-assign]
