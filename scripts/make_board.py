"""Write docs/grafana/hestia.json, a board for Grafana over the metrics of docs/metrics.md.

    python scripts/make_board.py            write the board
    python scripts/make_board.py --check    exit with 1 when it is stale

Owns what the board shows. A test looks every metric and label in it up in the catalogue.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

BOARD = Path(__file__).resolve().parent.parent / "docs" / "grafana" / "hestia.json"
WIDE = 24  # columns of Grafana's grid
HIGH = 8
SOURCE = {"type": "prometheus", "uid": "${source}"}
CHOSEN = 'service=~"$service"'

Json = dict[str, Any]  # Grafana's own shapes


class Panel(NamedTuple):
    """One chart, or a number. lines: query and legend of each. unit: in Grafana's words."""

    title: str
    unit: str
    lines: tuple[tuple[str, str], ...]
    kind: str = "timeseries"
    stacked: bool = False


def _rate(metric: str, by: str, within: str = CHOSEN) -> str:
    return f"sum by ({by}) (rate({metric}{{{within}}}[$__rate_interval]))"


def _share(metric: str, share: float, by: str, within: str = CHOSEN) -> str:
    grouped = f"sum by (le, {by}) (rate({metric}_bucket{{{within}}}[$__rate_interval]))"
    return f"histogram_quantile({share}, {grouped})"


def _plain(metric: str, by: str = "service") -> str:
    return f"sum by ({by}) ({metric}{{{CHOSEN}}})"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Now": (
        Panel("In flight", "short", (("sum(hestia_requests_in_flight)", ""),), "stat"),
        Panel("Waiting", "short", (("sum(hestia_queue_waiters)", ""),), "stat"),
        Panel("Instances hot", "short", (('sum(hestia_instances{state="hot"})', ""),), "stat"),
        Panel("Instances failed", "short", (('sum(hestia_instances{state="failed"})', ""),), "stat"),
    ),
    "Requests": (
        Panel(
            "Requests", "reqps", ((_rate("hestia_requests_total", "service"), "{{service}}"),), stacked=True
        ),
        Panel("By class of status", "reqps", ((_rate("hestia_requests_total", "status"), "{{status}}"),)),
        Panel(
            "Duration, p50 and p95",
            "s",
            tuple(
                (
                    _share("hestia_request_duration_seconds", share, "service", f'{CHOSEN},status!="1xx"'),
                    f"{{{{service}}}} {name}",
                )
                for share, name in ((0.5, "p50"), (0.95, "p95"))
            ),
        ),
        Panel(
            "Errors of the gateway", "reqps", ((_rate("hestia_request_errors_total", "code"), "{{code}}"),)
        ),
        Panel(
            "Retries, fallbacks, broken off",
            "reqps",
            (
                (_rate("hestia_retries_total", "service"), "{{service}} retries"),
                (_rate("hestia_fallbacks_total", "service"), "{{service}} fallbacks"),
                (_rate("hestia_strategy_errors_total", "service"), "{{service}} errors of its strategy"),
                (_rate("hestia_requests_aborted_total", "side"), "broken off by {{side}}"),
            ),
        ),
        Panel(
            "Bytes",
            "Bps",
            (
                (_rate("hestia_response_bytes_total", "service"), "{{service}} out"),
                (_rate("hestia_request_bytes_total", "service"), "{{service}} in"),
            ),
        ),
        Panel(
            "In flight and WebSockets",
            "short",
            (
                (_plain("hestia_requests_in_flight"), "{{service}}"),
                (_plain("hestia_websockets_open"), "{{service}} WebSockets"),
            ),
        ),
    ),
    "Waiting": (
        Panel("Queue", "short", ((_plain("hestia_queue_waiters"), "{{service}}"),)),
        Panel("Oldest waiter", "s", ((_plain("hestia_queue_oldest_waiter_seconds"), "{{service}}"),)),
        Panel("Wait for room", "short", (("hestia_room_waiting", "{{machine}}"),)),
        Panel(
            "Instances by machine",
            "short",
            (('sum by (machine) (hestia_machine_reserved{resource="instances"})', "{{machine}}"),),
        ),
        Panel("Wait, p95", "s", ((_share("hestia_queue_wait_seconds", 0.95, "service"), "{{service}}"),)),
    ),
    "Life cycle": (
        Panel(
            "Instances by state", "short", ((_plain("hestia_instances", "state"), "{{state}}"),), stacked=True
        ),
        Panel(
            "Share of time hot",
            "percentunit",
            ((_rate("hestia_hot_seconds_total", "service"), "{{service}}"),),
        ),
        Panel(
            "Cold start, p95", "s", ((_share("hestia_cold_start_seconds", 0.95, "service"), "{{service}}"),)
        ),
        Panel(
            "Stages of a cold start, p95",
            "s",
            ((_share("hestia_cold_start_stage_seconds", 0.95, "stage"), "{{stage}}"),),
        ),
        Panel(
            "Starts and stops",
            "short",
            tuple(
                (f"sum by ({by}) (increase({metric}{{{CHOSEN}}}[$__rate_interval]))", f"{word} {{{{{by}}}}}")
                for metric, by, word in (
                    ("hestia_starts_total", "cause", "start:"),
                    ("hestia_adoptions_total", "state", "adopted:"),
                    ("hestia_start_failures_total", "code", "failed start:"),
                    ("hestia_stops_total", "reason", "stop:"),
                    ("hestia_stop_failures_total", "code", "failed stop:"),
                    ("hestia_evictions_total", "service", "evicted:"),
                    ("hestia_watchdog_released_total", "service", "forgotten:"),
                )
            ),
        ),
        Panel(
            "Calls to engines, p95",
            "s",
            (
                (
                    "histogram_quantile(0.95, sum by (le, engine, call) "
                    "(rate(hestia_engine_call_seconds_bucket[$__rate_interval])))",
                    "{{engine}} {{call}}",
                ),
                ("sum by (engine, code) (rate(hestia_engine_errors_total[$__rate_interval]))", "{{code}}"),
            ),
        ),
    ),
    "Gateway": (
        Panel(
            "Connections",
            "short",
            (
                ("sum(hestia_client_connections)", "clients"),
                ("sum by (state) (hestia_upstream_connections)", "services: {{state}}"),
            ),
        ),
        Panel(
            "Memory",
            "bytes",
            (
                ("process_resident_memory_bytes", "resident"),
                ("process_virtual_memory_bytes", "virtual"),
                ("hestia_body_buffer_bytes", "bodies held"),
            ),
        ),
        Panel("Processor", "percentunit", (("rate(process_cpu_seconds_total[$__rate_interval])", "cores"),)),
        Panel("Files", "short", (("process_open_fds", "open"), ("process_max_fds", "limit"))),
        Panel(
            "Lateness of the event loop, p99",
            "s",
            (
                (
                    "histogram_quantile(0.99, sum by (le) "
                    "(rate(hestia_loop_lag_seconds_bucket[$__rate_interval])))",
                    "late",
                ),
            ),
        ),
        Panel(
            "The gateway's own paths",
            "reqps",
            (("sum by (path) (rate(hestia_api_requests_total[$__rate_interval]))", "{{path}}"),),
        ),
        Panel(
            "Their duration, p95",
            "s",
            (
                (
                    "histogram_quantile(0.95, sum by (le, path) "
                    "(rate(hestia_api_request_duration_seconds_bucket[$__rate_interval])))",
                    "{{path}}",
                ),
            ),
        ),
        Panel(
            "Traces",
            "ops",
            (
                ("rate(hestia_traces_sent_total[$__rate_interval])", "sent"),
                (
                    "sum by (reason) (rate(hestia_traces_dropped_total[$__rate_interval]))",
                    "dropped: {{reason}}",
                ),
            ),
        ),
        Panel("Version", "short", (("hestia_build_info", "{{version}}, Python {{python}}"),), "stat"),
        Panel("Up since", "dateTimeAsIso", (("process_start_time_seconds * 1000", ""),), "stat"),
    ),
}


