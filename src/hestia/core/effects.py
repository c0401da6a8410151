"""What the world asks of the runtime: plain data, performed after the step that decided it.

An effect never waits; where performing it takes time, the runtime starts a job whose result comes back
as an event.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from hestia.core.backoff import BackoffState, Spent
from hestia.core.errors import HestiaError
from hestia.core.idle import Sequence
from hestia.core.lease import Use
from hestia.core.model import Endpoint, InstanceId, InstanceKey, MachineId, ServiceId
from hestia.core.ports import Handle
from hestia.core.queue import Outcome, Waiter


class Timer(StrEnum):
    """One timer per instance and kind (per service for `queue`, `calendar`); setting it again moves it."""

    IDLE = "idle"
    DRAIN = "drain"
    WARM = "warm"
    RETRY = "retry"
    STOP_RETRY = "stop_retry"
    QUEUE = "queue"
    CALENDAR = "calendar"
    ROOM = "room"
    LIVENESS = "liveness"


@dataclass(frozen=True, slots=True)
class RunStart:
    """Begin the start job of this generation."""

    key: InstanceKey
    episode: str


@dataclass(frozen=True, slots=True)
class AwaitDependencies:
    """The start of this generation waits for other services; to show, nothing is to be done (SF-12)."""

    key: InstanceKey
    episode: str
    needed: tuple[ServiceId, ...]


@dataclass(frozen=True, slots=True)
class AwaitRoom:
    """The start of this generation waits for room, or did so; to show, nothing is to be done. text: where,
    and who has it, in words."""

    key: InstanceKey
    episode: str
    text: str


@dataclass(frozen=True, slots=True)
class MadeRoom:
    """An eviction was decided, for the start of this generation; to tell, nothing is to be done (EV-09).

    told: a sentence for each victim.
    """

    key: InstanceKey
    episode: str
    machine: MachineId
    victims: tuple[InstanceKey, ...]
    told: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RefuseStart:
    """Report that the start of this generation failed before it began."""

    key: InstanceKey
    error: HestiaError


@dataclass(frozen=True, slots=True)
class RunAdoption:
    """Find out whether this generation of an earlier gateway runs, and bring it back into service."""

    key: InstanceKey
    episode: str
    handle: Handle | None


@dataclass(frozen=True, slots=True)
class RunBusyProbe:
    """Ask this generation whether it is busy before an idle stop; `World.busy` takes the answer.

    sequence: its use when it was asked; the answer counts only if that has not moved (ID-07).
    """

    key: InstanceKey
    endpoint: Endpoint
    sequence: Sequence


@dataclass(frozen=True, slots=True)
class RunLivenessProbe:
    """Ask whether this generation still lives; `World.liveness` takes the answer.

    patience: seconds for which a refused connect is tried again before that is the answer.
    """

    key: InstanceKey
    endpoint: Endpoint
    patience: float


@dataclass(frozen=True, slots=True)
class Doubted:
    """A hot instance became a suspect, or is none any more. said: what the failed probe got."""

    key: InstanceKey
    suspect: bool
    said: str


@dataclass(frozen=True, slots=True)
class KeepBackoff:
    """The back-off of an instance changed: it must survive a restart (AD-13)."""

    service: ServiceId
    instance: InstanceId
    backoff: BackoffState
    error: HestiaError | None


@dataclass(frozen=True, slots=True)
class KeepSpent:
    """A service spent of its budget of failed starts, or was forgiven: it must survive a restart (FB-04)."""

    service: ServiceId
    spent: Spent


@dataclass(frozen=True, slots=True)
class Retired:
    """Nothing is left of a service that is configured no more: its record may go."""

    service: ServiceId


@dataclass(frozen=True, slots=True)
class CancelStart:
    """Give the start job of this generation up."""

    key: InstanceKey


@dataclass(frozen=True, slots=True)
class RunStop:
    """Stop and confirm. The job first waits for a start job that was given up, and uses its handle."""

    key: InstanceKey
    handle: Handle | None
    external: bool


@dataclass(frozen=True, slots=True)
class HurryStop:
    """A stop is under way with grace; end the grace now."""

    key: InstanceKey


@dataclass(frozen=True, slots=True)
class Settle:
    """Tell a waiter its outcome, in the order of these effects."""

    waiter: Waiter
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class CloseSockets:
    """Close the spliced WebSockets of this generation at a frame boundary."""

    use: Use


@dataclass(frozen=True, slots=True)
class AbortLeases:
    """End every open exchange of this generation now."""

    use: Use
    reason: HestiaError


@dataclass(frozen=True, slots=True)
class EndpointOpened:
    """Leases are granted on this endpoint from now on."""

    key: InstanceKey
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class EndpointClosed:
    """No more leases; idle pooled connections of this generation are of no use any more (ID-13)."""

    key: InstanceKey


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call back at `at` (loop-clock seconds); None takes the timer away."""

    service: ServiceId
    instance: InstanceId | None
    kind: Timer
    at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """A transition happened: exactly one per change of state (INV-9). lasted: seconds before it.

    handle, stuck: of the record then; when this is performed the record may be gone (a reload took it out).
    ended: what a crash was that is over now; it was told as `error` before. several: it is not the only one.
    """

    key: InstanceKey
    event: str
    before: str
    after: str
    cause: str
    actor: str
    episode: str
    lasted: float
    error: HestiaError | None = None
    forced: bool = False
    open_leases: int = 0
    handle: Handle | None = None
    stuck: bool = False
    ended: HestiaError | None = None
    several: bool = False


Effect = (
    RunStart
    | AwaitDependencies
    | AwaitRoom
    | MadeRoom
    | RefuseStart
    | RunAdoption
    | RunBusyProbe
    | RunLivenessProbe
    | Doubted
    | KeepBackoff
    | KeepSpent
    | Retired
    | CancelStart
    | RunStop
    | HurryStop
    | Settle
    | CloseSockets
    | AbortLeases
    | EndpointOpened
    | EndpointClosed
    | SetTimer
    | Moved
)
