"""The life cycle of one instance: theory, table, step.

Theory. A record is frozen; it moves only through `step`, which looks up (state, event) in `TABLE`.
An event the table does not list for a state is illegal: it raises and changes nothing. A row names the
next state and what has to be done about it (`Do`); the world carries that out in the same synchronous
step, so nothing can happen between deciding and recording. Where one event leads to different states,
the rows are tried in order and the first whose guard holds applies.

A generation is one attempt to run the instance. Its number is raised when a start is decided and never
reused; events carry it, and one of an older generation never gets here (the world drops it).

States: `cold` nothing runs; `starting` a start is under way; `hot` leases are granted; `draining` no new
leases, open ones finish; `stopping` the engine is asked to stop it and to confirm that it is gone;
`failed` the last start failed (demand waits or is refused), or it could not be stopped (`stuck`).

A script draws docs/lifecycle.md from the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from hestia.core.errors import HestiaError
from hestia.core.model import Endpoint, InstanceId, ServiceId
from hestia.core.ports import Handle


class State(StrEnum):
    COLD = "cold"
    STARTING = "starting"
    HOT = "hot"
    DRAINING = "draining"
    STOPPING = "stopping"
    FAILED = "failed"


class Do(StrEnum):
    """What a row asks of the world. Carried out in the same step, in this order."""

    RUN_START = "run start"
    RUN_ADOPTION = "run adoption"
    CANCEL_START = "cancel start"
    OPEN_ADMISSION = "open admission"
    CLOSE_ADMISSION = "close admission"
    COUNT_FAILURE = "count failure"
    FAIL_WAITERS = "fail waiters"
    REFUSE_WAITERS = "refuse waiters"
    CLOSE_SOCKETS = "close sockets"
    ABORT_LEASES = "abort leases"
    ARM_DRAIN = "arm drain limit"
    RUN_STOP = "run stop"
    HURRY_STOP = "hurry stop"
    ARM_STOP_RETRY = "arm stop retry"
    ARM_ADOPTION_RETRY = "arm adoption retry"
    FORGET_FAILURES = "forget failures"
    RECHECK_DEMAND = "recheck demand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to one generation of one instance.

    generation: 0 means "whichever is current" and is for decisions, not for results.
    """

    service: ServiceId
    instance: InstanceId
    generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDecided(Event):
    """The instance shall run. cause: `demand`, `api`, `restart`; actor: who asked."""

    cause: str
    actor: str = ""
    episode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptionDecided(Event):
    """A generation of an earlier gateway may still run: find out, and go on with it (AD-01, AD-11).

    number: the generation; it keeps it. handle: None where it was never stored.
    """

    number: int
    handle: Handle | None = None
    episode: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptionMissed(Event):
    """Nothing of that generation runs any more: it ended while no gateway looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptionUnknown(Event):
    """Nobody could say whether it runs, for as long as that may take (AD-10)."""

    error: HestiaError


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRunning(Event):
    """A probe found that somebody else runs it."""

    endpoint: Endpoint
    cause: str = "external"


@dataclass(frozen=True, slots=True, kw_only=True)
class HandleMade(Event):
    """The engine made something that could be left behind."""

    handle: Handle


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStarted(Event):
    """It runs, perhaps not ready. external: it answered before we started anything."""

    handle: Handle
    endpoint: Endpoint
    external: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbePassed(Event):
    """A real request would succeed now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFailed(Event):
    """The start is over without success. left_over: something has to be cleaned up first.

    again: the answer said "not now", so this episode may try again (RD-04).
    """

    error: HestiaError
    left_over: bool
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StartGivenUp(Event):
    """A start that only waits for room is needed no more: nobody waits for it (SF-14)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceGone(Event):
    """The engine or the network says that it no longer runs. unstable: it counts as a failed start."""

    error: HestiaError
    unstable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleElapsed(Event):
    """Nobody used it for its idle timeout. sockets: silent WebSockets are still open.

    cause: `idle`; `outdated` where it ran on only for those who used it (AD-17); `busy_unknown` where its
    busy probe gave no answer for as long as it may (ID-07).
    """

    sockets: bool
    cause: str = "idle"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested(Event):
    """It shall stop. busy: leases are open. restart: start again when it is gone.

    keep_waiters: whoever waits for it waits on: a restart, or an eviction (SF-07).
    """

    busy: bool
    force: bool = False
    restart: bool = False
    keep_waiters: bool = False
    cause: str = "api"
    actor: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained(Event):
    """The last lease was released."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainElapsed(Event):
    """The drain took as long as it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopFinished(Event):
    """Confirmed gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StopFailed(Event):
    """It is still there after everything was tried (FB-15)."""

    error: HestiaError


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRetried(Event):
    """Time to ask the engine again to stop what is stuck."""


