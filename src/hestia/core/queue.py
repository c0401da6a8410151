"""One FIFO per service. A waiter carries the instances it may use and is told its outcome once.

The queue knows nothing of states: `core.world` decides who is granted and who is refused. Leaving is
immediate, takes constant time and undoes demand (QF-04).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hestia.core.errors import HestiaError
from hestia.core.lease import Lease
from hestia.core.model import InstanceId

Outcome = Lease | HestiaError


class Waiter:
    """A request without a lease. `on_outcome` is called exactly once, unless the waiter left before.

    candidates: instances it may use, best first. then: those it may use when none of these can be hoped for
    any more. failed: those that failed it, with the reason.
    deadline: loop-clock seconds. number: place of arrival in the service, never reused. quiet: it starts
    nothing and keeps nothing up (CQ-11).
    """

    __slots__ = (
        "arrived",
        "candidates",
        "deadline",
        "failed",
        "left",
        "number",
        "on_outcome",
        "quiet",
        "request_id",
        "settled",
        "then",
    )

    def __init__(
        self,
        candidates: tuple[InstanceId, ...],
        on_outcome: Callable[[Outcome], None],
        *,
        arrived: float,
        deadline: float,
        request_id: str = "",
        quiet: bool = False,
        then: tuple[InstanceId, ...] = (),
    ) -> None:
        self.candidates = candidates
        self.then = then
        self.quiet = quiet
        self.on_outcome = on_outcome
        self.arrived = arrived
        self.deadline = deadline
        self.request_id = request_id
        self.failed: dict[InstanceId, HestiaError] = {}
        self.settled = False
        self.left = False  # its client is gone; a lease granted in that very tick goes back
        self.number = 0

    def widen(self) -> bool:
        """Let it use the next ones as well, at its place in the queue (QF-01). False: there are none."""
        if not self.then:
            return False
        self.candidates, self.then = self.candidates + self.then, ()
        return True

    def __repr__(self) -> str:
        return f"<Waiter {self.number} {self.request_id or '-'} candidates={','.join(self.candidates)}>"


class Queue:
    """FIFO of waiters. Iteration is in order of arrival and safe against removal while iterating.

    waiters: number → waiter, to look whether there are any (the hot path); changed here only.
    """

    __slots__ = ("_next", "waiters")

    def __init__(self) -> None:
        self.waiters: dict[int, Waiter] = {}
        self._next = 1

    def join(self, waiter: Waiter) -> None:
        waiter.number = self._next
        self._next += 1
        self.waiters[waiter.number] = waiter

    def leave(self, waiter: Waiter) -> bool:
        """Take it out. False when it was not (or no longer) in the queue."""
        return self.waiters.pop(waiter.number, None) is not None

    def position(self, waiter: Waiter) -> int:
        """How many arrived before it and still wait."""
        return sum(1 for number in self.waiters if number < waiter.number)

    @property
    def first(self) -> Waiter | None:
        return next(iter(self.waiters.values()), None)

    @property
    def next_deadline(self) -> float | None:
        return min((waiter.deadline for waiter in self.waiters.values()), default=None)

    def __iter__(self) -> Iterator[Waiter]:
        return iter(list(self.waiters.values()))

    def __len__(self) -> int:
        return len(self.waiters)

    def __bool__(self) -> bool:
        raise TypeError("a queue has no truth value; ask len(queue)")

    def __repr__(self) -> str:
        return f"<Queue waiting={len(self.waiters)}>"
