"""A day of 100 services on 10 machines, under a clock that is set by hand: nothing is exceeded, nobody
starved, and every stop is explained (issue 6)."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from hestia.core import effects as fx
from hestia.core.lease import Lease
from hestia.core.lifecycle import State
from hestia.core.model import Machine, MachineId, ServiceId, ServiceSettings
from hestia.core.room import limits, short, total
from tests.fakes.machines import shared
from tests.fakes.runtime import Guest, PaperRuntime, StartPaper

DAY = 86400.0
SERVICES, MACHINES = 100, 10
PATIENCE = 3600.0


class Day:
    """Requests, starts, stops and answers in the order of the clock. Everything is drawn from one seed.

    waits: seconds that requests waited. answered: requests by service.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        machines = [
            Machine(
                id=MachineId(f"m{number}"), max_instances=2 if number % 2 else None, resources={"vram": 24}
            )
            for number in range(MACHINES)
        ]
        services = [self.service(number) for number in range(SERVICES)]
        self.runtime = PaperRuntime(*services, machines=machines, now=0.0)
        self.waits: list[float] = []
        self.answered: Counter[ServiceId] = Counter()
        self._order = itertools.count()
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._known: set[object] = set()
        self.guests: list[Guest] = []

    def service(self, number: int) -> ServiceSettings:
        return shared(
            ServiceId(f"s{number:02}"),
            machine=MachineId(f"m{number % MACHINES}"),
            needs={"vram": self.random.choice([4, 8, 12, 20])},
            idle_timeout=self.random.choice([300.0, 1800.0, 7200.0]),
            priority=self.random.choice([0, 0, 0, 5]),
            warm_concurrency=10,
        )

    def at(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.runtime.now + seconds, next(self._order), do))

    def live(self) -> None:
        """One day, then the end of everything that was asked."""
        for name in self.runtime.world.services:
            self.at(self.random.expovariate(1 / 600.0), partial(self.ask, name))
        while self._agenda:
            at, _, do = heapq.heappop(self._agenda)
            while (key := self.runtime.next_timer()) is not None and self.runtime.timers[key] <= at:
                self.runtime.now = max(self.runtime.now, self.runtime.timers[key])
                self.runtime.fire(key)
                self.follow()
            self.runtime.now = max(self.runtime.now, at)
            do()
            self.follow()
            self.check()

    def ask(self, name: ServiceId) -> None:
        """A client asks, and comes again: now in a burst, now after a long pause."""
        came = self.runtime.now
        lease = self.runtime.acquire(service=name)
        if lease is not None:
            self.serve(lease, came)
        else:
            guest = self.runtime.join(service=name, patience=PATIENCE)
            guest.reaction = lambda guest: self.told(guest, came)
            self.guests.append(guest)
        if came < DAY:
            pause = self.random.choice([5.0, 60.0, 900.0, 7200.0])
            self.at(self.random.expovariate(1 / pause), partial(self.ask, name))

    def told(self, guest: Guest, came: float) -> None:
        if isinstance(guest.outcome, Lease):
            self.serve(guest.outcome, came)

    def serve(self, lease: Lease, came: float) -> None:
        self.waits.append(self.runtime.now - came)
        self.answered[lease.use.key.service] += 1
        lease.use.warm = True

        self.at(self.random.expovariate(1 / 20.0), partial(self.runtime.release, lease))

    def follow(self) -> None:
        """Jobs that were asked for end after a while; one start in fifty fails."""
        for start in list(self.runtime.starts.values()):
            if start.key not in self._known:
                self._known.add(start.key)
                fails = self.random.random() < 0.02
                self.at(self.random.uniform(2, 60), partial(self.started, start, fails=fails))
        for stop in list(self.runtime.stops.values()):
            if (stop.key, "stop") not in self._known:
                self._known.add((stop.key, "stop"))
                self.at(self.random.uniform(0.5, 15), partial(self.runtime.stopped, stop))

    def started(self, start: StartPaper, *, fails: bool) -> None:
        """Not one that was given up meanwhile, whose stop ends it."""
        place = (start.key.instance, start.key.service)
        if start.key in self.runtime.starts and self.runtime.state(*place) is State.STARTING:
            if fails:
                self.runtime.fails(start)
            else:
                self.runtime.ready(start)

    def check(self) -> None:
        """INV-5, at every instant."""
        held: dict[MachineId, list[dict[str, int]]] = {}
        for record in self.runtime.world.services.values():
            for slot in record.slots.values():
                if slot.reservation is not None:
                    held.setdefault(slot.reservation.machine, []).append(dict(slot.reservation.takes))
        for name, takes in held.items():
            assert not short(total(takes), limits(self.runtime.machines[name])), (
                f"INV-5: {name} holds {takes}"
            )


@pytest.mark.parametrize("seed", [1])
def test_a_day_of_a_hundred_services_on_ten_machines(seed: int) -> None:
    day = Day(seed)
    day.live()
    told = Counter(type(guest.outcome).__name__ for guest in day.guests)
    assert set(told) <= {"Lease", "StartFailed"}, f"somebody was not served: {told}"
    assert told["StartFailed"] < 0.05 * len(day.guests)
    assert set(day.answered) == set(day.runtime.world.services), "somebody was never served"
    assert max(day.waits) < 900.0, f"waited {max(day.waits):.0f} s"
    made = [one for one in day.runtime.effects if isinstance(one, fx.MadeRoom)]
    evicted = {key for one in made for key in one.victims}
    stops = [
        move
        for move in day.runtime.moves
        if move.before == State.HOT and move.cause.startswith("evicted_for:")
    ]
    assert len(stops) > 100
    assert {move.key for move in stops} <= evicted, "a stop without its explanation"
    assert all(len(one.told) == len(one.victims) and all(one.told) for one in made)
    assert day.runtime.world.statistics().queued == 0
