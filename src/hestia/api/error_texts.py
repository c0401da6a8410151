"""What every error code means and what to do about it, for `/help/errors/<code>` and the CLI (DC-08).

Owns words only; light to import. A test checks that every code of `core.errors` is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class ErrorText:
    """meaning: what happened, seen from the client. do: what to try, most likely first."""

    meaning: str
    do: tuple[str, ...]


_STATUS = "Look at what the service does now: hestia status SERVICE"
_OUTPUT = "Read what the service said: hestia logs SERVICE"
_CLIENT = "The client sent this; correct it there. A proxy in between may have changed the request."

ERRORS: Final[Mapping[str, ErrorText]] = {
    "internal_error": ErrorText(
        "Hestia itself failed. The request and the service are not to blame.",
        (
            "Send the request again; other requests are not affected.",
            "Report it with what this prints for the request id of the answer: hestia doctor --report ID",
            "Add the lines of the gateway's log that carry that id; only there is the traceback.",
        ),
    ),
    "strategy_error": ErrorText(
        "The strategy of the service named something that is no instance of it.",
        (
            "Correct the strategy: it returns ids or addresses of the candidates that it is given.",
            "See which strategy it is, and where it is from: hestia strategies",
        ),
    ),
    "config_error": ErrorText(
        "The configuration cannot be used. A running gateway keeps the one it has.",
        ("List every error with its place: hestia config check",),
    ),
    "not_found": ErrorText(
        "Nothing answers at this path of the gateway.",
        (
            "List the calls of the gateway: GET /v1",
            "A service answers under /services/{serviceId}/, with the final slash for its root.",
        ),
    ),
    "service_not_found": ErrorText(
        "No service of this name is configured.",
        (
            "List the services: hestia status",
            "Add it under `services:` in hestia_config.yml, then: hestia config check",
        ),
    ),
    "instance_not_found": ErrorText(
        "The service exists, but has no instance of this name.",
        ("List its instances: hestia status SERVICE",),
    ),
    "machine_not_found": ErrorText(
        "No machine of this name is described in `machines`, and no service names one.",
        ("List the machines: hestia machines",),
    ),
    "unknown_host": ErrorText(
        "The Host of the request is neither the gateway's nor a service's. Hestia refuses such requests, "
        "because a hostile web page could otherwise reach it under a name of its own.",
        (
            "Add the name to `allowed_hosts` in hestia_config.yml if it is yours.",
            "For a name of one service, add it to that service's `hosts`.",
        ),
    ),
    "upstream_busy": ErrorText(
        "The service, or the gateway, has no room for one more request right now.",
        (
            "Send it again after the seconds named in Retry-After.",
            "Raise `max_in_flight` of the service if it can do more at once.",
        ),
    ),
    "queue_full": ErrorText(
        "As many requests wait for this service as may wait at most, so this one was turned away at once.",
        ("Send it again after the seconds named in Retry-After.", "Raise `queue_size` of the service."),
    ),
    "queue_timeout": ErrorText(
        "The request waited for the service as long as it may. A start that was under way goes on.",
        (
            "Send it again after the seconds named in Retry-After.",
            _STATUS,
            "Raise `request_timeout` of the service if its start takes longer than that.",
            "Where it waited for room on its machine, see who has it: hestia machines",
        ),
    ),
    "gateway_overloaded": ErrorText(
        "The bodies of waiting requests fill the memory that the gateway gives them, so this one's was not "
        "taken in.",
        (
            "Send it again after the seconds named in Retry-After.",
            "Lower `queue_size` of the services whose requests wait with large bodies.",
        ),
    ),
    "shutting_down": ErrorText(
        "The gateway, or this service, is being stopped and takes no new requests.",
        (
            "Send it again after the seconds named in Retry-After.",
            "Start the gateway again: hestia serve",
        ),
    ),
    "dormant": ErrorText(
        "The service sleeps, and a `no_wake` rule says that requests like this one do not start it.",
        ("Start it by hand: hestia start SERVICE",),
    ),
    "accepted": ErrorText(
        "Not a failure: the client asked not to wait (Prefer: respond-async) and the start goes on.",
        ("Follow the start at the status address in the answer, then send the request again.",),
    ),
    "already_running": ErrorText(
        "A start was asked for a service that is starting or hot already. Nothing was changed.",
        ("Nothing needs to be done; POST …/start?wait=true answers when it is hot.",),
    ),
    "service_start_failed": ErrorText(
        "The service could not be started. The answer names the stage, the reason, and the last lines of "
        "its output.",
        (
            _OUTPUT,
            "Run its command by hand in the same folder and as the same user.",
            "Try once more now, without waiting for the pause to end: hestia start SERVICE",
        ),
    ),
    "service_start_timeout": ErrorText(
        "The service runs but was not ready within `start_timeout`; or, with engine `none`, nobody "
        "started it within `appear_timeout`.",
        (
            _OUTPUT,
            "Ask its `health_url` by hand: it must answer with a status from 200 to 299.",
            "Raise `start_timeout` of the service if its start takes longer than that.",
        ),
    ),
    "store_unavailable": ErrorText(
        "The gateway cannot write down what it is about to start, so it does not start it.",
        ("Check free space and permissions of the state folder.", "Send the request again."),
    ),
    "upstream_disconnected": ErrorText(
        "The service closed the connection before it had answered.",
        (_OUTPUT, "Send the request again if doing it twice is harmless."),
    ),
    "upstream_connect_failed": ErrorText(
        "Nobody answers at the address of the service.",
        (
            "Ask the address that the answer names by hand, from the machine the gateway runs on.",
            "Correct `base_url`; inside a container, localhost is the container itself.",
            "Give the service an `engine` if Hestia is to start it.",
        ),
    ),
    "upstream_connect_timeout": ErrorText(
        "No connection to the service could be made within `connect_timeout`.",
        (
            "Check that the machine is up and that no firewall drops the packets.",
            "Raise `connect_timeout` of the service.",
        ),
    ),
    "upstream_tls_failed": ErrorText(
        "The encrypted connection to the service could not be set up.",
        (
            "Write http:// in `base_url` if the service does not speak TLS.",
            "Set `tls_verify: false` only for a certificate you made yourself.",
        ),
    ),
    "upstream_header_timeout": ErrorText(
        "The service took the request but did not begin its answer within `response_timeout`.",
        (_OUTPUT, "Raise `response_timeout` of the service."),
    ),
    "upstream_invalid_response": ErrorText(
        "What the service sent is not acceptable HTTP/1.1.",
        (
            "Check that `base_url` names the HTTP port, and https:// where it speaks TLS.",
            "Ask the service directly: curl -v ADDRESS",
        ),
    ),
    "upstream_invalid_status": ErrorText(
        "The service answered with a status code that HTTP does not have.",
        ("Ask the service directly: curl -v ADDRESS",),
    ),
    "upstream_handshake_failed": ErrorText(
        "The service agreed to a WebSocket but its handshake was wrong.",
        ("Ask the service directly, without the gateway.", _OUTPUT),
    ),
    "answer_too_large": ErrorText(
        "The service answered the dispatcher (POST /v1/requests) with more than it can hold.",
        (
            "Ask the service itself under /services/{serviceId}/…, which streams and has no such limit.",
            "Ask for less at once, where the service has pages or ranges.",
        ),
    ),
    "bad_request": ErrorText(
        "The request, or a value in it, cannot be used. The answer names the place and what was expected.",
        (_CLIENT, "The calls of the gateway are described in /openapi.json."),
    ),
    "bad_framing": ErrorText(
        "It is not clear where the body of the request ends, so nothing of it was forwarded.",
        (_CLIENT, "Send either one Content-Length or Transfer-Encoding: chunked, never both."),
    ),
    "bad_host": ErrorText(
        "The Host field is missing, doubled or not a host name.",
        (_CLIENT,),
    ),
    "path_rejected": ErrorText(
        "A segment of the path is '..', plain or percent-encoded, so it could leave the service; or the path "
        "holds %00.",
        (_CLIENT, "Set `path_policy: verbatim` for a service that needs such paths."),
    ),
    "method_not_allowed": ErrorText(
        "The address exists but does not take this method.",
        (
            "Use a method from the Allow field of the answer, where there is one.",
            "CONNECT and TRACE are never taken.",
        ),
    ),
    "request_timeout": ErrorText(
        "The request arrived too slowly and was given up.",
        ("Send it again over a better connection.",),
    ),
    "body_too_large": ErrorText(
        "The body of the request is larger than this address takes.",
        ("Send less at once.",),
    ),
    "target_too_long": ErrorText(
        "The address line of the request is too long.",
        ("Put long data into the body instead of the query.",),
    ),
    "head_too_large": ErrorText(
        "The header fields of the request are too large, mostly because of cookies.",
        ("Delete the cookies of this address in the browser.", "Send fewer or shorter fields."),
    ),
    "expectation_failed": ErrorText(
        "The request carries an Expect field other than 100-continue.",
        ("Leave the Expect field out.",),
    ),
    "unsupported_coding": ErrorText(
        "The request uses a transfer coding other than chunked.",
        ("Send the body with Content-Length or Transfer-Encoding: chunked.",),
    ),
    "http_version_not_supported": ErrorText(
        "The request is not HTTP/1.0 or HTTP/1.1.",
        ("Use HTTP/1.1, for example: curl --http1.1",),
    ),
    "loop_detected": ErrorText(
        "The request came back to this gateway: a `base_url` leads to the gateway itself.",
        ("Correct `base_url` of the service so that it names the service.",),
    ),
    "forbidden": ErrorText(
        "The call came from a web page of another site. Hestia does not let such pages act.",
        (
            "Call it from a program, or from a page of the gateway itself.",
            "A WebSocket must come from a page under the same host name that it connects to.",
        ),
    ),
    "cross_site_wake": ErrorText(
        "A web page of another site asked for this service while it sleeps; such a page must not start it.",
        ("Open the service in a tab of its own, or start it: hestia start SERVICE",),
    ),
    "client_closed": ErrorText(
        "The client left before the answer. Seen only in the log (499).",
        ("Raise the time limit of the client if it gave up too early.",),
    ),
}
