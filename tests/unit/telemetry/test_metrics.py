"""Catalogue, page and board: each metric has the same name and the same labels everywhere."""

from __future__ import annotations

import json
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse
from scripts import make_board, make_metrics

from hestia.core.errors import EngineRefused
from hestia.core.model import InstanceId, InstanceSettings, ServiceId, ServiceSettings
from hestia.core.records import ServiceRecord
from hestia.telemetry.catalogue import CATALOGUE, FAMILIES, Family, Kind
from hestia.telemetry.document import Document
from hestia.telemetry.engines import EngineCalls
from hestia.telemetry.exposition import pieces
from hestia.telemetry.lag import LoopLag
from hestia.telemetry.metrics import Metrics
from tests.unit.telemetry.test_access import served
from tests.unit.telemetry.test_lives import row

NAMES = re.compile(r"\b(?:hestia|process)_\w+")
BOARD = make_board.BOARD.read_text(encoding="utf-8")


def test_names_follow_the_conventions_of_prometheus() -> None:
    assert len(CATALOGUE) == len(FAMILIES)
    for family in FAMILIES:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", family.name)
        assert family.name.endswith("_total") == (family.kind is Kind.COUNTER), family.name
        assert family.kind is not Kind.HISTOGRAM or family.name.endswith("_seconds"), family.name
        assert not {"le", "quantile"} & set(family.labels)
        assert family.help.endswith("."), family.name


def test_ob_16_every_metric_has_its_line_in_the_reference() -> None:
    """When this fails: python scripts/make_metrics.py"""
    page = make_metrics.PAGE.read_text(encoding="utf-8")
    assert page == make_metrics.page()
    for family in FAMILIES:
        assert page.count(f"| `{family.name}` | {family.kind} |") == 1


def test_the_board_is_the_one_that_is_made() -> None:
    """When this fails: python scripts/make_board.py"""
    assert make_board.text() == BOARD


def queries() -> list[str]:
    return [target["expr"] for panel in json.loads(BOARD)["panels"] for target in panel.get("targets", ())]


def family_of(name: str) -> Family:
    """The family that a series belongs to; KeyError where there is none."""
    found = CATALOGUE.get(name)
    if found is not None:
        return found
    found = CATALOGUE[re.sub(r"_(bucket|sum|count)$", "", name)]
    assert found.kind is Kind.HISTOGRAM, name
    return found


@pytest.mark.parametrize("query", queries())
def test_the_board_asks_for_nothing_that_is_not_there(query: str) -> None:
    families = [family_of(name) for name in NAMES.findall(query)]
    assert families
    for family in families:
        wanted = set(re.findall(r"(\w+)[=!]~?\"", query))
        for grouped in re.findall(r"by \(([^)]*)\)", query):
            wanted |= {label.strip() for label in grouped.split(",")}
        assert wanted <= {*family.labels, "le"}, query


def test_the_board_shows_the_whole_catalogue() -> None:
    shown = {family_of(name).name for query in queries() for name in NAMES.findall(query)}
    assert shown == set(CATALOGUE)


def services(count: int) -> dict[ServiceId, ServiceRecord]:
    return {
        (name := ServiceId(f"s{number}")): ServiceRecord(
            ServiceSettings(id=name, instances=(InstanceSettings(id=InstanceId("main"), base_url=""),))
        )
        for number in range(count)
    }


def test_ob_04_ten_thousand_services_have_no_series_before_use() -> None:
    """OB-04: a series is made at first use."""
    metrics, records = Metrics(version="1"), services(10_000)
    metrics.watch(lambda: records, {})
    assert not [family for family, points in metrics.families() if "service" in family.labels]
    metrics.lives.transition(row("cold", "hot", "FoundRunning", service="s7"))
    used = {family.name: points for family, points in metrics.families() if "service" in family.labels}
    assert {labels[0] for points in used.values() for labels, _ in points} == {"s7"}
    assert used["hestia_queue_waiters"] == [(("s7",), 0.0)]


def test_a_service_that_was_removed_has_no_gauges_any_more() -> None:
    metrics = Metrics(version="1")
    metrics.lives.transition(row("cold", "hot", "FoundRunning", service="gone"))
    assert "hestia_queue_waiters" not in {family.name for family, _ in metrics.families()}


async def test_labels_are_escaped_and_the_page_can_be_read_by_the_library() -> None:
    metrics = Metrics(version='1"\\\n')
    metrics.batches.record(served(total_ms=2.5, code="x"))
    text = "".join(piece for family, points in metrics.families() for piece in pieces(family, points))
    found = {family.name: family for family in parse(text)}
    (build,) = found["hestia_build_info"].samples
    assert build.labels["version"] == '1"\\\n'
    buckets = {
        sample.labels["le"]: sample.value
        for sample in found["hestia_request_duration_seconds"].samples
        if sample.name.endswith("_bucket")
    }
    assert (buckets["0.001"], buckets["0.0025"], buckets["+Inf"]) == (0.0, 1.0, 1.0)
    metrics.batches.close()


async def test_the_document_of_one_service_is_its_part_of_the_whole() -> None:
    metrics = Metrics(version="1")
    for record in (
        served(total_ms=2.0),
        served(service="lab", total_ms=4.0),
        served(status=101, total_ms=9e6),
    ):
        metrics.batches.record(record)
    whole, lab = await Document.read(metrics), await Document.read(metrics, only="lab")
    assert set(whole.services) == {"ollama", "lab"}
    assert list(lab.services) == ["lab"]
    assert lab.services["lab"].counters.keys() == whole.services["lab"].counters.keys()
    name = "requests_total[method=GET,path=/services/{serviceId}/{path}]"
    assert whole.whole.counters[name].value == 3
    assert lab.services["lab"].counters[name].value == 1
    assert whole.whole.timers["request_duration_ms[method=GET]"].most == 4.0, "a WebSocket is no answer"
    metrics.batches.close()


def test_the_loop_is_as_late_as_the_timer_was() -> None:
    lag = LoopLag(1.0)
    for now in (5.0, 6.0, 7.25, 8.0):
        lag.look(now)
    assert (lag.histogram.count, lag.histogram.total, lag.histogram.least) == (3, 250.0, 0.0)


def test_a_call_to_an_engine_is_timed_and_its_error_counted() -> None:
    calls = EngineCalls()
    with pytest.raises(EngineRefused), calls.measured("process", "start"):
        raise EngineRefused("no", permanent=True)
    with pytest.raises(ZeroDivisionError), calls.measured("process", "start"):
        raise ZeroDivisionError
    with calls.measured("process", "stop"):
        pass
    assert {key: one.count for key, one in calls.took.items()} == {
        ("process", "start"): 2,
        ("process", "stop"): 1,
    }
    assert {key[2] for key in calls.errors} == {EngineRefused.code, "internal_error"}
