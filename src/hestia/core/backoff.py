"""Restart back-off and breaker of one instance (FB-03, FB-05). Time and jitter are arguments.

Failures are counted per period. Below `intensity` the next start waits an exponential delay with full
jitter; at `intensity` the breaker opens and demand is answered at once until the cool-down is over,
then one start is let through as a trial. A stable generation resets everything.

Beside that a service has a budget of failed starts and crashes per hour over all its instances (FB-04):
`Spent`. It ends what gets stable and crashes all the same, again and again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from hestia.core.model import Backoff

COOL_DOWN_CAP = 600.0  # seconds; the cool-down doubles up to here (FB-05)
HOUR = 3600.0
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
Spent = tuple[float, ...]  # loop-clock instants of a service's failures of the last hour, oldest first


def spend(spent: Spent, now: float, policy: Backoff) -> Spent:
    """Count one failed start, or a crash. No more are kept than the budget has."""
    return (*(at for at in spent if now - at < HOUR), now)[-policy.per_hour :]


def recent(spent: Spent, now: float) -> int:
    """How many of them are not an hour old."""
    return sum(now - at < HOUR for at in spent)


def free_at(spent: Spent, now: float, policy: Backoff) -> float:
    """When the budget has room for a start: at or before `now` unless it is spent."""
    young = [at for at in spent if now - at < HOUR]
    return young[-policy.per_hour] + HOUR if len(young) >= policy.per_hour else now
