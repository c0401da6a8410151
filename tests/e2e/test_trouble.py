"""What goes wrong with real services: each a clear answer with a remedy, and nothing else suffers."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.served import Served, serving
from tests.fakes.facts import eventually
from tests.fakes.programs import small_command
from tests.fakes.wire import request

pytestmark = pytest.mark.e2e

HEALTH = "http://127.0.0.1:{port}/health"


def service(command: list[str], **keys: Any) -> dict[str, Any]:
    """A process service. keys: any key of it."""
    return {"engine": {"type": "process", "command": command}, "health_url": HEALTH, **keys}


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    """A gateway with one good service and several that cannot start, each for its own reason."""
    never = service(small_command("--gate", str(tmp_path / "never")), start_timeout="1s", stop_grace="1s")
    services = {
        "good": service(small_command()),
        "missing": service(["no-such-program-anywhere", "{port}"]),
        "ends": service(small_command("--say", "no such model: tiny", "--fail", "3")),
        "never": never,
    }
    async with serving(tmp_path / "gateway", {"services": services}) as running:
        yield running


async def refused(served: Served, name: str, status: int, code: str) -> dict[str, Any]:
    """Ask a service that cannot start; its problem document, which has a remedy."""
    answer = await served.http.get(f"{served.url}/services/{name}/x")
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code, problem
    assert problem["serviceId"] == name
    assert problem["requestId"] == answer.headers["x-request-id"]
    assert "Do: " in problem["detail"], problem["detail"]
    shown = (await served.status(name))["lastError"]
    assert shown["detail"].splitlines()[0] in problem["detail"], "FM-10: the same words everywhere"
    # The answer does not wait for the end of what was started.
    await eventually(lambda: served.programs() == set(), "what could not start to be gone")
    return problem


async def works(served: Served) -> None:
    assert (await served.http.get(f"{served.url}/services/good/x")).json()["target"] == "/x"


async def test_a_command_that_is_not_found_is_named(served: Served) -> None:
    problem = await refused(served, "missing", 503, "service_start_failed")
    assert "no-such-program-anywhere" in problem["detail"]
    await works(served)


async def test_a_command_that_exits_at_once_is_answered_with_code_and_last_lines(served: Served) -> None:
    problem = await refused(served, "ends", 503, "service_start_failed")
    assert "3" in problem["detail"]
    assert "no such model: tiny" in " ".join([problem["detail"], *problem.get("log_tail", [])])
    await works(served)


async def test_a_health_url_that_says_no_for_ever_ends_with_start_timeout(served: Served) -> None:
    problem = await refused(served, "never", 503, "service_start_timeout")
    assert "503" in problem["detail"], "what the health URL said"
    assert "start_timeout" in problem["detail"], "which limit it was"
    await works(served)


async def test_a_service_killed_while_hot_is_noticed_at_once_and_started_again(served: Served) -> None:
    """Nobody asks in between: the log says so by itself, and the next request finds a new process."""
    first = (await served.http.get(f"{served.url}/services/good/x")).json()["pid"]
    os.kill(first, signal.SIGKILL)
    failed = await served.until_line("service_failed", "good")
    assert "SIGKILL" in str(failed)
    assert (await served.status("good"))["phase"] != "hot"
    second = (await served.http.get(f"{served.url}/services/good/x")).json()["pid"]
    assert second != first
    assert served.programs() == {second}


async def test_a_service_killed_in_the_middle_of_an_answer_ends_that_answer_only(served: Served) -> None:
    async with served.client() as client:
        await client.send(request("GET", "/services/good/stream?100000"))
        await client.until(lambda: b"event 3" in client.received, "the stream to run")
        (pid,) = served.programs()
        os.kill(pid, signal.SIGKILL)
        await client.until(lambda: bool(client.ended), "the cut answer to end")
        assert not client.received.endswith(b"0\r\n\r\n"), "it must not look complete"
    await works(served)


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), id="tls"),
        pytest.param(bytes(range(256)) * 40, id="bytes"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 400_000, id="endless head"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", id="ssh"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="http2"),
    ],
)
async def test_garbage_on_the_port_does_not_touch_another_client(served: Served, garbage: bytes) -> None:
    """A stream runs from before the garbage until after it, chunk by chunk."""
    async with served.client() as good, served.client() as bad:
        await good.send(request("GET", "/services/good/stream?200"))
        await good.until(lambda: b"event 3" in good.received, "the stream to run")
        await bad.send(garbage)
        await bad.until(lambda: bool(bad.ended), "the gateway to end the connection")
        assert bad.received.startswith(b"HTTP/1.1 4"), bytes(bad.received[:200])
        answer = await good.response()
        assert answer.complete
        assert answer.body.endswith(b"event 199\n\n")


async def test_an_unknown_service_is_answered_with_the_nearest_name(served: Served) -> None:
    answer = await served.http.get(f"{served.url}/services/god/x")
    assert (answer.status_code, answer.json()["code"]) == (404, "service_not_found")
    assert "good" in answer.json()["detail"]
