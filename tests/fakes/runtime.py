"""A runtime on paper: a `World`, a clock that is set by hand, and jobs that end when the test says so.

It performs effects exactly as the gateway does (in order; what performing one causes queues behind) but
starts nothing: start and stop jobs, timers and closing sockets wait in plain collections until a test
delivers their results. Test scripts read as events in, effects out. Promises that hold between any two
effects are checked here, whatever the script: see `_note`.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hestia.core import effects as fx
from hestia.core import lifecycle as lc
from hestia.core.difference import difference
from hestia.core.errors import HestiaError, StartFailed
from hestia.core.idle import Busy
from hestia.core.lease import Lease
from hestia.core.lifecycle import State
from hestia.core.model import (
    Endpoint,
    GatewayId,
    GatewaySettings,
    InstanceId,
    InstanceKey,
    InstanceSettings,
    Machine,
    ServiceId,
    ServiceSettings,
    Settings,
)
from hestia.core.queue import Outcome, Waiter
from hestia.core.records import ServiceRecord, Slot
from hestia.core.room import limits, short, total
from hestia.core.world import World

S = ServiceId("s")
A, B, C = InstanceId("a"), InstanceId("b"), InstanceId("c")
ENDLESS = 100_000  # effects that follow from one step

Place = tuple[ServiceId, InstanceId]
TimerKey = tuple[ServiceId, InstanceId | None, fx.Timer]


def service(*instances: InstanceId, id: ServiceId = S, **settings: Any) -> ServiceSettings:
    """Settings of a service named `s` with the given instances, `a` when none are named.

    settings: any keywords of ServiceSettings, hence Any.
    """
    return ServiceSettings(
        id=id,
        instances=tuple(
            InstanceSettings(id=name, base_url="http://127.0.0.1:{port}", engine="process")
            for name in instances or (A,)
        ),
        **settings,
    )


def _settings(services: Mapping[ServiceId, ServiceSettings]) -> Settings:
    return Settings(gateway=GatewaySettings(), services=services)


@dataclass(eq=False)
class Guest:
    """One request: its waiter and what it was told. `reaction` runs inside the telling."""

    service: ServiceId
    outcomes: list[Outcome] = field(default_factory=list)
    reaction: Callable[[Guest], None] | None = None
    waiter: Waiter | None = None

    def told(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        if self.reaction is not None:
            self.reaction(self)

    @property
    def outcome(self) -> Outcome | None:
        return self.outcomes[0] if self.outcomes else None

    @property
    def lease(self) -> Lease:
        """The lease it was granted. Fails when it was refused or still waits."""
        assert isinstance(self.outcome, Lease), f"not granted: {self.outcome!r}"
        return self.outcome

    @property
    def error(self) -> HestiaError:
        """The error it was answered with. Fails when it was granted or still waits."""
        assert isinstance(self.outcome, HestiaError), f"not refused: {self.outcome!r}"
        return self.outcome


@dataclass(eq=False)
class StartPaper:
    """One start job that was asked for. given_up: the world cancelled it; it may still report."""

    key: InstanceKey
    episode: str
    given_up: bool = False
    seen: bool = False  # the engine's answer was delivered


class PaperRuntime:
    """See the module docstring. `now` is loop-clock seconds; `jitter` is what back-off draws."""

    def __init__(
        self,
        *services: ServiceSettings,
        machines: Iterable[Machine] = (),
        now: float = 1000.0,
        jitter: float = 1.0,
    ) -> None:
        self.now = now
        self.jitter = jitter
        self.wall_ahead = 0.0  # the wall clock's lead over the loop's
        self.usual: float | None = None  # seconds a start takes
        episodes = itertools.count(1)
        self.world = World(
            gateway=GatewayId("g"),
            services={one.id: one for one in services or (service(),)},
            machines={one.id: one for one in machines},
            jitter=lambda: self.jitter,
            new_episode=lambda: f"e{next(episodes)}",
            wall=lambda: self.now + self.wall_ahead,
            usual=lambda *_: self.usual,
        )
        self.effects: list[fx.Effect] = []  # all, in the order in which they were performed
        self.moves: list[fx.Moved] = []
        self._last_told: dict[Place, str] = {}  # the state that the last move of each instance led to
        self.starts: dict[InstanceKey, StartPaper] = {}
        self.remembered: dict[Place, State] = {}  # states that were restored, and that nothing led to
        self.adoptions: dict[InstanceKey, fx.RunAdoption] = {}
        self.stops: dict[InstanceKey, fx.RunStop] = {}
        self.hurried: list[InstanceKey] = []
        self.asked: list[fx.RunBusyProbe] = []  # busy probes under way
        self.probed: list[fx.RunLivenessProbe] = []  # liveness probes under way
        self.doubts: list[fx.Doubted] = []
        self.granted: list[Lease] = []  # in order: a set of them has another one in each run
        self.closing: list[Lease] = []  # sockets that were told to close
        self.aborted: list[Lease] = []
        self.timers: dict[TimerKey, float] = {}
        self.open_endpoints: set[InstanceKey] = set()
        self.machines = {one.id: one for one in machines}
        self.fitted = dict(self.machines)  # machines whose capacity was not changed
        self.found_by_itself: set[InstanceKey] = (
            set()
        )  # generations that took room without being started here
        self.alive: dict[Place, set[int]] = {}  # generations not confirmed gone (INV-1)
        self.stopped_with_leases_open: list[InstanceKey] = []
        self._pending: deque[fx.Effect] = deque()
        self._performing = False

    # -- requests ------------------------------------------------------------------------------

    def join(
        self,
        *candidates: InstanceId,
        service: ServiceId = S,
        patience: float = 300.0,
        reaction: Callable[[Guest], None] | None = None,
        quiet: bool = False,
        then: tuple[InstanceId, ...] = (),
    ) -> Guest:
        """A request that waits. Raises what the world raises at once."""
        guest = Guest(service, reaction=reaction)
        guest.waiter = Waiter(
            candidates, guest.told, arrived=self.now, deadline=self.now + patience, quiet=quiet, then=then
        )
        self.perform(self.world.join(service, guest.waiter, self.now))
        return guest

    def acquire(self, *candidates: InstanceId, service: ServiceId = S) -> Lease | None:
        lease = self.world.acquire_nowait(service, candidates or None)
        if lease is not None:
            self.granted.append(lease)
        return lease

    def leave(self, guest: Guest) -> None:
        assert guest.waiter is not None
        self.perform(self.world.leave(guest.service, guest.waiter, self.now))

    def release(self, lease: Lease) -> None:
        if self.world.release(lease, self.now):
            key = lease.use.key
            self.perform(self.world.released(key.service, key.instance, self.now))

    def became_socket(self, lease: Lease) -> None:
        if lease.became_socket():
            key = lease.use.key
            self.perform(self.world.released(key.service, key.instance, self.now))

    def succeeded(self, lease: Lease) -> None:
        self.perform(self.world.warmed(lease.use, self.now))

    # -- people --------------------------------------------------------------------------------

    def start(self, service: ServiceId = S, instance: InstanceId | None = None) -> None:
        self.perform(self.world.start(service, self.now, cause="api", actor="me", instance=instance))

    def stop(self, service: ServiceId = S, *, force: bool = False) -> None:
        self.perform(self.world.stop(service, self.now, force=force, actor="me"))

    def restart(self, service: ServiceId = S, *, force: bool = False) -> None:
        self.perform(self.world.stop(service, self.now, force=force, restart=True, actor="me"))

    def reload(self, *services: ServiceSettings, machines: Iterable[Machine] | None = None) -> None:
        """A new configuration: these services and no others. machines: None leaves them."""
        if machines is not None:
            self.machines = {one.id: one for one in machines}
        new = {one.id: one for one in services}
        old = {key: one.settings for key, one in self.world.services.items() if not one.retired}
        found = difference(_settings(old), _settings(new))
        self.perform(self.world.reconfigure(new, found, self.now, machines=self.machines))

    # -- results of jobs -----------------------------------------------------------------------

    def start_of(self, instance: InstanceId = A, service: ServiceId = S) -> StartPaper:
        """The newest start job of an instance that has not ended."""
        return [
            one for one in self.starts.values() if (one.key.service, one.key.instance) == (service, instance)
        ][-1]

    def stop_of(self, instance: InstanceId = A, service: ServiceId = S) -> fx.RunStop:
        return [
            one for one in self.stops.values() if (one.key.service, one.key.instance) == (service, instance)
        ][-1]

    def made(self, start: StartPaper | None = None) -> None:
        """The engine made something that could be left behind."""
        start = start or self.start_of()
        self._event(lc.HandleMade, start.key, handle={"generation": start.key.generation})

    def started(self, start: StartPaper | None = None, *, external: bool = False) -> None:
        """The engine says that it runs. One that is no longer current is stopped by the job itself."""
        start = start or self.start_of()
        start.seen = True
        self._event(
            lc.EngineStarted,
            start.key,
            handle={"generation": start.key.generation},
            endpoint=Endpoint("http", "127.0.0.1", 20000 + start.key.generation),
            external=external,
        )

    def ready(self, start: StartPaper | None = None) -> None:
        """The probe passed (after the engine's answer, which is delivered first if it was not)."""
        start = start or self.start_of()
        if not start.seen:
            self.started(start)
        self.starts.pop(start.key, None)
        self._event(lc.ProbePassed, start.key)

    def fails(
        self,
        start: StartPaper | None = None,
        *,
        error: HestiaError | None = None,
        left_over: bool = False,
        again: bool = False,
    ) -> None:
        start = start or self.start_of()
        self.starts.pop(start.key, None)
        if not left_over and start.key in self.starts_alive and start.key not in self.stops:
            self._confirmed_gone(start.key)
        self._event(
            lc.StartFailed,
            start.key,
            error=error or StartFailed("exit status 3", exit_status=3),
            left_over=left_over,
            again=again,
        )

    # -- after a restart -----------------------------------------------------------------------

    def adopt(self, instance: InstanceId = A, service: ServiceId = S, **facts: Any) -> None:
        """A generation of an earlier gateway may run. facts: as in `World.adopt`, hence Any."""
        facts = {"generation": 1, "handle": {"generation": 1}, **facts}
        self.alive.setdefault((service, instance), set()).add(facts["generation"])
        self.perform(self.world.adopt(service, instance, self.now, **facts))

    def adoption_of(self, instance: InstanceId = A, service: ServiceId = S) -> fx.RunAdoption:
        """The search that is under way for an instance."""
        return next(
            one
            for one in self.adoptions.values()
            if (one.key.service, one.key.instance) == (service, instance)
        )

    def taken_over(self, found: fx.RunAdoption | None = None, *, ends: bool = False) -> None:
        """It runs, and a probe passed. ends: its stop had been decided already."""
        found = found or self.adoption_of()
        del self.adoptions[found.key]
        handle = {"generation": found.key.generation}
        self._event(lc.HandleMade, found.key, handle=handle)
        if ends:
            self._event(lc.StopRequested, found.key, busy=False, keep_waiters=True, cause="resumed")
            return
        endpoint = Endpoint("http", "127.0.0.1", 20000 + found.key.generation)
        self._event(lc.EngineStarted, found.key, handle=handle, endpoint=endpoint)
        self._event(lc.ProbePassed, found.key)

    def missed(self, found: fx.RunAdoption | None = None) -> None:
        """It had ended."""
        found = found or self.adoption_of()
        del self.adoptions[found.key]
        self._confirmed_gone(found.key)
        self._event(lc.AdoptionMissed, found.key)

    def not_known(self, found: fx.RunAdoption | None = None) -> None:
        """Nobody can say."""
        found = found or self.adoption_of()
        del self.adoptions[found.key]
        self._event(lc.AdoptionUnknown, found.key, error=HestiaError("nobody can say whether it runs"))

    def gone(
        self, instance: InstanceId = A, *, unstable: bool = False, key: InstanceKey | None = None
    ) -> None:
        """The engine says that it no longer runs."""
        key = key or self.slot(instance).key(self.world.gateway)
        self._event(
            lc.InstanceGone, key, error=StartFailed("killed by signal 9", signal=9), unstable=unstable
        )

    def gone_of(self, service: ServiceId, instance: InstanceId = A) -> None:
        """The same for an instance of another service."""
        self.gone(key=self.slot(instance, service).key(self.world.gateway))

    def adopted(self, service: ServiceId = S, instance: InstanceId = A) -> None:
        """What an earlier gateway started runs, and its probe passed."""
        key = self.slot(instance, service).key(self.world.gateway)
        self.alive.setdefault((service, instance), set()).add(key.generation)
        self.ready(StartPaper(key, ""))

    def found(self, instance: InstanceId = A, service: ServiceId = S) -> None:
        """A probe found that somebody else runs it."""
        slot = self.world.slot(service, instance)
        self.alive.setdefault((service, instance), set()).add(slot.record.generation + 1)
        endpoint = Endpoint("http", "127.0.0.1", 11434)
        event = lc.FoundRunning(service=service, instance=instance, endpoint=endpoint)
        self.perform(self.world.apply(event, self.now))

    def stopped(self, stop: fx.RunStop | None = None, *, start_goes_on: bool = False) -> None:
        """Confirmed gone. start_goes_on: the start that was given up did not end in time."""
        stop = stop or self.stop_of()
        self.stops.pop(stop.key)
        if not start_goes_on:
            self.starts.pop(stop.key, None)
        self._confirmed_gone(stop.key)
        self._event(lc.StopFinished, stop.key)

    def stop_fails(self, stop: fx.RunStop | None = None, *, start_goes_on: bool = False) -> None:
        """Still there after everything was tried."""
        stop = stop or self.stop_of()
        self.stops.pop(stop.key)
        if not start_goes_on:
            self.starts.pop(stop.key, None)
        self._event(lc.StopFailed, stop.key, error=HestiaError("still there after KILL"))

    def busy(self, said: Busy, probe: fx.RunBusyProbe | None = None) -> None:
        """A busy probe ends, the oldest unless one is named."""
        probe = probe or self.asked[0]
        self.asked.remove(probe)
        self.perform(self.world.busy(probe.key, said, probe.sequence, self.now))

    def lives(self, alive: bool, probe: fx.RunLivenessProbe | None = None, *, refused: bool = False) -> None:
        """A liveness probe ends, the oldest unless one is named."""
        probe = probe or self.probed[0]
        if probe in self.probed:
            self.probed.remove(probe)
        said = "HTTP 200" if alive else "no answer within 5 s"
        self.perform(self.world.liveness(probe.key, said, self.now, alive=alive, refused=refused))

    def let_down(self, lease: Lease) -> None:
        """A request got no answer."""
        self.perform(self.world.doubt(lease.use.key, self.now))

    def refuses(self, lease: Lease) -> None:
        """Nobody listens though it was ready a moment ago."""
        self.perform(self.world.refused(lease.use.key, "connection refused", self.now))

    # -- time ----------------------------------------------------------------------------------

    def next_timer(self) -> TimerKey | None:
        return min(self.timers, key=lambda key: self.timers[key], default=None)

    def due(self) -> list[TimerKey]:
        return [key for key, at in self.timers.items() if at <= self.now]

    def fire(self, key: TimerKey) -> None:
        """Fire one timer now, due or not."""
        del self.timers[key]
        self.perform(self.world.timer(*key, self.now))

    def pass_time(self, seconds: float) -> None:
        """Let time go by; every timer fires at its instant, in order."""
        end = self.now + seconds
        while (key := self.next_timer()) is not None and self.timers[key] <= end:
            self.now = max(self.now, self.timers[key])
            self.fire(key)
        self.now = end

    # -- looking -------------------------------------------------------------------------------

    def record(self, service: ServiceId = S) -> ServiceRecord:
        return self.world.service(service)

    def slot(self, instance: InstanceId = A, service: ServiceId = S) -> Slot:
        return self.world.slot(service, instance)

    def state(self, instance: InstanceId = A, service: ServiceId = S) -> State:
        return self.slot(instance, service).state

    def timer_at(
        self, kind: fx.Timer, instance: InstanceId | None = A, service: ServiceId = S
    ) -> float | None:
        return self.timers.get((service, instance, kind))

    def walk(self, instance: InstanceId = A, service: ServiceId = S) -> str:
        """The states it went through: `cold starting hot`."""
        own = [move for move in self.moves if (move.key.service, move.key.instance) == (service, instance)]
        if not own:
            return self.state(instance, service)
        return " ".join([own[0].before, *(move.after for move in own)])

    @property
    def starts_alive(self) -> set[InstanceKey]:
        """Keys of generations that are not confirmed gone."""
        gateway = self.world.gateway
        return {
            InstanceKey(gateway, service, instance, generation)
            for (service, instance), generations in self.alive.items()
            for generation in generations
        }

    def count(self, kind: type[fx.Effect]) -> int:
        return sum(isinstance(effect, kind) for effect in self.effects)

    # -- performing ----------------------------------------------------------------------------

    def perform(self, effects: list[fx.Effect]) -> None:
        """Effects of one step, behind those still to be performed."""
        self._pending.extend(effects)
        if self._performing:
            return
        self._performing = True
        try:
            before = len(self.effects)
            while self._pending:
                effect = self._pending.popleft()
                assert len(self.effects) - before < ENDLESS, f"one step leads to the next for ever: {effect}"
                self.effects.append(effect)
                self._note(effect)
        finally:
            self._performing = False

    def _note(self, effect: fx.Effect) -> None:
        """Write one effect down; asserts what must hold between any two (INV-1, 3, 4, 9)."""
        match effect:
            case fx.Settle(waiter, outcome):
                self._settle(waiter, outcome)
            case fx.SetTimer(service, instance, kind, None):
                self.timers.pop((service, instance, kind), None)
            case fx.SetTimer(service, instance, kind, at) if at is not None:
                self.timers[service, instance, kind] = at
            case fx.RunStart(key, episode):
                alive = self.alive.setdefault((key.service, key.instance), set())
                assert not alive, f"INV-1: {key} starts while generation {alive} is not confirmed gone"
                alive.add(key.generation)
                self.starts[key] = StartPaper(key, episode)
                self._check_room(key)
            case fx.RunBusyProbe(key):
                assert all(probe.key != key for probe in self.asked), f"two busy probes of {key} at once"
                self.asked.append(effect)
            case fx.RunLivenessProbe(key):
                assert all(probe.key != key for probe in self.probed), f"two liveness probes of {key} at once"
                self.probed.append(effect)
            case fx.Doubted():
                self.doubts.append(effect)
            case fx.RefuseStart(key, error):
                self._event(lc.StartFailed, key, error=error, left_over=False)
            case fx.RunAdoption(key):
                assert key not in self.adoptions, f"two searches for {key} at once"
                self.adoptions[key] = effect
                self.found_by_itself.add(key)
            case fx.CancelStart(key) if key in self.starts:
                self.starts[key].given_up = True
            case fx.CancelStart(key):
                self.adoptions.pop(key, None)
            case fx.RunStop(key):
                assert key not in self.stops, f"two stops of {key} at once"
                self.stops[key] = effect
                self._check_leases_closed(key)
            case fx.HurryStop(key):
                self.hurried.append(key)
            case fx.CloseSockets(use):
                self.closing.extend(
                    lease for lease in self.granted if lease in use.leases and lease.is_socket
                )
            case fx.AbortLeases(use):
                for lease in [lease for lease in self.granted if lease in use.leases]:
                    self.aborted.append(lease)
                    self.release(lease)
            case fx.EndpointOpened(key):
                self.open_endpoints.add(key)
            case fx.EndpointClosed(key):
                self.open_endpoints.remove(key)
                self.probed = [probe for probe in self.probed if probe.key != key]
            case fx.Moved():
                self._note_move(effect)
            case fx.Retired(service):
                self.world.forget(service)
                if service not in self.world.services:
                    for timer in [timer for timer in self.timers if timer[0] == service]:
                        del self.timers[timer]

    def _check_room(self, key: InstanceKey) -> None:
        """INV-5: what was started fits together. What was found, or came late, may exceed that (EV-14)."""
        machine = self.slot(key.instance, key.service).settings.machine
        taken = [
            slot.reservation.takes
            for record in self.world.services.values()
            for slot in record.slots.values()
            if slot.reservation is not None
            and slot.reservation.machine == machine
            and slot.record.generation in self.alive.get((record.settings.id, slot.record.id), ())
            and not slot.record.external
            and slot.key(self.world.gateway) not in self.found_by_itself
        ]
        if machine in self.machines and self.machines[machine] == self.fitted.get(machine):
            missing = short(total(taken), limits(self.machines[machine]))
            assert not missing, f"INV-5: {key} starts where {missing} is missing"

    def _settle(self, waiter: Waiter, outcome: Outcome) -> None:
        if isinstance(outcome, Lease):
            self.granted.append(outcome)
            assert outcome.use.key in self.open_endpoints, "INV-3: granted while not hot"
        if not waiter.left:
            waiter.on_outcome(outcome)
        elif isinstance(outcome, Lease):
            self.release(outcome)

    def _note_move(self, move: fx.Moved) -> None:
        place = (move.key.service, move.key.instance)
        expected = self._last_told.get(place) or self.remembered.get(place, State.COLD)
        assert move.before == expected != move.after, f"INV-9: {move} does not follow {expected}"
        self._last_told[place] = move.after
        self.moves.append(move)

    def _check_leases_closed(self, key: InstanceKey) -> None:
        """INV-4, by the row that led here: a crash, or nothing is open."""
        move = next(move for move in reversed(self.moves) if move.key == key)
        use = self.world.slot(key.service, key.instance).use
        if use is not None and use.key == key and use.open:
            self.stopped_with_leases_open.append(key)
            assert move.event == "InstanceGone" or self.slot_crashed(key), f"INV-4: {key} has leases open"

    def slot_crashed(self, key: InstanceKey) -> bool:
        """Whether this generation was reported gone earlier, so that its leases lead nowhere."""
        return any(move.key == key and move.event == "InstanceGone" for move in self.moves)

    def _confirmed_gone(self, key: InstanceKey) -> None:
        self.alive.get((key.service, key.instance), set()).discard(key.generation)

    def _event(self, kind: type[lc.Event], key: InstanceKey, **data: object) -> None:
        event = kind(
            service=key.service,
            instance=key.instance,
            generation=key.generation,
            **data,
        )
        self.perform(self.world.apply(event, self.now))


def starting() -> PaperRuntime:
    """A runtime whose service has one waiter and a start under way."""
    runtime = PaperRuntime()
    runtime.join()
    return runtime


def hot(*instances: InstanceId, **settings: Any) -> PaperRuntime:
    """A runtime whose first instance is hot, with its warm-up gate open."""
    runtime = PaperRuntime(service(*instances, **settings))
    runtime.start()
    runtime.ready()
    use = runtime.slot().use
    assert use is not None
    use.warm = True
    return runtime
