"""What becomes of services that fail again and again, over a real gateway and real programs (section FB)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.served import Served, serving
from tests.fakes.facts import eventually
from tests.fakes.programs import small_command

QUICK = {"base": "1ms", "cap": "2ms", "intensity": 1000, "cool_down": "1ms"}


async def ask(served: Served, path: str, method: str = "GET") -> tuple[int, dict[str, object]]:
    """Status and problem of one request; the problem is empty where it is none."""
    answer = await served.http.request(method, served.url + path)
    is_problem = answer.headers.get("content-type") == "application/problem+json"
    return answer.status_code, answer.json() if is_problem else {}


async def test_fb04_the_budget_of_the_hour_outlives_the_gateway_and_a_person_resets_it(
    tmp_path: Path,
) -> None:
    command = ["/bin/sh", "-c", "echo no model; exit 3", "{port}"]
    engine = {"type": "process", "command": command}
    broken = {"a": {"engine": engine, "restart_backoff": {**QUICK, "per_hour": 2}}}
    async with serving(tmp_path / "g", {"services": broken}) as served:
        for _ in range(2):
            status, problem = await ask(served, "/services/a/")
            assert (status, problem["code"]) == (503, "service_start_failed")
    async with serving(tmp_path / "g", {"services": broken}) as served:
        status, problem = await ask(served, "/services/a/")
        assert status == 503
        assert "2 times within an hour (restart_backoff.per_hour)" in str(problem["detail"])
        assert "exit status 3" in str(problem["detail"])
        assert "no model" in str(problem["detail"])
        assert served.transitions("a") == []
        answer = await served.http.post(f"{served.url}/v1/services/a/start")
        assert answer.is_success
        await eventually(lambda: served.transitions("a")[:1] == ["starting"], "a person's start")


@pytest.mark.parametrize(("method", "sent"), [("GET", 2), ("POST", 1)])
async def test_fb13_a_request_that_kills_the_service_is_sent_twice_at_most_and_a_post_once(
    tmp_path: Path, method: str, sent: int
) -> None:
    journal = tmp_path / "journal"
    command = small_command("--journal", str(journal))
    services = {
        "a": {
            "engine": {"type": "process", "command": command},
            "health_url": "http://127.0.0.1:{port}/health",
            "restart_backoff": QUICK,
            "retry_count": 5,
        }
    }
    async with serving(tmp_path / "g", {"services": services}) as served:
        await served.get("/services/a/")
        status, problem = await ask(served, "/services/a/crash", method)
        assert status == 502
        assert problem["code"] == "upstream_disconnected"
        assert sum("/crash" in line for line in journal.read_text().splitlines()) == sent
        await served.get("/services/a/")
