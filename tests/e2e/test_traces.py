"""Traces of a real gateway, as a collector of OpenTelemetry gets them (OB-15): `telemetry` in the file."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli import PROGRAM, environment
from tests.e2e.served import Document, Served, serving
from tests.e2e.test_serve import small
from tests.fakes.collector import ERROR, INTERNAL, SERVER, Collector, Got, collecting
from tests.fakes.facts import eventually

pytestmark = pytest.mark.e2e

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{'7' * 32}-{PARENT}-00"


def traced(collector: Collector, *more: str, **telemetry: Any) -> Mapping[str, Any]:
    """One quick service, and traces that go to the collector. telemetry: further keys, any of them."""
    return {**small(*more), "telemetry": {"otlp_endpoint": collector.url, **telemetry}}


async def ask(served: Served, path: str, **fields: str) -> str:
    """A request to the service; its id."""
    answer = await served.http.get(
        f"{served.url}/services/a{path}",
        headers={name.replace("_", "-"): value for name, value in fields.items()},
    )
    return str(answer.headers["x-request-id"])


async def the_request(collector: Collector, request_id: str) -> Got:
    """The span of a request, once it has come."""

    def found() -> list[Got]:
        return [one for one in collector.requests() if one.attributes["hestia.request_id"] == request_id]

    await eventually(lambda: bool(found()), f"a span of {request_id}")
    (span,) = found()
    return span


async def story(served: Served, request_id: str) -> Document:
    found: Document = (await served.get(f"/v1/requests/{request_id}")).json()
    return found


async def test_ob_15_a_cold_start_and_its_request_are_two_traces_with_one_link(tmp_path: Path) -> None:
    with collecting() as collector:
        async with serving(tmp_path / "g", traced(collector, service_name="home")) as served:
            request_id = await ask(served, "/x?secret=canary", traceparent=SAMPLED)
            span = await the_request(collector, request_id)
            await eventually(lambda: bool(collector.starts()), "the span of the start")
            told = await story(served, request_id)
    assert (span.name, span.kind) == ("GET /services/a/{path}", SERVER)
    assert (span.trace, span.parent) == (TRACE, PARENT)
    assert span.ms == pytest.approx(told["totalMs"], abs=0.01)
    expected = {
        "http.request.method": "GET", "http.route": "/services/a/{path}", "url.scheme": "http",
        "url.path": "/services/a/x", "http.response.status_code": told["status"], "hestia.service": "a",
        "hestia.instance": told["instance"], "hestia.generation": told["generation"],
        "hestia.request_id": request_id, "hestia.attempts": told["attempts"],
        "hestia.queue_ms": pytest.approx(told["queueMs"], abs=0.01),
    }  # fmt: skip
    assert {name: span.attributes[name] for name in expected} == expected
    assert (span.resource["service.name"], span.resource["service.version"] != "") == ("home", True)
    assert "canary" not in repr(collector.spans)
    parts = collector.within(span)
    assert [(one.name, one.kind) for one in parts] == [(part["name"], INTERNAL) for part in told["parts"]]
    for one, part in zip(parts, told["parts"], strict=True):
        assert one.ms == pytest.approx(part["durationMs"], abs=0.01)
        assert (one.begin - span.begin) / 1e6 == pytest.approx(part["startMs"], abs=0.01)
        inner = [(inside.name, inside.attributes["hestia.text"]) for inside in collector.within(one)]
        assert inner == [(part["name"], part["text"]) for part in part["parts"] or ()]
    (start,) = collector.starts()
    assert span.links == ((start.trace, start.id),)
    assert (start.name, start.parent, start.trace != TRACE) == ("start a", "", True)
    assert start.attributes["hestia.actor"] == request_id
    stages = collector.within(start)
    assert {"engine", "probe"} <= {one.name for one in stages}
    assert stages[0].begin >= start.begin
    assert stages[-1].end == start.end


async def test_what_goes_straight_through_is_one_span_and_sampling_is_heeded(tmp_path: Path) -> None:
    """A traceparent that says so is followed either way; without one, `sample` decides."""
    with collecting() as collector:
        async with serving(tmp_path / "g", traced(collector, sample=0)) as served:
            await ask(served, "/")
            unasked = await ask(served, "/")
            unwanted = await ask(served, "/", traceparent=UNSAMPLED)
            nonsense = await ask(served, "/", traceparent="00-nonsense")
            wanted = await ask(served, "/y", traceparent=SAMPLED)
            span = await the_request(collector, wanted)
            told = await story(served, wanted)
            missing = await ask(served, "/status/500?code=500")
            assert missing
    assert (span.trace, span.parent) == (TRACE, PARENT)
    assert collector.within(span) == []
    assert span.ms == pytest.approx(told["totalMs"], abs=0.01)
    seen = {one.attributes["hestia.request_id"] for one in collector.requests()}
    assert wanted in seen
    assert not seen & {unasked, unwanted}
    assert all(one.trace != TRACE for one in collector.requests() if one is not span), nonsense


async def test_a_start_that_fails_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with collecting() as collector:
        command = {"type": "process", "command": ["sh", "-c", "echo no model {port}; exit 3"]}
        service = {"engine": command, "base_url": "http://127.0.0.1:{port}"}
        telemetry = {"otlp_endpoint": collector.url, "headers": {"X-Tenant": "home"}}
        async with serving(tmp_path / "g", {"services": {"a": service}, "telemetry": telemetry}) as served:
            request_id = await ask(served, "/")
            span = await the_request(collector, request_id)
            told = await story(served, request_id)
            await eventually(lambda: bool(collector.starts()), "the span of the start")
    assert (span.status, span.attributes["error.type"]) == (ERROR, told["code"])
    assert span.attributes["http.response.status_code"] == told["status"]
    start = collector.starts()[0]
    assert start.status == ERROR
    assert start.message
    assert collector.headers["x-tenant"] == "home"
    assert collector.paths == {"/v1/traces"}


async def test_the_standard_variables_say_what_the_file_does_not(tmp_path: Path) -> None:
    with collecting() as collector:
        said = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=home",
            "OTEL_SERVICE_NAME": "attic",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=tests",
        }
        async with serving(tmp_path / "g", {**small(), "telemetry": {}}, **said) as served:
            span = await the_request(collector, await ask(served, "/"))
    assert span.resource["service.name"] == "attic"
    assert span.resource["deployment.environment"] == "tests"
    assert collector.headers["x-tenant"] == "home"


async def test_what_was_not_sent_yet_is_sent_at_the_end(tmp_path: Path) -> None:
    with collecting() as collector:
        async with serving(tmp_path / "g", traced(collector)) as served:
            request_id = await ask(served, "/")
        assert request_id in {one.attributes["hestia.request_id"] for one in collector.requests()}


async def test_a_collector_that_cannot_be_reached_is_told_once_and_holds_nothing_up(tmp_path: Path) -> None:
    with socket.socket() as nobody:  # bound, and never listens: refused
        nobody.bind(("127.0.0.1", 0))
        telemetry = {"otlp_endpoint": f"http://127.0.0.1:{nobody.getsockname()[1]}"}
        async with serving(tmp_path / "g", {**small(), "telemetry": telemetry}) as served:
            for _ in range(5):
                await ask(served, "/")
            line = await served.until_line("traces_unsent")
            assert "telemetry.otlp_endpoint" in line["message"]
            await served.stop()
    assert len(served.lines("traces_unsent")) == 1
    assert [one for one in served.lines() if one["level"] not in ("INFO", "DEBUG", "WARNING")] == []
    assert "Traceback" not in served.said


async def test_a_collector_that_refuses_and_comes_to_itself(tmp_path: Path) -> None:
    with collecting() as collector:
        collector.status = 401
        async with serving(tmp_path / "g", traced(collector)) as served:
            await ask(served, "/")
            line = await served.until_line("traces_unsent")
            assert "401" in line["message"]
            collector.status = 200
            span = await the_request(collector, await ask(served, "/"))
            assert span.attributes["hestia.attempts"] == 1
            await served.until_line("traces_sent_again")
            page = (await served.get("/metrics")).text
    assert 'hestia_traces_dropped_total{reason="failed"}' in page
    assert "hestia_traces_sent_total " in page
    assert len(served.lines("traces_unsent")) == 1


HIDDEN = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


@pytest.fixture
def without_packages(tmp_path: Path) -> dict[str, str]:
    """An environment in which what sends traces is not installed."""
    folder = tmp_path / "path"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(HIDDEN)
    return {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("config", "check")], ids=" ".join)
async def test_without_the_extra_the_key_is_refused_with_what_brings_it(
    tmp_path: Path, command: tuple[str, ...], without_packages: dict[str, str]
) -> None:
    (tmp_path / "hestia_config.yml").write_text("telemetry: {otlp_endpoint: http://localhost:4318}\n")
    done = await asyncio.to_thread(
        subprocess.run, [*PROGRAM, *command], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False, env=environment(HESTIA_STATE_DIR=str(tmp_path / "state"), **without_packages),
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "telemetry: needs packages of OpenTelemetry that are not installed" in said
    assert "pip install 'hestia[otel]'" in said
    assert "Traceback" not in said


async def test_without_the_key_nothing_of_it_is_loaded(
    tmp_path: Path, without_packages: dict[str, str]
) -> None:
    async with serving(tmp_path / "g", small(), **without_packages) as served:
        await served.get("/services/a/")
