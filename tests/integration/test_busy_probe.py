"""`busy_probe` asked over real sockets and real commands, and what follows from the answers (ID-07)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hestia.core.idle import Busy
from hestia.core.model import BusyProbe, GatewayId, InstanceId, InstanceKey, ServiceId, ServiceSettings
from hestia.core.urls import parse_base_url
from hestia.runtime import busy
from hestia.runtime.busy import NoAnswer, asked
from tests.fakes.bare_gateway import bare_gateway, fake_service
from tests.fakes.engines import FakeEngine
from tests.fakes.facts import eventually
from tests.fakes.programs import is_alive
from tests.fakes.upstream import Connection, RawUpstream

KEY = InstanceKey(GatewayId("g"), ServiceId("a"), InstanceId("main"), 1)


class Says(RawUpstream):
    """Answers every request with `said`, and keeps the connection open if asked to."""

    def __init__(self, said: bytes, *, close: bool = True) -> None:
        super().__init__([self._serve], keep=False)
        self.said = said
        self.close_after = close

    async def _serve(self, connection: Connection) -> None:
        request = await connection.next_or_end()
        if request is None:
            return
        await connection.send(self.said)
        if self.close_after:
            connection.close()
        else:
            await connection.next_or_end()


def document(text: str, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (document('{"busy": true}'), Busy.BUSY),
        (document('{"jobs": 0, "busy": false}'), Busy.FREE),
        (document("true"), Busy.BUSY),
        (document("false", "202 Accepted"), Busy.FREE),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Busy.FREE),
        (b'HTTP/1.0 200 OK\r\n\r\n{"busy": false}', Busy.FREE),
    ],
)
@pytest.mark.parametrize("close", [True, False], ids=["closes", "keeps open"])
async def test_id07_an_address_says_it_in_json(said: bytes, meant: Busy, close: bool) -> None:
    close = close or b"HTTP/1.0" in said  # without a length only the end of the connection ends it
    async with Says(said, close=close) as service:
        probe = BusyProbe(url="http://127.0.0.1:{port}/busy?x=1")
        assert await asked(probe, parse_base_url(service.url), KEY, tls_verify=True) is meant
        assert service.targets == [b"/busy?x=1"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (document("{}"), "expected"),
        (document('{"busy": "no"}'), "expected"),
        (document("[]"), "expected"),
        (document("<html>"), "<html>"),
        (document('{"busy": false}', "503 Service Unavailable"), "HTTP 503"),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", "HTTP 302"),
        (b"SSH-2.0-x\r\n", "not HTTP"),
        (b"", "not HTTP"),
    ],
)
async def test_id07_anything_else_is_no_answer(said: bytes, why: str) -> None:
    async with Says(said) as service:
        with pytest.raises(NoAnswer, match=why):
            await asked(
                BusyProbe(url=service.url + "/busy"), parse_base_url(service.url), KEY, tls_verify=True
            )


async def test_id07_nobody_listens_is_no_answer() -> None:
    probe, endpoint = BusyProbe(url="http://127.0.0.1:1/busy"), parse_base_url("http://127.0.0.1:1")
    with pytest.raises(NoAnswer):
        await asked(probe, endpoint, KEY, tls_verify=True)


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("exit 0", Busy.FREE),
        ("exit 1", Busy.BUSY),
        (("test", "{port}", "=", "4711"), Busy.FREE),
        ('test "$HESTIA_SERVICE $HESTIA_INSTANCE $HESTIA_URL" = "a main http://127.0.0.1:4711"', Busy.FREE),
        ('test -z "$HESTIA_SECRET"', Busy.FREE),
    ],
)
async def test_id07_a_command_says_it_by_its_status(
    command: str | tuple[str, ...], meant: Busy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HESTIA_SECRET", "for the gateway only")
    endpoint = parse_base_url("http://127.0.0.1:4711")
    assert await asked(BusyProbe(command=command), endpoint, KEY, tls_verify=True) is meant


@pytest.mark.parametrize(
    "command", ["exit 2", "kill -9 $$", "no-such-program-anywhere", ("/no/such/program",)]
)
async def test_id07_a_command_that_fails_is_no_answer(command: str | tuple[str, ...]) -> None:
    endpoint = parse_base_url("http://127.0.0.1:4711")
    with pytest.raises(NoAnswer):
        await asked(BusyProbe(command=command), endpoint, KEY, tls_verify=True)


async def test_id07_a_command_that_hangs_is_ended_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busy, "LIMIT", 0.3)
    pid_file = tmp_path / "pid"
    command = f"sleep 1000 & echo $! > {pid_file}.new; mv {pid_file}.new {pid_file}; wait"
    with pytest.raises(NoAnswer, match="nothing within"):
        await asked(BusyProbe(command=command), parse_base_url("http://127.0.0.1:1"), KEY, tls_verify=True)
    if pid_file.exists():
        await eventually(lambda: not is_alive(int(pid_file.read_text())), "the child to be gone")


def busy_service(**settings: Any) -> ServiceSettings:
    """A service that is idle almost at once. settings: fields of ServiceSettings."""
    return fake_service(idle_timeout=0.05, **settings)


async def test_id07_a_busy_service_stays_and_a_free_one_stops(tmp_path: Path) -> None:
    """The command counts how often it was asked; the service stays as long as the file is there."""
    job, journal = tmp_path / "job", tmp_path / "journal"
    job.touch()
    command = f"echo asked >> {journal}; test ! -e {job}"
    engine = FakeEngine(listening=True)
    async with bare_gateway(engine, busy_service(busy_probe=BusyProbe(command=command))) as bare:
        bare.requests.send("r")
        await bare.requests.answered(1)
        await eventually(
            lambda: journal.exists() and len(journal.read_text().split()) >= 3, "three questions"
        )
        assert bare.story.states() == ["starting", "hot"]
        os.unlink(job)
        await bare.until_state("cold")
        assert bare.story.rows[-2].cause == "idle"


async def test_id07_a_broken_probe_holds_it_up_only_so_long_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    probe = BusyProbe(command="exit 3")
    engine = FakeEngine(listening=True)
    async with bare_gateway(engine, busy_service(busy_probe=probe, busy_probe_max=0.2)) as bare:
        bare.requests.send("r")
        await bare.requests.answered(1)
        await bare.until_state("cold")
        assert bare.story.rows[-2].cause == "busy_unknown"
    assert 'The busy_probe of "a" gave no answer: the command ended with status 3' in caplog.text
