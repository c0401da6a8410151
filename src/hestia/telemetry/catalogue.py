"""Every metric by name: what kind it is, its labels, what it says. Nothing is counted under another name.

docs/metrics.md is made from this table. Names end with their unit, those of counters with `_total` behind it;
times are in seconds, sizes in bytes. Labels take their values from the configuration or from closed lists.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family(NamedTuple):
    """One metric. labels: their names, in order. help: a sentence, shown with the metric everywhere."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_ALIKE: Final = ("service", "method", "status")
_OWN: Final = ("method", "path", "status")

FAMILIES: Final = (
    # requests to services
    Family(
        "hestia_requests_total", _C, _ALIKE, "Requests that ended, by service, method and class of status."
    ),
    Family("hestia_request_duration_seconds", _H, _ALIKE, "From the first byte of a request to its end."),
    Family(
        "hestia_request_bytes_total",
        _C,
        ("service",),
        "Bytes from clients: request bodies, WebSocket frames.",
    ),
    Family(
        "hestia_response_bytes_total",
        _C,
        ("service",),
        "Bytes to clients: response bodies, WebSocket frames.",
    ),
    Family("hestia_request_errors_total", _C, ("service", "code"), "Requests with an error of the gateway."),
    Family(
        "hestia_requests_aborted_total",
        _C,
        ("service", "side"),
        "Requests that the client, the upstream or the gateway broke off.",
    ),
    Family("hestia_retries_total", _C, ("service",), "Further attempts beyond the first of a request."),
    Family("hestia_fallbacks_total", _C, ("service",), "Requests whose last attempt was at fallback_url."),
    Family(
        "hestia_strategy_errors_total",
        _C,
        ("service", "strategy"),
        "Requests whose strategy failed, so that the configured order was used.",
    ),
    Family("hestia_requests_in_flight", _G, ("service",), "Requests and WebSockets that hold an instance."),
    Family("hestia_websockets_open", _G, ("service",), "WebSockets among those in flight."),
    # waiting
    Family("hestia_queue_waiters", _G, ("service",), "Requests that wait for an instance."),
    Family("hestia_queue_oldest_waiter_seconds", _G, ("service",), "How long the first in the queue waits."),
    Family("hestia_queue_wait_seconds", _H, ("service",), "How long requests waited that had to wait."),
    # life cycle
    Family("hestia_instances", _G, ("service", "state"), "Instances by state."),
    Family("hestia_starts_total", _C, ("service", "cause"), "Starts by what they were for."),
    Family("hestia_start_failures_total", _C, ("service", "code"), "Starts that failed, by error code."),
    Family("hestia_stops_total", _C, ("service", "reason"), "Stops of running instances, by reason."),
    Family("hestia_stop_failures_total", _C, ("service", "code"), "Stops that failed, by error code."),
    Family("hestia_hot_seconds_total", _C, ("service",), "Time that instances were hot."),
    Family("hestia_cold_start_seconds", _H, ("service",), "Starts that became hot, from decision to hot."),
    Family(
        "hestia_cold_start_stage_seconds", _H, ("service", "stage"), "The stages of starts that became hot."
    ),
    Family(
        "hestia_adoptions_total",
        _C,
        ("service", "state"),
        "Instances of an earlier gateway that were looked for, by the state in which that ended.",
    ),
    Family("hestia_evictions_total", _C, ("service",), "Instances stopped to make room for another service."),
    Family(
        "hestia_machine_reserved",
        _G,
        ("machine", "resource"),
        "Room that instances have on a machine: bytes or pieces; `instances` is how many there are.",
    ),
    Family("hestia_room_waiting", _G, ("machine",), "Starts that wait for room on a machine."),
    Family("hestia_engine_call_seconds", _H, ("engine", "call"), "Calls to engines: start, stop, inspect."),
    Family("hestia_engine_errors_total", _C, ("engine", "call", "code"), "Calls to engines that failed."),
    Family(
        "hestia_watchdog_released_total",
        _C,
        ("service",),
        "Waiters that were answered long after their time: a fault of Hestia, 0 in good order.",
    ),
    # the gateway itself
    Family("hestia_api_requests_total", _C, _OWN, "Requests to the gateway's own paths, by route template."),
    Family("hestia_api_request_duration_seconds", _H, _OWN, "The same, from the first byte to the end."),
    Family(
        "hestia_upstream_connections", _G, ("state",), "Connections to services: idle, in_use, connecting."
    ),
    Family("hestia_client_connections", _G, (), "Connections of clients that are open."),
    Family("hestia_body_buffer_bytes", _G, (), "Bytes of request bodies that are held in memory."),
    Family("hestia_loop_lag_seconds", _H, (), "How late the event loop was, looked at once a second."),
    Family("hestia_traces_sent_total", _C, (), "Traces of requests and starts that a collector took."),
    Family(
        "hestia_traces_dropped_total",
        _C,
        ("reason",),
        "Traces that no collector took: `full` (too many waited), `failed`, `closing` (at the end).",
    ),
    Family("hestia_build_info", _G, ("version", "python"), "Always 1; its labels say what runs."),
    # the process, by the names that every Prometheus client uses
    Family("process_cpu_seconds_total", _C, (), "Processor time, user and system."),
    Family("process_resident_memory_bytes", _G, (), "Resident memory."),
    Family("process_virtual_memory_bytes", _G, (), "Virtual memory."),
    Family("process_start_time_seconds", _G, (), "When the process started, Unix time."),
    Family("process_open_fds", _G, (), "Open file descriptors."),
    Family("process_max_fds", _G, (), "How many file descriptors may be open."),
)

CATALOGUE: Final = {family.name: family for family in FAMILIES}
