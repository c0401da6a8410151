"""What a request counts as: service, known method, class of status, template; never its own words."""

from __future__ import annotations

from hestia.core.requests import RequestRecord
from hestia.telemetry.traffic import SHORTCUTS, Traffic
from tests.unit.telemetry.test_access import served

PREFIX = "/services/{serviceId}/{path}"


def counted(*records: RequestRecord) -> Traffic:
    traffic = Traffic(template=lambda path: "/v1" if path == "/v1" else "")
    traffic.take(list(records))
    return traffic


def test_requests_alike_are_counted_together() -> None:
    traffic = counted(
        served(at=10.0, total_ms=4.0, bytes_in=3),
        served(at=12.0, total_ms=1.0, status=204),
        served(total_ms=2.0, status=404),
        served(service="lab", method=b"POST"),
    )
    assert set(traffic.cells) == {
        ("ollama", "GET", "2xx", PREFIX),
        ("ollama", "GET", "4xx", PREFIX),
        ("lab", "POST", "2xx", PREFIX),
    }
    cell = traffic.cells["ollama", "GET", "2xx", PREFIX]
    assert (cell.count, cell.total, cell.least, cell.most) == (2, 5.0, 1.0, 4.0)
    assert (cell.at, cell.bytes_in, cell.bytes_out) == (12.0, 3, 1024)


def test_ob_04_what_a_client_chose_makes_no_series() -> None:
    """OB-04: neither methods nor paths nor statuses nor ids of clients."""
    hostile = [
        served(
            method=b"M%d" % number,
            target=b"/services/ollama/%d" % number,
            request_id=b"%d" % number,
            status=200 + number % 90,
        )
        for number in range(500)
    ]
    strange = [served(status=status) for status in (0, 99, 600, 999)]
    own = [
        served(service="", route="control", target=b"/x%d?y" % number, status=404) for number in range(500)
    ]
    refused = [served(service="", route="none", method=b"", target=b"", status=400)]
    traffic = counted(*hostile, *strange, *own, *refused)
    assert set(traffic.cells) == {
        ("ollama", "other", "2xx", PREFIX),
        ("ollama", "GET", "other", PREFIX),
        ("", "GET", "4xx", "other"),
        ("", "other", "4xx", "none"),
    }


def test_ob_04_what_is_remembered_of_exact_statuses_is_bounded() -> None:
    traffic = Traffic()
    for number in range(20):
        traffic.take(
            [served(service=f"s{number}", status=status) for status in range(100, 600) for _ in range(2)]
        )
    assert len(traffic._shortcuts) <= SHORTCUTS
    assert len(traffic.cells) == 20 * 5
    assert sum(cell.count for cell in traffic.cells.values()) == 20 * 1000


def test_doors_and_own_paths_are_told_by_their_template() -> None:
    traffic = counted(
        served(route="host", target=b"/a"),
        served(route="port", target=b"/b"),
        served(service="", route="control", target=b"/v1?x=1"),
    )
    assert set(traffic.cells) == {("ollama", "GET", "2xx", "/{path}"), ("", "GET", "2xx", "/v1")}


def test_what_is_rare_is_counted_where_it_happens() -> None:
    traffic = counted(
        served(queue_ms=8200.0, attempts=3, fallback=True),
        served(status=502, code="upstream_connect_failed", at=30.0),
        served(status=499, aborted="client", code="client_closed"),
        served(),
    )
    assert traffic.waits["ollama"].count == 1
    assert traffic.retries["ollama"].value == 2
    assert traffic.fallbacks["ollama"].value == 1
    assert traffic.errors["ollama", "upstream_connect_failed"].at == 30.0
    assert set(traffic.errors) == {("ollama", "upstream_connect_failed"), ("ollama", "client_closed")}
    assert traffic.aborted["ollama", "client"].value == 1
