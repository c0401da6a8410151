"""Engines that break one promise each and are named after it, beside the one that keeps them all.

Every one records the calls it got; `FakeMachine` records what ran together. Import from here.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hestia.core.errors import EngineRefused, EngineUnavailable, StartFailed
from hestia.core.model import GatewayId, InstanceKey
from hestia.core.ports import Discovered, Handle, Observed, Presence, Report, Started, StartSpec
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.fake_machine import FakeInstance, FakeMachine, write
from tests.fakes.tiny_upstream import TinyUpstream

__all__ = ["FakeEngine", "FakeInstance", "FakeMachine", "TinyUpstream", "write"]


class NeverReadyEngine(FakeEngine):
    """Its instances run and answer 503 to every probe, for ever."""

    def __init__(self, machine: FakeMachine | None = None, **more: Any) -> None:
        super().__init__(machine, listening=True, ready=False, **more)


class SilentEngine(FakeEngine):
    """Its instances run, and nobody listens at their endpoint."""


class DiesWhileStartingEngine(FakeEngine):
    """The first `times` starts make something that ends before `start` returns."""

    def __init__(
        self, machine: FakeMachine | None = None, *, times: float = float("inf"), **more: Any
    ) -> None:
        super().__init__(machine, **more)
        self.times = times

    async def _booted(self, one: FakeInstance, report: Report) -> None:
        if len(self.starts) > self.times:
            return
        one.output.append(b"cannot read model.gguf\n")
        self.machine.end(one, exit_status=3)
        raise StartFailed("it ended with exit status 3", exit_status=3, tail=("cannot read model.gguf",))


class DiesBeforeReadyEngine(FakeEngine):
    """`start` succeeds; the instance answers 503 and ends by itself right after (the first `times`)."""

    def __init__(
        self, machine: FakeMachine | None = None, *, times: float = float("inf"), **more: Any
    ) -> None:
        super().__init__(machine, **{"listening": True, **more})
        self.times = times

    def _started(self, one: FakeInstance, report: Report) -> Started:
        started = super()._started(one, report)
        if len(self.starts) <= self.times:
            if one.upstream is not None:
                one.upstream.ready = False
            one.output.append(b"out of memory\n")
            asyncio.get_running_loop().call_soon(lambda: self.machine.end(one, exit_status=4))
        return started


class DiesAfterHotEngine(FakeEngine):
    """Every instance ends right after its `answers`-th answer with 200."""

    def __init__(self, machine: FakeMachine | None = None, *, answers: int = 1, **more: Any) -> None:
        super().__init__(machine, listening=True, **more)
        self.answers = answers

    async def _booted(self, one: FakeInstance, report: Report) -> None:
        good = 0

        def answered(status: int) -> None:
            nonlocal good
            good += status == 200
            if good == self.answers:
                # Not in this call: the answer is still in the transport and must get out.
                asyncio.get_running_loop().call_later(0.01, lambda: self.machine.end(one, signal=11))

        assert one.upstream is not None
        one.upstream.on_answer = answered


class FlappingEngine(FakeEngine):
    """Its instances alternate between ready and not ready, one answer each."""

    def __init__(self, machine: FakeMachine | None = None, **more: Any) -> None:
        super().__init__(machine, listening=True, **more)

    async def _booted(self, one: FakeInstance, report: Report) -> None:
        upstream = one.upstream
        assert upstream is not None

        def answered(status: int) -> None:
            upstream.ready = status != 200

        upstream.on_answer = answered


class LostReplyEngine(FakeEngine):
    """The first `times` starts work, but the answer is lost: `EngineUnavailable(sent=True)` (FB-02)."""

    def __init__(self, machine: FakeMachine | None = None, *, times: float = 1, **more: Any) -> None:
        super().__init__(machine, **more)
        self.times = times

    async def _booted(self, one: FakeInstance, report: Report) -> None:
        if len(self.starts) <= self.times:
            raise EngineUnavailable("the connection was cut after the command was sent", sent=True)


class LateSuccessEngine(FakeEngine):
    """`start` gives up with `sent=True`, and what it started appears only when `appear` is called.

    A start that is called again before that waits for it (start follows what is on its way).
    """

    def __init__(self, machine: FakeMachine | None = None, **more: Any) -> None:
        super().__init__(machine, **more)
        self._on_the_way: dict[InstanceKey, StartSpec] = {}

    async def start(self, spec: StartSpec, key: InstanceKey, report: Report) -> Started:
        if key not in self.starts:
            self.starts.append(key)
            self._called(f"start {key}")
            self._on_the_way[key] = spec
            raise EngineUnavailable("the other side did not answer in time", sent=True)
        await self.machine.until(lambda: key not in self._on_the_way, timeout=3600)
        return await super().start(spec, key, report)

    async def appear(self) -> None:
        """What was sent takes effect now."""
        for key, spec in list(self._on_the_way.items()):
            one = self.machine.make(key, spec.options_hash)
            await self._open(one, spec)
            del self._on_the_way[key]
        self.machine.changed()


class LeavesHandleEngine(FakeEngine):
    """A cancelled start leaves what it made, with its handle reported: the other half of EN-04."""

    def _cancelled(self, one: FakeInstance) -> None:
        """It goes on running."""


class RefusingEngine(FakeEngine):
    """Every start is refused: for ever (`permanent`) or for want of a resource."""

    def __init__(
        self, machine: FakeMachine | None = None, *, permanent: bool = True, resource: str = "", **more: Any
    ) -> None:
        super().__init__(machine, **more)
        self.error = EngineRefused(
            "there is no program 'olama' on the PATH; the nearest name is 'ollama'",
            permanent=permanent,
            resource=resource,
            cause="not_found" if permanent else "no_room",
            remedy="correct `command`",
        )

    async def start(self, spec: StartSpec, key: InstanceKey, report: Report) -> Started:
        self.fail_next_start(self.error)
        return await super().start(spec, key, report)


class SlowStopEngine(FakeEngine):
    """`stop` takes until the test calls `let_go("stop")`."""

    def __init__(self, machine: FakeMachine | None = None, **more: Any) -> None:
        super().__init__(machine, **more)
        self.hold("stop")


class StuckStopEngine(FakeEngine):
    """`stop` fails because the instance survives KILL, until the test clears `stuck` (FB-15)."""

    def __init__(self, machine: FakeMachine | None = None, **more: Any) -> None:
        super().__init__(machine, **more)
        self.stuck = True

    def _stopped(self, one: FakeInstance) -> None:
        if self.stuck and one.running:
            raise EngineRefused("it is still there after SIGKILL", permanent=False, cause="stuck")
        super()._stopped(one)


class LostStopReplyEngine(FakeEngine):
    """The first stop works, but its answer is lost."""

    def _stopped(self, one: FakeInstance) -> None:
        super()._stopped(one)
        if len(self.stops) == 1:
            raise EngineUnavailable("the connection was cut after the command was sent", sent=True)


class DeafWatchEngine(FakeEngine):
    """`watch` never says anything: only a sweep notices an exit (AD-20)."""

    def _exited(self, one: FakeInstance) -> None:
        """Nobody is told."""


class BlindEngine(FakeEngine):
    """While `blind`, the other side cannot be reached: `inspect` says unknown, the rest raises."""

    def __init__(self, machine: FakeMachine | None = None, *, blind: bool = True, **more: Any) -> None:
        super().__init__(machine, **more)
        self.blind = blind

    def _refuse(self) -> None:
        if self.blind:
            raise EngineUnavailable("nobody answers at the engine's socket", sent=False, cause="machine_down")

    async def start(self, spec: StartSpec, key: InstanceKey, report: Report) -> Started:
        if self.blind:
            self.starts.append(key)
        self._refuse()
        return await super().start(spec, key, report)

    async def stop(self, handle: Handle, *, grace: float) -> None:
        self._refuse()
        await super().stop(handle, grace=grace)

    async def inspect(self, handle: Handle) -> Observed:
        if self.blind:
            return Observed(handle=handle, presence=Presence.UNKNOWN, reason="nobody answers")
        return await super().inspect(handle)

    async def discover(self, owner: GatewayId) -> Discovered:
        self._refuse()
        return await super().discover(owner)
