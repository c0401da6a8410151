"""Browsers that wait with a page in front of them: each keeps a place in the queue without holding a request.

Owns which of them still look. A visit is a waiter like any other, so it is demand (SF-14) and has its place;
its lease is given back in the step that granted it and is no use of the instance (WP-11). Nothing here starts
a service but `start`, which a person asked for. A visit of which nothing is heard for `PATIENCE` leaves.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final, Protocol

from hestia.core.errors import AlreadyRunning, GatewayDraining, HestiaError
from hestia.core.lease import Lease
from hestia.core.lifecycle import State
from hestia.core.model import InstanceId, ServiceId
from hestia.core.queue import Outcome, Waiter
from hestia.core.records import ServiceRecord
from hestia.core.world import World
from hestia.runtime.history import History

PATIENCE: Final = 15.0  # seconds without a word of its page after which a visit leaves
ALONE: Final = 2.0  # seconds without a word after which a page is taken to run no script

Who = tuple[str, bytes]  # client, and the address it asked for


class Phase(StrEnum):
    """What a page shows. `ending`: the gateway goes down; the page asks again."""

    WAITING = "waiting"
    HOT = "hot"
    FAILED = "failed"
    ASLEEP = "asleep"
    LEFT = "left"
    ENDING = "ending"


class Visit:
    """One page. began, heard: loop-clock seconds. shown: share of the start that it has shown, which never
    falls. attended: it has asked for news, so it runs a script. news: set when `phase` changed."""

    __slots__ = (
        "attended",
        "began",
        "error",
        "heard",
        "id",
        "listeners",
        "news",
        "phase",
        "service",
        "shown",
        "waiter",
        "who",
    )

    def __init__(self, service: ServiceId, who: Who, now: float) -> None:
        self.id = secrets.token_urlsafe(12)
        self.service = service
        self.who = who
        self.began = self.heard = now
        self.phase = Phase.WAITING
        self.error: HestiaError | None = None
        self.waiter: Waiter | None = None
        self.listeners = 0
        self.attended = False
        self.shown = 0.0
        self.news = asyncio.Event()

    @property
    def target(self) -> str:
        """Path and query of the address that was opened, as it came; "" where nobody knows."""
        path = self.who[1].partition(b"/")
        return (path[1] + path[2]).decode("latin-1")

    def __repr__(self) -> str:
        return f"<Visit {self.service} {self.phase} listeners={self.listeners}>"


class Queues(Protocol):
    """What is needed of the gateway."""

    def wait(
        self,
        service: ServiceId,
        on_outcome: Callable[[Outcome], None],
        *,
        deadline: float,
        request_id: str = "",
    ) -> Waiter: ...
    def leave(self, service: ServiceId, waiter: Waiter) -> None: ...
    def is_cold(self, service: ServiceId, candidates: tuple[InstanceId, ...] | None = None) -> bool: ...
    def start(self, service: ServiceId, *, actor: str) -> None: ...


class Visits:
    """See the module docstring. release: gives a lease back. error: the last one of a service, if any."""

    def __init__(
        self,
        world: World,
        history: History,
        queues: Queues,
        *,
        release: Callable[[Lease], None],
        error: Callable[[ServiceId], HestiaError | None],
        clock: Callable[[], float],
    ) -> None:
        self._world = world
        self._history = history
        self._queues = queues
        self._release = release
        self._error = error
        self._clock = clock
        self._visits: dict[str, Visit] = {}
        self._by_who: dict[tuple[ServiceId, Who], str] = {}

    # -- from the data path: `proxy.paged.Pages` -----------------------------------------------

    def again(self, service: ServiceId, who: Who) -> str:
        """The visit of a page without script that reloads itself: it keeps its place, and hears once why a
        start failed instead of beginning the next (WP-09)."""
        visit = self._visits.get(self._by_who.get((service, who), ""))
        if visit is None or visit.attended or visit.phase in (Phase.HOT, Phase.LEFT, Phase.ENDING):
            return ""
        if self._clock() - visit.heard < ALONE:
            return ""  # its script has had no time to say a word: this is another tab
        visit.heard = self._clock()
        if visit.phase is Phase.FAILED:
            self._forget(visit)  # told; who asks once more wants another start
            self._visits[visit.id] = visit
        return visit.id

    def take(self, service: ServiceId, waiter: Waiter, who: Who) -> str:
        """A waiter of the queue belongs to a page from here on."""
        visit = self._enter(Visit(service, who, self._clock()))
        self._by_who[service, who] = visit.id
        visit.waiter = waiter
        waiter.on_outcome = lambda outcome: self._settle(visit, outcome)
        return visit.id

    def refused(self, service: ServiceId, error: HestiaError) -> str:
        """A page that only says why."""
        visit = self._enter(Visit(service, ("", b""), self._clock()))
        visit.attended = True
        self._settle(visit, error)
        return visit.id

    # -- from the page -------------------------------------------------------------------------

    def find(self, service: ServiceId, name: str) -> Visit:
        """The visit of this name. Where it is forgotten, what is true now: it waits on if others wait or a
        start is under way, and starts nothing. Raises ServiceNotFound."""
        visit = self._visits.get(name)
        if visit is not None and visit.service == service:
            return visit
        record = self._world.service(service)
        visit = Visit(service, ("", b""), self._clock())
        if not self._queues.is_cold(service):
            visit.phase = Phase.HOT
        elif len(record.queue) or any(slot.state is State.STARTING for slot in record.slots.values()):
            self._join(visit, record)  # while it stops, that would start it again
        elif any(slot.state is State.FAILED for slot in record.slots.values()):
            visit.phase, visit.error = Phase.FAILED, self._error(service)
        else:
            visit.phase = Phase.ASLEEP
        return visit

    def start(self, service: ServiceId, *, actor: str) -> Visit:
        """A person asks for another start. Raises ServiceNotFound."""
        record = self._world.service(service)
        visit = Visit(service, ("", b""), self._clock())
        try:
            self._queues.start(service, actor=actor)
        except AlreadyRunning:
            pass
        except HestiaError as error:
            self._settle(visit, error)
            return visit
        self._join(visit, record)
        return visit

    def leave(self, service: ServiceId, name: str) -> Visit:
        """The person waits no more; what was started goes on."""
        visit = self._visits.get(name)
        if visit is None or visit.service != service:
            visit = Visit(service, ("", b""), self._clock())
        self._leave(visit)
        return visit

    def _leave(self, visit: Visit) -> None:
        waiter, visit.waiter = visit.waiter, None
        if waiter is not None:
            self._queues.leave(visit.service, waiter)
        if visit.phase is Phase.WAITING:
            self._turn(visit, Phase.LEFT)
        self._forget(visit)

    def look(self, service: ServiceId, name: str) -> Visit:
        """Its page asks what is true now: `find`, then `attend`. Raises ServiceNotFound."""
        visit = self.find(service, name)
        self.attend(visit)
        return visit

    def attend(self, visit: Visit) -> None:
        """Its page is there: see whether its wait is over."""
        visit.attended = True
        visit.heard = self._clock()
        waiter = visit.waiter
        if waiter is not None and not self._queues.is_cold(visit.service, waiter.candidates):
            visit.waiter = None
            self._queues.leave(visit.service, waiter)
            self._turn(visit, Phase.HOT)

    @contextmanager
    def listening(self, visit: Visit) -> Iterator[None]:
        """Its page has a stream open for as long as this lasts."""
        visit.listeners += 1
        try:
            yield
        finally:
            visit.listeners -= 1
            visit.heard = self._clock()

    def ahead(self, visit: Visit) -> int:
        """How many arrived before it and still wait."""
        record = self._world.services.get(visit.service)
        return record.queue.position(visit.waiter) if record is not None and visit.waiter is not None else 0

    def starts(self, service: ServiceId, instance: str) -> list[dict[str, float]]:
        """The last starts, oldest first: seconds by stage in their order, `""` for the whole."""
        return self._history.rows(service, InstanceId(instance))

    # -- life ----------------------------------------------------------------------------------

    def _join(self, visit: Visit, record: ServiceRecord) -> None:
        deadline = self._clock() + record.settings.wait_limit
        self._enter(visit)
        visit.attended = True
        try:
            waiter = self._queues.wait(
                visit.service,
                lambda outcome: self._settle(visit, outcome),
                deadline=deadline,
                request_id=visit.id,
            )
        except HestiaError as error:
            self._settle(visit, error)
            return
        if not waiter.settled:
            visit.waiter = waiter

    def _settle(self, visit: Visit, outcome: Outcome) -> None:
        visit.waiter = None
        if isinstance(outcome, Lease):
            outcome.hush()
            self._release(outcome)
            self._turn(visit, Phase.HOT)
            return
        visit.error = outcome
        self._turn(visit, Phase.ENDING if isinstance(outcome, GatewayDraining) else Phase.FAILED)

    def _turn(self, visit: Visit, phase: Phase) -> None:
        visit.phase = phase
        visit.news.set()

    def _enter(self, visit: Visit) -> Visit:
        self._visits[visit.id] = visit
        asyncio.get_running_loop().call_later(PATIENCE, self._look_after, visit)
        return visit

    def _look_after(self, visit: Visit) -> None:
        """Let go of a visit of which nothing was heard."""
        if visit.id not in self._visits:
            return
        silent = 0.0 if visit.listeners else self._clock() - visit.heard
        if silent >= PATIENCE:
            self._leave(visit)
            return
        asyncio.get_running_loop().call_later(PATIENCE - silent, self._look_after, visit)

    def _forget(self, visit: Visit) -> None:
        self._visits.pop(visit.id, None)
        place = (visit.service, visit.who)
        if self._by_who.get(place) == visit.id:
            del self._by_who[place]

    def __len__(self) -> int:
        return len(self._visits)

    def __repr__(self) -> str:
        return f"<Visits {len(self._visits)}>"
