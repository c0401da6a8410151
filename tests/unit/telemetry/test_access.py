"""The access line: its fields, its escapes, its batches."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from hestia.core.requests import RequestRecord
from hestia.telemetry.access import BATCH, AccessLog, duration
from hestia.telemetry.batches import Batches
from tests.fakes.streams import KeepingStream


def served(**changed: Any) -> RequestRecord:
    """A request as the proxy would tell it. changed: fields of RequestRecord (any of them, hence Any)."""
    usual = RequestRecord(
        at=1_769_860_984.125,
        service="ollama",
        request_id=b"req_1",
        method=b"GET",
        route="prefix",
        target=b"/services/ollama/api/tags?key=secret",
        status=200,
        bytes_out=512,
        connect_ms=0.25,
        head_ms=1.5,
        total_ms=2.5,
        attempts=1,
        reused=True,
    )
    return usual._replace(**changed)


async def test_ob01_json_line_has_every_field() -> None:
    stream = KeepingStream()
    access = Batches(AccessLog(stream))
    access.record(served())
    access.close()
    assert list(json.loads(stream.text).items()) == [
        ("timestamp", "2026-01-31T12:03:04.125Z"),
        ("level", "INFO"),
        ("event_type", "request"),
        ("service_id", "ollama"),
        ("request_id", "req_1"),
        ("message", "request"),
        ("method", "GET"),
        ("route", "prefix"),
        ("path", "/services/ollama/api/tags"),
        ("status", 200),
        ("bytes_in", 0),
        ("bytes_out", 512),
        ("queue_ms", 0.0),
        ("connect_ms", 0.2),
        ("head_ms", 1.5),
        ("total_ms", 2.5),
        ("attempts", 1),
        ("reused", True),
        ("aborted", ""),
        ("code", ""),
        ("fallback", False),
    ]


@pytest.mark.parametrize("data", [b'/a"b\\c', b"/\n\r\t\x1b[0m", b"/\x9b\xff", b"/%s%d", "/ö".encode()])
async def test_hostile_path_stays_inside_its_field(data: bytes) -> None:
    """Bytes beyond ASCII are shown as Latin-1: nothing is lost, whatever they were meant to be."""
    stream = KeepingStream()
    access = Batches(AccessLog(stream))
    access.record(served(target=data, request_id=data, method=data))
    access.close()
    assert stream.blocks[0].count(b"\n") == 1
    fields = json.loads(stream.text)
    text = data.decode("latin-1")
    assert (fields["path"], fields["request_id"], fields["method"]) == (text, text, text)


async def test_lines_of_different_seconds_have_their_own_time() -> None:
    stream = KeepingStream()
    access = Batches(AccessLog(stream))
    for at in (1000.0, 1000.9999, 1001.125, 999.5):
        access.record(served(at=at))
    access.close()
    times = [json.loads(line)["timestamp"][-10:] for line in stream.text.splitlines()]
    assert times == ["16:40.000Z", "16:40.999Z", "16:41.125Z", "16:39.500Z"]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (served(), "200 GET /services/ollama/api/tags 2.5 ms req_1"),
        (served(queue_ms=8200, total_ms=8300), "8.3 s (waited 8.2 s) req_1"),
        (
            served(status=502, code="upstream_connect_failed", attempts=2),
            "2 attempts upstream_connect_failed",
        ),
        (served(status=0, aborted="client", code="client_closed"), "- GET"),
        (served(target=b"/\x1b[2J"), "/\\x1b[2J"),
    ],
)
async def test_console_line_tells_what_happened_and_no_more(record: RequestRecord, words: str) -> None:
    stream = KeepingStream()
    access = Batches(AccessLog(stream, form="console"))
    access.record(record)
    access.close()
    assert words in stream.text
    assert "\x1b" not in stream.text


def test_duration_uses_the_unit_a_person_would() -> None:
    assert [duration(ms) for ms in (0.04, 9.94, 10, 999.4, 1000, 61_000)] == [
        "0.0 ms",
        "9.9 ms",
        "10 ms",
        "999 ms",
        "1.0 s",
        "61.0 s",
    ]


async def test_lines_are_written_together_after_the_interval() -> None:
    stream = KeepingStream()
    access = Batches(AccessLog(stream), interval=0.01)
    for _ in range(3):
        access.record(served())
    assert stream.blocks == []
    async with asyncio.timeout(10):
        while not stream.blocks:
            await asyncio.sleep(0.005)
    assert len(stream.blocks) == 1
    assert stream.text.count("\n") == 3
    access.close()
    assert len(stream.blocks) == 1


async def test_many_lines_are_written_in_bounded_pieces_and_none_is_lost() -> None:
    stream = KeepingStream()
    access = Batches(AccessLog(stream), interval=60.0)
    for number in range(BATCH * 3 + 5):
        access.record(served(request_id=b"req_%d" % number))
    access.close()
    assert [block.count(b"\n") for block in stream.blocks] == [BATCH, BATCH, BATCH, 5]
    ids = [json.loads(line)["request_id"] for line in stream.text.splitlines()]
    assert ids == [f"req_{number}" for number in range(BATCH * 3 + 5)]


async def test_close_twice_writes_once() -> None:
    stream = KeepingStream()
    access = Batches(AccessLog(stream))
    access.record(served())
    access.close()
    access.close()
    assert len(stream.blocks) == 1