@dataclass(frozen=True, slots=True)
class Instance:
    """The record of one instance. since: loop-clock seconds of the last change of state.

    failed: the running or last generation failed. stuck: it could not be stopped, or (`unknown`) nobody
    can say whether it runs; either way it may still hold what it held. restart: start again when gone.
    abort_on_drain: the drain ends in an abort (silent sockets), not in giving up.
    """

    service: ServiceId
    id: InstanceId
    state: State = State.COLD
    generation: int = 0
    since: float = 0.0
    handle: Handle | None = None
    endpoint: Endpoint | None = None
    external: bool = False
    error: HestiaError | None = None
    failed: bool = False
    stuck: bool = False
    unknown: bool = False
    restart: bool = False
    abort_on_drain: bool = False
    cause: str = ""
    actor: str = ""
    episode: str = ""

    def __repr__(self) -> str:
        return f"<Instance {self.service}/{self.id} {self.state} generation={self.generation}>"


Guard = Callable[[Instance, Event], bool]


@dataclass(frozen=True, slots=True)
class Row:
    """Where an event leads. `when` is None or a guard; its docstring is the label in the diagram."""

    to: State
    do: tuple[Do, ...] = ()
    when: Guard | None = None


class IllegalTransition(Exception):
    """The table has no row for this event in this state. The record is unchanged."""

    def __init__(self, instance: Instance, event: Event) -> None:
        super().__init__(f"{type(event).__name__} is not allowed for {instance!r}")


def left_over(_: Instance, event: Event) -> bool:
    """something is left over"""
    return isinstance(event, StartFailed) and event.left_over


def forced(_: Instance, event: Event) -> bool:
    """forced"""
    return isinstance(event, StopRequested) and event.force


def busy(_: Instance, event: Event) -> bool:
    """leases open"""
    return isinstance(event, StopRequested) and event.busy


def keeping(_: Instance, event: Event) -> bool:
    """waiters stay"""
    return isinstance(event, StopRequested) and event.keep_waiters


def silent_sockets(_: Instance, event: Event) -> bool:
    """silent sockets open"""
    return isinstance(event, IdleElapsed) and event.sockets


def unstable(_: Instance, event: Event) -> bool:
    """not yet stable"""
    return isinstance(event, InstanceGone) and event.unstable


def aborting(instance: Instance, _: Event) -> bool:
    """drain ends in abort"""
    return instance.abort_on_drain


def has_failed(instance: Instance, _: Event) -> bool:
    """generation failed"""
    return instance.failed


def is_stuck(instance: Instance, _: Event) -> bool:
    """stuck"""
    return instance.stuck


def is_unknown(instance: Instance, _: Event) -> bool:
    """unknown"""
    return instance.unknown


def given_up(instance: Instance, event: Event) -> bool:
    """unknown, and forced"""
    return instance.unknown and forced(instance, event)


def is_gone(instance: Instance, _: Event) -> bool:
    """not stuck"""
    return not instance.stuck


def has_endpoint(instance: Instance, _: Event) -> bool:
    """endpoint known"""
    return instance.endpoint is not None


_STOP = (Do.CLOSE_ADMISSION, Do.RUN_STOP)
_CRASH = (Do.CLOSE_ADMISSION, Do.COUNT_FAILURE, Do.RUN_STOP)
_CUT = (Do.CLOSE_ADMISSION, Do.ABORT_LEASES, Do.RUN_STOP)

