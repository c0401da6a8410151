"""What the gateway says about its services: frozen snapshots for the API, the CLI and tests.

A snapshot may be shown, never acted on. Instants are aware UTC datetimes, durations float seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from hestia.core.ports import Automation


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStatus:
    """One part of a start: `room`, `machine`, `engine`, `boot`, `probe`. seconds: so far, or in all."""

    name: str
    text: str
    seconds: float
    done: bool
    usual: float | None = None  # median of the last successful starts


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorStatus:
    """The last thing that went wrong, with what to do about it."""

    code: str
    detail: str
    cause: str
    stage: str
    remedy: str
    at: datetime
    tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceStatus:
    """One instance. phase: the exact state of the life-cycle table. address: "" while not known."""

    id: str
    phase: str
    machine: str
    engine: str
    address: str
    generation: int
    in_flight: int
    since: datetime
    started_at: datetime | None
    last_used_at: datetime | None
    idle_stop_at: datetime | None
    retry_at: datetime | None
    external: bool  # somebody else started it
    stages: tuple[StageStatus, ...]
    last_error: ErrorStatus | None
    automation: Automation | None = None  # of engines that work through an automation system
    unused: str = ""  # why no request is sent to it now; "" where one may be
    kept_for: tuple[str, ...] = ()  # services that need it, so that idleness does not stop it
    kept_warm: bool = False  # its keep_warm does the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Failed starts (FB-04). failures: of the last hour, crashes included. free_in: seconds until a request
    may start it again, None while the budget is not spent. episode_starts: of the start under way."""

    failures: int = 0
    per_hour: int = 0
    free_in: float | None = None
    episode_starts: int = 0
    per_episode: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatus:
    """One service: its best instance decides `phase` (hot before starting before the rest)."""

    id: str
    phase: str
    machine: str
    engine: str
    queue: int
    in_flight: int
    last_used_at: datetime | None
    idle_stop_at: datetime | None
    started_at: datetime | None
    since: datetime
    retry_at: datetime | None
    estimated_ready: float | None  # seconds from now, only while starting and when known
    episode: str  # id of the running or last start, "" when never started
    idle_timeout: float  # inf is never
    last_error: ErrorStatus | None
    instances: tuple[InstanceStatus, ...]
    fallback_url: str = ""  # where requests go when it cannot be reached or started
    port: int | None = None  # its own on the gateway's host
    automation: Automation | None = None
    budget: Budget = Budget()


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The gateway's own health (OB-10): ok, or the names of what does not move."""

    ok: bool
    ready: bool  # accepts requests; false while draining
    problems: tuple[str, ...]
    version: str
    started_at: datetime
