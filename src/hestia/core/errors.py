"""The one exception tree. Owns what went wrong and its data; `hestia.problems` owns status codes.

A class has a stable `code` (metric label, tail of the problem type). An error carries facts, not
markup: `detail` is written for the owner of the gateway, `remedy` is something that can be typed.
Foreign exceptions are translated where the foreign call is made, always with `from exc`.
"""

from __future__ import annotations

from typing import ClassVar, Final, Self


class HestiaError(Exception):
    """Root of everything Hestia raises on purpose.

    detail: one or two sentences for the owner: what, where, why. May name addresses and commands.
    remedy: what to do next; a command or a configuration key where one exists.
    cause: word of the closed list of experience.md 5 (`refused`, `exited`, `not_found`, …) or "".
    stage: `room`, `machine`, `engine`, `boot`, `probe`, or "" outside a start.
    service_id: the service it concerns, or "".
    retry_after: seconds after which trying again makes sense, or None when unknown.
    attempts: attempts made for this request so far, or None.
    tail: last lines of the instance's output, oldest first.
    """

    code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        detail: str,
        *,
        remedy: str = "",
        cause: str = "",
        stage: str = "",
        service_id: str = "",
        retry_after: float | None = None,
        attempts: int | None = None,
        tail: tuple[str, ...] = (),
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy
        self.cause = cause
        self.stage = stage
        self.service_id = service_id
        self.retry_after = retry_after
        self.attempts = attempts
        self.tail = tail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"

    def twin(self) -> Self:
        """A copy that one request may add to, where many are told the same."""
        twin = type(self).__new__(type(self))
        twin.args = self.args
        twin.__dict__.update(self.__dict__)
        return twin


class InternalError(HestiaError):
    """A bug in Hestia, seen at one of the three boundaries."""


class StrategyRefused(HestiaError):
    """A strategy named something that is no instance of its service (SS-06)."""

    code = "strategy_error"


class ConfigError(HestiaError):
    """The configuration cannot be used. `config.errors` carries the list with places."""

    code = "config_error"


# -- not found ---------------------------------------------------------------------------------


class NotFound(HestiaError):
    """What was named does not exist here."""

    code = "not_found"


class ServiceNotFound(NotFound):
    code = "service_not_found"


class InstanceNotFound(NotFound):
    code = "instance_not_found"


class MachineNotFound(NotFound):
    code = "machine_not_found"


class UnknownHost(NotFound):
    """The Host of the request is neither ours nor a service's (DNS rebinding defence, HO-06)."""

    code = "unknown_host"


# -- admission ---------------------------------------------------------------------------------


class AdmissionError(HestiaError):
    """The request is shed: not now, on purpose. Carries `retry_after` where it can be computed."""

    code = "upstream_busy"


class QueueFull(AdmissionError):
    code = "queue_full"


class QueueTimeout(AdmissionError):
    code = "queue_timeout"


class GatewayOverloaded(AdmissionError):
    """The bodies that wait in this process fill their memory; no further one is taken in (SB-12)."""

    code = "gateway_overloaded"


class GatewayDraining(AdmissionError):
    code = "shutting_down"


class Dormant(AdmissionError):
    """A `no_wake` rule matched and the service is asleep."""

    code = "dormant"


class Accepted(AdmissionError):
    """Not a failure: the client asked not to wait (`Prefer: respond-async`), the start goes on."""

    code = "accepted"


class AlreadyRunning(AdmissionError):
    """A start was asked for something that is starting or hot (409)."""

    code = "already_running"


# -- starting ----------------------------------------------------------------------------------


class StartError(HestiaError):
    """A start did not lead to a hot instance."""

    code = "service_start_failed"


class StartFailed(StartError):
    """The instance started and ended, or could not be started at all.

    exit_status: exit code of the program when it exited by itself.
    signal: number of the signal that ended it.
    """

    def __init__(
        self,
        detail: str,
        *,
        exit_status: int | None = None,
        signal: int | None = None,
        remedy: str = "",
        cause: str = "exited",
        stage: str = "boot",
        service_id: str = "",
        retry_after: float | None = None,
        tail: tuple[str, ...] = (),
    ) -> None:
        super().__init__(
            detail,
            remedy=remedy,
            cause=cause,
            stage=stage,
            service_id=service_id,
            retry_after=retry_after,
            tail=tail,
        )
        self.exit_status = exit_status
        self.signal = signal


