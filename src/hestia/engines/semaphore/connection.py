"""One server: calls with credentials, and the words for everything that may go wrong on the way.

Owns login and its repetition when a session has expired, the limits of time and size, and the recognition of
answers that are no Semaphore's. What an answer means is for the families. Source: semaphore-api.md 1 and 2.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from hestia.core.errors import EngineRefused, EngineUnavailable

if TYPE_CHECKING:
    import ssl

    import httpx  # imported where it is used: every gateway loads this module, few have a Semaphore

_BUSY: Final = frozenset({429, 503})  # nothing was done
_COOKIE: Final = "semaphore"
ANSWER_MAX: Final = 16 * 2**20  # bytes; the longest is the output of a task, about 200 for each of its lines
TOKEN_REMEDY: Final = (
    "make a token in Semaphore (your user, API tokens) and set semaphore_api_key, or SEMAPHORE_API_KEY"
)


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is and as whom it is asked. timeout: seconds for one call.

    named: the setting or option that says where, for those who are to correct it.
    """

    base_url: str
    timeout: float = 30.0
    api_key: str = ""
    username: str = ""
    password: str = ""
    named: str = "semaphore_base_url"

    def __repr__(self) -> str:
        return f"<Server {self.base_url} {'token' if self.api_key else self.username or 'nobody'}>"


@dataclass(frozen=True, slots=True)
class Answer:
    """status: of HTTP. body: parsed JSON, None where there is none; its form is the server's, hence Any."""

    status: int
    body: Any = None

    @property
    def error(self) -> str:
        """The server's own words, or ""."""
        return str(self.body.get("error", "")) if isinstance(self.body, dict) else ""

    def rows(self) -> list[dict[str, Any]]:
        """The answer as a list; null is an empty one."""
        return [row for row in self.body or () if isinstance(row, dict)] if self._is_list else []

    @property
    def _is_list(self) -> bool:
        return isinstance(self.body, list)


@dataclass(frozen=True, slots=True)
class _Received:
    """A response of HTTP. cookie: of the session, or ""."""

    status: int
    content: bytes
    cookie: str


