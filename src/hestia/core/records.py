"""The mutable records of the world: one slot per instance, one record per service.

Only `core.world` writes them; everybody else may look, to show, never to decide.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hestia.core.backoff import FRESH, BackoffState, Spent, free_at, recent
from hestia.core.idle import Sequence
from hestia.core.lease import Use
from hestia.core.lifecycle import Instance, State
from hestia.core.model import (
    GatewayId,
    InstanceId,
    InstanceKey,
    InstanceSettings,
    MachineId,
    ServiceId,
    ServiceSettings,
)
from hestia.core.queue import Queue, Waiter
from hestia.core.room import Amounts

OUTDATED_IDLE = 60.0  # seconds without use after which what is outdated stops


Numbers = dict[tuple[ServiceId, InstanceId], int]  # the highest generation ever used


SERVED_STABLE = 10.0  # seconds hot after which one served response makes a generation stable (FB-06)


@dataclass(slots=True)
class Pulse:
    """What is known of the life of one generation (`core.liveness`). Instants are loop-clock seconds.

    failures: failed probes in a row; since: the first of them; said: what the last one got. asking: a probe
    is under way; asked_at: when it began. refusals: times its listener went away right after it was ready.
    """

    failures: int = 0
    since: float = 0.0
    said: str = ""
    asking: bool = False
    asked_at: float = -math.inf
    refusals: int = 0


@dataclass(frozen=True, slots=True)
class Reservation:
    """Room that a generation takes on a machine until it is gone. at: loop-clock seconds, since when."""

    machine: MachineId
    takes: Amounts
    at: float


@dataclass(slots=True)
class Seek:
    """A start that waits for room. Instants are loop-clock seconds.

    since: from when on it waits, for its rank; the first of its waiters may have come earlier than the start.
    at: when it began to look for room. holders: who has the room and why they stay, in words. names: their
    services. order: among those that wait since the same instant. key: changes when another reason is told.
    seen: what it waited for, told afterwards.
    """

    since: float
    at: float
    order: int
    holders: str = ""
    names: list[ServiceId] = field(default_factory=list)
    key: object = None
    seen: str = ""


class Slot:
    """One instance: its frozen record and the mutable things beside it."""

    __slots__ = (
        "again_at",
        "ask_room_at",
        "asking",
        "awaiting",
        "backoff",
        "begun_at",
        "gave_way_at",
        "grace_until",
        "last_used",
        "looked_at",
        "outdated",
        "pending",
        "pulse",
        "record",
        "reservation",
        "said_free",
        "seek",
        "service",
        "settings",
        "took",
        "unanswered_since",
        "use",
    )

    def __init__(self, service: ServiceRecord, settings: InstanceSettings, generation: int = 0) -> None:
        self.service = service
        self.settings = settings
        self.record = Instance(service.settings.id, settings.id, generation=generation)
        self.use: Use | None = None
        self.backoff: BackoffState = FRESH
        self.again_at = -math.inf  # before this a start that nobody asks for is not tried again
        self.last_used: float | None = None  # of the generations before, loop-clock seconds
        self.awaiting = False  # its start waits for other services (`core.dependencies`)
        self.grace_until = 0.0  # until when what was adopted stays in any case, loop-clock seconds (AD-12)
        self.looked_at: float | None = None  # when it is seen next whether it is idle; it stops then or later
        self.asking = False  # its busy probe is under way
        self.unanswered_since: float | None = None  # the first of the last busy probes without an answer
        self.pulse = Pulse()
        self.pending: InstanceSettings | None = None  # taken up when nothing of what runs is left
        self.outdated = False  # what runs was started with other options than the configured ones (AD-17)
        # room on its machine (`core.reservations`); instants are loop-clock seconds
        self.reservation: Reservation | None = None
        self.seek: Seek | None = None  # its start waits for room
        self.gave_way_at = -math.inf  # when it was last told to go
        self.begun_at: float | None = None  # when the job of its start began
        self.took = 0.0  # seconds that its last start took
        self.said_free: Sequence | None = None  # its use when its busy probe last said that it is not busy
        self.ask_room_at = -math.inf  # before this its busy probe is not asked again for its room

    @property
    def state(self) -> State:
        return self.record.state

    def key(self, gateway: GatewayId) -> InstanceKey:
        """Names the generation this instance is at."""
        record = self.record
        return InstanceKey(gateway, record.service, record.id, record.generation)

    @property
    def idle_timeout(self) -> float:
        """Seconds. What is outdated runs on only for those who use it."""
        configured = self.service.settings.idle_timeout
        return min(configured, OUTDATED_IDLE) if self.outdated else configured

    @property
    def held_back(self) -> bool:
        """Whether its start was decided, and its job has not begun."""
        return self.awaiting or self.seek is not None

    @property
    def under_way(self) -> bool:
        """Something with a deadline is under way that a waiter may wait for (INV-2)."""
        return self.record.state in (State.STARTING, State.HOT, State.DRAINING, State.STOPPING)

    @property
    def barred_by(self) -> Slot | None:
        """The other instance of which nobody knows that it is gone, where there may never be two (FB-09)."""
        if not self.service.settings.exclusive:
            return None
        others = (slot for slot in self.service.slots.values() if slot is not self)
        return next((slot for slot in others if slot.record.stuck), None)

    def hoped_for(self, now: float) -> bool:
        """Whether a waiter may still hope for this instance; not while its breaker is open or it is stuck.

        Where a fallback stands behind it nobody waits for its back-off either.
        """
        if self.under_way:
            return True
        if self.barred_by is not None:
            return False
        if self.service.free_at(now) > now:
            return False
        if self.record.state is State.COLD:
            return True
        if self.record.stuck:
            return False
        waits = not self.backoff.open and not self.service.settings.fallback_url
        return waits or self.backoff.may_start(now)

    def may_begin(self, now: float) -> bool:
        """Whether demand may start it now."""
        if self.service.free_at(now) > now or self.barred_by is not None:
            return False
        if self.record.state is State.FAILED:
            return not self.record.stuck and self.backoff.may_start(now)
        return self.record.state is State.COLD

    def ready_at(self, now: float) -> float:
        """When back-off and budget let demand start it."""
        return max(self.backoff.retry_at, self.service.free_at(now))

    def is_stable(self, now: float) -> bool:
        """Whether the running generation is a success by now (FB-06)."""
        use = self.use
        if use is None:
            return False
        hot_for = now - use.hot_since
        return hot_for >= self.service.settings.stable_after or (use.warm and hot_for >= SERVED_STABLE)

    def tried_at(self, episode: str) -> float:
        """When its start in this episode ended; before everything else when it had no turn (FB-07)."""
        return self.record.since if episode and self.record.episode == episode else -math.inf

    def __repr__(self) -> str:
        return f"<Slot {self.record!r} {self.use!r}>"


class ServiceRecord:
    """One service: its slots in configured order, its queue, its running episode."""

    __slots__ = (
        "default",
        "episode",
        "episode_starts",
        "lead",
        "let_down",
        "queue",
        "queue_timer",
        "retired",
        "settings",
        "slots",
        "spent",
        "warm",
    )

    def __init__(self, settings: ServiceSettings, numbers: Numbers | None = None) -> None:
        self.settings = settings
        self.queue = Queue()
        self.queue_timer: float | None = None
        self.slots: dict[InstanceId, Slot] = {}
        for instance in settings.instances:
            number = numbers.get((settings.id, instance.id), 0) if numbers else 0
            self.slots[instance.id] = Slot(self, instance, number)
        self.default: tuple[InstanceId, ...] = tuple(self.slots)
        self.episode = ""
        self.episode_starts = 0
        self.spent: Spent = ()  # its failures of the last hour (FB-04)
        self.warm = False  # its calendar says so now (`core.warm`)
        self.lead = 0.0  # seconds by which its last window began earlier
        self.retired = False  # configured no more: it only ends (`core.reconfigure`)
        self.let_down = False  # somebody stopped it though it should be warm

    def free_at(self, now: float) -> float:
        """When its budget of failed starts has room: at or before `now` unless it is spent (FB-04)."""
        return free_at(self.spent, now, self.settings.restart_backoff) if self.spent else now

    def failures(self, now: float) -> int:
        """Failed starts and crashes of the last hour, as far as they count against the budget (FB-04)."""
        return recent(self.spent, now)

    def known(self, names: tuple[InstanceId, ...]) -> tuple[InstanceId, ...]:
        """Those that are there: a new configuration may have taken one away meanwhile."""
        return tuple(name for name in names if name in self.slots)

    def open_to(self, waiter: Waiter) -> list[Slot]:
        """The instances this waiter may use and that have not failed it, best first."""
        return [self.slots[name] for name in waiter.candidates if name not in waiter.failed]

    def __repr__(self) -> str:
        return f"<ServiceRecord {self.settings.id} {self.queue!r} {list(self.slots.values())}>"


@dataclass(frozen=True, slots=True)
class WorldStatistics:
    """Counts of the whole world; all but `hot` are zero at rest (INV-10)."""

    queued: int
    in_flight: int
    hot: int
    starting: int
