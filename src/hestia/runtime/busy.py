"""Asks a service whether it is busy, before an idle stop (`busy_probe`, ID-07).

An address answers with JSON, a command with its exit status; anything else, and no answer within `LIMIT`
seconds, is no answer. Owns the question, not what follows from it: that is `core.idle`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import subprocess
from collections.abc import Callable
from typing import Final

from hestia.core import effects as fx
from hestia.core.idle import Busy, Sequence
from hestia.core.model import BusyProbe, Endpoint, InstanceKey
from hestia.core.urls import fill_port
from hestia.core.world import World
from hestia.runtime.probes import connect, target_for

log = logging.getLogger(__name__)

LIMIT: Final = 10.0  # seconds until a probe is given up
BODY_LIMIT: Final = 64 * 1024  # bytes of an answer that are read
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r\n")
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_KEPT: Final = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "XDG_RUNTIME_DIR")


class NoAnswer(Exception):
    """The probe gave no answer; the text says why."""


class BusyProbes:
    """Runs the probes that the world asks for. perform: takes what follows from the answer."""

    def __init__(
        self, world: World, *, perform: Callable[[list[fx.Effect]], None], clock: Callable[[], float]
    ) -> None:
        self._world = world
        self._perform = perform
        self._clock = clock

    async def ask(self, key: InstanceKey, endpoint: Endpoint, sequence: Sequence) -> None:
        """Ask once and bring the answer to the world, whatever happens."""
        said = Busy.UNKNOWN
        service = self._world.service(key.service).settings
        try:
            if service.busy_probe is not None:
                said = await asked(service.busy_probe, endpoint, key, tls_verify=service.tls_verify)
        except NoAnswer as why:
            log.warning(
                'The busy_probe of "%s" gave no answer: %s',
                key.service,
                why,
                extra={"event_type": "busy_probe_failed", "service_id": key.service, "detail": str(why)},
            )
        except Exception:  # boundary: a probe that breaks is one without an answer, not one for ever
            log.exception("A busy probe broke", extra={"event_type": "busy_probe_broke"})
        self._perform(self._world.busy(key, said, sequence, self._clock()))


async def asked(probe: BusyProbe, endpoint: Endpoint, key: InstanceKey, *, tls_verify: bool) -> Busy:
    """What the probe says. Raises NoAnswer."""
    try:
        async with asyncio.timeout(LIMIT):
            if probe.url:
                return await _address(probe.url, endpoint, tls_verify)
            return await _command(probe.command, endpoint, key)
    except TimeoutError:
        raise NoAnswer(f"nothing within {LIMIT:g} s") from None
    except (OSError, ValueError) as error:
        raise NoAnswer(str(error) or type(error).__name__) from error


async def _address(url: str, endpoint: Endpoint, tls_verify: bool) -> Busy:
    target = target_for(endpoint, fill_port(url, endpoint.port), tls_verify=tls_verify)
    reader, writer = await connect(target)
    try:
        # HTTP/1.0: the answer comes in one piece and ends with the connection
        writer.write(
            f"GET {target.path} HTTP/1.0\r\nHost: {target.endpoint.authority}\r\n"
            "User-Agent: hestia-probe\r\nAccept: application/json\r\nConnection: close\r\n\r\n".encode(
                "latin-1"
            )
        )
        answer = b""
        while len(answer) < BODY_LIMIT and not _whole(answer):
            piece = await reader.read(4096)
            if not piece:
                break
            answer += piece
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)  # the loop closes the socket in its next round
    return judge(answer)


def _whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    status, length = _STATUS.match(answer), _LENGTH.search(head + b"\r\n")
    if not end or (status is not None and status[1] == b"204"):
        return bool(end)
    return length is not None and len(body) >= int(length[1])


def judge(answer: bytes) -> Busy:
    """What an HTTP answer says. Raises NoAnswer."""
    status = _STATUS.match(answer)
    if status is None:
        raise NoAnswer("the answer is not HTTP")
    body = answer.partition(b"\r\n\r\n")[2].strip()
    if status[1] == b"204" and not body:
        return Busy.FREE
    if not status[1].startswith(b"2"):
        raise NoAnswer(f"HTTP {status[1].decode()}")
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if isinstance(said, dict):
        said = said.get("busy")
    if not isinstance(said, bool):
        shown = body[:80].decode("utf-8", "replace")
        raise NoAnswer(f'HTTP {status[1].decode()} with {shown!r}, expected {{"busy": true}} or false')
    return Busy.BUSY if said else Busy.FREE


async def _command(command: str | tuple[str, ...], endpoint: Endpoint, key: InstanceKey) -> Busy:
    words = ("/bin/sh", "-c", command) if isinstance(command, str) else command
    process = await asyncio.create_subprocess_exec(
        *(fill_port(word, endpoint.port) for word in words),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in _KEPT if name in os.environ}
        | {"HESTIA_SERVICE": key.service, "HESTIA_INSTANCE": key.instance, "HESTIA_URL": str(endpoint)},
        start_new_session=True,
    )
    try:
        status = await process.wait()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    if status not in (0, 1):
        raise NoAnswer(f"the command ended with {f'signal {-status}' if status < 0 else f'status {status}'}")
    return Busy.BUSY if status else Busy.FREE
