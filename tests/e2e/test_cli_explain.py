"""`hestia status`, `explain` and `events` beside a real gateway: each instance, the budget, failures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli import PROGRAM, environment
from tests.e2e.served import Document, serving
from tests.e2e.test_cli_past import asked, called
from tests.fakes.facts import eventually
from tests.fakes.programs import small_command
from tests.fakes.stores import ask

pytestmark = pytest.mark.e2e

BAD: Document = {"type": "process", "command": [sys.executable, "-c", "raise SystemExit(3)", "{port}"]}
GOOD: Document = {"type": "process", "command": small_command()}


def a_world() -> dict[str, Any]:
    """A pair of which one cannot start, a service that needs another one, and one with a fallback."""
    return {
        "services": {
            "pair": {"instances": [{"name": "one", "engine": BAD}, {"name": "two", "engine": GOOD}]},
            "db": {"engine": GOOD, "idle_timeout": "1h"},
            "app": {"engine": GOOD, "depends_on": ["db"], "idle_timeout": "1h"},
            "backed": {"base_url": "http://127.0.0.1:9", "fallback_url": "http://127.0.0.1:9"},
        }
    }


async def test_ob_19_every_instance_tells_why_it_is_not_used_and_what_keeps_it_up(tmp_path: Path) -> None:
    async with serving(tmp_path / "a", a_world()) as served:
        await served.get("/services/pair/")
        await served.get("/services/app/")
        told = await served.status("pair")
        one, two = told["instances"]
        assert one["unused"].startswith("its last start failed")
        assert (two["unused"], two["keptFor"], two["keptWarm"]) == ("", [], False)
        assert (told["budget"]["failures"], told["budget"]["perHour"]) == (1, 20)
        for command in ("status", "explain"):
            shown = await asked(served, command, "pair")
            assert "its last start failed" in shown, command
            assert "pair: " not in shown, "the name stands above it"
            assert "(main)" not in shown
        assert "1 of 20 in the last hour" in await asked(served, "status", "pair")
        assert "did not start: the program ended with exit status 3" in await asked(served, "events", "pair")
        assert (await served.status("db"))["instances"][0]["keptFor"] == ["app"]
        assert "kept for app" in await asked(served, "status")
        assert "stays up while app needs it" in await asked(served, "explain", "db")
        events = await asked(served, "events", "db")
        assert "db is hot: another service needs it (app)" in events


async def test_a_fallback_that_serves_is_called_a_fallback(tmp_path: Path) -> None:
    async with serving(tmp_path / "a", a_world()) as served:
        answer = await served.http.get(f"{served.url}/services/backed/")
        assert answer.status_code >= 500
        told = "SELECT 1 FROM events WHERE event = 'RequestFellBack'"
        await eventually(
            lambda: bool(ask(served.folder / "state" / "hestia.db", told)), "the fallback to be told"
        )
        events = await asked(served, "events", "backed")
        assert "its fallback serves meanwhile" in events
        request = answer.headers["x-request-id"]
        assert f"({request})" in next(line for line in events.splitlines() if "goes to its fallback" in line)


async def test_cl_18_an_unknown_request_is_not_called_a_service(tmp_path: Path) -> None:
    async with serving(tmp_path / "a", a_world()) as served:
        unknown = await called(served, "explain", "req_aaaaaaaaaaaaaaaaaaaaaaaa")
        assert unknown.returncode == 5
        assert unknown.stderr.startswith("No request req_aaaaaaaaaaaaaaaaaaaaaaaa is remembered.")
        near = await called(served, "explain", "piar")
        assert (near.returncode, "Did you mean: pair?" in near.stderr) == (5, True)


async def test_fb_02_the_first_crash_while_hot_keeps_its_exit_status_in_every_line(tmp_path: Path) -> None:
    crashing = {"engine": {"type": "process", "command": small_command()}, "stable_after": "1ms"}
    async with serving(tmp_path / "a", {"services": {"a": crashing}}) as served:
        await served.get("/services/a/")
        await served.until_phase("hot", "a")
        (pid,) = served.programs()
        os.kill(pid, 9)
        await served.until_phase("cold", "a")
        last = (await served.get("/v1/services/a/events?limit=1")).json()["events"][0]
        assert last["after"] == "cold"
        assert "the program was ended by SIGKILL while it was in service" in last["text"]
        assert "of stopping" not in last["text"] or "0.0 s" not in last["text"]


def test_cl_13_the_hint_names_the_port_that_a_start_would_take(tmp_path: Path) -> None:
    """A plain `hestia serve` listens where the file says, so it is no cure for another address."""
    (tmp_path / "hestia_config.yml").write_text("port: 1\nservices: {}\n")

    def said(*arguments: str) -> str:
        done = subprocess.run(
            [*PROGRAM, "top", *arguments], cwd=tmp_path, env=environment(HESTIA_STATE_DIR=str(tmp_path)),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 3
        return done.stderr

    assert "Start it: hestia serve\n" in said()
    assert "Start it: hestia serve --port 2\n" in said("--url", "http://localhost:2")
