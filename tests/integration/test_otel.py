"""What sends traces, over real sockets: its bounds, and collectors that hang, are gone, or take nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hestia.core.model import Telemetry
from hestia.telemetry.otel import STARTS_KNOWN, WAITING, OtlpSender
from hestia.telemetry.spans import Span
from hestia.telemetry.traces import TraceCounts
from tests.fakes.collector import collecting
from tests.fakes.facts import eventually
from tests.unit.telemetry.test_access import served

UNSAMPLED = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"


@contextmanager
def sending(url: str, **keys: object) -> Iterator[tuple[OtlpSender, TraceCounts]]:
    """A sender for the collector at `url`; closed when the block ends. keys: `sample` or a name."""
    counts = TraceCounts()
    settings = Telemetry(otlp_endpoint=url, service_name=str(keys.get("name", "")))
    sender = OtlpSender(settings, version="0", instance="gw", scheme="http", counts=counts)
    try:
        yield sender, counts
    finally:
        sender.close()


@contextmanager
def hanging() -> Iterator[str]:
    """The address of a collector that takes connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def start(generation: int, trace: bytes = b"") -> Span:
    return Span("start llm", 1, 2, {}, about=("llm", "main", generation), trace=trace)


def dropped(counts: TraceCounts) -> dict[str, float]:
    return {reason: one.value for reason, one in counts.dropped.items()}


async def test_all_is_sent_and_counted_also_what_waits_at_the_end() -> None:
    with collecting() as collector:
        with sending(collector.url) as (sender, counts):
            sender.put([served(request_id=b"%d" % number) for number in range(600)])
        assert len(collector.requests()) == 600
        assert (counts.sent.value, dropped(counts)) == (600, {})


async def test_what_nobody_wants_is_neither_sent_nor_counted() -> None:
    with collecting() as collector:
        with sending(collector.url) as (sender, counts):
            sender.put([served(trace=UNSAMPLED), served()])
        assert (len(collector.spans), counts.sent.value, dropped(counts)) == (1, 1, {})


async def test_nobody_waits_for_a_collector_that_hangs_and_what_is_too_much_is_counted() -> None:
    with hanging() as url, sending(url) as (sender, counts):
        sender.put([served()] * (WAITING + 7))
        assert dropped(counts) == {"full": 7}
        await asyncio.to_thread(sender.close)
        found = dropped(counts)
    assert set(found) <= {"full", "closing", "failed"}
    assert found["closing"] > 0
    assert counts.sent.value == 0


async def test_a_collector_that_takes_nothing_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with collecting() as collector, caplog.at_level(logging.DEBUG):
        collector.status = 400
        with sending(collector.url) as (sender, counts):
            for asked in (1, 2):
                sender.put([served()])
                await eventually(lambda: counts.dropped.get("failed") is not None, "the first to be dropped")
                await eventually(lambda: collector.asked >= asked, f"call {asked}")  # noqa: B023 - waited for here
        assert dropped(counts) == {"failed": 2}
    said = [one for one in caplog.records if one.name.startswith(("hestia", "urllib3"))]
    assert [getattr(one, "event_type", one.getMessage()) for one in said] == ["traces_unsent"]
    assert said[0].exc_info is None
    assert not logging.getLogger("opentelemetry").propagate


async def test_what_cannot_be_told_is_dropped_alone_and_the_thread_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = Span("GET", 1, 2, None)  # type: ignore[arg-type]  # as a bug may leave it
    with collecting() as collector, sending(collector.url) as (sender, counts):
        sender.put([broken, served(), broken, start(1)])
        await eventually(lambda: counts.sent.value == 2, "what is sound to be sent")
        sender.put([served()])
        await eventually(lambda: counts.sent.value == 3, "what came later to be sent")
        assert dropped(counts) == {"failed": 2}
    told = [one for one in caplog.records if getattr(one, "event_type", "") == "trace_unmade"]
    assert len(told) == 1


async def test_a_request_is_linked_to_the_start_it_waited_for_while_that_is_remembered() -> None:
    with collecting() as collector:
        with sending(collector.url) as (sender, _):
            sender.put([start(number) for number in range(STARTS_KNOWN + 1)])
            for generation in (0, 1):
                about = ("llm", "main", generation)
                sender.put([Span("GET", 3, 4 + generation, {}, about=about, is_request=True)])
        forgotten, linked = collector.requests()
        assert forgotten.links == ()
        (link,) = linked.links
        assert link in {(one.trace, one.id) for one in collector.starts()}


async def test_a_name_is_the_configured_one_else_the_environments_else_hestia(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = []
    with collecting() as collector:
        for own, environment in (("", ""), ("", "attic"), ("home", "attic")):
            monkeypatch.setenv("OTEL_SERVICE_NAME", environment)
            with sending(collector.url, name=own) as (sender, _):
                sender.put([served()])
            names.append(collector.spans[-1].resource["service.name"])
    assert names == ["hestia", "attic", "home"]


async def test_closing_twice_is_fine() -> None:
    with collecting() as collector, contextlib.ExitStack() as stack:
        sender, _ = stack.enter_context(sending(collector.url))
        sender.close()
        sender.close()
