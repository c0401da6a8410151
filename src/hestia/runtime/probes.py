"""Readiness: would a real request succeed now? One prober per starting instance feeds every waiter.

A probe connects first (a refused connect costs 0.1 ms) and asks `health_url` once it is accepted. It
looks at the status line only. Redirects are not followed, 2xx is ready (RD-07). Without `health_url` the
connection must stand for `STAND` seconds (RD-02). Owns the pace (RD-05), not the state.
"""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from hestia.core.errors import TLS_REMEDY, EngineRefused, HestiaError, StartFailed, UpstreamTlsFailed
from hestia.core.model import Endpoint
from hestia.core.ports import Observed
from hestia.core.urls import parse_base_url

STAND = 0.2  # seconds a connection must survive where there is no health_url
WRONG_PATH = 3  # answers 401, 403, 404 in a row that fail a start (RD-08)
HEAD_LIMIT = 64 * 1024  # bytes of a probe's answer that are looked at
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: [^\r\n]*)?\r\n")
_LOCAL = ("localhost", "127.", "::1")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one probe found. refused: nobody listens. status: of the answer, 0 when there was none.

    text: for people, e.g. `HTTP 503: loading model`, `connection refused`. untrusted: its certificate is not
    accepted, which waiting does not change.
    """

    ready: bool
    refused: bool
    status: int
    text: str
    untrusted: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how to probe. path: request target, or "" to connect only."""

    endpoint: Endpoint
    path: str
    tls_verify: bool = True

    @property
    def local(self) -> bool:
        return bool(self.endpoint.unix_path) or self.endpoint.host.startswith(_LOCAL)

    @property
    def url(self) -> str:
        return f"{self.endpoint}{self.path}" if self.path else str(self.endpoint)


def target_for(endpoint: Endpoint, health_url: str, *, tls_verify: bool = True) -> Target:
    """The probe of an instance. `health_url` may be a URL or empty. Raises ValueError."""
    if not health_url:
        return Target(endpoint, "", tls_verify)
    scheme, _, rest = health_url.partition("://")
    authority, slash, path = rest.partition("/")
    if endpoint.unix_path:
        return Target(endpoint, slash + path or "/", tls_verify)
    authority, question, query = authority.partition("?")
    health = parse_base_url(f"{scheme}://{authority}")
    return Target(health, (slash + path or "/") + question + query, tls_verify)


def pace(elapsed: float, *, local: bool) -> float:
    """Seconds until the next probe, `elapsed` seconds after the first (RD-05)."""
    if local:
        return 0.005 if elapsed < 2 else 0.01 if elapsed < 10 else 0.025 if elapsed < 60 else 0.25
    return min(0.5, 0.05 + elapsed / 20) if elapsed < 60 else 2.0


async def ask(target: Target, *, timeout: float) -> Answer:
    """One probe. Never raises for what the other side does; `timeout` in seconds bounds it."""
    try:
        async with asyncio.timeout(timeout):
            return await _ask(target)
    except TimeoutError:
        return Answer(False, False, 0, f"no answer within {timeout:g} s")
    except ConnectionRefusedError:
        return Answer(False, True, 0, "connection refused")
    except FileNotFoundError:
        return Answer(False, True, 0, "the socket file does not exist")
    except ssl.SSLCertVerificationError as error:
        why = error.verify_message.rstrip(".")
        return Answer(False, False, 0, f"its certificate is not accepted: {why}", untrusted=True)
    except ssl.SSLError as error:
        return Answer(False, False, 0, f"TLS failed: {error.reason or error}")
    except socket.gaierror as error:
        return Answer(False, True, 0, f"the name cannot be resolved ({error.strerror or error})")
    except OSError as error:
        return Answer(False, False, 0, f"{error.strerror or error}")


async def _ask(target: Target) -> Answer:
    reader, writer = await connect(target)
    try:
        if not target.path:
            return await _stands(reader)
        host = target.endpoint.authority
        writer.write(
            f"GET {target.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: hestia-probe\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n".encode("latin-1")
        )
        head = b""
        while b"\r\n\r\n" not in head and len(head) < HEAD_LIMIT:
            piece = await reader.read(4096)
            if not piece:
                break
            head += piece
        return _judge(head)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)  # the loop closes the socket in its next round


