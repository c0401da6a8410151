"""How long starts took: the source of estimates (QF-16). The last starts of each instance."""

from __future__ import annotations

from collections import deque
from statistics import median

from hestia.core.model import InstanceId, ServiceId

KEPT = 10  # starts remembered per instance
FLOOR = 1.0  # seconds; an estimate is never shorter


class StageClock:
    """Stages of one start, in order, with their durations. Instants are loop-clock seconds."""

    __slots__ = ("began", "ended", "stages")

    def __init__(self, now: float) -> None:
        self.began = now
        self.ended: float | None = None
        self.stages: list[tuple[str, str, float]] = []

    def enter(self, name: str, text: str, now: float) -> None:
        """A stage begins (or says something new, when it is the running one)."""
        if self.stages and self.stages[-1][0] == name:
            self.stages[-1] = (name, text, self.stages[-1][2])
        else:
            self.stages.append((name, text, now))

    def finish(self, now: float) -> None:
        self.ended = now

    def durations(self, now: float) -> list[tuple[str, str, float, bool]]:
        """(name, text, seconds, done) of each stage so far."""
        rows = []
        for index, (name, text, at) in enumerate(self.stages):
            last = index == len(self.stages) - 1
            until = (self.ended if self.ended is not None else now) if last else self.stages[index + 1][2]
            rows.append((name, text, max(0.0, until - at), not last or self.ended is not None))
        return rows


class History:
    """Durations of successful starts per instance, by stage and in all."""

    def __init__(self) -> None:
        self._starts: dict[tuple[ServiceId, InstanceId], deque[dict[str, float]]] = {}

    def add(self, service: ServiceId, instance: InstanceId, clock: StageClock) -> None:
        """Remember a start that became hot."""
        ended = clock.ended if clock.ended is not None else clock.began
        row = {name: seconds for name, _, seconds, _ in clock.durations(ended)}
        row[""] = ended - clock.began
        self._starts.setdefault((service, instance), deque(maxlen=KEPT)).append(row)

    def rows(self, service: ServiceId, instance: InstanceId) -> list[dict[str, float]]:
        """What is remembered, oldest first: seconds by stage, `""` for the whole."""
        return list(self._starts.get((service, instance), ()))

    def restore(self, service: ServiceId, instance: InstanceId, rows: list[dict[str, float]]) -> None:
        """What an earlier gateway remembered."""
        self._starts[service, instance] = deque(rows, maxlen=KEPT)

    def usual(self, service: ServiceId, instance: InstanceId, stage: str = "") -> float | None:
        """Median seconds of a stage, of the whole start for "", or None when nothing is known."""
        rows = [row[stage] for row in self._starts.get((service, instance), ()) if stage in row]
        return median(rows) if rows else None

    def remaining(self, service: ServiceId, instance: InstanceId, elapsed: float) -> float | None:
        """Seconds until ready, from history; None when nothing is known."""
        usual = self.usual(service, instance)
        return None if usual is None else max(FLOOR, usual - elapsed)
