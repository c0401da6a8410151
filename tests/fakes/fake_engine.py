"""An engine that runs nothing and keeps its promises; `tests.fakes.engines` has one subclass per fault.

Two on one `FakeMachine` are a gateway before and after its restart. The engine contract runs against
this one too; that is what makes it trustworthy.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from hestia.core.errors import HandleUnknown, HestiaError, StartFailed
from hestia.core.model import GatewayId, InstanceKey
from hestia.core.ports import Discovered, Found, Handle, Observed, Presence, Report, Started, StartSpec
from hestia.core.urls import fill_port, parse_base_url
from tests.fakes.fake_machine import FakeInstance, FakeMachine
from tests.fakes.tiny_upstream import TinyUpstream


class FakeEngine:
    """An engine that keeps its promises, in memory. Subclasses break one of them each.

    listening: instances answer HTTP on a real port of 127.0.0.1 (`TinyUpstream`); otherwise the endpoint
    is only a text and a probe of it is the test's business. ready: what new instances answer.
    open_leases: told by the test, so that a stop with leases open is recorded.

    Hold points, see `hold`: `start.call` before anything is made, `start.made` after the handle was
    reported, `stop`, `inspect`, `discover`. `calls` is every call in order, as text.
    """

    name: ClassVar[str] = "fake"
    settle_time: ClassVar[float] = 0.0

    class Options(BaseModel):
        """note: what an instance prints after `hello`; it prints nothing without."""

        model_config = ConfigDict(extra="forbid", frozen=True)
        note: str = ""

    def __init__(
        self,
        machine: FakeMachine | None = None,
        *,
        listening: bool = False,
        ready: bool = True,
        open_leases: Callable[[InstanceKey], int] = lambda key: 0,
    ) -> None:
        self.machine = machine or FakeMachine()
        self.listening = listening
        self.ready = ready
        self.open_leases = open_leases
        self.starts: list[InstanceKey] = []  # every call of start
        self.stops: list[InstanceKey] = []  # every call of stop that named a known handle
        self.cancelled_starts: list[InstanceKey] = []
        self.stopped_with_leases_open: list[InstanceKey] = []
        self.calls: list[str] = []
        self.closed = False
        self._holds: dict[str, asyncio.Event] = {}
        self._start_errors: list[HestiaError] = []
        self._hints: list[asyncio.Queue[Observed | None]] = []
        self.machine.exited.append(self._exited)

    # -- what tests turn ---------------------------------------------------------------------------

    def hold(self, point: str) -> None:
        """Make calls wait at this point until `let_go`."""
        self._holds.setdefault(point, asyncio.Event())

    def let_go(self, point: str) -> None:
        event = self._holds.pop(point, None)
        if event is not None:
            event.set()

    def fail_next_start(self, error: HestiaError) -> None:
        """The next start raises this before it makes anything; several are taken in order."""
        self._start_errors.append(error)

    def crash(self, service: str = "", *, exit_status: int | None = 1, signal: int | None = None) -> None:
        """End the newest running generation (of a service) as if by itself."""
        running = [one for one in self.machine.live() if service in ("", one.key.service)]
        self.machine.end(running[-1], exit_status=None if signal else exit_status, signal=signal)

    def set_ready(self, *, ready: bool) -> None:
        """What running and later instances answer to probes."""
        self.ready = ready
        for one in self.machine.live():
            if one.upstream is not None:
                one.upstream.ready = ready

    def hint(self, observed: Observed) -> None:
        """Let `watch` say this: a repeated, late or wrong hint."""
        for queue in self._hints:
            queue.put_nowait(observed)

    @property
    def live_keys(self) -> list[InstanceKey]:
        return self.machine.live_keys

    async def until(self, fact: Callable[[], bool], *, timeout: float = 10.0) -> None:
        await self.machine.until(fact, timeout=timeout)

    async def __aenter__(self) -> FakeEngine:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()
        await self.machine.aclose()

    # -- the port ----------------------------------------------------------------------------------

    async def start(self, spec: StartSpec, key: InstanceKey, report: Report) -> Started:
        self._called(f"start {key.service}/{key.instance}/{key.generation}")
        self.starts.append(key)
        one: FakeInstance | None = None
        try:
            await self._pause("start.call")
            if self._start_errors:
                raise self._start_errors.pop(0)
            if running := self.machine.live(key):
                report.made(running[0].handle)
                # It may be on its way in another call.
                await self.machine.until(lambda: running[0].endpoint is not None or not running[0].running)
                return self._started(running[0], report)
            report.stage("engine", f"makes {key}")
            one = self.machine.make(key, spec.options_hash)
            report.made(one.handle)
            await self._open(one, spec)
            await self._booted(one, report)
            await self._pause("start.made")
            return self._started(one, report)
        except asyncio.CancelledError:
            self.cancelled_starts.append(key)
            if one is not None:
                self._cancelled(one)
            raise

    async def stop(self, handle: Handle, *, grace: float) -> None:
        self._called(f"stop {handle.get('key')}")
        one = self.machine.find(handle)
        if one is not None:
            self.stops.append(one.key)
            if one.running and self.open_leases(one.key):
                self.stopped_with_leases_open.append(one.key)
        await self._pause("stop")
        if one is not None:
            self._stopped(one)

    async def inspect(self, handle: Handle) -> Observed:
        self._called(f"inspect {handle.get('key')}")
        await self._pause("inspect")
        one = self.machine.find(handle)
        return one.observed() if one is not None else Observed(handle=handle, presence=Presence.GONE)

    async def discover(self, owner: GatewayId) -> Discovered:
        self._called("discover")
        await self._pause("discover")
        found = [one for one in self.machine.live() if one.key.gateway == owner]
        return Discovered(
            tuple(Found(one.key, one.handle, one.options_hash, one.observed()) for one in found)
        )

    async def watch(self) -> AsyncIterator[Observed]:
        with self._listen() as queue:
            while (observed := await queue.get()) is not None:
                yield observed

    async def logs(self, handle: Handle, *, follow: bool) -> AsyncIterator[bytes]:
        one = self.machine.find(handle)
        if one is None:
            raise HandleUnknown(f"no fake instance has the handle {dict(handle)!r}")
        sent = 0
        while True:
            lines, sent = one.output[sent:], len(one.output)
            if lines:
                yield b"".join(lines)
            elif not follow or not one.running or self.closed:
                return
            else:
                await self.machine.until(self._news(one, sent), timeout=3600)

    async def aclose(self) -> None:
        """End the streams. Instances stay, as the port says; `FakeMachine.aclose` ends them."""
        self._called("aclose")
        self.closed = True
        if self._exited in self.machine.exited:
            self.machine.exited.remove(self._exited)
        for queue in self._hints:
            queue.put_nowait(None)
        self.machine.changed()

    # -- what the faulty ones replace --------------------------------------------------------------

    async def _booted(self, one: FakeInstance, report: Report) -> None:
        """It has been made and answers; a fault may happen here, inside `start`."""

    def _stopped(self, one: FakeInstance) -> None:
        self.machine.end(one, signal=15)

    def _cancelled(self, one: FakeInstance) -> None:
        self.machine.end(one, signal=9)

    def _exited(self, one: FakeInstance) -> None:
        self.hint(one.observed())

    # -- inside ------------------------------------------------------------------------------------

    async def _open(self, one: FakeInstance, spec: StartSpec) -> None:
        wanted = spec.base_url or "http://127.0.0.1:{port}"
        port = self.machine.free_port()
        if self.listening:
            fixed = 0 if "{port}" in wanted else parse_base_url(wanted).port
            upstream = TinyUpstream(f"{one.key}\n".encode())
            upstream.ready = self.ready
            one.upstream = upstream
            try:
                port = await upstream.listen(port=fixed)
            except OSError as exc:
                self.machine.end(one, exit_status=98)
                raise StartFailed(f"port {fixed} is taken", exit_status=98, tail=("Address in use",)) from exc
            if not one.running:  # ended while it opened its port
                upstream.abort()
        one.endpoint = parse_base_url(fill_port(wanted, port))
        one.health_url = fill_port(spec.health_url, port)
        if note := getattr(spec.options, "note", ""):
            one.output.append(f"hello {note}\n".encode())
            self.machine.changed()

    def _started(self, one: FakeInstance, report: Report) -> Started:
        if one.endpoint is None or not one.running:
            raise StartFailed(f"{one.key} ended while it started", exit_status=one.exit_status)
        return Started(one.handle, one.endpoint, one.health_url)

    def _called(self, text: str) -> None:
        self.calls.append(text)
        self.machine.changed()

    async def _pause(self, point: str) -> None:
        await asyncio.sleep(0)  # a real engine always waits somewhere: let others run in between
        if (event := self._holds.get(point)) is not None:
            await event.wait()

    @contextmanager
    def _listen(self) -> Iterator[asyncio.Queue[Observed | None]]:
        queue: asyncio.Queue[Observed | None] = asyncio.Queue()
        self._hints.append(queue)
        try:
            yield queue
        finally:
            self._hints.remove(queue)

    def _news(self, one: FakeInstance, sent: int) -> Callable[[], bool]:
        return lambda: len(one.output) > sent or not one.running or self.closed
