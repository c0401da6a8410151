"""HTTP to the running gateway, on the standard library alone: the client must start at once (CL-25).

Owns the calls, their deadlines, and what a failure means for a person. `target` says where.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

from hestia import __version__
from hestia.cli.exits import CliError, Document, ExitCode, exit_code_of
from hestia.cli.target import Target
from hestia.cli.text import nearest, plain

CONNECT_TIMEOUT: Final = 2.0
ANSWER_TIMEOUT: Final = 30.0
SILENCE: Final = 40.0  # seconds without a ping or an event after which a stream is dead (DB-11)
BODY_LIMIT: Final = 256 * 2**20  # no answer of ours comes near; somebody else's might


class Client:
    """One gateway. A connection per call: calls are few and the process short-lived.

    trace: called with one line per call when the user asked for it. connect_timeout: seconds.
    """

    def __init__(
        self,
        target: Target,
        *,
        key: str = "",
        trace: Callable[[str], None] | None = None,
        bodies: bool = False,
        connect_timeout: float = CONNECT_TIMEOUT,
        answer_timeout: float = ANSWER_TIMEOUT,
    ) -> None:
        self.target = target
        self._key = key
        self._trace = trace
        self._bodies = bodies
        self._connect_timeout = connect_timeout
        self._answer_timeout = answer_timeout

    def services(self) -> bytes:
        """The body of `GET /v1/services`."""
        return self.call("GET", "/v1/services")[1]

    def status(self, service: str) -> bytes:
        """The body of a service's status. Raises CliError (NOT_FOUND with the nearest ids)."""
        return self.call("GET", f"{_service_path(service)}/status")[1]

    def act(self, service: str, verb: str, *, force: bool = False) -> tuple[int, bytes]:
        """Status and body of start (202, 409), stop or restart (202)."""
        query = "?force=true" if force else ""
        return self.call("POST", f"{_service_path(service)}/{verb}{query}", accept=(409,))

    def reload(self) -> bytes:
        """The body of `POST /v1/config/reload`: what changed, or the problems."""
        return self.call("POST", "/v1/config/reload", accept=(409,))[1]

    def last_reload(self) -> bytes:
        """What came of the last reload; `null` without one, also of a gateway that knows none."""
        status, body = self.call("GET", "/v1/config/reload", accept=(404, 405))
        return body if status == 200 else b"null"

    def warnings(self) -> list[str]:
        """What the gateway finds doubtful about its configuration; none of a gateway that does not say."""
        status, body = self.call("GET", "/v1/config", accept=(403, 404))
        found = json.loads(body).get("warnings") if status == 200 else None
        return [str(one) for one in found or ()]

    def call(self, method: str, path: str, *, accept: tuple[int, ...] = ()) -> tuple[int, bytes]:
        """Status and body of one call. Raises CliError unless 2xx or in `accept`."""
        with self._exchange(method, path) as (response, _):
            try:
                body = response.read(BODY_LIMIT)
            except (OSError, http.client.HTTPException) as exc:
                raise self._broken_off(exc) from exc
        if self._bodies and self._trace:
            self._trace(plain(body[:4096].decode("utf-8", "replace")))
        if response.status // 100 == 2 or response.status in accept:
            return response.status, body
        raise self._failure(response, body, path)

    def log_lines(self, service: str, *, follow: bool, tail: int | None, instance: str) -> Iterator[bytes]:
        """Output of a service line by line, newline included where there is one.

        With `follow` it ends when the gateway ends it. Raises CliError; ConnectionError when it broke off.
        """
        asked: dict[str, str | int] = {}
        if follow:
            asked["follow"] = "true"
        if tail is not None:
            asked["tail"] = tail
        if instance:
            asked["instance"] = instance
        path = f"{_service_path(service)}/logs" + (f"?{urlencode(asked)}" if asked else "")
        with self._exchange("GET", path) as (response, sock):
            if response.status != 200:
                raise self._failure(response, response.read(BODY_LIMIT), path)
            if follow:
                sock.settimeout(None)  # a quiet service may write nothing for hours; Ctrl-C ends the wait
            yield from _lines_of(response)

    def events(self, path: str, *, after: int | None) -> Iterator[tuple[str, bytes]]:
        """Server-sent events as (kind, data), while they come. after: the id of the last one that was seen.

        Raises CliError; ConnectionError when it broke off, or nothing came for `SILENCE` seconds.
        """
        more = {} if after is None else {"Last-Event-ID": str(after)}
        with self._exchange("GET", path, more) as (response, sock):
            if response.status != 200:
                raise self._failure(response, response.read(BODY_LIMIT), path)
            sock.settimeout(SILENCE)
            kind, data = "", b""
            for line in _lines_of(response):
                word, _, value = line.rstrip(b"\r\n").partition(b": ")
                if word == b"event":
                    kind = value.decode("latin-1")
                elif word == b"data":
                    data = value
                elif not word and kind:
                    yield kind, data
                    kind, data = "", b""

    @contextlib.contextmanager
    def _exchange(
        self, method: str, path: str, more: Mapping[str, str] | None = None
    ) -> Iterator[tuple[http.client.HTTPResponse, socket.socket]]:
        target = self.target
        connection = _connection(target, self._connect_timeout)
        began = time.monotonic()
        try:
            try:
                connection.connect()
            except OSError as exc:
                raise self._unreachable(exc) from exc
            sock = connection.sock
            sock.settimeout(self._answer_timeout)
            try:
                connection.request(method, target.path + path, headers={**self._fields(), **(more or {})})
                response = connection.getresponse()
            except (OSError, http.client.HTTPException) as exc:
                raise self._broken_off(exc) from exc
            if self._trace:
                spent = (time.monotonic() - began) * 1000
                self._trace(f"{method} {target.url}{path} -> {response.status} in {spent:.0f} ms")
            yield response, sock
        finally:
            connection.close()

    def _fields(self) -> dict[str, str]:
        fields = {"User-Agent": f"hestia-cli/{__version__}", "Accept": "application/json"}
        if self._key:
            fields["X-API-Key"] = self._key
        return fields

    def _unreachable(self, error: OSError) -> CliError:
        """CL-13: the address tried, where it came from, why, how to start it."""
        address = f"{self.target.url} ({self.target.source})"
        local = self.target.host in ("localhost", "127.0.0.1", "::1")
        # where the address came from what is configured here, a plain start listens there
        start = "hestia serve" if self.target.configured else f"hestia serve --port {self.target.port}"
        remedy = f"Start it: {start}" if local else "Start it there, or name another address: --url URL"
        also = "Running elsewhere? Name its address: --url URL, or HESTIA_URL." if local else ""
        refused, instead = _tls_failure(error, self.target)
        if refused:
            remedy, also = instead, ""
        return CliError(
            f"The gateway is not reachable at {address}: "
            f"{refused or reason_of(error, self._connect_timeout)}.",
            exit_code=ExitCode.UNREACHABLE,
            code="gateway_unreachable",
            remedy=tuple(line for line in (remedy, also) if line),
        )

    def _broken_off(self, error: Exception) -> CliError:
        why = (
            reason_of(error, self._answer_timeout)
            if isinstance(error, OSError)
            else f"it is not HTTP ({type(error).__name__})"
        )
        return CliError(
            f"{self.target.url} ({self.target.source}) took the call but gave no answer: {why}.",
            exit_code=ExitCode.UNREACHABLE,
            code="gateway_unreachable",
            remedy=(f"Look at what listens there: curl -v {self.target.url}/healthz",),
        )

    def _failure(self, response: http.client.HTTPResponse, body: bytes, path: str) -> CliError:
        """An answer that is not what was asked for: the gateway's problem, or a stranger's page."""
        problem = _document(body)
        if problem is None or "code" not in problem:
            return self.stranger(f"{path} was answered with {response.status}")
        code = str(problem["code"])
        exit_code = exit_code_of(response.status, code)
        detail, remedy = str(problem.get("detail", code)), list[str]()
        if code == "service_not_found":
            detail, remedy = self._unknown_service(path, detail)
        if exit_code is ExitCode.REFUSED:
            remedy.append("Give a key: HESTIA_API_KEY, or --key-file PATH")
        return CliError(detail, exit_code=exit_code, code=code, remedy=tuple(remedy), problem=problem)

    def _unknown_service(self, path: str, detail: str) -> tuple[str, list[str]]:
        """CL-09: the nearest ids, or all of them if they are few."""
        name = _named(path)
        try:
            known = [str(one["serviceId"]) for one in json.loads(self.services())]
        except (CliError, ValueError, KeyError, TypeError):
            return detail, []
        first = f'There is no service "{name}".'
        if close := nearest(name, known):
            return first, [f"Did you mean: {', '.join(close)}?"]
        if known and len(known) <= 10:
            return first, [f"There are: {', '.join(known)}."]
        return first, ["List them: hestia status"]

    def stranger(self, found: str) -> CliError:
        """The error for an address where something other than Hestia answers."""
        return CliError(
            f"Something answers at {self.target.url} ({self.target.source}), but it is not Hestia: {found}.",
            exit_code=ExitCode.UNREACHABLE,
            code="gateway_unreachable",
            remedy=("Name the gateway's address: --url URL, or HESTIA_URL.",),
        )


