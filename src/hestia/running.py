"""How a gateway lives in its process: in the foreground with signals, or behind the bridge.

Owns what belongs to the process and not to the gateway: log on standard error, limit of open files, signals,
the garbage collector, what is said at the end. Which gateway it is, `app` hands in.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Final, Generic, Protocol, TypeVar

import uvloop

from hestia import __version__
from hestia.config.warned import tell_warnings
from hestia.core.errors import ConfigError
from hestia.core.lifecycle import State
from hestia.core.model import Settings
from hestia.edge.given import Given, Heard
from hestia.edge.limits import raise_open_files_limit
from hestia.runtime.gateway import Gateway
from hestia.runtime.tasks import Tasks
from hestia.systemd import Notifier, given_sockets
from hestia.takeover.new import Predecessor
from hestia.takeover.old import Offer, Outcome
from hestia.takeover.place import Place
from hestia.takeover.quiet import open_doors
from hestia.telemetry import logs
from hestia.telemetry.writer import LineWriter, Stream

log = logging.getLogger(__name__)

# Objects; a request leaves no cycles, so looking more often finds nothing. A TLS handshake that fails leaves
# some, with 20 KiB of OpenSSL's behind each: all is looked at after four such looks, not after a hundred.
GC_THRESHOLD: Final = (20_000, 2, 2)


# Seconds after which the thread that sends traces lets the loop run. Where every request was traced, one in a
# hundred took 11 to 28 ms with Python's own, 5 ms, and 6 to 17 with this (runs on a busy machine).
SWITCH_INTERVAL: Final = 0.0005

LOOKED_AT: Final = 12  # services whose address is looked at when the gateway says that it listens
BACK_LIMIT: Final = 10.0  # seconds for a gateway that ends to give the lock back
BACK_PAUSE: Final = 0.05  # seconds between tries


class Reloads(Protocol):
    """Reads the configuration again. around: entered for each attempt; see `hestia.reloading`."""

    around: Callable[[], AbstractContextManager[object]]


class Runnable(Protocol):
    """A gateway as a process sees it; `hestia.app.Hestia` is one."""

    place: Place | None
    gateway: Gateway

    @property
    def reloads(self) -> Reloads: ...

    @property
    def open_connections(self) -> int: ...
    async def start(self) -> None: ...
    def hurry(self) -> None: ...
    def reload_soon(self, actor: str) -> None: ...
    def staying(self) -> list[str]: ...
    async def aclose(self) -> list[str]: ...


G = TypeVar("G", bound=Runnable)


def serve(
    settings: Settings,
    make: Callable[[Stream, Given], G],
    on_started: Callable[[G, Mapping[str, str]], None],
    *,
    before: Predecessor | None = None,
) -> int:
    """Run one gateway until SIGTERM or Ctrl-C; a second one ends at once. Returns the exit code.

    make: builds it, on the loop, given where access lines go and which sockets listen already. on_started:
    called on the loop once it listens, with the state of each service. before: the gateway whose place it
    takes. Raises ConfigError, OSError.
    """
    notifier = Notifier(os.environ)
    given = before.given if before is not None else given_sockets(os.environ)
    stream = _log_to_stderr(settings)
    raise_open_files_limit()
    _share_the_interpreter(settings)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_Process(settings, stream, make, notifier).run(given, before, on_started))
    finally:
        if before is not None:
            before.close()
        stream.close()


def _share_the_interpreter(settings: Settings) -> None:
    if settings.gateway.telemetry is not None:
        sys.setswitchinterval(SWITCH_INTERVAL)


def _log_to_stderr(settings: Settings) -> LineWriter:
    stream = LineWriter(sys.stderr.buffer)
    terminal = sys.stderr.isatty()
    logs.configure(
        stream,
        level=settings.gateway.log_level,
        form=logs.choose_form(settings.gateway.log_format, terminal=terminal),
        colour=logs.choose_colour(os.environ, terminal=terminal),
    )
    return stream


class _Process(Generic[G]):
    """One process in the foreground: its gateway, the signals, and who may take its place."""

    def __init__(
        self, settings: Settings, stream: Stream, make: Callable[[Stream, Given], G], notifier: Notifier
    ) -> None:
        self._settings = settings
        self._make = partial(make, stream)
        self._notifier = notifier
        self._wanted = asyncio.Event()
        self._tasks = Tasks()
        self._hestia: G  # the one that serves

    async def run(
        self, given: Given, before: Predecessor | None, on_started: Callable[[G, Mapping[str, str]], None]
    ) -> int:
        """See `serve`."""
        self._hestia = self._make(given)
        self._listen_to_signals()
        await self._start(given, before)
        self._hestia.reloads.around = self._notifier.reloading
        on_started(self._hestia, await _phases(self._hestia.gateway))
        tell_warnings(self._settings)
        # What lives from here on was made for good: the collector need not look at it again and again. What
        # little is garbage by now stays: finding it would hold the loop for 0.1 s, with 10,000 services 0.5.
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        gc.enable()
        self._notifier.say("READY=1")
        self._tasks.spawn(self._notifier.keep_alive(lambda: _pulse(self._hestia.gateway)), "keep alive")
        offer = Offer(
            self._settings.gateway.state_dir,
            version=__version__,
            place=lambda: self._hestia.place,
            refuse=self._no_takeover,
        )
        offer.open()
        try:
            await self._until_over(offer)
            self._notifier.say("STOPPING=1", "STATUS=letting open requests end")
            left = await self._hestia.aclose()
        finally:
            offer.close()
            await self._tasks.aclose()
        _say_ended(left, self._hestia.staying())
        return 1 if left else 0

    async def _start(self, given: Given, before: Predecessor | None) -> None:
        """Serve when this returns; in the place of another one, only once everything else is certain."""
        if before is None:
            await self._hestia.start()
            return
        await open_doors(self._settings, given)
        log.info("Taking over from the gateway with pid %d, version %s", before.pid, before.version)
        used = await before.take()
        await self._hestia.start()
        await before.serves()
        assert self._hestia.place is not None
        self._hestia.place.hold(used, before.ended())

    async def _until_over(self, offer: Offer) -> None:
        """Return when a signal came, or another gateway serves in this one's place."""
        while True:
            asked = self._tasks.spawn(offer.outcome(), "offer")
            signalled = self._tasks.spawn(self._wanted.wait(), "signal")
            await asyncio.wait({asked, signalled}, return_when=asyncio.FIRST_COMPLETED)
            if signalled.done():
                return
            signalled.cancel()
            if asked.result() is Outcome.DONE:
                log.info(
                    "Another gateway serves now: %d connections end here, then this one does",
                    self._hestia.open_connections,
                    extra={"event_type": "handed_over"},
                )
                return
            await self._begin_again(offer)

    async def _begin_again(self, offer: Offer) -> None:
        """The gateway that was to take over is gone, and this one had given its place up: take it back."""
        log.warning(
            "The gateway that took over ended, or hung, before it served; this one takes its place back",
            extra={"event_type": "takeover_failed"},
        )
        leaving = self._hestia
        until = asyncio.get_running_loop().time() + BACK_LIMIT
        while True:
            again = self._make(Given(Heard(one.service, one.sock.dup()) for one in offer.kept))
            try:
                await again.start()
                break
            except ConfigError:  # its lock is given back a moment after its sockets are
                if asyncio.get_running_loop().time() >= until:
                    raise
                await asyncio.sleep(BACK_PAUSE)
        again.reloads.around = self._notifier.reloading
        self._hestia = again
        self._tasks.spawn(_closed(leaving), "end of the gateway before")
        offer.forget()

    def _no_takeover(self) -> str:
        if self._notifier.asked:
            return "systemd runs it, and starts the next one itself (systemctl restart)"
        return "it ends already" if self._wanted.is_set() else ""

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._end, number.name)
        # Asked now: once the terminal is gone, nobody is told that there was one.
        loop.add_signal_handler(signal.SIGHUP, self._hung_up, sys.stderr.isatty())

    def _hung_up(self, terminal: bool) -> None:
        """The terminal was closed: end in order. Elsewhere SIGHUP asks to read the configuration again."""
        if terminal:
            self._end("SIGHUP")
        else:
            self._hestia.reload_soon("SIGHUP")

    def _end(self, name: str) -> None:
        if self._wanted.is_set():
            self._hestia.hurry()
            return
        self._wanted.set()
        log.info(
            "%s: letting open requests end (%d connections), then the gateway; once more ends at once",
            name,
            self._hestia.open_connections,
            extra={"event_type": "gateway_draining"},
        )


