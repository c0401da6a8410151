"""Performs the world's effects, owns timers, and brings what happened back into it as events.

Effects are performed in the order in which the world gave them; performing one may produce events, whose
effects queue behind. Nothing here awaits: what takes time is a job (`runtime.starts`, `runtime.adoption`).
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from hestia.core import effects as fx
from hestia.core import lifecycle as lc
from hestia.core.errors import HestiaError, NotFound, QueueTimeout
from hestia.core.lease import Lease
from hestia.core.lifecycle import State
from hestia.core.model import InstanceId, InstanceKey, MachineId, OnExit, ServiceId
from hestia.core.ports import Engine, Found, Handle, Observed, Presence, Recorder, Row, Store, StoredRow
from hestia.core.queue import Outcome, Waiter
from hestia.core.secrets import Secrets
from hestia.core.world import World
from hestia.runtime.adoption import Adoption, missed, not_known
from hestia.runtime.busy import BusyProbes
from hestia.runtime.feed import Feed
from hestia.runtime.history import History, StageClock
from hestia.runtime.liveness import LivenessProbes
from hestia.runtime.memory import fact_of, fact_of_spent, keep_move, name_of
from hestia.runtime.starts import Jobs, StartJob
from hestia.runtime.tasks import Tasks
from hestia.runtime.waits import Waits

log = logging.getLogger(__name__)

LONGEST_TIMER = 20 * 86400.0  # seconds; longer ones are looked at again then (CK-11)
_NOTHING: Final[Mapping[str, object]] = {}
TimerKey = tuple[ServiceId, InstanceId | None, fx.Timer]


class Performer:
    """The single writer of the world. See the module docstring.

    starts: the running or last start job of each instance. handles: the newest of each instance, for its
    output. changed: set after each transition. closed: told the key of a generation whose endpoint is no
    longer used. estimate: seconds until a service is ready. on_error: told what went wrong where.
    """

    def __init__(
        self,
        world: World,
        *,
        engines: Mapping[str, Engine],
        store: Store,
        recorder: Recorder,
        tasks: Tasks,
        clock: Callable[[], float],
        closed: Callable[[InstanceKey], None],
        history: History,
        starts: dict[tuple[ServiceId, InstanceId], StartJob],
        estimate: Callable[[ServiceId], float | None],
        on_error: Callable[[tuple[ServiceId, InstanceId], HestiaError], None],
        orphan_policy: OnExit,
        secrets: Secrets,
    ) -> None:
        self._world = world
        self._store = store
        self._recorder = recorder
        self._tasks = tasks
        self._clock = clock
        self._closed = closed
        self._history = history
        self._estimate = estimate
        self._on_error = on_error
        self._secrets = secrets
        self._loop = asyncio.get_running_loop()
        self._pending: deque[fx.Effect] = deque()
        self._performing = False
        self._frozen = False
        self._timers: dict[TimerKey, asyncio.TimerHandle] = {}
        self.starts = starts
        self.handles: dict[tuple[ServiceId, InstanceId], Handle] = {}
        self._waits = Waits(starts, recorder=recorder, note=self.note, clock=clock)
        self.changed = asyncio.Event()
        self.feed = Feed()
        self._used: dict[InstanceKey, float] = {}  # last use as it is stored, loop-clock seconds
        self.adoption = Adoption(
            world,
            engines=engines,
            store=store,
            tasks=tasks,
            perform=self.perform,
            clock=clock,
            policy=orphan_policy,
            note=self.note,
        )
        self._busy_probes = BusyProbes(world, perform=self.perform, clock=clock)
        self._liveness = LivenessProbes(
            world,
            starts,
            tasks=tasks,
            perform=self.perform,
            clock=clock,
            note=self.note,
            on_error=on_error,
        )
        self.jobs = Jobs(
            engines=engines,
            store=store,
            recorder=recorder,
            happened=self.happened,
            is_current=world.is_current,
            settled=self.adoption.settled,
            serves_elsewhere=world.serves_elsewhere,
            address_of=self._address_of,
            secrets=secrets,
            handle_of=self.adoption.handle_of,
        )

    def _address_of(self, machine: MachineId) -> str:
        known = self._world.machines.get(machine)
        return "" if known is None else known.address

    def release(self, lease: Lease) -> None:
        """Give a lease back. Idempotent."""
        if self._world.release(lease, self._clock()):
            self.released(lease)

    def released(self, lease: Lease) -> None:
        """A lease was given back, or became a socket, where somebody waits or drains."""
        key = lease.use.key
        self.perform(self._world.released(key.service, key.instance, self._clock()))

    def note_use(self) -> None:
        """Store when each hot instance was used last, if that moved since the last call (AD-12)."""
        for record in self._world.services.values():
            for slot in record.slots.values():
                use = slot.use
                if use is None or slot.state is not State.HOT or slot.record.external:
                    continue
                if not use.granted and slot.last_used is not None:
                    continue  # adopted and not used since: what is stored is still right
                used = self._clock() if use.open else use.last_used
                if used > self._used.get(use.key, -math.inf):
                    self._used[use.key] = used
                    self._store.noted(use.key, last_used=time.time() - (self._clock() - used))

    def freeze(self) -> None:
        """Start, stop and write nothing any more: another gateway decides. Leases go on."""
        self.note_use()
        self.forget_timers()
        self._frozen = True

    def forget_timers(self) -> None:
        """Nothing is due any more: the end."""
        for handle in self._timers.values():
            handle.cancel()
        self._timers.clear()

    def happened(self, event: lc.Event) -> None:
        """Take an event into the world and perform what follows. A late or illegal one changes nothing."""
        if self._frozen:
            return
        if isinstance(error := getattr(event, "error", None), HestiaError):
            self._secrets.hide_in(error)  # before anybody is told
        try:
            effects = self._world.apply(event, self._clock())
        except NotFound:
            return  # taken out of the configuration, and gone meanwhile
        except lc.IllegalTransition as refused:
            log.warning(str(refused), extra={"event_type": "illegal_transition", "service_id": event.service})
            return
        self.perform(effects)

    def perform(self, effects: list[fx.Effect]) -> None:
        self._pending.extend(effects)
        if self._performing:
            return
        self._performing = True
        try:
            while self._pending:
                self._perform_one(self._pending.popleft())
        finally:
            self._performing = False

    def _perform_one(self, effect: fx.Effect) -> None:
        """One effect; each branch starts something or tells somebody, and never waits."""
        if self._frozen and not isinstance(effect, fx.Settle):
            return
        match effect:
            case fx.Settle(waiter, outcome):
                self._settle(waiter, outcome)
            case fx.SetTimer(service, instance, kind, at):
                self._set_timer((service, instance, kind), at)
            case fx.RunStart(key, episode):
                self._run_start(key, episode)
            case fx.AwaitDependencies(key, episode, needed):
                self._waits.show(key, episode, "dependencies", f"waiting for {', '.join(needed)}")
            case fx.AwaitRoom(key, episode, text):
                self._waits.show(key, episode, "room", text)
            case fx.MadeRoom():
                self._waits.made_room(effect)
            case fx.RefuseStart(key, error):
                self.happened(
                    lc.StartFailed(
                        service=key.service,
                        instance=key.instance,
                        generation=key.generation,
                        error=error,
                        left_over=False,
                    )
                )
            case fx.RunAdoption(key, episode, handle):
                self._run_adoption(key, episode, handle)
            case fx.RunBusyProbe(key, endpoint, sequence):
                self._tasks.spawn(self._busy_probes.ask(key, endpoint, sequence), f"busy probe {key}")
            case fx.RunLivenessProbe():
                self._liveness.begin(effect)
            case fx.Doubted():
                self._liveness.doubted(effect)
            case fx.KeepBackoff(service, instance, backoff, error):
                fact = fact_of(backoff, error, now=self._clock(), wall=time.time())
                self._store.fact("backoff", name_of((service, instance)), fact)
            case fx.KeepSpent(service, spent):
                spent_fact = fact_of_spent(spent, now=self._clock(), wall=time.time())
                self._store.fact("spent", service, spent_fact)
            case fx.Retired(service):
                self._forget(service)
            case fx.CancelStart(key):
                job = self.starts.get((key.service, key.instance))
                if job is not None and job.key == key and job.task is not None:
                    job.task.cancel()
            case fx.RunStop(key, handle, external):
                self._run_stop(key, handle, external)
            case fx.HurryStop(key):
                slot = self._world.slot(key.service, key.instance)
                if slot.record.handle and not slot.record.external:
                    self._tasks.spawn(self.jobs.hurry(slot.settings, slot.record.handle), f"hurry stop {key}")
            case fx.CloseSockets(use):
                for lease in [lease for lease in use.leases if lease.is_socket]:
                    if lease.holder is not None:
                        lease.holder.close_socket()
            case fx.AbortLeases(use, reason):
                for lease in list(use.leases):
                    if lease.holder is not None:
                        lease.holder.abort(reason)
                    self.release(lease)
            case fx.EndpointOpened():
                pass
            case fx.EndpointClosed(key):
                self._liveness.forget(key)
                self._closed(key)
            case fx.Moved():
                self._moved(effect)

    def _settle(self, waiter: Waiter, outcome: Outcome) -> None:
        """Tell a waiter. One that left gives its lease back; one that raises does not stop the others."""
        if isinstance(outcome, QueueTimeout):
            estimate = self._estimate(ServiceId(outcome.service_id))
            if estimate is not None:
                outcome.retry_after = estimate
                outcome.detail += f" By earlier starts about {estimate:.0f} s are left."
        if waiter.left:
            if isinstance(outcome, Lease):
                self.release(outcome)
            return
        try:
            waiter.on_outcome(outcome)
        except Exception:  # boundary: an exchange's own bug (SF-04)
            log.exception("A waiter failed on its outcome", extra={"event_type": "waiter_failed"})
            if isinstance(outcome, Lease):
                self.release(outcome)

    def _forget(self, service: ServiceId) -> None:
        self._world.forget(service)
        if service in self._world.services:
            return
        for timer in [timer for timer in self._timers if timer[0] == service]:
            self._timers.pop(timer).cancel()
        for place in [place for place in self.starts if place[0] == service]:
            del self.starts[place]
            self.handles.pop(place, None)

    def _set_timer(self, key: TimerKey, at: float | None) -> None:
        if (old := self._timers.pop(key, None)) is not None:
            old.cancel()
        if at is not None:
            at = min(at, self._clock() + LONGEST_TIMER)
            self._timers[key] = self._loop.call_at(at, self._timer_fired, key)

    def _timer_fired(self, key: TimerKey) -> None:
        self._timers.pop(key, None)
        # the loop's clock may be a tick behind the instant a timer was set for
        self.perform(self._world.timer(*key, self._clock() + 0.001))

    def _run_start(self, key: InstanceKey, episode: str) -> None:
        record, job = self._world.service(key.service), self._waits.ended(key, episode)
        job.task = self._tasks.spawn(
            self.jobs.start(job, record.settings, record.slots[key.instance].settings), f"start {key}"
        )

    def _run_adoption(self, key: InstanceKey, episode: str, handle: Handle | None) -> None:
        job = StartJob(key, episode, self._clock())
        self.starts[key.service, key.instance] = job
        job.task = self._tasks.spawn(self._find(job, handle), f"adopt {key}")

    async def _find(self, job: StartJob, handle: Handle | None) -> None:
        """Find out about a generation of an earlier gateway and say what became of it."""
        key = job.key
        record = self._world.service(key.service)
        settings = record.slots[key.instance].settings
        job.clock.enter("engine", f"{settings.engine}: looking for what runs", self._clock())
        found: Found | Observed
        try:
            found = await self.adoption.find(key, handle, settings.engine)
        except Exception as exc:  # boundary: a bug in an engine or in us leaves nobody waiting (SF-15)
            log.exception("Looking for %s broke", key, extra={"event_type": "adoption_broke"})
            reason = f"looking for it failed inside Hestia ({type(exc).__name__}: {exc})"
            found = Observed(handle=handle or {}, presence=Presence.UNKNOWN, reason=reason)
        if isinstance(found, Found):
            job.handle = found.handle
            ends = self.adoption.was_ending(key) or found.observed.ending
            await self.jobs.adopt(job, record.settings, settings, found, ends=ends)
        elif found.pending and not self.adoption.was_ending(key):
            await self.jobs.resume(job, record.settings, settings)
        elif found.presence is Presence.GONE:
            await self.adoption.orphans.tidy(settings.engine, handle)
            self.happened(missed(key))
        else:
            self.happened(not_known(key, found))

    def _run_stop(self, key: InstanceKey, handle: Handle | None, external: bool) -> None:
        slot = self._world.slot(key.service, key.instance)
        start = self.starts.get((key.service, key.instance))
        if external:
            self.happened(
                lc.StopFinished(service=key.service, instance=key.instance, generation=key.generation)
            )
            return
        crash = slot.record.error if slot.record.cause == "exited" else None
        grace = slot.service.settings.stop_grace
        self._tasks.spawn(
            self.jobs.stop(
                key,
                slot.settings,
                handle=handle,
                start=start if start is not None and start.key == key else None,
                grace=grace,
                error=crash,
            ),
            f"stop {key}",
        )

    def note(
        self,
        event: str,
        *,
        cause: str,
        actor: str = "",
        service: str = "",
        instance: str = "",
        generation: int = 0,
        data: Mapping[str, object] = _NOTHING,
    ) -> None:
        """Write down something that is no transition of an instance."""
        row = Row(
            at=time.time(),
            service=service,
            instance=instance,
            generation=generation,
            event=event,
            before="",
            after="",
            cause=cause,
            actor=actor,
            data=data,
        )
        self._write(row)

    def _write(self, row: Row) -> None:
        number = self._store.append(row)
        self._recorder.transition(row)
        self.feed.push(StoredRow(number, row))

    def _moved(self, moved: fx.Moved) -> None:
        """One transition: remember what is worth it, write its one row (INV-9)."""
        key = moved.key
        place = (key.service, key.instance)
        if moved.after is State.HOT and moved.before is State.STARTING and moved.cause != "adopted":
            self._remember_start(place, self.starts.get(place))
        if moved.handle:
            self.handles[place] = moved.handle
        data: dict[str, object] = {}
        if moved.error is not None:
            data = {"code": moved.error.code, "detail": moved.error.detail}
            self._on_error(place, moved.error)
        elif moved.ended is not None:
            data = {"code": moved.ended.code, "detail": moved.ended.detail}
        row = Row(
            at=time.time(),
            service=key.service,
            instance=key.instance,
            generation=key.generation,
            event=moved.event,
            before=moved.before,
            after=moved.after,
            cause=moved.cause,
            actor=moved.actor,
            episode=moved.episode,
            lasted=moved.lasted,
            data={
                **data,
                "open_leases": moved.open_leases,
                "forced": moved.forced,
                **({"several": True} if moved.several else {}),
            },
        )
        if keep_move(self._store, moved):
            self._used.pop(key, None)
        self._write(row)
        self.changed.set()

    def _remember_start(self, place: tuple[ServiceId, InstanceId], job: StartJob | None) -> None:
        if job is not None and not self._world.slot(*place).record.external:
            clock: StageClock = job.clock
            self._history.add(*place, clock)
            self._store.fact("history", name_of(place), {"starts": self._history.rows(*place)})
            self.perform(self._world.look_at_calendars(self._clock(), only=place[0]))
