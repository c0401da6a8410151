"""One start of the engine `process`: follow what bears the key, or launch it, on a new port if need be.

Owns the order of the steps and what a cancelled or failed start leaves behind. Nothing is awaited between
the making of the process and the report of its handle (EN-04).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from hestia.core.errors import EngineRefused, EngineUnavailable, StartFailed
from hestia.core.model import InstanceKey
from hestia.core.ports import Presence, Report, Started, StartSpec
from hestia.core.urls import fill_port, parse_base_url, uses_port_mark
from hestia.engines.knock import knock, knock_now
from hestia.engines.process_exits import Exit, ExitWatch, wait_ended
from hestia.engines.process_handle import Launched
from hestia.engines.process_launch import Launch, launch, prepare
from hestia.engines.process_options import ProcessOptions
from hestia.engines.process_output import log_path, open_log, prune, tail
from hestia.engines.process_ports import Ports, listens
from hestia.engines.process_records import Records
from hestia.engines.process_stop import end_all, terminate
from hestia.engines.process_table import Identity, Stat, identify
from hestia.engines.process_words import PORT_TAKEN, describe_exit, hint, secrets_of

_ANY_PORT_URL: Final = "http://127.0.0.1:{port}"
_PORT_TRIES: Final = 3  # EN-11
PORT_WINDOW: Final = 3.0  # seconds in which a program that found its port taken has said so and ended
_FOREIGN_WINDOW: Final = 1.0  # seconds; somebody else listens: a thief, or `docker run` doing it for us
_KNOCK_INTERVAL: Final = 0.002  # seconds; ready must become known within 0.01 as a rule (SPEC 12)
_LOCK_TIMEOUT: Final = 10.0  # seconds; a start holds the lock for milliseconds
_LOCK_INTERVAL: Final = 0.01
_LEFTOVER_GRACE: Final = 2.0  # seconds between TERM and KILL for what a failed attempt left
_TAIL_LINES: Final = 20  # FB-17


class InThread(Protocol):
    """Runs a call that reads the disk outside the event loop."""

    def __call__(self, call: Callable[[], Any], /) -> Awaitable[Any]: ...  # generic; Any is its result


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTools:
    """What a start uses of its engine."""

    records: Records
    ports: Ports
    exits: ExitWatch
    in_thread: InThread
    lock: asyncio.Lock
    attach: Callable[[Launched], None]
    members: Callable[[Launched], Awaitable[list[Stat]]]
    secrets: Callable[[InstanceKey, tuple[str, ...]], None]
    port_window: float  # seconds
    booting: set[Identity]  # whose end the start takes itself, so that `watch` must not tell of it
    open_files: int | None  # of the program; None: as many as we may


class ProcessStart:
    """One call of `start`."""

    def __init__(self, tools: StartTools, spec: StartSpec, key: InstanceKey, report: Report) -> None:
        self._tools = tools
        self._spec = spec
        self._key = key
        self._report = report
        self._options = _checked(spec)
        self._own_port = not spec.base_url or (
            self._options.uses_port_mark() or uses_port_mark(spec.base_url, spec.health_url)
        )

    async def run(self) -> Started:
        """Follow or launch; again on another port when the program lost the one it was given."""
        self._tools.secrets(self._key, secrets_of(self._options.env))
        for tries_left in reversed(range(_PORT_TRIES)):
            began = asyncio.get_running_loop().time()
            launched, is_new = await self._follow_or_launch()
            if not is_new or not self._own_port:
                break
            exited = await self._watch_boot(launched)
            if exited is None:
                break
            lines = self._tail(launched)
            await end_all(launched, partial(self._tools.members, launched), grace=_LEFTOVER_GRACE)
            self._tools.records.forget(launched)
            if not tries_left or not any(PORT_TAKEN.search(line) for line in lines):
                lived = asyncio.get_running_loop().time() - began
                raise self._failure(exited, lines, lived=lived, port=launched.port)
            self._report.line(f"port {launched.port} was taken by another program; starts on a new port")
        return Started(launched.handle(), launched.endpoint, launched.health_url)

    async def _follow_or_launch(self) -> tuple[Launched, bool]:
        """What runs now, and whether this call made it."""
        port = self._pick()
        try:
            base_url = self._base_url(port)
            plan = await self._plan(port, base_url)
            async with self._right_to_start():
                running, left = await self._tools.in_thread(partial(self._tools.records.find, self._key))
                if running is not None:
                    self._tools.ports.put_back(port)
                    return self._followed(running), False
                if isinstance(plan, EngineRefused):
                    raise plan
                if left is not None:
                    await end_all(left, partial(self._tools.members, left), grace=_LEFTOVER_GRACE)
                return self._launch(plan, port, base_url), True
        except BaseException:
            self._tools.ports.put_back(port)
            raise

    def _pick(self) -> int:
        if not self._own_port:
            return 0
        try:
            return self._tools.ports.pick()
        except OSError as exc:
            raise EngineRefused(
                f"no free port was found: {exc}",
                permanent=False,
                resource="ports",
                cause="no_room",
                remedy="stop another service, or write a fixed `base_url`",
            ) from exc

    def _base_url(self, port: int) -> str:
        base_url = fill_port(self._spec.base_url or _ANY_PORT_URL, port)
        try:
            parse_base_url(base_url)
        except ValueError as exc:
            raise EngineRefused(
                f"the address cannot be used: {exc}",
                permanent=True,
                cause="not_found",
                remedy="correct `base_url`",
            ) from exc
        return base_url

    async def _plan(self, port: int, base_url: str) -> Launch | EngineRefused:
        """The refusal is returned: a live key is followed even when its options are wrong by now."""
        stamps = {
            "HESTIA_KEY": str(self._key),
            "HESTIA_OPTIONS": self._spec.options_hash,
            "HESTIA_ENDPOINT": base_url,
            "HESTIA_HEALTH_URL": fill_port(self._spec.health_url, port),
        }
        look = partial(prepare, self._options, port=port, stamps=stamps, outer=os.environ)
        try:
            plan: Launch = await self._tools.in_thread(look)
        except EngineRefused as exc:
            return exc
        return plan

    @asynccontextmanager
    async def _right_to_start(self) -> AsyncIterator[None]:
        """Nobody else on this folder looks for keys or launches inside.

        Raises EngineUnavailable, and EngineRefused where the folder cannot be written.
        """
        async with self._tools.lock:
            try:
                async with asyncio.timeout(_LOCK_TIMEOUT):
                    descriptor = self._tools.records.lock()
                    while descriptor is None:  # a file lock tells nobody that it is free again
                        await asyncio.sleep(_LOCK_INTERVAL)
                        descriptor = self._tools.records.lock()
            except TimeoutError as exc:
                raise EngineUnavailable(
                    f"another gateway with the same state folder has held its lock for {_LOCK_TIMEOUT:g} s",
                    sent=False,
                    remedy="give each gateway a state folder of its own",
                ) from exc
            except OSError as exc:
                raise EngineRefused(
                    f"the folder for its notes and output cannot be written: {exc.strerror} ({exc.filename})",
                    permanent=False,
                    cause="denied",
                    remedy="see what the doctor says of the state folder: hestia doctor",
                ) from exc
            try:
                yield
            finally:
                os.close(descriptor)

    def _followed(self, running: Launched) -> Launched:
        self._tools.attach(running)
        self._report.made(running.handle())
        self._report.stage("engine", f"follows process {running.pid}, which bears the key {self._key}")
        return running

    def _launch(self, plan: Launch, port: int, base_url: str) -> Launched:
        """Make the process and report its handle; plain calls only, so that nothing comes in between."""
        path = log_path(self._tools.records.output, self._key)
        self._report.stage("engine", f"starts {_shown(plan)}")
        try:
            output = open_log(path)
        except OSError as exc:
            raise EngineRefused(
                f"the output file {str(path)!r} cannot be opened: {exc.strerror}",
                permanent=False,
                cause="denied",
                remedy=f"ls -ld {path.parent}; df {path.parent}",
            ) from exc
        try:
            pid = launch(plan, output=output, open_files=self._tools.open_files)
        finally:
            os.close(output)
        identity = identify(pid)
        assert identity is not None  # our child, not reaped yet: even a dead one has its line
        launched = Launched(
            key=str(self._key),
            pid=pid,
            ticks=identity.ticks,
            boot=identity.boot,
            group=pid,
            port=port,
            base_url=base_url,
            health_url=fill_port(self._spec.health_url, port),
            log=str(path),
            log_max=self._options.log_max,
            options_hash=self._spec.options_hash,
        )
        self._report.made(launched.handle())
        with suppress(OSError):  # without a note it is found by its environment
            self._tools.records.note(launched)
            prune(path)
        if self._own_port:
            # An attempt on a lost port is followed by another with the same key: that is no exit.
            self._tools.booting.add(identity)
        self._tools.attach(launched)
        self._report.stage("boot", f"process {pid} runs" + (f", port {port}" if port else ""))
        return launched

    async def _watch_boot(self, launched: Launched) -> Exit | None:
        """Wait until the program listens on its port (None) or has ended; for the window at most."""
        try:
            await self._until_it_listens(launched)
            self._tools.exits.settle(launched.identity)
            return self._tools.exits.exit_of(launched.identity)
        except asyncio.CancelledError:
            self._tools.exits.expect(launched.identity)
            terminate(launched)
            raise
        finally:
            self._tools.booting.discard(launched.identity)

    async def _until_it_listens(self, launched: Launched) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self._tools.port_window
        while loop.time() < until:
            await wait_ended([launched.identity], timeout=_KNOCK_INTERVAL)
            self._tools.exits.settle(launched.identity)
            if self._tools.exits.exit_of(launched.identity) is not None:
                return
            presence = knock_now(launched.endpoint)
            if presence is Presence.UNKNOWN:
                presence, _ = await knock(launched.endpoint)
            if presence is Presence.RUNNING:
                if await self._listens_itself(launched):
                    return
                until = min(until, loop.time() + _FOREIGN_WINDOW)

    async def _listens_itself(self, launched: Launched) -> bool:
        """Whether the one who accepts is the program or its child; yes when that cannot be seen."""
        port = launched.endpoint.port
        if await self._tools.in_thread(partial(listens, port, [launched.pid])):
            return (
                True  # nearly always; its children are found by a look at every process, which takes longer
            )
        pids = [stat.pid for stat in await self._tools.members(launched)]
        return await self._tools.in_thread(partial(listens, port, pids)) is not False

    def _tail(self, launched: Launched) -> tuple[str, ...]:
        path = log_path(self._tools.records.output, self._key)
        return tail(path, lines=_TAIL_LINES, secrets=secrets_of(self._options.env))

    def _failure(self, exited: Exit, lines: tuple[str, ...], *, lived: float, port: int) -> StartFailed:
        background = (
            " It may have gone to the background: start it in the foreground." if exited.status == 0 else ""
        )
        return StartFailed(
            f"{self._key.service}: the program {describe_exit(exited)}, {lived:.1f} s after its start. "
            f"Command: {fill_port(' '.join(self._options.words)[:200], port)!r}.{background}",
            exit_status=exited.status,
            signal=exited.signal,
            remedy=hint(lines) or f"hestia logs {self._key.service}",
            tail=lines,
        )


def _checked(spec: StartSpec) -> ProcessOptions:
    if not isinstance(spec.options, ProcessOptions):
        raise EngineRefused(
            f"the engine 'process' needs its own options and got {type(spec.options).__name__}",
            permanent=True,
            cause="not_found",
            remedy="write `engine: {type: process, command: […]}`",
        )
    if uses_port_mark(spec.base_url or _ANY_PORT_URL) and not spec.options.uses_port_mark():
        raise EngineRefused(
            "the program is to answer on a port that the gateway picks, and nothing tells it which",
            permanent=True,
            cause="not_found",
            remedy="write {port} into `command` or `env`, or a `base_url` with a fixed port",
        )
    return spec.options


def _shown(plan: Launch) -> str:
    text = " ".join(plan.words)
    return text if len(text) <= 200 else text[:199] + "…"
