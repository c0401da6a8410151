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
from typing import Final, Protocol, TypeVar

import uvloop

from hestia.core.model import Settings
from hestia.edge.limits import raise_open_files_limit
from hestia.telemetry import logs
from hestia.telemetry.writer import LineWriter, Stream

log = logging.getLogger(__name__)

# Objects; a request leaves no cycles, so looking more often finds nothing. A TLS handshake that fails leaves
# some, with 20 KiB of OpenSSL's behind each: all is looked at after four such looks, not after a hundred.
GC_THRESHOLD: Final = (20_000, 2, 2)


class Runnable(Protocol):
    """A gateway as a process sees it; `hestia.app.Hestia` is one."""

    @property
    def open_connections(self) -> int: ...
    async def start(self) -> None: ...
    async def phases(self) -> dict[str, str]: ...
    def hurry(self) -> None: ...
    def reload_soon(self, actor: str) -> None: ...
    def staying(self) -> list[str]: ...
    async def aclose(self) -> list[str]: ...


G = TypeVar("G", bound=Runnable)


def serve(
    settings: Settings, make: Callable[[Stream], G], on_started: Callable[[G, Mapping[str, str]], None]
) -> int:
    """Run one gateway until SIGTERM or Ctrl-C; a second one ends at once. Returns the exit code.

    make: builds it, on the loop, given where access lines go. on_started: called on the loop once it
    listens, with the state of each service. Raises ConfigError, OSError.
    """
    stream = _log_to_stderr(settings)
    raise_open_files_limit()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, stream, make, on_started))
    finally:
        stream.close()


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


async def _serve(
    settings: Settings,
    stream: Stream,
    make: Callable[[Stream], G],
    on_started: Callable[[G, Mapping[str, str]], None],
) -> int:
    loop = asyncio.get_running_loop()
    hestia = make(stream)
    wanted = asyncio.Event()

    def end(name: str) -> None:
        if wanted.is_set():
            hestia.hurry()
            return
        wanted.set()
        log.info(
            "%s: letting open requests end (%d connections), then the gateway; once more ends at once",
            name,
            hestia.open_connections,
            extra={"event_type": "gateway_draining"},
        )

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number.name)
    # Asked now: once the terminal is gone, nobody is told that there was one.
    loop.add_signal_handler(signal.SIGHUP, _hung_up, hestia, end, sys.stderr.isatty())
    await hestia.start()
    on_started(hestia, await hestia.phases())
    _tell_warnings(settings)
    # What lives from here on was made for good: the collector need not look at it again and again. What
    # little is garbage by now stays: finding it would hold the loop for 0.1 s, with 10,000 services for 0.5.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    gc.enable()
    await wanted.wait()
    left = await hestia.aclose()
    _say_ended(left, hestia.staying())
    return 1 if left else 0


def _tell_warnings(settings: Settings) -> None:
    """What the configuration says that has no effect, or another one than it seems; once (FM-09)."""
    for warning in settings.warnings:
        log.warning(warning, extra={"event_type": "config_warning"})


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


def _hung_up(hestia: Runnable, end: Callable[[str], None], terminal: bool) -> None:
    """The terminal was closed: end in order. Elsewhere SIGHUP asks to read the configuration again."""
    if terminal:
        end("SIGHUP")
    else:
        hestia.reload_soon("SIGHUP")


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
        hestia = make(stream)
        try:
            await hestia.start()
        except BaseException:
            stream.close()
            raise
        _tell_warnings(settings)
    return Bridged(hestia, stream)
