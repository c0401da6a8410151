"""Restart back-off and breaker of one instance (FB-03, FB-05). Time and jitter are arguments.

Failures are counted per period. Below `intensity` the next start waits an exponential delay with full
jitter; at `intensity` the breaker opens and demand is answered at once until the cool-down is over,
then one start is let through as a trial. A stable generation resets everything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hestia.core.model import Backoff

COOL_DOWN_CAP = 600.0  # seconds; the cool-down doubles up to here (FB-05)
MOST_DOUBLINGS = 64  # keeps the power a finite float however long a service goes on failing


@dataclass(frozen=True, slots=True)
class BackoffState:
    """What is remembered of failed starts. Instants are loop-clock seconds.

    failures: instants of the failures within the period, oldest first. retry_at: no start by demand
    before this. open: the breaker is open. trips: how often it opened since the last stable generation.
    """

    failures: tuple[float, ...] = ()
    retry_at: float = 0.0
    open: bool = False
    trips: int = 0

    def failed(self, now: float, policy: Backoff, *, jitter: float, at_once: bool = False) -> BackoffState:
        """Count one failed start. `jitter` is in 0…1; `at_once` skips the delay (a permanent refusal
        costs nothing to repeat) but still counts."""
        recent = (*(at for at in self.failures if now - at < policy.period), now)
        if len(recent) >= policy.intensity or self.open:
            cap = max(COOL_DOWN_CAP, policy.cool_down)
            pause = min(cap, policy.cool_down * 2.0 ** min(self.trips, MOST_DOUBLINGS))
            return BackoffState(recent, now + pause, open=True, trips=self.trips + 1)
        longest = min(policy.cap, policy.base * policy.factor ** min(len(recent) - 1, MOST_DOUBLINGS))
        delay = 0.0 if at_once else jitter * longest
        return BackoffState(recent, now + delay, open=False, trips=self.trips)

    def may_start(self, now: float) -> bool:
        """Whether demand may start the instance now; with the breaker open this is the trial."""
        return now >= self.retry_at

    def forgiven(self) -> BackoffState:
        """A person asked for a start: try now, but keep counting."""
        return replace(self, retry_at=0.0, open=False)


FRESH = BackoffState()
