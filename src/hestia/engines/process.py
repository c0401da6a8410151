"""The engine `process`: programs on this machine, each in a session of its own.

Owns the port's methods and what is watched meanwhile. The pieces are beside it: one start (`process_start`),
options, launch, table, records, exits, output, stop, words. It keeps no life-cycle state: what it remembers
are open descriptors, and what it needs after a restart is found on the machine. Source: engines.md C1,
lifecycle.md EN-01…06, EN-10…15, AD-05…09.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ClassVar, Final, TypeVar

from hestia.core.errors import EngineUnavailable, HandleUnknown
from hestia.core.model import GatewayId, InstanceKey
from hestia.core.ports import (
    Discovered,
    EngineContext,
    Found,
    Handle,
    Observed,
    Presence,
    Report,
    Started,
    StartSpec,
)
from hestia.engines.process_exits import Exit, ExitWatch
from hestia.engines.process_handle import Launched
from hestia.engines.process_options import ProcessOptions
from hestia.engines.process_output import Rotation, last_output, tail
from hestia.engines.process_output import follow as follow_output
from hestia.engines.process_ports import Ports
from hestia.engines.process_records import Records
from hestia.engines.process_start import PORT_WINDOW, ProcessStart, StartTools
from hestia.engines.process_stop import end_all
from hestia.engines.process_table import Identity, Stat, boot_id, lives, members
from hestia.engines.process_words import explain_exit

_TAIL_LINES: Final = 20  # FB-17
_HINTS_KEPT: Final = 256  # exits nobody has taken yet; the sweep finds a lost one (AD-20)
_SECRETS_KEPT: Final = 1024  # instances whose secrets are cut from their last lines

T = TypeVar("T")


class ProcessEngine:
    """Starts a command in its own session, finds it again by its key, and ends all that came of it."""

    name: ClassVar[str] = "process"
    settle_time: ClassVar[float] = 0.0
    Options: ClassVar[type[ProcessOptions]] = ProcessOptions

    def __init__(
        self, context: EngineContext, *, ports: Ports | None = None, port_window: float = PORT_WINDOW
    ) -> None:
        """Store what is needed.

        ports: where `{port}` comes from; a test may hand out taken ones. port_window: seconds that a start
        waits for somebody to listen on a port it picked.
        """
        if not context.state_dir:
            raise ValueError("the engine 'process' needs a folder for output and notes: state_dir is empty")
        self._thread = ThreadPoolExecutor(max_workers=2, thread_name_prefix="hestia-process")
        self._open_files = context.open_files
        self._records = Records(Path(context.state_dir))
        self._ports = ports or Ports()
        self._port_window = port_window
        self._exits = ExitWatch(self._exited)
        self._rotation = Rotation(self._in_thread)
        self._watched: dict[Identity, Launched] = {}
        self._secrets: dict[str, tuple[str, ...]] = {}
        self._start_lock = asyncio.Lock()
        self._booting: set[Identity] = set()  # a start watches these itself: no hint of their end
        self._watchers: list[asyncio.Queue[Observed | None]] = []
        self._missed: deque[Observed] = deque(maxlen=_HINTS_KEPT)
        self._closed = False

    async def start(self, spec: StartSpec, key: InstanceKey, report: Report) -> Started:
        """Start the command, or follow the one that bears the key.

        With `{port}` it returns when somebody listens there, at the latest after 3 s, because a program
        that lost its port to another one has to be started again on a new one (EN-11). Cancelled: TERM
        has been sent to what was made, whose handle was reported; `stop` with it does the rest.
        Raises EngineRefused, EngineUnavailable, StartFailed.
        """
        tools = StartTools(
            records=self._records,
            ports=self._ports,
            exits=self._exits,
            in_thread=self._in_thread,
            lock=self._start_lock,
            attach=self._attach,
            members=self._members,
            secrets=self._keep_secrets,
            port_window=self._port_window,
            booting=self._booting,
            open_files=self._open_files,
        )
        return await ProcessStart(tools, spec, key, report).run()

    async def stop(self, handle: Handle, *, grace: float) -> None:
        """End the program and all that came of it, also what its end has left over.

        grace: seconds between TERM and KILL. Raises EngineRefused(cause="stuck").
        """
        launched = Launched.read(handle)
        if launched is None:
            return
        if lives(launched.identity):
            self._attach(launched)
            self._exits.expect(launched.identity)
        await end_all(launched, lambda: self._members(launched), grace=grace)
        self._exits.settle(launched.identity)
        self._records.forget(launched)

    async def inspect(self, handle: Handle) -> Observed:
        """Running is: the same boot, pid and start time, and no zombie. Does not wait for anything."""
        launched = Launched.read(handle)
        if launched is None:
            return Observed(handle=handle, presence=Presence.GONE, reason="not a handle of engine 'process'")
        try:
            running = lives(launched.identity)
        except OSError as exc:
            return Observed(
                handle=handle,
                presence=Presence.UNKNOWN,
                key=launched.instance_key,
                reason=f"process {launched.pid} cannot be looked at: {exc.strerror}",
            )
        if running:
            self._attach(launched)
            return _running(launched)
        self._exits.settle(launched.identity)
        return _gone(launched, self._exits.exit_of(launched.identity))

    async def discover(self, owner: GatewayId) -> Discovered:
        """Look at the environment of every process. Raises EngineUnavailable when /proc cannot be read."""
        try:
            found = await self._in_thread(partial(self._records.all_of, owner))
        except OSError as exc:
            raise EngineUnavailable(
                f"the table of processes cannot be read: {exc}", sent=False, remedy="ls -ld /proc /proc/self"
            ) from exc
        for launched in found.values():
            self._attach(launched)
        return Discovered(
            tuple(Found(key, one.handle(), one.options_hash, _running(one)) for key, one in found.items())
        )

    async def watch(self) -> AsyncIterator[Observed]:
        """Each exit as it happens, of what was started, inspected or discovered here. Ends with `aclose`."""
        queue: asyncio.Queue[Observed | None] = asyncio.Queue()
        for observed in self._missed:
            queue.put_nowait(observed)
        self._missed.clear()
        self._watchers.append(queue)
        try:
            while not self._closed and (taken := await queue.get()) is not None:
                yield taken
        finally:
            self._watchers.remove(queue)

    async def logs(self, handle: Handle, *, follow: bool) -> AsyncIterator[bytes]:
        """The last 200 lines (at most 64 KiB) of the output, then with `follow` what is written.

        Ends when the program has ended and everything was read. Raises HandleUnknown.
        """
        launched = Launched.read(handle)
        if launched is None:
            raise HandleUnknown("this is not a handle of the engine 'process'")
        path = Path(launched.log)
        try:
            text, end = last_output(path)
        except OSError as exc:
            raise HandleUnknown(
                f"the output of {launched.key} is not there any more: {exc.strerror}",
                remedy="output of the last three generations is kept",
            ) from exc
        if text:
            yield text
        if follow:
            ended = partial(self._ended, launched)
            async for piece in follow_output(path, offset=end, ended=ended):
                yield piece

    def tail(self, handle: Handle, *, lines: int = _TAIL_LINES) -> tuple[str, ...]:
        """The last lines as plain text for an error, oldest first, secrets of `env` cut out."""
        launched = Launched.read(handle)
        if launched is None:
            return ()
        return tail(Path(launched.log), lines=lines, secrets=self._secrets.get(launched.key, ()))

    async def aclose(self) -> None:
        """End watching and following. Instances stay."""
        self._closed = True
        self._exits.close()
        self._rotation.close()
        for queue in self._watchers:
            queue.put_nowait(None)
        self._thread.shutdown(wait=False)

    def _in_thread(self, call: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._thread, call)

    def _attach(self, launched: Launched) -> None:
        """Notice this program's end and bound its output from now on."""
        if self._closed or launched.identity in self._watched:
            return
        self._watched[launched.identity] = launched
        self._ports.taken(launched.port)
        self._rotation.add(Path(launched.log), launched.log_max)
        self._exits.attach(launched.identity)

    async def _members(self, launched: Launched) -> list[Stat]:
        return await self._in_thread(partial(members, launched.identity, launched.key))

    def _keep_secrets(self, key: InstanceKey, values: tuple[str, ...]) -> None:
        self._secrets[str(key)] = values
        while len(self._secrets) > _SECRETS_KEPT:
            del self._secrets[next(iter(self._secrets))]

    def _exited(self, identity: Identity, exited: Exit) -> None:
        launched = self._watched.pop(identity)
        self._ports.put_back(launched.port)
        self._rotation.remove(Path(launched.log))
        if identity in self._booting:
            return
        observed = _gone(launched, exited)
        if not self._watchers:
            self._missed.append(observed)
        for queue in self._watchers:
            if queue.qsize() < _HINTS_KEPT:
                queue.put_nowait(observed)

    def _ended(self, launched: Launched) -> bool:
        return self._closed or not lives(launched.identity)


def _running(launched: Launched) -> Observed:
    return Observed(
        handle=launched.handle(),
        presence=Presence.RUNNING,
        key=launched.instance_key,
        endpoint=launched.endpoint,
        health_url=launched.health_url,
    )


def _gone(launched: Launched, exited: Exit | None) -> Observed:
    reason = "" if exited is None else explain_exit(exited)
    if launched.boot != boot_id():
        reason = "the machine was restarted since"
    return Observed(
        handle=launched.handle(),
        presence=Presence.GONE,
        key=launched.instance_key,
        exit_status=None if exited is None else exited.status,
        signal=None if exited is None else exited.signal,
        reason=reason,
    )