TABLE: Final[Mapping[tuple[State, type[Event]], tuple[Row, ...]]] = {
    (State.COLD, StartDecided): (Row(State.STARTING, (Do.RUN_START,)),),
    (State.COLD, AdoptionDecided): (Row(State.STARTING, (Do.RUN_ADOPTION,)),),
    (State.COLD, FoundRunning): (Row(State.HOT, (Do.OPEN_ADMISSION,)),),
    (State.COLD, StopRequested): (Row(State.COLD),),
    (State.COLD, InstanceGone): (Row(State.COLD),),  # a lease of the last generation saw it as well
    (State.COLD, HandleMade): (Row(State.STOPPING, (Do.RUN_STOP,)),),  # a start that was given up and
    (State.COLD, EngineStarted): (Row(State.STOPPING, (Do.RUN_STOP,)),),  # did not stop in time (SF-08)
    # a start under way
    (State.STARTING, HandleMade): (Row(State.STARTING),),
    (State.STARTING, EngineStarted): (Row(State.STARTING),),
    (State.STARTING, ProbePassed): (Row(State.HOT, (Do.OPEN_ADMISSION,), has_endpoint),),
    (State.STARTING, StartFailed): (
        Row(State.STOPPING, (Do.COUNT_FAILURE, Do.FAIL_WAITERS, Do.RUN_STOP), left_over),
        Row(State.FAILED, (Do.COUNT_FAILURE, Do.FAIL_WAITERS, Do.RECHECK_DEMAND)),
    ),
    (State.STARTING, StopRequested): (
        Row(State.STOPPING, (Do.CANCEL_START, Do.RUN_STOP), keeping),
        Row(State.STOPPING, (Do.CANCEL_START, Do.REFUSE_WAITERS, Do.RUN_STOP)),
    ),
    (State.STARTING, StartGivenUp): (Row(State.COLD, (Do.RECHECK_DEMAND,)),),
    (State.STARTING, AdoptionMissed): (Row(State.COLD, (Do.RECHECK_DEMAND,)),),
    (State.STARTING, AdoptionUnknown): (Row(State.FAILED, (Do.FAIL_WAITERS, Do.ARM_ADOPTION_RETRY)),),
    # in service
    (State.HOT, IdleElapsed): (
        Row(State.DRAINING, (Do.CLOSE_ADMISSION, Do.ARM_DRAIN, Do.CLOSE_SOCKETS), silent_sockets),
        Row(State.STOPPING, _STOP),
    ),
    (State.HOT, StopRequested): (
        Row(State.STOPPING, _CUT, forced),
        Row(State.DRAINING, (Do.CLOSE_ADMISSION, Do.ARM_DRAIN, Do.CLOSE_SOCKETS), busy),
        Row(State.STOPPING, _STOP),
    ),
    (State.HOT, InstanceGone): (Row(State.STOPPING, _CRASH, unstable), Row(State.STOPPING, _STOP)),
    # finishing what is open
    (State.DRAINING, Drained): (Row(State.STOPPING, (Do.RUN_STOP,)),),
    (State.DRAINING, DrainElapsed): (
        Row(State.STOPPING, (Do.ABORT_LEASES, Do.RUN_STOP), aborting),
        Row(State.HOT, (Do.OPEN_ADMISSION,)),  # the drain is given up and says so (ID-10)
    ),
    (State.DRAINING, StopRequested): (
        Row(State.STOPPING, (Do.ABORT_LEASES, Do.RUN_STOP), forced),
        Row(State.DRAINING),
    ),
    (State.DRAINING, StartDecided): (Row(State.DRAINING),),  # it starts again when it is gone
    (State.DRAINING, InstanceGone): (
        Row(State.STOPPING, (Do.COUNT_FAILURE, Do.RUN_STOP), unstable),
        Row(State.STOPPING, (Do.RUN_STOP,)),
    ),
    # until the engine confirms
    (State.STOPPING, StopFinished): (
        Row(State.FAILED, (Do.RECHECK_DEMAND,), has_failed),
        Row(State.COLD, (Do.RECHECK_DEMAND,)),
    ),
    (State.STOPPING, StopFailed): (Row(State.FAILED, (Do.FAIL_WAITERS, Do.ARM_STOP_RETRY)),),
    (State.STOPPING, StopRequested): (
        Row(State.STOPPING, (Do.HURRY_STOP,), forced),
        Row(State.STOPPING),
    ),
    (State.STOPPING, StartDecided): (Row(State.STOPPING),),  # it starts again when it is gone
    (State.STOPPING, InstanceGone): (Row(State.STOPPING),),  # the stop under way confirms it
    (State.STOPPING, HandleMade): (Row(State.STOPPING),),  # late results of a start that was given up:
    (State.STOPPING, EngineStarted): (Row(State.STOPPING),),  # the stop uses the handle,
    (State.STOPPING, ProbePassed): (Row(State.STOPPING),),  # the endpoint is never published (SF-08)
    (State.STOPPING, StartFailed): (Row(State.STOPPING),),
    (State.STOPPING, AdoptionMissed): (Row(State.STOPPING),),
    (State.STOPPING, AdoptionUnknown): (Row(State.STOPPING),),
    # after a failure
    (State.FAILED, StartDecided): (Row(State.STARTING, (Do.RUN_START,), is_gone),),  # FB-15, INV-1
    (State.FAILED, FoundRunning): (Row(State.HOT, (Do.OPEN_ADMISSION,), is_gone),),
    (State.FAILED, StopRequested): (
        Row(
            State.COLD, (Do.FORGET_FAILURES, Do.RECHECK_DEMAND), given_up
        ),  # found later, it is ended (AD-10)
        Row(State.STOPPING, (Do.RUN_STOP,), is_stuck),
        Row(State.COLD, (Do.FORGET_FAILURES, Do.RECHECK_DEMAND), keeping),
        Row(State.COLD, (Do.FORGET_FAILURES, Do.REFUSE_WAITERS, Do.RECHECK_DEMAND)),
    ),
    (State.FAILED, AdoptionDecided): (Row(State.STARTING, (Do.RUN_ADOPTION,), is_unknown),),
    (State.FAILED, StopRetried): (Row(State.STOPPING, (Do.RUN_STOP,), is_stuck),),
    (State.FAILED, InstanceGone): (Row(State.FAILED),),
    (State.FAILED, HandleMade): (Row(State.STOPPING, (Do.RUN_STOP,)),),
    (State.FAILED, EngineStarted): (Row(State.STOPPING, (Do.RUN_STOP,)),),
}