async def _phases(gateway: Gateway) -> dict[str, str]:
    """State of each service by its id. The first few are looked at, as many as a person is shown."""
    found = await asyncio.gather(
        *(gateway.status(one, probe=at < LOOKED_AT) for at, one in enumerate(gateway.services()))
    )
    return {str(status.id): str(status.phase) for status in found}


def _pulse(gateway: Gateway) -> tuple[bool, str]:
    """Whether everything moves that should (OB-10), and `12 services, 2 hot`.

    That the store cannot be written is no reason to begin anew: what is hot is served.
    """
    services = gateway.world.services
    states = [slot.state for record in services.values() for slot in record.slots.values()]
    shown = [
        f"{states.count(one)} {one}" for one in (State.HOT, State.STARTING, State.FAILED) if one in states
    ]
    return not any(gateway.progress.stuck()), ", ".join(
        [f"{len(services)} service{'' if len(services) == 1 else 's'}", *shown]
    )


async def _closed(hestia: Runnable) -> None:
    await hestia.aclose()


def _say_ended(left: list[str], staying: list[str]) -> None:
    for name in left:
        log.error("Still running, could not be stopped: %s", name, extra={"event_type": "left_running"})
    if staying:
        log.info(
            "Left running for the next gateway, as on_exit says: %s",
            ", ".join(staying),
            extra={"event_type": "left_for_next", "instances": staying},
        )
    log.info("Hestia has ended", extra={"event_type": "gateway_stopped"})


class Bridged:
    """The gateway behind the bridge, and the log it writes."""

    def __init__(self, hestia: Runnable, stream: LineWriter) -> None:
        self._hestia = hestia
        self._stream = stream

    async def aclose(self) -> None:
        with _one_voice():
            _say_ended(await self._hestia.aclose(), self._hestia.staying())
        self._stream.close()


@contextlib.contextmanager
def _one_voice() -> Iterator[None]:
    """The control API is served by uvicorn too: what that one says is not for who runs the one in front."""
    server = logging.getLogger("uvicorn.error")
    level = server.level
    server.setLevel(logging.WARNING)
    try:
        yield
    finally:
        server.setLevel(level)


async def start_bridged(settings: Settings, make: Callable[[Stream], Runnable]) -> Bridged:
    """Start a gateway for the bridge, as `serve` would. Raises ConfigError, OSError."""
    with _one_voice():
        stream = _log_to_stderr(settings)
        raise_open_files_limit()
        _share_the_interpreter(settings)
        hestia = make(stream)
        try:
            await hestia.start()
        except BaseException:
            stream.close()
            raise
        tell_warnings(settings)
    return Bridged(hestia, stream)