class StartTimeout(StartError):
    """It runs but was not ready in time, or nothing appeared at the address (engine `none`)."""

    code = "service_start_timeout"


class StartStopped(StartError):
    """Somebody stopped the service while the request waited for its start."""


class BreakerOpen(StartError):
    """Too many failed starts in a row; answered at once until the cool-down is over."""


# -- engines -----------------------------------------------------------------------------------


class EngineError(HestiaError):
    """An engine could not do what it was asked."""

    code = "service_start_failed"


class EngineUnavailable(EngineError):
    """The engine's other side cannot be reached. `sent`: whether the call may have taken effect."""

    def __init__(self, detail: str, *, sent: bool, remedy: str = "", cause: str = "") -> None:
        super().__init__(detail, remedy=remedy, cause=cause, stage="engine")
        self.sent = sent


class EngineRefused(EngineError):
    """The engine says no. `permanent`: asking again changes nothing; `resource`: what is short."""

    def __init__(
        self,
        detail: str,
        *,
        permanent: bool,
        resource: str = "",
        remedy: str = "",
        cause: str = "",
        stage: str = "engine",
        tail: tuple[str, ...] = (),
    ) -> None:
        super().__init__(detail, remedy=remedy, cause=cause, stage=stage, tail=tail)
        self.permanent = permanent
        self.resource = resource


class HandleUnknown(EngineError):
    """The engine answered and does not know the handle."""


class StoreUnavailable(HestiaError):
    """The store could not commit. No start may follow an intent that was not stored (INV-6)."""

    code = "store_unavailable"


# -- upstream ----------------------------------------------------------------------------------


class UpstreamError(HestiaError):
    """The service's side of the exchange failed before its head reached the client."""

    code = "upstream_disconnected"


class ConnectFailed(UpstreamError):
    """Nobody could be reached; nothing of the request was sent."""

    code = "upstream_connect_failed"


class ConnectTimeout(UpstreamError):
    code = "upstream_connect_timeout"


TLS_REMEDY: Final = (
    "use the name that it is for in base_url, add its authority to SSL_CERT_FILE, or set tls_verify: false"
)


class UpstreamTlsFailed(ConnectFailed):
    code = "upstream_tls_failed"


class UpstreamDisconnected(UpstreamError):
    """Closed or reset before a complete response head."""

    code = "upstream_disconnected"


class UpstreamTimeout(UpstreamError):
    code = "upstream_header_timeout"


class UpstreamProtocolError(UpstreamError):
    """What came back is not acceptable HTTP/1.1."""

    code = "upstream_invalid_response"


class UpstreamInvalidStatus(UpstreamProtocolError):
    code = "upstream_invalid_status"


class HandshakeFailed(UpstreamProtocolError):
    code = "upstream_handshake_failed"


class AnswerTooLarge(UpstreamError):
    """The answer does not fit where it has to be held whole (the dispatcher)."""

    code = "answer_too_large"


# -- the client's side -------------------------------------------------------------------------


class ClientError(HestiaError):
    """The request cannot be served as it was sent."""

    code = "bad_request"


class BadRequest(ClientError):
    """Malformed request line or field."""


class BadFraming(ClientError):
    code = "bad_framing"


class BadHost(ClientError):
    code = "bad_host"


class PathRejected(ClientError):
    code = "path_rejected"


class MethodNotAllowed(ClientError):
    code = "method_not_allowed"


class RequestTimeout(ClientError):
    code = "request_timeout"


class BodyTooLarge(ClientError):
    code = "body_too_large"


class TargetTooLong(ClientError):
    code = "target_too_long"


class HeadTooLarge(ClientError):
    code = "head_too_large"


class ExpectationFailed(ClientError):
    code = "expectation_failed"


class UnsupportedCoding(ClientError):
    code = "unsupported_coding"


class VersionNotSupported(ClientError):
    code = "http_version_not_supported"


class LoopDetected(ClientError):
    code = "loop_detected"


class Forbidden(ClientError):
    """Refused by policy: cross-site call, foreign Origin."""

    code = "forbidden"


class CrossSiteWake(Forbidden):
    code = "cross_site_wake"


class ClientGone(ClientError):
    """The client left. Logged as 499, never answered."""

    code = "client_closed"