async def connect(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection as a probe does. Raises OSError."""
    endpoint = target.endpoint
    context: ssl.SSLContext | None = None
    if endpoint.scheme == "https":
        context = ssl.create_default_context()
        if not target.tls_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    name = (endpoint.tls_name or endpoint.host or "localhost") if context else None
    if endpoint.unix_path:
        return await asyncio.open_unix_connection(endpoint.unix_path, ssl=context, server_hostname=name)
    try:
        return await asyncio.open_connection(endpoint.host, endpoint.port, ssl=context, server_hostname=name)
    except OSError as error:
        # several addresses were tried (localhost is two) and each refused: asyncio joins the texts
        if error.errno is None and "refused" in str(error).lower():
            raise ConnectionRefusedError(str(error)) from error
        raise


async def _stands(reader: asyncio.StreamReader) -> Answer:
    """A connection that is closed at once belongs to a port proxy in front of nothing (RD-02)."""
    try:
        async with asyncio.timeout(STAND):
            data = await reader.read(1)
    except TimeoutError:
        return Answer(True, False, 0, "accepts connections")
    if data:
        return Answer(True, False, 0, "accepts connections and speaks first")
    return Answer(False, False, 0, "accepts connections and closes them at once")


def _judge(head: bytes) -> Answer:
    found = _STATUS.match(head)
    if found is None:
        text = repr(head[:80].decode("latin-1")) if head else "nothing"
        return Answer(False, False, 0, f"answered {text}, which is not HTTP")
    status = int(found[1])
    start = head.partition(b"\r\n\r\n")[2][:200].decode("utf-8", "replace").strip()
    if start.startswith("<"):  # an error page says nothing that its status does not
        start = ""
    return Answer(200 <= status < 300, False, status, f"HTTP {status}" + (f": {start}" if start else ""))


class Prober:
    """Probes one starting instance until it is ready. `last` is the last answer, for error texts."""

    def __init__(self, target: Target, *, clock: Callable[[], float]) -> None:
        self.target = target
        self.last: Answer | None = None
        self.count = 0
        self._clock = clock

    async def wait_ready(
        self, exited: asyncio.Future[Observed], *, gives_up: Callable[[], bool] = lambda: False
    ) -> bool:
        """Return when ready. The caller bounds the time. gives_up: asked when nobody answers; where it
        says so, False is returned.

        Raises StartFailed when the engine reports the exit, EngineRefused when the path looks wrong,
        UpstreamTlsFailed when the certificate is not accepted.
        """
        began, wrong = self._clock(), 0
        while True:
            elapsed = self._clock() - began
            answer = await ask(self.target, timeout=min(5.0, 1.0 + elapsed / 15))
            self.count += 1
            self.last = answer
            if exited.done():
                raise exit_error(exited.result())
            if answer.ready:
                return True
            if not answer.status and gives_up():
                return False
            wrong = wrong + 1 if answer.status in (401, 403, 404) or answer.untrusted else 0
            if wrong >= WRONG_PATH and answer.untrusted:
                raise UpstreamTlsFailed(
                    f"The probe {self.target.url} failed, three times: {answer.text}.",
                    cause="denied",
                    remedy=TLS_REMEDY,
                )
            if wrong >= WRONG_PATH:
                raise EngineRefused(
                    f"The probe {self.target.url} was answered with {answer.text}, three times.",
                    permanent=False,
                    resource="",
                    remedy="correct health_url: it must answer 2xx once the service can serve",
                    cause="denied" if answer.status in (401, 403) else "not_found",
                    stage="probe",
                )
            wait = pace(self._clock() - began, local=self.target.local)
            if wrong:
                wait = max(wait, 0.25)
            done, _ = await asyncio.wait({exited}, timeout=wait)
            if done:
                raise exit_error(exited.result())


def exit_error(observed: Observed) -> HestiaError:
    """What an exit during a start means, in words."""
    if observed.signal is not None:
        name = signal_name(observed.signal)
        how = f"was ended by {name}"
    elif observed.exit_status is not None:
        how = f"exited with status {observed.exit_status}"
    else:
        how = "ended"
    reason = f": {observed.reason}" if observed.reason else ""
    return StartFailed(
        f"The program {how} before it was ready{reason}.",
        exit_status=observed.exit_status,
        signal=observed.signal,
        cause="exited",
        stage="boot",
    )


def signal_name(number: int) -> str:
    """`SIGTERM` for 15; the number where the platform has no name for it."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