def row_for(instance: Instance, event: Event) -> Row:
    """The row that applies. Raises IllegalTransition."""
    for row in TABLE.get((instance.state, type(event)), ()):
        if row.when is None or row.when(instance, event):
            return row
    raise IllegalTransition(instance, event)


def step(instance: Instance, event: Event, now: float) -> tuple[Instance, tuple[Do, ...]]:
    """Advance one instance by one event. Pure. Raises IllegalTransition and changes nothing."""
    row = row_for(instance, event)
    moved = replace(
        _noted(instance, event), state=row.to, since=now if row.to is not instance.state else instance.since
    )
    begins = row.to is State.STARTING and instance.state is not State.STARTING
    if begins and not isinstance(event, AdoptionDecided):
        moved = replace(moved, generation=instance.generation + 1)
    if row.to is State.HOT and instance.state is not State.DRAINING:
        moved = replace(moved, error=None, failed=False, stuck=False, unknown=False)
    if row.to is State.COLD:
        moved = replace(moved, handle=None, endpoint=None, external=False, stuck=False, unknown=False)
    return moved, row.do


def _noted(instance: Instance, event: Event) -> Instance:
    """What the event itself adds to the record, whatever the state."""
    match event:
        case StartDecided() if instance.state in (State.DRAINING, State.STOPPING):
            return replace(instance, restart=True)
        case StartDecided():
            return replace(
                instance,
                cause=event.cause,
                actor=event.actor,
                episode=event.episode,
                handle=None,
                endpoint=None,
                external=False,
                failed=False,
                stuck=False,
                unknown=False,
                restart=False,
            )
        case AdoptionDecided():
            return replace(
                instance,
                generation=event.number,
                handle=event.handle,
                endpoint=None,
                external=False,
                failed=False,
                stuck=False,
                unknown=False,
                cause="adopted",
                actor="",
                episode=event.episode,
            )
        case AdoptionMissed() if instance.state is State.STARTING:
            return replace(instance, cause="ended_while_away")
        case AdoptionUnknown() if instance.state is State.STARTING:
            return replace(instance, error=event.error, stuck=True, unknown=True, cause="unknown")
        case FoundRunning():
            return replace(
                instance,
                generation=instance.generation + 1,
                endpoint=event.endpoint,
                handle=None,
                external=True,
                cause=event.cause,
                actor="",
            )
        case HandleMade():
            return replace(instance, handle=event.handle)
        case EngineStarted():
            return replace(instance, handle=event.handle, endpoint=event.endpoint, external=event.external)
        case StartFailed() if instance.state is State.STARTING:
            return replace(
                instance, error=event.error, failed=True, cause=event.error.cause or "start_failed"
            )
        case StartGivenUp():
            return replace(instance, cause="nobody_waits", actor="")
        case InstanceGone() if instance.state in (State.HOT, State.DRAINING):
            return replace(
                instance,
                error=event.error,
                failed=event.unstable,
                cause=event.error.cause or "gone",
                actor="",
            )
        case StopRequested() if instance.state is State.FAILED:
            return replace(
                instance, cause=event.cause, actor=event.actor, restart=event.restart, failed=False
            )
        case StopRequested():
            return replace(instance, cause=event.cause, actor=event.actor, restart=event.restart)
        case IdleElapsed():
            return replace(instance, cause=event.cause, actor="", abort_on_drain=True)
        case DrainElapsed() if not instance.abort_on_drain:
            return replace(instance, cause="drain_given_up", restart=False)
        case StopFailed():
            return replace(instance, error=event.error, stuck=True, unknown=False, cause="stuck")
        case StopFinished():
            return replace(instance, stuck=False, unknown=False, abort_on_drain=False)
        case _:
            return instance