class Connection:
    """Calls to one server. `aclose` ends it; nothing is opened before the first call."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.base = server.base_url.rstrip("/")
        self._http: httpx.AsyncClient | None = None
        self._cookie = ""
        self._login = asyncio.Lock()

    async def call(self, method: str, path: str, body: object = None) -> Answer:
        """One call below `/api`. Raises EngineUnavailable, EngineRefused: 401, no Semaphore there.

        EngineUnavailable has `sent` where a POST may have taken effect. Every other status is an answer.
        """
        used = await self.credentials()
        answer = await self._send(method, path, body, used)
        if answer.status == 401 and self.server.api_key:
            raise EngineRefused(
                f"Semaphore at {self.base} refuses the token (semaphore_api_key): it is wrong or expired.",
                permanent=True,
                remedy=TOKEN_REMEDY,
            )
        if answer.status == 401:
            await self._log_in_again(used)
            answer = await self._send(method, path, body, await self.credentials())
            if answer.status == 401:
                raise EngineRefused(
                    f"Semaphore at {self.base} does not let {self.server.username!r} do this "
                    f"({method} /api{path}{': ' + answer.error if answer.error else ''}).",
                    permanent=True,
                    remedy=_login_remedy(answer),
                )
        if answer.status in _BUSY:
            raise EngineUnavailable(
                f"Semaphore at {self.base} is too busy (HTTP {answer.status}).", sent=False, cause="refused"
            )
        return answer

    async def ping(self) -> None:
        """Return when Semaphore answers there; asks as nobody. Raises EngineUnavailable, EngineRefused."""
        response = await self._exchange("GET", "/ping", None, {}, may_act=False)
        if response.status >= 500:
            raise EngineUnavailable(
                f"Semaphore at {self.base} is not ready (HTTP {response.status}).",
                sent=False,
                remedy="see Semaphore's own log, or that of the proxy before it",
            )
        if response.content.strip() != b"pong":
            raise self._no_semaphore(f"HTTP {response.status} and no pong")

    async def credentials(self) -> dict[str, str]:
        """Fields that say who asks; logs in where a name and a password are given. Raises as `call`."""
        server = self.server
        if server.api_key:
            return {"Authorization": f"Bearer {server.api_key}"}
        if not (server.username and server.password):
            raise EngineRefused(
                f"Semaphore at {self.base} is to be asked, and nobody said as whom: semaphore_api_key is not "
                "set.",
                permanent=True,
                remedy=f"{TOKEN_REMEDY}; or set semaphore_username and semaphore_password",
            )
        if not self._cookie:
            await self._log_in_again({})
        return {"Cookie": f"{_COOKIE}={self._cookie}"}

    async def _log_in_again(self, used: dict[str, str]) -> None:
        """A new session instead of the one that was used. Of several callers one does it for all."""
        async with self._login:
            if self._cookie and used.get("Cookie") != f"{_COOKIE}={self._cookie}":
                return
            login = {"auth": self.server.username, "password": self.server.password}
            response = await self._exchange("POST", "/auth/login", login, {}, may_act=False)
            if response.status >= 500:
                raise EngineUnavailable(
                    f"Semaphore at {self.base} cannot log anybody in (HTTP {response.status}).",
                    sent=False,
                    remedy="see Semaphore's own log",
                )
            if response.status >= 300 or not response.cookie:
                raise EngineRefused(
                    f"Semaphore at {self.base} refuses the login of {self.server.username!r} "
                    f"(HTTP {response.status}).",
                    permanent=True,
                    remedy="correct semaphore_username and semaphore_password, or use semaphore_api_key",
                )
            self._cookie = response.cookie

    async def _send(self, method: str, path: str, body: object, headers: dict[str, str]) -> Answer:
        response = await self._exchange(method, path, body, headers, may_act=method == "POST")
        text = response.content
        if not text or response.status >= 400:
            return Answer(response.status, _json_or_none(text))
        try:
            return Answer(response.status, json.loads(text))
        except (ValueError, RecursionError):
            raise self._no_semaphore(f"an answer that is no JSON ({len(text)} bytes)") from None

    async def _exchange(
        self, method: str, path: str, body: object, headers: dict[str, str], *, may_act: bool
    ) -> _Received:
        """The response. may_act: the call changes something, so a lost answer leaves it open whether."""
        import httpx

        fields = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
        asked = f"{method} /api{path.partition('?')[0]}"
        http, url = self._client(), f"{self.base}/api{path}"
        try:
            async with (
                asyncio.timeout(self.server.timeout),  # httpx's limit is for each read
                http.stream(method, url, json=body, headers=fields) as response,
            ):
                content = await self._whole(response, asked)
        except (TimeoutError, httpx.ReadTimeout, httpx.WriteTimeout) as exc:
            raise self._unreachable(exc, sent=may_act, late=True) from exc
        except (
            httpx.ConnectError,
            httpx.ConnectTimeout,
            httpx.PoolTimeout,
            httpx.UnsupportedProtocol,
        ) as exc:
            raise self._unreachable(exc, sent=False) from exc
        except (httpx.HTTPError, httpx.InvalidURL) as exc:
            raise self._unreachable(exc, sent=may_act) from exc
        if 300 <= response.status_code < 400:
            where = response.headers.get("location", "elsewhere")
            raise EngineRefused(
                f"Semaphore's address {self.base} ({self.server.named}) leads on to {where}.",
                permanent=True,
                remedy=f"set {self.server.named} to the address that it leads to, without /api",
            )
        if response.status_code < 400 and "html" in response.headers.get("content-type", ""):
            raise self._no_semaphore("a web page instead of JSON")
        return _Received(response.status_code, content, response.cookies.get(_COOKIE) or "")

    async def _whole(self, response: httpx.Response, asked: str) -> bytes:
        """The body, as it came. Raises EngineRefused: it is too long."""
        content = bytearray()
        async for piece in response.aiter_raw():
            content += piece
            if len(content) > ANSWER_MAX:
                raise EngineRefused(
                    f"Semaphore at {self.base} answers {asked} with more than {ANSWER_MAX // 2**20} MiB, "
                    "which is not read.",
                    permanent=True,
                    remedy=f"see that {self.server.named} leads to Semaphore itself, and that its playbooks "
                    "do not write that much",
                )
        return bytes(content)

    def _client(self) -> httpx.AsyncClient:
        import httpx

        if self._http is None:
            self._http = httpx.AsyncClient(
                timeout=self.server.timeout,
                verify=tls_context() if urlsplit(self.base).scheme == "https" else False,
                trust_env=False,
                limits=httpx.Limits(max_connections=20),
            )
        return self._http

    def _unreachable(self, exc: Exception, *, sent: bool, late: bool = False) -> EngineUnavailable:
        if late:
            why = f"no answer within {self.server.timeout:g} s (semaphore_timeout)"
            return self._away(why, sent=sent, cause="timeout")
        return self._away(_why(exc), sent=sent, cause="refused")

    def silent(self, limit: float) -> EngineUnavailable:
        """The error of one who waited for this server for `limit` seconds and got no answer."""
        return self._away(f"no answer within {limit:g} s", sent=False, cause="timeout")

    def _away(self, why: str, *, sent: bool, cause: str) -> EngineUnavailable:
        named = self.server.named
        return EngineUnavailable(
            f"Semaphore cannot be reached at {self.base} ({named}): {why}.",
            sent=sent,
            remedy=f"start Semaphore, or correct {named}; try: curl {self.base}/api/ping",
            cause=cause,
        )

    def _no_semaphore(self, what: str) -> EngineRefused:
        return EngineRefused(
            f"{self.base} ({self.server.named}) gives {what}: the path before Semaphore's /api is wrong, or "
            "something else answers there.",
            permanent=True,
            remedy=f"set {self.server.named} to Semaphore's address with its path prefix (the path of its "
            "web_host, such as https://example.org/semaphore), without /api",
        )

    async def aclose(self) -> None:
        """Close connections. Nothing may be called afterwards."""
        if self._http is not None:
            await self._http.aclose()


def tls_context() -> ssl.SSLContext:
    """Certificates are checked as everywhere in Hestia: the system's, or SSL_CERT_FILE."""
    import ssl

    return ssl.create_default_context()


def _why(exc: BaseException) -> str:
    """Why nothing came of a call: what the system said, where it said something, else the library's words."""
    for one in _behind(exc):
        if isinstance(one, socket.gaierror):
            return "its name is not known"
        if isinstance(one, ConnectionRefusedError):
            return "connection refused"
        if isinstance(one, OSError) and one.errno and one.strerror:
            return one.strerror.rstrip(".")
    return str(exc).rstrip(".") or type(exc).__name__


def _behind(exc: BaseException | None) -> Iterator[BaseException]:
    """What an exception comes of, itself last."""
    if exc is None:
        return
    yield from _behind(exc.__cause__ or exc.__context__)
    for one in exc.exceptions if isinstance(exc, BaseExceptionGroup) else ():
        yield from _behind(one)
    yield exc


def _json_or_none(text: bytes) -> Any:  # Any: see `Answer`
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _login_remedy(answer: Answer) -> str:
    if "TOTP" in answer.error:
        return "this user has a two-factor login: set semaphore_api_key instead of a password"
    return "give this user the role task_runner in the project, or name another user"