def board() -> Json:
    """The whole board, as Grafana imports it."""
    return {
        "title": "Hestia",
        "uid": "hestia",
        "description": "Services that wake on request: traffic, waiting, cold starts, the gateway itself.",
        "tags": ["hestia"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source(), _services()]},
        "panels": list(_panels()),
    }


def _source() -> Json:
    return {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _services() -> Json:
    query = "label_values(hestia_instances, service)"
    return {
        "name": "service",
        "label": "Service",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": "services"},
        "definition": query,
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[Json]:
    number, top = 0, 0
    for row, panels in ROWS.items():
        number += 1
        yield {"id": number, "type": "row", "title": row, "panels": [], "gridPos": _place(0, top, WIDE, 1)}
        top += 1
        width, height = (WIDE // 4, 4) if row == "Now" else (WIDE // 3, HIGH)
        across = WIDE // width
        for index, panel in enumerate(panels):
            number += 1
            place = _place(index % across * width, top + index // across * height, width, height)
            yield _panel(number, panel, place)
        top += -(-len(panels) // across) * height


def _place(x: int, y: int, width: int, height: int) -> Json:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(number: int, panel: Panel, place: Json) -> Json:
    drawn: Json = {"unit": panel.unit, "min": 0} if panel.kind == "timeseries" else {"unit": panel.unit}
    if panel.stacked:
        drawn["custom"] = {"stacking": {"mode": "normal"}, "fillOpacity": 30}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": drawn, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for at, (query, legend) in enumerate(panel.lines)
        ],
    }


def text() -> str:
    """The file."""
    return json.dumps(board(), indent=1) + "\n"


def main() -> int:
    if "--check" in sys.argv[1:]:
        fresh = BOARD.exists() and BOARD.read_text(encoding="utf-8") == text()
        print("docs/grafana/hestia.json is up to date" if fresh else "stale: run scripts/make_board.py")
        return 0 if fresh else 1
    BOARD.parent.mkdir(exist_ok=True)
    BOARD.write_text(text(), encoding="utf-8")
    print(f"wrote {BOARD.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
