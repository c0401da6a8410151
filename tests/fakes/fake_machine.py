"""Where fake instances run. Survives the fake engines on it, as a real machine survives the gateway.

Records what must never happen (`most_live_at_once`), so that tests assert on facts.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from hestia.core.model import Endpoint, InstanceKey
from hestia.core.ports import Handle, Observed, Presence
from tests.fakes.tiny_upstream import TinyUpstream


class FakeInstance:
    """One generation on a FakeMachine, running or ended."""

    def __init__(self, key: InstanceKey, number: int, options_hash: str) -> None:
        self.key = key
        self.options_hash = options_hash
        self.handle: Handle = {"number": number, "key": str(key)}
        self.endpoint: Endpoint | None = None
        self.health_url = ""
        self.upstream: TinyUpstream | None = None
        self.running = True
        self.exit_status: int | None = None
        self.signal: int | None = None
        self.output: list[bytes] = []

    def observed(self) -> Observed:
        presence = Presence.RUNNING if self.running else Presence.GONE
        return Observed(
            handle=self.handle,
            presence=presence,
            key=self.key,
            endpoint=self.endpoint if self.running else None,
            health_url=self.health_url if self.running else "",
            exit_status=self.exit_status,
            signal=self.signal,
        )


class FakeMachine:
    """Where fake instances run; outlives the engines on it.

    instances: every one ever made, in order. most_live_at_once: per (service, instance) the largest
    number of generations that ran at the same time; more than one breaks INV-1.
    """

    def __init__(self) -> None:
        self.instances: list[FakeInstance] = []
        self.most_live_at_once: dict[tuple[str, str], int] = {}
        self.exited: list[Callable[[FakeInstance], None]] = []
        self._changed: list[asyncio.Event] = []
        self._ports = itertools.count(40001)

    def live(self, key: InstanceKey | None = None) -> list[FakeInstance]:
        """What runs now: all, or what bears this key."""
        return [one for one in self.instances if one.running and key in (None, one.key)]

    @property
    def live_keys(self) -> list[InstanceKey]:
        return [one.key for one in self.live()]

    def find(self, handle: Handle) -> FakeInstance | None:
        return next((one for one in self.instances if one.handle == handle), None)

    def last(self, service: str = "") -> FakeInstance:
        """The newest generation (of a service), running or not."""
        return next(one for one in reversed(self.instances) if service in ("", one.key.service))

    def make(self, key: InstanceKey, options_hash: str) -> FakeInstance:
        one = FakeInstance(key, len(self.instances) + 1, options_hash)
        self.instances.append(one)
        name = (key.service, key.instance)
        together = sum((other.key.service, other.key.instance) == name for other in self.live())
        self.most_live_at_once[name] = max(together, self.most_live_at_once.get(name, 0))
        self.changed()
        return one

    def end(self, one: FakeInstance, *, exit_status: int | None = None, signal: int | None = None) -> None:
        """The program ends; every engine on this machine notices. Ended already: nothing happens."""
        if not one.running:
            return
        one.running = False
        one.exit_status, one.signal = exit_status, signal
        if one.upstream is not None:
            one.upstream.abort()
        for tell in list(self.exited):
            tell(one)
        self.changed()

    def free_port(self) -> int:
        """A number that looks like a port; nobody listens there."""
        return next(self._ports)

    def changed(self) -> None:
        for event in self._changed:
            event.set()

    async def until(self, fact: Callable[[], bool], *, timeout: float = 10.0) -> None:
        """Wait until something on this machine or in an engine on it makes `fact` true."""
        event = asyncio.Event()
        self._changed.append(event)
        try:
            async with asyncio.timeout(timeout):
                while not fact():
                    event.clear()
                    await event.wait()
        finally:
            self._changed.remove(event)

    async def aclose(self) -> None:
        """End everything, so that a test leaves no socket behind."""
        for one in self.live():
            self.end(one, signal=9)
        await asyncio.sleep(0)  # lets the aborted transports tell their protocols

    async def __aenter__(self) -> FakeMachine:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


def write(machine: FakeMachine, one: FakeInstance, line: bytes) -> None:
    """Let a fake instance print one line."""
    one.output.append(line + b"\n")
    machine.changed()