def _connection(target: Target, timeout: float) -> http.client.HTTPConnection:
    if target.scheme != "https":
        return http.client.HTTPConnection(target.host, target.port, timeout=timeout)
    import ssl  # only here

    context = ssl.create_default_context()
    if not target.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(target.host, target.port, timeout=timeout, context=context)


def _tls_failure(error: OSError, target: Target) -> tuple[str, str]:
    """What the certificate, or its absence, is refused for, and what to do; "" where it is not that."""
    if target.scheme != "https":
        return "", ""
    reason, message = getattr(error, "reason", ""), getattr(error, "verify_message", "")
    if message:
        return (
            f"its certificate is not accepted ({message.rstrip('.')})",
            "Use the name that its certificate is for: --url https://NAME; an authority of your own goes "
            "into SSL_CERT_FILE",
        )
    if reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
        return "it does not speak HTTPS", f"Name it with http: --url http://{target.host}:{target.port}"
    return "", ""


def reason_of(error: OSError, limit: float) -> str:
    """Why an address did not answer, in words."""
    if isinstance(error, TimeoutError):
        return f"no answer within {limit:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused, so nothing listens there"
    if isinstance(error, socket.gaierror):
        return "there is no such host name"
    if isinstance(error, ConnectionResetError) or error.errno == errno.EPIPE:
        return "the connection was closed"
    return os.strerror(error.errno) if error.errno else str(error)


def _service_path(service: str) -> str:
    return f"/v1/services/{quote(service, safe='')}"


def _named(path: str) -> str:
    return plain(unquote(path.split("/")[3]))


def _document(body: bytes) -> Document | None:
    try:
        found: Any = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _lines_of(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Whole lines as they come; a rest without newline at the end. Raises ConnectionError."""
    rest = b""
    while True:
        try:
            piece = response.read1(65536)
        except (OSError, http.client.HTTPException) as exc:
            raise ConnectionError("the log stream broke off") from exc
        if not piece:
            break
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line + b"\n"
    if rest:
        yield rest
